//! Tokens that answer one question, as it was shown on one channel. They follow from the record's key, so nothing is
//! stored, and a message that is sent again after a crash carries the same one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Gate;
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::base::secret::Secret;

impl Gate {
    /// The token of a question on a channel that is configured as `identity` says, for the call that was shown there.
    pub(crate) fn answer_token(
        &self,
        channel: &str,
        identity: &Digest,
        id: RequestId,
        shown_as: &str,
    ) -> Secret {
        let parts = [channel.as_bytes(), &identity.0, id.as_bytes(), shown_as.as_bytes()];
        Secret::new(URL_SAFE_NO_PAD.encode(self.store.token("answer", &parts).0))
    }
}
