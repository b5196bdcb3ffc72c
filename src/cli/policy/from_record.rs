//! `agentpass policy test --from-record`: the calls in the record as a tests file to start from.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::cases::{FOLDER, TestArgs};
use crate::cli::files::{OwnerFiles, paths};
use crate::cli::{Exit, Trouble, moment, output, terminal};
use crate::gate::explain::Explanation;
use crate::gate::replay::{Rejudged, UNKNOWN};
use crate::model::Action;
use crate::store::reader::RecordedCall;

const WHAT: &str = "write tests from the record";

/// The cases so far, as text.
#[derive(Default)]
struct TestsFile {
    cases: Vec<String>,
    /// Calls that no case can be made of.
    left_out: Vec<String>,
    seen: HashSet<String>,
}

pub(super) fn run(args: &TestArgs) -> Result<Exit, Trouble> {
    let since = moment::since(WHAT, args.since.as_deref())?;
    let paths = paths(args.config.as_deref(), args.permissions.as_deref());
    let target = target(&args.files, &paths.permissions)?;
    let files = match OwnerFiles::load(&paths) {
        Ok(files) => files,
        Err(exit) => return Ok(exit),
    };
    let mut tests = TestsFile::default();
    files.replay(WHAT, |rejudged| {
        if since.is_none_or(|since| rejudged.at >= since) {
            tests.add(&rejudged);
        }
    })?;
    if tests.cases.is_empty() {
        return Err(Trouble::new(Exit::FAILED, WHAT, "it holds no calls that tests can be made of"));
    }
    write(&target, &tests.text())?;
    terminal::note(&format!("wrote {} with {} tests", target.display(), tests.cases.len()));
    Ok(Exit::DONE)
}

fn target(given: &[String], permissions: &Path) -> Result<PathBuf, Trouble> {
    match given {
        [] => Ok(permissions.with_file_name(FOLDER).join("from-record.yaml")),
        [file] => Ok(PathBuf::from(file)),
        _ => {
            let trouble = Trouble::new(Exit::BAD_ARGUMENTS, WHAT, "more than one file is named");
            Err(trouble.help("--from-record writes one file"))
        }
    }
}

/// A file that exists may hold work of the owner's, so it is left alone.
fn write(target: &Path, text: &str) -> Result<(), Trouble> {
    let failed = |e: std::io::Error| {
        let exists = e.kind() == std::io::ErrorKind::AlreadyExists;
        let help = exists.then_some("name another file, or move this one away");
        Trouble::new(Exit::FAILED, WHAT, e).at(target.display().to_string()).maybe_help(help)
    };
    target.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
    let mut file = OpenOptions::new().write(true).create_new(true).open(target).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

impl TestsFile {
    fn add(&mut self, rejudged: &Rejudged) {
        let call = &rejudged.call;
        let same = json!([call.agent.as_str(), call.tool, call.args, decision(call).as_str()]).to_string();
        if !self.seen.insert(same) {
            return;
        }
        match &call.args {
            Some(args) if rejudged.decision() != UNKNOWN => self.cases.push(case(rejudged, args)),
            _ => self
                .left_out
                .push(format!("  # left out, its arguments were redacted: {}", quoted(&call.signature))),
        }
    }

    fn text(&self) -> String {
        let head = "# The calls in the record and what was decided on them. Keep those that should stay as they are.";
        let lines = [head.to_owned(), "tests:".to_owned()].into_iter();
        let lines: Vec<String> = lines.chain(self.cases.iter().chain(&self.left_out).cloned()).collect();
        lines.join("\n") + "\n"
    }
}

fn case(rejudged: &Rejudged, args: &Map<String, Value>) -> String {
    let Rejudged { call, at, why, read, redacted } = rejudged;
    let sources = read.iter().map(|source| json!({"from": source.from, "labels": source.labels}));
    let sources: Vec<Value> = sources.collect();
    let counts = why.as_ref().map(counts).unwrap_or_default();
    let some =
        |key: &str, is_some: bool, value: Value| is_some.then(|| format!("    {key}: {}", flow(&value)));
    let lines = [
        Some(format!("  - name: {}", quoted(&call.signature))),
        redacted.then(|| "    # the values ••• are redacted".to_owned()),
        some("agent", true, call.agent.as_str().into()),
        Some(format!("    at: {at}")),
        some("session", call.session.is_some(), json!(call.session)),
        some("read", !sources.is_empty(), sources.into()),
        some("counts", !counts.is_empty(), counts.into()),
        some("call", true, json!({"tool": call.tool, "args": args})),
        Some(format!("    expect: {}", decision(call))),
    ];
    lines.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// What the rules said: a grant lets through what they ask about.
fn decision(call: &RecordedCall) -> Action {
    if call.grant.is_some() { Action::Ask } else { call.decision }
}

/// What the limits had counted that speak of the call.
fn counts(why: &Explanation) -> Map<String, Value> {
    let shown = why.to_json();
    let limits = shown.get("limits").and_then(Value::as_array).into_iter().flatten();
    let count = |limit: &Value| {
        let (name, count) = (limit.get("name")?.as_str()?, limit.get("count")?);
        let is_nothing = *count == json!(0) || *count == json!("0") || count.is_null();
        (!is_nothing).then(|| (name.to_owned(), count.clone()))
    };
    limits.filter_map(count).collect()
}

/// JSON is YAML.
fn flow(value: &Value) -> String {
    output::json_line(value)
}

fn quoted(text: &str) -> String {
    flow(&text.into())
}
