//! JSON-RPC 2.0 over WebSocket: the port that agents connect to.
//!
//! Every connection is one task. Nothing that a peer does or fails to do holds up another: every wait has a
//! deadline, every queue a bound.
//!
//! | file | what it is |
//! |---|---|
//! | `port` | what all connections share |
//! | `handshake` | a connection until it is authenticated: TLS, upgrade, token |
//! | `dialogue` | one that is: frames in, replies out |
//! | `frames`, `methods` | what a frame asks for, and the answer |
//! | `session`, `outbox` | what the tasks of one connection share; what waits to be sent |
//! | `acks`, `keepalive` | which results have arrived; whether the peer is there |
//! | `wire` | from outcomes to JSON |

mod acks;
mod dialogue;
mod frames;
mod handshake;
mod keepalive;
mod methods;
mod outbox;
mod port;
mod session;
mod wire;

use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;

use smol::{Async, future};

use crate::net::listener::Listener;
pub(crate) use port::AgentPort;

impl AgentPort {
    /// Accepts connections until `stop` is set.
    pub(crate) async fn serve(self: Rc<Self>, listener: Listener) {
        let accept = async {
            loop {
                let (tcp, peer) = listener.accept().await;
                self.agents.executor.spawn(connection(self.clone(), tcp, peer)).detach();
                // While there is always one more to accept, those that were accepted must get their turn.
                future::yield_now().await;
            }
        };
        future::or(accept, self.stop.wait()).await;
    }
}

async fn connection(port: Rc<AgentPort>, tcp: Async<TcpStream>, peer: SocketAddr) {
    // In a box, which is gone before the dialogue begins: handshakes need several times the room of an idle connection.
    if let Some((socket, peer)) = Box::pin(handshake::let_in(&port, tcp, peer)).await {
        dialogue::run(port, socket, peer).await;
    }
}
