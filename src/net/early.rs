//! Messages read while a write waits, because both ends could otherwise wait for each other to read. They are kept in
//! memory, and a peer decides how many of its connections it treats that way; so all connections share a bound.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_tungstenite::tungstenite::{Error, Message};

/// What a WebSocket gives: a message, how it failed, or its end.
pub(super) type Item = Option<Result<Message, Error>>;

/// Early messages of one connection.
const MAX_MESSAGES: usize = 8;
/// Bytes that each connection may hold whatever the others do; the message that goes beyond is kept too.
const OWN_BYTES: usize = 64 * 1024;
/// Bytes that all connections may hold together.
const SHARED_BYTES: usize = 16 * 1024 * 1024;

static BYTES: AtomicUsize = AtomicUsize::new(0);

/// The early messages of one connection, the oldest first.
#[derive(Default)]
pub(super) struct Early {
    items: VecDeque<Item>,
    bytes: usize,
}

impl Early {
    /// Whether one more may be read.
    pub(super) fn has_room(&self) -> bool {
        self.items.len() < MAX_MESSAGES
            && (self.bytes < OWN_BYTES || BYTES.load(Ordering::Relaxed) < SHARED_BYTES)
    }

    pub(super) fn push(&mut self, item: Item) {
        self.bytes += size(&item);
        BYTES.fetch_add(size(&item), Ordering::Relaxed);
        self.items.push_back(item);
    }

    pub(super) fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.bytes -= size(&item);
        BYTES.fetch_sub(size(&item), Ordering::Relaxed);
        // Most connections are idle and must hold no memory for this.
        if self.items.is_empty() {
            self.items = VecDeque::new();
        }
        Some(item)
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        BYTES.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn size(item: &Item) -> usize {
    match item {
        Some(Ok(message)) => message.len(),
        Some(Err(_)) | None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Item {
        Some(Ok(Message::text("x".repeat(bytes))))
    }

    /// Alone in this test: the bound is about all connections of the process.
    #[test]
    fn each_connection_has_little_and_all_together_have_a_bound() {
        let mut crowd: Vec<Early> = (0..16).map(|_| Early::default()).collect();
        for early in &mut crowd {
            (0..2).for_each(|_| early.push(message(512 * 1024)));
        }
        assert!(!crowd[0].has_room(), "16 MiB are there");
        let mut late = Early::default();
        late.push(message(OWN_BYTES - 1));
        assert!(late.has_room());
        late.push(message(1));
        assert!(!late.has_room());
        drop(crowd.pop());
        assert!(late.has_room());
        (0..MAX_MESSAGES - 2).for_each(|_| late.push(None));
        assert!(!late.has_room(), "eight messages");
        while late.pop().is_some() {}
        drop((crowd, late));
        assert_eq!(BYTES.load(Ordering::Relaxed), 0);
    }
}
