//! JSON-RPC batches: several requests in one frame, run at the same time, answered in one array.

use std::rc::Rc;

use serde_json::Value;
use smol::channel::{Receiver, bounded};

use super::methods::{Answer, Started, start};
use super::session::Session;
use crate::protocol::frame::{self, Refused, Request, WireError};

/// A reply frame of either kind.
pub fn frame_of(id: &Value, body: Result<Value, WireError>) -> Value {
    match body {
        Ok(result) => frame::result(id, result),
        Err(error) => frame::error(id, &error),
    }
}

/// Begins all requests of a batch; a listener sends the array when the last one is answered.
pub fn run(session: &Rc<Session>, items: Vec<Result<Request, Refused>>) {
    let count = items.len();
    let (sender, receiver) = bounded(count);
    for (place, item) in items.into_iter().enumerate() {
        let begun = match item {
            Ok(request) => start(session, request),
            Err(refused) => Started::Answered(frame::error(&refused.id, &refused.error)),
        };
        let sender = sender.clone();
        match begun {
            // There is room for every answer.
            Started::Answered(frame) => drop(sender.try_send((place, (frame, Vec::new())))),
            Started::Waiting(wait) => {
                let listener = session.clone();
                session.listen(async move {
                    let answer = wait.answer(&listener).await;
                    drop(sender.try_send((place, answer)));
                });
            }
        }
    }
    session.listen(gather(session.clone(), receiver, count));
}

async fn gather(session: Rc<Session>, receiver: Receiver<(usize, Answer)>, count: usize) {
    let mut answers = Vec::new();
    while answers.len() < count
        && let Ok(answer) = receiver.recv().await
    {
        answers.push(answer);
    }
    answers.sort_by_key(|(place, _)| *place);
    let (frames, carried): (Vec<_>, Vec<_>) = answers.into_iter().map(|(_, answer)| answer).unzip();
    session.send(&Value::Array(frames), carried.into_iter().flatten().collect());
}
