use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;

use super::super::{Facts, Policy, PolicyParts};
use super::*;
use crate::base::digest::Digest;
use crate::base::glob::Pattern;
use crate::base::template::Template;
use crate::model::{
    AgentId, ArgSpec, ArgType, DenialReason, Matcher, Method, Outcome, Per, RequestSpec, Rule, RuleList,
    RuleRef, Tool, ToolFacts, Verdict, Window,
};

const HOUR: Window = Window::Rolling(Duration::from_secs(3600));
const NOW: Timestamp = Timestamp(1_796_000_000_000);

/// Counters without an end of their own.
#[derive(Debug, Default)]
struct Book(RefCell<HashMap<CounterId, Tally>>);

impl Counters for Book {
    fn tally(&self, counter: &CounterId, _: Timestamp) -> Tally {
        self.0.borrow().get(counter).cloned().unwrap_or_default()
    }

    fn has_room(&self, counter: &CounterId, _: &AgentId, _: Timestamp) -> bool {
        counter.key.tool.as_deref() != Some("full")
    }
}

impl Book {
    fn charge(&self, charges: &[Charge], now: Timestamp) {
        for charge in charges {
            let mut book = self.0.borrow_mut();
            let tally = book.entry(charge.counter.clone()).or_default();
            match charge.how {
                Charging::Sum => tally.add(charge.part, now),
                Charging::First => tally.begin(charge.part, now),
            }
        }
    }
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// A limit on all calls of a tool, with the words of `count` and two thresholds, none where they are empty.
fn limit(name: &str, count: &str, ask: &str, deny: &str) -> Limit {
    let bound = |text: &str| (!text.is_empty()).then(|| decimal(text));
    Limit {
        name: name.into(),
        identity: Digest::sha256(name.as_bytes()),
        matcher: Matcher::of(Pattern::new("pay*")),
        per: Per::default(),
        count: Counted::parse(count).unwrap(),
        window: HOUR,
        ask_above: bound(ask),
        deny_above: bound(deny),
        description: None,
    }
}

fn tool(name: &str) -> Tool {
    let spec = |kind| ArgSpec { kind: Some(kind), each: kind == ArgType::Array, ..ArgSpec::default() };
    Tool {
        signature: Some(Template::parse("{to}").unwrap()),
        args: [("to".to_owned(), spec(ArgType::Array)), ("usd".to_owned(), spec(ArgType::Number))].into(),
        facts: ToolFacts { cost: Amount::Arg("usd".into()), ..ToolFacts::of(name) },
        extra_args: true,
        ..Tool::new(name, RequestSpec::new(Method::Post, Template::parse("/").unwrap()))
    }
}

fn call_of(tool: Tool, args: Value) -> Call {
    let Value::Object(args) = args else { panic!("no object") };
    Call::new(AgentId::configured("pi"), Arc::new(tool), args).unwrap()
}

fn pay(args: Value) -> Call {
    call_of(tool("pay"), args)
}

fn policy(action: Action, limits: Vec<Limit>) -> Policy {
    let id = RuleRef {
        list: RuleList::Rules,
        index: 1,
        pattern: "*".into(),
        action,
        description: None,
        file: String::new(),
    };
    let rule = Rule::new(id, Matcher::of(Pattern::new("*")));
    Policy::new(PolicyParts { rules: vec![rule], limits, ..PolicyParts::default() })
}

fn judge(policy: &Policy, call: &Call, book: &Book) -> Verdict {
    policy.judge(call, &Facts { now: NOW, counters: book, ..Facts::unchanged(call) })
}

/// The decisions on so many calls in a row, each charged unless it is denied.
fn decisions(policy: &Policy, call: &Call, times: usize) -> String {
    let book = Book::default();
    let one = |_| {
        let verdict = judge(policy, call, &book);
        if verdict.decision != Action::Deny {
            book.charge(&verdict.charges, NOW);
        }
        verdict.decision.as_str().chars().nth(1).unwrap_or_default()
    };
    // allow, ask, deny
    (0..times)
        .map(one)
        .map(|c| match c {
            'l' => '+',
            's' => '?',
            _ => '-',
        })
        .collect()
}

#[test]
fn n_allows_exactly_n() {
    let one = pay(json!({"to": "a", "usd": 0.1}));
    for (count, ask, deny, expected) in [
        ("calls", "2", "4", "++??--"),
        ("calls", "", "3", "+++---"),
        ("calls", "", "0", "------"),
        ("calls", "0", "", "??????"),
        ("cost", "", "0.3", "+++---"),
        ("cost", "0.1", "0.25", "+?----"),
        ("arg:usd", "", "0.3", "+++---"),
        // No tokens are declared, so that none are used.
        ("tokens", "", "0", "++++++"),
        ("questions", "", "2", "++++++"),
    ] {
        let policy = policy(Action::Allow, vec![limit("l", count, ask, deny)]);
        assert_eq!(decisions(&policy, &one, 6), expected, "{count} {ask} {deny}");
    }
}

#[test]
fn only_calls_that_a_person_is_asked_about_count_as_questions() {
    let call = pay(json!({"to": "a", "usd": 1}));
    let asking = policy(Action::Ask, vec![limit("q", "questions", "", "2")]);
    assert_eq!(decisions(&asking, &call, 4), "??--");
    // Another limit is why a person is asked.
    let limits = vec![limit("q", "questions", "", "1"), limit("c", "calls", "2", "")];
    assert_eq!(decisions(&policy(Action::Allow, limits), &call, 5), "++?--");
    let never = policy(Action::Deny, vec![limit("q", "questions", "", "2")]);
    assert_eq!(judge(&never, &call, &Book::default()).charges, []);
}

#[test]
fn an_amount_that_cannot_be_read_takes_the_stricter_way() {
    for args in
        [json!({"to": "a"}), json!({"to": "a", "usd": -1}), json!({"to": "a", "usd": -0.000_000_000_1})]
    {
        for (ask, deny, expected) in
            [("1", "2", Action::Deny), ("1", "", Action::Ask), ("", "", Action::Allow)]
        {
            let policy = policy(Action::Allow, vec![limit("l", "cost", ask, deny)]);
            let verdict = judge(&policy, &pay(args.clone()), &Book::default());
            assert_eq!((verdict.decision, verdict.charges), (expected, vec![]), "{args} {ask} {deny}");
        }
    }
    let by_arg = policy(Action::Allow, vec![limit("l", "arg:more", "", "9")]);
    for more in [json!("3"), json!([3]), json!(true), json!({"n": 3})] {
        let call = pay(json!({"to": "a", "more": more}));
        assert_eq!(judge(&by_arg, &call, &Book::default()).decision, Action::Deny, "{more}");
    }
    let call = pay(json!({"to": "a", "more": 9}));
    assert_eq!(judge(&by_arg, &call, &Book::default()).decision, Action::Allow);
}

#[test]
fn each_element_counts() {
    let three = pay(json!({"to": ["a", "b", "c"], "usd": 2}));
    for (count, amount) in [("calls", "3"), ("cost", "6"), ("arg:usd", "6")] {
        let policy = policy(Action::Allow, vec![limit("l", count, "", "6")]);
        let verdict = judge(&policy, &three, &Book::default());
        assert_eq!(verdict.charges[0].part.amount, decimal(amount), "{count}");
        assert_eq!(verdict.decision, Action::Allow, "{count}");
    }
    let of_a = Limit { matcher: Matcher::of(Pattern::new("pay(a)")), ..limit("l", "calls", "", "9") };
    let verdict = judge(&policy(Action::Allow, vec![of_a]), &three, &Book::default());
    assert_eq!(verdict.charges[0].part.amount, Decimal::ONE, "only those that it speaks of");
}

#[test]
fn keys_tell_counters_apart() {
    let (a, b) = (pay(json!({"to": "a"})), pay(json!({"to": "b"})));
    let other = call_of(tool("pay_more"), json!({"to": "a"}));
    for (per, expected) in [
        (Per::default(), [true, true, true]),
        (Per { agent: true, ..Per::default() }, [true, true, true]),
        (Per { session: true, ..Per::default() }, [true, true, false]),
        (Per { tool: true, ..Per::default() }, [true, false, true]),
        (Per { call: true, ..Per::default() }, [false, false, true]),
    ] {
        let limit = Limit { per, ..limit("l", "calls", "", "1") };
        let first = limit.key(&a, Some("s"));
        let same = [limit.key(&b, Some("s")), limit.key(&other, Some("s")), limit.key(&a, None)]
            .map(|key| key == first);
        assert_eq!(same, expected, "{per:?}");
    }
}

#[test]
fn a_call_that_no_limit_speaks_of_is_charged_nothing() {
    let laptop =
        Matcher { agents: Some([AgentId::configured("laptop")].into()), ..Matcher::of(Pattern::new("*")) };
    let limits = vec![
        Limit { matcher: laptop, ..limit("l", "calls", "", "0") },
        Limit { matcher: Matcher::of(Pattern::new("read*")), ..limit("m", "calls", "", "0") },
    ];
    let verdict = judge(&policy(Action::Allow, limits), &pay(json!({"to": "a"})), &Book::default());
    assert_eq!((verdict.decision, verdict.reasons, verdict.charges), (Action::Allow, vec![], vec![]));
}

#[test]
fn all_reasons_of_a_denial_are_told_and_time_heals_it_where_it_heals_each() {
    let call = pay(json!({"to": "a", "usd": 5}));
    let limits = || vec![limit("calls", "calls", "", "1"), limit("money", "cost", "", "7")];
    let denied =
        |policy: &Policy, book: &Book| match judge(policy, &call, book).forbidden().unwrap().outcome() {
            Outcome::DeniedByPolicy(denial) => denial,
            other => panic!("{other:?}"),
        };
    let (book, allowing) = (Book::default(), policy(Action::Allow, limits()));
    book.charge(&judge(&allowing, &call, &book).charges, NOW);
    let denial = denied(&allowing, &book);
    let reached = |name: &str| DenialReason::Limit { limit: name.into() };
    assert_eq!(denial.reasons, [reached("calls"), reached("money")]);
    let part = Window::end(HOUR, NOW, &Zone::default()).since(NOW).as_secs();
    assert_eq!((denial.reason(), denial.retry_after), ("limit_reached", Some(part)));
    let denial = denied(&policy(Action::Deny, limits()), &book);
    let rule = DenialReason::Rule { rule: "*".into() };
    assert_eq!(denial.reasons, [rule, reached("calls"), reached("money")]);
    assert_eq!((denial.reason(), denial.retry_after), ("denied_by_policy", None));
    let never = denied(&policy(Action::Allow, vec![limit("never", "cost", "", "4")]), &Book::default());
    assert_eq!((never.reason(), never.retry_after), ("limit_reached", None));
    let full = Limit { per: Per { tool: true, ..Per::default() }, ..limit("l", "calls", "", "9") };
    let full = Limit { matcher: Matcher::of(Pattern::new("full*")), ..full };
    let verdict = judge(
        &policy(Action::Allow, vec![full]),
        &call_of(tool("full"), json!({"to": "a"})),
        &Book::default(),
    );
    assert_eq!(verdict.decision, Action::Deny, "there is no room for one more counter");
}

#[test]
fn a_person_reads_which_call_of_how_many_it_is() {
    let words = |count: &str, ask: &str, times: usize, args: Value| {
        let (book, call) = (Book::default(), pay(args));
        let policy = policy(Action::Allow, vec![limit("hourly-lights", count, ask, "")]);
        (0..times).for_each(|_| book.charge(&judge(&policy, &call, &book).charges, NOW));
        match judge(&policy, &call, &book).reasons.pop() {
            Some(Reason::AskedByLimit { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    };
    let five = json!({"to": "a", "usd": 5});
    assert_eq!(
        words("calls", "20", 20, five.clone()),
        "hourly-lights: the 21st call within 1 h, asked above 20"
    );
    assert_eq!(
        words("calls", "11", 11, five.clone()),
        "hourly-lights: the 12th call within 1 h, asked above 11"
    );
    assert_eq!(words("cost", "7.5", 1, five), "hourly-lights: cost 10 within 1 h, asked above 7.5");
    let unknown = "hourly-lights: how much it adds cannot be read within 1 h, asked above 7";
    assert_eq!(words("cost", "7", 0, json!({"to": "a"})), unknown);
}

#[test]
fn seconds_count_from_the_first_call_of_the_window() {
    let limit = Limit { window: Window::Day, ..limit("l", "seconds", "", "60") };
    let (policy, call, book) = (policy(Action::Allow, vec![limit]), pay(json!({"to": "a"})), Book::default());
    let at = |seconds: u64| {
        let now = NOW.plus(Duration::from_secs(seconds));
        let verdict = policy.judge(&call, &Facts { now, counters: &book, ..Facts::unchanged(&call) });
        if verdict.decision == Action::Allow {
            book.charge(&verdict.charges, now);
        }
        verdict.decision
    };
    let decisions = [0, 30, 60, 61, 3600].map(at);
    assert_eq!(decisions, [Action::Allow, Action::Allow, Action::Allow, Action::Deny, Action::Deny]);
    assert_eq!(at(24 * 3600), Action::Allow, "another day");
}
