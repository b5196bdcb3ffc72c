//! permissions.yaml: the owner's rules, in the order of the file.

use std::sync::Arc;

use super::at::{At, Section};
use super::doc::Doc;
use super::lint::{self, KnownNames, Placed};
use super::matcher::agents;
use crate::base::glob::Pattern;
use crate::model::{Action, Matcher, Rule, RuleList, RuleRef};

/// Both lists of permissions.yaml.
#[derive(Clone, Debug, Default)]
pub struct Permissions {
    /// deny > allow > ask, wherever they stand.
    pub rules: Vec<Rule>,
    /// The first match decides.
    pub defaults: Vec<Rule>,
}

/// Reads both lists. Without `known` (config.yaml is broken) agents and tools are not checked.
pub(crate) fn read(doc: &Doc<'_>, known: Option<&KnownNames<'_>>) -> Permissions {
    let file = At::root(doc).section("rules defaults");
    let rules = list(file, RuleList::Rules, known);
    let defaults = list(file, RuleList::Defaults, known);
    refuse_cut_off(file, doc);
    if rules.is_empty() && defaults.is_empty() && !doc.has_errors() {
        file.at().warn("there are no rules: every call will be asked", "");
    }
    lint::check(&rules, &defaults, known);
    let bare = |placed: Vec<Placed<'_>>| placed.into_iter().map(|(_, rule)| rule).collect();
    Permissions { rules: bare(rules), defaults: bare(defaults) }
}

/// A file that was cut while it was saved must not read as one without rules: what they deny would be asked, and
/// what they ask could be allowed by a default.
fn refuse_cut_off(file: Section<'_>, doc: &Doc<'_>) {
    let none = |name: &str| format!("if there are to be none, write {name}: []");
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
    let section = at.section("pattern action description agents any_value");
    let actions = [Action::Allow, Action::Deny, Action::Ask].map(|action| (action.as_str(), action));
    let pattern = section.require("pattern", At::pattern);
    let action = section.require("action", |at| at.choice(&actions));
    let description = section.get("description").filter(|at| !at.is_null()).and_then(At::text);
    let agents = section.get("agents").map(|at| agents(at, known));
    let any_value = section.read("any_value", At::pattern);
    let (pattern, action) = (pattern?, action?);
    let file = at.doc.path().display().to_string();
    Some(Rule {
        matcher: Matcher {
            agents,
            any_value: any_value.as_deref().map(Pattern::new),
            ..Matcher::of(Pattern::new(&pattern))
        },
        id: Arc::new(RuleRef { list, index, pattern, action, description, file }),
        always: false,
    })
}
