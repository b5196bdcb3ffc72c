//! agentpass: an execution gateway for AI agents on untrusted devices.
//!
//! The agent asks, a policy decides, a human approves where the policy says so, the gateway calls the
//! service with credentials the agent never sees, and a tamper-evident record stays behind.
//!
//! Modules lie in layers and import strictly downhill (`tests/layering.rs` keeps it so):
//!
//! | rank | modules | what they are |
//! |---|---|---|
//! | 7 | `cli` | commands, output, exit codes; the only place that prints |
//! | 6 | `daemon`, [`client`] | wiring and shutdown of the gateway; the connection that agents use |
//! | 5 | `surface` | how the outside reaches the gate: WebSocket, admin pages, control socket |
//! | 4 | `gate` | the path of one call; read `gate/pipeline.rs` first |
//! | 3 | `approval`, `service` | the questions; the HTTP calls that the record has claimed |
//! | 2 | `config`, `policy`, `net`, `store` | YAML to model; pure decisions; sockets and TLS; the record |
//! | 1 | `model`, `protocol` | the shared words; the JSON-RPC wire types |
//! | 0 | `base` | clock, ids, secrets, patterns, templates, safe text |
//!
//! Other crates see [`client`], [`run`] and, for our own tests and benches, [`testing`].

#![warn(unreachable_pub)]

mod approval;
mod base;
mod cli;
pub mod client;
mod config;
mod daemon;
mod gate;
mod model;
mod net;
mod policy;
mod protocol;
mod service;
mod store;
mod surface;
#[doc(hidden)]
pub mod testing;

pub use cli::run;
