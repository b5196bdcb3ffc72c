//! Counts over time for the charts of the page: calls by decision, waiting times, the tools and agents most in use.

use std::time::Duration;

use rusqlite::Connection;

use super::connection::Reader;
use super::row::Filter;
use super::scope::{Scope, number};
use crate::base::clock::Timestamp;
use crate::base::zone::Zone;
use crate::store::counts;
use crate::store::error::StoreError;

/// Milliseconds of an hour and of a day.
const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;

/// A time of at most so many days is shown by the hour.
const DAYS_BY_HOUR: i64 = 3;
/// More calls than this are not looked at one by one, as hours need it.
const CALLS_BY_HOUR: u64 = 100_000;
/// More calls than this are not looked at one by one for the days of a zone; the days that are counted already are UTC's.
const CALLS_BY_LOCAL_DAY: u64 = 20_000;
/// What all zones' days begin with a multiple of.
const QUARTER: i64 = HOUR / 4;
/// Bars that fit beside each other; more days are put together in weeks, more weeks in four.
const MAX_BARS: i64 = 120;
/// Names in a chart.
const TOP: usize = 10;

/// Seconds at which the next class of waiting times begins; there is one class more than there are numbers here.
pub(crate) const WAITS: [u32; 7] = counts::WAITS;

/// What one bar stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChartStep {
    Hour,
    Days(i64),
}

impl ChartStep {
    /// Its length in milliseconds.
    pub(crate) fn length(self) -> i64 {
        match self {
            ChartStep::Hour => HOUR,
            ChartStep::Days(days) => days.saturating_mul(DAY),
        }
    }
}

/// Calls of one step of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bar {
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
pub(crate) struct Charts {
    pub step: ChartStep,
    /// Whether days are those of UTC, although another zone was asked for: of very many calls.
    pub(crate) in_utc: bool,
    /// Without gaps, oldest first; none when there are no calls.
    pub(crate) bars: Vec<Bar>,
    /// Questions that a person answered, by how long that took; see [`WAITS`].
    pub waits: [u64; WAITS.len() + 1],
    /// The tools most in use, most used first.
    pub tools: Vec<(String, u64)>,
    pub agents: Vec<(String, u64)>,
}

impl Reader {
    /// [`Reader::charts`], or None when they take longer than `patience`; its own [`Reader::limit`].
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) fn charts_within(
        &mut self,
        patience: Duration,
        filter: &Filter,
        zone: &Zone,
    ) -> Result<Option<Charts>, StoreError> {
        self.limit(patience)?;
        match self.charts(filter, zone) {
            Err(StoreError::TooLong) => Ok(None),
            charts => charts.map(Some),
        }
    }

    /// Counts the calls that pass `filter`, without regard to its text and limit, by the days of `zone`.
    ///
    /// # Errors
    /// When the database cannot be read; [`StoreError::TooLong`] after [`Reader::limit`].
    pub(crate) fn charts(&mut self, filter: &Filter, zone: &Zone) -> Result<Charts, StoreError> {
        let tx = self.snapshot()?;
        let scope = Scope::new(&tx, filter)?;
        let cells = by_day(&tx, &scope)?;
        let mut waits = [0; WAITS.len() + 1];
        for cell in &cells {
            if let Some(class) = usize::try_from(cell.waited).ok().and_then(|class| waits.get_mut(class)) {
                *class += cell.n;
            }
        }
        let all: u64 = cells.iter().map(|cell| cell.n).sum();
        let is_utc = *zone == Zone::default();
        let in_utc = !is_utc && all > CALLS_BY_LOCAL_DAY;
        let days = if is_utc || in_utc { cells } else { by_local_day(&tx, &scope, zone)? };
        let zone = if in_utc { &Zone::default() } else { zone };
        let (step, bars) = bars(&tx, &scope, filter, &days, zone)?;
        let (tools, agents) = (top(&tx, &scope, "tool")?, top(&tx, &scope, "agent")?);
        Ok(Charts { step, in_utc: in_utc && step != ChartStep::Hour, bars, waits, tools, agents })
    }
}

struct Cell {
    /// Days or shorter spans since 1970.
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

/// Each quarter of an hour in the day that it is in where `zone` is.
fn by_local_day(db: &Connection, scope: &Scope, zone: &Zone) -> Result<Vec<Cell>, StoreError> {
    let mut cells = each(db, scope, QUARTER)?;
    for cell in &mut cells {
        cell.at = zone.wall(Timestamp(cell.at.saturating_mul(QUARTER))).0.div_euclid(DAY);
    }
    Ok(cells)
}

/// Counts by spans of `unit` milliseconds.
fn each(db: &Connection, scope: &Scope, unit: i64) -> Result<Vec<Cell>, StoreError> {
    let columns = format!("at / {unit} AS span, coalesce(decision, '') AS decision");
    let sql =
        format!("SELECT span, decision, count(*) FROM ({}) GROUP BY 1, 2 ORDER BY 1", scope.calls(&columns));
    scope.query(db, &sql, |row| {
        Ok(Cell { at: row.get(0)?, decision: row.get(1)?, waited: -1, n: number(row, 2)? })
    })
}

fn bars(
    db: &Connection,
    scope: &Scope,
    filter: &Filter,
    cells: &[Cell],
    zone: &Zone,
) -> Result<(ChartStep, Vec<Bar>), StoreError> {
    let (Some(first), Some(last)) = (cells.first(), cells.last()) else {
        return Ok((ChartStep::Hour, Vec::new()));
    };
    let midnight = |day: i64| zone.when(Timestamp(day.saturating_mul(DAY))).0;
    let (from, to) = (midnight(first.at), midnight(last.at.saturating_add(1)));
    let (from, to) =
        (filter.since.map_or(from, |at| at.0.max(from)), filter.until.map_or(to, |at| at.0.min(to)));
    let all: u64 = cells.iter().map(|cell| cell.n).sum();
    if to.saturating_sub(from) <= DAYS_BY_HOUR * DAY && all <= CALLS_BY_HOUR {
        let cells = each(db, scope, HOUR)?;
        return Ok((ChartStep::Hour, filled(&cells, HOUR, ChartStep::Hour)));
    }
    let days = last.at.saturating_sub(first.at).saturating_add(1);
    let step = [1, 7].into_iter().find(|step| days / step <= MAX_BARS).unwrap_or((days / MAX_BARS).max(28));
    let mut bars = filled(cells, DAY, ChartStep::Days(step));
    bars.iter_mut().for_each(|bar| bar.from = zone.when(bar.from));
    Ok((ChartStep::Days(step), bars))
}

/// Bars from the first to the last of `cells`, whose `at` counts in `unit`s.
fn filled(cells: &[Cell], unit: i64, step: ChartStep) -> Vec<Bar> {
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
