//! The running gateway: wiring at the start, signals, and an orderly stop.
//!
//! It owns no decision. What it must get right is order: everything that can be refused is refused before anything
//! is opened, the record is open before the first connection is, and nothing is closed before what needs it.

mod admin;
mod opening;
mod preflight;
mod supervision;
mod timekeeping;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_signal::{Signal, Signals};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smol::stream::StreamExt as _;
use smol::{LocalExecutor, Timer, future};

use crate::approval::Channels;
use crate::base::clock::Clock;
use crate::base::once_flag::OnceFlag;
use crate::config::{Finding, Paths, misfit};
use crate::gate::{Executor, Gate, GateHost};
use crate::net::deadline::within;
use crate::net::listener::Listener;
use crate::net::notify;
use crate::store::{NoteKind, Store};
use crate::surface::admin::Admin;
use crate::surface::control::{Control, ReloadFn};
use crate::surface::rpc::AgentPort;
use admin::AdminPort;
use opening::{Fixed, control_socket, open_store, setup};
pub(crate) use opening::{StartError, control_path};
pub use preflight::check;
use preflight::{Ready, unusable};

/// How long calls at a service may take to end when the gateway stops. What is not back by then is "unknown".
const DRAIN: Duration = Duration::from_secs(10);
/// How long the farewells on the connections may take after that.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often the record is tidied.
const MAINTAIN_EVERY: Duration = Duration::from_secs(3600);
/// How soon after the start it is tidied first.
const MAINTAIN_FIRST: Duration = Duration::from_secs(60);
/// How often it is written down how long the open questions have been open, while there are any. One small write.
const KEEP_AGES: Duration = Duration::from_secs(60);

/// How the gateway is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the configuration is.
    pub paths: Paths,
    /// Plain text instead of TLS, even where a certificate is configured.
    pub insecure: bool,
}

pub struct Gateway {
    /// The gate, for an approver in the same process.
    pub gate: Rc<Gate>,
    /// Where agents connect.
    pub addresses: Vec<SocketAddr>,
    rpc: Rc<AgentPort>,
    admin: Option<Rc<Admin>>,
    store: Store,
    channels: Rc<Channels>,
    stop: Rc<OnceFlag>,
    options: Options,
    fixed: Fixed,
}

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// When it cannot start.
pub(crate) fn run(options: Options) -> Result<(), StartError> {
    let began = Instant::now();
    take_all_descriptors();
    let executor: Executor = Rc::new(LocalExecutor::new());
    let local = executor.clone();
    // A task like all others: as the executor's own future it would look for signals at every turn of every task.
    let main = executor.spawn(async move {
        let mut signals = Signals::new([Signal::Term, Signal::Int, Signal::Hup])
            .map_err(|e| StartError::machine(format!("cannot listen for signals: {e}"), ""))?;
        let gateway = Rc::new(Gateway::start(local.clone(), options)?);
        log::debug!("started in {} ms", began.elapsed().as_millis());
        let watch = supervision::run(gateway.gate.clone());
        local.spawn(watch).detach();
        notify::ready();
        gateway.serve_signals(&mut signals).await;
        notify::stopping();
        gateway.stop().await;
        Ok(())
    });
    smol::block_on(executor.run(main))
}

/// Every connection takes a descriptor. The usual soft limit of 1,024 is there for programs that use `select`, which
/// this one does not; the hard limit is the one that somebody has chosen.
fn take_all_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let all = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(e) = setrlimit(Resource::Nofile, all) {
            log::debug!("no more than {:?} files can be open: {e}", limit.current);
        }
    }
}

impl Gateway {
    /// Opens everything and begins to listen.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start(executor: Executor, options: Options) -> Result<Gateway, StartError> {
        let ready = preflight::load(&options.paths, options.insecure).map_err(StartError::Config)?;
        let Ready { loaded, acceptor } = ready.or_without_tls(options.insecure)?;
        loaded.warnings.iter().for_each(|w| log::warn!("{}", one_line(&w.to_string())));
        let listener = Listener::bind(&loaded.config.gateway.host, loaded.config.gateway.port)
            .map_err(|e| StartError::machine(&e, e.help()))?;
        let admin = AdminPort::open(&loaded.config, acceptor.as_ref())?;
        let control = control_socket(&loaded.config)?;
        let clock = Clock::system();
        let channels = Channels::open(&loaded.config.channels, clock.clone(), executor.clone())?;
        let (store, recovered) = open_store(&loaded.config, &clock)?;
        let (addresses, secure) = (listener.addresses(), acceptor.is_some());
        let fixed = Fixed::from_config(&loaded.config);
        let max_message = fixed.max_message_bytes;
        let local = channels.local().clone();
        let setup = setup(loaded, None)?;
        let gate = Gate::open(executor.clone(), clock, store.clone(), setup, channels.clone(), recovered);
        let asked = Rc::downgrade(&gate);
        channels.start(Box::new(move |name| Rc::new(GateHost::new(&asked, name))));
        let stop = Rc::new(OnceFlag::default());
        let rpc = AgentPort::new(gate.clone(), executor.clone(), acceptor, max_message, stop.clone());
        let admin = admin.map(|port| port.serve(gate.clone(), local.clone(), executor.clone(), stop.clone()));
        let gateway = Gateway {
            gate: gate.clone(),
            addresses,
            rpc: rpc.clone(),
            admin: admin.clone(),
            store,
            channels,
            stop: stop.clone(),
            options,
            fixed,
        };
        let (reload, executor) = (gateway.reloader(), executor.clone());
        let desk =
            Rc::new(Control { gate: gate.clone(), local, executor: executor.clone(), reload, admin, stop });
        executor.spawn(rpc.serve(listener)).detach();
        executor.spawn(desk.serve(control)).detach();
        executor.spawn(tidy(gate.clone())).detach();
        executor.spawn(watch_ages(gate.clone())).detach();
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
        self.gate.spawn(timekeeping::run(self.gate.clone()));
    }

    async fn serve_signals(&self, signals: &mut Signals) {
        while let Some(Ok(signal)) = signals.next().await {
            if !matches!(signal, Signal::Hup) {
                return log::info!("stopping");
            }
            notify::reloading();
            // Why it was refused is in the log already.
            if let Ok(warnings) = (self.reloader())() {
                warnings.iter().for_each(|w| log::warn!("{}", one_line(w)));
            }
            notify::ready();
        }
    }

    /// Closes connections, waits a bounded time for calls at services, then closes the record. Open questions stay
    /// open: nobody is told "denied" because a gateway restarts.
    pub async fn stop(&self) {
        self.gate.flights.wind_down();
        self.stop.set();
        let drained = async {
            while self.gate.flights.executing() > 0 {
                Timer::after(Duration::from_millis(20)).await;
            }
        };
        within(DRAIN, drained).await;
        let left = async {
            while self.gate.ledger.connections.all_taken() > 0 {
                Timer::after(Duration::from_millis(5)).await;
            }
        };
        within(FAREWELL, left).await;
        self.channels.stop().await;
        let services = self.gate.setup().services.clone();
        services.log_out().await;
        services.shutdown();
        keep_ages(&self.gate).await;
        self.gate.end_sessions().await;
        self.gate.inbox.write_acks().await;
        self.gate.note(NoteKind::Stopped).await;
        self.store.clone().close().await;
        log::info!("stopped");
    }

    /// Reads everything again and puts it in force at once, or changes nothing.
    fn reloader(&self) -> ReloadFn {
        let (gate, rpc, options) = (self.gate.clone(), self.rpc.clone(), self.options.clone());
        let (fixed, admin, channels) = (self.fixed.clone(), self.admin.clone(), self.channels.clone());
        Rc::new(move || {
            let unusable = |e: StartError| refused(&[unusable(&options.paths, &e)]);
            let ready = preflight::load(&options.paths, options.insecure).map_err(|found| refused(&found))?;
            let ready = ready.or_without_tls(options.insecure).map_err(unusable)?;
            let Ready { loaded, acceptor: fresh } = ready;
            let mut warnings: Vec<_> = loaded.warnings.iter().map(Finding::to_string).collect();
            warnings.extend(fixed.needs_restart(&Fixed::from_config(&loaded.config)));
            let wanted = channels
                .prepare(&loaded.config.channels)
                .map_err(|e| refused(&[misfit(&options.paths, &[e.section], &e.what, e.help)]))?;
            let earlier = gate.setup();
            let setup = setup(loaded, Some(&earlier)).map_err(unusable)?;
            gate.reload(setup);
            if let Some(admin) = &admin {
                admin.reloaded(&earlier, fresh.clone());
            }
            if let Some(fresh) = fresh {
                rpc.replace_acceptor(fresh);
            }
            channels.reload(wanted);
            log::info!("configuration reloaded");
            let noted = gate.clone();
            gate.spawn(async move { noted.note(NoteKind::Reloaded).await });
            Ok(warnings)
        })
    }
}

/// The findings of a reload that changes nothing, each in the log as well: whoever asked for it may not be there to
/// read.
fn refused(findings: &[Finding]) -> Vec<String> {
    let texts: Vec<String> = findings.iter().map(Finding::to_string).collect();
    texts.iter().for_each(|text| log::error!("not reloaded: {}", one_line(text)));
    texts
}

/// A finding as one line of the log, where the level says that it is a warning.
fn one_line(text: &str) -> String {
    let text = text.strip_prefix("agentpass: ").unwrap_or(text);
    let text = text.strip_prefix("warning: ").unwrap_or(text);
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

async fn tidy(gate: Rc<Gate>) {
    let mut pause = MAINTAIN_FIRST;
    loop {
        Timer::after(pause).await;
        pause = MAINTAIN_EVERY;
        gate.end_sessions().await;
        if let Err(e) = gate.store().maintain(gate.clock().now()).await {
            log::error!("the record could not be tidied: {e}");
        }
    }
}

/// A question that outlives a power cut keeps no more time than it had.
async fn watch_ages(gate: Rc<Gate>) {
    loop {
        Timer::after(KEEP_AGES).await;
        keep_ages(&gate).await;
    }
}

async fn keep_ages(gate: &Gate) {
    if gate.approvals.questions().is_empty() {
        return;
    }
    if let Err(e) = gate.store().keep_ages().await {
        log::error!("how long questions have been open could not be recorded: {e}");
    }
}

/// Watches the services of the setup in force; a reload begins anew.
async fn watch_services(gate: Rc<Gate>) {
    loop {
        let (setup, reloaded) = (gate.setup(), gate.reloaded());
        let changed = |told| gate.services_changed(told);
        future::or(setup.services.watch(gate.clock().clone(), changed), reloaded.wait()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_descriptors_as_there_may_be() {
        let limit = getrlimit(Resource::Nofile);
        let fewer = limit.maximum.map_or(4096, |most| most.saturating_sub(1));
        setrlimit(Resource::Nofile, Rlimit { current: Some(fewer), ..limit }).unwrap();
        take_all_descriptors();
        assert_eq!(getrlimit(Resource::Nofile).current, limit.maximum);
    }
}
