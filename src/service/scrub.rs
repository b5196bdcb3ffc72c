//! Takes the owner's credentials out of everything that comes back from a service.
//!
//! A service can echo what it was sent: in a body, an error page, a log view. So every configured secret is
//! looked for in its usual spellings (as it is, base64, percent-encoded, inside JSON text) and replaced.
//! This is a net under the wire, not a proof: a secret that is split, reversed, compressed, or one part of a
//! longer base64 text is not found. It must never print or return what it looks for.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::base::secret::Secret;

/// Shorter secrets, in characters, are left alone: replacing them would destroy ordinary results.
pub const MIN_SECRET_CHARS: usize = 4;

/// What stands in the place of a secret.
pub const REPLACEMENT: &str = "[redacted]";

/// What RFC 3986 calls unreserved stays, everything else is encoded.
const STRICT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The ways in which common libraries differ from that: some leave nothing as it is, a path keeps its slashes,
/// `encodeURIComponent` keeps `!'()*`, and encoders of whole paths keep the other delimiters too.
const OTHERS: [AsciiSet; 4] = [
    NON_ALPHANUMERIC.add(b'-'),
    STRICT.remove(b'/'),
    STRICT.remove(b'!').remove(b'\'').remove(b'(').remove(b')').remove(b'*'),
    STRICT.remove(b'/').remove(b':').remove(b'@').remove(b'=').remove(b'+').remove(b'$').remove(b','),
];

/// Finds every spelling of every secret in one pass.
pub struct Scrubber {
    /// None when there are so many secrets that no search can be made for them: then every text is redacted.
    spellings: Option<AhoCorasick>,
    /// A number is redacted when it is the whole secret.
    numbers: Numbers,
    /// What is looked for before that.
    first: Option<Arc<Scrubber>>,
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrubber(…)")
    }
}

impl Scrubber {
    /// Prepares the search. Secrets of fewer than [`MIN_SECRET_CHARS`] characters are left out.
    pub fn new(secrets: &[Secret]) -> Scrubber {
        let long_enough = || secrets.iter().map(Secret::expose).filter(|s| is_long_enough(s));
        let all: BTreeSet<String> = long_enough().flat_map(spellings).collect();
        let numbers = Numbers::of(long_enough());
        Scrubber { spellings: AhoCorasick::new(&all).ok(), numbers, first: None }
    }

    /// Looks for `more` besides: for one call, whose secret arguments must not come back into the record.
    pub fn and(self: Arc<Self>, more: &[Secret]) -> Arc<Scrubber> {
        match more {
            [] => self,
            more => Arc::new(Scrubber { first: Some(self), ..Scrubber::new(more) }),
        }
    }

    /// `text` with every spelling of every secret replaced.
    pub fn text(&self, text: String) -> String {
        let text = match &self.first {
            Some(first) => first.text(text),
            None => text,
        };
        let Some(spellings) = &self.spellings else { return REPLACEMENT.to_owned() };
        let found = find(spellings, &text);
        if found.is_empty() { text } else { replaced(&text, &found) }
    }

    /// Whether a secret stands anywhere in `value`, keys included. A call that holds one is refused.
    pub fn is_in(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.is_in_text(text),
            Value::Array(items) => items.iter().any(|v| self.is_in(v)),
            Value::Object(members) => members.iter().any(|(k, v)| self.is_in_text(k) || self.is_in(v)),
            Value::Number(number) => self.is_number(&number.to_string()),
            Value::Null | Value::Bool(_) => false,
        }
    }

    /// Whether a secret stands in `text`.
    pub fn is_in_text(&self, text: &str) -> bool {
        self.spellings.as_ref().is_none_or(|spellings| spellings.is_match(text))
            || self.first.as_ref().is_some_and(|first| first.is_in_text(text))
    }

    /// Whether `number`, in the way JSON writes numbers, is a secret, however it is written.
    pub fn is_number(&self, number: &str) -> bool {
        self.numbers.has(number) || self.first.as_ref().is_some_and(|first| first.is_number(number))
    }
}

/// Secrets that are numbers.
#[derive(Default)]
struct Numbers {
    texts: HashSet<String>,
    /// Their values without sign, in bits.
    values: HashSet<u64>,
}

impl Numbers {
    fn of<'a>(secrets: impl Iterator<Item = &'a str>) -> Numbers {
        let mut numbers = Numbers::default();
        for secret in secrets {
            let Some(value) = secret.parse::<f64>().ok().filter(|value| value.is_finite()) else { continue };
            numbers.texts.insert(secret.to_owned());
            // The value of 0001 stands everywhere.
            if is_long_enough(&value.abs().to_string()) {
                numbers.values.insert(value.abs().to_bits());
            }
        }
        numbers
    }

    fn has(&self, number: &str) -> bool {
        let value = || number.parse::<f64>().map(|value| value.abs().to_bits());
        !self.texts.is_empty()
            && (self.texts.contains(number) || value().is_ok_and(|value| self.values.contains(&value)))
    }
}

/// Where secrets stand, in order; spellings that overlap are one place, so that nothing of either remains.
fn find(spellings: &AhoCorasick, text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for hit in spellings.find_overlapping_iter(text) {
        let mut place = hit.range();
        while let Some(last) = found.pop_if(|last| last.end > place.start) {
            place.start = place.start.min(last.start);
        }
        found.push(place);
    }
    found
}

fn is_long_enough(secret: &str) -> bool {
    secret.chars().count() >= MIN_SECRET_CHARS
}

fn replaced(text: &str, found: &[Range<usize>]) -> String {
    let mut scrubbed = String::with_capacity(text.len());
    let mut rest = 0;
    for place in found {
        scrubbed.push_str(text.get(rest..place.start).unwrap_or_default());
        scrubbed.push_str(REPLACEMENT);
        rest = place.end;
    }
    scrubbed.push_str(text.get(rest..).unwrap_or_default());
    scrubbed
}

fn spellings(secret: &str) -> Vec<String> {
    let mut all = vec![secret.to_owned()];
    all.extend([STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].map(|form| form.encode(secret)));
    all.extend(percent_encoded(secret));
    all.extend(in_json(secret));
    all
}

fn percent_encoded(secret: &str) -> impl Iterator<Item = String> {
    let upper = |set: &'static AsciiSet| utf8_percent_encode(secret, set).to_string();
    let form = upper(&STRICT).replace("%20", "+");
    let all: Vec<String> = OTHERS.iter().chain([&STRICT]).map(upper).chain([form]).collect();
    all.into_iter().flat_map(|text| [with_lower_hex(&text), text])
}

/// `%2F` as `%2f`; the other characters keep their case.
fn with_lower_hex(text: &str) -> String {
    let mut hex_digits = 0;
    text.chars()
        .map(|c| {
            let in_escape = hex_digits > 0;
            hex_digits = if c == '%' { 2 } else { i32::max(hex_digits - 1, 0) };
            if in_escape { c.to_ascii_lowercase() } else { c }
        })
        .collect()
}

/// As it stands between the quotes of a JSON text; some writers escape the slash too.
fn in_json(secret: &str) -> [String; 2] {
    let quoted = Value::from(secret).to_string();
    let inside = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned();
    [inside.replace('/', "\\/"), inside]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scrubber(secrets: &[&str]) -> Scrubber {
        let secrets: Vec<Secret> = secrets.iter().map(|s| Secret::new((*s).to_owned())).collect();
        Scrubber::new(&secrets)
    }

    #[test]
    fn every_spelling_goes() {
        let s = scrubber(&["pä ss/w\"ör+d=?"]);
        for text in [
            "pä ss/w\"ör+d=?",
            &STANDARD.encode("pä ss/w\"ör+d=?"),
            &STANDARD_NO_PAD.encode("pä ss/w\"ör+d=?"),
            &URL_SAFE.encode("pä ss/w\"ör+d=?"),
            &URL_SAFE_NO_PAD.encode("pä ss/w\"ör+d=?"),
            "p%C3%A4%20ss%2Fw%22%C3%B6r%2Bd%3D%3F",
            "p%c3%a4%20ss%2fw%22%c3%b6r%2bd%3d%3f",
            "p%C3%A4+ss%2Fw%22%C3%B6r%2Bd%3D%3F",
            "p%C3%A4%20ss/w%22%C3%B6r%2Bd%3D%3F",
            "pä ss/w\\\"ör+d=?",
            "pä ss\\/w\\\"ör+d=?",
        ] {
            assert_eq!(s.text(format!("<{text}>")), "<[redacted]>", "{text}");
            assert!(s.is_in(&json!({"a": [text]})), "{text}");
        }
        assert_eq!(s.text("pä ss/w".into()), "pä ss/w");
    }

    #[test]
    fn overlapping_secrets_leave_nothing_of_either() {
        let s = scrubber(&["abcd", "bcdefgh", "cdefghij", "abcdefgh"]);
        assert_eq!(s.text("xabcdefghijy".into()), "x[redacted]y");
        assert_eq!(s.text("abcdabcd".into()), "[redacted][redacted]");
        let long_last = scrubber(&["bbbb", "aabbbbcc", "aa_x"]);
        assert_eq!(long_last.text("aabbbbcc aabbbb".into()), "[redacted] aa[redacted]");
    }

    #[test]
    fn values_are_searched_at_any_depth_and_keys_too() {
        let s = scrubber(&["hunter22", "123456"]);
        assert!(s.is_in(&json!({"hunter22": null})));
        assert!(s.is_in(&json!([123_456])));
        assert!(!s.is_in(&json!({"a": ["hunter2", 12345, null, true]})));
    }

    #[test]
    fn short_secrets_and_no_secrets_change_nothing() {
        for s in [scrubber(&["abc", ""]), scrubber(&[])] {
            assert_eq!(s.text("abc 1".to_owned()), "abc 1");
            assert!(!s.is_in(&json!("abc")));
        }
    }

    #[test]
    fn it_never_shows_what_it_looks_for() {
        assert_eq!(format!("{:?}", scrubber(&["hunter22"])), "Scrubber(…)");
    }

    /// Eight times the text takes about eight times as long, on any machine; looking back would take sixty-four times.
    #[test]
    fn the_time_grows_with_the_length_of_a_result_and_no_faster() {
        let secrets: Vec<String> = (0..50).map(|n| format!("token/{n}+{}", "ab".repeat(20))).collect();
        let s = scrubber(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
        let once = |text: &String| {
            let begun = std::time::Instant::now();
            assert_eq!(s.text(text.clone()), *text);
            begun.elapsed()
        };
        // The best of several rounds: whatever else the machine does only makes one of them longer.
        let taken = |repeats: usize| {
            let text = "token/1+abababab ".repeat(repeats);
            (0..20).map(|_| once(&text)).min().unwrap()
        };
        let (short, long) = (taken(8 * 1024), taken(64 * 1024));
        assert!(long < short * 32, "{short:?}, then {long:?}");
    }
}
