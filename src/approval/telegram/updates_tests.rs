//! Tests of who may say what.

use super::super::api::Chat;
use super::super::buttons::Press;
use super::*;
use crate::approval::text::tests::question;

const GROUP: i64 = -100;
const ANN: i64 = 7;

fn approvers() -> Approvers {
    Approvers {
        chat: GROUP,
        topic: None,
        allowed_users: vec![ANN, ANONYMOUS_ADMIN],
        bot_name: "GateBot".into(),
    }
}

fn user(id: i64) -> User {
    User { id, is_bot: false, name: "Ann".into(), username: None }
}

fn chat(id: i64) -> Chat {
    Chat { id, kind: "supergroup".into(), title: None }
}

fn tap(from: User, in_chat: Option<i64>, data: Option<&str>) -> UpdateMeaning {
    let tap = Tap {
        id: "cb".into(),
        from,
        chat: in_chat.map(chat),
        message_id: Some(55),
        data: data.map(str::to_owned),
    };
    read(&Update { id: 1, kind: UpdateKind::Tap(tap) }, &approvers())
}

fn message(text: &str) -> ChatMessage {
    ChatMessage {
        id: 60,
        chat: chat(GROUP),
        sent: None,
        from: Some(user(ANN)),
        on_behalf: false,
        forwarded: false,
        text: Some(text.into()),
        topic: None,
        reply_to: None,
        migrated_to: None,
    }
}

fn written(message: ChatMessage) -> UpdateMeaning {
    read(&Update { id: 1, kind: UpdateKind::Message(message) }, &approvers())
}

fn is_stranger(incoming: &UpdateMeaning) -> bool {
    matches!(incoming, UpdateMeaning::Stranger { .. })
}

#[test]
fn a_tap_counts_from_allowed_people_in_the_chat_only() {
    let question = question("{}");
    let data = &buttons::answers(&question, false)[0][1].data;
    let by = Person { id: ANN, shown: "Ann (7)".into() };
    let pressed = Pressed { press: Press::Allow, id: question.id, seen: Some(question.call.shown_as()) };
    let good = UpdateMeaning::Tap { callback: "cb".into(), by, pressed, message: 55 };
    assert_eq!(tap(user(ANN), Some(GROUP), Some(data)), good);
    assert!(is_stranger(&tap(user(8), Some(GROUP), Some(data))));
    assert!(is_stranger(&tap(user(ANN), Some(-101), Some(data))));
    assert!(is_stranger(&tap(user(ANN), Some(ANN), Some(data))));
    assert!(is_stranger(&tap(user(ANN), None, Some(data))));
    assert!(is_stranger(&tap(user(ANONYMOUS_ADMIN), Some(GROUP), Some(data))));
    assert!(is_stranger(&tap(User { is_bot: true, ..user(ANN) }, Some(GROUP), Some(data))));
    for odd in [None, Some(""), Some("1a"), Some("2aAAAAAAAAAAAAAAAAAAAAAA")] {
        assert_eq!(tap(user(ANN), Some(GROUP), odd), UpdateMeaning::Nonsense { callback: "cb".into() });
    }
}

#[test]
fn commands_are_read_and_those_for_other_bots_are_not() {
    for (text, command) in [
        ("/pending", BotCommand::Pending),
        ("/status@gatebot now", BotCommand::Status),
        ("/limits", BotCommand::Limits),
        ("/help", BotCommand::Help),
        ("/start", BotCommand::Help),
        ("/kill", BotCommand::Kill(None)),
        ("/kill@gatebot  garden pi ", BotCommand::Kill(Some("garden pi".into()))),
        ("/resume pi", BotCommand::Resume(Some("pi".into()))),
    ] {
        let by = Person { id: ANN, shown: "Ann (7)".into() };
        assert_eq!(written(message(text)), UpdateMeaning::Command { command, by, message: 60, sent: None });
    }
    for text in ["/status@otherbot", "status", "/kills", "kill", "", "/", "hello"] {
        assert_eq!(written(message(text)), UpdateMeaning::Ignored, "{text}");
    }
}

#[test]
fn messages_in_the_name_of_chats_or_forwarded_or_of_bots_mean_nothing() {
    let reply = ChatMessage { reply_to: Some(55), ..message("because") };
    assert!(matches!(written(reply.clone()), UpdateMeaning::Reply { to: 55, .. }));
    for odd in [
        ChatMessage { on_behalf: true, ..reply.clone() },
        ChatMessage { forwarded: true, ..reply.clone() },
        ChatMessage { from: None, ..reply.clone() },
        ChatMessage { from: Some(User { is_bot: true, ..user(ANN) }), ..reply.clone() },
        ChatMessage { text: None, ..reply.clone() },
        ChatMessage { from: Some(user(8)), ..reply.clone() },
        ChatMessage { chat: chat(-101), ..reply },
    ] {
        assert_eq!(written(odd.clone()), UpdateMeaning::Ignored, "{odd:?}");
    }
}

#[test]
fn strangers_who_talk_to_the_bot_are_noted() {
    let stranger =
        |text: &str, chat_id| ChatMessage { from: Some(user(8)), chat: chat(chat_id), ..message(text) };
    assert_eq!(written(stranger("hello all", GROUP)), UpdateMeaning::Ignored);
    assert!(is_stranger(&written(stranger("/status", GROUP))));
    let private = written(stranger("let me in", 8));
    let (who, from) = ("Ann (8) in chat 8".to_owned(), Approach::Words { chat: 8, message: 60 });
    assert_eq!(private, UpdateMeaning::Stranger { person: 8, from, who });
    for (text, noted) in [
        ("/open_the_door", true),
        ("/kill@gatebot now", true),
        ("/status@otherbot", false),
        ("/etc/passwd", false),
        ("/", false),
        ("/ status", false),
    ] {
        assert_eq!(is_stranger(&written(stranger(text, GROUP))), noted, "{text}");
    }
    // An approver elsewhere is a stranger too.
    assert!(is_stranger(&written(ChatMessage { chat: chat(ANN), ..message("/status") })));
}

#[test]
fn only_the_group_itself_says_that_it_moved() {
    assert_eq!(written(ChatMessage { migrated_to: Some(-200), ..message("") }), UpdateMeaning::Moved);
    let other = ChatMessage { migrated_to: Some(-200), chat: chat(-101), ..message("") };
    assert_eq!(written(other), UpdateMeaning::Ignored);
}
