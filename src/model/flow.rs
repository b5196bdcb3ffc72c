//! Where data may go: what an agent has read, and the owner's word on the way of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::agent::AgentId;
use super::rule::Action;
use crate::base::clock::Timestamp;
use crate::base::domain::Domain;
use crate::base::glob::Pattern;
use crate::base::words::words;

/// Data that an agent has read: where it came from and what it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    pub from: String,
    pub labels: BTreeSet<String>,
}

impl Source {
    pub(crate) fn to_json(&self) -> Value {
        json!({"from": self.from, "labels": self.labels})
    }

    /// Reads what [`Source::to_json`] made, whatever stands beside it.
    pub(crate) fn of_json(json: &Value) -> Option<Source> {
        let labels = json.get("labels")?.as_array()?.iter().map(|label| label.as_str().map(str::to_owned));
        Some(Source { from: json.get("from")?.as_str()?.to_owned(), labels: labels.collect::<Option<_>>()? })
    }
}

/// That data was handed to an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub agent: AgentId,
    /// None: the agent's own unnamed session.
    pub session: Option<Arc<str>>,
    pub source: Source,
    pub at: Timestamp,
}

/// What may go from a source to a destination. The first flow that speaks of a source, one of its labels and the
/// destination decides.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its place in the list, from 1.
    pub index: usize,
    pub from: Pattern,
    pub to: Pattern,
    /// At least one of them is the data's; empty: any data, without labels too.
    pub labels: BTreeSet<String>,
    pub action: Action,
    pub bounds: Bounds,
    /// The owner's words.
    pub description: Option<String>,
}

/// What a flow that does not deny lets through. None: no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The receiver's domain is one of these or below it.
    pub domains: Option<Vec<Domain>>,
    /// None of these goes out, trimmed and in lower case.
    pub blocked_fields: Option<BTreeSet<String>>,
    /// Nothing else goes out, trimmed and in lower case.
    pub allowed_fields: Option<BTreeSet<String>>,
    pub max_records: Option<u64>,
}

/// `data:` in permissions.yaml: what counts where no flow speaks, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataPolicy {
    pub sensitive_labels: BTreeSet<String>,
    pub sensitive_destinations: BTreeSet<String>,
    /// For sensitive data on its way to a sensitive destination.
    pub otherwise: Action,
    pub remember: Remember,
}

/// How long what an agent has read counts as being with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remember {
    /// In the session that read it, as long as that lives.
    Session,
    For(Duration),
    /// Only the data of the call itself counts.
    Off,
}

words! {
    /// A bound of a flow.
    pub enum Bound {
        Domains = "domains",
        BlockedFields = "blocked_fields",
        AllowedFields = "allowed_fields",
        MaxRecords = "max_records",
    }
}

/// What was found out about one source and the destination of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlowLook {
    pub source: Source,
    pub to: String,
    pub decision: Action,
    /// The flow that speaks of them: its description, else "from → to". None: none does.
    pub flow: Option<String>,
    /// The bound that the call does not keep, or may not keep.
    pub broken: Option<Bound>,
}

/// `refunds → external_email`.
pub(crate) fn way(from: &str, to: &str) -> String {
    format!("{from} → {to}")
}

impl Flow {
    /// What people, agents and metrics know it by.
    pub fn name(&self) -> String {
        self.description.clone().unwrap_or_else(|| way(self.from.as_str(), self.to.as_str()))
    }

    /// Whether it decides about this data on its way to this destination.
    pub fn speaks_of(&self, source: &Source, to: &str) -> bool {
        let labels = || self.labels.is_empty() || !self.labels.is_disjoint(&source.labels);
        self.from.matches(&source.from) && self.to.matches(to) && labels()
    }
}

impl FlowLook {
    /// What people and agents are told decided; holds no value of an argument.
    pub(crate) fn name(&self) -> String {
        self.flow.clone().unwrap_or_else(|| way(&self.source.from, &self.to))
    }
}

impl Default for DataPolicy {
    /// That of a file that says nothing of data.
    fn default() -> DataPolicy {
        let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect();
        DataPolicy {
            sensitive_labels: words(&["pii", "phi", "payment", "secret", "regulated", "customer_data"]),
            sensitive_destinations: words(&[
                "external_email",
                "webhook",
                "third_party_saas",
                "file_export",
                "model_provider",
                "browser_form",
            ]),
            otherwise: Action::Deny,
            remember: Remember::For(Duration::from_secs(8 * 60 * 60)),
        }
    }
}

impl DataPolicy {
    /// Whether no flow is needed to look at this data on its way to this destination.
    pub fn is_sensitive(&self, source: &Source, to: &str) -> bool {
        self.sensitive_destinations.contains(to) && !self.sensitive_labels.is_disjoint(&source.labels)
    }
}
