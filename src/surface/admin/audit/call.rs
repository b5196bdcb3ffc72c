//! `/audit/call/ID`: everything known of one call, from its request to its end.

use maud::{Markup, html};
use serde_json::Value;

use super::query::Query;
use super::text::{cut, duration, member, moment, responder, short, short_name, tag};
use crate::approval::text::typed;
use crate::base::clock::Timestamp;
use crate::base::safe_text::{visible, visible_lines};
use crate::model::granted_in_words;
use crate::model::report::reported_in_words;
use crate::model::verdict::reasons_in_words;
use crate::surface::admin::assets;

/// Characters of a value, unless all of it is asked for.
const VALUE: usize = 2000;
const HEADING: usize = 200;

/// The page of a call, from what `audit show --json` prints.
pub(super) fn page(whole: &Value, query: &Query) -> Markup {
    let signature = member(whole, "signature");
    let call = if signature.is_empty() { member(whole, "tool_name") } else { signature };
    let (heading, is_cut) = cut(&call, HEADING);
    let most = if query.is_set("whole") { usize::MAX } else { VALUE };
    let shown = CallPage { whole, query, most, link: query.to(&link(whole)) };
    html! {
        link rel="stylesheet" href=(query.to(assets::url("audit.css")));
        p.back { a href=(query.to("/audit/")) { "← Record" } }
        h1.mono.call-name { (heading) @if is_cut.is_some() { "…" } }
        p.tags { (tag(&member(whole, "outcome"))) " " span.soft { (took(whole)) } }
        dl.facts.card {
            (shown.fact("Came", Some(shown.time(whole, "timestamp"))))
            (shown.fact("Agent", shown.text("agent_id")))
            (shown.fact("Session", shown.text("session_id")))
            (shown.fact("Tool", shown.text("tool_name")))
            (shown.fact("Reason given", shown.text("reason")))
            (shown.fact("Decision", shown.decision()))
            (shown.fact("Because", shown.reasons()))
            (shown.fact("Grant", whole.get("grant").map(|grant| html! { span.mono { (visible(&member(grant, "grant_id"))) } })))
            (shown.fact("Said yes before", shown.said_yes()))
            (shown.fact("Answer", shown.answer()))
            (shown.fact("Note", shown.text("note")))
            (shown.fact("Note by", by(whole, "note_by")))
            (shown.fact("Outcome", shown.outcome()))
            (shown.fact("The agent says", reported_in_words(whole).map(|text| html! { (visible(&text)) })))
            (shown.fact("Message", shown.text("message")))
            (shown.fact("Result", shown.text("execution_result")))
            (shown.fact("SHA-256 of the result", shown.text("result_digest")))
            (shown.fact("Request id", shown.text("request_id")))
        }
        h2 { "Arguments" }
        (shown.arguments(whole.get("args")))
        (shown.edited())
        h2 { "What happened" }
        (shown.events())
        p { a href=(query.to(&format!("/audit/api/call/{}", member(whole, "request_id")))) { "All of it as JSON" } }
    }
}

fn link(whole: &Value) -> String {
    format!("/audit/call/{}?whole", member(whole, "request_id"))
}

fn at(value: &Value, name: &str) -> Option<Timestamp> {
    value.get(name).and_then(Value::as_str).and_then(Timestamp::parse)
}

fn took(whole: &Value) -> String {
    whole
        .get("duration_ms")
        .and_then(Value::as_i64)
        .map(|ms| format!("after {}", duration(ms)))
        .unwrap_or_default()
}

fn by(whole: &Value, name: &str) -> Option<Markup> {
    whole.get(name).and_then(Value::as_str).map(responder)
}

/// A call and how much of it is shown.
struct CallPage<'a> {
    whole: &'a Value,
    query: &'a Query,
    most: usize,
    link: String,
}

impl CallPage<'_> {
    fn fact(&self, name: &str, value: Option<Markup>) -> Markup {
        html! { @if let Some(value) = value { dt { (name) } dd { (value) } } }
    }

    fn time(&self, whole: &Value, name: &str) -> Markup {
        html! { @if let Some(at) = at(whole, name) { (moment(at, self.query.zone())) } }
    }

    fn text(&self, name: &str) -> Option<Markup> {
        let text = member(self.whole, name);
        (!text.is_empty()).then(|| self.lines(&text))
    }

    /// Text with its lines kept; what is longer than shown is cut visibly.
    fn lines(&self, text: &str) -> Markup {
        if text.chars().nth(self.most).is_some() {
            return short(text, self.most, &self.link);
        }
        html! { @for (n, line) in visible_lines(text).iter().enumerate() { @if n > 0 { br; } (line) } }
    }

    fn decision(&self) -> Option<Markup> {
        let decision = member(self.whole, "decision");
        let rule = self.whole.get("rule").filter(|rule| rule.is_object());
        let described = rule.map(|rule| member(rule, "description")).filter(|text| !text.is_empty());
        (!decision.is_empty()).then(|| {
            html! {
                (tag(&decision))
                @if let Some(rule) = rule {
                    " by " span.mono { (visible(&member(rule, "list"))) "[" (visible(&member(rule, "index"))) "] " (visible(&member(rule, "pattern"))) }
                    " " span.soft { "in " (visible(&member(rule, "file"))) }
                    @if let Some(said) = described { br; (visible(&said)) }
                } @else { " " span.soft { "because no rule fits" } }
            }
        })
    }

    fn reasons(&self) -> Option<Markup> {
        let words = reasons_in_words(self.whole.get("reasons")?);
        (!words.is_empty()).then(|| self.lines(&words.join("\n")))
    }

    fn said_yes(&self) -> Option<Markup> {
        let by = self.whole.get("counted_by")?.as_array()?;
        let names = by.iter().filter_map(Value::as_str);
        Some(html! { @for (n, by) in names.enumerate() { @if n > 0 { br; } (responder(by)) } })
    }

    fn answer(&self) -> Option<Markup> {
        let resolution = member(self.whole, "resolution");
        let (came, answered) = (at(self.whole, "timestamp"), at(self.whole, "resolved_at"));
        let after = came.zip(answered).map(|(came, answered)| duration(answered.0.saturating_sub(came.0)));
        (!resolution.is_empty()).then(|| {
            html! {
                (tag(&resolution))
                @if let Some(by) = by(self.whole, "resolved_by") { " by " (by) }
                @if let Some(after) = after { ", after " (after) }
            }
        })
    }

    fn outcome(&self) -> Option<Markup> {
        let (outcome, reason) = (member(self.whole, "outcome"), member(self.whole, "outcome_reason"));
        let status = member(self.whole, "status");
        let (lost, note) = (member(self.whole, "data_lost"), member(self.whole, "data_note"));
        Some(html! {
            (tag(&outcome))
            @if !reason.is_empty() { " " (visible(&reason.replace('_', " "))) }
            @if !status.is_empty() { ", HTTP status " (visible(&status)) }
            @if !lost.is_empty() { ", but the answer was lost: " (visible(&lost.replace('_', " "))) }
            @if !note.is_empty() { br; (visible(&note)) }
        })
    }

    /// The whole call as a person changed it, below what the agent asked for.
    fn edited(&self) -> Markup {
        let Some(edit) = self.whole.get("edited") else { return html! {} };
        let names = edit.get("names").and_then(Value::as_array).into_iter().flatten();
        let names: Vec<_> = names.filter_map(Value::as_str).map(visible).collect();
        html! {
            h2 { "Arguments as changed" }
            p {
                span.mono { (names.join(", ")) } " by " (by(edit, "by").unwrap_or_default())
                @let signature = member(edit, "signature");
                @if !signature.is_empty() { ": " span.mono { (self.lines(&signature)) } }
            }
            (self.arguments(edit.get("args")))
        }
    }

    fn arguments(&self, args: Option<&Value>) -> Markup {
        let args = args.and_then(Value::as_object).filter(|args| !args.is_empty());
        html! {
            @match args {
                None => p.soft { "None are recorded." },
                Some(args) => dl.facts.card.mono {
                    @for (name, value) in args { dt { (short_name(name, self.most.min(200), &self.link)) } dd { (self.lines(&typed(value))) } }
                },
            }
        }
    }

    fn events(&self) -> Markup {
        let events =
            self.whole.get("events").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let first = events.first().and_then(|event| at(event, "at"));
        html! {
            div.scroll { table.events {
                thead { tr { th scope="col" { "Event" } th scope="col" { "Time" } th.n scope="col" { "After" } th scope="col" { "What" } th scope="col" { "Hash" } } }
                tbody { @for event in events { (self.event(event, first)) } }
            } }
        }
    }

    fn event(&self, event: &Value, first: Option<Timestamp>) -> Markup {
        let after = at(event, "at").zip(first).map(|(at, first)| duration(at.0.saturating_sub(first.0)));
        let body = event.get("body").cloned().unwrap_or_default();
        let word =
            ["outcome", "resolution", "decision"].into_iter().find_map(|name| body.get(name)?.as_str());
        let hash = member(event, "hash");
        html! {
            tr {
                td.n { (member(event, "seq")) }
                td { (self.time(event, "at")) }
                td.n { (after.unwrap_or_default()) }
                td { strong { (visible(&member(event, "kind"))) } @if let Some(word) = word { ": " (visible(&word.replace('_', " "))) }
                    @if let Some(covers) = granted_in_words(&body) { ": " (covers) }
                    @if let Some(by) = by(&body, "by") { " by " (by) }
                    @if let (Some(have), Some(need)) = (body.get("have"), body.get("need")) { ", " (have) " of " (need) } }
                td.mono.soft title=(hash) { (hash.get(..12).unwrap_or(&hash)) "…" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hostile() -> Value {
        json!({
            "request_id": "11111111-0000-4000-8000-000000000000", "timestamp": "2026-11-21T09:00:00.000Z",
            "agent_id": "pi", "tool_name": "say", "signature": "say(\u{202e}<img src=x onerror=alert(1)>)", "outcome": "executed",
            "reason": "line\n<script>alert(1)</script>\u{200b}", "decision": "ask", "rule": null, "resolution": "approved",
            "resolved_by": "telegram:7", "resolved_at": "2026-11-21T09:03:05.000Z", "duration_ms": 185_100,
            "args": {"<b>": "x".repeat(65_536), "n": {"deep": ["</td>"]}},
            "events": [{"seq": 1, "at": "2026-11-21T09:00:00.000Z", "kind": "requested", "hash": "ab".repeat(32), "body": {"decision": "ask"}},
                {"seq": 2, "at": "2026-11-21T09:03:05.000Z", "kind": "answered", "hash": "cd".repeat(32), "body": {"resolution": "approved", "by": "telegram:7"}}],
        })
    }

    fn shown(query: &str) -> Markup {
        page(&hostile(), &Query::parse(query, &[super::super::query::CALL]).unwrap())
    }

    #[test]
    fn nothing_an_agent_said_becomes_markup() {
        for all in ["", "whole"] {
            let shown = shown(all).into_string();
            for tag in ["<img", "<script", "<b>", "</td>\"", "\u{202e}", "\u{200b}"] {
                assert!(!shown.contains(tag), "{tag}");
            }
            assert!(shown.contains("⟨U+202E⟩&lt;img src=x") && shown.contains("line<br>&lt;script&gt;"));
        }
    }

    #[test]
    fn long_values_are_cut_until_all_of_them_is_asked_for() {
        let (cut, all) = (shown("").into_string(), shown("whole").into_string());
        assert!(cut.contains("cut, 65\u{202f}536 bytes in all") && !cut.contains(&"x".repeat(2001)));
        assert!(all.contains(&"x".repeat(65_536)) && !all.contains("in all"));
    }

    #[test]
    fn it_says_who_answered_where_and_after_what_time() {
        let shown = shown("").into_string();
        assert!(
            shown.contains("telegram:7")
                && shown.contains("in the Telegram chat")
                && shown.contains(", after 3 min 05 s")
        );
    }
}
