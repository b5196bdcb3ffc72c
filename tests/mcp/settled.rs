//! What was settled about MCP clients, sentence by sentence, where no other test shows it.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, Open, gateway, holding, last_event, light, text};
use crate::harness::gateway::{LAPTOP, TOKEN};
use crate::harness::{Gateway, Setup, eventually};

/// A gateway's machine by its own name.
fn machine() -> String {
    rustix::system::uname().nodename().to_str().unwrap().to_owned()
}

#[test]
fn a_leg_of_a_new_client_with_a_token_is_a_stream() {
    let gateway = Gateway::with(&holding(2));
    let client = Client::new(&gateway, TOKEN);
    let params = json!({"name": "call_service", "arguments": light(), "_meta": {"progressToken": "t"}});
    let page = client.new_era("tools/call", params.clone());
    assert_eq!(page.header("content-type"), "text/event-stream");
    assert!(
        page.body.contains("notifications/progress") && page.body.contains("Waiting for a person, until")
    );
    let leg = last_event(&page)["result"].clone();
    assert_eq!(leg["resultType"], "input_required", "{leg}");
    let mut back = params;
    back["requestState"] = leg["requestState"].clone();
    gateway.say_yes(&gateway.question());
    // What is known at once needs no stream.
    let done = client.new_era("tools/call", back);
    assert_eq!(done.json()["result"]["isError"], false, "{done:?}");
    assert_eq!(gateway.upstream.seen().len(), 1);
}

#[test]
fn after_ten_legs_a_new_client_is_told_to_wait_with_the_tool_and_the_question_stays() {
    let gateway = gateway();
    let client = Client::new(&gateway, TOKEN);
    let mut params = json!({"name": "call_service", "arguments": light()});
    for leg in 0..10 {
        let result = client.new_era("tools/call", params.clone()).json()["result"].clone();
        assert_eq!(result["resultType"], "input_required", "leg {leg}: {result}");
        params["requestState"] = result["requestState"].clone();
    }
    let last = client.new_era("tools/call", params).json()["result"].clone();
    let id = gateway.question();
    assert_eq!((&last["resultType"], &last["isError"]), (&json!("complete"), &json!(true)));
    assert!(text(&last).contains("agentpass_wait") && text(&last).contains(&id), "{last}");
    gateway.say_yes(&id);
    let done = client.call("agentpass_wait", json!({"request_id": id})).json()["result"].clone();
    assert_eq!(done["isError"], false, "{done}");
    assert_eq!(gateway.upstream.seen().len(), 1);
}

#[test]
fn a_new_client_that_does_not_come_back_within_a_minute_takes_its_question_back() {
    let usual = holding(1);
    let config = usual.config.replace("approval_timeout: 60", "approval_timeout: 900");
    let gateway = Gateway::with(&Setup { config, ..usual });
    let first = Client::new(&gateway, TOKEN).call("call_service", light()).json()["result"].clone();
    let ended = Instant::now();
    assert_eq!(first["resultType"], "input_required");
    let id = gateway.question();
    let since = loop {
        if gateway.questions().is_empty() {
            break ended.elapsed();
        }
        assert!(ended.elapsed() < Duration::from_secs(300), "it was never taken back");
        thread::sleep(Duration::from_millis(200));
    };
    assert!(since > Duration::from_secs(55), "{since:?}");
    assert_eq!(gateway.row(&id)["outcome"], "withdrawn");
    assert!(gateway.upstream.seen().is_empty());
}

#[test]
fn an_old_client_that_goes_away_finds_its_result() {
    let gateway = Gateway::with(&holding(3600));
    let old = Client::legacy(&gateway, TOKEN);
    let params = json!({"name": "call_service", "arguments": light()});
    let body = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params});
    let open = Open::old(&gateway, &old.session, &body);
    let id = gateway.question();
    drop(open);
    // Its connection is gone; asked again, the call is the same one.
    let again = Open::old(&gateway, &old.session, &body);
    eventually("it has joined", || (gateway.whole_questions()[0]["times_asked"] == 2).then_some(()));
    drop(again);
    gateway.say_yes(&id);
    let done = eventually("the result", || {
        let done = old.old_call("agentpass_wait", json!({"request_id": id}));
        (done["isError"] == false).then_some(done)
    });
    assert_eq!(done["_meta"]["agentpass/request_id"], json!(id), "{done}");
    assert_eq!(gateway.upstream.seen().len(), 1);
    gateway.verify();
}

#[test]
fn the_same_call_asked_again_without_its_state_joins_the_question() {
    let gateway = gateway();
    let (one, other) = (Client::new(&gateway, TOKEN), Client::new(&gateway, TOKEN));
    let first = one.call("call_service", light()).json()["result"].clone();
    let second = other.call("call_service", light()).json()["result"].clone();
    assert_eq!(gateway.questions().len(), 1);
    gateway.say_yes(&gateway.question());
    for (client, leg) in [(&one, first), (&other, second)] {
        let params =
            json!({"name": "call_service", "arguments": light(), "requestState": leg["requestState"]});
        assert_eq!(client.new_era("tools/call", params).json()["result"]["isError"], false);
    }
    assert_eq!(gateway.upstream.seen().len(), 1);
}

#[test]
fn only_the_agents_word_for_its_session_is_one() {
    let gateway = gateway();
    let (one, other) = (Client::legacy(&gateway, TOKEN), Client::legacy(&gateway, TOKEN));
    let read = |client: &Client, meta: Value| {
        let params = json!({"name": "get_state", "arguments": {"entity_id": "a"}, "_meta": meta});
        let result = client.old("tools/call", params).json()["result"].clone();
        gateway.row(result["_meta"]["agentpass/request_id"].as_str().unwrap())
    };
    assert_eq!(read(&one, json!({}))["session_id"], Value::Null);
    assert_eq!(read(&other, json!({"agentpass/session": "s1"}))["session_id"], "s1");
    // Calls of two MCP sessions are joined, those of two sessions of the agent are not.
    for (client, meta) in
        [(&one, json!({})), (&other, json!({})), (&other, json!({"agentpass/session": "s2"}))]
    {
        client.old("tools/call", json!({"name": "say", "arguments": {"text": "hello"}, "_meta": meta}));
    }
    assert_eq!(gateway.questions().len(), 2);
}

#[test]
fn what_a_call_brings_along_is_checked_and_shown() {
    let gateway = gateway();
    let client = Client::new(&gateway, TOKEN);
    let ask = |meta: Value| {
        client
            .new_era("tools/call", json!({"name": "say", "arguments": {"text": "hello"}, "_meta": meta}))
            .json()
    };
    for bad in [
        json!({"agentpass/reason": 7}),
        json!({"agentpass/reason": "x".repeat(501)}),
        json!({"agentpass/session": "x".repeat(129)}),
        json!({"agentpass/idempotency_key": "x".repeat(129)}),
    ] {
        assert_eq!(ask(bad.clone())["error"]["code"], -32602, "{bad:.60}");
    }
    assert!(gateway.questions().is_empty());
    ask(json!({"agentpass/reason": "the door", "agentpass/idempotency_key": "k"}));
    assert_eq!(gateway.whole_questions()[0]["reason"], "the door");
    gateway.say_yes(&gateway.question());
    let key = json!({"agentpass/reason": "the door", "agentpass/idempotency_key": "k"});
    let again = eventually("the outcome of the same key", || {
        let again = ask(key.clone())["result"].clone();
        (again["isError"] == false).then_some(again)
    });
    assert!(again["_meta"]["agentpass/request_id"].is_string());
    let mut other = client
        .new_era("tools/call", json!({"name": "say", "arguments": {"text": "other"}, "_meta": key}))
        .json();
    assert!(text(&other["result"].take()).contains("idempotency_conflict"));
    assert_eq!(gateway.upstream.seen().len(), 1);
}

#[test]
fn names_by_which_the_port_is_reached() {
    let gateway = gateway();
    let client = Client::new(&gateway, TOKEN);
    let bearer = format!("Bearer {TOKEN}");
    let status = |host: &str, origin: &str| {
        let mut headers = vec![("authorization", bearer.as_str()), ("host", host)];
        if !origin.is_empty() {
            headers.push(("origin", origin));
        }
        client.site.ask("POST", "/mcp", &headers, "{}").status
    };
    let local = format!("{}.local", machine().split('.').next().unwrap());
    for known in [
        "localhost",
        "localhost:99",
        "127.0.0.1:8",
        "[::1]:9",
        "192.0.2.7",
        "gate.example:1",
        &machine(),
        &local,
    ] {
        assert_eq!(status(known, ""), 400, "{known}");
    }
    for unknown in ["evil.example", "localhost.evil.example", "gate.example.evil", "127.0.0.1.evil.example"] {
        assert_eq!(status(unknown, ""), 403, "{unknown}");
    }
    for page in ["http://localhost", "http://localhost:6274", "https://127.0.0.1:1", "http://[::1]:3000"] {
        assert_eq!(status("localhost", page), 400, "{page}");
    }
    for page in [
        "null",
        "http://192.0.2.7",
        "file://localhost",
        "http://localhost@evil.example",
        "http://localhost.evil",
    ] {
        assert_eq!(status("localhost", page), 403, "{page}");
    }
    assert!(gateway.log().contains("gateway.hosts") && gateway.log().contains("gateway.allowed_origins"));
}

#[test]
fn data_is_structured_only_if_it_is_an_object_and_why_is_told_who_may_ask() {
    let gateway = gateway();
    gateway.upstream.answer(|_| crate::harness::Answer::Reply(200, "application/json", "[1, 2]".into()));
    let laptop = Client::new(&gateway, LAPTOP);
    let list = laptop.call("get_state", json!({"entity_id": "a"})).json()["result"].clone();
    assert_eq!((text(&list), list.get("structuredContent")), ("[1,2]", None), "{list}");
    let why = laptop.call("agentpass_explain", json!({"tool": "say", "arguments": {"text": "x"}})).json();
    assert_eq!(why["result"]["structuredContent"]["decision"], "ask", "{why}");
    let refused = Client::new(&gateway, TOKEN).call("agentpass_explain", json!({"tool": "say"})).json();
    assert_eq!(refused["error"]["code"], -32602);
    let tools = laptop.new_era("tools/list", json!({})).json()["result"].clone();
    assert_eq!((&tools["cacheScope"], tools["ttlMs"].as_u64().is_some()), (&json!("private"), true));
    for tool in tools["tools"].as_array().unwrap() {
        assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
        assert!(!tool["description"].as_str().unwrap().is_empty());
        assert!(!tool["name"].as_str().unwrap().starts_with("drop"), "always denied");
    }
}

#[test]
fn settings_and_names_that_cannot_be_used_are_findings() {
    let gateway = gateway();
    let usual = holding(1);
    let check = |setup: &Setup| {
        gateway.configure(setup);
        let output = gateway.cli(&["check"]);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let mcp = |text: &str| {
        let config = usual.config.replace("{hold: 1, keep_alive: 1}", text);
        check(&Setup { config, ..usual.clone() })
    };
    for (bad, key) in [
        ("{hold: 0}", "hold"),
        ("{hold: 3601}", "hold"),
        ("{hold: soon}", "hold"),
        ("{keep_alive: 0.5}", "keep_alive"),
        ("{keep_alive: 1e9}", "keep_alive"),
    ] {
        let said = mcp(bad);
        assert!(said.contains("a number of seconds from 1 to 3600") && said.contains(key), "{bad}: {said}");
    }
    let said = mcp("{wait: 5}");
    assert!(said.contains("unknown key") && said.contains("known here: hold, keep_alive"), "{said}");
    assert!(mcp("{hold: 1.5, keep_alive: 3600}").contains("can be used"));

    let named = |name: &str| {
        let tools = usual.tools.replace("  drop_all:\n", &format!("  {name}:\n"));
        check(&Setup { tools, ..usual.clone() })
    };
    let said = named("agentpass_wait");
    assert!(
        said.contains("names that begin with agentpass_ are reserved") && said.contains("tools.yaml"),
        "{said}"
    );
    for name in ["a.b", &"x".repeat(49)] {
        let said = named(name);
        assert!(said.contains(&format!("MCP clients are not offered the tool \"{name}\"")), "{said}");
        assert!(said.contains("can be used"), "{said}");
    }
}
