//! Exactly once, whatever happens: hundreds of questions with random taps, double taps, replays, notes, kills, outages
//! and refusals of Telegram, and agents that leave. Then the records of the service, of the chat, of the gateway and
//! of the agents are compared.
//!
//! `STRESS_SEED` takes another seed; a failure prints the one that was used.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;
mod telegram_api;

use harness::timing;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::AddAssign;
use std::thread;
use std::time::{Duration, Instant};

use agentpass::testing::base::ids::RequestId;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use harness::gateway::{SERVICE_SECRET, TOKEN};
use harness::{Agent, Gateway, Setup, eventually};
use serde_json::{Value, json};
use telegram_api::{ANNA, BEN, BOT_TOKEN, Fault, STRANGER, Shown, Telegram};

/// Houses at the same time, each with a gateway, a chat and a service of its own: Telegram takes one message a second
/// in a chat.
const HOUSES: u64 = 8;
/// How long things happen in each.
const TIME: Duration = Duration::from_secs(24);
/// How many questions they ask together, at least.
const QUESTIONS: usize = 200;
/// After so many denials of a call nobody is asked about it.
const DENIES: usize = 2;
/// How often the name of a question stands in a long one: more than fits into one message.
const LONG: usize = 250;
/// Those who may answer in the chat of a house.
const BY_ANNA: &str = "telegram:7001";
/// Another person of the same name.
const ELSEWHERE: telegram_api::Person = telegram_api::Person { id: 4711, name: "Anna" };

/// Numbers from a seed (splitmix64): a failure can be repeated.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        if all.is_empty() { None } else { Some(&all[self.below(all.len())]) }
    }
}

/// One request of an agent, and what it has heard.
struct Ask {
    text: String,
    key: String,
    /// The question it was told to wait for.
    question: Option<String>,
    answers: Vec<Value>,
}

/// A connection of an agent, and which of its requests is which.
struct Line {
    agent: Agent,
    wires: HashMap<u64, usize>,
}

/// What the people of a house did, by the id of the question.
#[derive(Default)]
struct Deeds {
    /// Somebody who may said yes, in the chat or on the gateway.
    allowed: BTreeSet<String>,
    /// The same for no.
    denied: BTreeSet<String>,
    /// The same for reasons.
    notes: BTreeMap<String, BTreeSet<String>>,
    /// Taps of one who may: the tap's id, the question, the button.
    taps: Vec<(String, String, &'static str)>,
    kills: usize,
    outages: usize,
    reloads: usize,
}

struct House {
    name: u64,
    telegram: Telegram,
    gateway: Gateway,
    lines: Vec<Line>,
    asks: Vec<Ask>,
    deeds: Deeds,
}

/// What a reload puts in force: another credential, so few places that calls wait for one, and sometimes a deny.
fn another(setup: &Setup, numbers: &mut Seeded) -> Setup {
    let credential = format!("s3rvice-cr3dential-{:010}", numbers.below(10_000_000_000));
    let config = setup.config.replace(SERVICE_SECRET, &credential);
    let config = format!("{config}max_concurrent_calls: {}\n", 1 + numbers.below(3));
    let deny = "rules:\n  - {pattern: \"say*\", action: deny, description: \"Quiet now\"}";
    let permissions = match numbers.below(4) {
        0 => setup.permissions.replacen("rules:", deny, 1),
        _ => setup.permissions.clone(),
    };
    Setup { config, permissions, ..setup.clone() }
}

fn setup(telegram: &Telegram) -> Setup {
    let usual = Setup::default();
    let more = format!(
        "approval_timeout: 15\napprovals: {{note_seconds: 5, cool_down: {{denies: {DENIES}, minutes: 10}}}}"
    );
    let config = usual
        .config
        .replace("messenger: {type: local}", &telegram.messenger(ANNA.id))
        .replace("approval_timeout: 60", &more);
    Setup { config, ..usual }
}

// --- what happens ---

impl House {
    fn new(name: u64) -> House {
        let telegram = Telegram::start();
        let gateway = Gateway::with(&setup(&telegram));
        House { name, telegram, gateway, lines: Vec::new(), asks: Vec::new(), deeds: Deeds::default() }
    }

    fn ask_something_new(&mut self, numbers: &mut Seeded) {
        let name = format!("house {} question {}. ", self.name, self.asks.len());
        self.ask(if numbers.below(12) == 0 { name.repeat(LONG) } else { name });
    }

    /// The same call again: it joins the open question, or is a new one, or nobody is asked.
    fn ask_again(&mut self, numbers: &mut Seeded) {
        self.listen();
        let denied = |ask: &&Ask| ask.question.as_ref().is_some_and(|id| self.deeds.denied.contains(id));
        let denied: Vec<_> = self.asks.iter().rev().filter(denied).take(2).collect();
        let recent: Vec<_> = self.asks.iter().rev().take(4).collect();
        let from = if numbers.below(2) == 0 { denied } else { recent };
        let text = numbers.pick(&from).map(|ask| ask.text.clone());
        text.into_iter().for_each(|text| self.ask(text));
    }

    fn ask(&mut self, text: String) {
        if self.gateway.control(&json!({"command": "approvals"})).is_none() {
            return;
        }
        if self.lines.is_empty() {
            let agent = Agent::login(self.gateway.address, TOKEN);
            self.lines.push(Line { agent, wires: HashMap::new() });
        }
        let key = format!("key {}", self.asks.len());
        let line = self.lines.last_mut().unwrap();
        let wire = line.agent.send("tool_request", request(&text, &key));
        line.wires.insert(wire, self.asks.len());
        self.asks.push(Ask { text, key, question: None, answers: Vec::new() });
    }

    /// What the agents have heard by now.
    fn listen(&mut self) {
        for line in &mut self.lines {
            for message in line.agent.come_by_now() {
                let params = &message["params"];
                let wire = if message["method"].is_string() { &params["id"] } else { &message["id"] };
                let Some(index) = wire.as_u64().and_then(|wire| line.wires.get(&wire)) else {
                    continue; // the login, or a withdrawal
                };
                let ask = &mut self.asks[*index];
                match params["request_id"].as_str() {
                    Some(id) => ask.question = Some(id.to_owned()),
                    None => ask.answers.push(message),
                }
            }
        }
    }

    fn leave(&mut self) {
        self.listen();
        self.lines.clear();
    }

    fn withdraw(&mut self, numbers: &mut Seeded) {
        self.listen();
        let open: Vec<_> = self.asks.iter().filter(|ask| ask.answers.is_empty()).collect();
        let Some(id) = numbers.pick(&open).and_then(|ask| ask.question.clone()) else { return };
        if let Some(line) = self.lines.last_mut() {
            line.agent.send("cancel", json!({"request_id": id}));
        }
    }

    /// Messages with the buttons of a question, as they are now.
    fn cards(&self) -> Vec<Shown> {
        let all = self.telegram.bot_messages(ANNA.id);
        all.into_iter().filter(|m| !first(m).buttons().is_empty()).collect()
    }

    /// One of the newest, every other time one that seems open.
    fn some_card(&self, numbers: &mut Seeded) -> Option<Shown> {
        let mut cards = self.cards();
        if numbers.below(2) == 0 {
            cards.retain(|card| card.button("Deny").is_some());
        }
        numbers.pick(&cards[cards.len().saturating_sub(5)..]).cloned()
    }

    fn tap(&mut self, numbers: &mut Seeded) {
        let Some(card) = self.some_card(numbers).as_ref().map(first) else { return };
        let label = *numbers.pick(&["Deny", "Deny with a reason", "Allow", "Allow"]).unwrap();
        let id = id_of(&card);
        for _ in 0..=numbers.below(3) {
            match label {
                "Allow" => self.deeds.allowed.insert(id.clone()),
                _ => self.deeds.denied.insert(id.clone()),
            };
            let tap = self.telegram.tap_stale(&card, label, ANNA);
            self.deeds.taps.push((tap, id.clone(), label));
        }
    }

    /// The reason for a denial, or that there is none.
    fn explain(&mut self, numbers: &mut Seeded) {
        let denied = |m: &Shown| self.deeds.denied.contains(&id_of(&first(m)));
        let denied: Vec<_> = self.cards().into_iter().filter(denied).collect();
        let Some(card) = denied.last() else { return };
        match numbers.below(5) {
            0 if card.buttons() == ["No reason"] => drop(self.telegram.tap_stale(card, "No reason", ANNA)),
            1 => drop(self.telegram.reply(card, STRANGER, "a reason of somebody else")),
            _ => {
                let note = format!("because {}", numbers.below(1000));
                self.deeds.notes.entry(id_of(&first(card))).or_default().insert(note.clone());
                self.telegram.reply(card, ANNA, &note);
            }
        }
    }

    /// Taps that must not count: of others, of data from another card, of a copy in another chat, and old ones.
    fn tap_without_right(&mut self, numbers: &mut Seeded) {
        let cards = self.cards();
        let Some(card) = numbers.pick(&cards).map(first) else { return };
        match numbers.below(5) {
            0 => drop(self.telegram.tap_stale(&card, "Allow", STRANGER)),
            1 => drop(self.telegram.tap_stale(&card, "Allow", ELSEWHERE)),
            2 => {
                let copy = self.telegram.forward(&card, BEN.id, BEN);
                drop(self.telegram.tap_stale(&copy, "Allow", BEN));
            }
            3 => drop(self.telegram.say(ANNA.id, ANNA, "Allow")),
            _ => {
                let past = self.telegram.past_updates();
                if let Some(update) = numbers.pick(&past) {
                    self.telegram.replay(update["update_id"].as_i64().unwrap());
                }
            }
        }
    }

    fn answer_here(&mut self, numbers: &mut Seeded) {
        let Some(open) = self.gateway.control(&json!({"command": "approvals"})) else { return };
        let open: Vec<Value> = open["approvals"].as_array().cloned().unwrap_or_default();
        let Some(id) = numbers.pick(&open).map(|q| q["request_id"].as_str().unwrap().to_owned()) else {
            return;
        };
        let command = if numbers.below(2) == 0 { "approve" } else { "deny" };
        let line = json!({"command": command, "id": id});
        match command {
            "approve" => self.deeds.allowed.insert(id),
            _ => self.deeds.denied.insert(id),
        };
        self.gateway.control(&line);
    }

    fn kill(&mut self) {
        self.listen();
        self.gateway.kill();
        self.deeds.kills += 1;
        // What was sent before the end may still arrive.
        self.leave();
        self.gateway.restart();
        self.gateway.verify();
    }

    fn outage(&mut self, numbers: &mut Seeded) {
        self.telegram.down();
        self.deeds.outages += 1;
        thread::sleep(Duration::from_millis(numbers.below(700) as u64));
        if numbers.below(3) == 0 {
            self.kill();
        }
        self.telegram.up();
    }

    fn reload(&mut self, setup: &Setup) {
        self.gateway.configure(setup);
        let reply = self.gateway.control(&json!({"command": "reload"})).unwrap();
        assert_eq!(reply["reloaded"], true, "{reply}");
        self.deeds.reloads += 1;
    }

    fn trouble(&mut self, numbers: &mut Seeded) {
        let methods = ["sendMessage", "sendMessage", "editMessageText", "answerCallbackQuery", "getUpdates"];
        let method = numbers.pick(&methods).unwrap();
        let refused = |code, words, more| Fault::Error(code, words, more);
        let faults = [
            Fault::Page(502),
            Fault::Close,
            Fault::Garbage,
            Fault::Lost,
            Fault::Lost,
            Fault::Hang,
            Fault::Late,
            refused(429, "Too Many Requests: retry after 1", json!({"retry_after": 1})),
            refused(500, "Internal Server Error", Value::Null),
            refused(401, "Unauthorized", Value::Null),
            refused(403, "Forbidden: bot was kicked from the group chat", Value::Null),
        ];
        self.telegram.fault(method, numbers.pick(&faults).unwrap().clone(), 1);
    }

    /// Whether it has done its share of the questions, and of what goes wrong.
    fn has_seen_enough(&self) -> bool {
        let Deeds { kills, outages, reloads, taps, .. } = &self.deeds;
        let questions = self.asks.len() >= QUESTIONS.div_ceil(HOUSES as usize);
        let tapped = taps.len() >= QUESTIONS.div_ceil(2 * HOUSES as usize);
        questions && tapped && *kills > 0 && *outages > 0 && *reloads > 0
    }

    fn something(&mut self, numbers: &mut Seeded) {
        match numbers.below(100) {
            0..8 => self.ask_something_new(numbers),
            8..17 => self.ask_again(numbers),
            17..57 => self.tap(numbers),
            57..69 => self.explain(numbers),
            69..76 => self.tap_without_right(numbers),
            76..81 => self.answer_here(numbers),
            81..83 => self.withdraw(numbers),
            83..85 => self.leave(),
            85..89 => self.trouble(numbers),
            89..93 => self.telegram.release(),
            93..95 => self.reload(&another(&setup(&self.telegram), numbers)),
            95..97 => self.outage(numbers),
            97..98 => self.kill(),
            _ => self.listen(),
        }
    }
}

fn request(text: &str, key: &str) -> Value {
    json!({"tool": "say", "args": {"text": text}, "idempotency_key": key})
}

/// The message as it was sent.
fn first(message: &Shown) -> Shown {
    Shown { versions: message.versions[..1].to_vec(), ..message.clone() }
}

/// The question that the buttons of a card name.
fn id_of(card: &Shown) -> String {
    let data = card.button("Deny").unwrap_or_else(|| panic!("no question: {:?}", card.buttons()));
    let bytes = URL_SAFE_NO_PAD.decode(&data[2..]).unwrap();
    RequestId::from_bytes(bytes.try_into().unwrap()).to_string()
}

// --- what must be true afterwards ---

/// What the records say.
struct Records {
    rows: BTreeMap<String, Value>,
    /// How often the service was called with each text.
    calls: BTreeMap<String, usize>,
}

impl Records {
    fn of(gateway: &Gateway) -> Records {
        let rows = gateway.audit().into_iter().map(|row| (text(&row["request_id"]), row));
        let mut calls = BTreeMap::new();
        for seen in gateway.upstream.seen() {
            // Nothing but what was shown.
            assert_eq!(seen.json(), json!({"text": seen.json()["text"]}));
            *calls.entry(text(&seen.json()["text"])).or_default() += 1;
        }
        Records { rows: rows.collect(), calls }
    }

    fn row(&self, id: &str) -> &Value {
        self.rows.get(id).unwrap_or_else(|| panic!("{id} is not in the record"))
    }

    fn count(&self, wanted: impl Fn(&Value) -> bool) -> usize {
        self.rows.values().filter(|row| wanted(row)).count()
    }
}

/// What a text is called; long ones say it many times.
fn name(text: &str) -> Option<&str> {
    let name = &text[text.find("house ")?..];
    name.get(..=name.find('.')?)
}

/// The name of what was asked for. The list of the record shows the beginning of long arguments.
fn asked_in(row: &Value) -> Option<&str> {
    row["args"].as_object()?.values().find_map(|value| name(value.as_str()?))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// All questions come to an end.
fn settle(house: &mut House) {
    house.telegram.heal();
    house.reload(&setup(&house.telegram));
    let over = |house: &House| house.gateway.audit().iter().all(|row| row["outcome"] != "pending");
    eventually("all questions to end", || over(house).then_some(()));
}

/// I1: the service was called as often as somebody who may allowed it, and as often as the record says.
fn calls_were_allowed(house: &House, records: &Records) {
    for (text, calls) in &records.calls {
        assert!(house.asks.iter().any(|ask| ask.text == *text), "{text} was never asked");
        let of = |row: &Value, outcomes: &[&str]| {
            let outcome = row["outcome"].as_str().unwrap();
            asked_in(row) == name(text) && row["resolution"] == "approved" && outcomes.contains(&outcome)
        };
        let surely = records.count(|row| of(row, &["executed"]));
        let at_most = records.count(|row| of(row, &["executed", "unknown", "failed"]));
        assert!(
            (surely..=at_most).contains(calls),
            "{calls} calls, {surely} to {at_most} by the record: {:?}",
            name(text)
        );
    }
    for (id, row) in &records.rows {
        let did = |deeds: &BTreeSet<String>| assert!(deeds.contains(id), "nobody did that: {row}");
        let by = row["resolved_by"].as_str().unwrap_or_default();
        match row["resolution"].as_str() {
            Some("approved") => did(&house.deeds.allowed),
            Some("denied") if by == "cool_down" => was_denied_often(records, row),
            Some("denied") => did(&house.deeds.denied),
            _ => assert_ne!(row["outcome"], "executed", "{row}"),
        }
        assert!(["", BY_ANNA, "cool_down"].contains(&by) || by.starts_with("local:"), "{row}");
        if let Some(note) = row["note"].as_str().filter(|_| by == BY_ANNA) {
            let notes = house.deeds.notes.get(id);
            assert!(notes.is_some_and(|notes| notes.contains(note)), "nobody wrote that: {row}");
        }
    }
}

fn was_denied_often(records: &Records, row: &Value) {
    let denials = records.count(|other| {
        let same = asked_in(other) == asked_in(row) && other["resolution"] == "denied";
        same && other["resolved_by"] != "cool_down"
    });
    assert!(denials >= DENIES, "denied {denials} times: {}", row["request_id"]);
}

/// I2: whoever allowed a call in the chat had the whole of it before them.
fn calls_were_shown(house: &House, records: &Records) {
    let messages = house.telegram.bot_messages(ANNA.id);
    let cards: BTreeSet<_> = house.cards().iter().map(|card| id_of(&first(card))).collect();
    for (id, row) in records.rows.iter().filter(|(_, row)| row["resolved_by"] == BY_ANNA) {
        assert!(cards.contains(id), "decided and never shown: {row}");
        let name = asked_in(row).unwrap();
        let whole = &house.asks.iter().find(|ask| ask.text.starts_with(name)).unwrap().text;
        let shown: usize = messages.iter().map(|m| first(m).text().matches(name).count()).sum();
        // Where a text is split, a name may be split.
        let parts = messages.iter().filter(|m| first(m).text().contains(name)).count();
        assert!(shown + parts > whole.matches(name).count(), "{shown} of {}", whole.matches(name).count());
    }
}

/// What those who tapped were told, and what the cards say, is what happened.
fn people_were_told_the_truth(house: &House, records: &Records) {
    for (tap, id, _) in &house.deeds.taps {
        let Some(toast) = house.telegram.toast_now(tap) else { continue };
        let row = records.row(id);
        let decided = (&row["resolution"], &row["resolved_by"]);
        if toast.text == "Allowed." {
            assert_eq!(decided, (&json!("approved"), &json!(BY_ANNA)), "{row}");
        } else if toast.text.starts_with("Denied.") {
            assert_eq!(decided, (&json!("denied"), &json!(BY_ANNA)), "{row}");
        }
    }
    for card in house.cards() {
        let (row, now) = (records.row(&id_of(&first(&card))), card.text());
        let says = |words: &[&str]| words.iter().any(|word| now.contains(word));
        if says(&["Done."]) {
            assert_eq!(row["outcome"], "executed", "{now}");
        }
        if says(&["Denied", "Expired", "Withdrawn", "not done"]) {
            assert_ne!(row["outcome"], "executed", "{now}");
        }
        assert!(!now.contains("a reason of somebody else"), "{now}");
    }
}

/// I3, and the rules of the service.
fn nothing_leaked(house: &House) {
    let shown = house.telegram.everything_shown().join("\n");
    for secret in [BOT_TOKEN.split_once(':').unwrap().1, SERVICE_SECRET, TOKEN] {
        assert!(!shown.contains(secret) && !house.gateway.log().contains(secret));
    }
    house.telegram.assert_clean();
    house.gateway.verify();
}

/// Every request was answered once, or its answer can be fetched; and the answer is what happened.
fn agents_were_answered(house: &mut House, records: &Records) {
    house.listen();
    let mut agent = Agent::login(house.gateway.address, TOKEN);
    for ask in &house.asks {
        let answer = match &ask.answers[..] {
            [] => fetched(&mut agent, ask, records),
            [one] => Some(one.clone()),
            more => panic!("answered more than once: {more:?}"),
        };
        let Some(answer) = answer else { continue };
        let id = [&answer["result"]["request_id"], &answer["error"]["data"]["request_id"]];
        let id = id.iter().find_map(|id| id.as_str()).map(str::to_owned);
        assert!(ask.question.is_none() || ask.question == id, "{:?} and {answer}", ask.question);
        let Some(row) = id.and_then(|id| records.rows.get(&id)) else { continue };
        assert_eq!(asked_in(row), name(&ask.text), "{row}");
        let executed = answer["result"]["status"] == "executed";
        assert_eq!(executed, row["outcome"] == "executed", "{answer} and {row}");
        if answer["error"]["data"]["reason"] == "denied_by_user" {
            assert_eq!(row["resolution"], "denied", "{answer}");
            let note = &answer["error"]["data"]["note"];
            assert!(note.is_null() || *note == row["note"], "{answer} and {row}");
        }
    }
}

/// The answer to a request whose connection was lost, by its key. None when the gateway never got the request.
fn fetched(agent: &mut Agent, ask: &Ask, records: &Records) -> Option<Value> {
    let wire = agent.send("tool_request", request(&ask.text, &ask.key));
    let mut is_new = false;
    loop {
        let message = agent.receive();
        if message["id"] == wire {
            return Some(message).filter(|_| !is_new);
        }
        // A denial that waits for its reason is still to be told.
        let id = &message["params"]["request_id"];
        if message["method"] == "approval_pending" && !records.rows.contains_key(&text(id)) {
            assert!(ask.question.is_none(), "asked anew: {message}");
            is_new = true;
            agent.send("cancel", json!({"request_id": id}));
        }
    }
}

// --- the test ---

/// What was tried, and what came of it.
#[derive(Debug, Default)]
struct Tried {
    asked: usize,
    by_tap: usize,
    calls: usize,
    merged: usize,
    noted: usize,
    cooled: usize,
    long: usize,
    fetched: usize,
}

impl Tried {
    fn of(house: &House, records: &Records) -> Tried {
        let questions: Vec<_> = house.asks.iter().filter_map(|ask| ask.question.as_ref()).collect();
        let different: BTreeSet<_> = questions.iter().collect();
        Tried {
            asked: house.asks.len(),
            by_tap: records.count(|row| row["resolved_by"] == BY_ANNA),
            calls: records.calls.values().sum(),
            merged: questions.len() - different.len(),
            noted: records.count(|row| row["note"].is_string() && row["resolved_by"] == BY_ANNA),
            cooled: records.count(|row| row["resolved_by"] == "cool_down"),
            long: records.calls.keys().filter(|text| text.len() > 4096).count(),
            fetched: house.asks.iter().filter(|ask| ask.answers.is_empty()).count(),
        }
    }
}

impl AddAssign for Tried {
    fn add_assign(&mut self, other: Tried) {
        let Tried { asked, by_tap, calls, merged, noted, cooled, long, fetched } = other;
        self.asked += asked;
        self.by_tap += by_tap;
        self.calls += calls;
        self.merged += merged;
        self.noted += noted;
        self.cooled += cooled;
        self.long += long;
        self.fetched += fetched;
    }
}

fn live(name: u64, seed: u64) -> Tried {
    let mut numbers = Seeded(seed.wrapping_add(name));
    let mut house = House::new(name);
    let (end, latest) = (Instant::now() + TIME, Instant::now() + 5 * TIME);
    // A busy machine gets less done in that time: it goes on until enough was tried.
    while Instant::now() < end || (Instant::now() < latest && !house.has_seen_enough()) {
        house.something(&mut numbers);
        thread::sleep(Duration::from_millis(numbers.below(200) as u64));
    }
    assert!(house.has_seen_enough(), "the seed does not try enough");
    settle(&mut house);
    let records = Records::of(&house.gateway);
    calls_were_allowed(&house, &records);
    calls_were_shown(&house, &records);
    people_were_told_the_truth(&house, &records);
    nothing_leaked(&house);
    house.listen();
    let tried = Tried::of(&house, &records);
    agents_were_answered(&mut house, &records);
    tried
}

#[test]
fn everything_is_done_exactly_once_or_not_at_all() {
    let seed = std::env::var("STRESS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(2026);
    let houses: Vec<_> = (0..HOUSES).map(|name| thread::spawn(move || live(name, seed))).collect();
    let results: Vec<_> = houses.into_iter().map(std::thread::JoinHandle::join).collect();
    let failed = results.iter().filter(|result| result.is_err()).count();
    assert_eq!(failed, 0, "failed with STRESS_SEED={seed}");
    let mut sum = Tried::default();
    results.into_iter().flatten().for_each(|tried| sum += tried);
    eprintln!("{sum:?} (seed {seed})");
    assert!(sum.asked >= QUESTIONS && sum.by_tap >= QUESTIONS / 4 && sum.calls >= QUESTIONS / 8, "{sum:?}");
    let each = [sum.merged, sum.noted, sum.cooled, sum.long, sum.fetched];
    assert!(each.iter().all(|count| *count > 0), "the seed does not try enough: {sum:?}");
}
