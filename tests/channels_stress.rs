//! All channels at once: the phone's chat, a webhook, an ntfy topic, the API, the pages and the terminal answer the same
//! hundreds of questions at the same moment, while receivers are down and the gateway is killed. There is one winner for
//! each question, all others are told of it, and the service sees each approved call once and no other.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;
mod ntfy;
mod telegram_api;

use harness::timing;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use harness::gateway::{SERVICE_SECRET, TOKEN};
use harness::site::Site;
use harness::{Agent, Answer, Gateway, Seen, Setup, Upstream, eventually};
use ntfy::Ntfy;
use serde_json::{Value, json};
use telegram_api::{ANNA, BOT_TOKEN, Telegram};

const ROUNDS: usize = 20;
/// Open at once.
const EACH: usize = 12;
const BOARD: &str = "a-token-of-the-board-0123456789";
const TOPIC: &str = "tk_0123456789abcdefghijklmnopqrs";
const KEY: &str = "whsec_dGhlIGtleSBvZiBib3RoIHNpZGVzLCAzMiBieXRlcyE=";

struct World {
    telegram: Telegram,
    receiver: Upstream,
    is_down: Arc<AtomicBool>,
    topic: Ntfy,
    gateway: Gateway,
    agent: Agent,
    /// Who heard that the answer counts, by question: the channel, and whether it was a yes.
    winners: BTreeMap<String, Vec<(&'static str, bool)>>,
    /// The text of each question.
    texts: BTreeMap<String, String>,
    /// Questions of rounds in which a receiver was down, so that it took nothing, or the gateway was killed: what was
    /// delivered in its last moments is not known to the next start, and who took it hears nothing more.
    untold: BTreeSet<String>,
}

fn setup(telegram: &Telegram, receiver: &Upstream, topic: &Ntfy) -> Setup {
    let usual = Setup::with_pages();
    let channels = format!(
        "channels:\n  ops: {{type: webhook, url: \"{}/hook\", secret: \"{KEY}\"}}\n  phone: {{type: ntfy, url: \"{}\", \
         topic: stress, token: \"{TOPIC}\", actions: answer}}\n  board: {{type: api, token: \"{BOARD}\"}}\nservices:\n",
        receiver.url(),
        topic.url()
    );
    let config = usual
        .config
        .replace("messenger: {type: local}", &telegram.messenger(ANNA.id))
        .replace("services:\n", &channels)
        .replace("gateway:\n", "gateway:\n  public_url: \"http://127.0.0.1:1\"\n")
        .replace("max_pending_approvals: 10", "max_pending_approvals: 60")
        .replace(
            "approval_timeout: 60",
            "approval_timeout: 3600\napprovals: {cool_down: off, note_seconds: 0}",
        );
    Setup { config, ..usual }
}

impl World {
    fn new() -> World {
        let (telegram, receiver, topic) = (Telegram::start(), Upstream::start(), Ntfy::start(TOPIC));
        let is_down = Arc::new(AtomicBool::new(false));
        let down = is_down.clone();
        receiver.answer(move |_: &Seen| {
            let status = if down.load(Ordering::SeqCst) { 503 } else { 202 };
            Answer::Reply(status, "text/plain", String::new())
        });
        let gateway = Gateway::with(&setup(&telegram, &receiver, &topic));
        let agent = Agent::login(gateway.address, TOKEN);
        let (winners, texts, untold) = Default::default();
        World { telegram, receiver, is_down, topic, gateway, agent, winners, texts, untold }
    }

    /// Asks `EACH` questions and gives their ids.
    fn ask(&mut self, round: usize) -> Vec<String> {
        for number in 0..EACH {
            let text = format!("<{round}.{number}>");
            self.agent.send("tool_request", json!({"tool": "say", "args": {"text": text}}));
        }
        let open = eventually("the questions", || {
            let open = self.gateway.whole_questions();
            (open.len() == EACH).then_some(open)
        });
        let mut ids = Vec::new();
        for question in open {
            let id = question["request_id"].as_str().unwrap().to_owned();
            self.texts.insert(id.clone(), question["args"]["text"].as_str().unwrap().to_owned());
            ids.push(id);
        }
        ids
    }

    /// All channels answer all questions, each in an order and with a mind of its own; in some rounds the gateway is
    /// killed in the middle.
    fn answer(&mut self, round: usize, ids: &[String], is_killed: bool) {
        let site = Site::signed_in(&self.gateway);
        let world = &*self;
        let heard: Vec<_> = thread::scope(|scope| {
            let channels: Vec<_> = CHANNELS
                .iter()
                .enumerate()
                .map(|(number, (name, answer))| {
                    let site = site.clone();
                    scope.spawn(move || {
                        let mut heard = Vec::new();
                        for step in 0..ids.len() {
                            let id = &ids[(step * 5 + number * 3 + round) % ids.len()];
                            let is_yes = !(number + step + round).is_multiple_of(3);
                            // Whoever is not reached hears nothing: that is what a kill does.
                            let said = catch_unwind(AssertUnwindSafe(|| answer(world, &site, id, is_yes)));
                            if matches!(said, Ok(Some(true))) {
                                heard.push((id.clone(), *name, is_yes));
                            }
                            if is_killed && number == 0 && step == ids.len() / 2 {
                                kill(world.gateway.pid());
                            }
                        }
                        heard
                    })
                })
                .collect();
            channels.into_iter().flat_map(|channel| channel.join().unwrap()).collect()
        });
        for (id, name, is_yes) in heard {
            self.winners.entry(id).or_default().push((name, is_yes));
        }
        if is_killed {
            self.untold.extend(ids.iter().cloned());
            self.gateway.kill();
            self.gateway.restart();
            self.agent = Agent::login(self.gateway.address, TOKEN);
        }
        // What nobody answered before the end is answered now.
        for question in self.gateway.questions() {
            self.gateway.control(&json!({"command": "deny", "id": question["request_id"]}));
        }
        eventually("no question to be open", || self.gateway.questions().is_empty().then_some(()));
    }
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// Answers a question; whether that counts, where it is heard at once.
type Answering = fn(&World, &Site, &str, bool) -> Option<bool>;

const CHANNELS: [(&str, Answering); 6] = [
    ("local", by_terminal),
    ("ops", by_webhook),
    ("phone", by_topic),
    ("board", by_api),
    ("web", by_page),
    ("telegram", by_chat),
];

fn by_terminal(world: &World, _: &Site, id: &str, is_yes: bool) -> Option<bool> {
    let command = if is_yes { "approve" } else { "deny" };
    let reply = world.gateway.control(&json!({"command": command, "id": id}))?;
    Some(reply["outcome"] == "resolved")
}

fn by_webhook(world: &World, site: &Site, id: &str, is_yes: bool) -> Option<bool> {
    let told = world.receiver.seen().into_iter().map(|seen| seen.json());
    let asked =
        told.into_iter().find(|it| it["type"] == "question.asked" && it["data"]["request_id"] == id)?;
    let token = format!("Bearer {}", asked["data"]["answer_token"].as_str()?);
    let path = asked["data"]["answer_url"].as_str()?.strip_prefix("http://127.0.0.1:1")?.to_owned();
    let body = json!({"decision": if is_yes { "approve" } else { "deny" }, "by": "carol"}).to_string();
    Some(site.ask("POST", &path, &[("authorization", &token)], &body).json()["outcome"] == "resolved")
}

fn by_topic(world: &World, site: &Site, id: &str, is_yes: bool) -> Option<bool> {
    let asked = world.topic.published().into_iter().find(|it| it.sequence() == id && it.has_buttons())?;
    let button = asked.button(if is_yes { "Allow" } else { "Deny" });
    let path = button["url"].as_str()?.strip_prefix("http://127.0.0.1:1")?;
    let token = button["headers"]["Authorization"].as_str()?;
    let page = site.ask("POST", path, &[("authorization", token)], button["body"].as_str()?);
    Some(page.json()["outcome"] == "resolved")
}

fn by_api(_: &World, site: &Site, id: &str, is_yes: bool) -> Option<bool> {
    let bearer = format!("Bearer {BOARD}");
    let body = json!({"request_id": id, "approved": is_yes, "actor": "dave"}).to_string();
    let page = site.ask("POST", "/approvals/api/resolve", &[("authorization", &bearer)], &body);
    Some(page.json()["outcome"] == "RESOLVED")
}

fn by_page(_: &World, site: &Site, id: &str, is_yes: bool) -> Option<bool> {
    let choice = if is_yes { "approve" } else { "deny" };
    Some(site.answer(id, &[("choice", choice)])["outcome"] == "resolved")
}

/// Taps what is in the chat by now: Telegram takes one message a second. What it was worth is heard later.
fn by_chat(world: &World, _: &Site, id: &str, is_yes: bool) -> Option<bool> {
    let text = format!("text: {}", world.texts.get(id)?);
    let label = if is_yes { "Allow" } else { "Deny" };
    let cards = world.telegram.bot_messages(ANNA.id);
    let card = cards.into_iter().find(|card| card.text().contains(&text) && card.button(label).is_some())?;
    world.telegram.tap_stale(&card, label, ANNA);
    None
}

#[test]
fn one_winner_for_each_question_and_all_others_are_told() {
    let mut world = World::new();
    for round in 0..ROUNDS {
        let is_out = round % 4 == 1;
        if is_out {
            world.is_down.store(true, Ordering::SeqCst);
            world.topic.refuse(vec![500; 4]);
            world.telegram.down();
        }
        let ids = world.ask(round);
        if is_out {
            world.untold.extend(ids.iter().cloned());
        } else {
            // Webhook and topic take part; both are told within moments.
            eventually("the receivers", || ids.iter().all(|id| is_asked(&world, id)).then_some(()));
        }
        world.answer(round, &ids, round % 6 == 3);
        world.is_down.store(false, Ordering::SeqCst);
        world.topic.refuse(Vec::new());
        world.telegram.up();
    }
    one_winner(&world);
    all_are_told(&world);
    world.gateway.verify();
    no_secret_is_out(&world);
}

fn is_asked(world: &World, id: &str) -> bool {
    let seen = world.receiver.seen();
    let by_hook =
        seen.iter().any(|it| it.header("webhook-id").unwrap().starts_with(&format!("msg_{id}_asked")));
    by_hook && world.topic.published().iter().any(|it| it.sequence() == id)
}

/// Each question has one end, which is what its one winner said, and the service saw the approved ones once.
fn one_winner(world: &World) {
    assert_eq!(world.texts.len(), ROUNDS * EACH);
    let rows: BTreeMap<String, Value> = world
        .gateway
        .audit()
        .into_iter()
        .filter_map(|row| Some((row["request_id"].as_str()?.to_owned(), row)))
        .collect();
    let mut approved = BTreeSet::new();
    let mut by = BTreeMap::<String, usize>::new();
    for (id, text) in &world.texts {
        let row = &rows[id];
        let (end, who) = (row["resolution"].as_str().unwrap(), row["resolved_by"].as_str().unwrap());
        let channel = who.split(':').next().unwrap();
        *by.entry(channel.to_owned()).or_default() += 1;
        let heard = world.winners.get(id).cloned().unwrap_or_default();
        assert!(heard.len() <= 1, "{id} was won by {heard:?}");
        for (name, is_yes) in heard {
            assert_eq!((name, if is_yes { "approved" } else { "denied" }), (channel, end), "{row}");
        }
        if end == "approved" {
            approved.insert(text.clone());
        }
    }
    let mut called: Vec<String> = world
        .gateway
        .upstream
        .seen()
        .iter()
        .map(|seen| seen.json()["text"].as_str().unwrap().to_owned())
        .collect();
    called.sort();
    let done: BTreeSet<_> = called.iter().cloned().collect();
    assert_eq!(done.len(), called.len(), "a call was made twice");
    assert!(done.is_subset(&approved), "{:?} was never approved", done.difference(&approved));
    // A kill may leave an approved call undone, and then says so.
    let unknown = |text: &String| {
        let (id, _) = world.texts.iter().find(|(_, it)| *it == text).unwrap();
        rows[id]["outcome"] != "executed"
    };
    assert!(approved.difference(&done).all(unknown), "an approved call is missing");
    for channel in ["local", "ops", "phone", "board", "web"] {
        assert!(by.contains_key(channel), "{channel} never won: {by:?}");
    }
}

/// Whoever took a question hears its end, and none was told of it under two ids.
fn all_are_told(world: &World) {
    eventually("the webhook to be told", || {
        let seen = world.receiver.seen();
        let ids: Vec<_> = seen.iter().map(|it| it.header("webhook-id").unwrap().to_owned()).collect();
        let asked =
            ids.iter().filter_map(|id| id.strip_prefix("msg_")?.split_once("_asked")).map(|(id, _)| id);
        asked
            .filter(|id| !world.untold.contains(*id))
            .all(|id| ids.contains(&format!("msg_{id}_settled")))
            .then_some(())
    });
    let seen = world.receiver.seen();
    let asked = seen.iter().map(|it| it.header("webhook-id").unwrap()).filter(|id| id.contains("_asked"));
    let names: BTreeSet<_> = asked.collect();
    let questions: BTreeSet<_> = names.iter().map(|name| name.split("_asked").next().unwrap()).collect();
    assert_eq!(names.len(), questions.len(), "one question, one id");
    eventually("the topic to be told", || {
        let mut shown = BTreeMap::new();
        for message in world.topic.published() {
            shown.insert(message.sequence(), message);
        }
        shown.retain(|id, _| !world.untold.contains(id));
        shown.values().all(|message| !message.has_buttons()).then_some(())
    });
}

fn no_secret_is_out(world: &World) {
    let log = world.gateway.log();
    let token = world
        .receiver
        .seen()
        .iter()
        .find_map(|seen| seen.json()["data"]["answer_token"].as_str().map(str::to_owned));
    for secret in [BOARD, TOPIC, BOT_TOKEN, SERVICE_SECRET, KEY, &token.unwrap()] {
        assert!(!log.contains(secret), "a secret is in the log");
        assert!(!world.gateway.json(&["channels", "--json"]).to_string().contains(secret));
    }
}
