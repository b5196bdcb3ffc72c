//! Free text over what was recorded of a call. ASCII letters match in both cases; `%` and `_` mean themselves.

use rusqlite::types::Value as Sql;
use serde_json::Value;

/// A text to look for.
pub(super) struct Search {
    /// A LIKE pattern for plain columns and unescaped texts.
    plain: String,
    /// The same for JSON text, in which some characters are written otherwise.
    json: String,
    /// A whole request id finds its request.
    id: String,
}

impl Search {
    pub(super) fn new(text: &str) -> Search {
        let json = Value::String(text.to_owned()).to_string();
        let inner = json.strip_prefix('"').and_then(|s| s.strip_suffix('"')).unwrap_or_default();
        Search { plain: pattern(text), json: pattern(inner), id: text.to_lowercase() }
    }

    /// A condition on `calls c`, `events e` (what began it), `f` (what ended it), `n` (a note added later) and `d` (the last change of it). Whole
    /// events are looked at first, which is cheap, and only what matches there is taken apart.
    pub(super) fn condition(&self, values: &mut Vec<Sql>) -> String {
        let mut bind = |text: &str| {
            values.push(text.to_owned().into());
            format!("?{}", values.len())
        };
        let (plain, json, id) = (bind(&self.plain), bind(&self.json), bind(&self.id));
        let like = |what: &str, pattern: &str| format!("{what} LIKE {pattern} ESCAPE '\\'");
        let within = |event: &str, path: &str, pattern: &str| {
            let inside = like(&format!("{event}.body {path}"), pattern);
            format!("CASE WHEN json_valid({event}.body) THEN {inside} END")
        };
        let roughly = ["e", "f", "n", "d"].map(|event| like(&format!("{event}.body"), &json)).join(" OR ");
        let exactly = [
            like("c.tool", &plain),
            like("c.agent", &plain),
            like("c.session", &plain),
            within("e", "->> '$.reason'", &plain),
            within("e", "-> '$.args'", &json),
            within("f", "->> '$.message'", &plain),
            within("f", "->> '$.note'", &plain),
            within("f", "->> '$.result'", &plain),
            within("n", "->> '$.note'", &plain),
            within("d", "-> '$.args'", &json),
        ];
        format!("(({roughly}) AND ({}) OR c.request_id = {id})", exactly.join(" OR "))
    }
}

/// A LIKE pattern for `text` anywhere, with `\` as its escape.
fn pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}
