//! The sessions of old clients: a name for a connection that HTTP does not have. Kept in memory, bounded for each agent; a
//! client that hears 404 begins anew.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use serde_json::Value;

use crate::base::digest::to_hex;
use crate::base::ids::{RequestId, random_bytes};
use crate::base::once_flag::OnceFlag;
use crate::model::AgentId;

/// Sessions of one agent. One more ends the one that was silent longest.
const MAX_SESSIONS: usize = 64;
/// Calls of one session that can be taken back by their id.
const MAX_CALLS: usize = 64;

#[derive(Default)]
pub(super) struct Sessions(RefCell<HashMap<AgentId, HashMap<String, Rc<LegacySession>>>>);

pub(super) struct LegacySession {
    used: Cell<Instant>,
    /// Calls under way, by the client's id as JSON text: `1` and `"1"` are two.
    calls: RefCell<HashMap<String, RequestId>>,
    /// Set when it has ended.
    pub ended: OnceFlag,
}

impl Sessions {
    /// Begins a session and returns its id.
    ///
    /// # Errors
    /// When the kernel has no randomness to give.
    pub(super) fn begin(&self, agent: &AgentId) -> std::io::Result<String> {
        let id = to_hex(&random_bytes::<32>()?);
        let (used, calls, ended) = (Cell::new(Instant::now()), RefCell::default(), OnceFlag::default());
        let mut all = self.0.borrow_mut();
        let own = all.entry(agent.clone()).or_default();
        if own.len() >= MAX_SESSIONS {
            let oldest = own.iter().min_by_key(|(_, session)| session.used.get()).map(|(id, _)| id.clone());
            oldest.and_then(|id| own.remove(&id)).into_iter().for_each(|session| session.ended.set());
        }
        own.insert(id.clone(), Rc::new(LegacySession { used, calls, ended }));
        Ok(id)
    }

    /// The session of this agent's with this id.
    pub(super) fn get(&self, agent: &AgentId, id: &str) -> Option<Rc<LegacySession>> {
        let session = self.0.borrow().get(agent)?.get(id)?.clone();
        session.used.set(Instant::now());
        Some(session)
    }

    /// False: there is no such session.
    pub(super) fn end(&self, agent: &AgentId, id: &str) -> bool {
        let ended = self.0.borrow_mut().get_mut(agent).and_then(|own| own.remove(id));
        ended.as_ref().inspect(|session| session.ended.set()).is_some()
    }
}

impl LegacySession {
    /// The client's `id` stands for this call until the guard is dropped.
    pub(super) fn calls(self: &Rc<Self>, id: &Value, call: RequestId) -> CallName {
        let name = id.to_string();
        let mut calls = self.calls.borrow_mut();
        if calls.len() < MAX_CALLS {
            calls.insert(name.clone(), call);
        }
        CallName { session: self.clone(), name }
    }

    /// The call under way that the client's `id` stands for.
    pub(super) fn call(&self, id: &Value) -> Option<RequestId> {
        self.calls.borrow().get(&id.to_string()).copied()
    }
}

pub(super) struct CallName {
    session: Rc<LegacySession>,
    name: String,
}

impl Drop for CallName {
    fn drop(&mut self) {
        self.session.calls.borrow_mut().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sessions_belong_to_their_agent_and_are_bounded() {
        let (sessions, pi, laptop) =
            (Sessions::default(), AgentId::configured("pi"), AgentId::configured("laptop"));
        let first = sessions.begin(&pi).unwrap();
        let first_session = sessions.get(&pi, &first).unwrap();
        assert!(sessions.get(&laptop, &first).is_none() && !sessions.end(&laptop, &first));
        let others: Vec<_> = (0..MAX_SESSIONS).map(|_| sessions.begin(&pi).unwrap()).collect();
        assert!(sessions.get(&pi, &first).is_none() && first_session.ended.is_set());
        assert!(sessions.end(&pi, &others[0]) && !sessions.end(&pi, &others[0]));
    }

    #[test]
    fn ids_of_two_types_are_two() {
        let sessions = Sessions::default();
        let agent = AgentId::configured("pi");
        let session = sessions.get(&agent, &sessions.begin(&agent).unwrap()).unwrap();
        let call = RequestId::random();
        let name = session.calls(&json!(1), call);
        assert_eq!((session.call(&json!(1)), session.call(&json!("1"))), (Some(call), None));
        drop(name);
        assert_eq!(session.call(&json!(1)), None);
    }
}
