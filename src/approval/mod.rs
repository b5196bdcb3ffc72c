//! Asking a human: the desk that keeps the questions, and the channels that carry the words.
//!
//! The desk decides time-outs, order and who was first; a channel only shows and reports. Neither knows the store
//! or the services: `gate` joins them.

pub mod desk;
pub mod local;
pub mod telegram;
pub mod text;

use std::sync::Arc;

use crate::model::{Outcome, Question, Settlement};

/// A way to reach a human. All channels show the same questions, and all hear how each one ended.
///
/// Calls return at once: a channel that has to wait for something queues it and waits in a task of its own.
pub trait Channel {
    /// For the record and for `status`.
    fn name(&self) -> &'static str;
    /// A question was asked. The waiter is registered already, so an answer may come before this returns.
    fn asked(&self, question: &Arc<Question>);
    /// A question ended, by whichever channel.
    fn settled(&self, question: &Arc<Question>, settlement: &Settlement);
    /// The same call was asked for again while the question is open: `times` in all, so 2 or more.
    fn asked_again(&self, _question: &Arc<Question>, _times: u32) {}
    /// The time in which a note to a denial could follow is over: here it is, or there is none. Told only of
    /// questions that were answered with [`Choice::DenyNoteFollows`](crate::model::Choice).
    fn noted(&self, _question: &Arc<Question>, _note: Option<&str>) {}
    /// An approved call was carried out, or not.
    fn finished(&self, question: &Arc<Question>, outcome: &Outcome);
    /// Whether people can be reached this way now.
    fn health(&self) -> ChannelHealth;
}

/// What `status` says of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelHealth {
    /// Whether it works now.
    pub up: bool,
    /// For people: what is wrong, or how many are watching.
    pub detail: String,
}
