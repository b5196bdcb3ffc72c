//! Grants: a person's yes to calls that are still to come.
//!
//! A grant turns the ask of a rule into allow and nothing else. What it lets through is [`Grant::covers`], and
//! [`Grant::words`] says the same to people; both change together.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::agent::AgentId;
use super::call::Call;
use super::grant_offer::{GrantOffer, GrantScope, at_most};
use super::responder::Responder;
use super::rule::RuleRef;
use super::tool::{ArgSpec, ArgType, Tool};
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::glob::Pattern;
use crate::base::ids::RequestId;
use crate::base::json::canonical;
use crate::base::safe_text::visible;
use crate::base::zone::Zone;

/// Calls of one agent that a person has said yes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// That of the question at which it was given; else an id of its own.
    pub id: RequestId,
    pub agent: AgentId,
    pub session: GrantSession,
    pub cover: Cover,
    /// The digest of each tool that it covers, as it was when it was given.
    pub tools: BTreeMap<String, Digest>,
    pub by: Responder,
    pub created: Timestamp,
    pub until: Timestamp,
    /// How many calls it lets through; None: any number.
    pub uses: Option<u32>,
}

/// The session that a grant is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantSession {
    Any,
    /// No name is the agent's own unnamed one.
    Only(Option<Arc<str>>),
}

/// The calls that a grant lets through, besides agent, session and tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cover {
    Call {
        rule: GrantRule,
        signature: String,
        /// [`Call::digest`].
        digest: Digest,
    },
    Signature {
        rule: GrantRule,
        signature: String,
        /// What must be identical besides.
        fixed: Digest,
        /// The arguments that may differ.
        free: Vec<String>,
        /// Whether there may be others outside the signature: they may not differ.
        others: bool,
    },
    Rule {
        rule: GrantRule,
    },
    /// Given beforehand, for whichever rule asks.
    Pattern(Pattern),
}

/// The rule at whose question a grant was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRule {
    /// [`Rule::identity`](super::Rule::identity).
    pub identity: Digest,
    /// What people know it by; None: no rule spoke of the call.
    pub name: Option<String>,
}

/// A call that rules ask about.
#[derive(Clone, Debug)]
pub struct AskedCall<'a> {
    pub call: &'a Call,
    pub session: Option<&'a str>,
    /// One for the whole call, or one for each element of the list that is judged element by element.
    pub parts: Vec<AskedPart<'a>>,
}

/// A part of a call, and who asks about it.
#[derive(Clone, Copy, Debug)]
pub struct AskedPart<'a> {
    pub signature: &'a str,
    /// The identity of the rule that asks; None: the part is not asked about.
    pub rule: Option<Digest>,
    /// Whether the rule asks whatever else allows the call, so that nothing given beforehand counts.
    pub always: bool,
}

/// The grant that lets a call through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantUse {
    pub id: RequestId,
    /// One, or one for each element of the list that is judged element by element.
    pub uses: u32,
}

impl Grant {
    /// Whether it lets this call through, as long as it lasts.
    pub fn covers(&self, asked: &AskedCall<'_>) -> bool {
        let AskedCall { call, session, parts } = asked;
        let by = |rule: &GrantRule| parts.iter().all(|part| part.rule == Some(rule.identity));
        let fits = || match &self.cover {
            Cover::Call { rule, digest, .. } => by(rule) && *digest == call.digest(),
            Cover::Signature { rule, signature, fixed: same, .. } => {
                by(rule) && signature == call.signature() && *same == fixed(call)
            }
            Cover::Rule { rule } => by(rule),
            Cover::Pattern(pattern) => {
                parts.iter().all(|part| !part.always && pattern.matches(part.signature))
            }
        };
        self.agent == *call.agent()
            && self.session.admits(*session)
            && self.tools.get(&call.tool().name) == Some(&call.tool().digest)
            && !parts.is_empty()
            && fits()
    }

    pub fn scope(&self) -> GrantScope {
        match self.cover {
            Cover::Call { .. } => GrantScope::Call,
            Cover::Signature { .. } => GrantScope::Signature,
            Cover::Rule { .. } => GrantScope::Rule,
            Cover::Pattern(_) => GrantScope::Pattern,
        }
    }

    /// None: it was given beforehand.
    pub fn rule(&self) -> Option<&GrantRule> {
        match &self.cover {
            Cover::Call { rule, .. } | Cover::Signature { rule, .. } | Cover::Rule { rule } => Some(rule),
            Cover::Pattern(_) => None,
        }
    }

    /// What it lets through, for people, without an end: `every light(on, desk) of laptop`.
    pub fn words(&self) -> String {
        self.cover.words(&self.agent, &self.session)
    }

    /// What may differ from the call that was shown; None: nothing, or whatever the words say.
    pub fn freedom(&self) -> Option<String> {
        self.cover.freedom()
    }

    /// All of it: `every light(on, desk) of laptop, at most 20 times, until 19:48 (brightness may differ)`.
    pub fn sentence(&self, now: Timestamp, zone: &Zone) -> String {
        let uses = self.uses.map(|uses| format!(", {}", at_most(uses))).unwrap_or_default();
        let freedom = self.freedom().map(|freedom| format!(" ({freedom})")).unwrap_or_default();
        format!("{}{uses}, until {}{freedom}", self.words(), clock_time(self.until, now, zone))
    }
}

impl Cover {
    /// What a yes to `call` covers.
    pub fn of(scope: GrantScope, call: &Call, rule: GrantRule) -> Cover {
        let signature = call.signature().to_owned();
        match scope {
            GrantScope::Rule | GrantScope::Pattern => Cover::Rule { rule },
            GrantScope::Call => Cover::Call { rule, signature, digest: call.digest() },
            GrantScope::Signature => {
                let (free, others) = (free(call.tool()), has_others(call.tool()));
                Cover::Signature { rule, signature, fixed: fixed(call), free, others }
            }
        }
    }

    fn words(&self, agent: &AgentId, session: &GrantSession) -> String {
        let agent = visible(agent.as_str());
        let mut words = match self {
            Cover::Call { signature, .. } => {
                format!("every {} of {agent} with the same arguments", visible(signature))
            }
            Cover::Signature { signature, .. } => format!("every {} of {agent}", visible(signature)),
            Cover::Pattern(pattern) => format!("every {} of {agent}", visible(pattern.as_str())),
            Cover::Rule { rule } => match &rule.name {
                Some(name) => format!("everything of {agent} that \"{}\" asks about", visible(name)),
                None => format!("everything of {agent} that no rule speaks of"),
            },
        };
        match session {
            GrantSession::Any => {}
            GrantSession::Only(None) => words.push_str(", without a session"),
            GrantSession::Only(Some(name)) => words.push_str(&format!(", in session \"{}\"", visible(name))),
        }
        words
    }

    /// What may differ from the call that was shown; None: nothing, or whatever the words say.
    fn freedom(&self) -> Option<String> {
        let Cover::Signature { free, others, .. } = self else { return None };
        let names: Vec<String> = free.iter().map(|name| visible(name)).collect();
        match (names.is_empty(), others) {
            (false, _) => Some(format!("{} may differ", names.join(", "))),
            (true, true) => Some("nothing else may differ".to_owned()),
            (true, false) => None,
        }
    }
}

/// What a yes may grant, for people: `every light(on, desk) of laptop, at most 20 times, for 15 min or 1 h`.
pub(crate) fn offered(
    offer: &GrantOffer,
    call: &Call,
    session: Option<&str>,
    rule: Option<&RuleRef>,
) -> String {
    let rule = GrantRule { identity: Digest([0; 32]), name: rule.map(|rule| rule.name().to_owned()) };
    let (cover, session) = (Cover::of(offer.scope, call, rule), GrantSession::of(offer, session));
    let uses = offer.uses.map(|uses| format!(", {}", at_most(uses))).unwrap_or_default();
    let freedom = cover.freedom().map(|freedom| format!(" ({freedom})")).unwrap_or_default();
    format!("{}{uses}, for {}{freedom}", cover.words(call.agent(), &session), offer.spans())
}

impl GrantSession {
    /// The session that a yes in this one is for.
    pub fn of(offer: &GrantOffer, session: Option<&str>) -> GrantSession {
        if offer.session { GrantSession::Only(session.map(Arc::from)) } else { GrantSession::Any }
    }

    fn admits(&self, session: Option<&str>) -> bool {
        match self {
            GrantSession::Any => true,
            GrantSession::Only(name) => name.as_deref() == session,
        }
    }

    /// The name of the one session that it is for.
    pub fn name(&self) -> Option<&str> {
        match self {
            GrantSession::Any => None,
            GrantSession::Only(name) => name.as_deref(),
        }
    }
}

/// The time of the day; with the date where that is not today.
pub(crate) fn clock_time(at: Timestamp, now: Timestamp, zone: &Zone) -> String {
    let day = |at| zone.date_and_time(at).split(' ').next().map(str::to_owned);
    if day(at) == day(now) { zone.hour_and_minute(at) } else { zone.date_and_time(at) }
}

/// The arguments that may differ under a grant for a signature: declared single values outside it.
fn free(tool: &Tool) -> Vec<String> {
    unsigned(tool).filter(|(_, spec)| is_free(spec)).map(|(name, _)| name.clone()).collect()
}

/// Whether a call may have arguments that neither stand in its signature nor may differ.
fn has_others(tool: &Tool) -> bool {
    tool.extra_args || unsigned(tool).any(|(_, spec)| !is_free(spec))
}

fn unsigned(tool: &Tool) -> impl Iterator<Item = (&String, &ArgSpec)> {
    let signed: Vec<&str> = tool.signature.iter().flat_map(|template| template.args()).collect();
    tool.args.iter().filter(move |(name, _)| !signed.contains(&name.as_str()))
}

fn is_free(spec: &ArgSpec) -> bool {
    let single = !matches!(spec.kind, Some(ArgType::Array | ArgType::Object | ArgType::Bytes));
    single && !spec.free_text && !spec.each
}

/// The digest of the arguments that may not differ under a grant for a signature.
fn fixed(call: &Call) -> Digest {
    let free = free(call.tool());
    let fixed: Map<String, Value> = call
        .args()
        .iter()
        .filter(|(name, _)| !free.contains(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let fixed = Value::Object(fixed);
    Digest::sha256(&canonical(&fixed).unwrap_or_else(|_| fixed.to_string().into_bytes()))
}
