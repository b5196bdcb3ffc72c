//! One number for everything that the owner's policy consists of, so that a later reader of the record knows which one
//! decided.

use serde_json::{Map, Value, json};

use super::at::At;
use super::known::KnownNames;
use super::tree::YamlKind;
use crate::base::digest::Digest;
use crate::base::json::{MAX_SAFE_INTEGER, canonical};
use crate::model::Tool;

/// SHA-256 of permissions.yaml, of what tool files say for the policy, of people, of the agents' groups and of what may be
/// granted beyond the rules, in canonical form: what is only written in another way has the same one.
pub(crate) fn policy_digest(permissions: At<'_>, known: Option<&KnownNames<'_>>) -> Digest {
    let tools = known.into_iter().flat_map(|known| known.tools.values());
    let agents = known.into_iter().flat_map(|known| known.agents);
    let mut all = json!({
        "permissions": canonical_form(permissions),
        "tools": tools.map(|tool| (tool.name.clone(), facts(tool))).collect::<Map<_, _>>(),
        "agents": agents.map(|agent| (agent.id.to_string(), json!({"groups": agent.groups}))).collect::<Map<_, _>>(),
    });
    let offer = known.and_then(|known| known.grant);
    if let (Some(members), Some(offer)) = (all.as_object_mut(), offer) {
        members.insert("grant".into(), offer.to_json());
    }
    let people = known.map(|known| known.people).filter(|people| !people.is_empty());
    if let (Some(members), Some(people)) = (all.as_object_mut(), people) {
        members.insert(
            "people".into(),
            people.each().map(|(name, all)| (name.to_owned(), json!(all))).collect::<Map<_, _>>().into(),
        );
    }
    Digest::sha256(&canonical(&all).unwrap_or_else(|_| all.to_string().into_bytes()))
}

/// SHA-256 of what stands here, however it is written.
pub(crate) fn digest_of(at: At<'_>) -> Digest {
    let form = canonical_form(at);
    Digest::sha256(&canonical(&form).unwrap_or_else(|_| form.to_string().into_bytes()))
}

/// All that rules may ask of a tool.
fn facts(tool: &Tool) -> Value {
    json!({"kind": tool.kind.as_str(), "facts": tool.facts.source()})
}

/// Numbers that JSON does not keep exactly stand as they are written.
fn canonical_form(at: At<'_>) -> Value {
    match &at.node.kind {
        YamlKind::Null => Value::Null,
        YamlKind::Bool(flag) => Value::Bool(*flag),
        YamlKind::Int(number) => match i64::try_from(*number) {
            Ok(exact) if exact.unsigned_abs() <= MAX_SAFE_INTEGER => exact.into(),
            Ok(_) | Err(_) => number.to_string().into(),
        },
        YamlKind::Float | YamlKind::Text(_) => at.text().into(),
        YamlKind::List(_) => at.items().into_iter().map(canonical_form).collect(),
        YamlKind::Map(_) => {
            let members = at.entries().into_iter();
            members.map(|(name, at)| (name.text().to_owned(), canonical_form(at))).collect()
        }
    }
}
