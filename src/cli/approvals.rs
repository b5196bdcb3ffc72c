//! `agentpass approvals`: the questions that wait for an answer.

use std::io::{IsTerminal as _, stdin};

use serde_json::Value;

use super::options::owner_command;
use super::output::Audience;
use super::owner::{ControlClient, command};
use super::{Exit, Trouble, card, output, terminal, watch};

owner_command! {
    /// Show the questions that wait for an answer. Runs on the gateway's machine.
    #[argh(subcommand, name = "approvals", error_code(3, "no gateway is running"))]
    ApprovalsArgs {
        /// stay, and ask y/n for each question as it comes; without a terminal, print each as a line of JSON
        #[argh(switch)]
        pub watch: bool,
        /// print JSON: an array, or with --watch an object per line
        #[argh(switch)]
        pub json: bool,
    }
}

pub(crate) fn run(args: &ApprovalsArgs) -> Result<Exit, Trouble> {
    let people = terminal::is_stdout() && !args.json;
    let mut owner = args.connect("show the questions")?;
    match (args.watch, people && stdin().is_terminal()) {
        (true, true) => {
            let answers = args.connect("answer the question")?;
            watch::ask(owner, answers)
        }
        (true, false) => {
            owner.send(&command("watch"))?;
            lines(&mut owner)
        }
        (false, _) => {
            let reply = owner.ask(&command("approvals"))?;
            let open = reply.get("approvals").cloned().unwrap_or_default();
            let text = if people { cards(&open) } else { output::json(&stable(open)) };
            output::finish(&text)
        }
    }
}

/// One line of JSON per event, until the gateway or the reader leaves.
fn lines(owner: &mut ControlClient) -> Result<Exit, Trouble> {
    while let Some(event) = owner.hear()? {
        let asked_again = event.get("times_asked").is_some() && event.get("tool").is_none();
        if asked_again {
            continue;
        }
        if output::print(&stable(event).to_string())? == Audience::Gone {
            return Ok(Exit::DONE);
        }
    }
    Err(owner.lost("the gateway has stopped"))
}

/// Members of a question beyond the stable shape.
const FOR_PEOPLE: [&str; 3] = ["description", "shown", "times_asked"];

/// What other programs rely on: without what the gateway adds for people.
fn stable(mut shown: Value) -> Value {
    match &mut shown {
        Value::Array(questions) => {
            questions.iter_mut().for_each(|question| *question = stable(question.take()))
        }
        Value::Object(question) => question.retain(|name, _| !FOR_PEOPLE.contains(&name.as_str())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    shown
}

fn cards(open: &Value) -> String {
    let open = open.as_array().map(Vec::as_slice).unwrap_or_default();
    if open.is_empty() {
        return "nothing waits for an answer".to_owned();
    }
    let mut text: Vec<String> =
        open.iter().map(|question| card::question(question, terminal::width())).collect();
    text.push("answer with `agentpass approve ID` or `agentpass deny ID --note TEXT`".to_owned());
    text.join("\n\n")
}
