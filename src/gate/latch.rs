//! Something that happens once, and everybody who waits for it.

use smol::lock::OnceCell;

/// A latch: closed until [`Latch::open`] is called, open for ever after. A few words of memory while nobody waits: every
/// connection has one.
#[derive(Default)]
pub(crate) struct Latch(OnceCell<()>);

impl Latch {
    /// Opens the latch and wakes all waiters.
    pub(crate) fn open(&self) {
        // The second time there is nothing to do. It never blocks: nobody fills the cell in another way.
        let _ = self.0.set_blocking(());
    }

    /// Whether it is open.
    pub(crate) fn is_open(&self) -> bool {
        self.0.is_initialized()
    }

    /// Waits until it is open.
    pub(crate) async fn wait(&self) {
        self.0.wait().await;
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
        latch.open();
        assert!(latch.is_open());
    }

    #[test]
    fn is_small() {
        assert!(size_of::<Latch>() <= 48, "{}", size_of::<Latch>());
    }
}
