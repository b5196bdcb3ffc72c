//! Rank 0: words without opinions. Nothing here knows what a tool or an approval is.

pub(crate) mod backoff;
pub(crate) mod bytes;
pub(crate) mod clock;
pub(crate) mod decimal;
pub(crate) mod digest;
pub(crate) mod domain;
pub(crate) mod glob;
pub(crate) mod histogram;
pub(crate) mod ids;
pub(crate) mod json;
pub(crate) mod json_text;
pub(crate) mod language;
pub(crate) mod network;
pub(crate) mod once_flag;
pub(crate) mod password;
pub(crate) mod path_prefix;
pub(crate) mod readable;
pub(crate) mod safe_text;
pub(crate) mod secret;
pub(crate) mod slots;
pub(crate) mod template;
pub(crate) mod time_sync;
pub(crate) mod url;
pub(crate) mod whole_regex;
pub(crate) mod words;
pub(crate) mod zone;
