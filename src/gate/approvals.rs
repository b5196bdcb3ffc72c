//! Questions from the moment they are asked to their end, whoever or whatever ends them.
//!
//! Every end goes the same way: taken from the desk, written down, then told to the waiter and to all channels.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use smol::Timer;
use smol::channel::{Receiver, Sender, bounded};
use smol::future;

use super::Executor;
use super::answered::Answered;
use super::counting::{Counting, Votes};
use super::grants::ExpectedGrant;
use super::notes::NoteWindows;
use super::offered::{Ended, Heard, Written};
use super::recording::RETRY;
use super::setup::{CurrentSetup, Setup};
use crate::approval::desk::{Desk, IdMatch};
use crate::approval::{Channel, Channels};
use crate::base::clock::{Clock, Timestamp};
use crate::base::ids::RequestId;
use crate::model::{AgentId, AnswerOutcome, Choice, Question, QuestionEnd, Responder, Void};
use crate::store::{Store, StoreError};

/// How long to wait before looking again at a question that somebody is answering right now.
const BUSY: Duration = Duration::from_millis(50);

/// The open questions.
pub struct Approvals {
    pub(super) executor: Executor,
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) channels: Rc<Channels>,
    pub(super) desk: RefCell<Desk>,
    /// The calls that wait for an answer.
    pub(super) waiters: RefCell<HashMap<RequestId, Sender<Heard>>>,
    notes: NoteWindows,
    pub(super) votes: Votes,
}

impl Approvals {
    pub(super) fn new(
        executor: Executor,
        clock: Clock,
        store: Store,
        channels: Rc<Channels>,
    ) -> Rc<Approvals> {
        let notes = NoteWindows::new(executor.clone(), clock.clone(), store.clone());
        let (desk, waiters, votes) = Default::default();
        Rc::new(Approvals { executor, clock, store, channels, desk, waiters, notes, votes })
    }

    /// The questions that have not ended, the oldest first.
    pub fn questions(&self) -> Vec<Arc<Question>> {
        self.desk.borrow().questions()
    }

    /// The channel with this name.
    pub(crate) fn channel(&self, name: &str) -> Option<Rc<dyn Channel>> {
        self.channels.named(name)
    }

    /// An open question that nobody is answering right now.
    pub(crate) fn question(&self, id: RequestId) -> Option<Arc<Question>> {
        self.desk.borrow().get(id)
    }

    /// Who has said yes so far, of several people who must.
    pub(super) fn yes(&self, id: RequestId) -> Vec<Responder> {
        self.desk.borrow().yes(id).to_vec()
    }

    /// What the record knows of that after a restart.
    pub(super) fn said_yes(&self, id: RequestId, all: Vec<Responder>) {
        all.into_iter().for_each(|by| self.desk.borrow_mut().count(id, by));
    }

    /// How many questions this agent has open.
    pub(super) fn count_of(&self, agent: &AgentId) -> usize {
        self.desk.borrow().count_of(agent)
    }

    /// Time left to answer a question, by the stricter of two clocks. Zero when it is not open.
    pub(crate) fn time_left(&self, id: RequestId) -> Duration {
        let now = self.clock.now();
        self.desk.borrow().deadline(id).map(|d| d.left(now)).unwrap_or_default()
    }

    /// Keeps a place for a question that is about to be written down. `now` is when its deadline is promised.
    pub(super) fn reserve(&self, question: &Arc<Question>, now: Timestamp) {
        self.desk.borrow_mut().reserve(question.clone(), now);
    }

    /// The question could not be written down: it was never asked.
    pub(super) fn forget(&self, id: RequestId) {
        self.desk.borrow_mut().forget(id);
    }

    /// Asks a reserved question that is on disk, and waits for its end. When its time is over, ends it, whether or not
    /// that can be written down; when a reload has made it void, too, as soon as that can be written down. A yes that is
    /// offered to the call is written down by `approve`, of which the result comes along.
    pub(super) async fn ask<T>(
        &self,
        question: &Arc<Question>,
        setups: &CurrentSetup,
        forbids: impl Fn(&Setup, &Question) -> Option<Void>,
        approve: impl AsyncFn(&Arc<Question>, &Responder) -> Written<T>,
    ) -> (Ended, Option<T>) {
        let (tell, waiter) = bounded(1);
        self.waiters.borrow_mut().insert(question.id, tell);
        self.desk.borrow_mut().open(question.id);
        self.channels.tell(|channel| channel.asked(question));
        let end = self.until_ended(question, &waiter, setups, forbids, approve).await;
        self.waiters.borrow_mut().remove(&question.id);
        end
    }

    async fn until_ended<T>(
        &self,
        question: &Arc<Question>,
        waiter: &Receiver<Heard>,
        setups: &CurrentSetup,
        forbids: impl Fn(&Setup, &Question) -> Option<Void>,
        approve: impl AsyncFn(&Arc<Question>, &Responder) -> Written<T>,
    ) -> (Ended, Option<T>) {
        let mut got = None;
        loop {
            let (now, reloaded) = (self.clock.now(), setups.replaced());
            // A person may have changed the call meanwhile.
            let latest = self.desk.borrow().latest(question.id);
            let question = latest.as_ref().unwrap_or(question);
            let deadline = self.desk.borrow().deadline(question.id);
            let over = deadline.is_none_or(|d| d.is_over(now));
            let end = match over {
                true => Some(QuestionEnd::TimedOut),
                false => forbids(&setups.get(), question).map(QuestionEnd::Void),
            };
            let is_stopped = matches!(end, Some(QuestionEnd::Void(Void::Stopped { .. })));
            let mut nap = if end.is_some() { BUSY } else { deadline.map_or(BUSY, |d| d.nap(now)) };
            if let Some(end) = end
                && let Some(question) = self.take_away(question.id)
                && self.conclude(question.clone(), end.clone(), (None, None)).await.is_err()
            {
                if over || is_stopped {
                    return ((self.end_unrecorded(&question, end), question), got);
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
            match future::or(heard, woken).await {
                Some(Heard::Ended(end)) => return (end, got),
                Some(Heard::Yes(offer)) => got = offer.take(&approve).await,
                None => {}
            }
        }
    }

    /// The note to a denial, for which its window is waited for. The channels hear of it, too.
    pub(super) async fn note(&self, question: &Arc<Question>) -> Option<String> {
        let note = self.notes.wait(question.id).await?;
        let shown = note.as_ref().map(|(text, by)| (text.as_str(), by));
        self.channels.tell(|channel| channel.notes().into_iter().for_each(|it| it.noted(question, shown)));
        note.map(|(text, _)| text)
    }

    /// How long a note to this denial is still taken; zero when it is not.
    pub fn note_window(&self, id: RequestId) -> Duration {
        self.notes.time_left(id)
    }

    /// The reason for a denial, or None: there will be none. Either ends the window. False: the window is not open
    /// (any more), or somebody was first.
    ///
    /// # Errors
    /// When the note cannot be written down. The denial stands without it.
    pub async fn add_note(
        &self,
        id: RequestId,
        note: Option<String>,
        by: Responder,
    ) -> Result<bool, StoreError> {
        self.notes.add(id, note, by).await
    }

    /// What to say of a question that is not open.
    pub(super) fn past_of(&self, id: RequestId) -> AnswerOutcome {
        self.desk.borrow().past(id)
    }

    /// The question whose id begins with `prefix`.
    pub(super) fn find(&self, prefix: &str) -> IdMatch {
        self.desk.borrow().find(prefix)
    }

    /// A person's answer, of which `counting` says what it is worth. A note to a denial may follow for `note_window`; a yes may
    /// give a grant.
    ///
    /// # Errors
    /// When the answer cannot be written down.
    pub(super) async fn answer(
        self: &Rc<Self>,
        id: RequestId,
        (choice, by): (Choice, Responder),
        counting: &Counting,
        (note_window, grant): (Duration, Option<ExpectedGrant>),
    ) -> Result<Answered, StoreError> {
        if let (Choice::Approve(approval), Some(question)) = (&choice, self.question(id))
            && !question.is_meant_by(approval)
        {
            return Ok(Answered { id: Some(id), outcome: AnswerOutcome::Stale, ended: None });
        }
        let late = self.approved_question(id);
        if (late.is_some() || self.question(id).is_some()) && !counting.admits(&by) {
            log::warn!("request {id}: {by} is not among those whose answers count; nothing was done");
            return Ok(Answered { id: Some(id), outcome: AnswerOutcome::NotApprover, ended: None });
        }
        if let (Some(question), Choice::Deny { .. } | Choice::DenyNoteFollows) = (late, &choice) {
            let note = if let Choice::Deny { note } = choice { note } else { None };
            let outcome = self.overrule_surely(question, by, note).await?;
            return Ok(Answered { id: Some(id), outcome, ended: None });
        }
        let taken = self.desk.borrow_mut().take(id, self.clock.now());
        let question = match taken {
            Ok(question) => question,
            Err(outcome) => return Ok(Answered { id: Some(id), outcome, ended: self.how_ended(id).await }),
        };
        if let (Choice::Approve(_), 2..) = (&choice, counting.need()) {
            let (yes, before) = (self.yes(id), counting.tally(&self.yes(id)));
            let tally = counting.tally(&[yes.as_slice(), slice::from_ref(&by)].concat());
            if tally.have < tally.need {
                let outcome = self.count_surely(question, by, before.have, tally).await?;
                return Ok(Answered { id: Some(id), outcome, ended: None });
            }
        }
        let (end, window) = match choice {
            Choice::Approve(_) => (QuestionEnd::Approved { by }, None),
            Choice::Deny { note } => (QuestionEnd::Denied { by, note }, None),
            Choice::DenyNoteFollows => (QuestionEnd::Denied { by, note: None }, Some(note_window)),
        };
        let outcome = self.conclude_surely(question, end, (window, grant)).await?;
        Ok(Answered { id: Some(id), outcome, ended: None })
    }

    /// Ends a question that is not to be answered any more.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub(super) async fn make_void(self: &Rc<Self>, id: RequestId, why: Void) -> Result<(), StoreError> {
        let Some(question) = self.take_away(id) else { return Ok(()) };
        self.conclude_surely(question, QuestionEnd::Void(why), (None, None)).await.map(drop)
    }

    /// An agent takes its own question back, or hears that it has ended.
    ///
    /// # Errors
    /// When that cannot be written down, or the record cannot be read.
    pub(crate) async fn withdraw(
        self: &Rc<Self>,
        agent: &AgentId,
        id: RequestId,
    ) -> Result<AnswerOutcome, StoreError> {
        self.counted(id).await;
        // Another agent's question is as unknown as none: ids are no way to find out about others.
        let asker = self.desk.borrow().asker(id);
        match asker {
            Some(asker) if asker == *agent => {}
            Some(_) => return Ok(AnswerOutcome::Unknown),
            None => return self.past(agent, id).await,
        }
        match self.take_away(id) {
            Some(question) => self.conclude_surely(question, QuestionEnd::Withdrawn, (None, None)).await,
            None => Ok(AnswerOutcome::AlreadyResolved),
        }
    }

    /// What is to be said to an agent of a question that is not open any more.
    async fn past(&self, agent: &AgentId, id: RequestId) -> Result<AnswerOutcome, StoreError> {
        let record = self.store.question(id).await?.filter(|record| record.agent == *agent);
        let Some(record) = record else { return Ok(AnswerOutcome::Unknown) };
        // The desk knows of a time-out that a full disk did not take.
        let expired = record.end == Some(QuestionEnd::TimedOut)
            || self.desk.borrow().past(id) == AnswerOutcome::Expired;
        Ok(if expired { AnswerOutcome::Expired } else { AnswerOutcome::AlreadyResolved })
    }

    /// How a question ended that is not open any more. None also when the record cannot be read or does not say.
    async fn how_ended(&self, id: RequestId) -> Option<QuestionEnd> {
        let record = self.store.question(id).await;
        record.inspect_err(|e| log::error!("the record cannot be read: {e}")).ok()??.end
    }

    fn take_away(&self, id: RequestId) -> Option<Arc<Question>> {
        self.desk.borrow_mut().take_away(id)
    }

    /// Writes down how a taken question ended, then tells everybody. False when the record knew better.
    pub(super) async fn conclude(
        &self,
        question: Arc<Question>,
        end: QuestionEnd,
        (note_window, grant): (Option<Duration>, Option<ExpectedGrant>),
    ) -> Result<bool, StoreError> {
        let (id, now) = (question.id, self.clock.now());
        let durable = question.call.tool().kind.has_side_effects();
        let grant = grant.filter(ExpectedGrant::lasts);
        let counted =
            match self.write_end(&question, &end, grant.as_ref().map(ExpectedGrant::grant), now).await {
                Ok(counted) => counted,
                Err(e) => {
                    log::error!("request {id}: the answer could not be recorded: {e}");
                    self.desk.borrow_mut().open(id);
                    return Err(e);
                }
            };
        if let (QuestionEnd::Approved { .. }, true) = (&end, counted) {
            self.may_be_overruled(&question);
        }
        let left = self.time_left(id);
        self.desk.borrow_mut().settle(id, end == QuestionEnd::TimedOut);
        let by = end.by().map(|by| format!(" by {by}")).unwrap_or_default();
        log::info!("request {id}: {}{by}", end.as_str());
        if let Some(grant) = grant.filter(|_| counted) {
            grant.given();
        }
        if let Some(window) = note_window.filter(|_| counted) {
            self.notes.open(id, window.min(left), durable);
        }
        let told = if counted { end } else { QuestionEnd::Void(Void::Ended) };
        self.channels.tell(|channel| channel.settled(&question, &told));
        if let Some(waiter) = self.waiters.borrow().get(&id) {
            let _ = waiter.try_send(Heard::Ended((told, question.clone())));
        }
        Ok(counted)
    }
}
