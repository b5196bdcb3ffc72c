//! The connection to the gateway: made when it is first needed, made anew after it has ended for good.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;
use smol::LocalExecutor;
use smol::lock::Mutex;

use crate::client::{Client, ClientError, ClientOptions};
use crate::net::deadline::within;
use crate::protocol::mcp::own::PERMISSION;

/// How long the gateway may take for what needs no person.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Link {
    executor: Rc<LocalExecutor<'static>>,
    options: ClientOptions,
    client: Mutex<Option<Rc<Client>>>,
    /// The last failure to connect: those who waited for that attempt need not make their own.
    failed: RefCell<Option<(Instant, ClientError)>>,
    manners: Cell<Manners>,
}

/// What the gateway says of its MCP clients.
#[derive(Clone, Copy)]
pub(super) struct Manners {
    /// How long a call is held.
    pub hold: Duration,
    /// How often it is said that one goes on.
    pub keep_alive: Duration,
    /// Whether this agent may ask for permission.
    pub has_permits: bool,
}

impl Link {
    pub(super) fn new(executor: Rc<LocalExecutor<'static>>, options: ClientOptions) -> Link {
        let manners = Manners {
            hold: Duration::from_secs(50),
            keep_alive: Duration::from_secs(15),
            has_permits: false,
        };
        let (client, failed) = Default::default();
        Link { executor, options, client, failed, manners: Cell::new(manners) }
    }

    pub(super) fn manners(&self) -> Manners {
        self.manners.get()
    }

    /// # Errors
    /// When there is no connection.
    pub(super) async fn client(&self) -> Result<Rc<Client>, ClientError> {
        let asked = Instant::now();
        let mut known = self.client.lock().await;
        if let Some(client) = known.as_ref().filter(|client| client.is_open()) {
            return Ok(client.clone());
        }
        if let Some((at, e)) = &*self.failed.borrow()
            && *at >= asked
        {
            return Err(e.clone());
        }
        let made = Client::connect(&self.executor, self.options.clone()).await;
        let client =
            Rc::new(made.inspect_err(|e| drop(self.failed.replace(Some((Instant::now(), e.clone())))))?);
        // Whatever is wrong with the list is said to whoever asks for it.
        self.read_list(&client).await.ok();
        *known = Some(client.clone());
        Ok(client)
    }

    /// The connection that there is.
    pub(super) async fn take(&self) -> Option<Rc<Client>> {
        self.client.lock().await.take()
    }

    /// The tools of this agent, as the gateway defines them for MCP clients.
    ///
    /// # Errors
    /// When the gateway cannot be asked.
    pub(super) async fn tools(&self) -> Result<Vec<Value>, ClientError> {
        let client = self.client().await?;
        self.read_list(&client).await
    }

    async fn read_list(&self, client: &Client) -> Result<Vec<Value>, ClientError> {
        let mut list = in_time(client.list_for_mcp()).await?;
        let seconds = |name: &str| Duration::try_from_secs_f64(list.get(name)?.as_f64()?).ok();
        let Manners { hold, keep_alive, .. } = self.manners.get();
        let times = (seconds("hold").unwrap_or(hold), seconds("keep_alive").unwrap_or(keep_alive));
        let tools = match list.get_mut("tools").map(Value::take) {
            Some(Value::Array(tools)) => tools,
            _ => Vec::new(),
        };
        let has_permits = tools.iter().any(|tool| tool.get("name") == Some(&PERMISSION.into()));
        self.manners.set(Manners { hold: times.0, keep_alive: times.1, has_permits });
        Ok(tools)
    }
}

/// What needs no person is answered soon, or not at all.
///
/// # Errors
/// As `work`, and when that takes too long.
pub(super) async fn in_time<T>(work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
    let message = || format!("the gateway has not answered within {} s", PATIENCE.as_secs());
    let late = || ClientError::TimedOut { message: message(), request_id: None, by_gateway: false };
    within(PATIENCE, work).await.ok_or_else(late)?
}
