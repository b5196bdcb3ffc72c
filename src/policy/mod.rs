//! Rank 2: the decision on a call, as a pure function of the call, the owner's rules and the facts that the gate gives.
//!
//! Deny beats allow beats ask among `rules`, wherever they stand; then the first match among `defaults`; then
//! ask. `rules` finds that out; `compose` puts it together with the [`Facts`].
//!
//! Nothing here waits, reads a clock or a file, logs, or changes anything: the gate acts on a verdict, this only
//! gives it. The agent controls every value that is matched here; the cost stays linear in the rules and in the
//! length of the call.

mod compose;
mod counters;
mod flows;
mod index;
mod rules;
#[cfg(test)]
mod tests;
mod texts;

pub use compose::{Facts, Policy};
pub use counters::{Counters, NothingCounted};
