//! Counts over the record: `audit stats`.

use rusqlite::Connection;
use serde_json::{Map, Value, json};

use super::charts::top;
use super::connection::Reader;
use super::row::Filter;
use super::scope::Scope;
use crate::base::clock::Timestamp;
use crate::store::error::StoreError;

/// Milliseconds of a day.
const DAY: i64 = 24 * 60 * 60 * 1000;

/// Counts of the requests of some time.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    pub total_requests: i64,
    /// Those of the last 24 hours before `now`.
    pub last_24h: i64,
    /// Of the questions that a human answered, the part that was approved, 0 to 1; None when there was none.
    pub approval_rate: Option<f64>,
    /// The most used tools with their counts, most used first.
    pub top_tools: Vec<(String, u64)>,
    /// The agents that asked most with their counts, most first.
    pub top_agents: Vec<(String, u64)>,
    pub decisions: Vec<(String, i64)>,
    pub outcomes: Vec<(String, i64)>,
}

impl Stats {
    /// The seed's shape.
    pub fn to_json(&self) -> Value {
        let tools = self.top_tools.iter().map(|(tool, count)| json!({"tool_name": tool, "count": count}));
        let agents = self.top_agents.iter().map(|(agent, count)| json!({"agent_id": agent, "count": count}));
        let breakdown = |counts: &[(String, i64)]| {
            counts.iter().map(|(word, count)| (word.clone(), Value::from(*count))).collect::<Map<_, _>>()
        };
        json!({
            "total_requests": self.total_requests,
            "last_24h": self.last_24h,
            "approval_rate": self.approval_rate,
            "top_tools": tools.collect::<Vec<_>>(),
            "top_agents": agents.collect::<Vec<_>>(),
            "decision_breakdown": breakdown(&self.decisions),
            "outcome_breakdown": breakdown(&self.outcomes),
        })
    }
}

impl Reader {
    /// Counts the requests from `since` to before `until`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn stats(
        &mut self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Stats, StoreError> {
        let tx = self.snapshot()?;
        let scope = Scope::new(&tx, &Filter { since, until, ..Filter::default() })?;
        let by_people = |word| people(&tx, &scope, word);
        let outcomes = counted(&tx, &scope, "outcome")?;
        let yesterday = now.0.saturating_sub(DAY).max(since.map_or(i64::MIN, |at| at.0));
        let recent = Filter { since: Some(Timestamp(yesterday)), until, ..Filter::default() };
        let last_24h = Scope::new(&tx, &recent)?.total(&tx)?;
        Ok(Stats {
            total_requests: outcomes.iter().map(|(_, count)| count).sum(),
            last_24h: i64::try_from(last_24h).unwrap_or(i64::MAX),
            approval_rate: rate(by_people("approved")?, by_people("denied")?),
            top_tools: top(&tx, &scope, "tool")?,
            top_agents: top(&tx, &scope, "agent")?,
            decisions: counted(&tx, &scope, "decision")?,
            outcomes,
        })
    }
}

fn rate(approved: i64, denied: i64) -> Option<f64> {
    let answered = approved.saturating_add(denied);
    (answered > 0).then(|| approved as f64 / answered as f64)
}

/// The calls of `scope` by the values of `column` (one of our own names), most frequent first.
fn counted(db: &Connection, scope: &Scope, column: &str) -> Result<Vec<(String, i64)>, StoreError> {
    let sql = format!(
        "SELECT {column}, sum(n) FROM ({}) WHERE {column} <> '' GROUP BY 1 ORDER BY 2 DESC, 1",
        scope.counts(column)
    );
    scope.query(db, &sql, |row| Ok((row.get(0)?, row.get(1)?)))
}

/// The questions of `scope` that a person answered so.
fn people(db: &Connection, scope: &Scope, resolution: &str) -> Result<i64, StoreError> {
    let sql = format!(
        "SELECT coalesce(sum(n), 0) FROM ({}) WHERE waited >= 0 AND resolution = '{resolution}'",
        scope.counts("resolution, waited")
    );
    Ok(scope.query(db, &sql, |row| row.get(0))?.first().copied().unwrap_or(0))
}
