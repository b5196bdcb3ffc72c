//! The state of one pushing channel.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value;
use smol::LocalExecutor;
use smol::lock::Semaphore;

use super::carrier::{Carrier, Parcel};
use super::errand::Errand;
use crate::approval::Host;
use crate::base::clock::{Clock, Timestamp};
use crate::base::ids::RequestId;
use crate::base::once_flag::OnceFlag;
use crate::model::Question;
use crate::net::client::{HttpClient, HttpError, HttpResponse};

/// Messages on their way at once. A receiver that is slow holds up its own channel only.
const AT_ONCE: usize = 8;

pub(super) struct Pusher<C> {
    pub(super) name: String,
    pub(super) carrier: C,
    pub(super) client: HttpClient,
    pub(super) clock: Clock,
    executor: Rc<LocalExecutor<'static>>,
    pub(super) host: RefCell<Option<Rc<dyn Host>>>,
    pub(super) errands: RefCell<BTreeMap<RequestId, Errand>>,
    pub(super) places: Semaphore,
    pub(super) link: RefCell<Link>,
    /// Whether what an earlier run has kept is known.
    pub(super) restored: Cell<bool>,
    /// Whether what should be kept has changed.
    pub(super) dirty: Cell<bool>,
    pub(super) saving: Cell<bool>,
    /// Set once what is true now is kept.
    pub(super) next_save: RefCell<Rc<OnceFlag>>,
    /// Nobody is heard here any more.
    pub(super) silent: Cell<bool>,
    pub(super) stop: OnceFlag,
}

/// Whether the receiver takes messages.
#[derive(Default)]
pub(super) struct Link {
    pub(super) since: Option<Timestamp>,
    /// Why the last attempt failed, if it did.
    pub(super) error: Option<String>,
    /// The receiver wants nothing any more.
    pub(super) off: bool,
}

impl<C: Carrier> Pusher<C> {
    pub(super) fn new(
        name: &str,
        carrier: C,
        client: HttpClient,
        clock: Clock,
        executor: Rc<LocalExecutor<'static>>,
    ) -> Pusher<C> {
        Pusher {
            name: name.to_owned(),
            carrier,
            client,
            clock,
            executor,
            host: RefCell::default(),
            errands: RefCell::default(),
            places: Semaphore::new(AT_ONCE),
            link: RefCell::default(),
            restored: Cell::default(),
            dirty: Cell::default(),
            saving: Cell::default(),
            next_save: RefCell::default(),
            silent: Cell::default(),
            stop: OnceFlag::default(),
        }
    }

    /// Runs until the channel ends.
    pub(super) fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        let pusher = self.clone();
        let task = async move { smol::future::or(task, pusher.stop.wait()).await };
        self.executor.spawn(task).detach();
    }

    /// What asks a question here.
    pub(super) fn parcels(&self, question: &Question, now: Timestamp) -> Vec<Parcel> {
        let host = self.host.borrow().clone();
        let identity = self.carrier.token_identity();
        let token = identity.zip(host).and_then(|(identity, host)| host.answer_token(identity, question));
        self.carrier.asked(question, token.as_ref(), now)
    }

    /// One attempt.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(super) async fn send(&self, parcel: &Parcel) -> Result<HttpResponse, HttpError> {
        let (client, request) = (self.client.clone(), self.carrier.request(parcel, self.clock.now()));
        smol::unblock(move || client.call(request)).await
    }

    /// The question's JSON with what is known of its end.
    pub(super) fn shape_of(&self, id: RequestId) -> Option<Value> {
        self.errands.borrow().get(&id).map(|errand| errand.shape.clone())
    }
}
