//! `agentpass check`: are the files right?

use argh::FromArgs;
use serde_json::json;

use super::files::paths;
use super::{Exit, Trouble, output, terminal};
use crate::base::readable::counted;
use crate::config::Finding;
use crate::daemon;

/// Read and check the configuration, the permissions and the tool files, and print what is wrong or doubtful.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "check",
    error_code(78, "something is wrong; warnings alone do not count as errors")
)]
pub(crate) struct CheckArgs {
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

pub(crate) fn run(args: &CheckArgs) -> Result<Exit, Trouble> {
    let paths = paths(args.config.as_deref(), args.permissions.as_deref());
    let findings = daemon::check(&paths, args.insecure);
    let is_ok = !findings.iter().any(Finding::is_error);
    if args.json {
        let all: Vec<_> = findings.iter().map(Finding::to_json).collect();
        output::print(&output::json(&json!({"ok": is_ok, "findings": all})))?;
    } else {
        findings.iter().for_each(|finding| terminal::note(&finding.to_string()));
        terminal::note(&format!("agentpass: {}", summary(&findings)));
    }
    Ok(if is_ok { Exit::DONE } else { Exit::BAD_CONFIGURATION })
}

fn summary(findings: &[Finding]) -> String {
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    let warnings = findings.len() - errors;
    let (some_errors, some_warnings) = (counted(errors, "error"), counted(warnings, "warning"));
    match (errors, warnings) {
        (0, 0) => "the configuration is right".to_owned(),
        (0, _) => format!("the configuration can be used; {some_warnings}"),
        (_, 0) => format!("the configuration cannot be used: {some_errors}"),
        (_, _) => format!("the configuration cannot be used: {some_errors}, {some_warnings}"),
    }
}
