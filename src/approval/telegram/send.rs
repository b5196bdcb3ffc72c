//! The loop that sends and edits cards, one after the other as the queue says.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Telegram;
use super::api::{Bot, BotError, Outgoing};
use super::board::Card;
use super::card::remains;
use super::link::Change;
use super::queue::{Job, Next};
use crate::base::ids::RequestId;
use crate::net::deadline::within;

/// How long nothing is sent after Telegram has refused a message. Others may be welcome, so it is short.
const AFTER_REFUSAL: Duration = Duration::from_secs(10);

/// Sends until the channel is stopped.
pub async fn run(channel: Rc<Telegram>) {
    while !channel.has_stopped() {
        let next = channel.state.borrow_mut().queue.next(Instant::now());
        match next {
            Next::Send(job) => channel.perform(job).await,
            // The end wakes this too: the channel is closed then.
            Next::Idle => {
                let _ = channel.wake.1.recv().await;
            }
            Next::At(at) => {
                let wait = at.saturating_duration_since(Instant::now());
                within(wait, channel.wake.1.recv()).await;
            }
        }
    }
}

impl Telegram {
    /// A call on the blocking pool.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(Bot) -> Result<T, BotError> + Send + 'static,
    ) -> Result<T, BotError> {
        let bot = self.bot.clone();
        smol::unblock(move || call(bot)).await
    }

    async fn perform(self: &Rc<Self>, job: Job) {
        match job {
            Job::Ask(id) => self.send_card(id).await,
            Job::Edit(id) => self.edit_card(id).await,
            Job::Reply { chat, to, text } => {
                let message = Outgoing { text: text.clone(), reply_to: to, ..Outgoing::default() };
                let began = Instant::now();
                let sent = self.call(move |bot| bot.send_message(chat, &message)).await;
                // Nobody waits for it for long, so it is tried again only if the server asks for time.
                if let Some(BotError::TooMany { .. }) = self.after(began, sent.map(drop)) {
                    self.state.borrow_mut().queue.put_back(Job::Reply { chat, to, text });
                }
            }
        }
    }

    /// Sends the next message of a card.
    async fn send_card(&self, id: RequestId) {
        let Some((chat, message, before)) = self.begin_sending(id) else { return };
        let began = Instant::now();
        let sent = self.call(move |bot| bot.send_message(chat, &message)).await;
        let number = sent.as_ref().ok().copied();
        let error = self.after(began, sent.map(drop));
        {
            let mut state = self.state.borrow_mut();
            let unsure = error.as_ref().is_some_and(|e| !e.is_certain());
            let Some(card) = state.board.get_mut(id) else { return };
            card.loose = unsure;
            // A tap may have told the number first.
            if card.messages.len() == before {
                card.messages.extend(number);
            }
            let (more, ended) = (card.next_message().is_some(), card.progress.settled.is_some());
            match (&error, ended) {
                // It ended while it was being sent: the card must say so.
                (_, true) if !card.messages.is_empty() => state.queue.edit(id),
                (_, true) => state.board.finish(id),
                (Some(BotError::Refused { .. }), false) => state.queue.ask(id),
                (_, false) if more => state.queue.put_back(Job::Ask(id)),
                (_, false) => {}
            }
        }
        if number.is_some() {
            self.save().await;
        }
    }

    /// From here until the send returns, a tap may come from a message whose number is not known.
    fn begin_sending(&self, id: RequestId) -> Option<(i64, Outgoing, usize)> {
        let mut state = self.state.borrow_mut();
        let chat = state.home.chat;
        let card = state.board.get_mut(id)?;
        let message = card.next_message()?;
        card.loose = true;
        Some((chat, message, card.messages.len()))
    }

    async fn edit_card(&self, id: RequestId) {
        let found = {
            let state = self.state.borrow();
            let card = state.board.get(id).filter(|card| !card.over);
            card.and_then(|card| Some((state.home.chat, card.last_message()?, card.progress.clone())))
        };
        let Some((chat, (number, message), shown)) = found else { return self.unseen(id) };
        let began = Instant::now();
        let edited = match self.call(move |bot| bot.edit_message(chat, number, &message)).await {
            Err(BotError::NotModified) => Ok(()),
            other => other,
        };
        match self.after(began, edited) {
            None => {}
            Some(BotError::CannotEdit) => self.replace(id, chat),
            Some(BotError::Refused { .. }) => log::warn!("request {id}: its card could not be changed"),
            Some(_) => return self.state.borrow_mut().queue.put_back(Job::Edit(id)),
        }
        let done = {
            let mut state = self.state.borrow_mut();
            let done = state.board.get(id).is_some_and(|card| card.is_final() && card.progress == shown);
            if done {
                state.board.finish(id);
            }
            done
        };
        if done {
            self.save().await;
        }
    }

    /// There is no message to edit. Nothing is being sent now, so none will come of a question that has ended.
    fn unseen(&self, id: RequestId) {
        let mut state = self.state.borrow_mut();
        let nothing = |card: &Card| card.is_final() && card.messages.is_empty();
        if state.board.get(id).is_some_and(nothing) {
            state.board.finish(id);
        }
    }

    /// The card is gone or frozen. An open question is sent again; how another one ended is said in a new message.
    fn replace(&self, id: RequestId, chat: i64) {
        let mut state = self.state.borrow_mut();
        let Some(card) = state.board.get_mut(id) else { return };
        if card.is_open() {
            card.messages.clear();
            state.queue.ask(id);
        } else if card.is_final() {
            let text = remains(&card.tool, &card.progress).text;
            state.queue.reply(chat, None, text);
        }
    }

    /// Accounts for a call to the chat and gives its error, if it had one.
    fn after(&self, began: Instant, done: Result<(), BotError>) -> Option<BotError> {
        let now = Instant::now();
        let wall = self.clock.now();
        let mut state = self.state.borrow_mut();
        state.queue.sent(now);
        let Err(error) = done else {
            state.backoff.reset();
            if let Change::Back(Some(_)) = state.sending.worked(wall) {
                log::info!("telegram: messages can be sent again");
            }
            return None;
        };
        match &error {
            BotError::CannotEdit => return Some(error),
            BotError::Migrated { to_chat } => {
                drop(state);
                self.follow(*to_chat);
                return Some(error);
            }
            BotError::Refused { .. } => state.queue.hold(now, AFTER_REFUSAL),
            _ => {
                let wait = state.backoff.after(&error);
                state.queue.hold(now, wait);
            }
        }
        let too_many = matches!(error, BotError::TooMany { .. });
        if !too_many && state.sending.failed(wall.minus(began.elapsed()), error.to_string()) == Change::Lost {
            log::warn!("telegram: a message could not be sent: {error}");
        }
        Some(error)
    }

    /// The group became a supergroup: it has another number, and its messages have none that we know.
    pub(super) fn follow(&self, chat: i64) {
        let mut state = self.state.borrow_mut();
        if state.home.chat == chat {
            return;
        }
        log::warn!("telegram: the group is a supergroup now; set messenger.telegram.chat_id to {chat}");
        state.home.chat = chat;
        state.rules.chat = chat;
        for id in state.board.forget_messages() {
            state.queue.ask(id);
        }
        drop(state);
        self.wake();
    }
}
