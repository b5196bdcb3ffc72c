//! What programs are answered with.

use serde_json::{Value, json};

use crate::net::front::WebAnswer;
use crate::surface::admin::page::{self, JSON};
use crate::surface::admin::site::Admin;
use crate::surface::admin::visitor::Visitor;
use crate::surface::admin::wrong_tokens::WINDOW;

pub(super) fn reply(status: u16, body: &Value) -> WebAnswer {
    page::data(status, JSON, format!("{body}\n"))
}

pub(super) fn failure(status: u16, why: &str) -> WebAnswer {
    reply(status, &json!({"error": why}))
}

/// The refusal of a request without the right token, which was not asked about anything yet.
pub(super) fn unauthorized(admin: &Admin, visitor: &Visitor, has_token: bool) -> WebAnswer {
    if admin.wrong_tokens.are_refused(visitor.from) {
        let seconds = WINDOW.as_secs().to_string();
        return failure(429, "too many wrong tokens").with("retry-after", seconds);
    }
    if has_token {
        admin.wrong_tokens.count(visitor.from);
        log::info!("{} asks for approvals with a wrong token", visitor.from);
    }
    failure(401, "this needs a token: Authorization: Bearer …").with("www-authenticate", "Bearer")
}
