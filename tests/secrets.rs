//! Invariant I3: no configured secret comes out anywhere. A service echoes its credential in every way it can, an agent
//! sends credentials back, everything is logged that can be logged, and then all that came out is searched.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use harness::gateway::{LAPTOP, SERVICE_SECRET, TOKEN};
use harness::{Agent, Answer, Gateway, Setup, error, eventually};
use serde_json::{Value, json};

/// A password with everything that encoders treat in their own ways.
const PASSWORD: &str = "pä55 w/örd+&=\"quoted\"?";
/// A user's pin, given as a secret argument.
const PIN: &str = "pin-7315-of-the-door";

/// A gateway that logs everything it can and has credentials of each kind.
fn gateway() -> Gateway {
    let mut setup = Setup::default();
    let more = r#"
  basic:
    url: "{upstream}"
    auth: {type: basic, username: "user", password: "${PASSWORD}"}
    tools: "basic.yaml"
  query:
    url: "{upstream}"
    auth: {type: query, query_param: "key", token: "qu3ry-t0ken-abcdefgh"}
    tools: "query.yaml"
storage:"#;
    setup.config = setup.config.replace("\nstorage:", more);
    let gateway = Gateway::prepared(&setup, &[("LOG_LEVEL", "trace"), ("PASSWORD", PASSWORD)], |folder| {
        for name in ["basic", "query"] {
            let tool = format!(
                "tools:\n  get_{name}:\n    description: \"d\"\n    request: {{method: GET, path: \"/{name}\"}}\n"
            );
            std::fs::write(folder.join(format!("{name}.yaml")), tool).unwrap();
        }
    });
    // The log is as loud as it gets.
    eventually("something below info", || gateway.log().contains("DEBUG").then_some(()));
    gateway
}

/// The secrets as they are configured and as they travel.
fn secrets() -> Vec<String> {
    let plain = [TOKEN, LAPTOP, SERVICE_SECRET, PASSWORD, "qu3ry-t0ken-abcdefgh"];
    let mut all: Vec<String> = plain.iter().map(|s| (*s).to_owned()).collect();
    all.push(STANDARD.encode(format!("user:{PASSWORD}")));
    all
}

/// Every spelling of a secret that is looked for, and that a service may use.
fn spellings(secret: &str) -> Vec<String> {
    let percent =
        percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC).to_string();
    let component: String = percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC)
        .to_string()
        .replace("%2D", "-")
        .replace("%5F", "_")
        .replace("%2E", ".");
    let quoted = Value::from(secret).to_string();
    vec![
        secret.to_owned(),
        STANDARD.encode(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE.encode(secret),
        component,
        percent,
        quoted[1..quoted.len() - 1].to_owned(),
    ]
}

/// Further spellings, mixed and nested ones among them.
fn escaped(secret: &str) -> Vec<String> {
    let each = |escape: &dyn Fn(u32) -> String| secret.chars().map(|c| escape(u32::from(c))).collect();
    let percent = |text: &str| text.bytes().map(|b| format!("%{b:02x}")).collect::<String>();
    let partly = |(at, c): (usize, char)| if at % 3 == 1 { percent(&c.to_string()) } else { c.to_string() };
    let mut mixed_case = true;
    let mixed: String = percent(secret)
        .chars()
        .map(|c| {
            mixed_case = !mixed_case;
            if mixed_case { c.to_ascii_uppercase() } else { c }
        })
        .collect();
    let json = |text: &str| Value::from(text).to_string();
    vec![
        each(&|c| format!("\\u{c:04X}")),
        each(&|c| format!("&#{c};")),
        each(&|c| format!("&#x{c:x};")),
        mixed,
        percent(&percent(secret)),
        secret.chars().enumerate().map(partly).collect(),
        json(&json(&json(secret))),
        json(&json(&each(&|c| format!("\\u{c:04x}")))),
    ]
}

fn assert_clean(what: &str, text: &str, looked_for: &[String]) {
    if let Some(found) = first(text.as_bytes(), looked_for) {
        panic!("{what} holds {found:?}: {text}");
    }
}

fn all_spellings() -> Vec<String> {
    secrets().iter().flat_map(|s| spellings(s)).collect()
}

/// Everything that an owner can read or copy afterwards, and all files of the record as bytes.
fn assert_nothing_is_kept(gateway: &Gateway, looked_for: &[String]) {
    let run = |arguments: &[&str]| {
        let output = gateway.cli(arguments);
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    for arguments in [
        &["approvals", "--json"][..],
        &["approvals"],
        &["status", "--json"],
        &["audit", "list", "--json", "--limit", "1000"],
        &["audit", "export"],
        &["audit", "stats", "--json"],
    ] {
        assert_clean(&format!("{arguments:?}"), &run(arguments), looked_for);
    }
    // Each look costs a process: a few of each kind are enough, since all come out of the same rows.
    for row in gateway.audit().iter().step_by(7) {
        let id = row["request_id"].as_str().unwrap().to_owned();
        assert_clean("audit show", &run(&["audit", "show", &id]), looked_for);
        assert_clean("audit show --json", &run(&["audit", "show", &id, "--json"]), looked_for);
    }
    assert_clean("the log", &gateway.log(), looked_for);
    assert_files_are_clean(gateway, looked_for);
}

fn assert_files_are_clean(gateway: &Gateway, looked_for: &[String]) {
    assert_eq!(found_in_files(gateway, looked_for), None);
}

/// The file of the record that holds one of these, and which.
fn found_in_files(gateway: &Gateway, looked_for: &[String]) -> Option<String> {
    let entries = std::fs::read_dir(gateway.path("data")).unwrap().flatten();
    let files: Vec<_> = entries.filter(|e| e.file_type().unwrap().is_file()).collect();
    assert!(files.len() >= 2, "there is a record to look at");
    files.iter().find_map(|file| {
        let bytes = std::fs::read(file.path()).unwrap();
        let found = first(&bytes, looked_for)?;
        Some(format!("{} holds {found:?}", file.file_name().display()))
    })
}

/// The first of `looked_for` that stands in `bytes`.
fn first<'a>(bytes: &[u8], looked_for: &'a [String]) -> Option<&'a String> {
    let all = AhoCorasick::new(looked_for).unwrap();
    all.find(bytes).map(|found| &looked_for[found.pattern()])
}

/// All tools, so that every credential has been sent.
fn call_all(agent: &mut Agent) -> Vec<Value> {
    vec![
        agent.request("get_state", json!({"entity_id": "a"})),
        agent.request("call_service", json!({"domain": "light", "service": "turn_off"})),
        agent.request("render", json!({"template": "a"})),
        agent.request("get_basic", json!({})),
        agent.request("get_query", json!({})),
    ]
}

#[test]
fn an_echo_never_reaches_the_agent_or_the_record() {
    let gateway = gateway();
    let all = all_spellings();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let echo = |status: u16, kind: &'static str, body: String| {
        gateway.upstream.answer(move |_| Answer::Reply(status, kind, body.clone()));
    };
    let texts = all.iter().map(|s| json!(format!("<{s}>"))).collect::<Vec<_>>();
    let keys: serde_json::Map<String, Value> = all.iter().map(|s| (s.clone(), json!(1))).collect();
    let bodies = [
        json!({"list": texts, "keys": keys, "deep": [[{"a": texts}]]}).to_string(),
        format!("{{\"raw\":\"{}\"}}", secrets()[0]),
        json!(SERVICE_SECRET).to_string(),
    ];
    for body in bodies {
        echo(200, "application/json", body);
        for reply in call_all(&mut agent) {
            assert_eq!(reply["result"]["status"], "executed", "{reply}");
            assert!(reply.to_string().contains("[redacted]"), "{reply}");
            assert_clean("a result", &reply.to_string(), &all);
        }
    }
    let page = format!("Debug: {}", all.join("\n"));
    for (status, kind) in [
        (200, "text/plain"),
        (200, "text/html"),
        (404, "text/plain"),
        (500, "text/plain"),
        (401, "text/html"),
        (302, "text/plain"),
        (418, "application/json"),
    ] {
        echo(status, kind, page.clone());
        for reply in call_all(&mut agent) {
            assert_clean("an answer", &reply.to_string(), &all);
        }
    }
    // An excerpt is cut after it was scrubbed: no beginning of a secret is left at the cut.
    for padding in 460..500 {
        echo(500, "text/plain", format!("{}{SERVICE_SECRET}", "x".repeat(padding)));
        let reply = agent.request("get_state", json!({"entity_id": "a"})).to_string();
        assert!(!reply.contains(&SERVICE_SECRET[..4]), "{reply}");
    }
    assert_nothing_is_kept(&gateway, &all);
}

#[test]
fn an_echo_in_further_spellings_never_reaches_the_agent_or_the_record() {
    let gateway = gateway();
    let all: Vec<String> = secrets().iter().flat_map(|s| escaped(s)).collect();
    let mut agent = Agent::login(gateway.address, TOKEN);
    for spelling in &all {
        for (kind, body) in [
            ("application/json", json!([{ spelling.as_str(): format!("<{spelling}>") }]).to_string()),
            ("text/html", format!("<p>50% &amp; more: {spelling}</p>")),
        ] {
            gateway.upstream.answer(move |_| Answer::Reply(200, kind, body.clone()));
            let reply = agent.request("get_state", json!({"entity_id": "a"})).to_string();
            assert!(reply.contains("[redacted]"), "{spelling}: {reply}");
            assert_clean("a result", &reply, &all);
            assert!(kind == "application/json" || reply.contains("<p>50% &amp; more: "), "{reply}");
        }
    }
    // In UTF-16, with and without saying so.
    for (secret, kind) in secrets()
        .iter()
        .flat_map(|s| [(s, "text/plain; charset=utf-16le"), (s, "text/plain"), (s, "text/html")])
    {
        let body: Vec<u8> = format!("<{secret}>").encode_utf16().flat_map(u16::to_le_bytes).collect();
        let head = format!(
            "HTTP/1.1 200 X\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let answer = Answer::Raw([head.into_bytes(), body].concat());
        gateway.upstream.answer(move |_| answer.clone());
        let reply = agent.request("get_state", json!({"entity_id": "a"}));
        assert_eq!(reply["result"]["data"], "<[redacted]>", "{reply}");
    }
    assert_nothing_is_kept(&gateway, &all);
}

/// What a service gives for a login.
const SESSION: &str = "s3ssion-0f-the-day+42";

#[test]
fn the_token_of_a_session_is_a_credential_like_the_others() {
    let mut setup = Setup::default();
    let guarded = r#"
  guarded:
    url: "{upstream}"
    auth:
      type: login
      request: {method: POST, path: /login, body: {password: "${PASSWORD}"}}
      take: {json: /sid}
      send: {header: X-Sid}
      logout: {method: POST, path: /logout}
    tools: "guarded.yaml"
storage:"#;
    setup.config = setup.config.replace("\nstorage:", guarded);
    let mut gateway =
        Gateway::prepared(&setup, &[("LOG_LEVEL", "trace"), ("PASSWORD", PASSWORD)], |folder| {
            let tool = "tools:\n  get_look:\n    request: {method: GET, path: /look}\n";
            std::fs::write(folder.join("guarded.yaml"), tool).unwrap();
        });
    gateway.upstream.answer(|seen| match seen.target.as_str() {
        "/login" => Answer::json(&json!({"sid": SESSION, "password": PASSWORD}).to_string()),
        _ => Answer::json(&json!({"headers": seen.headers, "sid": SESSION}).to_string()),
    });
    let mut agent = Agent::login(gateway.address, TOKEN);
    let looked_for = [vec![SESSION.to_owned()], spellings(SESSION), spellings(PASSWORD)].concat();
    // Other services have no business with it either.
    for (tool, args) in [("get_look", json!({})), ("get_state", json!({"entity_id": "a"}))] {
        let reply = agent.request(tool, args);
        assert_eq!(reply["result"]["data"]["sid"], "[redacted]", "{reply}");
        assert_clean("a result", &reply.to_string(), &looked_for);
    }
    for spelling in [SESSION.to_owned(), SESSION.replace('+', "%2b"), STANDARD.encode(SESSION)] {
        let reply = agent.request("say", json!({"text": spelling}));
        assert_eq!(error(&reply), (-32600, "invalid_argument"), "{reply}");
    }
    assert_eq!(gateway.upstream.seen()[0].json(), json!({"password": PASSWORD}));
    // A reload logs in anew only when it has to; what was handed out before may still be good at the service.
    assert!(gateway.cli(&["reload"]).status.success());
    let reply = agent.request("get_state", json!({"entity_id": "b"}));
    assert_eq!(reply["result"]["data"]["sid"], "[redacted]", "{reply}");
    let reply = agent.request("say", json!({"text": SESSION}));
    assert_eq!(error(&reply), (-32600, "invalid_argument"), "{reply}");
    agent.request("get_look", json!({}));
    assert_nothing_is_kept(&gateway, &looked_for);
    assert_eq!(gateway.terminate(), Some(0));
    let last = gateway.upstream.seen().pop().unwrap();
    assert_eq!((last.target.as_str(), last.header("x-sid")), ("/logout", Some(SESSION)));
}

#[test]
fn a_number_that_is_a_secret_is_known_by_its_value() {
    let mut setup = Setup::default();
    setup.config = setup.config.replace(SERVICE_SECRET, "734512");
    let gateway = Gateway::with(&setup);
    gateway.upstream.answer(|_| Answer::json(r#"[734512, 734512.0, 7.34512e5, "7.34512E+5", 734513]"#));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let reply = agent.request("get_state", json!({"entity_id": "a"}));
    let hidden = "[redacted]";
    assert_eq!(reply["result"]["data"], json!([hidden, hidden, hidden, hidden, 734_513]));
    for number in [json!(734_512.0), json!("7.34512e5")] {
        let reply =
            agent.request("call_service", json!({"domain": "light", "service": "turn_off", "code": number}));
        assert_eq!(error(&reply), (-32600, "invalid_argument"), "{reply}");
    }
    assert_eq!(gateway.upstream.seen().len(), 1);
}

#[test]
fn a_call_that_holds_a_credential_in_any_spelling_is_refused() {
    let gateway = gateway();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let all: Vec<String> = secrets().iter().flat_map(|s| [spellings(s), escaped(s)].concat()).collect();
    for spelling in &all {
        for args in [json!({"text": spelling}), json!({"text": format!("a & b, 5 %: {spelling}.")})] {
            let reply = agent.request("say", args);
            assert_eq!(error(&reply), (-32600, "invalid_argument"), "{spelling}: {reply}");
        }
    }
    assert_eq!((gateway.questions().len(), gateway.upstream.seen().len()), (0, 0));
    assert_nothing_is_kept(&gateway, &all);
}

#[test]
fn an_echo_in_headers_or_broken_http_goes_nowhere() {
    let gateway = gateway();
    let all = all_spellings();
    let mut agent = Agent::login(gateway.address, TOKEN);
    for raw in [
        format!(
            "HTTP/1.1 302 Found\r\nlocation: http://evil.example/?t={SERVICE_SECRET}\r\nx-token: {TOKEN}\r\ncontent-length: 0\r\n\r\n"
        ),
        format!(
            "HTTP/1.1 200 {SERVICE_SECRET}\r\ncontent-type: {SERVICE_SECRET}\r\ncontent-length: 2\r\n\r\n{{}}"
        ),
        format!("HTTP/1.1 200 OK\r\n{SERVICE_SECRET}: {TOKEN}\r\nbroken {SERVICE_SECRET}\r\n\r\n"),
        format!("{SERVICE_SECRET} {TOKEN} {LAPTOP}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\ncontent-length: {SERVICE_SECRET}\r\n\r\n"),
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n\"{SERVICE_SECRET}"
        ),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{SERVICE_SECRET}\r\n"),
    ] {
        gateway.upstream.answer(move |_| Answer::Raw(raw.clone().into_bytes()));
        for reply in call_all(&mut agent) {
            assert_clean("an answer", &reply.to_string(), &all);
        }
    }
    assert_nothing_is_kept(&gateway, &all);
}

#[test]
fn results_in_the_inbox_hold_no_secret() {
    let gateway = gateway();
    let all = all_spellings();
    let echoed = all.clone();
    gateway.upstream.answer(move |_| Answer::json(&json!(echoed).to_string()));
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.send("tool_request", json!({"tool": "say", "args": {"text": "hi"}, "idempotency_key": "k"}));
    let id = agent.asked();
    drop(agent);
    gateway.say_yes(&id);
    let results = eventually("the result", || {
        let mut agent = Agent::login(gateway.address, TOKEN);
        let results = agent.call("get_pending_results", json!({}))["result"]["results"].clone();
        (!results.as_array().unwrap().is_empty()).then(|| results.to_string())
    });
    assert!(results.contains("[redacted]"), "{results}");
    assert_clean("the inbox", &results, &all);
    let replayed = Agent::login(gateway.address, TOKEN)
        .call("tool_request", json!({"tool": "say", "args": {"text": "hi"}, "idempotency_key": "k"}));
    assert_eq!(replayed["result"]["replayed"], true);
    assert_clean("a replay", &replayed.to_string(), &all);
    assert_nothing_is_kept(&gateway, &all);
}

#[test]
fn a_secret_that_an_agent_sends_is_not_kept() {
    let gateway = gateway();
    let mut agent = Agent::login(gateway.address, TOKEN);
    // What is looked for is what an agent can know: its own token, and what it may have got elsewhere.
    for secret in [TOKEN, SERVICE_SECRET, PASSWORD] {
        let tool = |tool: &str, args: Value| json!({"tool": tool, "args": args});
        let mut requests = vec![
            tool(secret, json!({})),
            tool("get_state", json!({"entity_id": secret})),
            tool("get_state", json!({"entity_id": format!("x{secret}y")})),
            tool("get_state", json!({"entity_id": STANDARD.encode(secret)})),
            tool("get_state", json!({"entity_id": [secret]})),
            tool("get_state", json!({secret: "a"})),
            tool("get_state", json!({"entity_id": "a", secret: "a"})),
            tool("say", json!({"text": secret})),
            tool("say", json!({"text": "a", "pin": secret})),
            tool("call_service", json!({"domain": "light", "service": "turn_off", secret: 1})),
            tool(
                "call_service",
                json!({"domain": "light", "service": "turn_off", "x": {"y": [{secret: 1}]}}),
            ),
            tool("call_service", json!({"domain": secret, "service": "turn_off"})),
        ];
        for member in ["reason", "session_id", "idempotency_key"] {
            let mut keyed = tool("get_state", json!({"entity_id": "a"}));
            keyed[member] = json!(secret);
            requests.push(keyed);
        }
        for params in requests {
            agent.call("tool_request", params);
            agent.notices.clear();
        }
        agent.call(secret, json!({}));
        agent.call("list_tools", json!({secret: 1}));
        agent.call("cancel", json!({"request_id": secret}));
        agent.call("auth", json!({"token": secret}));
        agent.send_text(secret);
        agent.receive();
    }
    assert_eq!(gateway.questions().len(), 0, "no such call is put to a human");
    for seen in gateway.upstream.seen() {
        assert_clean("a request", &format!("{} {}", seen.target, seen.body), &all_spellings());
    }
    assert_nothing_is_kept(&gateway, &all_spellings());
}

#[test]
fn wrong_and_right_tokens_are_not_logged() {
    let gateway = gateway();
    let wrong = "a-wrong-token-that-somebody-mistyped";
    for _ in 0..3 {
        let mut agent = Agent::connect(gateway.address);
        assert_eq!(error(&agent.call("auth", json!({"token": wrong}))).0, -32005);
        assert!(
            Agent::try_connect(gateway.address, &[("authorization", &format!("Bearer {wrong}"))]).is_err()
        );
    }
    Agent::bearer(gateway.address, LAPTOP).assert_quiet();
    gateway.hang_up();
    eventually("the reload", || gateway.log().contains("configuration reloaded").then_some(()));
    assert_clean("the log", &gateway.log(), &[vec![wrong.to_owned()], all_spellings()].concat());
}

#[test]
fn secret_arguments_are_wiped_when_a_call_has_ended() {
    let mut gateway = gateway();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let pin = [PIN.to_owned()];
    let say = |n: u8| json!({"tool": "say", "args": {"text": format!("n{n}"), "pin": PIN}, "idempotency_key": format!("k{n}")});
    for n in 0..4 {
        let asked = agent.send("tool_request", say(n));
        let id = agent.asked();
        assert_clean("the question", &gateway.json(&["approvals", "--json"]).to_string(), &pin);
        match n {
            0 => gateway.say_yes(&id),
            1 => gateway.say_no(&id),
            2 => {
                agent.send("cancel", json!({"request_id": id}));
            }
            _ => {
                gateway.upstream.answer(|_| Answer::Reply(500, "text/plain", "boom".into()));
                gateway.say_yes(&id);
            }
        }
        while agent.receive()["id"] != asked {}
    }
    assert_eq!(gateway.upstream.seen()[0].json()["pin"], PIN, "the service gets it");
    // The log of the database is emptied just after the last answer.
    eventually("the pin to be wiped", || found_in_files(&gateway, &pin).is_none().then_some(()));
    assert_nothing_is_kept(&gateway, &pin);
    assert_eq!(gateway.terminate(), Some(0));
    assert_files_are_clean(&gateway, &pin);
}

#[test]
fn a_secret_argument_that_the_service_echoes_is_not_kept() {
    let gateway = gateway();
    gateway.upstream.answer(|seen| Answer::json(&json!({"you said": seen.body, "pin": PIN}).to_string()));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let asked = agent.send("tool_request", json!({"tool": "say", "args": {"text": "hi", "pin": PIN}}));
    gateway.say_yes(&agent.asked());
    assert_eq!(agent.reply(asked)["result"]["status"], "executed");
    let pin = [PIN.to_owned()];
    eventually("the pin to be wiped", || found_in_files(&gateway, &pin).is_none().then_some(()));
    assert_nothing_is_kept(&gateway, &pin);
}
