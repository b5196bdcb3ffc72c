//! The API channel: another program lists, hears and answers over HTTP, and nobody without its token does.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::thread;
use std::time::Duration;

use harness::gateway::TOKEN;
use harness::site::{Page, Site};
use harness::{Agent, Gateway, Setup, eventually};
use serde_json::{Value, json};

const BOARD: &str = "a-token-of-the-board-0123456789";
const ORIGIN: &str = "https://board.example";

fn setup() -> Setup {
    let usual = Setup::with_pages();
    let channels = format!(
        "channels:\n  board: {{type: api, token: \"{BOARD}\", allowed_origins: [\"{ORIGIN}\"]}}\n  \
         other: {{type: api, token: \"a-token-of-the-other-0123456789\"}}\nservices:\n"
    );
    Setup { config: usual.config.replace("services:\n", &channels), ..usual }
}

struct World {
    gateway: Gateway,
    site: Site,
    agent: Agent,
}

impl World {
    fn new(setup: &Setup) -> World {
        let gateway = Gateway::with(setup);
        let (site, agent) = (Site::of(&gateway), Agent::login(gateway.address, TOKEN));
        World { gateway, site, agent }
    }

    fn get(&self, path: &str) -> Page {
        get(&self.site, path)
    }

    fn resolve(&self, body: &Value) -> Page {
        resolve(&self.site, body)
    }

    fn ask(&mut self, text: &str) -> (u64, String) {
        let call = self.agent.send("tool_request", json!({"tool": "say", "args": {"text": text}}));
        let id = eventually("the question", || {
            let pending = self.get("pending").json();
            let found =
                pending["approvals"].as_array().unwrap().iter().find(|q| q["args"]["text"] == text)?;
            Some(found["request_id"].as_str().unwrap().to_owned())
        });
        (call, id)
    }
}

fn get(site: &Site, path: &str) -> Page {
    site.ask("GET", &format!("/approvals/api/{path}"), &[("authorization", &bearer(BOARD))], "")
}

fn resolve(site: &Site, body: &Value) -> Page {
    let headers = [("authorization", bearer(BOARD)), ("content-type", "application/json".to_owned())];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    site.ask("POST", "/approvals/api/resolve", &headers, &body.to_string())
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn a_program_lists_and_answers_and_hears_the_four_words() {
    let mut world = World::new(&setup());
    let (call, id) = world.ask("hello");
    let listed = world.get("pending").json();
    assert_eq!(listed["approvals"], world.gateway.json(&["approvals", "--json"]));
    assert_eq!(world.get(&format!("questions/{id}")).json()["request_id"], id.as_str());

    let first = world.resolve(&json!({"request_id": id, "approved": true, "actor": "carol"}));
    assert_eq!((first.status, first.json()), (200, json!({"outcome": "RESOLVED"})));
    assert_eq!(world.agent.reply(call)["result"]["status"], "executed");
    let second = world.resolve(&json!({"request_id": id, "approved": false}));
    assert_eq!((second.status, second.json()), (200, json!({"outcome": "ALREADY_RESOLVED"})));
    for unknown in ["00000000-0000-4000-8000-000000000000", "nonsense", ""] {
        let answer = world.resolve(&json!({"request_id": unknown, "approved": true}));
        assert_eq!((answer.status, answer.json()), (200, json!({"outcome": "UNKNOWN"})), "{unknown}");
    }
    let ended = world.get(&format!("questions/{id}")).json();
    assert_eq!((&ended["resolution"], &ended["resolved_by"]), (&json!("approved"), &json!("board:carol")));
    assert_eq!(ended["outcome"], "executed");
    world.gateway.verify();
}

#[test]
fn an_answer_that_comes_after_a_restart_still_hears_what_became_of_the_question() {
    let mut world = World::new(&setup());
    let (call, id) = world.ask("hello");
    world.resolve(&json!({"request_id": id, "approved": false, "note": "not now"}));
    let reply = world.agent.reply(call);
    assert_eq!(reply["error"]["data"]["note"], "not now", "{reply}");
    world.gateway.kill();
    world.gateway.restart();
    let site = Site::of(&world.gateway);
    let late = resolve(&site, &json!({"request_id": id, "approved": true}));
    assert_eq!(late.json(), json!({"outcome": "ALREADY_RESOLVED"}));
    assert_eq!(get(&site, &format!("questions/{id}")).json()["resolved_by"], "board:api");
}

#[test]
fn a_late_answer_is_expired() {
    let usual = setup();
    let quick =
        Setup { config: usual.config.replace("approval_timeout: 60", "approval_timeout: 0.5"), ..usual };
    let mut world = World::new(&quick);
    let call = world.agent.send("tool_request", json!({"tool": "say", "args": {"text": "a"}}));
    let reply = world.agent.reply(call);
    let id = reply["error"]["data"]["request_id"].as_str().unwrap_or_else(|| panic!("{reply}"));
    let late = world.resolve(&json!({"request_id": id, "approved": true}));
    assert_eq!((late.status, late.json()), (200, json!({"outcome": "EXPIRED"})));
    assert!(world.gateway.upstream.seen().is_empty());
}

#[test]
fn a_list_is_waited_for_until_it_changes() {
    let mut world = World::new(&setup());
    let empty = world.get("pending");
    assert_eq!(empty.json(), json!({"approvals": []}));
    let tag = empty.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    let unchanged = world.get(&format!("pending?wait=0&after={}", tag.trim_matches('"')));
    assert_eq!((unchanged.status, unchanged.header("etag")), (200, tag.as_str()));
    let headers = [("authorization", bearer(BOARD)), ("if-none-match", tag.clone())];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(world.site.ask("GET", "/approvals/api/pending", &headers, "").status, 304);

    let (site, path) = (world.site.clone(), format!("pending?wait=60&after={}", tag.trim_matches('"')));
    let waiting = thread::spawn(move || get(&site, &path));
    thread::sleep(Duration::from_millis(50));
    let (call, id) = world.ask("hello");
    let news = waiting.join().unwrap();
    assert_eq!(news.json()["approvals"][0]["request_id"], id.as_str());
    assert_ne!(news.header("etag"), tag);
    assert_eq!(world.get("pending?wait=soon").status, 400);
    world.resolve(&json!({"request_id": id, "approved": true}));
    world.agent.reply(call);
    assert_eq!(world.get("pending").header("etag"), tag, "the same list has the same tag");
}

#[test]
fn a_stream_tells_of_every_question_from_those_that_are_open() {
    let mut world = World::new(&setup());
    let (call, id) = world.ask("before");
    let mut stream = world.site.listen("/approvals/api/events", &[("authorization", &bearer(BOARD))]);
    assert_eq!(
        stream.next().map(|(name, data)| (name, data["request_id"].clone())),
        Some(("asked".into(), json!(id)))
    );
    world.resolve(&json!({"request_id": id, "approved": true}));
    let settled = stream.until("settled");
    assert_eq!(
        [&settled["request_id"], &settled["resolution"], &settled["resolved_by"]],
        [&json!(id), &json!("approved"), &json!("board:api")]
    );
    let finished = stream.until("finished");
    assert_eq!((&finished["outcome"], &finished["tool"]), (&json!("executed"), &json!("say")));
    assert!(finished.get("data").is_none(), "{finished}");
    world.agent.reply(call);
    let (call, id) = world.ask("after");
    assert_eq!(stream.until("asked")["request_id"], id.as_str());
    world.resolve(&json!({"request_id": id, "approved": false}));
    let settled = stream.until("settled");
    assert_eq!([&settled["outcome"], &settled["reason"]], [&json!("denied"), &json!("denied_by_user")]);
    world.agent.reply(call);
    // A channel that is gone hears nothing more.
    let removed = Setup {
        config: setup().config.replace("board:", "later:").replace(BOARD, "another-0123456789"),
        ..setup()
    };
    world.gateway.configure(&removed);
    assert_eq!(world.gateway.control(&json!({"command": "reload"})).unwrap()["reloaded"], true);
    let call = world.agent.send("tool_request", json!({"tool": "say", "args": {"text": "unheard"}}));
    assert_eq!(stream.next(), None);
    assert_eq!(world.get("pending").status, 401);
    world.gateway.control(&json!({"command": "deny", "id": world.gateway.question()}));
    world.agent.reply(call);
}

#[test]
fn nobody_without_the_token_sees_or_answers_anything() {
    let mut world = World::new(&setup());
    let (_, id) = world.ask("secret words");
    let body = json!({"request_id": id, "approved": true}).to_string();
    let forms = [
        ("GET", "pending"),
        ("GET", "events"),
        ("GET", &*format!("questions/{id}")),
        ("POST", "resolve"),
        ("GET", "nothing"),
    ];
    for (method, path) in forms {
        for header in [None, Some(format!("Basic {BOARD}")), Some(BOARD.to_owned()), Some("Bearer ".into())] {
            let header = header.as_ref().map(|value| ("authorization", value.as_str()));
            let page = world.site.ask(method, &format!("/approvals/api/{path}"), header.as_slice(), &body);
            assert!(matches!(page.status, 401 | 429), "{method} {path} {page:?}");
            assert!(!page.body.contains("secret"), "{page:?}");
        }
    }
    // A session of the pages is no token, and the token no session.
    let signed_in = Site::signed_in(&world.gateway);
    assert!(matches!(signed_in.get("/approvals/api/pending").status, 401 | 429));
    assert_eq!(world.site.ask("GET", "/approvals/", &[("authorization", &bearer(BOARD))], "").status, 401);
    // Reading never answers.
    assert_eq!(world.get(&format!("resolve?request_id={id}&approved=true")).status, 405);
    assert_eq!(world.gateway.questions().len(), 1);
}

#[test]
fn ten_wrong_tokens_end_the_guessing_and_the_right_one_is_served_all_the_same() {
    let world = World::new(&setup());
    let guess = |n: usize| {
        let token = bearer(&format!("wrong {n}"));
        world.site.ask("GET", "/approvals/api/pending", &[("authorization", &token)], "").status
    };
    assert_eq!(
        (0..12).map(guess).collect::<Vec<_>>(),
        [401, 401, 401, 401, 401, 401, 401, 401, 401, 401, 429, 429]
    );
    assert_eq!(world.get("pending").status, 200);
}

#[test]
fn what_is_no_answer_is_refused_and_changes_nothing() {
    let mut world = World::new(&setup());
    let (_, id) = world.ask("hello");
    for bad in [
        json!([]),
        json!({"request_id": id}),
        json!({"approved": true}),
        json!({"request_id": id, "approved": "true"}),
        json!({"request_id": id, "approved": 1}),
        json!({"request_id": 7, "approved": true}),
        json!({"request_id": id, "approved": true, "approve": true}),
        json!({"request_id": id, "approved": true, "actor": "x".repeat(65)}),
        json!({"request_id": id, "approved": true, "actor": "a\nb"}),
        json!({"request_id": id, "approved": true, "actor": ""}),
        json!({"request_id": id, "approved": false, "note": "x".repeat(501)}),
    ] {
        assert_eq!(world.resolve(&bad).status, 400, "{bad}");
    }
    let twice = format!(r#"{{"request_id":"{id}","approved":false,"approved":true}}"#);
    let page = world.site.ask("POST", "/approvals/api/resolve", &[("authorization", &bearer(BOARD))], &twice);
    assert_eq!(page.status, 400, "{page:?}");
    let stale = world.resolve(&json!({"request_id": id, "approved": true, "digest": "0000000000000000"}));
    assert_eq!((stale.status, stale.json()), (409, json!({"outcome": "STALE"})));
    assert_eq!(world.gateway.questions().len(), 1);
    let digest = world.gateway.questions()[0]["digest"].clone();
    let seen = world.resolve(&json!({"request_id": id, "approved": true, "digest": digest}));
    assert_eq!(seen.json(), json!({"outcome": "RESOLVED"}));
}

#[test]
fn only_pages_of_the_channel_s_own_origins_may_ask() {
    let world = World::new(&setup());
    let ask = |method: &str, origin: &str, token: &str| {
        let token = bearer(token);
        let headers = [("origin", origin), ("authorization", &token), ("sec-fetch-site", "cross-site")];
        world.site.ask(method, "/approvals/api/pending", &headers, "")
    };
    let preflight = ask("OPTIONS", ORIGIN, "");
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (204, ORIGIN));
    assert!(preflight.header("access-control-allow-headers").contains("authorization"));
    assert_eq!(ask("OPTIONS", "https://evil.example", "").status, 403);
    let page = ask("GET", ORIGIN, BOARD);
    assert_eq!((page.status, page.header("access-control-allow-origin")), (200, ORIGIN));
    for (origin, token) in
        [("https://evil.example", BOARD), (ORIGIN, "a-token-of-the-other-0123456789"), ("null", BOARD)]
    {
        assert_eq!(ask("GET", origin, token).status, 403, "{origin}");
    }
    let foreign = [("host", "evil.example"), ("authorization", &*bearer(BOARD))];
    assert_eq!(world.site.ask("GET", "/approvals/api/pending", &foreign, "").status, 421);
}

#[test]
fn a_program_changes_arguments_and_hears_what_is_said_against_it() {
    let mut world = World::new(&setup());
    let (call, id) = world.ask("good morning");
    let set = |set: Value| world.resolve(&json!({"request_id": id, "approved": true, "set": set}));
    for (changes, word) in [(json!({"pin": "1"}), "REFUSED"), (json!({"other": 1}), "REFUSED")] {
        let page = set(changes);
        assert_eq!((page.status, page.json()["outcome"].as_str().unwrap()), (400, word), "{}", page.body);
    }
    let denied = world.resolve(&json!({"request_id": id, "approved": false, "set": {"text": "x"}}));
    assert_eq!((denied.status, set(json!([])).status), (400, 400));
    let page = set(json!({"text": "good night"}));
    assert_eq!((page.status, &page.json()["outcome"]), (200, &json!("RESOLVED")), "{}", page.body);
    let reply = world.agent.reply(call);
    assert_eq!(reply["result"]["edited"], json!(["text"]), "{reply}");
    assert_eq!(world.gateway.upstream.seen()[0].json(), json!({"text": "good night"}));
    assert_eq!(world.gateway.row(&id)["edited"]["by"], "board:api");
}
