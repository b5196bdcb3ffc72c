//! The companion app's channel against a Home Assistant that knows its REST and WebSocket APIs as far as they are used, and
//! is strict about both.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use async_tungstenite::tungstenite::{self, Message, WebSocket};
use harness::gateway::TOKEN;
use harness::{Agent, Gateway, Setup, eventually};
use serde_json::{Value, json};

const KEY: &str = "a-long-lived-token-of-home-assistant";
const ANNA: &str = "0123456789abcdef0123456789abcdef";

#[derive(Default)]
struct Home {
    /// What each phone was sent: the name in `notify`, and the message.
    told: Vec<(String, Value)>,
    /// Taps that are not told yet.
    taps: Vec<Value>,
    /// When somebody has begun to listen.
    listeners: Vec<Instant>,
    /// Phones that are not there.
    missing: Vec<String>,
    refuse_socket: bool,
    drop_socket: bool,
    /// Whether each connection is closed as soon as it listens.
    hang_up: bool,
}

/// A Home Assistant on loopback.
#[derive(Clone)]
struct Fake {
    address: SocketAddr,
    home: Arc<Mutex<Home>>,
}

impl Fake {
    fn start() -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fake = Fake { address: listener.local_addr().unwrap(), home: Arc::default() };
        let shared = fake.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let fake = shared.clone();
                thread::spawn(move || fake.serve(stream));
            }
        });
        fake
    }

    fn serve(&self, stream: TcpStream) {
        let mut begin = [0; 18];
        while stream.peek(&mut begin).unwrap_or(begin.len()) < begin.len() {
            thread::sleep(Duration::from_millis(1));
        }
        match &begin == b"GET /api/websocket" {
            true => self.talk(stream),
            false => self.answer(stream),
        }
    }

    /// `POST /api/services/notify/NAME`.
    fn answer(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut first, mut length, mut bearer) = (String::new(), 0, String::new());
        reader.read_line(&mut first).unwrap();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "authorization" => bearer = value.to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        assert_eq!(bearer, format!("Bearer {KEY}"));
        let path = first.split(' ').nth(1).unwrap();
        let phone = path.strip_prefix("/api/services/notify/").unwrap().to_owned();
        let mut home = self.home.lock().unwrap();
        let status = if home.missing.contains(&phone) { "400 Bad Request" } else { "200 OK" };
        if status == "200 OK" {
            home.told.push((phone, notification(&body)));
        }
        drop(home);
        let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]");
    }

    fn talk(&self, stream: TcpStream) {
        if self.home.lock().unwrap().refuse_socket {
            return;
        }
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let Ok(mut socket) = accepted(stream) else { return };
        let say = |socket: &mut WebSocket<TcpStream>, message: Value| {
            socket.send(Message::text(message.to_string())).is_ok()
        };
        say(&mut socket, json!({"type": "auth_required", "ha_version": "2025.4.4"}));
        let auth = hear(&mut socket).unwrap();
        if auth != json!({"type": "auth", "access_token": KEY}) {
            say(&mut socket, json!({"type": "auth_invalid", "message": "Invalid access token"}));
            return;
        }
        say(&mut socket, json!({"type": "auth_ok", "ha_version": "2025.4.4"}));
        let subscribe = hear(&mut socket).unwrap();
        let wanted =
            json!({"id": 1, "type": "subscribe_events", "event_type": "mobile_app_notification_action"});
        assert_eq!(subscribe, wanted);
        say(&mut socket, json!({"id": 1, "type": "result", "success": true, "result": null}));
        {
            let mut home = self.home.lock().unwrap();
            home.listeners.push(Instant::now());
            if home.hang_up {
                return;
            }
        }
        loop {
            let (taps, gone) = {
                let mut home = self.home.lock().unwrap();
                (std::mem::take(&mut home.taps), std::mem::take(&mut home.drop_socket))
            };
            if gone {
                return;
            }
            for event in taps {
                say(&mut socket, json!({"id": 1, "type": "event", "event": event}));
            }
            match socket.read() {
                Ok(Message::Text(text)) => {
                    let ping: Value = serde_json::from_str(&text).unwrap();
                    assert_eq!(ping["type"], "ping");
                    say(&mut socket, json!({"id": ping["id"], "type": "pong"}));
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(e)) if is_quiet(&e) => {}
                Err(_) => return,
            }
        }
    }

    fn told(&self, phone: &str) -> Vec<Value> {
        let home = self.home.lock().unwrap();
        home.told.iter().filter(|(name, _)| name == phone).map(|(_, message)| message.clone()).collect()
    }

    /// What a phone shows of a question.
    fn shown(&self, phone: &str, id: &str) -> Option<Value> {
        let tag = format!("agentpass-{id}");
        self.told(phone).into_iter().rfind(|message| message["data"]["tag"] == tag.as_str())
    }

    fn until(&self, phone: &str, id: &str, words: &str) -> Value {
        eventually(words, || {
            self.shown(phone, id).filter(|message| message["message"].as_str().unwrap().contains(words))
        })
    }

    /// Somebody taps a button. `user` is whose phone it is.
    fn tap(&self, action: &str, user: Option<&str>) {
        let event = json!({
            "event_type": "mobile_app_notification_action",
            "data": {"action": action, "device_id": "phone"},
            "origin": "REMOTE",
            "context": {"id": "01", "parent_id": null, "user_id": user},
        });
        self.home.lock().unwrap().taps.push(event);
    }

    fn listeners(&self) -> usize {
        self.home.lock().unwrap().listeners.len()
    }
}

/// What the app takes, and nothing else.
fn notification(body: &[u8]) -> Value {
    assert!(body.len() <= 4096, "push services carry 4,096 bytes");
    let message: Value = serde_json::from_slice(body).unwrap();
    let known = ["title", "message", "data"];
    assert!(message.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{message}");
    assert!(message["message"].is_string() && message["title"].is_string(), "{message}");
    for action in message["data"]["actions"].as_array().unwrap_or(&Vec::new()) {
        assert!(action["action"].is_string() && action["title"].is_string(), "{action}");
    }
    message
}

fn is_quiet(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

fn accepted(stream: TcpStream) -> Result<WebSocket<TcpStream>, ()> {
    let mut step = tungstenite::accept(stream);
    loop {
        match step {
            Ok(socket) => return Ok(socket),
            Err(tungstenite::HandshakeError::Interrupted(middle)) => step = middle.handshake(),
            Err(tungstenite::HandshakeError::Failure(_)) => return Err(()),
        }
    }
}

fn hear(socket: &mut WebSocket<TcpStream>) -> Option<Value> {
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => return serde_json::from_str(&text).ok(),
            Ok(_) => {}
            Err(tungstenite::Error::Io(e)) if is_quiet(&e) => {}
            Err(_) => return None,
        }
    }
}

fn action(message: &Value, title: &str) -> String {
    let actions = message["data"]["actions"].as_array().unwrap_or_else(|| panic!("{message}"));
    let found = actions.iter().find(|action| action["title"] == title).unwrap_or_else(|| panic!("{message}"));
    found["action"].as_str().unwrap().to_owned()
}

struct World {
    home: Fake,
    gateway: Gateway,
    agent: Agent,
}

impl World {
    fn new() -> World {
        World::with(Fake::start())
    }

    fn with(home: Fake) -> World {
        World::at("http://127.0.0.1:1", home, "", &Setup::default().permissions)
    }

    /// With this `public_url`, these `people:` and these permissions.
    fn at(public: &str, home: Fake, people: &str, permissions: &str) -> World {
        let usual = Setup::with_pages();
        let more = format!(
            "channels:\n  house: {{type: homeassistant, service: assistant, notify: [mobile_app_anna, mobile_app_bob]}}\n\
             services:\n  assistant: {{url: \"http://{}\", auth: {{type: bearer, token: \"{KEY}\"}}, tools: assistant.yaml}}\n",
            home.address
        );
        let config = usual.config.replace("services:\n", &more);
        let config = config.replace("gateway:\n", &format!("gateway:\n  public_url: \"{public}\"\n"));
        let config = format!("{config}{people}");
        let setup = Setup { config, permissions: permissions.to_owned(), ..usual };
        let tools = "tools:\n  assist: {description: \"Asks\", request: {method: GET, path: \"/api/\"}}\n";
        let gateway = Gateway::prepared(&setup, &[], |folder| {
            std::fs::write(folder.join("assistant.yaml"), tools).unwrap();
        });
        let agent = Agent::login(gateway.address, TOKEN);
        let world = World { home, gateway, agent };
        world.listens(1);
        world
    }

    fn listens(&self, times: usize) {
        eventually("somebody to listen", || (self.home.listeners() >= times).then_some(()));
    }

    fn ask(&mut self, text: &str) -> (u64, String) {
        let call =
            self.agent.send("tool_request", json!({"tool": "say", "args": {"text": text, "pin": "4711"}}));
        (call, self.gateway.question())
    }

    fn health(&self) -> Value {
        let channels = self.gateway.json(&["channels", "--json"]);
        channels.as_array().unwrap().iter().find(|channel| channel["name"] == "house").unwrap().clone()
    }
}

#[test]
fn a_tap_answers_and_all_phones_hear_of_it() {
    let mut world = World::new();
    let (call, id) = world.ask("hello");
    let asked = world.home.until("mobile_app_anna", &id, "text: hello");
    assert_eq!(asked["title"], "Allow say?");
    assert!(!asked.to_string().contains("4711"), "{asked}");
    assert_eq!(asked["data"]["url"], "http://127.0.0.1:1/approvals/");
    world.home.until("mobile_app_bob", &id, "text: hello");
    world.home.tap(&action(&asked, "Allow"), Some(ANNA));
    assert_eq!(world.agent.reply(call)["result"]["status"], "executed");
    assert_eq!(world.gateway.row(&id)["resolved_by"], format!("house:{ANNA}"));
    for phone in ["mobile_app_anna", "mobile_app_bob"] {
        let ended = world.home.until(phone, &id, "executed");
        assert!(ended["data"].get("actions").is_none(), "{ended}");
    }

    let (call, id) = world.ask("again");
    let asked = world.home.until("mobile_app_bob", &id, "text: again");
    world.home.tap(&action(&asked, "Deny"), Some(ANNA));
    assert_eq!(world.agent.reply(call)["error"]["data"]["reason"], "denied_by_user");
    world.home.until("mobile_app_anna", &id, "Denied by house:");
    world.gateway.verify();
}

#[test]
fn taps_without_the_token_or_by_nobody_do_not_count() {
    let mut world = World::new();
    let (_, first) = world.ask("first");
    let asked = world.home.until("mobile_app_anna", &first, "text: first");
    let allow = action(&asked, "Allow");
    let (start, token) = allow.rsplit_once('/').unwrap();
    let other = "00000000-0000-4000-8000-000000000000";
    for forged in [
        format!("{start}/{}", "A".repeat(token.len())),
        format!("{start}/"),
        allow.replace(&first, other),
        allow.replace("/house/", "/other/"),
        "allow".to_owned(),
        "URI".to_owned(),
    ] {
        world.home.tap(&forged, Some(ANNA));
    }
    world.home.tap(&allow, None);
    eventually("the last tap to be heard", || world.gateway.log().contains("by nobody").then_some(()));
    assert_eq!(world.gateway.questions().len(), 1);
    assert!(!world.gateway.log().contains(token), "the token is in the log");
    assert!(!world.gateway.log().contains(KEY), "Home Assistant's token is in the log");
}

#[test]
fn it_listens_again_after_a_restart_of_either_side() {
    let mut world = World::new();
    let (_, id) = world.ask("hello");
    world.home.until("mobile_app_anna", &id, "text: hello");
    let before = world.home.told("mobile_app_anna").len();
    world.home.home.lock().unwrap().drop_socket = true;
    world.listens(2);
    eventually("the buttons to be shown again", || {
        (world.home.told("mobile_app_anna").len() > before).then_some(())
    });
    let before = world.home.told("mobile_app_anna").len();
    world.gateway.kill();
    world.gateway.restart();
    world.listens(3);
    eventually("the buttons to be shown after the restart", || {
        (world.home.told("mobile_app_anna").len() > before).then_some(())
    });
    let asked = world.home.until("mobile_app_bob", &id, "text: hello");
    world.home.tap(&action(&asked, "Allow"), Some(ANNA));
    // What came of the call may take its place at once.
    eventually("to be told who has answered", || {
        let says = |message: &Value| {
            message["message"].as_str().is_some_and(|text| text.contains("Allowed by house:"))
        };
        world.home.told("mobile_app_anna").iter().any(says).then_some(())
    });
    eventually("the call to be made", || (world.gateway.upstream.seen().len() == 1).then_some(()));
}

#[test]
fn a_phone_that_is_not_there_delays_no_other_and_is_named() {
    let home = Fake::start();
    home.home.lock().unwrap().missing.push("mobile_app_anna".into());
    let mut world = World::with(home);
    let (_, id) = world.ask("hello");
    world.home.until("mobile_app_bob", &id, "text: hello");
    let health = eventually("the trouble", || Some(world.health()).filter(|health| health["up"] == false));
    assert!(health["detail"].as_str().unwrap().contains("notify.mobile_app_anna"), "{health}");
    world.home.home.lock().unwrap().missing.clear();
    world.home.until("mobile_app_anna", &id, "text: hello");
}

#[test]
fn without_a_connection_it_says_so_and_still_tells_the_phones() {
    let mut world = World::new();
    {
        let mut home = world.home.home.lock().unwrap();
        (home.refuse_socket, home.drop_socket) = (true, true);
    }
    let health = eventually("the trouble", || Some(world.health()).filter(|health| health["up"] == false));
    assert!(health["detail"].as_str().unwrap().contains("hears of no taps"), "{health}");
    assert_eq!(world.gateway.cli(&["channels", "test", "house"]).status.code(), Some(5));
    let (_, id) = world.ask("hello");
    world.home.until("mobile_app_anna", &id, "text: hello");
}

#[test]
fn a_call_that_is_too_long_has_a_link_and_no_buttons() {
    let mut world = World::new();
    let (_, id) = world.ask(&"long ".repeat(600));
    let asked = world.home.until("mobile_app_anna", &id, "too long");
    let actions = asked["data"]["actions"].as_array().unwrap();
    assert_eq!((actions.len(), &actions[0]["action"]), (1, &json!("URI")), "{asked}");
}

#[test]
fn no_button_answers_where_plain_http_leads_beyond_this_machine() {
    let permissions = Setup::default().permissions;
    let mut world = World::at("http://192.0.2.7:8080", Fake::start(), "", &permissions);
    let (_, id) = world.ask("hello");
    let asked = world.home.until("mobile_app_anna", &id, "text: hello");
    let actions = asked["data"]["actions"].as_array().unwrap();
    assert_eq!((actions.len(), &actions[0]["action"]), (1, &json!("URI")), "{asked}");
    let check = world.gateway.cli(&["check"]);
    let said = String::from_utf8([check.stdout, check.stderr].concat()).unwrap();
    assert!(said.contains("no answer token is sent over plain http:// beyond this machine"), "{said}");
}

/// Each connection shows the questions again. Where none lasts, they come at longer and longer intervals.
#[test]
fn a_home_assistant_that_hangs_up_does_not_make_phones_ring_every_second() {
    let mut world = World::new();
    world.ask("hello");
    {
        let mut home = world.home.home.lock().unwrap();
        (home.hang_up, home.drop_socket) = (true, true);
    }
    world.listens(4);
    let at = world.home.home.lock().unwrap().listeners.clone();
    let pauses: Vec<_> = at.windows(2).map(|two| (two[1] - two[0]).as_secs()).collect();
    assert!(pauses.iter().zip([1, 2, 4]).all(|(pause, least)| *pause >= least), "{pauses:?}");
}

#[test]
fn a_person_who_is_named_is_told_on_their_phones_when_it_is_time_and_reminded_once() {
    let people = format!("people:\n  anna: {{house: {ANNA}}}\n");
    let rule = "{pattern: say, action: ask, notify: [local], escalate: {after: 1s, to: [anna]}, remind: 3s}";
    let mut world = World::at("http://127.0.0.1:1", Fake::start(), &people, &format!("rules: [{rule}]\n"));
    let before = Instant::now();
    let (call, id) = world.ask("hello");
    let asked = world.home.until("mobile_app_anna", &id, "text: hello");
    assert!(before.elapsed() >= Duration::from_secs(1));
    eventually("the reminder", || (world.home.told("mobile_app_anna").len() == 2).then_some(()));
    assert!(before.elapsed() >= Duration::from_secs(3));
    assert_eq!(world.home.told("mobile_app_anna")[1], asked);
    world.home.tap(&action(&asked, "Allow"), Some(ANNA));
    assert_eq!(world.agent.reply(call)["result"]["status"], "executed");
}
