//! How news of a question looks on a phone: `notify.mobile_app_…` of Home Assistant. One notification per question, which a
//! later one with the same tag takes the place of.

use serde_json::{Value, json};

use super::tap::{Button, action};
use crate::approval::lines::{Line, lines};
use crate::approval::push::{Carrier, Heard, NewsKind, Parcel};
use crate::approval::text::fields;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::safe_text::visible;
use crate::base::secret::Secret;
use crate::config::CompanionConfig;
use crate::model::Question;
use crate::net::client::{HttpRequest, HttpResponse};

/// What a phone shows of a notification at most, in bytes: push services carry 4,096 with all that belongs to it. A longer
/// call is not shown in part: it has a link to the whole, and no buttons.
const MAX_TEXT: usize = 1500;
/// The longest text that is about what has happened, in characters.
const MAX_ASIDE: usize = 300;

pub(crate) struct Phone {
    pub(super) config: CompanionConfig,
    /// The name of the service in `notify`, such as `mobile_app_anna`.
    pub(super) notify: String,
}

impl Phone {
    fn parcel(&self, id: String, title: String, message: String, data: Value) -> Parcel {
        Parcel { id, body: json!({"title": title, "message": message, "data": data}).to_string() }
    }

    fn tag(id: &str) -> String {
        format!("agentpass-{id}")
    }

    fn buttons(&self, question: &Question, token: Option<&Secret>) -> Vec<Value> {
        let name = |button, token| action(&self.config.name, button, question.id, token);
        let open = self.config.links.pages().map(|url| json!({"action": "URI", "title": "Open", "uri": url}));
        let answers = token.map(|token| {
            [
                json!({"action": name(Button::Deny, token), "title": "Deny", "destructive": true}),
                json!({"action": name(Button::Allow, token), "title": "Allow", "authenticationRequired": true}),
            ]
        });
        answers.into_iter().flatten().chain(open).collect()
    }

    /// Tapping the notification itself opens the pages.
    fn data(&self, id: &str) -> Value {
        match self.config.links.pages() {
            Some(pages) => json!({"tag": Phone::tag(id), "url": pages, "clickAction": pages}),
            None => json!({"tag": Phone::tag(id)}),
        }
    }
}

impl Carrier for Phone {
    fn kind(&self) -> &'static str {
        "homeassistant"
    }

    fn kept_as(&self) -> String {
        format!("pushed.{}", self.notify)
    }

    fn identity(&self) -> &Digest {
        &self.config.identity
    }

    fn token_identity(&self) -> Option<&Digest> {
        self.config.links.carry_tokens.then_some(&self.config.identity)
    }

    fn asked(&self, question: &Question, token: Option<&Secret>, _: Timestamp) -> Vec<Parcel> {
        let id = question.id.to_string();
        let shown =
            |line: &Line| if line.by_agent { format!("│ {}", line.text) } else { line.text.clone() };
        let text = lines(fields(question).iter()).iter().map(shown).collect::<Vec<_>>().join("\n");
        let fits = text.len() <= MAX_TEXT;
        let text = match (fits, &self.config.links.base) {
            (true, _) => text,
            (false, Some(_)) => "The call is too long to be shown here: open it.".to_owned(),
            (false, None) => {
                "The call is too long to be shown here: agentpass approvals on the gateway shows it."
                    .to_owned()
            }
        };
        let title = match question.edit.is_some() {
            true => format!("Changed, look again: {}?", visible(&question.call.tool().name)),
            false => format!("Allow {}?", visible(&question.call.tool().name)),
        };
        let mut data = self.data(&id);
        if let Some(members) = data.as_object_mut() {
            members.insert("actions".into(), self.buttons(question, token.filter(|_| fits)).into());
        }
        vec![self.parcel(format!("{id}_{}", question.call.shown_as()), title, text, data)]
    }

    fn ended(&self, kind: NewsKind, id: &str, shape: &Value, words: &str, _: Timestamp) -> Parcel {
        let text = |name: &str| shape.get(name).and_then(Value::as_str).unwrap_or_default();
        let words = words.chars().take(MAX_ASIDE).collect();
        let mut data = self.data(id);
        if let Some(members) = data.as_object_mut() {
            // It takes the place of the question without a sound.
            members.insert("alert_once".into(), true.into());
            members.insert("push".into(), json!({"interruption-level": "passive"}));
        }
        self.parcel(format!("{id}_{}", kind.as_str()), visible(text("tool")), words, data)
    }

    fn test(&self, at: Timestamp) -> Parcel {
        let message = "A test of this channel. Nothing is asked.".to_owned();
        self.parcel(format!("test_{}", at.0), "agentpass".into(), message, json!({"tag": "agentpass-test"}))
    }

    fn notice(&self, text: &str) -> Option<Parcel> {
        let text = text.chars().take(MAX_ASIDE).collect();
        Some(self.parcel("notice".into(), "agentpass".into(), text, json!({"tag": "agentpass-notice"})))
    }

    fn request(&self, parcel: &Parcel, _: Timestamp) -> HttpRequest {
        let bearer = format!("Bearer {}", self.config.token.expose());
        HttpRequest {
            method: "POST".into(),
            url: format!("{}/api/services/notify/{}", self.config.peer.url.as_str(), self.notify),
            headers: vec![
                ("authorization".into(), bearer),
                ("content-type".into(), "application/json".into()),
            ],
            body: Some(parcel.body.clone().into_bytes()),
            timeout: None,
        }
    }

    fn judge(&self, _: &Parcel, response: &HttpResponse, _: Timestamp) -> Heard {
        match response.status {
            200..300 => Heard::Taken,
            400 => Heard::Failed(format!("Home Assistant answered 400: is there a notify.{}?", self.notify)),
            status => Heard::Failed(format!("Home Assistant answered {status}")),
        }
    }
}
