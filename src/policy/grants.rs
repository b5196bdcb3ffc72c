//! What a grant is asked of by the policy.

use std::fmt;

use crate::base::clock::Timestamp;
use crate::model::{AskedCall, GrantUse};

/// What people have said yes to before.
pub trait Grants: fmt::Debug {
    /// A grant that lasts at `now` and covers a call which rules ask about.
    fn covering(&self, asked: &AskedCall<'_>, now: Timestamp) -> Option<GrantUse>;
}

/// Nobody has granted anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct NothingGranted;

impl Grants for NothingGranted {
    fn covering(&self, _: &AskedCall<'_>, _: Timestamp) -> Option<GrantUse> {
        None
    }
}
