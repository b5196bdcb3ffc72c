//! What the gateway counts while it works, for `/metrics`.
//!
//! Counting must never cost a call anything that it notices: no lock, no waiting, and memory only for what is new. It
//! must never keep what an agent said: everything is counted under the names that the owner has configured, and what is
//! not among them under [`OTHER`], so that nobody can make it grow.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use super::running::CallReply;
use super::setup::Setup;
use crate::base::histogram::{Histogram, HistogramReading};
use crate::base::slots::Slots;
use crate::model::{Action, Outcome, Question, QuestionEnd};

/// Tools that the owner has not configured, or no longer.
pub(crate) const OTHER: &str = "other";
/// The decision on a request that was refused before there was one.
const NONE: &str = "none";

/// Checking and judging: microseconds, but for a large call and ten thousand rules.
const DECISION: [Duration; 10] = [
    Duration::from_micros(5),
    Duration::from_micros(10),
    Duration::from_micros(25),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(25),
    Duration::from_millis(100),
];
/// A person with the phone in the hand, in the pocket, in the next room; 15 minutes is how long a question is open.
const WAITING: [Duration; 11] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(120),
    Duration::from_secs(300),
    Duration::from_secs(600),
    Duration::from_secs(900),
    Duration::from_secs(3600),
];
/// A service in the same house up to one that takes as long as it may.
const EXECUTION: [Duration; 11] = [
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(60),
];

/// The counts. They begin at the start of the gateway and, for a tool or service, when it is configured.
pub struct Metrics {
    calls: RefCell<BTreeMap<String, Ends>>,
    totals: Cell<Totals>,
    decision: Histogram,
    /// By how the question ended.
    waiting: RefCell<BTreeMap<&'static str, Histogram>>,
    execution: RefCell<BTreeMap<String, Histogram>>,
    /// By the reason's word and the owner's name of what gave it.
    named: RefCell<BTreeMap<(&'static str, String), u64>>,
    /// Changes of calls, by [`AnswerOutcome::as_str`](crate::model::AnswerOutcome::as_str).
    edits: RefCell<BTreeMap<&'static str, u64>>,
    /// Connections to the agents' port that have not authenticated.
    pub(crate) strangers: Slots,
}

/// What is counted as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Requests that got the outcome of another: of an identical one under way, or of an earlier one with its key.
    pub joined: u64,
    /// Answers of one of several people who must say yes, the last one aside.
    pub counted: u64,
    /// Wrong tokens on the agents' port.
    pub failed_authentications: u64,
    /// Requests that are no calls and came too soon.
    pub refused_errands: u64,
    /// Calls that were under way when the last process ended; their outcome is `unknown`.
    pub cut_off: u64,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let (calls, totals, waiting, execution, named, edits, strangers) = Default::default();
        Metrics {
            calls,
            totals,
            decision: Histogram::new(&DECISION),
            waiting,
            execution,
            named,
            edits,
            strangers,
        }
    }
}

/// How often the calls of one tool ended in which way.
type Ends = BTreeMap<End, u64>;

/// How a call ended, in the words of the record and of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// `allow`, `ask`, `deny`; `none` when it was refused before there was a decision.
    pub decision: &'static str,
    /// [`Outcome::as_str`].
    pub outcome: &'static str,
    /// [`Outcome::reason`]; empty when it was executed.
    pub reason: &'static str,
}

impl Metrics {
    /// Nothing has happened yet to what is configured.
    pub fn new(setup: &Setup) -> Metrics {
        let metrics = Metrics::default();
        metrics.configured(setup);
        metrics
    }

    /// From now on these tools and services are counted by name. What was counted of others is forgotten.
    pub(super) fn configured(&self, setup: &Setup) {
        let tools = setup.config.tools.values();
        self.names(tools.clone().map(|t| t.name.as_str()), tools.map(|t| t.service.as_str()));
    }

    fn names<'a>(&self, tools: impl Iterator<Item = &'a str>, services: impl Iterator<Item = &'a str>) {
        let (mut calls, mut execution) = (self.calls.borrow_mut(), self.execution.borrow_mut());
        let (mut old_calls, mut old_execution) =
            (std::mem::take(&mut *calls), std::mem::take(&mut *execution));
        for name in tools.chain([OTHER]) {
            calls.insert(name.to_owned(), old_calls.remove(name).unwrap_or_default());
        }
        for name in services {
            let kept = old_execution.remove(name);
            execution
                .entry(name.to_owned())
                .or_insert_with(|| kept.unwrap_or_else(|| Histogram::new(&EXECUTION)));
        }
    }

    /// A request came to its end, one that joined no other.
    pub fn ended(&self, tool: &str, decision: Option<Action>, outcome: &Outcome) {
        let end = End {
            decision: decision.map_or(NONE, Action::as_str),
            outcome: outcome.as_str(),
            reason: outcome.reason().unwrap_or_default(),
        };
        self.count(tool, end);
    }

    /// A request was answered after it had been taken in as a call.
    pub(super) fn replied(&self, tool: &str, decision: Option<Action>, reply: &CallReply) {
        match reply.replayed {
            true => self.total(|totals| totals.joined += 1),
            false => self.ended(tool, decision, &reply.outcome),
        }
    }

    /// A request was refused before anybody read which tool it is about.
    pub(super) fn refused_unread(&self, reason: &'static str) {
        self.count(OTHER, End { decision: NONE, outcome: "refused", reason });
    }

    fn count(&self, tool: &str, end: End) {
        let mut calls = self.calls.borrow_mut();
        let known = if calls.contains_key(tool) { tool } else { OTHER };
        if let Some(ends) = calls.get_mut(known) {
            let count = ends.entry(end).or_default();
            *count = count.saturating_add(1);
        }
    }

    pub(crate) fn total(&self, count: impl FnOnce(&mut Totals)) {
        let mut totals = self.totals.get();
        count(&mut totals);
        self.totals.set(totals);
    }

    /// A verdict took so long, the checks before it included.
    pub fn decided(&self, took: Duration) {
        self.decision.observe(took);
    }

    /// Somebody wanted to change a call before saying yes.
    pub(crate) fn edited(&self, outcome: &'static str) {
        *self.edits.borrow_mut().entry(outcome).or_default() += 1;
    }

    /// Something that the owner has named asked about a call or denied it.
    pub(super) fn gave_reason(&self, reason: &'static str, name: &str) {
        let mut named = self.named.borrow_mut();
        let count = named.entry((reason, name.to_owned())).or_default();
        *count = count.saturating_add(1);
    }

    /// A question ended after so long, which is never counted as longer than it was open.
    pub(super) fn waited(&self, question: &Question, end: &QuestionEnd, took: Duration) {
        let took = took.min(question.expires.since(question.created));
        let mut waiting = self.waiting.borrow_mut();
        waiting.entry(end.as_str()).or_insert_with(|| Histogram::new(&WAITING)).observe(took);
    }

    /// A service answered, or did not, after so long.
    pub fn executed(&self, service: &str, took: Duration) {
        if let Some(histogram) = self.execution.borrow().get(service) {
            histogram.observe(took);
        }
    }
}

/// A snapshot of [`Metrics`].
#[derive(Clone, Debug)]
pub struct Counts {
    /// By tool and end, those that have occurred.
    pub calls: Vec<(String, End, u64)>,
    pub totals: Totals,
    /// How long verdicts took.
    pub decision: HistogramReading,
    /// How long questions were open, by how they ended.
    pub waiting: Vec<(&'static str, HistogramReading)>,
    /// How long calls were at a service, by its name.
    pub execution: Vec<(String, HistogramReading)>,
    /// How often flows and limits asked or denied, by reason and name.
    pub named: Vec<(&'static str, String, u64)>,
    /// How often somebody wanted to change a call, by what became of that.
    pub edits: Vec<(&'static str, u64)>,
    pub strangers: usize,
}

impl Metrics {
    /// What has been counted until now.
    pub fn read(&self) -> Counts {
        let by_end = |(tool, ends): (&String, &Ends)| {
            ends.iter().map(|(end, count)| (tool.clone(), *end, *count)).collect::<Vec<_>>()
        };
        Counts {
            calls: self.calls.borrow().iter().flat_map(by_end).collect(),
            totals: self.totals.get(),
            decision: self.decision.read(),
            waiting: self.waiting.borrow().iter().map(|(how, h)| (*how, h.read())).collect(),
            execution: self.execution.borrow().iter().map(|(name, h)| (name.clone(), h.read())).collect(),
            named: self
                .named
                .borrow()
                .iter()
                .map(|((reason, name), count)| (*reason, name.clone(), *count))
                .collect(),
            edits: self.edits.borrow().iter().map(|(outcome, count)| (*outcome, *count)).collect(),
            strangers: self.strangers.taken(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Responder;

    const TOOLS: [&str; 3] = ["get_state", "call_service", "say"];

    fn with(tools: &[&str], services: &[&str]) -> Metrics {
        let metrics = Metrics::default();
        metrics.names(tools.iter().copied(), services.iter().copied());
        metrics
    }

    fn count(metrics: &Metrics, tool: &str) -> Vec<(&'static str, &'static str, u64)> {
        let calls = metrics.read().calls.into_iter();
        calls.filter(|(name, ..)| name == tool).map(|(_, end, n)| (end.decision, end.outcome, n)).collect()
    }

    #[test]
    fn names_of_agents_make_nothing_grow() {
        let metrics = with(&TOOLS, &["home"]);
        for i in 0..10_000 {
            let outcome = Outcome::UnknownTool { tool: format!("t{i}") };
            metrics.ended(&format!("t{i}"), None, &outcome);
            metrics.executed(&format!("s{i}"), Duration::ZERO);
        }
        assert_eq!(count(&metrics, OTHER), [("none", "refused", 10_000)]);
        assert_eq!((metrics.read().calls.len(), metrics.read().execution.len()), (1, 1));
    }

    #[test]
    fn a_reload_keeps_what_is_still_configured_and_forgets_the_rest() {
        let metrics = with(&TOOLS, &["home", "mail"]);
        metrics.ended("say", Some(Action::Ask), &Outcome::TimedOut);
        metrics.ended(
            "get_state",
            Some(Action::Allow),
            &Outcome::Executed(serde_json::Value::from(1).into()),
        );
        metrics.executed("home", Duration::ZERO);
        for i in 0..1000 {
            let name = format!("made_{i}");
            metrics.names(["say", &name].into_iter(), ["home", &name].into_iter());
            metrics.ended(&name, Some(Action::Deny), &Outcome::KillSwitch);
            metrics.executed(&name, Duration::ZERO);
        }
        assert_eq!(count(&metrics, "say"), [("ask", "timed_out", 1)]);
        assert!(count(&metrics, "get_state").is_empty());
        metrics.ended("get_state", Some(Action::Ask), &Outcome::ApprovalVoid);
        assert_eq!(count(&metrics, OTHER), [("ask", "denied", 1)]);
        let counts = metrics.read();
        assert_eq!((counts.calls.len(), counts.execution.len()), (3, 2));
        assert_eq!(counts.execution[0].1.count, 1);
    }

    #[test]
    fn a_tool_named_other_is_counted_with_the_others() {
        let metrics = with(&[OTHER], &[]);
        metrics.ended(OTHER, Some(Action::Allow), &Outcome::Executed(serde_json::Value::from(1).into()));
        metrics.ended("strange", None, &Outcome::UnknownTool { tool: "strange".into() });
        assert_eq!(count(&metrics, OTHER), [("allow", "executed", 1), ("none", "refused", 1)]);
    }

    #[test]
    fn a_question_never_waited_longer_than_it_was_open() {
        let (metrics, question) = (Metrics::default(), crate::approval::text::tests::question("{}"));
        let open = question.expires.since(question.created);
        metrics.waited(&question, &QuestionEnd::TimedOut, open * 1000);
        let by = Responder::new("local", "root");
        metrics.waited(&question, &QuestionEnd::Approved { by }, Duration::from_secs(3));
        let waiting = metrics.read().waiting;
        let told: Vec<_> = waiting.iter().map(|(how, reading)| (*how, reading.sum)).collect();
        assert_eq!(told, [("approved", Duration::from_secs(3)), ("timed_out", open)]);
    }
}
