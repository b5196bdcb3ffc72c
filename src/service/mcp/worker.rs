//! The thread of one running server: a server that floods or stalls keeps nobody else from their turn.
//!
//! It ends when nobody can send it anything any more, when the server ends, and when there was nothing to do for long
//! enough. Whoever finds it gone starts another one.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use smol::channel::{Receiver, Sender, bounded};
use smol::future::or;
use smol::{LocalExecutor, Timer};

use super::connection::{Answer, Connection};
use super::trouble::{UpstreamError, Why};
use super::upstream::{each_tool, hello};
use crate::base::backoff::doubled;
use crate::base::digest::Digest;
use crate::config::{CHILD_CAN, McpService};
use crate::model::mcp_target::pin;
use crate::service::child::{Program, resident};
use crate::service::scrub::Scrubber;

/// For the handshake, and again for the list.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a first failure; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// A server that has lived so long begins anew when it ends.
const SETTLED: Duration = Duration::from_secs(60);
const MAX_COMMANDS: usize = 1024;
/// The most characters of why it cannot be used.
const MAX_WORDS: usize = 500;
/// Between two readings of a list that changes all the time.
const REST: Duration = Duration::from_millis(50);

/// What is asked of a running server.
pub(super) enum Command {
    /// Answers when it is ready for calls.
    Ready(Sender<()>),
    Call {
        tool: String,
        args: Map<String, Value>,
        /// What the tool must still be when it is called; None: whatever it is.
        pin: Option<Digest>,
        turn: Turn,
        sent: Sender<Sent>,
    },
    /// Nobody waits for this call any more.
    Cancel(u64),
}

/// Who comes first: the thread that is about to send a call, or whoever takes the call back.
#[derive(Clone, Default)]
pub(super) struct Turn(Arc<AtomicBool>);

impl Turn {
    /// True once.
    pub(super) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

/// What became of a call that was to be sent.
pub(super) enum Sent {
    /// Under this number. When nobody will answer any more, the channel is closed.
    Going(u64, Receiver<Answer>),
    /// Not sent: the tool is not what it was.
    Changed,
    /// Not sent.
    NotThere,
}

/// What is known of a server, whether it runs or not.
#[derive(Default)]
pub(super) struct Known {
    /// What it offers, once it has said so: the digest of each tool by its name. None for a name that stands twice.
    pub(super) live: Option<BTreeMap<String, Option<Digest>>>,
    /// While it runs: the guard's number.
    guard: Option<u32>,
    failures: u32,
    not_before: Option<Instant>,
    /// Why it could not be used last.
    pub(super) trouble: Option<String>,
}

pub(super) struct Shared {
    known: Mutex<Known>,
    /// Filled when what the server offers may be something else now.
    pub(super) news: (Sender<()>, Receiver<()>),
}

impl Shared {
    pub(super) fn new() -> Arc<Shared> {
        Arc::new(Shared { known: Mutex::default(), news: bounded(1) })
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Resident memory of all of its processes in bytes, while it runs.
    pub(super) fn memory(&self) -> Option<u64> {
        self.with(|known| known.guard).map(resident)
    }

    /// Why it is not started now, though it does not run.
    pub(super) fn is_resting(&self) -> bool {
        self.with(|known| known.not_before.is_some_and(|at| Instant::now() < at))
    }
}

/// Starts the thread of a server.
///
/// # Errors
/// When there can be no more threads.
pub(super) fn start(
    service: Arc<McpService>,
    scrubber: Arc<Scrubber>,
    shared: Arc<Shared>,
) -> io::Result<Sender<Command>> {
    let (commands, heard) = bounded(MAX_COMMANDS);
    let run = move || {
        let executor = LocalExecutor::new();
        let began = Instant::now();
        let ended = smol::block_on(executor.run(live(&executor, &service, &scrubber, &shared, &heard)));
        refuse(&heard);
        shared.with(|known| {
            known.guard = None;
            let Err(why) = &ended else { return };
            known.failures = if began.elapsed() > SETTLED { 0 } else { known.failures.saturating_add(1) };
            let wait = doubled(FIRST_WAIT, known.failures.saturating_sub(1), LONGEST_WAIT);
            known.not_before = Some(Instant::now() + wait);
            let words: Vec<String> = why.last_words.iter().map(|text| scrubber.text(text.clone())).collect();
            let words = if words.is_empty() {
                String::new()
            } else {
                format!("; its last words: {}", words.join("; "))
            };
            let why: String = scrubber.text(why.to_string()).chars().take(MAX_WORDS).collect();
            log::warn!("MCP server {}: {why}{words}", service.name);
            known.trouble = Some(why);
        });
        let _ = shared.news.0.try_send(());
    };
    thread::Builder::new().name("mcp".to_owned()).spawn(run)?;
    Ok(commands)
}

/// Takes no more commands. Whoever has sent one hears that it was not taken: what is in a queue outlives its receiver.
fn refuse(commands: &Receiver<Command>) {
    commands.close();
    while commands.try_recv().is_ok() {}
}

async fn live(
    executor: &LocalExecutor<'static>,
    service: &McpService,
    scrubber: &Arc<Scrubber>,
    shared: &Shared,
    commands: &Receiver<Command>,
) -> Result<(), UpstreamError> {
    let program = program(service);
    let cleaner = scrubber.clone();
    let connection = Connection::open(&program, executor, move |text| cleaner.text(text))?;
    shared.with(|known| known.guard = Some(connection.guard()));
    log::warn!("MCP server {} is started as the gateway's own user: {CHILD_CAN}", service.name);
    let served = match greet(&connection, service, shared).await {
        Ok(()) => serve(&connection, service, shared, commands).await,
        Err(why) => Err(why),
    };
    // Ending it may take seconds.
    refuse(commands);
    match served {
        Ok(()) => {
            log::info!("MCP server {} has nothing to do and is ended", service.name);
            connection.end(Why::Ended(None)).await;
            Ok(())
        }
        Err(why) => Err(connection.end(why).await),
    }
}

/// The directory is made when it is needed.
fn program(service: &McpService) -> Program {
    let own = &service.program;
    let made = std::fs::create_dir_all(&own.dir);
    let dir = match made {
        Ok(()) => own.dir.canonicalize().ok(),
        Err(e) => {
            log::warn!("MCP server {}: {} cannot be made: {e}", service.name, own.dir.display());
            None
        }
    };
    let env = own.env.iter().map(|it| (it.name.clone(), it.value.expose().into())).collect();
    Program { command: own.command.clone(), env, memory_mib: own.max_memory_mib, dir }
}

async fn greet(connection: &Connection, service: &McpService, shared: &Shared) -> Result<(), Why> {
    hello(connection, service.era, PATIENCE).await?;
    look(connection, shared).await?;
    shared.with(|known| (known.failures, known.trouble) = (0, None));
    Ok(())
}

/// Reads what it offers now.
async fn look(connection: &Connection, shared: &Shared) -> Result<(), Why> {
    let mut live = BTreeMap::new();
    let note = |tool: Value| {
        if let Some(name) = tool.get("name").and_then(Value::as_str) {
            let digest = if live.contains_key(name) { None } else { Some(pin(&tool)) };
            live.insert(name.to_owned(), digest);
        }
    };
    each_tool(connection, PATIENCE, note).await?;
    let is_new = shared.with(|known| known.live.replace(live.clone()) != Some(live));
    if is_new {
        let _ = shared.news.0.try_send(());
    }
    Ok(())
}

enum Event {
    Changed,
    Asked(Command),
    Idle,
    Broken(Why),
    /// Nobody can ask anything any more.
    Left,
}

async fn serve(
    connection: &Connection,
    service: &McpService,
    shared: &Shared,
    commands: &Receiver<Command>,
) -> Result<(), Why> {
    let mut is_left = false;
    loop {
        let broken = async { Event::Broken(connection.broken().await) };
        let changed = async {
            connection.changed().await;
            Event::Changed
        };
        let asked = async {
            match commands.recv().await {
                Ok(command) => Event::Asked(command),
                Err(_) if is_left => smol::future::pending().await,
                Err(_) => Event::Left,
            }
        };
        let pause = if is_left { REST } else { service.program.idle_stop };
        let idle = async {
            Timer::after(pause).await;
            Event::Idle
        };
        match or(or(broken, changed), or(asked, idle)).await {
            Event::Broken(why) => return Err(why),
            // What it says it has changed is not called before it has been looked at.
            Event::Changed => {
                look(connection, shared).await?;
                // One that changes it all the time would keep what waits from its turn.
                for _ in 0..commands.len() {
                    let Ok(command) = commands.try_recv() else { break };
                    obey(connection, shared, command);
                }
                Timer::after(REST).await;
            }
            Event::Asked(command) => obey(connection, shared, command),
            Event::Idle if connection.is_idle() => return Ok(()),
            Event::Idle => {}
            Event::Left => is_left = true,
        }
    }
}

fn obey(connection: &Connection, shared: &Shared, command: Command) {
    match command {
        Command::Ready(tell) => drop(tell.try_send(())),
        Command::Call { tool, args, pin, turn, sent } => {
            let live =
                shared.with(|known| known.live.as_ref().and_then(|live| live.get(&tool).copied()).flatten());
            let is_same = pin.is_none_or(|pin| live == Some(pin));
            let what = match is_same {
                true if !turn.take() => return,
                true => match connection.ask("tools/call", json!({"name": tool, "arguments": args})) {
                    Ok((id, answer)) => Sent::Going(id, answer),
                    Err(_) => Sent::NotThere,
                },
                false => Sent::Changed,
            };
            let _ = sent.try_send(what);
        }
        Command::Cancel(id) => {
            connection.forget(id);
            let params = json!({"requestId": id, "reason": "nobody waits for it any more"});
            let _ = connection.notify("notifications/cancelled", &params);
        }
    }
}
