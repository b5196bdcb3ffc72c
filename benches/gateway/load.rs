//! Calls, one after another or many in flight, on connections that are open already.
//!
//! Every call must come back exactly once and executed: an answer to nothing, a second one, a missing one or an error
//! ends the measurement.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::http::find;
use super::link::Link;

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Calls {
    /// Of [`super::setup`].
    pub tool: &'static str,
    /// Whether every call has arguments of its own. Identical calls of one agent are joined by contract.
    pub distinct: bool,
}

pub const READ: Calls = Calls { tool: "read", distinct: true };
pub const SAME_READ: Calls = Calls { tool: "read", distinct: false };
pub const WRITE: Calls = Calls { tool: "write", distinct: true };
pub const ASK_READ: Calls = Calls { tool: "ask_read", distinct: true };
pub const ASK_WRITE: Calls = Calls { tool: "ask_write", distinct: true };

/// When no further call is sent.
#[derive(Clone, Copy)]
pub enum Until {
    /// From the beginning on.
    Time(Duration),
    /// So many calls on every connection.
    Calls(u64),
}

/// How long each call took.
pub struct Timings {
    sorted: Vec<Duration>,
    elapsed: Duration,
}

impl Timings {
    pub fn new(mut latencies: Vec<Duration>, elapsed: Duration) -> Timings {
        assert!(!latencies.is_empty(), "nothing was measured");
        latencies.sort_unstable();
        Timings { sorted: latencies, elapsed }
    }

    pub fn calls(&self) -> u64 {
        self.sorted.len() as u64
    }

    /// The time that this share of the calls did not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        let place = (self.sorted.len() as f64 * share) as usize;
        self.sorted[place.min(self.sorted.len() - 1)]
    }

    pub fn median(&self) -> Duration {
        self.quantile(0.5)
    }

    pub fn per_second(&self) -> f64 {
        self.sorted.len() as f64 / self.elapsed.as_secs_f64()
    }
}

/// Keeps `depth` calls in flight on each of the connections.
pub fn run(links: &mut [Link], calls: Calls, depth: usize, until: Until) -> Timings {
    let began = Instant::now();
    let latencies = thread::scope(|scope| {
        let clients: Vec<_> = links
            .iter_mut()
            .map(|link| scope.spawn(move || Client::new(link, calls, depth, until, began).run()))
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client failed")).collect()
    });
    Timings::new(latencies, began.elapsed())
}

/// A little load before a measurement: connections to the service, prepared statements, warm caches.
pub fn warm_up(links: &mut [Link], calls: Calls, depth: usize) {
    run(links, calls, depth, Until::Time(Duration::from_millis(300)));
}

/// Of the slots for calls in flight each has one id at a time; the lowest digits of an id say which.
const SLOTS: u64 = 64;

struct Client<'a> {
    link: &'a mut Link,
    calls: Calls,
    until: Until,
    began: Instant,
    /// Id and start of the call in each slot.
    flying: Vec<Option<(u64, Instant)>>,
    sent: u64,
    /// Tells this client's arguments from those of all others.
    name: u64,
    text: Vec<u8>,
    latencies: Vec<Duration>,
}

impl<'a> Client<'a> {
    fn new(link: &'a mut Link, calls: Calls, depth: usize, until: Until, began: Instant) -> Client<'a> {
        static NAMES: AtomicU64 = AtomicU64::new(0);
        assert!(depth <= 32, "the protocol allows 32 calls in flight on a connection");
        let name = NAMES.fetch_add(1, Ordering::Relaxed);
        let (text, latencies) = (Vec::new(), Vec::with_capacity(1 << 16));
        Client { link, calls, until, began, flying: vec![None; depth], sent: 0, name, text, latencies }
    }

    fn run(mut self) -> Vec<Duration> {
        (0..self.flying.len()).for_each(|slot| self.send(slot, self.began));
        self.link.flush();
        while self.flying.iter().any(Option::is_some) {
            let id = answered(self.link.receive());
            let Some(id) = id else { continue };
            let now = Instant::now();
            let slot = (id % SLOTS) as usize;
            let call = self.flying.get_mut(slot).and_then(Option::take);
            let (_, began) =
                call.filter(|(sent, _)| *sent == id).expect("an answer to nothing, or a second one");
            self.latencies.push(now - began);
            self.send(slot, now);
            if !self.link.has_more() {
                self.link.flush();
            }
        }
        self.hear_nothing_more();
        self.latencies
    }

    /// Nothing was answered twice: what is asked now is answered next.
    fn hear_nothing_more(&mut self) {
        self.link.push(br#"{"jsonrpc":"2.0","method":"list_tools","params":{},"id":"last"}"#);
        self.link.flush();
        let next = self.link.receive();
        assert!(
            find(next, br#""id":"last""#).is_some(),
            "a second answer: {}",
            String::from_utf8_lossy(next)
        );
    }

    fn send(&mut self, slot: usize, now: Instant) {
        let goes_on = match self.until {
            Until::Time(time) => now - self.began < time,
            Until::Calls(calls) => self.sent < calls,
        };
        if !goes_on {
            return;
        }
        let id = self.sent * SLOTS + slot as u64;
        self.sent += 1;
        self.text.clear();
        let number = if self.calls.distinct { self.sent } else { 0 };
        let name = if self.calls.distinct { self.name } else { 0 };
        write!(
            self.text,
            r#"{{"jsonrpc":"2.0","method":"tool_request","params":{{"tool":"{}","args":{{"id":"sensor.n{name}_{number}"}}}},"id":{id}}}"#,
            self.calls.tool
        )
        .unwrap();
        self.link.push(&self.text);
        self.flying[slot] = Some((id, Instant::now()));
    }
}

/// The id of the call that this is the result of. None when it says that somebody is being asked.
fn answered(text: &[u8]) -> Option<u64> {
    if find(text, br#""method":"approval_pending""#).is_some() {
        return None;
    }
    let wrong = || String::from_utf8_lossy(text).into_owned();
    assert!(find(text, br#""status":"executed""#).is_some(), "not executed: {}", wrong());
    let at = find(text, br#""id":"#).unwrap_or_else(|| panic!("no id: {}", wrong()));
    let digits = text[at + 5..].iter().take_while(|b| b.is_ascii_digit());
    Some(digits.fold(0, |id, digit| id * 10 + u64::from(digit - b'0')))
}
