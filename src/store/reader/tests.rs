//! Paging, counting and charts against plain queries over the same rows; and what they cost.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::page::WantedPage;
use super::scope::Scope;
use super::{AuditRow, ChartStep, Filter, Reader};
use crate::base::clock::Timestamp;
use crate::base::zone::Zone;
use crate::store::{counts, schema};

const BEGIN: i64 = 1_700_000_000_000;
const YEAR: i64 = 365 * 24 * 3600 * 1000;

/// A year's record of so many calls, three events each. Made with the tables of the version before counts were kept,
/// so that opening it counts them.
struct Record {
    dir: PathBuf,
    calls: i64,
}

impl Record {
    fn of(calls: i64) -> Record {
        Record::with(calls, "")
    }

    /// The same, with `change` made before the calls are counted.
    fn with(calls: i64, change: &str) -> Record {
        let dir =
            std::env::temp_dir().join(format!("agentpass-pages-{}", crate::base::ids::RequestId::random()));
        std::fs::create_dir(&dir).unwrap();
        let record = Record { dir, calls };
        let db = schema::at_version(&record.path(), 2);
        db.execute_batch(&format!("{} {} {change}", calls_sql(calls), EVENTS_SQL)).unwrap();
        drop(db);
        drop(record.writer());
        record
    }

    fn path(&self) -> PathBuf {
        self.dir.join("a.db")
    }

    fn writer(&self) -> Connection {
        schema::connect(&self.path()).unwrap().0
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.path()).unwrap()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Twenty tools in very different use, three agents; most tools are always decided alike. The last calls are open.
fn calls_sql(calls: i64) -> String {
    format!(
        "PRAGMA synchronous = OFF;
         WITH RECURSIVE i(n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM i WHERE n < {calls} - 1),
         r AS (SELECT n, (n * 2654435761) >> 7 & 1023 AS r, {BEGIN} + n * {} AS at FROM i),
         t AS (SELECT *, (r * r) * 20 >> 20 AS t, n > {calls} - 20 AS open FROM r),
         d AS (SELECT *, CASE WHEN open THEN 'ask' WHEN r = 1000 THEN NULL WHEN t < 12 THEN 'allow' WHEN t < 17 THEN 'ask'
                 WHEN t < 19 AND n % 3 = 0 THEN 'ask' WHEN t < 19 THEN 'allow' ELSE 'deny' END AS d FROM t),
         q AS (SELECT *, CASE WHEN open OR d IS NOT 'ask' THEN NULL WHEN n % 10 < 7 THEN 'approved' WHEN n % 10 < 9 THEN
                 'denied' ELSE 'timed_out' END AS q FROM d)
         INSERT INTO calls SELECT n * 3 + 1, printf('%08x-0000-4000-8000-%012x', (n * 2654435761) & 4294967295, n), at,
           'agent-' || (n % 3), 's' || (n / 500), 'tool_' || t, d, q, CASE WHEN q IN ('approved', 'denied') THEN 'local:root' END,
           CASE WHEN q IS NOT NULL THEN at + r * 900 END, CASE WHEN open THEN 'pending' WHEN d IS NULL THEN 'refused'
             WHEN d = 'deny' OR q = 'denied' THEN 'denied' WHEN q = 'timed_out' THEN q WHEN n % 50 = 0 THEN 'failed' ELSE 'executed'
             END, CASE WHEN NOT open THEN at + 1000000 END, CASE WHEN NOT open THEN n * 3 + 3 END FROM q;",
        YEAR / calls
    )
}

const EVENTS_SQL: &str = "
    INSERT INTO events SELECT seq, at, iif(decision IS NULL, 'refused', 'requested'), request_id, json_object(
      'agent', agent, 'args', json_object('entity_id', 'light.room_' || (seq % 50), 'say', '100%_of \"it\" ' || seq),
      'reason', 'because of ' || seq, 'tool', tool, 'signature', tool || '(light.room_' || (seq % 50) || ')', 'digest',
      hex(zeroblob(32)), 'binding', hex(zeroblob(32)), 'decision', decision, 'rule', json_object('list', 'defaults',
      'index', 1, 'pattern', '*', 'action', decision, 'file', 'permissions.yaml')), zeroblob(32) FROM calls;
    INSERT INTO events SELECT finished_seq, finished_at, 'finished', request_id, json_object('outcome', outcome, 'result',
      '{\"state\":\"on\"}', 'result_digest', hex(zeroblob(32))), zeroblob(32) FROM calls WHERE finished_seq IS NOT NULL;
    INSERT INTO open_calls (request_id, seq, agent, tool, binding, created, expires, state) SELECT request_id, seq, agent,
      tool, hex(zeroblob(32)), at, at, 'open' FROM calls WHERE finished_seq IS NULL;";

fn word(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn time(days: i64, odd: i64) -> Option<Timestamp> {
    Some(Timestamp(BEGIN + days * 86_400_000 + odd))
}

/// Filters, and the same in SQL.
fn filters() -> Vec<(Filter, String)> {
    let all = Filter::default;
    let mut filters = vec![
        (all(), "true".to_owned()),
        (Filter { agent: word("agent-1"), ..all() }, "agent = 'agent-1'".into()),
        (Filter { tool: word("tool_3"), ..all() }, "tool = 'tool_3'".into()),
        (Filter { tool: word("tool_1*"), ..all() }, "tool LIKE 'tool\\_1%' ESCAPE '\\'".into()),
        (Filter { tool: word("no_such"), ..all() }, "false".into()),
        (Filter { decision: word("deny"), ..all() }, "decision = 'deny'".into()),
        (Filter { outcome: word("failed"), ..all() }, "outcome = 'failed'".into()),
        (Filter { outcome: word("pending"), ..all() }, "outcome = 'pending'".into()),
        (Filter { resolution: word("timed_out"), ..all() }, "resolution = 'timed_out'".into()),
        (Filter { session: word("s7"), ..all() }, "session = 's7'".into()),
        (Filter { before: Some(40_000), ..all() }, "seq < 40000".into()),
    ];
    let (since, until) = (time(100, 12_345), time(201, 55_555));
    let range = format!("at >= {} AND at < {}", since.unwrap().0, until.unwrap().0);
    filters.push((Filter { since, until, ..all() }, range.clone()));
    let busy = Filter { agent: word("agent-2"), decision: word("ask"), since, until, ..all() };
    filters.push((busy, format!("agent = 'agent-2' AND decision = 'ask' AND {range}")));
    let rare =
        Filter { agent: word("agent-0"), tool: word("tool_19"), outcome: word("denied"), since, ..all() };
    filters.push((
        rare,
        format!(
            "agent = 'agent-0' AND tool = 'tool_19' AND outcome = 'denied' AND at >= {}",
            since.unwrap().0
        ),
    ));
    filters
}

fn plain(db: &Connection, condition: &str) -> Vec<i64> {
    let mut statement =
        db.prepare(&format!("SELECT seq FROM calls WHERE {condition} ORDER BY seq DESC")).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn pages_hold_what_a_plain_query_finds() {
    let record = Record::of(20_000);
    let (db, mut reader) = (record.writer(), record.reader());
    for (filter, condition) in filters() {
        let expected = plain(&db, &condition);
        let pages = expected.len().div_ceil(7).max(1) as u64;
        for page in [1, 2, pages / 2, pages - 1, pages, pages + 1].into_iter().filter(|page| *page > 0) {
            let found = reader.page(&filter, WantedPage { page, per_page: 7 }).unwrap();
            let numbers: Vec<i64> = found.rows.iter().map(|row| row.seq).collect();
            let there = expected.iter().skip((page as usize - 1) * 7).take(7).copied().collect::<Vec<_>>();
            assert_eq!(numbers, there, "page {page} of {filter:?}");
            assert_eq!((found.total, found.pages), (expected.len() as u64, pages), "{filter:?}");
        }
        let mut walk = reader.walk(&filter).unwrap();
        let mut walked = Vec::new();
        let mut take = |row: AuditRow| {
            walked.push(row.seq);
            walked.len() % 100 == 0
        };
        while walk.next(&mut reader, 70, &mut take).unwrap() {}
        assert_eq!(walked, expected, "{filter:?}");
        let charts = reader.charts(&filter, &Zone::default()).unwrap();
        let sum: u64 = charts.bars.iter().map(|bar| bar.allow + bar.ask + bar.deny + bar.refused).sum();
        assert_eq!(sum, expected.len() as u64, "{filter:?}");
        // The same calls by days that begin at another zone's midnight, summer and winter.
        let zone = Zone::named("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let local = reader.charts(&filter, &zone).unwrap();
        let there: u64 = local.bars.iter().map(|bar| bar.allow + bar.ask + bar.deny + bar.refused).sum();
        assert_eq!((there, &local.waits, local.in_utc), (sum, &charts.waits, false), "{filter:?}");
        for bar in local.bars.iter().filter(|_| local.step != ChartStep::Hour) {
            assert!(zone.date_and_time(bar.from).ends_with(" 00:00:00"), "{} of {filter:?}", bar.from);
        }
        if let (ChartStep::Days(1), false) = (local.step, local.bars.is_empty()) {
            let first = plain(&db, &condition).first().copied().unwrap();
            let at: i64 =
                db.query_row("SELECT at FROM calls WHERE seq = ?1", [first], |row| row.get(0)).unwrap();
            assert!(
                local
                    .bars
                    .iter()
                    .any(|bar| zone.date_and_time(bar.from)[..10] == zone.date_and_time(Timestamp(at))[..10])
            );
        }
        let human = format!("{condition} AND resolution IN ('approved', 'denied')");
        assert_eq!(charts.waits.iter().sum::<u64>(), plain(&db, &human).len() as u64, "{filter:?}");
    }
}

#[test]
fn a_search_is_literal_and_takes_both_cases() {
    let record = Record::of(2_000);
    let (db, mut reader) = (record.writer(), record.reader());
    let first = WantedPage { page: 1, per_page: 5 };
    let mut found = |text: &str| {
        let page = reader.page(&Filter { text: word(text), ..Filter::default() }, first).unwrap();
        assert_eq!(page.searched_to, None);
        page.total
    };
    assert_eq!(found("BECAUSE of 1000"), 1);
    assert_eq!(
        found("100%_of \"it\" 1"),
        found("100%_of \"it\"") - plain(&db, "seq NOT LIKE '1%'").len() as u64
    );
    assert_eq!(found("100%%of"), 0, "% means itself");
    assert_eq!(found("entity_id"), 2_000, "names of arguments are looked at");
    assert_eq!(found("entity-id"), 0, "_ means itself");
    assert_eq!(found("permissions.yaml"), 0, "what the gateway itself wrote is not");
    let id: String =
        db.query_row("SELECT request_id FROM calls WHERE seq = 31", [], |row| row.get(0)).unwrap();
    assert_eq!(found(&id.to_uppercase()), 1);
}

#[test]
fn a_search_that_finds_enough_says_how_far_it_looked() {
    let record = Record::of(16_000);
    let page = record.reader().page(
        &Filter { text: word("light.room_"), ..Filter::default() },
        WantedPage { page: 1, per_page: 50 },
    );
    let page = page.unwrap();
    assert!(page.total >= 10_000 && page.total < 16_000, "{}", page.total);
    let looked = plain(&record.writer(), &format!("at >= {}", page.searched_to.unwrap().0)).len() as u64;
    assert_eq!(looked, page.total, "every call since then was found");
}

#[test]
fn what_takes_too_long_is_stopped() {
    let record = Record::of(5_000);
    let mut reader = record.reader();
    reader.limit(Duration::ZERO).unwrap();
    let stopped = reader
        .page(&Filter { session: word("s1"), ..Filter::default() }, WantedPage { page: 1, per_page: 5 });
    assert_eq!(stopped.unwrap_err(), crate::store::StoreError::TooLong);
}

#[test]
fn arguments_that_would_fill_the_memory_are_not_on_a_page() {
    let record = Record::of(10);
    let long =
        "UPDATE events SET body = json_set(body, '$.args.say', printf('%.*c', 70000, 'x')) WHERE seq = 1";
    record.writer().execute_batch(long).unwrap();
    let page = record.reader().page(&Filter::default(), WantedPage { page: 1, per_page: 10 }).unwrap();
    let args = &page.rows.last().unwrap().request["args"];
    assert_eq!(args["…"], "70037 bytes, not listed", "{args}");
    assert_eq!(page.rows.first().unwrap().request["args"]["entity_id"], "light.room_28");
}

#[test]
fn counts_follow_what_is_dropped_and_a_change_is_found() {
    let record = Record::of(12_000);
    let db = record.writer();
    assert!(counts::agree(&db).unwrap(), "the migration counts");
    let newest = counts::newest(&db).unwrap();
    for cut in [10, 8_191, 8_192, 20_001] {
        db.execute("DELETE FROM calls WHERE seq <= ?", [cut]).unwrap();
        counts::dropped(&db, cut, newest).unwrap();
        assert!(counts::agree(&db).unwrap(), "through {cut}");
    }
    db.execute_batch("DELETE FROM counts WHERE bucket = 3").unwrap();
    assert!(!counts::agree(&db).unwrap());
}

/// No query of a page may read all calls. What it may read are the counts and the spans, of which there are few.
#[test]
fn no_page_reads_all_calls() {
    let record = Record::of(20_000);
    let mut reader = record.reader();
    let db = reader.snapshot().unwrap();
    for (filter, _) in filters() {
        let scope = Scope::new(&db, &filter).unwrap();
        let page =
            format!("SELECT seq FROM calls WHERE {} ORDER BY seq DESC LIMIT 50", scope.between(0, 8192));
        for sql in [scope.counts("bucket"), scope.counts("tool, agent"), scope.calls("at"), page] {
            let plan = scope
                .query(&db, &format!("EXPLAIN QUERY PLAN {sql}"), |row| row.get::<_, String>(3))
                .unwrap();
            let scans = plan.iter().any(|line| line.starts_with("SCAN calls"));
            assert!(!scans, "{filter:?}\n{sql}\n{}", plan.join("\n"));
            // A page lies between two numbers, and its order is that of the numbers.
            assert!(
                !sql.starts_with("SELECT seq") || !plan.join("").contains("TEMP B-TREE"),
                "{}",
                plan.join("\n")
            );
        }
    }
}

/// What `work` costs, in steps of SQLite's machine: the same on every computer.
fn steps<T>(reader: &mut Reader, work: impl FnOnce(&mut Reader) -> T) -> (T, u64) {
    const EACH: u64 = 10;
    let counted = Arc::new(AtomicU64::new(0));
    let count = counted.clone();
    let tick = move || {
        count.fetch_add(EACH, Ordering::Relaxed);
        false
    };
    reader.db.progress_handler(EACH as i32, Some(tick)).unwrap();
    let done = work(reader);
    reader.db.progress_handler(0, None::<fn() -> bool>).unwrap();
    (done, counted.load(Ordering::Relaxed))
}

/// Reading a call takes ten steps or more; what is read instead, the counts, grows much more slowly. With
/// `AGENTPASS_TEST_CALLS=1000000` it measures what the documentation promises; fewer calls keep the tests short.
#[test]
fn a_page_of_a_large_record_is_found_without_reading_it() {
    let calls: i64 =
        std::env::var("AGENTPASS_TEST_CALLS").ok().and_then(|n| n.parse().ok()).unwrap_or(50_000);
    let most = 250_000 + calls.cast_unsigned();
    let record = Record::of(calls);
    let mut reader = record.reader();
    for (filter, _) in filters() {
        let total = reader.page(&filter, WantedPage { page: 1, per_page: 50 }).unwrap().total;
        for page in [1, total / 100 + 1, total.div_ceil(50).max(1)] {
            let begun = Instant::now();
            let read = |reader: &mut Reader| {
                reader.page(&filter, WantedPage { page, per_page: 50 }).unwrap().rows.len()
            };
            let (rows, steps) = steps(&mut reader, read);
            println!("{:>10.1?} {steps:>9}  page {page}, {rows} of {total}: {filter:?}", begun.elapsed());
            assert!(steps < most, "{steps} steps for page {page} of {filter:?}");
        }
        let begun = Instant::now();
        let (charts, steps) = steps(&mut reader, |reader| reader.charts(&filter, &Zone::default()).unwrap());
        println!("{:>10.1?} {steps:>9}  charts, {} bars", begun.elapsed(), charts.bars.len());
        assert!(steps < 8 * most, "{steps} steps for the charts of {filter:?}");
    }
    let begun = Instant::now();
    let (stats, counted) =
        steps(&mut reader, |reader| reader.stats(None, None, Timestamp(BEGIN + YEAR)).unwrap());
    println!("{:>10.1?} {counted:>9}  stats of {}", begun.elapsed(), stats.total_requests);
    assert_eq!(stats.total_requests, record.calls);
    let search = Filter { text: word("no such text"), ..Filter::default() };
    let begun = Instant::now();
    let (page, counted) =
        steps(&mut reader, |reader| reader.page(&search, WantedPage { page: 1, per_page: 50 }).unwrap());
    println!("{:>10.1?} {counted:>9}  search, back to {:?}", begun.elapsed(), page.searched_to);
}

/// What an agent asks for need not exist, so there can be as many names as calls.
#[test]
fn names_that_agents_invent_do_not_hide_what_happened() {
    let invented = "UPDATE calls SET tool = 'no_such_' || seq WHERE seq % 2";
    let record = Record::with(20_000, invented);
    let mut reader = record.reader();
    let charts = reader.charts(&Filter::default(), &Zone::default()).unwrap();
    assert_eq!(charts.tools.len(), 10);
    assert!(charts.tools.iter().all(|(tool, n)| tool.starts_with("tool_") && *n > 1), "{:?}", charts.tools);
    for (pattern, like) in
        [("no_such_1*", "no\\_such\\_1%"), ("*_5", "%\\_5"), ("no*_7", "no%\\_7"), ("*", "%")]
    {
        let filter = Filter { tool: word(pattern), ..Filter::default() };
        let there = plain(&record.writer(), &format!("tool LIKE '{like}' ESCAPE '\\'")).len() as u64;
        let page = reader.page(&filter, WantedPage { page: 1, per_page: 1 }).unwrap();
        assert_eq!(page.total, there, "{pattern}");
    }
    // Charts may take too long; the calls are shown all the same.
    assert_eq!(reader.charts_within(Duration::ZERO, &Filter::default(), &Zone::default()).unwrap(), None);
    assert!(
        reader
            .charts_within(Duration::from_secs(60), &Filter::default(), &Zone::default())
            .unwrap()
            .is_some()
    );
}
