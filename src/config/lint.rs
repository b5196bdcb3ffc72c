//! Advice on rules that are valid but probably not what the owner meant.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::at::At;
use super::reach::{BUDGET, Reach};
use super::settings::AgentConfig;
use crate::base::template::Template;
use crate::model::{Action, Rule, RuleList, Tool};

/// Above this many pairs, rules are no longer compared with each other: advice must not slow a reload down.
const MAX_PAIRS: usize = 1_000_000;

/// What rules may name: the agents of config.yaml and its tools.
pub(crate) struct KnownNames<'a> {
    pub agents: &'a [AgentConfig],
    pub tools: &'a BTreeMap<String, Arc<Tool>>,
}

/// A rule and where it stands.
pub(crate) type Placed<'d> = (At<'d>, Rule);

/// Leaves its advice at the rules.
pub(crate) fn check(rules: &[Placed<'_>], defaults: &[Placed<'_>], known: Option<&KnownNames<'_>>) {
    rules.iter().chain(defaults).for_each(foreign_signs);
    if let Some(known) = known.filter(|known| !known.tools.is_empty()) {
        let reaches: Vec<_> = known.tools.values().map(|tool| Reach::new(tool)).collect();
        let mut budget = BUDGET;
        let denies: Vec<&Rule> = with_action(rules, Action::Deny).into_iter().map(|(_, rule)| rule).collect();
        for placed in rules.iter().chain(defaults) {
            against_tools(placed, &reaches, &denies, &mut budget);
        }
    }
    defaults.iter().for_each(allows_the_rest);
    let mut by_force: Vec<&Placed<'_>> = rules.iter().collect();
    by_force.sort_by_key(|(_, rule)| force(rule.action()));
    never_decides(&by_force);
    never_decides(&defaults.iter().collect::<Vec<_>>());
    wider_than_a_deny(rules, defaults);
}

fn force(action: Action) -> u8 {
    match action {
        Action::Deny => 0,
        Action::Allow => 1,
        Action::Ask => 2,
    }
}

fn against_tools((at, rule): &Placed<'_>, reaches: &[Reach<'_>], denies: &[&Rule], budget: &mut usize) {
    let met: Vec<_> = reaches.iter().filter(|reach| reach.meets(&rule.matcher.pattern, budget)).collect();
    if met.is_empty() {
        let text = format!("this rule can never match: no tool fits {:?}", rule.id.pattern);
        at.warn(text, &looks_like(rule, reaches));
    }
    if rule.action() == Action::Allow
        && let Some((tool, ways)) = met.iter().find_map(|reach| around(rule, reach, denies))
    {
        let text = format!("this allow rule names an entity, but {tool} can be led around it by {ways}");
        let help = format!("deny them: {{pattern: \"{tool}(*)\", any_value: \"[adfl]*_id\", action: deny}}");
        at.warn(text, &help);
    }
}

/// What the signatures look like of the tool that the rule seems to mean.
fn looks_like(rule: &Rule, reaches: &[Reach<'_>]) -> String {
    let name = rule.id.pattern.split('(').next().unwrap_or_default();
    match reaches.iter().find(|reach| reach.tool.name == name) {
        Some(reach) => format!("signatures of {name} look like {:?}, values without names", reach.shown()),
        None => {
            "signatures are the name of a tool, with brackets when it has a signature: \"name(*)\"".into()
        }
    }
}

/// Signs that mean something in a shell or in regular expressions and stand for themselves in patterns.
fn foreign_signs((at, rule): &Placed<'_>) {
    for pattern in [Some(&rule.matcher.pattern), rule.matcher.any_value.as_ref()].into_iter().flatten() {
        let text = pattern.as_str();
        let (what, help) = if text.contains("[^") {
            ("[^", "write [!abc] for one character that is none of these")
        } else if text.split_once('{').is_some_and(|(_, rest)| rest.contains(',') && rest.contains('}')) {
            ("{", "braces are no alternatives here: write a rule for each")
        } else if let Some(sign) = regex_sign(text) {
            (sign, "patterns are no regular expressions: * is any text, ? one character, all else itself")
        } else {
            continue;
        };
        at.warn(format!("{what:?} in the pattern {text:?} stands for itself"), help);
    }
}

fn regex_sign(text: &str) -> Option<&'static str> {
    let inside = ["\\", ".+", "|"].into_iter().find(|sign| text.contains(sign));
    inside.or(text.starts_with('^').then_some("^")).or(text.ends_with('$').then_some("$"))
}

fn allows_the_rest((at, rule): &Placed<'_>) {
    let is_all = rule.id.list == RuleList::Defaults && rule.matcher.pattern.covers("", "");
    if is_all && rule.action() == Action::Allow && rule.matcher.is_pattern_alone() {
        let help = "allow tools by name and let \"*\" ask or deny";
        at.warn("everything that no rule speaks of is allowed, and so is every tool added later", help);
    }
}

/// Arguments with which Home Assistant's services reach more than the entity they name.
const TARGETS: [&str; 4] = ["area_id", "device_id", "label_id", "floor_id"];

/// A tool whose signature names an entity while such an argument may stand beside it, unseen by the pattern and not
/// denied by its name.
fn around<'a>(rule: &Rule, reach: &Reach<'a>, denies: &[&Rule]) -> Option<(&'a str, String)> {
    let tool = reach.tool;
    let signed: Vec<&str> = tool.signature.iter().flat_map(Template::args).collect();
    if !signed.contains(&"entity_id") || reach.is_whole_in(&rule.matcher.pattern) {
        return None;
    }
    let denied = |name: &str| {
        let fits = |deny: &&&Rule| deny.matcher.any_value.as_ref().is_some_and(|value| value.matches(name));
        denies
            .iter()
            .filter(|deny| deny.matcher.agents.is_none())
            .filter(fits)
            .any(|d| reach.is_whole_in(&d.matcher.pattern))
    };
    let taken = |name: &str| tool.extra_args || tool.args.contains_key(name);
    let open = |name: &&str| !signed.contains(name) && taken(name) && !denied(name);
    let ways: Vec<&str> = TARGETS.into_iter().filter(open).collect();
    (!ways.is_empty()).then(|| (tool.name.as_str(), ways.join(", ")))
}

/// `order` is the order in which rules are asked.
fn never_decides(order: &[&Placed<'_>]) {
    let mut first: HashMap<&str, &Rule> = HashMap::new();
    let mut all: Option<&Rule> = None;
    for (at, rule) in order {
        let pattern = rule.id.pattern.as_str();
        if let Some(before) = all.or_else(|| first.get(pattern).copied()) {
            let id = &before.id;
            let before = format!("rule {} ({} {:?})", id.index, id.action, id.pattern);
            at.warn(format!("this rule never decides: {before} goes first"), "");
        } else if rule.matcher.is_pattern_alone() {
            first.insert(pattern, rule);
            all = (pattern == "*").then_some(rule);
        }
    }
}

fn wider_than_a_deny(rules: &[Placed<'_>], defaults: &[Placed<'_>]) {
    let denies = with_action(rules, Action::Deny);
    let allows = [with_action(rules, Action::Allow), with_action(defaults, Action::Allow)].concat();
    if denies.len().saturating_mul(allows.len()) > MAX_PAIRS {
        return;
    }
    for (at, allow) in allows {
        let narrower = |deny: &&&Placed<'_>| {
            deny.1.id.pattern != allow.id.pattern && allow.matcher.pattern.matches(&deny.1.id.pattern)
        };
        if let Some((_, deny)) = denies.iter().find(narrower) {
            let text =
                format!("this allow rule is wider than deny rule {} ({:?})", deny.id.index, deny.id.pattern);
            at.warn(text, "what both match is denied");
        }
    }
}

fn with_action<'r, 'd>(rules: &'r [Placed<'d>], action: Action) -> Vec<&'r Placed<'d>> {
    rules.iter().filter(|(_, rule)| rule.action() == action).collect()
}
