//! Conditions that some tool can never answer: what is unknown counts in a deny, an ask and a limit, and never in an
//! allow, so that a rule speaks of more or fewer calls than its owner meant.

use serde_json::Value;

use super::at::{At, Name};
use super::reach::Reach;
use crate::model::{Action, ArgSpec, ArgType, Condition, Matcher, PathStep, Test, Tool};

/// What is unknown to a condition: how the owner hears of it.
#[derive(Clone, Copy)]
pub(crate) enum Speaker {
    Rule(Action),
    Limit,
}

/// What a condition can meet at the end of its path.
enum Shape {
    Anything,
    /// A string, a number or a boolean.
    Single,
    Of(ArgType),
}

/// Why a tool can never answer.
enum Unknown {
    NoArgument(String),
    /// The argument is this and holds nothing.
    Leaf(String, &'static str),
    /// The argument is the second, and the operator takes the third.
    Unfit(String, &'static str, &'static str),
}

/// Leaves its advice at the conditions of `matcher`, which stands at `at` and speaks of these tools.
pub(crate) fn check(at: At<'_>, matcher: &Matcher, speaker: Speaker, met: &[&Reach<'_>]) {
    let Some(when) = at.open().get("when").filter(|_| !met.is_empty()) else { return };
    let names = when.entries();
    for condition in &matcher.when {
        let place = names.iter().find(|(name, _)| name.text() == &**condition.path.text());
        if let Some((name, _)) = place {
            check_condition(*name, condition, speaker, met);
        }
    }
}

fn check_condition(name: Name<'_>, condition: &Condition, speaker: Speaker, met: &[&Reach<'_>]) {
    warn_of_prefix(name, condition, speaker);
    let tools = met.iter().map(|reach| reach.tool);
    let found: Vec<_> = tools.filter_map(|tool| Some((tool, unknown(tool, condition)?))).collect();
    // `exists` always has an answer, and an allow waits for the tools that have one.
    let waits = matches!(condition.test, Test::Exists(_)) || matches!(speaker, Speaker::Rule(Action::Allow));
    let Some((tool, why)) = found.first().filter(|_| !waits || found.len() == met.len()) else { return };
    let operator = condition.test.operator();
    let text = match why {
        Unknown::NoArgument(arg) => format!("tool {} takes no argument {arg}", tool.name),
        Unknown::Leaf(arg, kind) => {
            format!("argument {arg} of tool {} is {kind}, and nothing lies in it", tool.name)
        }
        Unknown::Unfit(arg, kind, taken) => {
            format!("argument {arg} of tool {} is {kind}, and {operator} takes {taken}", tool.name)
        }
    };
    let so = match (&condition.test, speaker) {
        (Test::Exists(_), _) => "the answer is always the same",
        (_, Speaker::Rule(Action::Allow)) => "the rule never counts for it",
        (_, Speaker::Rule(_)) => "the rule applies to every call of it",
        (_, Speaker::Limit) => "every call of it counts",
    };
    let help = "correct the path, or name in the pattern only tools that have it";
    name.warn(format!("{text}: {so}"), help);
}

/// `git status*` matches `git status; rm -rf ~` as well.
fn warn_of_prefix(name: Name<'_>, condition: &Condition, speaker: Speaker) {
    let (Speaker::Rule(Action::Allow), Test::Matches(pattern)) = (speaker, &condition.test) else { return };
    let is_command =
        matches!(condition.path.steps().last(), Some(PathStep::Member(member)) if member == "command");
    if is_command && pattern.as_str().ends_with('*') {
        let text =
            format!("{} allows every command that begins like this, whatever follows", pattern.as_str());
        name.warn(text, "use regex, which must match the whole command: {regex: \"git status|git diff\"}");
    }
}

fn unknown(tool: &Tool, condition: &Condition) -> Option<Unknown> {
    let mut steps = condition.path.steps().iter();
    let (argument, mut shape) = match steps.next() {
        None => (".".to_owned(), Shape::Of(ArgType::Object)),
        Some(PathStep::Member(name)) => match tool.args.get(name) {
            Some(spec) => (name.clone(), shape_of(spec)),
            None if tool.extra_args => return None,
            None => return Some(Unknown::NoArgument(name.clone())),
        },
        Some(PathStep::AnyMember | PathStep::Elements) => return None,
    };
    let mut items = tool.args.get(&argument).and_then(|spec| spec.items.as_ref());
    for step in steps {
        shape = match (&shape, step) {
            (Shape::Anything, _) => return None,
            (Shape::Of(ArgType::Array), PathStep::Elements) => match items.take() {
                Some(items) => items.kind.map_or(Shape::Single, Shape::Of),
                None => Shape::Anything,
            },
            (Shape::Of(ArgType::Object), PathStep::Member(_) | PathStep::AnyMember) => Shape::Anything,
            (shape, _) => return Some(Unknown::Leaf(argument, shape.name())),
        };
    }
    let (taken, fits) = operand(&condition.test, &shape);
    (!fits).then(|| Unknown::Unfit(argument, shape.name(), taken))
}

/// Whether a number can be read at the end of the path `argument`, which is one name.
pub(crate) fn can_be_number(tool: &Tool, argument: &str) -> bool {
    match tool.args.get(argument) {
        Some(spec) => is_number(&shape_of(spec)),
        None => tool.extra_args,
    }
}

fn shape_of(spec: &ArgSpec) -> Shape {
    match spec.kind {
        None => Shape::Single,
        Some(ArgType::Bytes) => Shape::Of(ArgType::String),
        Some(kind) => Shape::Of(kind),
    }
}

impl Shape {
    fn name(&self) -> &'static str {
        match self {
            Shape::Anything => "anything",
            Shape::Single => "a single value",
            Shape::Of(ArgType::String | ArgType::Bytes) => "a string",
            Shape::Of(ArgType::Integer | ArgType::Number) => "a number",
            Shape::Of(ArgType::Boolean) => "a boolean",
            Shape::Of(ArgType::Array) => "an array",
            Shape::Of(ArgType::Object) => "an object",
        }
    }

    fn is_text(&self) -> bool {
        matches!(self, Shape::Anything | Shape::Single | Shape::Of(ArgType::String | ArgType::Bytes))
    }
}

fn is_number(shape: &Shape) -> bool {
    matches!(shape, Shape::Anything | Shape::Single | Shape::Of(ArgType::Integer | ArgType::Number))
}

/// What the operator of `test` takes, in a few words, and whether a value of this shape may be that.
fn operand(test: &Test, shape: &Shape) -> (&'static str, bool) {
    let is_container = matches!(shape, Shape::Anything | Shape::Of(ArgType::Array | ArgType::Object));
    let same = "a value of the same type only";
    match test {
        Test::Eq(value) | Test::Ne(value) => (same, may_be(shape, value)),
        Test::In(values) | Test::NotIn(values) => (same, values.iter().any(|value| may_be(shape, value))),
        Test::Gt(_) | Test::Ge(_) | Test::Lt(_) | Test::Le(_) => ("numbers", is_number(shape)),
        Test::Matches(_) | Test::NotMatches(_) | Test::Regex(_) => {
            ("single values", !matches!(shape, Shape::Of(ArgType::Array | ArgType::Object)))
        }
        Test::DomainIn(_) | Test::DomainNotIn(_) | Test::LengthGt(_) | Test::LengthLe(_) => {
            ("texts", shape.is_text())
        }
        Test::CountGt(_) | Test::CountLe(_) | Test::KeysIn(_) | Test::KeysNotIn(_) => {
            ("arrays and objects", is_container)
        }
        Test::Exists(_) => ("anything", true),
    }
}

fn may_be(shape: &Shape, value: &Value) -> bool {
    match (shape, value) {
        (Shape::Anything, _) => true,
        (_, Value::Null) => false,
        (Shape::Single, _) => !value.is_array() && !value.is_object(),
        (Shape::Of(ArgType::String | ArgType::Bytes), _) => value.is_string(),
        (Shape::Of(ArgType::Integer | ArgType::Number), _) => value.is_number(),
        (Shape::Of(ArgType::Boolean), _) => value.is_boolean(),
        (Shape::Of(ArgType::Array), _) => value.is_array(),
        (Shape::Of(ArgType::Object), _) => value.is_object(),
    }
}
