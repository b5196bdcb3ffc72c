//! `agentpass reload`: the running gateway reads its files again.

use argh::FromArgs;
use serde_json::Value;

use super::owner::{Owner, command};
use super::{Exit, Trouble, output, terminal};

/// Make the running gateway read its files again. It keeps the old ones if the new ones are wrong.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "reload",
    error_code(3, "no gateway is running"),
    error_code(78, "the files are wrong")
)]
pub(crate) struct Reload {
    /// the gateway's control socket (default: the one in config.yaml)
    #[argh(option, arg_name = "file")]
    pub socket: Option<String>,
    /// config.yaml, which names the socket (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
}

/// Runs it.
pub(crate) fn run(args: Reload) -> Exit {
    reload(args).unwrap_or_else(|trouble| trouble.report())
}

fn reload(args: Reload) -> Result<Exit, Trouble> {
    let what = "reload the configuration";
    let reply =
        Owner::connect(what, args.socket.as_deref(), args.config.as_deref())?.ask(&command("reload"))?;
    let texts = |name: &str| reply.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let done = reply.get("reloaded") == Some(&Value::Bool(true));
    for text in texts(if done { "warnings" } else { "findings" }) {
        terminal::note(text.as_str().unwrap_or_default());
    }
    if done {
        return output::print("reloaded; the new configuration is in force").map(|_| Exit::DONE);
    }
    let kept = "the new files are wrong, so the gateway goes on with what it had";
    Err(Trouble::new(Exit::BAD_CONFIGURATION, what, kept)
        .help("mend the files, `agentpass check`, reload again"))
}
