//! The loop that fetches what people do. The offset moves, here and in the record, only after everything that an update
//! led to is on disk: a crash repeats an update and never loses one.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::api::{BotError, Update};
use super::chat::Sight;
use super::conversation::Conversation;
use super::queue::{BotBackoff, LONGEST_BACKOFF};
use super::reachability::{Change, LONG};
use super::send;
use crate::approval::Host;
use crate::base::clock::Timestamp;
use crate::net::deadline::within;

/// How long Telegram holds a poll open when nothing happens, in seconds.
const POLL_S: u64 = 50;
/// How long after a start another poll may be our own from before a crash.
const OLD_POLL: Duration = Duration::from_secs(60);
/// How soon a poll is tried again meanwhile.
const OLD_POLL_RETRY: Duration = Duration::from_secs(2);
/// How many updates are remembered, to know them when they come again. More than one answer of the server holds.
const REMEMBERED: usize = 256;
/// How often a server is asked that answers at once with nothing new.
const PACE: Duration = Duration::from_secs(1);

/// Fetches until the channel is stopped or leaves the chat.
pub(super) async fn run(channel: Rc<Conversation>, host: Rc<dyn Host>) {
    channel.restore(&*host).await;
    channel.spawn(send::run(channel.clone()));
    let mut poll = Poll { backoff: BotBackoff::default(), greeted: false, handled: VecDeque::new() };
    let mut offset = channel.recall_offset(&*host).await;
    let (mut first, mut quick, mut chat) = (true, true, Sight::default());
    while channel.is_listening() {
        let (began, clock) = (channel.clock.now(), Instant::now());
        match poll.fetch(&channel, offset, if quick { 0 } else { POLL_S }).await {
            // They wait at Telegram for whoever polls next.
            Ok(_) if !channel.is_listening() => return,
            Ok(updates) => {
                channel.reached(began);
                poll.backoff.reset();
                let news = poll.news(updates);
                let idle = news.is_empty();
                let moved = channel.handle_all(&news, &*host).await;
                offset = moved.unwrap_or(offset);
                if idle && !quick && clock.elapsed() < PACE {
                    within(PACE, channel.end.1.recv()).await;
                }
                if first {
                    channel.tidy_up(&*host).await;
                }
                if chat != Sight::There {
                    chat = channel.look_at_chat(chat).await;
                }
                (first, quick) = (false, false);
            }
            Err(error) => {
                // Only a short poll says at once that Telegram can be reached again. While somebody else polls, it
                // would say so wrongly.
                quick = error != BotError::Conflict;
                let wait = poll.failed(&channel, began, &error);
                within(wait, channel.end.1.recv()).await;
            }
        }
    }
}

struct Poll {
    backoff: BotBackoff,
    greeted: bool,
    /// Numbers of the last updates.
    handled: VecDeque<i64>,
}

impl Poll {
    /// The next updates. Before the first, the bot is asked its name, and a webhook, which would block polling, is
    /// removed.
    async fn fetch(
        &mut self,
        channel: &Conversation,
        offset: i64,
        timeout: u64,
    ) -> Result<Vec<Update>, BotError> {
        if !self.greeted {
            let bot = channel.bot.clone();
            let name_known = !channel.state.borrow().approvers.bot_name.is_empty();
            let greeting = move || {
                let me = if name_known { None } else { Some(bot.get_me()?) };
                bot.delete_webhook().map(|()| me)
            };
            if let Some(me) = smol::unblock(greeting).await? {
                channel.state.borrow_mut().approvers.bot_name = me.username;
            }
            self.greeted = true;
        }
        let bot = channel.bot.clone();
        smol::unblock(move || bot.get_updates(offset, timeout)).await
    }

    /// Without those handled just now: a server may hand out the same again and again.
    fn news(&mut self, updates: Vec<Update>) -> Vec<Update> {
        let mut news = Vec::new();
        for update in updates {
            if self.handled.contains(&update.id) {
                continue;
            }
            self.handled.push_back(update.id);
            if self.handled.len() > REMEMBERED {
                self.handled.pop_front();
            }
            news.push(update);
        }
        news
    }

    /// Logs a new error and returns the wait before the next try.
    fn failed(&mut self, channel: &Conversation, began: Timestamp, error: &BotError) -> Duration {
        if channel.has_stopped() {
            return Duration::ZERO;
        }
        let conflict = *error == BotError::Conflict;
        if conflict && channel.began.elapsed() < OLD_POLL {
            log::debug!("telegram: another poll is open; after a crash it may be our own");
            return OLD_POLL_RETRY;
        }
        // Somebody may have set a webhook again.
        self.greeted &= !conflict;
        let news = channel.state.borrow_mut().fetching.failed(began, error.to_string());
        if news == Change::Lost {
            log::warn!("telegram: {error}; questions stay open and other channels go on");
        }
        if conflict { LONGEST_BACKOFF / 2 } else { self.backoff.after(error) }
    }
}

impl Conversation {
    /// Handles updates in order and returns the offset for the next poll, if any were handled. Numbers may jump, also
    /// backwards (Telegram starts anew after a quiet week). What comes after a reload that ends this channel is left to
    /// its successor, which has a list of approvers of its own.
    async fn handle_all(self: &Rc<Self>, updates: &[Update], host: &dyn Host) -> Option<i64> {
        let mut newest = None;
        for update in updates {
            if !self.is_listening() {
                break;
            }
            self.handle(update, host).await;
            newest = newest.max(Some(update.id));
        }
        let offset = newest?.saturating_add(1);
        host.remember("offset", format!("{}:{offset}", self.state.borrow().home.bot)).await;
        Some(offset)
    }

    /// The offset of an earlier run of the same bot.
    async fn recall_offset(&self, host: &dyn Host) -> i64 {
        let kept = host.recall("offset").await.unwrap_or_default();
        let bot = self.state.borrow().home.bot.to_string();
        match kept.split_once(':') {
            Some((owner, offset)) if owner == bot => offset.parse().unwrap_or_default(),
            _ => 0,
        }
    }

    /// A poll that began then was answered.
    fn reached(&self, began: Timestamp) {
        let now = self.clock.now();
        let change = self.state.borrow_mut().fetching.worked(now);
        let absent = match change {
            Change::Back(Some(since)) => {
                log::info!("telegram can be reached again");
                Some(since)
            }
            // A poll is answered within a minute, unless this machine slept.
            _ => Some(began),
        };
        if let Some(since) = absent.filter(|since| now.since(*since) > LONG) {
            self.tell_absence(Some(since), now);
        }
        if change != Change::Same {
            let mut state = self.state.borrow_mut();
            if state.sending.is_failing() {
                state.queue.release();
            }
            drop(state);
            self.wake();
        }
    }

    /// Open questions say that taps made while Telegram could not be reached may be lost.
    fn tell_absence(&self, from: Option<Timestamp>, to: Timestamp) {
        let mut state = self.state.borrow_mut();
        for id in state.board.which(|card| card.is_open() && !card.messages.is_empty()) {
            if let Some(card) = state.board.get_mut(id) {
                card.progress.away = Some((from, to));
                card.changed();
            }
            state.edit(id);
        }
        drop(state);
        self.wake();
    }

    /// Reads which cards an earlier run has left in the chat.
    async fn restore(&self, host: &dyn Host) {
        let kept = host.recall("cards").await;
        let now = self.clock.now();
        let mut state = self.state.borrow_mut();
        let home = state.home;
        let restored = kept.and_then(|kept| state.board.restore(&kept, home));
        let allowed = state.approvers.allowed_users.clone();
        state.board.keep_names_of(&allowed);
        state.restored = true;
        for id in state.board.which(|card| !card.outdated.is_empty()) {
            state.ask(id);
            state.edit(id);
        }
        let Some((chat, seen)) = restored else { return };
        if chat != home.chat {
            log::warn!("telegram: the group is a supergroup now; set messenger.telegram.chat_id to {chat}");
            (state.home.chat, state.approvers.chat) = (chat, chat);
        }
        drop(state);
        if now.since(seen) > LONG {
            self.tell_absence(None, now);
        }
    }

    /// Cards whose questions ended while nobody could edit them say how.
    async fn tidy_up(self: &Rc<Self>, host: &dyn Host) {
        let orphans = self.state.borrow().board.which(|card| card.question.is_none());
        for id in orphans {
            let record = host.question_record(id).await;
            if record.as_ref().is_some_and(|record| record.end.is_some()) || !host.is_under_way(id) {
                self.show_recorded(id, record);
            }
        }
    }
}
