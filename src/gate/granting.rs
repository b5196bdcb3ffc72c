//! Giving grants and ending them.
//!
//! A grant counts when it is on disk. One that ends counts no more at once, whether or not that can be written down.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use smol::Timer;

use super::grants::{ExpectedGrant, GrantReading};
use super::recording::{see_through, until_recorded};
use super::running::GrantNote;
use super::setup::Setup;
use super::state::Gate;
use crate::base::digest::Digest;
use crate::base::glob::Pattern;
use crate::base::ids::RequestId;
use crate::base::readable::round_span;
use crate::model::{
    AgentId, Choice, Cover, Grant, GrantEnd, GrantOffer, GrantSession, GrantUse, GrantWish, Question,
    Responder, Tool,
};
use crate::policy::{NothingGranted, may_fit};
use crate::store::StoreError;

/// How often it is looked for grants that have ended by themselves.
const LOOK: Duration = Duration::from_secs(10);

/// The longest grant, and the most uses, that can be given beforehand.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
const MOST_USES: u32 = 100_000;

/// A grant that is given before anything is asked.
pub(crate) struct Beforehand {
    pub agent: AgentId,
    pub pattern: String,
    pub wish: GrantWish,
    /// None: whatever session.
    pub session: Option<String>,
}

/// Which grants are to end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum WhichGrants {
    /// An id, or as much of its beginning as is unique.
    One(String),
    Agent(AgentId),
    /// Those that this one gave, however they had signed in.
    By(Responder),
    All,
}

/// What revoking has done.
#[derive(Debug)]
pub(crate) struct Revoked {
    pub ended: Vec<GrantReading>,
    /// False: the disk did not take it, so a restart before it does would bring them back.
    pub recorded: bool,
}

/// Why a grant is not given or not ended.
#[derive(Debug)]
pub(crate) enum CannotGrant {
    /// What is wanted cannot be granted, and why.
    Refused(String),
    Unknown,
    /// The shortened id fits several.
    Several,
    Store(StoreError),
}

impl Gate {
    /// The grants that last, in the order in which they end; with `ended`, those too that do not, the newest first.
    pub(crate) fn grants(&self, ended: bool) -> Vec<GrantReading> {
        self.ledger.grants.borrow().readings(ended, self.clock.now())
    }

    /// What has become of the grant with this id.
    pub(crate) fn grant(&self, id: RequestId) -> Option<GrantReading> {
        self.ledger.grants.borrow().reading(id, self.clock.now())
    }

    /// For `/metrics`: how many grants of an agent last, and how many uses there were since the start of the gateway.
    pub(crate) fn grant_counts(&self, agent: &AgentId) -> (usize, u64) {
        self.ledger.grants.borrow().counts(agent, self.clock.now())
    }

    pub(super) fn grant_lasts(&self, id: RequestId) -> bool {
        self.ledger.grants.borrow().lasts(id, self.clock.now())
    }

    /// What the agent hears of the grant that let its call through.
    pub(super) fn grant_note(&self, used: GrantUse) -> Option<GrantNote> {
        let GrantReading { grant, uses_left, .. } = self.grant(used.id)?;
        Some(GrantNote { id: grant.id, until: grant.until, uses_left })
    }

    /// What this answer grants besides, where it counts.
    ///
    /// # Errors
    /// Why it cannot be granted, in words.
    pub(super) fn wished_by(
        &self,
        id: RequestId,
        choice: &Choice,
        by: &Responder,
    ) -> Result<Option<ExpectedGrant>, String> {
        let Choice::Approve(approval) = choice else { return Ok(None) };
        let Some(wish) = approval.grant else { return Ok(None) };
        let Some(question) = self.approvals.question(id) else { return Ok(None) };
        if !question.is_meant_by(approval) {
            return Ok(None);
        }
        let grant = self.wished(&question, wish, by)?;
        let expected = ExpectedGrant::expect(&self.ledger.grants, grant);
        expected.map(Some).ok_or_else(|| "somebody else is answering this".to_owned())
    }

    /// What a yes to this question grants besides.
    ///
    /// # Errors
    /// Why it cannot be granted, in words.
    pub(super) fn wished(
        &self,
        question: &Question,
        wish: GrantWish,
        by: &Responder,
    ) -> Result<Grant, String> {
        let offer = question.ask.grant.as_ref().ok_or("nothing can be granted here beyond this call")?;
        within(offer, wish)?;
        self.not_while_stopped(question.call.agent())?;
        let (setup, call, session) = (self.setup(), &question.call, question.session.as_deref());
        let counters = self.counters();
        let facts = self.facts(&setup, call, session, &*counters);
        // Of what rules say by now: what was shown must still be what they offer.
        let now_asked =
            setup.policy.judge(call, &crate::policy::Facts { grants: &NothingGranted, ..facts.clone() });
        let same = now_asked.ask.grant.as_ref() == Some(offer) && now_asked.rule == question.rule;
        let rule = setup.policy.asking(call, &facts).filter(|_| same);
        let rule = rule.ok_or("the rule has changed since this was shown; answer without a grant")?;
        let now = self.clock.now();
        if !self.ledger.grants.borrow().has_room(now) {
            return Err("there are too many grants".into());
        }
        let cover = Cover::of(offer.scope, call, rule.clone());
        let tools = match &cover {
            Cover::Rule { .. } => tools_where(&setup, |tool| {
                tool.name == call.tool().name || setup.policy.may_ask(rule.identity, call.agent(), tool)
            }),
            _ => BTreeMap::from([(call.tool().name.clone(), call.tool().digest)]),
        };
        Ok(Grant {
            id: question.id,
            agent: call.agent().clone(),
            session: GrantSession::of(offer, session),
            cover,
            tools,
            by: by.clone(),
            created: now,
            until: now.plus(wish.duration),
            uses: wish.uses.or(offer.uses),
        })
    }

    /// Grants calls beforehand.
    ///
    /// # Errors
    /// Why that cannot be granted, or be written down.
    pub(crate) async fn grant_beforehand(
        &self,
        wanted: Beforehand,
        by: Responder,
    ) -> Result<GrantReading, CannotGrant> {
        let Beforehand { agent, pattern, wish, session } = wanted;
        let refused = |why: &str| Err(CannotGrant::Refused(why.to_owned()));
        let (setup, now) = (self.setup(), self.clock.now());
        if !setup.knows(&agent) {
            return refused("there is no such agent");
        }
        self.not_while_stopped(&agent).map_err(CannotGrant::Refused)?;
        if wish.duration.is_zero() || wish.duration > LONGEST {
            return refused("a grant lasts at most 30 days");
        }
        if wish.uses.is_some_and(|uses| uses == 0 || uses > MOST_USES) {
            return refused("uses must be 1 to 100000");
        }
        let cover = Pattern::new(&pattern);
        let tools = tools_where(&setup, |tool| may_fit(&cover, tool));
        if tools.is_empty() {
            return refused("no tool matches this pattern; `agentpass explain` shows signatures");
        }
        if !self.ledger.grants.borrow().has_room(now) {
            return refused("there are too many grants");
        }
        let session = session.map_or(GrantSession::Any, |name| GrantSession::Only(Some(name.into())));
        let (id, until) = (RequestId::random(), now.plus(wish.duration));
        let (cover, created) = (Cover::Pattern(cover), now);
        let grant = Grant { id, agent, session, cover, tools, by, created, until, uses: wish.uses };
        let expected = ExpectedGrant::expect(&self.ledger.grants, grant).ok_or(CannotGrant::Unknown)?;
        let store = self.store.clone();
        let write = async move {
            let written = store.grant(expected.grant().clone(), now).await;
            written.inspect(|()| expected.given())
        };
        let written = see_through(&self.flights.executor, write).await.unwrap_or(Err(StoreError::Stopped));
        written.map_err(CannotGrant::Store)?;
        self.grant(id).ok_or(CannotGrant::Unknown)
    }

    fn not_while_stopped(&self, agent: &AgentId) -> Result<(), String> {
        match self.stops.of(agent) {
            None => Ok(()),
            Some(_) => Err("its calls are stopped: nothing is granted until they are resumed".to_owned()),
        }
    }

    /// A person ends grants. They count no more at once, also where that cannot be written down.
    ///
    /// # Errors
    /// When there is no such grant.
    pub(crate) async fn revoke_grants(
        &self,
        which: &WhichGrants,
        by: Responder,
    ) -> Result<Revoked, CannotGrant> {
        let only = match which {
            WhichGrants::One(prefix) => Some(self.find_grant(prefix)?),
            WhichGrants::Agent(_) | WhichGrants::By(_) | WhichGrants::All => None,
        };
        let end = GrantEnd::Revoked { by };
        let ended = self.end_unrecorded(&end, |grant| match which {
            WhichGrants::One(_) => only == Some(grant.id),
            WhichGrants::Agent(agent) => grant.agent == *agent,
            WhichGrants::By(by) => grant.by.identity() == by.identity(),
            WhichGrants::All => true,
        });
        if ended.is_empty() && only.is_some() {
            return Err(CannotGrant::Unknown);
        }
        let recorded = see_through(&self.flights.executor, self.record_ends(ids_of(&ended), end)).await;
        Ok(Revoked { ended, recorded: recorded == Some(true) })
    }

    fn find_grant(&self, prefix: &str) -> Result<RequestId, CannotGrant> {
        let prefix = prefix.to_ascii_lowercase();
        let lasting = self.grants(false);
        let mut fitting = lasting
            .iter()
            .map(|read| read.grant.id)
            .filter(|id| !prefix.is_empty() && id.to_string().starts_with(&prefix));
        match (fitting.next(), fitting.next()) {
            (Some(id), None) => Ok(id),
            (None, _) => Err(CannotGrant::Unknown),
            (Some(_), Some(_)) => Err(CannotGrant::Several),
        }
    }

    /// Ends grants at once and writes that down; which they were.
    pub(super) fn end_grants(&self, end: GrantEnd, fits: impl Fn(&Grant) -> bool) -> Vec<GrantReading> {
        let ended = self.end_unrecorded(&end, fits);
        let record = self.record_ends(ids_of(&ended), end);
        self.spawn(async move {
            let _ = record.await;
        });
        ended
    }

    fn end_unrecorded(&self, end: &GrantEnd, fits: impl Fn(&Grant) -> bool) -> Vec<GrantReading> {
        let ended = self.ledger.grants.borrow_mut().end_where(end, self.clock.now(), fits);
        for read in &ended {
            log::info!("grant {} ended: {end}: {}", read.grant.id, read.grant.words());
        }
        ended
    }

    /// Whether it is on disk. If not, it will be as soon as the disk takes it.
    fn record_ends(&self, ids: Vec<RequestId>, end: GrantEnd) -> impl Future<Output = bool> + use<> {
        let (store, executor, now) = (self.store.clone(), self.flights.executor.clone(), self.clock.now());
        async move {
            if ids.is_empty() {
                return true;
            }
            let written = store.end_grants(ids.clone(), end.clone(), now).await;
            let Err(e) = written else { return true };
            log::error!("the end of grants could not be recorded: {e}");
            let write = async move || store.end_grants(ids.clone(), end.clone(), now).await;
            executor.spawn(until_recorded("the end of grants".to_owned(), write)).detach();
            false
        }
    }

    /// Ends the grants that this setup has no place for, and tells people.
    pub(super) fn review_grants(&self, setup: &Setup) {
        type Fits<'f> = &'f dyn Fn(&Grant) -> bool;
        let ends: [(GrantEnd, Fits<'_>); 4] = [
            (GrantEnd::AgentRemoved, &|grant| !setup.knows(&grant.agent)),
            (GrantEnd::PersonRemoved, &|grant| is_removed(setup, &grant.by)),
            (GrantEnd::ToolChanged, &|grant| {
                let changed = |(name, digest): (&String, &Digest)| {
                    setup.tool(name).map(|tool| tool.digest) != Some(*digest)
                };
                grant.tools.iter().any(changed)
            }),
            (GrantEnd::RuleChanged, &|grant| {
                grant.rule().is_some_and(|rule| !setup.policy.has_rule(rule.identity))
            }),
        ];
        for (end, fits) in ends {
            for read in self.end_grants(end.clone(), fits) {
                let text = format!("A grant has ended: {end}: {}", read.grant.words());
                self.approvals.channels.tell(|channel| channel.notice(&text));
            }
        }
    }

    /// Writes down which grants have ended by themselves, from now on.
    pub(super) async fn keep_grants(self: Rc<Gate>) {
        loop {
            let ended = self.ledger.grants.borrow_mut().just_ended(self.clock.now());
            for (id, end) in ended {
                self.record_ends(vec![id], end).await;
            }
            Timer::after(LOOK).await;
        }
    }
}

fn ids_of(grants: &[GrantReading]) -> Vec<RequestId> {
    grants.iter().map(|read| read.grant.id).collect()
}

fn tools_where(setup: &Setup, fits: impl Fn(&Tool) -> bool) -> BTreeMap<String, Digest> {
    let tools = setup.config.tools.values().filter(|tool| fits(tool));
    tools.map(|tool| (tool.name.clone(), tool.digest)).collect()
}

fn within(offer: &GrantOffer, wish: GrantWish) -> Result<(), String> {
    let longest = offer.longest();
    if wish.duration.is_zero() || wish.duration > longest {
        return Err(format!("at most {} can be granted here", round_span(longest)));
    }
    match (wish.uses, offer.uses) {
        (Some(0), _) => Err("a grant of no use grants nothing".to_owned()),
        (Some(wished), Some(most)) if wished > most => {
            Err(format!("at most {most} uses can be granted here"))
        }
        (_, _) => Ok(()),
    }
}

/// Whether a reload has taken away who answers under this name. Who may do so on this machine is for the system to say.
fn is_removed(setup: &Setup, by: &Responder) -> bool {
    let Some((channel, user)) = by.as_str().split_once(':') else { return false };
    match setup.config.channels.get(channel) {
        Some(channel) => !channel.takes_answers_of(user),
        None if channel == "web" => {
            let config = &setup.config;
            by.named_by_link().is_some_and(|name| !config.people.has(name))
                || (by.is_by_password() && config.gateway.admin_password_hash.is_none())
        }
        None => !matches!(channel, "local" | "demo"),
    }
}
