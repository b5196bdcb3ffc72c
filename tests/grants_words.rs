//! What a grant lets through is what its words say: they are read here anew, by nobody who decides.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;
mod random;

use harness::gateway::{LAPTOP, TOKEN};
use harness::{Agent, Gateway, Setup, TestClock};
use random::Random;
use serde_json::{Map, Value, json};

const TOOLS: &str = r#"
tools:
  lamp:
    description: "Switches a lamp"
    signature: "{entity_id}"
    args:
      entity_id: {required: true}
      brightness: {type: integer}
      mode: {}
      note: {free_text: true}
      colour: {type: array}
      scene: {type: object}
    extra_args: allow
    request: {method: POST, path: "/api/lamp"}
  fan:
    description: "Switches a fan"
    signature: "{entity_id}"
    args: {entity_id: {required: true}, note: {free_text: true}}
    request: {method: POST, path: "/api/fan"}
  plugs:
    description: "Switches plugs"
    signature: "{ids}"
    args:
      ids: {type: array, each: true, required: true}
      power: {type: boolean}
    request: {method: POST, path: "/api/plugs"}
"#;

const RULES: &str = r#"rules:
  - {pattern: "lamp(light.never)", action: deny}
  - {pattern: "lamp(light.a*)", action: ask, grant: {for: [15m, 1h], uses: 3, scope: call}}
  - {pattern: "lamp(light.b*)", action: ask, grant: {for: [15m, 1h], uses: 3}}
  - {pattern: "lamp(light.c*)", action: ask, description: "All c", grant: {for: 1h, uses: 4, scope: rule}}
  - {pattern: "lamp(light.d*)", action: ask, grant: {for: 1h, session: true}}
  - {pattern: "lamp(light.e*)", action: ask, always: true, grant: {for: 1h, uses: 2}}
  - {pattern: "fan(*)", action: ask, grant: {for: 1h}}
  - {pattern: "plugs(p*)", action: ask, description: "The plugs", grant: {for: 1h, uses: 5, scope: rule}}
  - {pattern: "plugs(q*)", action: ask, grant: {for: 1h, uses: 5}}
defaults:
  - {pattern: "*", action: ask}
"#;

/// What the rules of the file ask about, by name.
const ASKS: [(&str, &str); 9] = [
    ("lamp(light.a*)", "lamp(light.a*)"),
    ("lamp(light.b*)", "lamp(light.b*)"),
    ("All c", "lamp(light.c*)"),
    ("lamp(light.d*)", "lamp(light.d*)"),
    ("lamp(light.e*)", "lamp(light.e*)"),
    ("fan(*)", "fan(*)"),
    ("The plugs", "plugs(p*)"),
    ("plugs(q*)", "plugs(q*)"),
    ("*", "*"),
];

const ALWAYS: &str = "lamp(light.e*)";
const NEVER: &str = "lamp(light.never)";
const AGENTS: [(&str, &str); 2] = [("default", TOKEN), ("laptop", LAPTOP)];

/// A call as an agent sends it.
#[derive(Clone, Debug)]
struct Sent {
    agent: usize,
    session: Option<&'static str>,
    tool: &'static str,
    args: Map<String, Value>,
}

impl Sent {
    /// One signature, or one for each element of a list.
    fn signatures(&self) -> Vec<String> {
        let one = |value: &Value| format!("{}({})", self.tool, value.as_str().unwrap());
        match &self.args[if self.tool == "plugs" { "ids" } else { "entity_id" }] {
            Value::Array(ids) => ids.iter().map(one).collect(),
            id => vec![one(id)],
        }
    }

    fn params(&self) -> Value {
        let mut params = json!({"tool": self.tool, "args": self.args});
        if let Some(session) = self.session {
            params["session_id"] = session.into();
        }
        params
    }
}

/// What the words of a grant say, and the call at whose question it was given.
#[derive(Debug)]
struct Words {
    id: String,
    agent: String,
    lets: Lets,
    /// None: any; else the name, or none.
    session: Option<Option<String>>,
    uses_left: Option<u64>,
    /// In seconds of the test's clock.
    until: i64,
    shown: Option<Sent>,
}

#[derive(Debug)]
enum Lets {
    /// `every X of A`, and what may differ besides; None: the words name no exception, so anything.
    Every { signatures: String, may_differ: Option<Vec<String>> },
    /// `everything of A that "R" asks about`
    AskedBy(String),
}

fn fits(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => text.starts_with(beginning),
        None => {
            pattern.strip_suffix("*)").map_or(pattern == text, |b| text.starts_with(b) && text.ends_with(')'))
        }
    }
}

/// The name of the rule that asks about a signature.
fn asks(signature: &str) -> &'static str {
    ASKS.iter().find(|(_, pattern)| fits(pattern, signature)).unwrap().0
}

impl Words {
    fn read(grant: &Value, shown: Option<Sent>, until: i64) -> Words {
        let text = grant["covers"].as_str().unwrap();
        let (text, differ) = match text.strip_suffix(')').and_then(|text| text.rsplit_once(" (")) {
            Some((text, differ)) => (text, differ),
            None => (text, ""),
        };
        let (text, session) = match text.split_once(", in session \"") {
            Some((text, name)) => (text, Some(Some(name.trim_end_matches('"').to_owned()))),
            None => match text.strip_suffix(", without a session") {
                Some(text) => (text, Some(None)),
                None => (text, None),
            },
        };
        let (agent, lets) = match text.strip_prefix("every ") {
            Some(text) => {
                let (signatures, agent) = text.split_once(" of ").unwrap();
                let (agent, same) =
                    agent.split_once(" with the same arguments").map_or((agent, false), |(a, _)| (a, true));
                let may_differ = match differ {
                    "" if !same => None,
                    "" | "nothing else may differ" => Some(Vec::new()),
                    names => {
                        let names = names.strip_suffix(" may differ").unwrap().split(", ");
                        Some(names.map(str::to_owned).collect())
                    }
                };
                (agent, Lets::Every { signatures: signatures.to_owned(), may_differ })
            }
            None => {
                let (agent, rule) =
                    text.strip_prefix("everything of ").unwrap().split_once(" that \"").unwrap();
                (agent, Lets::AskedBy(rule.strip_suffix("\" asks about").unwrap().to_owned()))
            }
        };
        Words {
            id: grant["grant_id"].as_str().unwrap().to_owned(),
            agent: agent.to_owned(),
            lets,
            session,
            uses_left: grant["uses_left"].as_u64(),
            until,
            shown,
        }
    }

    fn admit(&self, call: &Sent, now: i64) -> bool {
        let signatures = call.signatures();
        let lets = match &self.lets {
            Lets::AskedBy(rule) => signatures.iter().all(|one| asks(one) == rule),
            Lets::Every { signatures: wanted, may_differ } => match &self.shown {
                // Given beforehand: a pattern, and never what is always asked about.
                None => signatures.iter().all(|one| fits(wanted, one) && asks(one) != ALWAYS),
                Some(shown) => {
                    let differs = |name: &str| shown.args.get(name) != call.args.get(name);
                    let names = shown.args.keys().chain(call.args.keys());
                    let is_free = |name: &String| may_differ.as_ref().is_none_or(|free| free.contains(name));
                    let mut others = names.filter(|name| differs(name));
                    *wanted == signatures.join("; ") && others.all(is_free)
                }
            },
        };
        lets && AGENTS[call.agent].0 == self.agent
            && self.session.as_ref().is_none_or(|session| session.as_deref() == call.session)
            && self.uses_left.is_none_or(|left| left >= signatures.len() as u64)
            && now < self.until
    }
}

fn some_args(random: &mut Random, tool: &str) -> Map<String, Value> {
    let mut args = Map::new();
    if tool == "plugs" {
        let ids: Vec<_> = (0..=random.below(3)).map(|_| random.pick(&["p1", "p2", "q1", "q2"])).collect();
        args.insert("ids".into(), json!(ids));
        return args;
    }
    let ids = [
        "light.a1",
        "light.a2",
        "light.b1",
        "light.b2",
        "light.c1",
        "light.c2",
        "light.d1",
        "light.e1",
        "light.x",
        "light.never",
    ];
    args.insert("entity_id".into(), random.pick(&ids).into());
    args
}

/// Changes one thing, which may be as it was before.
fn vary(random: &mut Random, call: &mut Sent) {
    let values = match (call.tool, random.below(7)) {
        ("lamp", 0) => ("brightness", vec![Value::Null, json!(1), json!(2)]),
        ("lamp", 1) => ("mode", vec![Value::Null, json!("day"), json!(true)]),
        ("lamp", 2) => ("colour", vec![Value::Null, json!([1]), json!([2])]),
        ("lamp", 3) => ("scene", vec![Value::Null, json!({"a": 1}), json!({"a": 2})]),
        ("lamp", 4) => ("undeclared", vec![Value::Null, json!(1), json!("x")]),
        ("lamp" | "fan", 5) => ("note", vec![Value::Null, json!("a"), json!("b")]),
        ("plugs", 0..=2) => ("power", vec![Value::Null, json!(true), json!(false)]),
        ("plugs", _) | (_, 6) => {
            let varied = some_args(random, call.tool);
            call.args.extend(varied);
            return;
        }
        _ => {
            call.session = random.pick(&[None, Some("s"), Some("t")]);
            return;
        }
    };
    match random.pick(&values.1) {
        Value::Null => drop(call.args.remove(values.0)),
        value => drop(call.args.insert(values.0.into(), value)),
    }
}

fn some_call(random: &mut Random) -> Sent {
    let tool = random.pick(&["lamp", "lamp", "lamp", "fan", "plugs"]);
    let args = some_args(random, tool);
    let mut call = Sent { agent: random.below(2), session: random.pick(&[None, Some("s")]), tool, args };
    (0..3).for_each(|_| vary(random, &mut call));
    call
}

struct House {
    gateway: Gateway,
    clock: TestClock,
    agents: Vec<Agent>,
    now: i64,
    words: Vec<Words>,
}

enum Came {
    Executed(Value),
    Asked(String),
    Denied,
}

impl House {
    fn new() -> House {
        let usual = Setup::default();
        let config = format!("{}\napprovals: {{cool_down: off}}\n", usual.config);
        let clock = TestClock::new();
        let setup = Setup { config, tools: TOOLS.into(), permissions: RULES.into() };
        let gateway = Gateway::with_clock(&setup, &clock);
        let agents = AGENTS.iter().map(|(_, token)| Agent::login(gateway.address, token)).collect();
        House { gateway, clock, agents, now: 0, words: Vec::new() }
    }

    fn control(&self, command: &Value) -> Value {
        self.gateway.control(command).unwrap()
    }

    fn send(&mut self, call: &Sent) -> (u64, Came) {
        let agent = &mut self.agents[call.agent];
        let wire = agent.send("tool_request", call.params());
        loop {
            let message = agent.receive();
            if message["method"] == "approval_pending" {
                return (wire, Came::Asked(message["params"]["request_id"].as_str().unwrap().to_owned()));
            }
            if message["id"] == wire {
                let executed = message["result"]["status"] == "executed";
                return (
                    wire,
                    if executed { Came::Executed(message["result"].clone()) } else { Came::Denied },
                );
            }
        }
    }

    fn deny(&mut self, call: &Sent, wire: u64, id: &str) {
        assert_eq!(self.control(&json!({"command": "deny", "id": id}))["outcome"], "resolved");
        self.agents[call.agent].reply(wire);
    }

    /// A person grants something, at the question about a call or beforehand.
    fn grant(&mut self, random: &mut Random, shown: &Sent) {
        let uses = 1 + random.below(3);
        if random.one_in(4) {
            let pattern =
                random.pick(&["*", "lamp*", "lamp(light.b1)", "lamp(light.e*)", "plugs(p*)", "fan(*)"]);
            let agent = AGENTS[random.below(2)].0;
            let mut command =
                json!({"command": "grant", "agent": agent, "pattern": pattern, "for": "15m", "uses": uses});
            if random.one_in(3) {
                command["session"] = "s".into();
            }
            let given = self.control(&command);
            self.words.push(Words::read(&given["grant"], None, self.now + 900));
            return;
        }
        let (wire, came) = self.send(shown);
        let Came::Asked(id) = came else { return self.compare(shown, wire, came) };
        let question = self.gateway.whole_questions().remove(0);
        let offer = &question["grant"];
        if !offer.is_object() {
            return self.deny(shown, wire, &id);
        }
        let seconds = offer["for"].as_array().unwrap()[0].as_i64().unwrap();
        let mut command = json!({"command": "approve", "id": id, "digest": question["digest"], "for": format!("{seconds}s")});
        if random.one_in(2) {
            command["uses"] = offer["uses"].as_u64().unwrap_or(9).min(uses as u64).into();
        }
        let reply = self.control(&command);
        assert_eq!(reply["outcome"], "resolved", "{reply}");
        assert_eq!(self.agents[shown.agent].reply(wire)["result"]["status"], "executed");
        let words = Words::read(&reply["grant"], Some(shown.clone()), self.now + seconds);
        // The card said the same before: from its beginning to what may differ.
        let (card, covers) = (question["shown"].to_string(), reply["grant"]["covers"].as_str().unwrap());
        let said = json!(covers.rsplit_once(" (").map_or(covers, |(said, _)| said)).to_string();
        assert!(card.contains(said.trim_matches('"')), "{covers}: {card}");
        self.words.push(words);
    }

    fn check(&mut self, call: &Sent) {
        let (wire, came) = self.send(call);
        self.compare(call, wire, came);
    }

    /// What comes of a call is what the words say.
    fn compare(&mut self, call: &Sent, wire: u64, came: Came) {
        let never = call.signatures().iter().any(|one| one == NEVER);
        let admitting = self.words.iter().filter(|words| words.admit(call, self.now));
        let admitting: Vec<String> = admitting.map(|words| words.id.clone()).collect();
        match came {
            Came::Denied => assert!(never, "{call:?}"),
            Came::Asked(id) => {
                assert!(admitting.is_empty(), "{call:?} is asked about, with {:#?}", self.words);
                self.deny(call, wire, &id);
            }
            Came::Executed(result) => {
                let by = result["grant"]["grant_id"].as_str().unwrap();
                assert!(
                    !never && admitting.iter().any(|id| id == by),
                    "{call:?} by {by} of {:#?}",
                    self.words
                );
                let words = self.words.iter_mut().find(|words| words.id == by).unwrap();
                let left = words.uses_left.map(|left| left - call.signatures().len() as u64);
                assert_eq!(result["grant"]["uses_left"].as_u64(), left, "{call:?}");
                words.uses_left = left;
            }
        }
    }
}

#[test]
fn what_is_let_through_is_what_the_words_say() {
    let mut random = Random::new(1648);
    eprintln!("SEED={}", random.seed);
    let mut house = House::new();
    let mut passed = 0;
    for _ in 0..150 {
        if house.words.len() > 3 {
            house.control(&json!({"command": "grants_revoke", "all": true}));
            house.words.clear();
        }
        let shown = some_call(&mut random);
        house.grant(&mut random, &shown);
        for _ in 0..8 {
            let mut call = shown.clone();
            (0..random.below(3)).for_each(|_| vary(&mut random, &mut call));
            if random.one_in(8) {
                call.agent = 1 - call.agent;
            }
            passed += usize::from(house.words.iter().any(|words| words.admit(&call, house.now)));
            house.check(&call);
        }
        if random.one_in(6) {
            house.now += 1000;
            house.clock.shift(house.now);
        }
    }
    assert!(passed > 150, "too few calls were let through to prove anything: {passed}");
    house.gateway.verify();
}
