//! A strict fake of the Telegram Bot API: plain HTTP on loopback, the rules of the real service, scripted faults, and a
//! record of everything a person could see.
//!
//! What a client does wrong is refused as the real service refuses it, and also kept as a violation: a test ends with
//! [`Telegram::assert_clean`].

#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod chat;
mod faults;
mod methods;
mod people;
mod server;
pub mod text;
mod updates;

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;

pub use crate::timing::{PATIENCE, eventually, takes_less};
pub use chat::{Button, Chat, Kind, Shown, Version};
pub use faults::Fault;
pub use people::{Person, Toast};
use updates::Queue;

/// The bot's token. It must never come out anywhere.
pub const BOT_TOKEN: &str = "700001:AAF-a_secret-b0t_token_0123456789xyz";
/// The bot's own user id.
pub const BOT_ID: i64 = 700_001;
/// A supergroup with two people who may approve, and others.
pub const GROUP: i64 = -1_001_234_567_890;
/// Two people who may approve, and one who may not.
pub const ANNA: Person = Person { id: 7001, name: "Anna" };
pub const BEN: Person = Person { id: 7002, name: "Ben" };
pub const STRANGER: Person = Person { id: 666, name: "Mallory" };

/// How long a callback update waits for the bot, and how long one may be answered.
const CALLBACK_LIFE: Duration = Duration::from_secs(150);
/// How long a message update waits for the bot.
const MESSAGE_LIFE: Duration = Duration::from_secs(24 * 3600);

/// The service. It lives until the test ends.
#[derive(Clone)]
pub struct Telegram {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    listener: Arc<TcpListener>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub arguments: Value,
    pub at: Instant,
    /// The HTTP status it got; None when it got no answer.
    pub status: Option<u16>,
}

struct State {
    /// Added to the real time.
    advanced: Duration,
    began: Instant,
    webhook: Option<String>,
    queue: Queue,
    /// Grows with each poll that waits; a waiting poll that is no longer the newest ends with 409.
    poll: u64,
    polling: usize,
    chats: BTreeMap<i64, Chat>,
    queries: HashMap<String, Query>,
    next_query: u64,
    requests: Vec<Request>,
    violations: Vec<String>,
    faults: faults::Faults,
    connections: Vec<TcpStream>,
    /// How much faster than real the flood limits recover; None switches them off.
    flood_speed: Option<f64>,
    flooded: u32,
}

struct Query {
    at: Duration,
    by: i64,
    answer: Option<Toast>,
    is_answered: bool,
}

impl State {
    /// The service's time since it started.
    fn now(&self) -> Duration {
        self.began.elapsed() + self.advanced
    }

    fn violation(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Telegram {
    /// A service with [`GROUP`] and a private chat with each of the three people.
    pub fn start() -> Telegram {
        let mut chats = BTreeMap::from([(GROUP, Chat::new(GROUP, Kind::Supergroup))]);
        for person in [ANNA, BEN, STRANGER] {
            chats.insert(person.id, Chat::new(person.id, Kind::Private));
        }
        let state = State {
            advanced: Duration::ZERO,
            began: Instant::now(),
            webhook: None,
            queue: Queue::new(500_000),
            poll: 0,
            polling: 0,
            chats,
            queries: HashMap::new(),
            next_query: 4_000_000_000_000,
            requests: Vec::new(),
            violations: Vec::new(),
            faults: faults::Faults::default(),
            connections: Vec::new(),
            flood_speed: Some(10.0),
            flooded: 0,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let listener = Arc::new(server::bind());
        server::serve(&listener, &shared);
        Telegram { address: listener.local_addr().unwrap(), shared, listener }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    /// For `messenger.telegram.api_url`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The part of a configuration that leads here, for questions in `chat`.
    pub fn messenger(&self, chat: i64) -> String {
        format!(
            "messenger: {{type: telegram, telegram: {{token: \"{BOT_TOKEN}\", chat_id: {chat}, \
             allowed_users: [{}, {}], api_url: \"{}\"}}}}",
            ANNA.id,
            BEN.id,
            self.url()
        )
    }

    // --- time and flood limits ---

    /// Lets the service's clock jump.
    pub fn advance(&self, by: Duration) {
        self.lock().advanced += by;
        self.shared.changed.notify_all();
    }

    /// How much faster than real the flood limits recover; None switches them off.
    pub fn flood_speed(&self, speed: Option<f64>) {
        self.lock().flood_speed = speed;
    }

    /// How often a flood limit was hit.
    pub fn flooded(&self) -> u32 {
        self.lock().flooded
    }

    /// A webhook set by another program blocks polling.
    pub fn set_webhook(&self, url: Option<&str>) {
        self.lock().webhook = url.map(str::to_owned);
        self.shared.changed.notify_all();
    }

    // --- records ---

    /// All requests of one method, the oldest first.
    pub fn requests(&self, method: &str) -> Vec<Request> {
        self.lock().requests.iter().filter(|r| r.method == method).cloned().collect()
    }

    /// How many polls wait right now.
    pub fn polling(&self) -> usize {
        self.lock().polling
    }

    /// Everything the bot did against the rules of the service.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// The bot has kept all rules.
    pub fn assert_clean(&self) {
        let violations = self.violations();
        assert!(violations.is_empty(), "the bot broke rules:\n{}", violations.join("\n"));
    }

    /// Every text that anybody could ever see: all versions of all messages, labels of buttons and toasts.
    pub fn everything_shown(&self) -> Vec<String> {
        let state = self.lock();
        let mut texts = Vec::new();
        for message in state.chats.values().flat_map(Chat::messages) {
            for version in &message.versions {
                texts.push(version.text.clone());
                texts.extend(version.buttons.iter().flatten().map(|b| b.text.clone()));
                texts.extend(version.buttons.iter().flatten().map(|b| b.data.clone()));
            }
        }
        texts.extend(state.queries.values().filter_map(|q| Some(q.answer.as_ref()?.text.clone())));
        texts
    }

    /// The queue of updates that the bot has not acknowledged.
    pub fn waiting_updates(&self) -> Vec<Value> {
        let state = self.lock();
        let now = state.now();
        state.queue.waiting(now)
    }
}
