//! Reading the record: for the owner's commands and pages, beside a running gateway or without one. It can never write; every
//! function reads one snapshot, in which it first folds the newest events for itself (`tail`).

mod anchor;
mod answers;
mod charts;
mod connection;
mod counters;
mod crosscheck;
mod export;
mod fault;
mod grants;
mod history;
mod life;
mod list;
mod page;
mod readings;
mod row;
mod scope;
mod search;
mod stats;
mod stops;
mod tables;
mod tail;
#[cfg(test)]
mod tests;
mod verify;

pub use anchor::Anchor;
pub(crate) use answers::Answers;
pub(crate) use charts::{Bar, ChartStep, Charts, WAITS};
pub use connection::Reader;
pub(crate) use connection::key_path;
pub use fault::{Anchored, FaultKind, Verification};
pub(crate) use history::{HistoryStep, RecordedCall};
pub use list::Lookup;
pub(crate) use list::ShownCall;
pub use page::WantedPage;
pub(crate) use page::{RowPage, RowWalk};
pub use row::Filter;
pub(crate) use row::{AuditRow, OUTCOMES};
pub(crate) use stats::Stats;
pub use verify::verify_export;
