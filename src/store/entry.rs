//! What goes into the record and what comes out of it: plain data, no SQL.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::base::clock::{Timestamp, Uptime};
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::base::words::words;
use crate::model::{
    AgentId, AskReason, AskTerms, Call, CounterKey, Grant, GrantEnd, Outcome, Question, Reading, Responder,
    RuleRef, SessionNumber, Stop, Tally, Terms, Verdict,
};

/// Where the record lies and how long it is kept.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The database; `.key`, `.head` and `.lock` are made beside it.
    pub path: PathBuf,
    /// Every commit waits for the disk, not only those of calls with side effects.
    pub sync_all: bool,
    /// Events older than this are dropped; 0 keeps them.
    pub retain_days: u32,
    /// The oldest events are dropped when the record is larger than this; 0 sets no bound. Results take a sixteenth of
    /// it per agent, and a quarter in all, beside it.
    pub max_mb: u64,
    /// How long a result waits for its agent.
    pub keep_results: Duration,
    /// How long an idempotency key is remembered after its call was finished.
    pub keep_keys: Duration,
}

/// A validated and judged call, to be recorded before anything else happens to it.
#[derive(Clone, Debug)]
pub struct NewCall {
    /// Chosen by the gateway.
    pub id: RequestId,
    pub at: Timestamp,
    pub call: Arc<Call>,
    /// The agent's session, in its own words.
    pub session: Option<String>,
    /// Why the agent says it wants this.
    pub reason: Option<String>,
    /// The agent's idempotency key.
    pub key: Option<String>,
    pub decision: Verdict,
}

/// An open question whose call a person has changed.
#[derive(Clone, Debug)]
pub(crate) struct EditedCall {
    /// As it is asked from then on.
    pub question: Arc<Question>,
    /// From the call as it was before; None removes an argument. None of them is secret.
    pub changes: Vec<(String, Option<Value>)>,
    pub by: Responder,
}

/// What is left of [`EditedCall`]s after a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptEdit {
    /// From the call as the agent asked for it.
    pub changes: Vec<(String, Option<Value>)>,
    /// [`Call::binding`] of what came of them.
    pub binding: Digest,
    /// Who made the last of them.
    pub by: Responder,
}

/// How far a new call that is not claimed gets in the transaction that records it.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// A question, open until then.
    Asked { expires: Timestamp },
    /// Recorded and finished together.
    Settled(Outcome),
    /// A question that was denied before it was put to anybody, with what the agent hears. Recorded and finished
    /// together.
    Denied { by: Responder, note: String },
}

/// A request that never became a [`Call`]. Its arguments are not recorded: nothing is known about them, not even
/// which of them are secret.
#[derive(Clone, Debug)]
pub struct RefusedRequest {
    /// Chosen by the gateway.
    pub id: RequestId,
    pub at: Timestamp,
    pub agent: AgentId,
    /// The tool's name as asked for; the record cuts it.
    pub tool: String,
    /// The agent's session, in its own words.
    pub session: Option<String>,
    pub outcome: Outcome,
}

words! {
    /// What the gateway itself records in the chain.
    pub enum NoteKind {
        Started = "started",
        /// It stopped in order.
        Stopped = "stopped",
        Reloaded = "reloaded",
        /// The system's clock was set, or a time service began to vouch for it.
        ClockSet = "clock_set",
        /// A person has taken the time of a clock that stands before the record as right.
        ClockAccepted = "clock_accepted",
        /// Failed authentications, summed up.
        AuthenticationFailed = "authentication_failed",
        /// Refusals past a limit, summed up.
        Limited = "limited",
    }
}

/// What opening found left over from the last run.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Open questions and approvals not yet claimed.
    pub open: Vec<OpenCall>,
    /// Calls that were being executed and now have the outcome `unknown`.
    pub unknown: usize,
    /// Set when the record ended before its exported head (an older copy, a cut tail, or a missing head file): what
    /// was found, for the log. Every call that was open in it became `unknown`, because it may have been executed.
    pub rolled_back: Option<String>,
    /// What has been counted under limits and still counts.
    pub counted: Vec<KeptCounter>,
    /// Calls in sessions that `counted` does not know of, the oldest first.
    pub called: Vec<SessionCall>,
    /// What agents have read.
    pub read: Vec<Reading>,
    /// Grants that last as far as the record knows, and some that have ended.
    pub grants: Vec<KeptGrant>,
    /// Whose calls are stopped.
    pub stops: Vec<Stop>,
}

/// A grant, and what has become of it.
#[derive(Clone, Debug)]
pub struct KeptGrant {
    pub grant: Grant,
    /// How many calls it has let through.
    pub used: u32,
    pub end: Option<(GrantEnd, Timestamp)>,
    /// When it ends by the machine's own time; None: it was given in another boot.
    pub(crate) ends_up: Option<Uptime>,
}

/// The sessions that live, by agent and name; no name is the agent's own unnamed one.
pub type LiveSessions = HashMap<(AgentId, Option<Arc<str>>), LiveSession>;

/// A session that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveSession {
    pub number: SessionNumber,
    /// When a call was last made in it, whatever became of the call.
    pub last: Timestamp,
}

/// A call was made by this agent, in the session of this name, then.
pub type SessionCall = (AgentId, Option<Arc<str>>, Timestamp);

/// What has been counted under one limit and still counts.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptCounter {
    /// [`Limit::identity`](crate::model::Limit::identity).
    pub limit: Digest,
    pub key: Box<CounterKey>,
    /// Who has charged it.
    pub agent: AgentId,
    /// The session that it ends with; 0 where it is no session's.
    pub session: SessionNumber,
    pub tally: Tally,
    /// When it was last charged, or its session last made a call as far as that is kept.
    pub last: Timestamp,
}

/// A person lets a limit count anew.
#[derive(Clone, Debug)]
pub struct LimitReset {
    /// Its name.
    pub limit: Arc<str>,
    /// Its [`Limit::identity`](crate::model::Limit::identity).
    pub identity: Digest,
    /// Of this agent alone.
    pub agent: Option<AgentId>,
    pub by: Responder,
}

/// A question, or an approval, that outlived the process.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenCall {
    pub id: RequestId,
    pub agent: AgentId,
    pub tool: String,
    /// All arguments, secret ones in clear.
    pub args: Map<String, Value>,
    /// [`Call::binding`] of the call as it was asked for. The approval is bound to it, or to that of the edit.
    pub binding: Digest,
    /// Set: a person has changed the call.
    pub edit: Option<KeptEdit>,
    pub session: Option<String>,
    pub reason: Option<String>,
    /// The agent's idempotency key.
    pub key: Option<String>,
    pub rule: Option<Arc<RuleRef>>,
    /// Why a person is asked about the call as it is.
    pub reasons: Vec<AskReason>,
    /// The terms on which a person is asked.
    pub ask: Arc<AskTerms>,
    /// How many people must say yes to the call as it is, and who.
    pub terms: Terms,
    /// Who has said yes to this call, the first one first.
    pub counted: Vec<Responder>,
    pub(crate) created: Timestamp,
    pub expires: Timestamp,
    /// How long it has been open at least, whatever the wall clock says.
    pub age: Duration,
    /// Set: approved by this one, not yet claimed.
    pub approved_by: Option<Responder>,
}

/// One of several people who must say yes has said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Yes {
    pub by: Responder,
    /// So many have said it with this one.
    pub have: u32,
    /// So many must.
    pub need: u32,
    /// [`Call::shown_as`] of the call that they said it to.
    pub shown: String,
}

/// What is remembered of an idempotency key.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    pub id: RequestId,
    /// [`Call::digest`] of that request.
    pub digest: Digest,
    /// None while the call is open or under way. `UnknownResult` when it was finished and its result is kept no more.
    pub outcome: Option<Outcome>,
}

/// A result its agent has not received yet, in the words of `get_pending_results`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingResult {
    pub request_id: RequestId,
    pub tool_name: String,
    /// The session of the call, in its agent's own words.
    pub session: Option<String>,
    /// JSON text of the arguments, secret ones as dots.
    pub args: String,
    /// What the rules were matched against.
    pub signature: String,
    /// JSON text: `{"status":"executed"|"permitted"|"denied"|"error","data":…,"reason":…}`.
    pub result: String,
    /// Whether it holds what the call has read.
    pub executed: bool,
    pub created_at: Timestamp,
    /// Until when the result is kept.
    pub expires_at: Timestamp,
}

/// The writer's state, read without waiting for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreHealth {
    /// Jobs that wait or run.
    pub queue: usize,
    /// Whether the last attempt to write succeeded.
    pub writable: bool,
    /// The last failure of the disk or database, and when; it stays after recovery.
    pub last_error: Option<(Timestamp, String)>,
    /// The number of the newest event.
    pub events: i64,
    /// Transactions committed since opening.
    pub(crate) commits: u64,
    /// Failures of the disk or database since opening.
    pub errors: u64,
    /// Results that made room for others since opening.
    pub(crate) dropped_results: u64,
}
