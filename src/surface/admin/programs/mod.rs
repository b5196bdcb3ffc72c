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

use std::rc::Rc;

use super::site::Admin;
use super::visitor::Visit;
use crate::net::front::WebAnswer;

/// None for what is no program's business.
pub(super) async fn answer(admin: &Rc<Admin>, visit: &Visit<'_>) -> Option<WebAnswer> {
    let path = &visit.request.path;
    if let Some(path) = path.strip_prefix("/approvals/answer/") {
        return Some(by_token::answer(admin, visit, path).await);
    }
    Some(api::answer(admin, visit, path.strip_prefix("/approvals/api/")?).await)
}
