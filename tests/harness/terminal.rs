//! The binary in a terminal of its own, 80 columns wide, with a person who waits for a text and types another.

use std::process::{Command, Stdio};

use super::{BINARY, Folder};

/// Standard Python: the terminal is made before the program starts, so that it knows its width from the beginning.
const PERSON: &str = r#"
import fcntl, json, os, pty, select, signal, struct, sys, termios, time
talk = json.loads(sys.argv[1])
pid, screen = pty.fork()
if pid == 0:
    # Whoever runs the tests in the background has Ctrl-C ignored, which programs inherit; at a terminal it is not.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    os.execv(sys.argv[2], sys.argv[2:])
seen, read, patience = b"", 0, time.monotonic() + 60
while True:
    if not select.select([screen], [], [], max(0, patience - time.monotonic()))[0] or time.monotonic() > patience:
        os.kill(pid, signal.SIGKILL)
        seen += f"\n--- waited in vain for {talk[:1]} ---".encode()
        break
    try:
        got = os.read(screen, 65536)
    except OSError:
        break
    if not got:
        break
    seen += got
    while talk and talk[0][0].encode() in seen[read:]:
        text, typed = talk.pop(0)
        read = seen.index(text.encode(), read) + len(text.encode())
        os.write(screen, typed.encode())
sys.stdout.buffer.write(seen)
sys.stdout.flush()
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status) % 256 if not os.WIFSIGNALED(status) else 128 + os.WTERMSIG(status))
"#;

/// Runs `arguments` in `folder`; `talk` is what the person waits for and then types, in order. Gives the exit code
/// (128 and the number for a signal; 137 after a minute) and all that was on the screen, without carriage returns. There are
/// no colours.
pub fn run(folder: &Folder, arguments: &[&str], talk: &[(&str, &str)]) -> (i32, String) {
    shown(folder, arguments, talk, ("NO_COLOR", "1"))
}

/// The same on a terminal with colours.
pub fn in_colour(folder: &Folder, arguments: &[&str]) -> (i32, String) {
    shown(folder, arguments, &[], ("NO_COLOR", ""))
}

fn shown(folder: &Folder, arguments: &[&str], talk: &[(&str, &str)], colour: (&str, &str)) -> (i32, String) {
    let mut command = Command::new("python3");
    command.args(["-c", PERSON, &serde_json::to_string(talk).unwrap(), BINARY]).args(arguments);
    command
        .current_dir(&folder.0)
        .env("TMPDIR", &folder.0)
        .env("TERM", "xterm")
        .env(colour.0, colour.1)
        .stdin(Stdio::null());
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap().replace('\r', ""))
}
