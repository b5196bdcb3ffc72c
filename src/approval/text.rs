//! A question as a person reads it: the gateway's own words first, the agent's only inside labelled lines.
//!
//! Rendered from the same [`Call`](crate::model::Call) that was judged and will run. Nothing is cut; invisible
//! characters are spelled out.

use serde_json::{Map, Value};

use crate::approval::YesTally;
use crate::base::safe_text::{visible, visible_lines, visible_name};
use crate::model::edit::Edit;
use crate::model::{AskReason, Call, Question, Tool, offered};

/// One labelled line (or several, for long texts) of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QuestionField {
    /// The gateway's word.
    pub label: String,
    /// Safe to show.
    pub lines: Vec<String>,
    /// Whether the agent chose these words; a channel sets them apart from the gateway's.
    pub(crate) by_agent: bool,
}

/// Everything that a person is shown of a question, in order, except the time left.
pub(crate) fn fields(question: &Question) -> Vec<QuestionField> {
    let call = &question.call;
    let mut fields = vec![
        field("tool", &[visible(&call.tool().name)]),
        field("does", &[visible(&call.tool().description)]),
        field("agent", &[visible(call.agent().as_str())]),
    ];
    if call.signature() != call.tool().name {
        let lines: Vec<String> = match call.parts() {
            [] => vec![visible(call.signature())],
            parts => parts.iter().map(|part| visible(part)).collect(),
        };
        fields.push(by_agent(field("signature", &lines)));
    }
    fields.extend(question.session.as_ref().map(|s| by_agent(field("session", &[visible(s)]))));
    fields.extend(call.tool().facts.risk.label().map(|risk| field("risk", &[risk])));
    let by_rule = question.reasons.is_empty() || question.reasons.iter().any(AskReason::is_by_rule);
    fields.extend(by_rule.then(|| field("rule", &[rule_text(question)])));
    let others = question.reasons.iter().filter(|reason| !reason.is_by_rule());
    fields.push(field("because", &others.map(|reason| visible(&reason.to_string())).collect::<Vec<_>>()));
    fields.extend(grant_offer(question).map(|words| field("may grant", &[words])));
    let needs = question.terms.in_words();
    fields.extend(
        (!needs.is_empty())
            .then(|| field("needs", &needs.iter().map(|line| visible(line)).collect::<Vec<_>>())),
    );
    fields.extend(question.reason.as_ref().map(|r| quoted("agent says", r)));
    fields.retain(|f| f.lines.iter().any(|l| !l.is_empty()));
    // Arguments come after that: empty ones are sent too, so they are shown.
    let changed = question.edit.as_deref();
    let names = changed.map(|edit| edit.names.as_slice()).unwrap_or_default();
    let same = call.shown_args().into_iter().filter(|(name, _)| !names.contains(name));
    fields.extend(same.map(|(name, value)| argument(call.tool(), &name, &value, "")));
    fields.extend(changed.into_iter().flat_map(|edit| changes(edit, call)));
    fields
}

/// What a yes may grant besides, in words: `every light(on, desk) of laptop, at most 20 times, for 15 min or 1 h`.
fn grant_offer(question: &Question) -> Option<String> {
    let offer = question.ask.grant.as_ref()?;
    let (call, session) = (&question.call, question.session.as_deref());
    Some(offered(offer, call, session, question.rule.as_deref()))
}

/// What a person has changed: who, and each argument as it is and as it was.
fn changes(edit: &Edit, call: &Call) -> Vec<QuestionField> {
    let (now, before) = (call.shown_args(), edit.asked.shown_args());
    let value = |args: &Map<String, Value>, name: &String, mark: &str| match args.get(name) {
        Some(value) => argument(call.tool(), name, value, mark),
        None => by_agent(field(&format!("  {}{mark}", named(name)), &[NONE.to_owned()])),
    };
    let each = edit
        .names
        .iter()
        .flat_map(|name| [value(&now, name, " ⟨changed⟩"), value(&before, name, " ⟨as asked⟩")]);
    let what = edit.names.iter().map(|name| named(name)).collect::<Vec<_>>().join(", ");
    let who = field("changed", &[format!("{what} by {}", visible(edit.by.as_str()))]);
    [who].into_iter().chain(each).collect()
}

/// Stands for an argument that is not there.
const NONE: &str = "⟨none⟩";

/// How often an agent has asked for the same call; goes below the others.
pub(crate) fn asked_times(times: u32) -> QuestionField {
    field("asked", &[format!("{times} times")])
}

/// Who has said yes so far, of several who must; goes below the others.
pub(crate) fn said_yes(tally: &YesTally) -> Option<QuestionField> {
    let names: Vec<_> = tally.yes.iter().map(|by| visible(by.as_str())).collect();
    let text = format!("{} ({} of {})", names.join(", "), tally.have, tally.need);
    (!names.is_empty()).then(|| field("said yes", &[text]))
}

/// The length of the whole text in characters, for `approvals.max_question_chars`.
pub(crate) fn length(question: &Question) -> usize {
    let chars = |text: &String| text.chars().count() + 1;
    fields(question).iter().map(|f| chars(&f.label) + f.lines.iter().map(chars).sum::<usize>()).sum()
}

fn rule_text(question: &Question) -> String {
    match &question.rule {
        None => "no rule matched, so you are asked".into(),
        Some(rule) => match &rule.description {
            Some(text) => visible(text),
            // The fallback rule. `explain` and JSON tell its place.
            None if rule.pattern == "*" => "no rule allows it, so you are asked".into(),
            None => format!("you are asked about {}", visible(&rule.pattern)),
        },
    }
}

fn field(label: &str, lines: &[String]) -> QuestionField {
    QuestionField { label: label.to_owned(), lines: lines.to_vec(), by_agent: false }
}

fn by_agent(field: QuestionField) -> QuestionField {
    QuestionField { by_agent: true, lines: without_padding(field.lines), ..field }
}

/// More spaces or blank lines in a row than this are counted instead of shown, so that nothing is moved out of sight.
const MOST_SPACES: usize = 16;
const MOST_EMPTY: usize = 2;

fn without_padding(lines: Vec<String>) -> Vec<String> {
    let mut shown = Vec::with_capacity(lines.len());
    for run in lines.chunk_by(|a, b| is_blank(a) && is_blank(b)) {
        match run {
            [first, ..] if is_blank(first) && run.len() > MOST_EMPTY => {
                let kind = if run.iter().all(String::is_empty) { "empty" } else { "blank" };
                shown.push(format!("⟨{} {kind} lines⟩", run.len()));
            }
            run => shown.extend(run.iter().map(|line| without_gaps(line))),
        }
    }
    shown
}

fn is_blank(line: &str) -> bool {
    line.bytes().all(|byte| byte == b' ')
}

fn without_gaps(line: &str) -> String {
    // Spaces alone cannot be seen, however few.
    let most = if is_blank(line) { 0 } else { MOST_SPACES };
    let mut shown = String::with_capacity(line.len());
    for run in line.as_bytes().chunk_by(|a, b| (*a == b' ') == (*b == b' ')) {
        match run {
            [b' '] if most == 0 => shown.push_str("⟨1 space⟩"),
            [b' ', ..] if run.len() > most => shown.push_str(&format!("⟨{} spaces⟩", run.len())),
            // A space is never part of another character, so a run without spaces is whole.
            run => shown.push_str(&String::from_utf8_lossy(run)),
        }
    }
    shown
}

fn quoted(label: &str, text: &str) -> QuestionField {
    by_agent(field(label, &visible_lines(text)))
}

/// What stands for an empty text. An agent's own `⟨` is spelled out, so that no text can look like it.
const EMPTY: &str = "⟨empty⟩";

/// Marks an argument that the tool takes without declaring it.
const UNDECLARED: &str = " ⟨not declared⟩";

fn argument(tool: &Tool, name: &str, value: &Value, changed: &str) -> QuestionField {
    let text = typed(value);
    let mark = if tool.args.contains_key(name) { "" } else { UNDECLARED };
    let label = format!("  {}{mark}{changed}", named(name));
    if text.is_empty() { by_agent(field(&label, &[EMPTY.to_owned()])) } else { quoted(&label, &text) }
}

/// Where a tool takes any argument, the agent chooses names. What could pass for a name and a value, or for padding,
/// is quoted.
fn named(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    match name {
        "" => EMPTY.to_owned(),
        name if name.chars().all(is_plain) => visible_name(name),
        name => without_gaps(&visible_name(&Value::from(name).to_string())),
    }
}

/// A value as people read it: a text as it is, anything else as JSON. A text that could be taken for something else
/// (`false`, `1`, `["a"]`, `"a"`), or whose end cannot be seen, is quoted.
pub(crate) fn typed(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        other => other.to_string(),
    }
}

fn is_plain(text: &str) -> bool {
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let is_number = || text.trim().parse::<f64>().is_ok();
    let is_word = || ["true", "false", "null"].iter().any(|word| text.trim().eq_ignore_ascii_case(word));
    // Spaces alone are counted, and the next line shows where one ends.
    let is_padded =
        || !text.contains('\n') && !is_blank(text) && (text.starts_with(' ') || text.ends_with(' '));
    !is_json && !is_number() && !is_word() && !is_padded()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use crate::base::clock::Timestamp;
    use crate::base::digest::Digest;
    use crate::base::ids::RequestId;
    use crate::base::template::Template;
    use crate::model::{AgentId, ArgSpec, Call, Method, RequestSpec, Terms, Tool};
    use serde_json::json;

    /// A question about a tool that takes `a`, `note` (free text) and `pin` (secret), open for a minute from 0.
    pub(crate) fn question(args: &str) -> Arc<Question> {
        question_about(args, false)
    }

    /// The same, about a tool that takes any argument where `extra_args` says so.
    pub(crate) fn question_about(args: &str, extra_args: bool) -> Arc<Question> {
        let spec = |free_text, secret| ArgSpec { free_text, secret, ..ArgSpec::default() };
        let tool = Tool {
            description: "Deletes".into(),
            args: BTreeMap::from([
                ("a".into(), spec(false, false)),
                ("note".into(), spec(true, false)),
                ("pin".into(), spec(false, true)),
            ]),
            extra_args,
            digest: Digest::sha256(b"t"),
            ..Tool::new("t_delete", RequestSpec::new(Method::Post, Template::parse("/").unwrap()))
        };
        let args = serde_json::from_str(args).unwrap();
        let call = Call::new(AgentId::configured("default"), Arc::new(tool), args).unwrap();
        Arc::new(Question {
            id: RequestId::random(),
            call: Arc::new(call),
            edit: None,
            session: None,
            reason: Some("because\ntool: harmless".into()),
            rule: None,
            reasons: Vec::new(),
            ask: Arc::default(),
            terms: Terms::default(),
            created: Timestamp(0),
            expires: Timestamp(60_000),
        })
    }

    fn text_of(args: &str) -> String {
        let fields = fields(&question(args));
        fields.iter().map(|f| format!("{}: {}\n", f.label, f.lines.join("\n    "))).collect()
    }

    #[test]
    fn shows_every_argument_and_no_secret() {
        let text = text_of(r#"{"a":"x","pin":"1234","note":"line one\nline two"}"#);
        for part in ["t_delete", "Deletes", "default", "  a: x", "•••", "line one\n    line two"] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(!text.contains("1234"));
    }

    #[test]
    fn the_agents_words_cannot_pose_as_the_gateways() {
        let text = text_of("{}");
        assert!(text.contains("agent says: because\n    tool: harmless"), "{text}");
        let hidden = text_of("{\"a\":\"x\u{202e}y\u{200b}\"}");
        assert!(hidden.contains("⟨U+202E⟩") && hidden.contains("⟨U+200B⟩"), "{hidden}");
    }

    #[test]
    fn an_argument_without_a_text_is_shown_too() {
        for (args, line) in [(r#"{"a":""}"#, "  a: ⟨empty⟩"), (r#"{"a":"⟨empty⟩"}"#, "  a: ⟨U+27E8⟩empty")]
        {
            let text = text_of(args);
            assert!(text.contains(line), "{text}");
        }
        assert!(text_of(r#"{"note":"\n"}"#).contains("  note: "));
    }

    #[test]
    fn a_text_is_not_taken_for_another_type() {
        let values = [
            (json!(false), "false"),
            (json!("false"), "\"false\""),
            (json!("False"), "\"False\""),
            (json!(1), "1"),
            (json!("1"), "\"1\""),
            (json!("1\n"), r#""1\n""#),
            (json!(" 1"), "\" 1\""),
            (json!("01"), "\"01\""),
            (json!("1e5"), "\"1e5\""),
            (json!(null), "null"),
            (json!("null"), "\"null\""),
            (json!([1]), "[1]"),
            (json!("[1]"), "\"[1]\""),
            (json!("{ }"), "\"{ }\""),
            (json!("\"false\""), r##""\"false\"""##),
            (json!("say \"hi\""), "say \"hi\""),
            (json!("\"hi\" there"), "\"hi\" there"),
            (json!(["1", 1]), r#"["1",1]"#),
            (json!(" x"), "\" x\""),
            (json!("x "), "\"x \""),
            (json!("turn_on"), "turn_on"),
            (json!("12 lamps"), "12 lamps"),
            (json!("two\nlines"), "two\nlines"),
            (json!("   "), "   "),
            (json!(""), ""),
        ];
        for (value, shown) in &values {
            assert_eq!(typed(value), *shown, "{value}");
        }
        let shown: std::collections::BTreeSet<_> = values.iter().map(|(value, _)| typed(value)).collect();
        assert_eq!(shown.len(), values.len());
    }

    #[test]
    fn what_is_not_declared_is_marked() {
        let fields = fields(&question_about("{\"a\":1,\"\u{430}\":1,\"⟨not declared⟩\":1}", true));
        let labels: Vec<_> = fields.iter().rev().take(3).map(|f| f.label.as_str()).collect();
        let forged = "  \"⟨U+27E8⟩not declared⟨U+27E9⟩\" ⟨not declared⟩";
        assert_eq!(labels, [forged, "  ⟨U+0430⟩ ⟨not declared⟩", "  a"]);
    }

    #[test]
    fn padding_moves_nothing_out_of_sight() {
        let padded = format!("a{}é\n{}b\n\n\nc    d", " ".repeat(300), "\n".repeat(40));
        let lines = without_padding(visible_lines(&padded));
        assert_eq!(lines, ["a⟨300 spaces⟩é", "⟨40 empty lines⟩", "b", "", "", "c    d"]);
        assert_eq!(without_padding(visible_lines("⟨3 spaces⟩")), ["⟨U+27E8⟩3 spaces⟩"]);
        let spaced = without_padding(visible_lines("a\n \n  \n\nb\n \n   "));
        assert_eq!(spaced, ["a", "⟨3 blank lines⟩", "b", "⟨1 space⟩", "⟨3 spaces⟩"]);
    }

    #[test]
    fn a_name_cannot_pose_as_a_value() {
        let names = ["to", "x-y.é_2", "", "to: bob, x", " ", "a\n\"b", &" ".repeat(20)];
        let shown =
            ["to", "x-y.⟨U+00E9⟩_2", "⟨empty⟩", "\"to: bob, x\"", "\" \"", r#""a\n\"b""#, "\"⟨20 spaces⟩\""];
        assert_eq!(names.map(named), shown);
    }
}
