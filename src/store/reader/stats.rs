//! Counts over the record: `audit stats`.

use rusqlite::{Connection, params};
use serde_json::{Map, Value, json};

use super::Reader;
use crate::base::clock::Timestamp;
use crate::store::error::StoreError;

/// Tools named in `top_tools`.
const TOP: usize = 10;

/// Milliseconds of a day.
const DAY: i64 = 24 * 60 * 60 * 1000;

/// Counts of the requests of some time.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// All of them.
    pub total_requests: i64,
    /// Those of the last 24 hours before `now`.
    pub last_24h: i64,
    /// Of the questions that a human answered, the part that was approved, 0 to 1; None when there was none.
    pub approval_rate: Option<f64>,
    /// The most used tools with their counts, most used first.
    pub top_tools: Vec<(String, i64)>,
    /// Requests by decision.
    pub decisions: Vec<(String, i64)>,
    /// Requests by outcome.
    pub outcomes: Vec<(String, i64)>,
}

impl Stats {
    /// The seed's shape.
    pub fn to_json(&self) -> Value {
        let tools = self.top_tools.iter().map(|(tool, count)| json!({"tool_name": tool, "count": count}));
        let breakdown = |counts: &[(String, i64)]| {
            counts.iter().map(|(word, count)| (word.clone(), Value::from(*count))).collect::<Map<_, _>>()
        };
        json!({
            "total_requests": self.total_requests,
            "last_24h": self.last_24h,
            "approval_rate": self.approval_rate,
            "top_tools": tools.collect::<Vec<_>>(),
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
        let (from, to) = (since.map_or(i64::MIN, |at| at.0), until.map_or(i64::MAX, |at| at.0));
        let tx = self.snapshot()?;
        let resolutions = counted(&tx, "resolution", from, to)?;
        let answered = |word| resolutions.iter().find(|(r, _)| r == word).map_or(0, |(_, count)| *count);
        let mut top_tools = counted(&tx, "tool", from, to)?;
        top_tools.truncate(TOP);
        let outcomes = counted(&tx, "outcome", from, to)?;
        Ok(Stats {
            total_requests: outcomes.iter().map(|(_, count)| count).sum(),
            last_24h: count(&tx, from.max(now.0.saturating_sub(DAY)), to)?,
            approval_rate: rate(
                answered("approved"),
                answered("denied").saturating_sub(unasked(&tx, from, to)?),
            ),
            top_tools,
            decisions: counted(&tx, "decision", from, to)?,
            outcomes,
        })
    }
}

fn rate(approved: i64, denied: i64) -> Option<f64> {
    let answered = approved.saturating_add(denied);
    (answered > 0).then(|| approved as f64 / answered as f64)
}

/// Denials that no human was asked for.
fn unasked(db: &Connection, from: i64, to: i64) -> Result<i64, StoreError> {
    let sql = "SELECT count(*) FROM calls WHERE resolution = 'denied' AND resolved_by = 'cool_down'
               AND at >= ? AND at < ?";
    Ok(db.query_row(sql, [from, to], |row| row.get(0))?)
}

fn count(db: &Connection, from: i64, to: i64) -> Result<i64, StoreError> {
    Ok(db.query_row("SELECT count(*) FROM calls WHERE at >= ? AND at < ?", [from, to], |row| row.get(0))?)
}

/// Requests by the values of `column` (one of our own names), most frequent first.
fn counted(db: &Connection, column: &str, from: i64, to: i64) -> Result<Vec<(String, i64)>, StoreError> {
    let sql = format!(
        "SELECT {column}, count(*) FROM calls WHERE {column} IS NOT NULL AND at >= ? AND at < ?
         GROUP BY {column} ORDER BY count(*) DESC, {column}"
    );
    let mut statement = db.prepare(&sql)?;
    let counts = statement.query_map(params![from, to], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(counts.collect::<Result<_, _>>()?)
}
