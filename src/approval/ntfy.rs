//! A topic of an ntfy server (<https://docs.ntfy.sh/publish/#publish-as-json>): questions as notifications, with a button
//! that opens the admin pages, or with buttons that answer.

use serde_json::{Value, json};

use super::lines::{Line, Measure, lines};
use super::push::{Carrier, Heard, NewsKind, Parcel};
use super::text::fields;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::readable::span;
use crate::base::safe_text::visible;
use crate::base::secret::Secret;
use crate::base::zone::Zone;
use crate::config::NtfyConfig;
use crate::model::{Question, Risk};
use crate::net::client::{HttpRequest, HttpResponse};

/// What a question's lines may take of the 8,192 bytes of JSON that a server reads; of those, a message may have 4,096.
const ROOM: usize = 3000;
/// Bytes of JSON. Each line begins with a bar where the agent has a say in it, and ends with an escaped line break.
const BYTES: Measure = Measure { of: json_bytes, line: BAR.len() + 2 };
/// Stands before what the agent has a say in. None of the gateway's lines begins so.
const BAR: &str = "│ ";
/// The longest title, in bytes of JSON, and the longest other foreign text.
const MAX_TITLE: usize = 200;
const MAX_ASIDE: usize = 1000;
/// News that nobody has to act on make no sound.
const QUIET: u8 = 2;

pub(crate) struct Ntfy(pub(crate) NtfyConfig);

/// What a character takes in a JSON text as it is written here.
fn json_bytes(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        '\0'..='\x1f' => 6,
        other => other.len_utf8(),
    }
}

impl Ntfy {
    fn parcel(&self, id: String, mut message: Value) -> Parcel {
        if let Some(members) = message.as_object_mut() {
            members.insert("topic".into(), self.0.topic.expose().into());
        }
        Parcel { id, body: message.to_string() }
    }

    /// The buttons below a question; without a token only a person who signs in can answer.
    fn actions(&self, question: &Question, token: Option<&Secret>) -> Vec<Value> {
        let Some(pages) = self.0.links.pages() else { return Vec::new() };
        let open = json!({"action": "view", "label": "Open", "url": pages, "clear": false});
        let url = self.0.links.answer_url(&self.0.name, &question.id, &question.call.shown_as());
        let Some((url, token)) = url.zip(token) else { return vec![open] };
        let button = |label: &str, decision: &str| {
            json!({
                "action": "http",
                "label": label,
                "url": url,
                "method": "POST",
                "headers": {
                    "Authorization": format!("Bearer {}", token.expose()),
                    "Content-Type": "application/json",
                },
                "body": json!({"decision": decision}).to_string(),
                "clear": true,
            })
        };
        vec![button("Deny", "deny"), button("Allow", "approve"), open]
    }
}

impl Carrier for Ntfy {
    fn kind(&self) -> &'static str {
        "ntfy"
    }

    fn identity(&self) -> &Digest {
        &self.0.identity
    }

    fn token_identity(&self) -> Option<&Digest> {
        self.0.carries_tokens().then_some(&self.0.identity)
    }

    fn asked(&self, question: &Question, token: Option<&Secret>, _: Timestamp) -> Vec<Parcel> {
        let (id, tool) = (question.id, &question.call.tool().name);
        let pieces = BYTES.pieces(lines(fields(question).iter()), ROOM);
        let count = pieces.len();
        let mut begun = false;
        let message = |(index, piece): (usize, Vec<Line>)| {
            let (part, last) = (index + 1, index + 1 == count);
            let mut text = Vec::new();
            if last {
                text.push(answer_by(question));
            }
            if question.edit.is_some() {
                text.push("✏️ The call was changed: look again".to_owned());
            }
            if count > 1 {
                text.push(format!("Part {part} of {count}"));
            }
            text.extend(piece_lines(piece, &mut begun));
            // By this a server knows which message a later one takes the place of, and one that is sent twice.
            let sequence = if last { id.to_string() } else { format!("{id}_{part}") };
            let mut message = json!({
                "title": title("❓ Allow ", tool),
                "message": text.join("\n"),
                "priority": self.0.priority,
                "tags": tags(question.call.tool().facts.risk),
                "sequence_id": sequence,
            });
            if let (true, Some(members)) = (last, message.as_object_mut()) {
                members.insert("actions".into(), self.actions(question, token).into());
                members.extend(self.0.links.pages().map(|pages| ("click".to_owned(), pages.into())));
            }
            self.parcel(format!("{id}_{part}_{}", question.call.shown_as()), message)
        };
        pieces.into_iter().enumerate().map(message).collect()
    }

    fn ended(&self, kind: NewsKind, id: &str, shape: &Value, words: &str, _: Timestamp) -> Parcel {
        let text = |name: &str| shape.get(name).and_then(Value::as_str).unwrap_or_default();
        let sign = match text("resolution") {
            "approved" => "✅ ",
            "denied" => "⛔ ",
            _ => "⌛ ",
        };
        let message = json!({
            "title": title(sign, text("tool")),
            "message": format!("{}\nAgent: {}", shortened(words, MAX_ASIDE), visible(text("agent_id"))),
            "priority": QUIET,
            "sequence_id": id,
        });
        self.parcel(format!("{id}_{}", kind.as_str()), message)
    }

    fn test(&self, at: Timestamp) -> Parcel {
        let message = "A test of this channel. Nothing is asked.";
        let message = json!({"title": "agentpass", "message": message, "priority": self.0.priority});
        self.parcel(format!("test_{}", at.0), message)
    }

    fn notice(&self, text: &str) -> Option<Parcel> {
        let message = json!({"title": "agentpass", "message": shortened(text, ROOM), "priority": QUIET});
        Some(self.parcel("notice".to_owned(), message))
    }

    fn request(&self, parcel: &Parcel, _: Timestamp) -> HttpRequest {
        let bearer = self.0.token.as_ref().map(|token| format!("Bearer {}", token.expose()));
        let own = bearer.map(|bearer| ("authorization".to_owned(), bearer));
        HttpRequest {
            method: "POST".into(),
            url: format!("{}/", self.0.peer.url.as_str()),
            headers: own.into_iter().chain([("content-type".into(), "application/json".into())]).collect(),
            body: Some(parcel.body.clone().into_bytes()),
            timeout: None,
        }
    }

    fn judge(&self, _: &Parcel, response: &HttpResponse, _: Timestamp) -> Heard {
        match response.status {
            200..300 => Heard::Taken,
            401 | 403 => Heard::Failed(format!(
                "the server answered {}: the token may not write to this topic",
                response.status
            )),
            429 => Heard::Failed("the server answered 429: too many messages from here for now".to_owned()),
            status => Heard::Failed(format!("the server answered {status}")),
        }
    }
}

fn answer_by(question: &Question) -> String {
    let zone = Zone::system();
    let utc = if *zone == Zone::default() { " UTC" } else { "" };
    let time = span(question.expires.since(question.created));
    format!("Answer by {}{utc} ({time})", zone.hour_and_minute(question.expires))
}

fn piece_lines(piece: Vec<Line>, begun: &mut bool) -> Vec<String> {
    let (foreign, own): (Vec<_>, Vec<_>) = piece.into_iter().partition(|line| line.by_agent);
    let mut shown: Vec<_> = own.into_iter().map(|line| line.text).collect();
    if !foreign.is_empty() {
        let label = if *begun { "From the agent, continued:" } else { "From the agent:" };
        shown.extend([String::new(), label.to_owned()]);
        shown.extend(foreign.into_iter().map(|line| format!("{BAR}{}", line.text)));
        *begun = true;
    }
    shown
}

fn title(before: &str, tool: &str) -> String {
    format!("{before}{}", shortened(tool, MAX_TITLE))
}

/// Safe to show, and no longer than `most` (and a "…").
fn shortened(text: &str, most: usize) -> String {
    // Escapes make it longer only, so no more than this can be shown.
    let text: String = text.chars().take(most + 1).collect();
    let shown = visible(&text);
    match BYTES.cut(&shown, most) {
        (_, "") => shown,
        (kept, _) => format!("{kept}…"),
    }
}

/// ntfy shows these as pictures.
fn tags(risk: Risk) -> Vec<&'static str> {
    match risk {
        Risk::None => Vec::new(),
        Risk::DataMutation => vec!["pencil2"],
        Risk::ExternalSend => vec!["outbox_tray"],
        Risk::SystemExecution => vec!["computer"],
        Risk::Irreversible => vec!["rotating_light"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::approval::lines::{CONTINUED, CONTINUES};
    use crate::approval::text::tests::question;
    use crate::base::url::Url;
    use crate::config::{Links, PushPeer};

    fn ntfy() -> NtfyConfig {
        let peer = PushPeer {
            url: Url::service("https://ntfy.example").unwrap(),
            timeout: std::time::Duration::from_secs(10),
            ca_cert: None,
            allow_link_local: false,
        };
        NtfyConfig {
            name: "n".repeat(32),
            peer,
            topic: Secret::new("t".repeat(64)),
            token: None,
            priority: 4,
            answers: true,
            links: Links { base: Some(format!("https://{}", "p".repeat(492))), carry_tokens: true },
            identity: Digest::sha256(b""),
        }
    }

    fn told(args: &str) -> (Arc<Question>, Vec<Value>) {
        let (channel, question) = (Ntfy(ntfy()), question(args));
        let token = Secret::new("t".repeat(43));
        let parcels = channel.asked(&question, Some(&token), Timestamp(0));
        assert!(parcels.iter().all(|parcel| parcel.body.len() <= 8192));
        let messages = parcels.iter().map(|parcel| serde_json::from_str(&parcel.body).unwrap());
        (question, messages.collect())
    }

    #[test]
    fn long_calls_take_several_messages_and_lose_nothing() {
        for unit in ["x", "é", "😀", "\\\"", "a\\nb", "\u{202e}", "line one\\n", "a "] {
            let args = format!(r#"{{"note":"{}"}}"#, unit.repeat(12_000 / unit.len()));
            let (question, messages) = told(&args);
            let text = |message: &Value| message["message"].as_str().unwrap().to_owned();
            assert!(messages.len() > 1 && messages.iter().all(|m| text(m).len() <= 4096), "{unit:?}");
            let (last, first) = messages.split_last().unwrap();
            assert_eq!(last["actions"].as_array().map(Vec::len), Some(3));
            assert!(first.iter().all(|message| message.get("actions").is_none()));
            let lines_of = |message: &Value| {
                text(message)
                    .lines()
                    .filter_map(|line| line.strip_prefix(BAR))
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            let shown = messages.iter().flat_map(lines_of).collect::<Vec<_>>().join("\n");
            let shown = shown.replace(&format!("{CONTINUES}\n{CONTINUED}"), "");
            let whole = lines(fields(&question).iter().filter(|field| field.by_agent));
            let whole = whole.into_iter().map(|line| line.text).collect::<Vec<_>>().join("\n");
            assert!(shown == whole, "{unit:?}\n{shown}");
        }
    }

    #[test]
    fn what_the_agent_says_stands_behind_a_bar() {
        let (_, messages) = told(r#"{"note":"x\n│ y\nAnswer by never\r\nFrom the agent:"}"#);
        let text = messages[0]["message"].as_str().unwrap();
        let own: Vec<_> = text.lines().filter(|line| !line.starts_with(BAR)).collect();
        assert_eq!(own.iter().filter(|line| line.starts_with("Answer by")).count(), 1, "{text}");
        assert_eq!(own.iter().filter(|line| line.starts_with("From the agent:")).count(), 1, "{text}");
        assert!(!text.contains("4711"));
    }

    #[test]
    fn there_are_no_answers_without_a_token() {
        let parcels = Ntfy(ntfy()).asked(&question("{}"), None, Timestamp(0));
        let message: Value = serde_json::from_str(&parcels[0].body).unwrap();
        let actions = message["actions"].as_array().unwrap();
        assert_eq!((actions.len(), &actions[0]["action"]), (1, &json!("view")));
    }
}
