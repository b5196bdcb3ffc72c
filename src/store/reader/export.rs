//! `audit export`: every chained event as one JSON line, between an anchor line (when a prefix was dropped) and a head
//! line. The event's body stands in it as text, byte for byte as it was hashed.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::connection::Reader;
use crate::base::clock::Timestamp;
use crate::base::digest::to_hex;
use crate::store::chain::{self, ChainEvent, Seal};

impl Reader {
    /// Writes the export; how many events it holds.
    ///
    /// # Errors
    /// The writer's own error as it is; a fault of the database as [`io::ErrorKind::Other`].
    pub fn export(&mut self, out: &mut dyn Write) -> io::Result<u64> {
        let key = self.key.clone();
        let tx = self.snapshot().map_err(io::Error::other)?;
        let anchor = chain::anchor(&tx).map_err(io::Error::other)?;
        let mut prev = anchor.as_ref().and_then(chain::unsealed).unwrap_or(chain::ChainLink::START);
        if let Some(anchor) = &anchor {
            write_line(out, &json!({"anchor": anchor}))?;
        }
        let mut count = 0;
        let failed = chain::find_event(&tx, "true", |event| {
            let written = write_line(out, &line(event, &prev.hash.0));
            prev = chain::link_of(event)?;
            count += 1;
            Ok(written.err())
        });
        if let Some(e) = failed.map_err(io::Error::other)? {
            return Err(e);
        }
        let plain = || json!({"seq": prev.seq, "hash": prev.hash.hex()});
        let head = key.map_or_else(plain, |key| key.seal(Seal::Head, prev));
        write_line(out, &json!({"head": head}))?;
        out.flush()?;
        Ok(count)
    }
}

fn line(event: &ChainEvent, prev: &[u8]) -> Value {
    let ChainEvent { seq, at, kind, request_id, body, hash } = event;
    json!({
        "seq": seq,
        "at": Timestamp(*at).to_string(),
        "at_ms": at,
        "kind": kind,
        "request_id": request_id,
        "body": body,
        "prev": to_hex(prev),
        "hash": to_hex(hash),
    })
}

/// One line that does nothing to a terminal: what is neither ASCII nor a letter or digit is written as `\uXXXX`.
fn write_line(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    let mut line = String::new();
    for c in value.to_string().chars() {
        if (c.is_ascii() && !c.is_ascii_control()) || (!c.is_ascii() && c.is_alphanumeric()) {
            line.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| line.push_str(&format!("\\u{unit:04x}")));
        }
    }
    writeln!(out, "{line}")
}
