//! Writing down that a question has ended.

use std::sync::Arc;

use super::approvals::Approvals;
use super::offered::offer;
use super::recording::until_recorded;
use crate::base::clock::Timestamp;
use crate::model::{Grant, Question, QuestionEnd};
use crate::store::StoreError;

impl Approvals {
    /// Writes down how a question ended, with what a yes grants; whether it was still open.
    pub(super) async fn write_end(
        &self,
        question: &Arc<Question>,
        end: &QuestionEnd,
        grant: Option<&Arc<Grant>>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let id = question.id;
        if let Some(grant) = grant {
            return self.store.answer_granting(id, grant.clone(), now).await;
        }
        let waiter = self.waiters.borrow().get(&id).cloned();
        if let Some(waiter) = waiter
            && let Some(written) = offer(&waiter, question, end).await
        {
            return written;
        }
        let durable = question.call.tool().kind.has_side_effects();
        self.store.answer(id, end, end.outcome().as_ref(), now, durable).await
    }

    /// A full disk makes no question longer, and keeps none open that was stopped: it leaves the desk, and the record hears
    /// of it when it can. If the gateway ends before, the next start finds the deadline over, or the stop.
    pub(super) fn end_unrecorded(&self, question: &Arc<Question>, end: QuestionEnd) -> QuestionEnd {
        let (id, store, clock) = (question.id, self.store.clone(), self.clock.clone());
        self.desk.borrow_mut().settle(id, end == QuestionEnd::TimedOut);
        self.channels.tell(|channel| channel.settled(question, &end));
        let written = end.clone();
        let task = until_recorded(format!("request {id}: that its question has ended"), async move || {
            store.answer(id, &written, written.outcome().as_ref(), clock.now(), true).await
        });
        self.executor.spawn(task).detach();
        end
    }
}
