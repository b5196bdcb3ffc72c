//! Messages to one server over its standard input and output, and what comes back. Whatever it sends, or does not send,
//! costs a bounded memory and keeps nobody from their turn.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use smol::channel::{Receiver, Sender, bounded};
use smol::future::{or, yield_now};
use smol::{LocalExecutor, Task, Timer};

use super::trouble::{UpstreamError, Why};
use crate::base::json::length;
use crate::protocol::mcp::upstream::{FromServer, NotReadable, ServerError, answer, parse, read};
use crate::service::child::{Child, LineError, Pipes, Program};

/// Messages that wait until the server reads them.
const MAX_WAITING: usize = 256;
/// The longest id of a server's request that is answered, in bytes of JSON.
const MAX_ID: usize = 256;

/// The text of a result, or the server's no.
pub(super) type Answer = Result<String, ServerError>;

/// One running server. Dropping it ends the server.
pub(super) struct Connection {
    child: Child,
    shared: Rc<Shared>,
    tasks: Vec<Task<()>>,
}

struct Shared {
    outbox: (Sender<String>, Receiver<String>),
    /// Those who wait for the answer with this id.
    waiting: RefCell<HashMap<u64, Sender<Answer>>>,
    last_id: Cell<u64>,
    /// What goes along with every request to servers without a handshake.
    meta: RefCell<Option<Value>>,
    /// Filled when the list of tools has changed.
    changed: (Sender<()>, Receiver<()>),
    ended: (Sender<Why>, Receiver<Why>),
    noisy: Cell<bool>,
}

impl Shared {
    fn end(&self, why: Why) {
        // The first reason counts. Those who wait hear that nobody will answer.
        let _ = self.ended.0.try_send(why);
        self.outbox.0.close();
        self.waiting.borrow_mut().clear();
    }
}

impl Connection {
    /// Starts a server. What it writes to standard error is logged as `clean` makes it.
    ///
    /// # Errors
    /// When no process can be started.
    pub(super) fn open(
        program: &Program,
        executor: &LocalExecutor<'static>,
        clean: impl Fn(String) -> String + 'static,
    ) -> Result<Connection, UpstreamError> {
        let started = program.start();
        let (child, pipes) =
            started.map_err(|e| UpstreamError { why: Why::NotStarted(e), last_words: Vec::new() })?;
        let shared = Rc::new(Shared {
            outbox: bounded(MAX_WAITING),
            waiting: RefCell::default(),
            last_id: Cell::new(0),
            meta: RefCell::default(),
            changed: bounded(1),
            ended: bounded(1),
            noisy: Cell::new(false),
        });
        let Pipes { mut input, mut output, errors } = pipes;
        let (reading, writing) = (shared.clone(), shared.clone());
        let reader = async move {
            let why = loop {
                match output.next().await {
                    Ok(Some(line)) => heard(&reading, &line),
                    Ok(None) => break Why::Ended(None),
                    Err(LineError::TooLong) => break Why::LineTooLong,
                    Err(LineError::Pipe(e)) => break Why::Pipe(e),
                }
                // Whoever always has one more line would never let others have their turn.
                yield_now().await;
            };
            reading.end(why);
        };
        let writer = async move {
            while let Ok(text) = writing.outbox.1.recv().await {
                if let Err(e) = input.send(&text).await {
                    return writing.end(Why::Pipe(e));
                }
            }
        };
        let tasks =
            vec![executor.spawn(reader), executor.spawn(writer), executor.spawn(errors.listen(clean))];
        Ok(Connection { child, shared, tasks })
    }

    pub(super) fn guard(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn set_meta(&self, meta: Value) {
        self.shared.meta.replace(Some(meta));
    }

    /// Says that its list of tools has changed. Cancelling it loses nothing.
    pub(super) async fn changed(&self) {
        let _ = self.shared.changed.1.recv().await;
    }

    /// Why it cannot be used any more. Cancelling it loses nothing.
    pub(super) async fn broken(&self) -> Why {
        self.shared.ended.1.recv().await.unwrap_or(Why::Ended(None))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.shared.waiting.borrow().is_empty()
    }

    pub(super) fn notify(&self, method: &str, params: &Value) -> Result<(), Why> {
        self.post(json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string())
    }

    fn post(&self, text: String) -> Result<(), Why> {
        self.shared.outbox.0.try_send(text).map_err(|e| match e.is_full() {
            true => Why::Stuck,
            false => Why::Pipe(io::ErrorKind::BrokenPipe.into()),
        })
    }

    /// Sends a request; its number, and where its answer comes. When nobody will answer any more, that is closed.
    ///
    /// # Errors
    /// When it was certainly not sent.
    pub(super) fn ask(&self, method: &str, params: Value) -> Result<(u64, Receiver<Answer>), Why> {
        let id = self.shared.last_id.get() + 1;
        self.shared.last_id.set(id);
        let mut params = match params {
            Value::Object(params) => params,
            _ => Map::new(),
        };
        params.extend(self.shared.meta.borrow().clone().map(|meta| ("_meta".to_owned(), meta)));
        let (tell, answer) = bounded(1);
        self.shared.waiting.borrow_mut().insert(id, tell);
        let text = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
        let posted = self.post(text);
        posted.inspect_err(|_| self.forget(id)).map(|()| (id, answer))
    }

    /// Its answer is not waited for any more.
    pub(super) fn forget(&self, id: u64) {
        self.shared.waiting.borrow_mut().remove(&id);
    }

    /// Asks and waits until `until`, which is `patience` after the beginning.
    pub(super) async fn request(
        &self,
        method: &'static str,
        params: Value,
        (until, patience): (Instant, Duration),
    ) -> Result<Value, Why> {
        let (id, answer) = self.ask(method, params)?;
        let late = async {
            Timer::at(until).await;
            Err(Why::Silent(method, patience))
        };
        let answered = async { answer.recv().await.map_err(|_| Why::Ended(None)) };
        let answered = or(answered, late).await;
        self.forget(id);
        let text = match answered {
            Ok(result) => result.map_err(|error| Why::Refused(method, error))?,
            // What ended it says more than that it ended.
            Err(Why::Ended(_)) => return Err(self.shared.ended.1.try_recv().unwrap_or(Why::Ended(None))),
            Err(why) => return Err(why),
        };
        parse(text.as_bytes()).map_err(|e| Why::Unreadable(e.to_string()))
    }

    /// Ends the server with all of its processes, and says why it could not be used.
    pub(super) async fn end(self, why: Why) -> UpstreamError {
        let Connection { child, tasks, .. } = self;
        // The last words come when it ends; the rest goes now.
        let mut tasks = tasks.into_iter();
        let (reader, writer, listener) = (tasks.next(), tasks.next(), tasks.next());
        drop((reader, writer));
        let (ended, last_words) = child.end().await;
        drop(listener);
        match why {
            // Its end shows as a closed pipe first.
            Why::Ended(_) | Why::Pipe(_) => UpstreamError { why: Why::Ended(ended), last_words },
            why => UpstreamError { why, last_words },
        }
    }
}

/// Takes one line.
fn heard(shared: &Shared, line: &[u8]) {
    match read(line) {
        Ok(FromServer::Reply { id, result }) => {
            let waiting = id.as_u64().and_then(|id| shared.waiting.borrow_mut().remove(&id));
            // Nobody waits for what comes twice, late or under a strange id.
            let _ = waiting.map(|tell| tell.try_send(result));
        }
        // A server that reads nothing gets no answers.
        Ok(FromServer::Request { id, .. }) if length(&id) > MAX_ID => {}
        Ok(FromServer::Request { id, method }) => {
            drop(shared.outbox.0.try_send(answer(&id, &method).to_string()))
        }
        Ok(FromServer::Notification(method)) if method == "notifications/tools/list_changed" => {
            let _ = shared.changed.0.try_send(());
        }
        Ok(FromServer::Notification(_)) => {}
        Err(NotReadable::Refused(why)) => shared.end(Why::Unreadable(why)),
        Err(NotReadable::Noise) if shared.noisy.replace(true) => {}
        Err(NotReadable::Noise) => {
            log::info!("a server writes lines to its standard output that are no messages")
        }
    }
}
