//! Rank 0: words without opinions. Nothing here knows what a tool or an approval is.

pub mod bytes;
pub mod clock;
pub mod digest;
pub mod glob;
pub mod histogram;
pub mod ids;
pub mod json;
pub mod json_text;
pub mod language;
pub mod network;
pub mod password;
pub mod path_prefix;
pub mod safe_text;
pub mod secret;
pub mod template;
pub mod time_sync;
pub mod whole_regex;
pub mod zone;
