//! The control socket: people on the gateway itself. One JSON object per line in, one per line out.
//!
//! Whoever may open the socket may answer questions; the file's permissions say who that is, and the kernel says who
//! it was. Nothing here is reachable from the network.

mod answering;
mod commands;
mod grants;
mod kill_switch;
pub(crate) mod people;
mod socket;
mod watch;

use std::rc::Rc;

use smol::future;
use smol::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use smol::net::unix::UnixStream;

use commands::ControlCommand;
pub(crate) use commands::{Control, ReloadFn};
pub(crate) use socket::ControlSocket;

use super::shapes;

/// The longest command line, in bytes.
const MAX_LINE: u64 = 64 * 1024;

impl Control {
    /// Serves the socket until `stop` is set; the file is removed then.
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
                Ok(ControlCommand::Watch) => return watch::run(self, &mut writer).await,
                Ok(command) => commands::run(self, command, &by).await,
                Err(why) => shapes::failure(&why, None),
            };
            if socket::write_line(&mut writer, &reply).await.is_none() {
                return;
            }
        }
    }
}
