//! Writing into the record whatever happens meanwhile: callers that go away, disks that are full.

use std::time::Duration;

use smol::Timer;

use super::Executor;
use crate::store::StoreError;

/// How long to wait before something that could not be recorded is tried again. Nothing new begins meanwhile, so
/// there are never more of these than calls that were open.
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// Runs `future` to its end even if the caller goes away. None when the gateway stops before.
pub(super) async fn see_through<T: 'static>(
    executor: &Executor,
    future: impl Future<Output = T> + 'static,
) -> Option<T> {
    let (sender, receiver) = smol::channel::bounded(1);
    let task = async move {
        let _ = sender.try_send(future.await);
    };
    executor.spawn(task).detach();
    receiver.recv().await.ok()
}

/// Writes down later what could not be written down at first, and tries until it succeeds.
pub(super) async fn until_recorded<T>(what: String, write: impl AsyncFn() -> Result<T, StoreError>) {
    loop {
        Timer::after(RETRY).await;
        match write().await {
            Ok(_) => return log::info!("{what} is recorded now"),
            Err(StoreError::NotOpen | StoreError::Stopped) => return,
            Err(e) => log::debug!("{what} can still not be recorded: {e}"),
        }
    }
}
