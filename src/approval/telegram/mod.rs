//! Telegram: questions on the phone, through a bot.

pub mod api;
mod buttons;
mod card;
mod queue;
mod updates;
