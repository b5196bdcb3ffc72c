//! Telegram: questions on the phone, through a bot.
//!
//! Two loops: one fetches what people do (`poll`), one sends and edits cards (`send`). Both wait on the blocking pool,
//! so a dead connection to Telegram holds nothing else up. What a tap decides is the gate's business; the channel knows
//! only who tapped, and on which card.
//!
//! | file | what it is |
//! |---|---|
//! | `api` | the Bot API over HTTP |
//! | `card`, `buttons` | how a question looks, and what its buttons carry (pure) |
//! | `grants` | what a yes has granted, on its card |
//! | `stop_button`, `kill_switch` | the button that stops calls (pure), and what is done about it |
//! | `board` | which message stands for which question (pure) |
//! | `queue` | what is sent next, and when (pure) |
//! | `updates` | what an update means, and from whom it counts (pure) |
//! | `chat` | whether the chat is there, and where it has gone |
//! | `attention` | who is told of a question, and when |
//! | `conversation` | what the loops and the gate's calls share |
//! | `reachability` | whether Telegram is reachable (pure) |
//! | `urgent` | what does not wait for cards: answers to taps, words to strangers |
//! | `poll`, `send`, `people` | the two loops, and what is done about people's taps and words |

pub(crate) mod api;
mod attention;
mod board;
mod buttons;
mod card;
pub(crate) mod chat;
mod conversation;
mod grants;
mod kill_switch;
mod people;
mod poll;
mod queue;
mod reachability;
mod send;
mod stop_button;
mod updates;
mod urgent;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use smol::LocalExecutor;

use super::{Channel, ChannelHealth, Host, Later, Misconfigured, Parting, TakesNotes, YesTally};
use crate::base::clock::Clock;
use crate::base::zone::Zone;
use crate::config::{ChannelConfig, TelegramConfig};
use crate::model::{Outcome, Question, QuestionEnd, Responder};
use api::{Bot, BotError, OutgoingMessage};
use card::CallEnd;
use conversation::Conversation;
use urgent::To;

/// How many people are answered at once, of those who may answer and of strangers.
const ANSWERS_AT_ONCE: usize = 2;
const STRANGERS_AT_ONCE: usize = 1;
/// How long a start waits for Telegram.
const FIRST_WORD: Duration = Duration::from_secs(3);

/// The channel as the gate holds it.
pub(crate) struct Telegram(Rc<Conversation>);

impl Telegram {
    /// # Errors
    /// When the token or an address cannot be used.
    pub(crate) fn new(
        name: &str,
        config: TelegramConfig,
        clock: Clock,
        executor: Rc<LocalExecutor<'static>>,
    ) -> Result<Telegram, Misconfigured> {
        let bot = Bot::through(config.proxy.as_ref(), config.token.clone(), &config.api_url);
        let bot = bot.map_err(|e| unknown_bot(&e))?;
        Ok(Telegram(Rc::new(Conversation::new(name.to_owned(), config, bot, clock, executor))))
    }
}

fn unknown_bot(e: &BotError) -> Misconfigured {
    Misconfigured {
        section: "messenger",
        what: format!("Telegram does not know this bot: {e}"),
        help: "check messenger.telegram: the token is from @BotFather, api_url is usually left out",
    }
}

impl Channel for Telegram {
    fn name(&self) -> &str {
        &self.0.name
    }

    /// Asks Telegram who the bot is. Without an answer the start goes on, and questions are sent when Telegram can be
    /// reached.
    fn try_out(&self) -> Result<(), Misconfigured> {
        let bot_name = introduce(self.0.bot.clone()).map_err(|e| unknown_bot(&e))?;
        self.0.state.borrow_mut().approvers.bot_name = bot_name;
        Ok(())
    }

    fn silence(&self) {
        self.0.silence();
    }

    fn start(&self, host: Rc<dyn Host>) {
        let channel = &self.0;
        (0..ANSWERS_AT_ONCE).for_each(|_| channel.spawn(urgent::run(channel.clone(), To::Known)));
        (0..STRANGERS_AT_ONCE).for_each(|_| channel.spawn(urgent::run(channel.clone(), To::Stranger)));
        channel.begin(host.clone(), poll::run(channel.clone(), host));
    }

    fn asked(&self, question: &Arc<Question>) {
        self.0.take_up(question);
    }

    fn settled(&self, question: &Arc<Question>, end: &QuestionEnd) {
        let (channel, now) = (&self.0, self.0.clock.now());
        let who = end.by().map(|by| channel.shown_name(by));
        channel.state.borrow_mut().queue.forget_ask(question.id);
        let settled = Some((end.clone(), Some(now), who));
        let window = channel.ask_host(|host| host.note_window(question.id)).unwrap_or_default();
        let grant =
            if matches!(end, QuestionEnd::Approved { .. }) { channel.grant_of(question.id) } else { None };
        let is_granted = grant.is_some();
        channel.update(question.id, |card| {
            card.progress.settled = settled;
            card.progress.note = Some(window).filter(|window| !window.is_zero());
            card.progress.grant = grant;
        });
        if is_granted {
            channel.follow_grant(question.id);
        }
    }

    fn counted(&self, question: &Arc<Question>, tally: &YesTally) {
        self.0.show_tally(question.id, tally);
    }

    fn edited(&self, question: &Arc<Question>) {
        let mut state = self.0.state.borrow_mut();
        let card = state.board.get_mut(question.id).filter(|card| card.is_open());
        if card.is_some_and(|card| card.edited(question)) {
            drop(state);
            self.0.replace_later(question.id);
        }
    }

    fn asked_again(&self, question: &Arc<Question>, times: u32) {
        self.0.update(question.id, |card| card.progress.count = times);
    }

    fn finished(&self, question: &Arc<Question>, outcome: &Outcome) {
        self.0.update(question.id, |card| {
            card.progress.end = Some(CallEnd::after(outcome));
            // After a restart a card is known without its question.
            if card.progress.settled.is_some() {
                card.question.get_or_insert_with(|| question.clone());
            }
        });
    }

    fn notice(&self, text: &str) {
        self.0.say(None, format!("ℹ️ {text}"));
    }

    fn health(&self) -> ChannelHealth {
        let state = self.0.state.borrow();
        let (fetching, sending) = (&state.fetching, &state.sending);
        // Before anything was sent, nobody knows whether it would work.
        let cannot_send = fetching.is_up() && sending.is_failing();
        let (link, word) = if cannot_send { (sending, "sending: ") } else { (fetching, "") };
        let waits = match state.queue.len() {
            0 => String::new(),
            1 => ", 1 message waits".to_owned(),
            n => format!(", {n} messages wait"),
        };
        let refused = match state.board.which(|card| card.is_open() && card.is_given_up()).len() {
            0 => String::new(),
            n => format!(", {n} not taken (answer on the gateway)"),
        };
        ChannelHealth {
            kind: "telegram",
            pushes: true,
            up: fetching.is_up() && !cannot_send,
            since: link.since(),
            waiting: state.queue.len(),
            detail: format!("{word}{}{waits}{refused}", link.describe(&Zone::system())),
        }
    }

    fn test(&self) -> Later<'_, Result<String, String>> {
        let (bot, topic) = (self.0.bot.clone(), self.0.config.topic);
        let chat = self.0.state.borrow().home.chat;
        let text = "ℹ️ A test of this channel by `agentpass channels test`. Nothing is asked.".to_owned();
        let message = OutgoingMessage { text, ..OutgoingMessage::default() };
        Box::pin(async move {
            let sent = smol::unblock(move || bot.send_message(chat, topic, &message)).await;
            sent.map(|number| format!("Telegram took it as message {number}")).map_err(|e| e.to_string())
        })
    }

    fn notes(&self) -> Option<&dyn TakesNotes> {
        Some(self)
    }

    fn stop<'a>(&'a self, parting: Parting<'a>) -> Later<'a, ()> {
        Box::pin(async move {
            let cards_stay = match parting {
                Parting::Shutdown => true,
                Parting::Replaced(ChannelConfig::Telegram(next)) => self.0.is_carried_on_by(next),
                // The name is another kind's now.
                Parting::Replaced(_) | Parting::Removed => false,
            };
            if !cards_stay {
                self.0.take_down().await;
            }
            self.0.stop().await;
        })
    }
}

impl TakesNotes for Telegram {
    fn noted(&self, question: &Arc<Question>, given: Option<(&str, &Responder)>) {
        let writer = given.map(|(_, by)| self.0.shown_name(by));
        self.0.update(question.id, |card| {
            card.progress.note = None;
            card.progress.note_by = writer;
            if let Some((QuestionEnd::Denied { note, .. }, ..)) = &mut card.progress.settled {
                *note = given.map(|(text, _)| text.to_owned());
            }
        });
    }
}

/// The bot's name, when Telegram answers soon enough; else nothing.
fn introduce(bot: Bot) -> Result<String, BotError> {
    let (sender, answer) = sync_channel(1);
    let thread = std::thread::Builder::new().name("agentpass-hello".into());
    // Without a thread the sender is dropped, which is no answer.
    let _ = thread.spawn(move || sender.send(bot.get_me()));
    let why = match answer.recv_timeout(FIRST_WORD) {
        Ok(Ok(me)) => return Ok(me.username),
        Ok(Err(e @ (BotError::Unauthorized | BotError::NotFound))) => return Err(e),
        Ok(Err(e)) => e.to_string(),
        Err(_) => "no answer yet".to_owned(),
    };
    log::warn!("telegram cannot be reached ({why}); questions are sent when it can");
    Ok(String::new())
}
