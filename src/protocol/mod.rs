//! Rank 1: the JSON-RPC 2.0 wire, seen from both ends. It knows members and codes, not what they lead to.
//!
//! The gateway parses [`frame`]s and reads [`params`]; the client reads replies through [`reply`]. Every code is in
//! [`code`]. [`mcp`] is the other protocol that agents speak, [`coding_agent`] what they do on their own machines.

pub(crate) mod code;
pub(crate) mod coding_agent;
pub(crate) mod frame;
pub(crate) mod mcp;
pub(crate) mod params;
pub(crate) mod reply;
mod salvage;
