//! `agentpass hook`: a coding agent asks the gateway before it acts. Its standard output holds the decision and nothing
//! else; it exits with 0, or with 2, which coding agents take for a no whose reason is on standard error.

mod decision;
mod event;
mod install;

use std::cell::RefCell;
use std::io::{self, Read as _};
use std::rc::Rc;
use std::time::{Duration, Instant};

use argh::FromArgs;
use async_signal::{Signal, Signals};
use log::LevelFilter;
use smol::stream::StreamExt as _;
use smol::{LocalExecutor, future};

use self::decision::{HookDecision, of_error};
use self::event::{EventKind, HookEvent};
use super::gateway::seconds;
use super::options::agent_command;
use super::{Exit, Trouble, logging, output, terminal};
use crate::base::safe_text::visible;
use crate::client::{Client, ClientError, ClientOptions, Pending, RequestOptions};
use crate::net::deadline::within;

/// The longest event, in bytes. A call may not be longer.
const MAX_EVENT: usize = 1 << 20;
/// So much of one is looked at to find out what kind it is.
const MAX_READ: u64 = 16 << 20;
/// How long withdrawing a question may take.
const WITHDRAW_LIMIT: Duration = Duration::from_secs(2);

/// Let a coding agent ask the gateway before it acts.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "hook")]
pub(crate) struct HookArgs {
    /// which agent, or install
    #[argh(subcommand)]
    pub command: HookCommand,
}

/// What `hook` can do.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub(crate) enum HookCommand {
    ClaudeCode(ClaudeCodeArgs),
    Install(install::InstallArgs),
}

agent_command! {
    /// Read one event of Claude Code on stdin, ask the gateway for a permit, and print the decision.
    #[argh(
        subcommand,
        name = "claude-code",
        note = "agentpass hook install claude-code writes it into Claude Code's settings.",
        note = "Nothing but the decision is printed; what went wrong is on stderr.",
        error_code(2, "not permitted, where no decision can be printed")
    )]
    ClaudeCodeArgs {
        /// seconds to wait in all (default: 570)
        #[argh(option, default = "Duration::from_secs(570)", from_str_fn(seconds))]
        pub timeout: Duration,
        /// what to decide when the gateway cannot: ask (default: the person at the terminal decides) or deny
        #[argh(option, arg_name = "word", default = "OnError::Ask", from_str_fn(on_error))]
        pub on_error: OnError,
    }
}

/// Who decides when the gateway cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnError {
    Ask,
    Deny,
}

fn on_error(text: &str) -> Result<OnError, String> {
    match text {
        "ask" => Ok(OnError::Ask),
        "deny" => Ok(OnError::Deny),
        _ => Err("it must be ask or deny".into()),
    }
}

pub(crate) fn run(args: &HookArgs) -> Result<Exit, Trouble> {
    match &args.command {
        HookCommand::ClaudeCode(args) => Ok(claude_code(args)),
        HookCommand::Install(args) => install::run(args),
    }
}

fn claude_code(args: &ClaudeCodeArgs) -> Exit {
    let began = Instant::now();
    let mut bytes = Vec::new();
    let read = io::stdin().take(MAX_READ).read_to_end(&mut bytes);
    let event = match read {
        Err(e) => Err(format!("the event cannot be read: {e}")),
        Ok(length) if length > MAX_EVENT => Err(format!("the event is longer than {MAX_EVENT} bytes")),
        Ok(_) => event::read(&bytes),
    };
    match event {
        Ok(event) => told(args, event.kind, decide(args, event, began)),
        Err(why) => match event::kind_of(&bytes) {
            Some(kind) => told(args, kind, Err(why)),
            None => undecided(args, &why, bytes.len() > MAX_EVENT),
        },
    }
}

/// Prints the decision. A failure is what the caller wants of failures.
fn told(args: &ClaudeCodeArgs, kind: EventKind, decided: Result<HookDecision, String>) -> Exit {
    let decision = decided.unwrap_or_else(|why| {
        terminal::note(&visible(&format!("agentpass: {why}")));
        match args.on_error {
            OnError::Ask => HookDecision::Ask(format!("agentpass could not decide: {why}")),
            OnError::Deny => HookDecision::Deny(format!("agentpass could not decide: {why}")),
        }
    });
    let Some(json) = decision.to_json(kind) else { return Exit::DONE };
    match output::print(&output::json_line(&json)) {
        Ok(_) => Exit::DONE,
        Err(_) if decision == HookDecision::Allow => Exit::DONE,
        Err(_) => Exit::BLOCKED,
    }
}

/// No decision can be printed: this is no event at which one is made. One that is too long may be.
fn undecided(args: &ClaudeCodeArgs, why: &str, is_too_long: bool) -> Exit {
    terminal::note(&visible(&format!("agentpass: {why}")));
    if args.on_error == OnError::Deny || is_too_long { Exit::BLOCKED } else { Exit::DONE }
}

/// Asks for a permit.
fn decide(args: &ClaudeCodeArgs, event: HookEvent, began: Instant) -> Result<HookDecision, String> {
    logging::start(args.log_level.as_deref(), LevelFilter::Warn).map_err(|e| e.to_string())?;
    let mut gateway = args.gateway().map_err(|e| e.to_string())?;
    gateway.connect_timeout = gateway.connect_timeout.min(args.timeout);
    gateway.fail_fast = true;
    let left = args.timeout.saturating_sub(began.elapsed());
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(ask(&executor, gateway, event, left)))
}

async fn ask(
    executor: &LocalExecutor<'_>,
    gateway: ClientOptions,
    event: HookEvent,
    left: Duration,
) -> Result<HookDecision, String> {
    let mut signals = Signals::new([Signal::Int, Signal::Term]).map_err(|e| e.to_string())?;
    let question: Rc<RefCell<Option<String>>> = Rc::default();
    let asked = Rc::clone(&question);
    let on_pending = Rc::new(move |pending: &Pending| drop(asked.replace(Some(pending.request_id.clone()))));
    let options = RequestOptions {
        session_id: event.session,
        idempotency_key: event.key,
        permits: Some(true),
        on_pending: Some(on_pending),
        ..RequestOptions::default()
    };
    let began = Instant::now();
    let client = within(left, Client::connect(executor, gateway)).await.ok_or(TOO_LATE)?.map_err(words)?;
    let left = left.saturating_sub(began.elapsed());
    let reply = async { Ok(client.tool_request(event.tool, event.args, options).await) };
    let ended = async {
        signals.next().await;
        Err("it was interrupted".to_owned())
    };
    let decided = match within(left, future::or(reply, ended)).await {
        Some(Ok(Ok(result))) => match result.expires_in {
            Some(0) => Err("the permit is over".to_owned()),
            Some(_) => Ok(HookDecision::Allow),
            None => Err(format!("{} is no tool of permits", event.tool)),
        },
        Some(Ok(Err(error))) => of_error(&error),
        Some(Err(why)) => Err(why),
        None => Err(TOO_LATE.to_owned()),
    };
    // A question that nobody waits for any more is taken back.
    let open = question.take().filter(|_| decided.is_err());
    let end = async {
        if let Some(id) = open {
            client.cancel(&id).await.ok();
        }
        client.close().await;
    };
    within(WITHDRAW_LIMIT, end).await;
    decided
}

const TOO_LATE: &str = "there was no answer in time";

fn words(error: ClientError) -> String {
    error.to_string()
}
