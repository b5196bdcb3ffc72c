//! What is counted under limits. The events of claims carry every charge; the table beside them holds what still counts,
//! so that a start need not read a year of events, nor loses what retention drops.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::{Connection, Row, params};
use serde_json::Value;

use super::chain;
use super::entry::{KeptCounter, LiveSessions, SessionCall};
use super::error::StoreError;
use super::kind;
use super::projection::Body;
use crate::base::clock::Timestamp;
use crate::base::decimal::Decimal;
use crate::base::digest::Digest;
use crate::model::{AgentId, Charge, Charging, CounterKey, Part, SessionNumber, Tally};

/// Charges that wait to be written, at most: some tens of megabytes.
const MOST_WAITING: usize = 65_536;

/// Rows dropped per step of [`expire`].
const STEP: usize = 500;

/// Where it is kept through which event [`end_sessions`] knew when sessions last made a call; and how many of the newest
/// events are looked at where it is not.
const CALLED: &str = "sessions.called";
const LOOK_BACK: i64 = 10_000;

/// The name of this projection.
pub(super) const NAME: &str = "counters";

/// Charges that the table does not have yet, in its order: of a million counters, those whose rows lie together are
/// written together.
#[derive(Default)]
pub(super) struct Charges(BTreeMap<(String, String, i64), Charged>);

/// What is charged to one part of a counter.
struct Charged {
    name: Arc<str>,
    agent: AgentId,
    amount: Decimal,
    how: Charging,
    at: Timestamp,
    session: SessionNumber,
}

impl Charges {
    /// Takes in an event: what a claim charges, or that a limit counts anew.
    pub(super) fn fold(
        &mut self,
        db: &Connection,
        kind: &str,
        body: &Body<'_>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        match kind {
            kind::REQUESTED | kind::EXECUTING => {
                let charges = body.get("charges").and_then(Value::as_array);
                charges.into_iter().flatten().try_for_each(|json| self.charge(db, json, at))
            }
            kind::LIMIT_RESET => {
                self.write(db)?;
                forget(db, body.text("of"), body.text("agent"))
            }
            _other => Ok(()),
        }
    }

    /// Counts a charge of a claim that was made at `at`.
    fn charge(&mut self, db: &Connection, json: &Value, at: Timestamp) -> Result<(), StoreError> {
        let Some(Charge { limit: name, counter, agent, part, how, session }) = Charge::of_json(json) else {
            return Ok(());
        };
        let place = (counter.limit.hex(), counter.key.to_json().to_string(), part.until.0);
        let new = Charged { name, agent, amount: part.amount, how, at, session };
        if counter.key.session.is_none() {
            let together = match self.0.get(&place) {
                Some(before) => Charged { amount: new.with(before.amount), ..new },
                None => new,
            };
            self.0.insert(place, together);
            return if self.0.len() < MOST_WAITING { Ok(()) } else { self.write(db) };
        }
        // What an earlier session has counted goes when the later one begins, so its rows must be there.
        match begin(db, (&place.0, &place.1), session, json)? {
            true => new.write(db, &place),
            false => Ok(()),
        }
    }

    /// Writes all of them into the table.
    pub(super) fn write(&mut self, db: &Connection) -> Result<(), StoreError> {
        std::mem::take(&mut self.0).iter().try_for_each(|(place, charged)| charged.write(db, place))
    }

    /// The transaction is undone.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

impl Charged {
    /// The amount together with what was counted before.
    fn with(&self, before: Decimal) -> Decimal {
        match self.how {
            Charging::Sum => before.checked_add(self.amount).unwrap_or(Decimal::MAX),
            Charging::First => before.min(self.amount),
        }
    }

    fn write(&self, db: &Connection, (of, key, until): &(String, String, i64)) -> Result<(), StoreError> {
        let Charged { name, agent, amount: new, how, at, session } = self;
        let (name, agent, first) = (&**name, agent.as_str(), *how == Charging::First);
        let sql = "INSERT INTO counters (of, key, until, name, agent, amount, first, at, begun)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
        let row = params![of, key, until, name, agent, new.to_string(), first, at.0, session];
        if db.prepare_cached(sql)?.execute(row)? > 0 {
            return Ok(());
        }
        let sql = "SELECT amount FROM counters WHERE of = ? AND key = ? AND until = ?";
        let kept: String = db.prepare_cached(sql)?.query_row(params![of, key, until], |row| row.get(0))?;
        let amount = self.with(amount(&kept)?).to_string();
        let sql = "UPDATE counters SET name = ?, agent = ?, amount = ?, first = ?, at = ?, begun = ?
                   WHERE of = ? AND key = ? AND until = ?";
        let row = params![name, agent, amount, first, at.0, session, of, key, until];
        db.prepare_cached(sql)?.execute(row)?;
        Ok(())
    }
}

/// What an earlier session of the same name has counted counts no more. False: it is the later one that counts.
fn begin(
    db: &Connection,
    (of, key): (&str, &str),
    session: SessionNumber,
    charge: &Value,
) -> Result<bool, StoreError> {
    let sql = "SELECT max(begun) FROM counters WHERE of = ? AND key = ?";
    let kept: Option<SessionNumber> =
        db.prepare_cached(sql)?.query_row(params![of, key], |row| row.get(0))?;
    // So earlier programs said that a session had begun.
    let is_anew = charge.get("anew").and_then(Value::as_bool).unwrap_or_default();
    if is_anew || kept.is_some_and(|kept| kept < session) {
        db.prepare_cached("DELETE FROM counters WHERE of = ? AND key = ?")?.execute(params![of, key])?;
    }
    Ok(is_anew || kept.is_none_or(|kept| kept <= session))
}

fn amount(text: &str) -> Result<Decimal, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt(format!("a counter holds {text}")))
}

/// What still counts, by limits. There may be a million counters: what many of them name is kept once.
pub(super) fn read(db: &Connection, now: Timestamp) -> Result<Vec<KeptCounter>, StoreError> {
    let sql =
        "SELECT of, key, until, agent, amount, at, begun FROM counters WHERE until > ? ORDER BY of, key";
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([now.0])?;
    let mut counted: Vec<KeptCounter> = Vec::new();
    let (mut agents, mut last) = (HashMap::new(), (String::new(), String::new()));
    while let Some(row) = rows.next()? {
        let (of, key) = (text(row, 0)?, text(row, 1)?);
        let part = Part { until: Timestamp(row.get(2)?), amount: amount(text(row, 4)?)? };
        let at = Timestamp(row.get(5)?);
        // The parts of a counter follow each other.
        match counted.last_mut().filter(|_| last.0 == of && last.1 == key) {
            Some(counter) => {
                counter.tally.add(part, now);
                counter.last = counter.last.max(at);
            }
            None => {
                let wrong = || StoreError::Corrupt(format!("a counter is called {of} {key}"));
                let json = serde_json::from_str(key).map_err(|_| wrong())?;
                let limit = Digest::parse(of).ok_or_else(wrong)?;
                let mut named = CounterKey::of_json(&json).ok_or_else(wrong)?;
                let mut one = |name: &str| {
                    let known = agents.entry(name.to_owned());
                    known.or_insert_with(|| AgentId::configured(name)).clone()
                };
                named.agent = named.agent.map(|agent| one(agent.as_str()));
                let agent = one(text(row, 3)?);
                let mut tally = Tally::default();
                tally.add(part, now);
                last = (of.to_owned(), key.to_owned());
                let session = row.get(6)?;
                counted.push(KeptCounter { limit, key: Box::new(named), agent, session, tally, last: at });
            }
        }
    }
    Ok(counted)
}

fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r str, StoreError> {
    let text = row.get_ref(column)?.as_str();
    text.map_err(|_| StoreError::Corrupt(format!("column {column} of a counter is no text")))
}

/// A limit counts anew: of this agent, or of all.
fn forget(db: &Connection, of: Option<&str>, agent: Option<&str>) -> Result<(), StoreError> {
    let sql = "DELETE FROM counters WHERE of = ?1 AND (?2 IS NULL OR key ->> '$.agent' = ?2)";
    db.prepare_cached(sql)?.execute(params![of, agent])?;
    Ok(())
}

/// The calls since sessions were last [looked at](end_sessions), the oldest first: those that were not claimed keep a
/// session as well.
pub(super) fn calls_in_sessions(db: &Connection, head: i64) -> Result<Vec<SessionCall>, StoreError> {
    let known = chain::meta(db, CALLED)?.and_then(|text| text.parse().ok());
    let from: i64 = known.unwrap_or_else(|| head.saturating_sub(LOOK_BACK));
    let mut statement = db.prepare("SELECT agent, session, at FROM calls WHERE seq > ? ORDER BY seq")?;
    let call = |row: &Row<'_>| {
        let (agent, session): (String, Option<String>) = (row.get(0)?, row.get(1)?);
        Ok((AgentId::configured(&agent), session.map(Into::into), Timestamp(row.get(2)?)))
    };
    Ok(statement.query_map([from], call)?.collect::<Result<_, _>>()?)
}

/// Forgets sessions that were last charged before, and keeps of those that live when they last made a call, all of those
/// through event `through`. The table has to be folded.
pub(super) fn end_sessions(
    db: &Connection,
    idle_since: Timestamp,
    (live, through): (&LiveSessions, i64),
) -> Result<(), StoreError> {
    chain::set_meta(db, CALLED, &through.to_string())?;
    let sql = "SELECT of, key, begun, max(at) FROM counters WHERE json_type(key, '$.session') IS NOT NULL
               GROUP BY of, key, begun";
    let mut statement = db.prepare_cached(sql)?;
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let counters = statement.query_map([], read)?;
    for counter in counters.collect::<Result<Vec<(String, String, SessionNumber, i64)>, _>>()? {
        let (of, text, begun, at) = counter;
        let key = serde_json::from_str(&text).ok().and_then(|json| CounterKey::of_json(&json));
        let session = key.and_then(|key| Some((key.agent?, key.session?)));
        let lives = session.and_then(|session| live.get(&session)).filter(|session| session.number == begun);
        match lives {
            Some(session) if session.last.0 > at => {
                let sql = "UPDATE counters SET at = ? WHERE of = ? AND key = ? AND begun = ?";
                db.prepare_cached(sql)?.execute(params![session.last.0, of, text, begun])?;
            }
            None if at < idle_since.0 => {
                let sql = "DELETE FROM counters WHERE of = ? AND key = ? AND begun = ?";
                db.prepare_cached(sql)?.execute(params![of, text, begun])?;
            }
            Some(_) | None => {}
        }
    }
    Ok(())
}

/// Drops some of what counts no more; true when more may be left.
pub(super) fn expire(db: &Connection, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "DELETE FROM counters WHERE (of, key, until) IN
               (SELECT of, key, until FROM counters WHERE until <= ? LIMIT ?)";
    Ok(db.prepare_cached(sql)?.execute(params![now.0, STEP as i64])? == STEP)
}
