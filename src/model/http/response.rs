//! How the response to a call is read.

use std::time::Duration;

use serde_json::{Value, json};

use crate::base::words::words;

/// `response:` of a tool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResponseSpec {
    /// The result becomes `{wrap: result}`.
    pub wrap: Option<String>,
    /// Bytes are passed on in base64 instead of being an error.
    pub binary: bool,
    /// What the body says when the call succeeded; None: the status says it all.
    pub ok: Option<Success>,
    /// The headers that the agent gets, named as in the file.
    pub headers: Vec<String>,
    /// Whether and how long a response that says "not yet" is followed.
    pub follow: Option<Follow>,
    /// The charset of responses that do not name one.
    pub charset: Option<Charset>,
}

/// A value in the body that tells success.
#[derive(Clone, Debug, PartialEq)]
pub struct Success {
    /// Path to the value: names of members and numbers of items, from 0.
    pub at: Vec<String>,
    /// The texts, numbers and booleans that mean success.
    pub among: Vec<Value>,
}

/// `Location` is polled while the status is this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    /// The status that says "not yet".
    pub status: u16,
    /// Time between two polls.
    pub every: Duration,
    /// Polling ends after this time.
    pub within: Duration,
}

words! {
    /// How characters are written as bytes.
    pub enum Charset {
        /// UTF-8 and with it ASCII.
        Utf8 = "utf-8",
        /// UTF-16, low byte first.
        Utf16Le = "utf-16le",
        /// UTF-16, high byte first.
        Utf16Be = "utf-16be",
        /// windows-1252 and with it ISO 8859-1.
        Latin1 = "iso-8859-1",
        /// ISO 8859-15.
        Latin9 = "iso-8859-15",
    }
}

impl Charset {
    /// The charset of this name, in any case.
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
}

impl ResponseSpec {
    /// What is said besides `wrap`, for the digest of a tool; None when nothing is.
    pub fn source(&self) -> Option<Value> {
        let ResponseSpec { wrap, binary, ok, headers, follow, charset } = self;
        if *self == (ResponseSpec { wrap: wrap.clone(), ..ResponseSpec::default() }) {
            return None;
        }
        let follow = follow.as_ref().map(|f| (f.status, f.every.as_secs_f64(), f.within.as_secs_f64()));
        Some(json!({
            "binary": binary,
            "ok": ok.as_ref().map(|ok| (&ok.at, &ok.among)),
            "headers": headers,
            "follow": follow,
            "charset": charset.map(Charset::as_str),
        }))
    }
}
