//! The queue of updates: kept until acknowledged by a higher offset, or until they are too old.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

/// The queue.
pub struct Queue {
    waiting: VecDeque<Update>,
    next: i64,
    /// Handed out with the next poll whatever its offset.
    forced: Vec<Value>,
    /// Everything ever queued, for replays.
    past: Vec<Value>,
    /// Which kinds are queued; None before the bot said so.
    pub allowed: Option<Vec<String>>,
    pub last_offset: Option<(i64, Duration)>,
    /// Everything is handed out again with every poll.
    pub stuck: bool,
}

struct Update {
    id: i64,
    dies: Duration,
    json: Value,
}

impl Queue {
    pub fn new(first: i64) -> Queue {
        Queue {
            waiting: VecDeque::new(),
            next: first,
            forced: Vec::new(),
            past: Vec::new(),
            allowed: None,
            last_offset: None,
            stuck: false,
        }
    }

    /// Queues an update unless the bot does not want its kind; gives its id.
    pub fn add(&mut self, kind: &str, payload: Value, dies: Duration) -> Option<i64> {
        if self.allowed.as_ref().is_some_and(|kinds| !kinds.iter().any(|k| k == kind)) {
            return None;
        }
        Some(self.force_kind(kind, payload, dies))
    }

    /// Queues an update of any kind.
    pub fn force_kind(&mut self, kind: &str, payload: Value, dies: Duration) -> i64 {
        let id = self.next;
        self.next += 1;
        let json = json!({"update_id": id, kind: payload});
        self.past.push(json.clone());
        self.waiting.push_back(Update { id, dies, json });
        id
    }

    /// The ids go on from here, as after a week without updates.
    pub fn go_on_from(&mut self, id: i64) {
        self.next = id;
    }

    pub fn next(&self) -> i64 {
        self.next
    }

    /// The next poll gets this one again.
    pub fn replay(&mut self, id: i64) {
        let old = self.past.iter().find(|u| u["update_id"] == id).cloned();
        self.forced.push(old.unwrap_or_else(|| panic!("there was no update {id}")));
    }

    pub fn force(&mut self, update: Value) {
        self.forced.push(update);
    }

    pub fn past(&self) -> Vec<Value> {
        self.past.clone()
    }

    /// Forgets what the offset acknowledges and what is too old, and gives the rest.
    ///
    /// An offset far beyond the end of the queue is taken for a mistake: nothing is forgotten then.
    pub fn take(&mut self, offset: i64, limit: usize, now: Duration) -> Vec<Value> {
        self.waiting.retain(|u| u.dies > now);
        if offset < 0 {
            let keep = usize::try_from(-offset).unwrap_or(usize::MAX).min(self.waiting.len());
            self.waiting.drain(..self.waiting.len() - keep);
        }
        if offset > 0 && offset <= self.next + 10 {
            self.waiting.retain(|u| u.id >= offset);
        }
        let mut updates = std::mem::take(&mut self.forced);
        if self.stuck {
            updates.extend(self.past.iter().cloned());
        }
        updates.extend(self.waiting.iter().take(limit).map(|u| u.json.clone()));
        updates
    }

    pub fn waiting(&self, now: Duration) -> Vec<Value> {
        self.waiting.iter().filter(|u| u.dies > now).map(|u| u.json.clone()).collect()
    }

    pub fn clear(&mut self) {
        self.waiting.clear();
    }
}
