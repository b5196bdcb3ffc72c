//! Rank 7: the command line, and the only place that prints.
//!
//! A command is one file: its arguments as an argh struct with the help texts, and `run`, which returns an
//! [`Exit`]. It is listed once below. What all of them share:
//!
//! | file | what |
//! |---|---|
//! | [`arguments`] | what argh does not do: `--name=value`, `-h`, the default command |
//! | [`exit`], [`trouble`] | the exit codes, and the shape of every error |
//! | [`output`], [`logging`] | stdout for results, stderr for everything else |
//! | [`gateway`], [`refusal`] | how agents reach a gateway, and what its refusals exit with |
//! | `layout`, `help`, `colour` | text no wider than the terminal, and its colours |
//! | `suggest` | "did you mean" |
//! | [`values`] | `key=value` and `key:=JSON` |
//!
//! Commands must never decide anything that other surfaces would have to decide again.

pub(crate) mod arguments;
pub(crate) mod card;
mod colour;
pub(crate) mod exit;
pub(crate) mod gateway;
mod help;
mod layout;
pub(crate) mod logging;
pub(crate) mod next_step;
mod output;
pub(crate) mod owner;
mod progress;
pub(crate) mod refusal;
pub(crate) mod suggest;
mod terminal;
pub(crate) mod trouble;
pub(crate) mod values;
mod watch;

pub(crate) mod approvals;
pub(crate) mod approve;
pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod deny;
pub(crate) mod explain;
pub(crate) mod init;
pub(crate) mod pending;
pub(crate) mod reload;
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
    command: Command,
}

/// Every command there is.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum Command {
    Serve(serve::Serve),
    Check(check::Check),
    Explain(explain::Explain),
    Init(init::Init),
    Demo(demo::Demo),
    TelegramSetup(telegram_setup::TelegramSetup),
    Approvals(approvals::Approvals),
    Approve(approve::Approve),
    Deny(deny::Deny),
    Status(status::Status),
    Reload(reload::Reload),
    Web(web::Web),
    Audit(audit::Audit),
    Request(request::Request),
    Tools(tools::Tools),
    Pending(pending::Pending),
}

impl Command {
    fn run(self) -> Exit {
        match self {
            Command::Serve(args) => serve::run(args),
            Command::Check(args) => check::run(args),
            Command::Explain(args) => explain::run(args),
            Command::Init(args) => init::run(args),
            Command::Demo(args) => demo::run(args),
            Command::TelegramSetup(args) => telegram_setup::run(args),
            Command::Approvals(args) => approvals::run(args),
            Command::Approve(args) => approve::run(args),
            Command::Deny(args) => deny::run(args),
            Command::Status(args) => status::run(args),
            Command::Reload(args) => reload::run(args),
            Command::Web(args) => web::run(args),
            Command::Audit(args) => audit::run(args),
            Command::Request(args) => request::run(args),
            Command::Tools(args) => tools::run(args),
            Command::Pending(args) => pending::run(args),
        }
    }
}

/// Runs the command line `args`, the program's name first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let exit = match arguments::prepare(args.into_iter().skip(1)) {
        Ok(Prepared::Version) => said(concat!("agentpass ", env!("CARGO_PKG_VERSION"))),
        Ok(Prepared::Command(args)) => parse(&args).map_or_else(|exit| exit, Command::run),
        Err(trouble) => trouble.report(),
    };
    exit.into()
}

/// The command, or how the program ends without one: after a help text or a mistake.
fn parse(args: &[String]) -> Result<Command, Exit> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match Agentpass::from_args(&["agentpass"], &args) {
        Ok(Agentpass { command }) => Ok(command),
        Err(early) if early.status.is_ok() => Err(said(&help::shown(early.output.trim_end()))),
        Err(early) => Err(arguments::mistake(&args, &early.output, &help_for(&args)).report()),
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

/// Prints one text as the whole outcome of the program.
fn said(text: &str) -> Exit {
    match output::print(text) {
        Ok(_) => Exit::DONE,
        Err(trouble) => trouble.report(),
    }
}

#[cfg(test)]
mod tests;
