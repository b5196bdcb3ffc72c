//! What is sent next, and when. Pure: it is handed the time.
//!
//! Telegram takes about one message a second in a chat and twenty a minute in a group. So a job only names a question,
//! and what it looks like is decided when its turn comes: several edits of a card become one, and a question that ends
//! before it was sent is never sent. Answers to taps do not go through here; they never wait.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::api::{BotError, Button};
use crate::base::backoff::{doubled, jitter};
use crate::base::ids::RequestId;
use crate::model::AgentId;

/// Between two messages in one chat.
const GAP: Duration = Duration::from_secs(1);
/// How many messages a group takes in a [`MINUTE`].
const GROUP_LIMIT: usize = 20;
/// How many of those edits leave for new questions.
const RESERVE: usize = 5;
/// How many questions and replies go before an edit that waits: no flood of them keeps a card from saying how its
/// question ended.
const PATIENCE: usize = 4;
const MINUTE: Duration = Duration::from_secs(60);
/// How many edits may wait. That many come together only where messages can be sent but not edited.
const MAX_EDITS: usize = 256;
/// How many answers to commands may wait. Old ones are worth nothing.
const MAX_REPLIES: usize = 10;
/// The longest wait that the server can ask for.
const LONGEST: Duration = Duration::from_secs(300);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SendJob {
    /// The next message of a card that is not completely in the chat.
    Ask(RequestId),
    /// A card that no longer looks as it should.
    Edit(RequestId),
    /// Whether everything, or one agent, is to be stopped, as an answer to a message.
    AskToStop { to: i64, agent: Option<AgentId> },
    /// A few words, as an answer to a message.
    Reply { to: Option<i64>, text: String, keyboard: Vec<Vec<Button>> },
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Send(SendJob),
    /// Nothing before then.
    At(Instant),
    Idle,
}

#[derive(Default)]
pub(super) struct Queue {
    /// These go before everything.
    stops: VecDeque<SendJob>,
    asks: VecDeque<RequestId>,
    replies: VecDeque<SendJob>,
    edits: VecDeque<RequestId>,
    /// How many jobs have gone before the first edit.
    passed: usize,
    /// Questions and replies take turns, so that neither delays the other much.
    asked_last: bool,
    group: bool,
    /// When messages were sent, for as long as they count.
    sent: VecDeque<Instant>,
    held_until: Option<Instant>,
    edits_held_until: Option<Instant>,
}

impl Queue {
    pub(super) fn new(chat: i64) -> Queue {
        Queue { group: chat < 0, ..Queue::default() }
    }

    /// A question, or the rest of it, is to be sent. Agents take turns: the second question of one comes after the first
    /// of another, so that an agent with many long questions keeps nobody waiting.
    pub(super) fn ask<A: Ord>(&mut self, id: RequestId, owner: impl Fn(RequestId) -> A) {
        if self.asks.contains(&id) {
            return;
        }
        let asker = owner(id);
        let own = self.asks.iter().filter(|other| owner(**other) == asker).count();
        let after_own = self.asks.iter().rposition(|other| owner(*other) == asker).map_or(0, |at| at + 1);
        let mut turns = BTreeMap::new();
        let is_later = |other: &RequestId| {
            let turn = turns.entry(owner(*other)).or_insert(0);
            *turn += 1;
            *turn > own + 1
        };
        let turn = self.asks.iter().position(is_later).unwrap_or(self.asks.len());
        self.asks.insert(turn.max(after_own), id);
    }

    /// A card looks different now. When too many edits wait, the oldest is given up and returned.
    pub(super) fn edit(&mut self, id: RequestId) -> Option<RequestId> {
        if !self.edits.contains(&id) {
            self.edits.push_back(id);
        }
        if self.edits.len() > MAX_EDITS { self.edits.pop_front() } else { None }
    }

    /// What was not sent yet of a question is not sent any more.
    pub(super) fn forget_ask(&mut self, id: RequestId) {
        self.asks.retain(|waiting| *waiting != id);
    }

    /// Forgets all but edits.
    pub(super) fn keep_edits(&mut self) {
        self.stops.clear();
        self.asks.clear();
        self.replies.clear();
    }

    /// The oldest replies give way when there are too many.
    pub(super) fn reply(&mut self, to: Option<i64>, text: String) {
        self.reply_with(to, text, Vec::new());
    }

    /// The same, with buttons.
    pub(super) fn reply_with(&mut self, to: Option<i64>, text: String, keyboard: Vec<Vec<Button>>) {
        self.replies.push_back(SendJob::Reply { to, text, keyboard });
        if self.replies.len() > MAX_REPLIES {
            self.replies.pop_front();
        }
    }

    /// Asks whether calls are to be stopped.
    pub(super) fn ask_to_stop(&mut self, to: i64, agent: Option<AgentId>) {
        self.stops.push_back(SendJob::AskToStop { to, agent });
        if self.stops.len() > MAX_REPLIES {
            self.stops.pop_front();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.stops.len() + self.asks.len() + self.edits.len() + self.replies.len()
    }

    /// What to do now. A job that is returned has left the queue.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        while self.sent.front().is_some_and(|at| now.saturating_duration_since(*at) >= MINUTE) {
            self.sent.pop_front();
        }
        let urgent = !self.stops.is_empty() || !self.asks.is_empty() || !self.replies.is_empty();
        if !urgent && self.edits.is_empty() {
            return Next::Idle;
        }
        match self.ready_at(urgent).filter(|at| *at > now) {
            Some(at) => Next::At(at),
            None => self.take(now).map_or(Next::Idle, Next::Send),
        }
    }

    fn take(&mut self, now: Instant) -> Option<SendJob> {
        if let Some(stop) = self.stops.pop_front() {
            return Some(stop);
        }
        let rest = self.edits_held_until.is_some_and(|until| until > now);
        let late = self.passed >= PATIENCE && !self.edits.is_empty() && !rest;
        let reply_first = self.asked_last || self.asks.is_empty();
        let urgent = match (late, reply_first) {
            (true, _) => None,
            (false, true) if !self.replies.is_empty() => self.replies.pop_front(),
            (false, _) => self.asks.pop_front().map(SendJob::Ask),
        };
        if let Some(job) = &urgent {
            self.asked_last = matches!(job, SendJob::Ask(_));
        }
        self.passed = if urgent.is_some() && !self.edits.is_empty() { self.passed + 1 } else { 0 };
        urgent.or_else(|| self.edits.pop_front().map(SendJob::Edit))
    }

    fn ready_at(&self, urgent: bool) -> Option<Instant> {
        let gap = self.sent.back().map(|at| *at + GAP);
        let limit = if urgent { GROUP_LIMIT } else { GROUP_LIMIT - RESERVE };
        let over = self.group.then(|| self.sent.len().checked_sub(limit)).flatten();
        let room = over.and_then(|index| self.sent.get(index)).map(|at| *at + MINUTE);
        let edits = self.edits_held_until.filter(|_| !urgent);
        [gap, room, self.held_until, edits].into_iter().flatten().max()
    }

    /// A message was sent, or may have been.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent.push_back(now);
    }

    /// Puts a job that could not be done in front.
    pub(super) fn put_back(&mut self, job: SendJob) {
        match job {
            SendJob::Ask(id) => {
                self.forget_ask(id);
                self.asks.push_front(id);
            }
            SendJob::Edit(id) if !self.edits.contains(&id) => self.edits.push_front(id),
            SendJob::Edit(_) => {}
            stop @ SendJob::AskToStop { .. } => self.stops.push_front(stop),
            reply @ SendJob::Reply { .. } => self.replies.push_front(reply),
        }
    }

    /// Sends nothing for `time`, at most five minutes.
    pub(super) fn hold(&mut self, now: Instant, time: Duration) {
        self.held_until = Some(now + time.min(LONGEST));
    }

    /// Edits nothing for `time`, at most five minutes. Questions and replies go on.
    pub(super) fn hold_edits(&mut self, now: Instant, time: Duration) {
        self.edits_held_until = Some(now + time.min(LONGEST));
    }

    /// The connection is back: nothing waits for the end of a back-off.
    pub(super) fn release(&mut self) {
        (self.held_until, self.edits_held_until) = (None, None);
    }
}

/// How long to wait after errors: 1 s, 2 s, 4 s and so on to 60 s, with jitter; beginning with 4 s where in general only
/// a person can help.
#[derive(Debug, Default)]
pub(super) struct BotBackoff(u32);

/// The longest wait of the back-off; a server may ask for more, up to [`LONGEST`].
pub(super) const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

impl BotBackoff {
    pub(super) fn after(&mut self, error: &BotError) -> Duration {
        self.0 = self.0.saturating_add(1);
        match error {
            BotError::TooMany { retry_after } => (*retry_after).min(LONGEST),
            BotError::Unauthorized | BotError::NotFound => self.grown(4),
            _ => self.grown(1),
        }
    }

    /// Three quarters of the whole wait and a random part of the last.
    fn grown(&self, first_s: u64) -> Duration {
        let whole = doubled(Duration::from_secs(first_s), self.0.saturating_sub(1), LONGEST_BACKOFF);
        whole * 3 / 4 + jitter(whole / 4)
    }

    pub(super) fn reset(&mut self) {
        self.0 = 0;
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
