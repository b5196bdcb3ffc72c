//! Calls to services.

pub mod scrub;
