//! So many at once and no more: a count that whoever is counted gives back by going away.

use std::cell::Cell;
use std::rc::Rc;

/// How many places are taken.
#[derive(Clone, Default)]
pub(crate) struct Places(Rc<Cell<usize>>);

/// One of them, for as long as it lives.
pub(crate) struct Place(Places);

impl Places {
    /// A place, unless `most` are taken.
    pub(crate) fn take(&self, most: usize) -> Option<Place> {
        let taken = self.0.get();
        (taken < most).then(|| {
            self.0.set(taken + 1);
            Place(self.clone())
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Place(Places(taken)) = self;
        taken.set(taken.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_holder_goes() {
        let places = Places::default();
        let (one, two) = (places.take(2), places.take(2));
        assert!(two.is_some() && places.take(2).is_none());
        drop(one);
        assert!(places.take(2).is_some());
    }
}
