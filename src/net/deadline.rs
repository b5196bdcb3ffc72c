//! One word for "this long and no longer", so that no wait in this program is without an end.

use std::future::Future;
use std::time::Duration;

use smol::future;

/// The result of `work`, or `None` when it did not end within `limit`; it is dropped then.
///
/// `work` goes first: what is ready when the time is up still counts.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let late = async {
        smol::Timer::after(limit).await;
        None
    };
    future::or(async { Some(work.await) }, late).await
}
