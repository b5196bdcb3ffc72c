//! The binary run by a user who may do nothing: another one when the tests run as root (root may do everything).

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use super::{BINARY, Folder};

/// A user and group that own nothing.
const NOBODY: u32 = 65534;

/// Runs the binary in `folder`, without input.
pub fn run(folder: &Folder, arguments: &[&str]) -> Output {
    let place = Folder::new();
    let mut command = if rustix::process::geteuid().is_root() {
        // The build folder may be closed to others.
        let binary = place.0.join("agentpass");
        fs::hard_link(BINARY, &binary).or_else(|_| fs::copy(BINARY, &binary).map(drop)).unwrap();
        let mut command = Command::new(binary);
        command.uid(NOBODY).gid(NOBODY);
        command
    } else {
        Command::new(BINARY)
    };
    command.args(arguments).current_dir(&folder.0).stdin(Stdio::null()).output().unwrap()
}
