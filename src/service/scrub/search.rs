//! Finds secrets in texts, however they are written. Pure.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::layers::{has_escape, layers};
use super::spellings::{is_long_enough, spellings};
use crate::base::secret::Secret;

/// Stands in the place of a secret.
pub(super) const REPLACEMENT: &str = "[redacted]";

/// The longest text, in bytes, in which a secret is replaced alone when only a layer below its escapes shows it; of a
/// longer one nothing is left. Knowing the place takes several times the memory of the text.
pub(super) const MAX_LOCATED: usize = 256 * 1024;

/// Bytes of spellings up to which the fastest search is made: making it takes time that grows with their square.
const FEW: usize = 4 * 1024;

/// Finds every spelling of some secrets in one pass.
pub(super) struct SecretSearch {
    /// None when no search can be made because there is too much to look for: then every text is redacted.
    spellings: Option<AhoCorasick>,
    /// A number is redacted when the whole of it is a secret.
    numbers: Numbers,
}

impl SecretSearch {
    /// Short secrets are left out: see [`is_long_enough`].
    pub(super) fn new(secrets: &[Secret]) -> SecretSearch {
        let all: BTreeSet<Vec<u8>> = long_enough(secrets).flat_map(spellings).collect();
        let is_large = all.iter().map(Vec::len).sum::<usize>() > FEW;
        let kind = is_large.then_some(AhoCorasickKind::ContiguousNFA);
        let spellings = AhoCorasick::builder().kind(kind).build(&all).ok();
        SecretSearch { spellings, numbers: Numbers::new(secrets) }
    }

    /// Takes every text for a secret, and numbers as [`SecretSearch::new`] does.
    pub(super) fn of_everything(secrets: &[Secret]) -> SecretSearch {
        SecretSearch { spellings: None, numbers: Numbers::new(secrets) }
    }

    /// `text` with every spelling of every secret replaced.
    pub(super) fn clean(&self, text: String) -> String {
        let Some(spellings) = &self.spellings else { return REPLACEMENT.to_owned() };
        if self.numbers.has_text(&text) {
            return REPLACEMENT.to_owned();
        }
        let found = find(spellings, text.as_bytes());
        let text = if found.is_empty() { text } else { replaced(&text, &found) };
        if is_in_a_layer(spellings, &text) { without_escaped(spellings, &text) } else { text }
    }

    pub(super) fn is_in_text(&self, text: &str) -> bool {
        let is_in = |spellings: &AhoCorasick| spellings.is_match(text) || is_in_a_layer(spellings, text);
        self.spellings.as_ref().is_none_or(is_in) || self.numbers.has_text(text)
    }

    pub(super) fn is_in_bytes(&self, bytes: &[u8]) -> bool {
        self.spellings.as_ref().is_none_or(|spellings| spellings.is_match(bytes))
    }

    /// `number` is written as JSON writes numbers.
    pub(super) fn is_number(&self, number: &str) -> bool {
        self.numbers.has(number)
    }
}

fn long_enough(secrets: &[Secret]) -> impl Iterator<Item = &str> {
    secrets.iter().map(Secret::expose).filter(|secret| is_long_enough(secret))
}

#[derive(Default)]
struct Numbers {
    texts: HashSet<String>,
    /// Their values without sign, in bits.
    values: HashSet<u64>,
}

impl Numbers {
    fn new(secrets: &[Secret]) -> Numbers {
        let mut numbers = Numbers::default();
        for secret in long_enough(secrets) {
            let Some(value) = secret.parse::<f64>().ok().filter(|value| value.is_finite()) else { continue };
            numbers.texts.insert(secret.to_owned());
            // The value of 0001 is everywhere.
            if is_long_enough(&value.abs().to_string()) {
                numbers.values.insert(value.abs().to_bits());
            }
        }
        numbers
    }

    /// Whether the whole text is one of the numbers.
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

/// Where secrets are, in order. Spellings that overlap are one place, so that nothing of either remains.
fn find(spellings: &AhoCorasick, text: &[u8]) -> Vec<Range<usize>> {
    let mut places = Vec::new();
    spellings.find_overlapping_iter(text).for_each(|hit| add(&mut places, hit.range()));
    places
}

/// Adds a place to others that begin or end before it, and merges it with those it overlaps.
fn add(places: &mut Vec<Range<usize>>, mut place: Range<usize>) {
    while let Some(last) = places.pop_if(|last| last.end > place.start) {
        place = place.start.min(last.start)..place.end.max(last.end);
    }
    places.push(place);
}

/// Whether a secret shows once escapes are resolved.
fn is_in_a_layer(spellings: &AhoCorasick, text: &str) -> bool {
    has_escape(text.as_bytes()) && layers(text, false).any(|layer| spellings.is_match(&layer.bytes))
}

/// `text` without what shows as a secret in one of its layers; nothing of it where that may not be all.
fn without_escaped(spellings: &AhoCorasick, text: &str) -> String {
    if text.len() > MAX_LOCATED {
        return REPLACEMENT.to_owned();
    }
    let mut found = Vec::new();
    for layer in layers(text, true) {
        found.extend(find(spellings, &layer.bytes).into_iter().filter_map(|range| layer.place(range)));
    }
    found.sort_unstable_by_key(|place| place.start);
    let mut places = Vec::new();
    found.into_iter().for_each(|place| add(&mut places, place));
    let clean = replaced(text, &places);
    let is_clean = !spellings.is_match(&clean) && !is_in_a_layer(spellings, &clean);
    if is_clean { clean } else { REPLACEMENT.to_owned() }
}

fn replaced(text: &str, places: &[Range<usize>]) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = 0;
    for place in places {
        clean.push_str(text.get(rest..place.start).unwrap_or_default());
        clean.push_str(REPLACEMENT);
        rest = place.end;
    }
    clean.push_str(text.get(rest..).unwrap_or_default());
    clean
}
