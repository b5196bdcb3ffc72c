//! The owner's files and what they say to a call, for commands that need no running gateway.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::exit::Exit;
use super::terminal;
use super::trouble::Trouble;
use crate::base::clock::{Clock, Timestamp};
use crate::base::decimal::Decimal;
use crate::base::zone::Zone;
use crate::config::{self, Case, CaseNames, Config, Finding, Paths};
use crate::gate::explain::{Explanation, Rules, explain};
use crate::gate::policy_of;
use crate::gate::replay::{OtherFiles, Rejudged, Replay};
use crate::model::{
    AgentId, Call, Counted, CounterId, InvalidCall, Limit, Part, Remember, Source, Tally, Tool,
};
use crate::policy::{Counters, Facts, Policy};
use crate::service;
use crate::store::StoreError;
use crate::store::reader::Reader;

/// The files that `--config` and `--permissions` name.
pub(crate) fn paths(config: Option<&str>, permissions: Option<&str>) -> Paths {
    Paths::find(config.map(Path::new), permissions.map(Path::new))
}

pub(crate) struct OwnerFiles {
    pub config: Config,
    policy: Policy,
    session_idle: Duration,
    remember: Remember,
}

impl OwnerFiles {
    /// Reads the files. Warnings are left to `check`.
    ///
    /// # Errors
    /// The exit code of a configuration that cannot be used, whose findings have been shown.
    pub(crate) fn load(paths: &Paths) -> Result<OwnerFiles, Exit> {
        let loaded = config::load(paths).map_err(|findings| unusable(&findings))?;
        let permissions = loaded.permissions;
        let (session_idle, remember) = (permissions.session_idle, permissions.data.remember);
        let policy = policy_of(permissions, loaded.config.approvals.grant.clone());
        Ok(OwnerFiles { config: loaded.config, policy, session_idle, remember })
    }

    pub(crate) fn tools(&self) -> &BTreeMap<String, Arc<Tool>> {
        &self.config.tools
    }

    /// The agent that is meant: the given one, else the only one, else "default".
    pub(crate) fn agent(&self, given: Option<&str>) -> AgentId {
        match (given, self.config.agents.as_slice()) {
            (Some(name), _) => AgentId::configured(name),
            (None, [only]) => only.id.clone(),
            (None, _) => AgentId::configured("default"),
        }
    }

    /// What cases of tests may name.
    pub(crate) fn case_names(&self) -> CaseNames {
        let agents = self.config.agents.iter().map(|agent| agent.id.as_str().to_owned()).collect();
        CaseNames {
            agents,
            limits: self.policy.limits().iter().map(|limit| limit.name.to_string()).collect(),
        }
    }

    /// What would become of a call.
    pub(crate) fn explain(
        &self,
        agent: &AgentId,
        tool: &str,
        args: Map<String, Value>,
        circumstances: &Circumstances,
    ) -> Explanation {
        let Circumstances { at, session, read, counts } = circumstances;
        let counters = MadeUp { limits: self.policy.limits(), counts };
        let facts = |call: &Call| Facts {
            session: session.as_deref(),
            counters: &counters,
            read: read.clone(),
            max_question_chars: self.config.approvals.max_question_chars,
            ..Facts::unchanged(call).at(*at, Zone::system())
        };
        let check = |call: &Call| self.check(call);
        let (tools, policy) = (&self.config.tools, &self.policy);
        let rules = Rules { tools, policy, check: &check, facts: &facts, reason: None };
        explain(&rules, agent, tool, args)
    }

    /// Judges every call of the record anew, oldest first.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub(crate) fn replay(&self, what: &'static str, mut look: impl FnMut(Rejudged)) -> Result<(), Trouble> {
        let failed = |e: StoreError| Trouble::new(Exit::FAILED, what, &e).maybe_help(e.help());
        let check = |call: &Call| self.check(call);
        let mut replay = Replay::new(OtherFiles {
            tools: &self.config.tools,
            policy: &self.policy,
            check: &check,
            session_idle: self.session_idle,
            remember: self.remember,
        });
        let mut record = Reader::open(&self.config.storage.path).map_err(failed)?;
        let step = |at, step| replay.step(at, step).into_iter().for_each(&mut look);
        record.history(step).map_err(failed)
    }

    /// What the service of a tool says of a call before it is judged.
    fn check(&self, call: &Call) -> Result<(), InvalidCall> {
        match self.config.services.iter().find(|service| service.name() == call.tool().service) {
            Some(config) => service::check(config, call),
            None => Err(InvalidCall::BadRequest),
        }
    }
}

/// Under what circumstances a call is judged.
pub(crate) struct Circumstances {
    at: Timestamp,
    session: Option<String>,
    /// What the agent has read.
    read: Vec<Source>,
    /// What limits have counted, by their names.
    counts: BTreeMap<String, Decimal>,
}

impl Circumstances {
    /// Those that the files alone know of: it is now, and nothing has happened.
    pub(crate) fn now() -> Circumstances {
        let at = Clock::system().now();
        Circumstances { at, session: None, read: Vec::new(), counts: BTreeMap::new() }
    }

    pub(crate) fn of_case(case: &Case) -> Circumstances {
        Circumstances {
            at: case.at.unwrap_or_else(|| Clock::system().now()),
            session: case.session.clone(),
            read: case.read.clone(),
            counts: case.counts.clone(),
        }
    }
}

/// Counts that are made up: of a limit, the same whoever asks.
#[derive(Debug)]
struct MadeUp<'c> {
    limits: &'c [Arc<Limit>],
    counts: &'c BTreeMap<String, Decimal>,
}

impl Counters for MadeUp<'_> {
    fn tally(&self, counter: &CounterId, now: Timestamp) -> Tally {
        let limit = self.limits.iter().find(|limit| limit.identity == counter.limit);
        let counted = limit.and_then(|limit| Some((limit, *self.counts.get(&*limit.name)?)));
        let mut tally = Tally::default();
        let Some((limit, count)) = counted else { return tally };
        let until = limit.window.end(now, &Zone::system());
        match limit.count {
            Counted::Seconds => {
                let began = Counted::seconds(now).checked_sub(count).unwrap_or_default();
                tally.begin(Part { until, amount: began }, now);
            }
            _ => tally.add(Part { until, amount: count }, now),
        }
        tally
    }

    fn has_room(&self, _: &CounterId, _: &AgentId, _: Timestamp) -> bool {
        true
    }
}

/// Shows what is wrong with files.
pub(crate) fn unusable(findings: &[Finding]) -> Exit {
    findings.iter().for_each(|finding| terminal::note(&finding.to_string()));
    Exit::BAD_CONFIGURATION
}
