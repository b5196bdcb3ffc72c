//! The control socket: people on the gateway itself. One JSON object per line in, one per line out.
//!
//! Whoever may open the socket may answer questions; the file's permissions say who that is, and the kernel says who
//! it was. Nothing here is reachable from the network.

mod commands;
pub(crate) mod people;
pub(crate) mod shapes;
mod socket;
mod watch;

use std::rc::Rc;
use std::time::Duration;

use smol::future;
use smol::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use smol::net::unix::UnixStream;

pub(crate) use socket::ControlSocket;

use crate::approval::local::Local;
use crate::gate::{Executor, Gate, Latch};
use crate::surface::admin::Admin;

/// The longest command line taken, in bytes.
const MAX_LINE: u64 = 64 * 1024;
/// How long a client may take to read a line of ours.
const WRITE_TIME: Duration = Duration::from_secs(10);

/// Reloads the configuration. Gives the warnings, or the findings that kept everything as it was.
pub(crate) type Reload = Rc<dyn Fn() -> Result<Vec<String>, Vec<String>>>;

/// What the control socket works on.
pub(crate) struct Control {
    gate: Rc<Gate>,
    local: Rc<Local>,
    executor: Executor,
    reload: Reload,
    admin: Option<Rc<Admin>>,
    stop: Rc<Latch>,
}

impl Control {
    /// Puts the parts together.
    pub(crate) fn new(
        gate: Rc<Gate>,
        local: Rc<Local>,
        executor: Executor,
        reload: Reload,
        admin: Option<Rc<Admin>>,
        stop: Rc<Latch>,
    ) -> Rc<Control> {
        Rc::new(Control { gate, local, executor, reload, admin, stop })
    }

    /// Serves the socket until the stop latch opens; the file is removed then.
    pub(crate) async fn serve(self: Rc<Self>, socket: ControlSocket) {
        let accept = async {
            loop {
                let stream = socket.accept().await;
                let session = self.clone();
                let task = async move { future::or(session.talk(stream), session.stop.wait()).await };
                self.executor.spawn(task).detach();
            }
        };
        future::or(accept, self.stop.wait()).await;
    }

    async fn talk(&self, stream: UnixStream) {
        let by = people::responder(&stream);
        let mut reader = BufReader::new(stream.clone());
        let mut writer = stream;
        loop {
            let mut line = Vec::new();
            let read = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).await;
            if !matches!(read, Ok(n) if n > 0) || line.last() != Some(&b'\n') {
                return;
            }
            let reply = match commands::parse(&line) {
                Ok(commands::Command::Watch) => return watch::run(self, &mut writer).await,
                Ok(command) => commands::run(self, command, &by).await,
                Err(why) => shapes::failure(&why, None),
            };
            if say(&mut writer, &reply).await.is_none() {
                return;
            }
        }
    }
}

/// Writes one line; None when the client is gone or does not read.
async fn say(writer: &mut UnixStream, value: &serde_json::Value) -> Option<()> {
    let line = format!("{value}\n");
    let write = async { writer.write_all(line.as_bytes()).await.ok() };
    future::or(write, async {
        smol::Timer::after(WRITE_TIME).await;
        None
    })
    .await
}
