//! Whose answers to a question count, and whether a yes is the last that it needs: by the rule as it asked and by the rule
//! as it is now, whichever is stricter.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::Setup;
use crate::approval::YesTally;
use crate::base::ids::RequestId;
use crate::base::once_flag::OnceFlag;
use crate::model::{Outcome, Question, Responder, Terms};

/// A call that several people have approved and that is not claimed.
pub(super) struct Approved {
    pub(super) question: Arc<Question>,
    /// What the agent hears when one of them says no after all.
    pub(super) overruled: Option<Outcome>,
}

/// What people have said, or changed, that does not end a question or has not ended it yet.
#[derive(Default)]
pub(super) struct Votes {
    /// The questions to which a yes that is not the last is being written down, or a change.
    pub(super) counting: RefCell<HashMap<RequestId, Rc<OnceFlag>>>,
    /// The calls that several people have approved and that are not claimed: one no still counts.
    pub(super) approved: RefCell<HashMap<RequestId, Approved>>,
    pub(super) objections: Objections,
}

/// Each no that has come and is not heard yet.
pub(super) type Objections = Rc<RefCell<Vec<(RequestId, Rc<OnceFlag>)>>>;

/// What counts for one question at this moment.
pub(super) struct Counting {
    setup: Rc<Setup>,
    terms: Terms,
}

impl Counting {
    /// `now`: on what terms the rules ask about the question's call now.
    pub(super) fn new(setup: Rc<Setup>, question: Option<&Question>, now: &Terms) -> Counting {
        let asked = question.map(|question| question.terms.clone()).unwrap_or_default();
        Counting { setup, terms: asked.and(now) }
    }

    /// Whether this one is among those whose answers count.
    pub(super) fn admits(&self, by: &Responder) -> bool {
        self.terms.admits(by, &self.setup.config.people)
    }

    pub(super) fn need(&self) -> u32 {
        self.terms.need()
    }

    /// Those of `yes` that count: a reload may have taken somebody from the people who may answer.
    pub(super) fn tally(&self, yes: &[Responder]) -> YesTally {
        let people = &self.setup.config.people;
        let counts = |by: &&Responder| self.setup.may_answer(by) && self.terms.admits(by, people);
        let yes: Vec<Responder> = yes.iter().filter(counts).cloned().collect();
        YesTally { have: self.terms.have(&yes, people), need: self.terms.need(), yes }
    }
}
