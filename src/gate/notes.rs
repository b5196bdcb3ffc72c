//! The reason for a denial, given after it: people tap "Deny with a reason" first and say why then. A plain Deny opens
//! no window.
//!
//! The denial is on disk before the window opens and nothing in here can undo it. The agent's answer is held back
//! while the window is open. If the gateway stops meanwhile, the denial stands without a note and waits in the inbox.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smol::channel::{Receiver, Sender, bounded};
use smol::{Timer, future};

use super::Gate;
use super::pipeline::durable;
use crate::base::clock::Deadline;
use crate::base::ids::RequestId;
use crate::model::{Question, Responder};
use crate::store::StoreError;

/// The longest note, in characters; a longer one is cut with a visible mark.
pub(crate) const MAX_NOTE: usize = 500;

/// The time in which a note may come.
pub(super) struct Window {
    until: Deadline,
    durable: bool,
    heard: Receiver<Heard>,
    /// None when somebody's note (or "no reason") is being written down.
    tell: Option<Sender<Heard>>,
}

/// A note and who wrote it, or that there is none.
type Heard = Option<(String, Responder)>;

impl Gate {
    /// Opens the window of a question that has just been denied and left the desk, at most until its deadline.
    pub(super) fn open_window(&self, question: &Question, deadline: Option<Deadline>) {
        let now = self.clock.now();
        let time = deadline.map(|d| d.left(now)).unwrap_or_default().min(self.setup().note_window);
        if time.is_zero() {
            return;
        }
        let (tell, heard) = bounded(1);
        let (until, durable) = (Deadline::new(now.plus(time), now), durable(&question.call));
        self.windows.borrow_mut().insert(question.id, Window { until, durable, heard, tell: Some(tell) });
    }

    /// How long a note to this denial is still taken; zero when it is not.
    pub fn note_window(&self, id: RequestId) -> Duration {
        let windows = self.windows.borrow();
        let open = windows.get(&id).filter(|w| w.tell.is_some());
        open.map(|w| w.until.left(self.clock.now())).unwrap_or_default()
    }

    /// The reason for a denial, or None: there will be none. Either ends the window. False: the window is not open
    /// (any more), or somebody was first.
    ///
    /// # Errors
    /// When the note cannot be written down. The denial stands without it.
    pub async fn add_note(
        self: &Rc<Self>,
        id: RequestId,
        note: Option<String>,
        by: Responder,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let taken = self.windows.borrow_mut().get_mut(&id).and_then(|window| {
            let tell = window.tell.take_if(|_| !window.until.is_over(now))?;
            Some((tell, window.durable))
        });
        let Some((tell, durable)) = taken else { return Ok(false) };
        let Some(note) = note.and_then(|text| bounded_note(&text)) else {
            let _ = tell.try_send(None);
            return Ok(true);
        };
        let gate = self.clone();
        let write = async move {
            let written = gate.store.add_note(id, note.clone(), by.clone(), now, durable).await;
            if let Err(e) = &written {
                log::error!("request {id}: the note could not be recorded: {e}");
            }
            let _ = tell.try_send(matches!(written, Ok(true)).then_some((note, by)));
            written
        };
        self.owned(write).await.unwrap_or(Ok(false))
    }

    /// Waits for the note to a denial while its window is open, then tells the channels.
    pub(super) async fn note_after(&self, question: &Arc<Question>) -> Option<String> {
        let (until, heard) = self.windows.borrow().get(&question.id).map(|w| (w.until, w.heard.clone()))?;
        let note = self.note_until(question.id, until, &heard).await;
        self.windows.borrow_mut().remove(&question.id);
        let shown = note.as_ref().map(|(text, by)| (text.as_str(), by));
        self.channels.tell(|channel| channel.notes().into_iter().for_each(|it| it.noted(question, shown)));
        note.map(|(text, _)| text)
    }

    async fn note_until(&self, id: RequestId, until: Deadline, heard: &Receiver<Heard>) -> Heard {
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
        let nobody = self.windows.borrow_mut().get_mut(&id).and_then(|w| w.tell.take()).is_some();
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
