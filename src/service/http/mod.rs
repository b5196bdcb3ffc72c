//! Calls to services that speak HTTP.
//!
//! | file | what |
//! |---|---|
//! | `handler` | one call from the prepared request to its outcome |
//! | [`request`] | a call as an HTTP request; pure |
//! | `path` | its path, which no argument leads elsewhere |
//! | `request_body` | its body |
//! | `sender` | sends requests, with the token of a session where there is one |
//! | `login` | sessions at the service |
//! | `follow` | responses that say "not yet" |
//! | `no_response` | what it means that there is no response |
//! | [`response`] | a response as an outcome; pure |
//! | `response_text` | its bytes as text |
//! | `json_path` | one value out of a JSON text |

mod follow;
mod handler;
mod json_path;
mod login;
mod no_response;
mod path;
pub(crate) mod request;
mod request_body;
pub(crate) mod response;
mod response_text;
mod sender;

pub(super) use handler::HttpHandler;
