//! `audit show` and `audit stats` for people: one call from its request to its end, and the numbers.

use serde_json::Value;

use crate::approval::text::typed;
use crate::base::clock::Timestamp;
use crate::base::safe_text::{visible, visible_lines, visible_name};
use crate::base::zone::Zone;
use crate::cli::layout;
use crate::model::granted_in_words;
use crate::model::report::reported_in_words;
use crate::model::verdict::reasons_in_words;

const LABEL: usize = 11;

/// One request with its events, from what `audit show --json` prints.
pub(crate) fn story(whole: &Value, width: Option<usize>) -> String {
    let text = |name: &str| whole.get(name).and_then(Value::as_str).unwrap_or_default();
    let call = if text("signature").is_empty() { text("tool_name") } else { text("signature") };
    let mut page = CallText { width, lines: vec![layout::hanging("", &visible(call), width), String::new()] };
    page.add("request", text("request_id"));
    page.add("came", &format!("{}, from {}{}", moment(text("timestamp")), text("agent_id"), session(whole)));
    page.add("reason", text("reason"));
    page.arguments("arguments", whole.get("args"));
    page.changed(whole);
    page.add("decision", &decision(whole));
    page.add("because", &reasons_in_words(&whole["reasons"]).join("\n"));
    let grant = whole.get("grant").and_then(|grant| grant.get("grant_id")?.as_str());
    page.add("grant", grant.unwrap_or_default());
    page.add("yes before", &said_yes(whole));
    page.add("answer", &answer(whole));
    page.add("note", text("note"));
    page.add("note by", text("note_by"));
    page.add("outcome", &outcome(whole));
    page.add("message", text("message"));
    page.add("agent says", &reported_in_words(whole).unwrap_or_default());
    page.add("data lost", &text("data_lost").replace('_', " "));
    page.add("data note", text("data_note"));
    page.add("result", text("execution_result"));
    page.lines.push(String::new());
    page.lines.push(events(whole, width));
    page.lines.join("\n")
}

struct CallText {
    width: Option<usize>,
    lines: Vec<String>,
}

impl CallText {
    /// A labelled line, or several; nothing when there is no text.
    fn add(&mut self, label: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        for (number, line) in visible_lines(text).iter().enumerate() {
            let label = if number == 0 { label } else { "" };
            let head = format!("  {}", layout::padded(label, LABEL));
            self.lines.push(layout::hanging(&head, line, self.width));
        }
    }

    /// The arguments that a person has changed, as they were sent.
    fn changed(&mut self, whole: &Value) {
        let Some(edit) = whole.get("edited") else { return };
        let names = edit.get("names").and_then(Value::as_array).into_iter().flatten();
        let value =
            |name: &str| edit.get("args").and_then(|args| args.get(name)).cloned().unwrap_or_default();
        let sent: Value =
            names.filter_map(Value::as_str).map(|name| (name.to_owned(), value(name))).collect();
        self.arguments("changed to", Some(&sent));
        self.add("changed by", edit.get("by").and_then(Value::as_str).unwrap_or_default());
    }

    fn arguments(&mut self, label: &str, args: Option<&Value>) {
        let args = || args.and_then(Value::as_object).into_iter().flatten();
        let name = |name: &String| visible_name(name);
        let column = args().map(|(key, _)| layout::width(&name(key))).max().unwrap_or_default();
        for (number, (key, value)) in args().enumerate() {
            let label = if number == 0 { label } else { "" };
            let head = format!("  {label:<LABEL$}{}  ", layout::padded(&name(key), column));
            self.lines.push(layout::hanging(&head, &visible(&typed(value)), self.width));
        }
    }
}

/// `2026-11-21 09:43:13 CET`, as clocks here showed it.
fn moment(text: &str) -> String {
    let zone = Zone::system();
    let shown = |at| format!("{} {}", zone.date_and_time(at), zone.name(at));
    Timestamp::parse(text).map_or_else(|| text.to_owned(), shown)
}

fn session(whole: &Value) -> String {
    let session = whole.get("session_id").and_then(Value::as_str);
    session.map(|session| format!(", session {session}")).unwrap_or_default()
}

fn decision(whole: &Value) -> String {
    let decision = whole.get("decision").and_then(Value::as_str).unwrap_or_default();
    match whole.get("rule").filter(|rule| rule.is_object()) {
        None => decision.to_owned(),
        Some(rule) => {
            let text = |name: &str| rule.get(name).map(plain).unwrap_or_default();
            let place =
                format!("{}[{}] {} in {}", text("list"), text("index"), text("pattern"), text("file"));
            let description = Some(text("description")).filter(|text| !text.is_empty());
            let description = description.map(|text| format!(", \"{text}\"")).unwrap_or_default();
            format!("{decision}, by {place}{description}")
        }
    }
}

/// Those of several people who said yes before the last one.
fn said_yes(whole: &Value) -> String {
    let by = whole.get("counted_by").and_then(Value::as_array).into_iter().flatten();
    by.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

fn answer(whole: &Value) -> String {
    let text = |name: &str| whole.get(name).and_then(Value::as_str).unwrap_or_default();
    let by =
        if text("resolved_by").is_empty() { String::new() } else { format!(" by {}", text("resolved_by")) };
    match text("resolution") {
        "" => String::new(),
        word => format!("{}{by}, {}", word.replace('_', " "), moment(text("resolved_at"))),
    }
}

fn outcome(whole: &Value) -> String {
    let text = |name: &str| whole.get(name).and_then(Value::as_str).unwrap_or_default();
    let status = whole.get("status").and_then(Value::as_u64);
    let status = status.map(|status| format!(", HTTP status {status}")).unwrap_or_default();
    let ms = whole.get("duration_ms").and_then(Value::as_u64);
    let took = ms.map(|ms| format!(", after {}.{:03} s", ms / 1000, ms % 1000)).unwrap_or_default();
    let reason = match text("outcome_reason") {
        "" => String::new(),
        // The reason may only be the longer name of the outcome.
        reason if reason.starts_with(text("outcome")) => {
            return format!("{}{took}", reason.replace('_', " "));
        }
        reason => format!(" ({})", reason.replace('_', " ")),
    };
    format!("{}{reason}{status}{took}", text("outcome").replace('_', " "))
}

fn events(whole: &Value, width: Option<usize>) -> String {
    let rows = whole.get("events").and_then(Value::as_array).into_iter().flatten().map(event);
    let head = ["EVENT", "TIME", "WHAT", ""].map(str::to_owned);
    layout::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), "  ", width)
}

/// Number, time, kind, and the word of its body that says what it was. `--json` shows whole bodies.
fn event(event: &Value) -> [String; 4] {
    let text = |name: &str| event.get(name).map(plain).unwrap_or_default();
    // To the millisecond, on the same clocks as the rest.
    let wall = Timestamp::parse(&text("at")).map(|at| Zone::system().wall(at).to_string());
    let time = wall
        .as_deref()
        .and_then(|wall| wall.split_once('T'))
        .map_or_else(|| text("at"), |(_, time)| time.replace('Z', ""));
    let body = event.get("body").cloned().unwrap_or_default();
    let word = ["outcome", "resolution", "decision"].iter().find_map(|name| body.get(*name)?.as_str());
    let other = || granted_in_words(&body).unwrap_or_else(|| edited_names(&body));
    let word = word.map_or_else(other, str::to_owned);
    let by = body.get("by").and_then(Value::as_str).map(|by| format!(" by {by}"));
    let of = body
        .get("have")
        .zip(body.get("need"))
        .map(|(have, need)| format!(", {have} of {need}"))
        .unwrap_or_default();
    let word = format!("{}{}{of}", word.replace('_', " "), by.unwrap_or_default());
    [text("seq"), time, text("kind"), visible(&word)]
}

/// The arguments that an `edited` event names.
fn edited_names(body: &Value) -> String {
    let names = body.get("edited").and_then(Value::as_array).into_iter().flatten();
    names.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

/// The numbers, from what `audit stats --json` prints.
pub(crate) fn numbers(stats: &Value) -> String {
    let number = |name: &str| stats.get(name).and_then(Value::as_u64).unwrap_or_default();
    let rate = stats.get("approval_rate").and_then(Value::as_f64);
    let rate = rate.map(|rate| format!("\nof those a human answered, {:.0} % were approved", rate * 100.0));
    let (all, recent) = (number("total_requests"), number("last_24h"));
    let sum = format!("{all} calls, {recent} of them in the last 24 hours{}", rate.unwrap_or_default());
    let mut rows = counts("decision", stats.get("decision_breakdown"));
    rows.extend(counts("outcome", stats.get("outcome_breakdown")));
    for (label, list, name) in [("agents", "top_agents", "agent_id"), ("tools", "top_tools", "tool_name")] {
        let most = stats.get(list).and_then(Value::as_array).into_iter().flatten();
        rows.extend(most.enumerate().map(|(at, one)| {
            let text = |name: &str| one.get(name).map(plain).unwrap_or_default();
            row(label, at, &text(name), &text("count"))
        }));
    }
    format!("{sum}\n\n{}", layout::table(&rows, "  ", None)).trim_end().to_owned()
}

fn counts(label: &str, breakdown: Option<&Value>) -> Vec<[String; 3]> {
    let members = breakdown.and_then(Value::as_object).into_iter().flatten().enumerate();
    members.map(|(at, (word, count))| row(label, at, word, &plain(count))).collect()
}

fn row(label: &str, at: usize, word: &str, count: &str) -> [String; 3] {
    let label = if at == 0 { label } else { "" };
    [label.to_owned(), visible(word), format!("{count:>6}")]
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => visible(text),
        other => visible(&other.to_string()),
    }
}
