//! `agentpass init`: a working configuration to start from.

mod starter;

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use argh::FromArgs;

use self::starter::{HOMEASSISTANT, Starter};
use super::next_step::{Address, Agent, host_name, typed};
use super::suggest::hint;
use super::{Exit, Trouble, output, terminal};
use crate::base::digest::to_hex;
use crate::base::ids::random_bytes;
use crate::net::tls::{self_signed, spki_pin_of_pem};

/// Write a working configuration: a fresh token, a self-signed certificate, commented files. Prints what to do
/// next. Files that exist are left alone.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "init")]
pub(crate) struct InitArgs {
    /// where (default: the working directory)
    #[argh(positional)]
    pub dir: Option<String>,
    /// only what has to be secret or its own on every machine: secrets/AGENT_TOKEN, cert.pem, key.pem (what a
    /// package does at its installation)
    #[argh(switch)]
    pub secrets: bool,
    /// a policy to start from, with its tests: home, read-only, ask-everything, deny-by-default, spend-cap, pii-egress,
    /// refunds, shell-and-browser or mcp-tools
    #[argh(option, arg_name = "name")]
    pub starter: Option<String>,
}

const WHAT: &str = "write the configuration";
const CONFIG: &str = include_str!("init/config.yaml");
const PERMISSIONS: &str = include_str!("../../etc/permissions.yaml");
/// How the part of config.yaml on services begins, and what follows it.
const SERVICES: &str = "# What agents may reach.";
const BEHIND_SERVICES: &str = "\nstorage:";

const DEFAULT_PORT: u16 = 8443;

/// Modes of files and directories: for everybody to read, and for the owner alone.
const PUBLIC: u32 = 0o644;
const PRIVATE: u32 = 0o600;
const SHARED: u32 = 0o755;
const OWN: u32 = 0o700;

pub(crate) fn run(args: &InitArgs) -> Result<Exit, Trouble> {
    let starter = args.starter.as_deref().map(known_starter).transpose()?;
    let dir = Folder(PathBuf::from(args.dir.as_deref().unwrap_or(".")));
    dir.make("", SHARED)?;
    let token =
        random_bytes::<24>().map(|bytes| to_hex(&bytes)).map_err(|e| Trouble::new(Exit::FAILED, WHAT, e))?;
    match (&starter, args.secrets) {
        (Some(_), true) => {
            let trouble = Trouble::new(Exit::BAD_ARGUMENTS, WHAT, "--secrets writes no policy to start from");
            return Err(trouble.help("give --secrets or --starter"));
        }
        (None, true) => return secrets(&dir, &token),
        (_, false) => {}
    }
    dir.make("tools", SHARED)?;
    dir.write("config.yaml", PUBLIC, config(starter).as_bytes())?;
    dir.write("permissions.yaml", PUBLIC, starter.map_or(PERMISSIONS, |s| s.permissions).as_bytes())?;
    let (tools_file, tools) = starter.map_or(HOMEASSISTANT, |starter| starter.tools);
    dir.write(&format!("tools/{tools_file}"), PUBLIC, tools.as_bytes())?;
    if let Some(starter) = starter {
        dir.make("tests", SHARED)?;
        dir.write(&format!("tests/{}.yaml", starter.name), PUBLIC, starter.tests.as_bytes())?;
    }
    dir.write(".env", PRIVATE, env(starter, &token).as_bytes())?;
    let host = host_name();
    let pin = dir.certificate(&host)?;
    output::finish(&next_steps(&dir.0, &host, &pin, starter))
}

fn known_starter(name: &str) -> Result<&'static Starter, Trouble> {
    Starter::find(name).ok_or_else(|| {
        let names: Vec<&str> = starter::ALL.iter().map(|starter| starter.name).collect();
        let help = hint(name, names.iter().copied(), format!("the starters are {}", names.join(", ")));
        Trouble::new(Exit::BAD_ARGUMENTS, WHAT, format!("there is no starter {name:?}")).help(help)
    })
}

/// config.yaml, with the services of the starter in the place of one that is commented out.
fn config(starter: Option<&Starter>) -> String {
    let parts = || {
        let (before, rest) = CONFIG.split_once(SERVICES)?;
        Some((before, rest.split_once(BEHIND_SERVICES)?.1))
    };
    match starter.zip(parts()) {
        Some((starter, (before, after))) => format!("{before}{}{BEHIND_SERVICES}{after}", starter.services),
        None => CONFIG.to_owned(),
    }
}

/// The secrets: the agent's token, and places for the tokens of services.
fn env(starter: Option<&Starter>, token: &str) -> String {
    let secret = starter.and_then(|starter| starter.secret);
    let service = secret.map(|secret| format!("{secret}=put-the-token-here\n"));
    let service = service.unwrap_or_default();
    format!("# Secrets of the gateway. Keep this file to yourself.\nAGENT_TOKEN={token}\n{service}")
}

/// What the packaged configuration lacks, because every machine needs its own.
fn secrets(dir: &Folder, token: &str) -> Result<Exit, Trouble> {
    dir.make("secrets", OWN)?;
    dir.write("secrets/AGENT_TOKEN", PRIVATE, format!("{token}\n").as_bytes())?;
    let pin = dir.certificate(&host_name())?;
    output::finish(&pin)
}

struct Folder(PathBuf);

impl Folder {
    fn make(&self, name: &str, mode: u32) -> Result<(), Trouble> {
        let path = self.0.join(name);
        fs::DirBuilder::new().recursive(true).mode(mode).create(&path).map_err(|e| trouble(&path, &e))
    }

    /// Whether the file is new. One that exists is left alone.
    fn write(&self, name: &str, mode: u32, content: &[u8]) -> Result<bool, Trouble> {
        let path = self.0.join(name);
        let created = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        let mut file = match created {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                kept(&path);
                return Ok(false);
            }
            Err(e) => return Err(trouble(&path, &e)),
        };
        file.write_all(content).map_err(|e| trouble(&path, &e))?;
        terminal::note(&format!("wrote {}", shown(&path)));
        Ok(true)
    }

    /// A certificate for this machine, and the pin of its key. A certificate that exists is kept.
    fn certificate(&self, host: &str) -> Result<String, Trouble> {
        let local = format!("{host}.local");
        let names = [host, "localhost", "127.0.0.1", "::1", &local].map(str::to_owned);
        let failed = |e: &dyn std::fmt::Display| Trouble::new(Exit::FAILED, WHAT, e);
        let (cert, key) = (self.0.join("cert.pem"), self.0.join("key.pem"));
        if cert.exists() || key.exists() {
            let pem = fs::read(&cert).and_then(|pem| fs::metadata(&key).map(|_| pem));
            let pem = pem.map_err(|e| {
                trouble(&self.0, &e).help(
                    "cert.pem and key.pem belong together: move the other one away, or bring this one back",
                )
            })?;
            kept(&key);
            kept(&cert);
            return spki_pin_of_pem(&pem).map_err(|e| failed(&e).at(cert.display().to_string()));
        }
        let made = self_signed(&names).map_err(|e| failed(&e))?;
        self.write("key.pem", PRIVATE, &made.key_pem)?;
        self.write("cert.pem", PUBLIC, made.cert_pem.as_ref())?;
        Ok(made.pin)
    }
}

fn kept(path: &Path) {
    terminal::note(&format!("kept  {} (it exists)", shown(path)));
}

/// A path below the working directory as people write it.
fn shown(path: &Path) -> impl std::fmt::Display {
    path.strip_prefix(".").unwrap_or(path).display()
}

fn trouble(path: &Path, e: &std::io::Error) -> Trouble {
    Trouble::new(Exit::FAILED, WHAT, e).at(path.display().to_string())
}

fn next_steps(dir: &Path, host: &str, pin: &str, starter: Option<&Starter>) -> String {
    // In the working directory everything is found by itself.
    let is_here = dir == Path::new(".");
    let file = |name: &str| if is_here { name.to_owned() } else { typed(&dir.join(name)) };
    let (config, env, permissions) = (file("config.yaml"), file(".env"), file("permissions.yaml"));
    let address = Address::All(host.to_owned());
    let agent = Agent { address, port: DEFAULT_PORT, pin: Some(pin.to_owned()) }.step(&env);
    let option = if is_here { String::new() } else { format!(" --config {config}") };
    let test = starter.map(|_| format!("\n  agentpass policy test{option}")).unwrap_or_default();
    let import = starter.and_then(|starter| starter.imports);
    let import = import.map(|name| format!("\n  agentpass mcp import {name}{option}")).unwrap_or_default();
    let last = match starter {
        None => format!(
            "There are no tools yet:
uncomment a service in {config}, put its token into {env},
and say in {permissions} what is allowed, asked and denied."
        ),
        Some(starter) => format!(
            "Make it yours:
put the services you have into {config}{},
and say in {permissions} what is allowed, asked and denied;
{} says what must come of it.",
            starter.secret.map(|name| format!(" and the token into {env} ({name})")).unwrap_or_default(),
            file(&format!("tests/{}.yaml", starter.name))
        ),
    };
    format!(
        "
Next, on this machine:{test}{import}
  agentpass check{option}
  agentpass serve{option}
  agentpass approvals --watch{option}   # in a second terminal: you answer here

{agent}

{last}"
    )
}
