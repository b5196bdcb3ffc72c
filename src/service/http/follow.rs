//! Responses that say "not yet", and where to ask again.
//!
//! The call itself was sent, once, before anything here. What is polled is only what its response names, at the same
//! origin, by GET, for a bounded time.

use std::thread;
use std::time::Instant;

use super::request;
use super::response;
use super::sender::Sender;
use crate::config::HttpService;
use crate::model::http::response::Follow;
use crate::model::{Lost, Outcome, Tool};
use crate::net::client::{HttpRequest, HttpResponse};

const NOT_YET: &str = "the service took it on; what became of it was not known in time";
const NO_ANSWER: &str = "the service took it on; what became of it could not be asked";

/// Polls until there is a final response. BLOCKS for at most `follow.within` and the time of one more request.
///
/// # Errors
/// The outcome of a call whose end is not known.
pub(super) fn follow(
    sender: &Sender,
    service: &HttpService,
    follow: &Follow,
    tool: &Tool,
    sent: &HttpRequest,
    mut response: HttpResponse,
) -> Result<HttpResponse, Outcome> {
    let (deadline, accepted) = (Instant::now() + follow.within, response.status);
    let unknown = |note: &str| {
        log::warn!("tool {}: {note}", tool.name);
        match tool.kind.has_side_effects() {
            true => response::lost(tool.kind, accepted, Lost::CutOff, Some(note.to_owned())),
            false => Outcome::ServiceTimeout,
        }
    };
    let mut place = None;
    while response.status == follow.status {
        place = location(service, &response).or(place);
        // Without a place to ask at, this is the response.
        let Some(url) = &place else { return Ok(response) };
        if Instant::now() + follow.every > deadline {
            return Err(unknown(NOT_YET));
        }
        thread::sleep(follow.every);
        response = sender.poll(poll(service, sent, url)).map_err(|_| unknown(NO_ANSWER))?;
    }
    if place.is_some() && tool.kind.has_side_effects() && says_nothing_of_the_call(response.status) {
        return Err(unknown(NO_ANSWER));
    }
    Ok(response)
}

fn poll(service: &HttpService, sent: &HttpRequest, url: &str) -> HttpRequest {
    let is_of_body = |name: &str| name.eq_ignore_ascii_case("content-type");
    HttpRequest {
        method: "GET".to_owned(),
        url: request::with_credentials(service, url),
        headers: sent.headers.iter().filter(|(name, _)| !is_of_body(name)).cloned().collect(),
        body: None,
        timeout: sent.timeout,
    }
}

/// Whether a response is about the poll alone: an agent that took it for the end of the call would repeat what was
/// done.
fn says_nothing_of_the_call(status: u16) -> bool {
    matches!(status, 300..=399 | 401 | 403 | 404 | 408 | 410 | 429 | 502..=504)
}

/// The URL that a response names, where it is one of this service.
fn location(service: &HttpService, response: &HttpResponse) -> Option<String> {
    let named = response.header("location").next()?;
    let own = service.url.as_str();
    let origin = own.match_indices('/').nth(2).map_or(own, |(at, _)| own.get(..at).unwrap_or_default());
    let url = match named.strip_prefix('/') {
        Some(rest) if rest.starts_with('/') => return None,
        Some(_) => format!("{origin}{named}"),
        None => named.to_owned(),
    };
    request::check_origin(service, &url).ok().map(|()| url)
}
