//! The tool by which coding agents ask whether they may use a tool of their own.

use serde_json::{Map, Value, json};

use super::call::CallParams;
use super::result::ToolResult;
use crate::base::digest::Digest;
use crate::base::json::canonical;
use crate::protocol::coding_agent;

/// Says no, because nobody has answered yet.
pub(crate) const NOBODY: &str = "nobody has answered in time";

/// What a coding agent wants to do.
pub(crate) struct Permission(Map<String, Value>);

impl Permission {
    /// Makes `call` the one that stands for what it asks about.
    ///
    /// # Errors
    /// What it hears that asks for nothing.
    pub(crate) fn read(call: &mut CallParams) -> Result<Permission, ToolResult> {
        // One use of a tool that is asked about twice is one call; a key that the client gives says so itself.
        if call.args.contains_key("tool_use_id") && call.key.is_none() {
            let asked = canonical(&Value::Object(call.args.clone())).ok();
            call.key = asked.map(|bytes| Digest::sha256(&bytes).hex());
        }
        let (name, input) = (call.args.remove("tool_name"), call.args.remove("input"));
        let (Some(Value::String(name)), Some(Value::Object(input))) = (name, input) else {
            return Err(ToolResult::text("tool_name must be a string, and input an object.", true));
        };
        let (tool, args) = coding_agent::call(&name, &input);
        (call.tool, call.args) = (tool.to_owned(), args);
        Ok(Permission(input))
    }

    /// The answer, from what became of the call.
    pub(crate) fn decided(&self, decision: Result<(), String>) -> ToolResult {
        let decision = match decision {
            Ok(()) => json!({"behavior": "allow", "updatedInput": self.0}),
            Err(why) => json!({"behavior": "deny", "message": why}),
        };
        ToolResult::text(&decision.to_string(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(args: Value) -> CallParams {
        let Value::Object(args) = args else { panic!("not an object") };
        let (reason, session, key, progress, state) = Default::default();
        CallParams { tool: "agentpass_permission".into(), args, reason, session, key, progress, state }
    }

    #[test]
    fn it_stands_for_the_call_of_a_permit_tool() {
        let input = json!({"command": "ls"});
        let mut call = params(json!({"tool_name": "Bash", "input": input}));
        let permission = Permission::read(&mut call).ok().unwrap();
        assert_eq!(
            (call.tool.as_str(), &call.args, &call.key),
            ("code_bash", input.as_object().unwrap(), &None)
        );
        let text = |decision| {
            let result: Value =
                serde_json::from_str(&permission.decided(decision).for_client(false)).unwrap();
            assert_eq!((&result["isError"], result.get("structuredContent")), (&json!(false), None));
            serde_json::from_str::<Value>(result["content"][0]["text"].as_str().unwrap()).unwrap()
        };
        assert_eq!(text(Ok(())), json!({"behavior": "allow", "updatedInput": input}));
        assert_eq!(text(Err("no".into())), json!({"behavior": "deny", "message": "no"}));
        let once = json!({"tool_name": "Bash", "input": input, "tool_use_id": "t"});
        let mut call = params(once);
        assert!(Permission::read(&mut call).is_ok() && call.key.is_some());
        for bad in
            [json!({}), json!({"tool_name": 7, "input": {}}), json!({"tool_name": "Bash", "input": "ls"})]
        {
            assert!(Permission::read(&mut params(bad)).is_err());
        }
    }
}
