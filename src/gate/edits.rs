//! Edits: a person changes the arguments of a call before saying yes. The changed call is judged like a new one; what is
//! said against it ends the edit, never the question.

use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;

use super::answered::{Answered, CannotAnswer};
use super::approvals::Approvals;
use super::judged;
use super::recording::see_through;
use super::state::Gate;
use crate::approval::desk::IdMatch;
use crate::approval::{YesTally, text};
use crate::base::ids::RequestId;
use crate::base::once_flag::OnceFlag;
use crate::model::edit::{ArgChanges, edited};
use crate::model::{AnswerOutcome, Approval, Choice, Question, Responder, Verdict};
use crate::service::Scrubber;
use crate::store::{EditedCall, StoreError};

/// What would be asked after a change.
pub(crate) struct Preview {
    pub question: Arc<Question>,
    /// [`Call::shown_as`](crate::model::Call::shown_as) of the call that the changes were made to.
    pub of: String,
    /// How many people would have to say yes to it.
    pub tally: YesTally,
}

impl Gate {
    /// What an open question would be about with these changes, or why it would not. Nothing is done.
    ///
    /// # Errors
    /// When the prefix fits several questions.
    pub(crate) fn preview(
        &self,
        prefix: &str,
        changes: &ArgChanges,
        by: &Responder,
    ) -> Result<Result<Preview, Answered>, CannotAnswer> {
        let id = match self.approvals.find(prefix) {
            IdMatch::One(id) => Some(id),
            IdMatch::None => None,
            IdMatch::Several => return Err(CannotAnswer::Several),
        };
        let Some(question) = id.and_then(|id| self.approvals.question(id)) else {
            let outcome = id.map_or(AnswerOutcome::Unknown, |id| self.approvals.past_of(id));
            return Ok(Err(Answered { id, outcome, ended: None }));
        };
        let of = question.call.shown_as();
        let changed = self.with_changes(&question, changes, by);
        let preview = changed.map(|question| {
            let tally = self.counting_of(Some(&question)).tally(&[]);
            Preview { question: Arc::new(question), of, tally }
        });
        Ok(preview.map_err(|outcome| {
            self.ledger.metrics.edited(outcome.as_str());
            Answered { id, outcome, ended: None }
        }))
    }

    /// A yes to a call with changes: first the question is about the changed call, then it is approved. Between the two it
    /// is open, and what was changed stays changed.
    pub(super) async fn edit_and_approve(
        self: &Rc<Self>,
        id: RequestId,
        approval: Approval,
        by: Responder,
    ) -> Result<Answered, CannotAnswer> {
        let refused = |outcome| Ok(Answered { id: Some(id), outcome, ended: None });
        if approval.grant.is_some() {
            return refused(AnswerOutcome::Refused(ONCE.to_owned()));
        }
        let once = Approval { set: Vec::new(), ..approval.clone() };
        let yes = |approval| Choice::Approve(approval);
        let Some(question) = self.approvals.question(id) else {
            return self.take_answer(id, yes(once), by).await;
        };
        if !question.is_meant_by(&approval) {
            return refused(AnswerOutcome::Stale);
        }
        let changed = match self.with_changes(&question, &approval.set, &by) {
            Ok(changed) => Arc::new(changed),
            Err(outcome) => return refused(outcome),
        };
        let once = Approval { seen: Some(changed.call.shown_as()), ..once };
        if changed.call.binding() == question.call.binding() {
            return self.take_answer(id, yes(once), by).await;
        }
        // Not left half done when the one who asked for it goes away.
        let gate = self.clone();
        let both = async move {
            let edited = EditedCall { question: changed, changes: approval.set, by: by.clone() };
            match gate.approvals.edit(&question, edited).await.map_err(CannotAnswer::Store)? {
                true => gate.take_answer(id, yes(once), by).await,
                false => Ok(Answered { id: Some(id), outcome: gate.approvals.overtaken(id), ended: None }),
            }
        };
        match see_through(&self.approvals.executor, both).await {
            Some(answered) => answered,
            None => refused(AnswerOutcome::AlreadyResolved),
        }
    }

    /// The question about the changed call: checked and judged as if an agent had just asked for it. Whoever changes it must
    /// be among those whose answers count, before and after.
    fn with_changes(
        &self,
        question: &Question,
        changes: &ArgChanges,
        by: &Responder,
    ) -> Result<Question, AnswerOutcome> {
        let admits = |question: &Question| self.counting_of(Some(question)).admits(by);
        if !admits(question) {
            return Err(AnswerOutcome::NotApprover);
        }
        let setup = self.setup();
        if question.call.tool().is_permit() && !changes.is_empty() {
            return Err(AnswerOutcome::Refused(PERMIT.to_owned()));
        }
        refuse_leaks(&setup.scrubber, changes)?;
        let call = edited(&question.call, changes).map_err(|why| AnswerOutcome::Refused(why.to_string()))?;
        setup.services.check(&call).map_err(|why| AnswerOutcome::Refused(why.to_string()))?;
        let verdict = judged::approvable(self, &setup, &call, question.session.as_deref());
        if let Some(why) = verdict.forbidden() {
            return Err(AnswerOutcome::Denied(why.to_string()));
        }
        let changed = stricter(question.with_call(Arc::new(call), by.clone()), &verdict);
        if text::length(&changed) > setup.config.approvals.max_question_chars {
            return Err(AnswerOutcome::Refused(TOO_LARGE.to_owned()));
        }
        if admits(&changed) { Ok(changed) } else { Err(AnswerOutcome::NotApprover) }
    }
}

impl Approvals {
    /// Writes down that `edited` is asked about in the place of `before`, then tells everybody. What was said yes to before is
    /// void. False: what is asked about is not `before` any more.
    ///
    /// # Errors
    /// When that cannot be written down.
    async fn edit(&self, before: &Question, edited: EditedCall) -> Result<bool, StoreError> {
        let (id, question) = (before.id, edited.question.clone());
        self.counted(id).await;
        let now = self.clock.now();
        // An answer, or another change, may have been quicker.
        let is_same = |open: Arc<Question>| open.call.binding() == before.call.binding();
        if !self.question(id).is_some_and(is_same) || self.desk.borrow_mut().take(id, now).is_err() {
            return Ok(false);
        }
        // Answers that come meanwhile wait, so that they hear of the change.
        let done = Rc::<OnceFlag>::default();
        self.votes.counting.borrow_mut().insert(id, done.clone());
        let names = question.edit.as_ref().map(|edit| edit.names.join(", ")).unwrap_or_default();
        log::info!("request {id}: changed by {}: {names}", edited.by);
        let written = self.store.edit(id, edited, now, question.call.tool().kind.has_side_effects()).await;
        match written {
            Ok(true) => self.desk.borrow_mut().replace(&question),
            Ok(false) | Err(_) => self.desk.borrow_mut().open(id),
        }
        self.votes.counting.borrow_mut().remove(&id);
        done.set();
        if written.inspect_err(|e| log::error!("request {id}: the change could not be recorded: {e}"))? {
            self.channels.tell(|channel| channel.edited(&question));
            return Ok(true);
        }
        Ok(false)
    }

    /// What somebody hears whose change came too late.
    fn overtaken(&self, id: RequestId) -> AnswerOutcome {
        let desk = self.desk.borrow();
        match (desk.get(id), desk.latest(id)) {
            (Some(_), _) => AnswerOutcome::Stale,
            (None, Some(_)) => AnswerOutcome::AlreadyResolved,
            (None, None) => desk.past(id),
        }
    }
}

/// The changed question on what is stricter of the terms it had and those on which the rules would ask about it.
fn stricter(question: Question, verdict: &Verdict) -> Question {
    let terms = question.terms.and(&verdict.terms);
    let mut reasons = question.reasons.clone();
    reasons.extend(verdict.asked().into_iter().filter(|reason| !question.reasons.contains(reason)));
    Question { terms, reasons, ..question }
}

const ONCE: &str = "a changed call is approved once; nothing is granted with it";
/// The agent acts by what it knows, not by what it is told.
const PERMIT: &str = "what the agent does itself cannot be changed: approve or deny it as it is";
const TOO_LARGE: &str = "the changed call is longer than approvals.max_question_chars";

/// A credential of the gateway's own has no place in a call, whoever writes it there.
fn refuse_leaks(scrubber: &Scrubber, changes: &ArgChanges) -> Result<(), AnswerOutcome> {
    let leaks = |value: &Value| scrubber.is_in(value);
    match changes.iter().find(|(_, value)| value.as_ref().is_some_and(leaks)) {
        Some((name, _)) => Err(AnswerOutcome::Refused(format!("{name} holds a credential of the gateway"))),
        None => Ok(()),
    }
}
