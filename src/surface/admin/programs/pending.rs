//! `GET /approvals/api/pending`: the open questions, at once or when they have changed.

use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::json;
use smol::{Timer, future};

use super::client::{Client, open};
use super::reply::failure;
use crate::base::digest::Digest;
use crate::net::front::{WebAnswer, WebRequest};
use crate::surface::admin::form::field;
use crate::surface::admin::page::{self, JSON};
use crate::surface::admin::site::Admin;

/// The longest wait, in seconds.
const MAX_WAIT: u64 = 60;
/// Programs that wait at once.
pub(super) const MAX_LISTENERS: usize = 64;
/// Hex digits of the tag.
const TAG: usize = 32;

/// `?wait=30&after=TAG` answers when the list is no longer the one with that tag, after 30 seconds at the latest.
pub(super) async fn answer(admin: &Rc<Admin>, client: &Client, request: &WebRequest) -> WebAnswer {
    let wait = match field(&request.query, "wait").map(|text| text.parse::<u64>()) {
        None => 0,
        Some(Ok(seconds)) => seconds.min(MAX_WAIT),
        Some(Err(_)) => return failure(400, "wait must be a whole number of seconds"),
    };
    let known = request.header("if-none-match");
    let after = field(&request.query, "after").unwrap_or_else(|| known.to_owned());
    let after = bare(&after);
    let _slot = match admin.listeners.take(MAX_LISTENERS) {
        Some(slot) => slot,
        None if wait == 0 => admin.listeners.count(),
        None => return failure(503, "too many programs wait"),
    };
    let until = Instant::now() + Duration::from_secs(wait);
    loop {
        // Listening begins before the questions are listed, so that none falls in between.
        let news = admin.local.watch();
        let body = json!({"approvals": open(admin)}).to_string();
        let tag: String = Digest::sha256(body.as_bytes()).hex().chars().take(TAG).collect();
        let left = until.saturating_duration_since(Instant::now());
        if tag != after || left.is_zero() || !client.is_known(&admin.gate.setup()) {
            let answer = match bare(known) == tag {
                true => page::data(304, JSON, ""),
                false => page::data(200, JSON, format!("{body}\n")),
            };
            return answer.with("etag", format!("\"{tag}\""));
        }
        let told = async { drop(news.recv().await) };
        let over = async { _ = Timer::after(left).await };
        future::or(told, over).await;
    }
}

/// A tag without its quotes.
fn bare(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"')
}
