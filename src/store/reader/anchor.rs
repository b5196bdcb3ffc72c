//! A place in the record that its owner has written down elsewhere: on another machine, in a chat, on paper. Whoever
//! puts back an older copy of the database and of its exported head cannot put that back.

use std::fmt;

use super::connection::Reader;
use super::fault::{Anchored, FaultKind};
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::store::chain::{self, ChainEvent, ChainLink, Seal};
use crate::store::error::StoreError;
use crate::store::proof::proven;

/// How the line begins.
const NAME: &str = "agentpass-anchor";

/// One event: its number, its hash (which covers all events before it) and its time. It holds no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The event's number.
    pub seq: i64,
    pub hash: Digest,
    pub at: Timestamp,
}

impl Anchor {
    /// Reads what [`fmt::Display`] writes, whatever spaces and line ends a chat has made of it.
    pub fn parse(line: &str) -> Option<Anchor> {
        let mut words = line.split_whitespace();
        let (name, seq) = (words.next()?, words.next()?.parse().ok()?);
        let (hash, at) = (Digest::parse(words.next()?)?, Timestamp::parse(words.next()?)?);
        (name == NAME && words.next().is_none() && seq > 0).then_some(Anchor { seq, hash, at })
    }

    /// Compares it with the event of its number.
    pub(super) fn differs(&self, event: &ChainEvent) -> bool {
        event.hash.as_slice() != self.hash.0.as_slice() || event.at != self.at.0
    }

    /// Compares it with the ends of a record that has no event of its number.
    pub(super) fn outside(&self, start: ChainLink, end: ChainLink) -> Result<Anchored, FaultKind> {
        match self.seq {
            seq if seq == start.seq && self.hash != start.hash => Err(FaultKind::ForeignAnchor),
            seq if seq == start.seq => Ok(Anchored::Confirmed),
            seq if seq < start.seq => Ok(Anchored::Dropped),
            seq => Err(FaultKind::EndsBeforeAnchor { anchor: seq, end: end.seq }),
        }
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Anchor { seq, hash, at } = self;
        write!(f, "{NAME} {seq} {} {at}", hash.hex())
    }
}

impl Reader {
    /// The newest event that is certainly on the disk: the exported head, at most some seconds old.
    ///
    /// # Errors
    /// [`StoreError::Forged`] when the head, or the event, is not what the key vouches for; when the database or the
    /// key cannot be read.
    pub fn anchor(&mut self) -> Result<Anchor, StoreError> {
        let sealed = chain::exported_head(&self.path);
        let key = self
            .key
            .clone()
            .ok_or_else(|| StoreError::KeyMissing(super::connection::key_path(&self.path)))?;
        let tx = self.snapshot()?;
        let forged = |what: &str| StoreError::Forged(what.to_owned());
        let head = sealed.as_ref().and_then(|sealed| key.unseal(Seal::Head, sealed));
        let head = head.ok_or_else(|| forged("its exported head is missing or not sealed by its key"))?;
        let event = proven(&tx, &key, head.seq)?.filter(|event| event.hash.as_slice() == head.hash.0);
        let event =
            event.ok_or_else(|| forged("it does not hold the event that was exported as its head"))?;
        Ok(Anchor { seq: head.seq, hash: head.hash, at: Timestamp(event.at) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back_as_chats_leave_it() {
        let anchor = Anchor { seq: 17, hash: Digest::sha256(b"x"), at: Timestamp(1_700_000_000_001) };
        let line = anchor.to_string();
        assert_eq!(line.lines().count(), 1);
        assert_eq!(Anchor::parse(&line), Some(anchor));
        assert_eq!(
            Anchor::parse(&format!(
                "  {}\n",
                line.replace(' ', "\n ").to_uppercase().replace("AGENTPASS-ANCHOR", NAME)
            )),
            Some(anchor)
        );
        for wrong in ["", NAME, "agentpass-anchor 0 x y", &line.replace("17", "-1"), &format!("{line} x")] {
            assert_eq!(Anchor::parse(wrong), None, "{wrong}");
        }
    }
}
