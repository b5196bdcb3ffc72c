//! What waits to be sent on one connection: put in by its listeners, taken out by its own task, all on one thread.
//!
//! It has no bound of its own: whoever puts something in holds one of the connection's slots until then, nothing more is
//! read from a peer that does not take what it is sent, and each frame holds room of its agent. It must never hold
//! memory while it is empty: most connections are idle.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use smol::future;

use super::acks::ResultInTransit;
use crate::surface::agent::UnreadRoom;

pub(crate) struct Outgoing {
    pub text: String,
    /// Results that have arrived when the ping after the frame is answered.
    pub carried: Vec<ResultInTransit>,
    /// The room it takes until it is sent.
    pub room: Vec<UnreadRoom>,
}

#[derive(Default)]
pub(crate) struct Outbox {
    queue: RefCell<OutgoingQueue>,
}

#[derive(Default)]
struct OutgoingQueue {
    waiting: VecDeque<Outgoing>,
    taker: Option<Waker>,
}

impl Outbox {
    pub(crate) fn put(&self, out: Outgoing) {
        let mut queue = self.queue.borrow_mut();
        queue.waiting.push_back(out);
        if let Some(taker) = queue.taker.take() {
            taker.wake();
        }
    }

    pub(crate) fn clear(&self) {
        self.queue.borrow_mut().waiting = VecDeque::new();
    }

    /// Takes the oldest frame, or waits for one. For one task. Cancel-safe.
    pub(crate) async fn take(&self) -> Outgoing {
        future::poll_fn(|cx| self.poll_take(cx)).await
    }

    pub(crate) fn try_take(&self) -> Option<Outgoing> {
        let mut queue = self.queue.borrow_mut();
        let oldest = queue.waiting.pop_front();
        if queue.waiting.is_empty() {
            queue.waiting = VecDeque::new();
        }
        oldest
    }

    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Outgoing> {
        if let Some(oldest) = self.try_take() {
            return Poll::Ready(oldest);
        }
        let mut queue = self.queue.borrow_mut();
        match &mut queue.taker {
            Some(taker) => taker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Outgoing {
        Outgoing { text: text.into(), carried: Vec::new(), room: Vec::new() }
    }

    #[test]
    fn what_is_put_in_comes_out_in_order_and_wakes_who_waits() {
        let outbox = Outbox::default();
        let taken = async { [outbox.take().await.text, outbox.take().await.text] };
        let put = async {
            outbox.put(text("a"));
            future::yield_now().await;
            outbox.put(text("b"));
        };
        assert_eq!(smol::block_on(future::zip(taken, put)).0, ["a", "b"]);
        assert!(outbox.try_take().is_none());
    }

    #[test]
    fn empty_it_holds_no_memory() {
        let outbox = Outbox::default();
        (0..100).for_each(|_| outbox.put(text("x")));
        while outbox.try_take().is_some() {}
        assert_eq!(outbox.queue.borrow().waiting.capacity(), 0);
    }
}
