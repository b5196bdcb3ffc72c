//! A person at the gateway who says yes to everything at once, through the control socket.

use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use super::program::Folder;

/// Hears every question and answers it. The answers of one connection come one after another, each after it is on
/// disk, so it answers through several.
pub struct Approver {
    watch: UnixStream,
    threads: Vec<JoinHandle<()>>,
}

impl Approver {
    /// One that answers through so many connections.
    pub fn start(folder: &Folder, connections: usize) -> Approver {
        let path = folder.0.join("control.sock");
        let mut watch = connect(&path);
        watch.write_all(b"{\"command\":\"watch\"}\n").unwrap();
        let (answerers, mut threads): (Vec<_>, Vec<_>) =
            (0..connections).map(|_| answerer(path.clone())).unzip();
        let heard = watch.try_clone().unwrap();
        threads.push(thread::spawn(move || listen(heard, &answerers)));
        Approver { watch, threads }
    }
}

impl Drop for Approver {
    fn drop(&mut self) {
        let _ = self.watch.shutdown(Shutdown::Both);
        let failed = self.threads.drain(..).any(|thread| thread.join().is_err());
        assert!(!failed || thread::panicking(), "the approver failed");
    }
}

fn connect(path: &Path) -> UnixStream {
    UnixStream::connect(path).expect("the control socket")
}

/// Gives the id of each question to the next answerer.
fn listen(watch: UnixStream, answerers: &[Sender<String>]) {
    let mut turn = answerers.iter().cycle();
    for line in BufReader::new(watch).lines().map_while(Result::ok) {
        // What has a tool is a question; the rest is news of questions.
        if line.contains("\"tool\":") {
            let id = text_after(&line, "\"request_id\":\"").expect("a question has an id");
            // An answerer that is gone has failed, which is said at the end.
            let _ = turn.next().expect("an answerer").send(id.to_owned());
        }
    }
}

fn answerer(path: PathBuf) -> (Sender<String>, JoinHandle<()>) {
    let (sender, questions): (_, Receiver<String>) = channel();
    let thread = thread::spawn(move || {
        let mut socket = connect(&path);
        let mut replies = BufReader::new(socket.try_clone().unwrap());
        let mut reply = String::new();
        for id in questions {
            socket.write_all(format!("{{\"command\":\"approve\",\"id\":\"{id}\"}}\n").as_bytes()).unwrap();
            reply.clear();
            replies.read_line(&mut reply).unwrap();
            assert!(reply.contains("\"outcome\":\"resolved\""), "not approved: {reply}");
        }
    });
    (sender, thread)
}

fn text_after<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_once(name)?.1.split('"').next()
}
