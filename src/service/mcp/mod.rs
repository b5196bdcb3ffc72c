//! MCP servers behind the gateway.
//!
//! | file | what |
//! |---|---|
//! | `upstream` | one server over its standard input and output |
//! | `analysis` | what is doubtful about the tools that a server offers |

pub(crate) mod analysis;
mod upstream;

pub(crate) use upstream::{Listing, list};
