//! Every error code on the wire. The numbers are the seed's contract.

/// Not JSON.
pub const PARSE_ERROR: i64 = -32700;
/// Not a request, or a bad argument.
pub const INVALID_REQUEST: i64 = -32600;
/// Unknown method.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// A human said no, or the agent withdrew.
pub const DENIED_BY_USER: i64 = -32001;
/// Nobody answered in time.
pub const TIMED_OUT: i64 = -32002;
/// The policy said no.
pub const DENIED_BY_POLICY: i64 = -32003;
/// The action failed.
pub const EXECUTION_FAILED: i64 = -32004;
/// Not authenticated.
pub const NOT_AUTHENTICATED: i64 = -32005;
/// Too many.
pub const RATE_LIMITED: i64 = -32006;
