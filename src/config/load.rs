//! Finding the files and reading them all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::at::{At, Section};
use super::channels;
use super::doc::Doc;
use super::finding::Finding;
use super::known::KnownNames;
use super::main_file as main;
use super::mcp_settings::McpService;
use super::messenger;
use super::people::people;
use super::permissions::{self, Permissions};
use super::request::ToolService;
use super::services::{self, HandlerKind};
use super::settings::{Auth, Config, GatewayConfig, HttpService, ServiceConfig, Storage};
use super::tool_files::Toolbox;
use super::variables::{Surroundings, Variables};
use crate::base::secret::Secret;

/// What a finding in config.yaml keeps from being done.
const CONFIGURATION: &str = "cannot load configuration";
/// The same for permissions.yaml.
const PERMISSIONS: &str = "cannot load permissions";
const CONFIG: &str = "config.yaml";
/// Names config.yaml for every command of a shell.
const VARIABLE: &str = "AGENTPASS_CONFIG";
/// Where the files are when the gateway runs as a service.
const SERVICE_DIR: &str = "/etc/agentpass";

/// The two files that everything starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    pub config: PathBuf,
    pub permissions: PathBuf,
}

impl Paths {
    /// The files given on the command line or by `AGENTPASS_CONFIG`; else those in the working directory where it has a
    /// config.yaml; else, and always for a service, those in `/etc/agentpass`. permissions.yaml is looked for beside a
    /// given config.yaml.
    pub fn find(config: Option<&Path>, permissions: Option<&Path>) -> Paths {
        let variable = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let config = config.or(variable.as_deref());
        let is_service = std::env::var_os("NOTIFY_SOCKET").is_some();
        let is_here = Path::new(CONFIG).exists() || !Path::new(SERVICE_DIR).join(CONFIG).exists();
        Paths::find_in(if is_here && !is_service { "" } else { SERVICE_DIR }, config, permissions)
    }

    fn find_in(dir: &str, config: Option<&Path>, permissions: Option<&Path>) -> Paths {
        let config = config.map_or_else(|| Path::new(dir).join(CONFIG), Path::to_owned);
        let permissions =
            permissions.map_or_else(|| config.with_file_name("permissions.yaml"), Path::to_owned);
        Paths { config, permissions }
    }
}

/// Everything the owner's files say.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// config.yaml and the tool files.
    pub config: Config,
    pub permissions: Permissions,
    /// Findings that keep nothing from starting.
    pub warnings: Vec<Finding>,
}

/// Reads and checks all files.
///
/// # Errors
/// All findings, errors and warnings, when at least one is an error.
pub fn load(paths: &Paths) -> Result<Loaded, Vec<Finding>> {
    load_in(paths, &Surroundings::of_process())
}

/// [`load`] with an environment of the caller's.
pub fn load_in(paths: &Paths, around: &Surroundings<'_>) -> Result<Loaded, Vec<Finding>> {
    let mut vars = Variables::near(&paths.config, around);
    let mut findings = std::mem::take(&mut vars.findings);
    let mut toolbox = Toolbox::default();
    let config = read_config(&paths.config, &vars, &around.share, &mut toolbox, &mut findings);
    // After a mistake in config.yaml or a tool file, what rules speak of is not all known: no advice on it.
    let known = config.as_ref().filter(|_| !findings.iter().any(Finding::is_error)).map(|c| KnownNames {
        agents: &c.agents,
        people: &c.people,
        channels: &c.channels,
        approval_timeout: c.approval_timeout,
        tools: &c.tools,
        grant: c.approvals.grant.as_ref(),
        tool_files: &toolbox.origin,
    });
    let permissions = read_permissions(&paths.permissions, &vars, known.as_ref(), &mut findings);
    match (config, permissions) {
        (Some(config), Some(permissions)) if !findings.iter().any(Finding::is_error) => {
            Ok(Loaded { config, permissions, warnings: findings })
        }
        _ => Err(findings),
    }
}

/// None when the file is no YAML; with errors among the findings, the value is only good for further checks.
fn read_config(
    path: &Path,
    vars: &Variables<'_>,
    share: &Path,
    toolbox: &mut Toolbox,
    findings: &mut Vec<Finding>,
) -> Option<Config> {
    let doc = Doc::open(path, CONFIGURATION, Some(vars)).map_err(|finding| findings.push(finding)).ok()?;
    let config = config(&doc, toolbox, share);
    findings.extend(doc.finish());
    findings.append(&mut toolbox.findings);
    Some(config)
}

fn config(doc: &Doc<'_>, toolbox: &mut Toolbox, share: &Path) -> Config {
    let file = At::root(doc).section(main::KEYS);
    let (storage, results_days, idempotency_hours) = main::storage(file, doc.dir());
    let agents = main::agents(file);
    let gateway = main::gateway(file, doc.dir());
    let state = storage.path.parent().unwrap_or(Path::new("")).to_owned();
    let services = all_services(file, (doc.dir(), &state), toolbox, share);
    let channels = channels::channels(file, doc.dir(), &gateway, &agents, &services);
    Config {
        gateway,
        people: people(file, &channels),
        channels,
        services,
        tools: std::mem::take(&mut toolbox.tools),
        storage,
        approval_timeout: main::approval_timeout(file),
        approvals: main::approvals(file),
        rate_limit: main::rate_limit(file),
        max_concurrent_calls: main::max_concurrent_calls(file, agents.len()),
        agents,
        results_days,
        idempotency_hours,
        // The last field: the readers above have met the secrets.
        secrets: doc.secrets.take(),
    }
}

fn all_services(
    file: Section<'_>,
    dirs: (&Path, &Path),
    toolbox: &mut Toolbox,
    share: &Path,
) -> Vec<ServiceConfig> {
    let mut found = Vec::new();
    for (name, at) in file.entries("services") {
        let (handler, service) = services::service(name, at, dirs);
        if let Some(at) = at.open().need("tools") {
            toolbox.add(at, &owner(name.text(), handler, service.as_ref()), share);
        }
        found.extend(service.map(|service| match service {
            ServiceConfig::Mcp(mcp) => {
                ServiceConfig::Mcp(Arc::new(Arc::unwrap_or_clone(mcp).with_pins(&toolbox.tools)))
            }
            other => other,
        }));
    }
    found
}

fn owner<'a>(name: &'a str, handler: HandlerKind, service: Option<&'a ServiceConfig>) -> ToolService<'a> {
    let http = service.and_then(ServiceConfig::http);
    if let Some(ServiceConfig::Mcp(mcp)) = service {
        return ToolService::of_mcp(mcp);
    }
    let taken_param = http.and_then(|s| match &s.auth {
        Auth::Query { param, .. } => Some(param.clone()),
        _ => None,
    });
    ToolService {
        service: name,
        handler,
        url: http.map(HttpService::address).unwrap_or_default(),
        mcp: None,
        taken_header: http.and_then(|s| services::header_of(&s.auth)),
        taken_param,
    }
}

fn read_permissions(
    path: &Path,
    vars: &Variables<'_>,
    known: Option<&KnownNames<'_>>,
    findings: &mut Vec<Finding>,
) -> Option<Permissions> {
    let doc = Doc::open(path, PERMISSIONS, Some(vars)).map_err(|finding| findings.push(finding)).ok()?;
    let permissions = permissions::read(&doc, known);
    let is_sound = !doc.has_errors();
    findings.extend(doc.finish());
    if let Some(known) = known.filter(|_| is_sound) {
        findings.extend(permissions::unspoken(&permissions, known));
    }
    Some(permissions)
}

/// What the owner's commands need to know of a gateway: where it listens, and where the record lies. Reading it needs
/// no secret, so it works from any shell.
#[derive(Clone, Debug)]
pub struct LocalConfig {
    pub gateway: GatewayConfig,
    pub storage: Storage,
}

/// Reads only what [`LocalConfig`] holds; mistakes elsewhere in the file do not matter.
///
/// # Errors
/// All findings, when at least one is an error.
pub fn local(paths: &Paths) -> Result<LocalConfig, Vec<Finding>> {
    let vars = Variables::near(&paths.config, &Surroundings::of_process());
    let doc = Doc::open(&paths.config, CONFIGURATION, Some(&vars)).map_err(|finding| vec![finding])?;
    let file = At::root(&doc).open();
    let gateway = main::gateway(file, doc.dir());
    let (storage, _, _) = main::storage(file, doc.dir());
    let findings = doc.finish();
    if findings.iter().any(Finding::is_error) { Err(findings) } else { Ok(LocalConfig { gateway, storage }) }
}

/// What config.yaml says of one MCP server, whatever else is wrong in it.
///
/// # Errors
/// All findings in the file, when there is no such server or it cannot be used.
pub(crate) fn mcp_server(paths: &Paths, name: &str) -> Result<McpService, Vec<Finding>> {
    let vars = Variables::near(&paths.config, &Surroundings::of_process());
    let doc = Doc::open(&paths.config, CONFIGURATION, Some(&vars)).map_err(|finding| vec![finding])?;
    let file = At::root(&doc).open();
    let (storage, _, _) = main::storage(file, doc.dir());
    let state = storage.path.parent().unwrap_or(Path::new(""));
    let entry = file.entries("services").into_iter().find(|(key, _)| key.text() == name);
    let found = entry.and_then(|(key, at)| services::service(key, at, (doc.dir(), state)).1);
    if let (None, Some(at)) = (entry, file.get("services")) {
        at.error(format!("there is no service \"{}\"", name.escape_debug()), "");
    }
    match found {
        Some(ServiceConfig::Mcp(mcp)) => Ok(Arc::unwrap_or_clone(mcp)),
        Some(_) => {
            Err(vec![Finding::whole(CONFIGURATION, &paths.config, format!("{name} is no MCP server"))])
        }
        None => Err(doc.finish()),
    }
}

/// What config.yaml says of the Telegram bot, as far as it is complete.
#[derive(Clone, Debug, Default)]
pub(crate) struct BotHint {
    /// In config.yaml, else the variable TELEGRAM_TOKEN.
    pub token: Option<Secret>,
    pub api_url: Option<String>,
    /// The HTTP proxy that leads there.
    pub proxy: Option<Secret>,
    pub chat_id: Option<i64>,
}

/// Looks for the bot; mistakes in the file, or none at all, do not matter.
pub(crate) fn bot(paths: &Paths) -> BotHint {
    let vars = Variables::near(&paths.config, &Surroundings::of_process());
    let mut hint = BotHint::default();
    if let Ok(doc) = Doc::open(&paths.config, CONFIGURATION, Some(&vars)) {
        let messenger = At::root(&doc).open().get("messenger");
        if let Some(section) = messenger.and_then(|at| at.open().get("telegram")).map(At::open) {
            hint.token = section.read("token", At::secret);
            hint.proxy = section.read("proxy", messenger::proxy);
            hint.chat_id = section.whole("chat_id", i64::MIN..=i64::MAX);
            hint.api_url = section.read("api_url", main::base_url).map(|url| url.as_str().to_owned());
        }
    }
    let variable = || vars.resolve("${TELEGRAM_TOKEN}").ok().map(|(text, _)| Secret::new(text));
    hint.token = hint.token.or_else(variable).filter(|token| !token.expose().is_empty());
    hint
}

/// An error at the value of config.yaml that `keys` lead to, or at the nearest section above it, for what only shows
/// when the value is used.
pub(crate) fn misfit(paths: &Paths, keys: &[&str], text: &str, help: &str) -> Finding {
    let help_text = (!help.is_empty()).then(|| help.to_owned());
    let whole = || Finding { help: help_text, ..Finding::whole(CONFIGURATION, &paths.config, text) };
    let Ok(doc) = Doc::open(&paths.config, CONFIGURATION, None) else { return whole() };
    let mut at = At::root(&doc);
    for key in keys {
        let Some(below) = at.open().get(key) else { break };
        at = below;
    }
    at.error(text, help);
    doc.finish().into_iter().find(Finding::is_error).unwrap_or_else(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_where_the_documentation_says() {
        let find = |c: Option<&str>, p: Option<&str>, dir| {
            let paths = Paths::find_in(dir, c.map(Path::new), p.map(Path::new));
            (paths.config.display().to_string(), paths.permissions.display().to_string())
        };
        let is = |c: &str, p: &str| (c.to_owned(), p.to_owned());
        assert_eq!(find(None, None, ""), is("config.yaml", "permissions.yaml"));
        assert_eq!(
            find(None, None, SERVICE_DIR),
            is("/etc/agentpass/config.yaml", "/etc/agentpass/permissions.yaml")
        );
        assert_eq!(find(Some("/a/c.yaml"), None, SERVICE_DIR), is("/a/c.yaml", "/a/permissions.yaml"));
        assert_eq!(find(None, Some("p.yaml"), SERVICE_DIR), is("/etc/agentpass/config.yaml", "p.yaml"));
    }
}
