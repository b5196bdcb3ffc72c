//! Which card stands for which question, and what is on it. Pure.
//!
//! A tap must come from the question's own card: the board knows the messages. It is kept across restarts without any
//! text of a question, so that cards are edited and not sent twice.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::api::OutgoingMessage;
use super::card::{self, CardProgress};
use crate::base::clock::Timestamp;
use crate::base::ids::RequestId;
use crate::base::zone::Zone;
use crate::model::{Question, QuestionEnd};

/// How many finished cards are remembered, to tell late tappers who was first.
const REMEMBERED: usize = 256;
/// Bot API ids of supergroups: -1,000,000,000,000 less the number of the group.
const SUPERGROUPS: Range<i64> = -2_000_000_000_000..-1_000_000_000_000;
/// How often Telegram may refuse a card before it is given up.
const MAX_REFUSALS: u32 = 4;

#[derive(Clone, Debug, Default)]
pub(super) struct Card {
    /// None after a restart, when the question had ended meanwhile.
    pub question: Option<Arc<Question>>,
    pub tool: String,
    /// The messages in the chat, in order; when all are there, the last has the buttons.
    pub messages: Vec<i64>,
    /// Further messages with the buttons, sent again because nobody knew whether the first had arrived.
    pub copies: Vec<i64>,
    /// How many messages with the buttons may be in the chat without our knowing their numbers (yet).
    pub strays: u32,
    /// Messages that do not look as they should.
    pub stale: Vec<i64>,
    /// [`Call::shown_as`](crate::model::Call::shown_as) of the call that the messages show.
    pub shown: String,
    /// Messages with the call as it was before somebody changed it, while they may still have to say so.
    pub outdated: Vec<i64>,
    pub progress: CardProgress,
    /// How often Telegram has refused it.
    pub refusals: u32,
    /// Nothing will happen any more, and the card says so.
    pub over: bool,
}

impl Card {
    fn new(tool: &str) -> Card {
        Card { tool: tool.to_owned(), ..Card::default() }
    }

    /// Whether the question can still be answered here, as far as this channel has heard.
    pub(super) fn is_open(&self) -> bool {
        self.progress.settled.is_none() && self.question.is_some() && !self.progress.closed
    }

    /// Whether nothing more can happen to it.
    pub(super) fn is_final(&self) -> bool {
        let progress = &self.progress;
        let runs =
            matches!(progress.settled, Some((QuestionEnd::Approved { .. }, ..))) && progress.end.is_none();
        let lasts = progress.grant.as_ref().is_some_and(|grant| grant.lasts);
        !self.is_open() && !runs && !lasts && progress.note.is_none()
    }

    /// The next message to send; None when all are in the chat.
    pub(super) fn next_message(&self) -> Option<OutgoingMessage> {
        let question = self.question.as_ref().filter(|_| self.is_open() && !self.is_outdated())?;
        card::messages(question, &self.progress).into_iter().nth(self.messages.len())
    }

    /// How a message should look now; one that is no part of the card looks like that with the buttons. None while that
    /// has not been sent.
    pub(super) fn look(&self, message: i64) -> Option<OutgoingMessage> {
        if self.outdated.contains(&message) && (self.is_open() || !self.messages.is_empty()) {
            return Some(card::changed(&self.tool));
        }
        let all = self.question.as_ref().map(|question| card::messages(question, &self.progress));
        let part = self.messages.iter().position(|number| *number == message);
        match all {
            Some(mut all) if all.len() == self.messages.len() => match part {
                Some(part) if part < all.len() => Some(all.swap_remove(part)),
                Some(_) | None => all.pop(),
            },
            Some(_) if self.is_open() => None,
            Some(_) | None => Some(card::remains(&self.tool, &self.progress)),
        }
    }

    /// Everything with buttons must be edited.
    pub(super) fn changed(&mut self) {
        // What has ended without a new card is told on the old ones.
        let is_told_there = self.messages.is_empty() && !self.is_open();
        let outdated = self.outdated.iter().filter(|number| is_told_there || self.stale.contains(number));
        let mut stale: Vec<i64> = outdated.copied().collect();
        match (self.is_outdated(), self.is_open()) {
            // Its buttons say what they have said until it is sent anew.
            (true, true) => {}
            // Every part shows something else.
            (true, false) => stale.extend(self.messages.iter().chain(&self.copies)),
            // A part that is not the last has neither buttons nor news.
            (false, _) => {
                let last = self.messages.last().filter(|_| self.next_message().is_none());
                stale.extend(last.into_iter().chain(&self.copies));
            }
        }
        self.stale = stale;
    }

    /// Another call is asked about. True when the chat shows the one before.
    pub(super) fn edited(&mut self, question: &Arc<Question>) -> bool {
        self.question = Some(question.clone());
        self.progress.yes = None;
        self.stale.retain(|number| self.outdated.contains(number));
        self.is_outdated()
    }

    /// Whether its messages show a call that is not asked about any more.
    pub(super) fn is_outdated(&self) -> bool {
        let is_other = |question: &Arc<Question>| match self.shown.is_empty() {
            // Kept by a version that knew of no changes.
            true => question.edit.is_some(),
            false => question.call.shown_as() != self.shown,
        };
        !(self.messages.is_empty() && self.copies.is_empty()) && self.question.as_ref().is_some_and(is_other)
    }

    /// What is in the chat says that it does not count any more; the card is sent anew below it.
    pub(super) fn start_over(&mut self) {
        self.outdated.append(&mut self.messages);
        self.outdated.append(&mut self.copies);
        self.stale.clone_from(&self.outdated);
    }

    /// A message arrived that shows the call as it was before it was changed.
    pub(super) fn arrived_outdated(&mut self, number: i64) {
        self.outdated.push(number);
        self.stale.push(number);
    }

    /// A message looks as it should.
    pub(super) fn tidied(&mut self, number: i64) {
        self.stale.retain(|stale| *stale != number);
        self.outdated.retain(|outdated| *outdated != number || self.messages.is_empty());
    }

    /// Whether Telegram has refused it so often that it is not sent any more.
    pub(super) fn is_given_up(&self) -> bool {
        self.refusals >= MAX_REFUSALS
    }

    /// Whether nothing of it is in the chat, as far as is known.
    pub(super) fn is_unsent(&self) -> bool {
        self.messages.is_empty() && self.outdated.is_empty() && self.strays == 0
    }

    /// A message arrived as the part after the first `before`; a tap may have told its number before.
    pub(super) fn arrived(&mut self, number: i64, before: usize) {
        if self.has(number) {
            return;
        }
        if self.messages.len() == before {
            return self.messages.push(number);
        }
        self.copies.push(number);
        self.stale.push(number);
    }

    pub(super) fn has(&self, message: i64) -> bool {
        self.messages.contains(&message) || self.copies.contains(&message)
    }
}

/// Where a tap came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TapOrigin {
    /// The question's own card.
    Own,
    /// Another message.
    Elsewhere,
    /// There is no such question here.
    Unknown,
}

#[derive(Default)]
pub(super) struct Board {
    cards: BTreeMap<RequestId, Card>,
    over: VecDeque<RequestId>,
    /// What people who may answer are called, by their ids; for showing only.
    names: BTreeMap<i64, String>,
}

impl Board {
    /// Takes up a question; true when a card must be sent. `loose`: a card may have been sent before. `reasons`: a
    /// denial may wait for its reason.
    pub(super) fn asked(
        &mut self,
        question: &Arc<Question>,
        loose: bool,
        times: u32,
        reasons: bool,
        zone: Arc<Zone>,
    ) -> bool {
        let card = self.cards.entry(question.id).or_insert_with(|| Card::new(&question.call.tool().name));
        card.question = Some(question.clone());
        card.strays += u32::from(loose);
        card.progress.count = times;
        card.progress.reasons = reasons;
        card.progress.zone = zone;
        if card.is_outdated() {
            card.start_over();
        }
        card.next_message().is_some()
    }

    pub(super) fn get(&self, id: RequestId) -> Option<&Card> {
        self.cards.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: RequestId) -> Option<&mut Card> {
        self.cards.get_mut(&id)
    }

    /// All cards that are not over.
    pub(super) fn live(&self) -> impl Iterator<Item = (RequestId, &Card)> {
        self.cards.iter().filter(|(_, card)| !card.over).map(|(id, card)| (*id, card))
    }

    /// The ids of those live cards that are `wanted`.
    pub(super) fn which(&self, wanted: impl Fn(&Card) -> bool) -> Vec<RequestId> {
        self.live().filter(|(_, card)| wanted(card)).map(|(id, _)| id).collect()
    }

    /// The card that this message is part of.
    pub(super) fn with_message(&self, message: i64) -> Option<RequestId> {
        self.cards.iter().find(|(_, card)| card.has(message)).map(|(id, _)| *id)
    }

    /// Whether a button on this message may speak for the question.
    pub(super) fn origin(&self, id: RequestId, message: i64) -> TapOrigin {
        let Some(card) = self.cards.get(&id) else { return TapOrigin::Unknown };
        let own = match self.with_message(message) {
            Some(owner) => owner == id,
            None => card.strays > 0,
        };
        if own { TapOrigin::Own } else { TapOrigin::Elsewhere }
    }

    /// A tap came from a message that was sent without our hearing its number. It is one with the buttons, so the
    /// card is whole when only that was missing. True when the number is news.
    pub(super) fn found(&mut self, id: RequestId, message: i64) -> bool {
        if self.with_message(message).is_some() {
            return false;
        }
        let Some(card) = self.cards.get_mut(&id).filter(|card| card.strays > 0) else { return false };
        card.strays -= 1;
        let whole = card.question.as_ref().map_or(1, |q| card::messages(q, &card.progress).len());
        let was_missing = whole == card.messages.len() + 1;
        let numbers = if was_missing { &mut card.messages } else { &mut card.copies };
        numbers.push(message);
        card.stale.push(message);
        true
    }

    /// Takes up the card of a question that has ended and that nobody remembers here. False: the message is part of
    /// another card.
    pub(super) fn adopt(&mut self, id: RequestId, tool: &str, message: i64) -> bool {
        let free = self.with_message(message).is_none() && !self.cards.contains_key(&id);
        if free {
            self.cards.insert(id, Card { messages: vec![message], ..Card::new(tool) });
        }
        free
    }

    /// Nothing will happen to this card any more.
    pub(super) fn finish(&mut self, id: RequestId) {
        let Some(card) = self.cards.get_mut(&id).filter(|card| !card.over) else { return };
        card.over = true;
        self.over.push_back(id);
        if self.over.len() > REMEMBERED
            && let Some(oldest) = self.over.pop_front()
        {
            self.cards.remove(&oldest);
        }
    }

    /// The group moved, and its messages have no numbers any more. Returns the open questions, to be sent again.
    pub(super) fn forget_messages(&mut self) -> Vec<RequestId> {
        for card in self.cards.values_mut() {
            let Card { question, tool, progress, over, .. } = std::mem::take(card);
            *card = Card { question, tool, progress, over, ..Card::default() };
        }
        self.which(Card::is_open)
    }

    /// Somebody who may answer is called so, safe to show. True when that is news.
    pub(super) fn meet(&mut self, person: i64, name: &str) -> bool {
        self.names.insert(person, name.to_owned()).as_deref() != Some(name)
    }

    pub(super) fn name(&self, person: i64) -> Option<String> {
        self.names.get(&person).cloned()
    }

    /// Forgets the names of all others.
    pub(super) fn keep_names_of(&mut self, people: &[i64]) {
        self.names.retain(|person, _| people.contains(person));
    }

    /// What the next start should know.
    pub(super) fn kept(&self, home: BotChat, now: Timestamp) -> String {
        let sent = self.live().filter(|(_, card)| !card.is_unsent());
        let card = |card: &Card| {
            json!({"tool": card.tool, "messages": card.messages, "copies": card.copies, "strays": card.strays,
                "shown": card.shown, "outdated": card.outdated})
        };
        let cards: Map<_, _> = sent.map(|(id, c)| (id.to_string(), card(c))).collect();
        json!({"bot": home.bot, "configured": home.configured, "chat": home.chat, "seen": now.0, "cards": cards,
            "names": self.names})
        .to_string()
    }

    /// Takes over what an earlier run of the same bot has kept for the same chat, as configured or as in use; returns
    /// the chat it was using, and when that was.
    pub(super) fn restore(&mut self, kept: &str, home: BotChat) -> Option<(i64, Timestamp)> {
        let kept: Value = serde_json::from_str(kept).ok()?;
        let number = |name: &str| kept.get(name).and_then(Value::as_i64);
        let members = |name: &str| kept.get(name).and_then(Value::as_object).into_iter().flatten();
        let same_chat = [number("configured"), number("chat")].contains(&Some(home.configured));
        if number("bot") != Some(home.bot) || !same_chat {
            return None;
        }
        for (id, known) in members("cards") {
            if let Some(id) = RequestId::parse(id) {
                self.restore_card(id, known);
            }
        }
        for (person, name) in members("names") {
            if let (Ok(person), Some(name)) = (person.parse(), name.as_str()) {
                self.names.insert(person, name.to_owned());
            }
        }
        Some((number("chat")?, Timestamp(number("seen")?)))
    }

    fn restore_card(&mut self, id: RequestId, known: &Value) {
        let numbers = |name: &str| {
            let list = known.get(name).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_i64).collect()
        };
        let text = |name: &str| known.get(name).and_then(Value::as_str).unwrap_or_default();
        let tool = text("tool");
        let strays = known.get("strays").and_then(Value::as_u64).unwrap_or_default();
        let card = self.cards.entry(id).or_insert_with(|| Card::new(tool));
        (card.messages, card.copies) = (numbers("messages"), numbers("copies"));
        (card.shown, card.outdated) = (text("shown").to_owned(), numbers("outdated"));
        card.stale.clone_from(&card.outdated);
        card.strays = card.strays.saturating_add(u32::try_from(strays).unwrap_or_default());
        // The question may have ended already, or be about another call now.
        match card.is_outdated() {
            true => card.start_over(),
            false => card.changed(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BotChat {
    pub bot: i64,
    pub configured: i64,
    /// The chat in use; another one after the group became a supergroup.
    pub chat: i64,
}

impl BotChat {
    /// Whether the group can have become this one: groups become supergroups, and do so once.
    pub(super) fn may_become(&self, chat: i64) -> bool {
        self.chat == self.configured && chat != self.chat && SUPERGROUPS.contains(&chat)
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
