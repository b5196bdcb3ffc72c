//! `agentpass explain`: what the policy says to a call, and why. Works from the files alone.

use std::io::{BufRead as _, stdin};

use argh::FromArgs;
use serde_json::{Map, Value, json};

use super::colour::{Shade, on_stdout};
use super::files::{Circumstances, OwnerFiles, paths};
use super::output::Audience;
use super::owner::ControlClient;
use super::suggest::hint;
use super::{Exit, Trouble, layout, output, terminal, values};
use crate::base::json::{JsonError, parse_strict};
use crate::base::safe_text::{visible, visible_name};
use crate::config::Config;
use crate::gate::explain::Explanation;
use crate::model::verdict::reasons_in_words;
use crate::model::{AgentId, ArgSpec, ArgType};
use crate::protocol::frame::MAX_DEPTH;

/// Say what would happen to a call, and why: the decision, the rule, the trace. Needs no running gateway.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "explain",
    example = "agentpass explain ha_call_service domain=lock service=unlock entity_id=lock.door",
    error_code(3, "with --live: no gateway is running"),
    error_code(4, "bad arguments"),
    error_code(78, "bad configuration")
)]
pub(crate) struct ExplainArgs {
    /// the tool, then its arguments: key=value is text or what the tool declares, key:=JSON is JSON; nothing with
    /// --stdin
    #[argh(positional, arg_name = "tool key=value")]
    pub call: Vec<String>,
    /// more arguments, as one JSON object
    #[argh(option, arg_name = "json")]
    pub(crate) json_args: Option<String>,
    /// the agent that would ask (default: the only one, else "default")
    #[argh(option)]
    pub agent: Option<String>,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// read {"agent"?, "tool", "args"} from each line of stdin and print one JSON decision per line
    #[argh(switch)]
    pub stdin: bool,
    /// ask the running gateway, which knows what limits have counted and what the agent has read
    #[argh(switch)]
    pub live: bool,
    /// the gateway's control socket, with --live (default: the one in config.yaml)
    #[argh(option, arg_name = "file")]
    pub socket: Option<String>,
    /// config.yaml (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
    /// permissions.yaml (default: beside config.yaml)
    #[argh(option, arg_name = "file")]
    pub permissions: Option<String>,
}

const WHAT: &str = "explain the call";

pub(crate) fn run(args: &ExplainArgs) -> Result<Exit, Trouble> {
    let files = match OwnerFiles::load(&paths(args.config.as_deref(), args.permissions.as_deref())) {
        Ok(files) => files,
        Err(exit) => return Ok(exit),
    };
    known_agent(&files.config, args.agent.as_deref())?;
    let agent = files.agent(args.agent.as_deref());
    match (args.stdin, args.call.split_first()) {
        (true, None) if args.live => Err(usage("--live explains one call, not --stdin")),
        (true, None) => batch(&files, &agent),
        (true, Some(_)) => Err(usage("--stdin takes no tool")),
        (false, None) => Err(usage("name a tool, or give --stdin")),
        (false, Some((tool, pairs))) => {
            let mut values = values::read(pairs, args.json_args.as_deref()).map_err(|e| usage(&e))?;
            if let Some(known) = files.tools().get(tool) {
                let kind = |name: &str| known.args.get(name).and_then(|spec| spec.kind);
                values::typed(&mut values, pairs, |name| kind(name).map(ArgType::as_str));
            }
            let why = match args.live {
                true => live(args, &agent, tool, values)?,
                false => files.explain(&agent, tool, values, &Circumstances::now()).to_json(),
            };
            let text = if args.json { output::json(&why) } else { for_people(tool, &why, &files.config) };
            output::finish(&text)
        }
    }
}

/// Asks the running gateway, which knows what has been counted and read.
fn live(
    args: &ExplainArgs,
    agent: &AgentId,
    tool: &str,
    values: Map<String, Value>,
) -> Result<Value, Trouble> {
    let command = json!({"command": "explain", "agent": agent.as_str(), "tool": tool, "args": values});
    ControlClient::connect(WHAT, args.socket.as_deref(), args.config.as_deref())?.ask(&command)
}

fn usage(cause: &str) -> Trouble {
    Trouble::new(Exit::BAD_ARGUMENTS, WHAT, cause).help("agentpass explain --help")
}

/// For the name of no agent, rules for agents would be left out silently.
fn known_agent(config: &Config, given: Option<&str>) -> Result<(), Trouble> {
    let names: Vec<&str> = config.agents.iter().map(|agent| agent.id.as_str()).collect();
    match given {
        Some(name) if !names.contains(&name) => {
            let cause = format!("there is no agent {name:?}");
            let help = hint(name, names.iter().copied(), format!("the agents are {}", names.join(", ")));
            Err(Trouble::new(Exit::BAD_ARGUMENTS, WHAT, cause).help(help))
        }
        Some(_) | None => Ok(()),
    }
}

fn batch(files: &OwnerFiles, agent: &AgentId) -> Result<Exit, Trouble> {
    for (number, line) in stdin().lock().split(b'\n').enumerate() {
        let line = line.map_err(|e| Trouble::new(Exit::FAILED, "read stdin", e))?;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let decision =
            decide(files, agent, &line).map_err(|e| usage(&format!("line {}: {e}", number + 1)))?;
        if output::print(&decision.to_json().to_string())? == Audience::Gone {
            break;
        }
    }
    Ok(Exit::DONE)
}

fn decide(files: &OwnerFiles, agent: &AgentId, line: &[u8]) -> Result<Explanation, String> {
    // A call that the gateway would refuse as a frame is a decision too, not a broken line.
    match parse_strict(line, MAX_DEPTH) {
        Ok(Value::Object(members)) => decide_members(files, agent, members),
        Ok(_) => Err("not a JSON object".into()),
        Err(JsonError::Syntax) => Err("not JSON".into()),
        Err(unsafe_json) => Ok(refused(unsafe_json.to_string())),
    }
}

fn decide_members(
    files: &OwnerFiles,
    agent: &AgentId,
    mut members: Map<String, Value>,
) -> Result<Explanation, String> {
    let agent = match members.remove("agent") {
        None | Some(Value::Null) => agent.clone(),
        Some(Value::String(name)) => AgentId::configured(&name),
        Some(_) => return Err("agent must be a string".into()),
    };
    let Some(Value::String(tool)) = members.remove("tool") else {
        return Err("tool must be a string".into());
    };
    let args = match members.remove("args") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(args)) => args,
        Some(_) => return Ok(refused("args must be an object".into())),
    };
    match members.keys().next() {
        Some(name) => Err(format!("unknown member {name:?}")),
        None => Ok(files.explain(&agent, &tool, args, &Circumstances::now())),
    }
}

fn refused(message: String) -> Explanation {
    Explanation::Invalid { reason: "invalid_request", message, argument: None, forbidden: None }
}

/// For people, from what `--json` prints: the decision first, then how it came about.
fn for_people(tool: &str, why: &Value, config: &Config) -> String {
    let width = terminal::width();
    let decision = text(why, "decision");
    if decision == "invalid" {
        return invalid(tool, why, config);
    }
    let action = on_stdout(decision, Shade::for_word(decision));
    let mut lines = vec![layout::hanging(&format!("{action}: "), &visible(text(why, "signature")), width)];
    let rule = why.get("rule").filter(|rule| rule.is_object());
    let reason = match rule {
        None => "no rule matched, so a human is asked".to_owned(),
        Some(rule) if text(rule, "action") != decision => {
            format!("though {} says {} in {}", place(rule), text(rule, "action"), text(rule, "file"))
        }
        Some(rule) => format!("by {} in {}", place(rule), text(rule, "file")),
    };
    lines.push(layout::hanging("  ", &reason, width));
    let description = rule.map(|rule| text(rule, "description")).filter(|text| !text.is_empty());
    lines.extend(description.map(|text| layout::hanging("  says: ", &visible(text), width)));
    let others = list(why, "reasons").filter(|reason| !BY_RULE.contains(&text(reason, "reason")));
    let because = reasons_in_words(&others.cloned().collect());
    lines.extend(because.iter().map(|text| layout::hanging("  because: ", &visible(text), width)));
    lines.extend(list(why, "terms").map(|terms| layout::hanging("  needs: ", &needs(terms), width)));
    let parts: Vec<_> = list(why, "signatures")
        .map(|part| [text(part, "decision").to_owned(), visible(text(part, "signature"))])
        .collect();
    if !parts.is_empty() {
        lines.push("\none by one, of which the strictest counts:".to_owned());
        lines.push(layout::table(&parts, "  ", width));
    }
    let steps: Vec<_> = list(why, "trace").map(step).collect();
    if !steps.is_empty() {
        lines.push("\nrules in the order they were looked at:".to_owned());
        lines.push(layout::table(&steps, "  ", width));
    }
    lines.join("\n")
}

/// How many people must say yes, and who.
fn needs(terms: &Value) -> String {
    let people = terms.get("approvals").and_then(Value::as_u64).unwrap_or(1);
    let whose: Vec<_> = list(terms, "approvers").filter_map(Value::as_str).map(visible).collect();
    let whose = if whose.is_empty() { "whoever may answer".to_owned() } else { whose.join(", ") };
    format!("{people} of {whose}")
}

/// Reasons that the line about the rule says already.
const BY_RULE: [&str; 3] = ["denied_by_policy", "asked_by_rule", "asked_by_default"];

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn place(rule: &Value) -> String {
    format!("{} {}", number(rule), visible(text(rule, "pattern")))
}

fn number(rule: &Value) -> String {
    format!("{}[{}]", text(rule, "list"), rule.get("index").and_then(Value::as_u64).unwrap_or_default())
}

fn step(step: &Value) -> [String; 4] {
    let text = |name| text(step, name);
    [number(step), text("action").to_owned(), visible(text("pattern")), text("why").to_owned()]
}

/// The error that the agent would get, and what would have been right.
fn invalid(tool: &str, why: &Value, config: &Config) -> String {
    let argument = why.get("argument").and_then(Value::as_str);
    let holds = why.get("character").and_then(Value::as_str).map(|character| format!(": {character}"));
    let message = format!("{}{}", text(why, "message"), holds.unwrap_or_default());
    let mut text = format!("invalid: {} ({})", visible(&message), text(why, "reason"));
    if let Some(argument) = argument {
        text.push_str(&format!("\n  at argument {}", visible_name(argument)));
    }
    let help = match (config.tools.get(tool), argument) {
        (None, _) => {
            let names: Vec<_> = config.tools.keys().map(String::as_str).collect();
            let all = match names.as_slice() {
                [] => "there are no tools yet: name a service in config.yaml".to_owned(),
                names => format!("the tools are {}", names.join(", ")),
            };
            Some(hint(tool, names.iter().copied(), all))
        }
        (Some(known), Some(name)) if !known.args.contains_key(name) => {
            let names: Vec<_> = known.args.keys().map(String::as_str).collect();
            let all =
                format!("{tool} takes {}", if names.is_empty() { "none".into() } else { names.join(", ") });
            Some(hint(name, names.iter().copied(), all))
        }
        (Some(known), Some(name)) => known.args.get(name).map(wanted).filter(|text| !text.is_empty()),
        (Some(_), None) => None,
    };
    if let Some(help) = help {
        text.push('\n');
        text.push_str(&layout::hanging("  help: ", &visible(&help), terminal::width()));
    }
    text
}

/// What an argument may be, as its tool file says.
fn wanted(spec: &ArgSpec) -> String {
    let kind = spec.kind.map(|kind| format!("it is of type {}", kind.as_str()));
    let pattern = spec.validate.as_ref().map(|pattern| format!("it matches {}", pattern.as_str()));
    let plain =
        (!spec.free_text).then(|| "it holds none of * ? [ ] ( ) , and no control characters".to_owned());
    [kind, pattern, plain].into_iter().flatten().collect::<Vec<_>>().join("; ")
}
