//! What `audit verify` can find.

use std::fmt;

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Events that were checked before the first fault.
    pub events: u64,
    /// Number of the last event that was checked.
    pub last: i64,
    /// Requests whose row was compared with its events (never for an export).
    pub calls: u64,
    /// Whether the hashes were checked with the key. Without it only the order of an export is proven: whoever
    /// changes it could have written new hashes.
    pub keyed: bool,
    /// What the record says of the anchor it was to be compared with, when it does not contradict it.
    pub anchored: Option<Anchored>,
    pub fault: Option<Fault>,
}

/// What a record says of an [`Anchor`](super::Anchor) that it does not contradict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchored {
    Confirmed,
    /// The record goes on from a later one: retention has dropped this event, so it cannot be compared.
    Dropped,
}

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub seq: Option<i64>,
    pub request_id: Option<String>,
    pub wrong: FaultKind,
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The event is not what was recorded.
    Changed,
    /// It is a recorded event, but stands in another one's place.
    Reordered,
    /// Events from this one through `through` are gone.
    Missing { through: i64 },
    /// Events at the end are gone: the record ends here, but its rows know of later ones, or an export has no head.
    CutTail,
    /// The record ends before its exported head: it was exchanged for an older copy (or cut with all its rows).
    OlderCopy { head: i64 },
    /// The gateway went on after it had found the record older than its head.
    RolledBack,
    /// The event that was exported as head is another one here.
    ForeignHead,
    /// The record ends before an anchor that was taken from it: it was exchanged for an older copy.
    EndsBeforeAnchor { anchor: i64, end: i64 },
    /// The anchor's event is another one here: the record was exchanged for an older copy, which went on differently.
    ForeignAnchor,
    /// There is no exported head.
    HeadMissing,
    /// The exported head is not sealed by this record's key.
    HeadForged,
    /// The anchor that retention left is not sealed by this record's key.
    AnchorBroken,
    /// The key file is missing or not readable.
    KeyMissing,
    /// The row of this request is gone.
    CallMissing,
    /// There is a row for a request that no event speaks of.
    CallInvented,
    /// A column of the request's row does not say what its events say.
    CallChanged { column: &'static str },
    /// The request has not ended, but is not among the open calls, by which lists find it.
    OpenMissing,
    /// Its row among the open calls says something else than its events.
    OpenChanged { column: &'static str },
    /// It is among the open calls, but it has ended, or was never asked for.
    OpenInvented,
    /// An event of a call that nothing before it allows: claimed twice, finished twice, answered after its end.
    OutOfOrder { kind: String },
    /// The call needed an approval and was executed without one.
    NotApproved,
    /// The result that is kept for the agent is not the recorded one.
    ResultChanged,
    /// The row of an idempotency key is missing, or stands for something else than what was recorded.
    KeyChanged,
    /// The gateway found here that the record had been changed from outside.
    Tampered { found: String },
    /// An index does not say what its table says.
    IndexChanged,
    /// The counts of calls do not say what the calls say.
    CountsChanged,
    /// What is counted under limits is not what the claims have charged.
    CountersChanged,
    /// Who is stopped is not what the events of the kill switch say.
    StopsChanged,
    /// What is granted, or how often it was used, is not what the events say.
    GrantsChanged,
    /// What agents have read is not what was handed to them.
    ReadingsChanged,
    /// A line of an export cannot be read.
    Unreadable {
        /// Counted from 1.
        line: usize,
    },
}

impl Fault {
    pub(super) fn event(seq: i64, wrong: FaultKind) -> Fault {
        Fault { seq: Some(seq), request_id: None, wrong }
    }

    pub(super) fn call(seq: i64, id: String, wrong: FaultKind) -> Fault {
        Fault { seq: Some(seq), request_id: Some(id), wrong }
    }

    pub(super) fn record(wrong: FaultKind) -> Fault {
        Fault { seq: None, request_id: None, wrong }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(id) = &self.request_id {
            write!(f, "request {id}, ")?;
        }
        if let Some(seq) = self.seq {
            write!(f, "event {seq}: ")?;
        }
        self.wrong.fmt(f)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultKind::Changed => f.write_str("changed: it is not what was recorded"),
            FaultKind::Reordered => f.write_str("reordered: it stands in the place of another event"),
            FaultKind::Missing { through } => write!(f, "missing, with all events through {through}"),
            FaultKind::CutTail => f.write_str("cut tail: the record ends here, but it was longer"),
            FaultKind::OlderCopy { head } => write!(
                f,
                "older copy: the record ends here, but its exported head is event {head} (or the tail was cut)"
            ),
            FaultKind::RolledBack => {
                f.write_str("rolled back: the gateway found the record older than its exported head here")
            }
            FaultKind::ForeignHead => f.write_str("not the event that was exported as head"),
            FaultKind::EndsBeforeAnchor { anchor, end } => write!(
                f,
                "older copy: the record ends at event {end}, but event {anchor} was there when the anchor was taken"
            ),
            FaultKind::ForeignAnchor => f.write_str(
                "not the event that the anchor was taken of: the record is another one, or an older copy that went on",
            ),
            FaultKind::HeadMissing => f.write_str("the exported head is missing"),
            FaultKind::HeadForged => f.write_str("the exported head is not sealed by this record's key"),
            FaultKind::AnchorBroken => {
                f.write_str("anchor broken: the beginning of the record is not sealed by its key")
            }
            FaultKind::KeyMissing => f.write_str("the key is missing or not readable, nothing can be checked"),
            FaultKind::CallMissing => f.write_str("the row of this request is missing"),
            FaultKind::CallInvented => f.write_str("no event speaks of this request"),
            FaultKind::CallChanged { column } => write!(f, "changed: its events say another {column}"),
            FaultKind::OpenMissing => f.write_str("it has not ended, but is not among the open calls"),
            FaultKind::OpenChanged { column } => {
                write!(f, "changed among the open calls: its events say another {column}")
            }
            FaultKind::OpenInvented => {
                f.write_str("it is among the open calls, but it has ended or was never asked for")
            }
            FaultKind::OutOfOrder { kind } => {
                write!(f, "out of order: \"{kind}\" does not follow from what came before")
            }
            FaultKind::NotApproved => f.write_str("executed without an approval"),
            FaultKind::ResultChanged => f.write_str("the result kept for its agent is not the recorded one"),
            FaultKind::KeyChanged => f.write_str("its idempotency key is not kept as it was recorded"),
            FaultKind::Tampered { found } => {
                write!(f, "changed from outside: the gateway found this here and did not act on it: {found}")
            }
            FaultKind::IndexChanged => f.write_str("an index does not fit its table"),
            FaultKind::CountsChanged => f.write_str("the counts of calls do not fit the calls"),
            FaultKind::CountersChanged => {
                f.write_str("what is counted under limits does not fit what the calls have charged")
            }
            FaultKind::GrantsChanged => f.write_str("grants or their uses do not fit what the events say"),
            FaultKind::StopsChanged => f.write_str("who is stopped does not fit what the events say"),
            FaultKind::ReadingsChanged => {
                f.write_str("what agents have read does not fit what was handed to them")
            }
            FaultKind::Unreadable { line } => write!(f, "line {line} is not a line of an export"),
        }
    }
}
