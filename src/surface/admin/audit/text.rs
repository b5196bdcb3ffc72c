//! Text of the record for pages: hostile text made visible, long text cut, times, durations, tags.

use maud::{Markup, html};
use serde_json::Value;

use crate::base::clock::Timestamp;
use crate::base::safe_text::{visible, visible_name};
use crate::base::zone::Zone;

/// The first `most` characters of hostile text on one line, and the length of all of it in bytes if it was cut.
pub(super) fn cut(text: &str, most: usize) -> (String, Option<usize>) {
    let (kept, bytes) = beginning(text, most);
    (visible(&kept), bytes)
}

fn beginning(text: &str, most: usize) -> (String, Option<usize>) {
    let kept: String = text.chars().take(most).collect();
    let is_cut = kept.len() < text.len();
    (kept, is_cut.then_some(text.len()))
}

/// [`cut`] as markup, with a link to the whole text if it was cut.
pub(super) fn short(text: &str, most: usize, all: &str) -> Markup {
    let (kept, bytes) = cut(text, most);
    linked(&kept, bytes, all)
}

/// [`short`] for the name of an argument.
pub(super) fn short_name(name: &str, most: usize, all: &str) -> Markup {
    let (kept, bytes) = beginning(name, most);
    linked(&visible_name(&kept), bytes, all)
}

fn linked(kept: &str, bytes: Option<usize>, all: &str) -> Markup {
    html! {
        (kept)
        @if let Some(bytes) = bytes { "… " a.more href=(all) { "cut, " (grouped(bytes as u64)) " bytes in all" } }
    }
}

/// A JSON value as people read it: text without quotes.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A member of an object as [`plain`] text.
pub(super) fn member(whole: &Value, name: &str) -> String {
    whole.get(name).map(plain).unwrap_or_default()
}

/// `2026-11-21 09:43:13`
pub(super) fn moment(at: Timestamp, zone: &Zone) -> Markup {
    html! { time datetime=(at) { (zone.date_and_time(at)) } }
}

/// `0.123 s`, `12.3 s`, `3 min 05 s`, `2 h 03 min`.
pub(super) fn duration(ms: i64) -> String {
    let ms = ms.max(0);
    match ms / 1000 {
        0 => format!("0.{ms:03} s"),
        s @ ..60 => format!("{s}.{} s", ms % 1000 / 100),
        s @ ..3600 => format!("{} min {:02} s", s / 60, s % 60),
        s => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
    }
}

/// `1 234 567`, with narrow spaces that do not break.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A word of the record in a colour that says whether it went well.
pub(super) fn tag(word: &str) -> Markup {
    let class = match word {
        "executed" | "permitted" | "approved" | "allow" => "tag good",
        "denied" | "failed" | "deny" | "refused" => "tag bad",
        "unknown" | "timed_out" | "pending" | "ask" | "void" => "tag warn",
        _other => "tag",
    };
    html! { span class=(class) { (visible(&word.replace('_', " "))) } }
}

/// Who answered, and on which channel.
pub(super) fn responder(by: &str) -> Markup {
    let channel = match by.split_once(':').map_or(by, |(name, _)| name) {
        "telegram" => "in the Telegram chat",
        "local" => "on the gateway's command line",
        "web" => "on the web page",
        "cool_down" => "by itself, because the same was denied just before",
        _other => "",
    };
    html! { span.mono { (visible(by)) } @if !channel.is_empty() { " " span.soft { (channel) } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_shown_and_cut_where_people_see_it() {
        let long = short(&format!("<b>\u{202e}{}", "x".repeat(65_536)), 5, "/all").into_string();
        assert_eq!(
            long,
            "&lt;b&gt;⟨U+202E⟩x… <a class=\"more\" href=\"/all\">cut, 65\u{202f}542 bytes in all</a>"
        );
        assert_eq!(short("&", 5, "/all").into_string(), "&amp;");
    }

    #[test]
    fn numbers_and_durations_are_for_people() {
        let table = [
            (0, "0.000 s"),
            (950, "0.950 s"),
            (12_345, "12.3 s"),
            (185_000, "3 min 05 s"),
            (7_380_000, "2 h 03 min"),
        ];
        for (ms, text) in table {
            assert_eq!(duration(ms), text);
        }
        assert_eq!(duration(-5), "0.000 s");
        assert_eq!((grouped(7), grouped(1_234_567)), ("7".into(), "1\u{202f}234\u{202f}567".into()));
    }
}
