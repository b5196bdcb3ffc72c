//! What the service does with a text and its entities, and what it would make of it by itself.

use serde_json::{Value, json};

/// The longest text of a message, in UTF-16 units.
pub const MAX_TEXT: usize = 4096;
/// The most entities of a message.
pub const MAX_ENTITIES: usize = 100;

const KINDS: [&str; 17] = [
    "bold",
    "italic",
    "underline",
    "strikethrough",
    "spoiler",
    "blockquote",
    "expandable_blockquote",
    "code",
    "pre",
    "text_link",
    "text_mention",
    "mention",
    "hashtag",
    "bot_command",
    "url",
    "email",
    "custom_emoji",
];

/// Length in UTF-16 units.
pub fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The text as the service keeps it: without blanks at both ends; the entities moved along.
pub fn trimmed(text: &str, entities: &[Value]) -> (String, Vec<Value>) {
    let start = text.len() - text.trim_start().len();
    let lead = units(&text[..start]);
    let kept = text.trim().to_owned();
    let length = units(&kept);
    let moved = entities.iter().filter_map(|entity| {
        let (offset, size) = range(entity)?;
        let from = offset.saturating_sub(lead);
        let to = (offset + size).saturating_sub(lead).min(length);
        let mut entity = entity.clone();
        entity["offset"] = json!(from);
        entity["length"] = json!(to.checked_sub(from).filter(|n| *n > 0)?);
        Some(entity)
    });
    let moved = moved.collect();
    (kept, moved)
}

fn range(entity: &Value) -> Option<(usize, usize)> {
    let offset = usize::try_from(entity["offset"].as_i64()?).ok()?;
    let length = usize::try_from(entity["length"].as_i64()?).ok()?;
    Some((offset, length))
}

/// What is wrong with the entities of a text.
pub fn check_entities(text: &str, entities: &[Value]) -> Result<(), String> {
    if entities.len() > MAX_ENTITIES {
        return Err(format!("{} entities, the service keeps {MAX_ENTITIES}", entities.len()));
    }
    let utf16: Vec<u16> = text.encode_utf16().collect();
    for entity in entities {
        let kind = entity["type"].as_str().unwrap_or_default();
        if !KINDS.contains(&kind) {
            return Err(format!("can't parse MessageEntity: unsupported type \"{kind}\""));
        }
        let Some((offset, length)) = range(entity) else {
            return Err("can't parse MessageEntity: offset and length must be whole and not negative".into());
        };
        if length == 0 {
            return Err(format!("entity {kind} at {offset} is empty"));
        }
        let Some(end) = offset.checked_add(length).filter(|end| *end <= utf16.len()) else {
            return Err(format!("entity {kind} at {offset}+{length} is outside of {} units", utf16.len()));
        };
        let splits = |at: usize| utf16.get(at).is_some_and(|unit| (0xdc00..0xe000).contains(unit));
        if splits(offset) || splits(end) {
            return Err(format!("entity {kind} at {offset}+{length} splits a surrogate pair"));
        }
    }
    Ok(())
}

/// The text that an entity covers.
pub fn covered(text: &str, entity: &Value) -> String {
    let Some((offset, length)) = range(entity) else { return String::new() };
    let utf16: Vec<u16> = text.encode_utf16().skip(offset).take(length).collect();
    String::from_utf16_lossy(&utf16)
}

/// What the service would make tappable by itself: links, mentions, commands and hashtags outside of code.
pub fn live(text: &str, entities: &[Value]) -> Vec<String> {
    let is_code = |at: usize| {
        entities.iter().any(|entity| {
            let covers =
                range(entity).is_some_and(|(offset, length)| (offset..offset + length).contains(&at));
            covers && matches!(entity["type"].as_str(), Some("code" | "pre"))
        })
    };
    let mut found = Vec::new();
    let mut at = 0;
    for word in text.split_inclusive(|c: char| c.is_whitespace() || "\"'(),;".contains(c)) {
        let clean = word.trim_end_matches(|c: char| c.is_whitespace() || "\"'(),;.:!?".contains(c));
        if is_live(clean) && !is_code(at) {
            found.push(clean.to_owned());
        }
        at += units(word);
    }
    found
}

fn is_live(word: &str) -> bool {
    let tail = |prefix: char| word.strip_prefix(prefix).unwrap_or_default();
    let is_name = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if word.contains("://") || word.starts_with("www.") || word.starts_with("t.me/") {
        return true;
    }
    is_name(tail('@')) && tail('@').len() >= 4 || is_name(tail('/')) || is_name(tail('#'))
}

/// Characters that a person does not see, or that change what the others look like. The service would drop some of
/// them silently.
pub fn hidden(text: &str) -> Option<char> {
    let is_hidden = |c: &char| {
        matches!(u32::from(*c),
            0..=9 | 0xb..=0x1f | 0x7f..=0x9f | 0xad | 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e
            | 0x2060..=0x206f | 0xfeff | 0xfff9..=0xfffb | 0xe0000..=0xe0fff)
    };
    // Within an emoji, and between letters of some scripts, a joiner is no secret.
    let chars: Vec<char> = text.chars().collect();
    let far = |at: Option<usize>| at.and_then(|at| chars.get(at)).is_some_and(|c| u32::from(*c) > 0x5ff);
    let joins = |at: usize| {
        matches!(chars[at], '\u{200c}' | '\u{200d}') && far(at.checked_sub(1)) && far(Some(at + 1))
    };
    (0..chars.len()).find(|at| is_hidden(&chars[*at]) && !joins(*at)).map(|at| chars[at])
}
