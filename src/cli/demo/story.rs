//! What the demo tells, in order: a read, a lock, a lamp, the record.

use std::io::{IsTerminal as _, stdin};
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use smol::{Timer, future};

use super::files::Files;
use super::home::Home;
use crate::approval::text;
use crate::cli::audit::table;
use crate::cli::{Exit, Trouble, output};
use crate::client::{Client, ClientError, RequestOptions};
use crate::gate::Gate;
use crate::model::{Choice, Question, Responder};
use crate::store::reader::{Filter, Reader};
use std::time::Duration;

/// How often the approver looks for a question.
const LOOK: Duration = Duration::from_millis(20);

/// Everybody in the demo.
pub struct Story {
    /// The gateway.
    pub gate: Rc<Gate>,
    /// The agent's connection to it.
    pub agent: Client,
    /// The service.
    pub home: Rc<Home>,
    /// The files.
    pub files: Files,
    /// Approve without asking.
    pub yes: bool,
}

impl Story {
    /// Tells it.
    ///
    /// # Errors
    /// When something that must work does not.
    pub async fn tell(&self) -> Result<Exit, Trouble> {
        self.read().await?;
        self.lock().await?;
        self.lamp().await?;
        self.record()?;
        say("\nNow your own: `agentpass init` writes a configuration and tells what to do next.")?;
        Ok(Exit::DONE)
    }

    async fn read(&self) -> Result<(), Trouble> {
        title("1. The agent reads the temperature. The policy allows it: nobody is asked.")?;
        let got = self.request("ha_get_state", &json!({"entity_id": "sensor.living_room"}), None).await;
        let state = got.map_err(|e| Trouble::new(Exit::FAILED, "run the demo", e))?;
        say(&format!("   result   {state}"))
    }

    async fn lock(&self) -> Result<(), Trouble> {
        title(
            "2. The agent wants to open the front door. The policy denies it: nobody can be talked into it.",
        )?;
        let args = json!({"domain": "lock", "service": "unlock", "entity_id": "lock.front_door"});
        match self.request("ha_call_service", &args, None).await {
            Err(ClientError::Denied { message, rule, .. }) => {
                say(&format!("   refused  {message}{}", because(rule)))
            }
            Err(e) => Err(Trouble::new(Exit::FAILED, "run the demo", e)),
            Ok(_) => Err(Trouble::new(
                Exit::FAILED,
                "run the demo",
                "the lock was opened, which must never happen",
            )),
        }
    }

    async fn lamp(&self) -> Result<(), Trouble> {
        title("3. The agent wants to switch on the desk lamp. The policy asks you.")?;
        let args =
            json!({"domain": "light", "service": "turn_on", "entity_id": "light.desk", "brightness": 180});
        let request = self.request("ha_call_service", &args, Some("It is getting dark and you are reading."));
        let (result, asked) = future::zip(request, self.approve()).await;
        asked?;
        match result {
            Ok(_) => say(&format!("   done     the lamp is {} now", self.home.lamp())),
            Err(ClientError::Denied { message, .. }) => {
                say(&format!("   refused  {message}; the lamp is still {}", self.home.lamp()))
            }
            Err(e) => Err(Trouble::new(Exit::FAILED, "run the demo", e)),
        }
    }

    async fn request(&self, tool: &str, args: &Value, reason: Option<&str>) -> Result<Value, ClientError> {
        let pairs = args.as_object().cloned().unwrap_or_default();
        let _ = say(&format!("   agent    {tool} {}", shown(&pairs)));
        let options = RequestOptions { reason: reason.map(str::to_owned), ..RequestOptions::default() };
        self.agent.tool_request(tool, pairs, options).await.map(|result| result.data)
    }

    /// Waits for the question and answers it as the person says.
    async fn approve(&self) -> Result<(), Trouble> {
        let question = loop {
            match self.gate.questions().first() {
                Some(question) => break question.clone(),
                None => Timer::after(LOOK).await,
            };
        };
        say(&card(&question))?;
        let choice =
            if self.person_says_yes().await? { Choice::Approve } else { Choice::Deny { note: None } };
        let answer = self.gate.answer(&question.id.to_string(), choice, Responder::new("demo", "you")).await;
        answer.map(drop).map_err(|e| Trouble::new(Exit::FAILED, "run the demo", format!("{e:?}")))
    }

    async fn person_says_yes(&self) -> Result<bool, Trouble> {
        if self.yes || !stdin().is_terminal() {
            let why = if self.yes { "--yes was given" } else { "this is no terminal" };
            say(&format!("   you      yes ({why})"))?;
            return Ok(true);
        }
        loop {
            output::replace_line("   approve? [y/n] ");
            let line = smol::unblock(|| {
                let mut line = String::new();
                stdin().read_line(&mut line).map(|read| (read, line))
            })
            .await;
            match line {
                Ok((0, _)) | Err(_) => return Ok(false),
                Ok((_, line)) if matches!(line.trim(), "y" | "yes") => return Ok(true),
                Ok((_, line)) if matches!(line.trim(), "n" | "no") => return Ok(false),
                Ok(_) => {}
            }
        }
    }

    fn record(&self) -> Result<(), Trouble> {
        title("4. What the record says, newest first.")?;
        let failed = |e| Trouble::new(Exit::FAILED, "read the record", e);
        let mut reader = Reader::open(&self.files.record()).map_err(failed)?;
        let rows = reader.list(&Filter::default()).map_err(failed)?;
        say(&indented(&table(&rows)))?;
        let check = reader.verify().map_err(failed)?;
        if let Some(fault) = check.fault {
            return Err(Trouble::new(Exit::FAILED, "verify the record", fault));
        }
        say(&format!("   The chain of {} events is whole. The home heard only this:", check.events))?;
        let heard = self.home.requests();
        let calls = heard.iter().filter(|line| !line.ends_with("/api/"));
        say(&indented(&calls.map(String::as_str).collect::<Vec<_>>().join("\n")))
    }
}

fn card(question: &Arc<Question>) -> String {
    let lines = text::fields(question).into_iter().flat_map(|field| {
        let label = field.label;
        field.lines.into_iter().enumerate().map(move |(i, line)| {
            let label = if i == 0 { label.as_str() } else { "" };
            format!("   | {label:<12} {line}")
        })
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn because(rule: Option<String>) -> String {
    rule.map(|text| format!(": {text}")).unwrap_or_default()
}

fn shown(args: &Map<String, Value>) -> String {
    let pair = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}:={other}"),
    };
    args.iter().map(pair).collect::<Vec<_>>().join(" ")
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("   {line}")).collect::<Vec<_>>().join("\n")
}

fn title(text: &str) -> Result<(), Trouble> {
    say(&format!("\n{text}"))
}

fn say(text: &str) -> Result<(), Trouble> {
    output::print(text).map(drop)
}
