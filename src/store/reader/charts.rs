//! Counts over time for the charts of the page: calls by decision, waiting times, the tools and agents most in use.

use std::time::Duration;

use rusqlite::Connection;

use super::Reader;
use super::list::Filter;
use super::scope::{Scope, number};
use crate::base::clock::Timestamp;
use crate::store::counts;
use crate::store::error::StoreError;

/// Milliseconds of an hour and of a day.
const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;

/// A time of at most so many days is shown by the hour.
const DAYS_BY_HOUR: i64 = 3;
/// More calls than this are not looked at one by one, as hours need it.
const CALLS_BY_HOUR: u64 = 100_000;
/// Bars that fit beside each other; more days are put together in weeks, more weeks in four.
const MAX_BARS: i64 = 120;
/// Names in a chart.
const TOP: usize = 10;

/// Seconds at which the next class of waiting times begins; there is one class more than there are numbers here.
pub const WAITS: [u32; 7] = counts::WAITS;

/// What one bar stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An hour.
    Hour,
    /// So many days.
    Days(i64),
}

impl Step {
    /// Its length in milliseconds.
    pub fn length(self) -> i64 {
        match self {
            Step::Hour => HOUR,
            Step::Days(days) => days.saturating_mul(DAY),
        }
    }
}

/// Calls of one step of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// When it begins.
    pub from: Timestamp,
    /// Calls that the policy allowed.
    pub allow: u64,
    /// Calls that were put to a person.
    pub ask: u64,
    /// Calls that the policy denied.
    pub deny: u64,
    /// Requests that were refused before the policy saw them.
    pub refused: u64,
}

/// Counts of the calls of some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charts {
    /// What a bar stands for.
    pub step: Step,
    /// Without gaps, oldest first; none when there are no calls.
    pub bars: Vec<Bar>,
    /// Questions that a person answered, by how long that took; see [`WAITS`].
    pub waits: [u64; WAITS.len() + 1],
    /// The tools most in use, most used first.
    pub tools: Vec<(String, u64)>,
    /// The agents, busiest first.
    pub agents: Vec<(String, u64)>,
}

impl Reader {
    /// [`Reader::charts`], or None when they take longer than `patience`; its own [`Reader::limit`].
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn charts_within(
        &mut self,
        patience: Duration,
        filter: &Filter,
    ) -> Result<Option<Charts>, StoreError> {
        self.limit(patience)?;
        match self.charts(filter) {
            Err(StoreError::TooLong) => Ok(None),
            charts => charts.map(Some),
        }
    }

    /// Counts the calls that pass `filter`, without regard to its text and limit.
    ///
    /// # Errors
    /// When the database cannot be read; [`StoreError::TooLong`] after [`Reader::limit`].
    pub fn charts(&mut self, filter: &Filter) -> Result<Charts, StoreError> {
        let tx = self.snapshot()?;
        let scope = Scope::of(&tx, filter)?;
        let cells = by_day(&tx, &scope)?;
        let mut waits = [0; WAITS.len() + 1];
        for cell in &cells {
            if let Some(class) = usize::try_from(cell.waited).ok().and_then(|class| waits.get_mut(class)) {
                *class += cell.n;
            }
        }
        let (step, bars) = bars(&tx, &scope, filter, &cells)?;
        let (tools, agents) = (top(&tx, &scope, "tool")?, top(&tx, &scope, "agent")?);
        Ok(Charts { step, bars, waits, tools, agents })
    }
}

struct Cell {
    /// Days or hours since 1970.
    at: i64,
    decision: String,
    waited: i64,
    n: u64,
}

fn by_day(db: &Connection, scope: &Scope) -> Result<Vec<Cell>, StoreError> {
    let sql = format!(
        "SELECT day, decision, waited, sum(n) FROM ({}) GROUP BY 1, 2, 3 ORDER BY 1",
        scope.counts("day, decision, waited")
    );
    scope.query(db, &sql, |row| {
        Ok(Cell { at: row.get(0)?, decision: row.get(1)?, waited: row.get(2)?, n: number(row, 3)? })
    })
}

fn by_hour(db: &Connection, scope: &Scope) -> Result<Vec<Cell>, StoreError> {
    let columns = format!("at / {HOUR} AS hour, coalesce(decision, '') AS decision");
    let sql =
        format!("SELECT hour, decision, count(*) FROM ({}) GROUP BY 1, 2 ORDER BY 1", scope.calls(&columns));
    scope.query(db, &sql, |row| {
        Ok(Cell { at: row.get(0)?, decision: row.get(1)?, waited: -1, n: number(row, 2)? })
    })
}

fn bars(
    db: &Connection,
    scope: &Scope,
    filter: &Filter,
    cells: &[Cell],
) -> Result<(Step, Vec<Bar>), StoreError> {
    let (Some(first), Some(last)) = (cells.first(), cells.last()) else {
        return Ok((Step::Hour, Vec::new()));
    };
    let (from, to) = (first.at.saturating_mul(DAY), last.at.saturating_add(1).saturating_mul(DAY));
    let (from, to) =
        (filter.since.map_or(from, |at| at.0.max(from)), filter.until.map_or(to, |at| at.0.min(to)));
    let all: u64 = cells.iter().map(|cell| cell.n).sum();
    if to.saturating_sub(from) <= DAYS_BY_HOUR * DAY && all <= CALLS_BY_HOUR {
        let cells = by_hour(db, scope)?;
        return Ok((Step::Hour, filled(&cells, HOUR, Step::Hour)));
    }
    let days = last.at.saturating_sub(first.at).saturating_add(1);
    let step = [1, 7].into_iter().find(|step| days / step <= MAX_BARS).unwrap_or((days / MAX_BARS).max(28));
    Ok((Step::Days(step), filled(cells, DAY, Step::Days(step))))
}

/// Bars from the first to the last of `cells`, whose `at` counts in `unit`s.
fn filled(cells: &[Cell], unit: i64, step: Step) -> Vec<Bar> {
    let (Some(first), Some(last)) = (cells.first(), cells.last()) else { return Vec::new() };
    let (start, length) = (first.at.saturating_mul(unit), step.length());
    let place =
        |at: i64| usize::try_from((at.saturating_mul(unit).saturating_sub(start)) / length).unwrap_or(0);
    let empty = |n: usize| {
        let from = start.saturating_add(i64::try_from(n).unwrap_or(0).saturating_mul(length));
        Bar { from: Timestamp(from), allow: 0, ask: 0, deny: 0, refused: 0 }
    };
    let mut bars: Vec<Bar> = (0..=place(last.at)).map(empty).collect();
    for cell in cells {
        let Some(bar) = bars.get_mut(place(cell.at)) else { continue };
        match cell.decision.as_str() {
            "allow" => bar.allow += cell.n,
            "ask" => bar.ask += cell.n,
            "deny" => bar.deny += cell.n,
            _refused => bar.refused += cell.n,
        }
    }
    bars
}

/// The values of `column` that most of these calls have, with how many. The database keeps no more than it gives:
/// agents can invent as many names as they like.
pub(super) fn top(db: &Connection, scope: &Scope, column: &str) -> Result<Vec<(String, u64)>, StoreError> {
    let sql = format!(
        "SELECT {column}, sum(n) FROM ({}) WHERE {column} <> '' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {TOP}",
        scope.counts(column)
    );
    scope.query(db, &sql, |row| Ok((row.get(0)?, number(row, 1)?)))
}
