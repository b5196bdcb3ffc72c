//! Many open questions answered at once: `approve --all` and `deny --all`. The list is what is shown; what comes while it
//! is read waits for the next one.

use std::io::{IsTerminal as _, stdin};

use serde_json::Value;

use super::answered::{exit_of, in_words};
use super::output::Audience;
use super::owner::{ControlClient, command};
use super::{Exit, Trouble, card, output, terminal};
use crate::base::safe_text::visible;

/// An answer of the owner: its own options, and those that choose the questions it is for.
macro_rules! answer_command {
    ($(#[$about:meta])* $name:ident { $($own:tt)* }) => {
        $crate::cli::options::owner_command! {
            $(#[$about])*
            $name {
                /// the request id, or as much of its beginning as is unique
                #[argh(positional)]
                pub id: Option<String>,
                $($own)*
                /// all open questions of one agent
                #[argh(switch)]
                pub all: bool,
                /// the agent whose questions --all means
                #[argh(option, arg_name = "name")]
                pub agent: Option<String>,
                /// only those that this rule asks about: N of rules[N]
                #[argh(option, arg_name = "n")]
                pub rule: Option<u64>,
                /// only those that this default asks about: N of defaults[N]
                #[argh(option, arg_name = "n")]
                pub default: Option<u64>,
            }
        }

        impl $name {
            fn selection(&self) -> $crate::cli::several::Selection<'_> {
                let (id, agent) = (self.id.as_deref(), self.agent.as_deref());
                $crate::cli::several::Selection { all: self.all, id, agent, rule: self.rule, default: self.default }
            }
        }
    };
}

pub(super) use answer_command;

/// Which questions the options name.
pub(crate) struct Selection<'a> {
    pub all: bool,
    pub id: Option<&'a str>,
    pub agent: Option<&'a str>,
    pub rule: Option<u64>,
    pub default: Option<u64>,
}

/// One question, or those of an agent.
pub(crate) enum Selected<'a> {
    One(&'a str),
    Many(Wanted<'a>),
}

/// The questions of an agent, all or those of one rule.
pub(crate) struct Wanted<'a> {
    agent: &'a str,
    rule: Option<(&'static str, u64)>,
}

/// Bad arguments.
pub(crate) fn mistake(what: &'static str, cause: &str) -> Trouble {
    Trouble::new(Exit::BAD_ARGUMENTS, what, cause)
}

impl<'a> Selection<'a> {
    /// # Errors
    /// Options that do not go together.
    pub(crate) fn read(&self, what: &'static str) -> Result<Selected<'a>, Trouble> {
        let Selection { all, id, agent, rule, default } = *self;
        let rule = match (rule, default) {
            (Some(_), Some(_)) => return Err(mistake(what, "--rule and --default do not go together")),
            (rule, default) => rule.map(|n| ("rules", n)).or(default.map(|n| ("defaults", n))),
        };
        match (all, id, agent) {
            (true, None, Some(agent)) => Ok(Selected::Many(Wanted { agent, rule })),
            (true, None, None) => Err(mistake(what, "--all needs --agent, which says whose questions")),
            (true, Some(_), _) => Err(mistake(what, "--all and an id do not go together")),
            (false, _, Some(_)) => Err(mistake(what, "--agent goes with --all")),
            (false, _, None) if rule.is_some() => Err(mistake(what, "--rule and --default go with --all")),
            (false, Some(id), None) => Ok(Selected::One(id)),
            (false, None, None) => {
                Err(mistake(what, "the request id is missing").help("`agentpass approvals` shows the ids"))
            }
        }
    }
}

impl Wanted<'_> {
    fn is(&self, question: &Value) -> bool {
        let rule = |list: &str, number: u64| {
            let member = |name: &str| question.get("rule").and_then(|rule| rule.get(name));
            member("list").and_then(Value::as_str) == Some(list)
                && member("index").and_then(Value::as_u64) == Some(number)
        };
        question.get("agent_id").and_then(Value::as_str) == Some(self.agent)
            && self.rule.is_none_or(|(list, number)| rule(list, number))
    }
}

/// Answers the questions that are `wanted`, each with its own command and its own line. Done when all answers count.
pub(crate) fn answer(
    what: &'static str,
    (mut list, mut answers): (ControlClient, ControlClient),
    wanted: &Wanted<'_>,
    command_for: impl Fn(&Value) -> Value,
    as_json: bool,
) -> Result<Exit, Trouble> {
    let reply = list.ask(&command("approvals"))?;
    let open = reply.get("approvals").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let questions: Vec<&Value> = open.iter().filter(|question| wanted.is(question)).collect();
    if questions.is_empty() {
        return if as_json { Ok(Exit::DONE) } else { output::finish("none of its questions is open") };
    }
    if !as_json && stdin().is_terminal() && terminal::is_stderr() {
        let cards = questions.iter().map(|question| card::question(question, terminal::width()));
        terminal::note(&cards.collect::<Vec<_>>().join("\n\n"));
        if !terminal::confirm(&format!("{what} these {}? [y/n] ", questions.len())) {
            terminal::note("nothing was done; the questions are still open");
            return Ok(Exit::DENIED);
        }
    }
    let mut all = Exit::DONE;
    for question in questions {
        let reply = answers.ask(&command_for(question))?;
        if exit_of(&reply) != Exit::DONE {
            all = Exit::DENIED;
        }
        let line = if as_json { output::json_line(&reply) } else { line(what, question, &reply) };
        if output::print(&line)? == Audience::Gone {
            return Ok(all);
        }
    }
    Ok(all)
}

fn line(what: &str, question: &Value, reply: &Value) -> String {
    let tool = question.get("signature").and_then(Value::as_str).map(visible).unwrap_or_default();
    format!("{}  {tool}: {}", card::id(question), in_words(what, reply))
}
