//! The desk: which questions are open, and what an answer to one of them is worth.
//!
//! Pure: it is handed the time and told what happened. What happens to a question only counts once it is on disk, so
//! everything goes in two steps. A question is [reserved](Desk::reserve), written down and
//! [opened](Desk::open). An answer is [taken](Desk::take) (everybody else is too late from then on), written down
//! and [settled](Desk::settle); when the writing failed, the question is opened again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::base::clock::{Deadline, Timestamp};
use crate::base::ids::RequestId;
use crate::model::{AgentId, AnswerOutcome, Question, Responder};

/// How many ended questions are remembered, so that a late answer hears "already resolved", not "unknown".
const REMEMBERED: usize = 4096;

/// All open questions of the gateway.
#[derive(Default)]
pub(crate) struct Desk {
    open: BTreeMap<RequestId, OpenQuestion>,
    /// What a late answer to an ended question hears.
    ended: HashMap<RequestId, AnswerOutcome>,
    /// The ended questions, the oldest first.
    order: VecDeque<RequestId>,
}

struct OpenQuestion {
    question: Arc<Question>,
    deadline: Deadline,
    /// Whether it is on disk, so that people may see it.
    shown: bool,
    /// Not open yet, or somebody's answer is being written down.
    taken: bool,
    /// Who has said yes, of several people who must.
    yes: Vec<Responder>,
}

/// What a shortened id stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdMatch {
    One(RequestId),
    /// No open or remembered question.
    None,
    /// More than one open question.
    Several,
}

impl Desk {
    /// Keeps a place for a question that is about to be written down. Nobody sees or answers it yet, but it
    /// counts. `now` is when its deadline is promised.
    pub(crate) fn reserve(&mut self, question: Arc<Question>, now: Timestamp) {
        // A clock that stands before the question was asked does not make its time longer.
        let deadline = Deadline::new(question.expires, now.max(question.created));
        let reserved = OpenQuestion { question, deadline, shown: false, taken: true, yes: Vec::new() };
        self.open.insert(reserved.question.id, reserved);
    }

    /// The question is on disk and open; or an answer to it could not be written down, and it is open again.
    pub(crate) fn open(&mut self, id: RequestId) {
        if let Some(open) = self.open.get_mut(&id) {
            (open.shown, open.taken) = (true, false);
        }
    }

    /// This one of several people has said yes, which is on disk.
    pub(crate) fn count(&mut self, id: RequestId, by: Responder) {
        self.open.get_mut(&id).into_iter().for_each(|open| open.yes.push(by.clone()));
    }

    /// Who has said yes so far, the first one first. Whether it counts is for the question's terms to say.
    pub(crate) fn yes(&self, id: RequestId) -> &[Responder] {
        self.open.get(&id).map(|open| open.yes.as_slice()).unwrap_or_default()
    }

    /// The question could not be written down: it was never asked.
    pub(crate) fn forget(&mut self, id: RequestId) {
        self.open.remove(&id);
    }

    pub(crate) fn deadline(&self, id: RequestId) -> Option<Deadline> {
        self.open.get(&id).map(|open| open.deadline)
    }

    /// Reserves a question for a human's answer.
    ///
    /// # Errors
    /// What to tell the one who answered: unknown, already resolved, or expired.
    pub(crate) fn take(&mut self, id: RequestId, now: Timestamp) -> Result<Arc<Question>, AnswerOutcome> {
        match self.open.get(&id) {
            None => Err(self.past(id)),
            Some(open) if !open.taken && open.deadline.is_over(now) => Err(AnswerOutcome::Expired),
            Some(_) => self.take_away(id).ok_or(AnswerOutcome::AlreadyResolved),
        }
    }

    /// Reserves a question that ends without a human: it expired, was withdrawn or became void. None when somebody
    /// was first.
    pub(crate) fn take_away(&mut self, id: RequestId) -> Option<Arc<Question>> {
        let open = self.open.get_mut(&id).filter(|open| !open.taken)?;
        open.taken = true;
        Some(open.question.clone())
    }

    /// Another version of a taken question is on disk: it is this one that is open now, and nobody has said yes to it.
    pub(crate) fn replace(&mut self, question: &Arc<Question>) {
        if let Some(open) = self.open.get_mut(&question.id) {
            open.question = question.clone();
            open.taken = false;
            open.yes.clear();
        }
    }

    /// The question as it is now, also while somebody is answering it.
    pub(crate) fn latest(&self, id: RequestId) -> Option<Arc<Question>> {
        self.open.get(&id).map(|open| open.question.clone())
    }

    /// The end of a question is on disk: it leaves the desk.
    pub(crate) fn settle(&mut self, id: RequestId, expired: bool) {
        if self.open.remove(&id).is_none() {
            return;
        }
        let late = if expired { AnswerOutcome::Expired } else { AnswerOutcome::AlreadyResolved };
        self.ended.insert(id, late);
        self.order.push_back(id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ended.remove(&oldest);
        }
    }

    /// All questions that have not ended, the oldest first. One that somebody is answering is among them: it may be as open
    /// as before after that.
    pub(crate) fn questions(&self) -> Vec<Arc<Question>> {
        let shown = self.open.values().filter(|open| open.shown);
        let mut all: Vec<_> = shown.map(|open| open.question.clone()).collect();
        all.sort_by_key(|q| (q.created, q.id));
        all
    }

    /// An open question that nobody is answering right now.
    pub(crate) fn get(&self, id: RequestId) -> Option<Arc<Question>> {
        self.open.get(&id).filter(|open| !open.taken).map(|open| open.question.clone())
    }

    /// Who asked a question that has not left the desk yet.
    pub(crate) fn asker(&self, id: RequestId) -> Option<AgentId> {
        self.open.get(&id).map(|open| open.question.call.agent().clone())
    }

    /// How many questions this agent has open.
    pub(crate) fn count_of(&self, agent: &AgentId) -> usize {
        self.open.values().filter(|open| open.question.call.agent() == agent).count()
    }

    /// The question whose id begins with `prefix`: an open one, else one that has ended not long ago.
    pub(crate) fn find(&self, prefix: &str) -> IdMatch {
        if let Some(id) = RequestId::parse(prefix) {
            return IdMatch::One(id);
        }
        let wanted = prefix.to_ascii_lowercase();
        let begins = |id: &&RequestId| !wanted.is_empty() && id.to_string().starts_with(&wanted);
        match only(self.open.keys().filter(begins)) {
            IdMatch::None => only(self.order.iter().filter(begins)),
            found => found,
        }
    }

    /// What to say of a question that is not open.
    pub(crate) fn past(&self, id: RequestId) -> AnswerOutcome {
        self.ended.get(&id).cloned().unwrap_or(AnswerOutcome::Unknown)
    }
}

fn only<'a>(mut hits: impl Iterator<Item = &'a RequestId>) -> IdMatch {
    match (hits.next(), hits.next()) {
        (Some(id), None) => IdMatch::One(*id),
        (None, _) => IdMatch::None,
        (Some(_), Some(_)) => IdMatch::Several,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::text::tests::question;

    fn desk_with_one() -> (Desk, RequestId) {
        let mut desk = Desk::default();
        let id = put(&mut desk);
        (desk, id)
    }

    fn put(desk: &mut Desk) -> RequestId {
        let q = question(r#"{"a":"x"}"#);
        desk.reserve(q.clone(), q.created);
        desk.open(q.id);
        q.id
    }

    const SOON: Timestamp = Timestamp(1_000);

    #[test]
    fn a_reserved_question_counts_but_nobody_sees_it() {
        let mut desk = Desk::default();
        let q = question("{}");
        desk.reserve(q.clone(), q.created);
        assert_eq!((desk.count_of(q.call.agent()), desk.questions().len()), (1, 0));
        assert!(desk.take(q.id, SOON).is_err());
        desk.forget(q.id);
        assert_eq!(desk.take(q.id, SOON).unwrap_err(), AnswerOutcome::Unknown);
    }

    #[test]
    fn the_first_answer_wins() {
        let (mut desk, id) = desk_with_one();
        assert!(desk.take(id, SOON).is_ok());
        assert_eq!(desk.take(id, SOON).unwrap_err(), AnswerOutcome::AlreadyResolved);
        assert!(desk.take_away(id).is_none());
        desk.settle(id, false);
        assert_eq!(desk.take(id, SOON).unwrap_err(), AnswerOutcome::AlreadyResolved);
        assert_eq!(desk.take(RequestId::random(), SOON).unwrap_err(), AnswerOutcome::Unknown);
    }

    #[test]
    fn an_answer_that_was_not_written_down_did_not_happen() {
        let (mut desk, id) = desk_with_one();
        desk.take(id, SOON).unwrap();
        assert_eq!(desk.questions().len(), 1, "who looks now must not miss it");
        desk.open(id);
        assert!(desk.take(id, SOON).is_ok());
    }

    #[test]
    fn a_late_answer_is_expired_before_and_after_the_desk_noticed() {
        let (mut desk, id) = desk_with_one();
        assert_eq!(desk.take(id, Timestamp(i64::MAX)).unwrap_err(), AnswerOutcome::Expired);
        assert!(desk.take_away(id).is_some());
        desk.settle(id, true);
        assert_eq!(desk.take(id, SOON).unwrap_err(), AnswerOutcome::Expired);
    }

    #[test]
    fn ids_may_be_shortened_while_they_are_unique() {
        let (desk, id) = desk_with_one();
        assert_eq!(desk.find(&id.to_string()[..6]), IdMatch::One(id));
        assert_eq!(desk.find(""), IdMatch::None);
        assert_eq!(desk.find("zzzz"), IdMatch::None);
        assert_eq!(desk.find(&id.to_string()[..1]), IdMatch::One(id), "as much as is unique");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut desk = Desk::default();
        for _ in 0..REMEMBERED + 10 {
            let id = put(&mut desk);
            desk.settle(id, false);
        }
        assert_eq!(desk.ended.len(), REMEMBERED);
        assert!(desk.open.is_empty());
    }
}
