//! The guard: this program once more, as the parent of one child. It passes the child's input on, and when there is no
//! one left to send any, it ends every process that came of the child.
//!
//! It takes no unsafe code. What can only be set in the child itself is set by a second start of this program, which then
//! becomes the child. A process that leaves the child's session is found all the same: the guard inherits orphans.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getpid, getppid, getrlimit, kill_process,
    kill_process_group, set_child_subreaper, set_parent_process_death_signal, setrlimit, setsid, waitid,
};
use rustix::stdio::{dup2_stderr, dup2_stdout};

/// First words of the command line that no command can have.
pub(super) const GUARD: &str = ":guard";
const CHILD: &str = ":child";
/// This program, also after an upgrade has put another one in its place.
pub(super) const THIS_PROGRAM: &str = "/proc/self/exe";

/// How long a child has to end by itself once its input has ended, and once more after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);
/// How long processes that left the child's group are hunted.
const SWEEP: Duration = Duration::from_secs(5);

/// As shells have it.
pub(super) const CANNOT_RUN: u8 = 126;
pub(super) const NOT_FOUND: u8 = 127;

/// Runs as guard or as child where the command line says so; None: it is a command of a person.
pub(crate) fn take_over(args: &[OsString]) -> Option<ExitCode> {
    let (role, words) = args.get(1..)?.split_first()?;
    let code = match role.to_str()? {
        GUARD => guard(words).unwrap_or(CANNOT_RUN),
        CHILD => become_child(words),
        _ => return None,
    };
    Some(code.into())
}

/// `GUARD-PID MEMORY-MIB PROGRAM ARGUMENTS…`
fn become_child(words: &[OsString]) -> u8 {
    let [guard, memory, program, args @ ..] = words else { return CANNOT_RUN };
    match confine(guard, memory) {
        None => CANNOT_RUN,
        Some(()) => match Command::new(program).args(args).exec().kind() {
            io::ErrorKind::NotFound => NOT_FOUND,
            _ => CANNOT_RUN,
        },
    }
}

/// A session of its own, an end with its guard, and bounds. All of it stays over the start of the child's program.
fn confine(guard: &OsString, memory: &OsString) -> Option<()> {
    let guard: i32 = guard.to_str()?.parse().ok()?;
    let memory: u64 = memory.to_str()?.parse().ok()?;
    setsid().ok()?;
    set_parent_process_death_signal(Some(Signal::KILL)).ok()?;
    // It may have died before it was asked for.
    (getppid()?.as_raw_nonzero().get() == guard).then_some(())?;
    // Not the address space: interpreters reserve far more than they use.
    limit(Resource::Data, memory.checked_mul(1024 * 1024)?)?;
    // A dump of its memory could hold what it was told.
    limit(Resource::Core, 0)
}

/// Never above what is in force already.
fn limit(what: Resource, most: u64) -> Option<()> {
    let most = getrlimit(what).maximum.map_or(most, |known| known.min(most));
    setrlimit(what, Rlimit { current: Some(most), maximum: Some(most) }).ok()
}

enum Event {
    Ended,
    /// Nobody can send input any more.
    HungUp,
}

/// `MEMORY-MIB PROGRAM ARGUMENTS…`; the exit code is the child's.
fn guard(words: &[OsString]) -> io::Result<u8> {
    set_child_subreaper(Some(getpid()))?;
    let mut this = Command::new(THIS_PROGRAM);
    this.arg0("agentpass").args([CHILD, &getpid().as_raw_nonzero().to_string()]).args(words);
    let mut child = this.stdin(Stdio::piped()).spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    let input = child.stdin.take();
    let_go_of_output()?;
    thread::spawn(move || pass_on(input));
    let (tell, events) = mpsc::channel();
    let tell_end = tell.clone();
    thread::spawn(move || {
        // Without taking its number away: the group must not be another one's when it is killed.
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let _ = tell_end.send(Event::Ended);
    });
    thread::spawn(move || {
        wait_for_hang_up();
        let _ = tell.send(Event::HungUp);
    });
    Ok(code(end(&mut child, pid, &events)?))
}

/// A child that closes its output must be seen to have closed it.
fn let_go_of_output() -> io::Result<()> {
    let nowhere = fs::OpenOptions::new().write(true).open("/dev/null")?;
    dup2_stdout(&nowhere)?;
    Ok(dup2_stderr(&nowhere)?)
}

fn pass_on(input: Option<ChildStdin>) {
    if let Some(mut input) = input {
        let _ = io::copy(&mut io::stdin().lock(), &mut input);
    }
}

/// Returns when the last writer to standard input is gone, however much is unread.
fn wait_for_hang_up() {
    let input = io::stdin();
    while poll(&mut [PollFd::new(&input, PollFlags::empty())], None) == Err(Errno::INTR) {}
}

/// Waits for the end of the child or its input, and leaves no process.
fn end(child: &mut Child, pid: Pid, events: &Receiver<Event>) -> io::Result<ExitStatus> {
    let is_alive = || events.recv_timeout(GRACE).is_err();
    if matches!(events.recv(), Ok(Event::HungUp)) && is_alive() {
        let _ = kill_process_group(pid, Signal::TERM);
        is_alive();
    }
    let _ = kill_process_group(pid, Signal::KILL);
    child.kill()?;
    let status = child.wait();
    sweep();
    status
}

fn code(status: ExitStatus) -> u8 {
    let signal = || status.signal().map(|signal| 128 + signal);
    status.code().or_else(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(CANNOT_RUN)
}

/// Kills orphans, and what becomes an orphan by that.
fn sweep() {
    let end = Instant::now() + SWEEP;
    while Instant::now() < end {
        let orphans = own_children();
        if orphans.is_empty() {
            return;
        }
        for pid in orphans {
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
        }
    }
}

fn own_children() -> Vec<Pid> {
    let own = getpid();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw));
    pids.filter(|pid| parent(*pid) == Some(own)).collect()
}

/// The fourth field of `/proc/PID/stat`; the second is a name in brackets that may hold anything.
fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (_, rest) = stat.rsplit_once(')')?;
    Pid::from_raw(rest.split_whitespace().nth(1)?.parse().ok()?)
}
