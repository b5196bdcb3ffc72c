//! The record of questions that several people must say yes to.

use super::entry::Yes;
use super::error::StoreError;
use super::handle::Store;
use super::ledger;
use super::tx::Tx;
use crate::base::clock::Timestamp;
use crate::base::ids::RequestId;
use crate::model::Responder;

impl Store {
    /// Records that one of several people has said yes. False: the question was not open any more.
    ///
    /// # Errors
    /// When nothing could be written; then it does not count.
    pub async fn count(
        &self,
        id: RequestId,
        yes: Yes,
        at: Timestamp,
        durable: bool,
    ) -> Result<bool, StoreError> {
        self.submit(durable, move |tx: &mut Tx<'_>| ledger::count(tx, id, &yes, at)).await
    }

    /// Denies a call that several people have approved, and ends it with that. False: it was claimed, or has ended.
    ///
    /// # Errors
    /// When nothing could be written; then it is as approved as before.
    pub(crate) async fn overrule(
        &self,
        id: RequestId,
        by: Responder,
        note: Option<String>,
        at: Timestamp,
        durable: bool,
    ) -> Result<bool, StoreError> {
        let overruled = self
            .submit(durable, move |tx: &mut Tx<'_>| ledger::overrule(tx, id, &by, note.clone(), at))
            .await?;
        if overruled {
            self.durable.borrow_mut().remove(&id);
        }
        Ok(overruled)
    }
}
