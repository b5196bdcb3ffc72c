//! (being written)
/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern;
