//! What a rule says of the people whom it asks: `approvals approvers remind escalate notify`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::at::{At, Section};
use super::known::KnownNames;
use crate::base::readable::round_span;
use crate::model::{Approver, Escalation, PeopleTerms};

/// The keys that [`read`] reads.
pub(super) const KEYS: [&str; 5] = ["approvals", "approvers", "remind", "escalate", "notify"];
/// The most people that one question may need.
const MOST: u32 = 16;

/// What they may name: people always, identities where an answer is meant, channels where people are told.
#[derive(Clone, Copy, PartialEq)]
enum Named {
    WhoAnswers,
    WhoIsTold,
}

/// None where the rule says nothing of it.
pub(super) fn read(
    section: Section<'_>,
    asks: bool,
    known: Option<&KnownNames<'_>>,
) -> Option<Arc<PeopleTerms>> {
    let given = KEYS.into_iter().filter(|key| section.get(key).is_some()).collect::<Vec<_>>();
    let first = section.get(given.first()?)?;
    if !asks {
        let text = format!("{} only applies to action: ask", first.name());
        return first.fail(text, &format!("remove {}", first.name()));
    }
    let named = |key, what| section.get(key).map(|at| names(at, what, known)).unwrap_or_default();
    let terms = PeopleTerms {
        approvals: section.whole("approvals", 1..=MOST).unwrap_or(1),
        approvers: named("approvers", Named::WhoAnswers),
        notify: named("notify", Named::WhoIsTold),
        remind: section.read("remind", seconds),
        escalate: section.read("escalate", |at| escalate(at, known)),
    };
    check(section, &terms, known);
    Some(Arc::new(terms))
}

fn seconds(at: At<'_>) -> Option<u64> {
    at.span("1s"..="24h").map(|time| time.as_secs())
}

fn escalate(at: At<'_>, known: Option<&KnownNames<'_>>) -> Option<Escalation> {
    let section = at.section("after to");
    let after = section.require("after", seconds);
    let to = section.need("to").map(|at| names(at, Named::WhoIsTold, known)).unwrap_or_default();
    Some(Escalation { after: after?, to })
}

fn names(at: At<'_>, what: Named, known: Option<&KnownNames<'_>>) -> Vec<Approver> {
    let items = at.one_or_more();
    let empty = format!("{} is empty", at.name());
    at.ensure(!items.is_empty(), empty, &format!("remove {}, or name somebody", at.name()));
    items.into_iter().filter_map(|item| name(item, what, known)).collect()
}

fn name(at: At<'_>, what: Named, known: Option<&KnownNames<'_>>) -> Option<Approver> {
    let text = at.filled()?;
    let is_channel = |name: &str, known: &KnownNames<'_>| {
        ["local", "web"].contains(&name) || known.channels.contains_key(name)
    };
    match (text.split_once(':'), known) {
        (Some(("unix", user)), _) => {
            at.fail("there is no channel unix", &format!("write local:{user} for a user of this machine"))
        }
        (Some((channel, user)), Some(known)) if !is_channel(channel, known) || user.is_empty() => at.fail(
            format!("{} is nobody's identity", at.shown()),
            "write a channel and a user: telegram:7001",
        ),
        (None, Some(known)) if what == Named::WhoIsTold && is_channel(&text, known) => Some(Approver(text)),
        (None, Some(known)) if !known.people.has(&text) => {
            let help = "list them in config.yaml: people: {NAME: {telegram: 7001}}";
            at.fail(format!("nobody is called {}", at.shown()), help)
        }
        _ => Some(Approver(text)),
    }
}

fn check(section: Section<'_>, terms: &PeopleTerms, known: Option<&KnownNames<'_>>) {
    let Some(known) = known else { return };
    let escalates = terms.escalate.as_ref().map(|escalation| escalation.after);
    warn_of_late(section.get("remind"), terms.remind, known.approval_timeout, "nobody is reminded");
    warn_of_late(section.get("escalate"), escalates, known.approval_timeout, "nobody else is told");
    let Some(needs) = section.get("approvals") else { return };
    let humans: BTreeSet<_> = terms.approvers.iter().map(|approver| approver.person(known.people)).collect();
    let need = usize::try_from(terms.approvals).unwrap_or(usize::MAX);
    if !terms.approvers.is_empty() && humans.len() < need {
        let text = format!("approvals needs {need} different people, and approvers names {}", humans.len());
        needs.error(text, "name more people under approvers, or lower approvals");
    } else if need > 1 && known.people.is_empty() {
        needs.warn(
            "nobody is listed in people, so one human with two identities counts as two",
            "list them in config.yaml: people: {anna: {telegram: 7001, local: anna}}",
        );
    }
}

/// What is to happen after so many seconds happens only while the question is open.
fn warn_of_late(at: Option<At<'_>>, after: Option<u64>, open: Duration, so: &str) {
    let Some((at, after)) = at.zip(after) else { return };
    if Duration::from_secs(after) >= open {
        let text = format!("a question is open for {} only (approval_timeout): {so}", round_span(open));
        at.warn(text, "give a shorter time here, or a longer approval_timeout in config.yaml");
    }
}
