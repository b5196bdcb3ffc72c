//! Advice on rules that are valid but probably not what the owner meant.

use std::collections::HashMap;

use super::permissions::{Known, Placed};
use crate::base::template::Piece;
use crate::model::{Action, Rule, Tool};

/// Above this many pairs, rules are no longer compared with each other: advice must not slow a reload down.
const MAX_PAIRS: usize = 1_000_000;

/// Leaves its advice at the rules.
pub fn check(rules: &[Placed<'_>], defaults: &[Placed<'_>], known: Option<&Known<'_>>) {
    if let Some(known) = known.filter(|known| !known.tools.is_empty()) {
        rules.iter().chain(defaults).for_each(|placed| never_matches(placed, known));
    }
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

fn never_matches((at, rule): &Placed<'_>, known: &Known<'_>) {
    if !known.tools.values().any(|tool| can_match(rule, tool)) {
        let help = "signatures are the name of a tool, with brackets when it has a signature: \"name(*)\"";
        at.warn(format!("this rule can never match: no tool fits {:?}", rule.id.pattern), help);
    }
}

/// Whether some signature of this tool can begin (and, without wildcards, end) as the pattern does.
fn can_match(rule: &Rule, tool: &Tool) -> bool {
    let (pattern, prefix) = (&rule.pattern, rule.pattern.literal_prefix());
    let Some(signature) = &tool.signature else {
        return pattern.matches(&tool.name);
    };
    let mut head = format!("{}(", tool.name);
    if let Some(Piece::Text(text)) = signature.pieces().first() {
        head.push_str(text);
    }
    if pattern.is_literal() {
        return prefix.starts_with(&head) && prefix.ends_with(')');
    }
    head.starts_with(prefix) || prefix.starts_with(&head)
}

/// `order` is the order in which rules are asked.
fn never_decides(order: &[&Placed<'_>]) {
    let mut first: HashMap<&str, &Rule> = HashMap::new();
    let mut all: Option<&Rule> = None;
    for (at, rule) in order {
        let pattern = rule.id.pattern.as_str();
        if let Some(before) = all.or_else(|| first.get(pattern).copied()) {
            let id = &before.id;
            let text = format!(
                "this rule never decides: rule {} ({} {:?}) goes first",
                id.index, id.action, id.pattern
            );
            at.warn(text, "");
        } else if rule.agents.is_none() && rule.any_value.is_none() {
            first.insert(pattern, rule);
            all = (pattern == "*").then_some(rule);
        }
    }
}

fn wider_than_a_deny(rules: &[Placed<'_>], defaults: &[Placed<'_>]) {
    let denies = of(rules, Action::Deny);
    let allows = [of(rules, Action::Allow), of(defaults, Action::Allow)].concat();
    if denies.len().saturating_mul(allows.len()) > MAX_PAIRS {
        return;
    }
    for (at, allow) in allows {
        let narrower = |deny: &&&Placed<'_>| {
            deny.1.id.pattern != allow.id.pattern && allow.pattern.matches(&deny.1.id.pattern)
        };
        if let Some((_, deny)) = denies.iter().find(narrower) {
            let text =
                format!("this allow rule is wider than deny rule {} ({:?})", deny.id.index, deny.id.pattern);
            at.warn(text, "what both match is denied");
        }
    }
}

fn of<'r, 'd>(rules: &'r [Placed<'d>], action: Action) -> Vec<&'r Placed<'d>> {
    rules.iter().filter(|(_, rule)| rule.action() == action).collect()
}
