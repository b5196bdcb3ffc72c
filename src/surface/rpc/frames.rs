//! Text frames: a request or a batch of them, run at the same time and answered in one array.

use std::rc::Rc;

use smol::channel::{Receiver, bounded};

use super::methods::{Started, start};
use super::outbox::Outgoing;
use super::session::AgentSession;
use crate::protocol::frame::{self, Frame, RefusedRequest, RpcRequest};

/// Takes one text frame; what is returned is sent at once. Everything that waits gets a listener.
pub(crate) fn take(session: &Rc<AgentSession>, text: &str) -> Option<String> {
    match frame::parse(text) {
        Err(refused) | Ok(Frame::Single(Err(refused))) => Some(refusal(&refused)),
        Ok(Frame::Single(Ok(request))) => single(session, request),
        Ok(Frame::Batch(items)) => {
            batch(session, items);
            None
        }
    }
}

fn refusal(refused: &RefusedRequest) -> String {
    frame::error(&refused.id, &refused.error).to_string()
}

fn single(session: &Rc<AgentSession>, request: RpcRequest) -> Option<String> {
    match start(session, request) {
        Started::Answered(answer) => Some(answer),
        Started::Waiting(wait) => {
            let listener = session.clone();
            session.listen(async move {
                if let Some(outgoing) = wait.answer(&listener).await {
                    listener.out.put(outgoing);
                }
            });
            None
        }
    }
}

/// Starts all requests of a batch; a listener sends the array when the last one is answered.
fn batch(session: &Rc<AgentSession>, items: Vec<Result<RpcRequest, RefusedRequest>>) {
    let count = items.len();
    let (sender, receiver) = bounded(count);
    for (index, item) in items.into_iter().enumerate() {
        let started = match item {
            Ok(request) => start(session, request),
            Err(refused) => Started::Answered(refusal(&refused)),
        };
        let (sender, session) = (sender.clone(), session.clone());
        // There is room for every answer in the channel.
        match started {
            Started::Answered(frame) => {
                session.outgoing(frame, Vec::new()).map(|answer| sender.try_send((index, answer)));
            }
            Started::Waiting(wait) => session.clone().listen(async move {
                wait.answer(&session).await.map(|answer| sender.try_send((index, answer)));
            }),
        }
    }
    session.listen(gather(session.clone(), receiver, count));
}

async fn gather(session: Rc<AgentSession>, receiver: Receiver<(usize, Outgoing)>, count: usize) {
    let mut answers = Vec::new();
    while answers.len() < count {
        // One that is missing had no room, and the connection ends.
        let Ok(answer) = receiver.recv().await else { return };
        answers.push(answer);
    }
    answers.sort_by_key(|(index, _)| *index);
    let mut whole = Outgoing { text: "[".to_owned(), carried: Vec::new(), room: Vec::new() };
    for (index, answer) in answers {
        if index > 0 {
            whole.text.push(',');
        }
        whole.text.push_str(&answer.text);
        whole.carried.extend(answer.carried);
        whole.room.extend(answer.room);
    }
    whole.text.push(']');
    session.out.put(whole);
}
