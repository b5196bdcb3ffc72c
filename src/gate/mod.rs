//! Rank 4: the gate, the path of one call from admission to outcome. Read `pipeline` first.
//!
//! A call is a task of the gate's own. Connections come and go; they hold [`Ticket`]s. Only the gate joins the
//! policy, the approvals, the services and the store, and it keeps their order: recorded before done, claimed before
//! executed, the waiter registered before anybody is asked.
//!
//! [`Gate`] has five owners of state, each of which works with its own alone:
//!
//! | owner | what it keeps |
//! |---|---|
//! | [`Approvals`](approvals) | the open questions, who waits for their answers, denials whose note may follow, the channels |
//! | [`Flights`](flights) | the calls under way, the places for calls at once |
//! | [`Ledger`](ledger) | what agents have used and read: rates, budgets, denials of late, counters, memory, connections; the metrics |
//! | [`Stops`](stops) | whose calls are stopped, by whom and why |
//! | [`Inbox`](inbox) | results on their way to an agent |

mod admit;
mod answer_tokens;
mod answered;
mod approvals;
mod breaker;
mod budget;
mod claiming;
mod cool_down;
mod counters;
mod counting;
mod edits;
mod ended;
pub(crate) mod explain;
mod flights;
pub(crate) mod granting;
pub(crate) mod grants;
mod host;
mod inbox;
mod judged;
mod kill_switch;
mod ledger;
pub(crate) mod limits;
mod memory;
mod metrics;
mod notes;
mod offered;
mod permits;
mod pipeline;
mod rate;
pub(crate) mod reading;
mod recording;
mod recovery;
pub(crate) mod replay;
mod running;
mod sessions;
mod setup;
mod several;
mod state;
mod status;
pub(crate) mod stops;
mod task;

use std::rc::Rc;

use smol::LocalExecutor;

pub(crate) use admit::Submission;
pub(crate) use answered::{Answered, CannotAnswer};
pub use counters::{CounterBook, Reservation};
pub(crate) use edits::Preview;
pub(crate) use host::GateHost;
pub(crate) use inbox::{Delivery, Inbox};
pub(crate) use kill_switch::Stopped;
pub use memory::Memory;
pub(crate) use metrics::Counts;
pub use metrics::Metrics;
pub(crate) use notes::MAX_NOTE;
pub(crate) use running::{CallReply, Ticket};
pub use setup::Setup;
pub(crate) use setup::policy_of;
pub use state::Gate;
pub(crate) use status::Status;

/// The executor that all of the gateway's tasks run on.
pub type Executor = Rc<LocalExecutor<'static>>;
