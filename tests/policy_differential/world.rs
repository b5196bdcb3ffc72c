//! Limits, flows and the facts of tools, made up at random; and what the gateway remembers from call to call.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use agentpass::testing::base::clock::Timestamp;
use agentpass::testing::base::decimal::Decimal;
use agentpass::testing::base::digest::Digest;
use agentpass::testing::base::domain::Domain;
use agentpass::testing::base::glob::Pattern;
use agentpass::testing::base::zone::Zone;
use agentpass::testing::gate::{CounterBook, Memory, Reservation};
use agentpass::testing::model::{
    Action, Amount, ArgType, Bounds, Call, Counted, DataFacts, DataPolicy, Denial, Flow, Limit, Per, Reading,
    Reason, Remember, Source, Tool, Verdict, Void, Window,
};
use agentpass::testing::policy::{Facts, Policy};
use serde_json::{Value, json};

use super::random::Random;
use super::{
    DOMAINS, LABELS, ZONES, Zones, condition, matcher, minutes_of_change, some, strings, window, word,
};

const DESTINATIONS: [&str; 3] = ["external_email", "webhook", "printer"];
const FIELDS: [&str; 7] = ["ssn", "to", "a", "n", "amount", "items", "id"];
const ACTIONS: [Action; 3] = [Action::Deny, Action::Allow, Action::Ask];
const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;

fn limit(random: &mut Random, name: String) -> Value {
    let bound = |random: &mut Random| {
        let bounds = [json!(0), json!(1), json!(2), json!(0.3), json!(100), json!(200.5)];
        (!random.one_in(3)).then(|| random.pick(&bounds))
    };
    let counts = ["calls", "calls", "questions", "cost", "tokens", "seconds", "arg:amount", "arg:x"];
    let windows = [
        json!(30 * SECOND),
        json!(HOUR),
        json!(HOUR),
        json!(36 * HOUR),
        json!(400 * 24 * HOUR),
        json!("day"),
        json!("week"),
        json!("month"),
        json!("session"),
    ];
    json!({
        "name": name,
        "pattern": random.pick(&["*", "*", "*", "pay*", "pay(a)", "move(*)", "move(*a*)"]),
        "agents": random.one_in(8).then(|| some(random, &["pi", "phone"])),
        "any_value": random.one_in(10).then(|| random.pick(&["lock.*", "a", "e*"])),
        "kinds": if random.one_in(8) { some(random, &["pay", "read"]) } else { vec![] },
        "risks": if random.one_in(8) { some(random, &["none", "irreversible"]) } else { vec![] },
        "when": (0..random.pick(&[0, 0, 1, 2])).map(|_| condition(random)).collect::<Value>(),
        "time": random.one_in(8).then(|| window(random)),
        "after": if random.one_in(8) { some(random, &LABELS) } else { vec![] },
        "per": some(random, &["agent", "session", "tool", "call"]),
        "count": random.pick(&counts),
        "window": random.pick(&windows),
        "ask_above": bound(random),
        "deny_above": bound(random),
    })
}

fn flow(random: &mut Random, name: String) -> Value {
    json!({
        "from": random.pick(&["crm", "*", "m*", "pay", "move", "[!c]*"]),
        "to": random.pick(&["*", "*", "external_*", "webhook", "print?r"]),
        "labels": some(random, &LABELS),
        "action": random.pick(&["deny", "allow", "allow", "ask", "ask"]),
        "description": random.one_in(2).then_some(name),
        "domains": random.one_in(3).then(|| some(random, &DOMAINS)),
        "blocked_fields": random.one_in(3).then(|| some(random, &FIELDS)),
        "allowed_fields": random.one_in(4).then(|| some(random, &FIELDS)),
        "max_records": random.one_in(4).then(|| random.pick(&[0, 2, 100])),
    })
}

/// What stands in permissions.yaml beside the rules.
pub fn beside_rules(random: &mut Random, spec: &mut Value) {
    let day = 24 * HOUR;
    let limits = random.below(4);
    spec["limits"] = (0..limits).map(|at| limit(random, format!("limit {at}"))).collect();
    let flows = random.below(4);
    spec["flows"] = (0..flows).map(|at| flow(random, format!("flow {at}"))).collect();
    spec["data"] = json!({
        "sensitive_labels": some(random, &LABELS),
        "sensitive_destinations": some(random, &DESTINATIONS),
        "otherwise": random.pick(&["deny", "ask", "allow"]),
    });
    spec["remember"] =
        random.pick(&[json!("off"), json!("session"), json!(8 * HOUR), json!(HOUR), json!(day)]);
    spec["idle"] = random.pick(&[json!(HOUR), json!(day)]);
    spec["zone"] = random.pick(&ZONES).into();
}

pub fn limit_of(spec: &Value, zones: &Zones) -> Limit {
    let name = spec["name"].as_str().unwrap();
    let per = strings(&spec["per"]);
    let has = |word| per.contains(&word);
    let bound = |name: &str| Some(&spec[name]).filter(|bound| bound.is_number()).map(decimal);
    Limit {
        name: name.into(),
        identity: Digest::sha256(name.as_bytes()),
        matcher: matcher(spec, zones),
        per: Per { agent: has("agent"), session: has("session"), tool: has("tool"), call: has("call") },
        count: Counted::parse(spec["count"].as_str().unwrap()).unwrap(),
        window: match spec["window"].as_str() {
            None => Window::Rolling(Duration::from_millis(spec["window"].as_u64().unwrap())),
            Some("day") => Window::Day,
            Some("week") => Window::Week,
            Some("month") => Window::Month,
            Some(_) => Window::Session,
        },
        ask_above: bound("ask_above"),
        deny_above: bound("deny_above"),
        description: None,
    }
}

fn decimal(number: &Value) -> Decimal {
    number.to_string().parse().unwrap()
}

pub fn flow_of(at: usize, spec: &Value) -> Flow {
    let texts = |value: &Value| strings(value).into_iter().map(str::to_owned).collect();
    let bound = |name: &str| Some(&spec[name]).filter(|bound| !bound.is_null());
    let glob = |name: &str| Pattern::new(spec[name].as_str().unwrap());
    let domains = |value| strings(value).into_iter().map(|name| Domain::parse(name).unwrap()).collect();
    Flow {
        index: at + 1,
        from: glob("from"),
        to: glob("to"),
        labels: texts(&spec["labels"]),
        action: word(&ACTIONS, Action::as_str, spec["action"].as_str().unwrap()),
        bounds: Bounds {
            domains: bound("domains").map(domains),
            blocked_fields: bound("blocked_fields").map(texts),
            allowed_fields: bound("allowed_fields").map(texts),
            max_records: bound("max_records").map(|most| most.as_u64().unwrap()),
        },
        description: spec["description"].as_str().map(str::to_owned),
    }
}

pub fn data_of(spec: &Value) -> DataPolicy {
    let texts = |value: &Value| strings(value).into_iter().map(str::to_owned).collect();
    let data = &spec["data"];
    DataPolicy {
        sensitive_labels: texts(&data["sensitive_labels"]),
        sensitive_destinations: texts(&data["sensitive_destinations"]),
        otherwise: word(&ACTIONS, Action::as_str, data["otherwise"].as_str().unwrap()),
        remember: remember_of(spec),
    }
}

fn remember_of(spec: &Value) -> Remember {
    match spec["remember"].as_str() {
        None => Remember::For(Duration::from_millis(spec["remember"].as_u64().unwrap())),
        Some("off") => Remember::Off,
        Some(_) => Remember::Session,
    }
}

/// Costs, and data that comes in and goes out.
pub fn give_facts(random: &mut Random, tool: &mut Tool) {
    let amount = |random: &mut Random, fixed: &str| match random.one_in(2) {
        true => Amount::Arg("amount".to_owned()),
        false => Amount::Fixed(fixed.parse().unwrap()),
    };
    (tool.facts.cost, tool.facts.tokens) = (amount(random, "0.1"), amount(random, "50"));
    let mut maybe = |names: &[&str]| {
        let name = random.pick(names);
        (!name.is_empty()).then(|| name.to_owned())
    };
    let data = DataFacts {
        from: maybe(&["", "crm", "mail"]),
        to: maybe(&["", "external_email", "webhook", "printer"]),
        domain: maybe(&["", "to", "to", "items"]),
        fields: maybe(&["", "", "items", "x"]),
        records: maybe(&["", "amount", "items"]),
        labels: some(random, &LABELS).into_iter().map(str::to_owned).collect(),
    };
    tool.facts.data = (!random.one_in(4)).then_some(data);
}

/// A tool all of whose facts are in arguments of one type each: `n` a number, `t` a text, `l` a list of texts.
pub fn sending_typed(mut tool: Tool) -> Tool {
    let arg = |name: &str| Some(name.to_owned());
    (tool.facts.cost, tool.facts.tokens) = (Amount::Arg("n".to_owned()), Amount::Arg("n".to_owned()));
    tool.facts.data = Some(DataFacts {
        from: arg("crm"),
        labels: ["pii".to_owned()].into(),
        to: arg("webhook"),
        domain: arg("t"),
        fields: arg("l"),
        records: arg("n"),
    });
    tool
}

/// Limits that count the same argument. One per call is left out: other arguments are another call.
pub fn count_typed(spec: &mut Value) {
    for limit in spec["limits"].as_array_mut().unwrap() {
        limit["per"].as_array_mut().unwrap().retain(|per| per != "call");
        if limit["count"].as_str().unwrap().starts_with("arg:") {
            limit["count"] = "arg:n".into();
        }
    }
}

pub fn described_facts(call: &Call) -> Value {
    let tool = call.tool();
    let amount = |amount: &Amount| match amount {
        Amount::Fixed(fixed) => json!(fixed.to_string().parse::<f64>().unwrap()),
        Amount::Arg(name) => json!({ "arg": name }),
    };
    let data = tool.facts.data.as_ref().map(|data| {
        let DataFacts { from, labels, to, domain, fields, records } = data;
        json!({"from": from, "labels": labels, "to": to, "domain": domain, "fields": fields, "records": records})
    });
    json!({"cost": amount(&tool.facts.cost), "tokens": amount(&tool.facts.tokens), "data": data})
}

pub fn declared(tool: &Tool) -> Value {
    let kind = |kind: Option<ArgType>| if kind == Some(ArgType::Array) { "array" } else { "other" };
    tool.args.iter().map(|(name, spec)| (name.clone(), Value::from(kind(spec.kind)))).collect()
}

/// What the gateway keeps in memory, with its own books.
pub struct World {
    zone: Arc<Zone>,
    idle: Duration,
    remember: Remember,
    book: Rc<RefCell<CounterBook>>,
    memory: Memory,
    now: Timestamp,
}

impl World {
    /// With something read before; `spec` says it.
    pub fn new(random: &mut Random, spec: &mut Value, zones: &Zones) -> World {
        let idle = Duration::from_millis(spec["idle"].as_u64().unwrap());
        let now = minutes_of_change(random);
        let book = CounterBook::take_up(Vec::new(), &[], idle, now);
        let mut memory = Memory::default();
        let mut read = Vec::new();
        for _ in 0..random.below(3) {
            let reading = Reading {
                agent: super::agent(random),
                session: session(random).map(Into::into),
                source: Source {
                    from: random.pick(&["crm", "mail"]).to_owned(),
                    labels: some(random, &LABELS).into_iter().map(str::to_owned).collect(),
                },
                at: now,
            };
            read.push(json!({
                "agent": reading.agent.as_str(),
                "session": reading.session.as_deref(),
                "from": reading.source.from,
                "labels": reading.source.labels,
                "at": now.0,
            }));
            memory.read(&reading);
        }
        spec["read"] = read.into();
        let zone = zones[spec["zone"].as_str().unwrap()].clone();
        World { zone, idle, remember: remember_of(spec), book: Rc::new(RefCell::new(book)), memory, now }
    }

    /// Makes one of these calls some time later, and perhaps another one while a person is asked about it: what is to be
    /// known of them, and what the policy said to them.
    pub fn step(&mut self, random: &mut Random, policy: &Policy, pool: &[Call]) -> (Value, Value) {
        let later = [0, 1, 20, 61, 600, 1800, 3600, 5 * 3600, 9 * 3600, 24 * 3600, 3 * 24 * 3600];
        self.step_within(random, policy, pool, &later)
    }

    fn step_within(
        &mut self,
        random: &mut Random,
        policy: &Policy,
        pool: &[Call],
        later: &[u64],
    ) -> (Value, Value) {
        let call = &pool[random.below(pool.len())];
        let milliseconds = random.pick(&[0, 0, 999, 500]);
        self.now = self.now.plus(Duration::from_millis(random.pick(later) * SECOND + milliseconds));
        let (session, clock_set) = (session(random), !random.one_in(6));
        let succeeds = !random.one_in(4);
        let mut step = json!({
            "call": super::described(call),
            "session": session,
            "now": self.now.0,
            "clock_set": clock_set,
            "succeeds": succeeds,
        });
        let name = session.map(Into::into);
        self.book.borrow_mut().called(call.agent(), &name, self.now);
        self.memory.called(call.agent(), &name, self.idle, self.now);
        let verdict = self.judge(policy, call, session, (clock_set, false));
        let mut said = json!({
            "decision": verdict.decision.as_str(),
            "reasons": reasons(&verdict),
            "retry_after": self.retry_after(policy, call, session, (clock_set, false)),
        });
        let mut claimed = (verdict.decision == Action::Allow).then_some(verdict.charges);
        if verdict.decision == Action::Ask && !random.one_in(4) {
            // A session outlives all of it.
            if later.len() > 4 && random.one_in(2) {
                (step["meanwhile"], said["meanwhile"]) = self.step_within(random, policy, pool, &later[..4]);
            }
            self.now = self.now.plus(Duration::from_millis(random.pick(&[0, 30, 1200]) * SECOND));
            step["approved_at"] = self.now.0.into();
            let again = self.judge(policy, call, session, (clock_set, true));
            let denied = again.decision == Action::Deny;
            said["forbidden"] = denied.then(|| reasons(&again)).map_or(Value::Null, |reasons| {
                let retry_after = self.retry_after(policy, call, session, (clock_set, true));
                json!({"decision": null, "reasons": reasons, "retry_after": retry_after})
            });
            claimed = (!denied).then_some(again.charges);
        }
        if let Some(charges) = claimed {
            Reservation::new(&self.book, call.agent(), &name, charges, self.now).unwrap().confirm(self.now);
            if let (Some(source), true) = (call.tool().source(), succeeds) {
                let (agent, session, at) = (call.agent().clone(), name, self.now);
                self.memory.read(&Reading { agent, session, source, at });
            }
        }
        (step, said)
    }

    /// Asks with the facts of this moment: whether the clock is set, and whether a person has been asked.
    fn with_facts<T>(
        &self,
        call: &Call,
        session: Option<&str>,
        (clock_set, asked): (bool, bool),
        ask: impl FnOnce(&Facts<'_>) -> T,
    ) -> T {
        let times = (self.remember, self.idle);
        ask(&Facts {
            now: self.now,
            clock_set,
            zone: self.zone.clone(),
            session,
            counters: &*self.book.borrow(),
            asked,
            read: self.memory.carried(call.agent(), &session.map(Into::into), times, self.now),
            ..Facts::unchanged(call)
        })
    }

    /// What the policy says now.
    pub fn judge(&self, policy: &Policy, call: &Call, session: Option<&str>, known: (bool, bool)) -> Verdict {
        self.with_facts(call, session, known, |facts| {
            let verdict = policy.judge(call, facts);
            assert_eq!(policy.judge_traced(call, facts).0, verdict);
            verdict
        })
    }

    fn retry_after(
        &self,
        policy: &Policy,
        call: &Call,
        session: Option<&str>,
        known: (bool, bool),
    ) -> Option<u64> {
        match self.with_facts(call, session, known, |facts| policy.still_permitted(call, facts)) {
            Err(Void::Denied(Denial { retry_after, .. })) => retry_after,
            _ => None,
        }
    }
}

fn session(random: &mut Random) -> Option<&'static str> {
    random.pick(&[None, None, Some("s"), Some("t")])
}

/// Without the words for people, which are tested by themselves.
fn reasons(verdict: &Verdict) -> Value {
    let shown = verdict.reasons.iter().map(|reason| {
        let mut shown = Reason::to_json(reason);
        shown.as_object_mut().unwrap().remove("why");
        shown
    });
    shown.collect()
}
