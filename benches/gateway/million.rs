//! A record of a million calls, made once and kept beside the build until the tables change.
//!
//! It is written through the library's store, as the gateway writes it: every call recorded, claimed, settled and
//! received, a year of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentpass::testing::base::clock::{Clock, Timestamp};
use agentpass::testing::base::ids::RequestId;
use agentpass::testing::config::{self, Paths};
use agentpass::testing::model::{AgentId, Call, Outcome, Tool};
use agentpass::testing::policy::{Facts, Policy, PolicyParts};
use agentpass::testing::store::{NewCall, Store, StoreOptions};
use serde_json::json;
use smol::LocalExecutor;

use super::Bench;
use super::program::Folder;
use super::setup::PLAIN;

const CALLS: u64 = 1_000_000;
/// Calls that are written together.
const TOGETHER: u64 = 250;
/// From one call to the next: a million fill a year.
const PACE: Duration = Duration::from_millis(31_500);

/// A copy of it to work with; None on a quick run without one.
pub fn copy(bench: &Bench) -> Option<Folder> {
    let kept = kept(bench)?;
    let folder = Folder::new();
    fs::create_dir(folder.0.join("data")).unwrap();
    for file in fs::read_dir(kept.join("data")).unwrap() {
        let file = file.unwrap();
        let to = folder.0.join("data").join(file.file_name());
        fs::copy(file.path(), &to).unwrap();
        settle(&to);
    }
    Some(folder)
}

/// Has a copy on disk and out of memory: pages of it that wait to be written, or that lie in memory in large pieces,
/// would be counted as written by whoever touches them next.
fn settle(path: &Path) {
    let file = fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

/// Where it is; made now if need be.
fn kept(bench: &Bench) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("million-calls-{}", schema(bench)));
    if bench.options.rebuild {
        let _ = fs::remove_dir_all(&path);
    }
    if !path.exists() {
        if bench.options.quick {
            eprintln!("  no record of a million calls is here: left out on a quick run");
            return None;
        }
        let folder = Folder::new();
        make(bench, &folder.0);
        fs::rename(&folder.0, &path).unwrap();
    }
    Some(path)
}

/// The version of the tables, read from an empty record.
fn schema(bench: &Bench) -> i64 {
    let folder = Folder::new();
    PLAIN.write(&folder.0, bench.upstream.address);
    let (store, _) = Store::open(options(&folder.0), &Clock::system()).unwrap();
    smol::block_on(store.close());
    let db = rusqlite::Connection::open(folder.0.join("data/agentpass.db")).unwrap();
    db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

fn options(folder: &Path) -> StoreOptions {
    StoreOptions {
        path: folder.join("data/agentpass.db"),
        sync_all: false,
        retain_days: 0,
        max_mb: 0,
        keep_results: Duration::from_secs(7 * 86_400),
        keep_keys: Duration::from_secs(86_400),
    }
}

fn make(bench: &Bench, folder: &Path) {
    eprintln!("  making a record of a million calls; kept for the next time");
    let began = Instant::now();
    PLAIN.write(folder, bench.upstream.address);
    let writer = Rc::new(Writer::new(folder));
    let executor = Rc::new(LocalExecutor::new());
    smol::block_on(executor.run(async {
        for first in (0..CALLS).step_by(TOGETHER as usize) {
            writer.batch(&executor, first).await;
            if first % 100_000 == 0 {
                eprintln!("    {first} after {:.0} s", began.elapsed().as_secs_f64());
            }
        }
        writer.store.maintain(Clock::system().now()).await.unwrap();
        writer.store.clone().close().await;
    }));
    eprintln!("    made in {:.0} s", began.elapsed().as_secs_f64());
    verify(bench, folder);
}

/// The owner's own check must accept it.
fn verify(bench: &Bench, folder: &Path) {
    let began = Instant::now();
    let mut command = Command::new(&bench.options.program);
    command.args(["audit", "verify", "--config", "config.yaml"]).current_dir(folder);
    let output = command.output().unwrap();
    assert!(output.status.success(), "audit verify: {}", String::from_utf8_lossy(&output.stderr));
    eprintln!("    accepted by `audit verify` after {:.1} s", began.elapsed().as_secs_f64());
}

struct Writer {
    store: Store,
    policy: Policy,
    tools: [Arc<Tool>; 2],
    first: Timestamp,
}

impl Writer {
    fn new(folder: &Path) -> Writer {
        let loaded = config::load(&Paths::find(Some(&folder.join("config.yaml")), None)).unwrap();
        let clock = Clock::system();
        let (store, _) = Store::open(options(folder), &clock).unwrap();
        let tool = |name: &str| loaded.config.tools[name].clone();
        let first = clock.now().minus(PACE * CALLS as u32);
        let policy = Policy::new(PolicyParts {
            rules: loaded.permissions.rules,
            defaults: loaded.permissions.defaults,
            ..PolicyParts::default()
        });
        Writer { store, policy, tools: [tool("read"), tool("write")], first }
    }

    async fn batch(self: &Rc<Self>, executor: &LocalExecutor<'_>, first: u64) {
        let tasks: Vec<_> = (first..first + TOGETHER)
            .map(|number| {
                let writer = self.clone();
                executor.spawn(async move { writer.call(number).await })
            })
            .collect();
        let mut ids = Vec::new();
        for task in tasks {
            ids.push(task.await);
        }
        self.store.received(ids);
        self.store.write_received().await.unwrap();
    }

    /// Nine of ten are reads; forty things by twenty agents.
    async fn call(&self, number: u64) -> RequestId {
        let at = self.first.plus(PACE * number as u32);
        let tool = &self.tools[usize::from(number % 10 == 9)];
        let args = json!({"id": format!("sensor.n{}", number % 40)});
        let agent = AgentId::configured(&format!("agent-{}", number % 20));
        let call = Call::new(agent, tool.clone(), args.as_object().unwrap().clone()).unwrap();
        let decision = self.policy.judge(&call, &Facts::unchanged(&call));
        let (id, call) = (RequestId::random(), Arc::new(call));
        let new = NewCall { id, at, call, session: None, reason: None, key: None, decision };
        self.store.record_claimed(new, false).await.unwrap();
        let data = json!({"entity": "sensor.kitchen", "state": "21.5", "attributes": {"unit": "C"}});
        self.store.settle(id, &Outcome::Executed(data.into()), at).await.unwrap();
        id
    }
}
