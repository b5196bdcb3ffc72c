//! `/audit/`: the calls of some time, newest first, with a form to choose them and charts of them.

use std::time::Duration;

use maud::{Markup, html};
use serde_json::Value;

use super::chart;
use super::query::{DECISIONS, FOLDER, OUTCOMES, Query, RANGES, RESOLUTIONS};
use super::text::{cut, duration, grouped, member, moment, short, tag};
use crate::store::StoreError;
use crate::store::reader::{AuditRow, Charts, Filter, Reader, RowPage, WantedPage};
use crate::surface::admin::assets;

/// The range without a choice: recent enough for quick charts however long the record is.
const USUAL_RANGE: &str = "30d";
/// How long the charts may take. The page is worth having without them.
const CHART_TIME: Duration = Duration::from_secs(1);
/// Characters of a call and of its reason in the list.
const CALL: usize = 160;
const REASON: usize = 120;
/// Page numbers on either side of the current one.
const AROUND: u64 = 2;

/// A query as the form shows it: typed dates take precedence over a range, and a query without a time gets the usual
/// range.
pub(super) fn chosen(query: Query) -> Query {
    match (query.is_set("from") || query.is_set("to"), query.is_set("range")) {
        (true, _) => query.with("range", ""),
        (false, true) => query,
        (false, false) => query.with("range", USUAL_RANGE),
    }
}

/// The page that `query` asks for, which `filter` and `wanted` are read from.
pub(super) fn page(
    reader: &mut Reader,
    query: &Query,
    filter: &Filter,
    wanted: WantedPage,
) -> Result<Markup, StoreError> {
    let found = reader.page(filter, wanted)?;
    // A search has read enough, and later pages say nothing new about the whole.
    let pictured = filter.text.is_none() && wanted.page == 1;
    let charts = if pictured { Some(reader.charts_within(CHART_TIME, filter, query.zone())?) } else { None };
    Ok(whole(query, &found, wanted, charts.as_ref().map(Option::as_ref)))
}

fn whole(query: &Query, found: &RowPage, wanted: WantedPage, charts: Option<Option<&Charts>>) -> Markup {
    html! {
        link rel="stylesheet" href=(query.to(assets::url("audit.css")));
        h1 { "Record" }
        (form(query))
        @if let Some(to) = found.searched_to {
            p.notice.warn role="status" {
                "The search looked through the calls since " (moment(to, query.zone())) " and stopped there. Narrow the time range to search earlier ones."
            }
        }
        div.record {
            div.listed { (listed(query, found, wanted, charts.is_some())) }
            @match charts {
                Some(Some(charts)) => (chart::all(charts, query)),
                Some(None) => p.soft #charts { "Charts of so much would take too long. Choose a shorter time." },
                None => {},
            }
        }
    }
}

/// The calls come first: charts stand beside them where there is room, otherwise below.
fn listed(query: &Query, found: &RowPage, wanted: WantedPage, pictured: bool) -> Markup {
    let table = query.in_utc().with("page", "").with("per_page", "").link("/audit/export.csv");
    html! {
        div.heading {
            h2 #calls { (grouped(found.total)) @if found.total == 1 { " call" } @else { " calls" } }
            @if pictured { a.jump href="#charts" { "Charts" } }
            a href=(table) download { "Save as CSV" }
        }
        @if found.rows.is_empty() {
            p.soft { @if found.total == 0 { "No call fits this choice." } @else { "There are not so many pages." } }
        } @else {
            ol.calls aria-labelledby="calls" { @for row in &found.rows { (line(row, query)) } }
        }
        (pager(query, found, wanted))
    }
}

fn form(query: &Query) -> Markup {
    let own_dates = query.is_set("from") || query.is_set("to");
    let more = ["agent_id", "session_id", "decision", "resolution", "from", "to"]
        .iter()
        .any(|name| query.is_set(name));
    html! {
        details.choose.card {
            summary { span { strong { "Filter" } " " span.soft { (in_words(query)) } } }
            (fields(query, own_dates, more))
        }
    }
}

/// The choice in words, for a form that is folded.
fn in_words(query: &Query) -> String {
    let range =
        RANGES.iter().find(|(word, _, _)| query.get("range") == Some(word)).map(|(_, label, _)| *label);
    let named = [
        ("q", "with"),
        ("tool_name", "tool"),
        ("outcome", "outcome"),
        ("agent_id", "agent"),
        ("session_id", "session"),
        ("decision", "decision"),
        ("resolution", "answer"),
        ("from", "from"),
        ("to", "to"),
    ];
    let given =
        named.iter().filter_map(|(name, word)| Some(format!("{word} {}", cut(query.get(name)?, 40).0)));
    range.map(str::to_owned).into_iter().chain(given).collect::<Vec<_>>().join(", ")
}

fn fields(query: &Query, own_dates: bool, more: bool) -> Markup {
    html! {
        form method="get" action=(query.to(FOLDER)) role="search" {
            div.row {
                (field("q", "Search", "search", "tool, agent, reason, argument …", query))
                (field("tool_name", "Tool", "text", "ha_*", query))
                (select("outcome", "Outcome", OUTCOMES, query))
                div {
                    label for="range" { "Time" }
                    select #range name="range" {
                        @if own_dates { option value="" selected { "from and to" } }
                        @for (word, label, _) in RANGES {
                            option value=(word) selected[query.get("range") == Some(word)] { (label) }
                        }
                        @if !own_dates { option value="" { "from and to" } }
                    }
                }
            }
            details open[more] {
                summary { "More" }
                div.row {
                    (field("agent_id", "Agent", "text", "", query))
                    (field("session_id", "Session", "text", "", query))
                    (select("decision", "Decision", DECISIONS, query))
                    (select("resolution", "Answer", RESOLUTIONS, query))
                    (field("from", "From", "text", "2026-01-31T12:00", query))
                    (field("to", "To", "text", "2026-01-31", query))
                }
            }
            div.actions { button.primary type="submit" { "Show" } a.button.quiet href=(query.to(FOLDER)) { "Reset" } }
        }
    }
}

fn field(name: &str, label: &str, kind: &str, example: &str, query: &Query) -> Markup {
    html! {
        div {
            label for=(name) { (label) }
            input id=(name) name=(name) type=(kind) maxlength="200" placeholder=(example) autocomplete="off"
                spellcheck="false" value=(query.get(name).unwrap_or_default());
        }
    }
}

fn select(name: &str, label: &str, words: &[&str], query: &Query) -> Markup {
    html! {
        div {
            label for=(name) { (label) }
            select id=(name) name=(name) {
                option value="" { "any" }
                @for word in words {
                    option value=(word) selected[query.get(name) == Some(word)] { (word.replace('_', " ")) }
                }
            }
        }
    }
}

fn line(row: &AuditRow, query: &Query) -> Markup {
    let link = query.to(&format!("/audit/call/{}", row.request_id));
    let signature = row.request.get("signature").and_then(Value::as_str).unwrap_or(&row.tool);
    let reason =
        if row.request.get("outcome").is_some() { String::new() } else { member(&row.request, "reason") };
    html! {
        li.call {
            span.when { (moment(row.at, query.zone())) }
            span.what {
                a.mono href=(link) { (cut(signature, CALL).0) @if cut(signature, CALL).1.is_some() { "…" } }
                @if !reason.is_empty() { span.reason.soft { (short(&reason, REASON, &link)) } }
            }
            span.who { (cut(&row.agent, 40).0) }
            span.how {
                (tag(&row.outcome))
                @if let Some(answer) = answer(row) { (answer) }
                @if let Some(why) = row.why_not() { span.answer.soft { (short(&why, REASON, &link)) } }
            }
        }
    }
}

fn answer(row: &AuditRow) -> Option<Markup> {
    let resolution = row.resolution.as_deref()?;
    let by = row.resolved_by.as_deref();
    let after = row.resolved_at.map(|at| duration(at.0.saturating_sub(row.at.0)));
    Some(html! {
        span.answer.soft {
            (resolution.replace('_', " "))
            @if let Some(by) = by { " by " (cut(by, 40).0) }
            @if let Some(after) = after { ", " (after) }
        }
    })
}

fn pager(query: &Query, found: &RowPage, wanted: WantedPage) -> Markup {
    // Later pages show the moment of the first one: nothing moves while somebody reads on.
    let moment = query.get("as_of").map_or_else(|| found.newest.saturating_add(1).to_string(), str::to_owned);
    let to = |page: u64| {
        let there = if page == 1 { query.clone() } else { query.with("as_of", &moment) };
        there.with("page", &if page == 1 { String::new() } else { page.to_string() }).link(FOLDER)
    };
    let (page, pages) = (wanted.page, found.pages);
    let near = page.saturating_sub(AROUND).max(1)..=page.saturating_add(AROUND).min(pages);
    html! {
        @if pages > 1 {
            nav.pager aria-label="Pages of the record" {
                @if page > 1 { a.button href=(to((page - 1).min(pages))) rel="prev" { "Newer" } }
                @if page > AROUND + 1 { a href=(to(1)) { "1" } span.soft { "…" } }
                @for n in near { a href=(to(n)) aria-current=[(n == page).then_some("page")] { (grouped(n)) } }
                @if page.saturating_add(AROUND) < pages { span.soft { "…" } a href=(to(pages)) { (grouped(pages)) } }
                @if page < pages { a.button href=(to(page + 1)) rel="next" { "Older" } }
            }
        }
        @if query.is_set("as_of") {
            p.soft { "As it was when you began to read. " a href=(query.with("as_of", "").with("page", "").link(FOLDER)) { "Show the newest" } }
        }
    }
}
