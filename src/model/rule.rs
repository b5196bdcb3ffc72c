//! One line of the owner's policy.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ask_terms::AskTerms;
use super::grant_offer::GrantOffer;
use super::matcher::Matcher;
use super::people_terms::PeopleTerms;
use crate::base::digest::Digest;
use crate::base::words::words;

words! {
    /// What a rule says.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Action {
        Deny = "deny",
        Allow = "allow",
        /// After a human said yes.
        Ask = "ask",
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

words! {
    /// Which list of permissions.yaml a rule stands in.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum RuleList {
        /// `rules`: deny > allow > ask.
        Rules = "rules",
        /// `defaults`: the first match decides.
        Defaults = "defaults",
    }
}

/// A rule's identity. Its serde form is what the record keeps and other programs see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRef {
    /// Where it stands.
    pub list: RuleList,
    /// Its place in the list, from 1.
    pub index: usize,
    pub pattern: String,
    pub action: Action,
    /// The owner's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The file it came from.
    pub file: String,
}

impl RuleRef {
    /// What people and agents know it by: its description, else its pattern.
    pub fn name(&self) -> &str {
        self.description.as_deref().unwrap_or(&self.pattern)
    }

    pub(crate) fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// A rule, ready to be asked.
#[derive(Clone, Debug)]
pub struct Rule {
    pub id: Arc<RuleRef>,
    /// The digest of what it says, wherever it stands.
    pub identity: Digest,
    pub matcher: Matcher,
    /// Of an ask: asks where an allow matches too.
    pub always: bool,
    /// Of an ask: on which terms.
    pub ask: Arc<AskTerms>,
    /// Of an ask: how many people it takes, and which. None: anybody, once.
    pub terms: Option<Arc<PeopleTerms>>,
}

impl Rule {
    /// A rule that says no more than its name and whom it speaks of.
    pub fn new(id: RuleRef, matcher: Matcher) -> Rule {
        let text = format!("{} {} {}", id.list.as_str(), id.action, id.pattern);
        let identity = Digest::sha256(text.as_bytes());
        Rule { id: Arc::new(id), identity, matcher, always: false, ask: Arc::default(), terms: None }
    }

    pub fn action(&self) -> Action {
        self.id.action
    }

    /// Lets this be granted too, unless the rule says itself what may be. It is part of what the rule says.
    pub(crate) fn offer_too(&mut self, offer: &GrantOffer) {
        if self.action() == Action::Ask && self.ask.grant.is_none() {
            self.ask = Arc::new(AskTerms { grant: Some(offer.clone()) });
            self.identity = offer.changes(self.identity);
        }
    }
}
