//! Signs of life on one connection: when to ping, when to give up, and whether it ever worked.

use std::time::{Duration, Instant};

use super::backoff::Loss;
use crate::net::connect::ClientSocket;

/// Silence after which we ping the gateway; most NATs remember a connection for longer.
const PING_AFTER: Duration = Duration::from_secs(30);
/// Silence after which the connection counts as lost; the gateway's own limit.
const LOST_AFTER: Duration = Duration::from_secs(90);
/// A connection that lasted this long works, even if no reply came yet.
const PROVED_AFTER: Duration = Duration::from_secs(10);
/// The close code of a gateway that stops and will be back.
const RESTARTING: u16 = 1012;

pub(super) struct Pulse {
    began: Instant,
    heard: Instant,
    pub(super) next_ping: Instant,
    /// A reply to something that we asked arrived.
    pub(super) replied: bool,
    /// A result arrived whose ping did not come yet.
    pub(super) ack_owed: bool,
}

impl Pulse {
    pub(super) fn new() -> Pulse {
        let now = Instant::now();
        Pulse { began: now, heard: now, next_ping: now + PING_AFTER, replied: false, ack_owed: false }
    }

    pub(super) fn heard(&mut self) {
        self.heard = Instant::now();
        self.next_ping = self.heard + PING_AFTER;
    }

    pub(super) fn loss(&self, close_code: Option<u16>) -> Loss {
        match close_code {
            _ if self.replied || self.began.elapsed() >= PROVED_AFTER => Loss::Proved,
            Some(RESTARTING) => Loss::Restarting,
            _ => Loss::Unproved,
        }
    }

    pub(super) async fn ask(&mut self, socket: &mut ClientSocket) -> Result<(), Broken> {
        if self.heard.elapsed() >= LOST_AFTER {
            return Err(Broken::silently("the gateway fell silent"));
        }
        self.next_ping = Instant::now() + PING_AFTER;
        socket.ping(Vec::new()).await.map_err(Broken::silently)
    }
}

pub(super) struct Broken {
    pub(super) why: String,
    /// The close code for a gateway that broke the rules.
    pub(super) blame: Option<u16>,
}

impl Broken {
    pub(super) fn silently(why: impl ToString) -> Broken {
        Broken { why: why.to_string(), blame: None }
    }
}
