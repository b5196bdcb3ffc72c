//! Where the data goes that an agent has read: each of its sources against the destination of a call.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use crate::base::decimal::Decimal;
use crate::base::domain::Domain;
use crate::model::body_fields::body_fields;
use crate::model::condition::key_name;
use crate::model::flow::{Bound, Bounds, DataPolicy, Flow, FlowLook, Source};
use crate::model::{Action, ArgType, Call, DataFacts};

/// The owner's flows and what counts where none speaks.
#[derive(Clone, Debug, Default)]
pub(super) struct Flows {
    flows: Vec<Flow>,
    data: DataPolicy,
}

impl Flows {
    pub(super) fn new(flows: Vec<Flow>, data: DataPolicy) -> Flows {
        Flows { flows, data }
    }

    /// What there is to say of the tool's own source and of each in `read`, once for each source. Empty for a tool without
    /// a destination, and where neither a flow nor the owner's sensitive words speak of the data.
    pub(super) fn look(&self, call: &Call, read: &[Source]) -> Vec<FlowLook> {
        let Some((facts, to)) = destination(call) else { return Vec::new() };
        let own = facts.source(&call.tool().name);
        let mut seen = HashSet::new();
        let sources = own.iter().chain(read).filter(|source| seen.insert(*source));
        let sending = Sending { call, facts, fields: OnceCell::new() };
        sources.filter_map(|source| self.look_at(source, to, &sending)).collect()
    }

    fn look_at(&self, source: &Source, to: &str, sending: &Sending<'_>) -> Option<FlowLook> {
        let found = self.flows.iter().find(|flow| flow.speaks_of(source, to));
        let (decision, broken) = match found {
            Some(flow) if flow.action == Action::Deny => (Action::Deny, None),
            Some(flow) => match sending.broken(&flow.bounds) {
                Some(bound) => (Action::Deny, Some(bound)),
                None => (flow.action, None),
            },
            None if self.data.is_sensitive(source, to) => (self.data.otherwise, None),
            None => return None,
        };
        let flow = found.map(Flow::name);
        Some(FlowLook { source: source.clone(), to: to.to_owned(), decision, flow, broken })
    }
}

fn destination(call: &Call) -> Option<(&DataFacts, &str)> {
    let facts = call.tool().facts.data.as_ref()?;
    Some((facts, facts.to.as_deref()?))
}

/// What a call sends, as far as bounds ask.
struct Sending<'c> {
    call: &'c Call,
    facts: &'c DataFacts,
    /// Collected when the first flow asks. None: nobody knows them.
    fields: OnceCell<Option<BTreeSet<String>>>,
}

impl Sending<'_> {
    /// The first bound that the call does not provably keep.
    fn broken(&self, bounds: &Bounds) -> Option<Bound> {
        let Bounds { domains, blocked_fields, allowed_fields, max_records } = bounds;
        let kept = [
            (Bound::Domains, domains.as_ref().is_none_or(|domains| self.goes_only_to(domains))),
            (Bound::BlockedFields, blocked_fields.as_ref().is_none_or(|blocked| self.sends_none_of(blocked))),
            (Bound::AllowedFields, allowed_fields.as_ref().is_none_or(|allowed| self.sends_only(allowed))),
            (Bound::MaxRecords, max_records.is_none_or(|most| self.sends_at_most(most))),
        ];
        kept.into_iter().find(|(_, kept)| !kept).map(|(bound, _)| bound)
    }

    fn argument(&self, name: Option<&String>) -> Option<&Value> {
        self.call.args().get(name?)
    }

    /// The values of a list or the single one; none when the argument is absent.
    fn values(&self, name: Option<&String>) -> &[Value] {
        match self.argument(name) {
            Some(Value::Array(items)) => items,
            Some(one) => std::slice::from_ref(one),
            None => &[],
        }
    }

    fn goes_only_to(&self, domains: &[Domain]) -> bool {
        let receivers = self.values(self.facts.domain.as_ref());
        let fits = |receiver: &Value| {
            let domain = receiver.as_str().and_then(Domain::of_receiver);
            domain.is_some_and(|domain| domains.iter().any(|known| domain.is_within(known)))
        };
        !receivers.is_empty() && receivers.iter().all(fits)
    }

    fn sends_none_of(&self, blocked: &BTreeSet<String>) -> bool {
        self.fields().is_some_and(|fields| fields.is_disjoint(blocked))
    }

    fn sends_only(&self, allowed: &BTreeSet<String>) -> bool {
        self.fields().is_some_and(|fields| fields.is_subset(allowed))
    }

    /// None when they are not known: no name is an empty list too.
    fn fields(&self) -> Option<&BTreeSet<String>> {
        let fields = self.fields.get_or_init(|| match &self.facts.fields {
            Some(name) => self.listed(name),
            None => body_fields(self.call),
        });
        fields.as_ref().filter(|fields| !fields.is_empty())
    }

    fn listed(&self, name: &String) -> Option<BTreeSet<String>> {
        let names = self.argument(Some(name))?.as_array()?;
        names.iter().map(|name| name.as_str().map(key_name)).collect()
    }

    /// A list counts only where the owner declared one: an agent must not make one of a large number by wrapping it.
    fn sends_at_most(&self, most: u64) -> bool {
        let declared = |name: &String| self.call.tool().args.get(name).and_then(|spec| spec.kind);
        let is_list = self.facts.records.as_ref().and_then(declared) == Some(ArgType::Array);
        match self.argument(self.facts.records.as_ref()) {
            Some(Value::Array(items)) if is_list => {
                u64::try_from(items.len()).is_ok_and(|count| count <= most)
            }
            Some(Value::Number(number)) => {
                let most = i64::try_from(most).map(Decimal::from).ok();
                let count = Decimal::of_number(number).filter(|count| !count.is_negative());
                count.zip(most).is_some_and(|(count, most)| count <= most)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
#[path = "flows_tests.rs"]
mod tests;
