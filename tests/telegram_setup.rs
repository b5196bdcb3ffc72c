//! `agentpass telegram-setup` against a small scripted Bot API: what it finds, what it prints, and that the token
//! stays out of all of it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

use harness::{BINARY, Folder};
use serde_json::{Value, json};

const TOKEN: &str = "123456:AAvery-secret_half-of-the-token";

/// Answers each method from a script; the last answer of a method stays.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Server {
    fn start(script: &[(&'static str, u16, Value)]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, mut script) = (asked.clone(), script.to_vec());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serve(stream, &log, &mut script);
            }
        });
        Server { url, asked }
    }

    fn asked(&self, method: &str) -> Vec<Value> {
        let all = self.asked.lock().unwrap();
        all.iter()
            .filter(|(path, _)| path == &format!("/bot{TOKEN}/{method}"))
            .map(|(_, body)| body.clone())
            .collect()
    }
}

fn serve(
    mut stream: TcpStream,
    log: &Mutex<Vec<(String, Value)>>,
    script: &mut Vec<(&'static str, u16, Value)>,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 {
            return;
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line.to_lowercase());
        if lines.len() == 1 {
            lines[0] = line;
        }
    }
    let length =
        lines.iter().find_map(|l| l.strip_prefix("content-length:")).map_or(0, |n| n.trim().parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let path = lines[0].split(' ').nth(1).unwrap().to_owned();
    let method = path.rsplit('/').next().unwrap().to_owned();
    log.lock().unwrap().push((path.clone(), serde_json::from_slice(&body).unwrap()));
    let at = script.iter().position(|(name, ..)| *name == method).unwrap_or_else(|| panic!("{method}"));
    let (_, status, answer) = script[at].clone();
    if script.iter().filter(|(name, ..)| *name == method).count() > 1 {
        script.remove(at);
    }
    let body = answer.to_string();
    let location =
        answer["location"].as_str().map(|url| format!("location: {url}{path}\r\n")).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status} X\r\n{location}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // Whoever finds the answer too large hangs up before its end.
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

fn me() -> (&'static str, u16, Value) {
    (
        "getMe",
        200,
        json!({"ok": true, "result": {"id": 123456, "is_bot": true, "first_name": "Home", "username": "home_bot"}}),
    )
}

fn updates(messages: &[Value]) -> (&'static str, u16, Value) {
    let updates: Value = (1..).zip(messages).map(|(id, m)| json!({"update_id": id, "message": m})).collect();
    ("getUpdates", 200, json!({"ok": true, "result": updates}))
}

fn anna() -> Value {
    json!({"id": 7001, "is_bot": false, "first_name": "Anna\u{202e}", "username": "anna"})
}

fn in_group(from: &Value) -> Value {
    json!({"message_id": 1, "from": from, "chat": {"id": -1001234, "type": "supergroup", "title": "Home\u{1b}[2J"}, "text": "/start"})
}

fn setup(folder: &Folder, arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("telegram-setup").args(arguments).current_dir(&folder.0).env("TELEGRAM_TOKEN", TOKEN);
    let output = command.output().unwrap();
    for text in [&output.stdout, &output.stderr] {
        assert!(!String::from_utf8_lossy(text).contains("secret_half"), "{output:?}");
    }
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn shows_who_wrote_where_and_what_to_configure() {
    let bot = json!({"id": 5, "is_bot": true, "first_name": "Other bot"});
    let ben = json!({"id": 7002, "is_bot": false, "first_name": "Ben", "last_name": "B"});
    let private =
        json!({"message_id": 2, "from": ben, "chat": {"id": 7002, "type": "private"}, "text": "hi"});
    let messages = [private, in_group(&anna()), in_group(&ben), in_group(&bot), in_group(&anna())];
    let server = Server::start(&[me(), updates(&[]), updates(&messages)]);
    let output = setup(&Folder::new(), &["--api-url", &server.url]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let expected = format!(
        "chat   7002  private\n  from 7002  Ben B\n\n\
         chat   -1001234  supergroup \"Home⟨U+001B⟩[2J\"\n  from 7001  Anna⟨U+202E⟩ (@anna)\n\n\
         chat   -1001234  supergroup \"Home⟨U+001B⟩[2J\"\n  from 7002  Ben B\n\n\
         For config.yaml. Anybody can write to a bot: check that this is you.\n\n\
         messenger:\n  type: telegram\n  telegram:\n    token: \"${{TELEGRAM_TOKEN}}\"   # in .env: TELEGRAM_TOKEN=..., or the file secrets/TELEGRAM_TOKEN\n    \
         chat_id: -1001234\n    allowed_users: [7001, 7002]   # Anna⟨U+202E⟩ (@anna), Ben B\n    api_url: \"{}\"\n",
        server.url
    );
    assert_eq!(told, expected);
    assert!(text(&output.stderr).contains("this is @home_bot"));
    // Nothing is acknowledged: the gateway gets these messages too.
    assert!(server.asked("getUpdates").iter().all(|asked| asked["offset"] == 0));
}

#[test]
fn the_block_is_valid_configuration() {
    let server = Server::start(&[me(), updates(&[in_group(&anna())])]);
    let folder = Folder::new();
    let output = setup(&folder, &["--api-url", &server.url]);
    let told = text(&output.stdout);
    let block = &told[told.find("messenger:").unwrap()..];
    let agent = "agent: {token: \"a-token-of-sufficient-length\"}\n";
    std::fs::write(folder.0.join("config.yaml"), format!("{agent}{block}")).unwrap();
    std::fs::write(folder.0.join("permissions.yaml"), "rules: []\n").unwrap();
    let mut check = Command::new(BINARY);
    let checked = check.arg("check").current_dir(&folder.0).env("TELEGRAM_TOKEN", TOKEN).output().unwrap();
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
}

#[test]
fn json_for_programs() {
    let server = Server::start(&[me(), updates(&[in_group(&anna())])]);
    let output = setup(&Folder::new(), &["--api-url", &server.url, "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["bot"], json!({"id": 123456, "username": "home_bot"}));
    assert_eq!(told["messages"][0]["from"]["id"], 7001);
    assert_eq!(
        told["telegram"],
        json!({"chat_id": -1001234, "allowed_users": [7001], "api_url": server.url})
    );
}

#[test]
fn an_anonymous_admin_is_no_approver() {
    let mut message = in_group(
        &json!({"id": 1087968824, "is_bot": true, "first_name": "Group", "username": "GroupAnonymousBot"}),
    );
    message["sender_chat"] = json!({"id": -1001234, "type": "supergroup"});
    let server = Server::start(&[me(), updates(&[message])]);
    let told = text(&setup(&Folder::new(), &["--api-url", &server.url]).stdout);
    assert!(told.contains("anonymous admins and channels cannot approve"), "{told}");
    assert!(told.contains("Remain anonymous") && !told.contains("allowed_users"), "{told}");
}

#[test]
fn token_and_server_come_from_the_configuration_as_well() {
    let server = Server::start(&[me(), updates(&[in_group(&anna())])]);
    let folder = Folder::new();
    let config = format!(
        "messenger: {{type: telegram, telegram: {{token: \"${{BOT}}\", api_url: \"{}\"}}}}\n",
        server.url
    );
    std::fs::write(folder.0.join("config.yaml"), config).unwrap();
    std::fs::write(folder.0.join(".env"), format!("BOT={TOKEN}\n")).unwrap();
    let mut command = Command::new(BINARY);
    let output =
        command.arg("telegram-setup").current_dir(&folder.0).env_remove("TELEGRAM_TOKEN").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(server.asked("getMe").len(), 1);
}

#[test]
fn what_goes_wrong_is_said() {
    let refusal =
        |code: u16, words: &str| (code, json!({"ok": false, "error_code": code, "description": words}));
    let (unauthorized, not_found, conflict) = (
        refusal(401, "Unauthorized"),
        refusal(404, TOKEN),
        refusal(409, "Conflict: terminated by other getUpdates request"),
    );
    let updates_in_conflict = ("getUpdates", conflict.0, conflict.1);
    for (script, code, says) in [
        (vec![("getMe", unauthorized.0, unauthorized.1)], 3, "the token is not valid"),
        (vec![("getMe", not_found.0, not_found.1)], 3, "there is no such bot; check the token and api_url"),
        (vec![me(), updates_in_conflict], 5, "another program fetches this bot's messages"),
        (vec![me(), updates(&[])], 2, "nobody wrote to the bot"),
    ] {
        let server = Server::start(&script);
        let output = setup(&Folder::new(), &["--api-url", &server.url, "--timeout", "0.2"]);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{err}");
        assert!(err.contains(says) && output.stdout.is_empty(), "{err}");
    }
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let folder = Folder::new();
    for (arguments, says) in [
        (&["--token", "1:a", "--token-file", "t"][..], "cannot be used together"),
        (&["--token-file", "no-such-file"], "no-such-file"),
        (&["--api-url", "ftp://x"], "must begin with http:// or https://"),
        (&["--token", "a b"], "not a bot token"),
        (&["--token-file", "token", "--api-url", "http://127.0.0.1:1"], "connection refused"),
    ] {
        std::fs::write(folder.0.join("token"), format!("{TOKEN}\n")).unwrap();
        let output = setup(&folder, arguments);
        assert!(text(&output.stderr).contains(says), "{output:?}");
        assert!(!output.status.success());
    }
    let mut command = Command::new(BINARY);
    let output =
        command.arg("telegram-setup").current_dir(&folder.0).env_remove("TELEGRAM_TOKEN").output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("no token is given"));
}

#[test]
fn long_messages_of_strangers_do_not_hide_what_is_behind_them() {
    let mut long = in_group(&anna());
    long["text"] = "x".repeat(1100 * 1024).into();
    let server = Server::start(&[me(), updates(&[long]), updates(&[in_group(&anna())])]);
    let output = setup(&Folder::new(), &["--api-url", &server.url]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let asked = server.asked("getUpdates");
    assert_eq!(
        (&asked[0]["limit"], &asked[1]["limit"], &asked[1]["timeout"]),
        (&json!(100), &json!(10), &json!(0))
    );
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Server::start(&[me()]);
    let server = Server::start(&[("getMe", 302, json!({"location": elsewhere.url}))]);
    let output = setup(&Folder::new(), &["--api-url", &server.url]);
    assert!(text(&output.stderr).contains("the answer makes no sense"), "{output:?}");
    assert!(elsewhere.asked("getMe").is_empty());
}
