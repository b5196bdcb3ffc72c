//! The conversation with one chat: what the two loops and the gate's calls share.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use smol::channel::{Receiver, Sender, bounded};
use smol::{LocalExecutor, Timer};

use super::api::{Bot, BotError};
use super::board::{Board, BotChat, Card};
use super::card::CallEnd;
use super::link::Link;
use super::queue::{Backoff, Queue};
use super::updates::Approvers;
use crate::approval::Host;
use crate::base::clock::Clock;
use crate::base::ids::RequestId;
use crate::base::safe_text::visible;
use crate::base::secret::Secret;
use crate::base::zone::Zone;
use crate::model::QuestionRecord;
use crate::model::{Question, Responder};

/// The channel's name in the record: `telegram:123456`.
pub(super) const NAME: &str = "telegram";
/// How many calls outside the queue may wait for their turn, for each kind of people.
const WAITING: usize = 30;

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

/// A call that does not wait for the queue.
pub(super) type UrgentCall = Box<dyn FnOnce(Bot) -> Result<(), BotError> + Send>;

/// The conversation with one chat.
pub(super) struct Conversation {
    pub(super) bot: Bot,
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    executor: Rc<LocalExecutor<'static>>,
    host: RefCell<Option<Rc<dyn Host>>>,
    pub(super) state: RefCell<ChatState>,
    /// Calls outside the queue for people who may answer, and for others.
    pub(super) known: (Sender<UrgentCall>, Receiver<UrgentCall>),
    pub(super) strangers: (Sender<UrgentCall>, Receiver<UrgentCall>),
    pub(super) wake: (Sender<()>, Receiver<()>),
    /// Closed at the end.
    pub(super) end: (Sender<()>, Receiver<()>),
    pub(super) began: Instant,
}

pub(super) struct ChatState {
    pub(super) board: Board,
    pub(super) queue: Queue,
    pub(super) approvers: Approvers,
    pub(super) home: BotChat,
    pub(super) fetching: Link,
    pub(super) sending: Link,
    pub(super) backoff: Backoff,
    /// For edits alone: they must not delay questions.
    pub(super) edit_backoff: Backoff,
    /// When strangers were last logged or answered, and who.
    pub(super) strangers: Vec<(Instant, i64)>,
    /// Whether the board of an earlier run has been read.
    pub(super) restored: bool,
}

impl ChatState {
    /// Queues a question behind the turns of other agents.
    pub(super) fn ask(&mut self, id: RequestId) {
        let question = |id| self.board.get(id).and_then(|card| card.question.as_ref());
        self.queue.ask(id, |id| question(id).map(|question| question.call.agent()));
    }

    /// Queues an edit of a card. A card that is given up for it looks as it did, but a tap on it still hears how it
    /// ended.
    pub(super) fn edit(&mut self, id: RequestId) {
        let given_up = self.queue.edit(id);
        if let Some(id) = given_up.filter(|id| self.board.get(*id).is_some_and(Card::is_final)) {
            log::warn!("request {id}: its card could not be changed");
            self.board.finish(id);
        }
    }
}

impl Conversation {
    pub(super) fn new(
        settings: Settings,
        bot: Bot,
        bot_name: String,
        clock: Clock,
        executor: Rc<LocalExecutor<'static>>,
    ) -> Conversation {
        let chat = settings.chat_id;
        let (topic, allowed_users) = (settings.topic, settings.allowed_users.clone());
        let state = ChatState {
            board: Board::default(),
            queue: Queue::new(chat),
            approvers: Approvers { chat, topic, allowed_users, bot_name },
            home: BotChat { bot: bot_id(&settings.token), configured: chat, chat },
            fetching: Link::default(),
            sending: Link::default(),
            backoff: Backoff::default(),
            edit_backoff: Backoff::default(),
            strangers: Vec::new(),
            restored: false,
        };
        Conversation {
            bot,
            settings,
            clock,
            executor,
            host: RefCell::default(),
            state: RefCell::new(state),
            known: bounded(WAITING),
            strangers: bounded(WAITING),
            wake: bounded(1),
            end: bounded(1),
            began: Instant::now(),
        }
    }

    pub(super) fn begin(&self, host: Rc<dyn Host>) {
        self.host.replace(Some(host));
    }

    /// Ends all loops; calls under way return at once. Cards stay as they are.
    pub(super) async fn stop(&self) {
        for signal in [&self.end.0, &self.wake.0] {
            signal.close();
        }
        for urgent in [&self.known.0, &self.strangers.0] {
            urgent.close();
        }
        self.bot.shutdown();
        self.save().await;
        self.host.replace(None);
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.end.0.is_closed()
    }

    /// Runs a call on the blocking pool.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(Bot) -> Result<T, BotError> + Send + 'static,
    ) -> Result<T, BotError> {
        let bot = self.bot.clone();
        smol::unblock(move || call(bot)).await
    }

    /// Keeps the board for the next start.
    pub(super) async fn save(&self) {
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
    pub(super) fn ask_host<T>(&self, ask: impl FnOnce(&dyn Host) -> T) -> Option<T> {
        let host = self.host.borrow().clone();
        host.map(|host| ask(&*host))
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.executor.spawn(task).detach();
    }

    /// There is something to send, or to send again.
    pub(super) fn wake(&self) {
        let _ = self.wake.0.try_send(());
    }

    /// Changes a card and has it shown.
    pub(super) fn update(&self, id: RequestId, change: impl FnOnce(&mut Card)) {
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
    pub(super) fn shown_name(&self, by: &Responder) -> String {
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
    pub(super) fn remind_later(self: &Rc<Self>, question: &Question, left: Duration) {
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

    /// Shows on a card what the record knows of its question's end.
    pub(super) fn show_recorded(&self, id: RequestId, record: Option<QuestionRecord>) {
        let end = record.as_ref().and_then(|record| CallEnd::recorded(&record.outcome));
        let note_by =
            record.as_ref().and_then(|record| record.note_by.as_ref()).map(|by| self.shown_name(by));
        let settled = record.and_then(|record| Some((record.end?, record.at)));
        let settled = settled.map(|(end, at)| {
            let who = end.by().map(|by| self.shown_name(by));
            (end, at, who)
        });
        self.update(id, |card| {
            card.progress.settled = settled;
            card.progress.note_by = note_by;
            // The gate may have told us how it went meanwhile.
            card.progress.end = card.progress.end.take().or(end);
        });
    }
}

/// The number in front of a token. Not secret.
fn bot_id(token: &Secret) -> i64 {
    token.expose().split(':').next().and_then(|id| id.parse().ok()).unwrap_or_default()
}
