//! `agentpass status`: how the running gateway is.

use std::time::Duration;

use serde_json::Value;

use super::colour::{Shade, on_stdout};
use super::next_step::next_step;
use super::options::owner_command;
use super::owner::command;
use super::{Exit, Trouble, card, layout, output, terminal};
use crate::base::readable::{counted, size, span};
use crate::base::safe_text::visible;

owner_command! {
    /// Show how the running gateway is: agents, open questions, channels, store, services.
    #[argh(subcommand, name = "status", error_code(3, "no gateway is running"))]
    StatusArgs {
        /// print JSON
        #[argh(switch)]
        pub json: bool,
    }
}

pub(crate) fn run(args: &StatusArgs) -> Result<Exit, Trouble> {
    let status = args.connect("show the status")?.ask(&command("status"))?;
    let text = if args.json { output::json(&status) } else { for_people(&status) };
    output::print(&text)?;
    // With a socket alone it is not known which configuration is meant.
    if let (false, None, Some(next)) = (args.json, &args.socket, next_step(&status, args.config.as_deref())) {
        output::print(&format!("\n{next}"))?;
    }
    Ok(Exit::DONE)
}

fn for_people(status: &Value) -> String {
    let number = |name: &str| status.get(name).and_then(Value::as_u64).unwrap_or_default();
    let version = status.get("version").and_then(Value::as_str).unwrap_or_default();
    let store = status.get("store").cloned().unwrap_or_default();
    let questions = match number("open_questions") {
        0 => "none open".to_owned(),
        open => format!("{open} open; `agentpass approvals` shows them"),
    };
    let mut fields =
        vec![("questions".to_owned(), vec![questions]), ("record".to_owned(), vec![record(&store)])];
    fields.extend(stopped(status));
    fields.extend(clock(status).map(|text| ("clock".to_owned(), vec![text])));
    fields.push(("agents".to_owned(), aligned(members(status, "agents").map(agent))));
    fields.push(("channels".to_owned(), aligned(members(status, "channels").map(channel))));
    let mut services = aligned(members(status, "services").map(service));
    if services.is_empty() {
        services.push("none".to_owned());
    }
    fields.push(("services".to_owned(), services));
    fields.push(("pages".to_owned(), vec![pages(status)]));
    let head = format!("agentpass {version}, up {}", uptime(number("uptime_s")));
    format!("{head}\n\n{}", card::labelled("  ", fields, terminal::width()))
}

/// Only where something is stopped.
fn stopped(status: &Value) -> Option<(String, Vec<String>)> {
    let stops = status.get("stopped")?.get("each")?.as_array()?;
    let line = |stop: &Value| {
        let text = |name: &str| stop.get(name).and_then(Value::as_str).map(visible);
        let whose = text("agent").map_or_else(|| "EVERYTHING".to_owned(), |name| format!("agent {name}"));
        let why = text("reason").map(|why| format!(": {why}")).unwrap_or_default();
        let recorded = stop.get("recorded").and_then(Value::as_bool) == Some(true);
        let doubt = if recorded { "" } else { " (NOT RECORDED yet: a restart lifts it)" };
        let (by, at) = (text("by").unwrap_or_default(), text("at").unwrap_or_default());
        on_stdout(&format!("{whose} by {by} at {at}{why}{doubt}"), Some(Shade::Bad))
    };
    let lines: Vec<_> = stops.iter().map(line).collect();
    (!lines.is_empty()).then(|| ("STOPPED".to_owned(), lines))
}

/// Only where there is something to say.
fn clock(status: &Value) -> Option<String> {
    let clock = status.get("clock")?;
    let time = |name: &str| clock.get(name).and_then(Value::as_str).map(visible).unwrap_or_default();
    let doubt = || {
        format!(
            "NOT SET: the newest time in the record is {}; `agentpass clock accept` takes the present time as right",
            time("newest")
        )
    };
    (clock.get("set").and_then(Value::as_bool) == Some(false)).then(doubt)
}

fn pages(status: &Value) -> String {
    let urls = status.get("admin").and_then(Value::as_array).into_iter().flatten();
    let urls: Vec<_> = urls.filter_map(Value::as_str).map(visible).collect();
    if urls.is_empty() { "off".to_owned() } else { format!("{}; `agentpass web` signs in", urls.join(", ")) }
}

/// `12 s`, `14 min`, `3 h 12 min`, `8 days 3 h`.
fn uptime(seconds: u64) -> String {
    match seconds {
        60..3600 => format!("{} min", seconds / 60),
        _ => span(Duration::from_secs(seconds)),
    }
}

fn aligned(rows: impl Iterator<Item = [String; 2]>) -> Vec<String> {
    let rows: Vec<_> = rows.collect();
    layout::table(&rows, "", None).lines().map(str::to_owned).collect()
}

fn agent((name, agent): (&String, &Value)) -> [String; 2] {
    let count = agent.get("connections").and_then(Value::as_u64).unwrap_or_default();
    let state = if count == 0 { "not connected".to_owned() } else { format!("{count} connected") };
    [visible(name), state]
}

fn channel((name, channel): (&String, &Value)) -> [String; 2] {
    let detail = channel.get("detail").and_then(Value::as_str).filter(|detail| !detail.is_empty());
    let detail = detail.map(|detail| format!(", {}", visible(detail))).unwrap_or_default();
    [visible(name), format!("{}{detail}", up_or_down(channel))]
}

fn service((name, service): (&String, &Value)) -> [String; 2] {
    let error = service.get("last_error").and_then(Value::as_str).map(|e| format!(" ({})", visible(e)));
    let server = service.get("server").map(server).unwrap_or_default();
    [visible(name), format!("{}{}{server}", up_or_down(service), error.unwrap_or_default())]
}

/// What there is to say of a server that is started when it is needed.
fn server(server: &Value) -> String {
    let names = |word: &str| {
        let names = server.get(word)?.as_array().filter(|names| !names.is_empty())?;
        let names: Vec<_> = names.iter().filter_map(Value::as_str).map(visible).collect();
        Some(format!("{word}: {}", names.join(", ")))
    };
    let memory = server.get("memory_bytes").and_then(Value::as_u64);
    let running =
        memory.map_or_else(|| "not running".to_owned(), |memory| format!("running, {}", size(memory)));
    let tools = counted(
        server.get("tools").and_then(Value::as_u64).and_then(|n| n.try_into().ok()).unwrap_or(0),
        "tool",
    );
    let trouble = server.get("trouble").and_then(Value::as_str).map(visible);
    let drift = ["changed", "vanished", "new"].into_iter().filter_map(names);
    let warning = server.get("warning").and_then(Value::as_str).map(visible);
    [Some(running), Some(tools), warning, trouble]
        .into_iter()
        .flatten()
        .chain(drift)
        .map(|part| format!(", {part}"))
        .collect()
}

fn members<'v>(status: &'v Value, name: &str) -> impl Iterator<Item = (&'v String, &'v Value)> {
    status.get(name).and_then(Value::as_object).into_iter().flatten()
}

fn up_or_down(part: &Value) -> String {
    let word = match part.get("up").and_then(Value::as_bool) {
        Some(true) => "up",
        Some(false) => "DOWN",
        None => "not checked",
    };
    on_stdout(word, Shade::for_word(word))
}

fn record(store: &Value) -> String {
    let error = store.get("last_error").and_then(|e| e.get("error")).and_then(Value::as_str);
    match (store.get("writable").and_then(Value::as_bool), error) {
        (Some(true), _) => "writable".to_owned(),
        (_, Some(error)) => format!("NOT WRITABLE, so nothing is executed: {}", visible(error)),
        (_, None) => "NOT WRITABLE, so nothing is executed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_is_short() {
        let shown = [5, 65, 3725, 90_000, 800_000].map(uptime);
        assert_eq!(shown, ["5 s", "1 min", "1 h 2 min", "1 day 1 h", "9 days 6 h"]);
    }
}
