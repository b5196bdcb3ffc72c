//! Resident memory: at rest, with many idle connections, and after many calls.

use std::thread;
use std::time::{Duration, Instant};

use super::Bench;
use super::connections::source;
use super::link::{Link, Route};
use super::load::{self, READ, Until, WRITE};
use super::machine::Memory;
use super::program::Gateway;
use super::setup::{AGENTS, PLAIN, Setup, token};
use super::table::{Figure, Table};

/// One call per second.
const AN_HOUR: u64 = 3600;
/// Threads that open connections.
const OPENERS: usize = 4;

pub fn run(bench: &Bench, table: &mut Table) {
    table.part("MEMORY", &["VmRSS", "RssAnon", "from files", "RssAnon for each"]);
    at_rest(bench, table);
    for (setup, counts) in [(PLAIN, &[1_000, 10_000][..]), (Setup::with_tls(), &[1_000][..])] {
        counts.iter().for_each(|count| with_connections(bench, table, &setup, *count));
    }
    for calls in [READ, WRITE] {
        after_calls(bench, table, calls);
    }
    table.note(
        "for each: of what came on top since the row before. `from files` is shared with the page cache.",
    );
}

fn at_rest(bench: &Bench, table: &mut Table) {
    for setup in [PLAIN.for_one(), Setup::with_tls().for_one()] {
        let gateway = Gateway::start(bench, &setup);
        row(table, "idle, one agent", &setup, settled(&gateway), Figure::None);
    }
}

/// What a gateway has once it has nothing more to do.
pub fn settled(gateway: &Gateway) -> Memory {
    thread::sleep(Duration::from_secs(2));
    Memory::of(gateway.pid())
}

fn with_connections(bench: &Bench, table: &mut Table, setup: &Setup, count: usize) {
    eprintln!("  {count} connections, {}", setup.mode());
    let gateway = Gateway::start(bench, setup);
    let before = settled(&gateway);
    let mut links = open(&gateway.route, count);
    // Long enough that every connection was pinged once.
    hold(&mut links, Duration::from_secs(bench.options.pick(45, 2)));
    let held = Memory::of(gateway.pid());
    let each = Figure::Bytes((held.anonymous - before.anonymous) / count as f64);
    row(table, &format!("{count} idle connections"), setup, held, each);
    drop(links);
    thread::sleep(Duration::from_secs(3));
    row(table, "  after they were closed", setup, Memory::of(gateway.pid()), Figure::None);
}

fn open(route: &Route, count: usize) -> Vec<Link> {
    let share = |opener: usize| {
        let mine = (0..count).skip(opener).step_by(OPENERS);
        mine.map(|n| route.connect_from(source(n), &token(n % AGENTS))).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let openers: Vec<_> = (0..OPENERS).map(|opener| scope.spawn(move || share(opener))).collect();
        openers.into_iter().flat_map(|opener| opener.join().expect("a connection failed")).collect()
    })
}

/// Keeps idle connections alive as agents do: by answering pings.
fn hold(links: &mut [Link], time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        links.iter_mut().for_each(Link::keep_alive);
        thread::sleep(Duration::from_secs(1));
    }
}

fn after_calls(bench: &Bench, table: &mut Table, calls: load::Calls) {
    let gateway = Gateway::start(bench, &PLAIN);
    let mut links = [gateway.route.connect(&token(0))];
    let (mut done, mut before) = (0, None);
    for count in [AN_HOUR, bench.options.pick(20_000, 8_000), bench.options.pick(100_000, 12_000)] {
        eprintln!("  {count} calls of {}", calls.tool);
        load::run(&mut links, calls, 1, Until::Calls(count - done));
        let now = settled(&gateway);
        let grown = before.map(|before: Memory| (now.anonymous - before.anonymous) / (count - done) as f64);
        let each = grown.map_or(Figure::None, Figure::Bytes);
        row(table, &format!("after {count} calls of {}", calls.tool), &PLAIN, now, each);
        (done, before) = (count, Some(now));
    }
}

fn row(table: &mut Table, what: &str, setup: &Setup, memory: Memory, each: Figure) {
    let Memory { resident, anonymous } = memory;
    let [resident, anonymous, files] = [resident, anonymous, resident - anonymous].map(Figure::Bytes);
    table.row(what, &setup.mode(), &[resident, anonymous, files, each]);
}
