//! What a limit asks of the gateway's memory.

use std::fmt;

use crate::base::clock::Timestamp;
use crate::model::{AgentId, CounterId, Tally};

/// What has been counted.
pub trait Counters: fmt::Debug {
    /// What this counter holds at `now`.
    fn tally(&self, counter: &CounterId, now: Timestamp) -> Tally;

    /// Whether there is this counter, or `agent` may still begin it.
    fn has_room(&self, counter: &CounterId, agent: &AgentId, now: Timestamp) -> bool;
}

/// Nothing has been counted: what the owner's files alone know.
#[derive(Clone, Copy, Debug, Default)]
pub struct NothingCounted;

impl Counters for NothingCounted {
    fn tally(&self, _: &CounterId, _: Timestamp) -> Tally {
        Tally::default()
    }

    fn has_room(&self, _: &CounterId, _: &AgentId, _: Timestamp) -> bool {
        true
    }
}
