//! Telegram: questions on the phone, through a bot.
//!
//! Two loops of this channel's own: one fetches what people do (`poll`), one sends and edits cards (`send`). Both wait
//! on the blocking pool in lanes of their own, so neither slow services nor a dead connection to Telegram hold up
//! anything else. What a tap decides is the gate's business; here is only who tapped, and on which card.
//!
//! | file | what it is |
//! |---|---|
//! | `api` | the Bot API over HTTP |
//! | `card`, `buttons` | how a question looks, and what its buttons carry (pure) |
//! | `board` | which message stands for which question (pure) |
//! | `queue` | what is sent next, and when (pure) |
//! | `updates` | what an update means, and from whom it counts (pure) |
//! | `chat` | whether the chat is there, and where it has gone |
//! | `link` | whether Telegram is reachable (pure) |
//! | `beside` | what is said without waiting for cards |
//! | `poll`, `send`, `people` | the two loops, and what is done about people's taps and words |

pub(crate) mod api;
mod beside;
mod board;
mod buttons;
mod card;
pub(crate) mod chat;
mod link;
mod people;
mod poll;
mod queue;
mod send;
mod updates;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use smol::channel::{Receiver, Sender, bounded};
use smol::{LocalExecutor, Timer};

use super::{Channel, ChannelHealth, Host};
use crate::base::clock::{Clock, Timestamp};
use crate::base::ids::RequestId;
use crate::base::safe_text::visible;
use crate::base::secret::Secret;
use crate::base::zone::Zone;
use crate::model::{Outcome, Question, Responder, Settlement};
use api::{Bot, BotError};
use beside::Lane;
use board::{Board, Home};
use card::End;
use link::Link;
use queue::{Backoff, Queue};
use updates::Rules;

/// The name in the record: `telegram:123456`.
const NAME: &str = "telegram";
/// Answers to taps at once, of those who may answer and of strangers. Beside them there are the long poll and one card.
const ANSWERS_AT_ONCE: usize = 2;
const STRANGERS_AT_ONCE: usize = 1;
/// How long a start waits for Telegram.
const FIRST_WORD: Duration = Duration::from_secs(3);

/// What the owner has set.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The bot's token.
    pub token: Secret,
    /// The chat that is asked; negative for groups.
    pub chat_id: i64,
    /// The users whose answers count.
    pub allowed_users: Vec<i64>,
    /// The topic that all messages go to, in a group that has topics.
    pub topic: Option<i64>,
    /// The Bot API server.
    pub api_url: String,
    /// The HTTP proxy that leads to the server.
    pub proxy: Option<Secret>,
    /// Whether a card is edited when half of its time is over.
    pub reminder: bool,
}

impl PartialEq for Settings {
    fn eq(&self, other: &Settings) -> bool {
        let rest =
            |s: &Settings| (s.chat_id, s.topic, s.allowed_users.clone(), s.api_url.clone(), s.reminder);
        let secret = |s: &Settings| (s.token.clone(), s.proxy.clone());
        let exposed = |(token, proxy): (Secret, Option<Secret>)| {
            (token.expose().to_owned(), proxy.map(|proxy| proxy.expose().to_owned()))
        };
        exposed(secret(self)) == exposed(secret(other)) && rest(self) == rest(other)
    }
}

impl Eq for Settings {}

/// The channel.
pub(crate) struct Telegram {
    bot: Bot,
    settings: Settings,
    clock: Clock,
    executor: Rc<LocalExecutor<'static>>,
    host: RefCell<Option<Rc<dyn Host>>>,
    state: RefCell<State>,
    answers: Lane,
    strangers: Lane,
    wake: (Sender<()>, Receiver<()>),
    /// Closed at the end.
    end: (Sender<()>, Receiver<()>),
    began: Instant,
}

struct State {
    board: Board,
    queue: Queue,
    rules: Rules,
    home: Home,
    fetching: Link,
    sending: Link,
    backoff: Backoff,
    /// Of edits, which must hold no question up.
    edit_backoff: Backoff,
    /// When strangers were last logged or answered, and who.
    strangers: Vec<(Instant, i64)>,
    /// Whether what an earlier run has kept is known.
    restored: bool,
}

impl State {
    /// A question is to be sent when it is its agent's turn.
    fn ask(&mut self, id: RequestId) {
        let question = |id| self.board.get(id).and_then(|card| card.question.as_ref());
        self.queue.ask(id, |id| question(id).map(|question| question.call.agent()));
    }

    /// A card is to be edited. One that is given up for it looks as it did, but a tap on it still hears how it ended.
    fn edit(&mut self, id: RequestId) {
        let given_up = self.queue.edit(id);
        if let Some(id) = given_up.filter(|id| self.board.get(*id).is_some_and(board::Card::is_final)) {
            log::warn!("request {id}: its card could not be changed");
            self.board.finish(id);
        }
    }
}

impl Telegram {
    /// Makes the channel and asks Telegram who the bot is, for at most three seconds: without an answer the start goes
    /// on, and questions are sent when Telegram can be reached. BLOCKS that long.
    ///
    /// # Errors
    /// [`BotError::Unauthorized`] and [`BotError::NotFound`] when the token or `api_url` is certainly wrong.
    pub(crate) fn new(
        settings: Settings,
        clock: Clock,
        executor: Rc<LocalExecutor<'static>>,
    ) -> Result<Rc<Telegram>, BotError> {
        let bot = Bot::through(settings.proxy.as_ref(), settings.token.clone(), &settings.api_url)?;
        let bot_name = introduce(&bot)?;
        let chat = settings.chat_id;
        let rules =
            Rules { chat, topic: settings.topic, allowed_users: settings.allowed_users.clone(), bot_name };
        let state = State {
            board: Board::default(),
            queue: Queue::new(chat),
            rules,
            home: Home { bot: bot_id(&settings.token), configured: chat, chat },
            fetching: Link::default(),
            sending: Link::default(),
            backoff: Backoff::default(),
            edit_backoff: Backoff::default(),
            strangers: Vec::new(),
            restored: false,
        };
        Ok(Rc::new(Telegram {
            bot,
            settings,
            clock,
            executor,
            host: RefCell::default(),
            state: RefCell::new(state),
            answers: Lane::new(ANSWERS_AT_ONCE),
            strangers: Lane::new(STRANGERS_AT_ONCE),
            wake: bounded(1),
            end: bounded(1),
            began: Instant::now(),
        }))
    }

    /// Begins to fetch and send.
    pub(crate) fn start(self: &Rc<Self>, host: Rc<dyn Host>) {
        self.host.replace(Some(host.clone()));
        self.spawn(poll::run(self.clone(), host));
    }

    /// Ends fetching and sending; calls under way return at once. Open questions and their cards stay as they are.
    pub(crate) async fn stop(&self) {
        self.end.0.close();
        self.wake.0.close();
        self.bot.shutdown();
        self.save().await;
        self.host.replace(None);
    }

    fn has_stopped(&self) -> bool {
        self.end.0.is_closed()
    }

    /// Keeps the board for the next start.
    async fn save(&self) {
        let Some(host) = self.host.borrow().clone() else { return };
        let kept = {
            let state = self.state.borrow();
            if !state.restored {
                return;
            }
            state.board.kept(state.home, self.clock.now())
        };
        host.remember("telegram.cards", kept).await;
    }

    /// None before the start and after the stop.
    fn ask_host<T>(&self, ask: impl FnOnce(&dyn Host) -> T) -> Option<T> {
        let host = self.host.borrow().clone();
        host.map(|host| ask(&*host))
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.executor.spawn(task).detach();
    }

    /// There is something to send, or to send again.
    fn wake(&self) {
        let _ = self.wake.0.try_send(());
    }

    /// Changes a card and has it shown.
    fn update(&self, id: RequestId, change: impl FnOnce(&mut board::Card)) {
        let mut state = self.state.borrow_mut();
        let Some(card) = state.board.get_mut(id).filter(|card| !card.over) else { return };
        card.progress.zone = Zone::system();
        change(card);
        card.changed();
        match (card.is_unsent(), card.is_final()) {
            (true, true) => state.board.finish(id),
            (true, false) => {}
            (false, _) => state.edit(id),
        }
        drop(state);
        self.wake();
    }

    /// `Ann (7)` for `telegram:7`, `root on the gateway` for `local:root`.
    fn called(&self, by: &Responder) -> String {
        match by.as_str().split_once(':') {
            Some((NAME, id)) => {
                let name = id.parse().ok().and_then(|id: i64| self.state.borrow().board.name(id));
                name.unwrap_or_else(|| format!("user {}", visible(id)))
            }
            Some(("local", user)) => format!("{} on the gateway", visible(user)),
            _ => visible(by.as_str()),
        }
    }

    /// After half of the time, if that is wanted.
    fn remind_later(self: &Rc<Self>, question: &Question, left: Duration) {
        let whole = question.expires.since(question.created);
        let Some(wait) = left.checked_sub(whole / 2).filter(|_| self.settings.reminder) else { return };
        let (channel, id) = (self.clone(), question.id);
        self.spawn(async move {
            Timer::after(wait).await;
            let left = channel.ask_host(|host| host.time_left(id)).unwrap_or_default();
            if !left.is_zero() {
                channel.update(id, |card| card.progress.reminded = Some(left));
            }
        });
    }
}

/// The channel as the gate holds it.
pub(crate) struct Handle(pub Rc<Telegram>);

impl Channel for Handle {
    fn name(&self) -> &'static str {
        NAME
    }

    fn asked(&self, question: &Arc<Question>) {
        let channel = &self.0;
        let mut state = channel.state.borrow_mut();
        // What is asked before the board is restored was open when the gateway stopped: its card may be in the chat.
        let loose = !state.restored;
        let times = channel.ask_host(|host| host.times_asked(question)).unwrap_or(1);
        let reasons = channel.ask_host(|host| host.takes_reasons()).unwrap_or_default();
        if state.board.asked(question, loose, times, reasons, Zone::system()) {
            state.ask(question.id);
        }
        drop(state);
        channel.remind_later(question, question.expires.since(channel.clock.now()));
        channel.wake();
    }

    fn settled(&self, question: &Arc<Question>, settlement: &Settlement) {
        let (channel, now) = (&self.0, self.0.clock.now());
        let who = settlement.by().map(|by| channel.called(by));
        channel.state.borrow_mut().queue.forget_ask(question.id);
        let settled = Some((settlement.clone(), Some(now), who));
        let window = channel.ask_host(|host| host.note_window(question.id)).unwrap_or_default();
        channel.update(question.id, |card| {
            card.progress.settled = settled;
            card.progress.note = Some(window).filter(|window| !window.is_zero());
        });
    }

    fn asked_again(&self, question: &Arc<Question>, times: u32) {
        self.0.update(question.id, |card| card.progress.count = times);
    }

    fn noted(&self, question: &Arc<Question>, said: Option<(&str, &Responder)>) {
        let writer = said.map(|(_, by)| self.0.called(by));
        self.0.update(question.id, |card| {
            card.progress.note = None;
            card.progress.note_by = writer;
            if let Some((Settlement::Denied { note, .. }, ..)) = &mut card.progress.settled {
                *note = said.map(|(text, _)| text.to_owned());
            }
        });
    }

    fn finished(&self, question: &Arc<Question>, outcome: &Outcome) {
        self.0.update(question.id, |card| {
            card.progress.end = Some(End::of(outcome));
            // After a restart a card is known without its question.
            if card.progress.settled.is_some() {
                card.question.get_or_insert_with(|| question.clone());
            }
        });
    }

    fn health(&self) -> ChannelHealth {
        let state = self.0.state.borrow();
        let (fetching, sending) = (&state.fetching, &state.sending);
        // Where nothing was sent yet, nobody knows whether it would work.
        let cannot_send = fetching.is_up() && sending.failing();
        let (link, word) = if cannot_send { (sending, "sending: ") } else { (fetching, "") };
        let waits = match state.queue.len() {
            0 => String::new(),
            1 => ", 1 message waits".to_owned(),
            n => format!(", {n} messages wait"),
        };
        let refused = match state.board.live().filter(|(_, c)| c.is_open() && c.is_given_up()).count() {
            0 => String::new(),
            n => format!(", {n} not taken (answer on the gateway)"),
        };
        ChannelHealth {
            up: fetching.is_up() && !cannot_send,
            since: link.since(),
            waiting: state.queue.len(),
            detail: format!("{word}{}{waits}{refused}", link.told(&Zone::system())),
        }
    }
}

/// The bot's name, when Telegram answers soon enough; else nothing.
fn introduce(bot: &Bot) -> Result<String, BotError> {
    let (sender, answer) = sync_channel(1);
    let asked = bot.clone();
    let thread = std::thread::Builder::new().name("agentpass-hello".into());
    let spawned = thread.spawn(move || sender.send(asked.get_me()));
    let answer = match spawned {
        Ok(_) => answer.recv_timeout(FIRST_WORD).ok(),
        Err(_) => None,
    };
    match answer {
        Some(Ok(me)) => Ok(me.username),
        Some(Err(e @ (BotError::Unauthorized | BotError::NotFound))) => Err(e),
        Some(Err(e)) => Ok(unreachable_now(&e.to_string())),
        None => Ok(unreachable_now("no answer yet")),
    }
}

fn unreachable_now(why: &str) -> String {
    log::warn!("telegram cannot be reached ({why}); questions are sent when it can");
    String::new()
}

/// The number in front of a token. Not secret.
fn bot_id(token: &Secret) -> i64 {
    token.expose().split(':').next().and_then(|id| id.parse().ok()).unwrap_or_default()
}

/// For people: from when to when Telegram was not reachable.
type Absence = (Option<Timestamp>, Timestamp);
