//! What agents have read and carry with them. Every way on which data leaves writes it down before: the end of a call, a
//! replay, the inbox. The events say the same, and a start takes it up.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::sessions::SessionName;
use crate::base::clock::Timestamp;
use crate::model::{AgentId, Reading, Remember, Source};

/// Sessions of an agent whose readings are kept apart. It names them itself: those without a call for the longest time
/// make room.
const MOST_SESSIONS: usize = 2000;

/// What all agents have read.
#[derive(Default)]
pub struct Memory {
    agents: HashMap<AgentId, AgentMemory>,
}

#[derive(Default)]
struct AgentMemory {
    /// Each with when it was read last, in whatever session.
    read: BTreeMap<Source, LastRead>,
    sessions: HashMap<SessionName, SessionMemory>,
    /// Changes with everything that is read or forgotten.
    version: u64,
}

struct SessionMemory {
    read: BTreeMap<Source, LastRead>,
    /// When a call was last made in it.
    last: Timestamp,
}

#[derive(Clone, Copy)]
struct LastRead {
    at: Timestamp,
    /// The version of its agent's memory that this made.
    version: u64,
}

/// A source that an agent carries, for the owner.
pub(crate) struct Carried {
    pub source: Source,
    pub read_at: Timestamp,
    /// When it counts no more; None: as long as its session lives.
    pub until: Option<Timestamp>,
}

impl Memory {
    /// What the runs before have handed out. Which of their sessions still live is not known: all do.
    pub(super) fn take_up(readings: Vec<Reading>, now: Timestamp) -> Memory {
        let mut memory = Memory::default();
        for reading in &readings {
            memory.read(reading);
            let sessions = memory.agents.get_mut(&reading.agent).map(|memory| &mut memory.sessions);
            let session = sessions.and_then(|sessions| sessions.get_mut(&reading.session));
            session.into_iter().for_each(|session| session.last = session.last.max(now));
        }
        memory
    }

    /// Remembers that data is handed out.
    pub fn read(&mut self, reading: &Reading) {
        let Reading { agent, session, source, at } = reading;
        let memory = self.agents.entry(agent.clone()).or_default();
        memory.version = memory.version.wrapping_add(1);
        let last = LastRead { at: *at, version: memory.version };
        let newest = |kept: &mut LastRead| *kept = LastRead { at: kept.at.max(*at), ..last };
        memory.read.entry(source.clone()).and_modify(newest).or_insert(last);
        if !memory.sessions.contains_key(session) && memory.sessions.len() >= MOST_SESSIONS {
            memory.drop_oldest_session();
        }
        let begun = SessionMemory { read: BTreeMap::new(), last: *at };
        let session = memory.sessions.entry(session.clone()).or_insert(begun);
        session.last = session.last.max(*at);
        session.read.entry(source.clone()).and_modify(newest).or_insert(last);
    }

    /// A call is made in this session, which has ended when the last one was made as long as `idle` before.
    pub fn called(&mut self, agent: &AgentId, name: &SessionName, idle: Duration, now: Timestamp) {
        let Some(memory) = self.agents.get_mut(agent) else { return };
        let Some(session) = memory.sessions.get_mut(name) else { return };
        if session.last.plus(idle) > now {
            session.last = session.last.max(now);
        } else {
            memory.sessions.remove(name);
        }
    }

    /// What this agent carries in this session.
    pub fn carried(
        &self,
        agent: &AgentId,
        session: &SessionName,
        (remember, idle): (Remember, Duration),
        now: Timestamp,
    ) -> Vec<Source> {
        let Some(memory) = self.agents.get(agent) else { return Vec::new() };
        match remember {
            Remember::Off => Vec::new(),
            Remember::For(time) => {
                let counts = |(_, last): &(&Source, &LastRead)| last.at.plus(time) > now;
                memory.read.iter().filter(counts).map(|(source, _)| source.clone()).collect()
            }
            Remember::Session => {
                let session = memory.sessions.get(session).filter(|session| session.last.plus(idle) > now);
                session.map(|session| session.read.keys().cloned().collect()).unwrap_or_default()
            }
        }
    }

    /// All that this agent carries, in whatever session, for the owner.
    pub(super) fn all(
        &self,
        agent: &AgentId,
        (remember, idle): (Remember, Duration),
        now: Timestamp,
    ) -> Vec<Carried> {
        let Some(memory) = self.agents.get(agent) else { return Vec::new() };
        let time = match remember {
            Remember::Off => return Vec::new(),
            Remember::For(time) => Some(time),
            Remember::Session => None,
        };
        let lives = |source: &Source| {
            let mut sessions = memory.sessions.values().filter(|session| session.last.plus(idle) > now);
            sessions.any(|session| session.read.contains_key(source))
        };
        let carried = memory.read.iter().map(|(source, last)| Carried {
            source: source.clone(),
            read_at: last.at,
            until: time.map(|time| last.at.plus(time)),
        });
        let counts = |carried: &Carried| match carried.until {
            Some(until) => until > now,
            None => lives(&carried.source),
        };
        carried.filter(counts).collect()
    }

    /// Forgets what was read up to this version; what came later, while that was being written down, stays.
    pub(super) fn forget(&mut self, agent: &AgentId, through: u64) {
        let Some(memory) = self.agents.get_mut(agent) else { return };
        let is_later = |_: &Source, last: &mut LastRead| last.version > through;
        memory.read.retain(is_later);
        memory.sessions.values_mut().for_each(|session| session.read.retain(is_later));
        memory.sessions.retain(|_, session| !session.read.is_empty());
        memory.version = memory.version.wrapping_add(1);
    }

    /// Another number whenever what this agent carries may have changed.
    pub(super) fn version(&self, agent: &AgentId) -> u64 {
        self.agents.get(agent).map_or(0, |memory| memory.version)
    }
}

impl AgentMemory {
    fn drop_oldest_session(&mut self) {
        let oldest = self.sessions.iter().min_by_key(|(_, session)| session.last);
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            self.sessions.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(minutes: i64) -> Timestamp {
        Timestamp(minutes * 60_000)
    }

    fn session(name: &str) -> SessionName {
        (!name.is_empty()).then(|| name.into())
    }

    fn reading(from: &str, in_session: &str, minutes: i64) -> Reading {
        let source = Source { from: from.into(), labels: ["pii".to_owned()].into() };
        Reading { agent: pi(), session: session(in_session), source, at: at(minutes) }
    }

    fn pi() -> AgentId {
        AgentId::configured("pi")
    }

    fn carried(memory: &Memory, name: &str, remember: Remember, minutes: i64) -> Vec<String> {
        let carried = memory.carried(&pi(), &session(name), (remember, HOUR), at(minutes));
        carried.into_iter().map(|source| source.from).collect()
    }

    #[test]
    fn what_was_read_counts_for_a_time_in_whatever_session() {
        let mut memory = Memory::default();
        memory.read(&reading("crm", "a", 0));
        memory.read(&reading("web", "", 30));
        let hour = Remember::For(HOUR);
        assert_eq!(carried(&memory, "b", hour, 59), ["crm", "web"]);
        assert_eq!(carried(&memory, "b", hour, 60), ["web"]);
        memory.read(&reading("crm", "b", 61));
        memory.read(&reading("crm", "b", 20));
        assert_eq!(carried(&memory, "", hour, 95), ["crm"], "the latest reading counts");
        assert_eq!(carried(&memory, "a", Remember::Off, 62), [""; 0]);
        let other = AgentId::configured("laptop");
        assert_eq!(memory.carried(&other, &None, (hour, HOUR), at(62)), []);
    }

    #[test]
    fn or_as_long_as_its_session_makes_calls() {
        let mut memory = Memory::default();
        memory.read(&reading("crm", "a", 0));
        memory.read(&reading("web", "", 0));
        assert_eq!(carried(&memory, "a", Remember::Session, 30), ["crm"]);
        assert_eq!(carried(&memory, "b", Remember::Session, 30), [""; 0]);
        memory.called(&pi(), &session("a"), HOUR, at(50));
        memory.called(&pi(), &session("b"), HOUR, at(50));
        assert_eq!(carried(&memory, "a", Remember::Session, 109), ["crm"]);
        assert_eq!(carried(&memory, "a", Remember::Session, 110), [""; 0]);
        assert_eq!(carried(&memory, "", Remember::Session, 59), ["web"]);
        let all = memory.all(&pi(), (Remember::Session, HOUR), at(80));
        assert_eq!(all.iter().map(|one| one.source.from.as_str()).collect::<Vec<_>>(), ["crm"]);
        memory.called(&pi(), &session("a"), HOUR, at(110));
        assert_eq!(carried(&memory, "a", Remember::Session, 110), [""; 0], "the next session begins anew");
    }

    #[test]
    fn a_start_takes_it_up_and_a_person_lets_it_be_forgotten() {
        let mut memory = Memory::take_up(vec![reading("crm", "a", 0)], at(600));
        assert_eq!(carried(&memory, "a", Remember::Session, 659), ["crm"], "the session may still live");
        assert_eq!(carried(&memory, "a", Remember::For(HOUR), 600), [""; 0]);
        let before = memory.version(&pi());
        memory.forget(&pi(), before);
        assert_ne!(memory.version(&pi()), before);
        assert_eq!(carried(&memory, "a", Remember::Session, 601), [""; 0]);
    }

    #[test]
    fn an_agent_cannot_fill_the_memory_with_sessions() {
        let mut memory = Memory::default();
        for n in 0..3000 {
            memory.read(&reading("crm", &n.to_string(), n));
        }
        assert_eq!(memory.agents[&pi()].sessions.len(), MOST_SESSIONS);
        assert_eq!(carried(&memory, "2999", Remember::Session, 2999), ["crm"]);
        assert_eq!(carried(&memory, "new", Remember::For(HOUR), 2999), ["crm"]);
    }
}
