//! Advice on limits that are valid but probably not what the owner meant.

use super::at::At;
use super::doubts::{self, Speaker, can_be_number};
use super::limits::PlacedLimit;
use super::met::{looks_like, met, wanted};
use super::reach::Reach;
use crate::base::containment::takes_in;
use crate::base::decimal::Decimal;
use crate::model::{Amount, Counted, Limit, Tool, Window};

/// Leaves its advice at the limits.
pub(crate) fn check(limits: &[PlacedLimit<'_>], reaches: &[Reach<'_>], budget: &mut usize) {
    for (at, limit) in limits {
        let met = met(&limit.matcher, reaches, budget);
        if met.is_empty() {
            let text = format!("this limit never counts: no tool matches {}", wanted(&limit.matcher));
            at.warn(text, &looks_like(&limit.matcher, reaches));
        } else {
            doubts::check(*at, &limit.matcher, Speaker::Limit, &met);
            check_count(*at, limit, &met);
        }
        session_alone(*at, limit, limits);
    }
}

fn check_count(at: At<'_>, limit: &Limit, met: &[&Reach<'_>]) {
    let at = at.open().get("count").unwrap_or(at);
    let is_nothing = |amount: &Amount| *amount == Amount::Fixed(Decimal::ZERO);
    let unsaid = |amount: fn(&Tool) -> &Amount| met.iter().all(|reach| is_nothing(amount(reach.tool)));
    match &limit.count {
        Counted::Cost if unsaid(|tool| &tool.facts.cost) => {
            at.warn(
                "none of these tools says what it costs",
                "in the tool file: cost: 0.5, or {arg: amount}",
            );
        }
        Counted::Tokens if unsaid(|tool| &tool.facts.tokens) => {
            let help = "in the tool file: tokens: 500, or {arg: max_tokens}";
            at.warn("none of these tools says how many tokens it takes", help);
        }
        Counted::Arg(name) => {
            if let Some(reach) = met.iter().find(|reach| !can_be_number(reach.tool, name)) {
                let tool = &reach.tool.name;
                let text =
                    format!("tool {tool} has no number {name}, so none of its calls is below the limit");
                at.warn(text, "name in the pattern only tools that have it");
            }
        }
        Counted::Calls | Counted::Questions | Counted::Seconds | Counted::Cost | Counted::Tokens => {}
    }
}

/// An agent names its sessions itself: one more, and it counts from the beginning.
fn session_alone(at: At<'_>, limit: &Limit, limits: &[PlacedLimit<'_>]) {
    let by_session = |limit: &Limit| limit.per.session || limit.window == Window::Session;
    let is_twin = |(_, other): &PlacedLimit<'_>| {
        !by_session(other)
            && other.count == limit.count
            && takes_in(&other.matcher.pattern, &limit.matcher.pattern)
    };
    if by_session(limit) && !limits.iter().any(is_twin) {
        let text = "an agent names its sessions itself, so it can begin another one and count from 0";
        at.warn(text, "add a limit with per: [agent] that counts the same calls in a window of time");
    }
}
