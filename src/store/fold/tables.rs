//! All projections of the record, folded together. Each has its own position, so that one that is new, or was emptied,
//! catches up with the others.

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::{Connection, params};
use serde_json::Value;

use super::calls::Calls;
use super::counters::Counters;
use super::counts::Counts;
use super::grants::Grants;
use super::keys::Keys;
use super::open::Open;
use super::readings::Readings;
use super::results::{EventResult, Results};
use super::steps::Steps;
use super::stops::Stops;
use crate::store::chain::ChainEvent;
use crate::store::error::StoreError;
use crate::store::projection::{Event, FreshEvent, Projection};

/// The most events that are kept in memory for the next fold, which comes after far fewer.
const FRESH: usize = 4096;

pub(in crate::store) struct Tables {
    calls: Calls,
    steps: Steps,
    keys: Keys,
    open: Open,
    counts: Counts,
    results: Results,
    counters: Counters,
    readings: Readings,
    grants: Grants,
    stops: Stops,
    /// The newest events, as they were appended.
    fresh: Vec<FreshEvent>,
    /// The event through which each is folded; None: to be read.
    positions: Option<HashMap<String, i64>>,
}

impl Tables {
    /// `keep_keys`: how long a key is remembered after its call has ended.
    pub(in crate::store) fn new(keep_keys: Duration) -> Tables {
        Tables {
            calls: Calls::default(),
            steps: Steps,
            keys: Keys { keep: keep_keys },
            open: Open::default(),
            counts: Counts::default(),
            results: Results::default(),
            counters: Counters::default(),
            readings: Readings,
            grants: Grants,
            stops: Stops,
            fresh: Vec::new(),
            positions: None,
        }
    }

    /// For somebody who folds for himself: how long keys are remembered plays no part in what is read.
    pub(in crate::store) fn of_a_reader() -> Tables {
        Tables::new(Duration::ZERO)
    }

    /// In the order in which they are folded: `calls` first, which knows whose event it is.
    fn all(&mut self) -> [&mut dyn Projection; 10] {
        let Tables { calls, steps, keys, open, counts, results, counters, readings, grants, stops, .. } =
            self;
        [calls, steps, keys, open, counts, results, counters, readings, grants, stops]
    }

    fn positions(&mut self, db: &Connection) -> Result<HashMap<String, i64>, StoreError> {
        if let Some(known) = &self.positions {
            return Ok(known.clone());
        }
        let mut statement = db.prepare_cached("SELECT name, folded FROM projections")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let known: HashMap<String, i64> = rows.collect::<Result<_, _>>()?;
        self.positions = Some(known.clone());
        Ok(known)
    }

    /// The event through which all of them are folded.
    pub(in crate::store) fn folded(&mut self, db: &Connection) -> Result<i64, StoreError> {
        let known = self.positions(db)?;
        let each = self.all().into_iter().map(|one| known.get(one.name()).copied().unwrap_or(0)).min();
        Ok(each.unwrap_or(0))
    }

    /// How many events are not folded yet when the newest is `head`, as far as that is known without asking.
    pub(in crate::store) fn behind(&self, head: i64) -> i64 {
        let folded = self.positions.iter().flat_map(HashMap::values).min().copied();
        head.saturating_sub(folded.unwrap_or(0))
    }

    /// Begins behind the last run, whose newest event is `head`. Positions beyond it are somebody else's, or the events are
    /// gone: all is folded again.
    pub(in crate::store) fn begin(&mut self, db: &Connection, head: i64) -> Result<(), StoreError> {
        if self.positions(db)?.values().all(|place| *place <= head) {
            return Ok(());
        }
        log::error!("the record was changed from outside: tables had followed events that are gone");
        self.clear(db)?;
        db.execute("UPDATE projections SET folded = ?1 WHERE folded > ?1", [head])?;
        self.positions = None;
        Ok(())
    }

    /// Folds the next events, at most `most`, in the caller's transaction. Gives the event through which all are folded
    /// then, and the results that are to be kept.
    pub(in crate::store) fn fold(
        &mut self,
        db: &Connection,
        most: i64,
    ) -> Result<(i64, Vec<EventResult>), StoreError> {
        let (from, before) = (self.folded(db)?, self.positions(db)?);
        let through = self.each_event(db, (from, most), &before)?;
        let mut after = before.clone();
        for one in self.all() {
            let place = before.get(one.name()).copied().unwrap_or(0);
            if place < through {
                one.write(db, place, through)?;
                let sql = "INSERT OR REPLACE INTO projections (name, folded) VALUES (?, ?)";
                db.prepare_cached(sql)?.execute(params![one.name(), through])?;
                after.insert(one.name().to_owned(), through);
            }
        }
        self.positions = Some(after);
        Ok((through, std::mem::take(&mut self.results.gathered)))
    }

    /// Takes in an event that was appended to those it follows.
    pub(in crate::store) fn keep(&mut self, event: ChainEvent, body: &Value) {
        if self.fresh.len() < FRESH {
            self.fresh.push(FreshEvent::new(event, body));
        } else {
            self.fresh.clear();
        }
    }

    /// Hands each of the next events to those that have not seen it. Gives the last.
    fn each_event(
        &mut self,
        db: &Connection,
        (from, most): (i64, i64),
        before: &HashMap<String, i64>,
    ) -> Result<i64, StoreError> {
        let fresh = std::mem::take(&mut self.fresh);
        if fresh.first().is_some_and(|event| event.seq() == from.saturating_add(1)) {
            fresh.iter().try_for_each(|event| self.hand_out(db, &event.event(), before))?;
            return Ok(fresh.last().map_or(from, FreshEvent::seq));
        }
        let sql = format!("SELECT {} FROM events WHERE seq > ? ORDER BY seq LIMIT ?", Event::COLUMNS);
        let mut statement = db.prepare_cached(&sql)?;
        let mut rows = statement.query([from, most])?;
        let mut through = from;
        while let Some(row) = rows.next()? {
            let event = Event::read(row)?;
            through = event.seq;
            self.hand_out(db, &event, before)?;
        }
        Ok(through)
    }

    fn hand_out(
        &mut self,
        db: &Connection,
        event: &Event<'_>,
        before: &HashMap<String, i64>,
    ) -> Result<(), StoreError> {
        let unseen = |name| before.get(name).is_none_or(|place| *place < event.seq);
        if unseen(self.calls.name()) {
            self.calls.fold(db, event, None)?;
        }
        let call = self.calls.subject(db, event)?;
        for one in self.all().into_iter().skip(1).filter(|one| unseen(one.name())) {
            one.fold(db, event, call.as_ref())?;
        }
        Ok(())
    }

    /// Empties what can be folded again, which is what comes next.
    pub(in crate::store) fn clear(&mut self, db: &Connection) -> Result<(), StoreError> {
        for one in self.all().into_iter().rev() {
            if one.clear(db)? {
                db.prepare_cached("DELETE FROM projections WHERE name = ?")?.execute([one.name()])?;
            }
        }
        self.positions = None;
        Ok(())
    }

    /// The transaction is undone: positions are those of the database again.
    pub(in crate::store) fn undo(&mut self) {
        self.positions = None;
        self.fresh.clear();
        self.all().into_iter().for_each(|one| one.forget());
    }
}
