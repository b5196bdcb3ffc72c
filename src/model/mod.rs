//! Rank 1: the words that all other layers share. No I/O, no YAML, no SQL, no wire format.

pub(crate) mod agent;
pub(crate) mod approval;
pub(crate) mod arguments;
pub(crate) mod call;
pub(crate) mod http;
pub(crate) mod invalid_call;
pub(crate) mod kind;
pub(crate) mod outcome;
mod output;
pub(crate) mod risk;
pub(crate) mod rule;
mod signature;
pub(crate) mod tool;
pub(crate) mod verdict;

pub use agent::AgentId;
pub use approval::{AnswerOutcome, Choice, QuestionEnd, Responder, Void};
pub(crate) use approval::{Question, QuestionRecord};
pub use call::Call;
pub(crate) use http::Layout;
pub use http::{Charset, Encoding, HttpTarget, Method, RequestSpec, ResponseSpec};
pub use invalid_call::InvalidCall;
pub use kind::Kind;
pub use outcome::Outcome;
pub(crate) use outcome::Sort;
pub use output::{Lost, Output};
pub(crate) use risk::Risk;
pub use rule::{Action, Rule, RuleList, RuleRef};
pub(crate) use tool::ItemSpec;
pub use tool::{ArgSpec, ArgType, Target, Tool};
pub(crate) use verdict::Reason;
pub(crate) use verdict::Step;
pub use verdict::{Verdict, Why};
