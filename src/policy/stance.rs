//! On which side doubt counts.

use crate::model::{Action, Rule};

/// What becomes of a call when a matcher fits it. Doubt always leads to the stricter decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stance {
    /// It is denied, asked about whatever else allows it, or counted: values are looked for everywhere, and what is unknown
    /// fits.
    Forbids,
    /// A person is asked: what is unknown fits.
    Asks,
    /// It is let through: what is unknown does not fit.
    Permits,
}

impl Stance {
    pub(super) fn of(rule: &Rule) -> Stance {
        match rule.action() {
            Action::Deny => Stance::Forbids,
            Action::Ask if rule.always => Stance::Forbids,
            Action::Ask => Stance::Asks,
            Action::Allow => Stance::Permits,
        }
    }

    pub(super) fn fits_in_doubt(self) -> bool {
        self != Stance::Permits
    }
}
