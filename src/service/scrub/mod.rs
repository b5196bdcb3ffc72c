//! The owner's credentials, taken out of everything that comes back from services.
//!
//! | file | what |
//! |---|---|
//! | `scrubber` | what is looked for, and replaced |
//! | `search` | finds secrets in a text |
//! | `spellings` | the ways in which a secret may be written |
//! | `layers` | a text without its escapes |
//! | [`json`] | JSON scrubbed from text to text |

pub(super) mod json;
mod layers;
mod scrubber;
mod search;
mod spellings;

pub use scrubber::Scrubber;
