//! Takes the owner's credentials out of everything that comes back from a service.
//!
//! A service can echo what it was sent: in a body, an error page, a log view. So every configured secret is looked for
//! in its usual spellings (as it is, base64, percent-encoded, inside JSON text), in the text and below its escapes (see
//! `layers`), and replaced. This is a net under the wire, not a proof: a secret that is split, reversed, compressed, or
//! one part of a longer base64 text is not found. What is looked for is never printed or returned.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;

use super::search::SecretSearch;
use crate::base::secret::Secret;

/// Shorter tokens of sessions, in characters, are not looked for: the service chooses them, and they could be words of
/// ordinary results.
const MIN_TOKEN_CHARS: usize = 12;

/// How many tokens of earlier sessions are remembered, and the bytes of all: the service chooses them, and every login
/// makes the search anew.
const MAX_LEARNED: usize = 64;
const MAX_LEARNED_BYTES: usize = 32 * 1024;

/// The longest secrets of one call, in bytes together, that are looked for; of a response to longer ones nothing is
/// left. The agent chooses them, and every spelling of every byte takes memory.
const MAX_OF_CALL: usize = 4 * 1024;

/// Looks for secrets of the configuration, for tokens that services gave for a login, and for secrets of one call.
pub struct Scrubber {
    configured: Arc<SecretSearch>,
    learned: Arc<Learned>,
    of_call: Option<SecretSearch>,
}

/// Tokens that services gave for a login.
#[derive(Default)]
struct Learned {
    /// Whether there is any: most gateways never have one.
    any: AtomicBool,
    tokens: RwLock<(VecDeque<Secret>, Option<Arc<SecretSearch>>)>,
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrubber(…)")
    }
}

impl Scrubber {
    /// Prepares the search. Secrets of fewer than four characters are left out.
    pub fn new(secrets: &[Secret]) -> Scrubber {
        Scrubber { configured: Arc::new(SecretSearch::new(secrets)), learned: Arc::default(), of_call: None }
    }

    /// Shares what `earlier` has learned, and what either learns from now on: a token outlives a reload at the service
    /// that gave it.
    pub(crate) fn continuing(self, earlier: &Scrubber) -> Scrubber {
        Scrubber { learned: Arc::clone(&earlier.learned), ..self }
    }

    /// Looks for `token` too from now on, and for up to [`MAX_LEARNED`] before it.
    pub fn learn(&self, token: &Secret) {
        if token.expose().chars().count() < MIN_TOKEN_CHARS {
            return;
        }
        let mut learned = self.learned.tokens.write().unwrap_or_else(PoisonError::into_inner);
        let (tokens, search) = &mut *learned;
        tokens.retain(|known| known.expose() != token.expose());
        tokens.push_front(token.clone());
        tokens.truncate(MAX_LEARNED + 1);
        while tokens.len() > 1 && length(tokens.make_contiguous()) > MAX_LEARNED_BYTES {
            tokens.pop_back();
        }
        *search = Some(Arc::new(SecretSearch::new(tokens.make_contiguous())));
        self.learned.any.store(true, Ordering::Release);
    }

    /// Looks for `secrets` of one call besides: they must not come back into the record.
    pub fn and(self: Arc<Self>, secrets: &[Secret]) -> Arc<Scrubber> {
        if secrets.is_empty() {
            return self;
        }
        let is_long = length(secrets) > MAX_OF_CALL;
        let of_call = if is_long { SecretSearch::of_everything(secrets) } else { SecretSearch::new(secrets) };
        let (configured, learned) = (Arc::clone(&self.configured), Arc::clone(&self.learned));
        Arc::new(Scrubber { configured, learned, of_call: Some(of_call) })
    }

    fn learned(&self) -> Option<Arc<SecretSearch>> {
        if !self.learned.any.load(Ordering::Acquire) {
            return None;
        }
        self.learned.tokens.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    fn any(&self, finds: impl Fn(&SecretSearch) -> bool) -> bool {
        finds(&self.configured)
            || self.of_call.as_ref().is_some_and(&finds)
            || self.learned().is_some_and(|learned| finds(&learned))
    }

    /// `text` with every spelling of every secret replaced.
    pub fn text(&self, text: String) -> String {
        let mut text = self.configured.clean(text);
        if let Some(learned) = self.learned() {
            text = learned.clean(text);
        }
        match &self.of_call {
            Some(of_call) => of_call.clean(text),
            None => text,
        }
    }

    /// Whether a secret is anywhere in `value`, keys included. A call that holds one is refused.
    pub fn is_in(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.is_in_text(text),
            Value::Array(items) => items.iter().any(|v| self.is_in(v)),
            Value::Object(members) => members.iter().any(|(k, v)| self.is_in_text(k) || self.is_in(v)),
            Value::Number(number) => self.is_number(&number.to_string()),
            Value::Null | Value::Bool(_) => false,
        }
    }

    pub(crate) fn is_in_text(&self, text: &str) -> bool {
        self.any(|search| search.is_in_text(text))
    }

    /// Whether a secret is in bytes that are no text, as text or in UTF-16.
    pub(crate) fn is_in_bytes(&self, bytes: &[u8]) -> bool {
        self.any(|search| search.is_in_bytes(bytes)) || self.is_in_text(&String::from_utf8_lossy(bytes))
    }

    /// Whether `number`, written as JSON writes numbers, is a secret, however that is written.
    pub fn is_number(&self, number: &str) -> bool {
        self.any(|search| search.is_number(number))
    }
}

fn length(secrets: &[Secret]) -> usize {
    secrets.iter().map(|secret| secret.expose().len()).sum()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
    use serde_json::json;

    use std::time::Duration;

    use super::*;
    use crate::service::scrub::search::MAX_LOCATED;

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
    /// Eight times the length takes less than 32 times as long. Whatever else the machine does spoils some tries; time
    /// that grows with the square of the length would spoil all of them.
    fn grows_with_the_length(part: &str, taken: impl Fn(usize) -> Duration) {
        let tries: Vec<_> = (0..10).map(|_| (taken(4 * 1024), taken(32 * 1024))).collect();
        assert!(tries.iter().any(|(short, long)| *long < *short * 32), "{part}: {tries:?}");
    }

    #[test]
    fn the_time_grows_with_the_length_of_a_result_and_no_faster() {
        let secrets: Vec<String> = (0..50).map(|n| format!("token/{n}+{}", "ab".repeat(20))).collect();
        let s = scrubber(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
        let once = |text: &String| {
            let begun = std::time::Instant::now();
            assert_eq!(s.text(text.clone()), *text);
            begun.elapsed()
        };
        let taken = |part: &str, repeats: usize| {
            let text = part.repeat(repeats);
            (0..4).map(|_| once(&text)).min().unwrap()
        };
        for part in ["token/1+abababab ", "%25&#0&#00x\\u{1\\\\&amp", "&#0000000000000", "\0"] {
            grows_with_the_length(part, |length| taken(part, length));
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
            once()
        };
        for part in ["abcdefgh", "\"ä", "%"] {
            grows_with_the_length(part, |length| taken(part, length));
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
