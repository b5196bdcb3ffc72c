//! The body of an answer as hyper takes it, and what is kept until all of it has left our memory.

use std::any::Any;
use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use smol::channel::Receiver;
use smol::stream::Stream as _;

/// Anything that somebody wants to hear dropped.
pub(super) type Kept = Rc<dyn Any>;

/// What goes with answers that hyper has taken, until they have been written to the socket.
#[derive(Clone, Default)]
pub(super) struct Unwritten(Rc<RefCell<Vec<Kept>>>);

impl Unwritten {
    fn add(&self, kept: Kept) {
        self.0.borrow_mut().push(kept);
    }

    /// Everything taken so far has been written.
    pub(super) fn written(&self) {
        drop(self.0.take());
    }
}

pub(super) struct SentBody {
    content: Content,
    kept: Option<Kept>,
    unwritten: Unwritten,
}

enum Content {
    Whole(Option<Bytes>),
    Feed(Pin<Box<Receiver<Vec<u8>>>>),
}

impl SentBody {
    pub(super) fn whole(bytes: Vec<u8>, kept: Option<Kept>, unwritten: Unwritten) -> SentBody {
        let content = Content::Whole((!bytes.is_empty()).then(|| bytes.into()));
        SentBody { content, kept, unwritten }
    }

    pub(super) fn feed(pieces: Receiver<Vec<u8>>, kept: Option<Kept>, unwritten: Unwritten) -> SentBody {
        SentBody { content: Content::Feed(Box::pin(pieces)), kept, unwritten }
    }
}

/// Hyper drops a body when it has all of it; then it writes, and then it flushes.
impl Drop for SentBody {
    fn drop(&mut self) {
        if let Some(kept) = self.kept.take() {
            self.unwritten.add(kept);
        }
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.content {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Feed(pieces) => {
                pieces.as_mut().poll_next(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Whole(None))
    }

    /// A whole body says its length, so that clients see a cut one.
    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Content::Feed(_) => SizeHint::default(),
        }
    }
}
