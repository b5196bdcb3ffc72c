//! Tools of services that speak HTTP: the request that a call becomes, and how the response is read.

mod layout;
mod request;
pub(crate) mod response;

pub use layout::Encoding;
pub(crate) use layout::Layout;
pub use request::{Method, RequestSpec};
pub use response::{Charset, ResponseSpec};

/// What a tool is at a service that speaks HTTP.
#[derive(Clone, Debug)]
pub struct HttpTarget {
    /// `request:` of the tool file.
    pub request: RequestSpec,
    /// `response:` of the tool file.
    pub response: ResponseSpec,
}
