//! How the outside reaches the gate. Surfaces translate; they decide nothing.
//!
//! [`rpc`] is for agents (WebSocket), [`admin`] for the owner's browser (HTTP), [`control`] for people on the gateway
//! (unix socket). Both ports have a `door` each.

pub(crate) mod admin;
pub(crate) mod control;
mod door;
pub(crate) mod rpc;
