//! What becomes of people's taps and words. Every tap is answered.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::api::Update;
use super::board::TapOrigin;
use super::buttons::{self, Press, Pressed};
use super::card::units;
use super::conversation::Conversation;
use super::updates::{Approach, BotCommand, Person, UpdateMeaning, read};
use super::urgent::To;
use crate::approval::Host;
use crate::base::ids::RequestId;
use crate::base::readable::span;
use crate::base::safe_text::visible;
use crate::model::{AnswerOutcome, Approval, Choice, GrantWish, Question, QuestionEnd};

/// How many strangers are logged and answered per [`STRANGER_TIME`].
const STRANGERS: usize = 5;
const STRANGER_TIME: Duration = Duration::from_secs(60);
const STRANGE: &str = "You may not use this bot.";
/// The most lines of `/pending`.
const MAX_LISTED: usize = 30;
/// The most grants of `/grants`, each with a button.
const MAX_BUTTONS: usize = 15;
/// The longest message, in UTF-16 units.
const MAX_UNITS: usize = 4096;

const HELP: &str = "Your agents' questions come here. Allow runs the call once; Deny refuses it.\n\
    After Deny with a reason, reply to the card: the agent hears why.\n\n\
    /pending  what is open\n/status  how the gateway is\n/limits  what has been counted\n/grants  what is granted\n\
    /kill  stop everything, or /kill NAME one agent\n/resume  let it go on\n/help  this";

/// What the person who tapped sees: for a moment, or when it is important until it is dismissed.
struct Toast(String, bool);

impl Toast {
    fn short(text: &str) -> Toast {
        Toast(text.to_owned(), false)
    }

    fn important(text: &str) -> Toast {
        Toast(text.to_owned(), true)
    }
}

impl Conversation {
    /// Does what an update asks for. When this returns, an answer is on disk or was refused.
    pub(super) async fn handle(self: &Rc<Self>, update: &Update, host: &dyn Host) {
        let incoming = read(update, &self.state.borrow().approvers);
        match incoming {
            UpdateMeaning::Tap { callback, by, pressed, message } => {
                let Toast(text, alert) = self.tapped(&by, pressed, message, host).await;
                self.answer_tap(To::Known, callback, text, alert);
            }
            UpdateMeaning::Nonsense { callback } => {
                self.answer_tap(To::Known, callback, "This button is not of this gateway.".into(), false);
            }
            UpdateMeaning::Reply { by, to, message, text } => {
                self.replied(&by, to, message, &text, host).await
            }
            UpdateMeaning::Stop { callback, by, button, message } => {
                let text = self.tapped_stop(&by, button, message, host).await;
                self.answer_tap(To::Known, callback, text, true);
            }
            UpdateMeaning::Command { command, by, message, sent } => {
                let text = match command {
                    BotCommand::Grants => return self.list_grants(message, host),
                    BotCommand::Kill(agent) => return self.ask_to_stop(agent.as_deref(), message, host),
                    BotCommand::Resume(agent) => {
                        return self.resume_calls(&by, agent.as_deref(), (message, sent), host).await;
                    }
                    BotCommand::Pending => pending(host),
                    BotCommand::Status => host.status_text(),
                    BotCommand::Limits => host.limits_text(),
                    BotCommand::Help => HELP.to_owned(),
                };
                self.say(Some(message), text);
            }
            UpdateMeaning::Stranger { person, from, who } => self.stranger(person, from, &who),
            // Only Telegram's own word is believed, and it comes with the next message that is sent.
            UpdateMeaning::Moved => self.say(None, "This group is a supergroup now.".to_owned()),
            UpdateMeaning::Ignored => {}
        }
    }

    async fn tapped(self: &Rc<Self>, by: &Person, pressed: Pressed, message: i64, host: &dyn Host) -> Toast {
        let Pressed { press, id, seen } = pressed;
        self.meet(by).await;
        if press == Press::Revoke {
            let revoked = host.revoke_grant(id, by.id.to_string()).await;
            self.grant_of(id).map(|now| self.show_grant(now));
            return match revoked {
                Some(true) => Toast::short("Revoked."),
                Some(false) => Toast::important("Revoked. NOT RECORDED yet: a restart would bring it back."),
                None => Toast::short("This grant has ended already."),
            };
        }
        let place = self.state.borrow().board.origin(id, message);
        match place {
            TapOrigin::Unknown => return self.forgotten(id, message, host).await,
            TapOrigin::Elsewhere => return Toast::short("This card is out of date; use the newer one."),
            TapOrigin::Own => self.found(id, message).await,
        }
        let user = by.id.to_string();
        let choice = match press {
            Press::Allow => Choice::Approve(Approval { seen, ..Approval::once() }),
            Press::AllowFor(seconds) => {
                let grant = GrantWish { duration: Duration::from_secs(u64::from(seconds)), uses: None };
                Choice::Approve(Approval { grant: Some(grant), seen, ..Approval::once() })
            }
            Press::Deny | Press::Revoke => Choice::Deny { note: None },
            Press::DenyWithReason => Choice::DenyNoteFollows,
            Press::NoReason => return no_reason(id, user, host).await,
        };
        match host.answer(id, choice, user).await {
            Err(_) => Toast::important("It could not be recorded, so it does not count. Try again."),
            Ok(AnswerOutcome::Resolved) if press == Press::Allow => Toast::short("Allowed."),
            Ok(AnswerOutcome::Resolved) if matches!(press, Press::AllowFor(_)) => {
                Toast::short("Allowed, and granted.")
            }
            Ok(AnswerOutcome::Resolved) if host.note_window(id).is_zero() => Toast::short("Denied."),
            Ok(AnswerOutcome::Resolved) => Toast::short("Denied. Reply to the card to say why."),
            Ok(AnswerOutcome::Expired) => Toast::important("Too late: the time to answer is over."),
            Ok(AnswerOutcome::Counted { have, need }) => {
                Toast::short(&format!("Your yes counts: {have} of {need}."))
            }
            Ok(AnswerOutcome::NotApprover) => Toast::important("You may not answer this question."),
            Ok(AnswerOutcome::Stale) => Toast::important("The call was changed meanwhile: look again."),
            Ok(AnswerOutcome::Refused(why) | AnswerOutcome::Denied(why)) => Toast::important(&visible(&why)),
            Ok(AnswerOutcome::AlreadyResolved | AnswerOutcome::Unknown) => {
                Toast::important(&self.too_late(id))
            }
        }
    }

    /// What lasts, with a button for each that ends it.
    fn list_grants(&self, message: i64, host: &dyn Host) {
        let mut grants = host.grants();
        if grants.is_empty() {
            return self.say(Some(message), "Nothing is granted.".to_owned());
        }
        let more = grants.len().saturating_sub(MAX_BUTTONS);
        grants.truncate(MAX_BUTTONS);
        let lines: Vec<String> = grants.iter().map(|(_, text)| format!("• {text}")).collect();
        let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
        let text = fitting(&format!("{}{more}", lines.join("\n")));
        let ids: Vec<RequestId> = grants.iter().map(|(id, _)| *id).collect();
        self.state.borrow_mut().queue.reply_with(Some(message), text, buttons::revoke(&ids));
        self.wake();
    }

    /// Cards name people, also after the next start: the name is kept before what they do counts.
    pub(super) async fn meet(&self, by: &Person) {
        let news = self.state.borrow_mut().board.meet(by.id, &by.shown);
        if news {
            self.save().await;
        }
    }

    /// The number of a card in the chat may be news: then the card is brought up to date.
    async fn found(&self, id: RequestId, message: i64) {
        let news = self.state.borrow_mut().board.found(id, message);
        if news {
            {
                let mut state = self.state.borrow_mut();
                if state.board.get(id).is_some_and(|card| card.next_message().is_none()) {
                    state.queue.forget_ask(id);
                }
                state.edit(id);
            }
            self.save().await;
            self.wake();
        }
    }

    /// A card of long ago, or one sent before a restart without our hearing of it. It says what the record knows of its
    /// question.
    async fn forgotten(self: &Rc<Self>, id: RequestId, message: i64, host: &dyn Host) -> Toast {
        let record = host.question_record(id).await.filter(|record| record.end.is_some());
        if let Some(record) = record
            && self.state.borrow_mut().board.adopt(id, &record.tool, message)
        {
            self.show_recorded(id, Some(record));
        }
        Toast::short("This question has ended.")
    }

    /// A reply to a card is the reason for a denial, while one is taken. People also talk with each other below cards, so
    /// not every reply is answered.
    async fn replied(&self, by: &Person, to: i64, message: i64, text: &str, host: &dyn Host) {
        let Some((id, open, denied)) = self.card_of(to) else { return };
        self.meet(by).await;
        let user = by.id.to_string();
        let note = (!text.trim().is_empty()).then(|| text.to_owned());
        let noted = match denied {
            true => host.add_note(id, note, user).await,
            false => Ok(false),
        };
        let answer = match noted {
            // The card shows it.
            Ok(true) => return,
            Err(_) => "Not passed on: it could not be recorded.",
            Ok(false) if denied => "Not passed on: the agent has been answered already.",
            Ok(false) if open => {
                "A reply decides nothing: tap a button. Deny with a reason lets you say why."
            }
            Ok(false) => return,
        };
        self.say(Some(message), answer.to_owned());
    }

    /// The question of the card that a message is part of, whether it is open, and whether it was denied.
    fn card_of(&self, message: i64) -> Option<(RequestId, bool, bool)> {
        let state = self.state.borrow();
        let id = state.board.with_message(message)?;
        let card = state.board.get(id)?;
        let denied = matches!(card.progress.settled, Some((QuestionEnd::Denied { .. }, ..)));
        Some((id, card.is_open(), denied))
    }

    /// What somebody hears who was not the first.
    fn too_late(&self, id: RequestId) -> String {
        let state = self.state.borrow();
        let settled = state.board.get(id).and_then(|card| card.progress.settled.as_ref());
        let who = settled.and_then(|(_, _, who)| who.as_deref()).unwrap_or("somebody else");
        match settled.map(|(end, ..)| end) {
            Some(QuestionEnd::Approved { .. }) => format!("Already allowed by {who}."),
            Some(QuestionEnd::Denied { .. }) => format!("Already denied by {who}."),
            Some(QuestionEnd::TimedOut) => "Too late: the time to answer is over.".into(),
            Some(QuestionEnd::Withdrawn) => "The agent has taken it back.".into(),
            Some(QuestionEnd::Void(why)) => format!("It is void: {}.", visible(&why.to_string())),
            None => "It is already answered.".into(),
        }
    }

    pub(super) fn say(&self, to: Option<i64>, text: String) {
        self.state.borrow_mut().queue.reply(to, fitting(&text));
        self.wake();
    }

    /// A short answer and a log line: once a minute for each stranger, and not too many in all.
    fn stranger(self: &Rc<Self>, person: i64, from: Approach, who: &str) {
        let (welcome, home) = {
            let (mut state, now) = (self.state.borrow_mut(), Instant::now());
            state.strangers.retain(|(at, _)| now.duration_since(*at) < STRANGER_TIME);
            let known = state.strangers.iter().any(|(_, other)| *other == person);
            let welcome = !known && state.strangers.len() < STRANGERS;
            if welcome {
                state.strangers.push((now, person));
            }
            (welcome, state.home.chat)
        };
        if welcome {
            log::warn!("telegram: {who} is not among allowed_users in this chat; nothing was done");
        }
        match from {
            Approach::Tap(callback) => {
                self.answer_tap(To::Stranger, callback, "You may not approve this.".into(), false)
            }
            Approach::Words { .. } if !welcome => {}
            // The queue keeps the pace of messages in the home chat.
            Approach::Words { chat, message } if chat == home => self.say(Some(message), STRANGE.to_owned()),
            Approach::Words { chat, .. } => self.write_to_stranger(chat, STRANGE),
        }
    }
}

async fn no_reason(id: RequestId, user: String, host: &dyn Host) -> Toast {
    match host.add_note(id, None, user).await {
        Ok(true) => Toast::short("The agent hears no reason."),
        Ok(false) | Err(_) => Toast::short("The agent has been answered already."),
    }
}

fn pending(host: &dyn Host) -> String {
    let open = host.questions();
    if open.is_empty() {
        return "Nothing is open.".into();
    }
    let line = |q: &Arc<Question>| {
        let (tool, agent) = (visible(&q.call.tool().name), visible(q.call.agent().as_str()));
        format!("\n• {tool} for {agent}, {} left", span(host.time_left(q.id)))
    };
    let listed: String = open.iter().take(MAX_LISTED).map(line).collect();
    let more = open.len().saturating_sub(MAX_LISTED);
    let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
    format!("{} open:{listed}{more}", open.len())
}

/// As many whole lines as fit into one message; longer ones are refused.
fn fitting(text: &str) -> String {
    let mut left = MAX_UNITS - 2;
    let fits = |line: &&str| {
        let room = left.checked_sub(units(line));
        left = room.unwrap_or_default();
        room.is_some()
    };
    let kept: String = text.split_inclusive('\n').take_while(fits).collect();
    if kept.len() == text.len() { kept } else { format!("{kept}…") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_answer_is_cut_at_a_line() {
        assert_eq!(fitting("a\nb"), "a\nb");
        let line = format!("{}\n", "😀".repeat(75));
        let cut = fitting(&line.repeat(30));
        assert!(units(&cut) <= MAX_UNITS && cut == format!("{}…", line.repeat(27)), "{}", units(&cut));
        assert_eq!(fitting(&"x".repeat(9000)), "…");
    }
}
