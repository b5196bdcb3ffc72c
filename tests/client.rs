//! The client library against a scripted gateway: one call stays one call, whatever the connection does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod fake_gateway;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use agentpass::client::Secret;
use agentpass::client::*;
use agentpass::testing::net::deadline::within;
use async_tungstenite::tungstenite::Message;
use fake_gateway::*;
use serde_json::{Map, Value, json};
use smol::LocalExecutor;
use smol::future::zip;

/// Runs one test with an executor; a test that hangs is a test that fails.
fn run<T>(test: impl AsyncFnOnce(&LocalExecutor<'static>) -> T) -> T {
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(within(PATIENCE, test(&executor)))).expect("the test hangs")
}

fn options(gateway: &FakeGateway) -> ClientOptions {
    ClientOptions::new(&gateway.url, Secret::new(TOKEN.into()))
}

async fn connect(executor: &LocalExecutor<'_>, gateway: &FakeGateway) -> Client {
    Client::connect(executor, options(gateway)).await.unwrap()
}

async fn call(client: &Client, tool: &str) -> Result<ToolResult, ClientError> {
    client.tool_request(tool, Map::new(), RequestOptions::default()).await
}

#[test]
fn a_call_and_its_result() {
    let gateway = FakeGateway::playing(|peer| {
        let (id, call) = peer.call();
        assert_eq!((call.tool.as_str(), call.args), ("get", args(json!({"n": 1}))));
        assert_eq!((call.reason.as_deref(), call.session_id.as_deref()), (Some("why"), Some("s")));
        assert_eq!(call.idempotency_key.as_deref(), Some("k"));
        peer.reply(&id, json!({"status": "executed", "data": [7], "request_id": "r", "replayed": true}));
        peer.ping("receipt");
        peer.expect_pong("receipt");
        assert_eq!(peer.expect_close(), 1000);
    });
    let got = run(async |executor| {
        let client = connect(executor, &gateway).await;
        let request = RequestOptions {
            reason: Some("why".into()),
            session_id: Some("s".into()),
            idempotency_key: Some("k".into()),
            ..RequestOptions::default()
        };
        let got = client.tool_request("get", args(json!({"n": 1})), request).await.unwrap();
        client.close().await;
        got
    });
    let whole = ToolResult {
        data: json!([7]),
        data_lost: None,
        data_note: None,
        expires_in: None,
        request_id: "r".into(),
        replayed: true,
        grant: None,
        edited: None,
    };
    assert_eq!(got, whole);
    gateway.finish();
}

#[test]
fn replies_come_in_any_order() {
    let gateway = FakeGateway::playing(|peer| {
        let calls: Vec<_> = (0..3).map(|_| peer.call()).collect();
        for (id, call) in calls.iter().rev() {
            peer.executed(id, json!(call.tool));
        }
        peer.drain();
    });
    run(async |executor| {
        let client = connect(executor, &gateway).await;
        let (a, (b, c)) = zip(call(&client, "a"), zip(call(&client, "b"), call(&client, "c"))).await;
        assert_eq!([a.unwrap().data, b.unwrap().data, c.unwrap().data], [json!("a"), json!("b"), json!("c")]);
    });
    gateway.finish();
}

#[test]
fn a_call_cut_off_is_picked_up_under_the_same_key() {
    let (keys, seen) = std::sync::mpsc::channel();
    let again = keys.clone();
    let gateway = FakeGateway::start(vec![
        script(move |peer| {
            peer.welcome();
            let (id, call) = peer.call();
            peer.pending(&id, "r-1", "2999-01-01T00:00:00Z");
            keys.send(call).unwrap();
            // Dropped here: a connection that simply vanishes.
        }),
        script(move |peer| {
            peer.welcome();
            let (id, call) = peer.call();
            again.send(call).unwrap();
            peer.executed(&id, json!("once"));
            peer.drain();
        }),
    ]);
    run(async |executor| {
        let client = connect(executor, &gateway).await;
        let got = client.tool_request("t", args(json!({"a": "b"})), RequestOptions::default()).await.unwrap();
        assert_eq!(got.data, json!("once"));
    });
    gateway.finish();
    let (first, second) = (seen.recv().unwrap(), seen.recv().unwrap());
    assert!(first.idempotency_key.as_ref().is_some_and(|key| key.len() >= 32));
    assert_eq!(first, second);
}

#[test]
fn a_gateway_that_restarts_is_back_at_once() {
    takes_less(Duration::from_millis(950), || {
        let gateway = FakeGateway::start(vec![
            script(|peer| {
                peer.welcome();
                peer.call();
                peer.close(1012);
            }),
            script(|peer| {
                peer.welcome();
                let (id, _) = peer.call();
                peer.executed(&id, json!(1));
                peer.drain();
            }),
        ]);
        let took = run(async |executor| {
            let client = connect(executor, &gateway).await;
            let began = Instant::now();
            call(&client, "t").await.unwrap();
            began.elapsed()
        });
        gateway.finish();
        took
    });
}

#[test]
fn an_older_gateway_never_gets_a_call_twice() {
    let gateway = FakeGateway::start(vec![
        script(|peer| {
            peer.welcome_as_before();
            peer.call();
            assert_eq!(peer.request().method, "list_tools");
        }),
        script(|peer| {
            peer.welcome_as_before();
            let request = peer.request();
            assert_eq!(request.method, "list_tools");
            peer.reply(&request.id, json!({"tools": []}));
            peer.drain();
        }),
    ]);
    run(async |executor| {
        let client = connect(executor, &gateway).await;
        let (lost, tools) = zip(call(&client, "t"), client.list_tools()).await;
        assert!(matches!(lost, Err(ClientError::Connection(ConnectionError::Lost(_)))), "{lost:?}");
        assert_eq!(tools, Ok(vec![]));
    });
    gateway.finish();
}

#[test]
fn a_call_that_nobody_waits_for_is_not_sent_again() {
    let gateway = FakeGateway::start(vec![
        script(|peer| {
            peer.welcome();
            let (id, _) = peer.call();
            peer.pending(&id, "r-9", "2999-01-01T00:00:00Z");
            assert_eq!(peer.request().method, "list_tools");
        }),
        script(|peer| {
            peer.welcome();
            let request = peer.request();
            assert_eq!(request.method, "list_tools");
            peer.reply(&request.id, json!({"tools": [{"name": "x"}]}));
            peer.drain();
        }),
    ]);
    run(async |executor| {
        let client = connect(executor, &gateway).await;
        let seen = Rc::new(RefCell::new(None));
        let tell = Rc::clone(&seen);
        let request = RequestOptions {
            timeout: Some(Duration::from_secs(2)),
            on_pending: Some(Rc::new(move |pending| drop(tell.replace(Some(pending.clone()))))),
            ..RequestOptions::default()
        };
        let late = client.tool_request("t", Map::new(), request).await.unwrap_err();
        assert!(matches!(&late, ClientError::TimedOut { by_gateway: false, .. }), "{late:?}");
        assert_eq!(late.request_id(), Some("r-9"));
        assert!(seen.borrow().as_ref().is_some_and(|p| p.expires_at.is_some()));
        assert_eq!(client.list_tools().await.unwrap()[0].name, "x");
    });
    gateway.finish();
}

#[test]
fn a_bad_token_is_final() {
    let gateway = FakeGateway::start(vec![script(|peer| {
        let id = peer.auth();
        peer.error(&id, -32005, "Not authenticated", json!({}));
        peer.close(1008);
    })]);
    let error = run(async |executor| Client::connect(executor, options(&gateway)).await.err().unwrap());
    assert!(matches!(error, ClientError::Connection(ConnectionError::NotAuthenticated(_))), "{error:?}");
    gateway.finish();
}

#[test]
fn a_token_that_was_taken_away_ends_the_waiting_calls() {
    let gateway = FakeGateway::start(vec![
        script(|peer| {
            peer.welcome();
            peer.call();
            peer.close(1008);
        }),
        script(|peer| {
            let id = peer.auth();
            peer.error(&id, -32005, "Not authenticated", json!({}));
            peer.drain();
        }),
    ]);
    run(async |executor| {
        let client = connect(executor, &gateway).await;
        let refused = |e| matches!(e, ClientError::Connection(ConnectionError::NotAuthenticated(_)));
        assert!(refused(call(&client, "t").await.unwrap_err()));
        assert!(refused(call(&client, "later").await.unwrap_err()));
    });
    gateway.finish();
}

#[test]
fn retries_end_where_they_should() {
    let gateway = FakeGateway::playing(|peer| {
        peer.call();
    });
    run(async |executor| {
        let options = ClientOptions { max_retries: Some(0), ..options(&gateway) };
        let client = Client::connect(executor, options.clone()).await.unwrap();
        let lost = call(&client, "t").await.unwrap_err();
        assert!(matches!(lost, ClientError::Connection(ConnectionError::Lost(_))), "{lost:?}");
    });
    let url = gateway.url.clone();
    gateway.finish();
    run(async |executor| {
        let nobody = ClientOptions { fail_fast: true, ..ClientOptions::new(url, Secret::new(TOKEN.into())) };
        let error = Client::connect(executor, nobody).await.err().unwrap();
        assert!(matches!(error, ClientError::Connection(ConnectionError::Unreachable(_))), "{error:?}");
    });
}

#[test]
fn a_client_without_a_connection_closes_at_once() {
    takes_less(Duration::from_millis(500), || {
        let gateway = FakeGateway::playing(|peer| {
            peer.request();
        });
        let took = run(async |executor| {
            let client = connect(executor, &gateway).await;
            // The connection ends with the request, and there is no other.
            assert_eq!(within(Duration::from_secs(1), client.list_tools()).await, None);
            let began = Instant::now();
            client.close().await;
            began.elapsed()
        });
        gateway.finish();
        took
    });
}

#[test]
fn a_goodbye_waits_for_the_ping_behind_a_result() {
    let gateway = FakeGateway::playing(|peer| {
        let (id, _) = peer.call();
        peer.executed(&id, json!(1));
        std::thread::sleep(Duration::from_millis(30));
        peer.ping("late");
        peer.expect_pong("late");
        assert_eq!(peer.expect_close(), 1000);
    });
    run(async |executor| {
        let client = connect(executor, &gateway).await;
        call(&client, "t").await.unwrap();
        client.close().await;
    });
    gateway.finish();
}

#[test]
fn pings_are_answered_while_a_call_waits() {
    let gateway = FakeGateway::playing(|peer| {
        let (id, _) = peer.call();
        for n in 0..3 {
            peer.ping(&n.to_string());
            peer.expect_pong(&n.to_string());
        }
        peer.executed(&id, json!(1));
        peer.drain();
    });
    run(async |executor| call(&connect(executor, &gateway).await, "t").await.unwrap());
    gateway.finish();
}

#[test]
fn many_quick_calls_are_no_flood() {
    let gateway = FakeGateway::playing(|peer| {
        for n in 0..250 {
            let (id, _) = peer.call();
            peer.executed(&id, json!(n));
            peer.ping("r");
        }
        peer.drain();
    });
    run(async |executor| {
        let client = connect(executor, &gateway).await;
        for n in 0..250 {
            assert_eq!(call(&client, "t").await.unwrap().data, json!(n));
        }
    });
    gateway.finish();
}

#[test]
fn no_more_calls_are_under_way_than_a_gateway_takes() {
    let gateway = FakeGateway::playing(|peer| {
        let first: Vec<_> = (0..24).map(|_| peer.call().0).collect();
        // The 25th call waits in the client; cancel gets through all the same.
        let request = peer.request();
        assert_eq!(request.method, "cancel");
        peer.reply(&request.id, json!({}));
        first.iter().for_each(|id| peer.executed(id, json!(1)));
        let (id, _) = peer.call();
        peer.executed(&id, json!(1));
        peer.drain();
    });
    run(async |executor| {
        let client = Rc::new(connect(executor, &gateway).await);
        let one = |client: Rc<Client>| async move { call(&client, "t").await.unwrap() };
        let tasks: Vec<_> = (0..25).map(|_| executor.spawn(one(Rc::clone(&client)))).collect();
        smol::Timer::after(Duration::from_millis(50)).await;
        client.cancel("r").await.unwrap();
        for task in tasks {
            task.await;
        }
    });
    gateway.finish();
}

#[test]
fn errors_have_types() {
    let gateway = FakeGateway::playing(|peer| {
        for (code, data) in [
            (-32001, json!({"reason": "denied_by_user", "note": "not now", "request_id": "r"})),
            (-32002, json!({"reason": "approval_timed_out"})),
            (-32003, json!({"reason": "denied_by_policy", "rule": "no locks"})),
            (-32004, json!({"reason": "service_error", "status": 404})),
            (-32006, json!({"reason": "rate_limited", "retry_after": 12})),
            (-32600, json!({"reason": "invalid_argument", "argument": "x"})),
        ] {
            let (id, _) = peer.call();
            peer.error(&id, code, "Message", data);
        }
        peer.drain();
    });
    run(async |executor| {
        let client = connect(executor, &gateway).await;
        let mut errors = Vec::new();
        for _ in 0..6 {
            errors.push(call(&client, "t").await.unwrap_err());
        }
        use ClientError::*;
        assert!(matches!(
            &errors[..],
            [
                Denied { note: Some(_), code: -32001, .. },
                TimedOut { by_gateway: true, .. },
                Denied { rule: Some(_), code: -32003, .. },
                Failed { status: Some(404), .. },
                RateLimited { retry_after: Some(_), .. },
                Invalid { argument: Some(_), .. },
            ]
        ));
    });
    gateway.finish();
}

#[test]
fn explain_cancel_and_pending_results() {
    let gateway = FakeGateway::playing(|peer| {
        let explain = peer.request();
        assert_eq!(explain.method, "explain");
        assert_eq!(explain.params, args(json!({"tool": "t", "args": {"a": 1}})));
        peer.reply(&explain.id, json!({"decision": "ask"}));
        let pending = peer.request();
        assert_eq!(pending.method, "get_pending_results");
        let result =
            json!({"request_id": "r", "tool_name": "t", "args": "{}", "result": "{\"status\":\"denied\"}"});
        peer.reply(&pending.id, json!({"results": [result]}));
        let cancel = peer.request();
        assert_eq!((cancel.method.as_str(), cancel.params), ("cancel", args(json!({"request_id": "r"}))));
        peer.error(&cancel.id, -32600, "No such open question", json!({"reason": "invalid_request"}));
        peer.drain();
    });
    run(async |executor| {
        let client = connect(executor, &gateway).await;
        assert_eq!(client.explain("t", args(json!({"a": 1}))).await, Ok(json!({"decision": "ask"})));
        assert_eq!(client.pending_results().await.unwrap()[0].result, json!({"status": "denied"}));
        assert!(matches!(client.cancel("r").await, Err(ClientError::Invalid { .. })));
    });
    gateway.finish();
}

#[test]
fn a_request_that_no_gateway_could_answer_is_refused_before_it_is_sent() {
    let gateway = FakeGateway::playing(|peer| peer.drain());
    run(async |executor| {
        let client = connect(executor, &gateway).await;
        for value in [json!(u64::MAX), json!("x".repeat(1 << 20))] {
            let got = client.tool_request("t", args(json!({"a": value})), RequestOptions::default()).await;
            assert!(matches!(got, Err(ClientError::Invalid { .. })), "{got:?}");
        }
    });
    gateway.finish();
}

/// Nothing that a hostile gateway says may panic, hang or be taken for an answer.
#[test]
fn noise_is_skipped() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_reply = format!("{{\"id\":\"1\",\"result\":{deep}}}");
    let noise: Vec<String> = [
        "", "x", "null", "[]", "{}", "7", "\"\"", "{\"id\":\"1\"}", "{\"id\":\"1\",\"error\":7}",
        "{\"id\":1,\"result\":\"number ids are not ours\"}", "{\"id\":\"2\",\"result\":0}", "{\"id\":\"-1\",\"result\":0}",
        "{\"id\":\"99999999999999999999\",\"result\":0}", "{\"id\":null,\"result\":0}", "{\"id\":[\"1\"],\"result\":0}",
        "{\"id\":\"auth-1\",\"result\":{}}", "{\"method\":\"approval_pending\"}",
        "{\"method\":\"approval_pending\",\"params\":[1]}",
        "{\"method\":\"approval_pending\",\"params\":{\"id\":\"1\",\"request_id\":7,\"expires_at\":\"never\"}}",
        "{\"method\":7,\"id\":\"x\"}", "[{\"id\":\"1\",\"result\":0}]",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([deep, deep_reply])
    .collect();
    let gateway = FakeGateway::playing(move |peer| {
        let (id, _) = peer.call();
        assert_eq!(id, json!("1"));
        noise.iter().for_each(|text| peer.say(text));
        peer.executed(&id, json!("the answer"));
        peer.executed(&id, json!("again"));
        let (id, _) = peer.call();
        peer.error(&Value::Null, -32600, "Invalid request", json!({}));
        peer.executed(&id, json!("too late"));
        peer.drain();
    });
    run(async |executor| {
        let client = connect(executor, &gateway).await;
        assert_eq!(call(&client, "t").await.unwrap().data, json!("the answer"));
        // An error without an id is about the only call there is.
        assert!(matches!(call(&client, "t").await, Err(ClientError::Invalid { .. })));
    });
    gateway.finish();
}

#[test]
fn broken_frames_end_the_connection_and_not_the_call() {
    let gateway = FakeGateway::start(vec![
        script(|peer| {
            peer.welcome();
            peer.call();
            peer.send(Message::binary(vec![1, 2, 3]));
            assert_eq!(peer.expect_close(), 1003);
        }),
        script(|peer| {
            peer.welcome();
            let (id, _) = peer.call();
            peer.executed(&id, json!(1));
            peer.drain();
        }),
    ]);
    run(async |executor| call(&connect(executor, &gateway).await, "t").await.unwrap());
    gateway.finish();
}

#[test]
fn an_answer_beyond_the_cap_is_not_asked_for_again() {
    let gateway = FakeGateway::start(vec![
        script(|peer| {
            peer.welcome();
            let (id, _) = peer.call();
            peer.executed(&id, json!("x".repeat(17 << 20)));
            peer.drain();
        }),
        script(|peer| {
            peer.welcome();
            peer.drain();
        }),
    ]);
    run(async |executor| {
        let client = connect(executor, &gateway).await;
        let lost = call(&client, "t").await.unwrap_err();
        assert!(
            matches!(&lost, ClientError::Connection(ConnectionError::Lost(why)) if why.contains("too large"))
        );
        smol::Timer::after(Duration::from_millis(1500)).await;
    });
    gateway.finish();
}

#[test]
fn futures_are_small_enough_for_any_stack() {
    let executor = LocalExecutor::new();
    let options = ClientOptions::new("ws://127.0.0.1:9", Secret::new(TOKEN.into()));
    let size = size_of_val(&Client::connect(&executor, options));
    assert!(size < 16 << 10, "{size}");
}
