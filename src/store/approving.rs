//! A yes and the claim that follows it, in one transaction.

use std::sync::Arc;

use super::claim::{self, Claim};
use super::error::StoreError;
use super::handle::Store;
use super::ledger;
use super::tx::Tx;
use crate::base::clock::Timestamp;
use crate::base::ids::RequestId;
use crate::model::{Call, Charge, QuestionEnd, Responder};

impl Store {
    /// Answers a question with yes and claims its call, as [`Store::answer`] and [`Store::claim`] would one after the other:
    /// whether it was open, and the claim.
    ///
    /// # Errors
    /// When nothing could be written; the question is as open as before.
    pub async fn approve_and_claim(
        &self,
        (id, by): (RequestId, Responder),
        call: Arc<Call>,
        charges: Vec<Charge>,
        at: Timestamp,
        durable: bool,
    ) -> Result<(bool, Option<Claim>), StoreError> {
        let end = QuestionEnd::Approved { by };
        let work = move |tx: &mut Tx<'_>| match ledger::answer(tx, id, &end, None, at)? {
            true => Ok((true, claim::approved(tx, id, &call, &charges, at)?)),
            false => Ok((false, None)),
        };
        let written = self.submit(durable, work).await?;
        self.remember_durable(id, durable && written.1.is_some());
        Ok(written)
    }
}
