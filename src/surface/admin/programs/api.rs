//! `/approvals/api/`: questions listed, told and answered by programs that hold the token of a channel of type `api`.
//!
//! Web pages may do so from the origins that their channel allows, and from no other.

use std::rc::Rc;

use serde_json::json;

use super::client::{Client, apis, channel_of};
use super::reply::{failure, reply, unauthorized};
use super::{events, pending, resolve};
use crate::approval::shape;
use crate::base::ids::RequestId;
use crate::base::secret::TokenHash;
use crate::config::ApiConfig;
use crate::model::Responder;
use crate::net::front::{WebAnswer, WebRequest};
use crate::surface::admin::page;
use crate::surface::admin::site::Admin;
use crate::surface::admin::visitor::Visit;

/// Connections of programs that have shown the right token.
const MAX_CALLERS: usize = 64;

pub(super) async fn answer(admin: &Rc<Admin>, visit: &Visit<'_>, path: &str) -> WebAnswer {
    let (setup, request) = (admin.gate.setup(), visit.request);
    let origin = request.origin();
    let is_listed =
        |api: &ApiConfig| origin.as_ref().is_none_or(|origin| api.allowed_origins.contains(origin));
    let listed = origin.clone().filter(|_| apis(&setup).any(|(_, api)| is_listed(api)));
    let shared = |answer: WebAnswer| match &listed {
        Some(origin) => answer
            .with("access-control-allow-origin", origin.clone())
            .with("access-control-expose-headers", "etag")
            .with("vary", "origin"),
        None => answer,
    };
    if request.method() == "OPTIONS" {
        return shared(preflight(listed.is_some()));
    }
    let token = request.bearer().map(|token| TokenHash::new(&token));
    let Some((channel, api)) = token.as_ref().and_then(|token| channel_of(&setup, token)) else {
        return shared(unauthorized(admin, visit.visitor, token.is_some()));
    };
    if !is_listed(api) {
        return failure(403, "this page's origin is not among the channel's allowed_origins");
    }
    if !visit.is_admitted_to(&admin.admission, MAX_CALLERS) {
        return shared(failure(503, "too many connections").with("connection", "close"));
    }
    let client = Client::new(channel, api);
    shared(routed(admin, client, request, path).await)
}

async fn routed(admin: &Rc<Admin>, client: Client, request: &WebRequest, path: &str) -> WebAnswer {
    match (request.method(), path) {
        ("GET", "pending") => pending::answer(admin, &client, request).await,
        ("GET", "events") => events::answer(admin, client),
        ("POST", "resolve") => resolve::answer(admin, &client, request).await,
        (_, "pending" | "events") => failure(405, "GET only").with("allow", "GET"),
        (_, "resolve") => failure(405, "POST only").with("allow", "POST"),
        (method, path) => match path.strip_prefix("questions/") {
            Some(id) if method == "GET" => question(admin, id).await,
            Some(_) => failure(405, "GET only").with("allow", "GET"),
            None => failure(404, "there is nothing here"),
        },
    }
}

/// Browsers ask before a page of another origin may show a token.
fn preflight(is_listed: bool) -> WebAnswer {
    if !is_listed {
        return failure(403, "no channel lists this origin in its allowed_origins");
    }
    page::data(204, "text/plain", "")
        .with("access-control-allow-methods", "GET, POST")
        .with("access-control-allow-headers", "authorization, content-type, if-none-match")
        .with("access-control-max-age", "600")
}

/// One question, open or not.
async fn question(admin: &Admin, id: &str) -> WebAnswer {
    let Some(id) = RequestId::parse(id) else { return failure(404, "there is no such question") };
    let gate = &admin.gate;
    if let Some(open) = gate.approvals.questions().iter().find(|question| question.id == id) {
        return reply(200, &shape::question(open));
    }
    match gate.store().question(id).await {
        Ok(Some(record)) => {
            let end = record.end.as_ref();
            let body = json!({
                "request_id": id.to_string(),
                "agent_id": record.agent.as_str(),
                "tool": record.tool,
                "resolution": end.map(|end| end.as_str()),
                "resolved_by": end.and_then(|end| end.by()).map(Responder::as_str),
                "resolved_at": record.at.map(|at| at.to_string()),
                "outcome": record.outcome,
            });
            reply(200, &body)
        }
        Ok(None) => failure(404, "there is no such question"),
        Err(e) => {
            log::error!("the record cannot be read: {e}");
            failure(503, "the record cannot be read right now")
        }
    }
}
