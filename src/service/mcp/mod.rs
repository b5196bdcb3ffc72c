//! MCP servers behind the gateway.
//!
//! | file | what |
//! |---|---|
//! | `handler` | one server as a service, and its calls |
//! | `worker` | the thread of a running server |
//! | `connection` | messages over its standard input and output |
//! | `upstream` | the handshake, and the list of its tools |
//! | `result` | what it answers, as an outcome |
//! | `trouble` | why it cannot be used |
//! | `analysis` | what is doubtful about the tools that a server offers |

pub(crate) mod analysis;
mod connection;
mod handler;
mod result;
mod trouble;
mod upstream;
mod worker;

pub(super) use handler::{McpHandler, Upstream};
pub(crate) use upstream::{Listing, list};
