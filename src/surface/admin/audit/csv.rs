//! `/audit/export.csv`: the chosen calls as a table, RFC 4180, piece by piece.
//!
//! It is made for spreadsheets: hidden characters are made visible, and no cell can be taken for a formula. The API and
//! `agentpass audit export` have the exact values.

use std::time::Duration;

use serde_json::Value;
use smol::channel::{Sender, bounded};
use smol::future;

use super::query::Query;
use super::readers::{Readers, RecordError};
use super::text::member;
use crate::base::safe_text::visible;
use crate::model::verdict::reasons_in_words;
use crate::net::front::WebAnswer;
use crate::store::StoreError;
use crate::store::reader::{AuditRow, Reader, RowWalk};
use crate::surface::admin::page;

const CSV: &str = "text/csv; charset=utf-8; header=present";

const COLUMNS: [&str; 28] = [
    "request_id",
    "timestamp",
    "agent_id",
    "session_id",
    "tool_name",
    "args",
    "signature",
    "reason",
    "decision",
    "resolution",
    "resolved_by",
    "resolved_at",
    "note",
    "outcome",
    "outcome_reason",
    "execution_result",
    "finished_at",
    "duration_ms",
    "edited",
    "data_lost",
    "data_note",
    "message",
    "status",
    "reasons",
    "reported_ok",
    "reported_detail",
    "counted_by",
    "grant_id",
];

/// Calls that are read at once.
const PORTION: u64 = 50;
/// Bytes after which a piece is sent. One call may be longer than a mebibyte.
const PIECE: usize = 64 * 1024;
/// Pieces that may wait to be sent.
const AHEAD: usize = 2;
/// A client that takes nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts to send the calls that `query` asks for.
pub(super) async fn export(readers: &Readers, query: Query) -> Result<WebAnswer, RecordError> {
    let filter = query.filter(readers.clock.now())?;
    let alone = readers.exports.try_acquire_arc().ok_or(RecordError::Busy)?;
    let place = readers.place().await?;
    let record = readers.record.clone();
    let begun = smol::unblock(move || {
        let mut reader = Reader::open(&record)?;
        let walk = reader.walk(&filter)?;
        Ok((reader, walk))
    });
    let (reader, walk) = begun.await.map_err(RecordError::Store)?;
    let (pieces, feed) = bounded(AHEAD);
    let work = move || {
        let _places = (alone, place);
        send(reader, walk, &pieces)
    };
    smol::unblock(work).detach();
    let name = format!(
        "attachment; filename=\"agentpass-{}.csv\"",
        readers.clock.now().to_string().get(..10).unwrap_or("calls")
    );
    let answer = WebAnswer::feed(vec![("content-type", CSV.to_owned())], feed);
    Ok(page::guarded(answer.with("content-disposition", name)))
}

/// Sends everything, on the blocking pool, unless the client goes away.
fn send(mut reader: Reader, mut walk: RowWalk, pieces: &Sender<Vec<u8>>) {
    let mut piece = line(COLUMNS.iter().map(|name| (*name).to_owned()));
    loop {
        if !piece.is_empty() && !handed_on(pieces, piece) {
            return;
        }
        piece = String::new();
        let take = |call: AuditRow| {
            piece.push_str(&row(&call));
            piece.len() >= PIECE
        };
        match walk.next(&mut reader, PORTION, take) {
            Ok(true) => {}
            Ok(false) => return,
            Err(e) => {
                handed_on(pieces, broken(&e));
                return;
            }
        }
    }
}

/// The last line of a table that is cut short, which must not look whole.
fn broken(e: &StoreError) -> String {
    log::warn!("an export ended early: {e}");
    line([format!("the export ends early: {e}")].into_iter())
}

fn handed_on(pieces: &Sender<Vec<u8>>, piece: String) -> bool {
    let sent = async { pieces.send(piece.into_bytes()).await.is_ok() };
    smol::block_on(future::or(sent, async {
        smol::Timer::after(PATIENCE).await;
        false
    }))
}

fn row(row: &AuditRow) -> String {
    let whole = row.to_json();
    let cell = |column: &&str| match *column {
        "reasons" => visible(&reasons_in_words(whole.get("reasons").unwrap_or(&Value::Null)).join("; ")),
        "counted_by" => visible(&names(whole.get("counted_by"))),
        "grant_id" => visible(&whole.get("grant").map(|grant| member(grant, "grant_id")).unwrap_or_default()),
        column => visible(&member(&whole, column)),
    };
    line(COLUMNS.iter().map(cell))
}

fn names(list: Option<&Value>) -> String {
    let names = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    names.collect::<Vec<_>>().join(", ")
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<_> = cells.map(|cell| quoted(&harmless(cell))).collect();
    format!("{}\r\n", cells.join(","))
}

/// Spreadsheets compute what begins like a formula; an apostrophe makes it text.
fn harmless(cell: String) -> String {
    let formula =
        cell.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠', '\t', '\r', '|', '%']);
    if formula { format!("'{cell}") } else { cell }
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(given: &[&str]) -> String {
        line(given.iter().map(|cell| (*cell).to_owned()))
    }

    #[test]
    fn cells_are_quoted_as_rfc_4180_says() {
        assert_eq!(
            cells(&["a", "b,c", "say \"x\"", "two\r\nlines", ""]),
            "a,\"b,c\",\"say \"\"x\"\"\",\"two\r\nlines\",\r\n"
        );
    }

    #[test]
    fn no_cell_is_a_formula() {
        for evil in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "＝1", "\r=1", "%0A", "|calc"] {
            let cell = cells(&[evil]);
            assert!(cell.trim_start_matches('"').starts_with('\''), "{evil:?} became {cell:?}");
        }
        assert_eq!(cells(&["{\"a\":1}", "light.turn_on(x)"]), "\"{\"\"a\"\":1}\",light.turn_on(x)\r\n");
    }
}
