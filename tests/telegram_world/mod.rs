//! A gateway that asks on the fake Telegram, with an agent to ask through: what the tests of the Telegram channel share.

#![allow(dead_code, unused_imports, unused_macros, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

use std::thread;

use serde_json::{Value, json};

use crate::harness::gateway::{LAPTOP, SERVICE_SECRET, TOKEN};
use crate::harness::{Agent, Gateway, Setup, eventually};
use crate::telegram_api::{BOT_TOKEN, GROUP, Shown, Telegram};

/// Runs cases at the same time: most of their time is waiting for the pace of messages. `CASE` picks those whose name
/// holds it.
macro_rules! at_once {
    ($test:ident: [$($case:ident),+ $(,)?]) => {
        #[test]
        fn $test() {
            $crate::telegram_world::together(&[$((stringify!($case), $case as fn())),+]);
        }
    };
}

pub fn together(cases: &[(&'static str, fn())]) {
    let picked = std::env::var("CASE").unwrap_or_default();
    let failed: Vec<&'static str> = thread::scope(|scope| {
        let run = |(name, case): &(&'static str, fn())| {
            let thread = thread::Builder::new().name((*name).to_owned());
            (*name, thread.spawn_scoped(scope, *case).unwrap())
        };
        let running: Vec<_> = cases.iter().filter(|(name, _)| name.contains(&picked)).map(run).collect();
        running.into_iter().filter_map(|(name, thread)| thread.join().is_err().then_some(name)).collect()
    });
    assert!(failed.is_empty(), "failed: {failed:?}");
}

pub(crate) use at_once;

/// The usual configuration with questions in the group; `more` is put below it.
pub fn setup(telegram: &Telegram, more: &str) -> Setup {
    let usual = Setup::default();
    let config = usual.config.replace("messenger: {type: local}", &telegram.messenger(GROUP));
    let mut config = format!("{config}\n{more}\n");
    if more.contains("approval_timeout:") {
        config = config.replacen("approval_timeout: 60\n", "", 1);
    }
    if more.contains("rate_limit:") {
        config = config
            .lines()
            .filter(|l| !l.contains("max_pending_approvals: 10,"))
            .collect::<Vec<_>>()
            .join("\n");
    }
    Setup { config, ..usual }
}

pub struct World {
    pub telegram: Telegram,
    pub gateway: Gateway,
}

impl World {
    pub fn new() -> World {
        World::with("")
    }

    pub fn with(more: &str) -> World {
        let telegram = Telegram::start();
        let gateway = Gateway::with(&setup(&telegram, more));
        World { telegram, gateway }
    }

    pub fn agent(&self) -> Agent {
        Agent::login(self.gateway.address, TOKEN)
    }

    pub fn card(&self, text: &str) -> Shown {
        self.telegram.card(GROUP, text)
    }

    /// An agent that asks to say `text`, the id of its request on the wire, and the card.
    pub fn asked(&self, text: &str) -> (Agent, u64, Shown) {
        let mut agent = self.agent();
        let wire = agent.send("tool_request", say(text));
        let card = self.card(text);
        (agent, wire, card)
    }

    /// Waits until the gateway has written down the number of this card: the service shows a message a moment before.
    pub fn knows(&self, card: &Shown) {
        let number = card.id.to_string();
        eventually("the card to be known", || self.kept_cards()?.contains(&number).then_some(()));
    }

    /// Waits until the gateway has written down that nothing more will happen to this card.
    pub fn is_done_with(&self, card: &Shown) {
        let number = card.id.to_string();
        eventually("the card to be forgotten", || (!self.kept_cards()?.contains(&number)).then_some(()));
    }

    /// What the next start would know of cards.
    fn kept_cards(&self) -> Option<String> {
        let path = self.gateway.path("data/agentpass.db");
        let db =
            rusqlite::Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
        let sql = "SELECT value FROM meta WHERE name = 'own.telegram.cards'";
        let kept: String = db.query_row(sql, [], |row| row.get(0)).ok()?;
        let kept: Value = serde_json::from_str(&kept).ok()?;
        Some(kept["cards"].to_string())
    }

    pub fn outcome(&self, id: &str) -> Value {
        self.gateway.row(id)["outcome"].clone()
    }

    /// What every test ends with: the rules of the service kept, no secret anywhere, the record sound.
    pub fn check(&self) {
        self.telegram.assert_clean();
        let half = BOT_TOKEN.split_once(':').unwrap().1;
        let shown = self.telegram.everything_shown().join("\n");
        for secret in [half, SERVICE_SECRET, TOKEN, LAPTOP] {
            assert!(!shown.contains(secret), "{secret} was shown");
            assert!(!self.gateway.log().contains(secret), "{secret} was logged");
        }
        self.gateway.verify();
    }
}

pub fn say(text: &str) -> Value {
    json!({"tool": "say", "args": {"text": text}})
}

/// How often the service saw the call with this text.
pub fn seen(gateway: &Gateway, text: &str) -> usize {
    gateway.upstream.seen().iter().filter(|s| s.target == "/api/say" && s.json()["text"] == text).count()
}

pub fn reason(reply: &Value) -> &str {
    reply["error"]["data"]["reason"].as_str().unwrap_or_else(|| panic!("{reply}"))
}

/// The question is as open as before.
pub fn nothing_happened(world: &World, id: &str) {
    assert_eq!(world.gateway.questions()[0]["request_id"], id);
    assert_eq!(world.outcome(id), "pending");
    assert!(world.gateway.upstream.seen().is_empty());
}
