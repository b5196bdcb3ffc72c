//! Faults on order: what a method does instead of, or after, its work.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;

use super::Telegram;

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing is done; this error. The parameters stand beside it.
    Error(u16, &'static str, Value),
    /// Nothing is done; a status with a body that is no JSON, as from a proxy.
    Page(u16),
    /// Nothing is done, and no answer ever comes.
    Hang,
    /// Nothing is done; the connection is closed.
    Close,
    /// Nothing is done; 200 with bytes that are no JSON.
    Garbage,
    /// Nothing is done; 200 with a body that never ends.
    Endless,
    /// Nothing is done; a header that never ends.
    EndlessHeader,
    /// Nothing is done; 200 with a valid body of this many megabytes.
    Huge(usize),
    /// Nothing is done; valid JSON of another shape.
    Odd(&'static str),
    /// Nothing is done; 302 to this place and the path that was asked for, token and all.
    Redirect(String),
    /// It is done, but the connection is closed before the answer.
    Lost,
    /// It is done, but the answer waits for [`Telegram::release`].
    Late,
}

/// How many times a fault is left; None is for ever.
type Scripted = (Fault, Option<usize>);

#[derive(Default)]
pub(super) struct Faults {
    by_method: HashMap<String, VecDeque<Scripted>>,
    /// Grows with each release.
    pub released: u64,
    pub is_down: bool,
    /// Messages that hold one of these are refused with this code.
    pub unwelcome: Vec<(String, u16)>,
}

impl Faults {
    /// The fault for a request of this method.
    pub fn next(&mut self, method: &str) -> Option<Fault> {
        let key =
            [method, "*"].into_iter().find(|m| self.by_method.get(*m).is_some_and(|q| !q.is_empty()))?;
        let queue = self.by_method.get_mut(key)?;
        let (fault, left) = queue.front_mut()?;
        let fault = fault.clone();
        match left {
            Some(1) => {
                queue.pop_front();
            }
            Some(n) => *n -= 1,
            None => {}
        }
        Some(fault)
    }
}

impl Telegram {
    /// The next `times` requests of a method ("*" for all) go wrong like this. Faults of a method queue up.
    pub fn fault(&self, method: &str, fault: Fault, times: usize) {
        let mut state = self.lock();
        state.faults.by_method.entry(method.to_owned()).or_default().push_back((fault, Some(times)));
    }

    /// All requests of a method go wrong like this until [`Telegram::heal`].
    pub fn break_down(&self, method: &str, fault: Fault) {
        self.lock().faults.by_method.entry(method.to_owned()).or_default().push_back((fault, None));
    }

    /// Messages that hold this text are refused from now on with this code, new ones and edits.
    pub fn refuse(&self, text: &str, code: u16) {
        self.lock().faults.unwelcome.push((text.to_owned(), code));
    }

    /// Every poll hands out at once all updates that there ever were, acknowledged or not; or that ends.
    pub fn repeat_itself(&self, stuck: bool) {
        self.lock().queue.stuck = stuck;
        self.shared.changed.notify_all();
    }

    /// No more faults.
    pub fn heal(&self) {
        self.lock().faults.by_method.clear();
        self.lock().faults.unwelcome.clear();
        self.release();
    }

    /// Answers that wait go out; hanging requests are cut off.
    pub fn release(&self) {
        self.lock().faults.released += 1;
        self.shared.changed.notify_all();
    }

    /// Connections are refused and those open are cut. The port stays ours.
    pub fn down(&self) {
        let mut state = self.lock();
        state.faults.is_down = true;
        rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both).unwrap();
        for stream in state.connections.drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        self.shared.changed.notify_all();
    }

    /// The service is back.
    pub fn up(&self) {
        let mut state = self.lock();
        rustix::net::listen(&*self.listener, 128).unwrap();
        state.faults.is_down = false;
        self.shared.changed.notify_all();
    }
}
