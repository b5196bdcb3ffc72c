//! Times on the command line.

use super::{Exit, Trouble};
use crate::base::clock::{Clock, Timestamp};
use crate::base::readable::read_span;
use crate::base::zone::Zone;

/// `24h` (ago), `2026-01-31` or `2026-01-31T12:00:00Z`.
pub(crate) fn read(text: &str) -> Option<Timestamp> {
    // A day is one of the clocks here.
    let day = || Timestamp::parse(&format!("{text}T00:00:00Z")).map(|wall| Zone::system().when(wall));
    let ago = || read_span(text).map(|span| Clock::system().now().minus(span));
    Timestamp::parse(text).or_else(day).or_else(ago)
}

/// What is wrong with the option of this `name`.
pub(crate) fn mistake(name: &str) -> String {
    format!("--{name} is not a time such as 24h, 7d, 2026-01-31 or 2026-01-31T12:00:00Z")
}

/// From when on calls count, as `--since` says.
pub(crate) fn since(what: &str, text: Option<&str>) -> Result<Option<Timestamp>, Trouble> {
    let wrong = || Trouble::new(Exit::BAD_ARGUMENTS, what, mistake("since"));
    text.map(|text| read(text).ok_or_else(wrong)).transpose()
}
