//! What becomes of each message: answered here, or by the gateway in a task of its own.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use smol::Task;

use super::calls::{NewCall, OpenCall, Waiter};
use super::link::in_time;
use super::session::McpSession;
use super::stdio::Line;
use super::told::{self, Told, unanswered};
use super::waiting::{Legs, Waiting};
use crate::base::ids::RequestId;
use crate::base::once_flag::OnceFlag;
use crate::client::ClientError;
use crate::net::deadline::within;
use crate::protocol::mcp::call::{CallParams, state_void};
use crate::protocol::mcp::era;
use crate::protocol::mcp::message::{
    self, Failure, INTERNAL_ERROR, INVALID_REQUEST, Incoming, METHOD_NOT_FOUND, Message,
};
use crate::protocol::mcp::own::{EXPLAIN, PENDING, PERMISSION, WAIT};
use crate::protocol::mcp::permission::Permission;
use crate::protocol::mcp::result::ToolResult;
use crate::protocol::mcp::state::LegState;

/// Requests under way at once; a client that sends more is told so.
const MAX_REQUESTS: usize = 256;
/// How long a state lives at most. The gateway knows keys for longer, even if this machine's clock is hours behind: a state
/// never leads to a call that was forgotten.
const STATE_LIFE: Duration = Duration::from_secs(12 * 3600);

pub(super) struct Bridge {
    session: Rc<McpSession>,
    /// Requests under way, by the client's id as JSON text: `1` and `"1"` are two.
    requests: RefCell<HashMap<String, Request>>,
    last: Cell<u64>,
    /// Set when the client has gone and nothing is under way.
    idle: OnceFlag,
    is_ending: Cell<bool>,
}

#[derive(Default)]
struct Request {
    /// Tells it from another one with the same id.
    number: u64,
    call: Led,
    task: Option<Task<()>>,
}

/// The call that a request has led to.
type Led = Rc<RefCell<Option<Rc<OpenCall>>>>;

/// A call to wait for, or what is known at once.
type Begun = Result<(Rc<OpenCall>, Option<Legs>), Told>;

impl Bridge {
    pub(super) fn new(session: Rc<McpSession>) -> Rc<Bridge> {
        let (requests, last, idle, is_ending) = Default::default();
        Rc::new(Bridge { session, requests, last, idle, is_ending })
    }

    /// Takes one line. Waits where the client does not read what it is told.
    pub(super) async fn take(self: &Rc<Self>, line: Line) {
        let Line::Bytes(line) = line else {
            let failure = Failure::new(413, INVALID_REQUEST, "Invalid request: the line is too long");
            return self.session.say(failure.text(None)).await;
        };
        match message::read(&line) {
            Err(failure) => self.session.say(failure.text(None)).await,
            Ok(Incoming::Reply) => {}
            Ok(Incoming::Message(message)) => match message.id.clone() {
                None => self.notified(&message),
                Some(id) => self.requested(id, message).await,
            },
        }
    }

    /// The client has gone: what it asked for and nobody has answered is taken back, what needs no person is answered.
    pub(super) async fn end(&self, patience: Duration) {
        self.is_ending.set(true);
        let work = async {
            self.session.calls.end().await;
            if !self.requests.borrow().is_empty() {
                self.idle.wait().await;
            }
        };
        within(patience, work).await;
        self.requests.take();
        self.session.calls.drop_all();
        if let Some(client) = self.session.link().take().await.and_then(Rc::into_inner) {
            client.close().await;
        }
        self.session.hush();
    }

    /// Only of a request that is cancelled is nothing said any more.
    fn notified(self: &Rc<Self>, message: &Message) {
        let id = message.params.get("requestId").filter(|_| message.method == "notifications/cancelled");
        let Some(request) = id.and_then(|id| self.requests.borrow_mut().remove(&id.to_string())) else {
            return;
        };
        let call = request.call.take();
        drop(request.task);
        // Its own place ends with its task, a moment later.
        if let Some(call) = call.filter(|call| call.waiters.get() <= 1) {
            self.session.calls.give_up(&call);
        }
    }

    async fn requested(self: &Rc<Self>, id: Value, message: Message) {
        let is_modern = message.meta(era::META_VERSION).is_some();
        match at_once(&message, is_modern) {
            Some(Ok(result)) => return self.session.say(message::result(&id, &result)).await,
            Some(Err(failure)) => return self.session.say(failure.text(Some(&id))).await,
            None => {}
        }
        let name = id.to_string();
        if self.requests.borrow().contains_key(&name) {
            // Said of no request: the other one with this id has not failed.
            let failure = Failure::new(400, INVALID_REQUEST, "Invalid request: its id is in use");
            return self.session.say(failure.text(None)).await;
        }
        if self.requests.borrow().len() >= MAX_REQUESTS {
            let why = "too many requests are under way; ask again later";
            return self.session.say(Failure::new(429, INTERNAL_ERROR, why).text(Some(&id))).await;
        }
        let number = self.last.get() + 1;
        self.last.set(number);
        let led = Led::default();
        self.requests.borrow_mut().insert(name.clone(), Request { number, call: led.clone(), task: None });
        let bridge = self.clone();
        let task = self.session.executor.spawn(async move {
            let answer = match bridge.answer(message, is_modern, &led).await {
                Ok(result) => message::result(&id, &result),
                Err(failure) => failure.text(Some(&id)),
            };
            bridge.session.say(answer).await;
            bridge.finish(&id.to_string(), number);
        });
        if let Some(request) = self.requests.borrow_mut().get_mut(&name) {
            request.task = Some(task);
        }
    }

    /// The request has been answered.
    fn finish(&self, name: &str, number: u64) {
        let mut requests = self.requests.borrow_mut();
        if requests.get(name).is_some_and(|request| request.number == number)
            && let Some(task) = requests.remove(name).and_then(|request| request.task)
        {
            // It is the one that runs now.
            task.detach();
        }
        if self.is_ending.get() && requests.is_empty() {
            self.idle.set();
        }
    }

    async fn answer(
        self: &Rc<Self>,
        message: Message,
        is_modern: bool,
        led: &Led,
    ) -> Result<String, Failure> {
        if message.method == "tools/list" {
            let tools = self.session.link().tools().await.map_err(|e| unanswered(&e))?;
            let tools: Vec<_> = tools.iter().map(Value::to_string).collect();
            return Ok(era::listed(&tools.join(","), is_modern));
        }
        let mut call = CallParams::read(message)?;
        let progress = call.progress.take();
        let answered = |result: Result<ToolResult, Told>| {
            result.map_or_else(|told| told.for_client(is_modern), |result| Ok(result.for_client(is_modern)))
        };
        let begun = match call.tool.as_str() {
            PENDING => return answered(self.pending().await),
            EXPLAIN => return answered(self.explain(call).await),
            WAIT => self.wait_for(&call.args).await,
            _ => self.begin(call, is_modern).await?,
        };
        let (open, legs) = match begun {
            Ok(begun) => begun,
            Err(told) => return told.for_client(is_modern),
        };
        led.replace(Some(open.clone()));
        Waiting { waiter: Waiter::new(open), is_modern, progress, legs }.answer(&self.session).await
    }

    /// Asks for a call, or takes its place again at the one that the client comes back for.
    async fn begin(self: &Rc<Self>, mut call: CallParams, is_modern: bool) -> Result<Begun, Failure> {
        let digest = call.digest()?;
        let came = match call.state.take().filter(|_| is_modern) {
            Some(text) => Some(self.session.unseal(&text, &digest).ok_or_else(state_void)?),
            None => None,
        };
        let state = match came {
            Some(state) => state,
            None => LegState::new(self.session.now().plus(STATE_LIFE))
                .map_err(|_| Failure::new(503, INTERNAL_ERROR, "the system has no randomness to give"))?,
        };
        let client = match self.session.link().client().await {
            Ok(client) => client,
            Err(e) => return Ok(Err(told::call(Err(e)))),
        };
        let is_permission = call.tool == PERMISSION && self.session.link().manners().has_permits;
        let permission = match is_permission.then(|| Permission::read(&mut call)).transpose() {
            Ok(permission) => permission,
            Err(result) => return Ok(Err(Told::Result(result))),
        };
        let key = call.key.take().unwrap_or_else(|| state.key());
        let legs = is_modern.then_some(Legs { call: digest, state, came: came.is_some() });
        let known = came.and_then(|_| self.session.calls.find(&key)).filter(|open| open.call == Some(digest));
        let open = known
            .or_else(|| self.session.calls.begin(client, call, NewCall { key, call: digest, permission }));
        Ok(open.map(|open| (open, legs)).ok_or_else(too_many))
    }

    async fn wait_for(&self, args: &Map<String, Value>) -> Begun {
        let name = args.get("request_id").and_then(Value::as_str).unwrap_or_default();
        if let Some(open) = self.session.calls.find(name) {
            return Ok((open, None));
        }
        let no_id = || Told::Result(ToolResult::text("request_id is not the id of a request.", true));
        let id = RequestId::parse(name).ok_or_else(no_id)?;
        let client = self.session.link().client().await.map_err(|e| told::call(Err(e)))?;
        self.session.calls.watch(client, id).map(|open| (open, None)).ok_or_else(too_many)
    }

    /// What is open, also by name of those whose results have arrived here and were not fetched.
    async fn pending(&self) -> Result<ToolResult, Told> {
        let asked = async { in_time(self.session.link().client().await?.list_pending()).await };
        let mut pending = asked.await.map_err(|e| told::call(Err(e)))?;
        if let Some(results) = pending.get_mut("results").and_then(Value::as_array_mut) {
            results.extend(self.session.calls.kept());
        }
        Ok(ToolResult::json(&pending))
    }

    async fn explain(&self, mut call: CallParams) -> Result<ToolResult, Told> {
        let tool = call.args.get("tool").and_then(Value::as_str).unwrap_or_default().to_owned();
        let args = match call.args.remove("arguments") {
            Some(Value::Object(args)) => args,
            _ => Map::new(),
        };
        let asked = async { in_time(self.session.link().client().await?.explain(&tool, args)).await };
        match asked.await {
            Ok(why) => Ok(ToolResult::json(&why)),
            Err(ClientError::Invalid { reason, .. }) if &*reason == "method_not_found" => {
                Err(Told::UnknownTool(format!("Unknown tool: {EXPLAIN}")))
            }
            Err(e) => Err(told::call(Err(e))),
        }
    }
}

fn too_many() -> Told {
    Told::Result(ToolResult::text("Too many calls are under way. Try again later. (too_many_pending)", true))
}

/// What needs no gateway.
fn at_once(message: &Message, is_modern: bool) -> Option<Result<String, Failure>> {
    if let Err(failure) = if is_modern { era::check(message) } else { Ok(()) } {
        return Some(Err(failure));
    }
    let answer = match (message.method.as_str(), is_modern) {
        ("server/discover", _) => era::discovered(false),
        ("initialize", false) => era::initialized(&message.params, false),
        ("ping", false) => json!({}),
        ("tools/list" | "tools/call", _) => return None,
        _ => return Some(Err(Failure::new(404, METHOD_NOT_FOUND, "Method not found"))),
    };
    Some(Ok(answer.to_string()))
}
