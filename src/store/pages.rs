//! Results in pages that their agent can take: common WebSocket clients close the connection at a message of a mebibyte,
//! and what they cannot take would stand before everything behind it for as long as results are kept.

use std::collections::HashSet;

use rusqlite::{Row, params};

use super::chain::parse_id;
use super::codec;
use super::entry::WaitingResult;
use super::error::StoreError;
use super::folding;
use super::handle::Store;
use super::inbox;
use super::proof::asked_by;
use super::tx::Tx;
use crate::base::clock::Timestamp;
use crate::base::ids::RequestId;
use crate::base::json::text_length;
use crate::model::{AgentId, Outcome};

/// Bytes of a page as it is sent, with its frame and all escapes.
const PAGE: usize = 900_000;

/// Which results are wanted.
struct Wanted {
    /// None: any.
    only: Option<RequestId>,
    but: HashSet<RequestId>,
    limit: usize,
}

/// Bytes of the frame around the results; its id is a string of 256 bytes at most, each of which may take six.
const FRAME: usize = 2048;

/// Bytes of a result beside its texts: names, id and times.
const ENTRY: usize = 320;

impl Store {
    /// The oldest results that this agent has not received, without those in `but`: at most `limit`, and no more than
    /// make a message of 900,000 bytes. One that does not fit into such a message comes without its data.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn pending_results(
        &self,
        agent: &AgentId,
        but: HashSet<RequestId>,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<WaitingResult>, StoreError> {
        let (agent, wanted) = (agent.clone(), Wanted { only: None, but, limit });
        // On a full disk, what is there already is handed over, and what cannot be folded later.
        let _ = self.submit(false, folding::fold).await;
        self.submit(false, move |tx| next(tx, &agent, &wanted, now)).await
    }

    /// The result of this request, also one that this agent has received, as long as it is kept for its key: who asks for it by
    /// name may be another program than the one that received it. A permit is handed out once.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub(crate) async fn pending_result(
        &self,
        agent: &AgentId,
        id: RequestId,
        now: Timestamp,
    ) -> Result<Option<WaitingResult>, StoreError> {
        let wanted = Wanted { only: Some(id), but: HashSet::new(), limit: 1 };
        let agent = agent.clone();
        let _ = self.submit(false, folding::fold).await;
        let found = self.submit(false, move |tx| next(tx, &agent, &wanted, now)).await?;
        Ok(found.into_iter().next())
    }
}

/// This agent's results, oldest first: at most `limit`, and as many as fit into a page.
fn next(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<Vec<WaitingResult>, StoreError> {
    let sql = "SELECT e.request_id, e.body ->> '$.tool', e.body -> '$.args', e.body ->> '$.signature',
               r.outcome, r.data, r.created, r.expires, r.seq, c.finished_seq, e.body ->> '$.session'
               FROM results r JOIN events e ON e.seq = r.seq LEFT JOIN calls c ON c.seq = r.seq
               WHERE r.agent = ?1 AND r.expires > ?2
               AND (r.received = 0 OR (?3 IS NOT NULL AND c.outcome IS NOT 'permitted'))
               AND (?3 IS NULL OR r.seq = (SELECT seq FROM calls WHERE request_id = ?3)) ORDER BY r.seq";
    let db = tx.db;
    let behind = tx.tables.folded(db)? < tx.chain.head.seq;
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![agent.as_str(), now.0, wanted.only.map(|id| id.to_string())])?;
    let (mut results, mut size, mut forged) = (Vec::new(), FRAME, Vec::new());
    while results.len() < wanted.limit
        && let Some(row) = rows.next()?
    {
        let (id, seq) = (parse_id(&row.get::<_, String>(0)?)?, row.get(8)?);
        let end_not_folded = behind && row.get::<_, Option<i64>>(9)?.is_none();
        if wanted.but.contains(&id) || end_not_folded {
            continue;
        }
        let asked = asked_by(db, &tx.chain.key, seq, agent.as_str())?;
        let own = asked.is_some_and(|event| event.request_id == Some(id.to_string()));
        let (outcome, data): (String, Option<String>) = (row.get(4)?, row.get(5)?);
        let true_to_its_end = own && inbox::may_go_out(tx, id, row.get(9)?, (&outcome, data.as_deref()))?;
        if !true_to_its_end {
            forged.push((id, seq));
        }
        let result = match (own, true_to_its_end) {
            (true, true) => that_fits(tx, row, &outcome, data)?,
            (true, false) => that_fits(tx, row, &codec::encode(&Outcome::UnknownResult)?.outcome, None)?,
            (false, _) => continue,
        };
        size += sent(&result);
        if size > PAGE && !results.is_empty() {
            break;
        }
        results.push(result);
    }
    drop(rows);
    drop(statement);
    forged.into_iter().try_for_each(|(id, seq)| inbox::withhold(tx, id, seq, now))?;
    Ok(results)
}

/// Bytes that a result takes in a page.
fn sent(result: &WaitingResult) -> usize {
    let texts = [&result.tool_name, &result.args, &result.signature, &result.result];
    texts.into_iter().map(|text| text_length(text)).sum::<usize>() + ENTRY
}

/// A result as it is handed over. One that would fill more than a page loses long arguments, which its agent knows,
/// and, if that is not enough, its data.
fn that_fits(
    tx: &Tx<'_>,
    row: &Row<'_>,
    outcome: &str,
    data: Option<String>,
) -> Result<WaitingResult, StoreError> {
    let mut result = WaitingResult {
        request_id: parse_id(&row.get::<_, String>(0)?)?,
        tool_name: row.get(1)?,
        session: row.get(10)?,
        executed: data.is_some(),
        args: row.get(2)?,
        signature: row.get(3)?,
        result: codec::result_text(outcome, data.as_deref())?,
        created_at: Timestamp(row.get(6)?),
        expires_at: Timestamp(row.get(7)?),
    };
    let too_large = |result: &WaitingResult| FRAME + sent(result) > PAGE;
    if too_large(&result) {
        result.args = codec::short_args(&result.args);
    }
    if let Some(data) = data.filter(|_| too_large(&result)) {
        result.result = codec::not_handed_over(result.request_id, data.len());
        // It stays for its owner to read after its agent has received the note.
        let sql = "UPDATE results SET keyed = 1 WHERE seq = ? AND keyed = 0";
        tx.db.prepare_cached(sql)?.execute([row.get::<_, i64>(8)?])?;
    }
    Ok(result)
}
