//! `grant:`, on rules and below `approvals`: what a yes may grant beyond the call.

use super::at::At;
use crate::model::{GrantOffer, GrantScope};

/// The shortest and the longest time, and the most uses.
const LEAST: &str = "10s";
const MOST: &str = "30d";
const MOST_USES: u32 = 100_000;

/// More buttons fit on no phone.
const MOST_DURATIONS: usize = 4;

pub(crate) fn offer(at: At<'_>) -> Option<GrantOffer> {
    let section = at.section("for uses scope session");
    let items = section.need("for").map(At::one_or_more)?;
    let help = "give one to four times, such as [15m, 1h]";
    let fits = (1..=MOST_DURATIONS).contains(&items.len());
    section.get("for").unwrap_or(at).ensure(fits, "grant.for must be one to four times", help)?;
    let mut durations = items.into_iter().map(|item| item.span(LEAST..=MOST)).collect::<Option<Vec<_>>>()?;
    durations.sort_unstable();
    durations.dedup();
    let scopes = [GrantScope::Call, GrantScope::Signature, GrantScope::Rule].map(|one| (one.as_str(), one));
    let uses = match section.get("uses") {
        Some(at) => Some(at.whole(1..=MOST_USES)?),
        None => None,
    };
    let scope = match section.get("scope") {
        Some(at) => at.choice(&scopes)?,
        None => GrantScope::Signature,
    };
    Some(GrantOffer { durations, uses, scope, session: section.flag("session") })
}
