//! `agentpass channels`: the ways in which people are asked, how they are, and a test of one.

use argh::FromArgs;
use serde_json::{Value, json};

use super::colour::{Shade, on_stdout};
use super::options::owner_command;
use super::{Exit, Trouble, layout, output, terminal};
use crate::base::safe_text::visible;

owner_command! {
    /// Show the channels that ask people, and the state of each. Runs on the gateway's machine.
    #[argh(
        subcommand,
        name = "channels",
        note = "`agentpass channels test NAME` sends a harmless message through one.",
        error_code(3, "no gateway is running")
    )]
    ChannelsArgs {
        /// what to do (default: show them)
        #[argh(subcommand)]
        pub command: Option<ChannelsCommand>,
        /// print JSON
        #[argh(switch)]
        pub json: bool,
    }
}

/// What `channels` can do.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub(crate) enum ChannelsCommand {
    Test(TestArgs),
}

owner_command! {
    /// Send a harmless message through a channel and show what came back. Nothing is asked.
    #[argh(
        subcommand,
        name = "test",
        error_code(3, "no gateway is running"),
        error_code(5, "there is no such channel, or it does not work")
    )]
    TestArgs {
        /// the channel
        #[argh(positional)]
        pub name: String,
        /// print JSON
        #[argh(switch)]
        pub json: bool,
    }
}

pub(crate) fn run(args: &ChannelsArgs) -> Result<Exit, Trouble> {
    if let Some(ChannelsCommand::Test(args)) = &args.command {
        return test(args);
    }
    let reply = args.connect("show the channels")?.ask(&json!({"command": "channels"}))?;
    let channels = reply.get("channels").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = if args.json { output::json(&Value::from(channels)) } else { table(&channels) };
    output::print(&text)?;
    Ok(Exit::DONE)
}

fn test(args: &TestArgs) -> Result<Exit, Trouble> {
    let command = json!({"command": "channels_test", "name": args.name});
    let reply = args.connect("test the channel")?.ask(&command)?;
    let works = reply.get("works").and_then(Value::as_bool).unwrap_or_default();
    let said = reply.get("said").and_then(Value::as_str).unwrap_or_default();
    let text = match args.json {
        true => output::json(&reply),
        false => {
            format!("{} {}: {}", visible(&args.name), word(works, "works", "DOES NOT WORK"), visible(said))
        }
    };
    output::print(&text)?;
    Ok(if works { Exit::DONE } else { Exit::FAILED })
}

fn table(channels: &[Value]) -> String {
    let head = ["CHANNEL", "TYPE", "STATE", "WAITING", "DETAIL"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(channels.iter().map(row)).collect();
    layout::table(&rows, "", terminal::width())
}

fn row(channel: &Value) -> [String; 5] {
    let text = |name: &str| channel.get(name).and_then(Value::as_str).map(visible).unwrap_or_default();
    let up = channel.get("up").and_then(Value::as_bool).unwrap_or_default();
    let waiting = channel.get("waiting").and_then(Value::as_u64).unwrap_or_default();
    [text("name"), text("type"), word(up, "up", "DOWN"), waiting.to_string(), text("detail")]
}

fn word(good: bool, yes: &str, no: &str) -> String {
    let shade = Shade::for_word(if good { "up" } else { "DOWN" });
    on_stdout(if good { yes } else { no }, shade)
}
