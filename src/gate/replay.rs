//! The calls of a record judged anew under other files: each at its own time, with what would have been counted and read
//! by then under these files.
//!
//! What people would have answered is not known: a call that a person is asked about now counts as done where it was done,
//! and what a person had said yes to before is let through where that could have been granted.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::counters::{CounterBook, Reservation};
use super::explain::{Explanation, Rules, explain};
use super::memory::Memory;
use super::sessions::SessionName;
use crate::base::clock::Timestamp;
use crate::base::ids::RequestId;
use crate::base::zone::Zone;
use crate::model::call::REDACTED;
use crate::model::{
    Action, ArgType, AskedCall, Call, Charge, GrantUse, InvalidCall, Reading, Remember, Source, Tool,
};
use crate::policy::{Facts, Grants, NothingGranted, Policy};
use crate::store::reader::{HistoryStep, RecordedCall};

/// The files under which calls are judged anew.
pub(crate) struct OtherFiles<'f> {
    pub tools: &'f BTreeMap<String, Arc<Tool>>,
    pub policy: &'f Policy,
    pub check: &'f dyn Fn(&Call) -> Result<(), InvalidCall>,
    pub session_idle: Duration,
    pub remember: Remember,
}

/// A record on its way to being judged anew.
pub(crate) struct Replay<'f> {
    files: OtherFiles<'f>,
    book: Rc<RefCell<CounterBook>>,
    memory: Memory,
    /// The grants that were given beforehand.
    beforehand: HashSet<RequestId>,
    /// Calls that have not ended.
    open: HashMap<String, OpenCall>,
}

struct OpenCall {
    call: RecordedCall,
    /// None: it would be refused.
    decision: Option<Action>,
    claimed: bool,
}

/// The word for a call of which too little is in the record.
pub(crate) const UNKNOWN: &str = "unknown";

/// A call with the decision that was made and the one that would be made.
pub(crate) struct Rejudged {
    pub call: RecordedCall,
    pub at: Timestamp,
    /// None: too little of its arguments is in the record.
    pub why: Option<Explanation>,
    /// What the agent had read.
    pub read: Vec<Source>,
    /// Some of its arguments are not in the record, so that nobody can be sure.
    pub redacted: bool,
}

impl<'f> Replay<'f> {
    pub(crate) fn new(files: OtherFiles<'f>) -> Replay<'f> {
        let book = CounterBook::take_up(Vec::new(), &[], files.session_idle, Timestamp(0));
        let (memory, beforehand, open) = Default::default();
        Replay { files, book: Rc::new(RefCell::new(book)), memory, beforehand, open }
    }

    /// Takes the next step of the record; what it judges anew.
    pub(crate) fn step(&mut self, at: Timestamp, step: HistoryStep) -> Option<Rejudged> {
        match step {
            HistoryStep::Judged(call) => return Some(self.judged(at, *call)),
            HistoryStep::GivenBeforehand(id) => drop(self.beforehand.insert(id)),
            HistoryStep::Edited { id, args, signature } => {
                if let Some(open) = self.open.get_mut(&id) {
                    (open.call.args, open.call.signature) = (args, signature);
                }
            }
            HistoryStep::Claimed(id) => self.claimed(at, &id),
            HistoryStep::Ended { id, executed } => self.ended(at, &id, executed),
            HistoryStep::LimitReset { limit, agent } => {
                self.book.borrow_mut().reset(limit, agent.as_ref(), at);
            }
            HistoryStep::Read(reading) => self.memory.read(&reading),
            HistoryStep::Forgotten(agent) => self.memory.forget(&agent, u64::MAX),
        }
        None
    }

    fn judged(&mut self, at: Timestamp, call: RecordedCall) -> Rejudged {
        let session = session_of(&call);
        self.book.borrow_mut().called(&call.agent, &session, at);
        self.memory.called(&call.agent, &session, self.files.session_idle, at);
        let redacted = self.is_redacted(&call);
        let read = self.read(&call, at);
        let why = self.explain(&call, at, false, &NothingGranted);
        let why = why.map(|why| self.granted(&call, at, &why).unwrap_or(why));
        // What stands in the place of bytes is no value of theirs.
        let why = why.filter(|why| !(redacted && matches!(why, Explanation::Invalid { .. })));
        // Of a call that cannot be judged, what was decided stays.
        let decision = why.as_ref().map_or(Some(call.decision), Explanation::decision);
        if decision == Some(Action::Allow) {
            self.charge(&call, at, why.as_ref());
        }
        let open = OpenCall { call: call.clone(), decision, claimed: false };
        self.open.insert(call.id.clone(), open);
        Rejudged { call, at, why, read, redacted }
    }

    /// A call that would be allowed was charged when it was judged.
    fn claimed(&mut self, at: Timestamp, id: &str) {
        let Some(open) = self.open.get_mut(id) else { return };
        open.claimed = true;
        if open.decision == Some(Action::Ask) {
            let call = open.call.clone();
            let why = self.explain(&call, at, true, &NothingGranted);
            self.charge(&call, at, why.as_ref());
        }
    }

    /// Who got an answer, or would have got one, has read it.
    fn ended(&mut self, at: Timestamp, id: &str, executed: bool) {
        let Some(OpenCall { call, decision, claimed }) = self.open.remove(id) else { return };
        let would_be = match decision {
            Some(Action::Allow) => executed || !claimed,
            Some(Action::Ask) => executed,
            Some(Action::Deny) | None => false,
        };
        let data = self.files.tools.get(&call.tool).and_then(|tool| tool.facts.data.as_ref());
        if let Some(source) = data.and_then(|data| data.source(&call.tool)).filter(|_| would_be) {
            self.memory.read(&Reading { session: session_of(&call), agent: call.agent, source, at });
        }
    }

    fn charge(&self, call: &RecordedCall, at: Timestamp, why: Option<&Explanation>) {
        let charges: Vec<Charge> = why.map(Explanation::charges).unwrap_or_default().to_vec();
        let reserved = Reservation::new(&self.book, &call.agent, &session_of(call), charges, at);
        // One session too many: the gateway would have said so before.
        reserved.into_iter().for_each(|reserved| reserved.confirm(at));
    }

    /// The same of a call that a grant let through, where the rules ask now.
    fn granted(&self, call: &RecordedCall, at: Timestamp, why: &Explanation) -> Option<Explanation> {
        let used = call.grant?;
        let before = GivenBefore { used, beforehand: self.beforehand.contains(&used.id) };
        let could_be = before.beforehand || why.offers_a_grant();
        let asks = why.decision() == Some(Action::Ask);
        if asks && could_be { self.explain(call, at, false, &before) } else { None }
    }

    fn explain(
        &self,
        call: &RecordedCall,
        at: Timestamp,
        asked: bool,
        grants: &dyn Grants,
    ) -> Option<Explanation> {
        let (book, read) = (self.book.borrow(), self.read(call, at));
        let facts = |checked: &Call| Facts {
            session: call.session.as_deref(),
            counters: &*book,
            grants,
            read: read.clone(),
            asked,
            ..Facts::unchanged(checked).at(at, Zone::system())
        };
        let OtherFiles { tools, policy, check, .. } = self.files;
        let rules = Rules { tools, policy, check, facts: &facts, reason: None };
        Some(explain(&rules, &call.agent, &call.tool, call.args.clone()?))
    }

    /// What the agent of the call has read by then.
    fn read(&self, call: &RecordedCall, at: Timestamp) -> Vec<Source> {
        let times = (self.files.remember, self.files.session_idle);
        self.memory.carried(&call.agent, &session_of(call), times, at)
    }

    fn is_redacted(&self, call: &RecordedCall) -> bool {
        let Some(args) = &call.args else { return true };
        let specs = self.files.tools.get(&call.tool).map(|tool| &tool.args);
        let is_bytes = |name: &str| {
            specs.and_then(|specs| specs.get(name)).is_some_and(|spec| spec.kind == Some(ArgType::Bytes))
        };
        args.iter().any(|(name, value)| value == REDACTED || (value.is_object() && is_bytes(name)))
    }
}

/// The yes that was there when a call was made.
#[derive(Debug)]
struct GivenBefore {
    used: GrantUse,
    /// Else it was given at the question of a rule.
    beforehand: bool,
}

impl Grants for GivenBefore {
    /// One given beforehand never covers what is always asked about.
    fn covering(&self, asked: &AskedCall<'_>, _: Timestamp) -> Option<GrantUse> {
        let refused = self.beforehand && asked.parts.iter().any(|part| part.always);
        (!refused).then_some(self.used)
    }
}

fn session_of(call: &RecordedCall) -> SessionName {
    call.session.as_deref().map(Arc::from)
}

impl Rejudged {
    /// What would become of it, in one word.
    pub(crate) fn decision(&self) -> &'static str {
        match &self.why {
            None => UNKNOWN,
            Some(why) => why.decision().map_or("invalid", |decision| decision.as_str()),
        }
    }
}
