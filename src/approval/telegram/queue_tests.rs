//! What `queue` promises.

use super::*;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Sends all there is, one after the other, and tells after how many seconds each went out.
fn times(queue: &mut Queue) -> Vec<(u64, SendJob)> {
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
    let hello = SendJob::Reply { to: None, text: "hello".into(), keyboard: Vec::new() };
    assert_eq!(times(&mut queue), [(0, SendJob::Ask(b)), (1, hello), (2, SendJob::Edit(a))]);
}

#[test]
fn a_flood_of_questions_does_not_keep_cards_from_saying_how_they_ended() {
    let (mut queue, now, ended) = (Queue::new(-5), Instant::now(), RequestId::random());
    queue.edit(ended);
    for turn in 0..10 {
        // An agent asks, and takes back what was sent, as fast as messages go out.
        queue.ask(RequestId::random(), |_| 0);
        queue.reply(None, "nothing is open".into());
        if queue.next(now + seconds(turn)) == Next::Send(SendJob::Edit(ended)) {
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
    let asks: Vec<bool> = times(&mut queue).iter().map(|(_, job)| matches!(job, SendJob::Ask(_))).collect();
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
    assert!(matches!(queue.next(now + seconds(30)), Next::Send(SendJob::Ask(_))));
    let mut private = Queue::new(5);
    (0..70).for_each(|_| private.ask(RequestId::random(), |_| 0));
    assert_eq!(times(&mut private)[69].0, 69);
}

#[test]
fn what_failed_comes_again_after_the_wait_and_not_twice() {
    let (now, id) = (Instant::now(), RequestId::random());
    let mut queue = Queue::new(5);
    queue.edit(id);
    assert_eq!(queue.next(now), Next::Send(SendJob::Edit(id)));
    queue.edit(id);
    queue.put_back(SendJob::Edit(id));
    queue.hold(now, seconds(100_000));
    assert_eq!((queue.len(), queue.next(now)), (1, Next::At(now + LONGEST)));
    queue.release();
    assert_eq!(queue.next(now), Next::Send(SendJob::Edit(id)));
}

#[test]
fn an_edit_that_must_wait_holds_nothing_else_up() {
    let (mut queue, now, ended) = (Queue::new(5), Instant::now(), RequestId::random());
    queue.edit(ended);
    queue.hold_edits(now, seconds(60));
    assert_eq!(queue.next(now), Next::At(now + seconds(60)));
    for _ in 0..PATIENCE * 2 {
        queue.ask(RequestId::random(), |_| 0);
        assert!(matches!(queue.next(now), Next::Send(SendJob::Ask(_))));
    }
    assert_eq!(queue.next(now + seconds(60)), Next::Send(SendJob::Edit(ended)));
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
    let mut backoff = BotBackoff::default();
    let waits: Vec<u64> =
        (0..9).map(|_| backoff.after(&BotError::Garbage).as_secs_f64().ceil() as u64).collect();
    assert!(waits[0] <= 1 && (3..=4).contains(&waits[2]) && (45..=60).contains(&waits[8]), "{waits:?}");
    let absurd = BotError::TooMany { retry_after: seconds(1_000_000_000) };
    assert_eq!(backoff.after(&absurd), LONGEST);
    assert!(backoff.after(&BotError::Unauthorized) >= LONGEST_BACKOFF * 3 / 4);
    backoff.reset();
    assert!((3..=4).contains(&backoff.after(&BotError::NotFound).as_secs()));
    assert!((5..=8).contains(&backoff.after(&BotError::Unauthorized).as_secs()));
    backoff.reset();
    assert!(backoff.after(&BotError::Server(500)) <= seconds(1));
}
