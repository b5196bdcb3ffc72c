//! The live sessions of each agent. An agent names its sessions itself, so they are bounded, and only a call that is
//! claimed opens one.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::model::{AgentId, SessionNumber};
use crate::store::{LiveSession, LiveSessions};

/// Live sessions that an agent may have.
pub(crate) const MAX_SESSIONS: usize = 1000;

/// A session's name; None is the agent's own unnamed one.
pub(super) type SessionName = Option<Arc<str>>;

#[derive(Debug, Default)]
pub(super) struct Sessions {
    agents: HashMap<AgentId, HashMap<SessionName, Session>>,
    idle: Duration,
    last: SessionNumber,
}

#[derive(Debug)]
struct Session {
    number: SessionNumber,
    /// When a call was last made in it.
    last: Timestamp,
    /// Calls that are about to be claimed in it.
    held: u32,
    /// Whether one has been.
    claimed: bool,
}

impl Session {
    fn lives(&self, idle: Duration, now: Timestamp) -> bool {
        self.held > 0 || self.last.plus(idle) > now
    }
}

impl Sessions {
    /// From now on a session ends when it made no call for so long.
    pub(super) fn set_idle(&mut self, idle: Duration) {
        self.idle = idle;
    }

    /// The live session of this name.
    pub(super) fn number(
        &self,
        agent: &AgentId,
        name: &SessionName,
        now: Timestamp,
    ) -> Option<SessionNumber> {
        let session = self.agents.get(agent)?.get(name)?;
        session.lives(self.idle, now).then_some(session.number)
    }

    /// Whether the session lives or can be opened.
    pub(super) fn has_room(&self, agent: &AgentId, name: &SessionName, now: Timestamp) -> bool {
        let Some(sessions) = self.agents.get(agent) else { return true };
        sessions.len() < MAX_SESSIONS
            || self.number(agent, name, now).is_some()
            || sessions.values().filter(|session| session.lives(self.idle, now)).count() < MAX_SESSIONS
    }

    /// A call was made in it, whatever becomes of the call.
    pub(super) fn touch(&mut self, agent: &AgentId, name: &SessionName, now: Timestamp) {
        if self.number(agent, name, now).is_some()
            && let Some(session) = self.agents.get_mut(agent).and_then(|sessions| sessions.get_mut(name))
        {
            session.last = session.last.max(now);
        }
    }

    /// Holds the session for a call that is about to be claimed. None: that would be one session too many.
    pub(super) fn hold(
        &mut self,
        agent: &AgentId,
        name: &SessionName,
        now: Timestamp,
    ) -> Option<SessionNumber> {
        let (idle, next) = (self.idle, self.last.saturating_add(1).max(now.0));
        let sessions = self.agents.entry(agent.clone()).or_default();
        if !sessions.get(name).is_some_and(|session| session.lives(idle, now)) {
            if sessions.len() >= MAX_SESSIONS {
                sessions.retain(|_, session| session.lives(idle, now));
            }
            if sessions.len() >= MAX_SESSIONS {
                return None;
            }
            self.last = next;
            let begun = Session { number: next, last: now, held: 0, claimed: false };
            sessions.insert(name.clone(), begun);
        }
        let session = sessions.get_mut(name)?;
        session.held = session.held.saturating_add(1);
        session.last = session.last.max(now);
        Some(session.number)
    }

    /// Ends what [`Sessions::hold`] began. A session in which nothing was ever claimed was never opened.
    pub(super) fn release(&mut self, agent: &AgentId, name: &SessionName, claimed: bool) {
        let Some(sessions) = self.agents.get_mut(agent) else { return };
        let Some(session) = sessions.get_mut(name) else { return };
        session.held = session.held.saturating_sub(1);
        session.claimed |= claimed;
        if !session.claimed && session.held == 0 {
            sessions.remove(name);
        }
    }

    /// Takes up a session of the run before, in which a call was last made at `last`. Of two of one name the later lives.
    pub(super) fn take_up(
        &mut self,
        agent: &AgentId,
        name: &SessionName,
        number: SessionNumber,
        last: Timestamp,
    ) {
        self.last = self.last.max(number);
        let sessions = self.agents.entry(agent.clone()).or_default();
        let begun = || Session { number, last, held: 0, claimed: true };
        let session = sessions.entry(name.clone()).or_insert_with(begun);
        match session.number.cmp(&number) {
            Ordering::Less => *session = begun(),
            Ordering::Equal => session.last = session.last.max(last),
            Ordering::Greater => {}
        }
    }

    /// All that live.
    pub(super) fn live(&self, now: Timestamp) -> LiveSessions {
        let of_agent = |(agent, sessions): (&AgentId, &HashMap<SessionName, Session>)| {
            let live = sessions.iter().filter(|(_, session)| session.lives(self.idle, now));
            live.map(|(name, Session { number, last, .. })| {
                ((agent.clone(), name.clone()), LiveSession { number: *number, last: *last })
            })
            .collect::<Vec<_>>()
        };
        self.agents.iter().flat_map(of_agent).collect()
    }

    /// Forgets those that have ended.
    pub(super) fn tidy(&mut self, now: Timestamp) {
        let idle = self.idle;
        self.agents.retain(|_, sessions| {
            sessions.retain(|_, session| session.lives(idle, now));
            !sessions.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    fn named(name: &str) -> SessionName {
        Some(name.into())
    }

    fn sessions() -> Sessions {
        let mut sessions = Sessions::default();
        sessions.set_idle(HOUR);
        sessions
    }

    #[test]
    fn only_a_claim_opens_a_session_and_only_calls_keep_it() {
        let (mut sessions, pi) = (sessions(), AgentId::configured("pi"));
        sessions.touch(&pi, &None, at(0));
        assert_eq!(sessions.number(&pi, &None, at(0)), None);
        sessions.hold(&pi, &None, at(0)).unwrap();
        sessions.release(&pi, &None, false);
        assert_eq!(sessions.number(&pi, &None, at(0)), None, "nothing was claimed");
        let first = sessions.hold(&pi, &None, at(0)).unwrap();
        sessions.release(&pi, &None, true);
        sessions.touch(&pi, &None, at(3000));
        assert_eq!(sessions.number(&pi, &None, at(6599)), Some(first));
        assert_eq!(sessions.number(&pi, &None, at(6600)), None);
        assert_ne!(sessions.hold(&pi, &None, at(6600)), Some(first), "another of the same name");
    }

    #[test]
    fn a_thousand_live_sessions_and_no_more() {
        let (mut sessions, pi) = (sessions(), AgentId::configured("pi"));
        for n in 0..1000 {
            let name = named(&n.to_string());
            assert!(sessions.has_room(&pi, &name, at(n)));
            sessions.hold(&pi, &name, at(n)).unwrap();
            sessions.release(&pi, &name, true);
        }
        assert!(!sessions.has_room(&pi, &named("one more"), at(1000)));
        assert_eq!(sessions.hold(&pi, &named("one more"), at(1000)), None);
        assert!(
            sessions.has_room(&pi, &named("7"), at(1000))
                && sessions.hold(&pi, &named("7"), at(1000)).is_some()
        );
        let laptop = AgentId::configured("laptop");
        assert!(sessions.has_room(&laptop, &None, at(1000)), "another agent has its own");
        assert!(sessions.has_room(&pi, &named("one more"), at(3600)));
        assert!(sessions.hold(&pi, &named("one more"), at(3600)).is_some());
        sessions.tidy(at(100_000));
        assert_eq!(sessions.agents.values().map(HashMap::len).sum::<usize>(), 2, "two are held");
    }
}
