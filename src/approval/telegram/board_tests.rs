//! What `board` promises.

use super::*;
use crate::approval::text::tests::question;

const HOME: BotChat = BotChat { bot: 1, configured: -5, chat: -6 };

fn with_one() -> (Board, Arc<Question>) {
    let (mut board, q) = (Board::default(), question(r#"{"a":"x"}"#));
    assert!(board.asked(&q, false, 1, false, Arc::default()));
    (board, q)
}

#[test]
fn taps_count_on_the_own_card_only() {
    let (mut board, q) = with_one();
    assert_eq!(board.origin(q.id, 70), TapOrigin::Elsewhere);
    board.get_mut(q.id).unwrap().strays = 1;
    assert_eq!(board.origin(q.id, 70), TapOrigin::Own);
    let mut lost = Board::default();
    lost.asked(&q, true, 1, false, Arc::default());
    assert!(lost.found(q.id, 70) && !lost.found(q.id, 70) && !lost.found(q.id, 71));
    assert_eq!(lost.get(q.id).unwrap().messages, [70]);
    assert!(!lost.found(RequestId::random(), 72) && !board.found(RequestId::random(), 70));
    assert_eq!(lost.origin(q.id, 71), TapOrigin::Elsewhere, "no more is missing");
    let other = question(r#"{"a":"y"}"#);
    board.asked(&other, false, 1, false, Arc::default());
    board.get_mut(other.id).unwrap().messages = vec![70];
    assert_eq!(board.origin(q.id, 70), TapOrigin::Elsewhere);
    assert_eq!(board.origin(other.id, 70), TapOrigin::Own);
    assert_eq!(board.origin(RequestId::random(), 70), TapOrigin::Unknown);
}

#[test]
fn a_group_moves_once_and_to_a_supergroup() {
    let home = BotChat { chat: -5, ..HOME };
    assert!(home.may_become(-1_001_234_567_890));
    for other in [-5, 5, 0, -6, -100, -1_000_000_000_000, -2_000_000_000_001, i64::MIN, i64::MAX] {
        assert!(!home.may_become(other), "{other}");
    }
    assert!(!BotChat { chat: -1_001_234_567_890, ..home }.may_become(-1_001_234_567_891));
}

#[test]
fn a_restart_knows_the_cards_and_no_question() {
    let (mut board, q) = with_one();
    let unsent = question(r#"{"a":"hidden"}"#);
    board.asked(&unsent, false, 1, false, Arc::default());
    board.get_mut(q.id).unwrap().messages = vec![70];
    assert!(board.meet(7, "Ann (7)") && !board.meet(7, "Ann (7)") && board.meet(8, "Ben (8)"));
    let kept = board.kept(HOME, Timestamp(9));
    assert!(!kept.contains("hidden") && !kept.contains("\"x\""), "{kept}");

    let mut after = Board::default();
    assert_eq!(after.restore(&kept, HOME), Some((-6, Timestamp(9))));
    assert!(!after.asked(&q, true, 1, false, Arc::default()));
    assert!(after.asked(&unsent, true, 1, false, Arc::default()));
    assert_eq!(after.with_message(70), Some(q.id));
    after.keep_names_of(&[7]);
    assert_eq!((after.name(7).as_deref(), after.name(8)), (Some("Ann (7)"), None));
    // The other way round: the question is taken up first.
    let mut after = Board::default();
    assert!(after.asked(&q, true, 1, false, Arc::default()));
    after.restore(&kept, HOME);
    let card = after.get(q.id).unwrap();
    assert!(card.next_message().is_none() && card.stale == [70]);
    // The owner did as the log says.
    let adopted = BotChat { configured: -6, ..HOME };
    assert_eq!(Board::default().restore(&kept, adopted), Some((-6, Timestamp(9))));
    for other in [BotChat { bot: 2, ..HOME }, BotChat { configured: -7, ..HOME }] {
        assert_eq!(Board::default().restore(&kept, other), None);
    }
    for damaged in ["", "{}", "[]", r#"{"bot":1,"configured":-5,"cards":7}"#] {
        assert_eq!(Board::default().restore(damaged, HOME), None);
    }
}

#[test]
fn what_is_over_is_remembered_for_a_while() {
    let mut board = Board::default();
    let questions: Vec<_> = (0..REMEMBERED + 3).map(|_| question("{}")).collect();
    for q in &questions {
        board.asked(q, false, 1, false, Arc::default());
        board.finish(q.id);
        board.finish(q.id);
    }
    assert!(board.get(questions[2].id).is_none() && board.get(questions[3].id).is_some());
    assert_eq!(board.live().count(), 0);
}

#[test]
fn what_was_sent_twice_is_one_card() {
    let (mut board, q) = with_one();
    board.get_mut(q.id).unwrap().strays = 2;
    // A tap on the first copy comes before the second send returns.
    assert!(board.found(q.id, 70));
    let card = board.get_mut(q.id).unwrap();
    card.arrived(71, 0);
    card.arrived(71, 0);
    assert_eq!((card.messages.as_slice(), card.copies.as_slice()), ([70].as_slice(), [71].as_slice()));
    card.changed();
    assert_eq!(card.stale, [70, 71]);
    assert_eq!((board.origin(q.id, 70), board.origin(q.id, 71)), (TapOrigin::Own, TapOrigin::Own));
    // After a restart too, and what was not heard of is still missing.
    let mut after = Board::default();
    after.restore(&board.kept(HOME, Timestamp(9)), HOME);
    assert_eq!((after.with_message(71), after.get(q.id).unwrap().strays), (Some(q.id), 1));
    assert!(!after.adopt(q.id, "t", 72) && !after.adopt(RequestId::random(), "t", 71));
    let old = RequestId::random();
    assert!(after.adopt(old, "t", 72) && after.origin(old, 72) == TapOrigin::Own);
}

#[test]
fn a_question_that_ended_half_sent_says_so_on_what_was_sent() {
    let mut board = Board::default();
    let q = question(&json!({"note": "x".repeat(9000)}).to_string());
    board.asked(&q, false, 1, false, Arc::default());
    let card = board.get_mut(q.id).unwrap();
    card.messages = vec![70];
    assert!(card.look(0).is_none() && !card.is_final());
    card.progress.settled = Some((QuestionEnd::Withdrawn, None, None));
    let message = card.look(0).unwrap();
    assert!(message.text.starts_with("↩️ Withdrawn") && card.is_final());
    assert!(card.next_message().is_none());
}
