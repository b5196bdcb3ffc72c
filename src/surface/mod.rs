//! How the outside reaches the gate. Surfaces translate; they decide nothing.
//!
//! [`rpc`] is for agents (WebSocket), [`control`] for people on the gateway (unix socket).

pub mod control;
pub mod rpc;
