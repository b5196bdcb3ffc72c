//! What needs the inside: group commit counted, a full disk, a bad neighbour, every outcome through the codec.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::chain::{self, Chain, ChainKey};
use super::tx::Tx;
use super::writer::BATCH;
use super::{KeptCounter, Recovered, Store, StoreError, StoreOptions};
use super::{codec, counts, kind, schema};
use crate::base::clock::{Clock, Timestamp};
use crate::base::decimal::Decimal;
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::model::{
    Action, AgentId, Charge, Charging, CounterId, CounterKey, Denial, InvalidCall, Outcome, Part, RuleList,
    RuleRef,
};

struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        let name = format!("agentpass-store-{}", RequestId::random());
        Dir(std::env::temp_dir().join(name))
    }

    fn db(&self) -> PathBuf {
        self.0.join("a.db")
    }

    fn open(&self) -> Store {
        self.open_at(Timestamp(1)).0
    }

    fn open_at(&self, now: Timestamp) -> (Store, Recovered) {
        let options = StoreOptions {
            path: self.db(),
            sync_all: false,
            retain_days: 365,
            max_mb: 512,
            keep_results: Duration::from_secs(3600),
            keep_keys: Duration::from_secs(3600),
        };
        Store::open(options, &Clock::manual(now)).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn put(tx: &mut Tx<'_>, size: usize) -> Result<i64, StoreError> {
    tx.append(Timestamp(1), "started", None, &json!({"x": "x".repeat(size)}))
}

async fn pragma(store: &Store, sql: &'static str) -> i64 {
    store.submit(false, move |tx| Ok(tx.db.query_row(sql, [], |row| row.get(0))?)).await.unwrap()
}

/// Occupies the writer until the returned sender is dropped, so that what comes next is queued.
fn hold(store: &Store) -> (impl Future<Output = Result<(), StoreError>>, std::sync::mpsc::Sender<()>) {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let store = store.clone();
    let job = async move {
        let wait = move |_: &mut Tx<'_>| {
            let _ = held.recv();
            Ok(())
        };
        store.submit(false, wait).await
    };
    (job, release)
}

/// Runs all of `jobs` queued behind one another while the writer is held.
async fn queued<T>(store: &Store, jobs: Vec<impl Future<Output = T>>) -> Vec<T> {
    let (held, release) = hold(store);
    let mut held = Box::pin(held);
    let mut jobs: Vec<_> = jobs.into_iter().map(Box::pin).collect();
    assert!(smol::future::poll_once(&mut held).await.is_none());
    for job in &mut jobs {
        assert!(smol::future::poll_once(job).await.is_none());
    }
    drop(release);
    held.await.unwrap();
    let mut answers = Vec::new();
    for job in jobs {
        answers.push(job.await);
    }
    answers
}

#[test]
fn whatever_is_queued_is_one_transaction() {
    let dir = Dir::new();
    let store = dir.open();
    smol::block_on(async {
        let before = store.health();
        let jobs = (0..BATCH - 1).map(|_| store.submit(true, |tx| put(tx, 10))).collect();
        let answers = queued(&store, jobs).await;
        assert!(answers.iter().all(Result::is_ok));
        let after = store.health();
        assert_eq!(after.events - before.events, BATCH as i64 - 1);
        // The job that held the writer may have been joined by the first ones or not.
        assert!(after.commits - before.commits <= 2, "{} transactions", after.commits - before.commits);
        store.close().await;
    });
}

#[test]
fn durability_is_switched_per_batch() {
    let dir = Dir::new();
    let store = dir.open();
    smol::block_on(async {
        assert_eq!(pragma(&store, "PRAGMA synchronous").await, 1);
        let full =
            store.submit(true, |tx| Ok(tx.db.query_row("PRAGMA synchronous", [], |r| r.get::<_, i64>(0))?));
        assert_eq!(full.await.unwrap(), 2);
        assert_eq!(pragma(&store, "PRAGMA synchronous").await, 1);
        store.close().await;
    });
}

#[test]
fn a_bad_job_does_not_fail_its_neighbours() {
    let dir = Dir::new();
    let store = dir.open();
    smol::block_on(async {
        let before = store.health().events;
        let jobs = (0..20).map(|n| {
            store.submit(true, move |tx| {
                put(tx, 10)?;
                if n == 7 { Err(StoreError::NotOpen) } else { Ok(()) }
            })
        });
        let answers = queued(&store, jobs.collect()).await;
        for (n, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer, if n == 7 { Err(StoreError::NotOpen) } else { Ok(()) }, "{n}");
        }
        assert_eq!(store.health().events - before, 19);
        assert!(store.health().writable, "a job's own error is not the disk's");
        store.close().await;
    });
}

#[test]
fn a_full_disk_writes_nothing_of_the_batch_and_recovers() {
    let dir = Dir::new();
    let store = dir.open();
    smol::block_on(async {
        let pages = pragma(&store, "PRAGMA page_count").await;
        let bound = store.submit(false, move |tx| {
            Ok(tx
                .db
                .query_row(&format!("PRAGMA max_page_count = {}", pages + 20), [], |r| r.get::<_, i64>(0))?)
        });
        assert_eq!(bound.await.unwrap(), pages + 20);
        let before = store.health().events;
        // One that fits, one that never does, one that fits: also one by one.
        let jobs = [1000, 1_000_000, 1000].map(|size| store.submit(true, move |tx| put(tx, size)));
        let answers = queued(&store, jobs.into_iter().collect()).await;
        assert!(matches!(answers[..], [Ok(_), Err(StoreError::Full), Ok(_)]), "{answers:?}");
        assert_eq!(store.health().events - before, 2);

        let full = store.submit(true, |tx| put(tx, 1_000_000)).await;
        assert_eq!(full, Err(StoreError::Full));
        let health = store.health();
        assert!(!health.writable && health.last_error.is_some());

        let space = store.submit(false, |tx| {
            Ok(tx.db.query_row("PRAGMA max_page_count = 100000", [], |row| row.get::<_, i64>(0))?)
        });
        space.await.unwrap();
        store.submit(true, |tx| put(tx, 1_000_000)).await.unwrap();
        assert!(store.health().writable);
        store.close().await;
    });
    let check = super::reader::Reader::open(&dir.0.join("a.db")).unwrap().verify().unwrap();
    assert_eq!(check.fault, None);
}

#[test]
fn a_closed_store_says_so_and_lets_go() {
    let dir = Dir::new();
    let store = dir.open();
    let other = store.clone();
    smol::block_on(async {
        store.close().await;
        assert_eq!(other.submit(false, |tx| put(tx, 1)).await, Err(StoreError::Stopped));
    });
    smol::block_on(dir.open().close());
}

/// Appends calls of two events each to a record that nobody has open, like a gateway that was killed before it folded
/// one of them. The last one has no end.
fn leave_unfolded(dir: &Dir, calls: u32) {
    let (db, _) = schema::connect(&dir.db()).unwrap();
    let mut chain = Chain::new(ChainKey::load(&dir.db(), false).unwrap(), chain::head(&db).unwrap());
    let begun = json!({"agent": "pi", "tool": "read", "then": "executing", "decision": "allow"});
    let ended = json!({"outcome": "failed", "reason": "service_error"});
    db.execute_batch("BEGIN").unwrap();
    for call in 1..=calls {
        let id = Some(RequestId::from_bytes(u128::from(call).to_be_bytes()));
        chain.append(&db, Timestamp(1), kind::REQUESTED, id, &begun).unwrap();
        if call < calls {
            chain.append(&db, Timestamp(1), kind::FINISHED, id, &ended).unwrap();
        }
    }
    db.execute_batch("COMMIT").unwrap();
}

#[test]
fn a_start_folds_a_million_events() {
    const CALLS: u32 = 500_000;
    let dir = Dir::new();
    smol::block_on(dir.open().close());
    leave_unfolded(&dir, CALLS);
    let (store, recovered) = dir.open_at(Timestamp(30 * 24 * 3600 * 1000));
    assert_eq!((recovered.unknown, recovered.open.len()), (1, 0));
    smol::block_on(store.close());
    let db = schema::connect_reader(&dir.db()).unwrap();
    let one = |sql| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(one("SELECT count(*) FROM calls WHERE outcome = 'failed'"), i64::from(CALLS) - 1);
    assert_eq!(one("SELECT count(*) FROM calls WHERE outcome = 'unknown'"), 1);
    assert_eq!(one("SELECT min(folded) FROM projections"), one("SELECT max(seq) FROM events"));
    let check = super::reader::Reader::open(&dir.db()).unwrap().verify().unwrap();
    assert_eq!(check.fault, None);
    assert!(counts::agree(&db).unwrap());
}

/// Like [`leave_unfolded`]: claims of different calls by a hundred agents under one limit, each counter charged twice.
fn leave_charged(dir: &Dir, counters: usize, until: Timestamp) {
    let (db, _) = schema::connect(&dir.db()).unwrap();
    let mut chain = Chain::new(ChainKey::load(&dir.db(), false).unwrap(), chain::head(&db).unwrap());
    db.execute_batch("BEGIN").unwrap();
    for n in (0..counters).chain(0..counters) {
        let agent = AgentId::configured(&format!("agent-{}", n % 100));
        let call = Some(Digest::sha256(&n.to_le_bytes()));
        let charge = Charge {
            limit: "each".into(),
            counter: CounterId {
                limit: Digest::sha256(b"each"),
                key: CounterKey { agent: Some(agent.clone()), call, ..CounterKey::default() },
            },
            agent: agent.clone(),
            part: Part {
                until: until.plus(Duration::from_secs(n as u64 % 3)),
                amount: "0.5".parse().unwrap(),
            },
            how: Charging::Sum,
            session: 0,
        };
        let body = json!({"agent": agent.as_str(), "tool": "read", "then": "executing", "charges": [charge.to_json()]});
        let id = Some(RequestId::random());
        chain.append(&db, Timestamp(1), kind::REQUESTED, id, &body).unwrap();
        chain.append(&db, Timestamp(1), kind::FINISHED, id, &json!({"outcome": "failed"})).unwrap();
    }
    db.execute_batch("COMMIT").unwrap();
}

#[test]
fn a_start_counts_what_claims_have_charged_however_many() {
    const COUNTERS: usize = 3_000;
    let dir = Dir::new();
    smol::block_on(dir.open().close());
    let now = Timestamp(30 * 24 * 3600 * 1000);
    leave_charged(&dir, COUNTERS, now.plus(Duration::from_secs(1)));
    let (store, recovered) = dir.open_at(now);
    smol::block_on(store.close());
    assert_eq!(recovered.counted.len(), COUNTERS);
    let one = Decimal::ONE;
    assert!(
        recovered
            .counted
            .iter()
            .all(|counter| counter.tally.sum(now) == Some(one) && counter.last == Timestamp(1))
    );
    // What is kept of each is small: there may be a million.
    assert!(size_of::<KeptCounter>() <= 96);
    let (store, again) = dir.open_at(now);
    smol::block_on(store.close());
    assert_eq!(again.counted, recovered.counted);
    // What counts no more is not taken up.
    let (store, later) = dir.open_at(now.plus(Duration::from_secs(2)));
    smol::block_on(store.close());
    assert_eq!(later.counted.len(), COUNTERS / 3);
}

/// The gateway was killed, and the program is newer by then.
#[test]
fn a_reader_sees_the_newest_events_of_an_older_record_too() {
    let dir = Dir::new();
    smol::block_on(dir.open().close());
    leave_unfolded(&dir, 3);
    let db = rusqlite::Connection::open(dir.db()).unwrap();
    db.execute_batch(
        "ALTER TABLE counters DROP COLUMN begun; DROP TABLE grants; DROP TABLE stops; DROP TABLE readings;
         DELETE FROM projections WHERE name IN ('readings', 'grants', 'stops'); PRAGMA user_version = 7;",
    )
    .unwrap();
    drop(db);
    let mut reader = super::reader::Reader::open(&dir.db()).unwrap();
    assert_eq!(reader.list(&super::reader::Filter::default()).unwrap().len(), 3);
}

#[test]
fn every_outcome_survives_the_codec() {
    let text = || "a\"\n\u{1b}é".to_owned();
    let invalid = [
        InvalidCall::Missing { argument: text() },
        InvalidCall::Undeclared { argument: text() },
        InvalidCall::WrongType { argument: text(), must_be: "a string, a number or a boolean".into() },
        InvalidCall::WrongType { argument: text(), must_be: "an integer".into() },
        InvalidCall::Forbidden { argument: text(), char: None },
        InvalidCall::Forbidden { argument: text(), char: Some('\u{7}') },
        InvalidCall::Forbidden { argument: text(), char: Some(',') },
        InvalidCall::NoMatch { argument: text() },
        InvalidCall::TooLong { argument: text() },
        InvalidCall::TooMany,
        InvalidCall::Ambiguous { argument: text() },
        InvalidCall::SignatureTooLong,
    ];
    let outcomes = [
        Outcome::Executed(json!({"a": [1, 0.5, null, "x"], "big": 18_446_744_073_709_551_615_u64}).into()),
        Outcome::Executed(json!(null).into()),
        Outcome::DeniedByUser { note: Some(text()) },
        Outcome::DeniedByUser { note: None },
        Outcome::Withdrawn,
        Outcome::TimedOut,
        Outcome::DeniedByPolicy(Denial::by_rule(Some(text()))),
        Outcome::DeniedByPolicy(Denial::default()),
        Outcome::ApprovalVoid,
        Outcome::AgentRemoved,
        Outcome::Busy,
        Outcome::KillSwitch,
        Outcome::ServiceUnreachable,
        Outcome::ServiceTimeout,
        Outcome::ServiceError { status: Some(404), message: text(), retry_after: None },
        Outcome::ServiceError { status: None, message: text(), retry_after: None },
        Outcome::ResponseTooLarge,
        Outcome::UnknownTool { tool: text() },
        Outcome::UnknownResult,
        Outcome::StoreUnavailable,
        Outcome::ApprovalUnavailable,
        Outcome::IdempotencyConflict,
        Outcome::TooLargeToShow,
        Outcome::RateLimited { retry_after: 7 },
        Outcome::TooManyPending,
    ];
    for outcome in outcomes.into_iter().chain(invalid.map(Outcome::Invalid)) {
        let stored = codec::encode(&outcome).unwrap();
        assert_eq!(
            codec::decode(&stored.outcome, stored.data.as_ref().map(|data| data.as_str())).unwrap(),
            outcome
        );
        let wire =
            codec::result_text(&stored.outcome, stored.data.as_ref().map(|data| data.as_str())).unwrap();
        let wire: serde_json::Value = serde_json::from_str(&wire).unwrap();
        assert!(["executed", "denied", "error"].contains(&wire["status"].as_str().unwrap()), "{wire}");
        assert_eq!(wire["reason"].as_str(), outcome.reason());
    }
    assert!(codec::decode(r#"{"is":"else"}"#, None).is_err());
}

/// What stands in records of the first programs. A name that changes here makes those records unreadable.
#[test]
fn outcomes_keep_their_stored_form() {
    let text = || "a\"b".to_owned();
    let error = |status, retry_after| Outcome::ServiceError { status, message: text(), retry_after };
    let invalid = Outcome::Invalid;
    let table = [
        (r#"{"is":"denied_by_user","note":"a\"b"}"#, Outcome::DeniedByUser { note: Some(text()) }),
        (r#"{"is":"denied_by_user","note":null}"#, Outcome::DeniedByUser { note: None }),
        (r#"{"is":"withdrawn"}"#, Outcome::Withdrawn),
        (r#"{"is":"timed_out"}"#, Outcome::TimedOut),
        (
            r#"{"is":"denied_by_policy","rule":"a\"b"}"#,
            Outcome::DeniedByPolicy(Denial::by_rule(Some(text()))),
        ),
        (r#"{"is":"denied_by_policy","rule":null}"#, Outcome::DeniedByPolicy(Denial::default())),
        (r#"{"is":"approval_void"}"#, Outcome::ApprovalVoid),
        (r#"{"is":"agent_removed"}"#, Outcome::AgentRemoved),
        (r#"{"is":"kill_switch"}"#, Outcome::KillSwitch),
        (r#"{"is":"busy"}"#, Outcome::Busy),
        (r#"{"is":"service_unreachable"}"#, Outcome::ServiceUnreachable),
        (r#"{"is":"service_timeout"}"#, Outcome::ServiceTimeout),
        (r#"{"is":"service_error","status":404,"message":"a\"b"}"#, error(Some(404), None)),
        (r#"{"is":"service_error","status":null,"message":"a\"b"}"#, error(None, None)),
        (
            r#"{"is":"service_error","status":503,"message":"a\"b","retry_after":9}"#,
            error(Some(503), Some(9)),
        ),
        (r#"{"is":"response_too_large"}"#, Outcome::ResponseTooLarge),
        (r#"{"is":"unknown_tool","tool":"a\"b"}"#, Outcome::UnknownTool { tool: text() }),
        (r#"{"is":"unknown_result"}"#, Outcome::UnknownResult),
        (r#"{"is":"store_unavailable"}"#, Outcome::StoreUnavailable),
        (r#"{"is":"approval_unavailable"}"#, Outcome::ApprovalUnavailable),
        (r#"{"is":"idempotency_conflict"}"#, Outcome::IdempotencyConflict),
        (r#"{"is":"too_large_to_show"}"#, Outcome::TooLargeToShow),
        (r#"{"is":"rate_limited","retry_after":7}"#, Outcome::RateLimited { retry_after: 7 }),
        (r#"{"is":"too_many_pending"}"#, Outcome::TooManyPending),
        (INVALID_MISSING, invalid(InvalidCall::Missing { argument: text() })),
        (INVALID_TYPE, invalid(InvalidCall::WrongType { argument: text(), must_be: "an integer".into() })),
        (INVALID_CHARACTER, invalid(InvalidCall::Forbidden { argument: text(), char: Some(',') })),
        (INVALID_COUNT, invalid(InvalidCall::TooMany)),
    ];
    for (stored, outcome) in table {
        assert_eq!(codec::decode(stored, None).unwrap(), outcome, "{stored}");
        let again: serde_json::Value =
            serde_json::from_str(&codec::encode(&outcome).unwrap().outcome).unwrap();
        let known: serde_json::Value = serde_json::from_str(stored).unwrap();
        for (name, value) in again.as_object().unwrap() {
            assert_eq!(Some(value), known.get(name), "{name} of {stored}");
        }
    }
    let executed = codec::decode(r#"{"is":"executed","lost":"cut_off","note":"a"}"#, Some("[1]"));
    assert!(executed.is_ok(), "{executed:?}");
}

const INVALID_MISSING: &str =
    r#"{"is":"invalid","what":"missing","argument":"a\"b","must_be":null,"char":null}"#;
const INVALID_TYPE: &str =
    r#"{"is":"invalid","what":"wrong_type","argument":"a\"b","must_be":"an integer","char":null}"#;
const INVALID_CHARACTER: &str =
    r#"{"is":"invalid","what":"forbidden","argument":"a\"b","must_be":null,"char":","}"#;
const INVALID_COUNT: &str =
    r#"{"is":"invalid","what":"too_many","argument":null,"must_be":null,"char":null}"#;

#[test]
fn rules_keep_their_stored_form() {
    let stored = json!({"list": "rules", "index": 3, "pattern": "a(*)", "action": "deny", "file": "p.yaml"});
    let rule: RuleRef = serde_json::from_value(stored.clone()).unwrap();
    assert_eq!((rule.list, rule.action, rule.index), (RuleList::Rules, Action::Deny, 3));
    assert_eq!(rule.to_json(), stored);
}
