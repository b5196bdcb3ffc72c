//! `data:` and `flows:` of permissions.yaml.

use std::collections::BTreeSet;

use super::at::{At, Section};
use super::facts::{word, words};
use crate::base::domain::Domain;
use crate::base::glob::Pattern;
use crate::model::Action;
use crate::model::condition::key_name;
use crate::model::flow::{Bounds, DataPolicy, Flow, Remember};

/// A flow and where it stands.
pub(crate) type PlacedFlow<'d> = (At<'d>, Flow);

const ACTIONS: [(&str, Action); 3] = [("allow", Action::Allow), ("ask", Action::Ask), ("deny", Action::Deny)];
/// The keys of a flow that a flow with `action: deny` has no use for.
const BOUNDS: [&str; 4] = ["domains", "blocked_fields", "allowed_fields", "max_records"];

/// `data:`, or what counts without it.
pub(crate) fn data(file: Section<'_>) -> DataPolicy {
    let section = file.below("data", "sensitive_labels sensitive_destinations otherwise remember");
    let unsaid = DataPolicy::default();
    let labels = section.get("sensitive_labels").map(|at| sensitive(at, "no data is sensitive"));
    let destinations =
        section.get("sensitive_destinations").map(|at| sensitive(at, "data may go to all destinations"));
    DataPolicy {
        sensitive_labels: labels.unwrap_or(unsaid.sensitive_labels),
        sensitive_destinations: destinations.unwrap_or(unsaid.sensitive_destinations),
        otherwise: section.read("otherwise", |at| at.choice(&ACTIONS)).unwrap_or(unsaid.otherwise),
        remember: section.read("remember", remember).unwrap_or(unsaid.remember),
    }
}

fn sensitive(at: At<'_>, so: &str) -> BTreeSet<String> {
    let items = at.one_or_more();
    if items.is_empty() {
        at.warn(format!("{} is empty, so that {so}", at.name()), "remove it for the usual words");
    }
    items.into_iter().filter_map(word).collect()
}

fn remember(at: At<'_>) -> Option<Remember> {
    let text = if at.is_single() { at.text()? } else { String::new() };
    match text.as_str() {
        "session" => {
            let help = "an agent names its sessions itself: give a time, such as 8h";
            at.warn("what an agent has read is forgotten as soon as it names another session", help);
            Some(Remember::Session)
        }
        "off" | "false" => Some(Remember::Off),
        _ if text.ends_with(|c: char| c.is_ascii_alphabetic())
            && !text.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            at.fail(format!("unknown remember {}", at.shown()), "give a time such as 8h, or session, or off")
        }
        _ => at.span("1m"..="400d").map(Remember::For),
    }
}

/// `flows:`, in the order of the file.
pub(crate) fn flows(file: Section<'_>) -> Vec<PlacedFlow<'_>> {
    let items = file.get("flows").map(At::items).unwrap_or_default();
    let numbered = items.into_iter().enumerate();
    numbered.filter_map(|(i, at)| flow(at, i + 1).map(|flow| (at, flow))).collect()
}

fn flow(at: At<'_>, index: usize) -> Option<Flow> {
    let section =
        at.section("from to labels action domains blocked_fields allowed_fields max_records description");
    let from = section.require("from", At::pattern);
    let to = section.require("to", At::pattern);
    let action = section.require("action", |at| at.choice(&ACTIONS));
    let labels = section.get("labels").map(|at| words(at, "the flow speaks of no data"));
    let flow = Flow {
        index,
        from: Pattern::new(&from?),
        to: Pattern::new(&to?),
        labels: labels.unwrap_or_default(),
        action: action?,
        bounds: bounds(section),
        description: section.get("description").filter(|at| !at.is_null()).and_then(At::text),
    };
    if flow.action == Action::Deny {
        for bound in BOUNDS.into_iter().filter_map(|key| section.key(key)) {
            let text = format!("{} does not apply to action: deny, which denies everything", bound.text());
            bound.error(text, "action: ask or allow; what does not keep the bound is denied then");
        }
    }
    Some(flow)
}

fn bounds(section: Section<'_>) -> Bounds {
    Bounds {
        domains: section.get("domains").map(domains),
        blocked_fields: section.get("blocked_fields").map(|at| fields(at, Some("nothing is blocked"))),
        allowed_fields: section.get("allowed_fields").map(|at| fields(at, None)),
        max_records: section.whole("max_records", 0..=1_000_000_000),
    }
}

/// Names; all below one are meant too.
pub(crate) fn domains(at: At<'_>) -> Vec<Domain> {
    let items = at.one_or_more();
    let help = format!("remove {}", at.name());
    at.ensure(!items.is_empty(), format!("{} is empty, so no receiver matches", at.name()), &help);
    let domain = |item: At<'_>| {
        let text = item.filled()?;
        let help = "write the name only: customer.example; all names below it are meant too";
        Domain::parse(&text).or_else(|| item.fail(format!("{} is not a domain", item.shown()), help))
    };
    items.into_iter().filter_map(domain).collect()
}

fn fields(at: At<'_>, so: Option<&str>) -> BTreeSet<String> {
    let items = at.one_or_more();
    if let (true, Some(so)) = (items.is_empty(), so) {
        at.error(format!("{} is empty, so that {so}", at.name()), &format!("remove {}", at.name()));
    }
    items.into_iter().filter_map(At::filled).map(|name| key_name(&name)).collect()
}
