//! The upstream, and short ways to make tools, services and calls.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentpass::testing::base::clock::Clock;
use agentpass::testing::base::ids::RequestId;
use agentpass::testing::base::secret::Secret;
use agentpass::testing::base::template::Template;
use agentpass::testing::base::url::Url;
use agentpass::testing::config::{Auth, HttpService, ServiceConfig};
use agentpass::testing::model::{
    Action, AgentId, ArgSpec, ArgType, Call, HttpTarget, InvalidCall, Method, Outcome, RequestSpec, Target,
    Tool, Verdict,
};
use agentpass::testing::service::{Attempt, CallSlot, CallSlots, Scrubber, Services, SlotShares};
use agentpass::testing::store::{Claim, NewCall, Store, StoreOptions};
use serde_json::Value;

#[path = "../nobody/mod.rs"]
mod nobody;
#[path = "../timing/mod.rs"]
mod timing;

pub use nobody::Nobody;
pub use timing::{PATIENCE, eventually};

/// One recorded request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// All values of a header.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v).collect()
    }
}

type Answer = dyn Fn(&Seen, &mut TcpStream) + Send + Sync;

pub struct Upstream {
    pub port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    pub connections: Arc<AtomicUsize>,
}

impl Upstream {
    /// Hands each request to `answer`; keeps the connection until the peer or `answer` closes it.
    pub fn new(answer: impl Fn(&Seen, &mut TcpStream) + Send + Sync + 'static) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (log, count, answer): (_, _, Arc<Answer>) = (seen.clone(), connections.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &log, &*answer));
            }
        });
        Upstream { port, seen, connections }
    }

    /// Takes requests and says nothing until the caller has given up.
    pub fn silent() -> Upstream {
        Upstream::new(|_, stream| drop(stream.read(&mut [0])))
    }

    /// Answers every request with these bytes.
    pub fn saying(bytes: impl Into<Vec<u8>>) -> Upstream {
        let bytes = bytes.into();
        Upstream::new(move |_, stream| drop(stream.write_all(&bytes)))
    }

    /// Answers with 200, this content type (none when empty) and body.
    pub fn body(content_type: &str, body: &[u8]) -> Upstream {
        Upstream::saying(response(200, content_type, body))
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn service(&self) -> HttpService {
        service(&format!("http://127.0.0.1:{}", self.port))
    }
}

fn serve(stream: TcpStream, log: &Mutex<Vec<Seen>>, answer: &Answer) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let mut seen = Seen { head, body: Vec::new() };
        let length = seen.header("content-length").first().map_or(0, |n| n.parse().unwrap());
        seen.body = vec![0; length];
        reader.read_exact(&mut seen.body).unwrap();
        log.lock().unwrap().push(seen.clone());
        answer(&seen, &mut stream);
    }
}

pub fn response(status: u16, content_type: &str, body: &[u8]) -> Vec<u8> {
    let kind =
        if content_type.is_empty() { String::new() } else { format!("content-type: {content_type}\r\n") };
    let mut bytes =
        format!("HTTP/1.1 {status} X\r\n{kind}content-length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend(body);
    bytes
}

pub fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

pub fn service(url: &str) -> HttpService {
    HttpService {
        name: "s".into(),
        url: Url::service(url).unwrap(),
        auth: Auth::None,
        timeout: PATIENCE,
        max_response_bytes: 64 * 1024,
        ca_cert: None,
        peer: Default::default(),
        allow_link_local: false,
        headers: Vec::new(),
        health: None,
        errors: Vec::new(),
    }
}

/// A tool that takes anything, with `path` cut at `?`.
pub fn tool(method: Method, path: &str) -> Tool {
    let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
    let request = RequestSpec {
        path_query: query.map(|q| Template::parse(q).unwrap()),
        ..RequestSpec::new(method, Template::parse(path).unwrap())
    };
    Tool { service: "s".into(), extra_args: true, ..Tool::new("t", request) }
}

/// What a tool is at its service, to be changed.
pub fn http(tool: &mut Tool) -> &mut HttpTarget {
    let Target::Http(http) = &mut tool.target else { panic!("not HTTP") };
    http
}

pub fn items(list: &[(&str, &str)]) -> Vec<(String, Template)> {
    list.iter().map(|(name, t)| ((*name).to_owned(), Template::parse(t).unwrap())).collect()
}

/// Arguments that may hold every character: the tool declares them as free text of their own type.
pub fn call(mut tool: Tool, args: Value) -> Arc<Call> {
    let Value::Object(args) = args else { panic!("not an object") };
    for (name, value) in &args {
        let kind = match value {
            Value::Array(_) => Some(ArgType::Array),
            Value::Object(_) => Some(ArgType::Object),
            _ => None,
        };
        tool.args.insert(name.clone(), ArgSpec { kind, free_text: true, ..Default::default() });
    }
    Arc::new(Call::new(AgentId::configured("a"), Arc::new(tool), args).unwrap())
}

/// A call of `tool` as it is declared.
pub fn raw_call(tool: Tool, args: Value) -> Result<Arc<Call>, InvalidCall> {
    let Value::Object(args) = args else { panic!("not an object") };
    Call::new(AgentId::configured("a"), Arc::new(tool), args).map(Arc::new)
}

pub fn services(config: &HttpService, secrets: &[&str]) -> Services {
    let secrets: Vec<Secret> = secrets.iter().map(|s| secret(s)).collect();
    Services::new(&[ServiceConfig::Http(Arc::new(config.clone()))], Arc::new(Scrubber::new(&secrets)))
        .unwrap()
}

pub fn check(config: &HttpService, call: &Call) -> Result<(), InvalidCall> {
    services(config, &[]).check(call).map(drop)
}

/// So many places, open to everybody.
pub fn places(count: usize) -> CallSlots {
    CallSlots::new(SlotShares::new(count, usize::MAX, 1))
}

/// The next place, whenever it comes.
pub async fn place(places: &CallSlots) -> CallSlot {
    places.line_up(&AgentId::configured("a"), "s").recv().await.unwrap()
}

/// A record that is there for claims alone.
struct Record(Store, PathBuf);

impl Record {
    fn new() -> Record {
        let folder = std::env::temp_dir().join(format!("agentpass-claims-{}", RequestId::random()));
        std::fs::create_dir_all(&folder).unwrap();
        let options = StoreOptions {
            path: folder.join("agentpass.db"),
            sync_all: false,
            retain_days: 0,
            max_mb: 0,
            keep_results: Duration::ZERO,
            keep_keys: Duration::ZERO,
        };
        Record(Store::open(options, &Clock::system()).unwrap().0, folder)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // The store's thread writes there until it has let go.
        smol::block_on(self.0.clone().close());
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

thread_local! {
    static RECORD: Record = Record::new();
}

/// Services run what a record has claimed, and nothing else.
pub async fn claim(call: Arc<Call>) -> Claim {
    let store = RECORD.with(|record| record.0.clone());
    let (id, decision) = (RequestId::random(), Verdict::by_rule(Action::Allow, None));
    let at = Clock::system().now();
    let new = NewCall { id, at, call, session: None, reason: None, key: None, decision };
    store.record_claimed(new, false).await.unwrap()
}

/// Sends a call in a place of its own.
pub async fn send(services: &Services, call: Arc<Call>) -> Outcome {
    match services.run(claim(call).await, None, place(&places(1)).await).await {
        Attempt::Ended { outcome, .. } => outcome,
        Attempt::Overtaken(..) => panic!("nobody retired these services"),
    }
}

pub fn run(config: &HttpService, call: Arc<Call>) -> Outcome {
    smol::block_on(send(&services(config, &[]), call))
}

/// Runs all futures at once on one executor, as the gateway does.
pub fn all<T: 'static>(futures: Vec<impl Future<Output = T> + 'static>) -> Vec<T> {
    let executor = Rc::new(smol::LocalExecutor::new());
    let tasks: Vec<_> = futures.into_iter().map(|f| executor.spawn(f)).collect();
    smol::block_on(executor.run(async {
        let mut done = Vec::new();
        for task in tasks {
            done.push(task.await);
        }
        done
    }))
}
