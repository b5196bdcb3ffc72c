//! What other programs ask of the admin listener. There are no cookies here and no forms: each request shows a token,
//! and nothing is answered or changed without the right one.
//!
//! | file | what it is |
//! |---|---|
//! | `api` | `/approvals/api/`, for the channels of type `api` |
//! | `pending`, `events`, `resolve` | what it serves |
//! | `by_token` | answers with the token that a message carried |
//! | `client` | a program that has shown the right token |
//! | `reply` | the shape of every answer |

mod api;
mod by_token;
mod client;
mod events;
mod pending;
mod reply;
mod resolve;

use std::net::IpAddr;
use std::rc::Rc;

use super::site::Admin;
use super::visitor::Visitor;
use crate::net::front::{WebAnswer, WebRequest};
use crate::surface::admission::Caller;

/// None for what is no program's business.
pub(super) async fn answer(
    admin: &Rc<Admin>,
    caller: &Caller,
    peer: IpAddr,
    visitor: &Visitor,
    request: &WebRequest,
) -> Option<WebAnswer> {
    if let Some(path) = request.path.strip_prefix("/approvals/answer/") {
        return Some(by_token::answer(admin, visitor, request, path).await);
    }
    let path = request.path.strip_prefix("/approvals/api/")?;
    Some(api::answer(admin, caller, peer, visitor, request, path).await)
}
