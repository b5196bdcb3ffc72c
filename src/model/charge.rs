//! What a call costs of what the owner has bounded. The event of its claim carries it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::agent::AgentId;
use super::limit::CounterKey;
use super::tally::Part;
use crate::base::clock::Timestamp;
use crate::base::decimal::Decimal;
use crate::base::digest::Digest;

/// What one call counts under one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The limit's name.
    pub limit: Arc<str>,
    pub counter: CounterId,
    /// Who made the call.
    pub agent: AgentId,
    pub part: Part,
    pub how: Charging,
    /// The session that the counter ends with; 0 where it is no session's.
    pub session: SessionNumber,
}

/// Tells sessions of one name apart: a later one has a higher number. It is about when the session began, in milliseconds
/// since 1970; 0 for one that began before numbers were kept.
pub type SessionNumber = i64;

/// A counter among all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CounterId {
    /// [`Limit::identity`](super::Limit::identity).
    pub limit: Digest,
    pub key: CounterKey,
}

/// What becomes of the amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charging {
    /// It is added to what has been counted.
    Sum,
    /// It is the time of the call in seconds since 1970; the first of the window stays.
    First,
}

impl Charge {
    pub(crate) fn to_json(&self) -> Value {
        let Charge { limit, counter, agent, part, how, session } = self;
        let mut shown = json!({
            "limit": **limit,
            "of": counter.limit.hex(),
            "key": counter.key.to_json(),
            "amount": part.amount,
        });
        if let Some(members) = shown.as_object_mut() {
            // Absent: as long as the session lives.
            let until = (part.until != Part::OPEN).then(|| ("until".to_owned(), part.until.0.into()));
            members.extend(until);
            let by = (counter.key.agent.as_ref() != Some(agent)).then(|| agent.as_str().into());
            members.extend(by.map(|by| ("by".to_owned(), by)));
            let first = (*how == Charging::First).then(|| ("first".to_owned(), true.into()));
            let begun = (*session != 0).then(|| ("begun".to_owned(), (*session).into()));
            members.extend(first.into_iter().chain(begun));
        }
        shown
    }

    /// Reads what [`Charge::to_json`] made.
    pub fn of_json(json: &Value) -> Option<Charge> {
        let text = |name: &str| json.get(name).and_then(Value::as_str);
        let amount: Decimal =
            text("amount")?.parse().ok().filter(|amount: &Decimal| !amount.is_negative())?;
        let first = json.get("first").and_then(Value::as_bool).unwrap_or_default();
        let key = CounterKey::of_json(json.get("key")?)?;
        let agent = text("by").map(AgentId::configured).or_else(|| key.agent.clone())?;
        Some(Charge {
            limit: text("limit")?.into(),
            counter: CounterId { limit: Digest::parse(text("of")?)?, key },
            agent,
            part: Part {
                until: json.get("until").map_or(Some(Part::OPEN), |at| at.as_i64().map(Timestamp))?,
                amount,
            },
            how: if first { Charging::First } else { Charging::Sum },
            session: json.get("begun").and_then(Value::as_i64).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_is_read_back_as_it_was_written() {
        let phone = AgentId::configured("phone");
        let own = CounterKey { agent: Some(phone.clone()), ..CounterKey::default() };
        for (key, how, until, session) in [
            (CounterKey::default(), Charging::Sum, Part::OPEN, 1_796_000_000_000),
            (own, Charging::First, Timestamp(1_796_000_000_000), 0),
        ] {
            let counter = CounterId { limit: Digest::sha256(b"x"), key };
            let part = Part { until, amount: "0.3".parse().unwrap() };
            let charge = Charge { limit: "a".into(), counter, agent: phone.clone(), part, how, session };
            let json = charge.to_json();
            assert_eq!(Charge::of_json(&json), Some(charge));
            for member in ["limit", "of", "key", "amount"] {
                let mut without = json.clone();
                without.as_object_mut().unwrap().remove(member);
                assert_eq!(Charge::of_json(&without), None, "{member}");
            }
        }
        let of = Digest::sha256(b"").hex();
        let negative = json!({"limit": "a", "of": of, "key": {}, "by": "phone", "amount": "-1"});
        assert_eq!(Charge::of_json(&negative), None);
    }
}
