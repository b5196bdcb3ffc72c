//! What a coding agent does itself: asked about over MCP, never called.

use std::thread;

use serde_json::{Value, json};

use crate::client::{Client, Open, holding, last_event, text};
use crate::harness::gateway::{LAPTOP, TOKEN};
use crate::harness::{Gateway, Setup, eventually};

/// The default agent is a coding agent; laptop has no tool of permits.
pub(crate) fn coding(seconds: u32) -> Gateway {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let usual = holding(seconds);
    let services = format!(
        "services:\n  coding: {{handler: permit, tools: \"{}\"}}\n",
        root.join("tools/coding-agent.yaml").display()
    );
    let permissions = "rules:\n  - {pattern: \"code_*\", agents: [laptop], action: deny}\n  \
                       - {pattern: \"code_read\", action: allow}\n  \
                       - {pattern: \"code_web\", action: deny, description: \"No web\"}\n\
                       defaults: [{pattern: \"*\", action: ask}]\n";
    let config = usual.config.replace("services:\n", &services);
    Gateway::with(&Setup { config, permissions: permissions.into(), ..usual })
}

pub(crate) fn bash(command: &str) -> Value {
    json!({"tool_name": "Bash", "input": {"command": command}})
}

/// The decision in a result.
pub(crate) fn decision(result: &Value) -> Value {
    assert_eq!((&result["isError"], result.get("structuredContent")), (&json!(false), None), "{result}");
    serde_json::from_str(text(result)).unwrap()
}

const ASK: &str = "agentpass_permission";

#[test]
fn a_coding_agent_hears_yes_or_no_as_json() {
    let gateway = coding(1);
    let (new, old) = (Client::new(&gateway, TOKEN), Client::legacy(&gateway, TOKEN));
    let read = json!({"tool_name": "Read", "input": {"file_path": "/etc/hosts"}});
    let allowed = json!({"behavior": "allow", "updatedInput": {"file_path": "/etc/hosts"}});
    assert_eq!(decision(&new.call(ASK, read.clone()).json()["result"]), allowed);
    assert_eq!(decision(&old.old_call(ASK, read)), allowed);
    let web = json!({"tool_name": "WebFetch", "input": {"url": "https://a.example"}});
    let denied = json!({"behavior": "deny", "message": "Denied by policy: No web"});
    assert_eq!(decision(&old.old_call(ASK, web)), denied);
    let bad = old.old_call(ASK, json!({"tool_name": "Bash", "input": "ls"}));
    assert_eq!(bad["isError"], true);
    let outcomes: Vec<_> = gateway.audit().iter().map(|row| row["outcome"].clone()).collect();
    assert_eq!(outcomes, ["denied", "permitted", "permitted"]);
    assert!(gateway.upstream.seen().is_empty());
    gateway.verify();
}

#[test]
fn an_old_client_is_kept_waiting_for_a_permission_and_a_new_one_comes_back() {
    let gateway = coding(1);
    let old = Client::legacy(&gateway, TOKEN);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| old.old("tools/call", json!({"name": ASK, "arguments": bash("make")})));
        let id = gateway.question();
        // Longer than calls are held, and without a progress token.
        thread::sleep(std::time::Duration::from_secs(2));
        assert_eq!(gateway.json(&["deny", &id, "--note", "not now", "--json"])["outcome"], "resolved");
        let page = waiting.join().unwrap();
        assert_eq!(page.header("content-type"), "text/event-stream");
        let denied = json!({"behavior": "deny", "message": "Denied by a person: not now"});
        assert_eq!(decision(&last_event(&page)["result"]), denied);
    });
    let new = Client::new(&gateway, TOKEN);
    let first = new.call(ASK, bash("make all")).json()["result"].clone();
    assert_eq!(first["resultType"], "input_required", "{first}");
    gateway.say_yes(&gateway.question());
    let come = |tool: &str, args: Value| {
        let params = json!({"name": tool, "arguments": args, "requestState": first["requestState"]});
        new.new_era("tools/call", params).json()
    };
    // The state is of the question for permission, not of the tool behind it.
    assert_eq!(come("code_bash", json!({"command": "make all"}))["error"]["data"]["reason"], "state_void");
    let done = come(ASK, bash("make all"));
    assert_eq!(decision(&done["result"])["behavior"], "allow", "{done}");
}

#[test]
fn who_cannot_read_a_stream_is_told_no_and_the_question_is_taken_back() {
    let gateway = coding(1);
    let mut old = Client::legacy(&gateway, TOKEN);
    old.accept = "application/json";
    let told = decision(&old.old_call(ASK, bash("make")));
    assert_eq!(told, json!({"behavior": "deny", "message": "nobody has answered in time"}));
    eventually("it was taken back", || gateway.questions().is_empty().then_some(()));
    let params = json!({"name": ASK, "arguments": bash("make all")});
    let open = Open::new_era(&gateway, "tools/call", ASK, params);
    gateway.question();
    drop(open);
    eventually("it was taken back, too", || gateway.questions().is_empty().then_some(()));
}

#[test]
fn tools_of_permits_are_no_tools_here() {
    let gateway = coding(1);
    let names = |client: &Client| -> Vec<String> {
        let tools = client.new_era("tools/list", json!({})).json()["result"]["tools"].clone();
        tools.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    };
    let (new, laptop) = (Client::new(&gateway, TOKEN), Client::new(&gateway, LAPTOP));
    let listed = names(&new);
    assert!(listed.contains(&ASK.to_owned()) && !listed.iter().any(|name| name.starts_with("code_")));
    // It has none, so it has nothing to ask about; and this agent may ask why.
    assert!(
        !names(&laptop).contains(&ASK.to_owned()) && names(&laptop).contains(&"agentpass_explain".to_owned())
    );
    let refused = laptop.call(ASK, bash("ls")).json();
    assert_eq!(refused["error"]["code"], -32602, "{refused}");

    let read = json!({"path": "/etc/hosts"});
    let unknown = new.call("code_read", read.clone()).json();
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    assert_eq!(unknown["error"]["message"], "Unknown tool: code_read");
    let old = Client::legacy(&gateway, TOKEN).old_call("code_read", read);
    assert_eq!(old["isError"], true);
    assert!(text(&old).starts_with("Unknown tool: code_read"), "{old}");
    assert!(gateway.audit().iter().all(|row| row["outcome"] == "refused"), "{:?}", gateway.audit());
    assert!(gateway.questions().is_empty());
    gateway.verify();
}

#[test]
fn one_use_of_a_tool_is_asked_about_once() {
    let gateway = coding(3600);
    let old = Client::legacy(&gateway, TOKEN);
    let mut once = bash("make");
    once["tool_use_id"] = "toolu_1".into();
    thread::scope(|scope| {
        let ask = || {
            let page = old.old("tools/call", json!({"name": ASK, "arguments": once}));
            let is_stream = page.header("content-type") == "text/event-stream";
            decision(&if is_stream { last_event(&page) } else { page.json() }["result"])
        };
        let waiting = [scope.spawn(ask), scope.spawn(ask)];
        let id = gateway.question();
        gateway.say_yes(&id);
        for waiting in waiting {
            assert_eq!(waiting.join().unwrap()["behavior"], "allow");
        }
    });
    assert_eq!(gateway.audit().len(), 1);
}
