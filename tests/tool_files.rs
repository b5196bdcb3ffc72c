//! The shipped tool files: all of them together, with the pieces of configuration and the rules that stand in their
//! heads, and what each of their tools sends, over real sockets.

// A test that cannot go on should panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::io::copy;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::thread;

use harness::gateway::TOKEN;
use harness::{Agent, Answer, BINARY, Folder, Gateway, Seen, Setup};
use serde_json::{Value, json};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What stands in the head of a tool file, without the marks.
struct Head {
    name: String,
    service: String,
    rules: String,
}

/// The heads of all files, by name.
fn heads() -> Vec<Head> {
    let files = fs::read_dir(root("tools")).unwrap().map(|entry| entry.unwrap().path());
    let mut heads: Vec<Head> = files.map(|file| head(&file)).collect();
    heads.sort_by(|a, b| a.name.cmp(&b.name));
    heads
}

fn head(file: &Path) -> Head {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().take_while(|line| line.starts_with('#'));
    let plain: Vec<&str> = lines.map(|line| line[1..].strip_prefix(' ').unwrap_or(&line[1..])).collect();
    let plain = plain.join("\n");
    let piece = |key: &str| {
        let found = plain.split("\n\n").find(|piece| piece.starts_with(key));
        found.unwrap_or_else(|| panic!("no {key} in the head of {}", file.display())).to_owned()
    };
    let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
    Head { name, service: piece("services:\n"), rules: piece("rules:\n") }
}

/// The pieces of all heads under one key.
fn together(key: &str, pieces: impl Iterator<Item = String>) -> String {
    pieces.fold(key.to_owned(), |all, piece| {
        format!("{all}\n{}", piece.strip_prefix(key).unwrap().trim_matches('\n'))
    })
}

/// A value for every `${NAME}`.
fn credentials(text: &str) -> Vec<(String, String)> {
    let names: BTreeSet<&str> =
        text.split("${").skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
    names.into_iter().map(|name| (name.to_owned(), format!("the-{name}-of-this-test"))).collect()
}

/// The tool files at the place where the pieces look for them.
fn copy_tools(folder: &Path) {
    fs::create_dir(folder.join("tools")).unwrap();
    for entry in fs::read_dir(root("tools")).unwrap() {
        let file = entry.unwrap().path();
        fs::copy(&file, folder.join("tools").join(file.file_name().unwrap())).unwrap();
    }
}

const RULES: &str = "rules:";
const REST: &str = "\ndefaults: [{pattern: \"*\", action: ask}]\n";

#[test]
fn all_files_load_together_with_the_pieces_in_their_heads() {
    let folder = Folder::new();
    copy_tools(&folder.0);
    let services = together("services:", heads().into_iter().map(|head| head.service));
    fs::write(folder.0.join("config.yaml"), format!("agent: {{token: \"${{AGENT_TOKEN}}\"}}\n{services}\n"))
        .unwrap();
    let suggested = together(RULES, heads().into_iter().map(|head| head.rules)) + REST;
    let shipped = fs::read_to_string(root("etc/permissions.yaml")).unwrap();
    for rules in [suggested, shipped] {
        fs::write(folder.0.join("permissions.yaml"), rules).unwrap();
        let mut check = Command::new(BINARY);
        check.arg("check").current_dir(&folder.0).env("AGENT_TOKEN", TOKEN).envs(credentials(&services));
        let output = check.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && !said.contains("warning"), "{said}");
    }
}

#[test]
fn the_page_on_services_has_the_same_pieces() {
    let page = fs::read_to_string(root("docs/services.md")).unwrap();
    for head in heads() {
        let link = format!("[`{}.yaml`](../tools/{}.yaml)", head.name, head.name);
        for part in [link, format!("```yaml\n{}\n```", head.service), format!("```yaml\n{}\n```", head.rules)]
        {
            assert!(page.contains(&part), "docs/services.md lacks this of tools/{}.yaml:\n{part}", head.name);
        }
    }
}

/// One line of tests/fixtures/tool-files.txt.
struct Row {
    tool: String,
    args: Value,
    decision: String,
    /// Method and target.
    sends: Option<(String, String)>,
    body: String,
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(root("tests/fixtures/tool-files.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| row(line).unwrap_or_else(|| panic!("not a row: {line}"))).collect()
}

fn row(line: &str) -> Option<Row> {
    let (call, becomes) = line.split_once(" -> ")?;
    let (tool, args) = call.split_once(' ')?;
    let mut parts = becomes.splitn(4, ' ');
    let decision = parts.next()?.to_owned();
    let sends = parts.next().map(|method| (method.to_owned(), parts.next().unwrap_or_default().to_owned()));
    let body = parts.next().unwrap_or_default().replace("\\n", "\n");
    Some(Row { tool: tool.to_owned(), args: serde_json::from_str(args).ok()?, decision, sends, body })
}

/// The header that carries the credential of each service.
const CREDENTIALS: [(&str, &str, &str); 15] = [
    // the-ADGUARD_USER-of-this-test:the-ADGUARD_PASSWORD-of-this-test
    (
        "adguard",
        "authorization",
        "Basic dGhlLUFER1VBUkRfVVNFUi1vZi10aGlzLXRlc3Q6dGhlLUFER1VBUkRfUEFTU1dPUkQtb2YtdGhpcy10ZXN0",
    ),
    ("gitea", "authorization", "token the-GITEA_TOKEN-of-this-test"),
    ("grocy", "grocy-api-key", "the-GROCY_KEY-of-this-test"),
    ("ha", "authorization", "Bearer the-HA_TOKEN-of-this-test"),
    ("immich", "x-api-key", "the-IMMICH_KEY-of-this-test"),
    ("jellyfin", "authorization", "MediaBrowser Token=\"the-JELLYFIN_KEY-of-this-test\""),
    ("mealie", "authorization", "Bearer the-MEALIE_TOKEN-of-this-test"),
    // the-NEXTCLOUD_USER-of-this-test:the-NEXTCLOUD_PASSWORD-of-this-test
    (
        "nextcloud",
        "authorization",
        "Basic dGhlLU5FWFRDTE9VRF9VU0VSLW9mLXRoaXMtdGVzdDp0aGUtTkVYVENMT1VEX1BBU1NXT1JELW9mLXRoaXMtdGVzdA==",
    ),
    ("ntfy", "authorization", "Bearer the-NTFY_TOKEN-of-this-test"),
    ("paperless", "authorization", "Token the-PAPERLESS_TOKEN-of-this-test"),
    ("pihole", "x-ftl-sid", SESSION),
    ("proxmox", "authorization", "PVEAPIToken=the-PROXMOX_TOKEN-of-this-test"),
    ("radarr", "x-api-key", "the-RADARR_KEY-of-this-test"),
    ("sonarr", "x-api-key", "the-SONARR_KEY-of-this-test"),
    ("vikunja", "authorization", "Bearer the-VIKUNJA_TOKEN-of-this-test"),
];

/// The session that the fake Pi-hole gives out.
const SESSION: &str = "vFA+EP4MQ5JJvJg+3Q2Jnw=";

/// Headers that some tools have of their own.
fn own_header(tool: &str) -> Option<(&'static str, &'static str)> {
    match tool {
        "nextcloud_get_root" | "nextcloud_get_folder" => Some(("depth", "1")),
        _ if tool.starts_with("nextcloud_") => Some(("ocs-apirequest", "true")),
        _ if tool.starts_with("paperless_") => Some(("accept", "application/json; version=7")),
        _ => None,
    }
}

#[test]
fn every_tool_sends_what_its_service_takes() {
    let house = House::start();
    let mut agent = Agent::login(house.gateway.address, TOKEN);
    let mut left: BTreeSet<String> = names(&mut agent);
    // The agent performs these itself.
    left.retain(|tool| !tool.starts_with("code_"));
    for row in rows() {
        let sent = house.ask(&mut agent, &row);
        left.remove(&row.tool);
        let Some((method, target)) = &row.sends else {
            assert_eq!(sent.len(), 0, "{}: {sent:?}", row.tool);
            continue;
        };
        let [seen] = sent.as_slice() else { panic!("{} sent {sent:?}", row.tool) };
        assert_eq!((&seen.method, &seen.target), (method, target), "{}", row.tool);
        check_body(&row, seen);
        check_headers(&row.tool, seen);
    }
    assert_eq!(left, BTreeSet::new(), "tools without a row in tests/fixtures/tool-files.txt");
}

fn names(agent: &mut Agent) -> BTreeSet<String> {
    let listed = agent.call("list_tools", json!({}));
    let tools = listed["result"]["tools"].as_array().unwrap_or_else(|| panic!("{listed}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

fn check_body(row: &Row, seen: &Seen) {
    let kind = seen.header("content-type");
    match row.body.chars().next() {
        None => assert_eq!((seen.body.as_str(), kind), ("", None), "{}", row.tool),
        Some('{' | '[') => {
            let wanted: Value = serde_json::from_str(&row.body).unwrap();
            assert_eq!((seen.json(), kind), (wanted, Some("application/json")), "{}", row.tool);
        }
        Some(_) => assert_eq!(seen.body, row.body, "{}", row.tool),
    }
}

fn check_headers(tool: &str, seen: &Seen) {
    let service = tool.split('_').next().unwrap();
    let credential =
        CREDENTIALS.iter().find(|(name, ..)| *name == service).map(|(_, name, value)| (*name, *value));
    assert!(credential.is_some() || service == "docker", "{tool}");
    for (name, value) in [credential, own_header(tool)].into_iter().flatten() {
        assert_eq!(seen.header(name), Some(value), "{tool}: {name}");
    }
}

/// A gateway with all shipped files, whose services are one that records.
struct House {
    gateway: Gateway,
    _socket: Folder,
}

impl House {
    fn start() -> House {
        let socket = Folder::new();
        let address: Arc<OnceLock<SocketAddr>> = Arc::default();
        let plug = socket.0.join("docker.sock");
        pass_on(UnixListener::bind(&plug).unwrap(), Arc::clone(&address));
        let services: Vec<String> = heads().iter().map(|head| at_upstream(&head.service, &plug)).collect();
        let services = together("services:", services.into_iter());
        let setup = Setup {
            config: format!("{GATEWAY}{services}\n"),
            permissions: together(RULES, heads().into_iter().map(|head| head.rules)) + REST,
            tools: "tools: {}\n".into(),
        };
        let environment = credentials(&setup.config);
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let gateway = Gateway::prepared(&setup, &environment, copy_tools);
        address.set(gateway.upstream.address).unwrap();
        gateway.upstream.answer(|_| Answer::json(ANSWER));
        House { gateway, _socket: socket }
    }

    /// Asks for the call, says yes when a person is asked, and gives what the service saw of it.
    fn ask(&self, agent: &mut Agent, row: &Row) -> Vec<Seen> {
        let before = self.gateway.upstream.seen().len();
        let id = agent.send("tool_request", json!({"tool": row.tool, "args": row.args}));
        let mut decision = "allow";
        let reply = loop {
            let message = agent.receive();
            if message["id"] == id {
                break message;
            }
            if message["method"] == "approval_pending" {
                decision = "ask";
                self.gateway.say_yes(message["params"]["request_id"].as_str().unwrap());
            }
        };
        decision = match reply["error"]["code"].as_i64() {
            None => decision,
            Some(-32003) => "deny",
            Some(-32600) => "refuse",
            Some(_) => panic!("{}: {reply}", row.tool),
        };
        assert_eq!(decision, row.decision, "{} {}: {reply}", row.tool, row.args);
        let sign_in = |seen: &Seen| seen.target == "/api/auth";
        self.gateway.upstream.seen().into_iter().skip(before).filter(|seen| !sign_in(seen)).collect()
    }
}

const GATEWAY: &str = r#"
gateway: {host: "127.0.0.1", port: 0, health_port: off, control_socket: control.sock}
agent: {token: "a-token-of-the-default-agent"}
messenger: {type: local}
storage: {path: "data/agentpass.db"}
approval_timeout: 60
rate_limit: {max_requests_per_minute: 100000}
"#;

/// What a service answers: a session where one is asked for, and success where the body has to say so.
const ANSWER: &str =
    r#"{"session": {"valid": true, "sid": "vFA+EP4MQ5JJvJg+3Q2Jnw="}, "ocs": {"meta": {"statuscode": 200}}}"#;

/// The piece with the service of this test in the place of the real one: nothing is asked for by itself, and there is
/// no certificate.
fn at_upstream(piece: &str, socket: &Path) -> String {
    let unwanted = |line: &&str| !["health:", "pin:"].iter().any(|key| line.trim_start().starts_with(key));
    let lines = piece.lines().filter(unwanted).map(|line| match line.trim_start().strip_prefix("url: \"") {
        None => line.to_owned(),
        Some(rest) => {
            let url = rest.split('"').next().unwrap();
            match url.split_once("://") {
                None => format!("    url: \"unix:{}\"", socket.display()),
                Some((_, place)) => {
                    let path = place.find('/').map_or("", |at| &place[at..]);
                    format!("    url: \"{{upstream}}{path}\"")
                }
            }
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Connections to the socket go on to the address, once there is one.
fn pass_on(listener: UnixListener, address: Arc<OnceLock<SocketAddr>>) {
    thread::spawn(move || {
        for plug in listener.incoming().flatten() {
            let Some(target) = address.get() else { continue };
            let upstream = TcpStream::connect(target).unwrap();
            let (back, forth) = (upstream.try_clone().unwrap(), plug.try_clone().unwrap());
            thread::spawn(move || carry(forth, upstream));
            thread::spawn(move || carry_back(back, plug));
        }
    });
}

fn carry(mut from: UnixStream, mut to: TcpStream) {
    let _ = copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

fn carry_back(mut from: TcpStream, mut to: UnixStream) {
    let _ = copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
