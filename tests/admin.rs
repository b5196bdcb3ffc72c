//! The admin pages over real sockets: who gets in, what they see, and that answers given there count once.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use harness::agent::dial_from;
use harness::gateway::{LAPTOP, TOKEN, cli};
use harness::site::{Page, Site, link};
use harness::{Agent, Answer, BINARY, Folder, Gateway, Setup, TestClock, eventually, takes_less};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use serde_json::{Value, json};

const PASSWORD: &str = "a fairly long password";

fn gateway() -> Gateway {
    Gateway::with(&Setup::with_pages())
}

/// Who runs the tests, in the record.
fn me(how: &str) -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    format!("web:{}/{how}@127.0.0.1", String::from_utf8(output.stdout).unwrap().trim())
}

/// An agent that has asked to say this, the wire's id and the question's.
fn ask(gateway: &Gateway, text: &str) -> (Agent, u64, String) {
    let mut agent = Agent::login(gateway.address, TOKEN);
    let wire = agent.send("tool_request", json!({"tool": "say", "args": {"text": text}}));
    let id = agent.asked();
    (agent, wire, id)
}

fn with_password() -> Setup {
    let folder = Folder::new();
    let output = cli(&folder, &["web", "--hash-password"], &format!("{PASSWORD}\n"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let hash = String::from_utf8(output.stdout).unwrap();
    let setup = Setup::with_pages();
    let key = format!("health_port: 0\n  admin_password_hash: \"{}\"\n", hash.trim());
    Setup { config: setup.config.replace("health_port: 0\n", &key), ..setup }
}

fn is_guarded(page: &Page) {
    assert_eq!(page.header("x-content-type-options"), "nosniff", "{page:?}");
    assert_eq!(page.header("referrer-policy"), "same-origin");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
}

#[test]
fn without_a_session_there_is_nothing_to_see() {
    let gateway = gateway();
    let (_agent, _, id) = ask(&gateway, "a secret of the house");
    let site = Site::of(&gateway);
    for path in
        ["/", "/approvals/", "/approvals/feed", "/audit/", "/nothing", &format!("/approvals/{id}/end")]
    {
        let page = site.get(path);
        assert_eq!(page.status, 401, "{path}: {page:?}");
        is_guarded(&page);
        assert_eq!(page.header("cache-control"), "no-store");
        let page = site.ask("GET", path, &[("accept", "text/html,*/*")], "");
        assert_eq!(page.status, 303, "{path}");
        assert!(page.header("location").starts_with("/sign-in"), "{path}: {page:?}");
    }
    let page = site.post(&format!("/approvals/{id}"), &[("choice", "approve")]);
    assert_eq!(page.status, 401);
    assert_eq!(gateway.questions().len(), 1);
    let forged = Site { cookie: site.cookie_of("AAAA"), ..site.clone() };
    assert_eq!(forged.get("/").status, 401);
    for (path, body) in [("/livez", "ok\n"), ("/healthz", "{\"status\":\"healthy\"}\n")] {
        let page = site.get(path);
        assert_eq!((page.status, page.body.as_str()), (200, body));
        is_guarded(&page);
    }
    assert_eq!(site.get("/sign-in").status, 200);
    assert_eq!(site.ask("DELETE", "/", &[], "").status, 405);
    assert_eq!(site.ask("HEAD", "/livez", &[], "").body, "");
}

#[test]
fn style_and_scripts_are_kept_by_browsers_and_change_their_address() {
    let gateway = gateway();
    let site = Site::of(&gateway);
    let page = site.get("/sign-in");
    let path = page.body.split("href=\"").find(|part| part.contains("style.css")).unwrap();
    let path = path.split('"').next().unwrap();
    let style = site.get(path);
    assert_eq!((style.status, style.header("content-type")), (200, "text/css; charset=utf-8"));
    assert_eq!(style.header("cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(site.get("/static/0000000000000000/style.css").status, 404);
    for inline in ["style=", "<style", "onclick", "onload"] {
        assert!(!page.body.contains(inline), "{inline}");
    }
}

#[test]
fn a_link_signs_in_once() {
    let gateway = gateway();
    let site = Site::of(&gateway);
    let token = link(&gateway);
    // Looking at the link does not use it up.
    for _ in 0..2 {
        let page = site.get(&format!("/sign-in?link={token}"));
        assert!(page.status == 200 && page.body.contains(&token), "{page:?}");
        assert_eq!(page.header("cache-control"), "no-store");
    }
    let page = site.post("/sign-in", &[("link", &token)]);
    assert_eq!((page.status, page.header("location")), (303, "/"));
    let cookie = page.header("set-cookie");
    assert!(cookie.starts_with(&format!("agentpass-{}=", site.address.port())), "{cookie}");
    assert!(
        cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Strict") && cookie.contains("; Path=/")
    );
    assert!(!cookie.contains("Secure") && !cookie.contains(&token));
    let again = site.post("/sign-in", &[("link", &token)]);
    assert!(again.status == 403 && again.body.contains("used already"), "{again:?}");
    assert_eq!(again.header("set-cookie"), "");
    assert!(!gateway.log().contains(&token));
}

#[test]
fn a_link_and_a_session_end_with_time_whatever_the_clock_does() {
    let clock = TestClock::new();
    let gateway = Gateway::with_clock(&Setup::with_pages(), &clock);
    let (token, site) = (link(&gateway), Site::signed_in(&gateway));
    assert_eq!(site.get("/").status, 200);
    clock.shift(301);
    assert_eq!(site.post("/sign-in", &[("link", &token)]).status, 403);
    assert_eq!(site.get("/").status, 200);
    let mut feed = site.feed();
    assert_eq!(feed.until("all"), json!([]));
    clock.shift(13 * 3600);
    assert_eq!(site.get("/").status, 401);
    assert!(eventually("the feed to end", || feed.next().is_none().then_some(true)));
}

#[test]
fn a_session_whose_time_is_over_hears_of_nothing_new() {
    let clock = TestClock::new();
    let gateway = Gateway::with_clock(&Setup::with_pages(), &clock);
    let mut feed = Site::signed_in(&gateway).feed();
    assert_eq!(feed.until("all"), json!([]));
    clock.shift(13 * 3600);
    let _asked = ask(&gateway, "a secret of the house");
    assert_eq!(feed.next(), None);
}

#[test]
fn signing_out_ends_the_session_and_its_feeds() {
    let gateway = gateway();
    let site = Site::signed_in(&gateway);
    let mut feed = site.feed();
    assert_eq!(feed.until("all"), json!([]));
    let page = site.post("/sign-out", &[]);
    assert_eq!((page.status, page.header("location")), (303, "/sign-in"));
    assert!(page.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(site.get("/").status, 401);
    assert_eq!(feed.next(), None);
}

#[test]
fn foreign_names_and_foreign_pages_are_refused() {
    let gateway = gateway();
    let (_agent, _, id) = ask(&gateway, "hello");
    let site = Site::signed_in(&gateway);
    let port = site.address.port();
    for host in ["evil.example", &format!("evil.example:{port}"), "127.0.0.1.evil.example", "", "192.0.2.1"] {
        for path in ["/", "/healthz", "/sign-in", "/approvals/feed"] {
            let page = site.ask("GET", path, &[("host", host)], "");
            assert_eq!(page.status, 421, "{host} {path}: {page:?}");
        }
        // Whether it lives is no secret, and whoever watches may know it by any name.
        assert_eq!(site.ask("GET", "/livez", &[("host", host)], "").body, "ok\n", "{host}");
        assert_eq!(site.ask("POST", "/livez", &[("host", host)], "").status, 421, "{host}");
    }
    for host in ["localhost", &format!("localhost:{port}"), "[::1]:80", "127.0.0.1:9999"] {
        assert_eq!(site.ask("GET", "/", &[("host", host)], "").status, 200, "{host}");
    }
    let (path, form) = (format!("/approvals/{id}"), site.form(&[("choice", "approve")]));
    let own = format!("http://127.0.0.1:{port}");
    let foreign: [&[(&str, &str)]; 6] = [
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://127.0.0.1:1")],
        &[("origin", "http://localhost")],
        &[("origin", &own), ("sec-fetch-site", "cross-site")],
        &[("origin", &own), ("sec-fetch-site", "same-site")],
    ];
    for headers in foreign {
        assert_eq!(site.ask("POST", &path, headers, &form).status, 403, "{headers:?}");
    }
    let embedded = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")];
    assert_eq!(site.ask("GET", "/approvals/", &embedded, "").status, 403);
    let followed = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
    assert_eq!(site.ask("GET", "/approvals/", &followed, "").status, 200);
    assert_eq!(gateway.questions().len(), 1, "nothing was answered");
}

#[test]
fn forms_need_the_sessions_own_token() {
    let gateway = gateway();
    let (_agent, _, id) = ask(&gateway, "hello");
    let (site, other) = (Site::signed_in(&gateway), Site::signed_in(&gateway));
    let path = format!("/approvals/{id}");
    for csrf in [String::new(), "x".into(), other.csrf.clone()] {
        let page = Site { csrf, ..site.clone() }.post(&path, &[("choice", "approve")]);
        assert_eq!(page.status, 403, "{page:?}");
    }
    assert_eq!(Site { csrf: other.csrf, ..site.clone() }.post("/sign-out", &[]).status, 403);
    assert_eq!(gateway.questions().len(), 1);
    assert_eq!(site.post(&path, &[("choice", "maybe")]).status, 400);
    assert_eq!(site.answer(&id, &[("choice", "approve")])["outcome"], "resolved");
}

#[test]
fn names_of_the_owners_choice_are_known_after_a_reload() {
    let gateway = gateway();
    let site = Site::signed_in(&gateway);
    let host = [("host", "gate.example:443")];
    assert_eq!(site.ask("GET", "/", &host, "").status, 421);
    let setup = Setup::with_pages();
    let config = setup.config.replace("health_port: 0\n", "health_port: 0\n  admin_hosts: [gate.example]\n");
    gateway.configure(&Setup { config, ..setup });
    assert!(gateway.cli(&["reload"]).status.success());
    assert_eq!(site.ask("GET", "/", &host, "").status, 200);
}

#[test]
fn the_password_signs_in_and_wrong_ones_cost_time() {
    let gateway = Gateway::with(&with_password());
    let mut site = Site::of(&gateway);
    assert!(site.get("/sign-in").body.contains("type=\"password\""));
    // The page that was asked for is found again, and only a page of ours.
    let wanted = "/audit/?outcome=failed";
    let led = site.ask("GET", wanted, &[("accept", "text/html")], "");
    assert_eq!(led.header("location"), "/sign-in?to=%2Faudit%2F%3Foutcome%3Dfailed");
    let form = site.get(led.header("location"));
    assert!(form.body.contains("name=\"to\" value=\"/audit/?outcome=failed\""), "{}", form.body);
    let there = site.post("/sign-in", &[("password", PASSWORD), ("to", wanted)]);
    assert_eq!((there.status, there.header("location")), (303, wanted));
    for evil in ["//evil.example/", "https://evil.example/", "/\\evil.example", "/sign-out"] {
        let there = site.post("/sign-in", &[("password", PASSWORD), ("to", evil)]);
        assert_eq!((there.status, there.header("location")), (303, "/"), "{evil}");
    }
    assert!(!site.get("/sign-in?to=%2F%2Fevil.example").body.contains("evil"));
    let page = site.post("/sign-in", &[("password", PASSWORD)]);
    site.take_session(&page);
    let (_agent, _, id) = ask(&gateway, "hello");
    assert_eq!(site.answer(&id, &[("choice", "deny")])["outcome"], "resolved");
    assert_eq!(gateway.row(&id)["resolved_by"], "web:admin/password@127.0.0.1");
    let stranger = Site::of(&gateway);
    for _ in 0..3 {
        assert_eq!(stranger.post("/sign-in", &[("password", "wrong")]).status, 403);
    }
    let refused = stranger.post("/sign-in", &[("password", PASSWORD)]);
    assert_eq!(refused.status, 429, "even the right one has to wait: {refused:?}");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() <= 3, "{refused:?}");
    assert!(refused.body.contains("one-time link"));
    // A link is never held back, and neither is who is signed in.
    assert_eq!(site.get("/").status, 200);
    Site::signed_in(&gateway);
    eventually("the log", || gateway.log().contains("wrong password").then_some(()));
    let log = gateway.log();
    assert!(!log.contains(PASSWORD) && !log.contains("scrypt"), "{log}");
}

/// Whoever leaves before the answer has had a password looked at all the same: it counts, and no two are at once.
#[test]
fn leaving_early_saves_no_wrong_password() {
    let gateway = Gateway::with_environment(&with_password(), &[("LOG_LEVEL", "debug")]);
    let site = Site::of(&gateway);
    let body = "password=wrong";
    let head = format!("host: {}\r\ncontent-length: {}", site.address, body.len());
    for number in 1..=3 {
        let mut stream = TcpStream::connect(site.address).unwrap();
        stream.write_all(format!("POST /sign-in HTTP/1.1\r\n{head}\r\n\r\n{body}").as_bytes()).unwrap();
        let begun = || gateway.log().matches("looking at a password").count() == number;
        eventually("the password to be looked at", || begun().then_some(()));
    }
    let fourth = site.post("/sign-in", &[("password", "x")]);
    assert_eq!(fourth.status, 429, "the three before it count: {fourth:?}");
}

#[test]
fn a_new_password_signs_out_who_came_with_the_old_one() {
    let setup = with_password();
    let gateway = Gateway::with(&setup);
    let mut site = Site::of(&gateway);
    let page = site.post("/sign-in", &[("password", PASSWORD)]);
    site.take_session(&page);
    let by_link = Site::signed_in(&gateway);
    gateway.configure(&with_password());
    assert!(gateway.cli(&["reload"]).status.success());
    assert_eq!((site.get("/").status, by_link.get("/").status), (401, 200));
}

/// Looking at a password takes a while. Whoever began with the old one must not end up with a session.
#[test]
fn a_password_that_is_replaced_while_it_is_looked_at_opens_nothing() {
    let gateway = Gateway::with_environment(&with_password(), &[("LOG_LEVEL", "debug")]);
    let mut site = Site::of(&gateway);
    gateway.configure(&with_password());
    let page = thread::scope(|scope| {
        let visit = scope.spawn(|| site.post("/sign-in", &[("password", PASSWORD)]));
        let begun = || gateway.log().contains("looking at a password");
        eventually("the password to be looked at", || begun().then_some(()));
        gateway.control(&json!({"command": "reload"})).unwrap();
        visit.join().unwrap()
    });
    site.cookie = page.header("set-cookie").split(';').next().unwrap().to_owned();
    assert_eq!(site.get("/").status, 401, "{page:?}");
}

#[test]
fn a_hash_is_made_of_good_passwords_only() {
    let folder = Folder::new();
    for (input, says) in [("short\n", "5 characters"), ("", "0 characters")] {
        let output = cli(&folder, &["web", "--hash-password"], input);
        assert_eq!(output.status.code(), Some(4));
        assert!(String::from_utf8(output.stderr).unwrap().contains(says));
    }
}

#[test]
fn an_answer_from_the_page_reaches_the_agent_and_the_record() {
    let gateway = gateway();
    let site = Site::signed_in(&gateway);
    let (mut agent, wire, id) = ask(&gateway, "hello");
    let page = site.get("/approvals/");
    is_guarded(&page);
    assert_eq!(page.header("cache-control"), "no-store");
    for shown in ["say", "Says something", "default", "hello", &id[..8], "data-left="] {
        assert!(page.body.contains(shown), "{shown}: {}", page.body);
    }
    // A plain form, as a browser without scripts sends it.
    let sent = site.post(&format!("/approvals/{id}"), &[("choice", "deny"), ("note", "not\r\nnow ")]);
    assert_eq!((sent.status, sent.header("location")), (303, format!("/approvals/?about={id}").as_str()));
    let reply = agent.reply(wire);
    assert_eq!(
        (&reply["error"]["code"], &reply["error"]["data"]["note"]),
        (&json!(-32001), &json!("not\nnow"))
    );
    let after = site.get(sent.header("location"));
    assert!(after.body.contains("Denied by you"), "{}", after.body);
    assert_eq!(gateway.row(&id)["resolved_by"], me("link"));
    let (mut agent, wire, id) = ask(&gateway, "hello again");
    let answer = site.answer(&id, &[("choice", "approve")]);
    assert_eq!(answer["outcome"], "resolved");
    let record = answer["end"].as_str().unwrap().split("href=\"").nth(1).unwrap().split('"').next().unwrap();
    let record = site.get(record);
    assert!(record.status == 200 && record.body.contains("hello again"), "{record:?}");
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    gateway.verify();
}

#[test]
fn of_two_tabs_one_wins_and_the_other_hears_who() {
    let gateway = gateway();
    let (one, two) = (Site::signed_in(&gateway), Site::signed_in(&gateway));
    for round in 0..5 {
        let (mut agent, wire, id) = ask(&gateway, &format!("hello {round}"));
        let (left, right) = thread::scope(|scope| {
            let left = scope.spawn(|| one.answer(&id, &[("choice", "approve")]));
            let right = scope.spawn(|| two.answer(&id, &[("choice", "deny")]));
            (left.join().unwrap(), right.join().unwrap())
        });
        let mut words = [left["outcome"].as_str().unwrap(), right["outcome"].as_str().unwrap()];
        words.sort_unstable();
        assert_eq!(words, ["already_resolved", "resolved"]);
        for said in [&left, &right] {
            assert!(said["is_over"] == true && said["end"].as_str().unwrap().contains(" by you"), "{said}");
        }
        let reply = agent.reply(wire);
        let won = if left["outcome"] == "resolved" { "approved" } else { "denied" };
        assert_eq!(reply["result"]["status"] == "executed", won == "approved", "{reply}");
        assert_eq!(gateway.row(&id)["resolution"], won);
        // The same again, as by a double click.
        let again = one.answer(&id, &[("choice", "approve")]);
        assert_eq!(again["outcome"], "already_resolved");
        assert!(
            again["end"]
                .as_str()
                .unwrap()
                .contains(&format!("{} by you", if won == "approved" { "Approved" } else { "Denied" })),
            "{again}"
        );
    }
    assert_eq!(
        one.answer("00000000-0000-4000-8000-000000000000", &[("choice", "deny")])["outcome"],
        "unknown"
    );
    assert_eq!(one.post("/approvals/nonsense", &[("choice", "deny")]).status, 404);
}

#[test]
fn somebody_elses_answer_is_told() {
    let gateway = gateway();
    let site = Site::signed_in(&gateway);
    let (_agent, _, id) = ask(&gateway, "one");
    gateway.say_no(&id);
    let late = site.answer(&id, &[("choice", "approve")]);
    assert_eq!(late["outcome"], "already_resolved");
    assert!(late["end"].as_str().unwrap().contains("Denied by local:"), "{late}");
}

#[test]
fn a_question_whose_time_is_over_takes_no_answer() {
    let clock = TestClock::new();
    let setup = Setup::with_pages();
    let config = setup.config.replace("approval_timeout: 60", "approval_timeout: 12");
    let gateway = Gateway::with_clock(&Setup { config, ..setup }, &clock);
    let site = Site::signed_in(&gateway);
    let (mut agent, wire, id) = ask(&gateway, "two");
    clock.shift(21);
    // Nobody has told the agent yet, and it is too late all the same.
    assert_eq!(site.answer(&id, &[("choice", "approve")])["outcome"], "expired");
    let page = site.get("/approvals/");
    assert_eq!(page.body.matches("value=\"approve\" disabled").count(), 1, "{}", page.body);
    assert_eq!(site.post(&format!("/approvals/{id}"), &[("choice", "approve")]).status, 303);
    assert_eq!(agent.reply(wire)["error"]["code"], -32002);
    assert_eq!(site.answer(&id, &[("choice", "approve")])["outcome"], "expired");
    let end = site.get(&format!("/approvals/{id}/end"));
    assert!(end.body.contains("Nobody answered in time"), "{end:?}");
}

#[test]
fn the_feed_tells_what_happens_to_questions() {
    let gateway = gateway();
    let site = Site::signed_in(&gateway);
    let (_first, _, old) = ask(&gateway, "first");
    let mut feed = site.feed();
    assert_eq!(feed.until("card")["id"], json!(old));
    assert_eq!(feed.until("all"), json!([old]));
    let (mut agent, wire, id) = ask(&gateway, "<b>second</b>\nline");
    let (name, card) = feed.next().unwrap();
    assert_eq!((name.as_str(), &card["id"]), ("card", &json!(id)));
    let markup = card["card"].as_str().unwrap();
    assert!(markup.contains("&lt;b&gt;second&lt;/b&gt;") && markup.contains(&site.csrf), "{markup}");
    let mut other = Agent::login(gateway.address, TOKEN);
    other.send("tool_request", json!({"tool": "say", "args": {"text": "<b>second</b>\nline"}}));
    assert_eq!(feed.until("again"), json!({"id": id, "times": 2}));
    gateway.say_yes(&id);
    let settled = feed.until("settled");
    assert_eq!((&settled["id"], &settled["how"]), (&json!(id), &json!("approved")));
    assert!(settled["end"].as_str().unwrap().contains("Approved by local:"), "{settled}");
    assert_eq!(feed.until("finished"), json!({"id": id, "text": "executed"}));
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    let watching = || gateway.json(&["status", "--json"])["channels"]["local"]["detail"].clone();
    assert_eq!(watching(), "1 watching");
    drop(feed);
    eventually("the feed to end with its page", || (watching() == "0 watching").then_some(()));
}

#[test]
fn agents_text_is_hostile_and_stays_text() {
    let setup = Setup::with_pages();
    let config = format!("{}approvals: {{max_question_chars: 200000}}\n", setup.config);
    let gateway = Gateway::with(&Setup { config, ..setup });
    let site = Site::signed_in(&gateway);
    let nasty =
        "</dd></dl><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u{202e}\u{200b}\u{1b}[2J";
    let long = format!("{}{}", "A".repeat(64 * 1024 - 7), "the end");
    let mut agent = Agent::login(gateway.address, LAPTOP);
    let call = json!({"tool": "say", "args": {"text": format!("{}\nrule: allowed", nasty.replace('\u{1b}', "")), "pin": "1234"},
        "reason": nasty, "session_id": nasty});
    agent.send("tool_request", call);
    agent.asked();
    agent.send("tool_request", json!({"tool": "say", "args": {"text": long}}));
    agent.asked();
    let mut feed = site.feed();
    let cards = [feed.until("card"), feed.until("card")]
        .map(|data| data["card"].as_str().unwrap().to_owned())
        .concat();
    for body in [site.get("/approvals/").body, cards] {
        let cards = body.split("<article").skip(1).collect::<Vec<_>>().join("<article");
        let cards = cards.split("</main>").next().unwrap();
        assert!(!cards.contains("<script") && !cards.contains("<img") && !cards.contains("</dl></dd>"));
        assert!(cards.contains("&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x"), "{cards:.3000}");
        assert!(cards.contains("⟨U+202E⟩⟨U+200B⟩") && cards.contains("⟨U+001B⟩[2J"));
        assert!(cards.chars().all(|c| !['\u{202e}', '\u{200b}', '\u{1b}'].contains(&c)));
        assert!(cards.contains("AAAAthe end") && !cards.contains("1234"), "all of it, but the secret");
        assert!(cards.contains("<div>rule: allowed</div>"), "in a line of the agent's block");
    }
    let overview = site.get("/").body;
    assert!(!overview.contains("alert(1)"));
}

#[test]
fn two_hundred_questions_are_shown_and_answered() {
    let setup = Setup::with_pages();
    // However long it takes to answer them one by one, none of them ends before.
    let config = setup
        .config
        .replace("max_pending_approvals: 10,", "max_pending_approvals: 200,")
        .replace("approval_timeout: 60", "approval_timeout: 900");
    let gateway = Gateway::with(&Setup { config, ..setup });
    let site = Site::signed_in(&gateway);
    let mut feed = site.feed();
    feed.until("all");
    let mut agents: Vec<_> = (0..7).map(|_| Agent::login(gateway.address, TOKEN)).collect();
    for i in 0..200 {
        agents[i % 7].send("tool_request", json!({"tool": "say", "args": {"text": format!("question {i}")}}));
    }
    let ids: Vec<_> = (0..200).map(|_| feed.until("card")["id"].as_str().unwrap().to_owned()).collect();
    takes_less(Duration::from_secs(5), || {
        let began = Instant::now();
        let page = site.get("/approvals/");
        assert_eq!(page.body.matches("<article").count(), 200);
        assert!(page.body.contains("<title>(200) Approvals"));
        began.elapsed()
    });
    for id in &ids {
        assert_eq!(site.answer(id, &[("choice", "deny")])["outcome"], "resolved");
    }
    for _ in &ids {
        assert_eq!(feed.until("settled")["how"], "denied");
    }
    assert!(gateway.questions().is_empty());
}

#[test]
fn the_overview_tells_what_an_owner_asks_first() {
    let gateway = gateway();
    let site = Site::signed_in(&gateway);
    let page = site.get("/");
    assert!(page.body.contains("All is well") && page.body.contains("Nothing"), "{}", page.body);
    let (_agent, _, _) = ask(&gateway, "hello");
    let page = site.get("/");
    for shown in
        ["1 question", "pending", "<strong class=\"number\">1</strong> call<", "laptop", "not connected"]
    {
        assert!(page.body.contains(shown), "{shown}: {}", page.body);
    }
    let health = site.get("/healthz").json();
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["checks"], json!({"database": "ok", "local": "ok", "services": {"home": "unknown"}}));
    assert_eq!(health["details"]["store"]["writable"], true);
}

#[test]
fn a_service_that_is_down_is_listed_and_leaves_the_gateway_healthy() {
    let setup = Setup::with_pages();
    let config = setup
        .config
        .replace("    timeout: 45\n", "    timeout: 45\n    health: {path: /api/, expect_status: 299}\n");
    let gateway = Gateway::with(&Setup { config, ..setup });
    let site = Site::of(&gateway);
    let page = eventually("the probe", || {
        Some(site.get("/healthz")).filter(|page| page.json()["degraded"].is_array())
    });
    assert_eq!(page.status, 200);
    assert_eq!(page.json(), json!({"status": "healthy", "degraded": ["home"]}), "a stranger learns no more");
    let page = Site::signed_in(&gateway).get("/healthz");
    assert_eq!((page.status, &page.json()["checks"]["services"]["home"]), (200, &json!("error")));
    assert!(page.json()["details"]["services"]["home"]["last_error"].as_str().unwrap().contains("299"));
}

/// A gateway with pages and these lines below `gateway:`.
fn with_lines(lines: &str) -> Gateway {
    let setup = Setup::with_pages();
    let config = setup.config.replace("health_port: 0\n", &format!("health_port: 0\n{lines}"));
    assert!(config.contains(lines));
    Gateway::with(&Setup { config, ..setup })
}

/// All that a page leads to and loads from here.
fn paths(page: &Page) -> Vec<&str> {
    let after = |mark| page.body.split(mark).skip(1).filter_map(|rest| rest.split('"').next());
    [" href=\"/", " src=\"/", " action=\"/"].into_iter().flat_map(after).collect()
}

#[test]
fn below_a_path_of_a_proxy_everything_leads_there() {
    for (lines, headers) in [
        ("  public_path: /home/gate/\n  admin_hosts: gate.example\n", &[][..]),
        (
            "  trusted_proxies: \"127.0.0.1\"\n  admin_hosts: gate.example\n",
            &[
                ("x-forwarded-prefix", "/home/gate"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-for", "192.0.2.7"),
            ][..],
        ),
    ] {
        let gateway = with_lines(lines);
        let (_agent, _, id) = ask(&gateway, "hello");
        let mut site = Site::of(&gateway);
        let get = |site: &Site, path: &str| {
            let headers: Vec<_> =
                headers.iter().copied().chain([("host", "gate.example"), ("accept", "text/html")]).collect();
            site.ask("GET", path, &headers, "")
        };
        let post = |site: &Site, path: &str, fields: &[(&str, &str)]| {
            let own = [("host", "gate.example"), ("origin", "https://gate.example")];
            let headers: Vec<_> = headers.iter().copied().chain(own).collect();
            site.ask("POST", path, &headers, &site.form(fields))
        };
        assert_eq!(get(&site, "/").header("location"), "/home/gate/sign-in");
        let page = post(&site, "/sign-in", &[("link", &link(&gateway))]);
        assert_eq!((page.status, page.header("location")), (303, "/home/gate/"), "{page:?}");
        let cookie = page.header("set-cookie");
        assert!(cookie.contains("; Path=/home/gate; "), "{cookie}");
        assert_eq!(
            cookie.starts_with("__Secure-") && cookie.ends_with("; Secure"),
            !headers.is_empty(),
            "{cookie}"
        );
        site.cookie = cookie.split(';').next().unwrap().to_owned();
        site.csrf = get(&site, "/approvals/").csrf();
        for path in [
            "/",
            "/approvals/",
            "/audit/",
            "/audit/?range=all&per_page=1",
            &format!("/audit/call/{id}"),
            "/nothing",
        ] {
            let page = get(&site, path);
            assert!(page.status == 200 || path == "/nothing", "{path}: {page:?}");
            assert!(page.body.contains("data-root=\"/home/gate\"") && paths(&page).len() > 5, "{path}");
            assert!(paths(&page).iter().all(|to| to.starts_with("home/gate/")), "{path}: {:?}", paths(&page));
        }
        let page = post(&site, &format!("/approvals/{id}"), &[("choice", "deny")]);
        assert_eq!(page.header("location"), format!("/home/gate/approvals/?about={id}"));
        // A proxy may leave the path on; only one that is trusted says that it has taken it off.
        if headers.is_empty() {
            assert_eq!(get(&site, "/home/gate/audit/").status, 200);
            assert_eq!(site.get("/home/gate/livez").body, "ok\n");
            let url =
                gateway.control(&json!({"command": "web"})).unwrap()["url"].as_str().unwrap().to_owned();
            assert!(url.contains("/home/gate/sign-in?link="), "{url}");
        } else {
            let logged = || gateway.log().contains("admin sign-in from 192.0.2.7 by");
            eventually("the log", || logged().then_some(()));
            assert_eq!(gateway.audit()[0]["resolved_by"], me("link").replace("127.0.0.1", "192.0.2.7"));
        }
    }
}

#[test]
fn a_prefix_that_a_stranger_sends_or_that_leads_elsewhere_is_nothing() {
    let page = |lines: &str, prefix: &str| {
        Site::of(&with_lines(lines)).ask(
            "GET",
            "/",
            &[("x-forwarded-prefix", prefix), ("accept", "text/html")],
            "",
        )
    };
    assert_eq!(page("", "/gate").header("location"), "/sign-in");
    let trusting = "  trusted_proxies: [\"127.0.0.0/8\"]\n";
    for bad in ["//evil.example", "/a/../b", "https://evil.example", "/\"><script>", "/gate, /gate"] {
        assert_eq!(page(trusting, bad).header("location"), "/sign-in", "{bad}");
    }
    assert_eq!(page(trusting, "/gate").header("location"), "/gate/sign-in");
}

#[test]
fn a_form_that_a_proxy_has_renamed_says_what_to_set() {
    let gateway = gateway();
    let site = Site::signed_in(&gateway);
    let origin = [("origin", "https://gate.example"), ("sec-fetch-site", "same-origin")];
    let page = site.ask("POST", "/sign-out", &origin, &site.form(&[]));
    assert_eq!(page.status, 403);
    for part in ["https://gate.example", "127.0.0.1", "Host header", "gateway.admin_hosts"] {
        assert!(page.body.contains(part), "{}", page.body);
    }
    let foreign = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    assert_eq!(
        site.ask("POST", "/sign-out", &foreign, &site.form(&[])).body,
        "this request comes from another site\n"
    );
    assert_eq!(site.get("/").status, 200);
}

#[test]
fn what_is_measured_is_not_open_to_whoever_comes_through_a_proxy_here() {
    let gateway = with_lines("  admin_hosts: gate.example\n");
    let site = Site::of(&gateway);
    assert_eq!(site.get("/metrics").status, 200);
    for header in [
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("via", "1.1 proxy"),
        ("x-forwarded-host", "gate.example"),
        ("host", "gate.example"),
    ] {
        assert_eq!(site.ask("GET", "/metrics", &[header], "").status, 401, "{header:?}");
        let signed_in = Site::signed_in(&gateway);
        assert_eq!(signed_in.ask("GET", "/metrics", &[header], "").status, 200, "{header:?}");
    }
    let gateway = with_lines("  trusted_proxies: \"127.0.0.1\"\n  metrics_from: [\"192.0.2.0/24\"]\n");
    let site = Site::of(&gateway);
    for (client, status) in
        [("192.0.2.7", 200), ("203.0.113.9", 401), ("192.0.2.7, 203.0.113.9", 401), ("x", 401)]
    {
        assert_eq!(
            site.ask("GET", "/metrics", &[("x-forwarded-for", client)], "").status,
            status,
            "{client}"
        );
    }
    let untrusting = with_lines("  metrics_from: [\"192.0.2.0/24\", \"127.0.0.1\"]\n");
    let forged = Site::of(&untrusting).ask("GET", "/metrics", &[("x-forwarded-for", "192.0.2.7")], "");
    assert_eq!(forged.status, 401);
}

#[test]
fn wrong_passwords_of_one_client_make_no_other_behind_the_proxy_wait() {
    let Setup { config, permissions, tools } = with_password();
    let config = config.replace("health_port: 0\n", "health_port: 0\n  trusted_proxies: \"127.0.0.1\"\n");
    let gateway = Gateway::with(&Setup { config, permissions, tools });
    let site = Site::of(&gateway);
    let sign_in = |client: &str, password: &str| {
        let origin = format!("http://{}", site.address);
        let headers = [("origin", origin.as_str()), ("x-forwarded-for", client)];
        site.ask("POST", "/sign-in", &headers, &site.form(&[("password", password)])).status
    };
    let said: Vec<_> = (0..4).map(|_| sign_in("192.0.2.7", "wrong")).collect();
    assert_eq!(said, [403, 403, 403, 429]);
    assert_eq!(sign_in("192.0.2.8", PASSWORD), 303);
}

#[test]
fn a_record_that_cannot_be_written_makes_it_unhealthy() {
    let gateway = gateway();
    let db = rusqlite::Connection::open(gateway.path("data/agentpass.db")).unwrap();
    db.busy_timeout(harness::PATIENCE).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let reply = agent.request("get_state", json!({"entity_id": "x"}));
    assert_eq!(reply["error"]["data"]["reason"], "store_unavailable", "{reply}");
    let page = Site::of(&gateway).get("/healthz");
    assert_eq!((page.status, page.json()), (503, json!({"status": "unhealthy"})));
}

/// Whether a service is up, what is wrong with it, and what the overview says.
fn told_of_home(gateway: &Gateway, site: &Site) -> (Value, Value, bool) {
    let home = gateway.json(&["status", "--json"])["services"]["home"].clone();
    (home["up"].clone(), home["last_error"].clone(), site.get("/").body.contains("All is well"))
}

#[test]
fn whether_a_service_is_up_follows_the_calls_to_it() {
    for probed in [false, true] {
        let setup = Setup::with_pages();
        let health =
            if probed { "    timeout: 45\n    health: {path: /api/}\n" } else { "    timeout: 45\n" };
        let config = setup.config.replace("    timeout: 45\n", health);
        let gateway = Gateway::with(&Setup { config, ..setup });
        let site = Site::signed_in(&gateway);
        let known = if probed { json!(true) } else { Value::Null };
        eventually("the probe", || (told_of_home(&gateway, &site).0 == known).then_some(()));
        let mut agent = Agent::login(gateway.address, TOKEN);
        let mut call = || agent.request("get_state", json!({"entity_id": "x"}));
        // The next probe is a minute away.
        for _ in 0..2 {
            gateway.upstream.answer(|_| Answer::Close);
            assert!(call()["error"].is_object());
            let (up, error, well) = told_of_home(&gateway, &site);
            assert_eq!((up, well), (json!(false), false));
            assert!(error.as_str().unwrap().starts_with("get_state: "), "{error}");
            gateway.upstream.answer(|_| Answer::json("{}"));
            assert_eq!(call()["result"]["status"], "executed");
            assert_eq!(told_of_home(&gateway, &site), (json!(true), Value::Null, true));
        }
    }
}

#[test]
fn beyond_loopback_there_is_tls_or_no_start() {
    let setup = Setup::with_pages();
    let config = setup.config.replace("health_port: 0\n", "health_port: 0\n  health_host: \"0.0.0.0\"\n");
    let folder = Folder::new();
    std::fs::write(folder.0.join("config.yaml"), config.replace("{upstream}", "http://127.0.0.1:9")).unwrap();
    std::fs::write(folder.0.join("tools.yaml"), &setup.tools).unwrap();
    std::fs::write(folder.0.join("permissions.yaml"), &setup.permissions).unwrap();
    let output = Command::new(BINARY).args(["serve", "--insecure"]).current_dir(&folder.0).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{err}");
    assert!(
        err.contains("without TLS on 0.0.0.0") && err.contains("\n  help: set gateway.health_host"),
        "{err}"
    );
    assert!(!folder.0.join("data").exists(), "nothing was opened");
}

#[test]
fn with_tls_the_cookie_goes_over_tls_only() {
    let setup = Setup::with_pages();
    // With an address beyond loopback, which TLS allows.
    let config = setup.config.replace("health_port: 0\n", "health_port: 0\n  health_host: \"0.0.0.0\"\n");
    let gateway = Gateway::secure(&Setup { config, ..setup });
    let reply = gateway.control(&json!({"command": "web"})).unwrap();
    let url = reply["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("https://"), "{url}");
    let (front, token) = url.split_once("/sign-in?link=").unwrap();
    let port: u16 = front.rsplit(':').next().unwrap().parse().unwrap();
    let post = |scheme: &str, token: &str| {
        let body = format!("link={token}");
        let head =
            format!("host: localhost:{port}\r\norigin: {scheme}://localhost:{port}\r\nconnection: close");
        over_tls(
            port,
            &format!("POST /sign-in HTTP/1.1\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
        )
    };
    assert!(post("http", "x").starts_with("HTTP/1.1 403 "));
    let answer = post("https", token);
    assert!(answer.starts_with("HTTP/1.1 303 "), "{answer}");
    let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(
        cookie.starts_with(&format!("__Host-agentpass-{port}=")) && cookie.ends_with("; Secure"),
        "{cookie}"
    );
    let mut plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
    plain.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(answer.is_empty(), "nothing is said in the clear");
}

/// One request over TLS, whose certificate is not looked at, and the whole answer.
fn over_tls(port: u16, request: &str) -> String {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    let tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut stream = connector.build().connect("localhost", tcp).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_port_that_is_taken_is_told_with_its_remedy() {
    let gateway = gateway();
    let taken = Site::of(&gateway).address.port();
    let folder = Folder::new();
    let setup = Setup::with_pages();
    let config = setup.config.replace("health_port: 0", &format!("health_port: {taken}"));
    std::fs::write(folder.0.join("config.yaml"), config.replace("{upstream}", "http://127.0.0.1:9")).unwrap();
    std::fs::write(folder.0.join("tools.yaml"), &setup.tools).unwrap();
    std::fs::write(folder.0.join("permissions.yaml"), &setup.permissions).unwrap();
    let output = Command::new(BINARY).args(["serve", "--insecure"]).current_dir(&folder.0).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && err.contains(&format!("127.0.0.1:{taken} is already in use")),
        "{err}"
    );
    assert!(
        err.contains("\n  help: set gateway.health_port to another port; 0 takes any free one, off"),
        "{err}"
    );
}

#[test]
fn without_the_listener_there_are_no_links() {
    let gateway = Gateway::start();
    assert_eq!(gateway.json(&["status", "--json"])["admin"], json!([]));
    let output = gateway.cli(&["web"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8(output.stderr).unwrap().contains("help: set gateway.health_port"));
}

#[test]
fn the_command_prints_the_link() {
    let gateway = gateway();
    let output = gateway.cli(&["web"]);
    let url = String::from_utf8(output.stdout).unwrap();
    let mut site = Site::of(&gateway);
    let token = url.trim().strip_prefix(&format!("http://{}/sign-in?link=", site.address)).unwrap();
    let page = site.post("/sign-in", &[("link", token)]);
    site.take_session(&page);
    assert_eq!(site.get("/").status, 200);
}

/// Crowds that say nothing, half a request, or read nothing: the pages and the agents' port go on.
#[test]
fn a_crowd_at_the_door_hurts_nobody() {
    let gateway = gateway();
    let site = Site::signed_in(&gateway);
    let mut feed = site.feed();
    feed.until("all");
    let mut crowd = Vec::new();
    for i in 0..300u16 {
        let source = Ipv4Addr::new(127, 0, 1, u8::try_from(i % 200).unwrap() + 1);
        let mut stream = dial_from(source, site.address).unwrap();
        match i % 3 {
            0 => {}
            1 => drop(stream.write_all(b"GET /approvals/ HTTP/1.1\r\nhost: localhost\r\nx-slow: ")),
            _ => drop(stream.write_all(
                b"POST /sign-in HTTP/1.1\r\nhost: localhost\r\ncontent-length: 60000\r\n\r\nlink=",
            )),
        }
        crowd.push(stream);
    }
    // The owner looks twice, and has twice the time.
    takes_less(Duration::from_secs(1), || {
        let began = Instant::now();
        let (mut agent, wire, id) = ask(&gateway, "hello");
        let agents = began.elapsed();
        assert_eq!(feed.until("card")["id"], json!(id));
        let began = Instant::now();
        assert_eq!(site.get("/livez").status, 200);
        assert_eq!(site.answer(&id, &[("choice", "approve")])["outcome"], "resolved");
        let owners = began.elapsed();
        assert_eq!(agent.reply(wire)["result"]["status"], "executed");
        agents.max(owners / 2)
    });
    let gone = crowd.iter_mut().map(is_closed).filter(|gone| *gone).count();
    assert!(gone >= 300 - 32, "{gone} had to leave");
}

fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return e.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn bodies_and_heads_are_bounded() {
    let gateway = gateway();
    let site = Site::of(&gateway);
    let page = site.post("/sign-in", &[("link", &"x".repeat(60 * 1024))]);
    assert_eq!(page.status, 403);
    let page = site.ask("POST", "/sign-in", &[], &"x".repeat(65 * 1024));
    assert_eq!(page.status, 400);
    let long = "y".repeat(20 * 1024);
    assert_eq!(site.ask("GET", "/sign-in", &[("x-long", &long)], "").status, 431);
}
