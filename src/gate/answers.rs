//! Answers: how a question ends, whoever or whatever ends it.
//!
//! Every end goes the same way: taken from the desk, written down, then told to the waiter and to all channels.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smol::Timer;
use smol::channel::{Receiver, bounded};
use smol::future;

use super::Gate;
use super::pipeline::{RETRY, drift, durable};
use crate::approval::desk::Found;
use crate::base::ids::RequestId;
use crate::model::{AgentId, AnswerOutcome, Choice, Outcome, Question, QuestionEnd, Responder, Void};
use crate::store::StoreError;

/// What became of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The question, when there was one.
    pub id: Option<RequestId>,
    /// Whether the answer counts.
    pub outcome: AnswerOutcome,
    /// How the question ended, when that was before this answer.
    pub ended: Option<QuestionEnd>,
}

/// Why an answer was not taken at all. The question is as open as before.
#[derive(Debug)]
pub enum CannotAnswer {
    /// The shortened id fits several questions.
    Several,
    /// The record cannot be written.
    Store(StoreError),
}

/// How long to wait before looking again at a question that somebody is answering right now.
const BUSY: Duration = Duration::from_millis(50);

impl Gate {
    /// A human's answer to the question whose id begins with `prefix`.
    ///
    /// # Errors
    /// When the prefix fits several questions, or the answer cannot be written down.
    pub async fn answer(
        self: &Rc<Self>,
        prefix: &str,
        choice: Choice,
        by: Responder,
    ) -> Result<Answered, CannotAnswer> {
        let id = match self.desk.borrow().find(prefix) {
            Found::One(id) => id,
            Found::None => return Ok(Answered { id: None, outcome: AnswerOutcome::Unknown, ended: None }),
            Found::Several => return Err(CannotAnswer::Several),
        };
        self.end_if_overtaken(id).await.map_err(CannotAnswer::Store)?;
        let taken = self.desk.borrow_mut().take(id, self.clock.now());
        let question = match taken {
            Ok(question) => question,
            Err(outcome) => return Ok(Answered { id: Some(id), outcome, ended: self.how_ended(id).await }),
        };
        let note_follows = choice == Choice::DenyNoteFollows;
        let settlement = match choice {
            Choice::Approve => QuestionEnd::Approved { by },
            Choice::Deny { note } => QuestionEnd::Denied { by, note },
            Choice::DenyNoteFollows => QuestionEnd::Denied { by, note: None },
        };
        let counted =
            self.conclude_owned(question, settlement, note_follows).await.map_err(CannotAnswer::Store)?;
        let outcome = if counted { AnswerOutcome::Resolved } else { AnswerOutcome::AlreadyResolved };
        Ok(Answered { id: Some(id), outcome, ended: None })
    }

    /// A question that a reload has overtaken a moment ago is not approved first and refused then.
    async fn end_if_overtaken(self: &Rc<Self>, id: RequestId) -> Result<(), StoreError> {
        let question = self.desk.borrow().get(id);
        let why = question.and_then(|question| drift(&self.setup(), &question.call));
        let Some(why) = why else { return Ok(()) };
        let Some(question) = self.take_away(id) else { return Ok(()) };
        self.conclude_owned(question, QuestionEnd::Void(why), false).await.map(drop)
    }

    /// How a question ended that is not open any more. None also when the record cannot be read or does not say.
    async fn how_ended(&self, id: RequestId) -> Option<QuestionEnd> {
        let record = self.store.question(id).await;
        record.inspect_err(|e| log::error!("the record cannot be read: {e}")).ok()??.end
    }

    /// An agent takes its own question back, or hears that it has ended.
    ///
    /// # Errors
    /// When that cannot be written down, or the record cannot be read.
    pub async fn withdraw(
        self: &Rc<Self>,
        agent: &AgentId,
        id: RequestId,
    ) -> Result<AnswerOutcome, StoreError> {
        // Another agent's question is as unknown as none: ids are no way to find out about others.
        let asker = self.desk.borrow().asker(id);
        match asker {
            Some(asker) if asker == *agent => {}
            Some(_) => return Ok(AnswerOutcome::Unknown),
            None => return self.ended(agent, id).await,
        }
        let Some(question) = self.desk.borrow_mut().take_away(id) else {
            return Ok(AnswerOutcome::AlreadyResolved);
        };
        let counted = self.conclude_owned(question, QuestionEnd::Withdrawn, false).await?;
        Ok(if counted { AnswerOutcome::Resolved } else { AnswerOutcome::AlreadyResolved })
    }

    /// What is to be said of a question that is not open any more.
    async fn ended(&self, agent: &AgentId, id: RequestId) -> Result<AnswerOutcome, StoreError> {
        let record = self.store.question(id).await?.filter(|record| record.agent == *agent);
        let Some(record) = record else { return Ok(AnswerOutcome::Unknown) };
        // The desk knows of a time-out that a full disk did not take.
        let expired = record.end == Some(QuestionEnd::TimedOut)
            || self.desk.borrow().past(id) == AnswerOutcome::Expired;
        Ok(if expired { AnswerOutcome::Expired } else { AnswerOutcome::AlreadyResolved })
    }

    pub(super) fn register_waiter(&self, id: RequestId) -> Receiver<QuestionEnd> {
        let (sender, receiver) = bounded(1);
        self.waiters.borrow_mut().insert(id, sender);
        receiver
    }

    pub(super) fn drop_waiter(&self, id: RequestId) {
        self.waiters.borrow_mut().remove(&id);
    }

    /// Waits for the end of a question. When its time is over, ends it, whether or not that can be written down; when a
    /// reload has overtaken it, too, as soon as that can be written down.
    pub(super) async fn settlement(
        self: &Rc<Self>,
        question: &Arc<Question>,
        waiter: &Receiver<QuestionEnd>,
    ) -> QuestionEnd {
        loop {
            let (now, reloaded) = (self.clock.now(), self.reloaded());
            let deadline = self.desk.borrow().deadline(question.id);
            let over = deadline.is_none_or(|d| d.is_over(now));
            let end = match over {
                true => Some(QuestionEnd::TimedOut),
                false => drift(&self.setup(), &question.call).map(QuestionEnd::Void),
            };
            let mut nap = if end.is_some() { BUSY } else { deadline.map_or(BUSY, |d| d.nap(now)) };
            if let Some(end) = end
                && let Some(question) = self.take_away(question.id)
                && self.conclude(question.clone(), end, false).await.is_err()
            {
                if over {
                    self.expire_unrecorded(&question);
                    return QuestionEnd::TimedOut;
                }
                nap = deadline.map_or(RETRY, |d| d.nap(now).min(RETRY));
            }
            let heard = async { waiter.recv().await.ok() };
            let woken = async {
                let napped = async {
                    Timer::after(nap).await;
                };
                future::or(reloaded.wait(), napped).await;
                None
            };
            if let Some(settlement) = future::or(heard, woken).await {
                return settlement;
            }
        }
    }

    /// A full disk makes no question longer: it leaves the desk, and the record hears of it when it can. If the
    /// gateway stops before, the next start finds the deadline over.
    fn expire_unrecorded(self: &Rc<Self>, question: &Arc<Question>) {
        let id = question.id;
        self.desk.borrow_mut().settle(id, true);
        self.channels.tell(|channel| channel.settled(question, &QuestionEnd::TimedOut));
        let gate = self.clone();
        let write_down = async move {
            loop {
                Timer::after(RETRY).await;
                let (outcome, now) = (Outcome::TimedOut, gate.clock.now());
                match gate.store.answer(id, &QuestionEnd::TimedOut, Some(&outcome), now, true).await {
                    Ok(_) => return log::info!("request {id}: that nobody answered is recorded now"),
                    Err(StoreError::Stopped) => return,
                    Err(e) => {
                        log::debug!("request {id}: that nobody answered can still not be recorded: {e}")
                    }
                }
            }
        };
        self.executor.spawn(write_down).detach();
    }

    fn take_away(&self, id: RequestId) -> Option<Arc<Question>> {
        self.desk.borrow_mut().take_away(id)
    }

    /// As [`Gate::conclude`], but never left half done when the caller goes away.
    async fn conclude_owned(
        self: &Rc<Self>,
        question: Arc<Question>,
        settlement: QuestionEnd,
        note_follows: bool,
    ) -> Result<bool, StoreError> {
        let gate = self.clone();
        let done = self.owned(async move { gate.conclude(question, settlement, note_follows).await }).await;
        done.unwrap_or(Ok(false))
    }

    /// Writes down how a taken question ended, then tells everybody. False when the record knew better.
    async fn conclude(
        &self,
        question: Arc<Question>,
        settlement: QuestionEnd,
        note_follows: bool,
    ) -> Result<bool, StoreError> {
        let (id, now) = (question.id, self.clock.now());
        let outcome = outcome_of(&settlement);
        let durable = durable(&question.call);
        let counted = match self.store.answer(id, &settlement, outcome.as_ref(), now, durable).await {
            Ok(counted) => counted,
            Err(e) => {
                log::error!("request {id}: the answer could not be recorded: {e}");
                self.desk.borrow_mut().open(id);
                return Err(e);
            }
        };
        let deadline = self.desk.borrow().deadline(id);
        self.desk.borrow_mut().settle(id, settlement == QuestionEnd::TimedOut);
        log::info!("request {id}: {}{}", settlement.as_str(), by(&settlement));
        if counted {
            self.count_answer(&question.call, &settlement);
        }
        if counted && note_follows {
            self.open_window(&question, deadline);
        }
        let told = if counted { settlement } else { QuestionEnd::Void(Void::Ended) };
        self.channels.tell(|channel| channel.settled(&question, &told));
        if let Some(waiter) = self.waiters.borrow().get(&id) {
            let _ = waiter.try_send(told);
        }
        Ok(counted)
    }
}

fn by(settlement: &QuestionEnd) -> String {
    settlement.by().map(|by| format!(" by {by}")).unwrap_or_default()
}

/// What the agent hears of a question that ended without leading to an execution.
pub(super) fn outcome_of(settlement: &QuestionEnd) -> Option<Outcome> {
    match settlement {
        QuestionEnd::Approved { .. } => None,
        QuestionEnd::Denied { note, .. } => Some(Outcome::DeniedByUser { note: note.clone() }),
        QuestionEnd::TimedOut => Some(Outcome::TimedOut),
        QuestionEnd::Withdrawn => Some(Outcome::Withdrawn),
        QuestionEnd::Void(why) => Some(why.outcome()),
    }
}
