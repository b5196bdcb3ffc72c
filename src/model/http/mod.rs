//! The HTTP request that a call becomes, and what is said about its answer.

mod body;
pub(crate) mod response;

pub use body::Encoding;
pub(crate) use body::Node;
pub use response::{Charset, ResponseSpec};
