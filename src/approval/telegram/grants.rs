//! Grants on cards: what a yes has granted stands below it, how often it was used, and a button that ends it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use smol::Timer;

use super::card::{ShownGrant, clock_time};
use super::conversation::Conversation;
use crate::approval::GrantStand;
use crate::base::ids::RequestId;
use crate::base::zone::Zone;
use crate::model::GrantEnd;

/// How often it is looked for what has become of a grant.
const LOOK: Duration = Duration::from_secs(5);
/// How often a card is edited for uses alone.
const PACE: Duration = Duration::from_secs(60);

impl Conversation {
    /// What the yes to this question has granted; None: nothing, or nobody knows.
    pub(super) fn grant_of(&self, id: RequestId) -> Option<ShownGrant> {
        let stand = self.ask_host(|host| host.grant(id)).flatten()?;
        Some(ShownGrant { id, line: self.in_words(&stand), lasts: stand.end.is_none() })
    }

    fn in_words(&self, stand: &GrantStand) -> String {
        let used = stand.used.map(|(used, all)| format!(", {used} of {all} used")).unwrap_or_default();
        match &stand.end {
            None => format!("🎫 Granted until {}{used}", clock_time(stand.until, &Zone::system())),
            Some(GrantEnd::Revoked { by }) => format!("🎫 Grant revoked by {}{used}", self.shown_name(by)),
            Some(GrantEnd::Stopped { by }) => {
                format!("🎫 Grant ended, stopped by {}{used}", self.shown_name(by))
            }
            Some(end) => format!("🎫 Grant ended: {end}{used}"),
        }
    }

    /// Keeps the card up to date until the grant on it has ended.
    pub(super) fn follow_grant(self: &Rc<Self>, id: RequestId) {
        let channel = self.clone();
        self.spawn(async move {
            let mut edited: Option<Instant> = None;
            while channel.has_lasting_grant(id) && !channel.has_stopped() {
                Timer::after(LOOK).await;
                let Some(now) = channel.grant_of(id) else { return };
                if !now.lasts || edited.is_none_or(|at| at.elapsed() >= PACE) {
                    edited = channel.show_grant(now).then(Instant::now).or(edited);
                }
            }
        });
    }

    /// True when the card showed something else.
    pub(super) fn show_grant(&self, now: ShownGrant) -> bool {
        let shown = self.state.borrow().board.get(now.id).and_then(|card| card.progress.grant.clone());
        let is_news = shown.is_some_and(|shown| shown.lasts && shown != now);
        if is_news {
            self.update(now.id, |card| card.progress.grant = Some(now));
        }
        is_news
    }

    fn has_lasting_grant(&self, id: RequestId) -> bool {
        let state = self.state.borrow();
        let shown = state.board.get(id).and_then(|card| card.progress.grant.as_ref());
        shown.is_some_and(|grant| grant.lasts)
    }
}
