//! The handler of MCP servers: started when they are needed, called once per claim, watched for what they offer.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::Timer;
use smol::channel::{Receiver, Sender, bounded};
use smol::future::{BoxedLocal, or};

use super::connection::Answer;
use super::result;
use super::worker::{self, Command, Sent, Shared, Turn};
use crate::base::once_flag::OnceFlag;
use crate::config::McpService;
use crate::model::{Call, InvalidCall, Kind, McpTarget, Outcome, Tool};
use crate::service::drift::Drift;
use crate::service::handler::{Attempt, ClaimedCall, Handler, PreparedCall};
use crate::service::health::ServerState;
use crate::service::scrub::Scrubber;

/// One server, over all reloads that leave it as it is.
pub(in crate::service) struct Upstream {
    service: Arc<McpService>,
    scrubber: Arc<Scrubber>,
    shared: Arc<Shared>,
    commands: RefCell<Option<Sender<Command>>>,
    /// What people have been told of last.
    told: RefCell<Drift>,
}

impl Upstream {
    pub(in crate::service) fn new(service: &Arc<McpService>, scrubber: &Arc<Scrubber>) -> Rc<Upstream> {
        Rc::new(Upstream {
            service: service.clone(),
            scrubber: scrubber.clone(),
            shared: Shared::new(),
            commands: RefCell::default(),
            told: RefCell::default(),
        })
    }

    pub(in crate::service) fn is(&self, service: &McpService) -> bool {
        self.service.is_same_server(service)
    }

    /// Where its commands go, once it is ready for them. None when it cannot be used now.
    async fn ready(&self) -> Option<Sender<Command>> {
        // Once more when it has just ended for want of work.
        for _ in 0..2 {
            let commands = self.running()?;
            let (tell, told) = bounded(1);
            if commands.send(Command::Ready(tell)).await.is_ok() && told.recv().await.is_ok() {
                return Some(commands);
            }
            self.forget(&commands);
        }
        None
    }

    fn running(&self) -> Option<Sender<Command>> {
        let mut commands = self.commands.borrow_mut();
        if let Some(known) = commands.as_ref().filter(|known| !known.is_closed()) {
            return Some(known.clone());
        }
        if self.shared.is_resting() {
            log::warn!("MCP server {}: not started again yet", self.service.name);
            return None;
        }
        let started = worker::start(self.service.clone(), self.scrubber.clone(), self.shared.clone());
        let started =
            started.inspect_err(|e| log::error!("MCP server {}: no thread: {e}", self.service.name));
        *commands = started.ok();
        commands.clone()
    }

    fn forget(&self, ended: &Sender<Command>) {
        let mut commands = self.commands.borrow_mut();
        if commands.as_ref().is_some_and(|known| known.same_channel(ended)) {
            *commands = None;
        }
    }

    fn shutdown(&self) {
        if let Some(commands) = self.commands.take() {
            commands.close();
        }
    }
}

/// One server as one setup has it.
pub(in crate::service) struct McpHandler {
    service: Arc<McpService>,
    upstream: Rc<Upstream>,
    /// Set when another setup is in force: what is not sent yet is looked at once more.
    retired: OnceFlag,
}

impl McpHandler {
    pub(in crate::service) fn new(service: &Arc<McpService>, upstream: Rc<Upstream>) -> Rc<McpHandler> {
        Rc::new(McpHandler { service: service.clone(), upstream, retired: OnceFlag::default() })
    }

    fn drift(&self) -> Drift {
        let between = |known: &mut worker::Known| {
            known.live.as_ref().map(|live| Drift::between(&self.service.pins, live)).unwrap_or_default()
        };
        self.upstream.shared.with(between)
    }

    async fn call(self: Rc<Self>, claimed: ClaimedCall) -> Attempt {
        let ClaimedCall { claim, scrubber, slot, .. } = claimed;
        let call = claim.call().clone();
        let tool = call.tool();
        let Some(target) = tool.target.mcp() else { return Outcome::UnknownResult.into() };
        let until = Instant::now() + tool.timeout.unwrap_or(self.service.timeout);
        let late = async {
            Timer::at(until).await;
            None
        };
        let ready = or(self.upstream.ready(), late).await;
        // It may have taken a while.
        if self.retired.is_set() {
            return Attempt::Overtaken(claim, slot);
        }
        let Some(commands) = ready else { return Outcome::ServiceUnreachable.into() };
        match self.send(&commands, &call, target, until).await {
            Some(Sent::Going(id, answer)) => {
                self.result(&commands, call.tool().kind, (id, answer), until, &scrubber).await.into()
            }
            Some(Sent::Changed) => Outcome::ToolChanged.into(),
            Some(Sent::NotThere) => Outcome::ServiceUnreachable.into(),
            None if self.retired.is_set() => Attempt::Overtaken(claim, slot),
            None => Outcome::ServiceUnreachable.into(),
        }
    }

    /// Has the call sent. None: it was taken back before, because its time is over or another setup is in force.
    async fn send(
        &self,
        commands: &Sender<Command>,
        call: &Call,
        target: &McpTarget,
        until: Instant,
    ) -> Option<Sent> {
        let ((tell, sent), turn) = (bounded(1), Turn::default());
        let command = Command::Call {
            tool: target.upstream.clone(),
            args: target.arguments(call.args()),
            pin: self.service.blocks_changed.then_some(target.pin),
            turn: turn.clone(),
            sent: tell,
        };
        if commands.try_send(command).is_err() {
            return Some(Sent::NotThere);
        }
        let told = async { Some(sent.recv().await.unwrap_or(Sent::NotThere)) };
        let late = async {
            Timer::at(until).await;
        };
        let over = async {
            or(late, self.retired.wait()).await;
            None
        };
        match or(told, over).await {
            Some(told) => Some(told),
            None if turn.take() => None,
            // It is being sent at this moment.
            None => Some(sent.recv().await.unwrap_or(Sent::NotThere)),
        }
    }

    /// Waits for the answer to a call that was sent.
    async fn result(
        &self,
        commands: &Sender<Command>,
        kind: Kind,
        (id, answer): (u64, Receiver<Answer>),
        until: Instant,
        scrubber: &Scrubber,
    ) -> Outcome {
        let late = async {
            Timer::at(until).await;
            None
        };
        match or(async { Some(answer.recv().await) }, late).await {
            Some(Ok(result)) => result::outcome(result, kind, self.service.max_response_bytes, scrubber),
            Some(Err(_)) if kind.has_side_effects() => Outcome::UnknownResult,
            Some(Err(_)) => Outcome::ServiceUnreachable,
            None => {
                let _ = commands.try_send(Command::Cancel(id));
                if kind.has_side_effects() { Outcome::UnknownResult } else { Outcome::ServiceTimeout }
            }
        }
    }
}

impl Handler for Rc<McpHandler> {
    fn check(&self, _: &Call) -> Result<PreparedCall, InvalidCall> {
        Ok(PreparedCall::AsItIs)
    }

    fn run(&self, claimed: ClaimedCall) -> BoxedLocal<Attempt> {
        Box::pin(self.clone().call(claimed))
    }

    /// It is started for calls alone.
    fn health(&self) -> Option<BoxedLocal<Result<(), String>>> {
        None
    }

    fn timeout(&self) -> Duration {
        self.service.timeout
    }

    fn retire(&self) {
        self.retired.set();
    }

    fn shutdown(&self) {
        self.upstream.shutdown();
    }

    fn blocks(&self, tool: &Tool) -> bool {
        let Some(target) = tool.target.mcp().filter(|_| self.service.blocks_changed) else { return false };
        self.upstream.shared.with(|known| {
            known.live.as_ref().is_some_and(|live| live.get(&target.upstream) != Some(&Some(target.pin)))
        })
    }

    fn news(&self) -> Option<BoxedLocal<Option<String>>> {
        let handler = self.clone();
        Some(Box::pin(async move {
            if handler.upstream.shared.news.1.recv().await.is_err() {
                return smol::future::pending().await;
            }
            let drift = handler.drift();
            let told = handler.upstream.told.replace(drift.clone());
            let is_new = told != drift && !drift.is_empty();
            is_new.then(|| drift.words(&handler.service.name, handler.service.blocks_changed))
        }))
    }

    fn server(&self) -> Option<ServerState> {
        let memory = self.upstream.shared.memory();
        let trouble = self.upstream.shared.with(|known| known.trouble.clone());
        let (drift, imported) = (self.drift(), self.service.pins.len());
        let blocked = if self.service.blocks_changed { drift.broken() } else { 0 };
        Some(ServerState { memory, trouble, drift, blocked, imported })
    }
}
