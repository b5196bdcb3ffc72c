//! Sources, labels and destinations that stand in one place only: data is guarded by words that the tool files and
//! permissions.yaml share, and one that is misspelled guards nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::at::{At, Section};
use super::doc::Doc;
use super::finding::Finding;
use super::flows::PlacedFlow;
use super::known::KnownNames;
use super::tool;
use crate::base::containment::takes_in;
use crate::model::flow::{Bounds, DataPolicy, Flow};
use crate::model::tool_facts::UNTRUSTED;
use crate::model::{DataFacts, Matcher, Tool};

/// What the tool files say.
struct Said<'a> {
    tools: Vec<(&'a Tool, &'a DataFacts)>,
    labels: BTreeSet<&'a str>,
    destinations: BTreeSet<&'a str>,
}

impl<'a> Said<'a> {
    fn new(known: &KnownNames<'a>) -> Said<'a> {
        let tools: Vec<_> =
            known.tools.values().filter_map(|tool| Some((&**tool, tool.facts.data.as_ref()?))).collect();
        let labels = tools.iter().flat_map(|(_, data)| &data.labels).map(String::as_str).collect();
        let destinations = tools.iter().filter_map(|(_, data)| data.to.as_deref()).collect();
        Said { tools, labels, destinations }
    }
}

/// Leaves its advice at the words of permissions.yaml that no tool has.
pub(crate) fn check(file: Section<'_>, flows: &[PlacedFlow<'_>], known: &KnownNames<'_>) {
    let said = Said::new(known);
    let data = file.below("data", "sensitive_labels sensitive_destinations otherwise remember");
    let usual = DataPolicy::default();
    let new = |key, usual: &BTreeSet<String>, known: &BTreeSet<&str>| {
        let items = data.get(key).map(At::one_or_more).unwrap_or_default();
        let is_new = |text: &String| !usual.contains(text) && !known.contains(text.as_str());
        let items = items.into_iter().filter(|item| item.text().as_ref().is_some_and(is_new));
        items.collect::<Vec<_>>()
    };
    new("sensitive_labels", &usual.sensitive_labels, &said.labels).into_iter().for_each(no_label);
    for item in new("sensitive_destinations", &usual.sensitive_destinations, &said.destinations) {
        item.warn(format!("no tool sends to {}", item.shown()), "");
    }
    flows.iter().for_each(|(at, flow)| check_flow(*at, flow, &said));
    shadowed(flows);
}

fn no_label(item: At<'_>) {
    item.warn(format!("no tool reads data with the label {}", item.shown()), "");
}

/// The labels of `after` that no tool has.
pub(crate) fn check_after(at: At<'_>, known: &KnownNames<'_>) {
    let Some(after) = at.open().get("after") else { return };
    let said = Said::new(known);
    let is_known = |text: &str| text == UNTRUSTED || said.labels.contains(text);
    let items = after.one_or_more().into_iter();
    items.filter(|item| item.text().is_some_and(|text| !is_known(&text))).for_each(no_label);
}

fn check_flow(at: At<'_>, flow: &Flow, said: &Said<'_>) {
    let section = at.open();
    let sources = said.tools.iter().filter_map(|(tool, data)| data.source(&tool.name));
    let meets_source = sources.into_iter().any(|source| flow.from.matches(&source.from));
    if let (Some(from), false) = (section.get("from"), meets_source) {
        from.warn(
            format!("no tool reads from {}", from.shown()),
            "from is what tools say in data.from, or their name",
        );
    }
    let to: Vec<_> = said.tools.iter().filter(|(_, data)| sends(data, flow)).collect();
    if let (Some(at), true) = (section.get("to"), to.is_empty()) {
        at.warn(format!("no tool sends to {}", at.shown()), "to is what tools say in data.to");
    }
    let labels = section.get("labels").map(At::one_or_more).unwrap_or_default().into_iter();
    let is_new = |text: &str| text != UNTRUSTED && !said.labels.contains(text);
    labels.filter(|item| item.text().is_some_and(|text| is_new(&text))).for_each(no_label);
    let Bounds { domains, blocked_fields: _, allowed_fields: _, max_records } = &flow.bounds;
    for (key, is_bound, names) in [
        ("domains", domains.is_some(), (|data| data.domain.is_some()) as fn(&DataFacts) -> bool),
        ("max_records", max_records.is_some(), |data| data.records.is_some()),
    ] {
        let silent = to.iter().find(|(_, data)| is_bound && !names(data));
        if let Some(((tool, _), name)) = silent.zip(section.key(key)) {
            let fact = if key == "domains" { "domain" } else { "records" };
            let text =
                format!("tool {} does not say which argument holds that, so its calls are denied", tool.name);
            name.warn(text, &format!("in the tool file: data: {{{fact}: {{arg: …}}}}"));
        }
    }
}

fn sends(data: &DataFacts, flow: &Flow) -> bool {
    data.to.as_ref().is_some_and(|to| flow.to.matches(to))
}

/// The first flow that speaks of a pair decides about it.
fn shadowed(flows: &[PlacedFlow<'_>]) {
    /// Above this many flows they are not compared with each other: advice must not slow a reload down.
    const MOST: usize = 500;
    for (place, (at, flow)) in flows.iter().enumerate().take(MOST) {
        let speaks_too = |(_, before): &&PlacedFlow<'_>| {
            let labels =
                before.labels.is_empty() || !flow.labels.is_empty() && flow.labels.is_subset(&before.labels);
            labels && takes_in(&before.from, &flow.from) && takes_in(&before.to, &flow.to)
        };
        if let Some((_, before)) = flows.iter().take(place).find(speaks_too) {
            at.warn(
                format!("this flow never decides: flow {} ({}) goes first", before.index, before.name()),
                "",
            );
        }
    }
}

/// What permissions.yaml speaks of.
pub(crate) struct Spoken<'a> {
    pub(crate) data: &'a DataPolicy,
    pub(crate) flows: &'a [Flow],
    /// Of rules and limits.
    pub(crate) matchers: Vec<&'a Matcher>,
}

/// Findings in the tool files, for labels and destinations that permissions.yaml does not speak of.
pub(crate) fn unspoken(known: &KnownNames<'_>, spoken: &Spoken<'_>) -> Vec<Finding> {
    let mut by_file: BTreeMap<&PathBuf, Vec<(&Tool, &DataFacts)>> = BTreeMap::new();
    for (tool, data) in Said::new(known).tools {
        let is_spoken = data.labels.iter().all(|label| spoken.of_label(label))
            && data.to.as_ref().is_none_or(|to| spoken.of_destination(to));
        if let (false, Some(file)) = (is_spoken, known.tool_files.get(&tool.name)) {
            by_file.entry(file).or_default().push((tool, data));
        }
    }
    by_file.into_iter().flat_map(|(file, tools)| unspoken_in(file, &tools, spoken)).collect()
}

fn unspoken_in(file: &Path, tools: &[(&Tool, &DataFacts)], spoken: &Spoken<'_>) -> Vec<Finding> {
    // It was read a moment ago.
    let Ok(doc) = Doc::open(file, tool::DOING, None) else { return Vec::new() };
    let all = At::root(&doc).open().get("tools").map(At::open);
    let data_of = |tool: &Tool| all?.get(&tool.name)?.open().get("data").map(At::open);
    for section in tools.iter().filter_map(|(tool, _)| data_of(tool)) {
        for label in section.get("labels").map(At::one_or_more).unwrap_or_default() {
            if label.text().is_some_and(|text| !spoken.of_label(&text)) {
                let help = "the words that guard data by themselves are those of data.sensitive_labels";
                label.warn(format!("no rule or flow mentions the label {}", label.shown()), help);
            }
        }
        if let Some(to) =
            section.get("to").filter(|to| to.text().is_some_and(|to| !spoken.of_destination(&to)))
        {
            let help = "add a flow, or the word to data.sensitive_destinations";
            to.warn(format!("no flow mentions the destination {}: any data may go there", to.shown()), help);
        }
    }
    doc.finish()
}

impl Spoken<'_> {
    fn of_label(&self, label: &str) -> bool {
        label == UNTRUSTED
            || self.data.sensitive_labels.contains(label)
            || self.flows.iter().any(|flow| flow.labels.contains(label))
            || self.matchers.iter().any(|matcher| matcher.after.iter().any(|own| own == label))
    }

    fn of_destination(&self, to: &str) -> bool {
        self.data.sensitive_destinations.contains(to) || self.flows.iter().any(|flow| flow.to.matches(to))
    }
}
