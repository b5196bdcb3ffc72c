//! The tables that follow from events, one file for each: all of them are folded together, in this order.
//!
//! | file | what it keeps |
//! |---|---|
//! | `calls` | one row per request, which lists go by |
//! | `steps` | where the events between the first and the last of a call are |
//! | `keys` | idempotency keys |
//! | `open` | which calls are under way |
//! | `counters` | what is counted under limits |
//! | `counts` | how many calls of which kind there are |
//! | `grants` | which grants were given, used and ended |
//! | `readings` | what agents have read |
//! | `stops` | who is stopped |
//! | `results` | results that their events tell whole |

mod calls;
mod counters;
mod counts;
mod grants;
mod keys;
mod open;
mod readings;
mod results;
mod steps;
mod stops;
mod tables;

pub(super) use results::EventResult;
pub(super) use tables::Tables;
