//! How the outside reaches the gate. Surfaces translate; they decide nothing.
//!
//! [`rpc`] is for agents (WebSocket), [`admin`] for the owner's browser (HTTP), [`control`] for people on the gateway
//! (unix socket). Both ports count their unauthenticated connections
//! with an [`Admission`](admission::Admission) each.

pub(crate) mod admin;
mod admission;
mod agent;
pub(crate) mod control;
pub(crate) mod rpc;
mod shapes;
