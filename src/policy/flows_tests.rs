//! Flows alone: which one decides, and what bounds say of values that are not as they should be.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::base::glob::Pattern;
use crate::base::template::Template;
use crate::model::{AgentId, ArgSpec, ArgType, Layout, Method, RequestSpec, Target, Tool, ToolFacts};

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn source(from: &str, labels: &[&str]) -> Source {
    Source { from: from.to_owned(), labels: set(labels) }
}

fn flow(from: &str, to: &str, labels: &[&str], action: Action) -> Flow {
    let (from, to) = (Pattern::new(from), Pattern::new(to));
    let (bounds, description) = (Bounds::default(), None);
    Flow { index: 1, from, to, labels: set(labels), action, bounds, description }
}

fn named(name: &str, flow: Flow) -> Flow {
    Flow { description: Some(name.to_owned()), ..flow }
}

/// A tool that posts to a destination.
fn tool(data: DataFacts) -> Tool {
    let spec = |kind| ArgSpec { kind: Some(kind), ..ArgSpec::default() };
    let args = [
        ("to", ArgType::String),
        ("receivers", ArgType::Array),
        ("fields", ArgType::Array),
        ("count", ArgType::Number),
        ("rows", ArgType::Array),
        ("data", ArgType::Object),
    ];
    Tool {
        args: args.map(|(name, kind)| (name.to_owned(), spec(kind))).into(),
        facts: ToolFacts { data: Some(data), ..ToolFacts::of("mail") },
        extra_args: true,
        ..Tool::new("mail", RequestSpec::new(Method::Post, Template::parse("/").unwrap()))
    }
}

fn call(tool: Tool, args: Value) -> Call {
    let Value::Object(args) = args else { panic!("{args}") };
    Call::new(AgentId::configured("pi"), Arc::new(tool), args).unwrap()
}

fn sends(to: &str) -> DataFacts {
    DataFacts { to: Some(to.to_owned()), ..DataFacts::default() }
}

fn looks(flows: Vec<Flow>, call: &Call, read: &[Source]) -> Vec<(String, Action)> {
    let flows = Flows::new(flows, DataPolicy::default());
    flows.look(call, read).iter().map(|look| (look.name(), look.decision)).collect()
}

#[test]
fn the_first_flow_that_speaks_of_a_pair_decides_about_it() {
    let flows = || {
        vec![
            named("refunds", flow("crm", "external_*", &["payment"], Action::Allow)),
            named("customers", flow("crm", "external_email", &["pii", "phi"], Action::Ask)),
            named("web", flow("web*", "*", &[], Action::Deny)),
        ]
    };
    let mail = call(tool(sends("external_email")), json!({}));
    let table = [
        (source("crm", &["payment"]), "refunds", Some(Action::Allow)),
        (source("crm", &["payment", "pii"]), "refunds", Some(Action::Allow)),
        (source("crm", &["pii"]), "customers", Some(Action::Ask)),
        (source("crm", &["x"]), "", None),
        // No flow, but sensitive words on both ends.
        (source("crm2", &["pii"]), "crm2 → external_email", Some(Action::Deny)),
        (source("crm2", &["harmless"]), "", None),
        (source("web_search", &["untrusted"]), "web", Some(Action::Deny)),
        (source("web", &[]), "web", Some(Action::Deny)),
    ];
    for (read, name, decision) in table {
        let expected: Vec<_> = decision.map(|decision| (name.to_owned(), decision)).into_iter().collect();
        assert_eq!(looks(flows(), &mail, std::slice::from_ref(&read)), expected, "{read:?}");
    }
    let elsewhere = call(tool(sends("chat")), json!({}));
    assert_eq!(looks(flows(), &elsewhere, &[source("crm2", &["pii"])]), []);
    let both = [source("crm", &["pii"]), source("web", &[]), source("crm", &["pii"])];
    let expected = [("customers".to_owned(), Action::Ask), ("web".to_owned(), Action::Deny)];
    assert_eq!(looks(flows(), &mail, &both), expected, "each source once");
}

#[test]
fn a_tool_without_a_destination_sends_nothing() {
    let reads = DataFacts { from: Some("crm".into()), labels: set(&["pii"]), ..DataFacts::default() };
    let all = vec![flow("*", "*", &[], Action::Deny)];
    assert_eq!(looks(all.clone(), &call(tool(reads), json!({})), &[source("crm", &["pii"])]), []);
    let none = Tool::new("x", RequestSpec::new(Method::Post, Template::parse("/").unwrap()));
    assert_eq!(looks(all, &call(none, json!({})), &[source("crm", &["pii"])]), []);
}

#[test]
fn what_the_tool_itself_reads_counts_too() {
    let exports = |from: Option<&str>| DataFacts {
        from: from.map(str::to_owned),
        labels: set(&["pii"]),
        ..sends("file_export")
    };
    for (from, name) in [(Some("crm"), "crm → file_export"), (None, "mail → file_export")] {
        let call = call(tool(exports(from)), json!({}));
        assert_eq!(looks(Vec::new(), &call, &[]), [(name.to_owned(), Action::Deny)]);
    }
    let unlabelled = DataFacts { from: Some("crm".into()), ..sends("file_export") };
    let asks = vec![flow("crm", "*", &[], Action::Ask)];
    let call = call(tool(unlabelled), json!({}));
    assert_eq!(looks(asks, &call, &[]), [("crm → *".to_owned(), Action::Ask)]);
}

/// What one bound says of a call with these arguments; None: it is kept.
fn broken(bounds: &Bounds, data: DataFacts, args: Value) -> Option<Bound> {
    let bounded = Flow { bounds: bounds.clone(), ..flow("crm", "webhook", &[], Action::Allow) };
    let flows = Flows::new(vec![bounded], DataPolicy::default());
    let looks = flows.look(&call(tool(data), args), &[source("crm", &["pii"])]);
    let [look] = looks.as_slice() else { panic!("{looks:?}") };
    let decision = if look.broken.is_some() { Action::Deny } else { Action::Allow };
    assert_eq!(look.decision, decision);
    look.broken
}

#[test]
fn receivers_are_in_the_given_domains_or_below_or_it_is_denied() {
    let domains = Some(vec![Domain::parse("customer.example").unwrap()]);
    let bounds = Bounds { domains, ..Bounds::default() };
    let to = |name: &str| DataFacts { domain: Some(name.to_owned()), ..sends("webhook") };
    for (text, kept) in [
        ("anna@customer.example", true),
        ("https://api.CUSTOMER.example/x", true),
        ("customer.example.", true),
        ("anna@notcustomer.example", false),
        ("anna@customer.example.evil.example", false),
        ("https://customer.example@evil.example/", false),
        ("127.0.0.1", false),
        ("", false),
    ] {
        let expected = (!kept).then_some(Bound::Domains);
        assert_eq!(broken(&bounds, to("to"), json!({ "to": text })), expected, "{text}");
        assert_eq!(broken(&bounds, to("receivers"), json!({ "receivers": [text] })), expected, "{text}");
        let among = json!({ "receivers": ["b@customer.example", text] });
        assert_eq!(broken(&bounds, to("receivers"), among), expected, "{text}");
    }
    for unknown in
        [json!({}), json!({"receivers": []}), json!({"receivers": [1]}), json!({"receivers": [["a"]]})]
    {
        assert_eq!(broken(&bounds, to("receivers"), unknown.clone()), Some(Bound::Domains), "{unknown}");
    }
    assert_eq!(broken(&bounds, sends("webhook"), json!({"to": "a@customer.example"})), Some(Bound::Domains));
}

#[test]
fn fields_are_found_wherever_they_stand_in_the_body() {
    let blocked = Bounds { blocked_fields: Some(set(&["ssn"])), ..Bounds::default() };
    let allowed = Bounds { allowed_fields: Some(set(&["name", "data", "rows"])), ..Bounds::default() };
    for (args, sends_ssn, only_allowed) in [
        (json!({"data": {"name": 1}}), false, true),
        (json!({"data": {"ssn": 1}}), true, false),
        (json!({"data": {" SSN ": 1}}), true, false),
        (json!({"rows": [{"name": {"x": [{"Ssn": 1}]}}]}), true, false),
        (json!({"data": {"plan": 1}}), false, false),
        // Nothing is sent, so nothing is known.
        (json!({}), true, false),
    ] {
        let found = broken(&blocked, sends("webhook"), args.clone());
        assert_eq!(found, sends_ssn.then_some(Bound::BlockedFields), "{args}");
        let found = broken(&allowed, sends("webhook"), args.clone());
        assert_eq!(found, (!only_allowed).then_some(Bound::AllowedFields), "{args}");
    }
    let nothing = Bounds { allowed_fields: Some(set(&[])), ..Bounds::default() };
    for args in [json!({}), json!({"data": {}})] {
        assert_eq!(broken(&nothing, sends("webhook"), args), Some(Bound::AllowedFields));
    }
    let listed = || DataFacts { fields: Some("fields".into()), ..sends("webhook") };
    for (fields, sends_ssn, only_allowed) in [
        (json!(["name"]), false, true),
        (json!(["name", "SSN"]), true, false),
        (json!(["name", "plan"]), false, false),
        (json!([]), true, false),
        (json!(["name", 1]), true, false),
        (json!([["name"]]), true, false),
    ] {
        // The body has a field more, but the argument says which count.
        let args = json!({ "fields": fields, "data": {"other": 1} });
        let found = broken(&blocked, listed(), args.clone());
        assert_eq!(found, sends_ssn.then_some(Bound::BlockedFields), "{args}");
        let found = broken(&allowed, listed(), args.clone());
        assert_eq!(found, (!only_allowed).then_some(Bound::AllowedFields), "{args}");
    }
    assert_eq!(broken(&allowed, listed(), json!({"data": {"name": 1}})), Some(Bound::AllowedFields));
}

#[test]
fn a_laid_out_body_has_the_names_of_its_layout() {
    let blocked = Bounds { blocked_fields: Some(set(&["ssn", "meta"])), ..Bounds::default() };
    let with = |layout: Layout| {
        let mut tool = tool(sends("webhook"));
        let Target::Http(http) = &mut tool.target else { panic!("not HTTP") };
        http.request.body = Some(layout);
        tool
    };
    let object = |name: &str, layout: Layout| Layout::Object(vec![(name.to_owned(), layout)]);
    let table = [
        (object("SSN", Layout::Arg("to".into())), json!({"to": "x"}), true),
        (object("ssn", Layout::Arg("to".into())), json!({"data": {}}), true),
        (object("x", Layout::Arg("data".into())), json!({"data": {"ssn": 1}}), true),
        (object("x", Layout::Arg("data".into())), json!({"data": {"name": 1}}), false),
        (object("x", object("meta", Layout::Constant(json!("agentpass")))), json!({}), true),
        (object("x", Layout::Constant(json!([{"ssn": null}]))), json!({}), true),
        (Layout::Arg("rows".into()), json!({"rows": [{"ssn": 1}]}), true),
        (
            Layout::List(vec![object("a", Layout::Text(Template::parse("ssn {to}").unwrap()))]),
            json!({"to": "x"}),
            false,
        ),
        // An argument that does not stand in the body is not sent in it.
        (object("x", Layout::Arg("to".into())), json!({"to": "x", "data": {"ssn": 1}}), false),
    ];
    for (layout, args, is_broken) in table {
        let bounded = Flow { bounds: blocked.clone(), ..flow("crm", "webhook", &[], Action::Allow) };
        let flows = Flows::new(vec![bounded], DataPolicy::default());
        let shown = format!("{layout:?} {args}");
        let looks = flows.look(&call(with(layout), args), &[source("crm", &[])]);
        assert_eq!(looks[0].broken.is_some(), is_broken, "{shown}");
    }
}

#[test]
fn records_are_counted_or_it_is_denied() {
    let bounds = Bounds { max_records: Some(2), ..Bounds::default() };
    let by = |name: &str| DataFacts { records: Some(name.to_owned()), ..sends("webhook") };
    for (name, args, kept) in [
        ("count", json!({"count": 2}), true),
        ("count", json!({"count": 0}), true),
        ("count", json!({"count": 3}), false),
        ("count", json!({"count": 2.5}), false),
        ("count", json!({"count": -1}), false),
        ("count", json!({"count": 1e300}), false),
        ("count", json!({}), false),
        ("rows", json!({"rows": [1, 2]}), true),
        ("rows", json!({"rows": [1, 2, 3]}), false),
        ("to", json!({"to": "2"}), false),
        // Undeclared: a number counts, a list may be one that was wrapped around a larger number.
        ("undeclared", json!({"undeclared": 2}), true),
        ("undeclared", json!({"undeclared": [3]}), false),
    ] {
        let expected = (!kept).then_some(Bound::MaxRecords);
        assert_eq!(broken(&bounds, by(name), args.clone()), expected, "{args}");
    }
    assert_eq!(broken(&bounds, sends("webhook"), json!({"count": 1})), Some(Bound::MaxRecords));
}

#[test]
fn bounds_do_not_soften_what_asks_or_denies() {
    let bounds = Bounds { max_records: Some(2), ..Bounds::default() };
    let data = || DataFacts { records: Some("count".into()), ..sends("webhook") };
    for (action, count, decision) in
        [(Action::Ask, 2, Action::Ask), (Action::Ask, 3, Action::Deny), (Action::Deny, 2, Action::Deny)]
    {
        let bounded = Flow { bounds: bounds.clone(), ..flow("crm", "webhook", &[], action) };
        let flows = Flows::new(vec![bounded], DataPolicy::default());
        let looks = flows.look(&call(tool(data()), json!({ "count": count })), &[source("crm", &[])]);
        assert_eq!(looks[0].decision, decision, "{action} {count}");
    }
}
