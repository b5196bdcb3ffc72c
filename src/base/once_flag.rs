//! Something that happens once, and everybody who waits for it.

use smol::lock::OnceCell;

/// A flag that is set once and stays set. A few words of memory while nobody waits: every connection has one.
#[derive(Default)]
pub(crate) struct OnceFlag(OnceCell<()>);

impl OnceFlag {
    /// Sets it and wakes all waiters.
    pub(crate) fn set(&self) {
        // The second time there is nothing to do. It never blocks: nobody fills the cell in another way.
        let _ = self.0.set_blocking(());
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.is_initialized()
    }

    /// Waits until it is set.
    pub(crate) async fn wait(&self) {
        self.0.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_those_who_wait_and_those_who_come_late() {
        let flag = OnceFlag::default();
        assert!(!flag.is_set());
        smol::block_on(smol::future::zip(flag.wait(), async { flag.set() }));
        assert!(flag.is_set());
        smol::block_on(flag.wait());
        flag.set();
        assert!(flag.is_set());
    }

    #[test]
    fn is_small() {
        assert!(size_of::<OnceFlag>() <= 48, "{}", size_of::<OnceFlag>());
    }
}
