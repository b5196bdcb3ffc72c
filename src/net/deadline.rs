//! A time limit for any future, so that no wait in this program is without an end.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use smol::{Timer, future};

/// The result of `work`, or `None` when it did not end within `limit`; it is dropped then.
///
/// `work` goes first: what is ready when the time is up still counts. What is ready at once needs no timer.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    // By hand, because `future::or` would hold `work` four times over: as an argument and as what is awaited, twice.
    let mut work = pin!(work);
    let mut late = None;
    future::poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => Pin::new(late.get_or_insert_with(|| Timer::after(limit))).poll(cx).map(|_| None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ready_counts_and_what_takes_longer_does_not() {
        let no_time = Duration::ZERO;
        assert_eq!(smol::block_on(within(no_time, async { 1 })), Some(1));
        assert_eq!(smol::block_on(within(no_time, future::pending::<()>())), None);
        let soon = async {
            future::yield_now().await;
            2
        };
        assert_eq!(smol::block_on(within(Duration::from_secs(60), soon)), Some(2));
    }

    #[test]
    fn takes_little_more_room_than_twice_the_work() {
        let work = async {
            let room = [0u8; 1000];
            future::yield_now().await;
            room.len()
        };
        let (alone, limited) = (size_of_val(&work), size_of_val(&within(Duration::ZERO, async { 0 })));
        let both = size_of_val(&within(Duration::ZERO, work));
        assert!(both <= 2 * alone + limited, "{both} for {alone}");
    }
}
