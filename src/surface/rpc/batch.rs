//! JSON-RPC batches: several requests in one frame, run at the same time, answered in one array.

use std::rc::Rc;

use smol::channel::{Receiver, bounded};

use super::methods::{Started, start};
use super::outbox::Outgoing;
use super::session::Session;
use crate::protocol::frame::{self, Refused, Request};

/// Begins all requests of a batch; a listener sends the array when the last one is answered.
pub(crate) fn run(session: &Rc<Session>, items: Vec<Result<Request, Refused>>) {
    let count = items.len();
    let (sender, receiver) = bounded(count);
    for (place, item) in items.into_iter().enumerate() {
        let begun = match item {
            Ok(request) => start(session, request),
            Err(refused) => Started::Answered(frame::error(&refused.id, &refused.error).to_string()),
        };
        let (sender, session) = (sender.clone(), session.clone());
        // There is room for every answer in the channel.
        match begun {
            Started::Answered(frame) => {
                session.outgoing(frame, Vec::new()).map(|answer| sender.try_send((place, answer)));
            }
            Started::Waiting(wait) => session.clone().listen(async move {
                wait.answer(&session).await.map(|answer| sender.try_send((place, answer)));
            }),
        }
    }
    session.listen(gather(session.clone(), receiver, count));
}

async fn gather(session: Rc<Session>, receiver: Receiver<(usize, Outgoing)>, count: usize) {
    let mut answers = Vec::new();
    while answers.len() < count {
        // One that is missing had no room, and the connection ends.
        let Ok(answer) = receiver.recv().await else { return };
        answers.push(answer);
    }
    answers.sort_by_key(|(place, _)| *place);
    session.out.put(joined(answers.into_iter().map(|(_, answer)| answer)));
}

/// One frame of several, as an array.
fn joined(answers: impl Iterator<Item = Outgoing>) -> Outgoing {
    let mut whole = Outgoing { text: "[".to_owned(), carried: Vec::new(), held: Vec::new() };
    for Outgoing { text, carried, held } in answers {
        if whole.text.len() > 1 {
            whole.text.push(',');
        }
        whole.text.push_str(&text);
        whole.carried.extend(carried);
        whole.held.extend(held);
    }
    whole.text.push(']');
    whole
}
