//! The webhook channel: signed messages, tried again until they are taken, and answers that count only with proof.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::gateway::TOKEN;
use harness::site::{Page, Site};
use harness::{Agent, Answer, Gateway, Seen, Setup, TestClock, Upstream, error, eventually};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::{Value, json};

const KEY: &[u8] = b"the key of both sides, 32 bytes!";

/// By OpenSSL, which our own signatures do not use.
fn signature(id: &str, at: &str, body: &str) -> String {
    let key = PKey::hmac(KEY).unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    signer.update(format!("{id}.{at}.{body}").as_bytes()).unwrap();
    format!("v1,{}", STANDARD.encode(signer.sign_to_vec().unwrap()))
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn decision(id: &str, at: u64, body: &str, signature: &str) -> Answer {
    Answer::Raw(
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\nwebhook-id: {id}\r\n\
             webhook-timestamp: {at}\r\nwebhook-signature: {signature}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
    )
}

fn taken() -> Answer {
    Answer::Reply(202, "text/plain", String::new())
}

struct World {
    receiver: Upstream,
    gateway: Gateway,
    agent: Agent,
}

fn setup(receiver: &Upstream) -> Setup {
    let usual = Setup::with_pages();
    let secret = STANDARD.encode(KEY);
    let channels = format!(
        "channels:\n  ops: {{type: webhook, url: \"{}/hook\", secret: \"whsec_{secret}\", timeout: 20}}\nservices:\n",
        receiver.url()
    );
    let config = usual.config.replace("services:\n", &channels);
    let config = config.replace("gateway:\n", "gateway:\n  public_url: \"http://127.0.0.1:1\"\n");
    Setup { config, ..usual }
}

impl World {
    fn new(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> World {
        let receiver = Upstream::start();
        receiver.answer(script);
        let gateway = Gateway::with(&setup(&receiver));
        let agent = Agent::login(gateway.address, TOKEN);
        World { receiver, gateway, agent }
    }

    fn ask(&mut self, text: &str) -> (u64, String) {
        let call =
            self.agent.send("tool_request", json!({"tool": "say", "args": {"text": text, "pin": "4711"}}));
        (call, self.gateway.question())
    }

    /// The messages of one type, each checked for its signature.
    fn told(&self, kind: &str) -> Vec<Value> {
        let seen = self.receiver.seen();
        let told = seen.iter().map(|message| {
            let header = |name: &str| message.header(name).unwrap().to_owned();
            let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
            assert_eq!(header("webhook-signature"), signature(&id, &at, &message.body));
            assert!(at.parse::<u64>().unwrap().abs_diff(now_s()) < 300);
            let mut body = message.json();
            body["id"] = json!(id);
            body
        });
        told.filter(|body| body["type"] == kind).collect()
    }

    fn one(&self, kind: &str) -> Value {
        eventually(kind, || self.told(kind).into_iter().next())
    }

    fn answer(&self, asked: &Value, token: &str, body: &Value) -> Page {
        let path = asked["data"]["answer_url"].as_str().unwrap().strip_prefix("http://127.0.0.1:1").unwrap();
        let bearer = format!("Bearer {token}");
        Site::of(&self.gateway).ask("POST", path, &[("authorization", &bearer)], &body.to_string())
    }
}

#[test]
fn a_receiver_is_told_in_order_and_answers_later() {
    let mut world = World::new(|_| taken());
    let (call, id) = world.ask("hello");
    let asked = world.one("question.asked");
    assert_eq!(asked["data"]["request_id"], id.as_str());
    assert_eq!(asked["data"]["args"], json!({"text": "hello", "pin": "•••"}));
    let token = asked["data"]["answer_token"].as_str().unwrap();
    assert_eq!(token.len(), 43);
    for bad in
        [json!({}), json!({"decision": "yes"}), json!({"decision": "approve", "by": "a\nb"}), json!([])]
    {
        assert_eq!(world.answer(&asked, token, &bad).status, 400, "{bad}");
    }
    assert_eq!(
        world.answer(&asked, &token.replace(|c: char| c.is_ascii_lowercase(), "x"), &json!({})).status,
        401
    );
    let path = asked["data"]["answer_url"].as_str().unwrap().strip_prefix("http://127.0.0.1:1").unwrap();
    let bearer = format!("Bearer {token}");
    let read = Site::of(&world.gateway).ask("GET", path, &[("authorization", &bearer)], "");
    assert_eq!((read.status, world.gateway.questions().len()), (405, 1), "nothing acts on GET");

    let done = world.answer(&asked, token, &json!({"decision": "approve", "by": "carol"}));
    assert_eq!((done.status, done.json()), (200, json!({"outcome": "resolved"})));
    assert_eq!(world.agent.reply(call)["result"]["status"], "executed");
    let settled = world.one("question.settled");
    assert_eq!(
        [&settled["data"]["resolution"], &settled["data"]["resolved_by"]],
        [&json!("approved"), &json!("ops:carol")]
    );
    assert!(settled["data"].get("answer_token").is_none());
    let finished = world.one("call.finished");
    assert_eq!(
        [&finished["data"]["outcome"], &finished["data"]["resolution"]],
        [&json!("executed"), &json!("approved")]
    );
    let kinds: Vec<_> = world.receiver.seen().iter().map(|message| message.json()["type"].clone()).collect();
    assert_eq!(kinds, ["question.asked", "question.settled", "call.finished"]);
    let late = world.answer(&asked, token, &json!({"decision": "deny"}));
    assert_eq!((late.status, late.json()), (409, json!({"outcome": "already_resolved"})));
    world.gateway.verify();
}

#[test]
fn a_signed_decision_counts_at_once() {
    let mut world = World::new(|message| match message.json()["type"] == "question.asked" {
        true => {
            let (id, at) = (message.header("webhook-id").unwrap(), now_s());
            let body = r#"{"decision":"deny","note":"not today"}"#;
            decision(id, at, body, &signature(id, &at.to_string(), body))
        }
        false => taken(),
    });
    let call = world.agent.send("tool_request", json!({"tool": "say", "args": {"text": "hello"}}));
    let reply = world.agent.reply(call);
    assert_eq!(reply["error"]["data"]["note"], "not today", "{reply}");
    assert_eq!(world.one("question.settled")["data"]["resolved_by"], "ops:webhook");
}

#[test]
fn a_decision_without_proof_is_ignored_and_the_question_stays_open() {
    let body = r#"{"decision":"approve"}"#;
    let forgeries: [fn(&str, &str) -> Answer; 5] = [
        |_, body| Answer::json(body),
        |id, body| decision(id, now_s(), body, "v1,AAAA"),
        |id, body| decision(id, now_s() - 400, body, &signature(id, &(now_s() - 400).to_string(), body)),
        |_, body| decision("msg_other", now_s(), body, &signature("msg_other", &now_s().to_string(), body)),
        |id, body| {
            decision(id, now_s(), r#"{"decision":"approve" }"#, &signature(id, &now_s().to_string(), body))
        },
    ];
    for forged in forgeries {
        let mut world = World::new(move |message| forged(message.header("webhook-id").unwrap(), body));
        world.ask("hello");
        eventually("the message to be judged", || world.gateway.log().contains("is ignored").then_some(()));
        assert_eq!(world.gateway.questions().len(), 1);
        assert_eq!(world.told("question.asked").len(), 1);
    }
}

#[test]
fn a_message_is_tried_again_under_the_same_id_and_redirects_are_not_followed() {
    let mut world = World::new(|_| {
        Answer::Raw(b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".to_vec())
    });
    let (call, id) = world.ask("hello");
    eventually("two attempts", || (world.told("question.asked").len() >= 2).then_some(()));
    let status = world.gateway.json(&["channels", "--json"]);
    let ops = status.as_array().unwrap().iter().find(|channel| channel["name"] == "ops").unwrap().clone();
    assert_eq!((&ops["up"], &ops["waiting"]), (&json!(false), &json!(1)), "{ops}");
    assert_eq!(Site::of(&world.gateway).get("/healthz").status, 503);
    world.receiver.answer(|_| taken());
    eventually("the channel to work", || {
        (Site::of(&world.gateway).get("/healthz").status == 200).then_some(())
    });
    let asked = world.told("question.asked");
    assert!(asked.iter().all(|message| message["id"] == asked[0]["id"]), "{asked:?}");
    assert!(world.receiver.seen().iter().all(|message| message.target == "/hook"));
    world.gateway.approve(&id);
    world.agent.reply(call);
    world.one("call.finished");
}

#[test]
fn after_a_kill_nothing_is_told_twice_with_another_id_and_nothing_is_lost() {
    let mut world = World::new(|_| taken());
    let (_, id) = world.ask("hello");
    let first = world.one("question.asked");
    world.gateway.kill();
    world.gateway.restart();
    world.gateway.control(&json!({"command": "deny", "id": id}));
    assert_eq!(world.one("question.settled")["data"]["request_id"], id.as_str());
    let asked = world.told("question.asked");
    assert!(
        asked.iter().all(|again| again["id"] == first["id"] && again["data"] == first["data"]),
        "{asked:?}"
    );
}

#[test]
fn who_is_gone_is_not_called_again_until_a_reload() {
    let mut world = World::new(|_| Answer::Reply(410, "text/plain", String::new()));
    world.ask("hello");
    eventually("the channel to be off", || world.gateway.log().contains("410 Gone").then_some(()));
    world.agent.send("tool_request", json!({"tool": "say", "args": {"text": "again"}}));
    eventually("the second question", || (world.gateway.questions().len() == 2).then_some(()));
    assert_eq!(world.receiver.seen().len(), 1);
    world.gateway.questions().iter().for_each(|question| {
        world.gateway.approve(question["request_id"].as_str().unwrap());
    });
    eventually("both calls to be made", || (world.gateway.upstream.seen().len() == 2).then_some(()));
    assert_eq!(world.receiver.seen().len(), 1);
}

#[test]
fn under_another_configuration_it_is_asked_again_and_earlier_tokens_are_void() {
    let mut world = World::new(|_| taken());
    let (call, _) = world.ask("hello");
    let first = world.one("question.asked");
    let path = world.gateway.folder.0.join("config.yaml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replace("timeout: 20", "timeout: 21")).unwrap();
    assert_eq!(world.gateway.control(&json!({"command": "reload"})).unwrap()["reloaded"], true);
    let again = eventually("the second message", || world.told("question.asked").into_iter().nth(1));
    assert_ne!(again["id"], first["id"]);
    let token = |asked: &Value| asked["data"]["answer_token"].as_str().unwrap().to_owned();
    let yes = json!({"decision": "approve"});
    assert_eq!(world.answer(&again, &token(&first), &yes).status, 401);
    assert_eq!(world.answer(&again, &token(&again), &yes).status, 200);
    assert_eq!(world.agent.reply(call)["result"]["status"], "executed");
    world.one("call.finished");
    assert_eq!(world.told("question.settled").len(), 1);
}

#[test]
fn a_channel_counts_once_whatever_names_it_gives() {
    let receiver = Upstream::start();
    receiver.answer(|_| taken());
    let permissions = "rules: [{pattern: say, action: ask, approvals: 2}]\n".to_owned();
    let gateway = Gateway::with(&Setup { permissions, ..setup(&receiver) });
    let agent = Agent::login(gateway.address, TOKEN);
    let mut world = World { receiver, gateway, agent };
    let (call, id) = world.ask("hello");
    let asked = world.one("question.asked");
    let token = asked["data"]["answer_token"].as_str().unwrap();
    let mut said = Vec::new();
    for by in ["carol", "dave", "carol"] {
        said.push(
            world.answer(&asked, token, &json!({"decision": "approve", "by": by})).json()["outcome"].clone(),
        );
    }
    assert_eq!(said[0], "counted");
    assert!(said.iter().all(|outcome| outcome != "resolved"), "{said:?}");
    assert_eq!(world.gateway.questions().len(), 1);
    world.gateway.approve(&id);
    assert_eq!(world.agent.reply(call)["result"]["status"], "executed");
}

/// A receiver that takes connections and does `what` with each.
fn misbehaving(what: fn(std::net::TcpStream)) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        listener.incoming().flatten().for_each(|stream| drop(std::thread::spawn(move || what(stream))));
    });
    url
}

fn pour(mut stream: std::net::TcpStream, head: &str, piece: &str) {
    use std::io::Write as _;
    let piece = piece.repeat(1000);
    if stream.write_all(head.as_bytes()).is_ok() {
        while stream.write_all(piece.as_bytes()).is_ok() {}
    }
}

#[test]
fn receivers_that_misbehave_delay_no_other() {
    let silent = misbehaving(|stream| drop(std::io::copy(&mut { stream }, &mut std::io::sink())));
    let endless = misbehaving(|stream| pour(stream, "HTTP/1.1 200 OK\r\n\r\n", "{\"decision\":\"approve\"}"));
    let headers = misbehaving(|stream| pour(stream, "HTTP/1.1 200 OK\r\n", "x-flood: 0123456789\r\n"));
    let nobody = harness::Nobody::new();
    let dead = format!("http://{}", nobody.address);
    let receiver = Upstream::start();
    receiver.answer(|_| taken());
    let usual = setup(&receiver);
    let bad: String = [silent, endless, headers, dead]
        .iter()
        .enumerate()
        .map(|(number, url)| {
            let secret = "a-secret-of-sufficient-length";
            format!("  bad{number}: {{type: webhook, url: \"{url}\", secret: {secret}, timeout: 60}}\n")
        })
        .collect();
    let config = usual.config.replace("channels:\n", &format!("channels:\n{bad}"));
    let gateway = Gateway::with(&Setup { config, ..usual });
    let agent = Agent::login(gateway.address, TOKEN);
    let mut world = World { receiver, gateway, agent };
    for number in 0..10 {
        let args = json!({"text": format!("call {number}")});
        world.agent.send("tool_request", json!({"tool": "say", "args": args}));
    }
    eventually("all questions", || (world.told("question.asked").len() == 10).then_some(()));
    for asked in world.told("question.asked") {
        let token = asked["data"]["answer_token"].as_str().unwrap().to_owned();
        assert_eq!(world.answer(&asked, &token, &json!({"decision": "approve"})).status, 200);
    }
    eventually("all calls", || (world.gateway.upstream.seen().len() == 10).then_some(()));
    eventually("all ends", || (world.told("call.finished").len() == 10).then_some(()));
    assert_eq!(Site::of(&world.gateway).get("/healthz").status, 200, "one that works is enough");
    let channels = world.gateway.json(&["channels", "--json"]);
    let down = channels.as_array().unwrap().iter().filter(|channel| channel["up"] == false);
    let down: Vec<_> = down.map(|channel| channel["name"].as_str().unwrap()).collect();
    assert!(down.contains(&"bad1") && down.contains(&"bad3") && !down.contains(&"ops"), "{channels}");
}

#[test]
fn a_yes_may_grant_what_the_question_offers() {
    let receiver = Upstream::start();
    receiver.answer(|_| taken());
    let permissions = "rules: [{pattern: say, action: ask, grant: {for: [15m], uses: 5}}]\n".to_owned();
    let gateway = Gateway::with(&Setup { permissions, ..setup(&receiver) });
    let agent = Agent::login(gateway.address, TOKEN);
    let mut world = World { receiver, gateway, agent };
    let (call, _) = world.ask("hello");
    let asked = world.one("question.asked");
    assert!(asked["data"]["grant"].is_object(), "{asked}");
    let token = asked["data"]["answer_token"].as_str().unwrap();
    for bad in [
        json!({"decision": "deny", "for": "15m"}),
        json!({"decision": "approve", "uses": 2}),
        json!({"decision": "approve", "for": "soon"}),
        json!({"decision": "approve", "for": "15m", "uses": "two"}),
        json!({"decision": "approve", "for": "2d"}),
    ] {
        assert_eq!(world.answer(&asked, token, &bad).status, 400, "{bad}");
    }
    let yes = json!({"decision": "approve", "for": "15m", "uses": 2});
    assert_eq!(world.answer(&asked, token, &yes).json()["outcome"], "resolved");
    assert_eq!(world.agent.reply(call)["result"]["status"], "executed");
    let again =
        world.agent.send("tool_request", json!({"tool": "say", "args": {"text": "hello", "pin": "4711"}}));
    assert_eq!(world.agent.reply(again)["result"]["status"], "executed");
    assert_eq!(world.told("question.asked").len(), 1, "the grant covers the second call");
    assert_eq!(world.gateway.json(&["grants", "--json"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_changed_call_is_asked_under_another_id_and_the_earlier_token_is_void() {
    let receiver = Upstream::start();
    receiver.answer(|_| taken());
    let permissions = "rules: [{pattern: say, action: ask, approvals: 2}]\n".to_owned();
    let gateway = Gateway::with(&Setup { permissions, ..setup(&receiver) });
    let agent = Agent::login(gateway.address, TOKEN);
    let mut world = World { receiver, gateway, agent };
    let (_, id) = world.ask("hello");
    let first = world.one("question.asked");
    let edited = world.gateway.cli(&["approve", &id, "--set", "text=bye", "--json"]);
    assert!(edited.status.success(), "{edited:?}");
    let second = eventually("the second message", || world.told("question.asked").into_iter().nth(1));
    assert_ne!(second["id"], first["id"]);
    assert_eq!((&second["data"]["args"]["text"], &second["data"]["request_id"]), (&json!("bye"), &json!(id)));
    assert_eq!(second["data"]["edited"]["asked"]["args"]["text"], "hello");
    let token = |asked: &Value| asked["data"]["answer_token"].as_str().unwrap().to_owned();
    let yes = json!({"decision": "approve"});
    let stale = world.answer(&first, &token(&first), &yes);
    assert_eq!((stale.status, stale.json()), (409, json!({"outcome": "stale"})));
    world.gateway.kill();
    world.gateway.restart();

    assert_eq!(world.answer(&second, &token(&second), &yes).status, 200);
    world.one("question.settled");
    assert_eq!(world.told("question.asked").len(), 2, "it is not told twice");
}

#[test]
fn a_channel_that_is_removed_answers_nothing_and_is_told_nothing() {
    let mut world = World::new(|_| taken());
    let (call, id) = world.ask("hello");
    let asked = world.one("question.asked");
    let path = world.gateway.path("config.yaml");
    let config = std::fs::read_to_string(&path).unwrap();
    let without: String = config
        .lines()
        .filter(|line| !line.contains("type: webhook"))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&path, without.replace("channels:\n", "")).unwrap();
    assert_eq!(world.gateway.control(&json!({"command": "reload"})).unwrap()["reloaded"], true);
    let token = asked["data"]["answer_token"].as_str().unwrap();
    assert_eq!(world.answer(&asked, token, &json!({"decision": "approve"})).status, 401);
    world.gateway.say_no(&id);
    assert_eq!(world.agent.reply(call)["error"]["data"]["reason"], "denied_by_user");
    // Once it is there again, the question is over and is news to nobody.
    std::fs::write(&path, config).unwrap();
    assert_eq!(world.gateway.control(&json!({"command": "reload"})).unwrap()["reloaded"], true);
    world.ask("again");
    eventually("the next question", || (world.told("question.asked").len() == 2).then_some(()));
    assert!(world.told("question.settled").is_empty());
}

/// Two people must say yes, and the call is changed while its message waits because the receiver is busy with eight others.
#[test]
fn a_yes_to_a_message_that_had_to_wait_is_one_to_what_the_message_showed() {
    let receiver = Upstream::start();
    receiver.answer(|message| {
        let body = message.json();
        let text = body["data"]["args"]["text"].as_str().unwrap_or_default();
        if body["type"] != "question.asked" {
            return taken();
        }
        if text.starts_with("slow") {
            return Answer::Hold;
        }
        let (id, at, yes) = (message.header("webhook-id").unwrap(), now_s(), r#"{"decision":"approve"}"#);
        decision(id, at, yes, &signature(id, &at.to_string(), yes))
    });
    let permissions = "rules: [{pattern: say, action: ask, approvals: 2}]\n".to_owned();
    let usual = setup(&receiver);
    let config = usual.config.replace("timeout: 20", "timeout: 60");
    let gateway = Gateway::with(&Setup { permissions, config, ..usual });
    let agent = Agent::login(gateway.address, TOKEN);
    let mut world = World { receiver, gateway, agent };
    for number in 0..8 {
        let args = json!({"text": format!("slow {number}")});
        world.agent.send("tool_request", json!({"tool": "say", "args": args}));
    }
    world.receiver.wait_for(8);
    let call = world.agent.send("tool_request", json!({"tool": "say", "args": {"text": "as asked"}}));
    let ninth = |question: &Value| question["args"]["text"] == "as asked";
    let id = eventually("the ninth question", || world.gateway.questions().into_iter().find(ninth));
    let id = id["request_id"].as_str().unwrap().to_owned();
    let edited = world.gateway.cli(&["approve", &id, "--set", "text=changed", "--json"]);
    assert_eq!(serde_json::from_slice::<Value>(&edited.stdout).unwrap()["outcome"], "counted");
    world.receiver.release();
    assert_eq!(world.agent.reply(call)["result"]["edited"], json!(["text"]));
    let of_it = |asked: &Value| asked["data"]["request_id"] == id.as_str();
    let shown: Vec<_> = world.told("question.asked").into_iter().filter(of_it).collect();
    let shown: Vec<_> = shown.iter().map(|asked| asked["data"]["args"]["text"].clone()).collect();
    assert_eq!(shown, ["changed"], "the yes is the receiver's to what it was shown");
    assert_eq!(world.gateway.upstream.seen()[0].json()["text"], "changed");
    world.gateway.verify();
}

#[test]
fn who_may_have_taken_a_question_before_a_kill_hears_what_came_of_it() {
    let clock = TestClock::new();
    let receiver = Upstream::start();
    receiver.answer(|message| match message.json()["type"] == "question.asked" {
        true => Answer::Hold,
        false => taken(),
    });
    let gateway = Gateway::with_clock(&setup(&receiver), &clock);
    let agent = Agent::login(gateway.address, TOKEN);
    let mut world = World { receiver, gateway, agent };
    let (_, id) = world.ask("hello");
    world.receiver.wait_for(1);
    world.gateway.kill();
    clock.shift(120);
    world.gateway.restart();
    let settled = world.one("question.settled");
    assert_eq!(
        (&settled["data"]["request_id"], &settled["data"]["resolution"]),
        (&json!(id), &json!("timed_out"))
    );
    assert_eq!(world.told("question.asked").len(), 1);
    world.gateway.verify();
}

#[test]
fn who_has_refused_a_question_hears_nothing_of_its_end_also_after_a_kill() {
    let clock = TestClock::new();
    let receiver = Upstream::start();
    receiver.answer(|_| Answer::Reply(500, "text/plain", String::new()));
    let gateway = Gateway::with_clock(&setup(&receiver), &clock);
    let agent = Agent::login(gateway.address, TOKEN);
    let mut world = World { receiver, gateway, agent };
    world.ask("hello");
    world.receiver.wait_for(1);
    let database = world.gateway.path("data/agentpass.db");
    eventually("the refusal to be kept, and no further attempt", || {
        world.gateway.pause();
        let kept = kept(&database, "own.ops.pushed").unwrap_or_default();
        let is_kept = kept.contains("\"questions\":{}");
        (!is_kept).then(|| world.gateway.go_on());
        is_kept.then_some(())
    });
    world.gateway.kill();
    clock.shift(120);
    world.receiver.answer(|_| taken());
    world.gateway.restart();
    world.agent = Agent::login(world.gateway.address, TOKEN);
    eventually("the first to end", || world.gateway.questions().is_empty().then_some(()));
    let (_, id) = world.ask("again");
    world.gateway.say_no(&id);
    world.one("question.settled");
    let settled = world.told("question.settled");
    assert!(settled.iter().all(|it| it["data"]["request_id"] == id.as_str()), "{settled:?}");
}

/// What a channel keeps for the next start.
fn kept(database: &std::path::Path, name: &str) -> Option<String> {
    let reader = rusqlite::Connection::open_with_flags(database, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY);
    let query = "SELECT value FROM meta WHERE name = ?1";
    reader.unwrap().query_row(query, [name], |row| row.get(0)).ok()
}

#[test]
fn those_named_later_are_told_later_and_of_nothing_that_has_ended() {
    let receiver = Upstream::start();
    receiver.answer(|_| taken());
    let rule = "{pattern: say, action: ask, notify: [local], escalate: {after: 2s, to: [ops]}, remind: 3s}";
    let permissions = format!("rules: [{rule}]\n");
    let gateway = Gateway::with(&Setup { permissions, ..setup(&receiver) });
    let agent = Agent::login(gateway.address, TOKEN);
    let mut world = World { receiver, gateway, agent };
    let (first, id) = world.ask("answered at once");
    world.gateway.say_no(&id);
    world.agent.reply(first);
    let before = std::time::Instant::now();
    let (second, id) = world.ask("nobody answers");
    let asked = world.one("question.asked");
    assert!(before.elapsed() >= std::time::Duration::from_secs(2));
    assert_eq!(asked["data"]["request_id"], id.as_str());
    // A program is not reminded: it would drop what it has seen.
    eventually("the time for a reminder to pass", || {
        (before.elapsed() >= std::time::Duration::from_secs(4)).then_some(())
    });
    assert_eq!(world.told("question.asked").len(), 1);
    let token = asked["data"]["answer_token"].as_str().unwrap();
    assert_eq!(world.answer(&asked, token, &json!({"decision": "approve"})).status, 200);
    assert_eq!(world.agent.reply(second)["result"]["status"], "executed");
    world.one("call.finished");
    assert_eq!(world.told("question.settled").len(), 1);
}

#[test]
fn a_channel_that_nobody_names_is_told_nothing() {
    let (named, other) = (Upstream::start(), Upstream::start());
    named.answer(|_| taken());
    other.answer(|_| taken());
    let usual = setup(&named);
    let secret = "a-secret-of-sufficient-length";
    let more = format!("channels:\n  night: {{type: webhook, url: \"{}\", secret: {secret}}}\n", other.url());
    let config = usual.config.replace("channels:\n", &more);
    let permissions = "rules:\n  - {pattern: say, action: ask, notify: [ops]}\n\
                       defaults:\n  - {pattern: \"*\", action: ask, notify: [night]}\n";
    let gateway = Gateway::with(&Setup { permissions: permissions.into(), config, ..usual });
    let agent = Agent::login(gateway.address, TOKEN);
    let mut world = World { receiver: named, gateway, agent };
    let (call, id) = world.ask("hello");
    world.one("question.asked");
    world.gateway.say_yes(&id);
    world.agent.reply(call);
    world.one("call.finished");
    assert!(other.seen().is_empty());
    world.agent.send("tool_request", json!({"tool": "get_state", "args": {"entity_id": "light.desk"}}));
    other.wait_for(1);
    assert_eq!(world.told("question.asked").len(), 1);
}

#[test]
fn who_is_gone_is_called_again_after_a_reload_that_changes_nothing() {
    let mut world = World::new(|_| Answer::Reply(410, "text/plain", String::new()));
    let (call, id) = world.ask("hello");
    eventually("the channel to be off", || world.gateway.log().contains("410 Gone").then_some(()));
    assert_eq!(Site::of(&world.gateway).get("/healthz").status, 503);
    assert_eq!(world.gateway.cli(&["channels", "test", "ops"]).status.code(), Some(5));
    world.receiver.answer(|_| taken());
    assert_eq!(world.gateway.control(&json!({"command": "reload"})).unwrap()["reloaded"], true);
    eventually("the question", || (world.told("question.asked").len() >= 2).then_some(()));
    world.gateway.say_yes(&id);
    assert_eq!(world.agent.reply(call)["result"]["status"], "executed");
    world.one("call.finished");
    assert_eq!(Site::of(&world.gateway).get("/healthz").status, 200);
    let test = world.gateway.cli(&["channels", "test", "ops"]);
    assert!(test.status.success() && String::from_utf8(test.stdout).unwrap().contains("answered 202"));
    assert_eq!(world.told("channel.test").len(), 2);
}

#[test]
fn no_token_goes_out_where_plain_http_leads_beyond_this_machine() {
    let receiver = Upstream::start();
    receiver.answer(|_| taken());
    let usual = setup(&receiver);
    let config = usual.config.replace("http://127.0.0.1:1", "http://192.0.2.7:8080");
    let gateway = Gateway::with(&Setup { config, ..usual });
    let agent = Agent::login(gateway.address, TOKEN);
    let mut world = World { receiver, gateway, agent };
    world.ask("hello");
    let data = world.one("question.asked")["data"].clone();
    assert!(data.get("answer_token").is_none() && data.get("answer_url").is_none(), "{data}");
    let check = world.gateway.cli(&["check"]);
    let said = String::from_utf8([check.stdout, check.stderr].concat()).unwrap();
    assert!(said.contains("no answer token is sent over plain http:// beyond this machine"), "{said}");
}

/// A yes counts though nothing runs, and whoever gave it hears why.
#[test]
fn who_said_yes_hears_that_a_limit_was_reached_meanwhile() {
    let receiver = Upstream::start();
    receiver.answer(|_| taken());
    let permissions = "defaults: [{pattern: \"*\", action: ask}]\n\
                       limits: [{name: says, pattern: \"say*\", window: day, deny_above: 1}]\n";
    let gateway = Gateway::with(&Setup { permissions: permissions.into(), ..setup(&receiver) });
    let agent = Agent::login(gateway.address, TOKEN);
    let mut world = World { receiver, gateway, agent };
    for text in ["first", "second"] {
        world.agent.send("tool_request", json!({"tool": "say", "args": {"text": text}}));
    }
    eventually("both", || (world.told("question.asked").len() == 2).then_some(()));
    for asked in world.told("question.asked") {
        let token = asked["data"]["answer_token"].as_str().unwrap();
        let told = world.answer(&asked, token, &json!({"decision": "approve"}));
        assert_eq!((told.status, told.json()), (200, json!({"outcome": "resolved"})));
    }
    eventually("both ends", || (world.told("call.finished").len() == 2).then_some(()));
    let ended = world.told("call.finished").into_iter().map(|it| {
        let data = &it["data"];
        [&data["resolution"], &data["outcome"], &data["reason"]]
            .map(|it| it.as_str().unwrap_or("-").to_owned())
    });
    let mut ended: Vec<_> = ended.collect();
    ended.sort();
    assert_eq!(ended, [["approved", "denied", "limit_reached"], ["approved", "executed", "-"]]);
    assert_eq!(world.gateway.upstream.seen().len(), 1);
    world.gateway.verify();
}

#[test]
fn a_token_tells_for_a_day_what_became_of_its_question() {
    let clock = TestClock::new();
    let receiver = Upstream::start();
    receiver.answer(|_| taken());
    let gateway = Gateway::with_clock(&setup(&receiver), &clock);
    let agent = Agent::login(gateway.address, TOKEN);
    let mut world = World { receiver, gateway, agent };
    let mut calls = Vec::new();
    for text in ["answered", "forgotten"] {
        calls.push(world.agent.send("tool_request", json!({"tool": "say", "args": {"text": text}})));
    }
    eventually("both", || (world.told("question.asked").len() == 2).then_some(()));
    let asked = world.told("question.asked");
    let of = |text: &str| asked.iter().find(|it| it["data"]["args"]["text"] == text).unwrap().clone();
    let (answered, forgotten) = (of("answered"), of("forgotten"));
    let no = |world: &World, asked: &Value| {
        let token = asked["data"]["answer_token"].as_str().unwrap();
        let told = world.answer(asked, token, &json!({"decision": "deny"}));
        (told.status, told.json()["outcome"].as_str().unwrap().to_owned())
    };
    assert_eq!(no(&world, &answered), (200, "resolved".to_owned()));
    assert_eq!(error(&world.agent.reply(calls[0])).1, "denied_by_user");
    clock.shift(120);
    assert_eq!(error(&world.agent.reply(calls[1])).1, "approval_timed_out");
    for restarted in [false, true] {
        if restarted {
            world.gateway.kill();
            world.gateway.restart();
        }
        assert_eq!(no(&world, &answered), (409, "already_resolved".to_owned()), "{restarted}");
        assert_eq!(no(&world, &forgotten), (410, "expired".to_owned()), "{restarted}");
    }
    clock.shift(25 * 3600);
    for asked in [&answered, &forgotten] {
        assert_eq!(no(&world, asked), (404, "unknown".to_owned()));
    }
}
