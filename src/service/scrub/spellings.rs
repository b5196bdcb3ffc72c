//! The ways in which a credential may be written, to be looked for in one pass. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::layers::layers;

/// Shorter secrets, in characters, are not looked for: replacing them would destroy ordinary results.
const MIN_SECRET_CHARS: usize = 4;

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

pub(super) fn is_long_enough(secret: &str) -> bool {
    secret.chars().count() >= MIN_SECRET_CHARS
}

/// Everything to look for in a text and in its layers, in bytes.
pub(super) fn spellings(secret: &str) -> Vec<Vec<u8>> {
    let mut all = vec![secret.to_owned()];
    all.extend([STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].map(|form| form.encode(secret)));
    all.extend(percent_encoded(secret));
    all.extend(in_json(secret));
    if secret.contains(' ') {
        // What is left of a form's text when its escapes are resolved.
        all.push(secret.replace(' ', "+"));
    }
    let mut all: Vec<Vec<u8>> = all.into_iter().map(String::into_bytes).collect();
    all.extend(in_latin_1(secret));
    all.extend(decoded(secret));
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
    let quoted = serde_json::Value::from(secret).to_string();
    let inside = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned();
    [inside.replace('/', "\\/"), inside]
}

/// In ISO 8859-1, the same read as UTF-8, and its UTF-8 read as ISO 8859-1: what becomes of `ä` where one side does not
/// know what the other speaks.
fn in_latin_1(secret: &str) -> Vec<Vec<u8>> {
    if secret.is_ascii() {
        return Vec::new();
    }
    let misread = secret.bytes().map(char::from).collect::<String>().into_bytes();
    let bytes: Option<Vec<u8>> = secret.chars().map(|c| u8::try_from(c).ok()).collect();
    let damaged = bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned().into_bytes());
    [bytes, damaged, Some(misread)].into_iter().flatten().collect()
}

/// A secret that holds what looks like an escape is changed when layers are taken off a text.
fn decoded(secret: &str) -> impl Iterator<Item = Vec<u8>> {
    let all = layers(secret, false).map(|layer| layer.bytes.into_owned());
    all.filter(|bytes| is_long_enough(&String::from_utf8_lossy(bytes)))
}
