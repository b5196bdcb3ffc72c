//! `response:` of a tool file: what becomes of an answer because the file says so.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use agentpass::testing::model::response::{Follow, Success};
use agentpass::testing::model::{Charset, Lost, Method, Outcome, Output, ResponseSpec, Tool};
use serde_json::{Value, json};

use super::fake::*;

fn with(method: Method, response: ResponseSpec) -> Tool {
    let mut tool = tool(method, "/");
    http(&mut tool).response = response;
    tool
}

fn ask(upstream: &Upstream, tool: &Tool) -> Outcome {
    run(&upstream.service(), call(tool.clone(), json!({})))
}

fn executed(value: Value) -> Outcome {
    Outcome::Executed(value.into())
}

fn failed(status: u16, message: &str, retry_after: Option<u64>) -> Outcome {
    Outcome::ServiceError { status: Some(status), message: message.to_owned(), retry_after }
}

#[test]
fn bytes_come_in_base64_when_they_are_asked_for() {
    let binary = with(Method::Get, ResponseSpec { binary: true, ..Default::default() });
    let png = Upstream::body("image/png", b"\x89PNG\xff");
    let data = json!({"content_type": "image/png", "bytes": 5, "base64": "iVBOR/8="});
    assert_eq!(ask(&png, &binary), executed(data));
    let unsaid = json!({"content_type": null, "bytes": 2, "base64": "wAE="});
    assert_eq!(ask(&Upstream::body("", b"\xc0\x01"), &binary), executed(unsaid));
    let zip = json!({"content_type": "application/gzip", "bytes": 3, "base64": "H4sI"});
    assert_eq!(ask(&Upstream::body("application/gzip", b"\x1f\x8b\x08"), &binary), executed(zip));
    // What is text stays text.
    assert_eq!(ask(&Upstream::body("application/json", b"[1]"), &binary), executed(json!([1])));
    assert_eq!(ask(&Upstream::body("text/plain", b"on"), &binary), executed(json!("on")));
    let mut large = png.service();
    large.max_response_bytes = 4;
    assert_eq!(run(&large, call(binary, json!({}))), Outcome::ResponseTooLarge);
}

#[test]
fn bytes_with_a_credential_in_them_are_lost() {
    const TOKEN: &str = "s3cr/t+tök=n";
    let utf_16: Vec<u8> = TOKEN.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for hidden in
        [TOKEN.as_bytes().to_vec(), utf_16, b"s3cr%2ft%2Bt&#xf6;k=n".to_vec(), b"s3cr/t+t\xf6k=n".to_vec()]
    {
        let body = [b"\x89PNG\xff", hidden.as_slice(), b"\xfe"].concat();
        let upstream = Upstream::body("image/png", &body);
        let services = services(&upstream.service(), &[TOKEN]);
        let ask = |method| {
            let binary = with(method, ResponseSpec { binary: true, ..Default::default() });
            smol::block_on(send(&services, call(binary, json!({}))))
        };
        let why = "Service answered with bytes that hold a credential";
        assert_eq!(ask(Method::Get), failed(200, why, None), "{hidden:?}");
        assert_eq!(ask(Method::Post), Outcome::Executed(Output::lost(Lost::Credential, None)));
    }
}

#[test]
fn success_may_be_told_by_the_body_alone() {
    let at = ["ocs", "meta", "statuscode"].map(str::to_owned).to_vec();
    let ok = Some(Success { at, among: vec![json!(100), json!(200), json!("fine")] });
    let tool = with(Method::Post, ResponseSpec { ok, ..Default::default() });
    for (code, is_ok) in [
        ("100", true),
        ("200.0", true),
        ("\"fine\"", true),
        ("997", false),
        ("null", false),
        ("[100]", false),
    ] {
        let body = format!(r#"{{"ocs":{{"meta":{{"statuscode":{code},"message":"no such file"}}}}}}"#);
        let outcome = ask(&Upstream::body("application/json", body.as_bytes()), &tool);
        match is_ok {
            true => assert!(matches!(outcome, Outcome::Executed(_)), "{code}: {outcome:?}"),
            false => {
                assert_eq!(outcome, failed(200, &format!("Service says that it failed: {body}"), None));
            }
        }
    }
    assert!(matches!(ask(&Upstream::body("", b""), &tool), Outcome::ServiceError { .. }));
    let broken = Upstream::body("application/json", b"{");
    assert_eq!(ask(&broken, &tool), Outcome::Executed(Output::lost(Lost::BadJson, None)), "it answered 200");
}

#[test]
fn headers_stand_beside_the_data() {
    let headers = ["X-Total-Count", "location", "X-Missing"].map(str::to_owned).to_vec();
    let mut tool = with(Method::Get, ResponseSpec { headers, ..Default::default() });
    http(&mut tool).response.wrap = Some("result".into());
    let head = "HTTP/1.1 200 X\r\nx-total-count: 7\r\nX-TOTAL-COUNT: 8\r\nLocation: /a?k=T0kenT0ken\r\nset-cookie: a=b\r\ncontent-length: 3\r\n\r\n[1]";
    let services = services(&Upstream::saying(head).service(), &["T0kenT0ken"]);
    let outcome = smol::block_on(send(&services, call(tool, json!({}))));
    let headers = json!({"X-Total-Count": "7, 8", "location": "/a?k=[redacted]"});
    assert_eq!(outcome, executed(json!({"data": {"result": [1]}, "headers": headers})));
}

#[test]
fn a_charset_that_the_service_does_not_say() {
    let latin = with(Method::Get, ResponseSpec { charset: Some(Charset::Latin1), ..Default::default() });
    assert_eq!(ask(&Upstream::body("text/plain", b"h\xe4user"), &latin), executed(json!("häuser")));
    assert_eq!(ask(&Upstream::body("", b"[\"\xe4\"]"), &latin), executed(json!(["ä"])));
    let said = Upstream::body("text/plain; charset=utf-8", "ä".as_bytes());
    assert_eq!(ask(&said, &latin), executed(json!("ä")), "what the service says wins");
    let error = Upstream::saying(response(500, "text/plain", b"f\xfcr"));
    assert_eq!(ask(&error, &latin), failed(500, "Service error 500: für", None));
}

#[test]
fn a_service_says_when_to_come_back() {
    let date = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    for (status, headers, told) in [
        (429, "retry-after: 17\r\n".to_owned(), Some(17)),
        (503, "Retry-After:  0 \r\n".to_owned(), Some(1)),
        (503, format!("{date}retry-after: Sun, 06 Nov 1994 08:51:37 GMT\r\n"), Some(120)),
        (503, format!("{date}retry-after: Sun, 06 Nov 1994 08:00:00 GMT\r\n"), Some(1)),
        (429, "retry-after: 99999999999\r\n".to_owned(), Some(86_400)),
        (429, "retry-after: Sun, 06 Nov 1994 08:51:37 GMT\r\n".to_owned(), None),
        (429, "retry-after: soon\r\n".to_owned(), None),
        (429, "retry-after: -3\r\n".to_owned(), None),
        (429, String::new(), None),
        (500, "retry-after: 17\r\n".to_owned(), None),
    ] {
        let upstream = Upstream::saying(format!("HTTP/1.1 {status} X\r\n{headers}content-length: 0\r\n\r\n"));
        for method in [Method::Get, Method::Post] {
            let outcome = ask(&upstream, &tool(method, "/"));
            assert_eq!(outcome, failed(status, &format!("Service error {status}"), told), "{headers}");
        }
    }
}

/// A service that takes a job on, and is done when it was asked `questions` times.
fn slow_job(questions: usize, place: &str, done: Vec<u8>) -> Upstream {
    let (asked, place) = (AtomicUsize::new(0), place.to_owned());
    Upstream::new(move |seen, stream| {
        let not_yet = format!("HTTP/1.1 202 X\r\nlocation: {place}\r\ncontent-length: 2\r\n\r\n{{}}");
        let first = seen.head.starts_with("POST");
        let is_done = !first && asked.fetch_add(1, Ordering::SeqCst) + 1 >= questions;
        let _ = stream.write_all(if is_done { &done } else { not_yet.as_bytes() });
    })
}

/// A tool that asks ten times a second for so many seconds what became of it.
fn following(method: Method, seconds: u64) -> Tool {
    let (every, within) = (Duration::from_millis(100), Duration::from_secs(seconds));
    let follow = Some(Follow { status: 202, every, within });
    with(method, ResponseSpec { follow, ..Default::default() })
}

#[test]
fn what_is_not_done_yet_is_asked_again_where_the_answer_says() {
    let upstream = slow_job(3, "/jobs/7?x=1", response(200, "application/json", b"{\"done\":true}"));
    let mut config = upstream.service();
    config.auth = agentpass::testing::config::Auth::Query { param: "k".into(), token: secret("T0kenT0ken") };
    assert_eq!(
        run(&config, call(following(Method::Post, 60), json!({"a": 1}))),
        executed(json!({"done": true}))
    );
    let seen = upstream.seen();
    let lines: Vec<_> = seen.iter().map(|s| s.head.split(" HTTP").next().unwrap().to_owned()).collect();
    let question = "GET /jobs/7?x=1&k=T0kenT0ken";
    assert_eq!(lines, ["POST /?k=T0kenT0ken", question, question, question]);
    assert!(seen[1].body.is_empty() && seen[1].header("content-type").is_empty());
    // The end may be bad news.
    let upstream = slow_job(1, "/jobs/7", response(500, "text/plain", b"no"));
    assert_eq!(ask(&upstream, &following(Method::Post, 60)), failed(500, "Service error 500: no", None));
}

#[test]
fn what_is_being_followed_is_seen_through_a_reload() {
    let upstream = slow_job(4, "/jobs/7", response(200, "application/json", b"{\"done\":true}"));
    let services = services(&upstream.service(), &[]);
    let retirer = services.clone();
    let run = async move { send(&services, call(following(Method::Post, 60), json!({"a": 1}))).await };
    let retire = async {
        while upstream.seen().is_empty() {
            smol::Timer::after(Duration::from_millis(5)).await;
        }
        smol::Timer::after(Duration::from_millis(20)).await;
        retirer.retire();
    };
    let (outcome, ()) = smol::block_on(smol::future::zip(run, retire));
    assert_eq!(outcome, executed(json!({"done": true})));
}

#[test]
fn following_has_an_end_and_never_leaves_the_service() {
    let upstream = slow_job(usize::MAX, "/jobs/7", Vec::new());
    let begun = Instant::now();
    let late = "the service took it on; what became of it was not known in time";
    assert_eq!(
        ask(&upstream, &following(Method::Post, 3)),
        Outcome::Executed(Output::lost(Lost::CutOff, Some(late.into())))
    );
    assert!(begun.elapsed() < PATIENCE);
    let posts = upstream.seen().iter().filter(|s| s.head.starts_with("POST")).count();
    assert!(posts == 1 && upstream.seen().len() > 4, "{}", upstream.seen().len());
    let lost = slow_job(1, "/jobs/7", b"HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\n".to_vec());
    let mut hasty = following(Method::Post, 1);
    hasty.timeout = Some(Duration::from_secs(1));
    let unknown = "the service took it on; what became of it could not be asked";
    assert_eq!(ask(&lost, &hasty), Outcome::Executed(Output::lost(Lost::CutOff, Some(unknown.into()))));
    // What is only about the question is no end of the call, which would be repeated then.
    for status in ["303 See Other", "404 Not Found", "429 Too Many", "503 Busy"] {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").into_bytes();
        let gone = slow_job(2, "/jobs/7", answer);
        let expected = Outcome::Executed(Output::lost(Lost::CutOff, Some(unknown.into())));
        assert_eq!(ask(&gone, &following(Method::Post, 1)), expected, "{status}");
    }
    let other = Upstream::body("", b"stolen");
    let elsewhere = format!("http://127.0.0.1:{}/x", other.port);
    for place in
        [elsewhere.as_str(), "//evil.example/x", "http://u@127.0.0.1/x", "x", "https://127.0.0.1/", ""]
    {
        let upstream = slow_job(1, place, response(200, "", b"1"));
        assert_eq!(ask(&upstream, &following(Method::Post, 60)), executed(json!({})), "{place}");
        assert_eq!((upstream.seen().len(), other.seen().len()), (1, 0), "{place}");
    }
}
