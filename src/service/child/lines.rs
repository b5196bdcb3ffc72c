//! Lines from a pipe, each with a bound.

use std::fmt;
use std::io;

use memchr::memchr;
use smol::io::{AsyncRead, AsyncReadExt};

const CHUNK: usize = 16 * 1024;

/// Reads lines. Dropping the future of [`Lines::next`] loses nothing.
pub(in crate::service) struct Lines<R> {
    from: R,
    /// The longest line, in bytes.
    most: usize,
    read: Vec<u8>,
    /// How much of it holds no end of a line.
    searched: usize,
}

pub(in crate::service) enum LineError {
    TooLong,
    Pipe(io::Error),
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineError::TooLong => write!(f, "a line is too long"),
            LineError::Pipe(e) => e.fmt(f),
        }
    }
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(from: R, most: usize) -> Lines<R> {
        Lines { from, most, read: Vec::new(), searched: 0 }
    }

    /// What there is of a line that is too long; the rest of it comes as another one.
    pub(super) fn cut(&mut self) -> Vec<u8> {
        self.searched = 0;
        std::mem::take(&mut self.read)
    }

    /// The next line without its end; None at the end of the pipe, where a line without an end is none.
    pub(in crate::service) async fn next(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        loop {
            let fresh = self.read.get(self.searched..).unwrap_or_default();
            if let Some(at) = memchr(b'\n', fresh) {
                let rest = self.read.split_off(self.searched + at + 1);
                let mut line = std::mem::replace(&mut self.read, rest);
                self.searched = 0;
                line.pop();
                return Ok(Some(line));
            }
            self.searched = self.read.len();
            if self.read.len() > self.most {
                return Err(LineError::TooLong);
            }
            let mut chunk = [0; CHUNK];
            let count = self.from.read(&mut chunk).await.map_err(LineError::Pipe)?;
            if count == 0 {
                return Ok(None);
            }
            self.read.extend_from_slice(chunk.get(..count).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_bounded() {
        smol::block_on(async {
            let long = "x".repeat(40);
            let mut lines = Lines::new(smol::io::Cursor::new(format!("a\n\nbc\n{long}\nrest")), 100_000);
            for expected in ["a", "", "bc", &long] {
                assert_eq!(lines.next().await.ok().flatten().as_deref(), Some(expected.as_bytes()));
            }
            assert!(matches!(lines.next().await, Ok(None)));
            let endless = smol::io::repeat(b'x');
            let mut lines = Lines::new(endless, 100_000);
            assert!(matches!(lines.next().await, Err(LineError::TooLong)));
            assert!(lines.read.len() <= 100_000 + CHUNK);
        });
    }
}
