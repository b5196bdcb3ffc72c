//! Sending what a question has to tell, one message after the other, each until it is taken.

use std::rc::Rc;
use std::time::Duration;

use smol::Timer;

use super::carrier::{Carrier, Heard, NewsKind, Parcel};
use super::kept;
use super::pusher::Pusher;
use crate::approval::NotRecorded;
use crate::base::backoff::{doubled, jitter};
use crate::base::ids::RequestId;
use crate::model::{AnswerOutcome, Choice};
use crate::net::client::HttpError;

/// The pause after the first attempt that failed; it doubles up to the longest, and a tenth comes on top by chance.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(272);

/// Begins to work on a question's news, unless that is being done or has to wait.
pub(super) fn go_on<C: Carrier>(pusher: &Rc<Pusher<C>>, id: RequestId) {
    if !pusher.restored.get() || pusher.stop.is_set() {
        return;
    }
    let is_idle = {
        let mut errands = pusher.errands.borrow_mut();
        let idle = errands.get_mut(&id).filter(|errand| !errand.busy && !errand.queue.is_empty());
        idle.map(|errand| errand.busy = true).is_some()
    };
    if is_idle {
        pusher.spawn(run(pusher.clone(), id));
    }
}

async fn run<C: Carrier>(pusher: Rc<Pusher<C>>, id: RequestId) {
    loop {
        // The place first: what waits for one may be changed meanwhile, and an answer to it is one to what it showed.
        let place = pusher.places.acquire().await;
        kept::note_attempt(&pusher, id).await;
        let Some((kind, parcel)) = pusher.next(id) else { return };
        let Some(heard) = pusher.deliver(id, kind, &parcel).await else { return };
        drop(place);
        match pusher.heard(id, &parcel, heard) {
            None => return,
            Some(pause) if pause.is_zero() => {}
            Some(pause) => _ = Timer::after(pause).await,
        }
    }
}

impl<C: Carrier> Pusher<C> {
    /// The next message of a question; None also when it is not worked on any more.
    fn next(&self, id: RequestId) -> Option<(NewsKind, Parcel)> {
        let (mut errands, now) = (self.errands.borrow_mut(), self.clock.now());
        let errand = errands.get_mut(&id)?;
        let next = errand.next(now).filter(|_| !self.link.borrow().off);
        errand.busy = next.is_some();
        if errand.is_over(now) {
            errands.remove(&id);
        }
        next
    }

    /// Sends one message. A decision that comes back counts before the message does as taken. None: nobody needs it any
    /// more.
    async fn deliver(&self, id: RequestId, kind: NewsKind, parcel: &Parcel) -> Option<Heard> {
        let shown_as = {
            let mut errands = self.errands.borrow_mut();
            let errand = errands.get_mut(&id)?;
            errand.in_flight = true;
            errand.shown_as().map(str::to_owned)
        };
        let heard = match self.send(parcel).await {
            Ok(response) => self.carrier.judge(parcel, &response, self.clock.now()),
            Err(why @ HttpError::NotSent(_)) => Heard::Failed(why.to_string()),
            Err(why) => Heard::Unsure(why.to_string()),
        };
        let heard = match heard {
            // What was changed meanwhile is not what the answer is about.
            Heard::Answered(choice, by) if kind == NewsKind::Asked => {
                self.answer(id, choice.seen_as(shown_as), by).await
            }
            Heard::Answered(..) => Heard::Taken,
            other => other,
        };
        if let Some(errand) = self.errands.borrow_mut().get_mut(&id) {
            errand.in_flight = false;
        }
        Some(heard)
    }

    async fn answer(&self, id: RequestId, choice: Choice, by: String) -> Heard {
        let host = self.host.borrow().clone().filter(|_| !self.silent.get());
        let Some(host) = host else { return Heard::Taken };
        match host.answer(id, choice, by).await {
            Ok(AnswerOutcome::Resolved) => {}
            Ok(outcome) => {
                log::info!("channel {}: an answer to {id} did not count: {}", self.name, outcome.as_str());
            }
            // It is asked again and can be answered again.
            Err(NotRecorded) => return Heard::Unsure("its answer could not be recorded".to_owned()),
        }
        Heard::Taken
    }

    /// What follows from what was heard: how long to wait before going on. None: nothing will be sent any more.
    fn heard(self: &Rc<Self>, id: RequestId, parcel: &Parcel, heard: Heard) -> Option<Duration> {
        let now = self.clock.now();
        match heard {
            Heard::Taken | Heard::Answered(..) => {
                self.works();
                let is_news = self.errands.borrow_mut().get_mut(&id).is_some_and(|it| it.arrived(&parcel.id));
                if is_news {
                    kept::save_soon(self);
                }
                Some(Duration::ZERO)
            }
            Heard::Failed(why) => self.again(id, why, false),
            Heard::Unsure(why) => self.again(id, why, true),
            Heard::Gone => {
                log::warn!(
                    "channel {}: the receiver answered 410 Gone; it is switched off until a reload",
                    self.name
                );
                let mut link = self.link.borrow_mut();
                (link.off, link.since, link.error) = (true, Some(now), Some("410 Gone".to_owned()));
                self.errands.borrow_mut().clear();
                drop(link);
                kept::save_soon(self);
                None
            }
        }
    }

    /// How long to wait before trying once more.
    fn again(self: &Rc<Self>, id: RequestId, why: String, reached: bool) -> Option<Duration> {
        self.fails(why);
        let (pause, is_reached) = {
            let mut errands = self.errands.borrow_mut();
            let errand = errands.get_mut(&id)?;
            let pause = doubled(FIRST_PAUSE, errand.failures, LONGEST_PAUSE);
            errand.failed(reached);
            let is_reached = errand.reached;
            if errand.is_over(self.clock.now()) {
                errands.remove(&id);
            }
            (pause, is_reached)
        };
        if !is_reached {
            // The next start must not take it as told.
            kept::save_soon(self);
        }
        Some(pause + jitter(pause / 10))
    }

    fn works(&self) {
        let mut link = self.link.borrow_mut();
        if link.error.take().is_some() {
            log::info!("channel {} takes messages again", self.name);
            link.since = None;
        }
        link.since.get_or_insert(self.clock.now());
    }

    fn fails(&self, why: String) {
        let mut link = self.link.borrow_mut();
        if link.error.is_none() {
            link.since = Some(self.clock.now());
        }
        if link.error.as_ref() != Some(&why) {
            log::warn!("channel {} does not take messages: {why}", self.name);
        }
        link.error = Some(why);
    }
}
