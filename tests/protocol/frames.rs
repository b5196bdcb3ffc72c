//! Frames: batches, refusals that keep the connection, and what ends it.

use std::io::Write as _;

use async_tungstenite::tungstenite::Message;
use async_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use async_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};
use serde_json::{Value, json};

use crate::harness::gateway::TOKEN;
use crate::harness::{Agent, Gateway, error};

fn agent(gateway: &Gateway) -> Agent {
    Agent::bearer(gateway.address, TOKEN)
}

#[test]
fn what_is_no_request_is_answered_and_the_connection_stays() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    for (text, code, reason, id) in [
        ("{", -32700, "parse_error", json!(null)),
        ("", -32700, "parse_error", json!(null)),
        ("{} {}", -32700, "parse_error", json!(null)),
        ("7", -32600, "invalid_request", json!(null)),
        ("[]", -32600, "invalid_request", json!(null)),
        (r#"{"jsonrpc":"2.0","method":"list_tools"}"#, -32600, "invalid_request", json!(null)),
        (r#"{"jsonrpc":"2.0","method":"list_tools","id":null}"#, -32600, "invalid_request", json!(null)),
        (r#"{"jsonrpc":"2.0","method":"list_tools","id":[1]}"#, -32600, "invalid_request", json!(null)),
        (r#"{"jsonrpc":"1.0","method":"list_tools","id":1}"#, -32600, "invalid_request", json!(1)),
        (r#"{"method":"list_tools","id":"x"}"#, -32600, "invalid_request", json!("x")),
        (r#"{"jsonrpc":"2.0","id":2}"#, -32600, "invalid_request", json!(2)),
        (r#"{"jsonrpc":"2.0","method":7,"id":2}"#, -32600, "invalid_request", json!(2)),
        (r#"{"jsonrpc":"2.0","method":"nope","id":3}"#, -32601, "method_not_found", json!(3)),
        (
            r#"{"jsonrpc":"2.0","method":"explain","params":{"tool":"say"},"id":3}"#,
            -32601,
            "method_not_found",
            json!(3),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"tool_request","params":[],"id":4}"#,
            -32600,
            "invalid_request",
            json!(4),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"tool_request","params":"get_state","id":4}"#,
            -32600,
            "invalid_request",
            json!(4),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"tool_request","params":null,"id":4}"#,
            -32600,
            "invalid_request",
            json!(4),
        ),
        (r#"{"jsonrpc":"2.0","method":"tool_request","id":5}"#, -32600, "invalid_request", json!(5)),
        (r#"{"jsonrpc":"2.0","method":"list_tools","extra":1,"id":6}"#, -32600, "invalid_request", json!(6)),
        (
            r#"{"jsonrpc":"2.0","method":"cancel","params":{"request_id":"x"},"id":6}"#,
            -32600,
            "invalid_request",
            json!(6),
        ),
        (r#"{"jsonrpc":"2.0","method":"cancel","params":{},"id":6}"#, -32600, "invalid_request", json!(6)),
    ] {
        agent.send_text(text);
        let reply = agent.receive();
        assert_eq!(error(&reply), (code, reason), "{text}");
        assert_eq!(reply["id"], id, "{text}");
        assert!(reply.get("result").is_none(), "{text}");
    }
    agent.assert_quiet();
    assert_eq!(gateway.audit().len(), 0);
}

#[test]
fn a_duplicate_key_anywhere_is_refused() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    for text in [
        r#"{"jsonrpc":"2.0","method":"list_tools","method":"tool_request","id":1}"#,
        r#"{"jsonrpc":"2.0","method":"list_tools","id":1,"id":2}"#,
        r#"{"jsonrpc":"2.0","method":"tool_request","params":{"tool":"say","tool":"get_state"},"id":1}"#,
        r#"{"jsonrpc":"2.0","method":"tool_request","params":{"tool":"get_state","args":{"entity_id":"a","entity_id":"b"}},"id":1}"#,
        r#"{"jsonrpc":"2.0","method":"tool_request","params":{"tool":"get_state","args":{"entity_id":"a","entity_i\u0064":"b"}},"id":1}"#,
        r#"{"jsonrpc":"2.0","method":"tool_request","params":{"tool":"call_service","args":{"domain":"light","service":"turn_off","x":[{"y":{"z":1,"z":2}}]}},"id":1}"#,
    ] {
        agent.send_text(text);
        let reply = agent.receive();
        assert_eq!(error(&reply), (-32600, "invalid_request"), "{text}");
        // Two ids are none: the answer to one of them would be a guess.
        let id = if text.contains(r#""id":2"#) { json!(null) } else { json!(1) };
        assert_eq!(reply["id"], id, "{text}");
    }
    assert_eq!(gateway.upstream.seen().len(), 0);
}

#[test]
fn what_cannot_be_taken_is_answered_under_its_id_with_what_to_do() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    let request = |id: usize, args: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"tool_request","id":{id},"params":{{"tool":"x","args":{args}}}}}"#
        )
    };
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(60_000), "]".repeat(60_000));
    let many = format!(r#"{{"a":[{}0]}}"#, "0,".repeat(30_000));
    let cases = [
        (r#"{"channel":1234567890123456789}"#, "send it as text"),
        (r#"{"at":1764324000000000000}"#, "send it as text"),
        (r#"{"n":1e22}"#, "send it as text"),
        (r#"{"n":1e400}"#, "send it as text"),
        (r#"{"text":"cut in an emoji \ud83d"}"#, "not cut inside"),
        (r#"{"a":1,"a":2}"#, r#"duplicate key "a"; send each key once"#),
        (&deep, "send the inner part as text"),
        (&many, "send fewer at once"),
    ];
    for (id, (args, advice)) in cases.into_iter().enumerate() {
        agent.send_text(&request(id, args));
        let reply = agent.receive();
        assert_eq!((error(&reply), &reply["id"]), ((-32600, "invalid_request"), &json!(id)), "{args:.80}");
        let message = reply["error"]["message"].as_str().unwrap();
        assert!(message.contains(advice), "{message}");
    }
    // An id that no call could hold can still be answered to.
    agent.send_text(r#"{"jsonrpc":"2.0","method":"list_tools","id":1764324000000000000}"#);
    assert_eq!(agent.receive()["id"], json!(1_764_324_000_000_000_000_u64));
    agent.assert_quiet();
    assert_eq!(gateway.audit().len(), 0);
}

#[test]
fn the_others_of_a_batch_are_served() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    let get = r#"{"jsonrpc":"2.0","method":"tool_request","id":"get","params":{"tool":"get_state","args":{"entity_id":"a"}}}"#;
    for bad in [
        r#"{"n":1e22}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"a":"\udead"}"#,
        &format!(r#"{{"a":[{}0]}}"#, "0,".repeat(30_000)),
    ] {
        let bad = format!(
            r#"{{"jsonrpc":"2.0","method":"tool_request","id":9,"params":{{"tool":"get_state","args":{bad}}}}}"#
        );
        agent.send_text(&format!(r#"[{bad},{get},{{"jsonrpc":"2.0","method":"list_tools","id":10}}]"#));
        let reply = agent.receive();
        assert_eq!((error(&reply[0]).0, &reply[0]["id"]), (-32600, &json!(9)), "{reply}");
        assert_eq!((&reply[1]["id"], &reply[1]["result"]["status"]), (&json!("get"), &json!("executed")));
        assert!(reply[2]["result"]["tools"].is_array() && reply[2]["id"] == 10, "{reply}");
    }
    assert_eq!(gateway.upstream.seen().len(), 4);
}

#[test]
fn unknown_members_of_params_are_refused() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    let claims = [
        ("agent_id", json!("laptop")),
        ("approved", json!(true)),
        ("scope", json!("admin")),
        ("Reason", json!("x")),
    ];
    for (member, value) in claims {
        let mut params = json!({"tool": "get_state", "args": {"entity_id": "a"}});
        params[member] = value;
        assert_eq!(error(&agent.call("tool_request", params)), (-32600, "invalid_request"), "{member}");
    }
    for method in ["list_tools", "get_pending_results"] {
        assert_eq!(
            error(&agent.call(method, json!({"agent_id": "laptop"}))),
            (-32600, "invalid_request"),
            "{method}"
        );
    }
    assert_eq!(gateway.upstream.seen().len(), 0);
}

#[test]
fn params_of_a_wrong_shape_are_refused() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    for params in [
        json!({}),
        json!({"tool": ""}),
        json!({"tool": 7, "args": {}}),
        json!({"tool": ["get_state"]}),
        json!({"tool": "get_state", "args": []}),
        json!({"tool": "get_state", "args": "entity_id=a"}),
        json!({"tool": "get_state", "args": {"entity_id": "a"}, "reason": 7}),
        json!({"tool": "get_state", "args": {"entity_id": "a"}, "session_id": {}}),
        json!({"tool": "get_state", "args": {"entity_id": "a"}, "idempotency_key": true}),
    ] {
        let reply = agent.call("tool_request", params.clone());
        assert_eq!(error(&reply), (-32600, "invalid_request"), "{params}");
    }
    assert_eq!(gateway.upstream.seen().len(), 0);
}

#[test]
fn a_batch_is_answered_as_one_array() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    let request = |id: Value, method: &str, params: Value| json!({"jsonrpc": "2.0", "method": method, "params": params, "id": id});
    let batch = json!([
        request(json!(1), "tool_request", json!({"tool": "get_state", "args": {"entity_id": "a"}})),
        request(json!("two"), "list_tools", json!({})),
        7,
        {"jsonrpc": "2.0", "method": "list_tools"},
        request(json!(5), "nope", json!({})),
        request(json!(6), "get_pending_results", json!({})),
        request(json!(7), "tool_request", json!({"tool": "drop_all"})),
    ]);
    agent.send_text(&batch.to_string());
    let reply = agent.receive();
    let answers = reply.as_array().unwrap();
    let ids: Vec<_> = answers.iter().map(|a| a["id"].clone()).collect();
    assert_eq!(ids, [json!(1), json!("two"), json!(null), json!(null), json!(5), json!(6), json!(7)]);
    assert_eq!(answers[0]["result"]["data"], json!({"ok": true}));
    assert!(answers[1]["result"]["tools"].is_array());
    assert_eq!(error(&answers[2]), (-32600, "invalid_request"));
    assert_eq!(error(&answers[3]), (-32600, "invalid_request"));
    assert_eq!(error(&answers[4]), (-32601, "method_not_found"));
    assert!(answers[5]["result"]["results"].is_array());
    assert_eq!(error(&answers[6]), (-32003, "denied_by_policy"));
    agent.assert_quiet();
}

#[test]
fn a_batch_waits_for_a_human_and_its_asker_is_told() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    let ask = json!({"jsonrpc": "2.0", "method": "tool_request", "params": {"tool": "say", "args": {"text": "hi"}}, "id": 41});
    agent.send_text(&json!([ask]).to_string());
    let notice = agent.receive();
    assert_eq!((&notice["method"], &notice["params"]["id"]), (&json!("approval_pending"), &json!(41)));
    gateway.say_yes(notice["params"]["request_id"].as_str().unwrap());
    let reply = agent.receive();
    assert_eq!(reply[0]["result"]["status"], "executed", "{reply}");
}

#[test]
fn a_batch_of_thousands_is_refused_whole() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    let one = r#"{"jsonrpc":"2.0","method":"list_tools","id":1}"#;
    agent.send_text(&format!("[{one}{}]", format!(",{one}").repeat(2000)));
    let reply = agent.receive();
    assert_eq!(error(&reply), (-32600, "too_large"));
    agent.send_text(&format!("[{one}{}]", format!(",{one}").repeat(99)));
    assert_eq!(agent.receive().as_array().unwrap().len(), 100);
}

#[test]
fn binary_is_closed_with_1003() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    agent.socket.send(Message::binary(b"{}".to_vec())).unwrap();
    assert_eq!(agent.close_code(), Some(1003));
}

#[test]
fn invalid_utf_8_is_closed_with_1007() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    let mut header = FrameHeader { opcode: OpCode::Data(Data::Text), ..FrameHeader::default() };
    header.mask = Some([0; 4]);
    let mut bytes = Vec::new();
    Frame::from_payload(header, vec![b'"', 0xff, b'"'].into()).format(&mut bytes).unwrap();
    agent.socket.get_mut().write_all(&bytes).unwrap();
    assert_eq!(agent.close_code(), Some(1007));
}

#[test]
fn a_client_that_forgets_to_mask_is_closed_with_1002() {
    let gateway = Gateway::start();
    let mut agent = agent(&gateway);
    agent.socket.get_mut().write_all(b"\x81\x02{}").unwrap();
    assert_eq!(agent.close_code(), Some(1002));
}

#[test]
fn a_lost_stream_disturbs_nobody_else() {
    let gateway = Gateway::start();
    let (mut broken, mut other) = (agent(&gateway), agent(&gateway));
    broken.socket.send(Message::binary(vec![0])).unwrap();
    assert_eq!(broken.close_code(), Some(1003));
    other.assert_quiet();
}
