//! Exactly once, whatever happens: hundreds of questions with random taps, double taps, replays, kills, outages of
//! Telegram and agents that leave. Then the records of the service, of the chat and of the gateway are compared.
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

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use harness::gateway::{SERVICE_SECRET, TOKEN};
use harness::{Agent, Gateway, Setup};
use serde_json::{Value, json};
use telegram_api::{ANNA, BEN, BOT_TOKEN, Fault, STRANGER, Shown, Telegram, within};

/// Houses at the same time, each with a gateway, a chat and a service of its own: Telegram takes one message a second
/// in a chat.
const HOUSES: u64 = 8;
/// How long things happen in each.
const TIME: Duration = Duration::from_secs(24);
/// How many questions they ask together, at least.
const QUESTIONS: usize = 200;

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

/// What the people of a house did.
#[derive(Default)]
struct Deeds {
    /// Questions by their text.
    asked: BTreeSet<String>,
    /// Texts of questions that somebody who may said yes to, in the chat or on the gateway.
    allowed: BTreeSet<String>,
    /// The same for no.
    denied: BTreeSet<String>,
    /// Taps of one who may: the tap's id, the question's text, the button.
    taps: Vec<(String, String, &'static str)>,
    kills: usize,
    outages: usize,
}

struct House {
    name: u64,
    telegram: Telegram,
    gateway: Gateway,
    agents: Vec<Agent>,
    deeds: Deeds,
}

fn setup(telegram: &Telegram) -> Setup {
    let usual = Setup::default();
    let config = usual.config.replace("messenger: {type: local}", &telegram.messenger(ANNA.id)).replace(
        "approval_timeout: 60",
        "approval_timeout: 15\napprovals: {note_seconds: 1, cool_down: off}",
    );
    Setup { config, ..usual }
}

impl House {
    fn new(name: u64) -> House {
        let telegram = Telegram::start();
        let gateway = Gateway::with(&setup(&telegram));
        House { name, telegram, gateway, agents: Vec::new(), deeds: Deeds::default() }
    }

    fn agent(&mut self) -> &mut Agent {
        if self.agents.is_empty() {
            self.agents.push(Agent::login(self.gateway.address, TOKEN));
        }
        self.agents.last_mut().unwrap()
    }

    fn ask(&mut self) {
        if self.gateway.control(&json!({"command": "approvals"})).is_none() {
            return;
        }
        let text = format!("house {} question {}.", self.name, self.deeds.asked.len());
        let request = json!({"tool": "say", "args": {"text": text}, "idempotency_key": text});
        self.agent().send("tool_request", request);
        self.deeds.asked.insert(text);
    }

    /// Cards as they are or once were: with buttons for a question.
    fn cards(&self) -> Vec<Shown> {
        let all = self.telegram.bot_messages(ANNA.id);
        all.into_iter().filter(|m| !first(m).buttons().is_empty()).collect()
    }

    fn tap(&mut self, numbers: &mut Seeded) {
        let cards = self.cards();
        // The newest cards more often: the others are mostly settled.
        let recent = cards.len().saturating_sub(5);
        let Some(card) = numbers.pick(&cards[recent..]).or(cards.last()).map(first) else { return };
        let label = if numbers.below(3) == 0 { "Deny" } else { "Allow" };
        for _ in 0..=numbers.below(3) {
            let text = text_of(&card);
            match label {
                "Allow" => self.deeds.allowed.insert(text.clone()),
                _ => self.deeds.denied.insert(text.clone()),
            };
            let tap = self.telegram.tap_stale(&card, label, ANNA);
            self.deeds.taps.push((tap, text, label));
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
            3 => drop(self.telegram.reply(&card, ANNA, "Allow")),
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
        let Some(question) = numbers.pick(&open) else { return };
        let (id, shown) = (question["request_id"].clone(), question["shown"].to_string());
        let Some(text) = self.deeds.asked.iter().find(|text| shown.contains(*text)).cloned() else {
            panic!("a question that nobody asked: {question}");
        };
        let command = if numbers.below(2) == 0 { "approve" } else { "deny" };
        match command {
            "approve" => self.deeds.allowed.insert(text),
            _ => self.deeds.denied.insert(text),
        };
        self.gateway.control(&json!({"command": command, "id": id}));
    }

    fn kill(&mut self) {
        self.gateway.kill();
        self.deeds.kills += 1;
        self.agents.clear();
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

    fn trouble(&mut self, numbers: &mut Seeded) {
        let methods = ["sendMessage", "editMessageText", "answerCallbackQuery", "getUpdates"];
        let method = numbers.pick(&methods).unwrap();
        let faults = [Fault::Page(502), Fault::Close, Fault::Lost, Fault::Garbage];
        self.telegram.fault(method, numbers.pick(&faults).unwrap().clone(), 1);
    }

    fn something(&mut self, numbers: &mut Seeded) {
        match numbers.below(100) {
            0..18 => self.ask(),
            18..68 => self.tap(numbers),
            68..80 => self.tap_without_right(numbers),
            80..86 => self.answer_here(numbers),
            86..90 => self.agents.clear(),
            90..94 => self.trouble(numbers),
            94..97 => self.outage(numbers),
            _ => self.kill(),
        }
    }
}

/// Another person of the same name.
const ELSEWHERE: telegram_api::Person = telegram_api::Person { id: 4711, name: "Anna" };

/// The message as it was sent.
fn first(message: &Shown) -> Shown {
    Shown { versions: message.versions[..1].to_vec(), ..message.clone() }
}

/// The text of the question on a card.
fn text_of(card: &Shown) -> String {
    let text = card.text();
    let start = text.find("house ").unwrap_or_else(|| panic!("no question on a card: {text}"));
    let end = text[start..].find('.').unwrap();
    text[start..=start + end].to_owned()
}

/// How often the service was called with each text.
fn calls(gateway: &Gateway) -> BTreeMap<String, usize> {
    let mut calls = BTreeMap::new();
    for seen in gateway.upstream.seen() {
        // Nothing but what was shown.
        assert_eq!(seen.json(), json!({"text": seen.json()["text"]}));
        *calls.entry(seen.json()["text"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    calls
}

/// All questions come to an end.
fn settle(house: &mut House) {
    house.telegram.heal();
    let over = |house: &House| house.gateway.audit().iter().all(|row| row["outcome"] != "pending");
    within(Duration::from_secs(20), "all questions to end", || over(house).then_some(()));
}

/// I1, I2 and I3 of the threat model.
fn check(house: &House) {
    let calls = calls(&house.gateway);
    let deeds = &house.deeds;
    let rows = house.gateway.audit();
    let of = |text: &str| rows.iter().filter(|row| row["args"]["text"] == text).collect::<Vec<_>>();
    for (text, count) in &calls {
        assert_eq!(*count, 1, "{text} was done {count} times");
        assert!(deeds.asked.contains(text), "{text} was never asked");
        assert!(deeds.allowed.contains(text), "{text} was done and nobody allowed it");
        let row = of(text);
        assert_eq!(row.len(), 1, "{row:?}");
        assert_eq!(row[0]["resolution"], "approved", "{}", row[0]);
        assert!(
            ["executed", "unknown", "failed"].contains(&row[0]["outcome"].as_str().unwrap()),
            "{}",
            row[0]
        );
        if row[0]["resolved_by"] == "telegram:7001" {
            let shown = house.cards().iter().any(|card| text_of(&first(card)) == *text);
            assert!(shown, "{text} was done and never shown");
        } else {
            assert!(row[0]["resolved_by"].as_str().unwrap().starts_with("local:"), "{}", row[0]);
        }
    }
    for row in &rows {
        let text = row["args"]["text"].as_str().unwrap();
        match row["resolution"].as_str() {
            Some("approved") => assert!(deeds.allowed.contains(text), "{row}"),
            Some("denied") => assert!(deeds.denied.contains(text), "{row}"),
            _ => {}
        }
        if row["outcome"] == "executed" {
            assert_eq!(calls.get(text), Some(&1), "{row}");
        }
    }
    // What those who tapped were told is what happened.
    for (tap, text, _) in &deeds.taps {
        let Some(toast) = house.telegram.toast_now(tap) else { continue };
        let row = of(text)[0];
        let decided = (&row["resolution"], &row["resolved_by"]);
        if toast.text == "Allowed." {
            assert_eq!(decided, (&json!("approved"), &json!("telegram:7001")), "{row}");
        } else if toast.text.starts_with("Denied.") {
            assert_eq!(decided, (&json!("denied"), &json!("telegram:7001")), "{row}");
        }
    }
    for card in house.cards() {
        let (text, now) = (text_of(&first(&card)), card.text());
        let count = calls.get(&text).copied().unwrap_or_default();
        if now.contains("Done.") {
            assert_eq!(count, 1, "{now}");
        }
        if now.contains("Denied") || now.contains("Expired") || now.contains("not done") {
            assert_eq!(count, 0, "{now}");
        }
    }
    let shown = house.telegram.everything_shown().join("\n");
    for secret in [BOT_TOKEN.split_once(':').unwrap().1, SERVICE_SECRET, TOKEN] {
        assert!(!shown.contains(secret) && !house.gateway.log().contains(secret));
    }
    house.telegram.assert_clean();
    house.gateway.verify();
}

fn live(name: u64, seed: u64) -> (usize, usize, usize) {
    let mut numbers = Seeded(seed.wrapping_add(name));
    let mut house = House::new(name);
    let end = Instant::now() + TIME;
    while Instant::now() < end {
        house.something(&mut numbers);
        thread::sleep(Duration::from_millis(numbers.below(250) as u64));
    }
    settle(&mut house);
    check(&house);
    let by_tap = house.gateway.audit().iter().filter(|row| row["resolved_by"] == "telegram:7001").count();
    assert!(
        house.deeds.kills > 0 && house.deeds.outages > 0 && !house.deeds.taps.is_empty(),
        "the seed does not try enough"
    );
    (house.deeds.asked.len(), by_tap, calls(&house.gateway).len())
}

#[test]
fn everything_is_done_exactly_once_or_not_at_all() {
    let seed = std::env::var("STRESS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(2026);
    let houses: Vec<_> = (0..HOUSES).map(|name| thread::spawn(move || live(name, seed))).collect();
    let results: Vec<_> = houses.into_iter().map(std::thread::JoinHandle::join).collect();
    let failed = results.iter().filter(|result| result.is_err()).count();
    assert_eq!(failed, 0, "failed with STRESS_SEED={seed}");
    let sum = |of: fn(&(usize, usize, usize)) -> usize| results.iter().flatten().map(of).sum::<usize>();
    let (asked, by_tap, done) = (sum(|r| r.0), sum(|r| r.1), sum(|r| r.2));
    eprintln!("{asked} questions, {by_tap} answered in chats, {done} calls (seed {seed})");
    assert!(
        asked >= QUESTIONS && by_tap >= QUESTIONS / 4 && done >= QUESTIONS / 8,
        "{asked}, {by_tap}, {done}"
    );
}
