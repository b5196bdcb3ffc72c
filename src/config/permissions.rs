//! permissions.yaml: the owner's rules, limits and flows, in the order of the file.

use std::sync::Arc;
use std::time::Duration;

use super::at::{At, Section};
use super::data_words::{self, Spoken};
use super::doc::Doc;
use super::finding::Finding;
use super::flows::{data, flows};
use super::grants;
use super::known::KnownNames;
use super::limits::limits;
use super::lint::{self, Placed};
use super::matcher;
use super::policy_digest::{self, policy_digest};
use super::settings::CircuitBreaker;
use super::terms;
use crate::base::digest::Digest;
use crate::model::{Action, AskTerms, DataPolicy, Flow, Limit, Matcher, Rule, RuleList, RuleRef};

const KEYS: &str = "rules defaults limits flows data session_idle circuit_breaker revoke_on_violation";
const SESSION_IDLE: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything in permissions.yaml.
#[derive(Clone, Debug)]
pub struct Permissions {
    /// deny > always ask > allow > ask, wherever they stand.
    pub rules: Vec<Rule>,
    /// The first match decides.
    pub defaults: Vec<Rule>,
    pub limits: Vec<Limit>,
    /// The first that speaks of a source and a destination decides about them.
    pub flows: Vec<Flow>,
    pub data: DataPolicy,
    /// How long a session lives without a call (24 h).
    pub session_idle: Duration,
    /// None: denials stop nobody.
    pub(crate) circuit_breaker: Option<CircuitBreaker>,
    /// Whether a denial by a flow or a limit ends the agent's grants.
    pub(crate) revoke_on_violation: bool,
    /// Of all of it, of what the tools say for it and of the agents' groups.
    pub digest: Digest,
}

impl Permissions {
    /// What all rules and limits speak of.
    pub(crate) fn matchers(&self) -> impl Iterator<Item = &Matcher> {
        let rules = self.rules.iter().chain(&self.defaults).map(|rule| &rule.matcher);
        rules.chain(self.limits.iter().map(|limit| &limit.matcher))
    }
}

/// Reads the file. Without `known` (config.yaml is broken) agents and tools are not checked.
pub(crate) fn read(doc: &Doc<'_>, known: Option<&KnownNames<'_>>) -> Permissions {
    let file = At::root(doc).section(KEYS);
    let rules = list(file, RuleList::Rules, known);
    let defaults = list(file, RuleList::Defaults, known);
    let (limits, flows) = (limits(file, known), flows(file));
    refuse_cut_off(file, doc);
    if rules.is_empty() && defaults.is_empty() && !doc.has_errors() {
        file.at().warn("there are no rules: every call will be asked about", "");
    }
    lint::check(&rules, &defaults, &limits, known);
    let permissions = Permissions {
        digest: policy_digest(file.at(), known),
        data: data(file),
        session_idle: file.read("session_idle", |at| at.span("1m"..="400d")).unwrap_or(SESSION_IDLE),
        circuit_breaker: file.read("circuit_breaker", circuit_breaker),
        revoke_on_violation: file.flag("revoke_on_violation"),
        rules: bare(rules),
        defaults: bare(defaults),
        limits: bare(limits),
        flows: flows.iter().map(|(_, flow)| flow.clone()).collect(),
    };
    if let Some(known) = known.filter(|known| !known.tools.is_empty()) {
        data_words::check(file, &flows, known);
    }
    permissions
}

/// `circuit_breaker:`. What is not quite said must not read as none.
fn circuit_breaker(at: At<'_>) -> Option<CircuitBreaker> {
    let section = at.section("denies window");
    let denies = section.require("denies", |at| at.whole(1..=1000));
    let window = section.require("window", |at| at.span("1s"..="24h"));
    Some(CircuitBreaker { denies: denies?, window: window? })
}

fn bare<T>(placed: Vec<(At<'_>, T)>) -> Vec<T> {
    placed.into_iter().map(|(_, thing)| thing).collect()
}

/// Findings in the tool files, for what these permissions do not speak of.
pub(crate) fn unspoken(permissions: &Permissions, known: &KnownNames<'_>) -> Vec<Finding> {
    let Permissions { flows, data, .. } = permissions;
    data_words::unspoken(known, &Spoken { data, flows, matchers: permissions.matchers().collect() })
}

/// A file that was cut while it was saved must not read as one without rules: what they deny would be asked, and
/// what they ask could be allowed by a default.
fn refuse_cut_off(file: Section<'_>, doc: &Doc<'_>) {
    let none = |name: &str| format!("if you want none, write {name}: []");
    let lists = [RuleList::Rules, RuleList::Defaults].map(|list| file.get(list.as_str()));
    if lists.iter().all(Option::is_none) && !doc.has_errors() {
        file.at().error("there are neither rules nor defaults in the file", &none("rules"));
    }
    for empty in lists.into_iter().flatten().filter(|at| at.is_null()) {
        let name = empty.name();
        empty.error(format!("{name} has no value"), &none(name));
    }
}

fn list<'d>(file: Section<'d>, list: RuleList, known: Option<&KnownNames<'_>>) -> Vec<Placed<'d>> {
    let items = file.get(list.as_str()).map(At::items).unwrap_or_default();
    let numbered = items.into_iter().enumerate();
    numbered.filter_map(|(i, at)| rule(at, list, i + 1, known).map(|rule| (at, rule))).collect()
}

fn rule(at: At<'_>, list: RuleList, index: usize, known: Option<&KnownNames<'_>>) -> Option<Rule> {
    let section = at.section(
        "pattern action description agents any_value kinds risk when time after always grant approvals approvers \
         remind escalate notify",
    );
    let actions = [Action::Allow, Action::Deny, Action::Ask].map(|action| (action.as_str(), action));
    // Without any of these the rule is none, but what else is wrong with it is said as well.
    let picks_calls = ["kinds", "risk", "after"].into_iter().any(|key| section.get(key).is_some())
        || section.need("pattern").is_some();
    let matcher = matcher::read(section, known);
    let action = section.require("action", |at| at.choice(&actions));
    let description = section.get("description").filter(|at| !at.is_null()).and_then(At::text);
    let always = section.flag("always");
    if let (true, Some(at), true) = (always, section.get("always"), action.is_some_and(|a| a != Action::Ask))
    {
        at.error("always only applies to action: ask", "remove always; a deny goes first anyway");
    }
    if let (true, Some(at), RuleList::Defaults) = (always, section.get("always"), list) {
        at.warn(
            "always does not apply to defaults, where the first match decides",
            "write the rule under rules",
        );
    }
    let grant = section.get("grant");
    if let (Some(at), true) = (grant, action.is_some_and(|action| action != Action::Ask)) {
        at.error("grant only applies to action: ask", "remove grant: nobody is asked");
    }
    let ask = AskTerms { grant: grant.and_then(grants::offer) };
    let terms = terms::read(section, action.is_none_or(|action| action == Action::Ask), known);
    if let (Some(at), Some(_)) = (grant, terms.as_deref().filter(|terms| terms.is_for_some())) {
        at.error("nothing is granted where several people, or only some, must say yes", "remove grant");
    }
    let (matcher, action) = (matcher.filter(|_| picks_calls)?, action?);
    let file = at.doc.path().display().to_string();
    let pattern = matcher.pattern.as_str().to_owned();
    let id = RuleRef { list, index, pattern, action, description, file };
    let identity = policy_digest::digest_of(at);
    Some(Rule { identity, always, ask: Arc::new(ask), terms, ..Rule::new(id, matcher) })
}
