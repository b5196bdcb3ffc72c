//! Calls to services that speak HTTP: the request, its answer, and what lies between them.
//!
//! | file | what |
//! |---|---|
//! | [`request`] | a call as an HTTP request; pure |
//! | `path` | its path, which no argument leads elsewhere |
//! | `request_body` | its body |
//! | [`response`] | an answer as an outcome; pure |
//! | `response_text` | the bytes of an answer as text |
//! | `lookup` | one value out of a JSON text |
//! | `follow` | answers that say "not yet" |
//! | `login` | sessions: a token for a login |

mod follow;
pub(super) mod login;
mod lookup;
mod path;
pub(crate) mod request;
mod request_body;
pub(crate) mod response;
mod response_text;
