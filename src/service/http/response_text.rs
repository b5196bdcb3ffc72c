//! Decodes the bytes of a response to text, by whatever says which characters they stand for. Pure.

use crate::base::safe_text::visible;
use crate::model::Charset;

/// The most characters of a content type that are shown.
const MAX_CONTENT_TYPE_CHARS: usize = 100;

/// How compressed bodies begin: gzip, zstd, zlib at its three levels.
const COMPRESSED: [&[u8]; 5] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x78\x01", b"\x78\x9c", b"\x78\xda"];

/// What 0x80 to 0x9F mean in windows-1252, which "latin-1" means in practice (WHATWG Encoding); bytes without a meaning
/// stay control characters.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// Where ISO 8859-15 differs from ISO 8859-1.
const LATIN_9: [(u8, char); 8] =
    [(0xa4, '€'), (0xa6, 'Š'), (0xa8, 'š'), (0xb4, 'Ž'), (0xb8, 'ž'), (0xbc, 'Œ'), (0xbd, 'œ'), (0xbe, 'Ÿ')];

/// What a content type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentKind {
    Json,
    Text,
    Other,
    /// There is no content type.
    Missing,
}

impl ContentKind {
    pub(super) fn new(content_type: Option<&str>) -> ContentKind {
        let Some(content_type) = content_type else { return ContentKind::Missing };
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" | "text/json" => ContentKind::Json,
            "application/xml" | "application/javascript" | "application/x-www-form-urlencoded" => {
                ContentKind::Text
            }
            other if other.ends_with("+json") => ContentKind::Json,
            other if other.ends_with("+xml") || other.starts_with("text/") => ContentKind::Text,
            _ => ContentKind::Other,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct DecodedText {
    pub(super) text: String,
    /// Whether something could not be decoded and became U+FFFD.
    pub(super) damaged: bool,
}

/// Why a body is not text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotText {
    Compressed,
    Binary(Vec<u8>),
}

/// The charset that a content type names, where it is a known one.
fn named(content_type: &str) -> Option<Charset> {
    let params = content_type.split(';').skip(1).filter_map(|param| param.split_once('='));
    let mut charsets = params.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    charsets.next().and_then(|(_, value)| Charset::parse(value.trim().trim_matches('"')))
}

/// Decodes a body by the charset that its content type names, else by what its bytes show, else by `unsaid`, else as
/// UTF-8. What is declared as text is text, whatever bytes it holds; other bytes that are not UTF-8 are not.
pub(super) fn decode(
    body: Vec<u8>,
    content_type: Option<&str>,
    unsaid: Option<Charset>,
) -> Result<DecodedText, NotText> {
    let kind = ContentKind::new(content_type);
    let shown = || shown_by(&body, kind);
    match content_type.and_then(named).or_else(shown).or(unsaid) {
        Some(Charset::Utf16Le) => Ok(utf16(&body, u16::from_le_bytes, u16::from_be_bytes)),
        Some(Charset::Utf16Be) => Ok(utf16(&body, u16::from_be_bytes, u16::from_le_bytes)),
        Some(charset @ (Charset::Latin1 | Charset::Latin9)) => {
            let text = body.iter().map(|byte| character(*byte, charset)).collect();
            Ok(DecodedText { text, damaged: false })
        }
        Some(Charset::Utf8) | None => utf8(body, kind),
    }
}

/// What people can read of a body.
pub(super) fn readable(body: &[u8], content_type: Option<&str>, unsaid: Option<Charset>) -> String {
    match decode(body.to_vec(), content_type, unsaid) {
        Ok(text) => text.text,
        Err(NotText::Compressed) => String::new(),
        Err(NotText::Binary(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
    }
}

/// The content type and the number of bytes, in words.
pub(super) fn described(content_type: Option<&str>, bytes: usize) -> String {
    let kind: String =
        content_type.unwrap_or("no content type").chars().take(MAX_CONTENT_TYPE_CHARS).collect();
    format!("{}, {bytes} bytes", visible(&kind))
}

fn utf8(body: Vec<u8>, kind: ContentKind) -> Result<DecodedText, NotText> {
    let bytes = match String::from_utf8(body) {
        Ok(text) => return Ok(DecodedText { text, damaged: false }),
        Err(broken) => broken.into_bytes(),
    };
    if COMPRESSED.iter().any(|start| bytes.starts_with(start)) {
        return Err(NotText::Compressed);
    }
    match kind {
        ContentKind::Json | ContentKind::Text => {
            Ok(DecodedText { text: String::from_utf8_lossy(&bytes).into_owned(), damaged: true })
        }
        ContentKind::Other | ContentKind::Missing => Err(NotText::Binary(bytes)),
    }
}

/// UTF-16 shows by a byte order mark; in text also by every other byte being zero, as in ASCII characters.
fn shown_by(body: &[u8], kind: ContentKind) -> Option<Charset> {
    match body {
        [0xff, 0xfe, ..] => return Some(Charset::Utf16Le),
        [0xfe, 0xff, ..] => return Some(Charset::Utf16Be),
        _ => {}
    }
    if kind == ContentKind::Other || body.len() < 4 || !body.contains(&0) {
        return None;
    }
    let zeros = |odd: usize| body.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    let most = body.len() / 3;
    match (zeros(0), zeros(1)) {
        (_, low) if low >= most => Some(Charset::Utf16Le),
        (high, _) if high >= most => Some(Charset::Utf16Be),
        _ => None,
    }
}

/// A byte order mark overrides the byte order that was named.
fn utf16(body: &[u8], said: fn([u8; 2]) -> u16, other: fn([u8; 2]) -> u16) -> DecodedText {
    let mut damaged = body.len() % 2 == 1;
    let pair = |unit: &[u8]| <[u8; 2]>::try_from(unit).unwrap_or_default();
    let read = match body.get(..2).map(pair).map(said) {
        Some(0xfffe) => other,
        _ => said,
    };
    let units = body.chunks_exact(2).map(|unit| read(pair(unit)));
    let characters = char::decode_utf16(units).map(|c| {
        damaged |= c.is_err();
        c.unwrap_or(char::REPLACEMENT_CHARACTER)
    });
    let text: String = characters.skip_while(|c| *c == '\u{feff}').collect();
    DecodedText { text, damaged }
}

fn character(byte: u8, charset: Charset) -> char {
    let latin_9 = || LATIN_9.iter().find(|(other, _)| *other == byte).map(|(_, c)| *c);
    let control = || WINDOWS_1252.get(usize::from(byte).wrapping_sub(0x80)).copied();
    let special = if charset == Charset::Latin9 { latin_9() } else { control() };
    special.unwrap_or(char::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8], content_type: &str) -> Result<(String, bool), NotText> {
        let content_type = (!content_type.is_empty()).then_some(content_type);
        decode(body.to_vec(), content_type, None).map(|text| (text.text, text.damaged))
    }

    #[test]
    fn what_is_named_is_honoured() {
        let sound = |text: &str| Ok((text.to_owned(), false));
        for name in ["iso-8859-1", "LATIN1", "\"windows-1252\""] {
            assert_eq!(read(b"h\xe4 \x80", &format!("text/plain; charset={name}")), sound("hä €"), "{name}");
        }
        assert_eq!(read(b"\xa4\x80", "text/plain;x=y; Charset=ISO-8859-15"), sound("€\u{80}"));
        assert_eq!(read(b"a\0\xe4\0=\xd8\0\xde", "text/plain; charset=utf-16le"), sound("aä😀"));
        assert_eq!(read(b"\0a\0\xe4", "text/plain; charset=utf-16be"), sound("aä"));
        assert_eq!(read("ä".as_bytes(), "text/plain; charset=klingon"), sound("ä"));
        assert_eq!(decode(b"\xe4".to_vec(), None, Some(Charset::Latin1)).unwrap().text, "ä");
    }

    #[test]
    fn utf_16_shows_itself() {
        for body in [&b"\xff\xfea\0b\0"[..], b"\xfe\xff\0a\0b", b"a\0b\0", b"\0a\0b"] {
            assert_eq!(read(body, "application/json"), Ok(("ab".into(), false)), "{body:?}");
        }
        assert_eq!(read(b"a\0b\0\0\xd8", "text/plain"), Ok(("ab\u{fffd}".into(), true)), "half a character");
        assert_eq!(read(b"one \0 zero", "text/plain"), Ok(("one \0 zero".into(), false)));
        assert_eq!(read(b"\0", "text/plain"), Ok(("\0".into(), false)));
    }

    #[test]
    fn text_stays_text_and_bytes_are_bytes() {
        assert_eq!(read(b"h\xe4user", "text/html"), Ok(("h\u{fffd}user".into(), true)));
        assert_eq!(read(b"{\"a\":\"\xff\"}", "application/json"), Ok(("{\"a\":\"\u{fffd}\"}".into(), true)));
        for kind in ["image/png", "application/octet-stream", ""] {
            assert_eq!(read(b"\x89PNG\xff", kind), Err(NotText::Binary(b"\x89PNG\xff".to_vec())), "{kind}");
        }
        assert_eq!(read(b"\x1f\x8b\x08\xff", "application/json"), Err(NotText::Compressed));
    }
}
