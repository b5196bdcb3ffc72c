//! The kill switch: everything stops at once, or one agent, until a person lets it go on.
//!
//! What a stop ends besides new calls, the calls themselves find out: whoever waits (for an answer, for a place, for a
//! connection) looks again, as after a reload, and finds it forbidden. What is at a service cannot be called back.

use std::time::Duration;

use super::breaker::Trips;
use super::recording::{see_through, until_recorded};
use super::state::Gate;
use super::stops::{CannotResume, StopReading};
use crate::base::clock::Timestamp;
use crate::base::readable::{counted, span};
use crate::base::safe_text::visible;
use crate::model::{AgentId, Call, GrantEnd, Reason, Responder, Stop, Verdict};

/// How exactly services say when somebody wrote something.
const WRITTEN_TO: Duration = Duration::from_secs(1);

/// What stopping has done.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) stop: Stop,
    /// Whether it was stopped before, by whoever that was.
    pub(crate) already: bool,
    /// How many questions it has ended.
    pub(crate) withdrawn: usize,
    /// How many calls, of all agents, are at a service.
    pub(crate) executing: usize,
    /// False: the disk did not take it, so a restart before it does would lift it.
    pub(crate) recorded: bool,
}

impl Stopped {
    /// For a person who is told in a few words, safe to show.
    pub(crate) fn words(&self) -> String {
        let whose = whose(&self.stop);
        let mut words = match self.already {
            true => format!("{whose} is stopped already."),
            false => format!("{whose} is stopped; {} withdrawn.", counted(self.withdrawn, "question")),
        };
        if self.executing > 0 && !self.already {
            let calls = counted(self.executing, "call");
            words.push_str(&format!(" {calls} at a service cannot be called back."));
        }
        if !self.recorded {
            words.push_str(" NOT RECORDED yet: a restart would lift it.");
        }
        words
    }
}

impl Gate {
    /// Stops all calls, or those of this agent, at once.
    pub(crate) async fn stop(
        &self,
        agent: Option<AgentId>,
        reason: Option<String>,
        by: Responder,
    ) -> Stopped {
        let stop = Stop { agent, by, at: self.clock.now(), reason };
        let concerned = |call: &Call| stop.agent.as_ref().is_none_or(|agent| agent == call.agent());
        let open = self.approvals.questions();
        let withdrawn = open.iter().filter(|question| concerned(&question.call)).count();
        let executing = self.flights.executing();
        let pressed = self.press(&stop);
        let already = pressed.is_err();
        // Nobody hears that it is recorded before it is, whoever was first.
        let number = pressed.unwrap_or_else(|standing| standing);
        let recorded = self.record_stop(number).await;
        if !recorded && !already {
            let stops = self.stops.clone();
            self.spawn(until_recorded("the stop".to_owned(), async move || stops.record(number).await));
        }
        Stopped { stop, already, withdrawn: if already { 0 } else { withdrawn }, executing, recorded }
    }

    /// The part that is done before anything is waited for: the number of the stop. Err: that of one that stands already,
    /// so nothing has changed.
    fn press(&self, stop: &Stop) -> Result<u64, u64> {
        let number = self.stops.add(stop.clone())?;
        self.end_stopped_grants(stop);
        self.look_again();
        let why = stop.reason.as_ref().map(|why| format!(": {}", visible(why))).unwrap_or_default();
        let verb = if stop.agent.is_some() { "all calls of it are stopped" } else { "is stopped" };
        self.announce(&format!("{} {verb} by {}{why}", whose(stop), visible(stop.by.as_str())));
        Ok(number)
    }

    /// What people have said yes to beforehand does not outlive a stop.
    pub(super) fn end_stopped_grants(&self, stop: &Stop) {
        self.end_grants(GrantEnd::Stopped { by: stop.by.clone() }, |grant| {
            stop.agent.as_ref().is_none_or(|agent| *agent == grant.agent)
        });
    }

    /// Whether it is on disk.
    async fn record_stop(&self, number: u64) -> bool {
        let stops = self.stops.clone();
        let written = see_through(&self.flights.executor, async move { stops.record(number).await }).await;
        match written {
            Some(Ok(())) => true,
            Some(Err(e)) => {
                log::error!("stopped, but that could not be recorded: {e}");
                false
            }
            None => false,
        }
    }

    /// Lets calls go on: of this agent, or everything that was stopped as a whole.
    ///
    /// # Errors
    /// [`CannotResume`]; nothing has changed then.
    pub(crate) async fn resume(&self, agent: Option<AgentId>, by: Responder) -> Result<Stop, CannotResume> {
        let (stops, who) = (self.stops.clone(), by.clone());
        let lifted = async move { stops.lift(agent.as_ref(), &who).await };
        let lifted =
            see_through(&self.flights.executor, lifted).await.unwrap_or(Err(CannotResume::NotStopped))?;
        self.announce(&format!("{} may make calls again, says {}", whose(&lifted), visible(by.as_str())));
        Ok(lifted)
    }

    /// The same for somebody who writes and is answered in words, safe to show. `sent`: when they wrote it, to the second;
    /// a stop that is newer stands, as they had not seen it.
    pub(super) async fn resume_by_words(
        &self,
        agent: Option<AgentId>,
        by: Responder,
        sent: Option<Timestamp>,
    ) -> String {
        let latest = sent.map(|sent| sent.plus(WRITTEN_TO));
        let newer = |stop: &Stop| stop.agent == agent && latest.is_some_and(|latest| stop.at > latest);
        if self.stops.all().iter().any(|read| newer(&read.stop)) {
            return "It was stopped after you wrote this. Write it again if you mean it.".to_owned();
        }
        let resumed = self.resume(agent, by).await;
        let stopped = self.stopped_line();
        let others = stopped.map(|line| format!("\n{line}")).unwrap_or_default();
        match resumed {
            Ok(lifted) => format!("{} may make calls again.{others}", whose(&lifted)),
            Err(CannotResume::NotStopped) if others.is_empty() => "Nothing is stopped.".to_owned(),
            Err(CannotResume::NotStopped) => format!("That is not stopped.{others}"),
            Err(CannotResume::NotHere) => {
                format!("It was stopped on the gateway itself: resume it there.{others}")
            }
            Err(CannotResume::Store(_)) => format!("It could not be recorded.{others}"),
        }
    }

    fn announce(&self, text: &str) {
        log::warn!("{text}");
        self.approvals.channels.tell(|channel| channel.notice(text));
    }

    /// One line for people, safe to show; None: nothing is stopped.
    pub(crate) fn stopped_line(&self) -> Option<String> {
        let all = self.stops.all();
        let line = |read: &StopReading| {
            let Stop { by, at, reason, .. } = &read.stop;
            let why = reason.as_ref().map(|why| format!(": {}", visible(why))).unwrap_or_default();
            let unsafe_yet = if read.recorded { "" } else { " (NOT RECORDED yet: a restart would lift it)" };
            let whose = whose(&read.stop);
            format!("{whose} is stopped by {} since {at}{why}{unsafe_yet}", visible(by.as_str()))
        };
        (!all.is_empty()).then(|| all.iter().map(line).collect::<Vec<_>>().join("; "))
    }
}

/// `Everything`, or the agent's name, safe to show.
fn whose(stop: &Stop) -> String {
    match &stop.agent {
        None => "Everything".to_owned(),
        Some(agent) => format!("Agent {}", visible(agent.as_str())),
    }
}

/// A call was denied by policy: the circuit breaker stops an agent that this happens to too often.
pub(super) fn denied(gate: &Gate, call: &Call, verdict: &Verdict) {
    let by_policy = |reason: &Reason| {
        matches!(reason, Reason::DeniedByRule(_) | Reason::FlowDenied { .. } | Reason::LimitReached { .. })
    };
    if verdict.forbidden().is_none() || !verdict.reasons.iter().any(by_policy) {
        return;
    }
    let (setup, agent, now) = (gate.setup(), call.agent(), gate.clock.now());
    let is_violation =
        |reason: &Reason| matches!(reason, Reason::FlowDenied { .. } | Reason::LimitReached { .. });
    if setup.conduct.revoke_on_violation && verdict.reasons.iter().any(is_violation) {
        let by = Responder::circuit_breaker();
        gate.end_grants(GrantEnd::Revoked { by }, |grant| grant.agent == *agent);
    }
    let Some(breaker) = setup.conduct.circuit_breaker else { return };
    if gate.ledger.denied(agent, breaker, now) == Trips::No {
        return;
    }
    let window = span(breaker.window);
    let reason = Some(format!("{} calls were denied within {window}", breaker.denies));
    let by = Responder::circuit_breaker();
    let stop = Stop { agent: Some(agent.clone()), by, at: now, reason };
    if let Ok(number) = gate.press(&stop) {
        let stops = gate.stops.clone();
        gate.spawn(async move {
            if let Err(e) = stops.record(number).await {
                log::error!("the circuit breaker has stopped an agent, which could not be recorded: {e}");
                until_recorded("the stop".to_owned(), async move || stops.record(number).await).await;
            }
        });
    }
}
