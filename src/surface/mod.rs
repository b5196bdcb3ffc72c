//! How the outside reaches the gate. Surfaces translate; they decide nothing.
//!
//! | module | for whom |
//! |---|---|
//! | `agent` | what agents can do, whatever they speak; every front for agents is built on it |
//! | [`rpc`] | agents, over WebSocket |
//! | `mcp` | agents, over the Model Context Protocol on the same port |
//! | [`admin`] | the owner's browser, over HTTP |
//! | [`control`] | people on the gateway, over a unix socket |
//! | `admission` | both ports: connections that have not authenticated, and wrong tokens |
//! | `hosts` | the names by which a listener is reached |
//! | `shapes` | the JSON that `control` and `admin` share |

pub(crate) mod admin;
mod admission;
mod agent;
pub(crate) mod control;
mod hosts;
mod mcp;
mod members;
pub(crate) mod rpc;
mod shapes;
