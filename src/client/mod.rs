//! Rank 6: the connection that agents use. It keeps one call one call, however often the connection breaks.
//!
//! Everything is single-threaded. [`Client::connect`] puts one driver task on the caller's [`LocalExecutor`]; it
//! owns the socket, reads all the time (so pings are answered while calls wait), reconnects, and matches replies
//! to calls. The methods of [`Client`] hand it frames and wait; any number of them may wait at once. Dropping the
//! client ends the driver; [`Client::close`] says goodbye first, so that the gateway knows what arrived.
//!
//! ```no_run
//! # use agentpass::client::*;
//! # fn main() -> Result<(), ClientError> {
//! let executor = smol::LocalExecutor::new();
//! smol::block_on(executor.run(async {
//!     let token = Secret::new("the agent's token".into());
//!     let client = Client::connect(&executor, ClientOptions::new("wss://gateway:8443", token)).await?;
//!     let args = serde_json::Map::from_iter([("entity_id".to_owned(), "sensor.temp".into())]);
//!     let state = client.tool_request("ha_get_state", args, RequestOptions::default()).await?;
//!     println!("{}", state.data);
//!     client.close().await;
//!     Ok(())
//! }))
//! # }
//! ```
//!
//! It must never print, never log a token or an argument, and never run a call twice: a call goes out again on a
//! new connection only under its idempotency key, and only to a gateway that knows such keys.

#![warn(missing_docs)]

mod answer;
mod backoff;
mod call;
mod driver;
mod error;
mod options;
mod pulse;
mod session;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use smol::channel::{self, Sender};
use smol::lock::Semaphore;
use smol::{LocalExecutor, Task};

pub use self::answer::{ArgInfo, Pending, PendingResult, ToolInfo, ToolResult};
pub use self::error::{ClientError, ConnectionError};
pub use self::options::{ClientOptions, OnPending, RequestOptions};
pub use crate::base::secret::Secret;
pub use crate::net::connect::Trust;

use self::call::OpenCall;
use self::driver::{ClientOrder, Driver, WhyEnded};
use crate::base::ids::RequestId;
use crate::base::url::Url;
use crate::net::deadline::within;
use crate::protocol::{frame, params};

/// The largest frame sent: what a gateway takes unless it was told otherwise.
const MAX_FRAME: usize = 1 << 20;
/// Tool requests under way at once; a gateway takes 32 calls per connection, and `cancel` must still get through.
const MAX_CALLS: usize = 24;
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// A connection to a gateway that mends itself.
pub struct Client {
    orders: Sender<ClientOrder>,
    state: Rc<WhyEnded>,
    slots: Semaphore,
    last_id: Cell<u64>,
    driver: Task<()>,
}

/// What became of a call of another request.
pub(crate) enum Watched {
    Ended(ToolResult),
    /// It has waited to be received.
    Kept(PendingResult),
}

impl Client {
    /// Connects, authenticates, and starts the driver on `executor`, which must go on running.
    ///
    /// # Errors
    /// [`ClientError::Connection`]: at once for a wrong address, token or trust, else when the retries are used up.
    pub async fn connect(
        executor: &LocalExecutor<'_>,
        options: ClientOptions,
    ) -> Result<Client, ClientError> {
        let url = Url::gateway(&options.url)
            .map_err(|e| ClientError::Connection(ConnectionError::Address(e.to_string())))?;
        let (orders, inbox) = channel::unbounded();
        let state = Rc::new(WhyEnded::default());
        let mut driver = Driver::new(url, options, inbox, Rc::clone(&state));
        let session = driver.first_session().await.map_err(ClientError::Connection)?;
        let driver = executor.spawn(driver.run(session));
        Ok(Client { orders, state, slots: Semaphore::new(MAX_CALLS), last_id: Cell::new(0), driver })
    }

    /// Runs a tool, after a human's yes where the policy asks for one.
    ///
    /// # Errors
    /// Every way a call can end but well; see [`ClientError`].
    pub async fn tool_request(
        &self,
        tool: &str,
        args: Map<String, Value>,
        options: RequestOptions,
    ) -> Result<ToolResult, ClientError> {
        let params = request_params(tool, args, &options)?;
        let seen = Rc::new(RefCell::new(None));
        let on_pending = Some(remember(&seen, options.on_pending));
        let work = async {
            let _slot = self.slots.acquire().await;
            self.call("tool_request", params, on_pending).await
        };
        let reply = match options.timeout {
            None => work.await,
            Some(limit) => match within(limit, work).await {
                Some(reply) => reply,
                None => Err(ClientError::TimedOut {
                    message: format!("no answer within {} s", tenths(limit)),
                    request_id: seen.take(),
                    by_gateway: false,
                }),
            },
        };
        Ok(ToolResult::read(reply?))
    }

    /// The tools that this agent may ask for.
    ///
    /// # Errors
    /// [`ClientError::Connection`], or whatever the gateway says.
    pub async fn list_tools(&self) -> Result<Vec<ToolInfo>, ClientError> {
        let reply = self.call("list_tools", Map::new(), None).await?;
        Ok(answer::list(&reply, "tools").into_iter().map(ToolInfo::read).collect())
    }

    /// Outcomes of earlier calls that this agent has not received yet. They count as received once a moment has
    /// passed or the client was closed with [`Client::close`].
    ///
    /// # Errors
    /// [`ClientError::Connection`], or whatever the gateway says.
    pub async fn pending_results(&self) -> Result<Vec<PendingResult>, ClientError> {
        let reply = self.call("get_pending_results", Map::new(), None).await?;
        Ok(answer::list(&reply, "results").into_iter().map(PendingResult::read).collect())
    }

    /// What the policy would say to a call, without making it. Only for agents that may ask this.
    ///
    /// # Errors
    /// [`ClientError::Connection`], or whatever the gateway says.
    pub async fn explain(&self, tool: &str, args: Map<String, Value>) -> Result<Value, ClientError> {
        let params = object(json!({"tool": tool, "args": args}));
        self.call("explain", params, None).await
    }

    /// Withdraws this agent's own open question. The call itself then ends as [`ClientError::Denied`].
    ///
    /// # Errors
    /// [`ClientError::Invalid`] when there is no such question, else as above.
    pub async fn cancel(&self, request_id: &str) -> Result<(), ClientError> {
        let params = object(json!({"request_id": request_id}));
        self.call("cancel", params, None).await.map(|_| ())
    }

    /// The tools as MCP clients see them, and how these are kept waiting: `tools`, `hold`, `keep_alive`.
    pub(crate) async fn list_for_mcp(&self) -> Result<Value, ClientError> {
        self.call("list_tools", object(json!({"for": "mcp"})), None).await
    }

    /// What waits for a person and what was not received yet. Nothing counts as received by that.
    pub(crate) async fn list_pending(&self) -> Result<Value, ClientError> {
        self.call("list_pending", Map::new(), None).await
    }

    /// Waits for a call that another request has asked for, or fetches its result.
    pub(crate) async fn wait(&self, request_id: &str, on_pending: OnPending) -> Result<Watched, ClientError> {
        let params = object(json!({"request_id": request_id}));
        let reply = self.call("wait", params, Some(on_pending)).await?;
        Ok(match reply.get("status") {
            Some(_) => Watched::Ended(ToolResult::read(reply)),
            None => Watched::Kept(PendingResult::read(reply)),
        })
    }

    /// Whether calls can still be answered.
    pub(crate) fn is_open(&self) -> bool {
        !self.orders.is_closed()
    }

    /// Ends the connection cleanly, within a second: results that arrived are known to have arrived.
    pub async fn close(self) {
        if self.orders.try_send(ClientOrder::Close).is_ok() {
            within(CLOSE_LIMIT, self.driver).await;
        }
    }

    async fn call(
        &self,
        method: &'static str,
        params: Map<String, Value>,
        on_pending: Option<OnPending>,
    ) -> Result<Value, ClientError> {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        let text = write_frame(id, method, params)?;
        let (reply, answer) = channel::bounded(1);
        let call = OpenCall::new(id, method == "tool_request", text, reply, on_pending);
        // Both fail only when the driver has ended, and it says why.
        self.orders.try_send(ClientOrder::Call(call)).map_err(|_| self.state.why_ended())?;
        answer.recv().await.unwrap_or_else(|_| Err(self.state.why_ended()))
    }
}

fn request_params(
    tool: &str,
    args: Map<String, Value>,
    options: &RequestOptions,
) -> Result<Map<String, Value>, ClientError> {
    let key = options.idempotency_key.clone().unwrap_or_else(|| RequestId::random().to_string());
    let mut request = object(json!({"tool": tool, "args": args, "idempotency_key": key}));
    let optional = [("reason", &options.reason), ("session_id", &options.session_id)];
    for (name, text) in optional {
        request.extend(text.as_ref().map(|text| (name.to_owned(), Value::from(text.as_str()))));
    }
    request.extend(options.permits.map(|permits| ("permits".to_owned(), permits.into())));
    params::tool_request(request.clone()).map_err(|e| ClientError::invalid(&e))?;
    Ok(request)
}

/// The frame, checked as the gateway will check it: what it cannot take it cannot answer by id either.
fn write_frame(id: u64, method: &str, params: Map<String, Value>) -> Result<String, ClientError> {
    let text =
        json!({"jsonrpc": "2.0", "method": method, "params": params, "id": id.to_string()}).to_string();
    if text.len() > MAX_FRAME {
        let message = format!("the request is larger than {MAX_FRAME} bytes");
        return Err(ClientError::Invalid {
            reason: "too_large".into(),
            argument: None,
            forbidden: None,
            message,
        });
    }
    match frame::parse(&text) {
        Ok(frame::Frame::Single(Ok(_))) => Ok(text),
        Ok(frame::Frame::Single(Err(refused))) | Err(refused) => Err(ClientError::invalid(&refused.error)),
        Ok(frame::Frame::Batch(_)) => Err(ClientError::Connection(ConnectionError::Closed)),
    }
}

fn remember(seen: &Rc<RefCell<Option<String>>>, tell: Option<OnPending>) -> OnPending {
    let seen = Rc::clone(seen);
    Rc::new(move |pending| {
        seen.replace(Some(pending.request_id.clone()));
        if let Some(tell) = &tell {
            tell(pending);
        }
    })
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// Seconds with at most one digit behind the point.
fn tenths(limit: Duration) -> f64 {
    (limit.as_secs_f64() * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_gateway_can_answer_is_refused_here() {
        let deep = (0..40).fold(Value::Null, |inner, _| json!([inner]));
        for arg in [json!(9_007_199_254_740_993_u64), deep, json!("x".repeat(MAX_FRAME))] {
            let params = object(json!({"tool": "t", "args": {"a": arg}}));
            assert!(matches!(write_frame(1, "tool_request", params), Err(ClientError::Invalid { .. })));
        }
        assert!(request_params("", Map::new(), &RequestOptions::default()).is_err());
        let long = RequestOptions { reason: Some("x".repeat(501)), ..RequestOptions::default() };
        assert!(request_params("t", Map::new(), &long).is_err());
    }

    #[test]
    fn every_request_has_a_key_of_its_own() {
        let key = || {
            request_params("t", Map::new(), &RequestOptions::default()).unwrap()["idempotency_key"].clone()
        };
        assert_ne!(key(), key());
    }
}
