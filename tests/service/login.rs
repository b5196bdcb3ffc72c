//! Sessions: one login, a token that calls show and nobody sees, and a logout at the end.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use agentpass::testing::config::{Auth, HttpService, Login, LoginRequest, ServiceConfig, Take};
use agentpass::testing::model::{Method, Outcome};
use agentpass::testing::service::{Attempt, Services};
use serde_json::{Value, json};

use super::fake::*;

const PASSWORD: &str = "the-password-of-the-house";

fn exchange(method: Method, path: &str, body: Option<&str>) -> LoginRequest {
    let body = body.map(|body| ("application/json", secret(body)));
    LoginRequest { method, path: path.into(), headers: Vec::new(), body }
}

fn login(upstream: &Upstream, change: impl FnOnce(&mut Login)) -> HttpService {
    let mut login = Login {
        request: exchange(Method::Post, "/auth", Some(&json!({"password": PASSWORD}).to_string())),
        take: Take::Json("/session/sid".into()),
        header: "X-Sid".into(),
        before: "sid ".into(),
        after: ";".into(),
        expires: None,
        logout: Some(exchange(Method::Delete, "/auth", None)),
    };
    change(&mut login);
    HttpService { auth: Auth::Login(Arc::new(login)), ..upstream.service() }
}

/// The token of the nth login.
fn token(n: usize) -> String {
    format!("session-token-number-{n}")
}

/// A service that gives a token for each login, knows only the newest one, and echoes what it is sent.
fn guarded(knows: impl Fn(usize, usize) -> bool + Send + Sync + 'static) -> (Upstream, Arc<AtomicUsize>) {
    let (logins, calls) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
    let count = logins.clone();
    let answer = move |seen: &Seen, stream: &mut TcpStream| {
        let answer = match (seen.target(), seen.head.starts_with("POST")) {
            ("/auth", true) => {
                sleep(Duration::from_millis(50));
                let token = token(count.fetch_add(1, Ordering::SeqCst) + 1);
                let body = json!({"session": {"sid": token}}).to_string();
                let head = format!(
                    "set-cookie: A=b; Path=/\r\nset-cookie: SID={token}; HttpOnly\r\nx-token: {token}"
                );
                format!("HTTP/1.1 200 X\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                    .into_bytes()
            }
            ("/auth", false) => response(204, "", b""),
            _ if knows(logins_of(&count), calls.fetch_add(1, Ordering::SeqCst)) => {
                response(200, "text/plain", seen.head.as_bytes())
            }
            _ => response(401, "text/plain", seen.head.as_bytes()),
        };
        let _ = stream.write_all(&answer);
    };
    (Upstream::new(answer), logins)
}

fn logins_of(count: &AtomicUsize) -> usize {
    count.load(Ordering::SeqCst)
}

fn targets(upstream: &Upstream) -> Vec<String> {
    let line = |seen: &Seen| seen.head.split(" HTTP").next().unwrap().to_owned();
    upstream.seen().iter().map(line).collect()
}

fn ask(services: &Services, method: Method) -> Outcome {
    smol::block_on(send(services, call(tool(method, "/x"), json!({}))))
}

fn refused(status: u16, message: &str) -> Outcome {
    Outcome::ServiceError { status: Some(status), message: message.into(), retry_after: None }
}

#[test]
fn calls_that_come_together_share_one_login_and_nobody_sees_its_token() {
    let (upstream, logins) = guarded(|_, _| true);
    let services = services(&login(&upstream, |_| {}), &[PASSWORD]);
    let calls = (0..8).map(|n| {
        let (services, method) = (services.clone(), if n % 2 == 0 { Method::Get } else { Method::Post });
        async move { send(&services, call(tool(method, "/x"), json!({}))).await }
    });
    for outcome in all(calls.collect()) {
        let Outcome::Executed(echo) = outcome else { panic!("{outcome:?}") };
        assert!(echo.data.as_str().to_lowercase().contains("x-sid: sid [redacted];"), "{echo:?}");
    }
    assert_eq!(logins_of(&logins), 1);
    let seen = upstream.seen();
    assert_eq!(seen[0].json(), json!({"password": PASSWORD}));
    assert!(seen[0].header("x-sid").is_empty());
    assert!(seen[1..].iter().all(|s| s.header("x-sid") == [format!("sid {};", token(1))]), "{seen:?}");
    smol::block_on(services.log_out());
    let out = upstream.seen().pop().unwrap();
    assert!(out.head.starts_with("DELETE /auth ") && out.header("x-sid") == [format!("sid {};", token(1))]);
    assert_eq!(ask(&services, Method::Get), Outcome::ServiceUnreachable, "no session after the last one");
    assert_eq!(logins_of(&logins), 1);
}

#[test]
fn a_token_is_taken_from_where_it_is() {
    for take in
        [Take::Header("X-Token".into()), Take::Cookie("SID".into()), Take::Json("/session/sid".into())]
    {
        let (upstream, _) = guarded(|_, _| true);
        let config = login(&upstream, |login| {
            (login.take, login.header, login.before) = (take.clone(), "Cookie".into(), "SID=".into());
        });
        assert!(matches!(ask(&services(&config, &[]), Method::Get), Outcome::Executed(_)), "{take:?}");
        assert_eq!(upstream.seen()[1].header("cookie"), [format!("SID={};", token(1))], "{take:?}");
    }
}

#[test]
fn a_read_turned_away_logs_in_again_once() {
    let (upstream, logins) = guarded(|logins, _| logins == 2);
    let services = services(&login(&upstream, |_| {}), &[]);
    assert!(matches!(ask(&services, Method::Get), Outcome::Executed(_)));
    assert_eq!((logins_of(&logins), upstream.seen().len()), (2, 4));
    let (upstream, logins) = guarded(|_, _| false);
    let services = super::fake::services(&login(&upstream, |_| {}), &[]);
    let turned_away = refused(401, "Service refused the gateway's credentials (401)");
    assert_eq!(ask(&services, Method::Get), turned_away);
    assert_eq!((logins_of(&logins), upstream.seen().len()), (2, 4));
}

#[test]
fn a_write_turned_away_is_never_repeated_but_the_next_one_logs_in() {
    let (upstream, _) = guarded(|logins, _| logins == 2);
    let services = services(&login(&upstream, |_| {}), &[]);
    let turned_away = refused(401, "Service refused the gateway's credentials (401)");
    assert_eq!(ask(&services, Method::Post), turned_away);
    assert_eq!(targets(&upstream), ["POST /auth", "POST /x"]);
    assert!(matches!(ask(&services, Method::Post), Outcome::Executed(_)));
    assert_eq!(targets(&upstream), ["POST /auth", "POST /x", "POST /auth", "POST /x"]);
}

#[test]
fn a_session_that_is_over_is_ended_and_another_begun() {
    let (upstream, _) = guarded(|_, _| true);
    let config = login(&upstream, |login| login.expires = Some(Duration::from_secs(2)));
    let services = services(&config, &[]);
    assert!(matches!(ask(&services, Method::Post), Outcome::Executed(_)));
    sleep(Duration::from_millis(2100));
    assert!(matches!(ask(&services, Method::Post), Outcome::Executed(_)));
    assert_eq!(targets(&upstream), ["POST /auth", "POST /x", "DELETE /auth", "POST /auth", "POST /x"]);
    let shown = |n: usize| upstream.seen()[n].header("x-sid").concat();
    assert_eq!([shown(2), shown(4)], [format!("sid {};", token(1)), format!("sid {};", token(2))]);
}

#[test]
fn a_session_goes_with_its_services() {
    let (upstream, _) = guarded(|_, _| true);
    let services = services(&login(&upstream, |_| {}), &[]);
    assert!(matches!(ask(&services, Method::Get), Outcome::Executed(_)));
    services.retire();
    drop(services);
    eventually("the goodbye", || (targets(&upstream).last().unwrap() == "DELETE /auth").then_some(()));
}

#[test]
fn without_a_token_nothing_is_sent() {
    let no = "Service refused the gateway's login (403)";
    let none = "Service answered the gateway's login without a token";
    for (answer, outcome) in [
        (response(403, "text/plain", PASSWORD.as_bytes()), refused(403, no)),
        (response(200, "application/json", b"{}"), refused(200, none)),
        (response(200, "application/json", br#"{"session":{"sid":"two words"}}"#), refused(200, none)),
        (response(200, "application/json", br#"{"session":{"sid":["x"]}}"#), refused(200, none)),
        (response(200, "text/html", b"<html>"), refused(200, none)),
        (Vec::new(), Outcome::ServiceUnreachable),
    ] {
        let upstream = Upstream::new(move |_, stream| {
            let _ = stream.write_all(&answer);
            let _ = stream.shutdown(std::net::Shutdown::Both);
        });
        let services = services(&login(&upstream, |_| {}), &[PASSWORD]);
        for method in [Method::Post, Method::Get] {
            assert_eq!(ask(&services, method), outcome);
        }
        // Who was refused is not tried again at once: accounts get locked.
        let tries = if outcome == Outcome::ServiceUnreachable { 2 } else { 1 };
        assert_eq!(targets(&upstream), vec!["POST /auth"; tries]);
    }
}

#[test]
fn a_login_that_hangs_lets_everybody_wait_for_their_own_time_only() {
    let upstream = Upstream::silent();
    let mut config = login(&upstream, |_| {});
    config.timeout = Duration::from_secs(2);
    let services = services(&config, &[]);
    let begun = std::time::Instant::now();
    let calls = (0..6).map(|_| {
        let services = services.clone();
        async move { send(&services, call(tool(Method::Post, "/x"), json!({}))).await }
    });
    assert!(all(calls.collect()).iter().all(|outcome| *outcome == Outcome::ServiceUnreachable));
    assert!(begun.elapsed() < Duration::from_secs(11), "one after the other: {:?}", begun.elapsed());
    assert_eq!(targets(&upstream), ["POST /auth"]);
}

#[test]
fn a_token_given_later_is_looked_for_everywhere() {
    let (upstream, _) = guarded(|_, _| true);
    let scrubber = Arc::new(agentpass::testing::service::Scrubber::new(&[]));
    let config = login(&upstream, |_| {});
    let services = Services::new(&[ServiceConfig::Http(Arc::new(config))], scrubber.clone()).unwrap();
    let value: Value = json!({"a": [token(1).replace('-', "%2d")]});
    assert!(!scrubber.is_in(&value));
    assert!(matches!(ask(&services, Method::Get), Outcome::Executed(_)));
    assert!(scrubber.is_in(&value));
    assert_eq!(scrubber.text(format!("<{}>", token(1))), "<[redacted]>");
}

/// A password that was wrong is corrected, and the call goes on with the new one: nothing of it has been sent.
#[test]
fn who_waits_for_a_login_is_overtaken_by_a_reload() {
    let (upstream, logins) = guarded(|_, _| true);
    let retired = Arc::new(AtomicBool::new(false));
    let after = retired.clone();
    let hangs = Upstream::new(move |_, stream| {
        eventually("the reload", || after.load(Ordering::SeqCst).then_some(()));
        drop(stream.write_all(&response(403, "", b"")));
    });
    let old = services(&login(&hangs, |_| {}), &[]);
    let (first, second, retirer) = (old.clone(), old.clone(), old);
    let wait = |services: Services| async move {
        services
            .run(claim(call(tool(Method::Post, "/x"), json!({}))).await, None, place(&places(1)).await)
            .await
    };
    let retire = async {
        while hangs.seen().is_empty() {
            smol::Timer::after(Duration::from_millis(5)).await;
        }
        smol::Timer::after(Duration::from_millis(30)).await;
        retirer.retire();
        retired.store(true, Ordering::SeqCst);
    };
    let both = smol::future::zip(wait(first), wait(second));
    let ((one, two), ()) = smol::block_on(smol::future::zip(both, retire));
    assert!(
        matches!((one, two), (Attempt::Overtaken(..), Attempt::Overtaken(..))),
        "the setup in force makes them"
    );
    let new = services(&login(&upstream, |_| {}), &[]);
    assert!(matches!(ask(&new, Method::Post), Outcome::Executed(_)));
    assert_eq!(
        (hangs.seen().len(), logins_of(&logins)),
        (1, 1),
        "one login at the old one, and nothing else"
    );
}
