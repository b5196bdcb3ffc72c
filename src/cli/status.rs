//! `agentpass status`: how the running gateway is.

use std::time::Duration;

use argh::FromArgs;
use serde_json::Value;

use super::owner::{Owner, command};
use super::{Exit, Trouble, output};
use crate::approval::text::time_left;
use crate::base::safe_text::visible;

/// Show how the running gateway is: agents, open questions, channels, store, services.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "status", error_code(3, "no gateway is running"))]
pub struct Status {
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// the gateway's control socket (default: the one in config.yaml)
    #[argh(option, arg_name = "file")]
    pub socket: Option<String>,
    /// config.yaml, which names the socket (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
}

/// Runs it.
pub fn run(args: Status) -> Exit {
    show(args).unwrap_or_else(|trouble| trouble.report())
}

fn show(args: Status) -> Result<Exit, Trouble> {
    let mut owner = Owner::connect("show the status", args.socket.as_deref(), args.config.as_deref())?;
    let status = owner.ask(&command("status"))?;
    let text = if args.json { output::json(&status) } else { told(&status) };
    output::print(&text).map(|_| Exit::DONE)
}

fn told(status: &Value) -> String {
    let number = |name: &str| status.get(name).and_then(Value::as_u64).unwrap_or_default();
    let version = status.get("version").and_then(Value::as_str).unwrap_or_default();
    let up = time_left(Duration::from_secs(number("uptime_s")));
    let mut lines = vec![
        format!("agentpass {version}, up {up}"),
        format!("questions  {} open", number("open_questions")),
    ];
    let store = status.get("store").cloned().unwrap_or_default();
    lines.push(format!("record     {}", record(&store)));
    lines.extend(members(status, "agents").map(|(name, agent)| {
        let count = agent.get("connections").and_then(Value::as_u64).unwrap_or_default();
        format!("agent      {}: {count} connected", visible(name))
    }));
    lines.extend(members(status, "channels").map(|(name, channel)| {
        let detail = channel.get("detail").and_then(Value::as_str).unwrap_or_default();
        format!("channel    {name}: {}, {}", up_or_down(channel), visible(detail))
    }));
    let services: Vec<_> =
        members(status, "services").map(|(name, service)| told_service(name, service)).collect();
    if services.is_empty() {
        lines.push(
            "service    none; add one below `services:` in config.yaml, then `agentpass reload`".to_owned(),
        );
    }
    lines.extend(services);
    lines.join("\n")
}

fn told_service(name: &str, service: &Value) -> String {
    let error = service.get("last_error").and_then(Value::as_str).map(|e| format!(" ({})", visible(e)));
    format!("service    {}: {}{}", visible(name), up_or_down(service), error.unwrap_or_default())
}

fn members<'v>(status: &'v Value, name: &str) -> impl Iterator<Item = (&'v String, &'v Value)> {
    status.get(name).and_then(Value::as_object).into_iter().flatten()
}

fn up_or_down(part: &Value) -> &'static str {
    match part.get("up").and_then(Value::as_bool) {
        Some(true) => "up",
        Some(false) => "DOWN",
        None => "not checked",
    }
}

fn record(store: &Value) -> String {
    let error = store.get("last_error").and_then(|e| e.get("error")).and_then(Value::as_str);
    match (store.get("writable").and_then(Value::as_bool), error) {
        (Some(true), _) => "writable".to_owned(),
        (_, Some(error)) => format!("NOT WRITABLE, so nothing is executed: {}", visible(error)),
        (_, None) => "NOT WRITABLE, so nothing is executed".to_owned(),
    }
}
