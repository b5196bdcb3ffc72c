//! Starting a child under its guard.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use smol::Timer;
use smol::future::{or, yield_now};
use smol::io::AsyncWriteExt;
use smol::process::{self, ChildStderr, ChildStdin, ChildStdout, Stdio};

use super::guard::{CANNOT_RUN, GUARD, NOT_FOUND, THIS_PROGRAM};
use super::lines::{LineError, Lines};
use crate::base::safe_text::visible;

/// What every child gets of the gateway's environment.
const PASSED_ON: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];
/// The longest line of standard output and of standard error, in bytes.
const MAX_LINE: usize = 8 * 1024 * 1024;
const MAX_WORDS: usize = 16 * 1024;
/// How many lines of a child's standard error are logged.
const LOGGED: usize = 100;
/// How many of them are kept for whoever asks why it ended, and how long each may be, in characters.
const KEPT: usize = 3;
const KEPT_CHARS: usize = 300;
/// Longer than the guard takes to end a child.
const END: Duration = Duration::from_secs(15);

/// What is started, and within which bounds.
pub(crate) struct Program {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What it gets beside `PATH`, `HOME`, `LANG` and `TZ`.
    pub env: Vec<(String, OsString)>,
    /// Each of its processes may have so much memory.
    pub memory_mib: u32,
    /// Where it runs; None: where we do.
    pub dir: Option<PathBuf>,
}

/// A child. Dropping it and its pipes ends it: its guard sees the end of its input.
pub(in crate::service) struct Child {
    process: process::Child,
    words: Rc<RefCell<VecDeque<String>>>,
}

/// What leads to a child and from it.
pub(in crate::service) struct Pipes {
    pub(in crate::service) input: Input,
    pub(in crate::service) output: Lines<ChildStdout>,
    pub(in crate::service) errors: Errors,
}

pub(in crate::service) struct Input(ChildStdin);

/// What a child writes to standard error.
pub(in crate::service) struct Errors {
    from: Option<ChildStderr>,
    kept: Rc<RefCell<VecDeque<String>>>,
}

impl Program {
    /// # Errors
    /// When no process can be started. A program that does not exist shows in how the child ends.
    pub(in crate::service) fn start(&self) -> io::Result<(Child, Pipes)> {
        let mut guard = std::process::Command::new(THIS_PROGRAM);
        guard.arg0("agentpass").arg(GUARD).arg(self.memory_mib.to_string()).args(&self.command);
        guard.env_clear().envs(PASSED_ON.iter().filter_map(|name| Some((name, env::var_os(name)?))));
        guard.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.dir {
            guard.current_dir(dir);
        }
        // What a terminal sends to us must not end the guard before its child.
        guard.process_group(0);
        let mut guard = process::Command::from(guard);
        guard.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = guard.spawn()?;
        let (input, output) = (process.stdin.take(), process.stdout.take());
        let (Some(input), Some(output)) = (input, output) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let words = Rc::default();
        let errors = Errors { from: process.stderr.take(), kept: Rc::clone(&words) };
        let pipes = Pipes { input: Input(input), output: Lines::new(output, MAX_LINE), errors };
        Ok((Child { process, words }, pipes))
    }
}

impl Input {
    /// # Errors
    /// When the child reads no more.
    pub(in crate::service) async fn send(&mut self, line: &str) -> io::Result<()> {
        self.0.write_all(line.as_bytes()).await?;
        self.0.write_all(b"\n").await?;
        self.0.flush().await
    }
}

impl Errors {
    /// Takes what the child writes, for the log, as `clean` makes it. Ends with it. All of it is read, so that the child is
    /// not held up.
    pub(in crate::service) async fn listen(self, clean: impl Fn(String) -> String) {
        let Errors { from: Some(from), kept } = self else { return };
        let mut lines = Lines::new(from, MAX_WORDS);
        let mut count = 0_usize;
        while let Some(line) = next_words(&mut lines).await {
            count += 1;
            let text = clean(String::from_utf8_lossy(&line).trim_end().to_owned());
            if count <= LOGGED {
                log::info!("a child says: {}", visible(&text));
            } else if count == LOGGED + 1 {
                log::info!("a child says more than {LOGGED} lines; no more of it is logged");
            }
            keep(&mut kept.borrow_mut(), &text);
            // Whoever always has one more line must not keep others from their turn.
            yield_now().await;
        }
    }
}

impl Child {
    /// The guard's.
    pub(in crate::service) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends the child and waits a bounded time until all of its processes are gone. How it ended, with its last words.
    /// Its pipes must have been dropped.
    pub(in crate::service) async fn end(self) -> (Option<Ended>, Vec<String>) {
        let Child { mut process, words } = self;
        let status = async { process.status().await.ok() };
        let late = async {
            Timer::after(END).await;
            None
        };
        let ended = or(status, late).await.map(Ended::from);
        (ended, words.take().into())
    }
}

fn keep(kept: &mut VecDeque<String>, text: &str) {
    kept.push_back(text.chars().take(KEPT_CHARS).collect());
    while kept.len() > KEPT {
        kept.pop_front();
    }
}

/// A line that is too long is cut where it was found to be.
async fn next_words(lines: &mut Lines<ChildStderr>) -> Option<Vec<u8>> {
    match lines.next().await {
        Ok(line) => line,
        Err(LineError::TooLong) => Some(lines.cut()),
        Err(LineError::Pipe(_)) => None,
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum Ended {
    NoSuchProgram,
    CannotRun,
    /// With this exit code; above 128 by a signal.
    Code(i32),
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Ended {
        match status.code() {
            Some(code) if code == i32::from(NOT_FOUND) => Ended::NoSuchProgram,
            Some(code) if code == i32::from(CANNOT_RUN) => Ended::CannotRun,
            Some(code) => Ended::Code(code),
            None => Ended::Code(-1),
        }
    }
}
