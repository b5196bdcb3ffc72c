//! What one question still has to tell on one channel, in order. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

use super::carrier::{NewsKind, Parcel};
use crate::base::clock::Timestamp;

/// How long it is tried to tell what came of a question.
pub(super) const KEEP: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, PartialEq)]
pub(super) struct Errand {
    /// Its JSON as it was asked.
    pub(super) shape: Value,
    pub(super) queue: VecDeque<(NewsKind, Timestamp, Parcel)>,
    /// Whether any of the question may have been taken. What came of it is told to nobody else.
    pub(super) reached: bool,
    /// Whether the next start is to believe that, because it is being tried or was.
    pub(super) tried: bool,
    /// Whether it has ended, and since when.
    pub(super) ended: Option<Timestamp>,
    /// Whether more will be heard of it.
    pub(super) runs: bool,
    /// Attempts that have failed since the last that did not.
    pub(super) failures: u32,
    /// Whether a task works on it.
    pub(super) busy: bool,
    /// Whether a message of it is on its way right now.
    pub(super) in_flight: bool,
}

impl Errand {
    pub(super) fn asked(shape: Value, parcels: Vec<Parcel>, at: Timestamp) -> Errand {
        let queue = parcels.into_iter().map(|parcel| (NewsKind::Asked, at, parcel)).collect();
        Errand {
            shape,
            queue,
            reached: false,
            tried: false,
            ended: None,
            runs: false,
            failures: 0,
            busy: false,
            in_flight: false,
        }
    }

    /// Its call was changed: what showed the earlier one is not sent any more.
    pub(super) fn ask_anew(&mut self, shape: Value, parcels: Vec<Parcel>, at: Timestamp) {
        self.shape = shape;
        self.failures = 0;
        self.queue.retain(|(kind, ..)| *kind != NewsKind::Asked);
        self.queue.extend(parcels.into_iter().map(|parcel| (NewsKind::Asked, at, parcel)));
    }

    /// Which call its messages show.
    pub(super) fn shown_as(&self) -> Option<&str> {
        self.shape.get("digest")?.as_str()
    }

    /// Whether the question as it is has been taken.
    pub(super) fn is_told(&self) -> bool {
        self.reached && !self.asks()
    }

    /// Whether some of the question is still to be told.
    pub(super) fn asks(&self) -> bool {
        self.queue.iter().any(|(kind, ..)| *kind == NewsKind::Asked)
    }

    /// The next message; what is too late for it is left out.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<(NewsKind, Parcel)> {
        let (ended, reached) = (self.ended.is_some(), self.reached);
        self.queue.retain(|(kind, at, _)| match kind {
            NewsKind::Asked => !ended,
            NewsKind::Settled | NewsKind::Finished => reached && now.since(*at) < KEEP,
        });
        self.queue.front().map(|(kind, _, parcel)| (*kind, parcel.clone()))
    }

    /// A message has arrived. True when that is news for the next start.
    pub(super) fn arrived(&mut self, id: &str) -> bool {
        self.failures = 0;
        self.queue.retain(|(.., parcel)| parcel.id != id);
        self.reached = true;
        !self.asks()
    }

    /// A message has not arrived, or nobody knows.
    pub(super) fn failed(&mut self, reached: bool) {
        self.failures = self.failures.saturating_add(1);
        self.reached |= reached;
        self.tried = self.reached;
    }

    /// Whether nothing more will be told.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        match self.ended {
            None => false,
            Some(_) if self.in_flight => false,
            Some(at) => !self.reached || now.since(at) >= KEEP || (self.queue.is_empty() && !self.runs),
        }
    }

    /// For the next start. What asks is made anew there: it may hold a token.
    pub(super) fn kept(&self) -> Value {
        let parcel = |(kind, at, parcel): &(NewsKind, Timestamp, Parcel)| {
            json!([kind.as_str(), at.0, parcel.id, parcel.body])
        };
        let news = self.queue.iter().filter(|(kind, ..)| *kind != NewsKind::Asked);
        json!({
            "shape": self.shape,
            "queue": news.map(parcel).collect::<Vec<_>>(),
            "told": self.is_told(),
            "ended": self.ended.map(|at| at.0),
            "runs": self.runs,
        })
    }

    /// Whether the question that [`Errand::kept`] has kept was taken as `now` shows it.
    pub(super) fn was_told(&self, kept: &Value, now: &Errand) -> bool {
        let was_told = kept.get("told").and_then(Value::as_bool).unwrap_or(true);
        was_told && self.shown_as() == now.shown_as()
    }

    /// Only what may have been taken is kept.
    pub(super) fn restore(kept: &Value) -> Option<Errand> {
        let parcel = |entry: &Value| {
            let kind = NewsKind::parse(entry.get(0)?.as_str()?)?;
            let text = |at: usize| Some(entry.get(at)?.as_str()?.to_owned());
            Some((kind, Timestamp(entry.get(1)?.as_i64()?), Parcel { id: text(2)?, body: text(3)? }))
        };
        let queue = kept.get("queue")?.as_array()?.iter().filter_map(parcel).collect();
        Some(Errand {
            queue,
            reached: true,
            tried: true,
            ended: kept.get("ended").and_then(Value::as_i64).map(Timestamp),
            runs: kept.get("runs").and_then(Value::as_bool).unwrap_or_default(),
            ..Errand::asked(kept.get("shape")?.clone(), Vec::new(), Timestamp(0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn parcel(id: &str) -> Parcel {
        Parcel { id: id.into(), body: "{}".into() }
    }

    fn errand() -> Errand {
        Errand::asked(json!({"request_id": "a"}), vec![parcel("1"), parcel("2")], NOW)
    }

    #[test]
    fn news_go_out_in_order_and_only_to_who_took_the_question() {
        let mut taken = errand();
        assert!(!taken.arrived("1") && !taken.is_told());
        assert!(taken.arrived("2") && taken.is_told());
        taken.ended = Some(NOW);
        taken.queue.push_back((NewsKind::Settled, NOW, parcel("3")));
        assert_eq!(taken.next(NOW), Some((NewsKind::Settled, parcel("3"))));
        assert!(!taken.is_over(NOW));
        taken.arrived("3");
        assert!(taken.is_over(NOW));

        let mut missed = errand();
        missed.ended = Some(NOW);
        missed.queue.push_back((NewsKind::Settled, NOW, parcel("3")));
        assert_eq!(missed.next(NOW), None);
        assert!(missed.is_over(NOW));
        missed.in_flight = true;
        assert!(!missed.is_over(NOW), "it may be taken yet");
        let mut unsure = Errand { ended: Some(NOW), ..errand() };
        unsure.queue.push_back((NewsKind::Settled, NOW, parcel("3")));
        unsure.failed(true);
        assert_eq!(unsure.next(NOW), Some((NewsKind::Settled, parcel("3"))));
    }

    #[test]
    fn what_came_of_a_question_is_tried_for_a_day() {
        let mut errand = Errand { reached: true, ended: Some(NOW), queue: VecDeque::new(), ..errand() };
        errand.queue.push_back((NewsKind::Settled, NOW, parcel("3")));
        assert!(errand.next(NOW.plus(KEEP - Duration::from_secs(1))).is_some());
        assert!(errand.next(NOW.plus(KEEP)).is_none() && errand.is_over(NOW.plus(KEEP)));
    }

    #[test]
    fn what_was_taken_is_known_after_a_restart() {
        let mut errand = Errand {
            reached: true,
            tried: true,
            ended: Some(NOW),
            runs: true,
            queue: VecDeque::new(),
            ..errand()
        };
        errand.queue.push_back((NewsKind::Settled, NOW, parcel("3")));
        assert_eq!(Errand::restore(&errand.kept()), Some(errand));
        assert_eq!(Errand::restore(&json!({"queue": 1})), None);
    }
}
