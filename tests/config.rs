//! The owner's files: the contract's examples, the shipped ones, and every mistake with its exact place.

// Clippy's exceptions for tests do not reach the helpers of an integration test.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "config/facts.rs"]
mod facts;
#[path = "config/policy.rs"]
mod policy;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agentpass::testing::base::digest::Digest;
use agentpass::testing::base::secret::TokenHash;
use agentpass::testing::config::{
    Auth, ChannelConfig, CoolDown, Finding, Loaded, Paths, Severity, Surroundings, SyncMode, load_in, local,
};
use agentpass::testing::daemon::check;
use agentpass::testing::model::{Action, HttpTarget, Method, RuleList, Tool};

const TOKEN: &str = "a-token-of-sufficient-length";

/// What a tool is at a service that speaks HTTP.
fn http(tool: &Tool) -> &HttpTarget {
    tool.target.http().unwrap()
}

/// A directory with files, gone when dropped.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name =
            format!("agentpass-config-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(dir.join("share")).unwrap();
        Dir(dir)
    }

    /// A directory with a valid minimal configuration.
    fn minimal() -> Dir {
        let dir = Dir::new();
        dir.write("config.yaml", MINIMAL);
        dir.write("permissions.yaml", "rules: [{pattern: \"*\", action: ask}]\n");
        dir
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn paths(&self) -> Paths {
        Paths { config: self.0.join("config.yaml"), permissions: self.0.join("permissions.yaml") }
    }

    fn load(&self) -> Result<Loaded, Vec<Finding>> {
        self.load_with(&[("AGENT_TOKEN", TOKEN), ("GUARDIAN_BOT_TOKEN", "123:ABC"), ("HA_TOKEN", "ha-token")])
    }

    fn load_with(&self, vars: &[(&str, &str)]) -> Result<Loaded, Vec<Finding>> {
        let lookup = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        load_in(&self.paths(), &Surroundings { variable: &lookup, share: self.0.join("share") })
    }

    /// The findings as people see them, with the directory cut off.
    fn shown(&self) -> String {
        let findings = self.load().map_or_else(|findings| findings, |loaded| loaded.warnings);
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        lines.join("\n").replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const MINIMAL: &str = "agent: {token: \"${AGENT_TOKEN}\"}\n";

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn copy(dir: &Dir, from: &str, to: &str) {
    dir.write(to, fs::read(root(from)).unwrap());
}

/// The contract's two files, with the tool file that its config.yaml names.
fn seed() -> Dir {
    let dir = Dir::new();
    copy(&dir, "tests/fixtures/seed/config.yaml", "config.yaml");
    copy(&dir, "tests/fixtures/seed/permissions.yaml", "permissions.yaml");
    copy(&dir, "tools/homeassistant.yaml", "tools/homeassistant.yaml");
    dir
}

/// What is said of credentials for a name in `.local` without TLS.
const ANYBODY: &str =
    "anybody on the network can answer for a name in .local, and is sent the credentials then";

/// The same without anything to warn of.
fn quiet_seed() -> Dir {
    let dir = seed();
    let config = fs::read_to_string(dir.paths().config).unwrap();
    dir.write("config.yaml", config.replace("homeassistant.local", "homeassistant.lan"));
    dir
}

#[test]
fn the_examples_of_the_contract_load_unchanged() {
    let dir = seed();
    let Loaded { config, permissions, warnings } = dir.load().unwrap();
    let texts: Vec<_> = warnings.iter().map(|w| w.text.as_str()).collect();
    assert_eq!(texts, [ANYBODY], "Home Assistant is called in .local, without TLS");
    assert_eq!((config.gateway.host.as_str(), config.gateway.port), ("0.0.0.0", 8443));
    assert_eq!(config.agents.len(), 1);
    assert_eq!(config.agents[0].id.as_str(), "default");
    let ChannelConfig::Telegram(telegram) = &config.channels["telegram"] else { panic!("no bot") };
    assert_eq!((telegram.token.expose(), telegram.chat_id), ("123:ABC", -100_123_456_789));
    assert_eq!(
        (telegram.allowed_users.as_slice(), telegram.api_url.as_str()),
        (&[123_456_789][..], "https://api.telegram.org")
    );
    let ha = config.services[0].http().unwrap();
    assert_eq!((ha.name.as_str(), ha.url.as_str()), ("homeassistant", "http://homeassistant.local:8123"));
    assert!(matches!(&ha.auth, Auth::Bearer(token) if token.expose() == "ha-token"));
    let health = ha.health.as_ref().unwrap();
    assert_eq!((&health.method, health.path.as_str(), health.expect_status), (&Method::Get, "/api/", 200));
    assert_eq!(config.storage.path, dir.0.join("./data/agentpass.db"));
    assert_eq!(config.approval_timeout, Duration::from_secs(900));
    let secrets: Vec<&str> = config.secrets.iter().map(|s| s.expose()).collect();
    assert_eq!(secrets.iter().filter(|s| [TOKEN, "123:ABC", "ha-token"].contains(*s)).count(), 3);

    let first = &permissions.rules[0];
    assert_eq!((first.id.list, first.id.index, first.action()), (RuleList::Rules, 1, Action::Deny));
    assert_eq!(first.id.pattern, "ha_call_service(lock.*)");
    assert_eq!(permissions.defaults.len(), 2);
}

#[test]
fn the_tool_file_of_the_contract_loads_and_advice_is_given() {
    let dir = Dir::minimal();
    copy(&dir, "tests/fixtures/seed/tools/my_api.yaml", "tools/my_api.yaml");
    let service = "services:\n  my_api:\n    url: \"https://api.example.com\"\n    auth:\n      type: header\n      \
                   header_name: \"X-API-Key\"\n      token: \"${HA_TOKEN}\"\n    health:\n      path: \"/health\"\n    \
                   tools: \"tools/my_api.yaml\"\n";
    dir.write("config.yaml", format!("{MINIMAL}{service}"));
    let loaded = dir.load().unwrap();
    let get = &loaded.config.tools["get_item"];
    assert_eq!(get.signature.as_ref().unwrap().to_string(), "{item_id}");
    assert!(!get.extra_args && get.args["item_id"].required);
    let create = &loaded.config.tools["create_item"];
    assert!(create.extra_args, "a body takes further arguments unless the owner says otherwise");
    assert_eq!(http(create).response.wrap.as_deref(), Some("result"));
    let texts: Vec<&str> = loaded.warnings.iter().map(|w| w.text.as_str()).collect();
    assert_eq!(texts, ["tool create_item does not say what becomes of other arguments"]);
    assert_eq!(loaded.warnings[0].place, Some((13, 3)));
}

#[test]
fn the_configuration_reference_of_the_contract_loads() {
    let dir = Dir::minimal();
    copy(&dir, "tests/fixtures/seed/tools/my_api.yaml", "tools/my_api.yaml");
    dir.write("config.yaml", REFERENCE);
    let loaded = dir.load().unwrap();
    let service = loaded.config.services[0].http().unwrap();
    assert_eq!(service.errors[1].message, "Not found: {body}");
    assert_eq!(loaded.config.gateway.tls.as_ref().unwrap().cert, Path::new("/path/to/cert.pem"));
}

const REFERENCE: &str = r#"gateway:
  host: "0.0.0.0" # Bind address
  port: 8443 # Listen port
  tls: # Omit for --insecure mode
    cert: "/path/to/cert.pem"
    key: "/path/to/key.pem"
agent:
  token: "${AGENT_TOKEN}" # Bearer token, ${NOT_A_VARIABLE} in a comment
messenger:
  type: "telegram"
  telegram:
    token: "${GUARDIAN_BOT_TOKEN}" # Telegram Bot API token
    chat_id: -100123456789 # Chat ID (negative for groups)
    allowed_users: [123456789] # User IDs authorized to approve
services:
  my_api:
    url: "https://api.example.com" # Base URL
    auth: # Authentication (see below)
      type: bearer
      token: "${HA_TOKEN}"
    handler: http # "http" (default) or "python"
    handler_class: "" # For handler=python: "module.path:ClassName"
    health: # Health check endpoint
      method: GET
      path: "/"
      expect_status: 200
    tools: "tools/my_api.yaml" # Path to tool definitions
    errors: # Custom error mappings
      - status: 401
        message: "Auth failed: {body}"
      - status: 404
        message: "Not found: {body}"
storage:
  type: "sqlite"
  path: "./data/agentpass.db"
approval_timeout: 900 # Seconds before approvals expire (default: 900)
rate_limit:
  max_pending_approvals: 10
  max_requests_per_minute: 60
"#;

/// The shipped file with the "# " removed of everything that is meant to be used so.
#[test]
fn the_examples_in_the_shipped_permissions_are_right() {
    let dir = quiet_seed();
    let services = "services:\n  ha: {url: 'http://ha:8123', tools: tools/homeassistant.yaml}\n";
    dir.write("config.yaml", format!("{MINIMAL}{services}"));
    copy(&dir, "tools/homeassistant.yaml", "share/tools/homeassistant.yaml");
    copy(&dir, "etc/permissions.yaml", "permissions.yaml");
    let shipped = fs::read_to_string(dir.0.join("permissions.yaml")).unwrap();
    let (mut used, mut lines) = (String::new(), 0);
    for line in shipped.lines() {
        let keys = ["# limits:", "# data:", "# flows:", "# session_idle:", "# circuit_breaker:"];
        let bare = [&["# - {", "#   - ", "#     "][..], &keys].concat();
        let is_example = lines > 20 && bare.iter().any(|beginning| line.trim_start().starts_with(beginning));
        lines += 1;
        used += &if is_example { line.replacen("# ", "", 1) } else { line.to_owned() };
        used.push('\n');
    }
    dir.write("permissions.yaml", &used);
    let loaded = dir.load().unwrap_or_else(|findings| panic!("{findings:?}\n{used}"));
    let permissions = &loaded.permissions;
    assert_eq!((permissions.limits.len(), permissions.flows.len()), (3, 1), "{used}");
    assert!(
        permissions.rules.iter().any(|rule| rule.matcher.time.is_some() && !rule.matcher.when.is_empty())
    );
    assert!(permissions.rules.iter().any(|rule| !rule.matcher.after.is_empty()));
}

/// What a later reader of the record knows of the policy that decided.
#[test]
fn the_policy_has_another_digest_when_anything_changes_that_decides() {
    let tool = "tools: {pay: {kind: pay, cost: 1, request: {method: POST, path: /}, description: Pays}}\n";
    let config = format!(
        "{MINIMAL}services: {{s: {{url: 'http://s', tools: t.yaml}}}}\nagents: {{pi: {{token: '{TOKEN}', groups: [house]}}}}\n"
    );
    let config = config.lines().filter(|line| !line.starts_with("agent:")).collect::<Vec<_>>().join("\n");
    let permissions = "rules: [{pattern: 'pay*', action: ask}]\nlimits: [{name: l, pattern: 'pay*', window: 1h, ask_above: 1}]\n";
    let dir = Dir::new();
    let digest = |file: &str, from: &str, to: &str| {
        for (name, text) in
            [("config.yaml", config.as_str()), ("t.yaml", tool), ("permissions.yaml", permissions)]
        {
            let changed = if name == file { text.replacen(from, to, 1) } else { text.to_owned() };
            assert!(name != file || from == to || changed != text, "{from} is not in {name}");
            dir.write(name, changed);
        }
        dir.load().unwrap_or_else(|findings| panic!("{to}: {findings:?}")).permissions.digest
    };
    let usual = digest("t.yaml", "", "");
    for (file, from, to) in [
        ("permissions.yaml", "action: ask", "action: deny"),
        ("permissions.yaml", "ask_above: 1", "ask_above: 2"),
        ("permissions.yaml", "rules: [{", "rules: [{kinds: [pay], "),
        ("permissions.yaml", "limits:", "data: {otherwise: allow}\nlimits:"),
        ("t.yaml", "kind: pay", "kind: send"),
        ("t.yaml", "cost: 1", "cost: 2"),
        ("t.yaml", "cost: 1", "cost: 1, risk: irreversible"),
        ("t.yaml", "cost: 1", "cost: 1, data: {to: webhook}"),
        ("config.yaml", "[house]", "[garden]"),
        ("config.yaml", "agents:", "people: {anna: {local: anna}}\nagents:"),
        ("config.yaml", "agents:", "approvals: {grant: {for: [15m]}}\nagents:"),
    ] {
        assert_ne!(digest(file, from, to), usual, "{to}");
    }
    for (file, from, to) in [
        ("permissions.yaml", "rules:", "# a word\nrules:"),
        ("permissions.yaml", "{pattern: 'pay*', action: ask}", "{action: \"ask\", pattern: pay*}"),
        ("t.yaml", "description: Pays", "description: Pays a bill"),
        ("config.yaml", "http://s", "http://other"),
    ] {
        assert_eq!(digest(file, from, to), usual, "{to}");
    }
}

#[test]
fn shipped_files_load_without_a_word() {
    let dir = Dir::new();
    copy(&dir, "etc/config.yaml", "config.yaml");
    copy(&dir, "etc/permissions.yaml", "permissions.yaml");
    dir.write("cert.pem", "");
    dir.write("key.pem", "");
    let loaded = dir.load().unwrap();
    assert_eq!(loaded.warnings, []);
    assert!(loaded.config.channels.is_empty());
    assert!(loaded.config.services.is_empty());
    assert_eq!(loaded.config.storage.sync, SyncMode::Writes);

    let all = "services:\n  ha: {url: 'http://ha:8123', tools: tools/homeassistant.yaml}\n  \
               n: {url: 'https://ntfy.sh', tools: tools/ntfy.yaml}\n  p: {url: 'http://p', tools: tools/paperless.yaml}\n";
    dir.write("config.yaml", format!("{MINIMAL}{all}"));
    for file in ["homeassistant", "ntfy", "paperless"] {
        copy(&dir, &format!("tools/{file}.yaml"), &format!("share/tools/{file}.yaml"));
    }
    let loaded = dir.load().unwrap();
    assert_eq!(loaded.warnings, []);
    let call = &loaded.config.tools["ha_call_service"];
    assert_eq!(call.signature.as_ref().unwrap().to_string(), "{domain}.{service}, {entity_id}");
    let open: Vec<&str> =
        loaded.config.tools.values().filter(|t| t.extra_args).map(|t| t.name.as_str()).collect();
    assert_eq!(open, ["ha_call_service", "ha_call_service_in_area"]);
}

#[test]
fn equal_files_make_equal_tools_and_any_change_another() {
    let dir = seed();
    let digest = |dir: &Dir| dir.load().unwrap().config.tools["ha_get_state"].digest;
    let first = digest(&dir);
    assert_eq!(first, digest(&dir));
    let config = fs::read_to_string(dir.0.join("config.yaml")).unwrap();
    dir.write("config.yaml", config.replace("local:8123", "local:8124"));
    assert_ne!(first, digest(&dir));
    dir.write("config.yaml", config.replace("homeassistant:", "home:"));
    assert_ne!(first, digest(&dir));
    dir.write("config.yaml", &config);
    let tools = fs::read_to_string(dir.0.join("tools/homeassistant.yaml")).unwrap();
    dir.write("tools/homeassistant.yaml", tools.replace("State and attributes of one", "State of one"));
    assert_ne!(first, digest(&dir));
}

/// One broken file among valid ones, and all that is said about it.
fn says(file: &str, text: &str, expected: &str) {
    let dir = Dir::minimal();
    copy(&dir, "tests/fixtures/seed/tools/my_api.yaml", "share/t.yaml");
    dir.write(file, text);
    let findings = dir.load().unwrap_err();
    let errors: Vec<String> = findings.iter().filter(|f| f.is_error()).map(Finding::to_string).collect();
    let shown = errors.join("\n").replace(&format!("{}/", dir.0.display()), "");
    assert_eq!(shown, expected, "for {file}:\n{text}");
}

fn permissions(text: &str, expected: &str) {
    says("permissions.yaml", text, expected);
}

fn config(text: &str, expected: &str) {
    says("config.yaml", &format!("{MINIMAL}{text}"), expected);
}

#[test]
fn a_mistake_is_shown_as_the_documentation_shows_it() {
    let rules = "defaults:\n  - pattern: \"ha_get_*\"\n    action: allow\n\nrules:\n  - pattern: \"a\"\n    action: deny\n  \
                 - pattern: \"b\"\n    action: deny\n  - pattern: \"c\"\n    action: deny\n\n  - pattern: \"d\"\n    action: alow\n";
    permissions(
        rules,
        "agentpass: cannot load permissions: unknown action \"alow\"\n  at permissions.yaml:14:13\n  help: use allow, deny or ask",
    );
}

#[test]
fn mistakes_in_permissions() {
    for (text, expected) in [
        (
            "rule: []\n",
            "unknown key \"rule\"\n  at permissions.yaml:1:1\n  help: known here: rules, defaults, limits, flows, data, session_idle, circuit_breaker, revoke_on_violation",
        ),
        (
            "rules:\n  - pattern: a\n    action: ask\n    patern: b\n",
            "unknown key \"patern\"\n  at permissions.yaml:4:5\n  help: known here: pattern, action, description, agents, any_value, kinds, risk, when, time, after, always, grant, approvals, approvers, remind, escalate, notify",
        ),
        ("rules: []\ndefaults: []\nrules: []\n", "duplicate key \"rules\"\n  at permissions.yaml:3:1"),
        (
            "rules:\n  - pattern: a\n    action: ask\n    action: allow\n",
            "duplicate key \"action\"\n  at permissions.yaml:4:5",
        ),
        ("rules:\n  - action: ask\n", "pattern is missing\n  at permissions.yaml:2:5"),
        ("rules:\n  - pattern: \"\"\n    action: ask\n", "pattern is empty\n  at permissions.yaml:2:14"),
        ("rules:\n  - pattern: a\n    action:\n", "action has no value\n  at permissions.yaml:3:12"),
        (
            "rules:\n  - {pattern: a, action: ask, agents: }\n",
            "agents is empty, so the rule would never apply\n  at permissions.yaml:2:39\n  help: remove agents to mean all of them",
        ),
        (
            "rules:\n  - {pattern: a, action: ask, any_value: }\n",
            "any_value has no value\n  at permissions.yaml:2:42",
        ),
        (
            "rules:\n  - pattern: [a]\n    action: ask\n",
            "pattern must be text, not a list\n  at permissions.yaml:2:14\n  help: put quotes around patterns",
        ),
        (
            "rules:\n  - pattern: a\n    action: ask\n    agents: [\"[\"]\n",
            "this is not a pattern for agents: unclosed character class; missing ']'\n  at permissions.yaml:4:14",
        ),
        (
            "",
            "there are neither rules nor defaults in the file\n  at permissions.yaml:1:1\n  help: if you want none, write rules: []",
        ),
        (
            "# rules:\n#   - {pattern: a, action: deny}\n",
            "there are neither rules nor defaults in the file\n  at permissions.yaml:3:1\n  help: if you want none, write rules: []",
        ),
        (
            "{}\n",
            "there are neither rules nor defaults in the file\n  at permissions.yaml:1:1\n  help: if you want none, write rules: []",
        ),
        (
            "defaults: []\nrules:\n",
            "rules has no value\n  at permissions.yaml:2:7\n  help: if you want none, write rules: []",
        ),
        (
            "rules: []\ndefaults: ~\n",
            "defaults has no value\n  at permissions.yaml:2:11\n  help: if you want none, write defaults: []",
        ),
        ("rules: yes\n", "rules must be a list, not \"yes\"\n  at permissions.yaml:1:8"),
        ("rules:\n  - a\n", "rules must be a section of keys, not \"a\"\n  at permissions.yaml:2:5"),
        ("- a\n", "the file must be a section of keys, not a list\n  at permissions.yaml:1:1"),
        ("rules: []\n---\nrules: []\n", "more than one document in a file\n  at permissions.yaml:3:1"),
        ("rules: !deny []\n", "tags (!…) are not used in these files\n  at permissions.yaml:1:8"),
        (
            "<<: {rules: []}\n",
            "unknown key \"<<\"\n  at permissions.yaml:1:1\n  help: known here: rules, defaults, limits, flows, data, session_idle, circuit_breaker, revoke_on_violation",
        ),
        (
            "rules:\n  - pattern: \"${NOPE}\"\n    action: deny\n",
            "variable NOPE is not set\n  at permissions.yaml:2:14\n  help: looked in the environment, .env and secrets/NOPE ($CREDENTIALS_DIRECTORY is not set)",
        ),
    ] {
        permissions(text, &format!("agentpass: cannot load permissions: {expected}"));
    }
}

#[test]
fn the_traps_of_yaml_have_remedies() {
    for (text, place, help) in [
        ("rules:\n  - pattern: *\n    action: ask\n", "2:1", "put quotes around patterns"),
        ("rules:\n  - pattern: *_door\n    action: ask\n", "2:1", "put quotes around patterns"),
        ("rules:\n  - pattern: [ab]*\n    action: ask\n", "2:1", "put quotes around patterns"),
        ("rules: [{pattern: ${X}, action: ask}]\n", "1:", "put quotes around variables"),
        ("rules:\n\t- pattern: a\n", "2:1", "indent with spaces"),
    ] {
        let dir = Dir::minimal();
        dir.write("permissions.yaml", text);
        let shown = dir.shown();
        assert!(shown.contains("cannot load permissions: not valid YAML: "), "{shown}");
        assert!(shown.contains(&format!("at permissions.yaml:{place}")), "{shown}");
        assert!(shown.contains(&format!("help: {help}")), "{shown}");
    }
}

#[test]
fn mistakes_in_the_configuration() {
    for bad in ["socks5://p:1", "http://", "http://p:1/path", "http://u@v@p:1", "http://a b@p", "p:1"] {
        let telegram = format!("{{token: '1:a', chat_id: 1, allowed_users: [1], proxy: '{bad}'}}");
        config(
            &format!("messenger: {{type: telegram, telegram: {telegram}}}\n"),
            "agentpass: cannot load configuration: proxy is not the address of an HTTP proxy\n  at config.yaml:2:93\n  \
             help: write http://host:port, or http://user:password@host:port with % for what cannot stand there",
        );
    }
    for (text, expected) in [
        (
            "gatway: {}\n",
            "unknown key \"gatway\"\n  at config.yaml:2:1\n  help: known here: gateway, agent, agents, people, messenger, channels, \
          services, storage, approval_timeout, approvals, rate_limit, max_concurrent_calls",
        ),
        (
            "gateway:\n  prot: 1\n",
            "unknown key \"prot\"\n  at config.yaml:3:3\n  help: known here: host, port, tls, health_host, \
          health_port, admin_hosts, admin_password_hash, trusted_proxies, public_path, public_url, metrics_from, control_socket, allowed_origins, max_message_bytes, hosts, mcp",
        ),
        (
            "gateway: {port: 99999}\n",
            "port must be a whole number from 0 to 65535, not \"99999\"\n  at config.yaml:2:17",
        ),
        (
            "gateway: {port: eight}\n",
            "port must be a whole number from 0 to 65535, not \"eight\"\n  at config.yaml:2:17",
        ),
        (
            "gateway: {port: [1]}\n",
            "port must be a whole number from 0 to 65535, not a list\n  at config.yaml:2:17",
        ),
        (
            "gateway: {trusted_proxies: [proxy.lan]}\n",
            "\"proxy.lan\" is neither an address nor a network\n  at config.yaml:2:29\n  help: write 192.0.2.1, ::1 or 10.0.0.0/8",
        ),
        (
            "gateway: {metrics_from: 10.0.0.1/8}\n",
            "\"10.0.0.1/8\" is neither an address nor a network\n  at config.yaml:2:25\n  help: write 192.0.2.1, ::1 or 10.0.0.0/8",
        ),
        (
            "gateway: {public_path: //evil.example}\n",
            "public_path is not a plain path\n  at config.yaml:2:24\n  help: write it as it appears in the address: /agentpass",
        ),
        (
            "gateway: {public_path: /audit/x}\n",
            "the admin pages have a path /audit of their own\n  at config.yaml:2:24\n  help: choose another one",
        ),
        ("gateway: {port: }\n", "port has no value\n  at config.yaml:2:17"),
        ("gateway: {tls: {cert: a}}\n", "key is missing\n  at config.yaml:2:16"),
        (
            "gateway: {allowed_origins: [\"example.org\"]}\n",
            "this is not an origin\n  at config.yaml:2:29\n  help: write it as a browser sends it: https://example.org",
        ),
        (
            "agents: {}\n",
            "agent and agents cannot be used together\n  at config.yaml:2:1\n  help: put the one agent among the others, as \"default\"",
        ),
        (
            "messenger: {type: signal}\n",
            "unknown type \"signal\"\n  at config.yaml:2:19\n  help: use telegram or local",
        ),
        (
            "messenger: {type: telegram}\n",
            "telegram is missing\n  at config.yaml:2:12\n  help: add token, chat_id and allowed_users",
        ),
        (
            "messenger: {type: telegram, telegram: {token: \"a b\", chat_id: 1, allowed_users: [1]}}\n",
            "token is not a bot token\n  at config.yaml:2:47\n  help: copy it from @BotFather: 123456:ABC…",
        ),
        (
            "messenger: {type: telegram, telegram: {token: a, chat_id: 0, allowed_users: []}}\n",
            "chat_id is 0\n  at config.yaml:2:59\nagentpass: cannot load configuration: allowed_users is empty\n  \
          at config.yaml:2:77\n  help: list the Telegram user ids that may approve",
        ),
        (
            "messenger: {type: telegram, telegram: {token: a, chat_id: 1, allowed_users: [-5]}}\n",
            "allowed_users must be a whole number from 1 to 9223372036854775807, not \"-5\"\n  at config.yaml:2:78",
        ),
        (
            "storage: {type: postgres}\n",
            "unknown type \"postgres\"\n  at config.yaml:2:17\n  help: use sqlite",
        ),
        (
            "storage: {sync: never}\n",
            "unknown sync \"never\"\n  at config.yaml:2:17\n  help: use writes or all",
        ),
        (
            "approval_timeout: soon\n",
            "approval_timeout must be a number of seconds from 0.1 to 86400, not \"soon\"\n  at config.yaml:2:19",
        ),
        (
            "rate_limit:\n  max_pending_approvals: 0\n",
            "max_pending_approvals must be a whole number from 1 to 10000, not \"0\"\n  at config.yaml:3:26",
        ),
        (
            "approvals: {cool_down: maybe}\n",
            "cool_down must be denies and minutes, or off, not \"maybe\"\n  at config.yaml:2:24",
        ),
        (
            "approvals: {cool_down: true}\n",
            "cool_down must be denies and minutes, or off, not \"true\"\n  at config.yaml:2:24",
        ),
        (
            "approvals: {cool_down: [3]}\n",
            "cool_down must be a section of keys, not a list\n  at config.yaml:2:24",
        ),
        (
            "approvals: {cool_down: {denies: 0}}\n",
            "denies must be a whole number from 1 to 100, not \"0\"\n  at config.yaml:2:33",
        ),
        (
            "approvals: {cool_down: {minutes: 1441}}\n",
            "minutes must be a whole number from 1 to 1440, not \"1441\"\n  at config.yaml:2:34",
        ),
        (
            "approvals: {cool_down: {hours: 1}}\n",
            "unknown key \"hours\"\n  at config.yaml:2:25\n  help: known here: denies, minutes",
        ),
        (
            "approvals: {note_seconds: 601}\n",
            "note_seconds must be a whole number from 0 to 600, not \"601\"\n  at config.yaml:2:27",
        ),
        (
            "approvals: {reminder: often}\n",
            "reminder must be true or false, not \"often\"\n  at config.yaml:2:23",
        ),
        ("services:\n  a: {}\n  a: {}\n", "duplicate key \"a\"\n  at config.yaml:4:3"),
    ] {
        config(text, &format!("agentpass: cannot load configuration: {expected}"));
    }
}

#[test]
fn mistakes_in_webhook_channels() {
    let channel = |keys: &str| format!("channels:\n  ops: {{type: webhook{keys}}}\n");
    let (url, secret) = (", url: 'https://a.example'", ", secret: a-secret-of-sufficient-length");
    for (text, expected) in [
        (channel(secret), "url is missing\n  at config.yaml:3:8"),
        (channel(url), "secret is missing\n  at config.yaml:3:8"),
        (
            channel(&format!("{url}, secret: whsec_%")),
            "secret is whsec_ without base64 after it\n  at config.yaml:3:58\n  help: make one with: echo whsec_$(openssl \
             rand -base64 32)",
        ),
        (
            channel(&format!("{url}{secret}, headers: {{Webhook-Id: a}}")),
            "every message has the header Webhook-Id already\n  at config.yaml:3:99\n  help: remove it",
        ),
        (
            channel(&format!("{url}{secret}, timeout: 61")),
            "timeout must be a number of seconds from 0.1 to 60, not \"61\"\n  at config.yaml:3:98",
        ),
        (
            channel(&format!("{url}{secret}, token: a")),
            "unknown key \"token\"\n  at config.yaml:3:89\n  help: known here: type, url, secret, timeout, ca_cert, \
             allow_link_local, headers",
        ),
    ] {
        config(&text, &format!("agentpass: cannot load configuration: {expected}"));
    }
}

#[test]
fn what_keeps_answers_out_of_a_webhook_is_told() {
    let said = |public: &str, url: &str, secret: &str| {
        let dir = Dir::minimal();
        let gateway =
            if public.is_empty() { String::new() } else { format!("gateway: {{public_url: '{public}'}}\n") };
        let channel = format!("channels:\n  ops: {{type: webhook, url: '{url}', secret: {secret}}}\n");
        dir.write("config.yaml", format!("{MINIMAL}{gateway}{channel}"));
        let loaded = dir.load().map_err(|_| dir.shown()).unwrap();
        loaded.warnings.into_iter().map(|finding| finding.text).collect::<Vec<_>>()
    };
    let long = "a-secret-of-sufficient-length";
    let plain = "no answer token is sent over plain http:// beyond this machine";
    assert_eq!(said("https://pi.lan:8080", "https://a.example/x", long), [""; 0]);
    assert_eq!(said("http://127.0.0.1:8080", "http://localhost:1", long), [""; 0]);
    assert_eq!(
        said("https://pi.lan:8080", "https://a.example", "short"),
        ["the secret is shorter than 24 bytes"]
    );
    for (public, url) in [("http://pi.lan:8080", "https://a.example"), ("https://pi.lan", "http://a.example")]
    {
        assert_eq!(said(public, url, long), [plain], "{public} {url}");
    }
    assert_eq!(
        said("", "https://a.example", long),
        ["without gateway.public_url messages carry no links, and cannot be answered later"]
    );
}

#[test]
fn mistakes_in_ntfy_and_api_channels() {
    let ntfy = |keys: &str| format!("channels:\n  ops: {{type: ntfy, url: 'https://a.example'{keys}}}\n");
    let api = |keys: &str| format!("channels:\n  ops: {{type: api{keys}}}\n");
    for (text, expected) in [
        (ntfy(""), "topic is missing\n  at config.yaml:3:8"),
        (
            ntfy(", topic: a b"),
            "this is not a topic that ntfy accepts\n  at config.yaml:3:54\n  help: use 1 to 64 letters, digits, \"_\" and \"-\"",
        ),
        (
            ntfy(", topic: a, actions: all"),
            "unknown actions \"all\"\n  at config.yaml:3:66\n  help: use open or answer",
        ),
        (
            ntfy(", topic: a, priority: 6"),
            "priority must be a whole number from 1 to 5, not \"6\"\n  at config.yaml:3:67",
        ),
        (
            ntfy(", topic: a, secret: a"),
            "unknown key \"secret\"\n  at config.yaml:3:57\n  help: known here: type, url, topic, token, actions, \
             priority, timeout, ca_cert, allow_link_local",
        ),
        (api(""), "token is missing\n  at config.yaml:3:8\n  help: give token or token_sha256"),
        (
            api(", token: a-token-of-sufficient-length, token_sha256: b"),
            "token and token_sha256 cannot be used together\n  at config.yaml:3:71\n  help: keep one of them",
        ),
        (
            api(", token_sha256: b"),
            "token_sha256 must be 64 hex digits\n  at config.yaml:3:34\n  help: make it with: printf %s TOKEN | sha256sum",
        ),
        (
            "channels:\n  web: {type: api, token: a-token-of-sufficient-length}\n".to_owned(),
            "the name web is taken: answers in the record begin with it\n  at config.yaml:3:3\n  help: use another",
        ),
        (
            "channels:\n  a: {type: mail}\n".to_owned(),
            "unknown type \"mail\"\n  at config.yaml:3:13\n  help: use api, webhook, homeassistant or ntfy",
        ),
    ] {
        config(&text, &format!("agentpass: cannot load configuration: {expected}"));
    }
}

#[test]
fn mistakes_in_channels_over_home_assistant() {
    let said = |service: &str, channel: &str| {
        let dir = Dir::minimal();
        let service = format!("services:\n  home: {{url: 'https://a.example', {service}, tools: t.yaml}}\n");
        let channel = format!("channels:\n  house: {{type: homeassistant{channel}}}\n");
        dir.write(
            "config.yaml",
            format!("{MINIMAL}gateway: {{public_url: 'https://pi.lan'}}\n{service}{channel}"),
        );
        match dir.load() {
            Ok(loaded) => loaded.warnings.into_iter().map(|finding| finding.text).collect::<Vec<_>>(),
            Err(findings) => findings.into_iter().map(|finding| finding.text).collect(),
        }
    };
    let bearer = "auth: {type: bearer, token: a-token-of-sufficient-length}";
    let admin = "whoever administers home can answer questions, also those about its own tools";
    let has = |said: Vec<String>, text: &str| assert!(said.iter().any(|it| it == text), "{text}: {said:?}");
    has(said(bearer, ", service: home, notify: mobile_app_anna"), admin);
    has(said(bearer, ", notify: [a]"), "service is missing");
    has(said(bearer, ", service: home"), "notify is missing");
    has(said(bearer, ", service: other, notify: [a]"), "there is no service \"other\"");
    has(said(bearer, ", service: home, notify: [notify.a]"), "this is not the name of a notify service");
    has(said(bearer, ", service: home, notify: []"), "notify names no phone");
    has(
        said("auth: {type: none}", ", service: home, notify: [a]"),
        "Home Assistant needs a service with auth: {type: bearer}",
    );
}

#[test]
fn who_can_read_or_answer_on_ntfy_is_told() {
    let said = |keys: &str| {
        let dir = Dir::minimal();
        let channel = format!("channels:\n  ops: {{type: ntfy, topic: a-topic, {keys}}}\n");
        dir.write("config.yaml", format!("{MINIMAL}gateway: {{public_url: 'https://pi.lan'}}\n{channel}"));
        let loaded = dir.load().map_err(|_| dir.shown()).unwrap();
        loaded.warnings.into_iter().map(|finding| finding.text).collect::<Vec<_>>()
    };
    let url = "url: 'https://a.example'";
    assert_eq!(said(&format!("{url}, token: tk_a-token")), [""; 0]);
    assert_eq!(said(&format!("{url}, token: tk_a-token, actions: answer")), [""; 0]);
    assert_eq!(said(url), ["everybody who knows the topic reads the questions"]);
    assert_eq!(
        said(&format!("{url}, actions: answer")),
        ["everybody who knows the topic can answer, and the server can"]
    );
    assert_eq!(
        said("url: 'https://ntfy.sh', token: tk_a-token"),
        ["ntfy.sh takes 250 messages a day from one address; further questions wait there"]
    );
    assert_eq!(
        said("url: 'http://a.example', token: tk_a-token, actions: answer"),
        ["no answer token is sent over plain http:// beyond this machine"]
    );
}

#[test]
fn how_people_are_asked_has_defaults_and_switches() {
    let approvals = |text: &str| {
        let dir = Dir::minimal();
        dir.write("config.yaml", format!("{MINIMAL}{text}"));
        dir.load().map_err(|_| dir.shown()).unwrap().config.approvals
    };
    let standard = approvals("");
    let cool_down = CoolDown { denies: 3, window: Duration::from_secs(600) };
    assert_eq!(standard.cool_down, Some(cool_down));
    assert_eq!((standard.note_window, standard.reminder), (Duration::from_secs(60), false));
    for off in ["off", "false", "\"off\""] {
        assert_eq!(approvals(&format!("approvals: {{cool_down: {off}}}\n")).cool_down, None, "{off}");
    }
    for same in ["", "approvals:\n  cool_down:\n", "approvals: {cool_down: {denies: 3}}\n"] {
        assert_eq!(approvals(same), standard, "{same}");
    }
    let set =
        approvals("approvals: {cool_down: {denies: 1, minutes: 1440}, note_seconds: 0, reminder: true}\n");
    assert_eq!(set.cool_down, Some(CoolDown { denies: 1, window: Duration::from_secs(86_400) }));
    assert_eq!((set.note_window, set.reminder), (Duration::ZERO, true));
}

#[test]
fn mistakes_in_agents() {
    for (text, expected) in [
        (
            "gateway: {}\n",
            "there is no agent\n  at config.yaml:1:1\n  help: add agent: {token: \"${AGENT_TOKEN}\"}",
        ),
        ("agent: {token: \"\"}\n", "token is empty\n  at config.yaml:1:16"),
        ("agent: {}\n", "token is missing\n  at config.yaml:1:8\n  help: give token or token_sha256"),
        (
            "agent: {token_sha256: beef}\n",
            "token_sha256 must be 64 hex digits\n  at config.yaml:1:23\n  help: make it with: printf %s TOKEN | sha256sum",
        ),
        (
            "agents:\n  a: {token: 12345678901234567890}\n  b: {token: \"12345678901234567890\"}\n",
            "b has the same token as a\n  at config.yaml:3:14\n  help: every agent needs a token of its own",
        ),
        (
            "agents:\n  a b: {token: 12345678901234567890}\n",
            "\"a b\" is not a name for an agent\n  at config.yaml:2:3\n  help: use 1 to 64 letters, digits, \"_\", \"-\" and \".\"",
        ),
        (
            "agent: {token: \"${AGENT_TOKEN}\\n\"}\n",
            "token holds line breaks, control characters or spaces around it\n  at config.yaml:1:16\n  help: check the variable or file it comes from",
        ),
        (
            "agent: {token: \"${NOPE}\"}\n",
            "variable NOPE is not set\n  at config.yaml:1:16\n  help: looked in the environment, .env and secrets/NOPE ($CREDENTIALS_DIRECTORY is not set)",
        ),
    ] {
        says("config.yaml", text, &format!("agentpass: cannot load configuration: {expected}"));
    }
}

#[test]
fn mistakes_in_services() {
    for (text, expected) in [
        ("{tools: t.yaml}", "url is missing\n  at config.yaml:3:6"),
        ("{url: 'ftp://a', tools: t.yaml}", "url must begin with http:// or https://\n  at config.yaml:3:12"),
        (
            "{url: 'http://u:geheim@a', tools: t.yaml}",
            "url must not hold a user name or password; use auth\n  at config.yaml:3:12",
        ),
        (
            "{url: 'http://a', tools: t.yaml, handler: python, handler_class: x}",
            "there is no handler python yet\n  at config.yaml:3:48\n  help: describe its HTTP interface in a tool file",
        ),
        (
            "{url: 'http://a', tools: t.yaml, auth: {type: oauth}}",
            "unknown type \"oauth\"\n  at config.yaml:3:52\n  help: use bearer, header, query, basic, login or none",
        ),
        (
            "{url: 'http://a', tools: t.yaml, auth: {type: bearer, tokn: x}}",
            "token is missing\n  at config.yaml:3:45\nagentpass: cannot load configuration: unknown key \"tokn\"\n  \
          at config.yaml:3:60\n  help: known here: type, token",
        ),
        (
            "{url: 'http://a', tools: t.yaml, auth: {type: header, header_name: Host, token: x}}",
            "the header Host is set by the gateway itself\n  at config.yaml:3:73",
        ),
        (
            "{url: 'http://a', tools: t.yaml, auth: {type: bearer, token: x}, headers: {authorization: y}}",
            "the header authorization carries the credentials of the service\n  at config.yaml:3:81",
        ),
        (
            "{url: 'http://a', tools: t.yaml, ca_cert: t.yaml}",
            "DIR/t.yaml: there is no such file\n  at config.yaml:3:48",
        ),
        (
            "{url: 'http://a', tools: t.yaml, ca_cert: config.yaml}",
            "DIR/config.yaml holds no PEM certificate\n  at config.yaml:3:48\n  help: it begins with -----BEGIN CERTIFICATE-----",
        ),
        (
            "{url: 'http://a', tools: t.yaml, health: {path: api}}",
            "path must begin with \"/\"\n  at config.yaml:3:54",
        ),
        (
            "{url: 'http://a', tools: t.yaml, errors: [{status: 200, message: x}]}",
            "status must be a whole number from 400 to 599, not \"200\"\n  at config.yaml:3:57",
        ),
        (
            "{url: 'unix:run/x', tools: t.yaml}",
            "url must name a socket by its plain absolute path\n  at config.yaml:3:12\n  help: url: \"unix:/run/docker.sock\"",
        ),
        (
            "{url: 'unix:/run/../x', tools: t.yaml}",
            "url must name a socket by its plain absolute path\n  at config.yaml:3:12\n  help: url: \"unix:/run/docker.sock\"",
        ),
        (
            "{url: 'unix://run/x', tools: t.yaml}",
            "url must name a socket by its plain absolute path\n  at config.yaml:3:12\n  help: url: \"unix:/run/docker.sock\"",
        ),
        (
            "{url: 'unix:/run/x?y', tools: t.yaml}",
            "url must name a socket by its plain absolute path\n  at config.yaml:3:12\n  help: url: \"unix:/run/docker.sock\"",
        ),
        (
            "{url: 'unix:', tools: t.yaml}",
            "url must name a socket by its plain absolute path\n  at config.yaml:3:12\n  help: url: \"unix:/run/docker.sock\"",
        ),
        (
            "{url: 'unix:/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', tools: t.yaml}",
            "the path of the socket is longer than 107 bytes\n  at config.yaml:3:12",
        ),
        (
            "{url: 'http://a', tools: t.yaml, server_name: nas.lan}",
            "server_name only applies to https\n  at config.yaml:3:52\n  help: remove it, or use https://",
        ),
        (
            "{url: 'unix:/run/x', tools: t.yaml, pin: 'sha256:abababababababababababababababababababababababababababababababab'}",
            "pin only applies to https\n  at config.yaml:3:47\n  help: remove it, or use https://",
        ),
        (
            "{url: 'https://a', tools: t.yaml, pin: 'sha256:beef'}",
            "pin must be sha256: and 64 hex digits\n  at config.yaml:3:45\n  help: the SHA-256 of the certificate's public key (SubjectPublicKeyInfo)",
        ),
        (
            "{url: 'https://a', tools: t.yaml, server_name: 'nas lan'}",
            "server_name is no host name\n  at config.yaml:3:53\n  help: server_name: \"nas.lan\"",
        ),
        (
            "{url: 'http://a', tools: t.yaml, auth: {type: login, request: {method: POST, path: /l}, take: {json: sid}, send: {header: X}}}",
            "\"sid\" is no JSON pointer\n  at config.yaml:3:107\n  help: it begins with a slash: /session/sid",
        ),
        (
            "{url: 'http://a', tools: t.yaml, auth: {type: login, request: {method: POST, path: /l}, take: {json: /sid, cookie: c}, send: {header: X}}}",
            "take must say one place\n  at config.yaml:3:100\n  help: json: /session/sid, header: NAME or cookie: NAME",
        ),
        (
            "{url: 'http://a', tools: t.yaml, auth: {type: login, request: {method: POST, path: /l}, take: {json: /sid}, send: {header: Host}}}",
            "the header Host is set by the gateway itself\n  at config.yaml:3:129",
        ),
        (
            "{url: 'http://a', tools: t.yaml, auth: {type: login, request: {method: POST, path: /l}, take: {json: /sid}, send: {header: X, value: abc}}}",
            "value must hold {token} once, and nothing beyond ASCII\n  at config.yaml:3:139\n  help: value: \"Bearer {token}\"",
        ),
        (
            "{url: 'http://a', tools: t.yaml, auth: {type: login, request: {method: POST, path: /l}, take: {json: /sid}}}",
            "send is missing\n  at config.yaml:3:45",
        ),
        (
            "{url: 'http://a', tools: t.yaml, auth: {type: login, request: {method: POST, path: /l}, take: {json: /sid}, send: {header: X}, logout: {method: DELETE, path: out}}}",
            "path must begin with \"/\"\n  at config.yaml:3:164",
        ),
        ("{url: 'http://a'}", "tools is missing\n  at config.yaml:3:6"),
        (
            "{url: 'http://a', tools: nope.yaml}",
            "there is no tool file \"nope.yaml\"\n  at config.yaml:3:31\n  help: looked for DIR/nope.yaml and DIR/share/nope.yaml",
        ),
        (
            "{url: 'http://a', tools: 'nope/*.yaml'}",
            "there is no tool file \"nope/*.yaml\"\n  at config.yaml:3:31\n  help: looked for DIR/nope/*.yaml and DIR/share/nope/*.yaml",
        ),
        (
            "{url: 'http://a', tools: '*/a.yaml'}",
            "a pattern may stand in the name of the file only\n  at config.yaml:3:31\n  help: list the directories one by one",
        ),
    ] {
        let dir = Dir::minimal();
        copy(&dir, "tests/fixtures/seed/tools/my_api.yaml", "share/t.yaml");
        dir.write("config.yaml", format!("{MINIMAL}services:\n  s: {text}\n"));
        let findings = dir.load().unwrap_err();
        let errors: Vec<String> = findings.iter().filter(|f| f.is_error()).map(Finding::to_string).collect();
        let base = dir.0.display().to_string();
        let shown = errors.join("\n").replace(&format!("at {base}/"), "at ").replace(&base, "DIR");
        assert_eq!(shown, format!("agentpass: cannot load configuration: {expected}"), "for {text}");
        assert!(!shown.contains("geheim"));
    }
}

/// A tool file with one tool whose parts are `text`.
fn tool(text: &str) -> (Dir, Vec<Finding>) {
    let dir = Dir::minimal();
    let service = "services:\n  s:\n    url: http://a\n    auth: {type: query, query_param: key, token: xyz-secret}\n    \
                   tools: t.yaml\n";
    dir.write("config.yaml", format!("{MINIMAL}{service}"));
    dir.write("t.yaml", format!("tools:\n  t:\n    extra_args: refuse\n{text}"));
    let findings = dir.load().map_or_else(|findings| findings, |loaded| loaded.warnings);
    (dir, findings)
}

#[test]
fn mistakes_in_tools() {
    let args =
        "    args: {a: {}, n: {type: integer}, l: {type: array}, f: {free_text: true}, s: {secret: true}}\n";
    let get =
        "    request: {method: GET, path: \"/x\", query: {a: \"{a}\", n: \"{n}\", f: \"{f}\", s: \"{s}\"}}\n";
    for (text, expected) in [
        ("    response: {binary: hex}\n", "unknown binary \"hex\"\n  at t.yaml:4:24\n  help: use base64"),
        (
            "    response: {ok: {at: a..b, in: [1]}}\n",
            "at has an empty part\n  at t.yaml:4:25\n  help: at: ocs.meta.statuscode",
        ),
        (
            "    response: {ok: {at: a, in: []}}\n",
            "in must list 1 to 20 values\n  at t.yaml:4:32\n  help: in: [100, 200]",
        ),
        (
            "    response: {ok: {at: a, in: [[1]]}}\n",
            "this is no single value\n  at t.yaml:4:33\n  help: in: [100, 200]",
        ),
        ("    response: {ok: {in: 1}}\n", "at is missing\n  at t.yaml:4:20"),
        (
            "    response: {headers: [Set-Cookie]}\n",
            "the header Set-Cookie carries credentials\n  at t.yaml:4:26",
        ),
        ("    response: {headers: [A, a]}\n", "the header a is given twice\n  at t.yaml:4:29"),
        ("    response: {headers: [\"a b\"]}\n", "\"a b\" is not the name of a header\n  at t.yaml:4:26"),
        (
            "    response: {follow: {status: 404}}\n",
            "status must be a whole number from 200 to 299, not \"404\"\n  at t.yaml:4:33",
        ),
        (
            "    response: {follow: {every: 30, within: 20}}\n",
            "every is longer than within\n  at t.yaml:4:24",
        ),
        (
            "    response: {charset: klingon}\n",
            "unknown charset \"klingon\"\n  at t.yaml:4:25\n  help: known are utf-8, utf-16le, utf-16be, iso-8859-1, iso-8859-15 and windows-1252",
        ),
        (
            "    signature: \"{b}\"\n",
            "argument b is not declared\n  at t.yaml:4:16\n  help: add it under args",
        ),
        (
            "    signature: \"{a}, ,{n}\"\n",
            "signature has an empty part\n  at t.yaml:4:16\n  help: remove the extra comma",
        ),
        (
            "    signature: \"{a}{n}\"\n",
            "two arguments of the signature have nothing between them\n  at t.yaml:4:16\n  help: put text between them: {a}.{b}",
        ),
        (
            "    signature: \"{a...}\"\n",
            "{argument...} cannot be used in the signature\n  at t.yaml:4:16\n  help: it stands in the path only",
        ),
        (
            "    signature: \"{l}\"\n",
            "argument l is an array and cannot be used in the signature\n  at t.yaml:4:16",
        ),
        (
            "    signature: \"{f}\"\n",
            "argument f is free_text and cannot be used in the signature\n  at t.yaml:4:16\n  help: take it out of the signature",
        ),
        (
            "    signature: \"{s}\"\n",
            "argument s is secret and cannot be used in the signature\n  at t.yaml:4:16\n  help: take it out of the signature",
        ),
        (
            "    signature: \"{a\"\n",
            "unbalanced braces in signature\n  at t.yaml:4:16\n  help: write {argument}",
        ),
        (
            "    wrap: x\n",
            "unknown key \"wrap\"\n  at t.yaml:4:5\n  help: known here: description, kind, risk, cost, tokens, data, idempotency, signature, args, request, response, extra_args, timeout",
        ),
        (
            "    timeout: 0\n",
            "timeout must be a number of seconds from 0.1 to 3600, not \"0\"\n  at t.yaml:4:14",
        ),
        (
            "    response: {warp: x}\n",
            "unknown key \"warp\"\n  at t.yaml:4:16\n  help: known here: wrap, binary, ok, headers, follow, charset",
        ),
    ] {
        let (dir, findings) = tool(&format!("{text}{args}{get}"));
        let errors: Vec<String> = findings.iter().filter(|f| f.is_error()).map(Finding::to_string).collect();
        let shown = errors.join("\n").replace(&format!("{}/", dir.0.display()), "");
        assert_eq!(shown, format!("agentpass: cannot load tools: {expected}"), "for {text}");
    }
}

#[test]
fn mistakes_in_requests() {
    let args = "    args: {a: {}, l: {type: object}, k: {type: array}, o: {type: array, items: {type: object}}, f: {type: bytes}}\n";
    for (text, column, expected) in [
        ("{path: /x}", 14, "method is missing"),
        ("{method: brew, path: /x}", 23, "\"brew\" is not a method"),
        ("{method: Get, path: /x}", 23, "\"Get\" is not a method"),
        ("{method: \"A B\", path: /x}", 23, "\"A B\" is not a method"),
        ("{method: CONNECT, path: /x}", 23, "tools cannot use the method CONNECT"),
        ("{method: TRACE, path: /x}", 23, "tools cannot use the method TRACE"),
        ("{method: POST}", 14, "path is missing"),
        ("{method: POST, path: x}", 35, "path must begin with \"/\""),
        ("{method: POST, path: \"http://a/x\"}", 35, "path must begin with \"/\""),
        ("{method: POST, path: \"//evil/x\"}", 35, "path must not hold empty segments (\"//\")"),
        ("{method: POST, path: \"/a/../x\"}", 35, "path must not hold \".\" or \"..\" segments"),
        ("{method: POST, path: \"/a#b\"}", 35, "path must not hold a fragment (\"#\")"),
        ("{method: POST, path: \"/a?b={a}#c\"}", 35, "path must not hold a fragment (\"#\")"),
        ("{method: POST, path: \"/a b\"}", 35, "path holds a character that must be percent-encoded"),
        ("{method: POST, path: \"/a%2\"}", 35, "path holds a \"%\" without two hex digits"),
        ("{method: POST, path: \"/a?b?c\"}", 35, "path holds a second \"?\""),
        ("{method: POST, path: \"/{\"}", 35, "unbalanced braces in path"),
        ("{method: POST, path: \"/{a b}\"}", 35, "\"{a b}\" is not an argument name in path"),
        ("{method: POST, path: \"/{b}\"}", 35, "argument b is not declared"),
        ("{method: POST, path: \"/{l}\"}", 35, "argument l is an object and cannot be used in the path"),
        ("{method: POST, path: \"/x{a...}\"}", 35, "{argument...} stands for whole segments"),
        ("{method: POST, path: \"/{a...}{a}\"}", 35, "{argument...} stands for whole segments"),
        ("{method: POST, path: \"/{a...}x\"}", 35, "{argument...} stands for whole segments"),
        ("{method: POST, path: \"/{l...}\"}", 35, "argument l is an object and cannot be used in the path"),
        ("{method: POST, path: \"/?a={a...}\"}", 35, "{argument...} cannot be used in the query"),
        ("{method: POST, path: /, query: {q: \"{a...}\"}}", 49, "{argument...} cannot be used in the query"),
        (
            "{method: POST, path: \"/?key={a}\"}",
            35,
            "the query parameter key carries the credentials of the service",
        ),
        (
            "{method: POST, path: /, query: {key: x}}",
            51,
            "the query parameter key carries the credentials of the service",
        ),
        (
            "{method: POST, path: /, query: {q: \"{l}\"}}",
            49,
            "argument l is an object and cannot be used in the query",
        ),
        ("{method: GET, path: /, body: {a: 1}}", 43, "GET has no body"),
        ("{method: GET, path: /, encoding: form}", 47, "GET has no body"),
        ("{method: POST, path: /, encoding: xml}", 48, "unknown encoding \"xml\""),
        (
            "{method: POST, path: /, body: {a: 1}, body_exclude: [a]}",
            66,
            "body_exclude cannot be used with body",
        ),
        ("{method: POST, path: /, body: {a: \"{b}\"}}", 48, "argument b is not declared"),
        (
            "{method: POST, path: /, body: {a: \"x{l}\"}}",
            48,
            "argument l is an object and cannot be used in a text",
        ),
        ("{method: POST, path: /, body: {\"{a}\": 1}}", 45, "arguments can be used in values, not in names"),
        ("{method: POST, path: /, body: {a: \"{a\"}}", 48, "unbalanced braces in a"),
        ("{method: POST, path: /, body: \"{a}\"}", 44, "argument a is the body and may be absent"),
        (
            "{method: POST, path: /, encoding: form, body: [1]}",
            60,
            "the body of a form is a section of fields",
        ),
        (
            "{method: POST, path: /, encoding: form, body: {x: [[1]]}}",
            60,
            "a form holds no lists of lists or sections",
        ),
        (
            "{method: POST, path: /, encoding: none, body: {x: 1}}",
            60,
            "without an encoding the body is one text or bytes",
        ),
        (
            "{method: POST, path: /, encoding: form, body: {x: \"{f}\"}}",
            48,
            "argument f is bytes and cannot be sent in a form",
        ),
        ("{method: POST, path: \"/{f}\"}", 35, "argument f is bytes and cannot be used in the path"),
        (
            "{method: POST, path: /, body: {x: 1}, headers: {content-type: text/plain}}",
            76,
            "this Content-Type contradicts encoding: json",
        ),
        (
            "{method: POST, path: /, encoding: form, body_exclude: [f], headers: {Content-Type: application/json}}",
            97,
            "this Content-Type contradicts encoding: form",
        ),
        (
            "{method: POST, path: /, encoding: multipart, headers: {Content-Type: multipart/form-data}}",
            83,
            "this Content-Type contradicts encoding: multipart",
        ),
        (
            "{method: POST, path: /, encoding: json, headers: {Content-Type: \"{a}\"}}",
            78,
            "this Content-Type contradicts encoding: json",
        ),
        (
            "{method: POST, path: /, query: {q: \"{o}\"}}",
            49,
            "argument o is an array and cannot be used in the query",
        ),
        (
            "{method: POST, path: /, query: {q: \"x{k}\"}}",
            49,
            "argument k is an array and cannot be used in the query",
        ),
        ("{method: POST, path: /, query: {q: }}", 49, "q has no value"),
        ("{method: POST, path: \"/?a={k}\"}", 35, "argument k is an array and cannot be used in the query"),
        ("{method: POST, path: /, headers: {Host: x}}", 48, "the header Host is set by the gateway itself"),
        ("{method: POST, path: /, headers: {\"a b\": x}}", 48, "\"a b\" is not the name of a header"),
        ("{method: POST, path: /, headers: {A: x, a: y}}", 54, "the header a is given twice"),
        ("{method: POST, path: /, headers: {A: \"x\\ny\"}}", 51, "A holds control characters"),
        ("{method: POST, path: /, body_exclude: [b]}", 53, "argument \"b\" is not declared"),
        ("{method: POST, path: /, body_excluded: [a]}", 38, "unknown key \"body_excluded\""),
    ] {
        let (_dir, findings) = tool(&format!("{args}    request: {text}\n"));
        let errors: Vec<&Finding> = findings.iter().filter(|f| f.is_error()).collect();
        assert_eq!(errors[0].text, expected, "for {text}");
        assert_eq!(errors[0].place, Some((5, column)), "for {text}");
        assert_eq!(errors.len(), 1, "for {text}: {errors:?}");
    }
}

#[test]
fn a_body_and_what_else_is_said_of_arguments() {
    let said = |text: &str| {
        let (_dir, findings) = tool(text);
        findings.into_iter().map(|f| (f.is_error(), f.text)).collect::<Vec<_>>()
    };
    let error = |text: &str| vec![(true, text.to_owned())];
    let post = |args: &str, rest: &str| {
        said(&format!("    args: {{{args}}}\n    request: {{method: POST, path: /{rest}}}\n"))
    };
    let nowhere = "as renames an argument in a body of all arguments, and this one is not sent there";
    assert_eq!(post("a: {as: b}", ""), []);
    assert_eq!(post("a: {as: b}", ", body_exclude: [a]")[0], (true, nowhere.to_owned()));
    assert_eq!(post("a: {as: b}", ", body: {x: \"{a}\"}"), error(nowhere));
    assert_eq!(post("a: {as: b}, b: {}", ""), error("another argument is sent as b already"));
    assert_eq!(post("a: {as: b}, b: {as: a}", ""), []);
    assert_eq!(post("a: {as: b}, b: {}", ", body_exclude: [b]")[0].1, "argument b of tool t is used nowhere");
    assert_eq!(post("a: {as: \"b[]\"}", ""), error("as holds a bracket or a control character"));
    // An old file may say what it likes: its service may not care.
    let odd = post("a: {}", ", headers: {Content-Type: text/plain}");
    assert_eq!(odd, [(false, "this Content-Type contradicts encoding: json".to_owned())]);
    assert_eq!(post("a: {}", ", headers: {Content-Type: application/merge-patch+json}"), []);
    assert_eq!(
        post("a: {required: true}", ", encoding: none, body: \"{a}\", headers: {Content-Type: text/x}"),
        []
    );
    let (dir, _) = tool("    request: {method: POST, path: /, body: {a: 1}}\n");
    let text = fs::read_to_string(dir.0.join("t.yaml")).unwrap();
    dir.write("t.yaml", text.replace("extra_args: refuse", "extra_args: allow"));
    let findings = dir.load().unwrap_err();
    assert_eq!(findings[0].text, "other arguments are not part of the body that is laid out");
}

#[test]
fn a_list_of_the_signature_is_judged_element_by_element_or_not_at_all() {
    let request = "    request: {method: POST, path: /}\n";
    let args = "    args: {a: {type: array, each: true}, b: {type: array, each: true}, c: {type: array, join: \",\"}}\n";
    for (signature, expected) in [
        ("{a}, {b}", "each is said of a already"),
        ("{a}", "each only applies to arguments in the signature"),
        ("{a}, {c}", "argument c is an array and cannot be used in the signature"),
    ] {
        let (_dir, findings) = tool(&format!("    signature: \"{signature}\"\n{args}{request}"));
        assert!(findings.iter().any(|f| f.is_error() && f.text == expected), "{signature}: {findings:?}");
    }
    // One request goes out, so a list stands where a list can stand.
    let args = "    signature: \"{a}\"\n    args: {a: {type: array, each: true}}\n";
    let (_dir, findings) = tool(&format!("{args}    request: {{method: GET, path: \"/{{a}}\"}}\n"));
    assert_eq!(findings[0].text, "argument a is an array and cannot be used in the path");
}

/// Questions that were open over an upgrade are bound to the digest of the program before.
#[test]
fn a_tool_file_that_uses_nothing_new_keeps_its_digest() {
    let dir = Dir::minimal();
    dir.write("config.yaml", format!("{MINIMAL}services:\n  s: {{url: 'http://a', tools: t.yaml}}\n"));
    let text = r#"
tools:
  t:
    description: "d"
    signature: "{a}"
    args: {a: {required: true, validate: "x+", type: string}, b: {type: array, secret: true}, c: {free_text: true}}
    request: {method: POST, path: "/p/{a}?q={c}", query: {k: "{c}"}, headers: {X: "{c}"}, body_exclude: [a]}
    response: {wrap: w}
    extra_args: refuse
    timeout: 5
"#;
    dir.write("t.yaml", text);
    let loaded = dir.load().unwrap();
    let said = r#"{"args":{"a":{"description":null,"free_text":false,"required":true,"secret":false,"type":"string","validate":"x+"},"b":{"description":null,"free_text":false,"required":false,"secret":true,"type":"array","validate":null},"c":{"description":null,"free_text":true,"required":false,"secret":false,"type":null,"validate":null}},"body_exclude":["a"],"description":"d","extra_args":false,"headers":[["X","{c}"]],"method":"POST","name":"t","path":"/p/{a}","path_query":"q={c}","query":[["k","{c}"]],"service":"s","signature":"{a}","timeout":5,"url":"http://a","wrap":"w"}"#;
    let digest = |dir: &Dir| dir.load().unwrap().config.tools["t"].digest;
    assert_eq!(loaded.config.tools["t"].digest, Digest::sha256(said.as_bytes()));
    // What says nothing new changes nothing; what does, does.
    dir.write(
        "t.yaml",
        text.replace("    signature", "    kind: write\n    risk: none\n    cost: 0\n    signature"),
    );
    assert_eq!(digest(&dir), loaded.config.tools["t"].digest);
    for (from, to) in [
        ("    signature", "    kind: pay\n    signature"),
        ("    signature", "    risk: irreversible\n    signature"),
        ("    signature", "    cost: 0.01\n    signature"),
        ("    signature", "    tokens: 1\n    signature"),
        ("    signature", "    data: {from: crm}\n    signature"),
        ("    signature", "    idempotency: required\n    signature"),
        ("type: array, ", "type: array, items: {type: string}, "),
        ("type: array, ", "type: array, join: \"+\", "),
        ("c: {free_text", "c: {default: x, free_text"),
        ("/p/{a}", "/p/{a...}"),
        ("c: {free_text", "c: {as: cc, free_text"),
        ("body_exclude: [a]", "body_exclude: [a], encoding: json"),
        ("body_exclude: [a]", "body: {b: \"{b}\"}"),
        ("body_exclude: [a]", "body: {b: \"{b}\", x: 1}"),
    ] {
        dir.write("t.yaml", text.replace(from, to));
        assert_ne!(digest(&dir), loaded.config.tools["t"].digest, "{to}");
    }
}

#[test]
fn mistakes_in_arguments() {
    let request = "    request: {method: POST, path: /}\n";
    for (text, column, expected) in [
        ("a: {validate: \"(\"}", 26, "validate is not a usable pattern: unclosed group"),
        ("a: {validate: }", 26, "validate has no value"),
        ("a: {validate: x, type: array}", 26, "validate has no meaning for an array"),
        ("a: {type: text}", 22, "unknown type \"text\""),
        ("a: {required: yes}", 26, "required must be true or false, not \"yes\""),
        ("a: {requird: true}", 16, "unknown key \"requird\""),
        ("\"a b\": {}", 12, "\"a b\" is not a name for an argument"),
        ("a: {items: {}}", 23, "items only applies to arrays"),
        ("a: {type: array, items: {typ: x}}", 37, "unknown key \"typ\""),
        (
            "a: {type: array, items: {validate: \"(\"}}",
            47,
            "validate is not a usable pattern: unclosed group",
        ),
        ("a: {type: array, items: {type: object, validate: x}}", 61, "validate has no meaning for an object"),
        ("a: {join: \",\"}", 22, "join only applies to arrays"),
        ("a: {type: array, join: \"\"}", 35, "join is empty"),
        (
            "a: {type: array, join: \",\", items: {type: object}}",
            35,
            "join needs elements that are single values, not an object",
        ),
        ("a: {type: array, each: split}", 35, "each: split does not exist"),
        ("a: {type: array, each: true}", 35, "each only applies to arguments in the signature"),
        ("a: {default: }", 25, "default has no value"),
        ("a: {required: true, default: x}", 41, "a required argument has no use for a default"),
        ("a: {type: integer, default: x}", 40, "default does not fit: Argument 'a' must be an integer"),
        ("a: {validate: x, default: y}", 38, "default does not fit: Invalid value for a"),
        ("a: {default: \"a*\"}", 25, "default does not fit: Argument 'a' contains forbidden characters"),
        (
            "a: {type: integer, default: 9007199254740992}",
            40,
            "\"9007199254740992\" is not a number that JSON keeps exactly",
        ),
        ("a: {type: number, default: .inf}", 39, "\".inf\" is not a number that JSON keeps exactly"),
        (
            "a: {type: array, items: {type: integer}, default: [1, x]}",
            62,
            "default does not fit: Argument 'a' must be an array of integers",
        ),
    ] {
        let (_dir, findings) = tool(&format!("    args: {{{text}}}\n{request}"));
        assert_eq!(
            (findings[0].text.as_str(), findings[0].place),
            (expected, Some((4, column))),
            "for {text}"
        );
    }
}

#[test]
fn signatures_have_one_spelling() {
    let args = "    args: {a: {}, b: {}}\n    request: {method: POST, path: /}\n";
    for (written, normal) in [("{a},{b}", "{a}, {b}"), ("  {a} ,  {b} ", "{a}, {b}"), ("{a}.{b}", "{a}.{b}")]
    {
        let (dir, _) = tool(&format!("    signature: \"{written}\"\n{args}"));
        let loaded = dir.load().unwrap();
        assert_eq!(loaded.config.tools["t"].signature.as_ref().unwrap().to_string(), normal);
    }
    let (dir, _) = tool(&format!("    signature: \"\"\n{args}"));
    assert!(dir.load().unwrap().config.tools["t"].signature.is_none());
}

#[test]
fn tool_names_are_unique_over_all_services() {
    let dir = Dir::minimal();
    copy(&dir, "tests/fixtures/seed/tools/my_api.yaml", "tools/a.yaml");
    copy(&dir, "tests/fixtures/seed/tools/my_api.yaml", "tools/b.yaml");
    dir.write(
        "config.yaml",
        format!("{MINIMAL}services:\n  s: {{url: 'http://a', tools: 'tools/*.yaml'}}\n"),
    );
    let findings = dir.load().unwrap_err();
    let errors: Vec<&Finding> = findings.iter().filter(|f| f.is_error()).collect();
    assert_eq!(errors[0].text, "there is a tool \"get_item\" already");
    assert_eq!((errors[0].place, &errors[0].file), (Some((2, 3)), &dir.0.join("tools/b.yaml")));
    assert!(errors[0].help.as_ref().unwrap().ends_with("tools/a.yaml"));
}

#[test]
fn tool_files_come_from_beside_the_configuration_first() {
    let dir = Dir::minimal();
    let tools = |name: &str| format!("tools:\n  {name}: {{request: {{method: GET, path: /}}}}\n");
    dir.write("share/a.yaml", tools("shared"));
    dir.write("share/b.yaml", tools("b"));
    dir.write("a.yaml", tools("own"));
    dir.write(
        "config.yaml",
        format!("{MINIMAL}services:\n  s: {{url: 'http://a', tools: [a.yaml, b.yaml]}}\n"),
    );
    let names: Vec<String> = dir.load().unwrap().config.tools.into_keys().collect();
    assert_eq!(names, ["b", "own"]);
}

#[test]
fn every_file_is_checked_before_giving_up() {
    let dir = Dir::minimal();
    dir.write(
        "config.yaml",
        format!("{MINIMAL}nope: 1\nservices:\n  s: {{url: 'http://a', tools: t.yaml}}\n"),
    );
    dir.write("t.yaml", "tools: {t: {}}\n");
    dir.write("permissions.yaml", "rule: []\n");
    let findings = dir.load().unwrap_err();
    for file in ["config.yaml", "t.yaml", "permissions.yaml"] {
        assert!(findings.iter().any(|f| f.is_error() && f.file.ends_with(file)), "{file}: {findings:?}");
    }
    dir.write("config.yaml", "a: [\n");
    assert_eq!(dir.load().unwrap_err().iter().filter(|f| f.is_error()).count(), 2);
}

#[test]
fn files_that_cannot_be_read() {
    let dir = Dir::minimal();
    let text =
        |dir: &Dir| dir.load().unwrap_err()[0].to_string().replace(&format!("{}/", dir.0.display()), "");
    fs::remove_file(dir.paths().permissions).unwrap();
    assert_eq!(
        text(&dir),
        "agentpass: cannot load permissions: there is no such file\n  at permissions.yaml\n  \
         help: `agentpass init` writes a configuration to start from"
    );
    fs::create_dir(dir.paths().permissions).unwrap();
    assert_eq!(
        text(&dir),
        "agentpass: cannot load permissions: this is not a regular file\n  at permissions.yaml"
    );
    fs::remove_dir(dir.paths().permissions).unwrap();
    dir.write("permissions.yaml", b"rules: \xff\n");
    assert_eq!(
        text(&dir),
        "agentpass: cannot load permissions: the file is not UTF-8 text\n  at permissions.yaml"
    );
    dir.write("permissions.yaml", vec![b' '; (4 << 20) + 1]);
    assert_eq!(
        text(&dir),
        "agentpass: cannot load permissions: the file is larger than 4 MiB\n  at permissions.yaml"
    );
    fs::remove_file(dir.paths().permissions).unwrap();
    symlink(dir.write("real.yaml", "rules: [{pattern: a, action: ask}]"), dir.paths().permissions).unwrap();
    assert!(dir.load().is_ok());
}

#[test]
fn byte_order_marks_and_carriage_returns_do_no_harm() {
    permissions(
        "\u{feff}rules:\r\n  - pattern: a\r\n    action: no\r\n",
        "agentpass: cannot load permissions: unknown action \"no\"\n  at permissions.yaml:3:13\n  help: use allow, deny or ask",
    );
}

/// An editor shows one line, a comment; YAML reads two, the second of which is no comment.
#[test]
fn line_ends_that_editors_do_not_show_are_refused() {
    for (end, code, help) in [
        ("\u{85}", "0085", "remove it; inside double quotes write \"\\u0085\""),
        ("\u{2028}", "2028", "remove it; inside double quotes write \"\\u2028\""),
        ("\u{2029}", "2029", "remove it; inside double quotes write \"\\u2029\""),
        ("\r", "000D", "end lines with a line feed; inside double quotes write \"\\r\""),
    ] {
        let said = |doing: &str, place: &str| {
            format!(
                "agentpass: cannot load {doing}: U+{code} ends a line of YAML here, which most editors do not show\n  \
                 at {place}\n  help: {help}"
            )
        };
        let hidden = format!("rules: [] # é{end}defaults: [{{pattern: \"*\", action: allow}}]\n");
        permissions(&hidden, &said("permissions", "permissions.yaml:1:14"));
        config(
            &format!("# b{end}rate_limit: {{}}\n"),
            &said("configuration", &format!("config.yaml:{}:4", MINIMAL.lines().count() + 1)),
        );
        let (dir, findings) = tool(&format!("    # a{end}# b\r\n"));
        let shown = findings[0].to_string().replace(&format!("{}/", dir.0.display()), "");
        assert_eq!(shown, said("tools", "t.yaml:4:8"));
    }
    let dir = Dir::minimal();
    let escaped = "rules: [{pattern: \"a\\u0085\\u2028\\u2029\\r\", action: deny}]\r\n";
    dir.write("permissions.yaml", escaped);
    assert_eq!(dir.load().unwrap().permissions.rules[0].id.pattern, "a\u{85}\u{2028}\u{2029}\r");
}

#[test]
fn yaml_bombs_are_bounded() {
    let dir = Dir::minimal();
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..10 {
        let items = vec![format!("*a{}", i - 1); 9].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [{items}]\n"));
    }
    for text in [bomb, "[".repeat(5_000), "{a: ".repeat(5_000), "- ".repeat(5_000)] {
        dir.write("permissions.yaml", text);
        let findings = dir.load().unwrap_err();
        assert!(
            findings[0].text.contains("limit exceeded") || findings[0].text.contains("values"),
            "{findings:?}"
        );
    }
}

#[test]
fn credentials_come_first_then_the_environment_then_the_file() {
    let dir = Dir::minimal();
    dir.write(".env", "# secrets\nexport AGENT_TOKEN='from the file # really' # yes\n");
    dir.write("credentials/AGENT_TOKEN", "from-the-credentials\n\n");
    let credentials = dir.0.join("credentials").display().to_string();
    let token = |vars: &[(&str, &str)]| match dir.load_with(vars) {
        Ok(loaded) => loaded.config.secrets[0].expose().to_owned(),
        Err(findings) => findings[0].text.clone(),
    };
    assert_eq!(token(&[]), "from the file # really");
    assert_eq!(token(&[("AGENT_TOKEN", "from-the-environment")]), "from-the-environment");
    let both = [("AGENT_TOKEN", "from-the-environment"), ("CREDENTIALS_DIRECTORY", &credentials)];
    assert!(token(&both).contains("line breaks"), "only one newline is trimmed");
    dir.write("credentials/AGENT_TOKEN", "from-the-credentials\n");
    assert_eq!(token(&both), "from-the-credentials");
    fs::remove_file(dir.0.join("credentials/AGENT_TOKEN")).unwrap();
    assert_eq!(token(&both), "from-the-environment");
    fs::remove_file(dir.0.join(".env")).unwrap();
    let findings = dir.load_with(&[("CREDENTIALS_DIRECTORY", &credentials)]).unwrap_err();
    let base = dir.0.display();
    assert_eq!(
        findings[0].help.as_deref().unwrap(),
        format!(
            "looked in {base}/credentials, the environment and {base}/.env; a new {base}/secrets/AGENT_TOKEN counts \
             when the service is restarted"
        )
    );
}

#[test]
fn a_directory_of_secrets_is_read_by_people_and_loaded_for_the_service() {
    let dir = Dir::minimal();
    dir.write("config.yaml", "agent:\n  token: ${TOKEN}\n");
    dir.write("secrets/TOKEN", "from-the-directory\n");
    dir.write("credentials/secret_TOKEN", "from-the-service\n");
    let secrets = dir.0.join("secrets");
    fs::set_permissions(secrets.join("TOKEN"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(&secrets, fs::Permissions::from_mode(0o700)).unwrap();
    let token = |vars: &[(&str, &str)]| dir.load_with(vars).unwrap().config.secrets[0].expose().to_owned();
    assert_eq!(token(&[]), "from-the-directory");
    let credentials = dir.0.join("credentials").display().to_string();
    assert_eq!(token(&[("CREDENTIALS_DIRECTORY", &credentials)]), "from-the-service");

    assert_eq!(dir.load_with(&[]).unwrap().warnings, []);
    fs::set_permissions(&secrets, fs::Permissions::from_mode(0o755)).unwrap();
    let warned = dir.load_with(&[]).unwrap().warnings;
    assert!(
        warned[0].to_string().contains("secrets/TOKEN") && warned[0].to_string().contains("chmod o-r"),
        "{warned:?}"
    );
}

#[test]
fn a_value_from_outside_never_changes_the_structure() {
    let dir = Dir::minimal();
    dir.write("config.yaml", "agent:\n  token: ${T} # ${NOT_LOOKED_AT}\n");
    for sly in [
        "a\", may_explain: true, x: \"0123456789",
        "x: y",
        "${AGENT_TOKEN}",
        "# comment 0123456789",
        "[1, 2]",
    ] {
        let loaded = dir.load_with(&[("T", sly)]).unwrap();
        let [agent] = loaded.config.agents.as_slice() else { panic!() };
        assert!(agent.token.matches(&TokenHash::new(sly)) && !agent.may_explain, "{sly}");
    }
}

#[test]
fn numbers_and_lists_come_from_variables() {
    let dir = Dir::minimal();
    let messenger = "messenger: {type: telegram, telegram: {token: \"${BOT}\", chat_id: \"${CHAT}\", allowed_users: \"${IDS}\"}}\n\
                     gateway: {port: \"${PORT}\"}\napproval_timeout: \"${SOON}\"\n";
    dir.write("config.yaml", format!("{MINIMAL}{messenger}"));
    for (ids, expected) in
        [("1, 2", vec![1, 2]), ("[3,4]", vec![3, 4]), ("5 6\n", vec![5, 6]), ("7", vec![7])]
    {
        let vars = [
            ("AGENT_TOKEN", TOKEN),
            ("BOT", "1:a"),
            ("CHAT", "-100"),
            ("IDS", ids),
            ("PORT", "0"),
            ("SOON", "1.5"),
        ];
        let config = dir.load_with(&vars).unwrap().config;
        let ChannelConfig::Telegram(telegram) = &config.channels["telegram"] else { panic!("no bot") };
        assert_eq!((telegram.chat_id, &telegram.allowed_users), (-100, &expected));
        assert_eq!((config.gateway.port, config.approval_timeout), (0, Duration::from_millis(1500)));
    }
    for ids in ["", "1;2", "[1", "0", "-1", "1.0"] {
        let vars = [
            ("AGENT_TOKEN", TOKEN),
            ("BOT", "1:a"),
            ("CHAT", "-100"),
            ("IDS", ids),
            ("PORT", "0"),
            ("SOON", "2"),
        ];
        let findings = dir.load_with(&vars).unwrap_err();
        assert!(findings[0].text.starts_with("allowed_users"), "{ids}: {findings:?}");
        assert!(
            ids.is_empty() || !findings[0].text.contains(ids) || ids.len() == 1,
            "values of variables are not shown"
        );
    }
}

#[test]
fn answers_are_part_of_what_an_approval_is_bound_to() {
    let dir = Dir::minimal();
    let text = "services: {s: {url: 'http://a', tools: t.yaml}}\nagent: {token: agent-token-0123456789}\n";
    dir.write("config.yaml", text);
    let load = |response: &str| {
        let tool = "tools:\n  t:\n    description: d\n    request: {method: GET, path: /}\n";
        dir.write("t.yaml", format!("{tool}{response}"));
        let tool = dir.load().unwrap().config.tools["t"].clone();
        (tool.digest, http(&tool).response.clone())
    };
    let whole = "    response: {wrap: w, binary: base64, ok: {at: a.0, in: [1, \"x\", true]}, headers: [Location], \
                 follow: {every: 0.5}, charset: Latin-1}\n";
    let (digest, response) = load(whole);
    assert_eq!(response.wrap.as_deref(), Some("w"));
    assert!(response.binary && response.headers == ["Location"]);
    let ok = response.ok.unwrap();
    assert_eq!(ok.at, ["a", "0"]);
    assert_eq!(ok.among, [serde_json::json!(1), "x".into(), true.into()]);
    let follow = response.follow.unwrap();
    assert_eq!(
        (follow.status, follow.every, follow.within),
        (202, Duration::from_millis(500), Duration::from_secs(60))
    );
    assert_eq!(response.charset, Some(agentpass::testing::model::Charset::Latin1));
    let mut digests = vec![digest, load("").0];
    for change in [
        ("binary: base64, ", ""),
        ("\"x\"", "\"y\""),
        ("Location", "Link"),
        ("0.5", "0.6"),
        ("Latin-1", "utf-8"),
    ] {
        digests.push(load(&whole.replace(change.0, change.1)).0);
    }
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 7);
}

#[test]
fn services_behind_a_login_or_a_socket() {
    let dir = Dir::minimal();
    dir.write(
        "config.yaml",
        r#"
agent: {token: agent-token-0123456789}
services:
  docker: {url: "unix:/run/docker.sock", tools: t.yaml}
  nas: {url: "https://192.168.1.2", tools: u.yaml, server_name: nas.lan}
  pihole:
    url: "https://pi.hole"
    pin: "sha256:BEEFBEEFbeefbeefbeefbeefbeefbeefbeefbeefbeefbeefbeefbeefbeefbeef"
    auth:
      type: login
      request: {method: POST, path: /api/auth, body: {user: "${USER}", password: "${PIHOLE}", n: [1, true, null]}}
      take: {json: /session/sid}
      send: {header: X-FTL-SID, value: "{token}"}
      expires: 300
      logout: {method: DELETE, path: /api/auth}
    tools: v.yaml
  torrents:
    url: "http://a"
    auth:
      type: login
      request: {method: POST, path: /login, encoding: form, body: {username: me, password: "p&ss word"}, headers: {Referer: "http://a"}}
      take: {cookie: SID}
    tools: w.yaml
"#,
    );
    for name in ["t", "u", "v", "w"] {
        dir.write(
            &format!("{name}.yaml"),
            format!("tools: {{{name}: {{description: d, request: {{method: GET, path: /}}}}}}\n"),
        );
    }
    let config = dir.load_with(&[("PIHOLE", "pi-hole-password"), ("USER", "admin")]).unwrap().config;
    let [docker, nas, pihole, torrents] = [0, 1, 2, 3].map(|at| config.services[at].http().unwrap());
    assert_eq!((docker.url.as_str(), docker.address()), ("http://localhost", "unix:/run/docker.sock".into()));
    assert_eq!(nas.peer.server_name.as_deref(), Some("nas.lan"));
    assert_eq!(pihole.peer.pin, Some([0xbe, 0xef].repeat(16).try_into().unwrap()));
    let Auth::Login(login) = &pihole.auth else { panic!() };
    let (kind, body) = login.request.body.as_ref().unwrap();
    assert_eq!(*kind, "application/json");
    assert_eq!(body.expose(), r#"{"n":[1,true,null],"password":"pi-hole-password","user":"admin"}"#);
    assert_eq!((login.header.as_str(), login.before.as_str()), ("X-FTL-SID", ""));
    assert_eq!(login.expires, Some(Duration::from_secs(300)));
    assert_eq!(login.logout.as_ref().unwrap().path, "/api/auth");
    let Auth::Login(login) = &torrents.auth else { panic!() };
    let (kind, body) = login.request.body.as_ref().unwrap();
    assert_eq!(
        (*kind, body.expose()),
        ("application/x-www-form-urlencoded", "username=me&password=p%26ss%20word")
    );
    assert_eq!((login.header.as_str(), login.before.as_str()), ("Cookie", "SID="));
    let secrets: Vec<&str> = config.secrets.iter().map(|s| s.expose()).collect();
    assert_eq!(secrets, ["agent-token-0123456789", "pi-hole-password", "p&ss word"]);
    assert!(!format!("{config:?}").contains("pi-hole-password"));
    let digest = |config: &agentpass::testing::config::Config| config.tools["t"].digest;
    let before = digest(&config);
    let text = fs::read_to_string(dir.0.join("config.yaml")).unwrap();
    dir.write("config.yaml", text.replace("docker.sock", "other.sock"));
    let moved = dir.load_with(&[("PIHOLE", "pi-hole-password"), ("USER", "admin")]).unwrap().config;
    assert_ne!(digest(&moved), before, "an approval is bound to where the call goes");
}

#[test]
fn every_secret_is_known_for_scrubbing() {
    let dir = Dir::minimal();
    dir.write("config.yaml", r#"
agents: {a: {token: agent-token-0123456789}, b: {token_sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}
services:
  one: {url: "http://a", tools: t.yaml, auth: {type: basic, username: me, password: pass-word}, headers: {Accept: text/plain, X-Key: header-key}}
  two: {url: "http://a", tools: u.yaml, auth: {type: header, header_name: Authorization, token: "Token ${INNER}"}}
"#);
    dir.write("t.yaml", "tools: {}\n");
    dir.write("u.yaml", "tools: {}\n");
    let config = dir.load_with(&[("INNER", "inner-token")]).unwrap().config;
    let mut secrets: Vec<&str> = config.secrets.iter().map(|s| s.expose()).collect();
    secrets.sort_unstable();
    assert_eq!(
        secrets,
        [
            "Token inner-token",
            "agent-token-0123456789",
            "bWU6cGFzcy13b3Jk",
            "header-key",
            "inner-token",
            "pass-word"
        ]
    );
    assert!(!format!("{config:?}").contains("pass-word"));
}

#[test]
fn advice_on_rules() {
    let dir = quiet_seed();
    dir.write(
        "permissions.yaml",
        "rules:\n  - {pattern: \"ha_call_service(lock.*)\", action: deny}\n  - {pattern: \"ha_call_service(*)\", action: allow}\n  \
         - {pattern: \"ha_fire_event\", action: deny}\n  - {pattern: \"nope_*\", action: ask}\n  \
         - {pattern: \"ha_call_service(*)\", action: ask}\n  - {pattern: \"ha_get_states\", action: ask, agents: [\"x*\", default]}\n\
         defaults:\n  - {pattern: \"*\", action: ask}\n  - {pattern: \"ha_get_*\", action: allow}\n",
    );
    let loaded = dir.load().unwrap();
    let said: Vec<(String, Option<(u64, u64)>)> =
        loaded.warnings.iter().map(|w| (w.text.clone(), w.place)).collect();
    let expected = [
        ("this allow rule is wider than deny rule 1 (\"ha_call_service(lock.*)\")", 3, 5),
        ("this rule can never match: no tool matches \"ha_fire_event\"", 4, 5),
        ("this rule can never match: no tool matches \"nope_*\"", 5, 5),
        ("this rule never decides: rule 2 (allow \"ha_call_service(*)\") goes first", 6, 5),
        ("no agent is called \"x*\"", 7, 54),
        ("this rule never decides: rule 1 (ask \"*\") goes first", 10, 5),
    ];
    assert_eq!(said, expected.map(|(text, line, column)| (text.to_owned(), Some((line, column)))));
    assert!(loaded.warnings.iter().all(|w| w.severity == Severity::Warning));
    let agents = loaded.permissions.rules[5].matcher.agents.as_ref().unwrap();
    assert_eq!(agents.iter().map(|a| a.as_str()).collect::<Vec<_>>(), ["default"]);
}

/// Rules that look right and match nothing, or something else.
#[test]
fn rules_that_can_never_match_are_found() {
    let dir = quiet_seed();
    copy(&dir, "tests/fixtures/never-match.yaml", "permissions.yaml");
    let loaded = dir.load().unwrap();
    let of_rule = |rule: &agentpass::testing::model::Rule, word: &str| {
        let about = format!("{:?}", rule.id.pattern);
        loaded.warnings.iter().any(|w| w.text.contains(word) && w.text.contains(&about))
    };
    let rules = &loaded.permissions.rules;
    assert_eq!(rules.len(), 7);
    for rule in &rules[..6] {
        assert!(of_rule(rule, "can never match"), "{:?}: {:#?}", rule.id.pattern, loaded.warnings);
    }
    for (rule, sign) in [(&rules[3], "\"{\""), (&rules[5], "\"\\\\\""), (&rules[6], "\"[^\"")] {
        assert!(of_rule(rule, sign), "{:?}: {:#?}", rule.id.pattern, loaded.warnings);
    }
    let looks = "signatures of ha_call_service look like";
    assert!(loaded.warnings.iter().any(|w| w.help.as_deref().is_some_and(|help| help.contains(looks))));
}

#[test]
fn rules_that_can_match_are_left_alone() {
    let dir = quiet_seed();
    let patterns = [
        "ha_call_service(lock.*)",
        "ha_call_service(*.unlock, *)",
        "ha_call_service(lock.unlock, lock.front)",
        "ha_call_service(lock.unlock, )",
        "ha_call_service([a-l]*, light.?)",
        "ha_get_states",
        "*",
    ];
    let rules: String =
        patterns.iter().map(|p| format!("  - {{pattern: \"{p}\", action: deny}}\n")).collect();
    dir.write("permissions.yaml", format!("rules:\n{rules}"));
    let warnings = dir.load().unwrap().warnings;
    assert!(!warnings.iter().any(|w| w.text.contains("never match")), "{warnings:#?}");
}

#[test]
fn wide_allows_are_told() {
    let dir = quiet_seed();
    let tools = "tools:\n  ha_do:\n    signature: \"{service}, {entity_id}\"\n    args: {service: {required: true}, entity_id: {}, area_id: {}}\n    \
                 extra_args: refuse\n    request: {method: POST, path: /x}\n";
    dir.write("tools/homeassistant.yaml", tools);
    dir.write(
        "permissions.yaml",
        "rules:\n  - {pattern: \"ha_do(light.turn_on, light.*)\", action: allow}\ndefaults:\n  - {pattern: \"*\", action: allow}\n",
    );
    let texts: Vec<String> = dir.load().unwrap().warnings.into_iter().map(|w| w.text).collect();
    let around = "this allow rule names an entity, but ha_do can be led around it by area_id";
    let rest = "everything that no rule mentions is allowed, and so is every tool added later";
    assert!(texts.iter().any(|t| t == around) && texts.iter().any(|t| t == rest), "{texts:#?}");

    let denied = "  - {pattern: \"ha_do(*)\", any_value: \"[adfl]*_id\", action: deny}\n";
    let rule = "  - {pattern: \"ha_do(light.turn_on, light.*)\", action: allow}\n";
    dir.write("permissions.yaml", format!("rules:\n{rule}{denied}"));
    assert_eq!(dir.load().unwrap().warnings, []);
}

#[test]
fn a_file_full_of_mistakes_is_no_flood_and_a_long_one_is_read() {
    let dir = quiet_seed();
    dir.write("permissions.yaml", format!("rules:\n{}", "  - {pattern: a, action: b}\n".repeat(100)));
    let findings = dir.load().unwrap_err();
    assert_eq!(findings.len(), 21);
    assert_eq!(findings[20].text, "and 80 more findings in this file");
    let rule = |i: usize| {
        format!("  - {{pattern: \"ha_call_service(light.turn_on, light.l{i})\", action: allow}}\n")
    };
    let rules: String = (0..10_000).map(rule).collect();
    dir.write("permissions.yaml", format!("rules:\n{rules}"));
    assert_eq!(dir.load().unwrap().permissions.rules.len(), 10_000);
}

#[test]
fn owner_commands_need_no_secret() {
    let dir = Dir::minimal();
    let rest = "gateway: {control_socket: run/s.sock}\nstorage: {path: /x/y.db}\nservices: {a: {url: \"${NOPE}\"}}\n";
    dir.write("config.yaml", format!("agent: {{token: \"${{NOPE}}\"}}\n{rest}"));
    let local = local(&dir.paths()).unwrap();
    assert_eq!(local.gateway.control_socket, Some(dir.0.join("run/s.sock")));
    assert_eq!(local.storage.path, Path::new("/x/y.db"));
    assert!(dir.load().is_err());
}

#[test]
fn advice_on_secrets_and_tools() {
    let dir = Dir::minimal();
    let config = dir.write("config.yaml", "agent: {token: short}\n");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    let base = format!("{}/", dir.0.display());
    assert_eq!(
        dir.shown(),
        format!("agentpass: warning: the token is shorter than 16 characters\n  at config.yaml:1:16\n  help: make one with: \
         openssl rand -hex 32\nagentpass: warning: the file holds secrets and every user of this machine can read it\n  \
         at config.yaml\n  help: chmod o-r {base}config.yaml").replace(&base, "")
    );
    dir.write("config.yaml", MINIMAL);
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(dir.shown(), "", "variables are no secrets");

    let (dir, findings) = tool("    args: {a: {}, b: {}}\n    request: {method: GET, path: \"/{a}\"}\n");
    assert_eq!(findings[0].text, "argument b of tool t is used nowhere");
    assert_eq!((findings[0].place, findings[0].is_error()), (Some((4, 19)), false));
    assert!(dir.load().is_ok());
}

#[test]
fn places_that_one_agent_can_take_from_all_others_are_warned_of() {
    for (places, warned) in [(1, true), (2, true), (3, false)] {
        let dir = Dir::minimal();
        let agents = "agents: {a: {token: 0123456789abcdef}, b: {token: 0123456789abcdeg}}";
        dir.write("config.yaml", format!("{agents}\nmax_concurrent_calls: {places}\n"));
        let warnings = dir.load().unwrap().warnings;
        let of_places = warnings.iter().filter(|w| w.text.contains("places for calls at once")).count();
        assert_eq!(of_places == 1, warned, "{places}: {warnings:?}");
    }
}

#[test]
fn credentials_for_a_name_that_anybody_can_answer_for_are_warned_of() {
    let warned = |url: &str, auth: &str| {
        let dir = Dir::minimal();
        copy(&dir, "tests/fixtures/seed/tools/my_api.yaml", "share/t.yaml");
        let service = format!("services:\n  s:\n    url: {url}\n    auth: {auth}\n    tools: t.yaml\n");
        dir.write("config.yaml", format!("{MINIMAL}{service}"));
        let warnings = dir.load().unwrap().warnings;
        let of_names = warnings.into_iter().filter(|w| w.text.contains(".local"));
        of_names.map(|w| w.place).collect::<Vec<_>>()
    };
    let (bearer, none) = ("{type: bearer, token: geheim-geheim-geheim}", "{type: none}");
    for url in ["http://homeassistant.local:8123", "HTTP://Pi.Local./x", "http://a.b.local"] {
        let line = u64::try_from(MINIMAL.lines().count()).unwrap() + 3;
        assert_eq!(warned(url, bearer), [Some((line, 10))], "{url}");
        assert_eq!(warned(url, none), [], "{url}");
    }
    for url in [
        "https://pi.local",
        "http://local",
        "http://pi.local.lan",
        "http://pi.lan/x.local",
        "http://10.0.0.1",
    ] {
        assert_eq!(warned(url, bearer), [], "{url}");
    }
    let dir = Dir::minimal();
    let bot = "messenger: {type: telegram, telegram: {token: '1:a', chat_id: 1, allowed_users: [1], api_url: 'http://bot.local'}}\n";
    dir.write("config.yaml", format!("{MINIMAL}{bot}"));
    assert!(dir.load().unwrap().warnings[0].text.contains("answer for a name in .local"));
}

#[test]
fn findings_for_machines() {
    let dir = Dir::minimal();
    dir.write("permissions.yaml", "rules:\n  - {pattern: a, action: alow}\n");
    dir.write(".env", format!("AGENT_TOKEN={TOKEN}\n"));
    let findings = check(&dir.paths(), true);
    let file = dir.paths().permissions.display().to_string();
    let expected = serde_json::json!([{"severity": "error", "doing": "cannot load permissions",
        "text": "unknown action \"alow\"", "file": file, "line": 2, "column": 26, "help": "use allow, deny or ask"}]);
    assert_eq!(findings.iter().map(Finding::to_json).collect::<serde_json::Value>(), expected);
    assert!(findings[0].is_error());
    dir.write("permissions.yaml", "rules:\n  - {pattern: a, action: allow}\n");
    assert!(!check(&dir.paths(), true).iter().any(Finding::is_error));
}

/// What copying leaves around a credential is found before it is sent to anybody.
#[test]
fn credentials_with_something_around_them() {
    let dir = Dir::minimal();
    let table = [
        ("bearer, token: X", "\u{feff}abcdefgh0123", "token holds a byte order mark"),
        ("bearer, token: X", "\"abcdefgh0123\"", "token stands in quotes of its own"),
        ("bearer, token: X", "'abcdefgh0123'", "token stands in quotes of its own"),
        ("bearer, token: X", "Bearer abcdefgh0123", "token begins with \"Bearer\""),
        ("bearer, token: X", "bearer abcdefgh0123", "token begins with \"Bearer\""),
        ("bearer, token: X", "abcdefgh 0123", "token holds a space"),
        ("bearer, token: X", "abcdefgh\u{2013}0123", "token holds characters beyond ASCII"),
        ("header, header_name: X-Key, token: X", "schl\u{fc}ssel0123", "token holds characters beyond ASCII"),
        ("query, query_param: key, token: X", "\u{feff}abcdefgh0123", "token holds a byte order mark"),
        ("basic, username: u, password: X", "\u{feff}abcdefgh0123", "password holds a byte order mark"),
        ("basic, username: u, password: X", "schl\u{fc}ssel 0123", ""),
        ("header, header_name: X-Key, token: X", "Token abcdefgh0123", ""),
    ];
    for (auth, value, expected) in table {
        let auth = auth.replace('X', "\"${CREDENTIAL}\"").replace("\"${CREDENTIAL}\"-Key", "X-Key");
        let service =
            format!("services: {{s: {{url: 'http://s', auth: {{type: {auth}}}, tools: t.yaml}}}}\n");
        dir.write("t.yaml", "tools: {}\n");
        dir.write("config.yaml", format!("{MINIMAL}{service}"));
        dir.write(".env", format!("AGENT_TOKEN={TOKEN}\n"));
        dir.write("secrets/CREDENTIAL", value);
        let shown = dir.shown();
        assert!(
            shown.contains(expected) && shown.is_empty() == expected.is_empty(),
            "{auth} {value:?}: {shown}"
        );
        assert!(!shown.contains("0123"), "{shown}");
    }
}

/// Small seeded generator (xorshift): the same mutations on every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let (at, other) = (self.below(bytes.len()), self.below(bytes.len()));
            match self.below(5) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes[at] ^= 1 << self.below(7),
                2 => bytes[at] = b"*&!{}[]:,#|>%@`\"'\\\n\t -?$0"[self.below(25)],
                3 => drop(bytes.remove(at)),
                _ => bytes.insert(at, bytes[other]),
            }
            if bytes.is_empty() {
                bytes.push(b'a');
            }
        }
        bytes
    }
}

#[test]
fn no_input_makes_the_loader_panic() {
    let dir = quiet_seed();
    let files = ["config.yaml", "permissions.yaml", "tools/homeassistant.yaml"];
    dir.write("config.yaml", REFERENCE.replace("tools/my_api.yaml", "tools/homeassistant.yaml"));
    copy(&dir, "etc/permissions.yaml", "permissions.yaml");
    let originals = files.map(|file| fs::read(dir.0.join(file)).unwrap());
    let (mut dice, mut broken) = (Dice(0x9e37_79b9_7f4a_7c15), 0);
    for round in 0..900 {
        let (file, original) = (files[round % 3], &originals[round % 3]);
        dir.write(file, dice.mutate(original));
        if let Err(findings) = dir.load() {
            broken += 1;
            assert!(findings.iter().any(Finding::is_error));
            findings.iter().for_each(|f| assert!(!f.to_string().contains(TOKEN)));
        }
        dir.write(file, original);
    }
    assert!(broken > 300, "{broken} of 900 were refused");
}
