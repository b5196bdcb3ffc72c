//! Telegram: questions on the phone, through a bot.

pub mod api;
