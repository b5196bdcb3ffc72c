//! What a kind of pushing channel has to know: how news of a question looks on its way, and what comes back.

use serde_json::Value;

use crate::approval::Misconfigured;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::secret::Secret;
use crate::config::PushPeer;
use crate::model::{Choice, Question};
use crate::net::client::{HttpClient, HttpOptions, HttpRequest, HttpResponse};

/// The largest answer of a receiver, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewsKind {
    Asked,
    Settled,
    Finished,
}

impl NewsKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            NewsKind::Asked => "asked",
            NewsKind::Settled => "settled",
            NewsKind::Finished => "finished",
        }
    }

    pub(super) fn parse(text: &str) -> Option<NewsKind> {
        [NewsKind::Asked, NewsKind::Settled, NewsKind::Finished]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// One message. It is the same at each attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parcel {
    /// By this the receiver knows it again.
    pub(crate) id: String,
    pub(crate) body: String,
}

/// What a receiver's answer means.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    Taken,
    /// Taken, and somebody has answered the question.
    Answered(Choice, String),
    /// Not taken, to be tried again; why, for people.
    Failed(String),
    /// The same, but it may have been taken.
    Unsure(String),
    /// Nothing is ever to be sent there again.
    Gone,
}

/// A kind of pushing channel.
pub(crate) trait Carrier: 'static {
    fn kind(&self) -> &'static str;
    /// The name under which the next start finds what was told; one of its own for each of several in one channel.
    fn kept_as(&self) -> String {
        "pushed".to_owned()
    }
    /// Stands for the channel's configuration: who was told under another has to be told again.
    fn identity(&self) -> &Digest;
    /// What the answer tokens are bound to, where messages may carry any.
    fn token_identity(&self) -> Option<&Digest>;
    /// A question, in the order of sending. `token` answers it.
    fn asked(&self, question: &Question, token: Option<&Secret>, at: Timestamp) -> Vec<Parcel>;
    /// What came of a question, in its JSON ([`ended`](crate::approval::shape::ended)) and in words.
    fn ended(&self, kind: NewsKind, id: &str, shape: &Value, words: &str, at: Timestamp) -> Parcel;
    /// Whether people are told a question once more who have not answered it (`remind`).
    fn reminds(&self) -> bool {
        true
    }
    /// A harmless message.
    fn test(&self, at: Timestamp) -> Parcel;
    /// What the owner should know; None where there is no place for it.
    fn notice(&self, text: &str) -> Option<Parcel>;
    fn request(&self, parcel: &Parcel, now: Timestamp) -> HttpRequest;
    fn judge(&self, parcel: &Parcel, response: &HttpResponse, now: Timestamp) -> Heard;
}

/// A client for the receiver, under the rules that service calls obey.
///
/// # Errors
/// When its certificates cannot be used.
pub(crate) fn client(
    name: &str,
    peer: &PushPeer,
    pin: Option<[u8; 32]>,
) -> Result<HttpClient, Misconfigured> {
    let options = HttpOptions {
        timeout: peer.timeout,
        connect_timeout: peer.timeout,
        max_response_bytes: MAX_ANSWER,
        ca_pem: peer.ca_cert.clone(),
        socket: None,
        pin,
        server_name: None,
        allow_link_local: peer.allow_link_local,
        // A message that goes into a connection which is just being closed may be taken or not.
        reuse_connections: false,
    };
    HttpClient::new(options).map_err(|e| Misconfigured {
        section: "channels",
        what: format!("the channel {name} cannot be used: {e}"),
        help: "",
    })
}
