//! What counts for one call besides the owner's rules.

use std::sync::Arc;

use super::counters::{Counters, NothingCounted};
use super::grants::{Grants, NothingGranted};
use super::limits::Moment;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::zone::Zone;
use crate::model::{Action, Call, Reason, Responder, Source};

/// What counts for one call besides the rules, at one moment: from the owner's files and the gateway's own memory,
/// never from what the agent says.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Who has stopped the calls of this agent, or all.
    pub stopped: Option<Responder>,
    /// Whether there is such an agent.
    pub knows_agent: bool,
    /// The digest of the tool that has the name of the call's.
    pub tool: Option<Digest>,
    /// Until when this call is denied without asking, because people have denied it again and again.
    pub cool_down: Option<Timestamp>,
    pub open_questions: usize,
    /// How many it may have.
    pub max_open_questions: usize,
    /// The longest question that is asked, in characters.
    pub max_question_chars: usize,
    pub now: Timestamp,
    /// Whether `now` can be right.
    pub clock_set: bool,
    /// The machine's.
    pub zone: Arc<Zone>,
    /// The session that the call belongs to; None: the agent's own unnamed one.
    pub session: Option<&'a str>,
    /// What has been counted under limits.
    pub counters: &'a dyn Counters,
    /// What people have said yes to before.
    pub grants: &'a dyn Grants,
    /// Whether a person has been asked about the call.
    pub asked: bool,
    /// What the agent has read and still counts as being with it.
    pub read: Vec<Source>,
}

impl<'a> Facts<'a> {
    /// The facts that leave it to the rules: agent and tool are as the call has them, nothing is remembered, and nobody
    /// knows what time it is.
    pub fn unchanged(call: &Call) -> Facts<'a> {
        Facts {
            stopped: None,
            knows_agent: true,
            tool: Some(call.tool().digest),
            cool_down: None,
            open_questions: 0,
            max_open_questions: usize::MAX,
            max_question_chars: usize::MAX,
            now: Timestamp(0),
            clock_set: false,
            zone: Zone::utc(),
            session: None,
            counters: &NothingCounted,
            grants: &NothingGranted,
            asked: false,
            read: Vec::new(),
        }
    }

    /// These facts at `now` by a clock that is right.
    pub fn at(self, now: Timestamp, zone: Arc<Zone>) -> Facts<'a> {
        Facts { now, clock_set: true, zone, ..self }
    }

    /// The calls of the agent are stopped, whatever else there is to say.
    pub(super) fn stopped(&self) -> Option<Reason> {
        self.stopped.clone().map(|by| Reason::Stopped { by })
    }

    /// What was checked must still be what would run, for an agent that there still is.
    pub(super) fn changed(&self, call: &Call) -> Option<Reason> {
        if !self.knows_agent {
            return Some(Reason::AgentRemoved);
        }
        (self.tool != Some(call.tool().digest)).then_some(Reason::ToolChanged)
    }

    /// As limits look at it. `before`: what rules and flows say to the call.
    pub(super) fn moment(&self, before: Action) -> Moment<'_> {
        let Facts { now, zone, session, counters, asked, .. } = self;
        Moment { now: *now, zone, session: *session, counters: *counters, before, asked: *asked }
    }

    pub(super) fn not_asked(&self) -> Option<Reason> {
        let too_many = self.open_questions >= self.max_open_questions;
        let cool_down = self.cool_down.map(|until| Reason::CoolDown { until });
        cool_down.or(too_many.then_some(Reason::TooManyPending))
    }
}
