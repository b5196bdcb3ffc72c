//! `agentpass check`: are the files right?

use std::path::Path;

use argh::FromArgs;
use serde_json::Value;

use super::{Exit, Trouble, output};
use crate::config::{self, Finding, Paths};

/// Read and check the configuration, the permissions and the tool files, and print what is wrong or doubtful.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "check", error_code(78, "something is wrong; warnings alone are no error"))]
pub struct Check {
    /// config.yaml (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
    /// permissions.yaml (default: beside config.yaml)
    #[argh(option, arg_name = "file")]
    pub permissions: Option<String>,
    /// print the findings to stdout as JSON
    #[argh(switch)]
    pub json: bool,
}

/// Runs it.
pub fn run(args: Check) -> Exit {
    let paths =
        Paths::find(args.config.as_deref().map(Path::new), args.permissions.as_deref().map(Path::new));
    let (findings, exit) = match config::load(&paths) {
        Ok(loaded) => (loaded.warnings, Exit::DONE),
        Err(findings) => (findings, Exit::BAD_CONFIGURATION),
    };
    show(&findings, args.json).map_or_else(|trouble| trouble.report(), |()| exit)
}

fn show(findings: &[Finding], as_json: bool) -> Result<(), Trouble> {
    if as_json {
        let all = findings.iter().map(Finding::to_json).collect();
        return output::print(&output::json(&Value::Array(all))).map(drop);
    }
    findings.iter().for_each(|finding| output::note(&finding.to_string()));
    if findings.is_empty() {
        output::note("agentpass: the configuration is right");
    }
    Ok(())
}
