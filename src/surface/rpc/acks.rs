//! Acknowledgements: which results a peer has provably received.
//!
//! A ping follows results; its pong proves that everything before it has arrived in the peer's process (in its WebSocket
//! library: not that anybody has looked at it). One ping is under way at a time.

use crate::base::ids::RequestId;
use crate::gate::Delivery;

/// A result on its way to the peer.
pub(crate) enum ResultInTransit {
    /// The reply to a request: not offered in the inbox while this connection lives.
    Reply(Delivery),
    /// A result from the inbox: offered again until it is received.
    Inbox(RequestId),
}

impl ResultInTransit {
    fn id(&self) -> RequestId {
        match self {
            ResultInTransit::Reply(delivery) => *delivery.key(),
            ResultInTransit::Inbox(id) => *id,
        }
    }
}

/// Results tracked for a peer that does not answer pings. Further ones stay in the inbox.
const MAX_WAITING: usize = 1024;

/// The acknowledgements of one connection.
#[derive(Default)]
pub(crate) struct Acks {
    number: u64,
    pinged: Option<(Vec<u8>, Vec<ResultInTransit>)>,
    fresh: Vec<ResultInTransit>,
}

impl Acks {
    /// Adds results that are about to be sent.
    pub(crate) fn carry(&mut self, carried: Vec<ResultInTransit>) {
        let room = MAX_WAITING.saturating_sub(self.fresh.len());
        self.fresh.extend(carried.into_iter().take(room));
    }

    /// The ping to send after the results, if one is due.
    pub(crate) fn ping(&mut self) -> Option<Vec<u8>> {
        if self.pinged.is_some() || self.fresh.is_empty() {
            return None;
        }
        self.number += 1;
        let payload = self.number.to_be_bytes().to_vec();
        self.pinged = Some((payload.clone(), std::mem::take(&mut self.fresh)));
        Some(payload)
    }

    /// What a pong proves to have arrived. A pong that answers no ping of ours proves nothing.
    pub(crate) fn pong(&mut self, payload: &[u8]) -> Vec<RequestId> {
        match self.pinged.take_if(|(expected, _)| expected == payload) {
            Some((_, carried)) => carried.iter().map(ResultInTransit::id).collect(),
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_pong_is_an_ack() {
        let mut acks = Acks::default();
        assert!(acks.ping().is_none());
        let (first, second) = (RequestId::random(), RequestId::random());
        acks.carry(vec![ResultInTransit::Inbox(first)]);
        let ping = acks.ping().unwrap();
        acks.carry(vec![ResultInTransit::Inbox(second)]);
        assert!(acks.ping().is_none(), "one ping at a time");
        assert!(acks.pong(b"other").is_empty());
        assert_eq!(acks.pong(&ping), [first]);
        assert!(acks.pong(&ping).is_empty());
        let ping = acks.ping().unwrap();
        assert_eq!(acks.pong(&ping), [second]);
    }

    #[test]
    fn a_peer_without_pongs_costs_a_bounded_amount() {
        let mut acks = Acks::default();
        (0..MAX_WAITING + 5).for_each(|_| acks.carry(vec![ResultInTransit::Inbox(RequestId::random())]));
        assert_eq!(acks.fresh.len(), MAX_WAITING);
    }
}
