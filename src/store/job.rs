//! What comes down the queue of the writing thread.

use super::error::StoreError;
use super::tx::Tx;
use crate::base::reply::Replier;

/// One thing to be written. It may run twice, the first time in a transaction that failed.
pub(super) trait StoreJob: Send {
    fn durable(&self) -> bool;
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError>;
    fn finish(self: Box<Self>, result: Result<(), StoreError>);
}

pub(super) struct TypedJob<T, F> {
    pub(super) durable: bool,
    pub(super) work: F,
    pub(super) done: Option<T>,
    pub(super) reply: Replier<Result<T, StoreError>>,
}

impl<T, F> StoreJob for TypedJob<T, F>
where
    T: Send,
    F: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send,
{
    fn durable(&self) -> bool {
        self.durable
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        self.done = Some((self.work)(tx)?);
        Ok(())
    }

    fn finish(self: Box<Self>, result: Result<(), StoreError>) {
        let TypedJob { done, reply, .. } = *self;
        // A waiter that went away does not undo what was written.
        reply.send(result.and_then(|()| done.ok_or(StoreError::Stopped)));
    }
}

/// What comes down the queue.
pub(super) enum StoreOrder {
    Job(Box<dyn StoreJob>),
    /// Answer: the thread is alive, whatever the disk says.
    Ping(smol::channel::Sender<()>),
    /// Finish what was queued before, leave everything on disk, let go of the files, then answer.
    Close(smol::channel::Sender<()>),
}
