//! `approvals --watch` on a terminal: each question as it comes, y or n, with the time left.
//!
//! Two threads read (the gateway, the keyboard) and one loop decides what is on the screen.

use std::collections::VecDeque;
use std::io::{BufRead as _, stdin};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::approvals::Approvals;
use super::owner::{Owner, command};
use super::{Exit, Trouble, card, output};

/// How often the time left is shown anew.
const TICK: Duration = Duration::from_secs(1);

enum Event {
    Gateway(Result<Option<Value>, Trouble>),
    Typed(String),
    Left,
}

/// Shows questions and takes answers until the person or the gateway leaves.
///
/// # Errors
/// When the gateway goes away.
pub fn ask(mut owner: Owner, args: &Approvals) -> Result<Exit, Trouble> {
    let answers = Owner::connect("answer the question", args.socket.as_deref(), args.config.as_deref())?;
    owner.send(&command("watch"))?;
    let (sender, events) = channel();
    let keyboard = sender.clone();
    thread::spawn(move || listen(owner, &sender));
    thread::spawn(move || type_in(&keyboard));
    output::note("waiting for questions; Ctrl-C leaves");
    Screen { answers, waiting: VecDeque::new() }.run(&events)
}

fn listen(mut owner: Owner, events: &Sender<Event>) {
    loop {
        let next = owner.hear();
        let ended = !matches!(next, Ok(Some(_)));
        if events.send(Event::Gateway(next)).is_err() || ended {
            return;
        }
    }
}

fn type_in(events: &Sender<Event>) {
    for line in stdin().lock().lines() {
        let event = line.map_or(Event::Left, Event::Typed);
        if events.send(event).is_err() {
            return;
        }
    }
    let _ = events.send(Event::Left);
}

struct Screen {
    answers: Owner,
    waiting: VecDeque<Value>,
}

impl Screen {
    fn run(mut self, events: &Receiver<Event>) -> Result<Exit, Trouble> {
        loop {
            match events.recv_timeout(TICK) {
                Ok(Event::Gateway(Ok(Some(event)))) => self.hear(event),
                Ok(Event::Gateway(Ok(None))) => {
                    output::replace_line("");
                    return Err(Trouble::new(Exit::CONNECTION, "go on watching", "the gateway has stopped"));
                }
                Ok(Event::Gateway(Err(trouble))) => return Err(trouble),
                Ok(Event::Typed(text)) => self.answer(text.trim())?,
                Ok(Event::Left) | Err(RecvTimeoutError::Disconnected) => return Ok(Exit::DONE),
                Err(RecvTimeoutError::Timeout) => self.prompt(),
            }
        }
    }

    /// A new question, or news of one.
    fn hear(&mut self, event: Value) {
        let known = self.waiting.iter().any(|q| same(q, &event));
        if event.get("tool").is_some() {
            if !known {
                self.waiting.push_back(event);
                if self.waiting.len() == 1 {
                    self.show();
                }
            }
            return;
        }
        let word = |name: &str| event.get(name).and_then(Value::as_str);
        let id = card::short_id(&event);
        if let Some(outcome) = word("finished") {
            self.say(&format!("{id} {outcome}"));
        }
        if let Some(settled) = word("settled") {
            let by = word("by").map(|by| format!(" by {by}")).unwrap_or_default();
            self.say(&format!("{id} {}{by}", settled.replace('_', " ")));
            let first = self.waiting.front().is_some_and(|q| same(q, &event));
            self.waiting.retain(|q| !same(q, &event));
            if first {
                self.show();
            }
        }
    }

    fn answer(&mut self, typed: &str) -> Result<(), Trouble> {
        let Some(question) = self.waiting.front() else { return Ok(()) };
        let id = question.get("request_id").cloned().unwrap_or_default();
        let (word, note) = typed.split_once(' ').unwrap_or((typed, ""));
        let command = match word {
            "y" | "yes" => json!({"command": "approve", "id": id}),
            "n" | "no" => json!({"command": "deny", "id": id, "note": note}),
            _ => {
                output::note("y approves, n denies, `n TEXT` denies and tells the agent why");
                self.prompt();
                return Ok(());
            }
        };
        match self.answers.ask(&command) {
            // How it was settled is heard from the gateway, as every other watcher hears it.
            Ok(_) => Ok(()),
            Err(trouble) => {
                let _ = trouble.report();
                self.prompt();
                Ok(())
            }
        }
    }

    fn say(&self, text: &str) {
        output::replace_line("");
        output::note(text);
    }

    fn show(&self) {
        if let Some(question) = self.waiting.front() {
            output::note(&format!("\n{}", card::question(question)));
            self.prompt();
        }
    }

    fn prompt(&self) {
        let Some(question) = self.waiting.front() else { return };
        let more = self.waiting.len().saturating_sub(1);
        let more = if more > 0 { format!(", {more} more waiting") } else { String::new() };
        output::replace_line(&format!("approve? [y/n] ({} left{more}) ", card::left(question)));
    }
}

fn same(one: &Value, other: &Value) -> bool {
    one.get("request_id") == other.get("request_id")
}
