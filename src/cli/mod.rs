//! Rank 7: the command line, and the only place that prints.
//!
//! A command is one file: its arguments as an argh struct with the help texts, and `run`, which returns an [`Exit`] or
//! the [`Trouble`] that kept it. It is listed once below. What all of them share:
//!
//! | file | what |
//! |---|---|
//! | [`arguments`] | what argh does not do: `--name=value`, `-h`, the default command |
//! | `answered`, `several` | what became of an answer, and of many at once |
//! | [`exit`], [`trouble`] | the exit codes, and the shape of every error |
//! | `moment` | times such as `24h` |
//! | [`output`], [`terminal`], [`logging`] | stdout for results, stderr for everything else |
//! | [`options`] | options of several commands |
//! | `files` | the owner's files and what they say to a call |
//! | [`gateway`], [`refusal`] | how agents reach a gateway, and what its refusals exit with |
//! | `layout`, `help`, `colour` | text no wider than the terminal, and its colours |
//! | `suggest` | "did you mean" |
//! | [`values`] | `key=value` and `key:=JSON` |
//!
//! Commands must never decide anything that other surfaces would have to decide again.

mod answered;
pub(crate) mod arguments;
pub(crate) mod card;
mod colour;
pub(crate) mod exit;
mod files;
pub(crate) mod gateway;
mod help;
mod layout;
pub(crate) mod logging;
mod moment;
pub(crate) mod next_step;
mod options;
mod output;
pub(crate) mod owner;
mod progress;
pub(crate) mod refusal;
mod several;
pub(crate) mod suggest;
mod terminal;
pub(crate) mod trouble;
pub(crate) mod values;
mod watch;

pub(crate) mod agents;
pub(crate) mod approvals;
pub(crate) mod approve;
pub(crate) mod audit;
pub(crate) mod channels;
pub(crate) mod check;
pub(crate) mod clock;
pub(crate) mod demo;
pub(crate) mod deny;
pub(crate) mod explain;
pub(crate) mod grants;
pub(crate) mod hook;
pub(crate) mod init;
pub(crate) mod kill;
pub(crate) mod limits;
pub(crate) mod mcp;
pub(crate) mod pending;
pub(crate) mod people;
pub(crate) mod policy;
pub(crate) mod reload;
mod replace_file;
pub(crate) mod request;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod telegram_setup;
pub(crate) mod tools;
pub(crate) mod web;

use std::ffi::OsString;
use std::process::ExitCode;

use argh::FromArgs;

use self::arguments::Prepared;
pub(crate) use self::exit::Exit;
pub(crate) use self::trouble::Trouble;
use crate::service::child;

/// An execution gateway for AI agents on untrusted devices. Without a command it serves.
#[derive(FromArgs, Debug)]
#[argh(
    note = "Every command has its own --help. -V, --version prints the version.",
    note = "Options may be written --name value or --name=value; what follows -- is no option.",
    note = "LOG_LEVEL (error, warn, info, debug or trace) sets how much is logged, to stderr.",
    error_code(1, "denied"),
    error_code(2, "timed out"),
    error_code(3, "no connection, or not authenticated"),
    error_code(4, "bad arguments"),
    error_code(5, "the action failed"),
    error_code(78, "bad configuration")
)]
struct Agentpass {
    #[argh(subcommand)]
    command: CommandLine,
}

macro_rules! commands {
    ($($name:ident($args:ty) => $run:path,)*) => {
        #[derive(FromArgs, Debug)]
        #[argh(subcommand)]
        enum CommandLine {
            $($name($args),)*
        }

        impl CommandLine {
            fn run(&self) -> Result<Exit, Trouble> {
                match self {
                    $(CommandLine::$name(args) => $run(args),)*
                }
            }
        }
    };
}

commands! {
    Serve(serve::ServeArgs) => serve::run,
    Check(check::CheckArgs) => check::run,
    Explain(explain::ExplainArgs) => explain::run,
    Policy(policy::PolicyArgs) => policy::run,
    Mcp(mcp::McpArgs) => mcp::run,
    Init(init::InitArgs) => init::run,
    Demo(demo::DemoArgs) => demo::run,
    TelegramSetup(telegram_setup::TelegramSetupArgs) => telegram_setup::run,
    Approvals(approvals::ApprovalsArgs) => approvals::run,
    Approve(approve::ApproveArgs) => approve::run,
    Deny(deny::DenyArgs) => deny::run,
    Status(status::StatusArgs) => status::run,
    Kill(kill::KillArgs) => kill::run,
    Resume(kill::ResumeArgs) => kill::resume,
    Agents(agents::AgentsArgs) => agents::run,
    Forget(agents::ForgetArgs) => agents::forget,
    Channels(channels::ChannelsArgs) => channels::run,
    Limits(limits::LimitsArgs) => limits::run,
    Grants(grants::GrantsArgs) => grants::run,
    Grant(grants::GrantArgs) => grants::give,
    People(people::PeopleArgs) => people::run,
    Clock(clock::ClockArgs) => clock::run,
    Reload(reload::ReloadArgs) => reload::run,
    Web(web::WebArgs) => web::run,
    Audit(audit::AuditArgs) => audit::run,
    Request(request::RequestArgs) => request::run,
    Tools(tools::ToolsArgs) => tools::run,
    Pending(pending::PendingArgs) => pending::run,
    Hook(hook::HookArgs) => hook::run,
}

/// Runs the command line `args`, the program's name first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(code) = child::take_over(&args) {
        return code;
    }
    // For a coding agent every other exit code is a hook that has nothing to say.
    let is_hook = args.get(1..3).is_some_and(|words| words == ["hook", "claude-code"]);
    let reported = |trouble: Trouble| match (trouble.report(), is_hook) {
        (_, true) => Exit::BLOCKED,
        (exit, false) => exit,
    };
    carry_out(args).unwrap_or_else(reported).into()
}

fn carry_out(args: impl IntoIterator<Item = OsString>) -> Result<Exit, Trouble> {
    let args = match arguments::prepare(args.into_iter().skip(1))? {
        Prepared::Version => return output::finish(concat!("agentpass ", env!("CARGO_PKG_VERSION"))),
        Prepared::Command(args) => args,
    };
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match Agentpass::from_args(&["agentpass"], &args) {
        Ok(Agentpass { command }) => command.run(),
        Err(early) if early.status.is_ok() => output::finish(&help::shown(early.output.trim_end())),
        Err(early) => Err(arguments::mistake(&args, &early.output, &help_for(&args))),
    }
}

/// The help text of the command that `args` begin with, or of the whole program.
fn help_for(args: &[&str]) -> String {
    let help = |words: &[&str]| {
        let early = Agentpass::from_args(&["agentpass"], &[words, &["--help"]].concat()).err();
        early.filter(|early| early.status.is_ok()).map(|early| early.output)
    };
    let nested = args.iter().take(2).copied().collect::<Vec<_>>();
    let first = args.iter().take(1).copied().collect::<Vec<_>>();
    let is_nested = first.first().is_some_and(|name| arguments::NESTED.contains(name));
    let found = if is_nested { help(&nested).or_else(|| help(&first)) } else { help(&first) };
    found.or_else(|| help(&[])).unwrap_or_default()
}

#[cfg(test)]
mod tests;
