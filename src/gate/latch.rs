//! Something that happens once, and everybody who waits for it.

use std::cell::RefCell;

use smol::channel::{Receiver, Sender, bounded};

/// A latch: closed until [`Latch::open`] is called, open for ever after.
pub struct Latch {
    // Nothing is ever sent: dropping the sender wakes every receiver, however late it comes.
    sender: RefCell<Option<Sender<()>>>,
    receiver: Receiver<()>,
}

impl Default for Latch {
    fn default() -> Latch {
        let (sender, receiver) = bounded(1);
        Latch { sender: RefCell::new(Some(sender)), receiver }
    }
}

impl Latch {
    /// Opens the latch and wakes all waiters.
    pub fn open(&self) {
        drop(self.sender.borrow_mut().take());
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.sender.borrow().is_none()
    }

    /// Waits until it is open.
    pub async fn wait(&self) {
        let receiver = self.receiver.clone();
        let _ = receiver.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_those_who_wait_and_those_who_come_late() {
        let latch = Latch::default();
        assert!(!latch.is_open());
        smol::block_on(smol::future::zip(latch.wait(), async { latch.open() }));
        assert!(latch.is_open());
        smol::block_on(latch.wait());
    }
}
