//! `agentpass policy test`: cases of the owner's, judged.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use argh::FromArgs;
use serde_json::{Value, json};

use crate::base::safe_text::visible;
use crate::cli::colour::{Shade, on_stdout};
use crate::cli::files::{Circumstances, OwnerFiles, paths, unusable};
use crate::cli::{Exit, Trouble, output, terminal};
use crate::config::{Case, Expected, cases};
use crate::gate::explain::Explanation;

/// Run the cases in test files and name those that do not end as expected. Needs no running gateway.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "test",
    example = "agentpass policy test tests/lamps.yaml",
    error_code(1, "a case failed"),
    error_code(78, "bad configuration, a bad tests file, or none")
)]
pub(crate) struct TestArgs {
    /// the tests files (default: tests/*.yaml beside permissions.yaml); with --from-record the file to write
    #[argh(positional, arg_name = "file")]
    pub files: Vec<String>,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// write a tests file to start from: the calls in the record, and what was decided (default:
    /// tests/from-record.yaml)
    #[argh(switch)]
    pub from_record: bool,
    /// with --from-record: only calls from this time on: 24h (ago; also s, m, d, w), 2026-01-31 or 2026-01-31T12:00:00Z
    #[argh(option, arg_name = "time")]
    pub since: Option<String>,
    /// config.yaml (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
    /// permissions.yaml (default: beside config.yaml)
    #[argh(option, arg_name = "file")]
    pub permissions: Option<String>,
}

const WHAT: &str = "test the policy";
/// Where tests files are, beside permissions.yaml.
pub(super) const FOLDER: &str = "tests";

/// What became of a call.
struct Got {
    decision: String,
    rule: Option<String>,
    reasons: Vec<String>,
}

/// A case that was judged.
struct Judged {
    file: PathBuf,
    case: Case,
    got: Got,
}

pub(super) fn run(args: &TestArgs) -> Result<Exit, Trouble> {
    if args.since.is_some() {
        let trouble = Trouble::new(Exit::BAD_ARGUMENTS, WHAT, "--since goes with --from-record");
        return Err(trouble.help("agentpass policy test --help"));
    }
    let paths = paths(args.config.as_deref(), args.permissions.as_deref());
    let files = match OwnerFiles::load(&paths) {
        Ok(files) => files,
        Err(exit) => return Ok(exit),
    };
    let mut judged = Vec::new();
    for file in tests_files(&args.files, &paths.permissions)? {
        match cases(&file, &files.case_names()) {
            Ok(cases) => judged.extend(cases.into_iter().map(|case| judge(&files, &file, case))),
            Err(findings) => return Ok(unusable(&findings)),
        }
    }
    let failed = judged.iter().filter(|judged| !judged.passed()).count();
    let text = match args.json {
        true => output::json(&judged.iter().map(Judged::to_json).collect()),
        false => judged.iter().map(Judged::lines).collect::<Vec<_>>().join("\n"),
    };
    output::print(&text)?;
    terminal::note(&format!("agentpass: {} passed, {failed} failed", judged.len() - failed));
    Ok(if failed == 0 { Exit::DONE } else { Exit::DENIED })
}

/// The given files, else all of the folder beside permissions.yaml, by name.
fn tests_files(given: &[String], permissions: &Path) -> Result<Vec<PathBuf>, Trouble> {
    if !given.is_empty() {
        return Ok(given.iter().map(PathBuf::from).collect());
    }
    let folder = permissions.with_file_name(FOLDER);
    let none = |cause: &dyn Display| {
        let trouble = Trouble::new(Exit::BAD_CONFIGURATION, WHAT, cause).at(folder.display().to_string());
        trouble.help("name a file, or let `agentpass policy test --from-record` write one to start from")
    };
    let entries = std::fs::read_dir(&folder).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => none(&"there is no tests file"),
        _ => none(&e),
    })?;
    let is_tests = |path: &PathBuf| {
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        !hidden && path.extension().is_some_and(|end| end == "yaml")
    };
    let mut found: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_tests).collect();
    found.sort();
    if found.is_empty() { Err(none(&"there is no tests file")) } else { Ok(found) }
}

fn judge(files: &OwnerFiles, file: &Path, case: Case) -> Judged {
    let agent = case.agent.clone().unwrap_or_else(|| files.agent(None));
    let circumstances = Circumstances::of_case(&case);
    let why = files.explain(&agent, &case.tool, case.args.clone(), &circumstances);
    Judged { file: file.to_owned(), got: Got::new(&why), case }
}

impl Got {
    /// In the words of `explain`.
    fn new(why: &Explanation) -> Got {
        let json = why.to_json();
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let rule = |name| text(json.get("rule").and_then(|rule| rule.get(name)));
        let reasons = json.get("reasons").and_then(Value::as_array).into_iter().flatten();
        let reasons = reasons.filter_map(|reason| text(reason.get("reason")));
        Got {
            decision: text(json.get("decision")).unwrap_or_default(),
            rule: rule("description").or_else(|| rule("pattern")),
            reasons: reasons.chain(text(json.get("reason"))).collect(),
        }
    }
}

impl Judged {
    fn passed(&self) -> bool {
        self.differences().is_empty()
    }

    /// What was expected and what came instead, by name.
    fn differences(&self) -> Vec<(&'static str, String, String)> {
        let (Expected { decision, rule, reasons }, got) = (&self.case.expect, &self.got);
        let shown = |reasons: &[String]| format!("[{}]", reasons.join(", "));
        let none = || "(none)".to_owned();
        let mut found = Vec::new();
        if *decision != got.decision {
            found.push(("decision", (*decision).to_owned(), got.decision.clone()));
        }
        if let Some(rule) = rule.as_ref().filter(|rule| got.rule.as_ref() != Some(*rule)) {
            found.push(("rule", rule.clone(), got.rule.clone().unwrap_or_else(none)));
        }
        if let Some(reasons) = reasons.as_ref().filter(|reasons| got.reasons != **reasons) {
            found.push(("reasons", shown(reasons), shown(&got.reasons)));
        }
        found
    }

    /// One line, and those of the difference where there is one.
    fn lines(&self) -> String {
        let differences = self.differences();
        let name = visible(&self.case.name);
        if differences.is_empty() {
            return format!("{}    {name}", on_stdout("ok", Some(Shade::Good)));
        }
        let mut lines =
            vec![format!("{}  {name} ({})", on_stdout("FAIL", Some(Shade::Bad)), self.file.display())];
        for (what, expected, got) in differences {
            lines.push(format!("      - {what}: {}", visible(&expected)));
            lines.push(format!("      + {what}: {}", visible(&got)));
        }
        lines.join("\n")
    }

    fn to_json(&self) -> Value {
        let Expected { decision, rule, reasons } = &self.case.expect;
        let Got { decision: got_decision, rule: got_rule, reasons: got_reasons } = &self.got;
        json!({
            "file": self.file.to_string_lossy(),
            "name": self.case.name,
            "passed": self.passed(),
            "expected": {"decision": decision, "rule": rule, "reasons": reasons},
            "got": {"decision": got_decision, "rule": got_rule, "reasons": got_reasons},
        })
    }
}
