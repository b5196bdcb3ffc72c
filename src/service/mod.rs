//! The calls to services: how a claimed call is run, and what its agent gets of the response.
//!
//! | folder or file | what |
//! |---|---|
//! | `registry` | all configured services |
//! | `handler` | what every kind of service does with a call |
//! | [`http`] | the handler of services that speak HTTP |
//! | `permit` | the handler of services whose tools the agent performs itself |
//! | [`child`] | programs that the gateway starts and ends |
//! | [`mcp`] | MCP servers: what one offers, and what is doubtful about it |
//! | `scrub` | takes the owner's credentials out of everything that comes back |
//! | `health` | whether the services are well |
//! | `drift` | what a server offers, against what its owner has looked at |
//! | `call_slots` | how many calls run at once, and which is next |
//!
//! A new kind of service is a variant of `config::ServiceConfig`, a `Handler` in a folder or file of its own, and a line in
//! `registry` for each of the two questions that are answered there: whose handler, and whether a call can be sent.
//!
//! It never decides whether a call may happen, never sends one twice, and never lets a credential, a path or data of a
//! service into the log.

mod call_slots;
pub(crate) mod child;
mod drift;
mod handler;
mod health;
pub(crate) mod http;
pub(crate) mod mcp;
mod permit;
mod registry;
mod scrub;

pub use call_slots::{CallSlot, CallSlots, SlotShares};
pub use handler::Attempt;
pub(crate) use handler::PreparedCall;
pub use health::ServiceHealth;
pub use registry::Services;
pub(crate) use registry::{ServiceSetupError, check};
pub use scrub::Scrubber;
