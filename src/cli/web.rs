//! `agentpass web`: a link that opens the admin pages, or the hash of a password for them.

use std::io::{BufRead as _, IsTerminal as _, stdin};
use std::os::fd::AsFd as _;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde_json::{Value, json};

use super::options::owner_command;
use super::{Exit, Trouble, output, terminal};
use crate::base::password::{self, PasswordHash};
use crate::base::secret::Secret;

owner_command! {
    /// Print a link that opens the admin pages in a browser. It works once, for five minutes.
    #[argh(
        subcommand,
        name = "web",
        note = "For a gateway on another machine: ssh -L 8080:127.0.0.1:8080 gateway, then open the link here.",
        error_code(3, "no gateway is running"),
        error_code(5, "the admin pages are switched off")
    )]
    WebArgs {
        /// read a password instead and print its hash, for gateway.admin_password_hash
        #[argh(switch)]
        pub(crate) hash_password: bool,
        /// sign in as this person of config.yaml; for somebody else only root may
        #[argh(option, long = "as", arg_name = "name")]
        pub name: Option<String>,
    }
}

pub(crate) fn run(args: &WebArgs) -> Result<Exit, Trouble> {
    if args.hash_password {
        return hash();
    }
    let mut gateway = args.connect("make a link to the admin pages")?;
    let reply = gateway.ask(&json!({"command": "web", "as": args.name}))?;
    let url = reply.get("url").and_then(Value::as_str);
    output::finish(url.ok_or_else(|| gateway.lost("the gateway sent no link"))?)
}

fn hash() -> Result<Exit, Trouble> {
    let password = read()?;
    let length = password.expose().chars().count();
    if length < password::MIN_CHARS {
        return Err(unusable(&format!("the password has {length} characters"))
            .help(format!("use at least {}", password::MIN_CHARS)));
    }
    if password.expose().len() > password::MAX_BYTES {
        return Err(unusable("the password is too long"));
    }
    let made = PasswordHash::make(&password).map_err(|e| Trouble::new(Exit::FAILED, WHAT, e))?;
    output::finish(&made.to_string())
}

const WHAT: &str = "hash the password";

fn unusable(cause: &str) -> Trouble {
    Trouble::new(Exit::BAD_ARGUMENTS, WHAT, cause)
}

/// From a terminal twice and unseen, from a pipe one line.
fn read() -> Result<Secret, Trouble> {
    if !stdin().is_terminal() {
        return line();
    }
    let _quiet = Quiet::begin();
    terminal::note("New admin password (it is not shown):");
    let first = line()?;
    terminal::note("Once more:");
    let second = line()?;
    if first.expose() == second.expose() { Ok(first) } else { Err(unusable("the two passwords differ")) }
}

fn line() -> Result<Secret, Trouble> {
    let mut text = String::new();
    stdin().lock().read_line(&mut text).map_err(|e| unusable(&e.to_string()))?;
    let password = Secret::new(text.trim_end_matches(['\r', '\n']).to_owned());
    zeroize::Zeroize::zeroize(&mut text);
    Ok(password)
}

/// Hides what is typed on the terminal until it is dropped.
struct Quiet(Option<Termios>);

impl Quiet {
    fn begin() -> Quiet {
        let before = tcgetattr(stdin().as_fd()).ok();
        if let Some(before) = &before {
            let mut quiet = before.clone();
            quiet.local_modes.remove(LocalModes::ECHO);
            tcsetattr(stdin().as_fd(), OptionalActions::Flush, &quiet).ok();
        }
        Quiet(before)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            tcsetattr(stdin().as_fd(), OptionalActions::Flush, before).ok();
        }
    }
}
