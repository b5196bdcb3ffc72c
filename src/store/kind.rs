//! The kinds of events that the store itself writes; [`NoteKind`](super::NoteKind) has the others.

/// A validated call with the verdict on it.
pub(super) const REQUESTED: &str = "requested";
/// A request that never became a call, and why.
pub(super) const REFUSED: &str = "refused";
/// A person has changed the call of an open question.
pub(super) const EDITED: &str = "edited";
/// How its question ended.
pub(super) const ANSWERED: &str = "answered";
/// One of several people who must say yes has said it; the question goes on.
pub(super) const COUNTED: &str = "counted";
/// The reason for a denial, given after it.
pub(super) const NOTED: &str = "noted";
/// Claimed after an approval; from here on it may have been done.
pub(super) const EXECUTING: &str = "executing";
pub(super) const FINISHED: &str = "finished";
/// What the agent says that it did with its permit.
pub(super) const REPORTED: &str = "reported";
/// One more idempotency key stands for a call: that of a caller who joined it.
pub(super) const JOINED: &str = "joined";
/// A person lets a limit count anew.
pub(super) const LIMIT_RESET: &str = "limit_reset";
/// Data was handed out that an agent had not received yet, or once more: from the inbox, or for an idempotency key.
pub(super) const READ: &str = "read";
/// A person lets it be forgotten what an agent has read.
pub(super) const FORGOTTEN: &str = "forgotten";
/// A person said yes to calls that are still to come.
pub(super) const GRANTED: &str = "granted";
/// Such a yes counts no more, and why.
pub(super) const GRANT_ENDED: &str = "grant_ended";
/// Calls are stopped, where it says `by` whom. Without, the gateway itself has stopped in order.
pub(super) const STOPPED: &str = "stopped";
/// A person lets stopped calls through again.
pub(super) const RESUMED: &str = "resumed";
/// A prefix was dropped.
pub(super) const RETENTION: &str = "retention";
/// Opening found calls that were being executed.
pub(super) const RECOVERED: &str = "recovered";
/// Opening found the record older than its exported head.
pub(super) const ROLLED_BACK: &str = "rolled_back";
/// Tables beside the events did not say what the events say, or events did not verify.
pub(super) const TAMPERED: &str = "tampered";

/// The events of a call between its first and its last: what `steps` has.
pub(super) const STEPS: [&str; 7] = [EDITED, COUNTED, ANSWERED, EXECUTING, NOTED, JOINED, REPORTED];

/// How many milliseconds keys are remembered in this run, in `started`. From then on every key has its event.
pub(super) const KEEP_KEYS: &str = "keep_keys_ms";
