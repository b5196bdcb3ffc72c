//! The running gateway: wiring at the start, signals, and an orderly stop.
//!
//! It owns no decision. What it must get right is order: everything that can be refused is refused before anything
//! is opened, the record is open before the first connection is, and nothing is closed before what needs it.

use std::fmt;
use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_signal::{Signal, Signals};
use smol::stream::StreamExt as _;
use smol::{LocalExecutor, Timer, future};

use crate::approval::Channel;
use crate::approval::local::Local;
use crate::approval::telegram::{Handle, Settings, Telegram};
use crate::base::clock::Clock;
use crate::config::{self, Config, Finding, Loaded, Messenger, Paths, Storage, SyncMode};
use crate::gate::{Executor, Gate, GateHost, Latch, Setup};
use crate::net::deadline::within;
use crate::net::listener::Listener;
use crate::net::notify;
use crate::net::tls::Acceptor;
use crate::store::{NoteKind, Recovered, Store, StoreOptions};
use crate::surface::control::{Control, ControlSocket, Reload};
use crate::surface::rpc::Rpc;

/// How long calls at a service may take to end when the gateway stops. What is not back by then is "unknown".
const DRAIN: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long the farewells on the connections may take after that.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often the record is tidied.
const MAINTAIN_EVERY: Duration = Duration::from_secs(3600);
/// How soon after the start it is tidied first.
const MAINTAIN_FIRST: Duration = Duration::from_secs(60);

/// How the gateway is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the configuration is.
    pub paths: Paths,
    /// Plain text instead of TLS, even where a certificate is configured.
    pub insecure: bool,
}

/// Why it does not start.
#[derive(Debug)]
pub enum StartError {
    /// The owner has to change the configuration (exit 78).
    Config(Vec<Finding>),
    /// The same, found while using it: what, and what to do.
    Setting(String, String),
    /// The machine does not let us; it may be different next time.
    Machine {
        /// What went wrong.
        what: String,
        /// The file it is about.
        at: Option<PathBuf>,
        /// What to do; empty when there is nothing to say.
        help: String,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Config(findings) => findings.iter().try_for_each(|finding| writeln!(f, "{finding}")),
            StartError::Setting(what, help) => told(f, what, None, help),
            StartError::Machine { what, at, help } => told(f, what, at.as_deref(), help),
        }
    }
}

impl std::error::Error for StartError {}

impl StartError {
    fn machine(what: impl fmt::Display, help: &str) -> StartError {
        StartError::Machine { what: what.to_string(), at: None, help: help.to_owned() }
    }
}

fn told(f: &mut fmt::Formatter<'_>, what: &str, at: Option<&Path>, help: &str) -> fmt::Result {
    write!(f, "agentpass: could not start: {what}")?;
    if let Some(path) = at {
        write!(f, "\n  at {}", path.display())?;
    }
    if help.is_empty() { Ok(()) } else { write!(f, "\n  help: {help}") }
}

/// A gateway that listens.
pub struct Gateway {
    /// The gate, for an approver in the same process.
    pub gate: Rc<Gate>,
    /// Where agents connect.
    pub addresses: Vec<SocketAddr>,
    rpc: Rc<Rpc>,
    store: Store,
    telegram: Option<Rc<Telegram>>,
    stop: Rc<Latch>,
    options: Options,
    fixed: Fixed,
}

/// What a reload cannot change.
#[derive(Clone, PartialEq, Eq)]
struct Fixed {
    listen: (String, u16),
    control_socket: PathBuf,
    record: PathBuf,
    max_message_bytes: usize,
    telegram: Option<Settings>,
}

impl Fixed {
    fn of(config: &Config) -> Fixed {
        Fixed {
            listen: (config.gateway.host.clone(), config.gateway.port),
            control_socket: control_path(config.gateway.control_socket.as_deref(), &config.storage),
            record: config.storage.path.clone(),
            max_message_bytes: config.gateway.max_message_bytes,
            telegram: telegram_settings(config),
        }
    }

    /// What the owner should know after a reload.
    fn needs_restart(&self, now: &Fixed) -> Option<String> {
        let text = "warning: gateway.host, port, control_socket, max_message_bytes, storage.path, messenger and \
                    approvals.reminder count after a restart";
        (self != now).then(|| format!("agentpass: {text}"))
    }
}

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// When it cannot start.
pub fn run(options: Options) -> Result<(), StartError> {
    let began = Instant::now();
    let executor: Executor = Rc::new(LocalExecutor::new());
    let local = executor.clone();
    future::block_on(executor.run(async move {
        let mut signals = Signals::new([Signal::Term, Signal::Int, Signal::Hup])
            .map_err(|e| StartError::machine(format!("cannot listen for signals: {e}"), ""))?;
        let gateway = Rc::new(Gateway::start(local.clone(), options)?);
        log::debug!("started in {} ms", began.elapsed().as_millis());
        local.spawn(watchdog()).detach();
        notify::ready();
        gateway.serve_signals(&mut signals).await;
        notify::stopping();
        gateway.stop().await;
        Ok(())
    }))
}

impl Gateway {
    /// Opens everything and begins to listen.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start(executor: Executor, options: Options) -> Result<Gateway, StartError> {
        let loaded = config::load(&options.paths).map_err(StartError::Config)?;
        loaded.warnings.iter().for_each(|w| log::warn!("{}", one_line(&w.to_string())));
        let acceptor = acceptor(&loaded.config, options.insecure)?;
        let listener = Listener::bind(&loaded.config.gateway.host, loaded.config.gateway.port)
            .map_err(|e| StartError::machine(&e, e.help()))?;
        let control = control_socket(&loaded.config)?;
        let clock = Clock::system();
        let telegram = telegram(&loaded.config, &clock, &executor)?;
        let (store, recovered) = open_store(&loaded.config, &clock)?;
        let (addresses, secure) = (listener.addresses(), acceptor.is_some());
        let fixed = Fixed::of(&loaded.config);
        let max_message = fixed.max_message_bytes;
        let local = Rc::new(Local::default());
        let mut channels: Vec<Rc<dyn Channel>> = vec![local.clone()];
        channels.extend(telegram.clone().map(|telegram| Rc::new(Handle(telegram)) as Rc<dyn Channel>));
        let setup = setup(loaded)?;
        let gate = Gate::open(executor.clone(), clock, store.clone(), setup, channels, recovered);
        if let Some(telegram) = &telegram {
            telegram.start(GateHost::of(&gate));
        }
        let stop = Rc::new(Latch::default());
        let rpc = Rpc::new(gate.clone(), executor.clone(), acceptor, max_message, stop.clone());
        let gateway = Gateway {
            gate: gate.clone(),
            addresses,
            rpc: rpc.clone(),
            store,
            telegram,
            stop: stop.clone(),
            options,
            fixed,
        };
        let desk = Control::new(gate.clone(), local, executor.clone(), gateway.reloader(), stop);
        executor.spawn(rpc.serve(listener)).detach();
        executor.spawn(desk.serve(control)).detach();
        executor.spawn(tidy(gate.clone())).detach();
        executor.spawn(watch_services(gate)).detach();
        gateway.announce(secure);
        Ok(gateway)
    }

    fn announce(&self, secure: bool) {
        let scheme = if secure { "wss" } else { "ws" };
        let shown: Vec<_> = self.addresses.iter().map(|a| format!("{scheme}://{a}")).collect();
        log::info!("agentpass {} listening on {}", env!("CARGO_PKG_VERSION"), shown.join(", "));
        if !secure {
            log::warn!(
                "without TLS: tokens and results can be read on the network; use it on one machine only"
            );
        }
        let gate = self.gate.clone();
        let note = async move { gate.note(NoteKind::Started).await };
        self.gate.spawn(note);
    }

    async fn serve_signals(&self, signals: &mut Signals) {
        while let Some(Ok(signal)) = signals.next().await {
            if !matches!(signal, Signal::Hup) {
                return log::info!("stopping");
            }
            notify::reloading();
            match (self.reloader())() {
                Ok(warnings) => warnings.iter().for_each(|w| log::warn!("{}", one_line(w))),
                Err(findings) => findings.iter().for_each(|f| log::error!("not reloaded: {}", one_line(f))),
            }
            notify::ready();
        }
    }

    /// Closes connections, waits a bounded time for calls at services, then closes the record. Open questions stay
    /// open: nobody is told "denied" because a gateway restarts.
    pub async fn stop(&self) {
        self.gate.wind_down();
        self.stop.open();
        let drained = async {
            while self.gate.executing() > 0 {
                Timer::after(Duration::from_millis(20)).await;
            }
        };
        within(DRAIN, drained).await;
        let left = async {
            while self.gate.connected() > 0 {
                Timer::after(Duration::from_millis(5)).await;
            }
        };
        within(FAREWELL, left).await;
        if let Some(telegram) = &self.telegram {
            telegram.stop().await;
        }
        self.gate.setup().services.shutdown();
        self.gate.note(NoteKind::Stopped).await;
        self.store.clone().close().await;
        log::info!("stopped");
    }

    /// Reads everything again and puts it in force at once, or changes nothing.
    fn reloader(&self) -> Reload {
        let (gate, rpc, options) = (self.gate.clone(), self.rpc.clone(), self.options.clone());
        let fixed = self.fixed.clone();
        Rc::new(move || {
            let loaded = config::load(&options.paths)
                .map_err(|f| f.iter().map(Finding::to_string).collect::<Vec<_>>())?;
            let mut warnings: Vec<_> = loaded.warnings.iter().map(Finding::to_string).collect();
            warnings.extend(fixed.needs_restart(&Fixed::of(&loaded.config)));
            let fresh = acceptor(&loaded.config, options.insecure).map_err(|e| vec![e.to_string()])?;
            let setup = setup(loaded).map_err(|e| vec![e.to_string()])?;
            if let Some(fresh) = fresh {
                rpc.replace_acceptor(fresh);
            }
            gate.reload(setup);
            log::info!("configuration reloaded");
            let noted = gate.clone();
            gate.spawn(async move { noted.note(NoteKind::Reloaded).await });
            Ok(warnings)
        })
    }
}

/// A finding as one line of the log, where the level says that it is a warning.
fn one_line(text: &str) -> String {
    let text = text.strip_prefix("agentpass: ").unwrap_or(text);
    let text = text.strip_prefix("warning: ").unwrap_or(text);
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

fn setup(loaded: Loaded) -> Result<Setup, StartError> {
    Setup::new(loaded).map_err(|e| StartError::Setting(e.to_string(), String::new()))
}

fn acceptor(config: &Config, insecure: bool) -> Result<Option<Acceptor>, StartError> {
    match (&config.gateway.tls, insecure) {
        (_, true) => Ok(None),
        (Some(tls), false) => {
            let made = Acceptor::from_files(&tls.cert, &tls.key);
            made.map(Some).map_err(|e| StartError::Setting(e.to_string(), String::new()))
        }
        (None, false) => Err(StartError::Setting(
            "gateway.tls is missing and --insecure was not given".into(),
            "`agentpass init` makes a certificate; --insecure is for one machine or a protected network"
                .into(),
        )),
    }
}

/// The Telegram channel, when it is configured. A token that is certainly wrong is a mistake of the configuration;
/// that Telegram cannot be reached is none.
fn telegram(config: &Config, clock: &Clock, executor: &Executor) -> Result<Option<Rc<Telegram>>, StartError> {
    let Some(settings) = telegram_settings(config) else { return Ok(None) };
    let made = Telegram::new(settings, clock.clone(), executor.clone());
    made.map(Some).map_err(|e| {
        let help = "check messenger.telegram: the token is from @BotFather, api_url is usually left out";
        StartError::Setting(format!("Telegram does not know this bot: {e}"), help.into())
    })
}

fn telegram_settings(config: &Config) -> Option<Settings> {
    let Messenger::Telegram { token, chat_id, allowed_users, api_url } = &config.messenger else {
        return None;
    };
    Some(Settings {
        token: token.clone(),
        chat_id: *chat_id,
        allowed_users: allowed_users.clone(),
        api_url: api_url.clone(),
        reminder: config.approvals.reminder,
    })
}

fn open_store(config: &Config, clock: &Clock) -> Result<(Store, Recovered), StartError> {
    let storage = &config.storage;
    let options = StoreOptions {
        path: storage.path.clone(),
        sync_all: storage.sync == SyncMode::All,
        retain_days: storage.retain_days,
        max_mb: storage.max_mb,
        keep_results: DAY * config.results_days,
        keep_keys: HOUR * config.idempotency_hours,
    };
    Store::open(options, clock.now()).map_err(|e| StartError::Machine {
        what: e.to_string(),
        at: Some(storage.path.clone()),
        help: e.help().unwrap_or_default(),
    })
}

fn control_socket(config: &Config) -> Result<ControlSocket, StartError> {
    let path = control_path(config.gateway.control_socket.as_deref(), &config.storage);
    if let Some(dir) = path.parent() {
        // The record's own folder is private from the start.
        let mode = if config.storage.path.parent() == Some(dir) { 0o700 } else { 0o755 };
        let _ = DirBuilder::new().recursive(true).mode(mode).create(dir);
    }
    let help = "set gateway.control_socket to a place this user may write to";
    ControlSocket::bind(&path).map_err(|e| StartError::machine(e, help))
}

/// Where the control socket is: as configured, else in systemd's runtime directory, else in /run/agentpass where
/// that exists, else beside the record.
pub fn control_path(configured: Option<&Path>, storage: &Storage) -> PathBuf {
    let runtime = std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from);
    let system = PathBuf::from("/run/agentpass");
    let beside = storage.path.parent().unwrap_or(Path::new("."));
    let dir = match (configured, runtime) {
        (Some(path), _) => return path.to_owned(),
        (None, Some(dir)) => dir,
        (None, None) if system.is_dir() => system,
        (None, None) => beside.to_owned(),
    };
    dir.join("control.sock")
}

async fn tidy(gate: Rc<Gate>) {
    let mut pause = MAINTAIN_FIRST;
    loop {
        Timer::after(pause).await;
        pause = MAINTAIN_EVERY;
        if let Err(e) = gate.store().maintain(gate.clock().now()).await {
            log::error!("the record could not be tidied: {e}");
        }
    }
}

/// Watches the services of the setup in force; a reload begins anew.
async fn watch_services(gate: Rc<Gate>) {
    loop {
        let (setup, reloaded) = (gate.setup(), gate.reloaded());
        future::or(setup.services.watch_health(gate.clock().clone()), reloaded.wait()).await;
    }
}

/// Feeds systemd's watchdog from the executor itself: it stops when the executor does.
async fn watchdog() {
    let Some(interval) = notify::watchdog_interval() else { return };
    loop {
        notify::watchdog();
        Timer::after(interval).await;
    }
}
