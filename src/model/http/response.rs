//! What a tool file says about the answers to its calls.

use std::time::Duration;

use serde_json::Value;

/// `response:` of a tool, but for `wrap`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResponseSpec {
    /// Bytes are passed on in base64 instead of being an error.
    pub binary: bool,
    /// What the body says when it was done; None: the status says it all.
    pub ok: Option<Success>,
    /// The headers that the agent gets, by their names in the file.
    pub headers: Vec<String>,
    /// How long an answer that says "not yet" is followed.
    pub follow: Option<Follow>,
    /// In which characters the service writes when it does not say.
    pub charset: Option<Charset>,
}

/// A value in the body that tells success.
#[derive(Clone, Debug, PartialEq)]
pub struct Success {
    /// The way to it: names of members, and numbers of items from 0.
    pub at: Vec<String>,
    /// What it is then: texts, numbers, true or false.
    pub among: Vec<Value>,
}

/// `Location` is asked again and again while the status is this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    /// The status that says "not yet".
    pub status: u16,
    /// Time between two questions.
    pub every: Duration,
    /// After this time it is given up.
    pub within: Duration,
}

/// A set of characters and how it is written in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// UTF-8, ASCII within it.
    Utf8,
    /// UTF-16, the low byte first.
    Utf16Le,
    /// UTF-16, the high byte first.
    Utf16Be,
    /// windows-1252, ISO 8859-1 within it.
    Latin1,
    /// ISO 8859-15.
    Latin9,
}

impl Charset {
    /// The charset of this name, in any case; None when it is not known.
    pub fn parse(name: &str) -> Option<Charset> {
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "utf-8" | "utf8" | "us-ascii" | "ascii" => Charset::Utf8,
            "utf-16" | "utf-16le" => Charset::Utf16Le,
            "utf-16be" => Charset::Utf16Be,
            "iso-8859-1" | "iso8859-1" | "latin1" | "latin-1" | "windows-1252" | "cp1252" => Charset::Latin1,
            "iso-8859-15" | "iso8859-15" | "latin-9" | "latin9" => Charset::Latin9,
            _ => return None,
        })
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Charset::Utf8 => "utf-8",
            Charset::Utf16Le => "utf-16le",
            Charset::Utf16Be => "utf-16be",
            Charset::Latin1 => "iso-8859-1",
            Charset::Latin9 => "iso-8859-15",
        }
    }
}

impl ResponseSpec {
    /// All of it that is said, for the digest of a tool; None when nothing is.
    pub fn source(&self) -> Option<Value> {
        if *self == ResponseSpec::default() {
            return None;
        }
        let ResponseSpec { binary, ok, headers, follow, charset } = self;
        let follow = follow.as_ref().map(|f| (f.status, f.every.as_secs_f64(), f.within.as_secs_f64()));
        Some(serde_json::json!({
            "binary": binary,
            "ok": ok.as_ref().map(|ok| (&ok.at, &ok.among)),
            "headers": headers,
            "follow": follow,
            "charset": charset.map(Charset::as_str),
        }))
    }
}
