//! What the gate is made of.

use std::cell::Ref;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Executor;
use super::answered::{Answered, CannotAnswer};
use super::approvals::Approvals;
use super::counters::CounterBook;
use super::counting::Counting;
use super::flights::Flights;
use super::inbox::Inbox;
use super::ledger::{Kept, Ledger};
use super::setup::{CurrentSetup, Setup};
use super::stops::Stops;
use crate::approval::desk::IdMatch;
use crate::approval::{Channels, YesTally};
use crate::base::clock::Clock;
use crate::base::ids::RequestId;
use crate::base::once_flag::OnceFlag;
use crate::base::zone::Zone;
use crate::model::{AgentId, AnswerOutcome, Call, Choice, Question, Reason, Responder, Terms, Tool, Void};
use crate::policy::{Counters, Facts, NothingCounted};
use crate::store::{NoteKind, Store, StoreError};

/// One per gateway, shared by all surfaces.
pub struct Gate {
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) setup: CurrentSetup,
    pub approvals: Rc<Approvals>,
    pub(crate) flights: Flights,
    pub(crate) ledger: Ledger,
    /// The results that agents have not received.
    pub inbox: Rc<Inbox>,
    pub(crate) stops: Rc<Stops>,
}

impl Gate {
    pub(super) fn new(
        executor: Executor,
        clock: Clock,
        store: Store,
        setup: Setup,
        channels: Rc<Channels>,
        kept: Kept,
    ) -> Gate {
        let stops = Stops::take_up(store.clone(), clock.clone(), kept.stops);
        let kept = Kept { stops: Vec::new(), ..kept };
        let ledger = Ledger::new(&setup, clock.now(), kept);
        Gate {
            stops,
            approvals: Approvals::new(executor.clone(), clock.clone(), store.clone(), channels),
            inbox: Inbox::new(executor.clone(), clock.clone(), store.clone()),
            flights: Flights::new(executor, setup.shares()),
            ledger,
            setup: CurrentSetup::new(setup),
            clock,
            store,
        }
    }

    pub fn setup(&self) -> Rc<Setup> {
        self.setup.get()
    }

    /// Set by the next reload.
    pub(crate) fn reloaded(&self) -> Rc<OnceFlag> {
        self.setup.replaced()
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Puts a new setup in force at once, for everything: whatever waits (for an answer, for a place, for a connection)
    /// looks again before it goes on, and nothing is sent as the old setup had it.
    pub fn reload(&self, setup: Setup) {
        self.ledger.configured(&setup);
        self.flights.share_out(setup.shares());
        self.setup.replace(setup);
        self.review_grants(&self.setup());
    }

    /// Everything that waits looks again before it goes on, and what has not been sent yet is looked at once more.
    pub(super) fn look_again(&self) {
        match self.setup().renewed() {
            Ok(setup) => self.setup.replace(setup),
            Err(e) => {
                log::error!("calls that are connecting to their service go on: {e}");
                self.setup.wake();
            }
        }
    }

    /// What services offer has changed: open questions are looked at again, and people are told, if there is anything to
    /// tell.
    pub(crate) fn services_changed(&self, told: Option<String>) {
        self.setup.wake();
        if let Some(text) = told {
            log::warn!("{text}");
            self.approvals.channels.tell(|channel| channel.notice(&text));
        }
    }

    /// The tools that this agent may see: all but those that the policy always denies it.
    pub(crate) fn tools(&self, agent: &AgentId) -> Vec<Arc<Tool>> {
        let setup = self.setup();
        let offered = |tool: &&Arc<Tool>| !setup.policy.always_denies(agent, tool);
        setup.config.tools.values().filter(offered).cloned().collect()
    }

    /// Everything besides the rules that counts for `call` in `session` at this moment. `counters`: what has been counted,
    /// or nothing where limits have no say.
    pub(crate) fn facts<'a>(
        &self,
        setup: &Setup,
        call: &Call,
        session: Option<&'a str>,
        counters: &'a dyn Counters,
    ) -> Facts<'a> {
        let now = self.clock.now();
        Facts {
            stopped: self.stops.of(call.agent()),
            session,
            counters,
            cool_down: self.ledger.cool_down(setup, call, now),
            open_questions: self.approvals.count_of(call.agent()),
            now,
            clock_set: self.clock.is_set(),
            zone: Zone::system(),
            read: self.carried(setup, call, session),
            ..setup.facts(call)
        }
    }

    /// What has been counted under limits.
    pub(crate) fn counters(&self) -> Ref<'_, CounterBook> {
        self.ledger.counters.borrow()
    }

    /// What forbids a call now that was allowed or asked about before. What has been counted is looked at when it is
    /// claimed: until then it may be counted no more, and afterwards the call itself is counted.
    pub(super) fn forbids(&self, setup: &Setup, call: &Call, session: Option<&str>) -> Option<Void> {
        setup.policy.still_permitted(call, &self.facts(setup, call, session, &NothingCounted)).err()
    }

    /// What answers to a question are worth at this moment.
    fn counting(&self, id: RequestId) -> Counting {
        let open = self.approvals.question(id);
        self.counting_of(open.or_else(|| self.approvals.approved_question(id)).as_deref())
    }

    pub(super) fn counting_of(&self, question: Option<&Question>) -> Counting {
        let setup = self.setup();
        let now = question.map(|question| self.terms_now(&setup, question)).unwrap_or_default();
        Counting::new(setup, question, &now)
    }

    /// Who has said yes to an open question so far.
    pub(crate) fn tally(&self, id: RequestId) -> YesTally {
        self.counting(id).tally(&self.approvals.yes(id))
    }

    /// Whether an answer of this one to an open question counts.
    pub(crate) fn admits(&self, id: RequestId, by: &Responder) -> bool {
        self.counting(id).admits(by)
    }

    /// On what terms the rules ask about a question's call now.
    fn terms_now(&self, setup: &Setup, question: &Question) -> Terms {
        let (call, session) = (&question.call, question.session.as_deref());
        setup.policy.judge(call, &self.facts(setup, call, session, &NothingCounted)).terms
    }

    /// What a rule says against handing out the outcome of this call once more. Nothing is sent again, so flows and limits
    /// have no say.
    pub(super) fn denied_by_rule(&self, call: &Call, session: Option<&str>) -> Option<Void> {
        let setup = self.setup();
        let mut verdict = setup.policy.judge(call, &self.facts(&setup, call, session, &NothingCounted));
        verdict.reasons.retain(|reason| matches!(reason, Reason::DeniedByRule(_)));
        verdict.forbidden().filter(|_| !verdict.reasons.is_empty())
    }

    /// A person's answer to the question whose id begins with `prefix`.
    ///
    /// # Errors
    /// When the prefix fits several questions, or the answer cannot be written down.
    pub async fn answer(
        self: &Rc<Self>,
        prefix: &str,
        choice: Choice,
        by: Responder,
    ) -> Result<Answered, CannotAnswer> {
        let id = match self.approvals.find(prefix) {
            IdMatch::One(id) => id,
            IdMatch::None => return Ok(Answered { id: None, outcome: AnswerOutcome::Unknown, ended: None }),
            IdMatch::Several => return Err(CannotAnswer::Several),
        };
        // The call is not made before a no that has come has been heard.
        let _heard = (!matches!(choice, Choice::Approve(_))).then(|| self.approvals.object(id));
        // An answer that is being counted neither takes nor keeps the word from others.
        self.approvals.counted(id).await;
        let setup = self.setup();
        // A question that a reload has overtaken a moment ago is not approved first and refused then.
        let forbidden = self
            .approvals
            .question(id)
            .and_then(|question| self.forbids(&setup, &question.call, question.session.as_deref()));
        if let Some(why) = forbidden {
            self.approvals.make_void(id, why).await.map_err(CannotAnswer::Store)?;
        }
        match choice {
            Choice::Approve(approval) if !approval.set.is_empty() => {
                let answered = self.edit_and_approve(id, approval, by).await?;
                self.ledger.metrics.edited(answered.outcome.as_str());
                Ok(answered)
            }
            choice => self.take_answer(id, choice, by).await,
        }
    }

    /// An answer to the call as it is asked about.
    pub(super) async fn take_answer(
        self: &Rc<Self>,
        id: RequestId,
        choice: Choice,
        by: Responder,
    ) -> Result<Answered, CannotAnswer> {
        self.approvals.counted(id).await;
        let (count, window) = (self.counting(id), self.setup().config.approvals.note_window);
        let grant = match self.wished_by(id, &choice, &by) {
            Ok(grant) => grant,
            Err(why) => {
                return Ok(Answered { id: Some(id), outcome: AnswerOutcome::Refused(why), ended: None });
            }
        };
        let answered = self.approvals.answer(id, (choice, by), &count, (window, grant)).await;
        if let Ok(Answered { outcome: AnswerOutcome::Counted { .. }, .. }) = &answered {
            self.ledger.metrics.total(|totals| totals.counted += 1);
        }
        answered.map_err(CannotAnswer::Store)
    }

    /// A person takes the present time as right.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub(crate) async fn accept_clock(&self, by: &Responder) -> Result<(), StoreError> {
        let newest = self.clock.newest().map(|at| at.to_string());
        self.clock.accept();
        let detail = json!({"by": by.as_str(), "newest": newest});
        self.store.note(self.clock.now(), NoteKind::ClockAccepted, detail).await?;
        self.store.keep_newest_time(None).await
    }

    /// Runs a task of the gate's own.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.flights.executor.spawn(task).detach();
    }

    /// Writes an event of the gateway itself (started, stopped, reloaded) into the record.
    pub async fn note(&self, kind: NoteKind) {
        self.note_with(kind, json!({"version": env!("CARGO_PKG_VERSION")})).await;
    }

    /// The same with a `detail` of its own: a JSON object without secrets.
    pub(crate) async fn note_with(&self, kind: NoteKind, detail: Value) {
        if let Err(e) = self.store.note(self.clock.now(), kind, detail).await {
            log::error!("\"{}\" could not be recorded: {e}", kind.as_str());
        }
    }
}
