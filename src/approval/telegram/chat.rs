//! The chat that is asked: whether the bot can see it, and where it has gone. A chat that is not there does not keep a
//! gateway from starting: the bot may be added to the group a minute later, and other channels go on meanwhile.

use super::api::BotError;
use super::conversation::{ChatState, Conversation};
use super::reachability::Change;

/// What is known of the chat since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sight {
    #[default]
    Unknown,
    /// It was not there at the last look, but may come.
    Missing,
    There,
}

impl Conversation {
    /// Looks whether the bot can see the chat, so that a wrong number is found before the first question. `before` is
    /// what the last look saw.
    pub(super) async fn look_at_chat(&self, before: Sight) -> Sight {
        let (chat, began) = (self.state.borrow().home.chat, self.clock.now());
        let found = self.call(move |bot| bot.get_chat(chat)).await;
        let mut state = self.state.borrow_mut();
        match found {
            Ok(_) => {
                // When a message was refused, only the next one shows that it is over.
                if before == Sight::Missing && state.sending.is_failing() {
                    let _ = state.sending.worked(self.clock.now());
                    state.queue.release();
                    log::info!("telegram: the chat {chat} is there");
                }
            }
            Err(BotError::Migrated { to_chat }) if follow(&mut state, to_chat) => {}
            Err(error @ (BotError::Refused { .. } | BotError::Migrated { .. })) => {
                let why = why_not(&error, chat);
                if state.sending.failed(began, why.clone()) == Change::Lost {
                    log::error!("telegram: nobody can be asked: {why}");
                }
                return Sight::Missing;
            }
            // The fetching loop logs that Telegram cannot be reached.
            Err(_) => return before,
        }
        drop(state);
        self.wake();
        Sight::There
    }
}

/// The error of a call about a chat, with a remedy where the number is likely wrong.
pub(crate) fn why_not(error: &BotError, chat: i64) -> String {
    match error {
        BotError::Refused { text, .. } if text.to_ascii_lowercase().contains("chat not found") => {
            format!(
                "the bot sees no chat {chat}: {}; agentpass telegram-setup finds the number",
                remedy(chat)
            )
        }
        BotError::Refused { text, .. } if text.to_ascii_lowercase().contains("thread not found") => {
            "the chat has no such topic: check messenger.telegram.message_thread_id".to_owned()
        }
        other => other.to_string(),
    }
}

/// People copy the number of a group without what belongs before it.
fn remedy(chat: i64) -> String {
    match chat {
        1.. => "open the bot and press Start; a group's number is negative, a supergroup's begins with -100"
            .into(),
        -999_999_999_999.. => {
            format!("add the bot to the group, or if it is a supergroup, write -100{}", chat.unsigned_abs())
        }
        _ => "add the bot to the group".into(),
    }
}

/// The configured group has become a supergroup, as Telegram said to a message of ours: it has another number, and we
/// know the numbers of none of its messages. That happens once; anything else is not believed.
pub(super) fn follow(state: &mut ChatState, chat: i64) -> bool {
    if !state.home.may_become(chat) {
        return false;
    }
    log::warn!("telegram: the group is a supergroup now; set messenger.telegram.chat_id to {chat}");
    state.home.chat = chat;
    state.approvers.chat = chat;
    for id in state.board.forget_messages() {
        state.ask(id);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_likely_wrong_gets_the_right_hint() {
        let gone = BotError::Refused { code: 400, text: "Bad Request: chat not found".into() };
        for (chat, hint) in [
            (7001, "press Start"),
            (-1_234_567_890, "write -1001234567890;"),
            (-1_001_234_567_890, "add the bot to the group;"),
        ] {
            let why = why_not(&gone, chat);
            assert!(why.contains(hint) && why.contains("telegram-setup"), "{why}");
        }
        let kicked = BotError::Refused { code: 403, text: "Forbidden: bot was kicked".into() };
        assert!(why_not(&kicked, 1).contains("bot was kicked"));
    }
}
