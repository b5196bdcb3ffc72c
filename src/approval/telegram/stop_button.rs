//! The button below "Stop everything?": when that was asked, and whom it stops. Pure.
//!
//! It carries all of it, so that a restart between the two taps changes nothing. A changed client can make one up, which
//! gains it nothing: only taps of people who may stop calls count.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::api::Button;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::safe_text::visible;
use crate::model::AgentId;

/// How long it can be tapped.
const LIFE: Duration = Duration::from_secs(60);
/// What its data begin with.
const STOP: &str = "1k";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StopButton {
    asked: Timestamp,
    /// The beginning of the digest of the agent's name, which may be too long for a button; None: everything.
    agent: Option<[u8; 16]>,
}

impl StopButton {
    /// None for everything that no version of this gateway has written.
    pub(super) fn read(data: &str) -> Option<StopButton> {
        let bytes = URL_SAFE_NO_PAD.decode(data.strip_prefix(STOP)?).ok()?;
        let (asked, agent) = bytes.split_first_chunk::<8>()?;
        let agent = match agent {
            [] => None,
            named => Some(named.try_into().ok()?),
        };
        Some(StopButton { asked: Timestamp(i64::from_be_bytes(*asked)), agent })
    }

    fn data(&self) -> String {
        let agent = self.agent.iter().flatten().copied();
        let bytes: Vec<u8> = self.asked.0.to_be_bytes().into_iter().chain(agent).collect();
        format!("{STOP}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Neither too old nor, by a clock that was set back, from a time to come.
    pub(super) fn counts(&self, now: Timestamp) -> bool {
        self.asked <= now && now.since(self.asked) <= LIFE
    }

    /// Whom it stops: everything, or which of `agents`. None: an agent that is not among them.
    pub(super) fn scope(&self, agents: Vec<AgentId>) -> Option<Option<AgentId>> {
        match self.agent {
            None => Some(None),
            Some(named) => agents.into_iter().find(|agent| mark(agent) == named).map(Some),
        }
    }
}

fn mark(agent: &AgentId) -> [u8; 16] {
    let Digest(digest) = Digest::sha256(agent.as_str().as_bytes());
    digest.first_chunk().copied().unwrap_or_default()
}

/// What is asked before anything is stopped, and the button that does it.
pub(super) fn question(agent: Option<&AgentId>, asked: Timestamp) -> (String, Vec<Vec<Button>>) {
    let what = match agent {
        None => "Stop everything?".to_owned(),
        Some(agent) => format!("Stop all calls of {}?", visible(agent.as_str())),
    };
    let text = format!(
        "🛑 {what}\nNew calls are denied, open questions are withdrawn, grants end. Calls that are at a service are seen \
         through: they cannot be called back. The button works for {} s.",
        LIFE.as_secs()
    );
    let button = StopButton { asked, agent: agent.map(mark) };
    (text, vec![vec![Button { text: "Yes, stop".to_owned(), data: button.data() }]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn button(agent: Option<&AgentId>) -> StopButton {
        let (_, rows) = question(agent, Timestamp(1_000_000));
        let data = &rows[0][0].data;
        assert!(data.len() <= 64);
        StopButton::read(data).unwrap()
    }

    #[test]
    fn it_says_when_it_was_asked_and_whom_it_stops() {
        let agents: Vec<_> = ["pi", &"x".repeat(200)].map(AgentId::configured).into();
        assert_eq!(button(None).scope(agents.clone()), Some(None));
        for agent in &agents {
            assert_eq!(button(Some(agent)).scope(agents.clone()), Some(Some(agent.clone())));
        }
        assert_eq!(button(Some(&AgentId::configured("gone"))).scope(agents), None);
        for (at, counts) in [(1_000_000, true), (1_060_000, true), (1_060_001, false), (999_999, false)] {
            assert_eq!(button(None).counts(Timestamp(at)), counts, "{at}");
        }
    }

    #[test]
    fn what_nobody_has_written_is_nothing() {
        for data in
            ["", "1k", "1kAAAA", "1aAAAAAAAAAAA", "1kAAAAAAAAAAB", "1kAAAAAAAAAAAAAA", "2kAAAAAAAAAAA"]
        {
            assert_eq!(StopButton::read(data), None, "{data}");
        }
        assert!(StopButton::read("1kAAAAAAAAAAA").is_some());
    }
}
