//! What is sent next, and when. Pure: it is handed the time.
//!
//! Telegram wants about one message a second in a chat and twenty a minute in a group. So a job names a question, and
//! what it looks like is decided when the job's turn comes: edits of one card become one, and a question that has
//! ended before it was sent is never sent. Answers to taps do not go through here; they never wait.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::api::BotError;
use crate::base::ids::{RequestId, random_bytes};

/// Between two messages in one chat.
const GAP: Duration = Duration::from_secs(1);
/// What a group takes in [`MINUTE`].
const GROUP_LIMIT: usize = 20;
/// What edits leave of that for new questions.
const RESERVE: usize = 5;
/// How many questions and replies go before an edit that waits: a flood of them must not keep a card from saying how
/// its question ended.
const PATIENCE: usize = 4;
const MINUTE: Duration = Duration::from_secs(60);
/// How many edits may wait. So many come together only where messages can be sent and not changed.
const MAX_EDITS: usize = 256;
/// How many answers to commands may wait. They are worth nothing later.
const MAX_REPLIES: usize = 10;
/// The longest wait that a server can ask for.
const LONGEST: Duration = Duration::from_secs(300);

/// Something to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// The next message of a card that is not in the chat as a whole.
    Ask(RequestId),
    /// A card that no longer looks as it should.
    Edit(RequestId),
    /// A few words to somebody.
    Reply {
        /// The message that they answer.
        to: Option<i64>,
        /// The words.
        text: String,
    },
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Send this.
    Send(Job),
    /// Nothing before then.
    At(Instant),
    /// Nothing at all.
    Idle,
}

/// The jobs that wait.
pub struct Queue {
    asks: VecDeque<RequestId>,
    replies: VecDeque<Job>,
    edits: VecDeque<RequestId>,
    /// How many others have gone before the edit that waits.
    passed: usize,
    /// Questions and replies take turns: nobody waits long for a word, and people's commands delay no question by much.
    asked_last: bool,
    group: bool,
    /// When messages were sent, for as long as they count.
    sent: VecDeque<Instant>,
    held_until: Option<Instant>,
    /// The same for edits alone.
    edits_held_until: Option<Instant>,
}

impl Queue {
    /// An empty queue for this chat.
    pub fn new(chat: i64) -> Queue {
        Queue {
            asks: VecDeque::new(),
            replies: VecDeque::new(),
            edits: VecDeque::new(),
            passed: 0,
            asked_last: false,
            group: chat < 0,
            sent: VecDeque::new(),
            held_until: None,
            edits_held_until: None,
        }
    }

    /// A question is to be sent, whole or the rest of it. Agents take turns: the second of one comes after the first of
    /// another, so that no agent's many long questions keep those of others waiting.
    pub fn ask<A: Ord>(&mut self, id: RequestId, owner: impl Fn(RequestId) -> A) {
        if self.asks.contains(&id) {
            return;
        }
        let asker = owner(id);
        let own = self.asks.iter().filter(|other| owner(**other) == asker).count();
        let after_own = self.asks.iter().rposition(|other| owner(*other) == asker).map_or(0, |at| at + 1);
        let mut turns = BTreeMap::new();
        let is_later = |other: &RequestId| {
            let turn = turns.entry(owner(*other)).or_insert(0);
            *turn += 1;
            *turn > own + 1
        };
        let turn = self.asks.iter().position(is_later).unwrap_or(self.asks.len());
        self.asks.insert(turn.max(after_own), id);
    }

    /// A card looks different now. One edit stands for all changes until it is sent. When there are too many, the one
    /// that has waited longest is given up and comes back.
    pub fn edit(&mut self, id: RequestId) -> Option<RequestId> {
        if !self.edits.contains(&id) {
            self.edits.push_back(id);
        }
        if self.edits.len() > MAX_EDITS { self.edits.pop_front() } else { None }
    }

    /// A question ended: what was not sent of it is not sent any more.
    pub fn forget_ask(&mut self, id: RequestId) {
        self.asks.retain(|waiting| *waiting != id);
    }

    /// Words for somebody; the oldest give way when there are too many.
    pub fn reply(&mut self, to: Option<i64>, text: String) {
        self.replies.push_back(Job::Reply { to, text });
        if self.replies.len() > MAX_REPLIES {
            self.replies.pop_front();
        }
    }

    /// How many jobs wait.
    pub fn len(&self) -> usize {
        self.asks.len() + self.edits.len() + self.replies.len()
    }

    /// What to do now. A job that is handed out has left the queue.
    pub fn next(&mut self, now: Instant) -> Next {
        while self.sent.front().is_some_and(|at| now.saturating_duration_since(*at) >= MINUTE) {
            self.sent.pop_front();
        }
        let urgent = !self.asks.is_empty() || !self.replies.is_empty();
        if !urgent && self.edits.is_empty() {
            return Next::Idle;
        }
        match self.ready_at(urgent).filter(|at| *at > now) {
            Some(at) => Next::At(at),
            None => self.take(now).map_or(Next::Idle, Next::Send),
        }
    }

    fn take(&mut self, now: Instant) -> Option<Job> {
        let rest = self.edits_held_until.is_some_and(|until| until > now);
        let late = self.passed >= PATIENCE && !self.edits.is_empty() && !rest;
        let reply_first = self.asked_last || self.asks.is_empty();
        let urgent = match (late, reply_first) {
            (true, _) => None,
            (false, true) if !self.replies.is_empty() => self.replies.pop_front(),
            (false, _) => self.asks.pop_front().map(Job::Ask),
        };
        if let Some(job) = &urgent {
            self.asked_last = matches!(job, Job::Ask(_));
        }
        self.passed = if urgent.is_some() && !self.edits.is_empty() { self.passed + 1 } else { 0 };
        urgent.or_else(|| self.edits.pop_front().map(Job::Edit))
    }

    fn ready_at(&self, urgent: bool) -> Option<Instant> {
        let gap = self.sent.back().map(|at| *at + GAP);
        let limit = if urgent { GROUP_LIMIT } else { GROUP_LIMIT - RESERVE };
        let over = self.group.then(|| self.sent.len().checked_sub(limit)).flatten();
        let room = over.and_then(|index| self.sent.get(index)).map(|at| *at + MINUTE);
        let edits = self.edits_held_until.filter(|_| !urgent);
        [gap, room, self.held_until, edits].into_iter().flatten().max()
    }

    /// A message was sent (or may have been).
    pub fn sent(&mut self, now: Instant) {
        self.sent.push_back(now);
    }

    /// A job that could not be done: it is first again.
    pub fn put_back(&mut self, job: Job) {
        match job {
            Job::Ask(id) => {
                self.forget_ask(id);
                self.asks.push_front(id);
            }
            Job::Edit(id) if !self.edits.contains(&id) => self.edits.push_front(id),
            Job::Edit(_) => {}
            reply @ Job::Reply { .. } => self.replies.push_front(reply),
        }
    }

    /// Nothing is sent for this long; at most five minutes.
    pub fn hold(&mut self, now: Instant, time: Duration) {
        self.held_until = Some(now + time.min(LONGEST));
    }

    /// No card is edited for this long; at most five minutes. Questions and replies go on.
    pub fn hold_edits(&mut self, now: Instant, time: Duration) {
        self.edits_held_until = Some(now + time.min(LONGEST));
    }

    /// The connection is back: no need to wait for the end of a back-off.
    pub fn release(&mut self) {
        (self.held_until, self.edits_held_until) = (None, None);
    }
}

/// How long to wait after errors: 1 s, 2 s, 4 s and so on to 60 s, spread by chance; four times as long where in
/// general only a person can mend it.
#[derive(Debug, Default)]
pub struct Backoff(u32);

/// How long to wait when only a person can mend it.
pub const SLOWLY: Duration = Duration::from_secs(60);

impl Backoff {
    /// The wait after this error.
    pub fn after(&mut self, error: &BotError) -> Duration {
        self.0 = self.0.saturating_add(1);
        match error {
            BotError::TooMany { retry_after } => (*retry_after).min(LONGEST),
            BotError::Unauthorized | BotError::NotFound => self.grown(4),
            _ => self.grown(1),
        }
    }

    fn grown(&self, first_s: u64) -> Duration {
        spread(Duration::from_secs(first_s << self.0.saturating_sub(1).min(6)).min(SLOWLY), chance())
    }

    /// It worked.
    pub fn reset(&mut self) {
        self.0 = 0;
    }
}

/// Three quarters to the whole of it.
fn spread(time: Duration, chance: u8) -> Duration {
    time * 3 / 4 + time / 4 * u32::from(chance) / u32::from(u8::MAX)
}

/// Without randomness the wait is not spread.
fn chance() -> u8 {
    random_bytes::<1>().map_or(u8::MAX, |[byte]| byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// Sends all there is, one after the other, and tells after how many seconds each went out.
    fn times(queue: &mut Queue) -> Vec<(u64, Job)> {
        let begin = Instant::now();
        let mut now = begin;
        let mut all = Vec::new();
        loop {
            match queue.next(now) {
                Next::Idle => return all,
                Next::At(later) => now = later,
                Next::Send(job) => {
                    queue.sent(now);
                    all.push((now.duration_since(begin).as_secs(), job));
                }
            }
        }
    }

    #[test]
    fn questions_go_first_and_edits_become_one() {
        let (a, b, c) = (RequestId::random(), RequestId::random(), RequestId::random());
        let mut queue = Queue::new(5);
        queue.edit(a);
        queue.edit(a);
        queue.ask(b, |_| 0);
        queue.reply(None, "hello".into());
        queue.ask(c, |_| 0);
        queue.forget_ask(c);
        assert_eq!(queue.len(), 3);
        let hello = Job::Reply { to: None, text: "hello".into() };
        assert_eq!(times(&mut queue), [(0, Job::Ask(b)), (1, hello), (2, Job::Edit(a))]);
    }

    #[test]
    fn a_flood_of_questions_does_not_keep_cards_from_saying_how_they_ended() {
        let (mut queue, now, ended) = (Queue::new(-5), Instant::now(), RequestId::random());
        queue.edit(ended);
        for turn in 0..10 {
            // An agent asks, and takes back what was sent, as fast as messages go out.
            queue.ask(RequestId::random(), |_| 0);
            queue.reply(None, "nothing is open".into());
            if queue.next(now + seconds(turn)) == Next::Send(Job::Edit(ended)) {
                return;
            }
        }
        panic!("the edit never had its turn");
    }

    #[test]
    fn questions_and_replies_take_turns() {
        let mut queue = Queue::new(5);
        (0..3).for_each(|_| queue.ask(RequestId::random(), |_| 0));
        (0..3).for_each(|n| queue.reply(None, n.to_string()));
        let asks: Vec<bool> = times(&mut queue).iter().map(|(_, job)| matches!(job, Job::Ask(_))).collect();
        assert_eq!(asks, [true, false, true, false, true, false]);
    }

    #[test]
    fn a_group_gets_twenty_a_minute_and_edits_leave_room() {
        let mut queue = Queue::new(-5);
        (0..25).for_each(|_| queue.ask(RequestId::random(), |_| 0));
        let at: Vec<u64> = times(&mut queue).iter().map(|(at, _)| *at).collect();
        assert_eq!((at[19], at[20], at[24]), (19, 60, 64));

        let mut queue = Queue::new(-5);
        for _ in 0..16 {
            queue.edit(RequestId::random());
        }
        let now = Instant::now();
        for _ in 0..15 {
            assert!(matches!(queue.next(now + seconds(30)), Next::Send(_)));
            queue.sent(now);
        }
        assert_eq!(queue.next(now + seconds(30)), Next::At(now + MINUTE));
        queue.ask(RequestId::random(), |_| 0);
        assert!(matches!(queue.next(now + seconds(30)), Next::Send(Job::Ask(_))));
        let mut private = Queue::new(5);
        (0..70).for_each(|_| private.ask(RequestId::random(), |_| 0));
        assert_eq!(times(&mut private)[69].0, 69);
    }

    #[test]
    fn what_failed_comes_again_after_the_wait_and_not_twice() {
        let (now, id) = (Instant::now(), RequestId::random());
        let mut queue = Queue::new(5);
        queue.edit(id);
        assert_eq!(queue.next(now), Next::Send(Job::Edit(id)));
        queue.edit(id);
        queue.put_back(Job::Edit(id));
        queue.hold(now, seconds(100_000));
        assert_eq!((queue.len(), queue.next(now)), (1, Next::At(now + LONGEST)));
        queue.release();
        assert_eq!(queue.next(now), Next::Send(Job::Edit(id)));
    }

    #[test]
    fn an_edit_that_must_wait_holds_nothing_else_up() {
        let (mut queue, now, ended) = (Queue::new(5), Instant::now(), RequestId::random());
        queue.edit(ended);
        queue.hold_edits(now, seconds(60));
        assert_eq!(queue.next(now), Next::At(now + seconds(60)));
        for _ in 0..PATIENCE * 2 {
            queue.ask(RequestId::random(), |_| 0);
            assert!(matches!(queue.next(now), Next::Send(Job::Ask(_))));
        }
        assert_eq!(queue.next(now + seconds(60)), Next::Send(Job::Edit(ended)));
    }

    #[test]
    fn agents_take_turns() {
        let ids: Vec<_> = (0..7).map(|_| RequestId::random()).collect();
        // The first four and the last are of one agent, the others of another.
        let owner = |id| ids.iter().position(|other| *other == id).is_some_and(|at| (4..6).contains(&at));
        let mut queue = Queue::new(5);
        ids.iter().for_each(|id| queue.ask(*id, owner));
        ids.iter().for_each(|id| queue.ask(*id, owner));
        let order: Vec<_> = queue.asks.iter().map(|id| ids.iter().position(|other| other == id)).collect();
        assert_eq!(order, [0, 4, 1, 5, 2, 3, 6].map(Some));
    }

    #[test]
    fn edits_do_not_pile_up() {
        let mut queue = Queue::new(5);
        let ids: Vec<_> = (0..=MAX_EDITS).map(|_| RequestId::random()).collect();
        let given_up: Vec<_> = ids.iter().filter_map(|id| queue.edit(*id)).collect();
        assert_eq!((given_up.as_slice(), queue.len()), (&ids[..1], MAX_EDITS));
        assert_eq!(queue.edit(ids[1]), None);
    }

    #[test]
    fn replies_do_not_pile_up() {
        let mut queue = Queue::new(5);
        (0..100).for_each(|n| queue.reply(None, n.to_string()));
        assert_eq!(queue.len(), MAX_REPLIES);
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> =
            (0..9).map(|_| backoff.after(&BotError::Garbage).as_secs_f64().ceil() as u64).collect();
        assert!(waits[0] <= 1 && (3..=4).contains(&waits[2]) && (45..=60).contains(&waits[8]), "{waits:?}");
        let absurd = BotError::TooMany { retry_after: seconds(1_000_000_000) };
        assert_eq!(backoff.after(&absurd), LONGEST);
        assert!(backoff.after(&BotError::Unauthorized) >= SLOWLY * 3 / 4);
        backoff.reset();
        assert!((3..=4).contains(&backoff.after(&BotError::NotFound).as_secs()));
        assert!((5..=8).contains(&backoff.after(&BotError::Unauthorized).as_secs()));
        backoff.reset();
        assert!(backoff.after(&BotError::Server(500)) <= seconds(1));
        assert_eq!((spread(seconds(4), 0), spread(seconds(4), 255)), (seconds(3), seconds(4)));
    }
}
