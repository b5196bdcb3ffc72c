//! One path of the gateway, run as often as it is told: `instructions PATH TIMES`. `.ci/instructions` counts what the
//! processor does meanwhile, once for few times and once for more, so that what goes before the path does not count.
//! Without arguments it lists the paths, each with a number of times that is worth measuring.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that cannot go on should stop, and say where"
)]
#![allow(clippy::disallowed_methods, reason = "no sockets here, and their thread would be counted too")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agentpass::testing::base::clock::{Clock, Timestamp};
use agentpass::testing::base::glob::Pattern;
use agentpass::testing::base::ids::RequestId;
use agentpass::testing::base::template::Template;
use agentpass::testing::config::{HttpService, Loaded, Paths, Surroundings, load_in};
use agentpass::testing::gate::{Metrics, Setup};
use agentpass::testing::model::{
    Action, AgentId, ArgSpec, Call, Matcher, Method, Outcome, RequestSpec, Rule, RuleList, RuleRef, Tool,
    Verdict,
};
use agentpass::testing::net::client::HttpResponse;
use agentpass::testing::net::stream::Stream;
use agentpass::testing::net::ws::{WRITE_DEADLINE, WebSocket, WsIncoming};
use agentpass::testing::policy::{Facts, Policy, PolicyParts};
use agentpass::testing::protocol::frame::{self, MAX_BATCH};
use agentpass::testing::protocol::params;
use agentpass::testing::service::{request, response};
use agentpass::testing::store::reader::{Filter, Reader, WantedPage};
use agentpass::testing::store::{NewCall, Store, StoreOptions};
use serde_json::{Map, Value, json};
use ureq::http::HeaderMap;

/// A path: its name, how often it is worth running, and what runs it so often.
type Named = (&'static str, u32, fn(u32));

const PATHS: &[Named] = &[
    ("frame/typical", 500, |n| parse(n, &typical())),
    ("frame/large", 20, |n| parse(n, &large())),
    ("frame/batch", 20, |n| parse(n, &batch())),
    ("params/typical", 500, read_params),
    ("call/read", 500, |n| make_calls(n, "ha_get_state", json!({"entity_id": "sensor.attic"}))),
    ("call/write", 500, |n| make_calls(n, "ha_call_service", lamp())),
    ("decision/10-rules", 2000, |n| decide(n, 10, by_area, "tool_7")),
    ("decision/1000-rules", 2000, |n| decide(n, 1_000, by_area, "tool_77")),
    ("decision/10000-rules", 2000, |n| decide(n, 10_000, by_area, "tool_77")),
    ("decision/10000-rules-of-devices", 500, |n| decide(n, 10_000, by_device, "tool_77")),
    ("decision/10000-rules-none", 2000, |n| decide(n, 10_000, by_area, "another_tool")),
    ("decision/hostile", 4, |n| decide_hostile(n, 250, 2048)),
    ("decision/hostile-twice-the-rules", 4, |n| decide_hostile(n, 500, 2048)),
    ("decision/hostile-twice-the-length", 4, |n| decide_hostile(n, 250, 4096)),
    ("request/read", 500, |n| build(n, "ha_get_state", json!({"entity_id": "sensor.attic"}))),
    ("request/write", 500, |n| build(n, "ha_call_service", lamp())),
    ("answer/scrubbed", 200, scrub),
    ("reply/typical", 500, write_reply),
    ("websocket/in", 200, receive),
    ("websocket/out", 200, send),
    ("metrics/call", 2000, count),
    ("record/call", 200, record),
    ("record/page", 20, page),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["make-record", calls] => make_record(calls.parse().expect("a number of calls")),
        [path, times] => {
            let (.., run) = PATHS.iter().find(|(name, ..)| name == path).expect("a path");
            run(times.parse().expect("a number of times"));
        }
        _ => PATHS.iter().for_each(|(name, times, _)| println!("{name} {times}")),
    }
}

fn repeat<T>(times: u32, mut path: impl FnMut() -> T) {
    (0..times).for_each(|_| drop(black_box(path())));
}

// The wire.

fn request_text(id: usize, args: &Value) -> String {
    let params = json!({"tool": "ha_call_service", "args": args, "reason": "It is getting dark", "session_id": "evening"});
    json!({"jsonrpc": "2.0", "method": "tool_request", "params": params, "id": id}).to_string()
}

fn lamp() -> Value {
    json!({"domain": "light", "service": "turn_on", "entity_id": "light.living_room", "brightness": 128})
}

fn typical() -> String {
    request_text(7, &lamp())
}

/// 16 KiB of text and a hundred small values.
fn large() -> String {
    let lights: Vec<_> = (0..100).map(|n| format!("light.room_{n}")).collect();
    let text = "It is getting dark outside, and nobody is at home yet. ".repeat(298);
    request_text(7, &json!({"domain": "notify", "service": "send", "message": text, "entities": lights}))
}

fn batch() -> String {
    let texts: Vec<_> = (0..MAX_BATCH).map(|id| request_text(id, &lamp())).collect();
    format!("[{}]", texts.join(","))
}

fn parse(times: u32, text: &str) {
    assert!(frame::parse(text).is_ok());
    repeat(times, || frame::parse(black_box(text)));
}

/// What reading takes, the copy of what is read included.
fn read_params(times: u32) {
    let Ok(frame::Frame::Single(Ok(request))) = frame::parse(&typical()) else { panic!("not one request") };
    assert!(params::tool_request(request.params.clone()).is_ok());
    repeat(times, || params::tool_request(black_box(&request.params).clone()));
}

fn write_reply(times: u32) {
    let (id, data) = (Value::from(7), serde_json::from_str::<Value>(STATE).unwrap());
    let request_id = RequestId::from_bytes([7; 16]);
    repeat(times, || {
        let result = json!({"status": "executed", "data": data, "request_id": request_id.to_string()});
        frame::result(black_box(&id), result).to_string()
    });
}

/// Both ends of a connection, ours a WebSocket.
fn connected() -> (WebSocket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let ours = smol::Async::new(listener.accept().unwrap().0).unwrap();
    let socket = smol::block_on(WebSocket::server(Stream::plain(ours), Vec::new(), 1 << 20));
    (socket, theirs)
}

fn receive(times: u32) {
    let (mut socket, mut peer) = connected();
    let text = typical();
    let [high, low] = u16::try_from(text.len()).unwrap().to_be_bytes();
    let mask = [0x17, 0x2a, 0x93, 0xf4];
    let masked = text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    let message: Vec<u8> = [0x81, 0xfe, high, low].into_iter().chain(mask).chain(masked).collect();
    repeat(times, || {
        peer.write_all(&message).unwrap();
        assert!(matches!(smol::block_on(socket.next()), WsIncoming::Text(_)));
    });
}

fn send(times: u32) {
    let (mut socket, mut peer) = connected();
    let text = typical();
    let mut heard = vec![0; text.len() + 4];
    repeat(times, || {
        smol::block_on(socket.send_text_batch([text.clone()], None, WRITE_DEADLINE)).unwrap();
        peer.read_exact(&mut heard).unwrap();
    });
}

// A house with the tools that are shipped.

const CONFIG: &str = r#"
gateway: {host: 127.0.0.1, port: 0}
agents: {pi: {token: the-token-of-the-pi}, laptop: {token: the-token-of-the-laptop}}
services:
  homeassistant:
    url: "http://127.0.0.1:8123"
    auth: {type: bearer, token: the-token-of-home-assistant}
    tools: homeassistant.yaml
"#;
const PERMISSIONS: &str = r#"
rules: [{pattern: "ha_call_service(lock.*)", action: deny}]
defaults: [{pattern: "ha_get_*", action: allow}, {pattern: "*", action: ask}]
"#;
/// What Home Assistant says of a sensor.
const STATE: &str = r#"{"entity_id":"sensor.attic","state":"21.5","attributes":{"state_class":"measurement",
"unit_of_measurement":"°C","device_class":"temperature","friendly_name":"Attic temperature","battery_level":87},
"last_changed":"2026-11-21T15:14:18.123456+00:00","last_reported":"2026-11-21T15:16:02.654321+00:00",
"last_updated":"2026-11-21T15:14:18.123456+00:00","context":{"id":"01JD7Q2T4M8Y6W3K5Z1X9B0C2D","parent_id":null,
"user_id":null}}"#;

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let folder = std::env::temp_dir().join(format!("agentpass-count-{}", RequestId::random()));
        std::fs::create_dir(&folder).unwrap();
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn loaded() -> Loaded {
    let folder = Folder::new();
    let paths =
        Paths { config: folder.0.join("config.yaml"), permissions: folder.0.join("permissions.yaml") };
    std::fs::write(&paths.config, CONFIG).unwrap();
    std::fs::write(&paths.permissions, PERMISSIONS).unwrap();
    std::fs::write(folder.0.join("homeassistant.yaml"), include_str!("../tools/homeassistant.yaml")).unwrap();
    load_in(&paths, &Surroundings { variable: &|_| None, share: PathBuf::new() }).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(members) = value else { panic!("not an object") };
    members
}

fn call_of(loaded: &Loaded, tool: &str, args: Value) -> Call {
    let tool = loaded.config.tools.get(tool).expect("a tool").clone();
    Call::new(AgentId::configured("pi"), tool, object(args)).unwrap()
}

/// A call with its signature and digests; the copy of its arguments is included.
fn make_calls(times: u32, tool: &str, args: Value) {
    let call = call_of(&loaded(), tool, args);
    let make = || Call::new(call.agent().clone(), call.tool().clone(), black_box(call.args()).clone());
    repeat(times, || make().unwrap());
}

fn service(loaded: &Loaded) -> &HttpService {
    loaded.config.services.first().and_then(|service| service.http()).unwrap()
}

fn build(times: u32, tool: &str, args: Value) {
    let loaded = loaded();
    let call = call_of(&loaded, tool, args);
    repeat(times, || request::build(service(&loaded), black_box(&call)).unwrap());
}

fn scrub(times: u32) {
    let loaded = loaded();
    let setup = Setup::new(loaded.clone(), None).unwrap();
    let tool = loaded.config.tools.get("ha_get_state").unwrap();
    let answer = HttpResponse {
        status: 200,
        content_type: Some("application/json".to_owned()),
        headers: HeaderMap::new(),
        body: STATE.as_bytes().to_vec(),
    };
    let read = || response::outcome(service(&loaded), tool, black_box(&answer).clone(), &setup.scrubber);
    assert!(matches!(read(), Outcome::Executed(_)));
    repeat(times, read);
}

fn count(times: u32) {
    let metrics = Metrics::new(&Setup::new(loaded(), None).unwrap());
    let outcome = Outcome::Executed(Value::Null.into());
    repeat(times, || {
        metrics.decided(black_box(Duration::from_micros(7)));
        metrics.executed("homeassistant", black_box(Duration::from_millis(3)));
        metrics.ended(black_box("ha_get_state"), Some(Action::Allow), &outcome);
    });
}

// Decisions.

/// How many tools the rules are about.
const TOOLS: usize = 200;

fn tool(name: &str) -> Arc<Tool> {
    let args = ["area", "device"].map(|name| (name.to_owned(), ArgSpec::default()));
    let path = Template::parse("/").unwrap();
    let request = RequestSpec::new(Method::Post, path);
    Arc::new(Tool {
        service: "house".to_owned(),
        signature: Some(Template::parse("{area}, {device}").unwrap()),
        args: BTreeMap::from(args),
        extra_args: true,
        ..Tool::new(name, request)
    })
}

fn rule(index: usize, action: Action, pattern: String, any_value: Option<String>) -> Rule {
    let id = RuleRef {
        list: RuleList::Rules,
        index,
        pattern: pattern.clone(),
        action,
        description: None,
        file: "permissions.yaml".to_owned(),
    };
    let any_value = any_value.map(|text| Pattern::new(&text));
    Rule {
        id: Arc::new(id),
        matcher: Matcher { any_value, ..Matcher::of(Pattern::new(&pattern)) },
        identity: agentpass::testing::base::digest::Digest([0; 32]),
        always: false,
        ask: Arc::default(),
        terms: None,
    }
}

/// What the rules of one tool tell apart is where their wildcards leave it to the index.
fn by_area(tool: usize, number: usize) -> String {
    format!("tool_{tool}(a{number}, *)")
}

/// What they tell apart is behind the first wildcard: all of a tool's rules have to be looked at.
fn by_device(tool: usize, number: usize) -> String {
    format!("tool_{tool}(*, *lamp*_{number}*)")
}

/// The same number of rules for each tool. The call is matched by the last one of its tool.
fn decide(times: u32, rules: usize, pattern: fn(usize, usize) -> String, name: &str) {
    let last = (rules / TOOLS).saturating_sub(1);
    let allow = |n: usize| rule(n + 1, Action::Allow, pattern(n % TOOLS, n / TOOLS), None);
    let policy =
        Policy::new(PolicyParts { rules: (0..rules).map(allow).collect(), ..PolicyParts::default() });
    let args = object(json!({"area": format!("a{last}"), "device": format!("the_lamp_on_desk_{last}")}));
    let call = Call::new(AgentId::configured("pi"), tool(name), args).unwrap();
    let expected = if name.starts_with("tool_") { Action::Allow } else { Action::Ask };
    assert_eq!(policy.judge(&call, &Facts::unchanged(&call)).decision, expected);
    repeat(times, || policy.judge(black_box(&call), &Facts::unchanged(&call)));
}

/// Rules that no index helps with, and a value that comes close to each of them everywhere.
fn decide_hostile(times: u32, rules: usize, length: usize) {
    let hostile = |n: usize| match n % 4 {
        0 => rule(n, Action::Deny, format!("*front_door_{n}*"), None),
        1 => rule(n, Action::Deny, format!("*f?ont_door_{n}*"), None),
        2 => rule(n, Action::Deny, format!("*f[!x]ont_*_door_{n}*_back"), None),
        _ => rule(n, Action::Deny, "*".to_owned(), Some(format!("*front_*_door_{n}*"))),
    };
    let policy =
        Policy::new(PolicyParts { rules: (0..rules).map(hostile).collect(), ..PolicyParts::default() });
    let device: String = "front_door_".chars().cycle().take(length - 20).collect();
    let args = object(json!({"area": "a", "device": device}));
    let call = Call::new(AgentId::configured("pi"), tool("tool_1"), args).unwrap();
    assert_eq!(policy.judge(&call, &Facts::unchanged(&call)), Verdict::by_rule(Action::Ask, None));
    repeat(times, || policy.judge(black_box(&call), &Facts::unchanged(&call)));
}

// The record.

const BEGIN: Timestamp = Timestamp(1_700_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn open(folder: &Path) -> Store {
    let options = StoreOptions {
        path: folder.join("agentpass.db"),
        sync_all: false,
        retain_days: 365,
        max_mb: 512,
        keep_results: DAY * 7,
        keep_keys: DAY,
    };
    Store::open(options, &Clock::manual(BEGIN)).unwrap().0
}

/// An allowed read from its record to its end.
async fn recorded(store: &Store, call: &Arc<Call>, number: u32) {
    let at = BEGIN.plus(Duration::from_secs(u64::from(number)));
    let new = NewCall {
        id: RequestId::random(),
        at,
        call: call.clone(),
        session: Some("evening".to_owned()),
        reason: None,
        key: None,
        decision: Verdict::by_rule(Action::Allow, None),
    };
    let id = new.id;
    store.record_claimed(new, false).await.unwrap();
    let outcome = Outcome::Executed(serde_json::from_str::<Value>(STATE).unwrap().into());
    store.settle(id, &outcome, at.plus(Duration::from_millis(3))).await.unwrap();
}

/// Records so many calls, `at_once` of them at a time.
fn record_calls(folder: &Path, calls: u32, at_once: u32) {
    let store = open(folder);
    let call = Arc::new(call_of(&loaded(), "ha_get_state", json!({"entity_id": "sensor.attic"})));
    let executor = smol::LocalExecutor::new();
    smol::future::block_on(executor.run(async {
        for first in (0..calls).step_by(at_once as usize) {
            let numbers = first..calls.min(first + at_once);
            let tasks: Vec<_> =
                numbers.map(|number| executor.spawn(recorded(&store, &call, number))).collect();
            for task in tasks {
                task.await;
            }
        }
    }));
    drop(executor);
    smol::future::block_on(store.close());
}

fn record(times: u32) {
    let folder = Folder::new();
    record_calls(&folder.0, times, 1);
}

/// A record for [`page`] in the folder where it is started, which takes too long where instructions are counted.
fn make_record(calls: u32) {
    record_calls(Path::new("."), calls, 100);
}

/// A page in the middle of the record that lies in the folder where it is started.
fn page(times: u32) {
    let mut reader = Reader::open(Path::new("agentpass.db")).unwrap();
    let filter = Filter { agent: Some("pi".to_owned()), ..Filter::default() };
    let pages = reader.page(&filter, WantedPage { page: 1, per_page: 50 }).unwrap().pages;
    repeat(times, || {
        let page = reader.page(black_box(&filter), WantedPage { page: pages / 2, per_page: 50 }).unwrap();
        assert_eq!(page.rows.len(), 50);
    });
}
