//! An ntfy server as its manual describes it: JSON to `/`, at most 8,192 bytes of it and 4,096 of a message, three buttons,
//! topics and sequences of 64 plain characters, and its own codes for what it refuses.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::harness::{Answer, Seen, Upstream};

/// A message that was taken.
#[derive(Clone, Debug)]
pub struct Published {
    pub body: Value,
}

impl Published {
    pub fn text(&self) -> &str {
        self.body["message"].as_str().unwrap()
    }

    pub fn sequence(&self) -> String {
        self.body["sequence_id"].as_str().unwrap_or_default().to_owned()
    }

    pub fn has_buttons(&self) -> bool {
        self.body.get("actions").is_some()
    }

    pub fn button(&self, label: &str) -> &Value {
        let buttons = self.body["actions"].as_array().unwrap_or_else(|| panic!("no buttons: {self:?}"));
        buttons.iter().find(|button| button["label"] == label).unwrap()
    }
}

#[derive(Default)]
struct State {
    token: String,
    published: Vec<Published>,
    refuse: Vec<u16>,
    refused: usize,
}

pub struct Ntfy {
    upstream: Upstream,
    state: Arc<Mutex<State>>,
}

impl Ntfy {
    /// A server whose topics may be written to with this token only.
    pub fn start(token: &str) -> Ntfy {
        let upstream = Upstream::start();
        let state = Arc::new(Mutex::new(State { token: token.to_owned(), ..State::default() }));
        let shared = state.clone();
        upstream.answer(move |seen| answer(&mut shared.lock().unwrap(), seen));
        Ntfy { upstream, state }
    }

    pub fn url(&self) -> String {
        self.upstream.url()
    }

    pub fn published(&self) -> Vec<Published> {
        self.state.lock().unwrap().published.clone()
    }

    /// Answers the next messages with these, one each.
    pub fn refuse(&self, statuses: Vec<u16>) {
        self.state.lock().unwrap().refuse = statuses;
    }

    pub fn refused(&self) -> usize {
        self.state.lock().unwrap().refused
    }

    pub fn expect(&self, token: &str) {
        self.state.lock().unwrap().token = token.to_owned();
    }
}

fn answer(state: &mut State, seen: &Seen) -> Answer {
    if let Some(status) = state.refuse.pop() {
        state.refused += 1;
        return refusal(status, status.into(), "refused for this test");
    }
    if seen.header("authorization") != Some(&format!("Bearer {}", state.token)) {
        return refusal(403, 40301, "forbidden");
    }
    match read(seen) {
        Ok(body) => {
            let told = json!({"id": "abc", "event": "message", "topic": body["topic"]});
            state.published.push(Published { body });
            Answer::Reply(200, "application/json", told.to_string())
        }
        Err((status, code, why)) => panic!("the server would answer {status} {code} ({why}) to {seen:?}"),
    }
}

fn refusal(status: u16, code: u32, why: &str) -> Answer {
    let body = json!({"code": code, "http": status, "error": why, "link": "https://ntfy.sh/docs/publish/"});
    Answer::Reply(status, "application/json", body.to_string())
}

type Refusal = (u16, u32, String);

/// What a real server refuses, or turns into something else: a message that is too long becomes an attachment.
fn read(seen: &Seen) -> Result<Value, Refusal> {
    let refuse = |status: u16, code: u32, why: &str| Err((status, code, why.to_owned()));
    if (seen.method.as_str(), seen.target.as_str()) != ("POST", "/") {
        return refuse(404, 40401, "page not found");
    }
    if seen.body.len() > 8192 {
        return refuse(413, 41303, "JSON body too large");
    }
    let Ok(Value::Object(body)) = serde_json::from_str(&seen.body) else {
        return refuse(400, 40024, "request body must be valid JSON");
    };
    let known = ["topic", "title", "message", "priority", "tags", "click", "actions", "sequence_id"];
    if let Some(other) = body.keys().find(|key| !known.contains(&key.as_str())) {
        return refuse(400, 40024, other);
    }
    let plain = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    };
    let body = Value::Object(body);
    if !plain(&body["topic"]) {
        return refuse(400, 40009, "topic invalid");
    }
    if body.get("sequence_id").is_some_and(|id| !plain(id)) {
        return refuse(400, 40049, "sequence ID invalid");
    }
    let message = body["message"].as_str().unwrap_or_default();
    if message.is_empty() || message.len() > 4096 {
        return refuse(413, 41301, "message empty or too large");
    }
    if !(1..=5).contains(&body["priority"].as_u64().unwrap_or(3)) {
        return refuse(400, 40007, "priority invalid");
    }
    let buttons = body.get("actions").map(|all| all.as_array().unwrap().clone()).unwrap_or_default();
    if buttons.len() > 3 {
        return refuse(400, 40018, "only 3 actions allowed");
    }
    buttons.iter().try_for_each(check_button).map_err(|why| (400, 40018, why.to_owned()))?;
    Ok(body)
}

fn check_button(button: &Value) -> Result<(), &'static str> {
    let text = |name: &str| button[name].as_str().unwrap_or_default();
    let known: &[&str] = match text("action") {
        "view" => &["action", "label", "url", "clear"],
        "http" => &["action", "label", "url", "clear", "method", "headers", "body"],
        _ => return Err("parameter 'action' cannot be something else"),
    };
    if button.as_object().unwrap().keys().any(|key| !known.contains(&key.as_str())) {
        return Err("unknown parameter");
    }
    if text("label").is_empty() || !text("url").starts_with("http") {
        return Err("parameters 'label' and 'url' are required");
    }
    if button
        .get("headers")
        .is_some_and(|all| all.as_object().is_none_or(|all| all.values().any(|v| !v.is_string())))
    {
        return Err("headers must be texts");
    }
    Ok(())
}
