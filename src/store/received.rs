//! Results that have arrived at their agents, from when that is known until a fold has written it down. A result that has
//! arrived before the fold comes to its call is never stored at all, which is why the fold should hear of it soon.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::ids::RequestId;

/// Filled by the handles, emptied by the writer.
#[derive(Debug, Default)]
pub(super) struct Received(Mutex<Ids>);

#[derive(Debug, Default)]
struct Ids {
    waiting: HashSet<RequestId>,
    /// Those that the transaction under way writes down.
    taken: HashSet<RequestId>,
}

impl Received {
    pub(super) fn add(&self, ids: impl IntoIterator<Item = RequestId>) {
        self.lock().waiting.extend(ids);
    }

    /// All of them, for a transaction that writes them down.
    pub(super) fn take(&self) -> HashSet<RequestId> {
        let mut ids = self.lock();
        let all = std::mem::take(&mut ids.waiting);
        ids.taken.extend(&all);
        all
    }

    /// The transaction is committed.
    pub(super) fn commit(&self) {
        self.lock().taken.clear();
    }

    /// It is not: the next one tries again.
    pub(super) fn undo(&self) {
        let mut ids = self.lock();
        let back = std::mem::take(&mut ids.taken);
        ids.waiting.extend(back);
    }

    fn lock(&self) -> MutexGuard<'_, Ids> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_written_is_tried_again() {
        let (received, id) = (Received::default(), RequestId::random());
        received.add([id]);
        assert_eq!(received.take(), HashSet::from([id]));
        assert!(received.take().is_empty());
        received.undo();
        assert_eq!(received.take(), HashSet::from([id]));
        received.commit();
        received.undo();
        assert!(received.take().is_empty());
    }
}
