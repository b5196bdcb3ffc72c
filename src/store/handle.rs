//! The gate's handle on the record. Every function returns after its transaction was committed, with or without
//! waiting for the disk as `durable` says; an error means that nothing of it was written.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use super::chain::TokenKey;
use super::claim::{self, Claim};
use super::entry::{
    LimitReset, LiveSessions, NewCall, NoteKind, Recovered, RefusedRequest, Replay, Stage, StoreHealth,
    StoreOptions,
};
use super::error::StoreError;
use super::gauges::Gauges;
use super::job::{StoreOrder, TypedJob};
use super::latency::StoreLatency;
use super::tx::Tx;
use super::{age, counters, folding, keys, ledger, opening, retention};
use crate::base::clock::{Clock, Timestamp, Uptime};
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::base::reply::reply;
use crate::model::{AgentId, Call, Charge, Outcome, QuestionEnd, QuestionRecord, Reading, Responder};

/// Jobs that may wait. More than the gate can have in flight; beyond it calls fail at once instead of piling up.
const QUEUE: usize = 8192;

/// The most steps of one [`Store::maintain`].
const MAINTAIN_STEPS: usize = 50;

/// The record. Cheap to clone; all clones feed the one writing thread.
#[derive(Clone)]
pub struct Store {
    queue: SyncSender<StoreOrder>,
    shared: Arc<Gauges>,
    /// Calls whose record waited for the disk: their end does too.
    pub(super) durable: Rc<RefCell<HashSet<RequestId>>>,
    /// Where [`Store::maintain`] has come to among the results.
    swept: Rc<Cell<i64>>,
    /// Seals what others hold for us.
    tokens: TokenKey,
}

impl Store {
    /// Opens or makes the record and starts its thread. Blocks for as long as the disk takes. The clock goes on from
    /// the newest recorded time where it cannot be believed ([`Clock::carry_on`]).
    ///
    /// # Errors
    /// A newer schema, a damaged or foreign file, a place that cannot be written, another gateway on the same file, a
    /// missing or wrong key: each its own variant, with [`StoreError::help`].
    pub fn open(options: StoreOptions, clock: &Clock) -> Result<(Store, Recovered), StoreError> {
        let path = options.path.clone();
        let (writer, recovered) = opening::open(options, clock)?;
        let (shared, tokens) = (writer.shared.clone(), writer.chain.key.derive("tokens"));
        let (queue, jobs) = sync_channel(QUEUE);
        let thread = thread::Builder::new().name("agentpass-store".into()).spawn(move || writer.serve(&jobs));
        thread.map_err(|e| StoreError::unwritable(&path, &e))?;
        let (durable, swept) = Default::default();
        Ok((Store { queue, shared, durable, swept, tokens }, recovered))
    }

    /// Seals what somebody else is to hold and bring back, for one `purpose`: the same over restarts of this record, and
    /// nobody without its key can make it.
    pub(crate) fn token(&self, purpose: &str, parts: &[&[u8]]) -> Digest {
        let lengths: Vec<_> = parts.iter().map(|part| (part.len() as u64).to_be_bytes()).collect();
        let framed = lengths.iter().zip(parts).flat_map(|(length, part)| [length.as_slice(), part]);
        let all: Vec<&[u8]> = [purpose.as_bytes(), b"."].into_iter().chain(framed).collect();
        self.tokens.mac(&all)
    }

    /// Records a call that is not executed now: a question, or one that ends with that. With `durable` it is on disk
    /// when this returns.
    ///
    /// # Errors
    /// [`StoreError::KeyInUse`] when its idempotency key is still remembered; else when nothing could be written.
    pub async fn record(&self, new: NewCall, stage: Stage, durable: bool) -> Result<(), StoreError> {
        let (id, open) = (new.id, matches!(stage, Stage::Asked { .. }));
        self.submit(durable, move |tx| ledger::record(tx, &new, &stage)).await?;
        self.remember_durable(id, durable && open);
        Ok(())
    }

    /// Records an allowed call and claims it in the same transaction; the charges of its verdict count from then on.
    ///
    /// # Errors
    /// As for [`Store::record`]; the call must then not be executed.
    pub async fn record_claimed(&self, new: NewCall, durable: bool) -> Result<Claim, StoreError> {
        let claim = self.submit(durable, move |tx| claim::allowed(tx, &new)).await?;
        self.remember_durable(claim.id(), durable);
        Ok(claim)
    }

    /// Records a request that never became a call.
    ///
    /// # Errors
    /// When nothing could be written.
    pub async fn refuse(&self, refusal: RefusedRequest) -> Result<(), StoreError> {
        self.submit(false, move |tx| ledger::refuse(tx, &refusal)).await
    }

    /// Answers a question. An approval leaves it approved; everything else ends it with `outcome`, which must then be
    /// given. A void answer also ends a call that was approved and not yet claimed. False: it was not open any more.
    ///
    /// # Errors
    /// When nothing could be written.
    pub async fn answer(
        &self,
        id: RequestId,
        end: &QuestionEnd,
        outcome: Option<&Outcome>,
        at: Timestamp,
        durable: bool,
    ) -> Result<bool, StoreError> {
        let ends = !matches!(end, QuestionEnd::Approved { .. });
        let (end, outcome) = (end.clone(), outcome.cloned());
        let work = move |tx: &mut Tx<'_>| ledger::answer(tx, id, &end, outcome.as_ref(), at);
        let answered = self.submit(durable, work).await?;
        if ends && answered {
            self.durable.borrow_mut().remove(&id);
        }
        Ok(answered)
    }

    /// Adds the reason to a denial that was recorded without one: to the record as an event of its own, and to the
    /// result that waits for the agent. False: that call was not denied by a person, or has a reason already.
    ///
    /// # Errors
    /// When nothing could be written; the denial stands as it was.
    pub async fn add_note(
        &self,
        id: RequestId,
        note: String,
        by: Responder,
        at: Timestamp,
        durable: bool,
    ) -> Result<bool, StoreError> {
        self.submit(durable, move |tx| ledger::add_note(tx, id, &note, &by, at)).await
    }

    /// Claims an approved call: Some exactly once ever, also across restarts, and only for the call that was asked about.
    /// `charges` count from then on.
    ///
    /// # Errors
    /// When nothing could be written; the call must then not be executed.
    pub async fn claim(
        &self,
        id: RequestId,
        call: Arc<Call>,
        charges: Vec<Charge>,
        at: Timestamp,
        durable: bool,
    ) -> Result<Option<Claim>, StoreError> {
        let claim = self.submit(durable, move |tx| claim::approved(tx, id, &call, &charges, at)).await?;
        self.remember_durable(id, durable && claim.is_some());
        Ok(claim)
    }

    /// Ends a call: outcome, event and result together; its arguments are wiped. It waits for the disk if the call's
    /// record or claim did.
    ///
    /// # Errors
    /// [`StoreError::NotOpen`] when it was ended before; else when nothing could be written: it can be tried again.
    pub async fn settle(&self, id: RequestId, outcome: &Outcome, at: Timestamp) -> Result<(), StoreError> {
        let durable = self.durable.borrow().contains(&id);
        let outcome = outcome.clone();
        self.submit(durable, move |tx| ledger::settle(tx, id, &outcome, at)).await?;
        self.durable.borrow_mut().remove(&id);
        Ok(())
    }

    /// Records something that belongs to no call. `detail` is a JSON object without secrets.
    ///
    /// # Errors
    /// When nothing could be written.
    pub async fn note(&self, at: Timestamp, kind: NoteKind, detail: Value) -> Result<(), StoreError> {
        self.submit(false, move |tx| ledger::note(tx, at, kind, &detail)).await
    }

    /// What an idempotency key of this agent stands for.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn replay(
        &self,
        agent: &AgentId,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<Replay>, StoreError> {
        let (agent, key) = (agent.clone(), key.to_owned());
        self.submit(false, move |tx| keys::replay(tx, &agent, &key, now)).await
    }

    /// Binds one more idempotency key to a request that another caller began.
    ///
    /// # Errors
    /// [`StoreError::KeyInUse`] when the key is remembered for something else; else when nothing could be written.
    pub async fn alias(
        &self,
        agent: &AgentId,
        key: &str,
        id: RequestId,
        digest: Digest,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let (agent, key, bound) = (agent.clone(), key.to_owned(), keys::Bound { id, digest, at });
        self.submit(true, move |tx| keys::join(tx, &agent, &key, &bound)).await
    }

    /// These results have arrived at their agent. The next fold writes it down; those that are not stored yet never are.
    pub fn received(&self, ids: impl IntoIterator<Item = RequestId>) {
        self.shared.received.add(ids);
    }

    /// Has written down which results have arrived.
    ///
    /// # Errors
    /// When nothing could be written; they are offered again until a later fold has written it down.
    pub async fn write_received(&self) -> Result<(), StoreError> {
        self.submit(false, folding::fold_received).await
    }

    /// Drops what is too old or too much, in bounded steps between which other jobs run; what is left over waits for
    /// the next call. Call it every hour or so: what grows fast does not wait for it. Empties the write-ahead log, so wiped arguments are gone from it too.
    ///
    /// # Errors
    /// When nothing could be written.
    pub async fn maintain(&self, now: Timestamp) -> Result<(), StoreError> {
        for _ in 0..MAINTAIN_STEPS {
            let swept = self.swept.get();
            let (swept, more) = self.submit(false, move |tx| retention::step(tx, now, swept)).await?;
            self.swept.set(swept);
            if !more {
                break;
            }
        }
        Ok(())
    }

    /// Writes down how long the open questions have been open, for a start after which the wall clock may stand
    /// earlier. Call it every minute or so while there are any, and before the end.
    ///
    /// # Errors
    /// When nothing could be written.
    pub(crate) async fn keep_ages(&self) -> Result<(), StoreError> {
        self.submit(false, |tx| age::write_down(tx.db, Uptime::now())).await
    }

    /// What is counted of this limit begins anew: of this agent, or of all.
    ///
    /// # Errors
    /// When nothing could be written.
    pub async fn reset_limit(&self, at: Timestamp, reset: LimitReset) -> Result<(), StoreError> {
        self.submit(true, move |tx| ledger::reset_limit(tx, at, &reset)).await
    }

    /// Records that these data are handed out.
    ///
    /// # Errors
    /// When nothing could be written; they must then not be handed out.
    pub async fn hand_out(&self, readings: Vec<Reading>) -> Result<(), StoreError> {
        self.submit(true, move |tx| ledger::hand_out(tx, &readings)).await
    }

    /// A person lets it be forgotten what an agent has read.
    ///
    /// # Errors
    /// When nothing could be written.
    pub async fn forget(&self, at: Timestamp, agent: AgentId, by: Responder) -> Result<(), StoreError> {
        self.submit(true, move |tx| ledger::forget(tx, at, &agent, &by)).await
    }

    /// Forgets what sessions without a claim since then have counted, and keeps when those that `live` last called.
    ///
    /// # Errors
    /// When nothing could be written.
    pub async fn end_sessions(&self, idle_since: Timestamp, live: LiveSessions) -> Result<(), StoreError> {
        // Whatever is recorded by now was called before `live` was looked at.
        let through = self.health().events;
        let work = move |tx: &mut Tx<'_>| {
            folding::fold(tx)?;
            counters::end_sessions(tx.db, idle_since, (&live, through))
        };
        self.submit(false, work).await
    }

    /// Keeps the newest time over restarts while the clock is behind it; None when that is over.
    ///
    /// # Errors
    /// When nothing could be written.
    pub(crate) async fn keep_newest_time(&self, newest: Option<Timestamp>) -> Result<(), StoreError> {
        self.submit(false, move |tx| ledger::keep_newest_time(tx, newest)).await
    }

    /// Keeps a small value of the gateway's own, on disk when this returns: a channel's place in its feed.
    ///
    /// # Errors
    /// When nothing could be written.
    pub async fn remember(&self, name: &str, value: String) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.submit(true, move |tx| ledger::remember(tx, &name, &value)).await
    }

    /// What [`Store::remember`] kept under this name.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn recall(&self, name: &str) -> Result<Option<String>, StoreError> {
        let name = name.to_owned();
        self.submit(false, move |tx| ledger::recall(tx, &name)).await
    }

    /// How a call's question ended and what came of it; None when there is no such call.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub(crate) async fn question(&self, id: RequestId) -> Result<Option<QuestionRecord>, StoreError> {
        self.submit(false, move |tx| ledger::question(tx, id)).await
    }

    /// The writer's state, without waiting.
    pub fn health(&self) -> StoreHealth {
        self.shared.health()
    }

    /// How long the record has taken, without waiting.
    pub fn latency(&self) -> StoreLatency {
        self.shared.latency.read()
    }

    /// Whether the writing thread still answers, whatever the disk says; waits for what is queued before. False only
    /// when it cannot be asked.
    pub(crate) async fn is_alive(&self) -> bool {
        let (reply, answered) = smol::channel::bounded(1);
        self.queue.try_send(StoreOrder::Ping(reply)).is_ok() && answered.recv().await.is_ok()
    }

    /// Ends the thread after everything queued so far: all on disk, head exported, files let go. Later calls through
    /// other clones fail with [`StoreError::Stopped`].
    pub async fn close(self) {
        let (reply, closed) = smol::channel::bounded(1);
        let mut message = StoreOrder::Close(reply);
        while let Err(TrySendError::Full(back)) = self.queue.try_send(message) {
            message = back;
            smol::Timer::after(std::time::Duration::from_millis(1)).await;
        }
        // An error means that the thread has ended already.
        let _ = closed.recv().await;
    }

    pub(super) fn remember_durable(&self, id: RequestId, durable: bool) {
        if durable {
            self.durable.borrow_mut().insert(id);
        }
    }

    pub(super) async fn submit<T: Send + 'static>(
        &self,
        durable: bool,
        work: impl FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let began = Instant::now();
        let (reply, answer) = reply();
        let job = StoreOrder::Job(Box::new(TypedJob { durable, work, done: None, reply }));
        self.shared.queue.fetch_add(1, Ordering::Relaxed);
        if let Err(e) = self.queue.try_send(job) {
            self.shared.queue.fetch_sub(1, Ordering::Relaxed);
            return Err(match e {
                TrySendError::Full(_) => StoreError::Overloaded,
                TrySendError::Disconnected(_) => StoreError::Stopped,
            });
        }
        let answered = answer.await.ok_or(StoreError::Stopped)?;
        self.shared.latency.answered(durable, began.elapsed());
        answered
    }
}
