//! The tools that a rule or a limit speaks of.

use super::reach::Reach;
use crate::model::{Matcher, Tool};

/// The tools that it speaks of.
pub(crate) fn met<'r, 't>(
    matcher: &Matcher,
    reaches: &'r [Reach<'t>],
    budget: &mut usize,
) -> Vec<&'r Reach<'t>> {
    let fits = |tool: &Tool| {
        (matcher.kinds.is_empty() || matcher.kinds.contains(&tool.kind))
            && (matcher.risks.is_empty() || matcher.risks.contains(&tool.facts.risk))
    };
    let mut met: Vec<_> = reaches.iter().filter(|reach| fits(reach.tool)).collect();
    met.retain(|reach| reach.meets(&matcher.pattern, budget));
    met
}

/// What no tool fits, for a finding.
pub(crate) fn wanted(matcher: &Matcher) -> String {
    let kinds: Vec<&str> = matcher.kinds.iter().map(|kind| kind.as_str()).collect();
    let risks: Vec<&str> = matcher.risks.iter().map(|risk| risk.as_str()).collect();
    let mut text = format!("{:?}", matcher.pattern.as_str());
    for (name, words) in
        [("kinds", kinds), ("risk", risks)].into_iter().filter(|(_, words)| !words.is_empty())
    {
        text += &format!(" with {name} {}", words.join(", "));
    }
    text
}

/// What the signatures look like of the tool that the rule seems to mean.
pub(crate) fn looks_like(matcher: &Matcher, reaches: &[Reach<'_>]) -> String {
    let name = matcher.pattern.as_str().split('(').next().unwrap_or_default();
    match reaches.iter().find(|reach| reach.tool.name == name) {
        Some(reach) => format!("signatures of {name} look like {:?}, values without names", reach.shown()),
        None => {
            "signatures are the name of a tool, with brackets when it has a signature: \"name(*)\"".into()
        }
    }
}
