//! The handle's part in changed calls.

use super::entry::EditedCall;
use super::error::StoreError;
use super::handle::Store;
use super::ledger;
use crate::base::clock::Timestamp;
use crate::base::ids::RequestId;

impl Store {
    /// Lets an open question be about a changed call, which alone can be claimed from then on. False: it is not open any
    /// more.
    ///
    /// # Errors
    /// When nothing could be written; the question is about the same call as before.
    pub(crate) async fn edit(
        &self,
        id: RequestId,
        edited: EditedCall,
        at: Timestamp,
        durable: bool,
    ) -> Result<bool, StoreError> {
        self.submit(durable, move |tx| ledger::edit(tx, id, &edited, at)).await
    }
}
