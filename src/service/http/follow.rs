//! Answers that say "not yet", and where to ask again.
//!
//! The call itself was sent, once, before anything here. What is asked again is only what its answer names, at the same
//! origin, by GET, for a bounded time.

use std::thread;
use std::time::Instant;

use super::{request, response};
use crate::config::ServiceConfig;
use crate::model::{Kind, Lost, Outcome, Tool};
use crate::net::client::{HttpRequest, HttpResponse};
use crate::service::Service;

const NOT_YET: &str = "the service took it on; what became of it was not known in time";
const NO_ANSWER: &str = "the service took it on; what became of it could not be asked";

impl Service {
    /// What becomes of an answer in the end. BLOCKS until then, and for the tool's `follow.within` at most besides the time
    /// of the last question.
    ///
    /// # Errors
    /// The outcome of a call whose end is not known.
    pub(crate) fn follow(
        &self,
        tool: &Tool,
        sent: &HttpRequest,
        mut answer: HttpResponse,
    ) -> Result<HttpResponse, Outcome> {
        let Some(follow) = &tool.response.follow else { return Ok(answer) };
        let (deadline, accepted) = (Instant::now() + follow.within, answer.status);
        let mut place = None;
        while answer.status == follow.status {
            place = location(&self.config, &answer).or(place);
            // Nowhere to ask: then this is the answer.
            let Some(url) = &place else { return Ok(answer) };
            if Instant::now() + follow.every > deadline {
                log::warn!("tool {}: {NOT_YET}", tool.name);
                return Err(unknown_end(tool, accepted, NOT_YET));
            }
            thread::sleep(follow.every);
            answer = self.ask_again(sent, url).ok_or_else(|| {
                log::warn!("tool {}: {NO_ANSWER}", tool.name);
                unknown_end(tool, accepted, NO_ANSWER)
            })?;
        }
        if place.is_some() && tool.kind.has_side_effects() && says_nothing_of_the_call(answer.status) {
            log::warn!("tool {}: {NO_ANSWER}", tool.name);
            return Err(unknown_end(tool, accepted, NO_ANSWER));
        }
        Ok(answer)
    }

    fn ask_again(&self, sent: &HttpRequest, url: &str) -> Option<HttpResponse> {
        let body_header = |name: &str| name.eq_ignore_ascii_case("content-type");
        let headers = sent.headers.iter().filter(|(name, _)| !body_header(name)).cloned().collect();
        let question = HttpRequest {
            method: "GET".to_owned(),
            url: request::with_credentials(&self.config, url),
            headers,
            body: None,
            timeout: sent.timeout,
        };
        self.send_by(&self.asking, question, Kind::Read).ok()?.ok()
    }
}

/// Whether an answer is about the question only: whoever heard it as the end of the call would repeat what was done.
fn says_nothing_of_the_call(status: u16) -> bool {
    matches!(status, 300..=399 | 401 | 403 | 404 | 408 | 410 | 429 | 502..=504)
}

fn unknown_end(tool: &Tool, status: u16, note: &str) -> Outcome {
    match tool.kind.has_side_effects() {
        true => response::lost(tool, status, Lost::CutOff, Some(note.to_owned())),
        false => Outcome::ServiceTimeout,
    }
}

/// Where an answer says to ask, when that is at this service.
fn location(service: &ServiceConfig, answer: &HttpResponse) -> Option<String> {
    let said = answer.header("location").next()?;
    let own = service.url.as_str();
    let root = own.match_indices('/').nth(2).map_or(own, |(at, _)| own.get(..at).unwrap_or_default());
    let whole = match said.strip_prefix('/') {
        Some(rest) if rest.starts_with('/') => return None,
        Some(_) => format!("{root}{said}"),
        None => said.to_owned(),
    };
    request::check_origin(service, &whole).ok().map(|()| whole)
}
