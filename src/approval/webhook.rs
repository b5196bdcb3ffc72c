//! A program that is told of questions by HTTP, and answers at once or later. Both sides sign what they say, by the
//! scheme of <https://www.standardwebhooks.com>.

use serde_json::{Value, json};

use super::claims;
use super::push::{Carrier, Heard, NewsKind, Parcel};
use super::shape;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::json::parse_strict;
use crate::base::secret::Secret;
use crate::base::signature::Signed;
use crate::config::WebhookConfig;
use crate::model::Question;
use crate::net::client::{HttpRequest, HttpResponse};

/// Who has answered, where the receiver does not say.
const WHO: &str = "webhook";
/// How deep an answer may be nested.
const MAX_DEPTH: u8 = 8;

pub(crate) struct Webhook(pub(crate) WebhookConfig);

impl Webhook {
    fn parcel(&self, id: String, kind: &str, data: Value, at: Timestamp) -> Parcel {
        let body = json!({"type": kind, "timestamp": at.to_string(), "data": data}).to_string();
        Parcel { id, body }
    }

    /// What the receiver says to the question, if it proves that it is the receiver and speaks of this one.
    fn decision(
        &self,
        parcel: &Parcel,
        response: &HttpResponse,
        now: Timestamp,
    ) -> Result<Option<Heard>, &'static str> {
        let Ok(value) = parse_strict(&response.body, MAX_DEPTH) else { return Ok(None) };
        if value.get("decision").is_none() {
            return Ok(None);
        }
        let only = |name| response.header(name).next().unwrap_or_default();
        let signed = Signed {
            id: only("webhook-id"),
            timestamp: only("webhook-timestamp"),
            signatures: only("webhook-signature"),
        };
        if signed.id != parcel.id || !self.0.key.proves(signed, &response.body, now) {
            return Err("a decision that is not signed as it must be");
        }
        let (choice, by) = claims::decision(value).map_err(|_| "a decision that cannot be read")?;
        Ok(Some(Heard::Answered(choice, by.unwrap_or_else(|| WHO.to_owned()))))
    }
}

impl Carrier for Webhook {
    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn identity(&self) -> &Digest {
        &self.0.identity
    }

    fn token_identity(&self) -> Option<&Digest> {
        self.0.links.carry_tokens.then_some(&self.0.identity)
    }

    fn asked(&self, question: &Question, token: Option<&Secret>, at: Timestamp) -> Vec<Parcel> {
        let mut data = shape::question(question);
        let url = self.0.links.answer_url(&self.0.name, &question.id, &question.call.shown_as());
        if let (Some(members), Some(token), Some(url)) = (data.as_object_mut(), token, url) {
            members.insert("answer_url".into(), url.into());
            members.insert("answer_token".into(), token.expose().into());
        }
        // Under another configuration, or about a changed call, it is another message: earlier tokens are void.
        let under: String = self.0.identity.hex().chars().take(8).collect();
        let changed = question.edit.as_ref().map(|_| format!("_{}", question.call.shown_as()));
        let id = format!("msg_{}_asked_{under}{}", question.id, changed.unwrap_or_default());
        vec![self.parcel(id, "question.asked", data, at)]
    }

    fn ended(&self, kind: NewsKind, id: &str, shape: &Value, _: &str, at: Timestamp) -> Parcel {
        let word = if kind == NewsKind::Finished { "call.finished" } else { "question.settled" };
        self.parcel(format!("msg_{id}_{}", kind.as_str()), word, shape.clone(), at)
    }

    /// A program forgets nothing, and drops an id that it has seen.
    fn reminds(&self) -> bool {
        false
    }

    fn test(&self, at: Timestamp) -> Parcel {
        self.parcel(format!("msg_test_{}", at.0), "channel.test", json!({}), at)
    }

    fn notice(&self, _: &str) -> Option<Parcel> {
        None
    }

    fn request(&self, parcel: &Parcel, now: Timestamp) -> HttpRequest {
        let at_s = now.0.div_euclid(1000);
        let own = [
            ("content-type", "application/json".to_owned()),
            ("webhook-id", parcel.id.clone()),
            ("webhook-timestamp", at_s.to_string()),
            ("webhook-signature", self.0.key.sign(&parcel.id, at_s, parcel.body.as_bytes())),
        ];
        let owners = self.0.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
        HttpRequest {
            method: "POST".into(),
            url: self.0.peer.url.as_str().to_owned(),
            headers: own.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(owners).collect(),
            body: Some(parcel.body.clone().into_bytes()),
            timeout: None,
        }
    }

    fn judge(&self, parcel: &Parcel, response: &HttpResponse, now: Timestamp) -> Heard {
        match response.status {
            410 => Heard::Gone,
            200 => match self.decision(parcel, response, now) {
                Ok(decision) => decision.unwrap_or(Heard::Taken),
                Err(what) => {
                    log::warn!("channel {}: {what} is ignored; the question stays open", self.0.name);
                    Heard::Taken
                }
            },
            201..300 => Heard::Taken,
            status => Heard::Failed(format!("the receiver answered {status}")),
        }
    }
}
