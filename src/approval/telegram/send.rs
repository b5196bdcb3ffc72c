//! The loop that sends and edits cards, one after the other as the queue says.

use std::rc::Rc;
use std::time::{Duration, Instant};

use smol::Timer;

use super::api::{BotError, Entity, OutgoingMessage, Style};
use super::board::Card;
use super::card::{CardProgress, remains, units};
use super::chat::{follow, why_not};
use super::conversation::{ChatState, Conversation};
use super::queue::{Next, SendJob};
use super::reachability::Change;
use super::stop_button;
use crate::base::ids::RequestId;
use crate::net::deadline::within;

/// How long nothing is sent after Telegram has refused messages to this chat.
const AFTER_REFUSAL: Duration = Duration::from_secs(10);
/// How long a card waits after Telegram has refused it for the first time; each wait is twice the one before.
const REFUSED_CARD: Duration = Duration::from_secs(3);
/// What the chat reads of a card that is given up.
const GIVEN_UP: &str =
    "⚠️ There is a question that Telegram does not take; answer it on the gateway: agentpass approvals";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SendKind {
    New,
    Edit,
}

/// Sends until the channel is stopped.
pub(super) async fn run(channel: Rc<Conversation>) {
    while !channel.has_stopped() {
        let next = channel.state.borrow_mut().queue.next(Instant::now());
        match next {
            Next::Send(job) => channel.perform(job).await,
            // The stop wakes this too, by closing `wake`.
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

impl Conversation {
    async fn perform(self: &Rc<Self>, job: SendJob) {
        let home = self.state.borrow().home.chat;
        match job {
            SendJob::Ask(id) => self.send_card(id).await,
            SendJob::Edit(id) => self.edit_card(id).await,
            SendJob::AskToStop { to, ref agent } => {
                let (text, keyboard) = stop_button::question(agent.as_ref(), self.clock.now());
                let message = OutgoingMessage { text, keyboard, reply_to: Some(to), entities: Vec::new() };
                self.send_words(job, message).await;
            }
            SendJob::Reply { to, ref text, ref keyboard } => {
                let (text, keyboard) = (text.clone(), keyboard.clone());
                // What agents have a say in stands where Telegram finds no links, mentions or commands.
                let whole = Entity { style: Style::Pre, offset: 0, length: units(&text) };
                let entities = if keyboard.is_empty() { Vec::new() } else { vec![whole] };
                let message = OutgoingMessage { text, keyboard, reply_to: to, entities };
                self.send_words(job, message).await;
            }
        }
        if self.state.borrow().home.chat != home {
            self.save().await;
        }
    }

    async fn send_words(&self, job: SendJob, message: OutgoingMessage) {
        let (chat, topic) = (self.state.borrow().home.chat, self.config.topic);
        let began = Instant::now();
        let sent = self.call(move |bot| bot.send_message(chat, topic, &message)).await;
        let error = self.after(began, SendKind::New, sent.map(drop));
        // Old answers are worth nothing: it is tried again only if the server asks for time, or the group has moved.
        let moved = self.state.borrow().home.chat != chat;
        if moved || matches!(error, Some(BotError::TooMany { .. })) {
            self.state.borrow_mut().queue.put_back(job);
        }
    }

    /// Sends the next message of a card.
    async fn send_card(self: &Rc<Self>, id: RequestId) {
        let Some((chat, message, before, shown, of)) = self.begin_sending(id) else { return };
        let (has_buttons, topic) = (!message.keyboard.is_empty(), self.config.topic);
        let began = Instant::now();
        let sent = self.call(move |bot| bot.send_message(chat, topic, &message)).await;
        let number = sent.as_ref().ok().copied();
        let error = self.after(began, SendKind::New, sent.map(drop));
        let unsure = error.as_ref().is_some_and(|e| !e.is_certain());
        {
            let mut state = self.state.borrow_mut();
            let Some(card) = state.board.get_mut(id) else { return };
            // A tap that told the number has counted it already.
            if has_buttons && !unsure && number.is_none_or(|number| !card.has(number)) {
                card.strays = card.strays.saturating_sub(1);
            }
            let is_of_now = card.question.as_ref().is_none_or(|question| question.call.shown_as() == of);
            if let Some(number) = number.filter(|_| !is_of_now && card.is_open()) {
                card.arrived_outdated(number);
            } else if let Some(number) = number {
                card.refusals = 0;
                card.arrived(number, before);
                if card.progress != shown {
                    card.changed();
                }
            }
            self.go_on(&mut state, id, error.as_ref());
        }
        if number.is_some() || unsure {
            self.save().await;
        }
    }

    /// Goes on with a card after an attempt to send its next message.
    fn go_on(self: &Rc<Self>, state: &mut ChatState, id: RequestId, error: Option<&BotError>) {
        let Some(card) = state.board.get_mut(id) else { return };
        if !card.is_open() {
            // It ended while it was being sent: the card must say so.
            card.changed();
            return if card.is_unsent() { state.board.finish(id) } else { state.edit(id) };
        }
        let (more, untidy) = (card.next_message().is_some(), !card.stale.is_empty());
        if untidy {
            state.edit(id);
        }
        match error {
            Some(error) if error.is_of_message() => self.refused(state, id, error),
            _ if !more => {}
            // Something on the way may not let this very card through, so others go first.
            Some(error) if !error.is_certain() => state.ask(id),
            _ => state.queue.put_back(SendJob::Ask(id)),
        }
    }

    /// Telegram does not take this card; others go on meanwhile.
    fn refused(self: &Rc<Self>, state: &mut ChatState, id: RequestId, error: &BotError) {
        let Some(card) = state.board.get_mut(id) else { return };
        card.refusals += 1;
        if card.is_given_up() {
            log::error!(
                "request {id}: Telegram does not take its card ({error}); answer it on the gateway: agentpass approve {id}"
            );
            return state.queue.reply(None, GIVEN_UP.to_owned());
        }
        log::debug!("request {id}: Telegram does not take its card ({error}); it is tried again");
        let (channel, wait) = (self.clone(), REFUSED_CARD * (1 << (card.refusals - 1)));
        self.spawn(async move {
            Timer::after(wait).await;
            channel.state.borrow_mut().ask(id);
            channel.wake();
        });
    }

    /// The next message of a card. Until the send returns, a tap may come from a message whose number is not known.
    fn begin_sending(&self, id: RequestId) -> Option<(i64, OutgoingMessage, usize, CardProgress, String)> {
        let mut state = self.state.borrow_mut();
        let chat = state.home.chat;
        let card = state.board.get_mut(id)?;
        let message = card.next_message()?;
        card.strays += u32::from(!message.keyboard.is_empty());
        card.shown = card.question.as_ref().map(|question| question.call.shown_as()).unwrap_or_default();
        Some((chat, message, card.messages.len(), card.progress.clone(), card.shown.clone()))
    }

    /// Edits one message of a card, and queues the card again while more are stale.
    async fn edit_card(&self, id: RequestId) {
        let found = {
            let state = self.state.borrow();
            let stale = |card: &Card| {
                let number = *card.stale.first()?;
                Some((number, card.look(number)?, card.progress.clone()))
            };
            state.board.get(id).and_then(stale).map(|found| (state.home.chat, found))
        };
        let Some((chat, (number, message, shown))) = found else { return self.unseen(id) };
        let began = Instant::now();
        let edited = match self.call(move |bot| bot.edit_message(chat, number, &message)).await {
            Err(BotError::NotModified) => Ok(()),
            other => other,
        };
        match self.after(began, SendKind::Edit, edited) {
            None => {}
            Some(BotError::CannotEdit) => self.replace(id, number),
            Some(error) if error.is_of_message() => log::warn!("request {id}: its card could not be changed"),
            Some(error) if !error.is_certain() => return self.state.borrow_mut().edit(id),
            Some(_) => return self.state.borrow_mut().queue.put_back(SendJob::Edit(id)),
        }
        let done = self.edited(id, number, &shown);
        if done {
            self.save().await;
        }
    }

    /// A message was edited to show this. True when nothing is left to do about the card.
    fn edited(&self, id: RequestId, number: i64, shown: &CardProgress) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(card) = state.board.get_mut(id) else { return false };
        if card.progress == *shown {
            card.tidied(number);
        }
        let (more, done) = (!card.stale.is_empty(), card.is_final());
        match (more, done) {
            (true, _) => state.edit(id),
            (false, true) => state.board.finish(id),
            (false, false) => {}
        }
        done && !more
    }

    /// There is no message to edit, and as nothing is being sent now, none will come of a question that has ended.
    fn unseen(&self, id: RequestId) {
        let mut state = self.state.borrow_mut();
        if state.board.get(id).is_some_and(Card::is_final) {
            state.board.finish(id);
        }
    }

    /// The message is gone or frozen. An open question is sent again; how an ended one ended is said in a new message.
    fn replace(&self, id: RequestId, number: i64) {
        let mut state = self.state.borrow_mut();
        let Some(card) = state.board.get_mut(id) else { return };
        if card.outdated.contains(&number) {
            card.outdated.retain(|outdated| *outdated != number);
        } else if card.copies.contains(&number) {
            card.copies.retain(|copy| *copy != number);
        } else if card.is_open() {
            card.messages.clear();
            state.ask(id);
        } else if card.is_final() {
            let text = remains(&card.tool, &card.progress).text;
            state.queue.reply(None, text);
        }
    }

    /// Accounts for a call to the chat and returns its error, if it had one.
    fn after(&self, began: Instant, what: SendKind, done: Result<(), BotError>) -> Option<BotError> {
        let now = Instant::now();
        let wall = self.clock.now();
        let mut state = self.state.borrow_mut();
        state.queue.sent(now);
        let Err(error) = done else {
            state.backoff.reset();
            if what == SendKind::Edit {
                state.edit_backoff.reset();
            }
            if let Change::Back(Some(_)) = state.sending.worked(wall) {
                log::info!("telegram: messages can be sent again");
            }
            return None;
        };
        match &error {
            _ if error.is_of_message() => return Some(error),
            BotError::Migrated { to_chat } if follow(&mut state, *to_chat) => return Some(error),
            BotError::Refused { .. } => state.queue.hold(now, AFTER_REFUSAL),
            // Something on the way may not let this very card through, which says nothing about questions.
            error if what == SendKind::Edit && !matches!(error, BotError::TooMany { .. }) => {
                let wait = state.edit_backoff.after(error);
                state.queue.hold_edits(now, wait);
            }
            _ => {
                let wait = state.backoff.after(&error);
                state.queue.hold(now, wait);
            }
        }
        let too_many = matches!(error, BotError::TooMany { .. });
        let why = why_not(&error, state.home.chat);
        if !too_many && state.sending.failed(wall.minus(began.elapsed()), why.clone()) == Change::Lost {
            log::warn!("telegram: a message could not be sent: {why}");
        }
        Some(error)
    }
}
