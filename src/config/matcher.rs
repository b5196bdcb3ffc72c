//! Which calls a rule speaks of.

use std::collections::BTreeSet;

use globset::{Glob, GlobMatcher};

use super::at::At;
use super::lint::KnownNames;
use super::settings::AgentConfig;
use crate::model::AgentId;

/// The configured agents that are meant. An empty list would switch the rule off without a word.
pub(crate) fn agents(at: At<'_>, known: Option<&KnownNames<'_>>) -> BTreeSet<AgentId> {
    let globs = at.one_or_more();
    let help = "remove agents to speak of all of them";
    at.ensure(!globs.is_empty(), "agents is empty, so that the rule would never count", help);
    globs.into_iter().flat_map(|glob| matching(glob, known)).collect()
}

/// `kitchen-*` is a pattern for names, `@kitchen` one for groups.
fn matching(at: At<'_>, known: Option<&KnownNames<'_>>) -> Vec<AgentId> {
    let Some(text) = at.pattern() else { return Vec::new() };
    let (group, text) = (text.strip_prefix('@'), text.as_str());
    let Some((glob, known)) = glob(at, group.unwrap_or(text)).zip(known) else { return Vec::new() };
    let is_meant = |agent: &&AgentConfig| match group {
        Some(_) => agent.groups.iter().any(|name| glob.is_match(name)),
        None => glob.is_match(agent.id.as_str()),
    };
    let found: Vec<AgentId> = known.agents.iter().filter(is_meant).map(|agent| agent.id.clone()).collect();
    match group {
        _ if !found.is_empty() => {}
        Some(_) => {
            let help = "name the group where the agent is configured: groups: [...]";
            at.warn(format!("no agent is in a group called {}", at.shown()), help);
        }
        None => at.warn(format!("no agent is called {}", at.shown()), ""),
    }
    found
}

fn glob(at: At<'_>, text: &str) -> Option<GlobMatcher> {
    let wrong = |e: globset::Error| at.error(format!("this is not a pattern for agents: {}", e.kind()), "");
    Glob::new(text).map_err(wrong).ok().map(|glob| glob.compile_matcher())
}
