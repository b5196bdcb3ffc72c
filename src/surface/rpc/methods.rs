//! The methods that agents call.
//!
//! [`take`] answers at once what can be answered at once; everything that waits gets a listener.

use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::batch;
use super::connection::{not_authenticated, welcome};
use super::listing::Listing;
use super::outbox::Outgoing;
use super::receipts::Carried;
use super::session::{MAX_IN_FLIGHT, NotRead, Session};
use super::wire;
use crate::base::ids::RequestId;
use crate::base::secret::TokenHash;
use crate::base::slots::{Slot, Slots};
use crate::gate::explain::{Rules, explain};
use crate::gate::{Request as GateRequest, Ticket};
use crate::model::{AnswerOutcome, Call};
use crate::protocol::frame::{self, Frame, Refused, Request, WireError};
use crate::protocol::{code, params};

/// An answer: the text of its frame, and the results it carries.
type Answer = (String, Vec<Carried>);

/// Takes one text frame; what is returned is sent at once.
pub(crate) fn take(session: &Rc<Session>, text: &str) -> Option<String> {
    match frame::parse(text) {
        Err(refused) => Some(refusal(&refused).to_string()),
        Ok(Frame::Single(Err(refused))) => Some(refusal(&refused).to_string()),
        Ok(Frame::Single(Ok(request))) => single(session, request),
        Ok(Frame::Batch(items)) => {
            batch::run(session, items);
            None
        }
    }
}

fn refusal(refused: &Refused) -> Value {
    frame::error(&refused.id, &refused.error)
}

fn single(session: &Rc<Session>, request: Request) -> Option<String> {
    match start(session, request) {
        Started::Answered(answer) => Some(answer),
        Started::Waiting(wait) => {
            let listener = session.clone();
            session.listen(async move {
                if let Some(outgoing) = wait.answer(&listener).await {
                    listener.out.put(outgoing);
                }
            });
            None
        }
    }
}

/// A request that has been begun.
pub(crate) enum Started {
    /// This is the answer.
    Answered(String),
    /// The answer takes time.
    Waiting(Wait),
}

/// What a listener waits for.
pub(crate) struct Wait {
    id: Value,
    what: What,
    /// Kept until the answer is on its way: a peer that does not read gets no further.
    _slot: Slot,
}

enum What {
    Call(Ticket),
    Results,
    Cancel(RequestId),
}

/// Begins one request (of a batch or alone).
pub(crate) fn start(session: &Rc<Session>, request: Request) -> Started {
    let Request { id, method, params } = request;
    let begun = match method.as_str() {
        "tool_request" => tool_request(session, params),
        "list_tools" => list_tools(session, &params),
        "get_pending_results" => results_later(session, &params),
        "auth" => auth(session, params),
        "cancel" => cancel(session, params),
        "explain" if session.gate.setup().may_explain(&session.identity.agent) => {
            explain_call(session, params)
        }
        _ => Err(unknown(&method)),
    };
    match begun {
        Ok(Begun::Now(result)) => Started::Answered(frame::result(&id, result).to_string()),
        Ok(Begun::Listed(listing)) => Started::Answered(wire::listed(&id, &listing)),
        Ok(Begun::Later(what, _slot)) => Started::Waiting(Wait { id, what, _slot }),
        Err(error) => Started::Answered(frame::error(&id, &error).to_string()),
    }
}

enum Begun {
    Now(Value),
    Listed(Listing),
    Later(What, Slot),
}

fn unknown(method: &str) -> WireError {
    let method: String = method.chars().take(64).collect();
    WireError::new(code::METHOD_NOT_FOUND, "method_not_found", format!("Unknown method: {method}"))
}

/// Authenticating again is harmless while it is the same agent; a connection never changes whom it speaks for.
fn auth(session: &Session, params: Map<String, Value>) -> Result<Begun, WireError> {
    let token = TokenHash::new(&params::auth(params)?);
    let agent = &session.identity.agent;
    match session.gate.setup().authenticate(&token).as_ref() == Some(agent) {
        true => Ok(Begun::Now(welcome(agent))),
        false => Err(not_authenticated("Invalid token")),
    }
}

/// What requests cost that are no calls, in listed tools. What `get_pending_results` costs is known when it has its turn.
mod cost {
    /// The policy is asked, as for a call …
    pub(crate) const EXPLAIN: u64 = 50;
    /// … and every value of it is looked at: one more for so many bytes of arguments.
    pub(crate) const EXPLAINED_BYTES: usize = 1024;
    /// The record is written.
    pub(crate) const CANCEL: u64 = 20;
}

/// Takes what a request costs from its agent's budget.
fn spend(session: &Session, cost: u64) -> Result<(), WireError> {
    session.gate.spend(&session.identity.agent, cost).map_err(rate_limited)
}

fn rate_limited(retry_after: u64) -> WireError {
    WireError::new(code::RATE_LIMITED, "rate_limited", "Rate limit exceeded").with("retry_after", retry_after)
}

fn list_tools(session: &Session, params: &Map<String, Value>) -> Result<Begun, WireError> {
    params::nothing_else(params)?;
    let listing = session.listing();
    spend(session, listing.items.max(1))?;
    Ok(Begun::Listed(listing))
}

fn explain_call(session: &Session, params: Map<String, Value>) -> Result<Begun, WireError> {
    let request = params::tool_request(params)?;
    let size = serde_json::to_vec(&request.args).map_or(0, |text| text.len());
    spend(session, cost::EXPLAIN + u64::try_from(size / cost::EXPLAINED_BYTES).unwrap_or(u64::MAX / 2))?;
    let setup = session.gate.setup();
    let agent = &session.identity.agent;
    let check = |call: &Call| setup.services.check(call);
    let rules = Rules { tools: &setup.tools, policy: &setup.policy, check: &check };
    let why = explain(&rules, agent, &request.tool, request.args);
    Ok(Begun::Now(without_files(why.to_json())))
}

/// Where the owner keeps the rules is none of an agent's business.
fn without_files(mut why: Value) -> Value {
    let forget = |rule: &mut Value| {
        if let Some(members) = rule.as_object_mut() {
            members.remove("file");
        }
    };
    if let Some(rule) = why.get_mut("rule") {
        forget(rule);
    }
    if let Some(trace) = why.get_mut("trace").and_then(Value::as_array_mut) {
        trace.iter_mut().for_each(forget);
    }
    why
}

fn results_later(session: &Rc<Session>, params: &Map<String, Value>) -> Result<Begun, WireError> {
    params::nothing_else(params)?;
    Ok(Begun::Later(What::Results, in_flight(&session.errands)?))
}

fn cancel(session: &Rc<Session>, params: Map<String, Value>) -> Result<Begun, WireError> {
    let id = params::cancel(params)?;
    let bad = || WireError::new(code::INVALID_REQUEST, "invalid_request", "request_id is not a request id");
    let id = RequestId::parse(&id).ok_or_else(bad)?;
    let slot = in_flight(&session.errands)?;
    spend(session, cost::CANCEL)?;
    Ok(Begun::Later(What::Cancel(id), slot))
}

fn tool_request(session: &Rc<Session>, params: Map<String, Value>) -> Result<Begun, WireError> {
    let agent = &session.identity.agent;
    let read = params::tool_request(params).and_then(|p| Ok((p, in_flight(&session.calls)?)));
    let (read, slot) = read.inspect_err(|e| session.gate.count_refused(agent, e.reason))?;
    let params::ToolRequest { tool, args, reason, session_id, idempotency_key } = read;
    let request = GateRequest { tool, args, reason, session: session_id, key: idempotency_key };
    let ticket = session.gate.submit(agent, request);
    Ok(Begun::Later(What::Call(ticket), slot))
}

/// Counts a request in flight among those of its kind on the connection.
fn in_flight(slots: &Slots) -> Result<Slot, WireError> {
    slots.take(MAX_IN_FLIGHT).ok_or_else(|| {
        let message = format!("More than {MAX_IN_FLIGHT} requests in flight on this connection");
        WireError::new(code::RATE_LIMITED, "too_many_pending", message).with("limit", MAX_IN_FLIGHT)
    })
}

impl Wait {
    /// Waits for the answer. None when there is no room for it: the connection ends.
    pub(crate) async fn answer(&self, session: &Rc<Session>) -> Option<Outgoing> {
        let (text, carried) = match &self.what {
            What::Call(ticket) => call(session, &self.id, ticket).await,
            What::Results => results(session, &self.id).await,
            What::Cancel(request) => (withdraw(session, &self.id, *request).await.to_string(), Vec::new()),
        };
        session.outgoing(text, carried)
    }
}

async fn call(session: &Rc<Session>, id: &Value, ticket: &Ticket) -> Answer {
    if let Some((request, expires)) = ticket.asked().await {
        let params = json!({"id": id, "request_id": request.to_string(), "expires_at": expires.to_string()});
        session.send(&frame::notification("approval_pending", params), Vec::new());
    }
    let reply = ticket.reply().await;
    let carried = reply.request_id.map(|id| Carried::Reply(session.gate.delivering(id)));
    (wire::reply(id, &reply), carried.into_iter().collect())
}

async fn results(session: &Rc<Session>, id: &Value) -> Answer {
    match session.inbox().await {
        Ok(results) => {
            let carried = results.iter().map(|r| Carried::Inbox(r.request_id)).collect();
            let shown: Value = results.into_iter().map(wire::pending).collect();
            let result = Value::from_iter([("results", shown)]);
            (frame::result(id, result).to_string(), carried)
        }
        Err(NotRead::TooSoon(retry_after)) => {
            (frame::error(id, &rate_limited(retry_after)).to_string(), Vec::new())
        }
        Err(NotRead::Store(e)) => {
            log::error!("pending results could not be read: {e}");
            (frame::error(id, &store_unavailable()).to_string(), Vec::new())
        }
    }
}

async fn withdraw(session: &Rc<Session>, id: &Value, request: RequestId) -> Value {
    match session.gate.withdraw(&session.identity.agent, request).await {
        Ok(outcome) => {
            let status = match outcome {
                AnswerOutcome::Resolved => "withdrawn",
                AnswerOutcome::AlreadyResolved | AnswerOutcome::Unknown | AnswerOutcome::Expired => {
                    outcome.as_str()
                }
            };
            frame::result(id, json!({"status": status, "request_id": request.to_string()}))
        }
        Err(e) => {
            log::error!("request {request}: a withdrawal could not be recorded: {e}");
            frame::error(id, &store_unavailable())
        }
    }
}

fn store_unavailable() -> WireError {
    WireError::new(code::EXECUTION_FAILED, "store_unavailable", "The gateway cannot use its record")
}
