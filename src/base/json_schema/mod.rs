//! The part of JSON Schema (2020-12 and draft 7) that tools describe their arguments with. A schema that asserts what is
//! not checked here is refused when it is read, so that a check never passes over a word.
//!
//! A crate that checks all of JSON Schema is larger when compiled than an HTTP client. What the servers in use say fits
//! into two small files: `schema` reads, `check` checks.

mod check;
mod schema;
#[cfg(test)]
mod tests;

pub(crate) use check::Misfit;
pub(crate) use schema::JsonSchema;
