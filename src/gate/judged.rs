//! A verdict and the rules that it was made under.

use std::ptr;
use std::rc::{Rc, Weak};

use super::setup::Setup;
use super::state::Gate;
use crate::model::{Action, Call, Verdict};

/// What the policy said to a call under one setup.
pub(super) struct Judged {
    pub verdict: Verdict,
    /// Weak, because credentials of an old setup must not stay in memory for as long as a question is open.
    setup: Weak<Setup>,
}

impl Judged {
    pub(super) fn new(gate: &Gate, call: &Call, setup: &Rc<Setup>) -> Judged {
        let verdict = setup.policy.judge(call, &gate.facts(setup, call));
        Judged { verdict, setup: Rc::downgrade(setup) }
    }

    /// Nobody was asked about an allowed call, so under another setup it is judged anew.
    ///
    /// # Errors
    /// The new judgement, when it does not allow the call.
    pub(super) fn still_allows(&mut self, gate: &Gate, call: &Call, setup: &Rc<Setup>) -> Result<(), Judged> {
        if !ptr::eq(Rc::as_ptr(setup), self.setup.as_ptr()) {
            let anew = Judged::new(gate, call, setup);
            if anew.verdict.decision != Action::Allow {
                return Err(anew);
            }
            *self = anew;
        }
        Ok(())
    }
}
