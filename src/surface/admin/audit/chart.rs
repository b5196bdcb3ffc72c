//! Counts as pictures: SVG of plain shapes, coloured by the style sheet alone, and the same numbers as tables.

use maud::{Markup, html};

use super::query::Query;
use super::text::{cut, grouped};
use crate::base::clock::Timestamp;
use crate::base::zone::Zone;
use crate::store::reader::{Bar, ChartStep, Charts, WAITS};

/// Units of the picture, which is stretched to its place on the page.
const HEIGHT: u64 = 100;
const BAR: usize = 10;
const BODY: usize = 8;
/// Names longer than this are cut.
const NAME: usize = 60;

pub(super) fn all(charts: &Charts, query: &Query) -> Markup {
    html! {
        div.charts #charts {
            (over_time(charts, query.zone()))
            (names("Tools most in use", "tool_name", &charts.tools, query))
            (waiting(charts))
            (names("Agents", "agent_id", &charts.agents, query))
        }
    }
}

/// The parts of a bar from the bottom up: class, words, number.
fn parts(bar: &Bar) -> [(&'static str, &'static str, u64); 4] {
    [
        ("allow", "allowed", bar.allow),
        ("ask", "asked", bar.ask),
        ("deny", "denied", bar.deny),
        ("refused", "refused", bar.refused),
    ]
}

fn sum(bar: &Bar) -> u64 {
    parts(bar).iter().map(|(_, _, n)| n).sum()
}

fn over_time(charts: &Charts, zone: &Zone) -> Markup {
    let bars = &charts.bars;
    let most = bars.iter().map(sum).max().unwrap_or(0).max(1);
    let (step, each) = match charts.step {
        ChartStep::Hour => ("Calls per hour".to_owned(), "an hour"),
        ChartStep::Days(1) => ("Calls per day".to_owned(), "a day"),
        ChartStep::Days(days) => (format!("Calls per {days} days"), "a bar"),
    };
    let utc = Zone::default();
    let (zone, step) = match charts.in_utc {
        true => (&utc, format!("{step}, from midnight to midnight UTC")),
        false => (zone, step),
    };
    let all: u64 = bars.iter().map(sum).sum();
    let summary = format!("{} calls by decision; at most {} {each}.", grouped(all), grouped(most));
    let label = |from| label(from, charts.step, zone);
    html! {
        figure.card.wide {
            figcaption { h2 #over-time { (step) } (legend()) }
            @if bars.is_empty() {
                p.soft { "No calls in this time." }
            } @else {
                p.axis.soft { span { (grouped(most)) } }
                (stack(bars, most, &label, &summary))
                p.axis.soft {
                    @for bar in bars.first().into_iter().chain(bars.get(1..).and_then(<[_]>::last)) { span { (label(bar.from)) } }
                }
                details { summary { "The numbers as a table" } (table(bars, &label)) }
            }
        }
    }
}

/// Bars are as wide as if there were at least so many.
const FEW: usize = 24;

fn stack(bars: &[Bar], most: u64, label: BarLabel<'_>, summary: &str) -> Markup {
    let slot = bars.len().max(FEW) * BAR / bars.len().max(1);
    let width = slot * bars.len();
    html! {
        svg.stack viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" role="img"
            aria-labelledby="over-time-title over-time-said" {
            title #over-time-title { "Calls over time" }
            desc #over-time-said { (summary) }
            @for (place, bar) in bars.iter().enumerate() { (column(place * slot, slot, bar, most, label)) }
        }
    }
}

/// A bar in the middle of its place, which begins at `from` and is `slot` wide.
fn column(from: usize, slot: usize, bar: &Bar, most: u64, label: BarLabel<'_>) -> Markup {
    let (mut top, x) = (HEIGHT as f64, from + slot.saturating_sub(BODY) / 2);
    html! {
        g {
            title { (label(bar.from)) ": " (spoken(bar)) }
            rect.touch x=(from) y="0" width=(slot) height=(HEIGHT) {}
            @for (class, _, n) in parts(bar) {
                @if n > 0 {
                    @let height = n as f64 * HEIGHT as f64 / most as f64;
                    rect class=(class) x=(x) y=(format!("{:.2}", { top -= height; top.max(0.0) }))
                        width=(BODY) height=(format!("{height:.2}")) {}
                }
            }
        }
    }
}

fn spoken(bar: &Bar) -> String {
    let some = parts(bar).into_iter().filter(|(_, _, n)| *n > 0);
    let words: Vec<_> = some.map(|(_, word, n)| format!("{} {word}", grouped(n))).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

/// The beginning of a bar in words.
type BarLabel<'l> = &'l dyn Fn(Timestamp) -> String;

fn label(from: Timestamp, step: ChartStep, zone: &Zone) -> String {
    let text = zone.date_and_time(from);
    let shown = match step {
        ChartStep::Hour => text.get(..16),
        ChartStep::Days(_) => text.get(..10),
    };
    shown.unwrap_or(&text).to_owned()
}

fn legend() -> Markup {
    html! {
        p.legend.soft aria-hidden="true" {
            @for (class, word, _) in parts(&Bar { from: Timestamp(0), allow: 0, ask: 0, deny: 0, refused: 0 }) {
                span { svg viewBox="0 0 10 10" width="10" height="10" { rect class=(class) width="10" height="10" rx="2" {} } (word) }
            }
        }
    }
}

fn table(bars: &[Bar], label: BarLabel<'_>) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th scope="col" { "From" } @for (_, word, _) in bars.first().map(parts).into_iter().flatten() { th.n scope="col" { (word) } } } }
            tbody {
                @for bar in bars.iter().filter(|bar| sum(bar) > 0) {
                    tr { th scope="row" { (label(bar.from)) } @for (_, _, n) in parts(bar) { td.n { (grouped(n)) } } }
                }
            }
        } }
    }
}

fn names(title: &str, parameter: &str, named: &[(String, u64)], query: &Query) -> Markup {
    let most = named.iter().map(|(_, n)| *n).max().unwrap_or(0);
    html! {
        figure.card {
            figcaption { h2 { (title) } }
            @if named.is_empty() { p.soft { "None in this time." } }
            (levels(named.iter().map(|(name, n)| (link(name, parameter, query), *n)), most, "tool"))
        }
    }
}

/// A name that leads to its calls; one too long for a query does not.
fn link(name: &str, parameter: &str, query: &Query) -> Markup {
    let (shown, bytes) = cut(name, NAME);
    let only = query.with(parameter, name).with("page", "").with("as_of", "");
    html! { @if bytes.is_some() { (shown) "…" } @else { a href=(only.link("/audit/")) { (in_words(&shown)) } } }
}

/// A name that may go on in another line after each of its words.
fn in_words(name: &str) -> Markup {
    html! { @for (n, word) in name.split_inclusive('_').enumerate() { @if n > 0 { wbr; } (word) } }
}

fn waiting(charts: &Charts) -> Markup {
    let most = charts.waits.iter().copied().max().unwrap_or(0);
    html! {
        figure.card {
            figcaption { h2 { "How long questions waited" } }
            @if most == 0 {
                p.soft { "Nobody answered a question in this time." }
            } @else {
                (levels(charts.waits.iter().enumerate().map(|(class, n)| (html! { (class_name(class)) }, *n)), most, "ask"))
            }
        }
    }
}

fn class_name(class: usize) -> String {
    let words = |seconds: u32| match seconds {
        s @ ..60 => format!("{s} s"),
        s @ ..3600 => format!("{} min", s / 60),
        s => format!("{} h", s / 3600),
    };
    match WAITS.get(class) {
        Some(end) => format!("under {}", words(*end)),
        None => format!("{} or more", words(WAITS.last().copied().unwrap_or(0))),
    }
}

/// A table of names with their numbers and horizontal bars of this class, which say the same.
fn levels(rows: impl Iterator<Item = (Markup, u64)>, most: u64, class: &str) -> Markup {
    let width = |n: u64| if most == 0 { 0.0 } else { n as f64 * 100.0 / most as f64 };
    html! {
        table.bars { tbody {
            @for (name, n) in rows {
                tr {
                    th scope="row" { (name) }
                    td {
                        svg.level viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" {
                            rect.ground width="100" height="10" {}
                            rect class=(class) width=(format!("{:.1}", width(n))) height="10" {}
                        }
                    }
                    td.n { (grouped(n)) }
                }
            }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charts() -> Charts {
        let bar =
            |day: i64, allow| Bar { from: Timestamp(day * 86_400_000), allow, ask: 2, deny: 0, refused: 1 };
        Charts {
            step: ChartStep::Days(1),
            in_utc: false,
            bars: vec![bar(0, 7), bar(1, 0)],
            waits: [3, 0, 0, 0, 0, 0, 0, 1],
            tools: vec![("<script>\u{202e}&".into(), 9)],
            agents: vec![("x".repeat(65_536), 9)],
        }
    }

    #[test]
    fn names_of_tools_are_escaped_and_short() {
        let shown = all(&charts(), &Query::default()).into_string();
        assert!(shown.contains("&lt;script&gt;⟨U+202E⟩&amp;") && !shown.contains("<script"));
        assert!(
            !shown.contains("xxx".repeat(100).as_str())
                || shown.matches("x".repeat(61).as_str()).count() == 1
        );
        assert!(!shown.contains("style="), "the security policy would drop it");
    }

    #[test]
    fn bars_stand_on_each_other_and_their_sum_fills_the_height() {
        let shown = over_time(&charts(), &Zone::default()).into_string();
        assert!(
            shown.contains(r#"<rect class="allow" x="56" y="30.00" width="8" height="70.00">"#),
            "{shown}"
        );
        assert!(shown.contains(r#"<rect class="ask" x="56" y="10.00" width="8" height="20.00">"#));
        assert!(shown.contains(r#"<rect class="refused" x="56" y="0.00" width="8" height="10.00">"#));
        assert!(shown.contains("<title>1970-01-01: 7 allowed, 2 asked, 1 refused</title>"));
        assert!(shown.contains("13 calls by decision; at most 10 a day."));
    }

    #[test]
    fn nothing_is_said_in_words_too() {
        let none = Charts {
            bars: vec![],
            waits: [0; 8],
            tools: vec![],
            agents: vec![],
            step: ChartStep::Hour,
            in_utc: false,
        };
        let shown = all(&none, &Query::default()).into_string();
        assert!(shown.contains("No calls in this time.") && shown.contains("Nobody answered"));
        assert!(!shown.contains("NaN"));
    }
}
