//! Tests of the cards.

use super::*;
use crate::approval::lines::{CONTINUED, CONTINUES};
use crate::approval::text::tests::{question, question_about};
use crate::model::{Denial, Responder, Void};

/// The longest message.
const MAX_UNITS: usize = 4096;

fn open() -> CardProgress {
    CardProgress::default()
}

fn ended_by(end: QuestionEnd) -> CardProgress {
    let who = Some("Ann (7)".to_owned());
    CardProgress { settled: Some((end, Some(Timestamp(52_000_000)), who)), ..open() }
}

fn approved() -> QuestionEnd {
    QuestionEnd::Approved { by: Responder::new("telegram", "7") }
}

/// The part of a text that an entity is about.
fn part(message: &OutgoingMessage, entity: &Entity) -> String {
    let units: Vec<u16> = message.text.encode_utf16().collect();
    String::from_utf16(&units[entity.offset..entity.offset + entity.length]).unwrap()
}

fn blocks(messages: &[OutgoingMessage]) -> String {
    let blocks = messages.iter().flat_map(|m| m.entities.iter().map(move |e| (m, e)));
    blocks.filter(|(_, e)| e.style == Style::Pre).map(|(m, e)| part(m, e) + "\n").collect()
}

#[test]
fn a_short_question_is_one_message() {
    let all = messages(&question(r#"{"a":"x","pin":"1234"}"#), &open());
    let [message] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(
        message.text,
        "❓ Allow t_delete?\nAnswer by 00:01 UTC (60 s)\n\nDeletes\nAgent: default\n\
         Risk: irreversible\nRule: no rule matched, so you are asked\n\nFrom the agent:\n\
         agent says: because\n      tool: harmless\n  a: x\n  pin: •••"
    );
    let bold = part(message, &message.entities[0]);
    assert_eq!((bold.as_str(), message.entities[0].style), ("❓ Allow t_delete?", Style::Bold));
    assert!(blocks(&all).starts_with("agent says: because"));
    let names = |m: &OutgoingMessage| m.keyboard.iter().flatten().map(|b| b.text.clone()).collect::<Vec<_>>();
    assert_eq!(names(message), ["Deny", "Allow"]);
    let reasons = CardProgress { reasons: true, ..open() };
    let with_reasons = messages(&question("{}"), &reasons).remove(0);
    assert_eq!(names(&with_reasons), ["Deny", "Allow", "Deny with a reason"]);
}

#[test]
fn a_name_that_only_looks_declared_is_told_apart() {
    let text = messages(&question_about("{\"a\":1,\"\u{430}\":1}", true), &open()).remove(0).text;
    assert!(text.ends_with("\n  a: 1\n  ⟨U+0430⟩ ⟨not declared⟩: 1"), "{text}");
}

#[test]
fn the_agents_words_stand_in_the_block_only() {
    let evil = "x\n✅ Allowed: t_delete\nAgent: root\u{202e}";
    let args = serde_json::json!({"note": evil, "a": "@admin https://example.com /approve"}).to_string();
    let all = messages(&question(&args), &open());
    let block = blocks(&all);
    let outside = all[0].text.replace(block.trim_end_matches('\n'), "");
    for word in ["✅ Allowed", "root", "@admin", "example.com"] {
        assert!(block.contains(word) && !outside.contains(word), "{word} in\n{}", all[0].text);
    }
    assert!(block.contains("      Agent: root⟨U+202E⟩"), "{block}");
}

#[test]
fn long_questions_are_split_and_nothing_is_lost() {
    for (unit, count) in
        [("x", 11_000), ("😀", 9_000), ("\u{200b}", 900), ("ab\n", 3_000), ("é e\u{301} ", 2_000)]
    {
        let value = unit.repeat(count);
        let q = question(&serde_json::json!({"note": value}).to_string());
        let all = messages(&q, &open());
        assert!(all.len() > 1 && all.iter().all(|m| units(&m.text) <= MAX_UNITS), "{unit:?}");
        let (last, first) = all.split_last().unwrap();
        assert!(first.iter().all(|m| m.keyboard.is_empty()) && last.keyboard.concat().len() == 2);
        assert!(last.text.contains(&format!("Part {0} of {0}", all.len())));
        let whole = blocks(&all).replace(&format!("{CONTINUES}\n{CONTINUED}"), "");
        let shown = lines(fields(&q).iter().filter(|f| f.by_agent));
        let expected: String = shown.iter().map(|line| format!("{}\n", line.text)).collect();
        assert_eq!(whole, expected, "{unit:?}");
    }
}

#[test]
fn an_escape_is_never_cut() {
    let q = question(&serde_json::json!({"note": "\u{200b}".repeat(1500)}).to_string());
    for message in messages(&q, &open()) {
        let text = message.text.replace(CONTINUES, "").replace(CONTINUED, "");
        assert_eq!(text.matches('⟨').count(), text.matches("⟨U+200B⟩").count(), "{text}");
    }
}

#[test]
fn what_happened_is_on_the_card() {
    let denied = |note: Option<&str>| {
        let by = Responder::new("telegram", "7");
        ended_by(QuestionEnd::Denied { by, note: note.map(str::to_owned) })
    };
    let end = |end| CardProgress { end: Some(end), ..ended_by(approved()) };
    let minute = Some(Duration::from_secs(60));
    let cases = [
        (ended_by(approved()), "✅ Allowed: t_delete\nBy Ann (7) at 14:26 UTC.\n"),
        (end(CallEnd::Done(None)), "✅ Allowed: t_delete\nBy Ann (7) at 14:26 UTC. Done.\n"),
        (
            end(CallEnd::Done(Some("image, 34 kB".into()))),
            "✅ Allowed: t_delete\nBy Ann (7) at 14:26 UTC. Done: image, 34 kB.\n",
        ),
        (
            end(CallEnd::Failed("Service unreachable".into())),
            "⚠️ Failed: t_delete\nAllowed by Ann (7) at 14:26 UTC. Service unreachable.\n",
        ),
        (
            end(CallEnd::Unknown),
            "⚠️ Unknown: t_delete\nAllowed by Ann (7) at 14:26 UTC. It may have been done or not.\n",
        ),
        (denied(None), "⛔ Denied: t_delete\nBy Ann (7) at 14:26 UTC.\n\n"),
        (
            denied(Some("no\nthanks")),
            "⛔ Denied: t_delete\nBy Ann (7) at 14:26 UTC.\nThe agent was told: no⟨U+000A⟩thanks\n",
        ),
        (
            CardProgress { note_by: Some("Ben (8)".into()), ..denied(Some("no")) },
            "⛔ Denied: t_delete\nBy Ann (7) at 14:26 UTC.\nThe agent was told by Ben (8): no\n",
        ),
        (
            CardProgress { note: minute, ..denied(None) },
            "⛔ Denied: t_delete\nBy Ann (7) at 14:26 UTC.\nTo tell the agent why, reply to this message within 60 s.\n",
        ),
        (
            ended_by(QuestionEnd::TimedOut),
            "⌛ Expired: t_delete\nNobody answered in time. It was not done at",
        ),
        (ended_by(QuestionEnd::Withdrawn), "↩️ Withdrawn: t_delete\nThe agent took it back at 14:26 UTC.\n"),
        (
            ended_by(QuestionEnd::Void(Void::Denied(Denial::by_rule(Some("Be quiet".into()))))),
            "⚠️ Void: t_delete\nIt was not done at 14:26 UTC: a rule denies it now: Be quiet.",
        ),
    ];
    for (progress, expected) in cases {
        let all = messages(&question(r#"{"a":"x"}"#), &progress);
        assert!(all[0].text.starts_with(expected), "{}", all[0].text);
        assert_eq!(all[0].keyboard.len(), usize::from(progress.note.is_some()));
        assert!(all[0].text.ends_with("  a: x"));
    }
}

#[test]
fn what_changes_never_moves_the_parts_or_fills_the_message() {
    let q = question(&serde_json::json!({"note": "y".repeat(9000)}).to_string());
    let long = "⟨".repeat(5000);
    let busy = CardProgress {
        count: 3,
        away: Some((Some(Timestamp(0)), Timestamp(9))),
        reminded: Some(Duration::from_secs(300)),
        ..open()
    };
    let failed = CardProgress { end: Some(CallEnd::Failed(long)), ..ended_by(approved()) };
    let blocks_of = |progress: &CardProgress| blocks(&messages(&q, progress));
    for progress in [&busy, &failed] {
        assert_eq!(blocks_of(progress), blocks_of(&open()));
    }
    assert!(
        messages(&q, &busy).last().unwrap().text.contains("Asked 3 times\n⚠️ I was away from 00:00 UTC to")
    );
    for progress in [busy, failed] {
        assert!(messages(&q, &progress).iter().all(|m| units(&m.text) <= MAX_UNITS));
    }
}

#[test]
fn a_card_without_its_question_says_what_is_known() {
    let text =
        remains("t_delete", &CardProgress { end: Some(CallEnd::Done(None)), ..ended_by(approved()) }).text;
    assert_eq!(text, "✅ Allowed: t_delete\nBy Ann (7) at 14:26 UTC. Done.");
    assert!(remains("t_delete", &open()).text.starts_with("⚠️ Ended: t_delete\n"));
}
