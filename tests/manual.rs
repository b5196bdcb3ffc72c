//! The manual pages and the completion say what the program does: held against its help texts, its parser and its
//! source, so that neither can change without the other.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use agentpass::testing::base::json::MAX_VALUES;
use agentpass::testing::config::{Finding, Loaded, Paths, ServiceConfig, Surroundings, load_in};
use agentpass::testing::model::Amount;
use agentpass::testing::model::call::{MAX_ARGS, MAX_SIGNATURE};
use agentpass::testing::protocol::frame::{MAX_BATCH, MAX_DEPTH};
use agentpass::testing::protocol::params::{MAX_KEY, MAX_REASON, MAX_TOOL};
use harness::{BINARY, Folder};

const PAGES: [&str; 4] =
    ["agentpass.1", "agentpass.yaml.5", "agentpass-permissions.5", "agentpass-protocol.7"];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn page(name: &str) -> String {
    fs::read_to_string(root("etc/man").join(name)).unwrap()
}

fn program(arguments: &[&str]) -> String {
    let output = Command::new(BINARY).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

// The command line.

/// The names in the section "Commands:" of a help text.
fn commands_of(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|l| !l.is_empty());
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

/// Every command as it is typed, the nested ones too.
fn commands() -> Vec<String> {
    let mut all = Vec::new();
    for command in commands_of(&program(&["--help"])) {
        let inner = commands_of(&program(&[&command, "--help"]));
        all.extend(inner.iter().map(|name| format!("{command} {name}")));
        all.push(command);
    }
    assert!(all.len() > 15, "{all:?}");
    all
}

fn help(command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
    program(&words)
}

/// The options in the usage line of a help text, and `--help`.
fn options(help: &str) -> BTreeSet<String> {
    let usage: String = help.lines().take_while(|line| !line.is_empty()).collect();
    let words = usage.split(['[', ']', ' ']).filter(|word| word.len() > 2 && word.starts_with("--"));
    words.map(str::to_owned).chain(["--help".to_owned()]).collect()
}

#[test]
fn the_page_names_every_command_and_every_option_and_no_others() {
    let text = page("agentpass.1");
    let mut known: BTreeSet<String> = BTreeSet::from(["--version".to_owned()]);
    for command in commands() {
        let found = text.lines().any(|line| {
            line.strip_prefix(".It Cm ")
                .is_some_and(|rest| rest == command || rest.starts_with(&format!("{command} ")))
        });
        assert!(found || command == "audit", "no item for {command}");
        known.extend(options(&help(&command)));
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let flags = words.windows(2).filter(|pair| pair[0].trim_start_matches('.') == "Fl" && pair[1].len() > 2);
    let named: BTreeSet<String> = flags.map(|pair| format!("-{}", pair[1])).collect();
    assert_eq!(named, known);
}

/// A quote macro goes on to the end of its line: a second one would open inside the first.
#[test]
fn no_quote_opens_inside_another() {
    for name in ["agentpass.1", "agentpass.yaml.5", "agentpass-permissions.5", "agentpass-protocol.7"] {
        for line in page(name).lines().filter(|line| line.starts_with('.')) {
            let quotes = line
                .split_whitespace()
                .filter(|word| ["Dq", "Sq", "Qq"].contains(&word.trim_start_matches('.')));
            assert!(quotes.count() < 2, "{name}: {line}");
        }
    }
}

#[test]
fn every_exit_code_of_a_help_text_is_on_the_page() {
    let text = page("agentpass.1");
    let codes = commands().iter().map(|c| help(c)).chain([program(&["--help"])]).collect::<Vec<_>>();
    let codes = codes.iter().flat_map(|help| help.lines().skip_while(|line| *line != "Error codes:").skip(1));
    let codes: BTreeSet<&str> = codes.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(codes.contains("78"), "{codes:?}");
    for code in codes.iter().filter(|code| code.chars().all(|c| c.is_ascii_digit())) {
        assert!(text.lines().any(|line| line == format!(".It {code}")), "exit code {code}");
    }
}

/// README, SECURITY and the pages in docs/, with their names.
fn documents() -> Vec<(String, String)> {
    let docs = fs::read_dir(root("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.chain([root("README.md"), root("SECURITY.md")]);
    let pages = pages.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    pages.map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap())).collect()
}

/// The words behind each `agentpass` that begins a command, in shell blocks and between backticks.
fn typed(page: &str) -> Vec<Vec<&str>> {
    let mut typed = Vec::new();
    let mut block: Option<&str> = None;
    for line in page.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            block = if block.is_none() { Some(language) } else { None };
            continue;
        }
        let spans: Vec<&str> = match block {
            None => line.split('`').skip(1).step_by(2).collect(),
            Some("bash" | "sh") => vec![line],
            Some(_) => vec![],
        };
        for span in spans {
            let span = span.trim_start().trim_start_matches("sudo ");
            let Some(rest) = span.strip_prefix("agentpass ") else { continue };
            typed.push(rest.split(['#', '|', '>', ';']).next().unwrap().split_whitespace().collect());
        }
    }
    typed
}

#[test]
fn every_command_in_the_documents_is_one_that_the_program_takes() {
    let commands: BTreeMap<String, BTreeSet<String>> =
        commands().into_iter().map(|name| (name.clone(), options(&help(&name)))).collect();
    let mut count = 0;
    for (page, text) in documents() {
        for words in typed(&text).into_iter().filter(|words| !words.is_empty()) {
            let [one, two] = [1, 2].map(|length| words[..length.min(words.len())].join(" "));
            let found = commands.get(&two).or_else(|| commands.get(&one));
            let takes = found.unwrap_or_else(|| panic!("{page}: there is no command agentpass {two}"));
            let given = words.iter().filter(|word| word.len() > 2 && word.starts_with("--"));
            for option in given.map(|word| word.split('=').next().unwrap()) {
                assert!(takes.contains(option), "{page}: agentpass {} has no {option}", words.join(" "));
            }
            count += 1;
        }
    }
    assert!(count > 50, "only {count} commands found");
}

// The completion.

/// What the completion offers behind these words, the last of which is being typed.
fn completed(words: &[&str]) -> BTreeSet<String> {
    let script = r#"source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        _agentpass; printf '%s\n' "${COMPREPLY[@]}""#;
    let source = root("etc/completions/agentpass.bash");
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-uc", script, "bash"]).arg(source).arg(BINARY).args(words);
    let output = bash.output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn set<'t>(words: impl IntoIterator<Item = &'t str>) -> BTreeSet<String> {
    words.into_iter().map(str::to_owned).collect()
}

#[test]
fn the_completion_offers_exactly_the_commands_and_options_there_are() {
    let all = commands();
    let top = all.iter().map(String::as_str).filter(|c| !c.contains(' '));
    assert_eq!(completed(&[""]), set(top));
    let audit = all.iter().filter_map(|c| c.strip_prefix("audit "));
    assert_eq!(completed(&["audit", ""]), set(audit));
    for command in &all {
        let words: Vec<&str> = command.split(' ').chain(["-"]).collect();
        assert_eq!(completed(&words), options(&help(command)), "{command}");
    }
    let serve = options(&help("serve")).into_iter().chain(["--version".to_owned()]).collect();
    assert_eq!(completed(&["--"]), serve);
    assert_eq!(completed(&["sta"]), set(["status"]));
    assert_eq!(completed(&["nonsense", "-"]), BTreeSet::new());
}

#[test]
fn the_completion_knows_the_words_that_options_take() {
    for (option, command) in [
        ("--decision", "audit list"),
        ("--outcome", "audit list"),
        ("--starter", "init"),
        ("--log-level", "tools"),
    ] {
        let words: Vec<&str> = command.split(' ').chain([option, "zz"]).collect();
        let refused = Command::new(BINARY).args(&words).env_clear().output().unwrap();
        let told = String::from_utf8(refused.stderr).unwrap();
        let offered = completed(&[&words[..words.len() - 1], &[""]].concat());
        assert!(offered.len() > 2, "{option}: {offered:?}");
        offered.iter().for_each(|word| assert!(told.contains(word.as_str()), "{option} {word}: {told}"));
        let spelled = completed(&[&words[..words.len() - 1], &["=", ""]].concat());
        assert_eq!(spelled, offered, "{option}=");
    }
}

// The files.

/// A place in a YAML file: keys, `[]` for an item of a list, `NAME` or `ARG` for a key of the owner's choice.
#[derive(Clone)]
struct Spot {
    steps: Vec<(String, Option<String>)>,
}

impl Spot {
    fn root() -> Spot {
        Spot { steps: Vec::new() }
    }

    /// The place below this one; `kind` is what has to stand beside it: `type: api`.
    fn below(&self, step: &str, kind: Option<&str>) -> Spot {
        let mut steps = self.steps.clone();
        steps.push((step.to_owned(), kind.map(str::to_owned)));
        Spot { steps }
    }

    /// A key of the owner's choice, as the pages write it.
    fn chosen(&self) -> &'static str {
        if self.steps.last().is_some_and(|(step, _)| step == "args") { "ARG" } else { "NAME" }
    }

    /// A YAML file with `value` at this place, and otherwise only what is needed so that it is looked at.
    fn filled(&self, value: &str) -> String {
        let steps = self.steps.iter().enumerate().rev();
        steps.fold(value.to_owned(), |inner, (depth, (step, kind))| match (step.as_str(), kind) {
            ("[]", _) => format!("[{inner}]"),
            (step, Some(kind)) => format!("{{{kind}, {step}: {inner}}}"),
            (step, None) if depth == 2 && self.is_of_a_tool() && step != "request" => {
                format!("{{request: {{method: GET, path: /}}, {step}: {inner}}}")
            }
            (step, None) if depth == 2 && self.is_of_an_ask() => {
                format!("{{pattern: x, action: ask, {step}: {inner}}}")
            }
            (step, None) => format!("{{{step}: {inner}}}"),
        })
    }

    /// What stands in a rule and has a meaning only where it asks.
    fn is_of_an_ask(&self) -> bool {
        const OF_AN_ASK: [&str; 6] = ["grant", "approvals", "approvers", "remind", "escalate", "notify"];
        let is_rule =
            self.steps.first().is_some_and(|(list, _)| ["rules", "defaults"].contains(&list.as_str()));
        is_rule && self.steps.get(2).is_some_and(|(key, _)| OF_AN_ASK.contains(&key.as_str()))
    }

    fn is_of_a_tool(&self) -> bool {
        self.steps.len() > 2 && self.steps[0].0 == "tools"
    }

    /// `services.NAME.errors[].status`. What is the same in rules, defaults and limits stands on the page once:
    /// `when.NAME.eq`, `time.from`.
    fn path(&self) -> String {
        let is_shared = |(step, _): &(String, Option<String>)| ["when", "time"].contains(&step.as_str());
        let is_inside = self.steps.len() > 3 && self.steps.get(2).is_some_and(is_shared);
        self.steps.iter().skip(if is_inside { 2 } else { 0 }).fold(String::new(), |path, (step, _)| {
            match (path.as_str(), step.as_str()) {
                ("", step) => step.to_owned(),
                (_, "[]") => path + "[]",
                (_, step) => format!("{path}.{step}"),
            }
        })
    }
}

/// Which of the three files is looked into.
#[derive(Clone, Copy)]
enum Kind {
    Config,
    Permissions,
    Tools,
}

const AGENT: &str = "agent: {token: a-token-of-sufficient-length}\n";

impl Kind {
    /// What the parser says of this file beside a usual configuration.
    fn findings(self, text: &str) -> Vec<Finding> {
        let folder = Folder::new();
        let put = |name: &str, text: &str| fs::write(folder.0.join(name), text).unwrap();
        put("permissions.yaml", "rules: [{pattern: \"*\", action: ask}]\n");
        put("config.yaml", AGENT);
        match self {
            Kind::Config => put("config.yaml", text),
            Kind::Permissions => put("permissions.yaml", text),
            Kind::Tools => {
                let service = "services: {zz: {url: \"http://127.0.0.1\", tools: tools.yaml}}\n";
                put("config.yaml", &format!("{AGENT}{service}"));
                put("tools.yaml", text);
            }
        }
        load(&folder).map_or_else(|findings| findings, |loaded| loaded.warnings)
    }
}

fn load(folder: &Folder) -> Result<Loaded, Vec<Finding>> {
    let path = |name: &str| folder.0.join(name);
    let paths = Paths { config: path("config.yaml"), permissions: path("permissions.yaml") };
    load_in(&paths, &Surroundings { variable: &|_| None, share: folder.0.clone() })
}

/// What the parser knows, asked by mistakes: an unknown key is answered with those that are known.
#[derive(Default)]
struct Known {
    /// The keys that hold a value, and what the parser says of the value `zz`.
    values: BTreeMap<String, Vec<Finding>>,
    sections: BTreeSet<String>,
}

fn known(kind: Kind) -> Known {
    let mut known = Known::default();
    explore(kind, &Spot::root(), &mut known);
    let Known { values, sections } = &mut known;
    values.retain(|path, _| !sections.contains(path));
    known
}

fn explore(kind: Kind, spot: &Spot, known: &mut Known) {
    let inside = [spot.clone(), spot.below("[]", None), spot.below(spot.chosen(), None)];
    let asked = |place: &Spot| kind.findings(&place.filled("{zz: 1}"));
    let section = inside.iter().map(|place| (place, asked(place))).find(|(_, found)| is_section(found));
    let Some((place, findings)) = section else {
        known.values.entry(spot.path()).or_insert_with(|| kind.findings(&spot.filled("zz")));
        return;
    };
    known.sections.extend([spot.path(), place.path()]);
    if !wants_type(&findings) {
        let keys = keys_here(&findings).unwrap();
        keys.iter().for_each(|key| explore(kind, &place.below(key, None), known));
        for word in words_of(&kind.findings(&place.filled("{handler: zz}"))) {
            let findings = kind.findings(&place.filled(&format!("{{handler: {word}, zz: 1}}")));
            for key in keys_here(&findings).unwrap().iter().filter(|key| !keys.contains(key)) {
                explore(kind, &place.below(key, Some(&format!("handler: {word}"))), known);
            }
        }
        return;
    }
    explore(kind, &place.below("type", None), known);
    for word in words_of(&kind.findings(&place.filled("{type: zz}"))) {
        let findings = kind.findings(&place.filled(&format!("{{type: {word}, zz: 1}}")));
        for key in keys_here(&findings).unwrap().iter().filter(|key| *key != "type") {
            explore(kind, &place.below(key, Some(&format!("type: {word}"))), known);
        }
    }
}

fn is_section(findings: &[Finding]) -> bool {
    keys_here(findings).is_some() || wants_type(findings)
}

/// Whether what else is known depends on a key `type`.
fn wants_type(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.text == "type is missing")
}

/// The keys that are known where `zz` is not.
fn keys_here(findings: &[Finding]) -> Option<Vec<String>> {
    let unknown = findings.iter().find(|f| f.text == "unknown key \"zz\"")?;
    let list = unknown.help.as_ref()?.strip_prefix("known here: ")?;
    Some(list.split(", ").map(str::to_owned).collect())
}

/// The words that are taken where `zz` is none.
fn words_of(findings: &[Finding]) -> Vec<String> {
    let refused = findings.iter().find(|f| f.text.starts_with("unknown ") && f.text.ends_with("\"zz\""));
    let help = refused.and_then(|f| f.help.as_ref()).and_then(|help| help.strip_prefix("use "));
    help.map(|list| list.replace(" or ", ", ").split(", ").map(str::to_owned).collect()).unwrap_or_default()
}

/// The keys on a page, each with its heading and its paragraph.
fn documented(text: &str) -> BTreeMap<String, (String, String)> {
    let mut found = BTreeMap::new();
    let items = text.split("\n.It Cm ").skip(1);
    for item in items.filter(|item| item.lines().next().unwrap().contains(" : ")) {
        let (heading, rest) = item.split_once('\n').unwrap_or((item, ""));
        let paragraph = rest.split("\n.El").next().unwrap_or(rest);
        let (keys, kind) = heading.split_once(" : ").unwrap();
        for key in keys.split(" , ") {
            let before = found.insert(key.to_owned(), (kind.to_owned(), paragraph.to_owned()));
            assert!(before.is_none(), "{key} is there twice");
        }
    }
    found
}

fn holds(page_name: &str, kinds: &[Kind]) {
    let documented = documented(&page(page_name));
    let (mut values, mut sections) = (BTreeMap::new(), BTreeSet::new());
    for kind in kinds {
        let known = known(*kind);
        values.extend(known.values);
        sections.extend(known.sections);
    }
    let missing: Vec<_> = values.keys().filter(|key| !documented.contains_key(*key)).collect();
    assert!(missing.is_empty(), "not on the page: {missing:?}");
    let stale: Vec<_> =
        documented.keys().filter(|key| !values.contains_key(*key) && !sections.contains(*key)).collect();
    assert!(stale.is_empty(), "not known to the parser: {stale:?}");
    for (key, findings) in &values {
        let (kind, paragraph) = &documented[key];
        says_the_same(key, findings, kind, paragraph);
    }
}

/// Type, range and words as the parser tells them.
fn says_the_same(key: &str, findings: &[Finding], kind: &str, paragraph: &str) {
    let name = key.rsplit('.').next().unwrap();
    let wanted =
        findings.iter().find_map(|f| f.text.strip_prefix(&format!("{name} must be "))).unwrap_or_default();
    let wanted = wanted.split(", not ").next().unwrap();
    let types = [
        ("true or false", "true or false"),
        ("a number of seconds", "seconds"),
        ("a whole number", "number"),
        ("whole numbers", "list of numbers"),
        ("a list", "list of "),
        ("a section", "section of "),
    ];
    if let Some((_, word)) = types.iter().find(|(told, _)| wanted.starts_with(told)) {
        assert!(kind.starts_with(word), "{key} is {kind:?}, but must be {wanted}");
    }
    if let Some((_, range)) = wanted.split_once(" from ").filter(|(_, range)| range.len() < 20) {
        assert!(paragraph.contains(range), "{key}: {range} is not in {paragraph:?}");
    }
    for word in words_of(findings) {
        assert!(kind.starts_with("word"), "{key}: {kind}");
        let said = paragraph.split([' ', '\n']).any(|part| part == word);
        assert!(said, "{key}: {word} is not in {paragraph:?}");
    }
}

#[test]
fn the_pages_have_every_key_that_the_parser_knows_with_its_range() {
    holds("agentpass.yaml.5", &[Kind::Config, Kind::Tools]);
    holds("agentpass-permissions.5", &[Kind::Permissions]);
}

fn fixed(amount: &Amount) -> String {
    let Amount::Fixed(number) = amount else { panic!("{amount:?}") };
    number.to_string()
}

#[test]
fn the_page_has_the_parsers_defaults() {
    let folder = Folder::new();
    let service = "services: {s: {url: \"http://127.0.0.1\", tools: t.yaml, health: {}}, \
                   p: {handler: permit, tools: p.yaml}}\n";
    fs::write(folder.0.join("config.yaml"), format!("{AGENT}{service}")).unwrap();
    fs::write(folder.0.join("permissions.yaml"), "rules: []\n").unwrap();
    let tool = "tools: {t: {request: {method: GET, path: /}, response: {follow: {}}}}\n";
    fs::write(folder.0.join("t.yaml"), tool).unwrap();
    fs::write(folder.0.join("p.yaml"), "tools: {p: {}}\n").unwrap();
    let config = load(&folder).unwrap().config;
    let http = config.tools["t"].target.http().unwrap();
    let follow = http.response.follow.clone().unwrap();
    let ServiceConfig::Permit(permit) = &config.services[1] else { panic!() };
    let (gateway, storage, service) = (&config.gateway, &config.storage, config.services[0].http().unwrap());
    let (health, cool_down) = (service.health.as_ref().unwrap(), config.approvals.cool_down.unwrap());
    let actual = BTreeMap::from([
        ("gateway.host", gateway.host.clone()),
        ("gateway.port", gateway.port.to_string()),
        ("gateway.max_message_bytes", gateway.max_message_bytes.to_string()),
        ("gateway.mcp.hold", gateway.mcp.hold.as_secs().to_string()),
        ("gateway.mcp.keep_alive", gateway.mcp.keep_alive.as_secs().to_string()),
        ("gateway.health_host", gateway.health_host.clone()),
        ("gateway.health_port", gateway.health_port.unwrap().to_string()),
        ("services.NAME.timeout", service.timeout.as_secs().to_string()),
        ("services.NAME.max_response_bytes", service.max_response_bytes.to_string()),
        ("services.NAME.health.expect_status", health.expect_status.to_string()),
        ("services.NAME.permit_ttl", permit.permit_ttl.as_secs().to_string()),
        ("storage.retain_days", storage.retain_days.to_string()),
        ("storage.max_mb", storage.max_mb.to_string()),
        ("storage.keep_results_days", config.results_days.to_string()),
        ("storage.keep_keys_hours", config.idempotency_hours.to_string()),
        ("approval_timeout", config.approval_timeout.as_secs().to_string()),
        ("approvals.max_question_chars", config.approvals.max_question_chars.to_string()),
        ("approvals.cool_down.denies", cool_down.denies.to_string()),
        ("approvals.cool_down.minutes", (cool_down.window.as_secs() / 60).to_string()),
        ("approvals.note_seconds", config.approvals.note_window.as_secs().to_string()),
        ("rate_limit.max_requests_per_minute", config.rate_limit.max_requests_per_minute.to_string()),
        ("rate_limit.max_pending_approvals", config.rate_limit.max_pending_approvals.to_string()),
        ("max_concurrent_calls", config.max_concurrent_calls.to_string()),
        ("tools.NAME.cost", fixed(&config.tools["t"].facts.cost)),
        ("tools.NAME.tokens", fixed(&config.tools["t"].facts.tokens)),
        ("tools.NAME.response.follow.status", follow.status.to_string()),
        ("tools.NAME.response.follow.every", follow.every.as_secs().to_string()),
        ("tools.NAME.response.follow.within", follow.within.as_secs().to_string()),
    ]);
    let page = documented(&page("agentpass.yaml.5"));
    let said: BTreeMap<&str, String> = page
        .iter()
        .filter_map(|(key, (kind, _))| Some((key.as_str(), kind.split_once(", default ")?.1.to_owned())))
        .filter(|(_, default)| default.starts_with(|c: char| c.is_ascii_digit() || c == ':'))
        .collect();
    assert_eq!(said, actual);
}

// The examples.

/// The examples of a page that are marked with `.\" check: NAME`, by name.
fn examples(text: &str) -> BTreeMap<String, String> {
    let marked = text.split("\n.\\\" check: ").skip(1).map(|part| {
        let (name, rest) = part.split_once('\n').unwrap();
        let (_, block) = rest.split_once('\n').unwrap();
        let block = block.split("\n.Ed").next().unwrap();
        (name.to_owned(), block.replace("\\e", "\\") + "\n")
    });
    marked.collect()
}

fn agentpass_in(folder: &Folder, arguments: &[&str]) -> Output {
    let secrets = ["KITCHEN_TOKEN", "LAPTOP_TOKEN", "TELEGRAM_TOKEN", "SHELF_KEY"];
    let secrets = secrets.iter().map(|name| (*name, format!("a-token-of-{}", name.replace('_', "-"))));
    Command::new(BINARY).args(arguments).current_dir(&folder.0).envs(secrets).output().unwrap()
}

fn is_right(folder: &Folder) {
    let output = agentpass_in(folder, &["check"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "agentpass: the configuration is right\n");
}

#[test]
fn the_configuration_on_the_page_passes_the_check() {
    let folder = Folder::new();
    let found = examples(&page("agentpass.yaml.5"));
    assert_eq!(found.len(), 2);
    for (name, text) in &found {
        fs::write(folder.0.join(name), text).unwrap();
    }
    // The page's configuration names the certificate that `init` makes.
    assert!(agentpass_in(&folder, &["init", "made"]).status.success());
    for name in ["cert.pem", "key.pem"] {
        fs::copy(folder.0.join("made").join(name), folder.0.join(name)).unwrap();
    }
    fs::write(folder.0.join("permissions.yaml"), "rules: [{pattern: \"create_item(*)\", action: ask}]\n")
        .unwrap();
    is_right(&folder);
}

#[test]
fn the_rules_on_the_page_do_what_the_page_says() {
    let folder = Folder::new();
    let tools = root("tools/homeassistant.yaml");
    let config = format!(
        "agents:\n  laptop: {{token: \"${{LAPTOP_TOKEN}}\"}}\n  kitchen-pi: {{token: \"${{KITCHEN_TOKEN}}\"}}\n  \
         desk-1: {{token: \"${{SHELF_KEY}}\"}}\n\
         services: {{ha: {{url: \"http://127.0.0.1\", tools: \"{}\"}}}}\n",
        tools.display()
    );
    fs::write(folder.0.join("config.yaml"), config).unwrap();
    let rules = examples(&page("agentpass-permissions.5"));
    fs::write(folder.0.join("permissions.yaml"), &rules["permissions.yaml"]).unwrap();
    is_right(&folder);
    let light = ["ha_call_service", "domain=light", "service=turn_on", "entity_id=light.desk"];
    let lock = "entities:={\"LOCK.front\": \"unlocked\"}";
    for (agent, more, decision) in
        [("laptop", None, "allow"), ("kitchen-pi", None, "ask"), ("laptop", Some(lock), "deny")]
    {
        let call = [&["explain", "--agent", agent, "--json"], &light[..], more.as_slice()].concat();
        let output = agentpass_in(&folder, &call);
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said["decision"], decision, "{said}");
    }
    let read = agentpass_in(&folder, &["explain", "ha_get_state", "entity_id=sensor.temp", "--json"]);
    assert!(String::from_utf8(read.stdout).unwrap().contains("\"decision\": \"allow\""));
}

#[test]
fn the_limits_and_flows_on_the_page_pass_the_check() {
    let folder = Folder::new();
    let config =
        "agent: {token: \"${LAPTOP_TOKEN}\"}\nservices: {s: {url: \"http://127.0.0.1\", tools: t.yaml}}\n";
    fs::write(folder.0.join("config.yaml"), config).unwrap();
    let tools = r#"tools:
  refund:
    kind: pay
    cost: {arg: amount}
    args: {id: {required: true}, amount: {type: number}}
    signature: "{id}"
    extra_args: refuse
    request: {method: POST, path: "/{id}"}
  customer:
    data: {from: crm, labels: [pii], untrusted: true}
    request: {method: GET, path: /customer}
  mail:
    kind: send
    data: {to: external_email, domain: {arg: to}}
    args: {to: {required: true}}
    extra_args: refuse
    request: {method: POST, path: /mail}
"#;
    fs::write(folder.0.join("t.yaml"), tools).unwrap();
    let rules = examples(&page("agentpass-permissions.5"));
    fs::write(folder.0.join("permissions.yaml"), &rules["spending.yaml"]).unwrap();
    is_right(&folder);
}

// The protocol.

/// The texts in double quotes in a part of a source file.
fn quoted(source: &str, from: &str, to: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root(source)).unwrap();
    let part = text.split_once(from).unwrap_or_else(|| panic!("{source} has no {from}")).1;
    let part = part.split(to).next().unwrap();
    part.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_protocol_page_has_every_code_reason_method_and_limit() {
    let text = page("agentpass-protocol.7");
    let codes = fs::read_to_string(root("src/protocol/code.rs")).unwrap();
    let codes: Vec<&str> =
        codes.lines().filter_map(|line| line.strip_suffix(';')?.split_once("= ")).map(|c| c.1).collect();
    assert_eq!(codes.len(), 9);
    codes.iter().for_each(|code| assert!(text.contains(&format!(".It {code}\n")), "{code}"));
    let is_reason = |word: &String| word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let mut words = quoted("src/model/outcome.rs", "fn facts(&self)", "\n    }\n");
    words.retain(|word| is_reason(word) && word != "executed");
    words.extend(quoted("src/model/invalid_call.rs", "pub fn reason", "\n    }\n}"));
    words.extend(quoted("src/surface/rpc/methods.rs", "match method.as_str()", "_ =>"));
    words.extend(set([
        "parse_error",
        "invalid_request",
        "method_not_found",
        "not_authenticated",
        "approval_pending",
    ]));
    assert!(words.len() > 28, "{words:?}");
    let said = |word: &str| {
        text.lines().any(|line| line.split(' ').skip_while(|w| !w.ends_with("Sy")).any(|w| w == word))
    };
    words.iter().for_each(|word| assert!(said(word), "{word}"));
    for limit in [
        format!("{MAX_DEPTH} levels deep, {MAX_VALUES} values"),
        format!("{MAX_BATCH} requests\n"),
        format!("{MAX_ARGS} arguments;"),
        format!("signature {MAX_SIGNATURE} bytes"),
        format!("at most {MAX_REASON} characters"),
        format!("name, at most {MAX_TOOL} bytes"),
        format!("At most {MAX_KEY} bytes"),
    ] {
        assert!(text.contains(&limit), "{limit}");
    }
}

// The pages as pages.

#[test]
fn the_pages_are_clean() {
    let version = Command::new("mandoc").arg("-V").output();
    if version.is_err() {
        let is_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!is_ci, "mandoc is missing: apt-get install mandoc");
        eprintln!("mandoc is not installed: the pages were not looked at");
        return;
    }
    for name in PAGES {
        let path = root("etc/man").join(name);
        let lint = Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&path).output().unwrap();
        let said =
            String::from_utf8_lossy(&lint.stdout).into_owned() + &String::from_utf8_lossy(&lint.stderr);
        assert!(lint.status.success() && said.is_empty(), "{name}: {said}");
    }
}

#[test]
fn every_page_is_tested_and_refers_to_pages_that_exist() {
    let there: BTreeSet<String> = fs::read_dir(root("etc/man"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(there, set(PAGES));
    for name in PAGES {
        for line in page(name).lines().filter(|line| line.starts_with(".Xr agentpass")) {
            let mut words = line.split(' ').skip(1);
            let target = format!("{}.{}", words.next().unwrap(), words.next().unwrap());
            assert!(there.contains(&target), "{name}: {line}");
        }
    }
}
