//! Makes a ureq transport of any stream with time limits, for what ureq's own connectors cannot do.

use std::fmt;
use std::io::{self, Read, Write};

use ureq::unversioned::transport::{Buffers, ConnectionDetails, LazyBuffers, NextTimeout, Transport};
use ureq::{Error, Timeout};

/// A stream that can be told how long it may take.
pub(super) trait Wire: Read + Write + Send + Sync + 'static {
    /// Reads and writes end with an error after this time from now.
    fn limit(&mut self, limit: NextTimeout) -> Result<(), Error>;

    /// Whether the other side has neither closed it nor said anything unasked: only then it can be used again.
    fn is_quiet(&mut self) -> bool;

    fn is_tls(&self) -> bool;
}

pub(super) struct Wired<W> {
    wire: W,
    buffers: LazyBuffers,
}

impl<W: Wire> Wired<W> {
    pub(super) fn boxed(wire: W, details: &ConnectionDetails<'_>) -> Box<dyn Transport> {
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Box::new(Wired { wire, buffers })
    }
}

impl<W> fmt::Debug for Wired<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wired(…)")
    }
}

impl<W: Wire> Transport for Wired<W> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.wire.limit(timeout.for_write())?;
        let output = self.buffers.output();
        let amount = amount.min(output.len());
        let (output, _) = output.split_at(amount);
        let sent = self.wire.write_all(output).and_then(|()| self.wire.flush());
        sent.map_err(|e| in_time(e, timeout.reason))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.wire.limit(timeout.for_read())?;
        let room = self.buffers.input_append_buf();
        let got = loop {
            match self.wire.read(room) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|e| in_time(e, timeout.reason))?,
            }
        };
        self.buffers.input_appended(got);
        Ok(got > 0)
    }

    fn is_open(&mut self) -> bool {
        self.wire.is_quiet()
    }

    fn is_tls(&self) -> bool {
        self.wire.is_tls()
    }
}

/// A limit of the system's own shows as an I/O error.
fn in_time(error: io::Error, reason: Timeout) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout(reason),
        _ => Error::from(error),
    }
}
