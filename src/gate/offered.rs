//! A yes on its way to the call that waits for it. Where that can be claimed at once, yes and claim are one transaction:
//! one wait for the disk instead of two.

use std::sync::Arc;

use smol::channel::{Sender, bounded};

use crate::model::{Question, QuestionEnd, Responder};
use crate::store::StoreError;

/// How a question ended, and the question as it was then.
pub(super) type Ended = (QuestionEnd, Arc<Question>);

/// What a call hears while it waits for an answer.
pub(super) enum Heard {
    Yes(Offer),
    Ended(Ended),
}

/// A yes that is not written down yet.
pub(super) struct Offer {
    question: Arc<Question>,
    by: Responder,
    written: Sender<Result<bool, StoreError>>,
}

/// Whether a yes counted, and what the call that waited for it has got of it beyond that.
pub(super) type Written<T> = Result<(bool, Option<T>), StoreError>;

/// Lets the call that waits for this end write it down; whether it counted. None: somebody else must write it. So it is
/// where several people had to agree: one no still counts between their answers and the claim.
pub(super) async fn offer(
    waiter: &Sender<Heard>,
    question: &Arc<Question>,
    end: &QuestionEnd,
) -> Option<Result<bool, StoreError>> {
    let QuestionEnd::Approved { by } = end else { return None };
    if question.terms.need() > 1 {
        return None;
    }
    let (written, heard) = bounded(1);
    waiter.try_send(Heard::Yes(Offer { question: question.clone(), by: by.clone(), written })).ok()?;
    heard.recv().await.ok()
}

impl Offer {
    /// Has it written down by `write`. The question ends when whoever made the offer has told everybody.
    pub(super) async fn take<T>(
        self,
        write: &impl AsyncFn(&Arc<Question>, &Responder) -> Written<T>,
    ) -> Option<T> {
        let (counted, got) = match write(&self.question, &self.by).await {
            Ok((counted, got)) => (Ok(counted), got),
            Err(e) => (Err(e), None),
        };
        // Nobody listens any more only when the gateway ends.
        let _ = self.written.try_send(counted);
        got
    }
}
