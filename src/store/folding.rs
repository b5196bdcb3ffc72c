//! Tables follow the events: in a transaction of their own now and then, and before somebody looks at them.

use std::collections::HashSet;

use super::error::StoreError;
use super::fold::EventResult;
use super::inbox;
use super::tx::Tx;
use crate::base::ids::RequestId;
use crate::model::AgentId;

/// Events folded between two looks at whether there are more.
const PART: i64 = 4096;

/// The same at a start, when there may be very many: each part writes most pages of a large table anew.
const LARGE_PART: i64 = 8 * PART;

/// Brings the tables up to the newest event. Whoever reads them does this first.
pub(super) fn fold(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    fold_but(tx, &mut HashSet::new())
}

/// The same, and writes down which results have arrived. One that is not stored yet never is.
pub(super) fn fold_received(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let mut received = tx.received.take();
    fold_but(tx, &mut received)?;
    inbox::received(tx, &received)
}

/// Folds all, but for what is `received`; what remains of that is stored already.
fn fold_but(tx: &mut Tx<'_>, received: &mut HashSet<RequestId>) -> Result<(), StoreError> {
    let mut from = tx.tables.folded(tx.db)?;
    // Somebody else may have cut events off: there is nothing to wait for then.
    while from < tx.chain.head.seq {
        let through = part(tx, PART, received)?;
        if through == from {
            break;
        }
        from = through;
    }
    Ok(())
}

/// Folds the next events, a bounded number of them; whether there may be more.
pub(super) fn fold_some(tx: &mut Tx<'_>) -> Result<bool, StoreError> {
    let from = tx.tables.folded(tx.db)?;
    let through = part(tx, LARGE_PART, &mut HashSet::new())?;
    Ok(through > from && through < tx.chain.head.seq)
}

/// Folds some events. Gives the number through which all are folded.
fn part(tx: &mut Tx<'_>, most: i64, received: &mut HashSet<RequestId>) -> Result<i64, StoreError> {
    let (through, results) = tx.tables.fold(tx.db, most)?;
    for result in results {
        let EventResult { seq, id, agent, at, keyed, told } = result;
        if !keyed && received.remove(&id) {
            continue;
        }
        if let Some(stored) = told.proven() {
            let agent = AgentId::configured(&agent);
            inbox::keep_result(tx, &inbox::Kept { seq, agent: &agent, at, keyed }, &stored)?;
        }
    }
    Ok(through)
}
