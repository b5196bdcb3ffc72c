//! What a channel may ask of the gate. Weak, so that gate and channel do not keep each other alive: after the gate is
//! gone every answer is "not recorded".

use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use super::Gate;
use super::granting::WhichGrants;
use crate::approval::{GrantStand, Host, Later, NotRecorded, YesTally};
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::base::readable::span;
use crate::base::safe_text::visible;
use crate::base::secret::Secret;
use crate::model::{AgentId, AnswerOutcome, Choice, Question, QuestionRecord, Responder};

/// The gate, as the channel with this name sees it.
pub(crate) struct GateHost {
    gate: Weak<Gate>,
    channel: String,
}

impl GateHost {
    pub(crate) fn new(gate: &Weak<Gate>, channel: &str) -> GateHost {
        GateHost { gate: gate.clone(), channel: channel.to_owned() }
    }

    fn ask<T: Default>(&self, ask: impl FnOnce(&Rc<Gate>) -> T) -> T {
        self.gate.upgrade().map(|gate| ask(&gate)).unwrap_or_default()
    }
}

impl Host for GateHost {
    fn answer(
        &self,
        id: RequestId,
        choice: Choice,
        user: String,
    ) -> Later<'_, Result<AnswerOutcome, NotRecorded>> {
        let by = Responder::new(&self.channel, &user);
        Box::pin(async move {
            let gate = self.gate.upgrade().ok_or(NotRecorded)?;
            let answered = gate.answer(&id.to_string(), choice, by).await;
            answered.map(|answered| answered.outcome).map_err(|_| NotRecorded)
        })
    }

    fn add_note(
        &self,
        id: RequestId,
        note: Option<String>,
        user: String,
    ) -> Later<'_, Result<bool, NotRecorded>> {
        let by = Responder::new(&self.channel, &user);
        Box::pin(async move {
            let gate = self.gate.upgrade().ok_or(NotRecorded)?;
            gate.approvals.add_note(id, note, by).await.map_err(|_| NotRecorded)
        })
    }

    fn answer_token(&self, identity: &Digest, question: &Question) -> Option<Secret> {
        let gate = self.gate.upgrade()?;
        Some(gate.answer_token(&self.channel, identity, question.id, &question.call.shown_as()))
    }

    fn takes_reasons(&self) -> bool {
        self.ask(|gate| !gate.setup().config.approvals.note_window.is_zero())
    }

    fn reminds(&self) -> bool {
        self.ask(|gate| gate.setup().config.approvals.reminder)
    }

    fn told_first(&self, question: &Question) -> Option<Vec<String>> {
        self.ask(|gate| question.terms.told_first(&self.channel, &gate.setup().config.people))
    }

    fn told_later(&self, question: &Question) -> Vec<(Duration, Vec<String>)> {
        self.ask(|gate| question.terms.told_later(&self.channel, &gate.setup().config.people))
    }

    fn note_window(&self, id: RequestId) -> Duration {
        self.ask(|gate| gate.approvals.note_window(id))
    }

    fn times_asked(&self, question: &Question) -> u32 {
        self.ask(|gate| gate.flights.times_asked(question))
    }

    fn questions(&self) -> Vec<Arc<Question>> {
        self.ask(|gate| gate.approvals.questions())
    }

    fn is_under_way(&self, id: RequestId) -> bool {
        self.ask(|gate| gate.flights.has(id))
    }

    fn tally(&self, id: RequestId) -> YesTally {
        self.ask(|gate| gate.tally(id))
    }

    fn time_left(&self, id: RequestId) -> Duration {
        self.ask(|gate| gate.approvals.time_left(id))
    }

    fn question_record(&self, id: RequestId) -> Later<'_, Option<QuestionRecord>> {
        Box::pin(async move {
            let record = self.gate.upgrade()?.store.question(id).await;
            record.inspect_err(|e| log::error!("the record cannot be read: {e}")).ok()?
        })
    }

    fn remember(&self, name: &str, value: String) -> Later<'_, bool> {
        let name = format!("{}.{name}", self.channel);
        Box::pin(async move {
            let Some(gate) = self.gate.upgrade() else { return false };
            let kept = gate.store.remember(&name, value).await;
            kept.inspect_err(|e| log::error!("{name} could not be recorded: {e}")).is_ok()
        })
    }

    fn recall(&self, name: &str) -> Later<'_, Option<String>> {
        let name = format!("{}.{name}", self.channel);
        Box::pin(async move {
            let kept = self.gate.upgrade()?.store.recall(&name).await;
            kept.inspect_err(|e| log::error!("{name} cannot be read: {e}")).ok()?
        })
    }

    fn status_text(&self) -> String {
        self.ask(status_text)
    }

    fn grant(&self, id: RequestId) -> Option<GrantStand> {
        let read = self.gate.upgrade()?.grant(id)?;
        let used = read.grant.uses.zip(read.uses_left);
        Some(GrantStand {
            until: read.grant.until,
            used: used.map(|(all, left)| (all.saturating_sub(left), all)),
            end: read.end.map(|(end, _)| end),
        })
    }

    fn grants(&self) -> Vec<(RequestId, String)> {
        self.ask(|gate| {
            let grants = gate.grants(false);
            grants.iter().map(|read| (read.grant.id, read.sentence(gate.clock().now()))).collect()
        })
    }

    fn revoke_grant(&self, id: RequestId, user: String) -> Later<'_, Option<bool>> {
        let by = Responder::new(&self.channel, &user);
        Box::pin(async move {
            let gate = self.gate.upgrade()?;
            let revoked = gate.revoke_grants(&WhichGrants::One(id.to_string()), by).await;
            revoked.ok().map(|revoked| revoked.recorded)
        })
    }

    fn agents(&self) -> Vec<AgentId> {
        self.ask(|gate| gate.setup().config.agents.iter().map(|agent| agent.id.clone()).collect())
    }

    fn stop_calls(&self, agent: Option<AgentId>, user: String) -> Later<'_, String> {
        let by = Responder::new(&self.channel, &user);
        Box::pin(async move {
            let Some(gate) = self.gate.upgrade() else { return "The gateway is ending.".to_owned() };
            gate.stop(agent, None, by).await.words()
        })
    }

    fn resume_calls(
        &self,
        agent: Option<AgentId>,
        user: String,
        sent: Option<Timestamp>,
    ) -> Later<'_, String> {
        let by = Responder::new(&self.channel, &user);
        Box::pin(async move {
            let Some(gate) = self.gate.upgrade() else { return "The gateway is ending.".to_owned() };
            gate.resume_by_words(agent, by, sent).await
        })
    }

    fn limits_text(&self) -> String {
        self.ask(|gate| gate.limits_text())
    }
}

fn status_text(gate: &Rc<Gate>) -> String {
    let status = gate.status();
    let up = span(Duration::from_secs(status.clock.uptime_s));
    let mut lines = vec![format!("agentpass {}, up {up}", env!("CARGO_PKG_VERSION"))];
    lines.extend(gate.stopped_line());
    lines.push(format!("Open questions: {}", status.open_questions));
    let agents = status.agents.iter().map(|(agent, connections)| match connections {
        0 => format!("{}: not connected", visible(agent.as_str())),
        1 => format!("{}: connected", visible(agent.as_str())),
        n => format!("{}: {n} connections", visible(agent.as_str())),
    });
    lines.extend(agents.take(MAX_LISTED));
    let services = status.services.iter().map(|(name, health)| {
        let error = health.last_error.as_ref().map(|e| format!(" ({})", visible(e))).unwrap_or_default();
        let state = health.up.map_or("not checked", |up| if up { "up" } else { "DOWN" });
        format!("{}: {state}{error}", visible(name))
    });
    lines.extend(services.take(MAX_LISTED));
    if !status.clock.set {
        lines.push(
            "The clock is NOT SET; `agentpass clock accept` on the gateway takes its time as right".into(),
        );
    }
    if !status.store.writable {
        lines.push("The record is NOT WRITABLE, so nothing is executed".into());
    }
    lines.join("\n")
}

/// The most agents, and the most services, in a message.
const MAX_LISTED: usize = 15;
