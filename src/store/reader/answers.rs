//! How people have answered of late, for an owner who may have come to say yes without looking.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::connection::Reader;
use crate::base::clock::Timestamp;
use crate::store::error::StoreError;

/// The newest calls that are looked at: a page must not wait for a long record.
const NEWEST: i64 = 50_000;
/// More questions of one rule than this, all approved, say something about the rule.
const MANY: u32 = 20;

/// The answers of some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answers {
    pub(crate) approved: u32,
    pub(crate) denied: u32,
    /// From the question to its answer.
    pub(crate) median: Option<Duration>,
    /// The rules of which many questions were asked and all approved, with how many.
    pub(crate) always_approved: Vec<(String, u32)>,
}

/// The questions of one rule.
#[derive(Default)]
struct OfRule {
    approved: u32,
    others: u32,
}

impl Reader {
    /// What people have answered to questions asked since then.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) fn answers(&mut self, since: Timestamp) -> Result<Answers, StoreError> {
        let tx = self.snapshot()?;
        let sql = "SELECT c.resolution, c.resolved_at - c.at, e.body -> '$.rule'
                   FROM (SELECT * FROM calls ORDER BY seq DESC LIMIT ?) c JOIN events e ON e.seq = c.seq
                   WHERE c.at >= ? AND c.resolution IS NOT NULL AND c.resolved_by IS NOT 'cool_down'";
        let mut statement = tx.prepare(sql)?;
        let mut rows = statement.query([NEWEST, since.0])?;
        let (mut answers, mut waits, mut rules) = (Answers::default(), Vec::new(), BTreeMap::new());
        while let Some(row) = rows.next()? {
            let (word, wait): (String, i64) = (row.get(0)?, row.get(1)?);
            let rule: Option<String> = row.get(2)?;
            let of_rule: &mut OfRule = rules.entry(name(rule.as_deref())).or_default();
            match word.as_str() {
                "approved" => {
                    (answers.approved, of_rule.approved) = (answers.approved + 1, of_rule.approved + 1)
                }
                "denied" => (answers.denied, of_rule.others) = (answers.denied + 1, of_rule.others + 1),
                _nobody_answered => of_rule.others += 1,
            }
            if matches!(word.as_str(), "approved" | "denied") {
                waits.push(u64::try_from(wait).unwrap_or_default());
            }
        }
        waits.sort_unstable();
        answers.median = waits.get(waits.len() / 2).map(|wait| Duration::from_millis(*wait));
        let always = |(name, rule): (Option<String>, OfRule)| {
            name.filter(|_| rule.others == 0 && rule.approved > MANY).map(|name| (name, rule.approved))
        };
        answers.always_approved = rules.into_iter().filter_map(always).collect();
        Ok(answers)
    }
}

/// What people know a recorded rule by: its description, else its pattern. None for a question that no rule asked.
fn name(rule: Option<&str>) -> Option<String> {
    let rule: Value = serde_json::from_str(rule?).ok()?;
    let text = |name: &str| rule.get(name).and_then(Value::as_str).map(str::to_owned);
    text("description").or_else(|| text("pattern"))
}
