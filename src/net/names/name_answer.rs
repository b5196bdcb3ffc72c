//! What came of looking a name up, for one family of addresses or for both.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use smol::future;

use super::message::IpFamily;
use crate::net::deadline::within;

/// How much longer the other family may take once one has answered: IPv6 a little, since IPv4 works nearly everywhere;
/// IPv4 longer, since an IPv6 address is useless in many networks.
const AFTER_V4: Duration = Duration::from_millis(300);
const AFTER_V6: Duration = Duration::from_secs(2);

/// What came of asking for one family, or for both. Addresses have the port 0, and a scope where they need one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NameAnswer {
    /// Addresses, and how long they may be kept.
    Found(Vec<SocketAddr>, Duration),
    /// The name exists without such an address.
    Nothing,
    NoSuchName,
    Failed,
}

pub(super) async fn both<F: Future<Output = NameAnswer>>(ask: impl Fn(IpFamily) -> F) -> NameAnswer {
    let (mut v4, mut v6) = (pin!(ask(IpFamily::V4)), pin!(ask(IpFamily::V6)));
    let (is_v4, first) =
        future::or(async { (true, v4.as_mut().await) }, async { (false, v6.as_mut().await) }).await;
    let (rest, longer) = if is_v4 { (v6, AFTER_V4) } else { (v4, AFTER_V6) };
    let second = match first {
        NameAnswer::Found(..) => within(longer, rest).await.unwrap_or(NameAnswer::Failed),
        _ => rest.await,
    };
    let (v4, v6) = if is_v4 { (first, second) } else { (second, first) };
    v4.and(v6)
}

impl NameAnswer {
    /// Joins the answer for IPv4 with that for IPv6. Beside a failure, "no such name" counts for IPv4 only: many home
    /// routers deny a name because it has no IPv6 address, and trying it under another domain would find another host.
    fn and(self, v6: NameAnswer) -> NameAnswer {
        match (self, v6) {
            (NameAnswer::Found(mut all, one), NameAnswer::Found(more, two)) => {
                all.extend(more);
                NameAnswer::Found(all, one.min(two))
            }
            (found @ NameAnswer::Found(..), _) | (_, found @ NameAnswer::Found(..)) => found,
            (NameAnswer::NoSuchName, _) => NameAnswer::NoSuchName,
            (NameAnswer::Failed, _) | (_, NameAnswer::Failed) => NameAnswer::Failed,
            (_, NameAnswer::NoSuchName) => NameAnswer::NoSuchName,
            (NameAnswer::Nothing, NameAnswer::Nothing) => NameAnswer::Nothing,
        }
    }
}
