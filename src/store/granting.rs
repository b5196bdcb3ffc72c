//! The gate's handle on grants.

use std::sync::Arc;

use super::error::StoreError;
use super::handle::Store;
use super::tx::Tx;
use super::{grant_events, ledger};
use crate::base::clock::Timestamp;
use crate::base::ids::RequestId;
use crate::model::{Grant, GrantEnd, QuestionEnd, Responder};

impl Store {
    /// Answers a question with a yes that grants more; both are recorded together. False: it was not open any more, and
    /// nothing is granted.
    ///
    /// # Errors
    /// When nothing could be written.
    pub async fn answer_granting(
        &self,
        id: RequestId,
        grant: Arc<Grant>,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let work = move |tx: &mut Tx<'_>| answer_granting(tx, id, &grant.by, &grant, at);
        self.submit(true, work).await
    }

    /// Records a grant that was given beforehand.
    ///
    /// # Errors
    /// When nothing could be written; then nothing is granted.
    pub async fn grant(&self, grant: Arc<Grant>, at: Timestamp) -> Result<(), StoreError> {
        self.submit(true, move |tx| grant_events::give(tx, &grant, at)).await
    }

    /// Records that these grants let nothing through any more.
    ///
    /// # Errors
    /// When nothing could be written.
    pub async fn end_grants(
        &self,
        ids: Vec<RequestId>,
        end: GrantEnd,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.submit(true, move |tx| grant_events::end(tx, &ids, &end, at)).await
    }
}

/// Answers a question with a yes that grants more, if it is still open.
fn answer_granting(
    tx: &mut Tx<'_>,
    id: RequestId,
    by: &Responder,
    grant: &Grant,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let counted = ledger::answer(tx, id, &QuestionEnd::Approved { by: by.clone() }, None, at)?;
    if counted {
        grant_events::give(tx, grant, at)?;
    }
    Ok(counted)
}
