//! Who is told of a question and when: at first, once more while nobody answers, and others later.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smol::Timer;

use super::conversation::Conversation;
use crate::base::ids::RequestId;
use crate::base::readable::span;
use crate::base::safe_text::visible;
use crate::base::zone::Zone;
use crate::model::Question;

impl Conversation {
    /// Brings a question to those who are told at first, and later to others.
    pub(super) fn take_up(self: &Rc<Self>, question: &Arc<Question>) {
        let age = self.clock.now().since(question.created);
        let mut told = self.ask_host(|host| host.told_first(question)).flatten();
        for (after, users) in self.ask_host(|host| host.told_later(question)).unwrap_or_default() {
            let Some(wait) = after.checked_sub(age) else {
                // They were told before a restart, or are late to be.
                told.get_or_insert_default().extend(users);
                continue;
            };
            let (channel, id) = (self.clone(), question.id);
            self.while_open(id, wait, move |_| channel.escalate(id, &users));
        }
        if let Some(users) = told {
            self.bring(question, &users);
        }
        self.remind_later(question, age);
    }

    /// Puts the card of a question into the chat, and names these users on it.
    fn bring(&self, question: &Arc<Question>, users: &[String]) {
        let mut state = self.state.borrow_mut();
        // Before the board is restored, a question may be one of an earlier run, and its card in the chat.
        let loose = !state.restored;
        let times = self.ask_host(|host| host.times_asked(question)).unwrap_or(1);
        let reasons = self.ask_host(|host| host.takes_reasons()).unwrap_or_default();
        let is_to_send = state.board.asked(question, loose, times, reasons, Zone::system());
        let for_whom = named(users, |person| state.board.name(person));
        if let Some(card) = state.board.get_mut(question.id) {
            card.progress.for_whom = for_whom;
        }
        if is_to_send {
            state.ask(question.id);
        }
        if state.board.get(question.id).is_some_and(|card| !card.outdated.is_empty()) {
            state.edit(question.id);
        }
        drop(state);
        let tally = self.ask_host(|host| host.tally(question.id)).unwrap_or_default();
        if tally.have > 0 {
            self.show_tally(question.id, &tally);
        }
        self.wake();
    }

    fn escalate(&self, id: RequestId, users: &[String]) {
        // As it is by now: somebody may have changed the call.
        let open = self.ask_host(|host| host.questions()).unwrap_or_default();
        let Some(question) = &open.into_iter().find(|question| question.id == id) else { return };
        let is_shown = self.state.borrow().board.get(question.id).is_some_and(|card| card.question.is_some());
        if !is_shown {
            return self.bring(question, users);
        }
        let further = named(users, |person| self.state.borrow().board.name(person));
        let names: Vec<_> = further.iter().map(|(_, name)| name.as_str()).collect();
        let names = if names.is_empty() { String::new() } else { format!(" {}:", names.join(", ")) };
        self.bring_up(question.id, &format!("📣{names} nobody has answered this yet"));
        self.update(question.id, |card| card.progress.for_whom.extend(further));
    }

    /// Reminds people once at the age that the rule says, or when half of the time is over if that is wanted.
    fn remind_later(self: &Rc<Self>, question: &Question, age: Duration) {
        let whole = question.expires.since(question.created);
        let by_rule = question.terms.remind();
        let half = || self.ask_host(|host| host.reminds()).unwrap_or_default().then_some(whole / 2);
        let wait = by_rule.or_else(half).and_then(|at| at.checked_sub(age));
        let Some(wait) = wait else { return };
        let (channel, id) = (self.clone(), question.id);
        self.while_open(id, wait, move |left| {
            channel.update(id, |card| card.progress.reminded = Some(left));
            if by_rule.is_some() {
                channel.bring_up(id, &format!("⏰ Still waiting for an answer, {} left", span(left)));
            }
        });
    }

    /// Does something after `wait` if the question is open then, with the time that is left.
    fn while_open(self: &Rc<Self>, id: RequestId, wait: Duration, act: impl FnOnce(Duration) + 'static) {
        let channel = self.clone();
        self.spawn(async move {
            Timer::after(wait).await;
            let left = channel.ask_host(|host| host.time_left(id)).unwrap_or_default();
            if !left.is_zero() {
                act(left);
            }
        });
    }

    /// Answers a card with a message, which phones tell of; an edit they do not.
    fn bring_up(&self, id: RequestId, text: &str) {
        let card = self.state.borrow().board.get(id).and_then(|card| card.messages.last().copied());
        if let Some(card) = card {
            self.say(Some(card), text.to_owned());
        }
    }
}

/// Users with what they are called here.
fn named(users: &[String], name: impl Fn(i64) -> Option<String>) -> Vec<(i64, String)> {
    let user = |user: &String| {
        let id = user.parse().ok()?;
        Some((id, name(id).unwrap_or_else(|| format!("user {}", visible(user)))))
    };
    users.iter().filter_map(user).collect()
}
