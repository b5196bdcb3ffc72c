//! The domain of a receiver, out of a text that an agent wrote.
//!
//! What reads the text later (a mail server, a browser, a library for URLs) may read it in a way of its own. So only
//! texts that all of them read alike have a domain; of the others none is known.

use std::fmt;
use std::ops::RangeInclusive;

use idna::punycode;

/// A domain in lower case and in the form of DNS: `xn--bcher-kva.example`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain(String);

const MAX_LABEL: usize = 63;
const MAX_NAME: usize = 253;
/// How labels in other scripts begin.
const ACE: &str = "xn--";

/// Lower-case letters of other scripts that every version of IDNA leaves as they are, whatever stands beside them.
/// Names with others (`ß`, `ς`, wide letters, accents that stand alone) can be given in their `xn--` form.
const LETTERS: [RangeInclusive<char>; 18] = [
    'à'..='ö',
    'ø'..='ÿ',
    'ā'..='ı',
    'ĵ'..='ľ',
    'ł'..='ň',
    'ŋ'..='ž',
    'ά'..='ί',
    'α'..='ρ',
    'σ'..='ώ',
    'а'..='џ',
    'א'..='ת',
    'ء'..='غ',
    'ف'..='ي',
    'ぁ'..='ゖ',
    'ァ'..='ヺ',
    'ー'..='ー',
    '一'..='\u{9fff}',
    '가'..='힣',
];

impl Domain {
    /// Reads the name of a domain, with or without a dot at its end. None for addresses and what is no name.
    pub fn parse(name: &str) -> Option<Domain> {
        let name = name.strip_suffix('.').unwrap_or(name).to_lowercase();
        let labels: Option<Vec<String>> = name.split('.').map(ascii_label).collect();
        let labels = labels?;
        // Browsers take whatever ends in a number for an IPv4 address.
        let is_number = |label: &String| {
            let hex = label.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
            hex || label.bytes().all(|b| b.is_ascii_digit())
        };
        let name = labels.join(".");
        (name.len() <= MAX_NAME && !labels.last().is_none_or(is_number)).then_some(Domain(name))
    }

    /// The domain of what a text names: a URL's host, what stands behind the `@` of a mail address, or a host name with
    /// or without a port. None when the text can be read in two ways, and for addresses in place of a name.
    pub fn of_receiver(text: &str) -> Option<Domain> {
        if text.contains(|c: char| c == '\\' || c.is_control() || c.is_whitespace()) {
            return None;
        }
        match (text.split_once("://"), text.split_once('@')) {
            (Some((scheme, rest)), _) => {
                let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
                if is_scheme(scheme) { Domain::of_host(authority) } else { None }
            }
            (None, Some((mailbox, domain))) if is_mailbox(mailbox) => Domain::parse(domain),
            (None, Some(_)) => None,
            (None, None) => Domain::of_host(text),
        }
    }

    /// Reads `host[:port]`.
    fn of_host(text: &str) -> Option<Domain> {
        match text.split_once(':') {
            None => Domain::parse(text),
            Some((host, "")) => Domain::parse(host),
            Some((host, port)) => {
                let is_port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
                if is_port { Domain::parse(host) } else { None }
            }
        }
    }

    /// Whether it is `other` or lies below it.
    pub fn is_within(&self, other: &Domain) -> bool {
        self.0.strip_suffix(&other.0).is_some_and(|below| below.is_empty() || below.ends_with('.'))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A label of a name in the form of DNS.
fn ascii_label(label: &str) -> Option<String> {
    let fits = |c: char| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_') || is_known_letter(c)
    };
    if label.is_empty() || label.len() > MAX_NAME || !label.chars().all(fits) {
        return None;
    }
    let ascii = match label.strip_prefix(ACE) {
        // Must stand for another script, and in the one way to write it: some would take `xn--evil-` for `evil`.
        Some(encoded) => {
            let decoded = punycode::decode_to_string(encoded).filter(|decoded| !decoded.is_ascii())?;
            (punycode::encode_str(&decoded).as_deref() == Some(encoded)).then(|| label.to_owned())?
        }
        None if label.is_ascii() => label.to_owned(),
        None => format!("{ACE}{}", punycode::encode_str(label)?),
    };
    (ascii.len() <= MAX_LABEL).then_some(ascii)
}

fn is_known_letter(c: char) -> bool {
    LETTERS.iter().any(|range| range.contains(&c))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// What stands before the only `@` of a mail address. Characters that lead elsewhere in some program are refused:
/// routes (`a%b`), lists, quotes, what begins a URL.
fn is_mailbox(text: &str) -> bool {
    !text.is_empty() && !text.contains(['%', '/', ':', '?', '#', ',', ';', '<', '>', '(', ')', '[', ']', '"'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_urls_and_mail_addresses_have_a_domain() {
        for (text, domain) in [
            ("example.org", "example.org"),
            ("Example.ORG.", "example.org"),
            ("localhost", "localhost"),
            ("a_b.example:8080", "a_b.example"),
            ("example.org.:443", "example.org"),
            ("https://Example.org", "example.org"),
            ("HTTPS://example.org:8443/a%20b/@c?d=e@f#g", "example.org"),
            ("http://example.org.?x", "example.org"),
            ("http://example.org:/x", "example.org"),
            ("ftp://files.example.org/", "files.example.org"),
            ("anna@Example.org", "example.org"),
            ("anna+x.y@mail.example.org.", "mail.example.org"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("XN--Bcher-KVA.example", "xn--bcher-kva.example"),
            ("anna@москва.example", "xn--80adxhks.example"),
            ("https://例え.テスト/", "xn--r8jz45g.xn--zckzah"),
            ("1password.example", "1password.example"),
        ] {
            assert_eq!(Domain::of_receiver(text).map(|d| d.0).as_deref(), Some(domain), "{text}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_has_none() {
        for text in [
            "",
            ".",
            "example..org",
            ".example.org",
            "example.org..",
            "example.org/path",
            "example.org?x",
            "example.org:x",
            "example.org:65536",
            "example.org:80:80",
            "https:example.org",
            "https:/example.org",
            "https:///example.org",
            "//example.org",
            "https://user@example.org/",
            "https://example.org@evil.example/",
            "https://evil.example\\@example.org/",
            "https://ex%61mple.org/",
            "https://exa\tmple.org/",
            " https://example.org/",
            "https://example.org/ ",
            "https://example.org\u{a0}/",
            "blob:https://example.org/",
            "evil.example?x=http://example.org/",
            "http://192.0.2.1/",
            "http://3221225985/",
            "http://0xc0000201/",
            "http://192.0.2.0x1/",
            "http://example.0x/",
            "http://[2001:db8::1]/",
            "2001:db8::1",
            "127.1",
            "@example.org",
            "anna@",
            "anna@evil.example@example.org",
            "anna@evil.example,x@example.org",
            "anna%evil.example@example.org",
            "Anna <anna@example.org>",
            "mailto:anna@example.org",
            "anna@[192.0.2.1]",
            "anna@example.org?cc=x",
            "anna@example.org:25",
            "//evil.example/@example.org",
            "exam ple.org",
            "exam%70le.org",
            "ｅxample.org",
            "example\u{3002}org",
            "ex\u{301}ample.org",
            "straße.example",
            "xn--example-.org",
            "xn--\u{1}.org",
            "xn--.org",
            "*.example.org",
            "exam\u{ad}ple.org",
            "exa\u{200d}mple.org",
        ] {
            assert_eq!(Domain::of_receiver(text), None, "{text:?}");
        }
        assert_eq!(Domain::parse(&"a".repeat(64)), None);
        assert!(Domain::parse(&format!("{}.{0}.{0}.{}", "a".repeat(63), "a".repeat(61))).is_some());
        assert_eq!(Domain::parse(&format!("{}.{0}.{0}.{}", "a".repeat(63), "a".repeat(62))), None);
    }

    #[test]
    fn within_means_equal_or_below() {
        let domain = |name: &str| Domain::parse(name).unwrap();
        let own = domain("customer.example");
        for (name, within) in [
            ("customer.example", true),
            ("mail.customer.example", true),
            ("a.b.customer.example", true),
            ("notcustomer.example", false),
            ("example", false),
            ("customer.example.evil.example", false),
        ] {
            assert_eq!(domain(name).is_within(&own), within, "{name}");
        }
    }
}
