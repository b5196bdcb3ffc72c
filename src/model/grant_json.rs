//! How a grant stands in the record.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::agent::AgentId;
use super::grant::{Cover, Grant, GrantRule, GrantSession};
use super::grant_offer::{at_most, number};
use super::responder::Responder;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::glob::Pattern;
use crate::base::ids::RequestId;

impl Grant {
    pub(crate) fn to_json(&self) -> Value {
        let rule = self.rule();
        let cover = match &self.cover {
            Cover::Call { signature, digest, .. } => json!({"call": digest.hex(), "of": signature}),
            Cover::Signature { signature, fixed, free, others, .. } => {
                json!({"fixed": fixed.hex(), "of": signature, "free": free, "others": others})
            }
            Cover::Rule { .. } => json!({}),
            Cover::Pattern(pattern) => json!({"pattern": pattern.as_str()}),
        };
        let tools = self.tools.iter().map(|(name, digest)| (name.clone(), digest.hex().into()));
        json!({
            "grant_id": self.id.to_string(),
            "agent": self.agent.as_str(),
            "session": match &self.session {
                GrantSession::Any => json!({"any": true}),
                GrantSession::Only(name) => json!({"name": name.as_deref()}),
            },
            "scope": self.scope().as_str(),
            "cover": cover,
            "rule_digest": rule.map(|rule| rule.identity.hex()),
            "rule_name": rule.and_then(|rule| rule.name.clone()),
            "tools": tools.collect::<Map<String, Value>>(),
            "by": self.by.as_str(),
            "created": self.created.0,
            "until": self.until.0,
            "uses": self.uses,
        })
    }

    /// Reads what [`Grant::to_json`] made.
    pub(crate) fn of_json(json: &Value) -> Option<Grant> {
        let text = |name: &str| json.get(name).and_then(Value::as_str);
        let digest = |text: Option<&str>| text.and_then(Digest::parse);
        let cover = json.get("cover")?;
        let part = |name: &str| cover.get(name).and_then(Value::as_str);
        let name = text("rule_name").map(str::to_owned);
        let rule = || digest(text("rule_digest")).map(|identity| GrantRule { identity, name: name.clone() });
        let signature = || part("of").map(str::to_owned);
        let cover = match text("scope")? {
            "call" => Cover::Call { rule: rule()?, signature: signature()?, digest: digest(part("call"))? },
            "signature" => {
                let free = cover.get("free")?.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned);
                let (free, fixed) = (free.collect(), digest(part("fixed"))?);
                let others = cover.get("others").and_then(Value::as_bool) == Some(true);
                Cover::Signature { rule: rule()?, signature: signature()?, fixed, free, others }
            }
            "rule" => Cover::Rule { rule: rule()? },
            "pattern" => Cover::Pattern(Pattern::new(part("pattern")?)),
            _ => return None,
        };
        let session = json.get("session")?;
        let session = match session.get("name") {
            Some(name) => GrantSession::Only(name.as_str().map(Arc::from)),
            None if session.get("any").and_then(Value::as_bool) == Some(true) => GrantSession::Any,
            None => return None,
        };
        let tools = json.get("tools")?.as_object()?.iter();
        let tools = tools.map(|(name, value)| Some((name.clone(), Digest::parse(value.as_str()?)?)));
        let time = |name: &str| json.get(name).and_then(Value::as_i64).map(Timestamp);
        Some(Grant {
            id: RequestId::parse(text("grant_id")?)?,
            agent: AgentId::configured(text("agent")?),
            session,
            cover,
            tools: tools.collect::<Option<_>>()?,
            by: Responder::recorded(text("by")?),
            created: time("created")?,
            until: time("until")?,
            uses: number(json, "uses")?,
        })
    }
}

/// What a `granted` event says was granted, for people: `every light(on, desk) of laptop, at most 20 times`.
pub(crate) fn granted_in_words(body: &Value) -> Option<String> {
    let grant = Grant::of_json(body.get("grant")?)?;
    let uses = grant.uses.map(|uses| format!(", {}", at_most(uses))).unwrap_or_default();
    let freedom = grant.freedom().map(|freedom| format!(" ({freedom})")).unwrap_or_default();
    Some(format!("{}{uses}{freedom}", grant.words()))
}
