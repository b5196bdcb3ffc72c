//! One call under way, and when it may be sent again. Pure but for telling the caller.

use serde_json::Value;
use smol::channel::Sender;

use super::error::ClientError;
use super::options::OnPending;

pub(super) struct OpenCall {
    pub(super) id: u64,
    has_effects: bool,
    pub(super) text: String,
    reply: Sender<Result<Value, ClientError>>,
    pub(super) on_pending: Option<OnPending>,
    /// Whether it went out, and then whether to a gateway that knows its idempotency key.
    pub(super) sent: Option<Keyed>,
}

/// Whether a gateway knows idempotency keys.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Keyed(pub(super) bool);

impl OpenCall {
    /// A call that was not sent yet. One that `has_effects` must not be run twice.
    pub(super) fn new(
        id: u64,
        has_effects: bool,
        text: String,
        reply: Sender<Result<Value, ClientError>>,
        on_pending: Option<OnPending>,
    ) -> OpenCall {
        OpenCall { id, has_effects, text, reply, on_pending, sent: None }
    }

    /// Whether sending it to such a gateway can lead to one execution at most.
    pub(super) fn may_go_to(&self, keyed: bool) -> bool {
        match self.sent {
            None => true,
            Some(Keyed(was_keyed)) => !self.has_effects || (was_keyed && keyed),
        }
    }

    pub(super) fn is_forgotten(&self) -> bool {
        self.reply.is_closed()
    }

    pub(super) fn settle(self, body: Result<Value, ClientError>) {
        // The caller may have stopped waiting; then nobody wants to know.
        self.reply.try_send(body).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_keyed_call_goes_out_twice() {
        let (reply, _answer) = smol::channel::bounded(1);
        let call = |has_effects, sent: Option<bool>| OpenCall {
            sent: sent.map(Keyed),
            ..OpenCall::new(1, has_effects, String::new(), reply.clone(), None)
        };
        for (has_effects, sent, keyed, may) in [
            (true, None, false, true),
            (true, None, true, true),
            (true, Some(true), true, true),
            (true, Some(true), false, false),
            (true, Some(false), true, false),
            (true, Some(false), false, false),
            (false, Some(false), false, true),
        ] {
            assert_eq!(call(has_effects, sent).may_go_to(keyed), may, "{has_effects} {sent:?} {keyed}");
        }
    }
}
