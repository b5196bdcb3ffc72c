//! The events of grants: given, ended, and what a start makes of them.

use serde_json::json;

use super::entry::KeptGrant;
use super::error::StoreError;
use super::tx::Tx;
use super::{grants, kind};
use crate::base::clock::{Timestamp, Uptime, boot_id};
use crate::base::ids::RequestId;
use crate::model::{Grant, GrantEnd};

/// Records a grant. Besides its end by the wall clock, the event says when it ends by this boot's own time.
pub(super) fn give(tx: &mut Tx<'_>, grant: &Grant, at: Timestamp) -> Result<(), StoreError> {
    let ends = Uptime::now().plus(grant.until.since(at));
    let body = json!({"grant": grant.to_json(), "boot": boot_id(), "ends_up": ends.0});
    tx.append(at, kind::GRANTED, None, &body)?;
    Ok(())
}

/// Records that these grants let nothing through any more.
pub(super) fn end(
    tx: &mut Tx<'_>,
    ids: &[RequestId],
    end: &GrantEnd,
    at: Timestamp,
) -> Result<(), StoreError> {
    for id in ids {
        let by = end.by().map(|by| by.as_str());
        let body = json!({"grant_id": id.to_string(), "why": end.as_str(), "by": by});
        tx.append(at, kind::GRANT_ENDED, None, &body)?;
    }
    Ok(())
}

/// What there is at a start. `proven` is what events tell; whatever the table says besides has ended, and all has where
/// events may be missing: nobody knows how often it was used.
pub(super) fn take_up(
    tx: &mut Tx<'_>,
    mut proven: Vec<KeptGrant>,
    doubted: bool,
    now: Timestamp,
) -> Result<Vec<KeptGrant>, StoreError> {
    if doubted {
        proven.clear();
    }
    let lasting: Vec<String> = proven.iter().map(|kept| kept.grant.id.to_string()).collect();
    for id in grants::unended(tx.db)?.iter().filter(|id| !lasting.contains(id)) {
        match RequestId::parse(id) {
            Some(id) => end(tx, &[id], &GrantEnd::Doubted, now)?,
            None => drop(tx.execute("DELETE FROM grants WHERE grant_id = ?", [id])?),
        }
    }
    Ok(proven)
}
