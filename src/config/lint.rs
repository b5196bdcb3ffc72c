//! Advice on rules that are valid but probably not what the owner meant.

use std::collections::HashMap;

use super::at::At;
use super::data_words;
use super::doubts::{self, Speaker};
use super::known::KnownNames;
use super::limit_advice;
use super::limits::PlacedLimit;
use super::met::{looks_like, met, wanted};
use super::reach::{BUDGET, Reach};
use crate::base::containment::takes_in;
use crate::base::template::Template;
use crate::model::{Action, Matcher, Rule, RuleList, RuleRef};

/// Above this many pairs, rules are no longer compared with each other: advice must not slow a reload down.
const MAX_PAIRS: usize = 1_000_000;

/// A rule and where it stands.
pub(crate) type Placed<'d> = (At<'d>, Rule);

/// Leaves its advice at the rules and limits.
pub(crate) fn check(
    rules: &[Placed<'_>],
    defaults: &[Placed<'_>],
    limits: &[PlacedLimit<'_>],
    known: Option<&KnownNames<'_>>,
) {
    rules.iter().chain(defaults).for_each(|(at, rule)| foreign_signs(*at, &rule.matcher));
    limits.iter().for_each(|(at, limit)| foreign_signs(*at, &limit.matcher));
    if let Some(known) = known.filter(|known| !known.tools.is_empty()) {
        let reaches: Vec<_> = known.tools.values().map(|tool| Reach::new(tool)).collect();
        let mut budget = BUDGET;
        let denies: Vec<&Rule> = with_action(rules, Action::Deny).into_iter().map(|(_, rule)| rule).collect();
        for placed in rules.iter().chain(defaults) {
            against_tools(placed, &reaches, &denies, &mut budget);
            data_words::check_after(placed.0, known);
        }
        limit_advice::check(limits, &reaches, &mut budget);
    }
    defaults.iter().for_each(allows_the_rest);
    let mut by_force: Vec<&Placed<'_>> = rules.iter().collect();
    by_force.sort_by_key(|(_, rule)| force(rule));
    never_decides(&by_force);
    never_decides(&defaults.iter().collect::<Vec<_>>());
    never_asks(rules);
    wider_than_a_deny(rules, defaults);
}

fn force(rule: &Rule) -> u8 {
    match (rule.action(), rule.always) {
        (Action::Deny, _) => 0,
        (Action::Ask, true) => 1,
        (Action::Allow, _) => 2,
        (Action::Ask, false) => 3,
    }
}

fn against_tools((at, rule): &Placed<'_>, reaches: &[Reach<'_>], denies: &[&Rule], budget: &mut usize) {
    let met = met(&rule.matcher, reaches, budget);
    if met.is_empty() {
        let text = format!("this rule can never match: no tool matches {}", wanted(&rule.matcher));
        at.warn(text, &looks_like(&rule.matcher, reaches));
    }
    doubts::check(*at, &rule.matcher, Speaker::Rule(rule.action()), &met);
    if rule.action() == Action::Allow
        && let Some((tool, ways)) = met.iter().find_map(|reach| around(rule, reach, denies))
    {
        let text = format!("this allow rule names an entity, but {tool} can be led around it by {ways}");
        let help = format!("deny them: {{pattern: \"{tool}(*)\", any_value: \"[adfl]*_id\", action: deny}}");
        at.warn(text, &help);
    }
}

/// Signs that mean something in a shell or in regular expressions and stand for themselves in patterns.
fn foreign_signs(at: At<'_>, matcher: &Matcher) {
    for pattern in [Some(&matcher.pattern), matcher.any_value.as_ref()].into_iter().flatten() {
        let text = pattern.as_str();
        let (what, help) = if text.contains("[^") {
            ("[^", "write [!abc] for one character that is none of these")
        } else if text.split_once('{').is_some_and(|(_, rest)| rest.contains(',') && rest.contains('}')) {
            ("{", "braces do not list alternatives here: write one rule for each")
        } else if let Some(sign) = regex_sign(text) {
            (
                sign,
                "patterns are not regular expressions: * stands for any text, ? for one character, everything else for itself",
            )
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
        at.warn("everything that no rule mentions is allowed, and so is every tool added later", help);
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

/// An allow goes before an ask, wherever they stand.
fn never_asks(rules: &[Placed<'_>]) {
    let mut allows = with_action(rules, Action::Allow);
    allows.retain(|(_, allow)| Matcher { agents: None, ..allow.matcher.clone() }.is_pattern_alone());
    let mut asks = with_action(rules, Action::Ask);
    asks.retain(|(_, ask)| !ask.always);
    if asks.len().saturating_mul(allows.len()) > MAX_PAIRS {
        return;
    }
    for (at, ask) in asks {
        if let Some((_, allow)) = allows.iter().find(|(_, allow)| covers(&allow.matcher, &ask.matcher)) {
            let RuleRef { index, pattern, .. } = &*allow.id;
            let text = format!("this rule never asks: allow rule {index} ({pattern:?}) covers it");
            at.warn(text, "always: true asks even so");
        }
    }
}

/// Whether all that `ask` speaks of is allowed before, unless that is told as a rule that never decides.
fn covers(allow: &Matcher, ask: &Matcher) -> bool {
    let is_told = allow.agents.is_none() && (allow.pattern == ask.pattern || allow.pattern.as_str() == "*");
    let has_agents = match (&allow.agents, &ask.agents) {
        (None, _) => true,
        (Some(allowed), Some(asked)) => asked.is_subset(allowed),
        (Some(_), None) => false,
    };
    has_agents && !is_told && takes_in(&allow.pattern, &ask.pattern)
}

fn wider_than_a_deny(rules: &[Placed<'_>], defaults: &[Placed<'_>]) {
    let mut denies = with_action(rules, Action::Deny);
    let mut allows = [with_action(rules, Action::Allow), with_action(defaults, Action::Allow)].concat();
    // The owner has picked calls by more than their signature: a deny within an allow is meant then.
    denies.retain(|(_, deny)| is_by_signature(&deny.matcher));
    allows.retain(|(_, allow)| is_by_signature(&allow.matcher));
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

fn is_by_signature(matcher: &Matcher) -> bool {
    let Matcher { pattern: _, agents: _, any_value: _, kinds, risks, when, time, after } = matcher;
    kinds.is_empty() && risks.is_empty() && when.is_empty() && time.is_none() && after.is_empty()
}

fn with_action<'r, 'd>(rules: &'r [Placed<'d>], action: Action) -> Vec<&'r Placed<'d>> {
    rules.iter().filter(|(_, rule)| rule.action() == action).collect()
}
