//! Waits before another attempt: each twice as long as the one before, spread by chance.

use std::time::Duration;

use super::ids::random_bytes;

/// `first`, doubled `times` times, but no more than `longest`.
pub(crate) fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(2u32.saturating_pow(times)).min(longest)
}

/// A random part of `whole`, so that many who wait do not come back together. None of it when the kernel has no
/// randomness: no reason to stop.
pub(crate) fn jitter(whole: Duration) -> Duration {
    let chance = random_bytes::<1>().map_or(0, |[byte]| byte);
    whole * u32::from(chance) / u32::from(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let seconds = |times| doubled(Duration::from_secs(5), times, Duration::from_secs(60)).as_secs();
        assert_eq!([0, 1, 2, 3, 4, 40, u32::MAX].map(seconds), [5, 10, 20, 40, 60, 60, 60]);
    }

    #[test]
    fn jitter_is_at_most_the_whole() {
        let whole = Duration::from_secs(1);
        assert!((0..1000).all(|_| jitter(whole) <= whole));
        assert!((0..1000).any(|_| jitter(whole) > whole / 2));
    }
}
