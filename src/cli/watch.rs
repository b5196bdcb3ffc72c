//! `approvals --watch` on a terminal: each question as it comes, y or n, with the time left.
//!
//! Two threads read (the gateway, the keyboard) and one loop decides what is on the screen. What was typed before a
//! question was on the screen never answers it.

use std::collections::VecDeque;
use std::io::{BufRead as _, stdin};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::termios::{QueueSelector, tcflush};
use serde_json::{Value, json};

use super::owner::{ControlClient, command};
use super::{Exit, Trouble, answered, card, grants, terminal};
use crate::base::readable::read_span;
use crate::base::safe_text::visible;

/// An answer typed this soon after a question came up was meant for the one before it: an agent can withdraw a
/// harmless question at the moment when it is answered, with another one behind it.
const READING: Duration = Duration::from_secs(1);
/// How often the time left is updated.
const TICK: Duration = Duration::from_secs(1);
const KEYS: &str = "y approves, n denies, `n TEXT` denies and tells the agent why; Ctrl-C leaves\n\
                    where it is offered, `y 15m` approves more such calls, `y 15m 5` at most 5";

const WAITING: &str = "waiting for questions ";

enum WatchInput {
    Gateway(Result<Option<Value>, Trouble>),
    Typed(String, Instant),
    Left,
}

/// Shows the questions that come from one connection and sends answers by the other, until the person or the gateway
/// leaves.
pub(crate) fn ask(mut owner: ControlClient, answers: ControlClient) -> Result<Exit, Trouble> {
    owner.send(&command("watch"))?;
    let (sender, events) = channel();
    let keyboard = sender.clone();
    thread::spawn(move || listen(owner, &sender));
    thread::spawn(move || type_in(&keyboard));
    terminal::note(KEYS);
    terminal::replace_line(WAITING);
    Screen { answers, waiting: VecDeque::new(), shown: Instant::now() }.run(&events)
}

fn listen(mut owner: ControlClient, events: &Sender<WatchInput>) {
    loop {
        let next = owner.hear();
        let ended = !matches!(next, Ok(Some(_)));
        if events.send(WatchInput::Gateway(next)).is_err() || ended {
            return;
        }
    }
}

fn type_in(events: &Sender<WatchInput>) {
    for line in stdin().lock().lines() {
        let event = line.map_or(WatchInput::Left, |line| WatchInput::Typed(line, Instant::now()));
        if events.send(event).is_err() {
            return;
        }
    }
    let _ = events.send(WatchInput::Left);
}

struct Screen {
    answers: ControlClient,
    waiting: VecDeque<Value>,
    /// When the question at the front was shown.
    shown: Instant,
}

impl Screen {
    fn run(mut self, events: &Receiver<WatchInput>) -> Result<Exit, Trouble> {
        loop {
            match events.recv_timeout(TICK) {
                Ok(WatchInput::Gateway(Ok(Some(event)))) => self.hear(event),
                Ok(WatchInput::Gateway(Ok(None))) => {
                    terminal::replace_line("");
                    return Err(Trouble::new(Exit::CONNECTION, "go on watching", "the gateway has stopped"));
                }
                Ok(WatchInput::Gateway(Err(trouble))) => return Err(trouble),
                Ok(WatchInput::Typed(text, at)) if at > self.shown + READING => self.answer(text.trim()),
                Ok(WatchInput::Typed(..)) => self.too_soon(),
                Ok(WatchInput::Left) | Err(RecvTimeoutError::Disconnected) => {
                    terminal::replace_line("");
                    return Ok(Exit::DONE);
                }
                Err(RecvTimeoutError::Timeout) => self.tick(),
            }
        }
    }

    /// A new question, or news of one. What is being typed to another question is left alone.
    fn hear(&mut self, event: Value) {
        if event.get("tool").is_some() {
            return self.question(event);
        }
        if let Some(notice) = event.get("notice").and_then(Value::as_str) {
            terminal::line_above(&visible(notice));
            return;
        }
        if event.get("counted").is_some() {
            terminal::line_above(&news(&event));
            return;
        }
        let again = event.get("times_asked").and_then(Value::as_u64);
        if let Some(times) = again {
            // Each time would let an agent fill the screen.
            if times.is_power_of_two() {
                terminal::line_above(&news(&event));
            }
            return;
        }
        let first = self.waiting.front().is_some_and(|question| same(question, &event));
        self.waiting.retain(|question| !same(question, &event));
        if first {
            terminal::replace_line("");
            terminal::note(&news(&event));
            self.show();
        } else {
            terminal::line_above(&news(&event));
        }
    }

    /// A new question, or one that is about another call now.
    fn question(&mut self, event: Value) {
        let known = self.waiting.iter().position(|question| same(question, &event));
        match known.and_then(|at| Some((at, self.waiting.get_mut(at)?))) {
            Some((_, question)) if question.get("digest") == event.get("digest") => {}
            Some((at, question)) => {
                *question = event;
                if at == 0 {
                    terminal::replace_line("");
                    terminal::note("this question was changed: look again");
                    self.show();
                }
            }
            None => {
                self.waiting.push_back(event);
                match self.waiting.len() {
                    1 => self.show(),
                    all => terminal::line_above(&format!("({} more waiting)", all - 1)),
                }
            }
        }
    }

    fn too_soon(&self) {
        if !self.waiting.is_empty() {
            terminal::note("this question has only just come up: read it and answer again");
        }
        self.prompt();
    }

    /// The gateway reports what became of the answer, as it does to every other watcher.
    fn answer(&mut self, typed: &str) {
        let Some(question) = self.waiting.front() else { return self.prompt() };
        let member = |name: &str| question.get(name).cloned().unwrap_or_default();
        let (id, digest) = (member("request_id"), member("digest"));
        let (word, rest) = typed.split_once(' ').unwrap_or((typed, ""));
        let command = match (word.to_lowercase().as_str(), granting(rest)) {
            ("y" | "yes", Some((time, uses))) => {
                json!({"command": "approve", "id": id, "digest": digest, "for": time, "uses": uses})
            }
            ("n" | "no", _) => json!({"command": "deny", "id": id, "note": rest}),
            _ => {
                terminal::note(KEYS);
                return self.prompt();
            }
        };
        match self.answers.ask(&command) {
            Err(trouble) => {
                let _ = trouble.report();
                self.prompt();
            }
            Ok(reply) if matches!(answered::exit_of(&reply), Exit::DONE | Exit::FAILED) => {
                let granted = reply.get("grant").map(|grant| format!("granted {}", grants::told(grant)));
                granted.iter().for_each(|line| terminal::line_above(line));
            }
            Ok(reply) => {
                terminal::note(&format!("not approved: {}", answered::in_words("approve", &reply)));
                self.prompt();
            }
        }
    }

    fn show(&mut self) {
        let Some(question) = self.waiting.front() else { return self.prompt() };
        terminal::replace_line("");
        terminal::note(&format!("\n{}", card::question(question, terminal::width())));
        terminal::note(&match self.waiting.len() - 1 {
            0 => String::new(),
            more => format!("\n({more} more waiting)"),
        });
        self.prompt();
        self.shown = Instant::now();
    }

    /// Begins the line anew. What is typed but not yet sent would be invisible now, or was meant for the question
    /// before: it is dropped.
    fn prompt(&self) {
        let _ = tcflush(rustix::stdio::stdin(), QueueSelector::IFlush);
        terminal::replace_line(self.line().as_deref().unwrap_or(WAITING));
    }

    /// Shows the time left anew; what is being typed stays.
    fn tick(&self) {
        if let Some(line) = self.line() {
            terminal::update_line(&line);
        }
    }

    /// As long with less time left, so that it can be written over.
    fn line(&self) -> Option<String> {
        let offer =
            |question: &Value| offered(question).iter().map(|time| format!("/y {time}")).collect::<String>();
        self.waiting
            .front()
            .map(|question| format!("{:>8} left. approve? [y{}/n] ", card::left(question), offer(question)))
    }
}

/// What stands behind a yes: nothing, or for how long it counts and how often. None: something else.
fn granting(typed: &str) -> Option<(Option<&str>, Option<u32>)> {
    let mut words = typed.split_whitespace();
    let (time, uses) = (words.next(), words.next().map(str::parse).transpose().ok()?);
    let fits = words.next().is_none() && time.is_none_or(|time| read_span(time).is_some());
    fits.then_some((time, uses))
}

/// The times for which a yes to this question may count, as they are typed.
fn offered(question: &Value) -> Vec<String> {
    let times = question.get("grant").and_then(|grant| grant.get("for")).and_then(Value::as_array);
    times.into_iter().flatten().filter_map(Value::as_u64).map(typed_span).collect()
}

/// `900` as `15m`.
fn typed_span(seconds: u64) -> String {
    let units = [(24 * 3600, 'd'), (3600, 'h'), (60, 'm')];
    let whole = units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{seconds}s"), |(unit, letter)| format!("{}{letter}", seconds / unit))
}

/// One line about a question that was answered or timed out, or whose call has ended.
fn news(event: &Value) -> String {
    let word = |name: &str| event.get(name).and_then(Value::as_str);
    let id = card::id(event);
    if let Some(counted) = event.get("counted") {
        let number = |name: &str| counted.get(name).and_then(Value::as_u64).unwrap_or_default();
        let by = word("by").map(visible).unwrap_or_default();
        return format!("question {id}: {by} said yes, {} of {}", number("have"), number("need"));
    }
    match (word("settled"), word("finished")) {
        (Some(settled), _) => {
            let by = word("by").map(|by| format!(" by {by}")).unwrap_or_default();
            let why = word("why").map(|why| format!(": {}", visible(why))).unwrap_or_default();
            format!("question {id}: {}{by}{why}", settled.replace('_', " "))
        }
        (None, Some(outcome)) => {
            let reason = word("why").map(visible).or_else(|| word("reason").map(|why| why.replace('_', " ")));
            let reason = reason.or_else(|| word("data_note").map(visible));
            let reason = reason.map(|why| format!(" ({why})")).unwrap_or_default();
            format!("question {id}: {}{reason}", outcome.replace('_', " "))
        }
        (None, None) => {
            let times = event.get("times_asked").and_then(Value::as_u64).unwrap_or_default();
            format!("question {id}: asked {times} times now")
        }
    }
}

fn same(one: &Value, other: &Value) -> bool {
    one.get("request_id") == other.get("request_id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_yes_grants_what_is_typed_behind_it_and_nothing_else_passes() {
        assert_eq!(granting(""), Some((None, None)));
        assert_eq!(granting("15m"), Some((Some("15m"), None)));
        assert_eq!(granting(" 1h  5 "), Some((Some("1h"), Some(5))));
        for wrong in ["no", "15", "15m five", "15m -1", "15m 5 6", "please", "15m5"] {
            assert_eq!(granting(wrong), None, "{wrong}");
        }
        let question = json!({"grant": {"for": [90, 900, 3600, 172_800]}});
        assert_eq!(offered(&question), ["90s", "15m", "1h", "2d"]);
        assert!(offered(&json!({"grant": null})).is_empty());
    }
}
