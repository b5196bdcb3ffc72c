//! `agentpass people`: who is known on which channel.

use serde_json::Value;

use super::options::owner_command;
use super::owner::command;
use super::{Exit, Trouble, layout, output, terminal};
use crate::base::safe_text::visible;

owner_command! {
    /// Show the people of config.yaml, and the name of each on every channel. Runs on the gateway's machine.
    #[argh(subcommand, name = "people", error_code(3, "no gateway is running"))]
    PeopleArgs {
        /// print JSON
        #[argh(switch)]
        pub json: bool,
    }
}

pub(crate) fn run(args: &PeopleArgs) -> Result<Exit, Trouble> {
    let reply = args.connect("show the people")?.ask(&command("people"))?;
    let people = reply.get("people").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = match (args.json, people.is_empty()) {
        (true, _) => output::json(&Value::from(people)),
        (false, true) => "nobody is listed in people; everybody who may answer counts as a person".to_owned(),
        (false, false) => table(&people),
    };
    output::print(&text)?;
    Ok(Exit::DONE)
}

fn table(people: &[Value]) -> String {
    let head = ["PERSON", "CHANNEL", "USER"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(people.iter().flat_map(rows)).collect();
    layout::table(&rows, "", terminal::width())
}

fn rows(person: &Value) -> Vec<[String; 3]> {
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(visible).unwrap_or_default();
    let identities = person.get("identities").and_then(Value::as_array).into_iter().flatten();
    let row = |(number, identity): (usize, &Value)| {
        let name = if number == 0 { text(person, "name") } else { String::new() };
        [name, text(identity, "channel"), text(identity, "user")]
    };
    identities.enumerate().map(row).collect()
}
