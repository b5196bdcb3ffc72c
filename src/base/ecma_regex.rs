//! Patterns as JSON Schema has them: those of ECMAScript, found anywhere in a text.

use super::whole_regex::PartRegex;

const SPACE: &str = r"\t-\r \u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}";
const WORD: &str = "0-9A-Za-z_";

/// A compiled pattern. Searching is linear in the length of the text.
#[derive(Clone, Debug)]
pub(crate) struct EcmaRegex(PartRegex);

impl EcmaRegex {
    /// # Errors
    /// The reason in one line, when it is no pattern or means something else here than there.
    pub(crate) fn new(source: &str) -> Result<EcmaRegex, String> {
        PartRegex::new(&translated(source)?).map(EcmaRegex)
    }

    pub(crate) fn finds(&self, text: &str) -> bool {
        self.0.finds(text)
    }
}

/// The pattern in the words of `regex`: what both spell alike and mean differently is written out.
fn translated(source: &str) -> Result<String, String> {
    let mut out = String::with_capacity(source.len());
    let mut chars = source.chars().peekable();
    let (mut in_class, mut previous) = (false, None);
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        match (c, in_class) {
            ('\\', _) => {
                let escaped = chars.next().ok_or("it ends in a backslash")?;
                out.push_str(&escape(escaped, in_class)?);
            }
            ('[', false) => {
                in_class = true;
                out.push('[');
                if next == Some('^') {
                    out.extend(chars.next());
                }
                if chars.peek() == Some(&']') {
                    return Err("it has an empty class".to_owned());
                }
            }
            ('-', true) if previous == Some('-') => return Err("it has -- in a class".to_owned()),
            ('[' | '&' | '~', true) => out.extend(['\\', c]),
            (']', true) => {
                in_class = false;
                out.push(']');
            }
            ('.', false) => out.push_str(r"[^\n\r\u{2028}\u{2029}]"),
            ('(', false) if next == Some('?') => {
                chars.next();
                if chars.peek() != Some(&':') {
                    return Err("it looks around, or has flags or names".to_owned());
                }
                out.push_str("(?");
            }
            _ => out.push(c),
        }
        previous = Some(c);
    }
    Ok(out)
}

fn escape(c: char, in_class: bool) -> Result<String, String> {
    Ok(match c {
        'd' => "[0-9]".to_owned(),
        'D' => "[^0-9]".to_owned(),
        'w' => format!("[{WORD}]"),
        'W' => format!("[^{WORD}]"),
        's' => format!("[{SPACE}]"),
        'S' => format!("[^{SPACE}]"),
        'b' if !in_class => r"(?-u:\b)".to_owned(),
        't' | 'n' | 'r' | 'f' | 'v' | 'x' | 'u' | 'p' | 'P' => format!("\\{c}"),
        _ if c.is_ascii_punctuation() => format!("\\{c}"),
        _ => return Err(format!("it has \\{}", c.escape_debug())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_ecmascript() {
        let finds = |pattern: &str, text: &str| EcmaRegex::new(pattern).unwrap().finds(text);
        for (pattern, yes, no) in [
            (r"^\d{4}-\d\d$", "2026-11", "\u{0662}\u{0660}\u{0662}\u{0666}-11"),
            ("b", "abc", "ac"),
            (r"^[\w-.]+$", "a-b.c", "a b"),
            (r"^\w+$", "a_1", "é"),
            ("^.$", "a", "\u{2028}"),
            (r"^[a[&&b]+$", "[&", "c"),
            (r"\bx\b", "a x", "éxa"),
            (r"^\/a\-b$", "/a-b", "a-b"),
            (r"^\u0041(?:b|c)$", "Ab", "A"),
        ] {
            assert!(finds(pattern, yes), "{pattern} {yes}");
            assert!(!finds(pattern, no), "{pattern} {no}");
        }
    }

    #[test]
    fn what_cannot_be_said_here_is_refused() {
        for pattern in
            ["(?=a)", "(?<n>a)", r"\k", r"(a)\1", "[]", "[^]", "[+--]", "(?i)a", "(", r"a\", "[z-a]"]
        {
            assert!(EcmaRegex::new(pattern).is_err(), "{pattern}");
        }
    }
}
