//! The methods that agents call.

use serde_json::{Map, Value, json};

use super::acks::ResultInTransit;
use super::outbox::Outgoing;
use super::session::AgentSession;
use super::wire;
use crate::base::ids::RequestId;
use crate::base::secret::TokenHash;
use crate::base::slots::Slot;
use crate::gate::{CallReply, Submission, Ticket};
use crate::model::{AnswerOutcome, Outcome, Report};
use crate::protocol::frame::{self, RpcRequest, WireError};
use crate::protocol::{code, params};
use crate::surface::agent::NotServed;

/// A request that has been started.
pub(crate) enum Started {
    Answered(String),
    /// The answer takes time.
    Waiting(Wait),
}

pub(crate) struct Wait {
    id: Value,
    work: AwaitedWork,
    /// Kept until the answer is on its way: a peer that does not read gets no further.
    _slot: Slot,
}

enum AwaitedWork {
    Call(Ticket),
    /// A call that another request of the agent's has asked for.
    Watched(Ticket),
    Results,
    /// The result of this request, from the inbox.
    Result(RequestId),
    OpenWork,
    Cancel(RequestId),
    Report(RequestId, Report),
}

/// What the start of a request led to.
enum StartStep {
    Answer(String),
    Wait(AwaitedWork, Slot),
}

/// Starts one request, alone or of a batch.
pub(crate) fn start(session: &AgentSession, request: RpcRequest) -> Started {
    let RpcRequest { id, method, params } = request;
    let step = match method.as_str() {
        "tool_request" => tool_request(session, params),
        "list_tools" => list_tools(session, &id, params),
        "get_pending_results" => get_pending_results(session, &params),
        "auth" => auth(session, &id, params),
        "cancel" => cancel(session, params),
        "report" => report(session, params),
        "wait" => wait(session, params),
        "list_pending" => list_pending(session, &params),
        "explain" if session.agent.may_explain() => explain(session, &id, params),
        _ => Err(unknown(&method)),
    };
    match step {
        Ok(StartStep::Answer(frame)) => Started::Answered(frame),
        Ok(StartStep::Wait(work, _slot)) => Started::Waiting(Wait { id, work, _slot }),
        Err(error) => Started::Answered(frame::error(&id, &error).to_string()),
    }
}

fn unknown(method: &str) -> WireError {
    let method: String = method.chars().take(64).collect();
    WireError::new(code::METHOD_NOT_FOUND, "method_not_found", format!("Unknown method: {method}"))
}

fn answer(id: &Value, result: Value) -> Result<StartStep, WireError> {
    Ok(StartStep::Answer(frame::result(id, result).to_string()))
}

/// Authenticating again is harmless while it is the same agent; a connection never changes whom it speaks for.
fn auth(session: &AgentSession, id: &Value, params: Map<String, Value>) -> Result<StartStep, WireError> {
    match session.agent.has_token(&TokenHash::new(&params::auth(params)?)) {
        true => answer(id, wire::welcome(session.agent.id())),
        false => Err(wire::not_authenticated("Invalid token")),
    }
}

fn list_tools(
    session: &AgentSession,
    id: &Value,
    params: Map<String, Value>,
) -> Result<StartStep, WireError> {
    if !params::list_tools(params)? {
        let list = session.agent.list_tools().map_err(wire::not_served)?;
        return Ok(StartStep::Answer(wire::result_text(id, &list.json)));
    }
    let tools = session.agent.list_for_mcp().map_err(wire::not_served)?;
    let mcp = &session.agent.gate().setup().config.gateway.mcp;
    let (hold, keep_alive) = (mcp.hold.as_secs_f64(), mcp.keep_alive.as_secs_f64());
    let list = format!(r#"{{"tools":[{tools}],"hold":{hold},"keep_alive":{keep_alive}}}"#);
    Ok(StartStep::Answer(wire::result_text(id, &list)))
}

fn explain(session: &AgentSession, id: &Value, params: Map<String, Value>) -> Result<StartStep, WireError> {
    let request = submission(params::tool_request(params)?);
    answer(id, session.agent.explain(request).map_err(wire::not_served)?)
}

fn get_pending_results(session: &AgentSession, params: &Map<String, Value>) -> Result<StartStep, WireError> {
    params::nothing_else(params)?;
    Ok(StartStep::Wait(AwaitedWork::Results, session.agent.inbox_slot().map_err(wire::not_served)?))
}

fn list_pending(session: &AgentSession, params: &Map<String, Value>) -> Result<StartStep, WireError> {
    params::nothing_else(params)?;
    Ok(StartStep::Wait(AwaitedWork::OpenWork, session.agent.inbox_slot().map_err(wire::not_served)?))
}

/// Waits for a call of this agent's as if it had been asked for here, or fetches its result.
fn wait(session: &AgentSession, params: Map<String, Value>) -> Result<StartStep, WireError> {
    let id = request_id(&params::cancel(params)?)?;
    let slot = session.agent.inbox_slot().map_err(wire::not_served)?;
    let work = session.agent.gate().ticket(session.agent.id(), id);
    Ok(StartStep::Wait(work.map_or(AwaitedWork::Result(id), AwaitedWork::Watched), slot))
}

fn cancel(session: &AgentSession, params: Map<String, Value>) -> Result<StartStep, WireError> {
    let id = request_id(&params::cancel(params)?)?;
    Ok(StartStep::Wait(AwaitedWork::Cancel(id), session.agent.withdrawal_slot().map_err(wire::not_served)?))
}

fn report(session: &AgentSession, params: Map<String, Value>) -> Result<StartStep, WireError> {
    let (id, ok, detail) = params::report(params)?;
    let work = AwaitedWork::Report(request_id(&id)?, Report { ok, detail });
    Ok(StartStep::Wait(work, session.agent.withdrawal_slot().map_err(wire::not_served)?))
}

fn request_id(text: &str) -> Result<RequestId, WireError> {
    let bad = || WireError::new(code::INVALID_REQUEST, "invalid_request", "request_id is not a request id");
    RequestId::parse(text).ok_or_else(bad)
}

fn tool_request(session: &AgentSession, params: Map<String, Value>) -> Result<StartStep, WireError> {
    let read = params::tool_request(params).inspect_err(|e| session.agent.count_refused(e.reason))?;
    let (ticket, slot) = session.agent.submit(submission(read)).map_err(wire::not_served)?;
    Ok(StartStep::Wait(AwaitedWork::Call(ticket), slot))
}

fn submission(read: params::ToolRequest) -> Submission {
    let params::ToolRequest { tool, args, reason, session_id, idempotency_key, permits } = read;
    Submission { tool, args, reason, session: session_id, key: idempotency_key, permits }
}

impl Wait {
    /// Waits for the answer. None when there is no room for it: the connection ends.
    pub(crate) async fn answer(&self, session: &AgentSession) -> Option<Outgoing> {
        let (text, carried) = match &self.work {
            AwaitedWork::Call(ticket) => call(session, &self.id, ticket, true).await,
            AwaitedWork::Watched(ticket) => call(session, &self.id, ticket, false).await,
            AwaitedWork::Results => match pending_results(session, &self.id).await {
                Ok(answer) => answer,
                Err(e) => (frame::error(&self.id, &wire::not_served(e)).to_string(), Vec::new()),
            },
            AwaitedWork::Result(request) => match pending_result(session, &self.id, *request).await {
                Ok(answer) => answer,
                Err(e) => (frame::error(&self.id, &e).to_string(), Vec::new()),
            },
            AwaitedWork::OpenWork => match session.agent.open_work().await {
                Ok(work) => (frame::result(&self.id, work).to_string(), Vec::new()),
                Err(e) => (frame::error(&self.id, &wire::not_served(e)).to_string(), Vec::new()),
            },
            AwaitedWork::Cancel(request) => {
                (withdraw(session, &self.id, *request).await.to_string(), Vec::new())
            }
            AwaitedWork::Report(request, report) => {
                (reported(session, &self.id, *request, report).await.to_string(), Vec::new())
            }
        };
        session.outgoing(text, carried)
    }
}

/// The frame of an answer, and the results that it carries.
type FrameWithResults = (String, Vec<ResultInTransit>);

/// A permit is for the request that asked for it.
async fn call(session: &AgentSession, id: &Value, ticket: &Ticket, takes_permits: bool) -> FrameWithResults {
    if let Some((request, expires)) = ticket.asked().await {
        let params = json!({"id": id, "request_id": request.to_string(), "expires_at": expires.to_string()});
        session.send(&frame::notification("approval_pending", params));
    }
    let mut reply = ticket.reply().await;
    if !takes_permits && matches!(reply.outcome, Outcome::Permitted(_)) {
        reply = CallReply::new(Outcome::Busy, None);
    }
    let carried = reply.request_id.map(|id| ResultInTransit::Reply(session.agent.gate().inbox.hold(id)));
    let left = session.agent.gate().permit_left(&reply.outcome);
    (wire::reply(id, &reply, left), carried.into_iter().collect())
}

async fn pending_results(session: &AgentSession, id: &Value) -> Result<FrameWithResults, NotServed> {
    let results = session.agent.pending_results().await?;
    let carried = results.iter().map(|r| ResultInTransit::Inbox(r.request_id)).collect();
    let shown: Value = results.into_iter().map(wire::pending).collect();
    Ok((frame::result(id, Value::from_iter([("results", shown)])).to_string(), carried))
}

async fn pending_result(
    session: &AgentSession,
    id: &Value,
    request: RequestId,
) -> Result<FrameWithResults, WireError> {
    let result = session.agent.pending_result(request).await.map_err(wire::not_served)?;
    let unknown = || WireError::new(code::INVALID_REQUEST, "unknown_request", "No such request is under way");
    let result = wire::pending(result.ok_or_else(unknown)?);
    Ok((frame::result(id, result).to_string(), vec![ResultInTransit::Inbox(request)]))
}

async fn withdraw(session: &AgentSession, id: &Value, request: RequestId) -> Value {
    match session.agent.withdraw(request).await {
        Ok(outcome) => {
            let status = if outcome == AnswerOutcome::Resolved { "withdrawn" } else { outcome.as_str() };
            frame::result(id, json!({"status": status, "request_id": request.to_string()}))
        }
        Err(e) => {
            log::error!("request {request}: a withdrawal could not be recorded: {e}");
            frame::error(id, &wire::store_unavailable())
        }
    }
}

async fn reported(session: &AgentSession, id: &Value, request: RequestId, report: &Report) -> Value {
    match session.agent.gate().report(session.agent.id(), request, report.clone()).await {
        Ok(outcome) => {
            frame::result(id, json!({"status": outcome.as_str(), "request_id": request.to_string()}))
        }
        Err(e) => {
            log::error!("request {request}: the agent's report could not be recorded: {e}");
            frame::error(id, &wire::store_unavailable())
        }
    }
}
