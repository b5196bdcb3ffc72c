//! A yes that is not the last: written down and told to all channels, while the question stays open for the others. And a
//! no after the last one, which counts until the call is claimed.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::approvals::Approvals;
use super::counting::{Approved, Objections};
use super::grants::ExpectedGrant;
use super::recording::see_through;
use crate::approval::YesTally;
use crate::base::ids::RequestId;
use crate::base::once_flag::OnceFlag;
use crate::model::{AnswerOutcome, Outcome, Question, QuestionEnd, Responder};
use crate::store::{StoreError, Yes};

/// Somebody has said no, which is being looked at.
pub(super) struct Objection {
    all: Objections,
    heard: Rc<OnceFlag>,
}

impl Drop for Objection {
    fn drop(&mut self) {
        self.all.borrow_mut().retain(|(_, heard)| !Rc::ptr_eq(heard, &self.heard));
        self.heard.set();
    }
}

impl Approvals {
    /// From now on until [`Approvals::claimed`] one no still counts, where several people had to say yes.
    pub(super) fn may_be_overruled(&self, question: &Arc<Question>) {
        if question.terms.need() > 1 {
            let approved = Approved { question: question.clone(), overruled: None };
            self.votes.approved.borrow_mut().entry(question.id).or_insert(approved);
        }
    }

    /// The call is claimed, or will not be. Some: one of those who had to agree has said no, and it has ended with that.
    pub(super) fn claimed(&self, id: RequestId) -> Option<Outcome> {
        self.votes.approved.borrow_mut().remove(&id)?.overruled
    }

    pub(super) fn approved_question(&self, id: RequestId) -> Option<Arc<Question>> {
        self.votes.approved.borrow().get(&id).map(|approved| approved.question.clone())
    }

    /// Denies a call after the last yes. Never left half done when the caller goes away.
    pub(super) async fn overrule_surely(
        self: &Rc<Self>,
        question: Arc<Question>,
        by: Responder,
        note: Option<String>,
    ) -> Result<AnswerOutcome, StoreError> {
        let approvals = self.clone();
        let done = async move { approvals.overrule(&question, by, note).await };
        let overruled = see_through(&self.executor, done).await.unwrap_or(Ok(false))?;
        Ok(if overruled { AnswerOutcome::Resolved } else { AnswerOutcome::AlreadyResolved })
    }

    async fn overrule(
        &self,
        question: &Arc<Question>,
        by: Responder,
        note: Option<String>,
    ) -> Result<bool, StoreError> {
        let (id, now) = (question.id, self.clock.now());
        let durable = question.call.tool().kind.has_side_effects();
        // Set before it is written: whoever finds the call ended must find why. A claim that was quicker does not ask.
        self.set_overruled(id, Some(Outcome::DeniedByUser { note: note.clone() }));
        let written = self.store.overrule(id, by.clone(), note.clone(), now, durable).await;
        if !matches!(written, Ok(true)) {
            self.set_overruled(id, None);
            return written
                .inspect_err(|e| log::error!("request {id}: the answer could not be recorded: {e}"));
        }
        log::info!("request {id}: denied by {by} after the last yes");
        let end = QuestionEnd::Denied { by, note };
        self.channels.tell(|channel| channel.settled(question, &end));
        Ok(true)
    }

    fn set_overruled(&self, id: RequestId, outcome: Option<Outcome>) {
        if let Some(approved) = self.votes.approved.borrow_mut().get_mut(&id) {
            approved.overruled = outcome;
        }
    }

    /// A no has come. While the guard lives, the call is not made.
    pub(super) fn object(&self, id: RequestId) -> Objection {
        let heard = Rc::<OnceFlag>::default();
        self.votes.objections.borrow_mut().push((id, heard.clone()));
        Objection { all: self.votes.objections.clone(), heard }
    }

    /// Waits until each no to this call that has come is heard.
    pub(super) async fn objections_heard(&self, id: RequestId) {
        loop {
            let open = self
                .votes
                .objections
                .borrow()
                .iter()
                .find(|(of, _)| *of == id)
                .map(|(_, heard)| heard.clone());
            match open {
                Some(heard) => heard.wait().await,
                None => return,
            }
        }
    }

    /// As [`Approvals::conclude`], but never left half done when the caller goes away. A no to the last yes of several
    /// people waits until that is written down, and counts then.
    pub(super) async fn conclude_surely(
        self: &Rc<Self>,
        question: Arc<Question>,
        end: QuestionEnd,
        besides: (Option<Duration>, Option<ExpectedGrant>),
    ) -> Result<AnswerOutcome, StoreError> {
        let (approvals, id, done) = (self.clone(), question.id, Rc::<OnceFlag>::default());
        let is_last = matches!(end, QuestionEnd::Approved { .. }) && question.terms.need() > 1;
        if is_last {
            self.votes.counting.borrow_mut().insert(id, done.clone());
        }
        let conclude = async move {
            let counted = approvals.conclude(question, end, besides).await;
            if is_last {
                approvals.votes.counting.borrow_mut().remove(&id);
                done.set();
            }
            counted
        };
        let counted = see_through(&self.executor, conclude).await.unwrap_or(Ok(false))?;
        Ok(if counted { AnswerOutcome::Resolved } else { AnswerOutcome::AlreadyResolved })
    }

    /// Waits until nobody's yes to it, as one of several, is being written down.
    pub(super) async fn counted(&self, id: RequestId) {
        loop {
            let counting = self.votes.counting.borrow().get(&id).cloned();
            match counting {
                Some(counting) => counting.wait().await,
                None => return,
            }
        }
    }

    /// Writes down that one of several people has said yes to a taken question, which is open again then. Never left half
    /// done when the caller goes away.
    pub(super) async fn count_surely(
        self: &Rc<Self>,
        question: Arc<Question>,
        by: Responder,
        before: u32,
        tally: YesTally,
    ) -> Result<AnswerOutcome, StoreError> {
        let (id, outcome) = (question.id, AnswerOutcome::Counted { have: tally.have, need: tally.need });
        if tally.have == before {
            // The same human once more: it has counted already.
            self.desk.borrow_mut().open(id);
            return Ok(outcome);
        }
        let (approvals, done) = (self.clone(), Rc::<OnceFlag>::default());
        self.votes.counting.borrow_mut().insert(id, done.clone());
        let count = async move {
            let counted = approvals.count(&question, by, &tally).await;
            approvals.votes.counting.borrow_mut().remove(&id);
            done.set();
            counted
        };
        let counted = see_through(&self.executor, count).await.unwrap_or(Ok(false))?;
        Ok(if counted { outcome } else { AnswerOutcome::AlreadyResolved })
    }

    async fn count(
        &self,
        question: &Arc<Question>,
        by: Responder,
        tally: &YesTally,
    ) -> Result<bool, StoreError> {
        let (id, shown) = (question.id, question.call.shown_as());
        let yes = Yes { by: by.clone(), have: tally.have, need: tally.need, shown };
        let durable = question.call.tool().kind.has_side_effects();
        let counted = self.store.count(id, yes, self.clock.now(), durable).await;
        let mut desk = self.desk.borrow_mut();
        desk.open(id);
        if let Ok(true) = counted {
            desk.count(id, by.clone());
            drop(desk);
            log::info!("request {id}: approved by {by}, {} of {}", tally.have, tally.need);
            self.channels.tell(|channel| channel.counted(question, tally));
        }
        counted.inspect_err(|e| log::error!("request {id}: the answer could not be recorded: {e}"))
    }
}
