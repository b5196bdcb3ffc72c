//! Every error code on the wire. The numbers are the seed's contract.

/// Not JSON.
pub(crate) const PARSE_ERROR: i64 = -32700;
/// Not a request, or a bad argument.
pub(crate) const INVALID_REQUEST: i64 = -32600;
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
/// A human said no, or the agent withdrew.
pub(crate) const DENIED_BY_USER: i64 = -32001;
/// Nobody answered in time.
pub(crate) const TIMED_OUT: i64 = -32002;
/// The policy said no.
pub(crate) const DENIED_BY_POLICY: i64 = -32003;
pub(crate) const EXECUTION_FAILED: i64 = -32004;
pub(crate) const NOT_AUTHENTICATED: i64 = -32005;
/// Too many.
pub(crate) const RATE_LIMITED: i64 = -32006;
