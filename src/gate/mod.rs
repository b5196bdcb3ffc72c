//! The gate: the path of one call, from admission to outcome. Read [`pipeline`] first.
//!
//! A call is a task of the gate's own. Connections come and go; they hold [`Ticket`]s. Only the gate joins the
//! policy, the approvals, the services and the store, and it keeps their order: recorded before done, claimed before
//! executed, the waiter registered before anybody is asked.

mod admit;
mod answers;
mod budget;
mod cool_down;
pub(crate) mod explain;
mod host;
mod inbox;
mod latch;
mod limits;
mod metrics;
mod notes;
mod pipeline;
mod recovery;
mod running;
mod setup;
mod status;
mod turn;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use smol::LocalExecutor;
use smol::channel::Sender;

pub(crate) use admit::Request;
pub(crate) use answers::{Answered, CannotAnswer};
pub(crate) use host::GateHost;
pub(crate) use inbox::Delivery;
pub(crate) use latch::Latch;
pub(crate) use metrics::Counts;
pub use metrics::Metrics;
pub(crate) use notes::MAX_NOTE;
pub(crate) use running::{Reply, Ticket};
pub use setup::Setup;
pub(crate) use status::Status;

use crate::approval::Channels;
use crate::approval::desk::Desk;
use crate::base::clock::{Clock, Timestamp};
use crate::base::ids::RequestId;
use crate::base::slots::{KeyedSlots, Slots};
use crate::model::{AgentId, Question, QuestionEnd, Tool};
use crate::service::CallSlots;
use crate::store::{NoteKind, Recovered, Store};
use budget::Budget;
use cool_down::CoolDowns;
use limits::RateLimits;
use notes::Window;
use running::Running;

/// The executor that all of the gateway's tasks run on.
pub type Executor = Rc<LocalExecutor<'static>>;

/// The gate. One per gateway, shared by all surfaces.
pub struct Gate {
    executor: Executor,
    clock: Clock,
    store: Store,
    setup: RefCell<Rc<Setup>>,
    reloaded: RefCell<Rc<Latch>>,
    channels: Rc<Channels>,
    desk: RefCell<Desk>,
    waiters: RefCell<HashMap<RequestId, Sender<QuestionEnd>>>,
    running: RefCell<Running>,
    limits: RefCell<RateLimits>,
    errands: RefCell<Budget>,
    detail: RefCell<Budget>,
    cool_downs: RefCell<CoolDowns>,
    windows: RefCell<HashMap<RequestId, Window>>,
    deliveries: KeyedSlots<RequestId>,
    receipts: inbox::Receipts,
    connected: KeyedSlots<AgentId>,
    places: CallSlots,
    metrics: Metrics,
    started: Timestamp,
    executing: Slots,
    stopping: Cell<bool>,
}

impl Gate {
    /// Opens the gate: what a crash left behind is settled or taken up again before anybody new is let in.
    pub(crate) fn open(
        executor: Executor,
        clock: Clock,
        store: Store,
        setup: Setup,
        channels: Rc<Channels>,
        recovered: Recovered,
    ) -> Rc<Gate> {
        let (started, metrics) = (clock.now(), Metrics::new(&setup));
        let places = CallSlots::new(setup.shares());
        let gate = Rc::new(Gate {
            executor,
            clock,
            store,
            setup: RefCell::new(Rc::new(setup)),
            reloaded: RefCell::default(),
            channels,
            desk: RefCell::default(),
            waiters: RefCell::default(),
            running: RefCell::default(),
            limits: RefCell::default(),
            errands: RefCell::new(admit::errands()),
            detail: RefCell::new(admit::detail()),
            cool_downs: RefCell::default(),
            windows: RefCell::default(),
            deliveries: KeyedSlots::default(),
            receipts: inbox::Receipts::default(),
            connected: KeyedSlots::default(),
            places,
            metrics,
            started,
            executing: Slots::default(),
            stopping: Cell::new(false),
        });
        recovery::take_up(&gate, recovered);
        gate
    }

    /// What the owner has set, as of now.
    pub fn setup(&self) -> Rc<Setup> {
        self.setup.borrow().clone()
    }

    /// The clock that everything here goes by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The record.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// When the gateway was started.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// Opens at the next reload.
    pub fn reloaded(&self) -> Rc<Latch> {
        self.reloaded.borrow().clone()
    }

    /// Puts a new setup in force at once, for everything: whatever waits (for an answer, for a place, for a connection)
    /// looks again before it goes on, and nothing is sent as the old setup had it.
    pub fn reload(&self, setup: Setup) {
        self.metrics.configured(&setup);
        self.places.share_out(setup.shares());
        self.setup.replace(Rc::new(setup)).services.retire();
        self.reloaded.replace(Rc::default()).open();
    }

    /// The tools that this agent may see: all but those that the policy always denies it.
    pub fn tools(&self, agent: &AgentId) -> Vec<Arc<Tool>> {
        let setup = self.setup();
        setup.tools.values().filter(|tool| !setup.policy.always_denies(agent, tool)).cloned().collect()
    }

    /// The open questions, the oldest first.
    pub fn questions(&self) -> Vec<Arc<Question>> {
        self.desk.borrow().questions()
    }

    /// How often the agent has asked for this call while it is under way: 1, or more when identical calls joined it.
    pub fn times_asked(&self, question: &Question) -> u32 {
        self.running.borrow().times(&question.call)
    }

    /// Time left to answer a question, by the stricter of two clocks. Zero when it is not open.
    pub(crate) fn time_left(&self, id: RequestId) -> Duration {
        let now = self.clock.now();
        self.desk.borrow().deadline(id).map(|d| d.left(now)).unwrap_or_default()
    }

    /// From now on no further call is sent to a service; those under way are seen through.
    pub(crate) fn wind_down(&self) {
        self.stopping.set(true);
    }

    /// Calls that are at a service right now. Questions that wait for a person are not among them.
    pub fn executing(&self) -> usize {
        self.executing.taken()
    }

    /// Calls that wait for one of the places for calls at once.
    pub fn waiting(&self) -> usize {
        self.places.waiting()
    }

    /// Runs a task of the gate's own.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.executor.spawn(task).detach();
    }

    /// Writes an event of the gateway itself (started, stopped, reloaded) into the record.
    pub async fn note(&self, kind: NoteKind) {
        self.note_with(kind, json!({"version": env!("CARGO_PKG_VERSION")})).await;
    }

    /// The same with a `detail` of its own: a JSON object without secrets.
    pub(crate) async fn note_with(&self, kind: NoteKind, detail: Value) {
        if let Err(e) = self.store.note(self.clock.now(), kind, detail).await {
            log::error!("\"{}\" could not be recorded: {e}", kind.as_str());
        }
    }

    /// Runs `future` to its end even if the caller goes away, and gives its value to the caller if not.
    async fn owned<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Option<T> {
        let (sender, receiver) = smol::channel::bounded(1);
        let task = async move {
            let _ = sender.try_send(future.await);
        };
        self.executor.spawn(task).detach();
        receiver.recv().await.ok()
    }
}
