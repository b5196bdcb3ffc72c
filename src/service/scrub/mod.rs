//! The owner's credentials taken out of everything that comes back.

pub(super) mod json;
mod layers;
mod scrubber;
mod spellings;

pub use scrubber::Scrubber;
