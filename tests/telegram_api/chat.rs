//! Chats and their messages, as people see them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::{BOT_ID, Person, text};

/// What kind of chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Private,
    Group,
    Supergroup,
    Channel,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Private => "private",
            Kind::Group => "group",
            Kind::Supergroup => "supergroup",
            Kind::Channel => "channel",
        }
    }

    fn is_group(self) -> bool {
        self != Kind::Private
    }
}

/// An inline button.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Button {
    pub text: String,
    pub data: String,
}

/// What a message looked like at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    pub at: Duration,
    pub text: String,
    pub entities: Vec<Value>,
    pub buttons: Vec<Vec<Button>>,
}

/// One message in a chat. The last version is what is seen now.
#[derive(Clone, Debug)]
pub struct Shown {
    pub chat: i64,
    pub id: i64,
    pub from: i64,
    pub reply_to: Option<i64>,
    pub topic: Option<i64>,
    pub versions: Vec<Version>,
    pub is_deleted: bool,
    pub is_locked: bool,
}

impl Shown {
    fn now(&self) -> &Version {
        self.versions.last().unwrap()
    }

    pub fn text(&self) -> &str {
        &self.now().text
    }

    pub fn entities(&self) -> &[Value] {
        &self.now().entities
    }

    /// Labels of the buttons, row by row.
    pub fn buttons(&self) -> Vec<String> {
        self.now().buttons.iter().flatten().map(|b| b.text.clone()).collect()
    }

    /// The data of the button with this label.
    pub fn button(&self, label: &str) -> Option<String> {
        let wanted = |b: &&Button| b.text == label || b.text.ends_with(&format!(" {label}"));
        self.now().buttons.iter().flatten().find(wanted).map(|b| b.data.clone())
    }

    pub fn is_from_bot(&self) -> bool {
        self.from == BOT_ID
    }

    /// How often it was edited.
    pub fn edits(&self) -> usize {
        self.versions.len() - 1
    }

    /// What the service would make tappable by itself.
    pub fn live(&self) -> Vec<String> {
        text::live(self.text(), self.entities())
    }
}

/// A chat.
#[derive(Clone)]
pub struct Chat {
    pub id: i64,
    pub kind: Kind,
    messages: BTreeMap<i64, Shown>,
    next: i64,
    /// Of a group with topics; the general one has no number.
    pub(super) topics: BTreeSet<i64>,
    pub(super) migrated_to: Option<i64>,
    /// Tokens left for sends and edits, when they were counted, and until when a refused bot has to wait.
    flood: Option<(f64, Duration)>,
    pub(super) refused_until: Duration,
}

impl Chat {
    pub(super) fn new(id: i64, kind: Kind) -> Chat {
        let next = 100 + id.unsigned_abs() as i64 % 50;
        Chat {
            id,
            kind,
            messages: BTreeMap::new(),
            next,
            topics: BTreeSet::new(),
            migrated_to: None,
            flood: None,
            refused_until: Duration::ZERO,
        }
    }

    pub fn messages(&self) -> impl Iterator<Item = &Shown> {
        self.messages.values()
    }

    pub(super) fn get(&self, id: i64) -> Option<&Shown> {
        self.messages.get(&id).filter(|m| !m.is_deleted)
    }

    pub(super) fn get_mut(&mut self, id: i64) -> Option<&mut Shown> {
        self.messages.get_mut(&id)
    }

    pub(super) fn put(&mut self, from: i64, reply_to: Option<i64>, version: Version) -> i64 {
        let id = self.next;
        self.next += 1;
        let (chat, versions) = (self.id, vec![version]);
        let shown =
            Shown { chat, id, from, reply_to, topic: None, versions, is_deleted: false, is_locked: false };
        self.messages.insert(id, shown);
        id
    }

    /// Takes one token; otherwise how many seconds to wait. A burst is tolerated: about one message a second in the
    /// long run, twenty a minute in groups.
    pub(super) fn admit(&mut self, now: Duration, speed: f64) -> Result<(), u64> {
        let (burst, rate) = if self.kind.is_group() { (20.0, 20.0 / 60.0) } else { (10.0, 1.0) };
        let (left, since) = self.flood.unwrap_or((burst, now));
        let gained = now.saturating_sub(since).as_secs_f64() * rate * speed;
        let left: f64 = (left + gained).min(burst);
        if left >= 1.0 {
            self.flood = Some((left - 1.0, now));
            return Ok(());
        }
        self.flood = Some((left, now));
        let wait = ((1.0 - left) / (rate * speed)).ceil().max(1.0);
        self.refused_until = now + Duration::from_secs_f64(wait);
        Err(wait as u64)
    }

    pub(super) fn json(&self) -> Value {
        match self.kind {
            Kind::Private => json!({"id": self.id, "type": "private", "first_name": name_of(self.id)}),
            kind => json!({"id": self.id, "type": kind.as_str(), "title": "Home"}),
        }
    }

    /// The message as it stands in updates and answers.
    pub(super) fn message_json(&self, id: i64, date: u64) -> Value {
        let Some(shown) = self.get(id) else {
            return json!({"message_id": id, "chat": self.json(), "date": 0});
        };
        let mut message = json!({
            "message_id": id, "chat": self.json(), "date": date, "from": user_json(shown.from),
            "text": shown.text(),
        });
        if let Some(topic) = shown.topic {
            message["message_thread_id"] = json!(topic);
            message["is_topic_message"] = json!(true);
        }
        if !shown.entities().is_empty() {
            message["entities"] = json!(shown.entities());
        }
        if shown.edits() > 0 {
            message["edit_date"] = json!(date);
        }
        let rows = &shown.now().buttons;
        if !rows.is_empty() {
            let row = |row: &Vec<Button>| -> Vec<Value> {
                row.iter().map(|b| json!({"text": b.text, "callback_data": b.data})).collect()
            };
            message["reply_markup"] = json!({"inline_keyboard": rows.iter().map(row).collect::<Vec<_>>()});
        }
        if let Some(to) = shown.reply_to
            && self.get(to).is_some()
        {
            let mut replied = self.message_json(to, date);
            if let Some(fields) = replied.as_object_mut() {
                fields.remove("reply_to_message");
            }
            message["reply_to_message"] = replied;
        }
        message
    }
}

fn name_of(id: i64) -> String {
    let known = [super::ANNA, super::BEN, super::STRANGER];
    known.iter().find(|p| p.id == id).map_or_else(|| format!("User {id}"), |p| p.name.to_owned())
}

pub(super) fn user_json(id: i64) -> Value {
    if id == BOT_ID {
        return json!({"id": id, "is_bot": true, "first_name": "Agentpass", "username": "agentpass_test_bot"});
    }
    json!({"id": id, "is_bot": false, "first_name": name_of(id), "language_code": "en"})
}
