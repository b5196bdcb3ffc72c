//! Rank 1: the words that all other layers share. No I/O, no YAML, no SQL, no wire format.

pub mod agent;
pub mod answer;
pub mod approval;
pub mod arguments;
pub mod body;
pub mod call;
pub mod kind;
pub mod outcome;
pub mod response;
pub mod risk;
pub mod rule;
mod signature;
pub mod tool;
pub mod verdict;

pub use agent::AgentId;
pub use answer::{Answer, Lost};
pub use approval::{AnswerOutcome, Choice, Question, Responder, Settlement, Void};
pub use body::{Encoding, Node};
pub use call::{Call, InvalidCall};
pub use kind::Kind;
pub use outcome::Outcome;
pub use response::{Charset, ResponseSpec};
pub use risk::Risk;
pub use rule::{Action, Rule, RuleList, RuleRef};
pub use tool::{ArgSpec, ArgType, ItemSpec, Method, RequestSpec, Tool};
pub use verdict::{Step, Verdict, Why};
