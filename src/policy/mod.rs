//! Rank 2: the decision on a call, as a pure function of the call, the owner's rules and the facts that the gate gives.
//!
//! Deny beats `always` ask beats allow beats ask among `rules`, wherever they stand; then the first match among
//! `defaults`; then ask. `rules` finds that out, and `subject` whether one matcher fits; `compose` puts it together with
//! the [`Facts`]. What cannot be known for certain leads to the stricter decision, everywhere.
//!
//! Nothing here waits, reads a clock or a file, logs, or changes anything: the gate acts on a verdict, this only
//! gives it. The agent controls every value that is matched here; the cost stays linear in the rules and in the
//! length of the call.

mod compose;
mod conditions;
mod counters;
mod facts;
mod flows;
mod grants;
mod index;
mod limits;
mod rules;
mod stance;
mod subject;
#[cfg(test)]
mod tests;
mod texts;

pub(crate) use compose::may_fit;
pub use compose::{Policy, PolicyParts};
pub use counters::{Counters, NothingCounted};
pub use facts::Facts;
pub use grants::{Grants, NothingGranted};
pub(crate) use limits::LimitLook;
