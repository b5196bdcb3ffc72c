//! What is said beside the queue: answers to taps, and words to strangers. It never waits for cards nor they for it,
//! whoever asks for it and however slow it is; what piles up is dropped, and nothing is tried twice: seconds later
//! nobody looks at it any more.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use smol::lock::Semaphore;

use super::Telegram;
use super::api::{Bot, BotError, Outgoing};

/// How many may wait in a lane.
const WAITING: usize = 32;

/// Calls of one kind, so that those of another need not wait for them.
pub(crate) struct Lane {
    permits: Arc<Semaphore>,
    waiting: Cell<usize>,
}

impl Lane {
    /// With so many calls at once.
    pub(crate) fn new(at_once: usize) -> Lane {
        Lane { permits: Arc::new(Semaphore::new(at_once)), waiting: Cell::default() }
    }
}

/// For whom it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// Somebody who may answer.
    Known,
    /// Anybody else: they have a lane of their own, so that they keep nobody waiting.
    Stranger,
}

impl Telegram {
    /// Ends the clock on a tapped button.
    pub(super) fn answer_tap(self: &Rc<Self>, to: To, callback: String, text: String, alert: bool) {
        self.beside(to, move |bot| bot.answer_callback(&callback, &text, alert));
    }

    /// A few words in another chat than the one that is asked. A refusal there (they may have blocked the bot) says nothing about
    /// that one.
    pub(super) fn tell_stranger(self: &Rc<Self>, chat: i64, text: &str) {
        let message = Outgoing { text: text.to_owned(), ..Outgoing::default() };
        self.beside(To::Stranger, move |bot| bot.send_message(chat, None, &message).map(drop));
    }

    fn lane(&self, to: To) -> &Lane {
        match to {
            To::Known => &self.answers,
            To::Stranger => &self.strangers,
        }
    }

    fn beside(self: &Rc<Self>, to: To, call: impl FnOnce(Bot) -> Result<(), BotError> + Send + 'static) {
        let waiting = &self.lane(to).waiting;
        if waiting.get() >= WAITING {
            return log::debug!("telegram: too many wait for a word; one is not answered");
        }
        waiting.set(waiting.get() + 1);
        let channel = self.clone();
        self.spawn(async move {
            let lane = channel.lane(to);
            let permit = lane.permits.acquire_arc().await;
            let said = channel.call(move |bot| (call(bot), drop(permit)).0).await;
            lane.waiting.set(lane.waiting.get().saturating_sub(1));
            if let Err(e) = said {
                log::debug!("telegram: somebody was not answered: {e}");
            }
        });
    }
}
