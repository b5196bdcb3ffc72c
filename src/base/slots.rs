//! Counters with a limit: a taken slot counts until it is dropped. For one thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

/// A counter with a limit; dropping a slot releases it. Clones share the count.
#[derive(Clone, Default)]
pub(crate) struct Slots(Rc<Cell<usize>>);

/// Counted in its [`Slots`] until it is dropped.
pub(crate) struct Slot(Rc<Cell<usize>>);

impl Slots {
    /// Takes a slot, unless `limit` are taken.
    pub(crate) fn take(&self, limit: usize) -> Option<Slot> {
        (self.taken() < limit).then(|| self.count())
    }

    /// Takes a slot whatever the count.
    pub(crate) fn count(&self) -> Slot {
        self.0.set(self.taken() + 1);
        Slot(self.0.clone())
    }

    pub(crate) fn taken(&self) -> usize {
        self.0.get()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// [`Slots`] for each key. Only keys with taken slots use memory. Clones share the counts.
#[derive(Clone)]
pub(crate) struct KeyedSlots<K>(Rc<RefCell<HashMap<K, usize>>>);

/// Counted in its [`KeyedSlots`] until it is dropped.
pub(crate) struct KeyedSlot<K: Hash + Eq> {
    slots: KeyedSlots<K>,
    key: K,
}

impl<K> Default for KeyedSlots<K> {
    fn default() -> KeyedSlots<K> {
        KeyedSlots(Rc::default())
    }
}

impl<K: Hash + Eq + Clone> KeyedSlots<K> {
    /// Takes a slot of `key`, unless `limit` are taken.
    pub(crate) fn take(&self, key: &K, limit: usize) -> Option<KeyedSlot<K>> {
        (self.taken(key) < limit).then(|| self.count(key))
    }

    /// Takes a slot of `key` whatever the count.
    pub(crate) fn count(&self, key: &K) -> KeyedSlot<K> {
        *self.0.borrow_mut().entry(key.clone()).or_default() += 1;
        KeyedSlot { slots: self.clone(), key: key.clone() }
    }

    pub(crate) fn taken(&self, key: &K) -> usize {
        self.0.borrow().get(key).copied().unwrap_or_default()
    }

    pub(crate) fn keys(&self) -> Vec<K> {
        self.0.borrow().keys().cloned().collect()
    }

    pub(crate) fn all_taken(&self) -> usize {
        self.0.borrow().values().sum()
    }
}

impl<K: Hash + Eq> KeyedSlot<K> {
    pub(crate) fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Hash + Eq> Drop for KeyedSlot<K> {
    fn drop(&mut self) {
        let mut counts = self.slots.0.borrow_mut();
        if let Some(count) = counts.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_slot_is_free_again() {
        let slots = Slots::default();
        let (one, two) = (slots.take(2), slots.clone().take(2));
        assert!(two.is_some() && slots.take(2).is_none());
        let over = slots.count();
        assert_eq!(slots.taken(), 3);
        drop(over);
        drop(one);
        assert!(slots.take(2).is_some());
    }

    #[test]
    fn keys_are_counted_apart_and_forgotten_without_slots() {
        let slots = KeyedSlots::default();
        let held = slots.take(&"a", 1);
        assert!(slots.take(&"a", 1).is_none() && slots.take(&"b", 1).is_some());
        let (one, two) = (slots.count(&"a"), slots.count(&"b"));
        assert_eq!((slots.taken(&"a"), slots.all_taken(), *one.key()), (2, 3, "a"));
        drop((held, one, two));
        assert!(slots.0.borrow().is_empty());
    }
}
