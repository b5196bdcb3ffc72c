//! `agentpass init`: a working configuration to start from.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use argh::FromArgs;

use super::{Exit, Trouble, output};
use crate::base::digest::to_hex;
use crate::base::ids::random_bytes;
use crate::net::tls::{self_signed, spki_pin_of_pem};

/// Write a working configuration: a fresh token, a self-signed certificate, commented files. Prints what to do
/// next. Files that exist are left alone.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "init")]
pub struct Init {
    /// where (default: the working directory)
    #[argh(positional)]
    pub dir: Option<String>,
}

const WHAT: &str = "write the configuration";
const CONFIG: &str = include_str!("init/config.yaml");
const PERMISSIONS: &str = include_str!("../../etc/permissions.yaml");
const HOMEASSISTANT: &str = include_str!("../../tools/homeassistant.yaml");

/// For everybody to read, and for the owner alone.
const PUBLIC: u32 = 0o644;
const PRIVATE: u32 = 0o600;

/// Runs it.
pub fn run(args: Init) -> Exit {
    init(args).unwrap_or_else(|trouble| trouble.report())
}

fn init(args: Init) -> Result<Exit, Trouble> {
    let dir = Folder(PathBuf::from(args.dir.as_deref().unwrap_or(".")));
    dir.make("")?;
    dir.make("tools")?;
    let token =
        random_bytes::<24>().map(|bytes| to_hex(&bytes)).map_err(|e| Trouble::new(Exit::FAILED, WHAT, e))?;
    dir.write("config.yaml", PUBLIC, CONFIG.as_bytes())?;
    dir.write("permissions.yaml", PUBLIC, PERMISSIONS.as_bytes())?;
    dir.write("tools/homeassistant.yaml", PUBLIC, HOMEASSISTANT.as_bytes())?;
    dir.write(
        ".env",
        PRIVATE,
        format!("# Secrets of the gateway. Keep this file to yourself.\nAGENT_TOKEN={token}\n").as_bytes(),
    )?;
    let host = host_name();
    let pin = dir.certificate(&host)?;
    output::print(&next_steps(&dir.0, &host, &pin)).map(|_| Exit::DONE)
}

struct Folder(PathBuf);

impl Folder {
    fn make(&self, name: &str) -> Result<(), Trouble> {
        let path = self.0.join(name);
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&path).map_err(|e| trouble(&path, &e))
    }

    /// Whether the file is new. One that exists is left alone.
    fn write(&self, name: &str, mode: u32, content: &[u8]) -> Result<bool, Trouble> {
        let path = self.0.join(name);
        let created = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        let mut file = match created {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                output::note(&format!("kept  {} (it exists)", path.display()));
                return Ok(false);
            }
            Err(e) => return Err(trouble(&path, &e)),
        };
        file.write_all(content).map_err(|e| trouble(&path, &e))?;
        output::note(&format!("wrote {}", path.display()));
        Ok(true)
    }

    /// A certificate for this machine, and the pin of its key. A certificate that exists is kept.
    fn certificate(&self, host: &str) -> Result<String, Trouble> {
        let names = [host, "localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        let names = [names, vec![format!("{host}.local")]].concat();
        let failed = |e: &dyn std::fmt::Display| Trouble::new(Exit::FAILED, WHAT, e);
        let path = self.0.join("cert.pem");
        if path.exists() || self.0.join("key.pem").exists() {
            output::note(&format!("kept  {} (it exists)", path.display()));
            let pem = fs::read(&path).map_err(|e| trouble(&path, &e))?;
            return spki_pin_of_pem(&pem).map_err(|e| failed(&e));
        }
        let made = self_signed(&names).map_err(|e| failed(&e))?;
        self.write("key.pem", PRIVATE, &made.key_pem)?;
        self.write("cert.pem", PUBLIC, made.cert_pem.as_ref())?;
        Ok(made.pin)
    }
}

fn trouble(path: &Path, e: &std::io::Error) -> Trouble {
    Trouble::new(Exit::FAILED, WHAT, e).at(path.display().to_string())
}

/// The machine's name as it is in /etc/hostname; names that cannot stand in a certificate become "gateway".
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let fits = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    if fits { name } else { "gateway".to_owned() }
}

fn next_steps(dir: &Path, host: &str, pin: &str) -> String {
    let config = dir.join("config.yaml");
    let config = config.display();
    let (env, dir) = (dir.join(".env"), dir.display());
    let env = env.display();
    format!(
        "
Next, on this machine:
  agentpass check --config {config}
  agentpass serve --config {config}
  agentpass approvals --watch --config {config}     (in a second terminal: you answer here)

On the agent's device (the token is in {env}):
  export AGENTPASS_URL=wss://{host}:8443
  export AGENT_TOKEN=…
  agentpass tools --pin {pin}

Then connect a service: uncomment it in {config}, put its token into {env},
and say in {dir}/permissions.yaml what is allowed, asked and denied."
    )
}
