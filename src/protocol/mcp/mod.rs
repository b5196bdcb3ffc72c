//! The Model Context Protocol, as its messages have it, whatever carries them.

pub(crate) mod call;
pub(crate) mod era;
pub(crate) mod message;
pub(crate) mod own;
pub(crate) mod permission;
pub(crate) mod result;
pub(crate) mod schema;
pub(crate) mod state;
pub(crate) mod upstream;
