//! What became of a person's answer.

use crate::base::ids::RequestId;
use crate::model::{AnswerOutcome, QuestionEnd};
use crate::store::StoreError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The question, when there was one.
    pub id: Option<RequestId>,
    /// Whether the answer counts.
    pub outcome: AnswerOutcome,
    /// How the question ended, when that was before this answer.
    pub ended: Option<QuestionEnd>,
}

/// Why an answer was not taken at all. The question is as open as before.
#[derive(Debug)]
pub enum CannotAnswer {
    /// The shortened id fits several questions.
    Several,
    /// The record cannot be written.
    Store(StoreError),
}
