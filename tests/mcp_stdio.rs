//! `agentpass mcp`: an MCP server on standard input and output, the real program between a client by hand and a real gateway.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

#[path = "mcp/bridge.rs"]
mod bridge;
mod harness;

use std::time::{Duration, Instant};

use bridge::{Bridge, MODERN, bash, coding, holding, light, state, text};
use harness::gateway::{LAPTOP, TOKEN};
use harness::site::Site;
use harness::{Answer, Gateway, Setup, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

#[test]
fn what_clients_ask_first_is_answered_without_a_gateway() {
    // Nobody listens there.
    let nobody = harness::Nobody::new();
    let url = format!("ws://{}", nobody.address);
    let mut bridge = Bridge::at(&url, TOKEN);
    let discovered = bridge.new_era("server/discover", json!({}))["result"].clone();
    assert_eq!(
        (&discovered["supportedVersions"][0], &discovered["cacheScope"]),
        (&json!(MODERN), &json!("private"))
    );
    let begun = bridge.old("initialize", json!({"protocolVersion": "2025-06-18", "capabilities": {}}));
    assert_eq!(begun["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(begun["result"]["serverInfo"]["name"], "agentpass");
    bridge.notify("notifications/initialized", json!({}));
    assert_eq!(bridge.old("ping", json!({}))["result"], json!({}));
    let failed = bridge.old("tools/list", json!({}));
    assert_eq!(failed["error"]["code"], -32603, "{failed}");
    let called = bridge.old_call("get_state", json!({"entity_id": "a"}));
    assert!(text(&called).contains("no_connection") && called["isError"] == true, "{called}");
    assert_eq!(bridge.end(), Some(0));
}

#[test]
fn it_lists_what_the_gateway_lists_and_calls() {
    let gateway = holding(1);
    let mut bridge = Bridge::of(&gateway, TOKEN);
    let listed = bridge.old("tools/list", json!({}))["result"]["tools"].clone();
    let again = bridge.new_era("tools/list", json!({}))["result"].clone();
    assert_eq!((&again["tools"], &again["cacheScope"]), (&listed, &json!("private")));
    let site = Site { address: gateway.address, cookie: String::new(), csrf: String::new() };
    let bearer = format!("Bearer {TOKEN}");
    let params = json!({"_meta": bridge::meta()});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params}).to_string();
    let headers = [
        ("authorization", bearer.as_str()),
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/list"),
        ("accept", "application/json"),
    ];
    let over_http = site.ask("POST", "/mcp", &headers, &body).json()["result"].clone();
    assert_eq!(over_http, again);

    let read = json!({"entity_id": "light.desk"});
    let new = bridge.call("get_state", read.clone())["result"].clone();
    assert_eq!((&new["isError"], &new["resultType"]), (&json!(false), &json!("complete")), "{new}");
    assert!(new["_meta"]["agentpass/request_id"].is_string());
    let old = bridge.old_call("get_state", read);
    assert_eq!(old["structuredContent"], new["structuredContent"]);
    let denied = bridge.old_call("call_service", json!({"domain": "lock", "service": "unlock"}));
    assert!(
        text(&denied)
            .starts_with("Denied by policy: a rule denies it: Lock control is always denied. Do not retry.")
    );
    assert_eq!((&denied["isError"], denied.get("structuredContent")), (&json!(true), None));
    let unknown = bridge.call("no_such_tool", json!({}));
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    assert!(text(&bridge.old_call("no_such_tool", json!({}))).starts_with("Unknown tool: no_such_tool"));
    // This agent may not ask why; the other one may.
    assert_eq!(bridge.call("agentpass_explain", json!({"tool": "get_state"}))["error"]["code"], -32602);
    let mut laptop = Bridge::of(&gateway, LAPTOP);
    let why =
        laptop.old_call("agentpass_explain", json!({"tool": "get_state", "arguments": {"entity_id": "a"}}));
    assert_eq!(why["structuredContent"]["decision"], "allow", "{why}");
    assert_eq!(gateway.upstream.seen().len(), 2);
    assert_eq!((bridge.end(), laptop.end()), (Some(0), Some(0)));
    gateway.verify();
}

#[test]
fn requests_without_what_their_era_demands_are_refused() {
    let gateway = holding(1);
    let mut bridge = Bridge::of(&gateway, TOKEN);
    let with = |meta: Value| json!({"name": "get_state", "arguments": {"entity_id": "a"}, "_meta": meta});
    let mut code = |meta: Value, method: &str| {
        let params = with(meta);
        bridge.ask(method, params)["error"].clone()
    };
    let version = "io.modelcontextprotocol/protocolVersion";
    let wrong = code(json!({version: "2030-01-01"}), "tools/call");
    assert_eq!((&wrong["code"], &wrong["data"]["requested"]), (&json!(-32022), &json!("2030-01-01")));
    assert_eq!(code(json!({version: MODERN}), "tools/call")["code"], -32602);
    assert_eq!(code(bridge::meta(), "initialize")["code"], -32601);
    assert_eq!(code(json!({}), "resources/list")["code"], -32601);
    assert_eq!(gateway.upstream.seen().len(), 0);
}

#[test]
fn a_new_client_comes_back_until_a_person_has_answered() {
    let gateway = holding(1);
    let (mut bridge, mut laptop) = (Bridge::of(&gateway, TOKEN), Bridge::of(&gateway, LAPTOP));
    let first = bridge.call("call_service", light())["result"].clone();
    assert_eq!(first["resultType"], "input_required", "{first}");
    let id = gateway.question();
    let back = |bridge: &mut Bridge, args: Value, state: &str| {
        bridge
            .new_era("tools/call", json!({"name": "call_service", "arguments": args, "requestState": state}))
    };
    let other = json!({"domain": "light", "service": "turn_on", "entity_id": "light.hall"});
    for refused in [
        back(&mut bridge, other, state(&first)),
        back(&mut laptop, light(), state(&first)),
        back(&mut bridge, light(), "AAAA"),
    ] {
        assert_eq!(
            (&refused["error"]["code"], &refused["error"]["data"]["reason"]),
            (&json!(-32602), &json!("state_void"))
        );
    }
    assert_eq!(gateway.whole_questions()[0]["times_asked"], 1);
    let second = back(&mut bridge, light(), state(&first))["result"].clone();
    assert_eq!(second["resultType"], "input_required", "{second}");
    // Another bridge of the same agent goes on where this one ends: with `kill -9` nothing is taken back.
    bridge.kill();
    let mut bridge = Bridge::of(&gateway, TOKEN);
    gateway.say_yes(&id);
    let done = back(&mut bridge, light(), state(&second))["result"].clone();
    assert_eq!(
        (&done["isError"], &done["_meta"]["agentpass/request_id"]),
        (&json!(false), &json!(id)),
        "{done}"
    );
    // A state that was used brings the same.
    let again = back(&mut bridge, light(), state(&first))["result"].clone();
    assert_eq!(again["_meta"]["agentpass/request_id"], json!(id), "{again}");
    assert_eq!(gateway.upstream.seen().len(), 1);
    gateway.verify();
}

#[test]
fn an_old_client_hears_of_progress_or_waits_with_a_tool() {
    let gateway = holding(1);
    let mut bridge = Bridge::of(&gateway, TOKEN);
    let params = json!({"name": "call_service", "arguments": light(), "_meta": {"progressToken": "p"}});
    let request = bridge.send("tools/call", params);
    for _ in 0..3 {
        let progress = bridge.next();
        assert_eq!(progress["method"], "notifications/progress", "{progress}");
        assert_eq!(progress["params"]["progressToken"], "p");
    }
    gateway.say_yes(&gateway.question());
    let done = loop {
        let message = bridge.next();
        if message["id"] == request {
            break message;
        }
    };
    assert_eq!(done["result"]["isError"], false, "{done}");

    let pending = bridge.old_call("say", json!({"text": "hello"}));
    let id = gateway.question();
    assert!(text(&pending).contains("agentpass_wait") && text(&pending).contains(&id), "{pending}");
    let open = bridge.old_call("agentpass_pending", json!({}));
    assert_eq!(open["structuredContent"]["waiting_for_a_person"][0]["request_id"], json!(id));
    assert!(gateway.cli(&["approve", &id, "--set", "text=bye"]).status.success());
    eventually("its result is kept", || {
        let open = bridge.old_call("agentpass_pending", json!({}));
        open["structuredContent"]["results"]
            .as_array()
            .unwrap()
            .iter()
            .any(|r| r["request_id"] == json!(id))
            .then_some(())
    });
    let done = bridge.old_call("agentpass_wait", json!({"request_id": id}));
    assert_eq!(done["_meta"]["agentpass/request_id"], json!(id), "{done}");
    assert_eq!(done["_meta"]["agentpass/edited"], json!(["text"]), "{done}");
    // Once more, as a program would that did not see it: nothing runs again.
    let again = bridge.old_call("agentpass_wait", json!({"request_id": id}));
    assert_eq!(text(&again), text(&done), "{again}");
    let unknown = json!({"request_id": "00000000-0000-4000-8000-000000000000"});
    assert!(text(&bridge.old_call("agentpass_wait", unknown)).contains("no such request"));
    assert!(text(&bridge.old_call("agentpass_wait", json!({}))).contains("not the id"));
    assert_eq!(gateway.upstream.seen().len(), 2);
}

#[test]
fn a_result_that_another_connection_left_is_fetched() {
    let gateway = holding(1);
    let mut first = Bridge::of(&gateway, TOKEN);
    first.old_call("say", json!({"text": "hello"}));
    let id = gateway.question();
    first.kill();
    let mut bridge = Bridge::of(&gateway, TOKEN);
    assert!(text(&bridge.old_call("agentpass_wait", json!({"request_id": id}))).contains("agentpass_wait"));
    let mut laptop = Bridge::of(&gateway, LAPTOP);
    assert!(text(&laptop.old_call("agentpass_wait", json!({"request_id": id}))).contains("no such request"));
    gateway.say_yes(&id);
    let done = eventually("the result", || {
        let done = bridge.old_call("agentpass_wait", json!({"request_id": id}));
        (done["isError"] == false).then_some(done)
    });
    assert_eq!(done["_meta"]["agentpass/request_id"], json!(id));
    assert_eq!(gateway.upstream.seen().len(), 1);
}

#[test]
fn what_is_cancelled_is_taken_back_and_not_answered() {
    let gateway = holding(3600);
    let mut bridge = Bridge::of(&gateway, TOKEN);
    let request = bridge.send("tools/call", json!({"name": "call_service", "arguments": light()}));
    gateway.question();
    // The client's id is a number.
    bridge.notify("notifications/cancelled", json!({"requestId": request.to_string()}));
    assert_eq!(bridge.old("ping", json!({}))["result"], json!({}));
    assert_eq!(gateway.questions().len(), 1);
    bridge.notify("notifications/cancelled", json!({"requestId": request}));
    eventually("it was taken back", || gateway.questions().is_empty().then_some(()));
    // Its id may be used again, and nothing else is said of it.
    let read = json!({"name": "get_state", "arguments": {"entity_id": "a"}});
    let read = bridge.ask("tools/call", read);
    assert_eq!(read["result"]["isError"], false, "{read}");
    assert_eq!(gateway.upstream.seen().len(), 1);
    gateway.verify();
}

#[test]
fn a_gateway_that_restarts_between_loses_no_call_and_runs_none_twice() {
    let mut gateway = Gateway::with(&bridge::fixed_port(3600));
    let mut bridge = Bridge::of(&gateway, TOKEN);
    let request = bridge.send("tools/call", json!({"name": "call_service", "arguments": light()}));
    let id = gateway.question();
    gateway.kill();
    gateway.restart();
    gateway.say_yes(&id);
    let done = bridge.next();
    assert_eq!((&done["id"], &done["result"]["isError"]), (&request, &json!(false)), "{done}");
    assert_eq!(done["result"]["_meta"]["agentpass/request_id"], json!(id));
    assert_eq!(gateway.upstream.seen().len(), 1);
    // At the service when the gateway dies: nobody knows, and nobody repeats it.
    gateway.upstream.answer(|_| Answer::Hold);
    bridge.send("tools/call", json!({"name": "render", "arguments": {"template": "x"}}));
    gateway.upstream.wait_for(2);
    gateway.kill();
    gateway.restart();
    let unknown = bridge.next();
    assert!(text(&unknown["result"]).contains("unknown_result"), "{unknown}");
    assert_eq!(gateway.upstream.seen().len(), 2);
    gateway.verify();
}

#[test]
fn the_end_of_its_input_takes_back_what_is_open() {
    for by_signal in [false, true] {
        let gateway = holding(1);
        let mut bridge = Bridge::of(&gateway, TOKEN);
        // One that waits, and one whose client was told to wait.
        bridge.old_call("say", json!({"text": "hello"}));
        bridge.send(
            "tools/call",
            json!({"name": "call_service", "arguments": light(), "_meta": {"progressToken": 1}}),
        );
        eventually("two questions", || (gateway.questions().len() == 2).then_some(()));
        if by_signal {
            kill_process(Pid::from_raw(bridge.pid()).unwrap(), Signal::TERM).unwrap();
            assert_eq!(bridge.wait(), Some(0));
        } else {
            assert_eq!(bridge.end(), Some(0));
        }
        eventually("they were taken back", || gateway.questions().is_empty().then_some(()));
        assert_eq!(gateway.upstream.seen().len(), 0);
    }
}

#[test]
fn what_needs_no_person_is_answered_even_if_the_input_ends_at_once() {
    let gateway = holding(50);
    let mut bridge = Bridge::of(&gateway, TOKEN);
    let list = bridge.send("tools/list", json!({}));
    let call = bridge.send("tools/call", json!({"name": "get_state", "arguments": {"entity_id": "a"}}));
    assert_eq!(bridge.end(), Some(0));
    let mut answered: Vec<_> = bridge.rest().iter().map(|message| message["id"].clone()).collect();
    answered.sort_by_key(Value::to_string);
    assert_eq!(answered, [list, call]);
}

#[test]
fn junk_is_answered_and_passed_over() {
    let gateway = holding(1);
    let mut bridge = Bridge::of(&gateway, TOKEN);
    let long = "x".repeat(17 << 20);
    for (junk, code) in [
        ("{", -32700),
        ("\u{1}\u{2}", -32700),
        ("[]", -32600),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"id":1,"method":"ping"}"#, -32600),
        (&long, -32600),
        (&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), -32600),
    ] {
        bridge.line(junk.as_bytes());
        let answer = bridge.next();
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(code), &Value::Null), "{answer}");
    }
    bridge.line(b"\xff\xfe");
    assert_eq!(bridge.next()["error"]["code"], -32700);
    bridge.line(b"");
    bridge.line(b"   ");
    bridge.line(br#"{"jsonrpc":"2.0","id":7,"result":{}}"#);
    bridge.notify("notifications/odd", json!({}));
    // Longer than a gateway takes, shorter than a line may be.
    let large = bridge.old_call("say", json!({"text": "x".repeat(2 << 20)}));
    assert!(text(&large).contains("larger than"), "{large}");
    assert_eq!(bridge.old("ping", json!({}))["result"], json!({}));
    assert_eq!(gateway.upstream.seen().len(), 0);
}

#[test]
fn a_thousand_requests_at_once_are_answered_each_and_bounded() {
    let gateway = holding(50);
    let mut bridge = Bridge::of(&gateway, TOKEN);
    let ids: Vec<Value> = (0..1000)
        .map(|n| {
            bridge
                .send("tools/call", json!({"name": "get_state", "arguments": {"entity_id": format!("e{n}")}}))
        })
        .collect();
    let answers: Vec<_> = ids.iter().map(|_| bridge.next()).collect();
    let done = answers.iter().filter(|answer| answer["result"]["isError"] == false).count();
    let refused = answers.iter().filter(|answer| answer["error"]["code"] == -32603).count();
    assert_eq!(done + refused, 1000, "{:?}", answers.iter().find(|a| a["result"]["isError"] == true));
    let mut answered: Vec<_> = answers.iter().map(|answer| answer["id"].to_string()).collect();
    answered.sort();
    answered.dedup();
    assert_eq!(answered.len(), 1000);
    assert!(done >= 256, "{done}");
    assert_eq!(gateway.upstream.seen().len(), done);
}

#[test]
fn a_client_that_does_not_read_holds_up_itself_alone() {
    let gateway = holding(50);
    gateway.upstream.answer(|_| Answer::Reply(200, "text/plain", "x".repeat(500_000)));
    let mut bridge = Bridge::deaf(&gateway, TOKEN);
    for n in 0..64 {
        bridge.send("tools/call", json!({"name": "get_state", "arguments": {"entity_id": format!("e{n}")}}));
    }
    gateway.upstream.wait_for(24);
    // The signal is heard although nothing can be written.
    let began = Instant::now();
    kill_process(Pid::from_raw(bridge.pid()).unwrap(), Signal::TERM).unwrap();
    assert_eq!(bridge.wait(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_coding_agent_asks_for_permission() {
    let gateway = coding(1);
    let mut bridge = Bridge::of(&gateway, TOKEN);
    // Its tools are unknown here, and nothing is permitted by asking for one.
    let unknown = bridge.call("code_read", json!({"path": "/etc/hosts"}));
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    assert!(gateway.audit().iter().all(|row| row["outcome"] == "refused"));
    let decision = |result: &Value| serde_json::from_str::<Value>(text(result)).unwrap();
    let read = json!({"tool_name": "Read", "input": {"file_path": "/etc/hosts"}});
    let allowed = json!({"behavior": "allow", "updatedInput": {"file_path": "/etc/hosts"}});
    assert_eq!(decision(&bridge.old_call("agentpass_permission", read)), allowed);

    let request =
        bridge.send("tools/call", json!({"name": "agentpass_permission", "arguments": bash("make")}));
    let id = gateway.question();
    // Longer than calls are held.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(gateway.json(&["deny", &id, "--note", "not now", "--json"])["outcome"], "resolved");
    let denied = bridge.next();
    assert_eq!(denied["id"], request);
    assert_eq!(
        decision(&denied["result"]),
        json!({"behavior": "deny", "message": "Denied by a person: not now"})
    );
    let first = bridge.call("agentpass_permission", bash("make all"))["result"].clone();
    gateway.say_yes(&gateway.question());
    let params =
        json!({"name": "agentpass_permission", "arguments": bash("make all"), "requestState": state(&first)});
    let done = bridge.new_era("tools/call", params)["result"].clone();
    assert_eq!(decision(&done)["behavior"], "allow");
    // An agent without such tools has nothing to ask.
    let mut laptop = Bridge::of(&gateway, LAPTOP);
    let refused = laptop.call("agentpass_permission", bash("ls"));
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    assert!(gateway.upstream.seen().is_empty());
    gateway.verify();
}

#[test]
fn a_new_client_that_does_not_come_back_within_a_minute_takes_its_question_back() {
    let usual = bridge::fixed_port(1);
    let config = usual.config.replace("approval_timeout: 60", "approval_timeout: 900");
    let gateway = Gateway::with(&Setup { config, ..usual });
    let mut bridge = Bridge::of(&gateway, TOKEN);
    let first = bridge.call("call_service", light())["result"].clone();
    let ended = Instant::now();
    assert_eq!(first["resultType"], "input_required");
    let id = gateway.question();
    while !gateway.questions().is_empty() {
        assert!(ended.elapsed() < Duration::from_secs(300), "it was never taken back");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(ended.elapsed() > Duration::from_secs(55));
    assert_eq!(gateway.row(&id)["outcome"], "withdrawn");
    // Whoever comes back late hears that.
    let params = json!({"name": "call_service", "arguments": light(), "requestState": state(&first)});
    assert!(text(&bridge.new_era("tools/call", params)["result"]).contains("withdrawn"));
    assert!(gateway.upstream.seen().is_empty());
}

#[test]
fn after_ten_legs_a_new_client_is_told_to_wait_with_the_tool() {
    let gateway = holding(1);
    let mut bridge = Bridge::of(&gateway, TOKEN);
    let mut params = json!({"name": "call_service", "arguments": light()});
    for leg in 0..10 {
        let result = bridge.new_era("tools/call", params.clone())["result"].clone();
        assert_eq!(result["resultType"], "input_required", "leg {leg}: {result}");
        params["requestState"] = result["requestState"].clone();
    }
    let last = bridge.new_era("tools/call", params)["result"].clone();
    let id = gateway.question();
    assert!(text(&last).contains("agentpass_wait") && text(&last).contains(&id), "{last}");
    gateway.say_yes(&id);
    let done = bridge.call("agentpass_wait", json!({"request_id": id}))["result"].clone();
    assert_eq!(done["isError"], false, "{done}");
    assert_eq!(gateway.upstream.seen().len(), 1);
}

#[test]
fn identical_calls_of_one_client_share_their_question_and_one_may_leave() {
    let gateway = holding(3600);
    let mut bridge = Bridge::of(&gateway, TOKEN);
    let ask = |bridge: &mut Bridge| {
        bridge.send("tools/call", json!({"name": "call_service", "arguments": light()}))
    };
    let (first, second) = (ask(&mut bridge), ask(&mut bridge));
    let id = gateway.question();
    eventually("both have asked", || (gateway.whole_questions()[0]["times_asked"] == 2).then_some(()));
    // Both have heard of their question before this is answered.
    assert_eq!(bridge.old("tools/list", json!({}))["error"], Value::Null);
    bridge.notify("notifications/cancelled", json!({"requestId": first}));
    assert_eq!(bridge.old("tools/list", json!({}))["error"], Value::Null);
    assert_eq!(gateway.questions().len(), 1, "the other one still waits");
    gateway.say_yes(&id);
    let done = bridge.next();
    assert_eq!((&done["id"], &done["result"]["isError"]), (&second, &json!(false)), "{done}");
    assert_eq!(gateway.upstream.seen().len(), 1);
}

#[test]
fn whoever_comes_back_in_whatever_way_runs_nothing_twice() {
    let gateway = holding(1);
    gateway.upstream.answer(|_| Answer::Hold);
    let mut bridge = Bridge::of(&gateway, TOKEN);
    let first = bridge.call("render", json!({"template": "x"}))["result"].clone();
    assert_eq!(first["resultType"], "input_required", "{first}");
    gateway.upstream.wait_for(1);
    // Killed while the service is at it; then two bridges come back with the same state, again and again.
    bridge.kill();
    let mut bridges = [Bridge::of(&gateway, TOKEN), Bridge::of(&gateway, TOKEN)];
    let mut params = json!({"name": "render", "arguments": {"template": "x"}, "requestState": state(&first)});
    params["_meta"] = bridge::meta();
    for bridge in &mut bridges {
        let leg = bridge.ask("tools/call", params.clone())["result"].clone();
        assert_eq!(leg["resultType"], "input_required", "{leg}");
    }
    let waiting = bridges.each_mut().map(|bridge| bridge.send("tools/call", params.clone()));
    // An id that is in use is no second call, and no failure of the first.
    let mut twice = json!({"jsonrpc": "2.0", "id": waiting[0], "method": "tools/call"});
    twice["params"] = json!({"name": "render", "arguments": {"template": "y"}, "_meta": bridge::meta()});
    bridges[0].line(twice.to_string().as_bytes());
    let refused = bridges[0].next();
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&Value::Null, &json!(-32600)), "{refused}");
    gateway.upstream.release();
    let ids = bridges.each_mut().map(|bridge| {
        let mut answer = bridge.next()["result"].clone();
        if answer["resultType"] == "input_required" {
            answer = bridge.ask("tools/call", params.clone())["result"].clone();
        }
        assert_eq!(answer["isError"], false, "{answer}");
        answer["_meta"]["agentpass/request_id"].clone()
    });
    assert_eq!(ids[0], ids[1]);
    // The same key for another call, and the state with another key.
    let keyed = |args: Value, key: &str| json!({"name": "render", "arguments": args, "_meta": {"agentpass/idempotency_key": key}});
    gateway.upstream.answer(|_| Answer::Reply(200, "text/plain", "done".into()));
    let [bridge, other] = &mut bridges;
    assert_eq!(bridge.ask("tools/call", keyed(json!({"template": "k"}), "k"))["result"]["isError"], false);
    let replayed = other.ask("tools/call", keyed(json!({"template": "k"}), "k"))["result"].clone();
    assert_eq!(replayed["_meta"]["agentpass/replayed"], true, "{replayed}");
    let conflict = other.ask("tools/call", keyed(json!({"template": "l"}), "k"))["result"].clone();
    assert!(text(&conflict).contains("idempotency_conflict"), "{conflict}");
    params["_meta"]["agentpass/idempotency_key"] = "k".into();
    assert_eq!(other.ask("tools/call", params)["error"]["data"]["reason"], "state_void");
    assert_eq!(gateway.upstream.seen().len(), 2);
    gateway.verify();
}
