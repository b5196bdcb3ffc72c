//! JSON-RPC 2.0 over WebSocket: the port that agents connect to.
//!
//! Every connection is one task. Nothing that a peer does or fails to do holds up another: every wait has a
//! deadline, every queue a bound.

mod batch;
mod connection;
mod listing;
mod methods;
mod outbox;
mod receipts;
mod recipient;
mod session;
mod silence;
mod wire;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use listing::Listings;
use recipient::Recipients;

use crate::gate::{Executor, Gate, Latch};
use crate::net::listener::Listener;
use crate::net::tls::Acceptor;
use crate::surface::admission::Admission;

/// What the port needs beside the gate.
pub(crate) struct Rpc {
    gate: Rc<Gate>,
    executor: Executor,
    acceptor: RefCell<Option<Acceptor>>,
    admission: Rc<Admission>,
    recipients: Recipients,
    listings: Listings,
    max_message_bytes: usize,
    stop: Rc<Latch>,
    /// Where the grid of the timers of all connections begins.
    began: Instant,
}

impl Rpc {
    /// A port without `acceptor` speaks plain text: only for `--insecure`.
    pub(crate) fn new(
        gate: Rc<Gate>,
        executor: Executor,
        acceptor: Option<Acceptor>,
        max_message_bytes: usize,
        stop: Rc<Latch>,
    ) -> Rc<Rpc> {
        let acceptor = RefCell::new(acceptor);
        let (admission, recipients, listings) = (Rc::default(), Recipients::default(), Listings::default());
        let began = Instant::now();
        Rc::new(Rpc {
            gate,
            executor,
            acceptor,
            admission,
            recipients,
            listings,
            max_message_bytes,
            stop,
            began,
        })
    }

    /// A renewed certificate, for connections from now on.
    pub(crate) fn replace_acceptor(&self, acceptor: Acceptor) {
        self.acceptor.replace(Some(acceptor));
    }

    /// Accepts connections until the stop latch opens.
    pub(crate) async fn serve(self: Rc<Self>, listener: Listener) {
        let accept = async {
            loop {
                let (tcp, peer) = listener.accept().await;
                self.executor.spawn(connection::run(self.clone(), tcp, peer)).detach();
                // While there is always one more to accept, those that were accepted must get their turn.
                smol::future::yield_now().await;
            }
        };
        smol::future::or(accept, self.stop.wait()).await;
    }
}
