//! One value from another thread. A channel would wake its receiver while it still holds the lock that the receiver
//! takes next: one more switch of threads for each answer.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The end that gives the value.
pub(crate) struct Replier<T>(Arc<Mutex<Slot<T>>>);

/// The end that waits for it; None when it never comes.
pub(crate) struct Reply<T>(Arc<Mutex<Slot<T>>>);

struct Slot<T> {
    value: Option<T>,
    waiter: Option<Waker>,
    /// Nobody can give it any more.
    over: bool,
}

pub(crate) fn reply<T>() -> (Replier<T>, Reply<T>) {
    let slot = Arc::new(Mutex::new(Slot { value: None, waiter: None, over: false }));
    (Replier(slot.clone()), Reply(slot))
}

fn lock<T>(slot: &Mutex<Slot<T>>) -> MutexGuard<'_, Slot<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Replier<T> {
    /// Nobody may wait any more: then the value is dropped.
    pub(crate) fn send(self, value: T) {
        lock(&self.0).value = Some(value);
    }
}

impl<T> Drop for Replier<T> {
    fn drop(&mut self) {
        let waiter = {
            let mut slot = lock(&self.0);
            slot.over = true;
            slot.waiter.take()
        };
        // Not under the lock.
        waiter.into_iter().for_each(Waker::wake);
    }
}

impl<T> Future for Reply<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut slot = lock(&self.0);
        if slot.over {
            return Poll::Ready(slot.value.take());
        }
        slot.waiter = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_once_or_never() {
        let (replier, answer) = reply();
        let thread = std::thread::spawn(move || replier.send(7));
        assert_eq!(smol::block_on(answer), Some(7));
        thread.join().unwrap();
        let (replier, answer) = reply::<()>();
        let thread = std::thread::spawn(move || drop(replier));
        assert_eq!(smol::block_on(answer), None);
        thread.join().unwrap();
    }
}
