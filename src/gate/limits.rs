//! The limits as the owner sees them, and the word that one is reached.

use std::sync::Arc;
use std::time::Duration;

use super::state::Gate;
use crate::base::clock::Timestamp;
use crate::base::decimal::Decimal;
use crate::base::safe_text::visible;
use crate::base::zone::Zone;
use crate::model::{AgentId, Call, CounterKey, Limit, Part, Reason, Responder, Verdict, Window};
use crate::store::{LimitReset, StoreError};

/// The most counters in a message.
const MAX_LISTED: usize = 30;

/// How long the owner is not told again of a limit per session.
const SESSION_NEWS: Duration = Duration::from_secs(24 * 3600);

/// One counter of a limit, or a limit that has none.
pub(crate) struct LimitReading {
    pub limit: Arc<Limit>,
    /// None: nothing is counted.
    pub key: Option<CounterKey>,
    /// None: more than a number holds.
    pub count: Option<Decimal>,
    /// When nothing of it counts any more; None: nothing does, or it ends with its session.
    pub resets_at: Option<Timestamp>,
}

/// Why a limit does not count anew.
#[derive(Debug)]
pub(crate) enum CannotReset {
    /// There is no limit of this name.
    Unknown,
    /// An agent was named, and the limit does not count by agents.
    NotPerAgent,
    Store(StoreError),
}

impl Gate {
    /// All limits in the order of the file, each with what it has counted; of this agent, or of all.
    pub(crate) fn limits(&self, agent: Option<&AgentId>) -> Vec<LimitReading> {
        let (setup, now) = (self.setup(), self.clock.now());
        setup.policy.limits().iter().flat_map(|limit| self.readings(limit, agent, now)).collect()
    }

    fn readings(&self, limit: &Arc<Limit>, agent: Option<&AgentId>, now: Timestamp) -> Vec<LimitReading> {
        let mut counters = self.ledger.counters.borrow().readings(limit.identity, now);
        counters.retain(|read| {
            read.counter.key.agent.is_none() || agent.is_none() || read.counter.key.agent.as_ref() == agent
        });
        if counters.is_empty() {
            let count = Some(Decimal::ZERO);
            return vec![LimitReading { limit: limit.clone(), key: None, count, resets_at: None }];
        }
        let read = |read: super::counters::CounterReading| LimitReading {
            limit: limit.clone(),
            count: limit.count.total(&read.tally, now),
            resets_at: read.tally.end().filter(|end| *end != Part::OPEN),
            key: Some(read.counter.key),
        };
        counters.into_iter().map(read).collect()
    }

    /// Lets a limit count anew: for one agent, or for all.
    ///
    /// # Errors
    /// When there is no such limit, it does not count by agents, or that cannot be written down.
    pub(crate) async fn reset_limit(
        &self,
        name: &str,
        agent: Option<AgentId>,
        by: Responder,
    ) -> Result<(), CannotReset> {
        let setup = self.setup();
        let limit = setup.policy.limits().iter().find(|limit| *limit.name == *name).cloned();
        let limit = limit.ok_or(CannotReset::Unknown)?;
        if agent.is_some() && !limit.counts_by_agent() {
            return Err(CannotReset::NotPerAgent);
        }
        let (identity, name) = (limit.identity, limit.name.clone());
        let reset = LimitReset { limit: name, identity, agent: agent.clone(), by };
        let _between = self.ledger.claims.write().await;
        self.store.reset_limit(self.clock.now(), reset).await.map_err(CannotReset::Store)?;
        self.ledger.counters.borrow_mut().reset(identity, agent.as_ref(), self.clock.now());
        Ok(())
    }

    /// Drops what the record keeps of sessions that have ended, and writes down when the others last made a call. Call it every
    /// hour or so, and before the end.
    pub(crate) async fn end_sessions(&self) {
        let now = self.clock.now();
        let live = self.ledger.counters.borrow().live_sessions(now);
        let idle_since = now.minus(self.setup().conduct.session_idle);
        if let Err(e) = self.store.end_sessions(idle_since, live).await {
            log::error!("the counters of sessions that have ended could not be dropped: {e}");
        }
    }

    /// What people read of the limits in a chat.
    pub(super) fn limits_text(&self) -> String {
        let readings = self.limits(None);
        if readings.is_empty() {
            return "There are no limits.".into();
        }
        let line = |read: &LimitReading| {
            let key = read.key.as_ref().map(CounterKey::to_string).filter(|key| !key.is_empty());
            let key = key.map(|key| format!(" ({})", visible(&key))).unwrap_or_default();
            format!("• {}{key}: {}", read.limit.name, read.words())
        };
        let mut lines: Vec<_> = readings.iter().take(MAX_LISTED).map(line).collect();
        let more = readings.len().saturating_sub(MAX_LISTED);
        lines.extend((more > 0).then(|| format!("and {more} more")));
        lines.join("\n")
    }
}

impl LimitReading {
    /// `20 calls within 1 h`
    pub(crate) fn held(&self) -> String {
        let Limit { count, window, .. } = &*self.limit;
        let held = self.count.map_or_else(|| format!("too much {count}"), |held| count.words(held));
        format!("{held} within {window}")
    }

    /// `20 calls within 1 h, asked above 20, denied above 50`
    fn words(&self) -> String {
        let Limit { ask_above, deny_above, .. } = &*self.limit;
        let bound =
            |word: &str, bound: &Option<Decimal>| bound.map(|bound| format!(", {word} above {bound}"));
        let bounds = [bound("asked", ask_above), bound("denied", deny_above)];
        let bounds: String = bounds.into_iter().flatten().collect();
        format!("{}{bounds}", self.held())
    }
}

/// Counts what flows and limits said to a call, and tells the owner when a limit is reached.
pub(super) fn heed(gate: &Gate, call: &Call, verdict: &Verdict) {
    let count = |word, name: &str| gate.ledger.metrics.gave_reason(word, name);
    for reason in &verdict.reasons {
        match reason {
            Reason::FlowDenied { flow } => count("flow_denied", flow),
            Reason::AskedByFlow { flow } => count("asked_by_flow", flow),
            Reason::AskedByLimit { limit, .. } => count("asked_by_limit", limit),
            Reason::LimitReached { limit, .. } => {
                count("limit_reached", limit);
                tell(gate, call, limit);
            }
            Reason::Stopped { .. }
            | Reason::AgentRemoved
            | Reason::ToolChanged
            | Reason::DeniedByRule(_)
            | Reason::AskedByRule(_)
            | Reason::AskedByDefault(_)
            | Reason::Granted { .. }
            | Reason::CoolDown { .. }
            | Reason::TooManyPending
            | Reason::TooLargeToShow => {}
        }
    }
}

/// Tells the owner on every channel that this limit is reached, unless that was told in its window for this agent.
fn tell(gate: &Gate, call: &Call, name: &str) {
    let setup = gate.setup();
    let Some(limit) = setup.policy.limits().iter().find(|limit| *limit.name == *name) else { return };
    let now = gate.clock.now();
    let end = match limit.window {
        Window::Session => now.plus(SESSION_NEWS),
        window => window.end(now, &Zone::system()),
    };
    if !gate.ledger.counters.borrow_mut().is_news(limit.identity, call.agent(), now, end) {
        return;
    }
    let agent = visible(call.agent().as_str());
    let why = match limit.deny_above {
        Some(most) => format!("no more than {} within {}", limit.count.words(most), limit.window),
        None => "it would have to count more things apart than an agent may have counted".to_owned(),
    };
    let text = format!("The limit {name} is reached by {agent}: {why}");
    log::warn!("{text}");
    gate.approvals.channels.tell(|channel| channel.notice(&text));
}
