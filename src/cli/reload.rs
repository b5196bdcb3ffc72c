//! `agentpass reload`: the running gateway reads its files again.

use serde_json::Value;

use super::options::owner_command;
use super::owner::command;
use super::{Exit, Trouble, output, terminal};

owner_command! {
    /// Make the running gateway read its files again. It keeps the old ones if the new ones are wrong.
    #[argh(
        subcommand,
        name = "reload",
        error_code(3, "no gateway is running"),
        error_code(78, "the files are wrong")
    )]
    ReloadArgs {}
}

pub(crate) fn run(args: &ReloadArgs) -> Result<Exit, Trouble> {
    let what = "reload the configuration";
    let reply = args.connect(what)?.ask(&command("reload"))?;
    let texts = |name: &str| reply.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let done = reply.get("reloaded") == Some(&Value::Bool(true));
    for text in texts(if done { "warnings" } else { "findings" }) {
        terminal::note(text.as_str().unwrap_or_default());
    }
    if done {
        return output::finish("reloaded; the new configuration is in force");
    }
    let kept = "the new files are wrong, so the gateway goes on with what it had";
    Err(Trouble::new(Exit::BAD_CONFIGURATION, what, kept)
        .help("mend the files, `agentpass check`, reload again"))
}
