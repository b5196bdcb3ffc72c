//! What the black-box tests share: a gateway process in a folder of its own, a fake service that records every byte,
//! and an agent that speaks the protocol by hand. Everything is on loopback, and everything is real.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

pub mod agent;
pub mod clock;
pub mod gateway;
#[path = "../nobody/mod.rs"]
mod nobody;
pub mod site;
pub mod stranger;
pub mod terminal;
#[path = "../timing/mod.rs"]
pub mod timing;
pub mod upstream;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

pub use agent::{Agent, error};
pub use clock::TestClock;
pub use gateway::{Gateway, Setup};
pub use nobody::Nobody;
pub use timing::{PATIENCE, eventually, takes_less};
pub use upstream::{Answer, Seen, Upstream};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_agentpass");

/// A fresh folder that is removed when dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("agentpass-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
