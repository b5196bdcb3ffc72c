//! The calls under way. One belongs to the bridge, not to the request that began it: a client may come back for it, or wait
//! for it with a tool. Each has an idempotency key from the beginning, so that it is carried out once at most however often
//! the connection breaks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use serde_json::{Value, json};
use smol::lock::Semaphore;
use smol::{LocalExecutor, Task};

use super::link::Link;
use super::told::{self, Told};
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::base::once_flag::OnceFlag;
use crate::client::{Client, OnPending, Pending, RequestOptions};
use crate::protocol::mcp::call::CallParams;
use crate::protocol::mcp::permission::Permission;

/// Calls that are under way or whose result waits to be fetched. One more takes the place of the oldest result.
const MAX_CALLS: usize = 256;
/// Calls at the gateway at once; it takes 32 for each connection.
const MAX_SENT: usize = 24;

pub(super) struct Calls {
    executor: Rc<LocalExecutor<'static>>,
    pub link: Rc<Link>,
    /// The oldest first.
    open: RefCell<Vec<Rc<OpenCall>>>,
    places: Rc<Semaphore>,
}

/// How a call is found again.
pub(super) struct NewCall {
    pub key: String,
    /// What states are bound to.
    pub call: Digest,
    pub permission: Option<Permission>,
}

#[derive(Default)]
pub(super) struct OpenCall {
    tool: String,
    /// What it is found by as long as the gateway has not said its id.
    pub key: String,
    /// What states are bound to; None: it was asked for elsewhere.
    pub call: Option<Digest>,
    /// What a coding agent wants to do.
    pub permission: Option<Permission>,
    is_sent: Cell<bool>,
    pub asked: RefCell<Option<Pending>>,
    told: RefCell<Option<Rc<Told>>>,
    pub over: OnceFlag,
    /// Requests that wait for it.
    pub waiters: Cell<usize>,
    /// How often somebody has come or gone.
    pub turns: Cell<u64>,
    /// Nobody wants it any more: a question that it leads to is taken back.
    is_unwanted: Cell<bool>,
    task: RefCell<Option<Task<()>>>,
}

/// A request that waits for a call, until this is dropped.
pub(super) struct Waiter(pub Rc<OpenCall>);

impl Waiter {
    pub(super) fn new(call: Rc<OpenCall>) -> Waiter {
        call.waiters.set(call.waiters.get() + 1);
        call.turns.set(call.turns.get() + 1);
        Waiter(call)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.waiters.set(self.0.waiters.get().saturating_sub(1));
    }
}

impl OpenCall {
    /// What became of it.
    pub(super) fn told(&self) -> Option<Rc<Told>> {
        self.told.borrow().clone()
    }

    /// What a client may call it: the gateway's id, or the key.
    pub(super) fn name(&self) -> String {
        self.asked.borrow().as_ref().map_or_else(|| self.key.clone(), |asked| asked.request_id.clone())
    }

    fn request_id(&self) -> Option<String> {
        self.asked.borrow().as_ref().map(|asked| asked.request_id.clone())
    }

    fn end(&self, told: Told) {
        self.told.replace(Some(Rc::new(told)));
        self.over.set();
    }
}

impl Calls {
    pub(super) fn new(executor: Rc<LocalExecutor<'static>>, link: Rc<Link>) -> Rc<Calls> {
        let (open, places) = (RefCell::default(), Rc::new(Semaphore::new(MAX_SENT)));
        Rc::new(Calls { executor, link, open, places })
    }

    /// The call with this key, or this id of the gateway's.
    pub(super) fn find(&self, name: &str) -> Option<Rc<OpenCall>> {
        let open = self.open.borrow();
        let is_it = |call: &&Rc<OpenCall>| call.key == name || call.request_id().as_deref() == Some(name);
        open.iter().find(is_it).cloned()
    }

    /// Begins a call. None: there is no place for one more.
    pub(super) fn begin(
        self: &Rc<Self>,
        client: Rc<Client>,
        call: CallParams,
        new: NewCall,
    ) -> Option<Rc<OpenCall>> {
        let NewCall { key, call: digest, permission } = new;
        let open = self.add(OpenCall {
            tool: call.tool.clone(),
            key,
            call: Some(digest),
            permission,
            ..OpenCall::default()
        })?;
        let options = RequestOptions {
            reason: call.reason,
            session_id: call.session,
            idempotency_key: Some(open.key.clone()),
            permits: Some(open.permission.is_some()),
            on_pending: Some(self.on_pending(&open)),
            timeout: None,
        };
        let (places, own) = (self.places.clone(), Rc::downgrade(&open));
        let work = async move {
            let _place = places.acquire().await;
            let Some(open) = own.upgrade() else { return };
            open.is_sent.set(true);
            let reply = client.tool_request(&call.tool, call.args, options).await;
            let told = match &open.permission {
                Some(permission) => told::permission(permission, reply),
                None => told::call(reply),
            };
            open.end(told);
        };
        open.task.replace(Some(self.executor.spawn(work)));
        Some(open)
    }

    /// Waits for a call that was asked for elsewhere, or before this bridge began.
    pub(super) fn watch(self: &Rc<Self>, client: Rc<Client>, id: RequestId) -> Option<Rc<OpenCall>> {
        let open = self.add(OpenCall { key: id.to_string(), ..OpenCall::default() })?;
        open.is_sent.set(true);
        let (on_pending, own) = (self.on_pending(&open), Rc::downgrade(&open));
        let work = async move {
            let reply = client.wait(&id.to_string(), on_pending).await;
            if let Some(open) = own.upgrade() {
                open.end(told::watched(reply));
            }
        };
        open.task.replace(Some(self.executor.spawn(work)));
        Some(open)
    }

    fn add(&self, call: OpenCall) -> Option<Rc<OpenCall>> {
        let mut all = self.open.borrow_mut();
        if all.len() >= MAX_CALLS {
            let oldest = all.iter().position(|call| call.over.is_set() && call.waiters.get() == 0)?;
            all.remove(oldest);
        }
        let call = Rc::new(call);
        all.push(call.clone());
        Some(call)
    }

    /// The calls whose results have arrived and were not handed over.
    pub(super) fn kept(&self) -> Vec<Value> {
        let open = self.open.borrow();
        let kept = open.iter().filter(|call| call.over.is_set() && call.waiters.get() == 0);
        kept.map(|call| json!({"request_id": call.name(), "tool": call.tool})).collect()
    }

    fn on_pending(self: &Rc<Self>, open: &Rc<OpenCall>) -> OnPending {
        let (calls, own) = (Rc::downgrade(self), Rc::downgrade(open));
        Rc::new(move |pending| {
            let (Some(calls), Some(open)) = (calls.upgrade(), own.upgrade()) else { return };
            open.asked.replace(Some(pending.clone()));
            if open.is_unwanted.get() {
                calls.take_back(&open);
            }
        })
    }

    /// Its result has been handed over.
    pub(super) fn forget(&self, call: &Rc<OpenCall>) {
        self.open.borrow_mut().retain(|known| !Rc::ptr_eq(known, call));
    }

    /// Nobody wants it any more. What was not sent never is; a question is taken back, now or when it is asked; what is
    /// being carried out cannot be.
    pub(super) fn give_up(self: &Rc<Self>, call: &Rc<OpenCall>) {
        call.is_unwanted.set(true);
        if !call.is_sent.get() {
            call.task.take();
            self.forget(call);
        } else if call.asked.borrow().is_some() {
            self.take_back(call);
        }
    }

    /// Takes the question back, unless another call of ours waits for the same.
    fn take_back(self: &Rc<Self>, call: &Rc<OpenCall>) {
        let Some(id) = call.request_id().filter(|_| !call.over.is_set()) else { return };
        let shares = |other: &&Rc<OpenCall>| {
            !Rc::ptr_eq(other, call)
                && !other.is_unwanted.get()
                && !other.over.is_set()
                // Where it is not known yet what the other one leads to, the same call leads to the same question.
                && other.request_id().map_or(other.call.is_some() && other.call == call.call, |other| other == id)
        };
        if self.open.borrow().iter().any(|other| shares(&other)) {
            call.task.take();
            return self.forget(call);
        }
        let link = self.link.clone();
        let task = async move {
            let Ok(client) = link.client().await else { return };
            // What has ended meanwhile cannot be taken back.
            if let Err(e) = client.cancel(&id).await {
                log::info!("request {id} is not taken back: {e}");
            }
        };
        self.executor.spawn(task).detach();
    }

    /// Gives all up, and waits until each has ended. What needs a person ends at once.
    pub(super) async fn end(self: &Rc<Self>) {
        let all = self.open.borrow().clone();
        all.iter().for_each(|call| self.give_up(call));
        for call in all.iter().filter(|call| call.is_sent.get()) {
            call.over.wait().await;
        }
    }

    /// Drops all of them.
    pub(super) fn drop_all(&self) {
        for call in self.open.take() {
            call.task.take();
        }
    }
}
