//! Takes the owner's credentials out of everything that comes back from a service.
//!
//! A service can echo what it was sent: in a body, an error page, a log view. So every configured secret is
//! looked for in its usual spellings (as it is, base64, percent-encoded, inside JSON text), in the text and in copies of
//! it without its escapes (see `layers`), and replaced.
//! This is a net under the wire, not a proof: a secret that is split, reversed, compressed, or one part of a
//! longer base64 text is not found. It must never print or return what it looks for.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use serde_json::Value;

use super::layers::{Copy, escape_in};
use super::spellings;
use crate::base::secret::Secret;

/// Shorter secrets, in characters, are left alone: replacing them would destroy ordinary results.
pub(crate) const MIN_SECRET_CHARS: usize = 4;

/// Shorter tokens of sessions are not looked for: they could be words of ordinary results, and it is the service that
/// chooses them.
pub(crate) const MIN_TOKEN_CHARS: usize = 12;

/// How many tokens of earlier sessions are remembered, and bytes of all: it is the service that chooses them, and every
/// login makes the search anew.
const MAX_LEARNED: usize = 64;
const MAX_LEARNED_BYTES: usize = 32 * 1024;

/// What stands in the place of a secret.
pub(crate) const REPLACEMENT: &str = "[redacted]";

/// The longest text, in bytes, in which a secret is replaced alone when only a copy without escapes shows it; of a longer
/// one nothing is left. Knowing its place takes several times the memory of the text.
const MAX_LOCATED: usize = 256 * 1024;

/// The longest secrets of one call, in bytes together, that are looked for; of an answer to longer ones nothing is left. It
/// is the agent that chooses them, and every spelling of every byte takes memory.
const MAX_OF_CALL: usize = 4 * 1024;

/// Bytes of spellings up to which the fastest search is made: making it takes time that grows with their square.
const FEW: usize = 4 * 1024;

/// Finds every spelling of every secret in one pass.
pub struct Scrubber {
    /// None when there are so many secrets that no search can be made for them: then every text is redacted.
    spellings: Option<AhoCorasick>,
    /// A number is redacted when it is the whole secret.
    numbers: Numbers,
    /// What is looked for before that.
    first: Option<Arc<Scrubber>>,
    /// What became known later.
    learned: Arc<Learned>,
}

/// Tokens that services gave for a login.
#[derive(Default)]
struct Learned {
    /// Whether there is any: most gateways never have one.
    any: AtomicBool,
    known: RwLock<(VecDeque<Secret>, Option<Arc<Scrubber>>)>,
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
        let all: BTreeSet<Vec<u8>> = long_enough().flat_map(spellings::of).collect();
        let numbers = Numbers::of(long_enough());
        let spellings = search(&all);
        Scrubber { spellings, numbers, first: None, learned: Arc::default() }
    }

    /// Goes on with what `earlier` has learned, and learns together with it from now on: a token outlives a reload at
    /// the service that gave it.
    pub(crate) fn continuing(self, earlier: &Scrubber) -> Scrubber {
        Scrubber { learned: Arc::clone(&earlier.learned), ..self }
    }

    /// Looks for `token` too from now on, and for up to [`MAX_LEARNED`] before it. One of fewer than
    /// [`MIN_TOKEN_CHARS`] characters is left out.
    pub fn learn(&self, token: &Secret) {
        if token.expose().chars().count() < MIN_TOKEN_CHARS {
            return;
        }
        let mut known = self.learned.known.write().unwrap_or_else(PoisonError::into_inner);
        let (tokens, scrubber) = &mut *known;
        tokens.retain(|known| known.expose() != token.expose());
        tokens.push_front(token.clone());
        tokens.truncate(MAX_LEARNED + 1);
        while tokens.len() > 1 && length(tokens.make_contiguous()) > MAX_LEARNED_BYTES {
            tokens.pop_back();
        }
        *scrubber = Some(Arc::new(Scrubber::new(tokens.make_contiguous())));
        self.learned.any.store(true, Ordering::Release);
    }

    fn learned(&self) -> Option<Arc<Scrubber>> {
        if !self.learned.any.load(Ordering::Acquire) {
            return None;
        }
        self.learned.known.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Looks for `more` besides: for one call, whose secret arguments must not come back into the record.
    pub fn and(self: Arc<Self>, more: &[Secret]) -> Arc<Scrubber> {
        match more {
            [] => self,
            more if length(more) > MAX_OF_CALL => {
                let numbers = Numbers::of(more.iter().map(Secret::expose).filter(|s| is_long_enough(s)));
                Arc::new(Scrubber { spellings: None, numbers, first: Some(self), learned: Arc::default() })
            }
            more => Arc::new(Scrubber { first: Some(self), ..Scrubber::new(more) }),
        }
    }

    /// `text` with every spelling of every secret replaced.
    pub fn text(&self, text: String) -> String {
        let text = match &self.first {
            Some(first) => first.text(text),
            None => text,
        };
        let text = match self.learned() {
            Some(learned) => learned.text(text),
            None => text,
        };
        let Some(spellings) = &self.spellings else { return REPLACEMENT.to_owned() };
        if self.numbers.has_text(&text) {
            return REPLACEMENT.to_owned();
        }
        let found = find(spellings, text.as_bytes());
        let text = if found.is_empty() { text } else { replaced(&text, &found) };
        if is_in_a_copy(spellings, &text) { without_escaped(spellings, &text) } else { text }
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
    pub(crate) fn is_in_text(&self, text: &str) -> bool {
        let is_in = |spellings: &AhoCorasick| spellings.is_match(text) || is_in_a_copy(spellings, text);
        self.spellings.as_ref().is_none_or(is_in)
            || self.numbers.has_text(text)
            || self.first.as_ref().is_some_and(|first| first.is_in_text(text))
            || self.learned().is_some_and(|learned| learned.is_in_text(text))
    }

    /// Whether a secret stands in bytes that are no text, as text or in UTF-16.
    pub(crate) fn is_in_bytes(&self, bytes: &[u8]) -> bool {
        self.spellings.as_ref().is_none_or(|spellings| spellings.is_match(bytes))
            || self.first.as_ref().is_some_and(|first| first.is_in_bytes(bytes))
            || self.learned().is_some_and(|learned| learned.is_in_bytes(bytes))
            || self.is_in_text(&String::from_utf8_lossy(bytes))
    }

    /// Whether `number`, in the way JSON writes numbers, is a secret, however it is written.
    pub fn is_number(&self, number: &str) -> bool {
        self.numbers.has(number)
            || self.first.as_ref().is_some_and(|first| first.is_number(number))
            || self.learned().is_some_and(|learned| learned.is_number(number))
    }
}

fn length(secrets: &[Secret]) -> usize {
    secrets.iter().map(|secret| secret.expose().len()).sum()
}

fn search(spellings: &BTreeSet<Vec<u8>>) -> Option<AhoCorasick> {
    let is_large = spellings.iter().map(Vec::len).sum::<usize>() > FEW;
    let kind = is_large.then_some(AhoCorasickKind::ContiguousNFA);
    AhoCorasick::builder().kind(kind).build(spellings).ok()
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

    /// A text that is nothing but a number.
    fn has_text(&self, text: &str) -> bool {
        !self.texts.is_empty()
            && text.trim_start().starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
            && self.has(text.trim())
    }

    fn has(&self, number: &str) -> bool {
        let value = || number.parse::<f64>().map(|value| value.abs().to_bits());
        !self.texts.is_empty()
            && (self.texts.contains(number) || value().is_ok_and(|value| self.values.contains(&value)))
    }
}

/// Where secrets stand, in order; spellings that overlap are one place, so that nothing of either remains.
fn find(spellings: &AhoCorasick, text: &[u8]) -> Vec<Range<usize>> {
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

pub(super) fn is_long_enough(secret: &str) -> bool {
    secret.chars().count() >= MIN_SECRET_CHARS
}

/// Whether a secret shows when escapes are resolved.
fn is_in_a_copy(spellings: &AhoCorasick, text: &str) -> bool {
    if escape_in(text.as_bytes()).is_none() {
        return false;
    }
    let mut copy = Copy::of(text, false);
    while let Some(next) = copy.next() {
        if spellings.is_match(&*next.bytes) {
            return true;
        }
        copy = next;
    }
    false
}

/// `text` without what shows as a secret in one of its copies; nothing of it where that is not sure to be all.
fn without_escaped(spellings: &AhoCorasick, text: &str) -> String {
    if text.len() > MAX_LOCATED {
        return REPLACEMENT.to_owned();
    }
    let mut places = Vec::new();
    let mut copy = Copy::of(text, true);
    while let Some(next) = copy.next() {
        places.extend(find(spellings, &next.bytes).into_iter().filter_map(|range| next.place(range)));
        copy = next;
    }
    let clean = replaced(text, &merged(places));
    let is_clean = !spellings.is_match(&clean) && !is_in_a_copy(spellings, &clean);
    if is_clean { clean } else { REPLACEMENT.to_owned() }
}

fn merged(mut places: Vec<Range<usize>>) -> Vec<Range<usize>> {
    places.sort_unstable_by_key(|place| place.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for place in places {
        match merged.last_mut().filter(|last| last.end > place.start) {
            Some(last) => last.end = last.end.max(place.end),
            None => merged.push(place),
        }
    }
    merged
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

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
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
    fn escapes_of_every_kind_hide_nothing() {
        let s = scrubber(&["pä ss/w\"ör+d=?", "100%&more\\path"]);
        for text in [
            "p\\u00e4 ss\\u002Fw\\u0022\\u00F6r\\u002bd\\u003d\\u003f",
            "p&auml; ss/w&quot;&#246;r&#x2B;d&equals;&quest;",
            "p%c3%A4%20ss%2fw%22%C3%b6r%2Bd%3d%3F",
            "p%25C3%25a4%2520ss%252Fw%2522%25C3%25B6r%252bd%253D%253f",
            "p%C3%A4+ss/w%22ör%2bd=?",
            "%70%C3%A4 ss/w\"ör+d=?",
            "pä ss/w\\\\\\\"ör+d=?",
            "p%E4%20ss/w%22%F6r+d=?",
            "p\u{fffd} ss/w\"\u{fffd}r+d=?",
            "pÃ¤ ss/w\"Ã¶r+d=?",
            "100%25&amp;more%5Cpath",
            "100%25%26more%5c%5cpath",
            "100%&more\\\\path",
        ] {
            assert_eq!(
                s.text(format!("<b title='50%'>{text}</b> &lt;")),
                "<b title='50%'>[redacted]</b> &lt;",
                "{text}"
            );
            assert!(s.is_in(&json!({"a": [text]})), "{text}");
        }
        let utf_16: String = "pä ss/w\"ör+d=?".chars().flat_map(|c| [c, '\0']).collect();
        assert_eq!(s.text(format!("<{utf_16}>")), "<[redacted]>");
        let innocent = "100 % of p&auml; ss/w, \\u00e4 & %2F%2F";
        assert_eq!(s.text(innocent.to_owned()), innocent);
    }

    #[test]
    fn of_a_long_text_nothing_is_left_when_only_a_copy_shows_the_secret() {
        let s = scrubber(&["hunter/22"]);
        let long = "x".repeat(MAX_LOCATED);
        assert_eq!(s.text(format!("{long}hunter%2F22")), format!("{long}[redacted]"), "a usual spelling");
        assert_eq!(s.text(format!("{long}hunter&sol;22")), "[redacted]");
        assert_eq!(s.text(format!("{long}hunter&sol;2")), format!("{long}hunter&sol;2"));
    }

    #[test]
    fn numbers_are_compared_by_value() {
        let s = scrubber(&["734512", "0001", "12345678901234567890"]);
        for number in [
            "734512",
            "734512.0",
            "7.34512e5",
            "7.34512E+5",
            "73451200e-2",
            "-734512",
            "12345678901234567000",
        ] {
            assert!(s.is_number(number), "{number}");
            assert_eq!(s.text(number.to_owned()).replace('-', ""), "[redacted]", "{number}");
        }
        assert!(
            s.is_in(&json!([734_512.0])) && s.is_in(&json!("7.34512e5")) && s.is_in(&json!(" +73451.2e1 "))
        );
        for number in ["1", "73451", "734512.5", "7.34512e6", "1e999"] {
            assert!(!s.is_number(number), "{number}");
        }
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
        let taken = |part: &str, repeats: usize| {
            let text = part.repeat(repeats);
            (0..20).map(|_| once(&text)).min().unwrap()
        };
        for part in ["token/1+abababab ", "%25&#0&#00x\\u{1\\\\&amp", "&#0000000000000", "\0"] {
            let (short, long) = (taken(part, 4 * 1024), taken(part, 32 * 1024));
            assert!(long < short * 32, "{part}: {short:?}, then {long:?}");
        }
    }

    #[test]
    fn the_time_to_prepare_grows_with_the_length_of_a_secret_and_no_faster() {
        let taken = |part: &str, length: usize| {
            let secret = [Secret::new(part.repeat(length / part.len()))];
            let once = || {
                let begun = std::time::Instant::now();
                assert!(Scrubber::new(&secret).is_in_text(secret[0].expose()));
                begun.elapsed()
            };
            (0..3).map(|_| once()).min().unwrap()
        };
        for part in ["abcdefgh", "\"ä", "%"] {
            let (short, long) = (taken(part, 4 * 1024), taken(part, 32 * 1024));
            assert!(long < short * 32, "{part}: {short:?}, then {long:?}");
        }
    }

    #[test]
    fn of_an_answer_to_very_long_secrets_nothing_is_left() {
        let s = Arc::new(scrubber(&["hunter22"]));
        let of_call = |length: usize| Arc::clone(&s).and(&[Secret::new("x+".repeat(length / 2))]);
        assert_eq!(of_call(MAX_OF_CALL).text("a hunter22 b".into()), "a [redacted] b");
        let long = of_call(MAX_OF_CALL + 2);
        assert_eq!(long.text("a b".into()), "[redacted]");
        assert!(long.is_in_bytes(b"a b"));
        let more = [Secret::new("734512".into()), Secret::new("x".repeat(MAX_OF_CALL))];
        assert!(s.and(&more).is_number("734512.0"));
    }

    #[test]
    fn long_tokens_push_out_older_ones_and_equal_ones_do_not() {
        let s = scrubber(&[]);
        let token = |n: usize, length: usize| Secret::new(format!("{n:09}{}", "t".repeat(length)));
        s.learn(&token(0, 20));
        (0..200).for_each(|_| s.learn(&token(1, 20)));
        assert!(s.is_in_text(token(0, 20).expose()) && s.is_in_text(token(1, 20).expose()));
        (2..10).for_each(|n| s.learn(&token(n, 8000)));
        let known = |n: usize| s.is_in_text(token(n, 8000).expose());
        assert_eq!((known(5), known(6), known(9)), (false, true, true));
    }
}
