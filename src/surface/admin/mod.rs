//! The admin listener: pages for the owner's browser, and what other machines may look at.
//!
//! Everything is rendered here, from the same questions and the same record that all other surfaces show. No page loads
//! anything from elsewhere, and none needs a script to answer a question. It must never show anything of the record to
//! somebody who has not signed in.
//!
//! | file | what it is |
//! |---|---|
//! | [`page`] | the frame of every page, and the headers that every answer carries |
//! | [`assets`] | style and scripts, compiled in, under addresses that change with their content |

pub mod assets;
pub mod page;

pub use page::{Here, Viewer};
