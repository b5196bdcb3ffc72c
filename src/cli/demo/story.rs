//! What the demo tells, in order: the parts and the policy, a read, a lock, a lamp, the record.

use std::fmt::Display;
use std::io::{IsTerminal as _, stdin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use smol::{Timer, future};

use super::files::{DemoFiles, PERMISSIONS};
use super::home::ToyHome;
use crate::approval::text;
use crate::cli::audit::table;
use crate::cli::card::labelled;
use crate::cli::{Exit, Trouble, layout, output, terminal};
use crate::client::{Client, ClientError, RequestOptions};
use crate::gate::{CannotAnswer, Gate};
use crate::model::{Approval, Choice, Question, Responder};
use crate::store::reader::{Filter, Reader};

/// How often the approver looks for a question.
const LOOK: Duration = Duration::from_millis(20);
/// Long enough to read a line or two.
const PAUSE: Duration = Duration::from_millis(800);
/// The width of what goes to a file or a pipe, in columns.
const PAGE: usize = 100;
const INDENT: &str = "   ";

const INTRODUCTION: &str = "\
An agent, a gateway, a toy smart home and you, all on this machine.

     the agent               the gateway                the home
   +-----------+         +---------------------+        +-------------+
   | has no    |  asks   | policy, you, record |  acts  | thermometer |
   | password  | ------> | the home's password | -----> | lamp, lock  |
   +-----------+         +---------------------+        +-------------+

The policy of this demo, in permissions.yaml:
";
const FAREWELL: &str = "
Now your own:
   agentpass init my-gateway   writes a configuration and says what to do next
   agentpass --help            shows the commands";

/// Everybody in the demo.
pub(crate) struct DemoStory {
    pub gate: Rc<Gate>,
    pub agent: Client,
    pub home: Rc<ToyHome>,
    pub files: DemoFiles,
    /// Approve without asking.
    pub yes: bool,
}

impl DemoStory {
    pub(crate) async fn tell(&self) -> Result<Exit, Trouble> {
        say(INTRODUCTION)?;
        say(&indented(PERMISSIONS))?;
        self.read().await?;
        self.lock().await?;
        self.lamp().await?;
        self.record().await?;
        say(FAREWELL)?;
        Ok(Exit::DONE)
    }

    async fn read(&self) -> Result<(), Trouble> {
        self.title("1. The agent reads a temperature. The policy allows it: nobody is asked.").await?;
        let args = json!({"entity_id": "sensor.living_room"});
        let state = self.request("ha_get_state", &args, None).await.map_err(failed)?;
        line("result", &state.to_string())
    }

    async fn lock(&self) -> Result<(), Trouble> {
        self.title(
            "2. The agent wants to open the front door. The policy denies it: nobody is talked into it.",
        )
        .await?;
        let args = json!({"domain": "lock", "service": "unlock", "entity_id": "lock.front_door"});
        match self.request("ha_call_service", &args, None).await {
            Err(ClientError::Denied { message, rule, .. }) => {
                let because = rule.map(|text| format!(": {text}")).unwrap_or_default();
                line("refused", &format!("{message}{because}"))
            }
            Err(e) => Err(failed(e)),
            Ok(_) => Err(failed("the lock was opened, which must never happen")),
        }
    }

    async fn lamp(&self) -> Result<(), Trouble> {
        self.title("3. The agent wants to switch on the desk lamp. The policy asks you.").await?;
        let args =
            json!({"domain": "light", "service": "turn_on", "entity_id": "light.desk", "brightness": 180});
        let request = self.request("ha_call_service", &args, Some("It is getting dark and you are reading."));
        let (result, asked) = future::zip(request, self.approve()).await;
        asked?;
        match result {
            Ok(_) => line("done", &format!("the lamp is {} now", self.home.lamp())),
            Err(ClientError::Denied { message, .. }) => {
                line("refused", &format!("{message}; the lamp is still {}", self.home.lamp()))
            }
            Err(e) => Err(failed(e)),
        }
    }

    async fn request(&self, tool: &str, args: &Value, reason: Option<&str>) -> Result<Value, ClientError> {
        let pairs = args.as_object().cloned().unwrap_or_default();
        let _ = line("agent", &format!("{tool} {}", shown(&pairs)));
        let options = RequestOptions { reason: reason.map(str::to_owned), ..RequestOptions::default() };
        self.agent.tool_request(tool, pairs, options).await.map(|result| result.data)
    }

    /// Waits for the question and answers it as the person says.
    async fn approve(&self) -> Result<(), Trouble> {
        let question = loop {
            match self.gate.approvals.questions().first() {
                Some(question) => break question.clone(),
                None => Timer::after(LOOK).await,
            };
        };
        say(&format!("\n{}\n", card(&question)))?;
        let choice = if self.person_says_yes().await? {
            Choice::Approve(Approval::once())
        } else {
            Choice::Deny { note: None }
        };
        let answer = self.gate.answer(&question.id.to_string(), choice, Responder::new("demo", "you")).await;
        answer.map(drop).map_err(|e| match e {
            CannotAnswer::Several => failed("several questions have this id"),
            CannotAnswer::Store(e) => failed(e),
        })
    }

    async fn person_says_yes(&self) -> Result<bool, Trouble> {
        if self.yes || !stdin().is_terminal() {
            let why = if self.yes { "--yes was given" } else { "there is no terminal to ask on" };
            line("you", &format!("yes ({why})"))?;
            return Ok(true);
        }
        loop {
            terminal::replace_line("   you       approve? [y/n] ");
            let line = smol::unblock(|| {
                let mut line = String::new();
                stdin().read_line(&mut line).map(|read| (read, line))
            })
            .await;
            match line {
                Ok((0, _)) | Err(_) => {
                    terminal::note("");
                    return Ok(false);
                }
                Ok((_, line)) if is(&line, "yes") => return Ok(true),
                Ok((_, line)) if is(&line, "no") => return Ok(false),
                Ok(_) => {}
            }
        }
    }

    async fn record(&self) -> Result<(), Trouble> {
        self.title("4. The record has all of it, newest first, as `agentpass audit list` shows it.").await?;
        let failed = |e| Trouble::new(Exit::FAILED, "read the record", e);
        let mut reader = Reader::open(&self.files.record()).map_err(failed)?;
        let rows = reader.list(&Filter::default()).map_err(failed)?;
        say(&table(&rows, INDENT, width()))?;
        let check = reader.verify().map_err(failed)?;
        if let Some(fault) = check.fault {
            return Err(Trouble::new(Exit::FAILED, "verify the record", fault));
        }
        say(&format!(
            "\n   `agentpass audit verify`: {} events, the chain is whole.\n   What reached the home:\n",
            check.events
        ))?;
        let heard = self.home.requests();
        let calls = heard.iter().filter(|line| !line.ends_with("/api/"));
        say(&indented(&calls.map(String::as_str).collect::<Vec<_>>().join("\n")))
    }

    /// The next chapter, after a moment to read the one before where a person does.
    async fn title(&self, text: &str) -> Result<(), Trouble> {
        if !self.yes && terminal::is_stdout() && stdin().is_terminal() {
            Timer::after(PAUSE).await;
        }
        say(&format!("\n{}\n", layout::hanging("", text, width())))
    }
}

fn card(question: &Arc<Question>) -> String {
    let fields = text::fields(question).into_iter().map(|field| (field.label, field.lines));
    let bar = format!("{INDENT}| ");
    let card = labelled("", fields.collect(), width().map(|width| width.saturating_sub(bar.len())));
    card.lines().map(|line| format!("{bar}{line}")).collect::<Vec<_>>().join("\n")
}

/// What is printed has the width of the terminal, or of a page.
fn width() -> Option<usize> {
    Some(terminal::width().unwrap_or(PAGE))
}

/// Whether `typed` is this word or its first letter.
fn is(typed: &str, word: &str) -> bool {
    let typed = typed.trim().to_lowercase();
    typed == word || (typed.len() == 1 && word.starts_with(&typed))
}

fn shown(args: &Map<String, Value>) -> String {
    let pair = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}:={other}"),
    };
    args.iter().map(pair).collect::<Vec<_>>().join(" ")
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("{INDENT}{line}")).collect::<Vec<_>>().join("\n")
}

/// A line with who or what it is about in front.
fn line(who: &str, text: &str) -> Result<(), Trouble> {
    say(&layout::hanging(&format!("{INDENT}{who:<8}  "), text, width()))
}

fn say(text: &str) -> Result<(), Trouble> {
    output::print(text).map(drop)
}

/// What keeps the demo from going on.
pub(crate) fn failed(cause: impl Display) -> Trouble {
    Trouble::new(Exit::FAILED, "run the demo", cause)
}
