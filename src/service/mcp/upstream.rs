//! One MCP server over its standard input and output. Whatever it sends, or does not send, costs a bounded time and a
//! bounded memory.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use smol::Timer;
use smol::future::or;

use crate::base::json::length;
use crate::protocol::mcp::era::{META_VERSION, MODERN, NEWEST_LEGACY, server_info};
use crate::protocol::mcp::upstream::{FromServer, NotReadable, ServerError, answer, read};
use crate::service::child::{Child, Ended, LineError, Program};

/// More pages than this is no list.
const MAX_PAGES: usize = 200;
/// All pages of a list, in bytes.
const MAX_LIST: usize = 16 * 1024 * 1024;
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";

/// What a server says of itself and offers.
pub(crate) struct Listing {
    pub protocol: String,
    /// `name` and `version` as it gives them.
    pub server: Value,
    pub tools: Vec<Value>,
}

/// Why nothing is known of a server.
pub(crate) struct UpstreamError {
    why: Why,
    /// What it wrote to standard error last, as it wrote it.
    pub last_words: Vec<String>,
}

enum Why {
    NotStarted(io::Error),
    Ended(Option<Ended>),
    /// A method, and after how long.
    Silent(&'static str, Duration),
    Pipe(io::Error),
    LineTooLong,
    Unreadable(String),
    Refused(&'static str, ServerError),
    /// What it answered is not what the method answers.
    Odd(&'static str),
    EndlessList,
    ListTooLarge,
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::NotStarted(e) => write!(f, "no process can be started: {e}"),
            Why::Ended(Some(Ended::NoSuchProgram)) => write!(f, "there is no such program"),
            Why::Ended(Some(Ended::CannotRun)) => write!(f, "the program cannot be run"),
            Why::Ended(Some(Ended::Code(code))) => write!(f, "it ended (exit code {code})"),
            Why::Ended(None) => write!(f, "it ended"),
            Why::Silent(method, time) => write!(f, "no answer to {method} within {} s", time.as_secs()),
            Why::Pipe(e) => write!(f, "its pipe failed: {e}"),
            Why::LineTooLong => write!(f, "it sent a line of more than 8 MiB"),
            Why::Unreadable(why) => write!(f, "it sent a message that is not read: {why}"),
            Why::Refused(method, ServerError { code, message }) => {
                write!(f, "it refuses {method}: {message} ({code})")
            }
            Why::Odd(method) => write!(f, "its answer to {method} cannot be understood"),
            Why::EndlessList => write!(f, "its list of tools does not end"),
            Why::ListTooLarge => write!(f, "its list of tools is larger than 16 MiB"),
        }
    }
}

/// Starts a server, asks what it offers, and ends it with all of its processes. The handshake may take `patience`,
/// and so may the list, whatever its pages.
///
/// # Errors
/// When it gives no usable list.
pub(crate) async fn list(program: &Program, patience: Duration) -> Result<Listing, UpstreamError> {
    let child = program.start();
    let mut child = child.map_err(|e| UpstreamError { why: Why::NotStarted(e), last_words: Vec::new() })?;
    let listen = child.listen();
    let until = Instant::now() + patience;
    let mut session = Session { child, patience, until, last_id: 0, meta: None };
    let work = async {
        let found = session.listing().await;
        let (ended, last_words) = session.child.end().await;
        found.map_err(|why| match why {
            // Its end shows as a closed pipe first.
            Why::Ended(_) | Why::Pipe(_) => UpstreamError { why: Why::Ended(ended), last_words },
            why => UpstreamError { why, last_words },
        })
    };
    // Whoever holds its standard error open does not hold us up.
    let listen = async {
        listen.await;
        smol::future::pending().await
    };
    or(work, listen).await
}

struct Session {
    child: Child,
    patience: Duration,
    /// Until when what is asked for now may take.
    until: Instant,
    last_id: u64,
    /// What goes along with every request to servers without a handshake.
    meta: Option<Value>,
}

impl Session {
    async fn listing(&mut self) -> Result<Listing, Why> {
        let (protocol, server) = self.hello().await?;
        Ok(Listing { protocol, server, tools: self.tools().await? })
    }

    /// The handshake first: servers of both kinds refuse it once they were asked without.
    async fn hello(&mut self) -> Result<(String, Value), Why> {
        let us = server_info();
        let params = json!({"protocolVersion": NEWEST_LEGACY, "capabilities": {}, "clientInfo": us});
        match self.request("initialize", params).await {
            Ok(hello) => {
                let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
                self.send(&done, "initialize").await?;
                let version = hello.get("protocolVersion").and_then(Value::as_str);
                let version = version.ok_or(Why::Odd("initialize"))?.to_owned();
                Ok((version, hello.get("serverInfo").cloned().unwrap_or_default()))
            }
            Err(Why::Refused(..)) => {
                self.meta = Some(json!({META_VERSION: MODERN, META_CAPABILITIES: {}, META_CLIENT: us}));
                Ok((MODERN.to_owned(), Value::Null))
            }
            Err(why) => Err(why),
        }
    }

    async fn tools(&mut self) -> Result<Vec<Value>, Why> {
        self.until = Instant::now() + self.patience;
        let (mut tools, mut seen, mut size) = (Vec::new(), BTreeSet::new(), 0_usize);
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let params = cursor.as_ref().map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
            let mut page = self.request("tools/list", params).await?;
            size = size.saturating_add(length(&page));
            if size > MAX_LIST {
                return Err(Why::ListTooLarge);
            }
            let Some(Value::Array(found)) = page.get_mut("tools").map(Value::take) else {
                return Err(Why::Odd("tools/list"));
            };
            tools.extend(found);
            match page.get("nextCursor").and_then(Value::as_str) {
                None => return Ok(tools),
                Some(next) if !seen.insert(next.to_owned()) => return Err(Why::EndlessList),
                Some(next) => cursor = Some(next.to_owned()),
            }
        }
        Err(Why::EndlessList)
    }

    async fn request(&mut self, method: &'static str, params: Value) -> Result<Value, Why> {
        self.last_id += 1;
        let id = Value::from(self.last_id);
        let mut params = match params {
            Value::Object(params) => params,
            _ => Map::new(),
        };
        params.extend(self.meta.clone().map(|meta| ("_meta".to_owned(), meta)));
        let frame = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let late = self.silence(method);
        let answered = async {
            self.child.send(&frame.to_string()).await.map_err(Why::Pipe)?;
            self.reply(&id, method).await
        };
        or(answered, late).await
    }

    async fn send(&mut self, frame: &Value, to: &'static str) -> Result<(), Why> {
        let late = self.silence(to);
        let text = frame.to_string();
        or(async { self.child.send(&text).await.map_err(Why::Pipe) }, late).await
    }

    /// Skips everything but the reply to this id: notes, news, replies that nobody waits for.
    async fn reply(&mut self, expected: &Value, method: &'static str) -> Result<Value, Why> {
        let mut is_noisy = false;
        loop {
            // Whoever always has one more line would never let the timer have its turn.
            if Instant::now() >= self.until {
                return Err(Why::Silent(method, self.patience));
            }
            let line = match self.child.output.next().await {
                Ok(Some(line)) => line,
                Ok(None) => return Err(Why::Ended(None)),
                Err(LineError::TooLong) => return Err(Why::LineTooLong),
                Err(LineError::Pipe(e)) => return Err(Why::Pipe(e)),
            };
            match read(&line) {
                Ok(FromServer::Reply { id, result }) if id == *expected => {
                    return result.map_err(|error| Why::Refused(method, error));
                }
                Ok(FromServer::Reply { .. } | FromServer::Notification) => {}
                Ok(FromServer::Request { id, method }) => {
                    let text = answer(&id, &method).to_string();
                    self.child.send(&text).await.map_err(Why::Pipe)?;
                }
                Err(NotReadable::Refused(why)) => return Err(Why::Unreadable(why)),
                Err(NotReadable::Noise) if !is_noisy => {
                    is_noisy = true;
                    log::info!("the server writes lines to its standard output that are no messages");
                }
                Err(NotReadable::Noise) => {}
            }
        }
    }

    fn silence<T>(&self, method: &'static str) -> impl Future<Output = Result<T, Why>> + use<T> {
        let (timer, patience) = (Timer::at(self.until), self.patience);
        async move {
            timer.await;
            Err(Why::Silent(method, patience))
        }
    }
}
