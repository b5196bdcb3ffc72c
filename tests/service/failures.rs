//! Services that are slow, gone, endless or broken, and the bounds that hold then.

use std::io::Write;
use std::net::{Shutdown, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use agentpass::testing::base::clock::{Clock, Timestamp};
use agentpass::testing::config::{Auth, Health, HttpService, ServiceConfig};
use agentpass::testing::model::{AgentId, Lost, Method, Outcome, Output};
use agentpass::testing::service::{Attempt, Scrubber, Services};
use serde_json::{Value, json};

use super::fake::*;

fn outcome(config: &HttpService, method: Method) -> Outcome {
    run(config, call(tool(method, "/"), json!({})))
}

fn no_status(message: &str) -> Outcome {
    Outcome::ServiceError { status: None, message: message.to_owned(), retry_after: None }
}

#[test]
fn what_was_certainly_not_sent_is_unreachable() {
    let nobody = Nobody::new();
    for url in [
        format!("http://{}", nobody.address),
        "http://nowhere.invalid".to_owned(),
        "http://169.254.169.254".to_owned(),
        format!("https://127.0.0.1:{}", Upstream::body("", b"").port),
    ] {
        for method in [Method::Get, Method::Post] {
            // The last one is waited for in vain.
            let config = HttpService { timeout: Duration::from_secs(2), ..service(&url) };
            assert_eq!(outcome(&config, method), Outcome::ServiceUnreachable, "{url}");
        }
    }
}

#[test]
fn a_certificate_that_is_none_stops_the_setup() {
    let mut config = service("https://127.0.0.1:1");
    config.ca_cert = Some(b"no certificate".to_vec());
    let why =
        Services::new(&[ServiceConfig::Http(Arc::new(config))], Arc::new(Scrubber::new(&[]))).err().unwrap();
    assert_eq!(why.service, "s");
    assert!(why.to_string().starts_with("service \"s\" cannot be set up: "), "{why}");
}

#[test]
fn a_slow_service_ends_in_time() {
    let upstream = Upstream::silent();
    let mut config = upstream.service();
    config.timeout = Duration::from_millis(1500);
    let begun = Instant::now();
    assert_eq!(outcome(&config, Method::Get), Outcome::ServiceTimeout);
    assert_eq!(outcome(&config, Method::Put), Outcome::UnknownResult);
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn the_time_of_the_tool_goes_before_that_of_the_service() {
    let upstream = Upstream::new(|_, stream| {
        sleep(Duration::from_secs(3));
        drop(stream.write_all(&response(200, "", b"1")));
    });
    let mut config = upstream.service();
    let mut quick = tool(Method::Get, "/");
    quick.timeout = Some(Duration::from_secs(1));
    assert_eq!(run(&config, call(quick.clone(), json!({}))), Outcome::ServiceTimeout);
    config.timeout = Duration::from_secs(1);
    quick.timeout = Some(PATIENCE);
    assert_eq!(run(&config, call(quick, json!({}))), Outcome::Executed(json!(1).into()));
}

#[test]
fn a_trickle_ends_in_time() {
    let upstream = Upstream::new(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
        while stream.write_all(b"x").is_ok() {
            sleep(Duration::from_millis(20));
        }
    });
    let mut config = upstream.service();
    config.timeout = Duration::from_millis(1500);
    assert_eq!(outcome(&config, Method::Get), Outcome::ServiceTimeout);
    let cut_off = Outcome::Executed(Output::lost(Lost::CutOff, None));
    assert_eq!(outcome(&config, Method::Post), cut_off, "the status had come");
}

#[test]
fn a_cut_connection_after_a_write_is_as_unknown_as_its_status_and_sent_once() {
    let half = |status| format!("HTTP/1.1 {status} X\r\ncontent-length: 10\r\n\r\nhalf");
    let cut_off = Outcome::Executed(Output::lost(Lost::CutOff, None));
    let refused =
        Outcome::ServiceError { status: Some(500), message: "Service error 500".into(), retry_after: None };
    for (cut, told) in [
        (String::new(), Outcome::UnknownResult),
        ("HTTP/1.1 20".to_owned(), Outcome::UnknownResult),
        (half(200), cut_off),
        (half(500), refused),
    ] {
        let upstream = Upstream::new(move |_, stream| {
            let _ = stream.write_all(cut.as_bytes());
            let _ = stream.shutdown(Shutdown::Both);
        });
        for method in [Method::Post, Method::Put, Method::Patch, Method::Delete] {
            let before = upstream.seen().len();
            assert_eq!(outcome(&upstream.service(), method.clone()), told, "{method}");
            assert_eq!(upstream.seen().len(), before + 1, "{method}");
        }
        assert_eq!(outcome(&upstream.service(), Method::Get), no_status("Service closed the connection"));
        assert_eq!(upstream.seen().len(), 5);
    }
}

#[test]
fn an_error_status_after_a_write_is_known() {
    let upstream = Upstream::saying(response(503, "", b""));
    let known =
        Outcome::ServiceError { status: Some(503), message: "Service error 503".into(), retry_after: None };
    assert_eq!(outcome(&upstream.service(), Method::Post), known);
}

#[test]
fn what_is_not_http_is_an_error_or_unknown() {
    let upstream = Upstream::saying("SSH-2.0-OpenSSH\r\n\r\n");
    assert_eq!(outcome(&upstream.service(), Method::Get), no_status("Service did not answer in HTTP"));
    assert_eq!(outcome(&upstream.service(), Method::Post), Outcome::UnknownResult);
    let long_head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(80_000));
    assert_eq!(outcome(&Upstream::saying(long_head).service(), Method::Get), Outcome::ResponseTooLarge);
}

#[test]
fn large_and_endless_answers_are_bounded() {
    let mut exact = Upstream::body("text/plain", &[b'x'; 1000]).service();
    exact.max_response_bytes = 1000;
    assert_eq!(outcome(&exact, Method::Get), Outcome::Executed(Value::String("x".repeat(1000)).into()));
    exact.max_response_bytes = 999;
    assert_eq!(outcome(&exact, Method::Get), Outcome::ResponseTooLarge);
    let lost = Outcome::Executed(Output::lost(Lost::TooLarge, None));
    assert_eq!(outcome(&exact, Method::Post), lost);
    let heads: [&[u8]; 3] = [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 500 No\r\ncontent-length: 99999999999\r\n\r\n",
    ];
    for head in heads {
        let upstream = Upstream::new(move |_, stream| {
            let _ = stream.write_all(head);
            while stream.write_all(b"4\r\nxxxx\r\n4\r\nxxxx\r\n").is_ok() {}
        });
        let begun = Instant::now();
        assert_eq!(outcome(&upstream.service(), Method::Get), Outcome::ResponseTooLarge);
        assert!(begun.elapsed() < PATIENCE);
    }
}

#[test]
fn no_more_calls_than_permitted_run_at_once() {
    let (running, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (r, p) = (running.clone(), peak.clone());
    let upstream = Upstream::new(move |_, stream| {
        p.fetch_max(r.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // The first ones stay until as many are there as may be.
        eventually("eight calls at once", || (p.load(Ordering::SeqCst) >= 8).then_some(()));
        sleep(Duration::from_millis(50));
        r.fetch_sub(1, Ordering::SeqCst);
        drop(stream.write_all(&response(200, "", b"1")));
    });
    let (services, places) = (services(&upstream.service(), &[]), places(8));
    let calls = (0..40).map(|n| {
        let (services, places) = (services.clone(), places.clone());
        let method = if n % 2 == 0 { Method::Get } else { Method::Post };
        async move {
            let place = place(&places).await;
            services.run(claim(call(tool(method, "/"), json!({}))).await, None, place).await
        }
    });
    let executed = Outcome::Executed(json!(1).into());
    let is_executed = |sent: &Attempt| matches!(sent, Attempt::Ended { outcome, .. } if *outcome == executed);
    assert!(all(calls.collect()).iter().all(is_executed));
    assert_eq!(peak.load(Ordering::SeqCst), 8);
    assert_eq!(upstream.seen().len(), 40);
}

#[test]
fn a_large_answer_keeps_its_place_until_it_is_put_away() {
    for (size, waits) in [(16 * 1024 - 1, false), (16 * 1024, true)] {
        let upstream = Upstream::body("text/plain", &vec![b'x'; size]);
        let (services, places) = (services(&upstream.service(), &[]), places(1));
        let run = async {
            services
                .run(claim(call(tool(Method::Get, "/"), json!({}))).await, None, place(&places).await)
                .await
        };
        let sent = smol::block_on(run);
        assert!(matches!(&sent, Attempt::Ended { outcome: Outcome::Executed(_), .. }), "{size} bytes");
        let next = places.line_up(&AgentId::configured("a"), "s");
        assert_eq!(next.try_recv().is_err(), waits, "{size} bytes");
        drop(sent);
        assert_eq!(next.try_recv().is_ok(), waits, "{size} bytes");
    }
}

/// A server that takes a connection and says nothing until it is told to: a TLS client waits for it.
#[test]
fn retired_services_send_nothing_that_still_waits_for_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = service(&format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port()));
    let services = services(&config, &[]);
    let retirer = services.clone();
    let run = async move {
        services
            .run(claim(call(tool(Method::Post, "/"), json!({}))).await, None, place(&places(1)).await)
            .await
    };
    let retire = async move {
        let (connection, _) = smol::unblock(move || listener.accept().unwrap()).await;
        retirer.retire();
        drop(connection);
    };
    let (sent, ()) = smol::block_on(smol::future::zip(run, retire));
    assert!(matches!(sent, Attempt::Overtaken(..)));
}

#[test]
fn retired_services_see_through_what_they_have_sent() {
    let upstream = Upstream::new(|_, stream| {
        sleep(Duration::from_millis(300));
        drop(stream.write_all(&response(200, "", b"1")));
    });
    for method in [Method::Get, Method::Post] {
        let services = services(&upstream.service(), &[]);
        let (retirer, before, seen) = (services.clone(), upstream.seen().len(), upstream.seen());
        let to_send = call(tool(method.clone(), "/"), json!({}));
        let run = async move { send(&services, to_send).await };
        let retire = async {
            while upstream.seen().len() == before {
                smol::Timer::after(Duration::from_millis(5)).await;
            }
            retirer.retire();
        };
        let (outcome, ()) = smol::block_on(smol::future::zip(run, retire));
        assert_eq!(outcome, Outcome::Executed(json!(1).into()));
        let again = smol::block_on(async {
            retirer.run(claim(call(tool(method, "/"), json!({}))).await, None, place(&places(1)).await).await
        });
        assert!(matches!(again, Attempt::Overtaken(..)), "also over a connection that there is");
        assert_eq!(upstream.seen().len(), seen.len() + 1);
    }
}

#[test]
fn what_was_prepared_before_a_reload_leaves_as_the_services_in_force_have_it() {
    let upstream = Upstream::body("", b"1");
    let with = |token: &str| HttpService { auth: Auth::Bearer(secret(token)), ..upstream.service() };
    let (before, after) = (services(&with("old"), &[]), services(&with("new"), &[]));
    let gone = Services::new(&[], Arc::new(Scrubber::new(&[]))).unwrap();
    let prepared_before = |services: &Services| {
        let write = call(tool(Method::Post, "/"), json!({"a": 1}));
        let prepared = before.check(&write).unwrap();
        smol::block_on(async {
            services.run(claim(write).await, Some(prepared), place(&places(1)).await).await
        })
    };
    for (services, credential) in [(&before, "Bearer old"), (&after, "Bearer new")] {
        let sent = prepared_before(services);
        assert!(matches!(sent, Attempt::Ended { outcome: Outcome::Executed(_), .. }), "{credential}");
        let seen = upstream.seen().pop().unwrap();
        assert_eq!((seen.header("authorization"), seen.json()), (vec![credential], json!({"a": 1})));
    }
    let sent = prepared_before(&gone);
    assert!(matches!(sent, Attempt::Ended { outcome: Outcome::ServiceUnreachable, .. }));
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn reads_keep_their_connection_and_writes_take_a_fresh_one() {
    let upstream = Upstream::body("", b"1");
    let services = services(&upstream.service(), &[]);
    for (method, connections) in [(Method::Get, 1), (Method::Get, 1), (Method::Post, 2), (Method::Post, 3)] {
        smol::block_on(send(&services, call(tool(method.clone(), "/"), json!({}))));
        assert_eq!(upstream.connections.load(Ordering::SeqCst), connections, "{method}");
    }
}

#[test]
fn a_shutdown_ends_calls_at_once() {
    let upstream = Upstream::silent();
    let services = services(&upstream.service(), &[]);
    let (stopper, begun) = (services.clone(), Instant::now());
    let write = async move { send(&services, call(tool(Method::Post, "/"), json!({}))).await };
    let stop = async {
        while upstream.seen().is_empty() {
            smol::Timer::after(Duration::from_millis(5)).await;
        }
        stopper.shutdown();
        send(&stopper, call(tool(Method::Get, "/"), json!({}))).await
    };
    let both = smol::block_on(smol::future::zip(write, stop));
    assert_eq!(both, (Outcome::UnknownResult, Outcome::ServiceUnreachable));
    assert!(begun.elapsed() < PATIENCE / 2, "nobody waits for the time limit");
}

fn probed(upstream: &Upstream, expect_status: u16) -> agentpass::testing::service::ServiceHealth {
    let mut config = upstream.service();
    config.auth = agentpass::testing::config::Auth::Query { param: "k".into(), token: secret("t0ken") };
    config.health = Some(Health { method: Method::Get, path: "/health?x=1".into(), expect_status });
    let services = services(&config, &["t0ken"]);
    assert_eq!(services.health()[0].1.up, None);
    let seen = async {
        while services.health()[0].1.up.is_none() {
            smol::Timer::after(Duration::from_millis(5)).await;
        }
    };
    let watch = services.watch(Clock::manual(Timestamp(7)), |_| ());
    smol::block_on(smol::future::or(watch, seen));
    assert_eq!(upstream.seen()[0].target(), "/health?x=1&k=t0ken");
    services.health().remove(0).1
}

#[test]
fn health_is_what_the_service_says() {
    let upstream = Upstream::saying(response(503, "", b"t0ken"));
    let health = probed(&upstream, 503);
    assert_eq!(
        (health.up, health.since, health.last_ok),
        (Some(true), Some(Timestamp(7)), Some(Timestamp(7)))
    );
    let health = probed(&upstream, 200);
    assert_eq!((health.up, health.last_ok), (Some(false), None));
    assert_eq!(health.last_error.as_deref(), Some("it answered 503 instead of 200"));
}
