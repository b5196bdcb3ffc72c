//! What does not wait for the queue: answers to taps, and words to strangers. What piles up is dropped, and nothing is
//! tried twice: seconds later nobody looks at it any more.

use std::rc::Rc;

use super::api::{Bot, BotError, OutgoingMessage};
use super::conversation::Conversation;

/// For whom a call is. Strangers have workers of their own, so that they keep nobody waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// Somebody who may answer.
    Known,
    /// Anybody else.
    Stranger,
}

/// A worker: makes the calls for one kind of people, one after the other, until the channel is stopped.
pub(super) async fn run(channel: Rc<Conversation>, to: To) {
    let calls = match to {
        To::Known => &channel.known.1,
        To::Stranger => &channel.strangers.1,
    };
    while let Ok(call) = calls.recv().await {
        if let Err(e) = channel.call(call).await {
            log::debug!("telegram: somebody was not answered: {e}");
        }
    }
}

impl Conversation {
    /// Ends the clock on a tapped button.
    pub(super) fn answer_tap(&self, to: To, callback: String, text: String, alert: bool) {
        self.urgently(to, move |bot| bot.answer_callback(&callback, &text, alert));
    }

    /// Writes to another chat than the one that is asked. A refusal there (they may have blocked the bot) says nothing
    /// about that one.
    pub(super) fn write_to_stranger(&self, chat: i64, text: &str) {
        let message = OutgoingMessage { text: text.to_owned(), ..OutgoingMessage::default() };
        self.urgently(To::Stranger, move |bot| bot.send_message(chat, None, &message).map(drop));
    }

    /// Shows other words, and no buttons, in a message of the bot that is no card.
    pub(super) fn rewrite(&self, message: i64, text: String) {
        let (chat, is_card) = {
            let state = self.state.borrow();
            (state.home.chat, state.board.with_message(message).is_some())
        };
        if !is_card {
            let shown = OutgoingMessage { text, ..OutgoingMessage::default() };
            self.urgently(To::Known, move |bot| bot.edit_message(chat, message, &shown));
        }
    }

    fn urgently(&self, to: To, call: impl FnOnce(Bot) -> Result<(), BotError> + Send + 'static) {
        let calls = match to {
            To::Known => &self.known.0,
            To::Stranger => &self.strangers.0,
        };
        if calls.try_send(Box::new(call)).is_err() {
            log::debug!("telegram: too many wait for an answer; one is dropped");
        }
    }
}
