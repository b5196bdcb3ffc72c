//! Sockets: listening, TLS, WebSockets, outgoing HTTP and the messages to systemd.
//!
//! Everything that touches the network goes through here, so that every limit and deadline has one place.
//! It knows bytes, frames and requests. It must never know what they mean: no agents, no policy, no JSON.
//!
//! | file | what |
//! |---|---|
//! | [`listener`] | bind and accept |
//! | [`tls`] | our server certificate, TLS handshakes |
//! | `authority` | whom our TLS clients accept |
//! | [`ws`] | one WebSocket, either end |
//! | `early` | messages read while a write waits |
//! | [`forwarded`] | what proxies say of a request's way |
//! | [`front`] | the HTTP server of our listeners: pages, and requests that become a WebSocket |
//! | `reading`, `sent` | peers that must read; answers until they have been written |
//! | [`connect`] | the agent's way to a gateway |
//! | [`client`] | HTTP calls to services |
//! | [`names`] | host names to addresses |
//! | [`notify`] | systemd |

mod authority;
mod certificate;
pub(crate) mod client;
pub(crate) mod connect;
pub(crate) mod deadline;
mod early;
pub(crate) mod forwarded;
pub(crate) mod front;
pub(crate) mod listener;
pub(crate) mod names;
pub(crate) mod notify;
mod reading;
mod reason;
mod sent;
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod ws;
