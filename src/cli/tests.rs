//! The command line as a whole, without running anything.

use super::arguments::{NESTED, SWITCHES};
use super::*;

const COMMANDS: [&str; 47] = [
    "serve",
    "check",
    "explain",
    "policy",
    "policy test",
    "policy replay",
    "mcp",
    "mcp add",
    "mcp analyze",
    "mcp import",
    "mcp diff",
    "init",
    "demo",
    "telegram-setup",
    "approvals",
    "approve",
    "deny",
    "status",
    "channels",
    "channels test",
    "kill",
    "resume",
    "agents",
    "forget",
    "people",
    "limits",
    "limits reset",
    "grants",
    "grants revoke",
    "grant",
    "clock",
    "clock accept",
    "reload",
    "web",
    "request",
    "tools",
    "pending",
    "hook",
    "hook claude-code",
    "hook install",
    "audit",
    "audit list",
    "audit show",
    "audit verify",
    "audit export",
    "audit rebuild",
    "audit stats",
];

fn help(command: &str) -> String {
    let args: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
    let early = Agentpass::from_args(&["agentpass"], &args).expect_err("help is no command");
    assert_eq!(early.status, Ok(()), "{command}");
    early.output
}

/// The options in a usage line, and whether each takes a value.
fn options(help: &str) -> Vec<(String, bool)> {
    let usage = help.split("\n\n").next().unwrap_or_default();
    let starts =
        usage.match_indices("[--").map(|(at, _)| &usage[at + 1..]).filter(|rest| !rest.starts_with("--]"));
    let option = |rest: &str| {
        let end = rest.find([' ', ']']).unwrap();
        (rest[..end].to_owned(), rest[end..].starts_with(" <"))
    };
    starts.map(option).collect()
}

#[test]
fn the_list_of_switches_is_that_of_the_commands() {
    let mut switches = vec!["--help".to_owned()];
    for command in COMMANDS {
        for (name, takes_value) in options(&help(command)) {
            assert_eq!(SWITCHES.contains(&name.as_str()), !takes_value, "{command} {name}");
            switches.extend((!takes_value).then_some(name));
        }
    }
    switches.sort();
    switches.dedup();
    assert_eq!(switches, SWITCHES);
}

#[test]
fn the_list_of_commands_is_complete() {
    let listed = help("");
    let named = |name: &str| listed.lines().any(|line| line.trim_start().split(' ').next() == Some(name));
    assert!(COMMANDS.iter().filter(|c| !c.contains(' ')).all(|c| named(c)), "{listed}");
    let lines = listed.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap().lines();
    let commands = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   ")).count();
    assert_eq!(commands, COMMANDS.iter().filter(|c| !c.contains(' ')).count(), "{listed}");
    for command in COMMANDS {
        let is_nested = help(command).contains("Commands:");
        assert_eq!(is_nested, NESTED.contains(&command), "{command}");
    }
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Option<CommandLine> {
    let Ok(Prepared::Command(args)) = arguments::prepare(args) else { return None };
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Agentpass::from_args(&["agentpass"], &args).ok().map(|parsed| parsed.command)
}

#[test]
fn the_seeds_command_lines_are_taken() {
    for line in [
        "",
        "--insecure",
        "serve --insecure --config config.yaml --permissions permissions.yaml",
        "request ha_get_state entity_id=sensor.temp --url ws://gateway:8443 --token t",
        "request ha_call_service domain=light service=turn_on --url ws://gateway:8443 --token t --timeout 900",
        "tools --url ws://gateway:8443 --token t",
        "pending --url ws://gateway:8443 --token t",
    ] {
        let args = line.split_whitespace().map(OsString::from);
        assert!(parse(args).is_some(), "{line}");
    }
}

#[test]
fn options_and_positionals_keep_their_meaning() {
    let args = ["request", "help", "--reason=--why", "a=1", "--", "--b=-h"].map(OsString::from);
    let Some(CommandLine::Request(request)) = parse(args) else { panic!("no request") };
    assert_eq!(request.tool, "help");
    assert_eq!(request.reason.as_deref(), Some("--why"));
    assert_eq!(request.args, ["a=1", "--b=-h"]);
}
