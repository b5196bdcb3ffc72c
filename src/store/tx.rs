//! What a job works with: the open transaction and what the memory says in it.

use rusqlite::Connection;
use serde_json::Value;

use super::chain::Chain;
use super::entry::StoreOptions;
use super::error::StoreError;
use super::fold::Tables;
use super::live::Live;
use super::received::Received;
use super::shares::Shares;
use crate::base::clock::Timestamp;
use crate::base::ids::RequestId;

pub(super) struct Tx<'a> {
    pub(super) db: &'a Connection,
    pub(super) chain: &'a mut Chain,
    pub(super) live: &'a mut Live,
    pub(super) options: &'a StoreOptions,
    /// The tables that follow the events; see `folding`.
    pub(super) tables: &'a mut Tables,
    /// What each agent has in the inbox, as of this transaction.
    pub(super) shares: &'a mut Shares,
    /// Results that have arrived.
    pub(super) received: &'a Received,
    /// Set to have the write-ahead log emptied after this batch.
    pub(super) checkpoint: bool,
}

impl Tx<'_> {
    pub(super) fn append(
        &mut self,
        at: Timestamp,
        kind: &str,
        id: Option<RequestId>,
        body: &Value,
    ) -> Result<i64, StoreError> {
        let event = self.chain.append(self.db, at, kind, id, body)?;
        let seq = event.seq;
        self.tables.keep(event, body);
        Ok(seq)
    }

    pub(super) fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize, StoreError> {
        Ok(self.db.prepare_cached(sql)?.execute(values)?)
    }
}
