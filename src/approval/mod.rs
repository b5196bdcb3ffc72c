//! Asking a human: the desk that keeps the questions, and the channels that carry the words.
//!
//! The desk decides time-outs, order and who was first; a channel only shows and reports. Neither knows the store
//! or the services: `gate` joins them.

mod api;
mod channels;
pub(crate) mod claims;
mod companion;
pub(crate) mod desk;
mod lines;
pub(crate) mod local;
mod ntfy;
mod push;
pub(crate) mod shape;
pub(crate) mod telegram;
pub(crate) mod text;
mod webhook;

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use channels::Channels;

use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::base::secret::Secret;
use crate::config::ChannelConfig;
use crate::model::{
    AgentId, AnswerOutcome, Choice, GrantEnd, Outcome, Question, QuestionEnd, QuestionRecord, Responder,
};

/// A way to reach a human. All channels show the same questions, and all hear how each one ended.
///
/// Calls return at once: a channel that has to wait for something queues it and waits in a task of its own.
pub(crate) trait Channel {
    /// For the record, `status` and metrics.
    fn name(&self) -> &str;
    /// Finds out before the start whether the configuration is certainly wrong. BLOCKS a few seconds at most.
    fn try_out(&self) -> Result<(), Misconfigured> {
        Ok(())
    }
    /// Begins to work. The open questions are asked right after it.
    fn start(&self, _host: Rc<dyn Host>) {}
    /// A question was asked. The waiter is registered already, so an answer may come before this returns.
    fn asked(&self, question: &Arc<Question>);
    fn settled(&self, question: &Arc<Question>, end: &QuestionEnd);
    /// One of several people who must say yes has said it.
    fn counted(&self, _question: &Arc<Question>, _tally: &YesTally) {}
    /// Another call is asked about now than was shown: a person has changed it. What shows the old one must not be answered
    /// with yes any more.
    fn edited(&self, _question: &Arc<Question>) {}
    /// The same call was asked for again while the question is open: `times` in all, so 2 or more.
    fn asked_again(&self, _question: &Arc<Question>, _times: u32) {}
    /// An approved call was carried out, or not.
    fn finished(&self, question: &Arc<Question>, outcome: &Outcome);
    /// The owner should know this, though nothing is asked. One line, safe to show.
    fn notice(&self, text: &str);
    /// Whether people can be reached this way now.
    fn health(&self) -> ChannelHealth;
    /// Whether only a reload makes it work again.
    fn is_off(&self) -> bool {
        false
    }
    /// Sends a harmless message, and tells what came back: a line for people, safe to show.
    ///
    /// # Errors
    /// Why it did not arrive, in the same way.
    fn test(&self) -> Later<'_, Result<String, String>> {
        Box::pin(async { Ok("nothing is sent: people and programs come here by themselves".to_owned()) })
    }
    /// None where people can neither add a reason to a denial nor see one that was added.
    fn notes(&self) -> Option<&dyn TakesNotes> {
        None
    }
    /// What people do here has no effect from now on; what they have not been told of waits for a successor.
    fn silence(&self) {}
    /// Ends all work. Afterwards nothing is asked, answered or kept.
    fn stop<'a>(&'a self, _parting: Parting<'a>) -> Later<'a, ()> {
        Box::pin(async {})
    }
}

/// Who has said yes to a question that several people must say yes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct YesTally {
    /// Those who count, the first one first.
    pub yes: Vec<Responder>,
    /// How many different people they are.
    pub have: u32,
    pub need: u32,
}

/// What has become of a grant.
#[derive(Clone, Debug)]
pub(crate) struct GrantStand {
    pub until: Timestamp,
    /// How often it was used, and how often it may be; None: any number.
    pub used: Option<(u32, u32)>,
    /// Why it lets nothing through any more.
    pub end: Option<GrantEnd>,
}

/// A channel on which a note may follow a denial.
pub(crate) trait TakesNotes {
    /// The time for a note is over: here it is and who wrote it, or there is none. Told only of questions that were
    /// answered with [`Choice::DenyNoteFollows`](crate::model::Choice).
    fn noted(&self, question: &Arc<Question>, note: Option<(&str, &Responder)>);
}

/// Why a channel ends.
#[derive(Clone, Copy)]
pub(crate) enum Parting<'a> {
    /// The gateway stops. Questions stay open, and what shows them stays.
    Shutdown,
    /// A channel of the same name, with this configuration, takes its place.
    Replaced(&'a ChannelConfig),
    /// The configuration has no such channel any more.
    Removed,
}

/// A channel's configuration is certainly wrong: what, and what to do.
#[derive(Debug)]
pub(crate) struct Misconfigured {
    /// The section of config.yaml.
    pub section: &'static str,
    pub what: String,
    pub help: &'static str,
}

/// What `status` says of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelHealth {
    /// Its type, in the configuration's word.
    pub kind: &'static str,
    /// Whether it calls people. Others wait until somebody comes and looks.
    pub pushes: bool,
    /// Whether people can be reached this way now.
    pub up: bool,
    /// Since when `up` is what it is, where that is known.
    pub since: Option<Timestamp>,
    /// How many messages wait to be sent.
    pub waiting: usize,
    /// For people: what is wrong, or how many are watching.
    pub detail: String,
}

/// Something that takes time, on the same thread.
pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// The answer could not be written down: it does not count, and the question is as open as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotRecorded;

/// What one channel may ask of the gate. Answers go this way, in the channel's name, and its memory across restarts.
pub(crate) trait Host {
    /// Somebody whom the channel has authenticated answers a question. What comes back is committed.
    fn answer(
        &self,
        id: RequestId,
        choice: Choice,
        user: String,
    ) -> Later<'_, Result<AnswerOutcome, NotRecorded>>;
    /// The reason for a denial that was answered with [`Choice::DenyNoteFollows`], or that there is none. False: it
    /// came too late, or somebody was first.
    fn add_note(
        &self,
        id: RequestId,
        note: Option<String>,
        user: String,
    ) -> Later<'_, Result<bool, NotRecorded>>;
    /// The token that answers this question on a channel which is configured as `identity` says. None without a gate.
    fn answer_token(&self, identity: &Digest, question: &Question) -> Option<Secret>;
    /// Whether the agent's answer may wait for the reason of a denial at all (`approvals.note_seconds`).
    fn takes_reasons(&self) -> bool;
    /// Whether people are reminded when half of the time is over (`approvals.reminder`).
    fn reminds(&self) -> bool;
    /// Whom of this channel a question is brought to when it is asked: these users, or with none the channel as a whole.
    /// None: nobody here.
    fn told_first(&self, question: &Question) -> Option<Vec<String>>;
    /// At which age of the question further people of this channel are told, and who.
    fn told_later(&self, question: &Question) -> Vec<(Duration, Vec<String>)>;
    /// How long such a reason is still taken; zero when it is not.
    fn note_window(&self, id: RequestId) -> Duration;
    /// How often this was asked, identical requests counted.
    fn times_asked(&self, question: &Question) -> u32;
    /// The questions that have not ended, the oldest first.
    fn questions(&self) -> Vec<Arc<Question>>;
    /// Whether this call has not ended: open, approved or being executed.
    fn is_under_way(&self, id: RequestId) -> bool;
    /// Who has said yes so far.
    fn tally(&self, id: RequestId) -> YesTally;
    /// Time left to answer; zero when the question is not open.
    fn time_left(&self, id: RequestId) -> Duration;
    /// How a question ended, when the record knows it.
    fn question_record(&self, id: RequestId) -> Later<'_, Option<QuestionRecord>>;
    /// Keeps a small value for this channel. False when that failed; it is logged.
    fn remember(&self, name: &str, value: String) -> Later<'_, bool>;
    /// What was kept under this name.
    fn recall(&self, name: &str) -> Later<'_, Option<String>>;
    /// A few lines about the gateway for a person, safe to show.
    fn status_text(&self) -> String;
    /// What has become of the grant that a yes to this question gave. None: it gave none.
    fn grant(&self, id: RequestId) -> Option<GrantStand>;
    /// The grants that last, in words that are safe to show.
    fn grants(&self) -> Vec<(RequestId, String)>;
    /// Somebody whom the channel has authenticated ends a grant; whether that is on disk. None: it has ended already.
    fn revoke_grant(&self, id: RequestId, user: String) -> Later<'_, Option<bool>>;
    /// The agents of the configuration.
    fn agents(&self) -> Vec<AgentId>;
    /// Somebody whom the channel has authenticated stops everything, or this agent. What has come of it, safe to show.
    fn stop_calls(&self, agent: Option<AgentId>, user: String) -> Later<'_, String>;
    /// Somebody whom the channel has authenticated lets everything go on, or this agent; not what was stopped after it
    /// was `sent`. What has come of it, safe to show.
    fn resume_calls(
        &self,
        agent: Option<AgentId>,
        user: String,
        sent: Option<Timestamp>,
    ) -> Later<'_, String>;
    /// The limits and what has been counted, for a person, safe to show.
    fn limits_text(&self) -> String;
}
