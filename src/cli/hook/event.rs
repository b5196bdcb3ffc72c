//! Events of coding agents, and the calls that stand for them.

use serde_json::{Map, Value};

use crate::base::digest::Digest;
use crate::base::json::{canonical, parse_strict};
use crate::protocol::coding_agent::call;

/// Levels of an event; the gateway takes as many.
const MAX_DEPTH: u8 = 32;

/// What a coding agent is about to do.
#[derive(Debug, PartialEq)]
pub(super) struct HookEvent {
    pub kind: EventKind,
    /// The tool of the gateway, and its arguments.
    pub tool: &'static str,
    pub args: Map<String, Value>,
    pub session: Option<String>,
    /// Only where the event stands for one use of a tool: one yes must not cover the same command for a day.
    pub key: Option<String>,
}

/// When the agent asks. What it can be told differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventKind {
    /// Before each use of a tool.
    PreToolUse,
    /// Where the agent itself would ask the person at the terminal.
    PermissionRequest,
}

impl EventKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            EventKind::PreToolUse => "PreToolUse",
            EventKind::PermissionRequest => "PermissionRequest",
        }
    }

    fn read(word: &str) -> Option<EventKind> {
        [EventKind::PreToolUse, EventKind::PermissionRequest].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// The kind of an event that cannot be read, by the bytes of its member: the model writes a part of the event and may have
/// made it unreadable, but a quotation mark of its own is escaped there. Where both kinds stand, it is the one that asks.
pub(super) fn kind_of(bytes: &[u8]) -> Option<EventKind> {
    let plain: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    [EventKind::PreToolUse, EventKind::PermissionRequest].into_iter().find(|kind| {
        let member = format!("\"hook_event_name\":\"{}\"", kind.as_str());
        plain.windows(member.len()).any(|part| part == member.as_bytes())
    })
}

/// Reads an event of Claude Code.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn read(bytes: &[u8]) -> Result<HookEvent, String> {
    let event = parse_strict(bytes, MAX_DEPTH).map_err(|e| format!("the event is not JSON: {e}"))?;
    let text = |name: &str| event.get(name).and_then(Value::as_str);
    let word = text("hook_event_name").ok_or("the event has no hook_event_name")?;
    let kind = EventKind::read(word).ok_or_else(|| format!("no decision is made at {word}"))?;
    let name = text("tool_name").ok_or("the event has no tool_name")?;
    let input = event.get("tool_input").and_then(Value::as_object).ok_or("the event has no tool_input")?;
    let (tool, mut args) = call(name, input);
    args.extend(text("cwd").map(|cwd| ("cwd".to_owned(), cwd.into())));
    let bytes = || canonical(&event).map_err(|e| format!("the event cannot be told apart: {e}"));
    let key = text("tool_use_id").map(|_| bytes()).transpose()?;
    Ok(HookEvent {
        kind,
        tool,
        args,
        session: text("session_id").map(str::to_owned),
        key: key.map(|bytes| Digest::sha256(&bytes).hex()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(name: &str, input: Value) -> HookEvent {
        let event = json!({"hook_event_name": "PreToolUse", "tool_name": name, "tool_input": input,
                           "session_id": "s", "cwd": "/w", "tool_use_id": "t1", "transcript_path": "/x"});
        read(event.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn each_tool_has_its_name_and_nothing_of_its_input_is_lost() {
        for (name, input, tool, args) in [
            (
                "Bash",
                json!({"command": "ls", "description": "d", "sandbox": false}),
                "code_bash",
                json!({"command": "ls", "description": "d", "other": {"sandbox": false}}),
            ),
            (
                "Bash",
                json!({"command": "ls", "path": "/p"}),
                "code_bash",
                json!({"command": "ls", "other": {"path": "/p"}}),
            ),
            (
                "Write",
                json!({"file_path": "a", "content": "c"}),
                "code_edit",
                json!({"path": "a", "content": "c"}),
            ),
            (
                "Edit",
                json!({"file_path": "a", "old_string": "b", "new_string": "c"}),
                "code_edit",
                json!({"path": "a", "old_string": "b", "new_string": "c"}),
            ),
            (
                "MultiEdit",
                json!({"file_path": "a", "edits": [1]}),
                "code_edit",
                json!({"path": "a", "edits": [1]}),
            ),
            (
                "NotebookEdit",
                json!({"notebook_path": "a", "new_source": "x"}),
                "code_edit",
                json!({"path": "a", "other": {"new_source": "x"}}),
            ),
            (
                "Edit",
                json!({"file_path": "a", "path": "b"}),
                "code_edit",
                json!({"path": "a", "other": {"path": "b"}}),
            ),
            (
                "Grep",
                json!({"pattern": "p", "path": "d", "glob": "*"}),
                "code_read",
                json!({"path": "d", "pattern": "p", "other": {"glob": "*"}}),
            ),
            ("WebFetch", json!({"url": "u", "prompt": "p"}), "code_web", json!({"url": "u", "prompt": "p"})),
            (
                "Task",
                json!({"prompt": "p", "subagent_type": "t"}),
                "code_task",
                json!({"prompt": "p", "subagent_type": "t"}),
            ),
            ("Agent", json!({"prompt": "p"}), "code_task", json!({"prompt": "p"})),
            (
                "mcp__git__hub__push",
                json!({"a": 1}),
                "code_mcp",
                json!({"server": "git", "tool": "hub__push", "arguments": {"a": 1}}),
            ),
            ("mcp__odd", json!({}), "code_other", json!({"name": "mcp__odd", "input": {}})),
            (
                "TodoWrite",
                json!({"todos": []}),
                "code_other",
                json!({"name": "TodoWrite", "input": {"todos": []}}),
            ),
        ] {
            let event = event(name, input);
            let mut expected = args.as_object().unwrap().clone();
            expected.insert("cwd".into(), "/w".into());
            assert_eq!((event.tool, event.args), (tool, expected), "{name}");
            assert_eq!((event.kind, event.session.as_deref()), (EventKind::PreToolUse, Some("s")), "{name}");
        }
    }

    #[test]
    fn a_key_stands_for_one_use_of_a_tool() {
        let one = event("Bash", json!({"command": "ls"}));
        assert_eq!(one.key, event("Bash", json!({"command": "ls"})).key);
        assert_ne!(one.key, event("Bash", json!({"command": "ls "})).key);
        let text = json!({"hook_event_name": "PermissionRequest", "tool_name": "Bash", "tool_input": {"command": "ls"}});
        let without = read(text.to_string().as_bytes()).unwrap();
        assert_eq!((without.key, without.kind), (None, EventKind::PermissionRequest));
    }

    #[test]
    fn what_is_no_event_is_said() {
        for (text, said) in [
            ("", "the event is not JSON"),
            ("[]", "the event has no hook_event_name"),
            (r#"{"hook_event_name":"Stop"}"#, "no decision is made at Stop"),
            (r#"{"hook_event_name":"PreToolUse"}"#, "the event has no tool_name"),
            (
                r#"{"hook_event_name":"PreToolUse","tool_name":"Bash","tool_input":"ls"}"#,
                "the event has no tool_input",
            ),
            (r#"{"hook_event_name":"PreToolUse","hook_event_name":"Stop"}"#, "the event is not JSON"),
        ] {
            let why = read(text.as_bytes()).unwrap_err();
            assert!(why.starts_with(said), "{text}: {why}");
        }
        assert_eq!(kind_of(br#"{"hook_event_name":"PreToolUse"}"#), Some(EventKind::PreToolUse));
        assert_eq!(kind_of(b"x"), None);
        for (text, kind) in [
            (
                r#"{"hook_event_name": "PreToolUse", "tool_input": {"command": "rm # \ud800"}}"#,
                Some(EventKind::PreToolUse),
            ),
            (
                r#"{"hook_event_name":"PermissionRequest","tool_input":{"c":"\"hook_event_name\":\"PreToolUse\" \ud800"}}"#,
                Some(EventKind::PermissionRequest),
            ),
            (
                r#"{"hook_event_name":"PreToolUse","tool_input":{"hook_event_name":"PermissionRequest"#,
                Some(EventKind::PreToolUse),
            ),
            (r#"{"hook_event_name":"Stop"}"#, None),
        ] {
            assert_eq!(kind_of(text.as_bytes()), kind, "{text}");
        }
    }
}
