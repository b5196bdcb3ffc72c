//! Rank 2: the record. SQLite on one thread, the keyed chain of events, the questions that survive a restart and the
//! results that wait for their agent.
//!
//! It must never decide, ask or execute anything, and never say "written" before the commit returned without error.
//! `gate` is its only writer; the owner's commands read through [`reader`], beside a running gateway or without one.
//!
//! | file | what it is |
//! |---|---|
//! | `handle` | [`Store`]: the async side, one function per thing the gate wants kept |
//! | `writer` | the thread: group commit, durability |
//! | `job`, `gauges` | what it is given to write; how it is doing |
//! | `wal` | when the log is moved into the database |
//! | `wipe` | nothing of a wiped argument stays in a page |
//! | `opening` | files, keys, refusals, and what a crash left behind |
//! | `rebuild` | emptying the tables that follow the events, and folding them again |
//! | `latency` | how long commits and jobs take |
//! | `tx`, `kind` | what a job works with; the kinds of events |
//! | `ledger` | the life of one call in SQL |
//! | `claim` | the step into execution, and the [`Claim`] that proves it |
//! | `approving` | a yes and the claim that follows it, in one transaction |
//! | `live` | what is under way and which keys are taken, in memory: no row is asked whether a call may run |
//! | `story`, `take_up` | at a start: `live` from the events; what the tables say otherwise |
//! | `proof`, `questions` | whether an event vouches for a row |
//! | `age` | how long questions have been open, whatever the clock says |
//! | `inbox`, `keys` | results not yet received; idempotency keys |
//! | `received` | which results have just arrived |
//! | `pages` | results as they are handed over |
//! | `shares` | what each agent has in the inbox, and whose results make room |
//! | `chain` | how events are bound to each other, to the key and to their head |
//! | `projection` | what follows from events, and how far it has come: the seam for all state that is folded |
//! | `fold`, `folding` | the tables that follow the events; when they do |
//! | `counts` | how many calls of which kind there are, kept beside them |
//! | `readings` | what agents have read, kept beside the events that hand data out |
//! | `grants`, `grant_events`, `granting` | what people have said yes to beforehand, kept beside its events |
//! | `marker` | a stop that was asked for while no gateway ran |
//! | `stops`, `kill_switch` | who is stopped, kept beside the events that say so; writing these |
//! | `counters` | what is counted under limits, kept beside the charges in the events of claims |
//! | `retention` | dropping old prefixes so that the rest still verifies |
//! | `codec` | model words to JSON and back |
//! | `schema`, `files` | tables and migrations; paths, modes, lock |

mod age;
mod approving;
mod chain;
mod claim;
mod codec;
mod counters;
mod counts;
mod edits;
mod entry;
mod error;
mod files;
mod fold;
mod folding;
mod gauges;
mod grant_events;
mod granting;
mod grants;
mod handle;
mod inbox;
mod job;
mod keys;
mod kill_switch;
mod kind;
mod latency;
mod ledger;
mod live;
pub(crate) mod marker;
mod opening;
mod pages;
mod projection;
mod proof;
mod questions;
pub(crate) mod reader;
mod readings;
mod rebuild;
mod received;
mod reports;
mod retention;
mod schema;
mod several;
mod shares;
mod stops;
mod story;
mod take_up;
mod tx;
mod wal;
mod wipe;
mod writer;

#[cfg(test)]
mod tests;

pub use claim::Claim;
pub(crate) use entry::{EditedCall, KeptEdit, OpenCall, StoreHealth, WaitingResult};
pub use entry::{
    KeptCounter, KeptGrant, LimitReset, LiveSession, LiveSessions, NewCall, NoteKind, Recovered,
    RefusedRequest, Replay, SessionCall, Stage, StoreOptions, Yes,
};
pub use error::StoreError;
pub use handle::Store;
pub(crate) use latency::StoreLatency;
pub use rebuild::rebuild;
