//! The local channel: people on the gateway itself, through the control socket.
//!
//! It keeps the list of watchers and tells each of them what happens. A watcher that does not read is dropped; it
//! can ask for the open questions again.

use std::cell::RefCell;
use std::sync::Arc;

use smol::channel::{Receiver, Sender, bounded};

use super::{Channel, ChannelHealth, YesTally};
use crate::model::{Outcome, Question, QuestionEnd};

/// How many events a watcher may be behind.
const BACKLOG: usize = 256;

/// What a watcher hears.
#[derive(Clone, Debug)]
pub(crate) enum WatchEvent {
    Asked(Arc<Question>),
    Edited(Arc<Question>),
    AskedAgain(Arc<Question>, u32),
    Counted(Arc<Question>, YesTally),
    Settled(Arc<Question>, QuestionEnd),
    Finished(Arc<Question>, Outcome),
    /// Something that the owner should know, for people.
    Notice(Arc<str>),
}

/// The watchers on the control socket and the admin pages.
#[derive(Default)]
pub(crate) struct LocalChannel {
    watchers: RefCell<Vec<Sender<WatchEvent>>>,
}

impl LocalChannel {
    /// Adds a watcher, which hears what happens from now on. Dropping the receiver ends it.
    pub(crate) fn watch(&self) -> Receiver<WatchEvent> {
        let (sender, receiver) = bounded(BACKLOG);
        self.watchers.borrow_mut().push(sender);
        receiver
    }

    fn tell(&self, event: &WatchEvent) {
        self.watchers.borrow_mut().retain(|w| w.try_send(event.clone()).is_ok());
    }
}

impl Channel for LocalChannel {
    fn name(&self) -> &str {
        "local"
    }

    fn asked(&self, question: &Arc<Question>) {
        self.tell(&WatchEvent::Asked(question.clone()));
    }

    fn edited(&self, question: &Arc<Question>) {
        self.tell(&WatchEvent::Edited(question.clone()));
    }

    fn settled(&self, question: &Arc<Question>, end: &QuestionEnd) {
        self.tell(&WatchEvent::Settled(question.clone(), end.clone()));
    }

    fn counted(&self, question: &Arc<Question>, tally: &YesTally) {
        self.tell(&WatchEvent::Counted(question.clone(), tally.clone()));
    }

    fn asked_again(&self, question: &Arc<Question>, times: u32) {
        self.tell(&WatchEvent::AskedAgain(question.clone(), times));
    }

    fn finished(&self, question: &Arc<Question>, outcome: &Outcome) {
        self.tell(&WatchEvent::Finished(question.clone(), outcome.clone()));
    }

    fn notice(&self, text: &str) {
        self.tell(&WatchEvent::Notice(text.into()));
    }

    fn health(&self) -> ChannelHealth {
        let watching = self.watchers.borrow().iter().filter(|w| !w.is_closed()).count();
        let detail = format!("{watching} watching");
        ChannelHealth { kind: "local", pushes: false, up: true, since: None, waiting: 0, detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::text::tests::question;

    #[test]
    fn a_watcher_that_does_not_read_is_dropped_and_others_hear_everything() {
        let local = LocalChannel::default();
        let (idle, awake) = (local.watch(), local.watch());
        let q = question("{}");
        for _ in 0..BACKLOG + 1 {
            local.asked(&q);
            assert!(awake.try_recv().is_ok());
        }
        assert!(idle.sender_count() == 0 && awake.sender_count() == 1);
        assert_eq!(local.health().detail, "1 watching");
    }
}
