//! Takes one layer of escapes after another off a text, in copies that are only searched. Pure.
//!
//! A text can say `/` as `%2F`, `%252f`, `&#x2f;`, `\u002f` or `\/`, and mix these ways. So a layer is everything that
//! looks like an escape, of whatever kind. Only a few layers are taken off: the work grows with the length of the text
//! and no faster.

use std::borrow::Cow;
use std::iter;
use std::ops::Range;

/// How many layers are taken off: JSON within JSON within a page, or percent-encoding twice, are three and two.
const LAYERS: usize = 4;

/// The entities of HTML for ASCII characters in credentials, each followed by its character. Browsers take the first
/// four without a semicolon.
const ENTITIES: &str = "\
    amp & lt < gt > quot \" apos ' sol / bsol \\ plus + equals = percnt % num # excl ! dollar $ lpar ( rpar ) ast * comma , \
    period . colon : semi ; quest ? commat @ lsqb [ lbrack [ rsqb ] rbrack ] lcub { lbrace { rcub } rbrace } lowbar _ \
    UnderBar _ Hat ^ grave ` verbar | vert | Tab \t NewLine \n AMP &";

/// The entities of HTML for U+00A0 to U+00FF, in order.
const LATIN_1: &str = "\
    nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn yuml";

const LONGEST_NAME: usize = 8;

/// Bytes that are searched at once.
const WINDOW: usize = 512;

/// A text with layers of escapes taken off.
pub(super) struct Layer<'a> {
    /// Need not be UTF-8: `%E4` is a byte.
    pub(super) bytes: Cow<'a, [u8]>,
    /// For each byte where its escape began in the text, and the text's length at the end; None when nobody asked.
    places: Option<Vec<u32>>,
    /// How many layers may still come off.
    left: usize,
}

/// What an escape stands for.
enum Meaning {
    Byte(u8),
    Character(char),
    Nothing,
}

/// What is left of `text` without one, two and more layers. Knowing the places takes four times the memory of the text.
pub(super) fn layers(text: &str, with_places: bool) -> impl Iterator<Item = Layer<'static>> {
    let end = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let places = with_places.then(|| (0..=end).collect());
    let whole = Layer { bytes: Cow::Borrowed(text.as_bytes()), places, left: LAYERS };
    iter::successors(whole.next(), Layer::next)
}

impl Layer<'_> {
    /// The same with one layer less; None when there is none.
    fn next(&self) -> Option<Layer<'static>> {
        let left = self.left.checked_sub(1)?;
        let mut at = escape_in(&self.bytes)?;
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let mut places = self.places.as_ref().map(|_| Vec::with_capacity(self.bytes.len() + 1));
        let (mut done, mut changed) = (0, false);
        loop {
            if let Some((meaning, length)) = meaning(self.bytes.get(at..).unwrap_or_default()) {
                self.copy(done..at, &mut bytes, &mut places);
                push(meaning, &mut bytes);
                if let (Some(places), Some(known)) = (&mut places, &self.places) {
                    places.resize(bytes.len(), known.get(at).copied().unwrap_or_default());
                }
                at += length;
                (done, changed) = (at, true);
            } else {
                at += 1;
            }
            match escape_in(self.bytes.get(at..).unwrap_or_default()) {
                Some(distance) => at += distance,
                None => break,
            }
        }
        self.copy(done..self.bytes.len(), &mut bytes, &mut places);
        if let (Some(places), Some(known)) = (&mut places, &self.places) {
            places.extend(known.last());
        }
        changed.then_some(Layer { bytes: Cow::Owned(bytes), places, left })
    }

    fn copy(&self, range: Range<usize>, bytes: &mut Vec<u8>, places: &mut Option<Vec<u32>>) {
        bytes.extend_from_slice(self.bytes.get(range.clone()).unwrap_or_default());
        if let (Some(places), Some(known)) = (places, &self.places) {
            places.extend_from_slice(known.get(range).unwrap_or_default());
        }
    }

    /// Where in the text stands what is at `range` here.
    pub(super) fn place(&self, range: Range<usize>) -> Option<Range<usize>> {
        let place = |at: usize| self.places.as_ref()?.get(at).and_then(|at| usize::try_from(*at).ok());
        Some(place(range.start)?..place(range.end)?)
    }
}

pub(super) fn has_escape(bytes: &[u8]) -> bool {
    escape_in(bytes).is_some()
}

fn push(meaning: Meaning, bytes: &mut Vec<u8>) {
    match meaning {
        // As in ASCII within UTF-16.
        Meaning::Byte(0) | Meaning::Character('\0') | Meaning::Nothing => {}
        Meaning::Byte(byte) => bytes.push(byte),
        Meaning::Character(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Where there may be an escape. The search goes window by window: for one kind of mark it must not go on far beyond
/// the first of another, again and again.
fn escape_in(bytes: &[u8]) -> Option<usize> {
    bytes.chunks(WINDOW).enumerate().find_map(|(number, window)| {
        let marked = memchr::memchr3(b'%', b'&', b'\\', window);
        let before = window.get(..marked.unwrap_or(window.len())).unwrap_or_default();
        memchr::memchr(0, before).or(marked).map(|at| number * WINDOW + at)
    })
}

/// What the escape that `rest` begins with means, and its length.
fn meaning(rest: &[u8]) -> Option<(Meaning, usize)> {
    match rest {
        [0, ..] => Some((Meaning::Nothing, 1)),
        [b'%', b'u' | b'U', after @ ..] => unit(after).map(|c| (c, 6)),
        [b'%', high, low, ..] => Some((Meaning::Byte(hex(&[*high, *low])?.try_into().ok()?), 3)),
        [b'&', b'#', after @ ..] => numbered(after),
        [b'&', after @ ..] => named(after),
        [b'\\', b'u', b'{', after @ ..] => {
            let digits = after.iter().take(6).take_while(|b| b.is_ascii_hexdigit()).count();
            let closed = after.get(digits) == Some(&b'}');
            let value = hex(after.get(..digits)?).filter(|_| closed && digits > 0)?;
            Some((Meaning::Character(character(value)), digits + 4))
        }
        [b'\\', b'u', after @ ..] => unit_or_pair(after),
        [b'\\', b'U', after @ ..] => Some((Meaning::Character(character(hex(after.get(..8)?)?)), 10)),
        [b'\\', b'x' | b'X', after @ ..] => Some((Meaning::Byte(hex(after.get(..2)?)?.try_into().ok()?), 4)),
        [b'\\', letter, ..] => Some((Meaning::Byte(plain(*letter)?), 2)),
        _ => None,
    }
}

/// What this means behind a backslash; punctuation means itself.
fn plain(letter: u8) -> Option<u8> {
    Some(match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'f' => 12,
        mark if mark.is_ascii_punctuation() => mark,
        _ => return None,
    })
}

fn unit(after: &[u8]) -> Option<Meaning> {
    Some(Meaning::Character(character(hex(after.get(..4)?)?)))
}

fn unit_or_pair(after: &[u8]) -> Option<(Meaning, usize)> {
    let first = hex(after.get(..4)?)?;
    let second = match after.get(4..) {
        Some([b'\\', b'u', low @ ..]) => {
            low.get(..4).and_then(hex).filter(|low| (0xdc00..0xe000).contains(low))
        }
        _ => None,
    };
    match second.filter(|_| (0xd800..0xdc00).contains(&first)) {
        Some(low) => {
            Some((Meaning::Character(character(0x10000 + ((first & 0x3ff) << 10) + (low & 0x3ff))), 12))
        }
        None => Some((Meaning::Character(character(first)), 6)),
    }
}

/// Behind `&#`: decimal or, behind x, hexadecimal; the semicolon may be missing, and there may be any number of zeros.
fn numbered(after: &[u8]) -> Option<(Meaning, usize)> {
    let (digits, radix, mark) = match after {
        [b'x' | b'X', digits @ ..] => (digits, 16, 3),
        digits => (digits, 10, 2),
    };
    let values = || digits.iter().map_while(|b| char::from(*b).to_digit(radix));
    let length = values().count();
    let value = values().fold(0_u32, |value, digit| value.saturating_mul(radix).saturating_add(digit));
    let end = mark + length + usize::from(digits.get(length) == Some(&b';'));
    (length > 0).then(|| (Meaning::Character(character(value)), end))
}

/// Behind `&`: with a semicolon, or one of the entities that browsers take without.
fn named(after: &[u8]) -> Option<(Meaning, usize)> {
    let length = after.iter().take(LONGEST_NAME + 1).take_while(|b| b.is_ascii_alphanumeric()).count();
    let name = after.get(..length)?;
    let closed = after.get(length) == Some(&b';');
    if let Some(c) = closed.then(|| entity(name)).flatten() {
        return Some((Meaning::Character(c), length + 2));
    }
    let mut loose = entities().take(4).filter(|(known, _)| name.starts_with(known.as_bytes()));
    loose.next().map(|(known, c)| (Meaning::Character(c), known.len() + 1))
}

fn entity(name: &[u8]) -> Option<char> {
    let mut all = entities().chain(LATIN_1.split(' ').zip('\u{a0}'..));
    all.find(|(known, _)| known.as_bytes() == name).map(|(_, c)| c)
}

fn entities() -> impl Iterator<Item = (&'static str, char)> {
    let mut words = ENTITIES.split(' ');
    iter::from_fn(move || Some((words.next()?, words.next()?.chars().next()?)))
}

fn hex(digits: &[u8]) -> Option<u32> {
    let value = |b: &u8| char::from(*b).to_digit(16);
    digits.iter().try_fold(0_u32, |sum, digit| sum.checked_mul(16)?.checked_add(value(digit)?))
}

fn character(value: u32) -> char {
    char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(text: &str) -> Vec<String> {
        let shown = |layer: Layer<'_>| {
            assert_eq!(layer.places.as_ref().unwrap().len(), layer.bytes.len() + 1, "{text}");
            String::from_utf8_lossy(&layer.bytes).into_owned()
        };
        super::layers(text, true).map(shown).collect()
    }

    #[test]
    fn every_kind_of_escape_is_one_layer() {
        for text in [
            "a%2fb",
            "a%2Fb",
            "a%u002fb",
            "a&sol;b",
            "a&#47;b",
            "a&#x2F;b",
            "a&#0000047b",
            "a\\u002fb",
            "a\\u{2F}b",
            "a\\U0000002fb",
            "a\\x2fb",
            "a\\/b",
            "\0a\0/\0b",
            "a\\u0000/b",
            "%61&#x2f;\\u0062",
        ] {
            assert_eq!(layers(text), ["a/b"], "{text:?}");
        }
        assert_eq!(layers("&lt&amp"), ["<&"]);
        assert_eq!(layers("&nbsp;&szlig;&frac12;&yuml;"), ["\u{a0}ß½ÿ"]);
        assert_eq!(layers("\\ud83d\\ude00\\ud83d%E4"), ["😀\u{fffd}\u{fffd}"]);
        assert_eq!(layers("%25252F"), ["%252F", "%2F", "/"]);
        assert_eq!(layers("&amp;amp;lt; \\\\u0041"), ["&amp;lt; \\u0041", "&lt; A", "< A"]);
        assert_eq!(layers("%2525252525252F").len(), LAYERS);
    }

    #[test]
    fn what_is_no_escape_stays() {
        for text in [
            "",
            "100 %",
            "%",
            "%2",
            "%zz",
            "%u12",
            "&",
            "&;",
            "&#;",
            "&#x;",
            "&unknown;",
            "\\",
            "\\u12",
            "\\q",
            "\\x1",
        ] {
            assert_eq!(layers(text), Vec::<String>::new(), "{text:?}");
        }
    }

    #[test]
    fn places_lead_back_to_the_text() {
        let text = "xä%25c3%25a4&amp;#47;y";
        let last = super::layers(text, true).last().unwrap();
        assert_eq!(&*last.bytes, "xää/y".as_bytes());
        assert_eq!(last.place(3..5), Some(3..13));
        assert_eq!(last.place(5..6), Some(13..22));
        assert_eq!(last.place(5..7), Some(13..23));
    }
}
