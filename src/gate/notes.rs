//! The reason for a denial, given after it: people tap "Deny with a reason" first and say why then. A plain Deny opens
//! no window.
//!
//! The denial is on disk before the window opens and nothing in here can undo it. The agent's answer is held back
//! while the window is open. If the gateway stops meanwhile, the denial stands without a note and waits in the inbox.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use smol::channel::{Receiver, Sender, bounded};
use smol::{Timer, future};

use super::Executor;
use super::recording::see_through;
use crate::base::clock::{Clock, Deadline};
use crate::base::ids::RequestId;
use crate::model::Responder;
use crate::store::{Store, StoreError};

/// The longest note, in characters; a longer one is cut with a visible mark.
pub(crate) use crate::model::MAX_NOTE;

/// The denials whose note may still come.
pub(super) struct NoteWindows {
    executor: Executor,
    clock: Clock,
    store: Store,
    open: RefCell<HashMap<RequestId, Window>>,
}

/// The time in which a note may come.
struct Window {
    until: Deadline,
    durable: bool,
    heard: Receiver<Note>,
    /// None when somebody's note (or "no reason") is being written down.
    tell: Option<Sender<Note>>,
}

/// A note and who wrote it, or that there is none.
pub(super) type Note = Option<(String, Responder)>;

impl NoteWindows {
    pub(super) fn new(executor: Executor, clock: Clock, store: Store) -> NoteWindows {
        NoteWindows { executor, clock, store, open: RefCell::default() }
    }

    /// Opens the window of a question that has just been denied. `durable`: whether the note waits for the disk.
    pub(super) fn open(&self, id: RequestId, time: Duration, durable: bool) {
        if time.is_zero() {
            return;
        }
        let (now, (tell, heard)) = (self.clock.now(), bounded(1));
        let window = Window { until: Deadline::new(now.plus(time), now), durable, heard, tell: Some(tell) };
        self.open.borrow_mut().insert(id, window);
    }

    /// How long a note to this denial is still taken; zero when it is not.
    pub(super) fn time_left(&self, id: RequestId) -> Duration {
        let windows = self.open.borrow();
        let open = windows.get(&id).filter(|w| w.tell.is_some());
        open.map(|w| w.until.left(self.clock.now())).unwrap_or_default()
    }

    /// The reason for a denial, or None: there will be none. Either ends the window. False: the window is not open
    /// (any more), or somebody was first.
    ///
    /// # Errors
    /// When the note cannot be written down. The denial stands without it.
    pub(super) async fn add(
        &self,
        id: RequestId,
        note: Option<String>,
        by: Responder,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let taken = self.open.borrow_mut().get_mut(&id).and_then(|window| {
            let tell = window.tell.take_if(|_| !window.until.is_over(now))?;
            Some((tell, window.durable))
        });
        let Some((tell, durable)) = taken else { return Ok(false) };
        let Some(note) = note.and_then(|text| bounded_note(&text)) else {
            let _ = tell.try_send(None);
            return Ok(true);
        };
        let store = self.store.clone();
        let write = async move {
            let written = store.add_note(id, note.clone(), by.clone(), now, durable).await;
            if let Err(e) = &written {
                log::error!("request {id}: the note could not be recorded: {e}");
            }
            let _ = tell.try_send(matches!(written, Ok(true)).then_some((note, by)));
            written
        };
        see_through(&self.executor, write).await.unwrap_or(Ok(false))
    }

    /// Waits for the note to a denial until its window closes. None when it has no window.
    pub(super) async fn wait(&self, id: RequestId) -> Option<Note> {
        let (until, heard) = self.open.borrow().get(&id).map(|w| (w.until, w.heard.clone()))?;
        let note = self.until_heard(id, until, &heard).await;
        self.open.borrow_mut().remove(&id);
        Some(note)
    }

    async fn until_heard(&self, id: RequestId, until: Deadline, heard: &Receiver<Note>) -> Note {
        while !until.is_over(self.clock.now()) {
            let nap = until.nap(self.clock.now());
            let come = async { Some(heard.recv().await.ok().flatten()) };
            let napped = async {
                Timer::after(nap).await;
                None
            };
            if let Some(note) = future::or(come, napped).await {
                return note;
            }
        }
        // Nobody may begin any more; but what has begun is waited for.
        let nobody = self.open.borrow_mut().get_mut(&id).and_then(|w| w.tell.take()).is_some();
        if nobody { None } else { heard.recv().await.ok().flatten() }
    }
}

/// None when there is nothing in it.
fn bounded_note(text: &str) -> Option<String> {
    let text = text.trim();
    if text.chars().count() <= MAX_NOTE {
        return (!text.is_empty()).then(|| text.to_owned());
    }
    Some(text.chars().take(MAX_NOTE - 1).chain(['…']).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_trimmed_and_bounded() {
        assert_eq!(bounded_note(" \n"), None);
        assert_eq!(bounded_note(" not now \n").as_deref(), Some("not now"));
        let exact = "é".repeat(MAX_NOTE);
        assert_eq!(bounded_note(&exact), Some(exact.clone()));
        let cut = bounded_note(&format!("{exact}é")).unwrap();
        assert!(cut.ends_with("é…") && cut.chars().count() == MAX_NOTE);
    }
}
