//! `agentpass check`: are the files right?

use std::path::Path;

use argh::FromArgs;

use super::{Exit, Trouble, output, terminal};
use crate::config::{Paths, Report};
use crate::daemon;

/// Read and check the configuration, the permissions and the tool files, and print what is wrong or doubtful.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "check", error_code(78, "something is wrong; warnings alone are no error"))]
pub(crate) struct Check {
    /// config.yaml (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
    /// permissions.yaml (default: beside config.yaml)
    #[argh(option, arg_name = "file")]
    pub permissions: Option<String>,
    /// check for `serve --insecure`: without TLS, whatever the files say
    #[argh(switch)]
    pub insecure: bool,
    /// print the findings to stdout as JSON
    #[argh(switch)]
    pub json: bool,
}

/// Runs it.
pub(crate) fn run(args: Check) -> Exit {
    let paths =
        Paths::find(args.config.as_deref().map(Path::new), args.permissions.as_deref().map(Path::new));
    let report = daemon::check(&paths, args.insecure);
    let exit = if report.is_ok() { Exit::DONE } else { Exit::BAD_CONFIGURATION };
    show(&report, args.json).map_or_else(|trouble| trouble.report(), |()| exit)
}

fn show(report: &Report, as_json: bool) -> Result<(), Trouble> {
    if as_json {
        return output::print(&output::json(&report.to_json())).map(drop);
    }
    report.findings.iter().for_each(|finding| terminal::note(&finding.to_string()));
    terminal::note(&format!("agentpass: {}", summary(report)));
    Ok(())
}

fn summary(report: &Report) -> String {
    let errors = report.findings.iter().filter(|finding| finding.is_error()).count();
    let counted = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    };
    let warnings = counted(report.findings.len() - errors, "warning");
    match (errors, report.findings.len() - errors) {
        (0, 0) => "the configuration is right".to_owned(),
        (0, _) => format!("the configuration can be used; {warnings}"),
        (_, 0) => format!("the configuration cannot be used: {}", counted(errors, "error")),
        (_, _) => format!("the configuration cannot be used: {}, {warnings}", counted(errors, "error")),
    }
}
