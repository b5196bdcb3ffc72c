//! MCP on the agents' port as documented, spoken by hand with the real binary: both eras, waiting for a person in every way,
//! and what a stranger, another agent or a changed call gets.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

#[path = "mcp/attacks.rs"]
mod attacks;
#[path = "mcp/client.rs"]
mod client;
mod harness;
#[path = "mcp/holes.rs"]
mod holes;
#[path = "mcp/permission.rs"]
mod permission;
#[path = "mcp/settled.rs"]
mod settled;
#[path = "mcp/stopped.rs"]
mod stopped;

use std::thread;
use std::time::Duration;

use client::{Client, LEGACY, MODERN, Open, STREAMS, gateway, holding, last_event, light, text};
use harness::gateway::{LAPTOP, TOKEN};
use harness::{Gateway, Setup, eventually};
use serde_json::{Value, json};

#[test]
fn both_eras_discover_list_and_call() {
    let gateway = gateway();
    let new = Client::new(&gateway, TOKEN);
    let discovered = new.new_era("server/discover", json!({})).json()["result"].clone();
    assert_eq!(discovered["supportedVersions"][0], MODERN);
    assert_eq!(discovered["cacheScope"], "private");
    let old = Client::legacy(&gateway, TOKEN);
    assert_eq!(old.old("ping", json!({})).json()["result"], json!({}));
    let notified = old.send(&[], &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    assert_eq!((notified.status, notified.body.as_str()), (202, ""));

    let (listed, again) =
        (old.old("tools/list", json!({})).json(), new.new_era("tools/list", json!({})).json());
    assert_eq!(listed["result"]["tools"], again["result"]["tools"]);
    let names: Vec<_> =
        listed["result"]["tools"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    // What is always denied is not offered, and this agent may not ask why.
    assert_eq!(names, ["call_service", "get_state", "render", "say", "agentpass_wait", "agentpass_pending"]);
    let service = &listed["result"]["tools"][0]["inputSchema"];
    assert_eq!(service["type"], "object");
    assert_eq!(service["required"], json!(["domain", "service"]));
    assert_eq!(listed["result"]["tools"][1]["annotations"]["readOnlyHint"], true);

    let read = json!({"entity_id": "light.desk"});
    let result = new.call("get_state", read.clone()).json()["result"].clone();
    assert_eq!((&result["resultType"], &result["isError"]), (&json!("complete"), &json!(false)));
    assert_eq!(result["structuredContent"], serde_json::from_str::<Value>(text(&result)).unwrap());
    assert_eq!(old.old_call("get_state", read)["structuredContent"], result["structuredContent"]);
    let denied = old.old_call("call_service", json!({"domain": "lock", "service": "unlock"}));
    assert_eq!(denied["isError"], true);
    assert!(
        text(&denied)
            .starts_with("Denied by policy: a rule denies it: Lock control is always denied. Do not retry.")
    );
    assert!(denied.get("structuredContent").is_none());
    gateway.verify();
}

#[test]
fn a_new_client_comes_back_until_a_person_has_answered() {
    let gateway = gateway();
    let client = Client::new(&gateway, TOKEN);
    let first = client.call("call_service", light()).json()["result"].clone();
    assert_eq!(first["resultType"], "input_required", "{first}");
    let state = first["requestState"].as_str().unwrap().to_owned();
    let id = gateway.question();

    // Neither another call, another agent nor a changed state gets anywhere, and the question stays.
    let back = |client: &Client, tool: &str, args: Value, state: &str| {
        client.new_era("tools/call", json!({"name": tool, "arguments": args, "requestState": state})).json()
    };
    let other = json!({"domain": "light", "service": "turn_on", "entity_id": "light.hall"});
    let laptop = Client::new(&gateway, LAPTOP);
    let mut bent = state.clone().into_bytes();
    bent[3] = if bent[3] == b'A' { b'B' } else { b'A' };
    let bent = String::from_utf8(bent).unwrap();
    for refused in [
        back(&client, "call_service", other, &state),
        back(&laptop, "call_service", light(), &state),
        back(&client, "call_service", light(), &bent),
        back(&client, "call_service", light(), ""),
    ] {
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
        assert_eq!(refused["error"]["data"]["reason"], "state_void");
    }
    assert_eq!(gateway.questions().len(), 1);
    assert_eq!(gateway.whole_questions()[0]["times_asked"], 1);

    let second = back(&client, "call_service", light(), &state)["result"].clone();
    assert_eq!(second["resultType"], "input_required", "{second}");
    gateway.say_yes(&id);
    let next = second["requestState"].as_str().unwrap();
    let done = back(&client, "call_service", light(), next)["result"].clone();
    assert_eq!((&done["isError"], &done["_meta"]["agentpass/request_id"]), (&json!(false), &json!(id)));
    // A state that was used brings the same.
    let again = back(&client, "call_service", light(), &state)["result"].clone();
    assert_eq!(again["_meta"]["agentpass/request_id"], json!(id));
    assert_eq!(gateway.upstream.seen().len(), 1);
    gateway.verify();
}

#[test]
fn a_state_outlives_a_restart() {
    let mut gateway = gateway();
    let client = Client::new(&gateway, TOKEN);
    let first = client.call("call_service", light()).json()["result"].clone();
    gateway.kill();
    gateway.restart();
    let client = Client::new(&gateway, TOKEN);
    gateway.say_yes(&gateway.question());
    let params = json!({"name": "call_service", "arguments": light(), "requestState": first["requestState"]});
    let done = client.new_era("tools/call", params).json()["result"].clone();
    assert_eq!(done["isError"], false, "{done}");
    assert_eq!(gateway.upstream.seen().len(), 1);
}

#[test]
fn an_old_client_waits_with_a_tool_or_on_a_stream() {
    let gateway = gateway();
    let mut client = Client::legacy(&gateway, TOKEN);
    client.accept = "application/json";
    let pending = client.old_call("call_service", light());
    let id = gateway.question();
    assert_eq!(pending["isError"], true);
    assert!(text(&pending).contains("agentpass_wait") && text(&pending).contains(&id), "{pending}");
    let open = client.old_call("agentpass_pending", json!({}));
    assert_eq!(open["structuredContent"]["waiting_for_a_person"][0]["request_id"], json!(id));
    assert!(text(&client.old_call("agentpass_wait", json!({"request_id": id}))).contains("agentpass_wait"));
    // Another agent hears nothing of it.
    let laptop = Client::legacy(&gateway, LAPTOP);
    assert!(text(&laptop.old_call("agentpass_wait", json!({"request_id": id}))).contains("no such request"));
    gateway.say_yes(&id);
    eventually("its result waits", || {
        let pending = client.old_call("agentpass_pending", json!({}));
        (pending["structuredContent"]["results"][0]["request_id"] == json!(id)).then_some(())
    });
    let done = client.old_call("agentpass_wait", json!({"request_id": id}));
    assert_eq!(done["_meta"]["agentpass/request_id"], json!(id), "{done}");
    assert_eq!(client.old_call("agentpass_pending", json!({}))["structuredContent"]["results"], json!([]));

    client.accept = STREAMS;
    let say_no = thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let params = json!({"name": "call_service", "arguments": light(), "_meta": {"progressToken": 7}});
            client.old("tools/call", params)
        });
        let id = gateway.question();
        // Longer than a call without a stream would be held.
        thread::sleep(Duration::from_secs(3));
        gateway.say_no(&id);
        waiting.join().unwrap()
    });
    assert_eq!(say_no.header("content-type"), "text/event-stream");
    let first = say_no.body.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let first: Value = serde_json::from_str(first).unwrap();
    assert_eq!(
        (&first["method"], &first["params"]["progressToken"]),
        (&json!("notifications/progress"), &json!(7))
    );
    assert!(say_no.body.matches("notifications/progress").count() >= 2, "{say_no:?}");
    assert!(
        text(&last_event(&say_no)["result"]).starts_with("Denied by a person. Do not retry."),
        "{say_no:?}"
    );
}

#[test]
fn an_old_client_takes_a_call_back_by_the_id_it_gave() {
    let gateway = Gateway::with(&holding(3600));
    let old = Client::legacy(&gateway, LAPTOP);
    let cancelled = |id: Value| {
        old.send(
            &[],
            &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}),
        )
    };
    let other = Client::legacy(&gateway, LAPTOP);
    let cancelled_elsewhere = || {
        other.send(
            &[],
            &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}),
        )
    };
    thread::scope(|scope| {
        let waiting = scope.spawn(|| old.old_call("call_service", light()));
        gateway.question();
        // The client's id is the number 1, in its own session.
        assert_eq!((cancelled(json!("1")).status, cancelled_elsewhere().status), (202, 202));
        assert_eq!(gateway.questions().len(), 1);
        assert_eq!(cancelled(json!(1)).status, 202);
        assert!(text(&waiting.join().unwrap()).contains("withdrawn"));
    });
    assert_eq!(gateway.questions().len(), 0);
}

#[test]
fn a_new_client_that_closes_its_connection_takes_its_question_back() {
    let gateway = Gateway::with(&holding(3600));
    let params = json!({"name": "call_service", "arguments": light()});
    let open = Open::new_era(&gateway, "tools/call", "call_service", params);
    gateway.question();
    drop(open);
    eventually("it was taken back", || gateway.questions().is_empty().then_some(()));
    assert_eq!(gateway.upstream.seen().len(), 0);
}

#[test]
fn strangers_and_foreign_pages_get_nothing() {
    let gateway = gateway();
    let nobody = Client::new(&gateway, "not-a-token-of-anybody");
    let refused = nobody.old("initialize", json!({"protocolVersion": LEGACY}));
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer"));
    assert_eq!(refused.json()["error"]["message"], "invalid token");
    let plain = |headers: &[(&str, &str)]| nobody.site.ask("POST", "/mcp", headers, "{}").status;
    assert_eq!(plain(&[]), 401);
    let token = format!("Bearer {TOKEN}");
    let bearer = ("authorization", token.as_str());
    assert_eq!(plain(&[bearer, ("host", "evil.example")]), 403);
    assert_eq!(plain(&[bearer, ("origin", "https://evil.example")]), 403);
    assert_eq!(plain(&[bearer, ("origin", "http://127.0.0.1.evil.example")]), 403);
    assert_eq!(plain(&[bearer, ("origin", "http://127.0.0.1:6274")]), 400);
    assert_eq!(plain(&[bearer, ("host", "gate.example:8443")]), 400);
    assert_eq!(nobody.site.ask("GET", "/.well-known/oauth-protected-resource", &[], "").status, 404);
    assert_eq!(nobody.site.ask("GET", "/mcp", &[bearer], "").status, 405);

    let old = Client::legacy(&gateway, TOKEN);
    let laptop = Client { session: old.session.clone(), ..Client::new(&gateway, LAPTOP) };
    assert_eq!(laptop.old("tools/list", json!({})).status, 404);
    assert_eq!(Client::new(&gateway, TOKEN).old("tools/list", json!({})).status, 400);
    let end = |client: &Client| {
        let token = format!("Bearer {}", client.token);
        let headers = [("authorization", token.as_str()), ("mcp-session-id", client.session.as_str())];
        client.site.ask("DELETE", "/mcp", &headers, "").status
    };
    assert_eq!((end(&laptop), end(&old), end(&old)), (404, 204, 404));
    assert_eq!(old.old("ping", json!({})).status, 404);
}

#[test]
fn headers_must_say_what_the_body_says() {
    let gateway = gateway();
    let client = Client::new(&gateway, TOKEN);
    let ask = |headers: &[(&str, &str)], version: &str, method: &str, name: &str| {
        let meta = json!({"io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {}});
        let params = json!({"name": name, "arguments": {"entity_id": "a"}, "_meta": meta});
        let page =
            client.send(headers, &json!({"jsonrpc": "2.0", "id": "x", "method": method, "params": params}));
        (page.status, page.json()["error"]["code"].as_i64().unwrap_or(0))
    };
    let version = ("mcp-protocol-version", MODERN);
    let method = ("mcp-method", "tools/call");
    let call = "tools/call";
    assert_eq!(ask(&[version, method, ("mcp-name", "get_state")], MODERN, call, "get_state"), (200, 0));
    assert_eq!(
        ask(&[version, method, ("mcp-name", "=?base64?Z2V0X3N0YXRl?=")], MODERN, call, "get_state"),
        (200, 0)
    );
    for headers in [
        &[version, method][..],
        &[version, method, ("mcp-name", "say")],
        &[version, ("mcp-method", "tools/list"), ("mcp-name", "get_state")],
        &[method, ("mcp-name", "get_state")],
    ] {
        assert_eq!(ask(headers, MODERN, call, "get_state"), (400, -32020), "{headers:?}");
    }
    assert_eq!(
        ask(&[("mcp-protocol-version", "2030-01-01")], "2030-01-01", call, "get_state"),
        (400, -32022)
    );
    let ping = client.new_era("ping", json!({}));
    assert_eq!((ping.status, &ping.json()["error"]["code"]), (404, &json!(-32601)));
    assert_eq!(gateway.upstream.seen().len(), 2);
}

#[test]
fn a_reload_tells_who_listens_that_the_list_has_changed() {
    let gateway = gateway();
    let params = json!({"notifications": {"toolsListChanged": true, "promptsListChanged": true}});
    let mut stream = Open::new_era(&gateway, "subscriptions/listen", "", params);
    let first = stream.next().unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(first["params"]["notifications"], json!({"toolsListChanged": true}));
    let usual = holding(1);
    gateway.configure(&Setup {
        permissions: "defaults: [{pattern: \"*\", action: ask}]\n".into(),
        ..usual.clone()
    });
    gateway.cli(&["reload"]);
    let changed = stream.next().unwrap();
    assert_eq!(changed["method"], "notifications/tools/list_changed");
    assert_eq!(changed["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 1);
    // Without its agent, the stream ends.
    let config = usual.config.replace(TOKEN, "another-token-of-the-agent");
    gateway.configure(&Setup { config, ..usual });
    gateway.cli(&["reload"]);
    while let Some(event) = stream.next() {
        assert_eq!(event["method"], "notifications/tools/list_changed");
    }
}
