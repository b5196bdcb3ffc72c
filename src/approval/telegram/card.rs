//! A question as it looks on the phone. Pure.
//!
//! The gateway's words come first; everything that an agent has a say in stands in one monospaced block, where
//! Telegram finds no links, mentions or commands. Nothing is ever cut: what does not fit into one message goes on in
//! the next, and the buttons are below the last.

use std::sync::Arc;
use std::time::Duration;

use super::api::{Button, Entity, OutgoingMessage, Style};
use super::buttons;
use crate::approval::lines::{Line, Measure, lines};
use crate::approval::text::fields;
use crate::base::clock::Timestamp;
use crate::base::ids::RequestId;
use crate::base::readable::span;
use crate::base::safe_text::visible;
use crate::base::zone::Zone;
use crate::model::{Outcome, Question, QuestionEnd, QuestionRecord};

/// What the question itself may take of the 4096 UTF-16 units of a message. The rest is for what changes: the title
/// and the lines below it.
const ROOM: usize = 3000;
/// The longest foreign text in the part that changes (a note, a service's error), in UTF-16 units.
const MAX_ASIDE: usize = 200;
/// The longest tool name in a title, in UTF-16 units; longer ones stand in the question as well.
const MAX_TITLE: usize = 64;
/// A message is as long as its UTF-16 units.
const UNITS: Measure = Measure { of: char::len_utf16, line: 1 };

/// What has happened to a question since it was asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct CardProgress {
    /// How often an agent has asked it, when more than once.
    pub count: u32,
    /// Whether a denial may wait for its reason.
    pub reasons: bool,
    pub zone: Arc<Zone>,
    /// Users whom it is brought to, and what they are called; empty: everybody here.
    pub for_whom: Vec<(i64, String)>,
    /// Who has said yes of several who must, as people call them, and how many that are of how many.
    pub yes: Option<(Vec<String>, u32, u32)>,
    /// From when to when Telegram could not be reached: taps made then are lost.
    pub away: Option<(Option<Timestamp>, Timestamp)>,
    /// How much time was left at the reminder.
    pub reminded: Option<Duration>,
    /// How it ended, when, and who did it as people call them.
    pub settled: Option<(QuestionEnd, Option<Timestamp>, Option<String>)>,
    /// How long a note may still be added; None when it may not.
    pub note: Option<Duration>,
    /// As people call them.
    pub note_by: Option<String>,
    /// What the yes has granted besides.
    pub grant: Option<ShownGrant>,
    /// Nobody is asked in this chat any more.
    pub closed: bool,
    pub end: Option<CallEnd>,
}

/// A grant below a card that has said yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShownGrant {
    pub id: RequestId,
    pub line: String,
    /// Then it has a button that ends it.
    pub lasts: bool,
}

/// What came of an approved call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallEnd {
    /// With what is to be said of its data.
    Done(Option<String>),
    /// The agent may do it itself.
    Permitted,
    /// It may have been done or not.
    Unknown,
    /// Why it was not done.
    Failed(String),
}

impl CallEnd {
    pub(super) fn after(outcome: &Outcome) -> CallEnd {
        match outcome {
            Outcome::Executed(_) => CallEnd::Done(outcome.data_note().map(str::to_owned)),
            Outcome::Permitted(_) => CallEnd::Permitted,
            Outcome::UnknownResult => CallEnd::Unknown,
            other => CallEnd::Failed(other.explained()),
        }
    }

    pub(super) fn recorded(record: &QuestionRecord) -> Option<CallEnd> {
        match record.outcome.as_str() {
            "pending" => None,
            "executed" => Some(CallEnd::Done(record.data_note.clone())),
            "permitted" => Some(CallEnd::Permitted),
            "unknown" => Some(CallEnd::Unknown),
            other => Some(CallEnd::Failed(format!("The record says: {other}"))),
        }
    }
}

/// The question in as many messages as it takes; the buttons are on the last while it is open.
pub(super) fn messages(question: &Question, progress: &CardProgress) -> Vec<OutgoingMessage> {
    let pieces = UNITS.pieces(body(question), ROOM);
    let count = pieces.len();
    let mut begun = false;
    let mut all = Vec::with_capacity(count);
    for (index, piece) in pieces.into_iter().enumerate() {
        let (part, last) = (index + 1, index + 1 == count);
        let mut message = StyledText::default();
        match last {
            true => head(&mut message, question, progress),
            false => message.bold(&format!("❓ {}", title(&question.call.tool().name))),
        }
        if count > 1 {
            let buttons = if last { "" } else { ", the buttons are below the last" };
            message.line(&format!("Part {part} of {count}{buttons}"));
        }
        piece_lines(&mut message, &piece, &mut begun);
        let keyboard = if last { keyboard(question, progress) } else { Vec::new() };
        all.push(message.done(keyboard));
    }
    all
}

/// The card of a question that is no longer known in full.
pub(super) fn remains(tool: &str, progress: &CardProgress) -> OutgoingMessage {
    let mut message = StyledText::default();
    match &progress.settled {
        None if progress.closed => closed(&mut message, tool),
        None => {
            message.bold(&format!("⚠️ Ended: {}", title(tool)));
            message.line("It ended while the gateway was restarted; `agentpass audit` says how.");
        }
        Some(_) => ended(&mut message, tool, progress),
    }
    message.done(revoke(progress))
}

/// A card with the call as it was before somebody changed it.
pub(super) fn changed(tool: &str) -> OutgoingMessage {
    let mut message = StyledText::default();
    message.bold(&format!("✏️ Changed: {}", title(tool)));
    message.line("Somebody has changed this call. What is asked now stands below.");
    message.done(Vec::new())
}

/// `14:32` in the gateway's time zone; `14:32 UTC` where that is not known.
pub(super) fn clock_time(at: Timestamp, zone: &Zone) -> String {
    let utc = if *zone == Zone::default() { " UTC" } else { "" };
    format!("{}{utc}", zone.hour_and_minute(at))
}

/// The length of a text as Telegram counts it: in UTF-16 units.
pub(super) fn units(text: &str) -> usize {
    UNITS.size(text)
}

fn keyboard(question: &Question, progress: &CardProgress) -> Vec<Vec<Button>> {
    match (&progress.settled, progress.note) {
        (None, _) if progress.closed => Vec::new(),
        (None, _) => buttons::answers(question, progress.reasons),
        (Some(_), Some(_)) => buttons::no_reason(question.id),
        (Some(_), None) => revoke(progress),
    }
}

fn revoke(progress: &CardProgress) -> Vec<Vec<Button>> {
    progress.grant.iter().filter(|grant| grant.lasts).flat_map(|grant| buttons::revoke(&[grant.id])).collect()
}

/// The lines that change.
fn head(message: &mut StyledText, question: &Question, progress: &CardProgress) {
    let tool = &question.call.tool().name;
    if progress.settled.is_some() {
        return ended(message, tool, progress);
    }
    if progress.closed {
        return closed(message, tool);
    }
    message.bold(&format!("❓ Allow {}?", title(tool)));
    let time = span(question.expires.since(question.created));
    message.line(&format!("Answer by {} ({time})", day_and_time(question, &progress.zone)));
    message.mentions("For ", &progress.for_whom);
    if progress.count > 1 {
        message.line(&format!("Asked {} times", progress.count));
    }
    if let Some((names, have, need)) = &progress.yes {
        message.line(&format!("✅ {have} of {need} said yes: {}", names.join(", ")));
    }
    let clock = |at| clock_time(at, &progress.zone);
    if let Some((from, to)) = progress.away {
        let when = match from {
            Some(from) => format!("from {} to {}", clock(from), clock(to)),
            None => format!("until {}", clock(to)),
        };
        message.line(&format!("⚠️ I was away {when}. If you have tapped already, tap again."));
    }
    if question.edit.is_some() {
        message.line("✏️ The call was changed: look again");
    }
    if let Some(left) = progress.reminded {
        message.line(&format!("⏰ Still waiting, {} left", span(left)));
    }
}

/// With the date where the question was asked on another day.
fn day_and_time(question: &Question, zone: &Zone) -> String {
    let day = |at| zone.date_and_time(at).chars().take("2026-01-31".len()).collect::<String>();
    let (ends, time) = (day(question.expires), clock_time(question.expires, zone));
    if ends == day(question.created) { time } else { format!("{ends} {time}") }
}

fn closed(message: &mut StyledText, tool: &str) {
    message.bold(&format!("↪️ Not asked here any more: {}", title(tool)));
    message.line("`agentpass approvals` on the gateway shows what is open.");
}

fn ended(message: &mut StyledText, tool: &str, progress: &CardProgress) {
    let Some((end, at, who)) = &progress.settled else { return };
    let tool = title(tool);
    let at = at.map(|at| format!(" at {}", clock_time(at, &progress.zone))).unwrap_or_default();
    let by = format!("y {}{at}.", who.as_deref().unwrap_or("somebody"));
    let (name, line) = match (end, &progress.end) {
        (QuestionEnd::Approved { .. }, None) => ("✅ Allowed", format!("B{by}")),
        (QuestionEnd::Approved { .. }, Some(CallEnd::Done(note))) => {
            let note = note.as_ref().map(|note| format!(": {}", aside(note))).unwrap_or_default();
            ("✅ Allowed", format!("B{by} Done{note}."))
        }
        (QuestionEnd::Approved { .. }, Some(CallEnd::Permitted)) => {
            ("✅ Allowed", format!("B{by} The agent may do it."))
        }
        (QuestionEnd::Approved { .. }, Some(CallEnd::Unknown)) => {
            ("⚠️ Unknown", format!("Allowed b{by} It may have been done or not."))
        }
        (QuestionEnd::Approved { .. }, Some(CallEnd::Failed(why))) => {
            ("⚠️ Failed", format!("Allowed b{by} {}.", aside(why)))
        }
        (QuestionEnd::Denied { .. }, _) => ("⛔ Denied", format!("B{by}")),
        (QuestionEnd::TimedOut, _) => {
            ("⌛ Expired", format!("Nobody answered in time. It was not done{at}."))
        }
        (QuestionEnd::Withdrawn, _) => ("↩️ Withdrawn", format!("The agent took it back{at}.")),
        (QuestionEnd::Void(why), _) => {
            ("⚠️ Void", format!("It was not done{at}: {}.", aside(&why.to_string())))
        }
    };
    message.bold(&format!("{name}: {tool}"));
    message.line(&line);
    progress.grant.iter().for_each(|grant| message.line(&grant.line));
    match (end, progress.note) {
        (QuestionEnd::Denied { note: Some(note), .. }, _) => {
            let by = progress.note_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            message.line(&format!("The agent was told{by}: {}", aside(note)));
        }
        (_, Some(time)) => {
            let time = span(time);
            message.line(&format!("To tell the agent why, reply to this message within {time}."));
        }
        (_, None) => {}
    }
}

fn title(tool: &str) -> String {
    shortened(tool, MAX_TITLE)
}

fn aside(text: &str) -> String {
    shortened(text.trim_end_matches('.'), MAX_ASIDE)
}

/// Safe to show and no longer than `most` UTF-16 units (and a "…").
pub(super) fn shortened(text: &str, most: usize) -> String {
    // Escapes make it longer only, so no more than this can be shown.
    let text: String = text.chars().take(most + 1).collect();
    let shown = visible(&text);
    match UNITS.cut(&shown, most) {
        (_, "") => shown,
        (kept, _) => format!("{kept}…"),
    }
}

fn body(question: &Question) -> Vec<Line> {
    let short = units(&visible(&question.call.tool().name)) <= MAX_TITLE;
    let shown = fields(question);
    lines(shown.iter().filter(|f| f.label != "tool" || f.by_agent || !short))
}

fn piece_lines(message: &mut StyledText, piece: &[Line], begun: &mut bool) {
    let (own, foreign): (Vec<_>, Vec<_>) = piece.iter().partition(|line| !line.by_agent);
    if !own.is_empty() {
        message.line("");
        own.iter().for_each(|line| message.line(&line.text));
    }
    if foreign.is_empty() {
        return;
    }
    message.line("");
    let label = if *begun { "From the agent, continued:" } else { "From the agent:" };
    message.bold(label);
    *begun = true;
    let block: Vec<_> = foreign.iter().map(|line| line.text.as_str()).collect();
    message.styled(&block.join("\n"), Style::Pre);
}

/// A text that is written line by line, with its entities.
#[derive(Default)]
struct StyledText {
    text: String,
    entities: Vec<Entity>,
}

impl StyledText {
    fn line(&mut self, line: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(line);
    }

    fn styled(&mut self, line: &str, style: Style) {
        self.line(line);
        let length = units(line);
        if length > 0 {
            self.entities.push(Entity { style, offset: units(&self.text) - length, length });
        }
    }

    /// A line of users, who are told of it by that.
    fn mentions(&mut self, before: &str, users: &[(i64, String)]) {
        for (number, (user, name)) in users.iter().enumerate() {
            match number {
                0 => self.line(before),
                _ => self.text.push_str(", "),
            }
            self.entities.push(Entity {
                style: Style::Mention(*user),
                offset: units(&self.text),
                length: units(name),
            });
            self.text.push_str(name);
        }
    }

    fn bold(&mut self, line: &str) {
        self.styled(line, Style::Bold);
    }

    fn done(self, keyboard: Vec<Vec<Button>>) -> OutgoingMessage {
        OutgoingMessage { text: self.text, entities: self.entities, keyboard, reply_to: None }
    }
}

#[cfg(test)]
#[path = "card_tests.rs"]
mod tests;
