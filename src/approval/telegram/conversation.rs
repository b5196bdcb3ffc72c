//! The conversation with one chat: what the two loops and the gate's calls share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use smol::channel::{Receiver, Sender, bounded};
use smol::{LocalExecutor, Task, Timer};

use super::api::{Bot, BotError};
use super::board::{Board, BotChat, Card};
use super::card::CallEnd;
use super::queue::{BotBackoff, Queue};
use super::reachability::Reachability;
use super::updates::Approvers;
use crate::approval::{Host, YesTally};
use crate::base::clock::Clock;
use crate::base::ids::RequestId;
use crate::base::safe_text::visible;
use crate::base::secret::Secret;
use crate::base::zone::Zone;
use crate::config::TelegramConfig;
use crate::model::{QuestionEnd, QuestionRecord, Responder};
use crate::net::deadline::within;

/// How many calls outside the queue may wait, of people who may answer and of others.
const WAITING: usize = 30;

/// How long a conversation that ends for good may take to say so on its cards.
const TAKE_DOWN: Duration = Duration::from_secs(15);
/// How long the fetching loop may take to end.
const LAST_WORD: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long after an edit its answer may come.
const ANSWERED_WITH_IT: Duration = Duration::from_secs(2);

/// A call that does not wait for the queue.
pub(super) type UrgentCall = Box<dyn FnOnce(Bot) -> Result<(), BotError> + Send>;

pub(super) struct Conversation {
    pub(super) name: String,
    pub(super) bot: Bot,
    pub(super) config: TelegramConfig,
    pub(super) clock: Clock,
    executor: Rc<LocalExecutor<'static>>,
    host: RefCell<Option<Rc<dyn Host>>>,
    pub(super) state: RefCell<ChatState>,
    /// Calls outside the queue for people who may answer, and for others.
    pub(super) known: (Sender<UrgentCall>, Receiver<UrgentCall>),
    pub(super) strangers: (Sender<UrgentCall>, Receiver<UrgentCall>),
    pub(super) wake: (Sender<()>, Receiver<()>),
    is_leaving: Cell<bool>,
    poll: RefCell<Option<Task<()>>>,
    pub(super) end: (Sender<()>, Receiver<()>),
    pub(super) began: Instant,
}

#[derive(Default)]
pub(super) struct ChatState {
    pub(super) board: Board,
    pub(super) queue: Queue,
    pub(super) approvers: Approvers,
    pub(super) home: BotChat,
    pub(super) fetching: Reachability,
    pub(super) sending: Reachability,
    pub(super) backoff: BotBackoff,
    /// For edits alone: they must not delay questions.
    pub(super) edit_backoff: BotBackoff,
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
        name: String,
        config: TelegramConfig,
        bot: Bot,
        clock: Clock,
        executor: Rc<LocalExecutor<'static>>,
    ) -> Conversation {
        let chat = config.chat_id;
        let (topic, allowed_users) = (config.topic, config.allowed_users.clone());
        let state = ChatState {
            queue: Queue::new(chat),
            approvers: Approvers { chat, topic, allowed_users, bot_name: String::new() },
            home: BotChat { bot: bot_id(&config.token), configured: chat, chat },
            ..ChatState::default()
        };
        Conversation {
            name,
            bot,
            config,
            clock,
            executor,
            host: RefCell::default(),
            state: RefCell::new(state),
            known: bounded(WAITING),
            strangers: bounded(WAITING),
            wake: bounded(1),
            is_leaving: Cell::default(),
            poll: RefCell::default(),
            end: bounded(1),
            began: Instant::now(),
        }
    }

    /// From here until the stop there is a host.
    pub(super) fn begin(&self, host: Rc<dyn Host>, poll: impl Future<Output = ()> + 'static) {
        self.host.replace(Some(host));
        self.poll.replace(Some(self.executor.spawn(poll)));
    }

    /// Ends all loops; calls under way return at once. Cards stay as they are.
    pub(super) async fn stop(&self) {
        self.end.0.close();
        self.wake.0.close();
        self.known.0.close();
        self.strangers.0.close();
        self.bot.shutdown();
        // The offset must be written down before a successor reads it.
        if let Some(poll) = self.poll.take() {
            within(LAST_WORD, poll).await;
        }
        self.save().await;
        self.host.replace(None);
    }

    /// Whether a conversation with this configuration goes on with the same cards.
    pub(super) fn is_carried_on_by(&self, next: &TelegramConfig) -> bool {
        let home = self.state.borrow().home;
        home.bot == bot_id(&next.token) && [home.configured, home.chat].contains(&next.chat_id)
    }

    /// What people do here has no effect from now on.
    pub(super) fn silence(&self) {
        self.is_leaving.set(true);
    }

    /// Says on as many open cards as there is time for that nobody is asked here any more.
    pub(super) async fn take_down(&self) {
        self.silence();
        let (open, reachable) = {
            let mut state = self.state.borrow_mut();
            state.queue.keep_edits();
            (state.board.which(Card::is_open), state.fetching.is_up())
        };
        open.into_iter().for_each(|id| self.update(id, |card| card.progress.closed = true));
        let all_told = async {
            while self.state.borrow().board.live().any(|(_, card)| card.progress.closed) {
                Timer::after(LOOK_AGAIN).await;
            }
        };
        if reachable {
            within(TAKE_DOWN, all_told).await;
        }
    }

    /// Whether what people do here still counts.
    pub(super) fn is_listening(&self) -> bool {
        !self.is_leaving.get() && !self.has_stopped()
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

    /// Writes the board down for the next start.
    pub(super) async fn save(&self) {
        let Some(host) = self.host.borrow().clone() else { return };
        let kept = {
            let state = self.state.borrow();
            if !state.restored {
                return;
            }
            state.board.kept(state.home, self.clock.now())
        };
        host.remember("cards", kept).await;
    }

    /// None before the start and after the stop.
    pub(super) fn ask_host<T>(&self, ask: impl FnOnce(&dyn Host) -> T) -> Option<T> {
        let host = self.host.borrow().clone();
        host.map(|host| ask(&*host))
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.executor.spawn(task).detach();
    }

    /// Wakes the sending loop.
    pub(super) fn wake(&self) {
        let _ = self.wake.0.try_send(());
    }

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
            Some((channel, id)) if channel == self.name => {
                let name = id.parse().ok().and_then(|id: i64| self.state.borrow().board.name(id));
                name.unwrap_or_else(|| format!("user {}", visible(id)))
            }
            Some(("local", user)) => format!("{} on the gateway", visible(user)),
            _ => visible(by.as_str()),
        }
    }

    /// Shows on a card who has said yes.
    pub(super) fn show_tally(&self, id: RequestId, tally: &YesTally) {
        let names = tally.yes.iter().map(|by| self.shown_name(by)).collect();
        self.update(id, |card| card.progress.yes = Some((names, tally.have, tally.need)));
    }

    /// Sends the card of a changed question anew, which phones tell of, unless the question ends first: most changes come
    /// with their answer. Until then the old card's yes does not count.
    pub(super) fn replace_later(self: &Rc<Self>, id: RequestId) {
        let channel = self.clone();
        self.spawn(async move {
            Timer::after(ANSWERED_WITH_IT).await;
            {
                let mut state = channel.state.borrow_mut();
                let is_old = |card: &&mut Card| card.is_open() && card.is_outdated();
                let Some(card) = state.board.get_mut(id).filter(is_old) else { return };
                card.start_over();
                state.ask(id);
                state.edit(id);
            }
            channel.wake();
        });
    }

    /// Shows on a card what the record knows of its question's end.
    pub(super) fn show_recorded(self: &Rc<Self>, id: RequestId, record: Option<QuestionRecord>) {
        let is_yes = |record: &QuestionRecord| matches!(record.end, Some(QuestionEnd::Approved { .. }));
        let grant = record.as_ref().filter(|record| is_yes(record)).and_then(|_| self.grant_of(id));
        let is_granted = grant.is_some();
        let name = |by: &Responder| self.shown_name(by);
        let (call, note_by, settled) = record.map_or((None, None, None), |record| {
            let call = CallEnd::recorded(&record);
            let settled = record.end.map(|end| (end.clone(), record.at, end.by().map(name)));
            (call, record.note_by.as_ref().map(name), settled)
        });
        self.update(id, |card| {
            card.progress.settled = settled;
            card.progress.note_by = note_by;
            // The gate may have told us how it went meanwhile.
            card.progress.end = card.progress.end.take().or(call);
            card.progress.grant = grant;
        });
        if is_granted {
            self.follow_grant(id);
        }
    }
}

/// The number in front of a token. Not secret.
fn bot_id(token: &Secret) -> i64 {
    token.expose().split(':').next().and_then(|id| id.parse().ok()).unwrap_or_default()
}
