//! mDNS (RFC 6762): asks everybody on the network for a name in `.local`, from a port of its own, so that answers come
//! to this socket alone.
//!
//! Anybody there can answer, with any address. Loopback is refused: no other host has such an address, and strangers
//! must not direct us to what listens there. Whether another address is right is for TLS or a pin to tell.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use smol::{Async, Timer, future};

use super::interface;
use super::message::{DnsQuestion, DnsReply, IpFamily};
use super::name_answer::{NameAnswer, both};
use crate::net::deadline::within;

const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
const PORT: u16 = 5353;
/// Packets with less may have come through a router (RFC 6762, 11).
const HOPS: u32 = 255;
const LIMIT: Duration = Duration::from_secs(1);
/// When the question is repeated: wireless networks lose multicast packets.
const AGAIN: Duration = Duration::from_millis(300);
/// No answer is kept longer, whatever it says: devices move.
const MAX_KEPT: Duration = Duration::from_secs(120);
/// The most names whose answers are kept; they come from the owner's files.
const MAX_NAMES: usize = 64;
const MAX_DATAGRAM: usize = 9000;

#[derive(Debug, Default)]
pub(crate) struct Remembered(Mutex<HashMap<String, (Instant, Vec<SocketAddr>)>>);

impl Remembered {
    fn get(&self, name: &str) -> Option<Vec<SocketAddr>> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(name).filter(|(until, _)| *until > Instant::now()).map(|(_, found)| found.clone())
    }

    fn keep(&self, name: &str, found: &[SocketAddr], time: Duration) {
        let now = Instant::now();
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.retain(|_, (until, _)| *until > now);
        if names.len() < MAX_NAMES {
            names.insert(name.to_owned(), (now + time.min(MAX_KEPT), found.to_vec()));
        }
    }
}

/// The addresses of a name, by an answer that is still good or by asking.
pub(crate) async fn ask(name: &str, remembered: &Remembered) -> NameAnswer {
    if let Some(found) = remembered.get(name) {
        return NameAnswer::Found(found, Duration::ZERO);
    }
    let outcome = both(|family| one(name, family)).await;
    if let NameAnswer::Found(found, time) = &outcome {
        remembered.keep(name, found, *time);
    }
    outcome
}

async fn one(name: &str, family: IpFamily) -> NameAnswer {
    let Some(question) = DnsQuestion::to_all(name, family) else { return NameAnswer::NoSuchName };
    let (v4, v6) = (GroupSocket::v4().ok(), GroupSocket::v6().ok());
    let answer = future::or(first(v4.as_ref(), &question), first(v6.as_ref(), &question));
    let speak = async {
        let interfaces = interface::all();
        let message = question.bytes();
        loop {
            for socket in [&v4, &v6].into_iter().flatten() {
                socket.send_everywhere(&message, &interfaces);
            }
            Timer::after(AGAIN).await;
        }
    };
    // A name that nobody answers for does not exist here.
    within(LIMIT, future::or(answer, speak)).await.unwrap_or(NameAnswer::NoSuchName)
}

/// The first answer that has an address; waits for ever without a socket.
async fn first(socket: Option<&GroupSocket>, question: &DnsQuestion) -> NameAnswer {
    let Some(socket) = socket else { return future::pending().await };
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let Ok((length, from)) = socket.inner.recv_from(&mut buffer).await else {
            return future::pending().await;
        };
        let reply = buffer.get(..length).and_then(|message| question.read(message));
        // RFC 6762, 6: answers come from this port.
        if let Some(reply) = reply.filter(|reply| reply.code == 0 && from.port() == PORT) {
            let time = Duration::from_secs(reply.ttl.into());
            let found = usable(reply, from);
            if !found.is_empty() {
                return NameAnswer::Found(found, time);
            }
        }
        // However fast useless answers come, the time limit is looked at.
        future::yield_now().await;
    }
}

/// The addresses that a stranger may give a name. Link-local ones are of use only on the interface they came by.
fn usable(reply: DnsReply, from: SocketAddr) -> Vec<SocketAddr> {
    let scope = match from {
        SocketAddr::V6(from) => from.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    let fits = |ip: IpAddr| match ip {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            (scope != 0).then(|| SocketAddrV6::new(v6, 0, 0, scope).into())
        }
        ip => Some(SocketAddr::new(ip, 0)),
    };
    reply.found.into_iter().filter(|ip| !is_no_host(ip.to_canonical())).filter_map(fits).collect()
}

fn is_no_host(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}

struct GroupSocket {
    inner: Async<UdpSocket>,
    is_v4: bool,
}

impl GroupSocket {
    fn v4() -> io::Result<GroupSocket> {
        let inner = Async::<UdpSocket>::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        inner.get_ref().set_multicast_ttl_v4(HOPS)?;
        Ok(GroupSocket { inner, is_v4: true })
    }

    fn v6() -> io::Result<GroupSocket> {
        let inner = Async::<UdpSocket>::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        sockopt::set_ipv6_multicast_hops(&inner, HOPS)?;
        Ok(GroupSocket { inner, is_v4: false })
    }

    /// Where it does not get out, nobody hears it.
    fn send_everywhere(&self, message: &[u8], interfaces: &[u32]) {
        let by_default = [0];
        let interfaces = if interfaces.is_empty() { &by_default[..] } else { interfaces };
        for interface in interfaces {
            let to = if self.is_v4 {
                let any = Ipv4Addr::UNSPECIFIED;
                if sockopt::set_ip_multicast_if_with_ifindex(&self.inner, &any, &any, *interface).is_err() {
                    continue;
                }
                SocketAddr::from((GROUP_V4, PORT))
            } else {
                SocketAddrV6::new(GROUP_V6, PORT, 0, *interface).into()
            };
            // Ready or refused at once: a full queue loses the packet, and the next round brings it again.
            let _ = self.inner.get_ref().send_to(message, to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_cannot_lead_to_loopback() {
        let found: Vec<IpAddr> =
            ["127.0.0.1", "127.9.9.9", "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.168.1.7"]
                .map(|ip| ip.parse().unwrap())
                .into();
        let reply = |found| DnsReply { found, ttl: 10, code: 0, is_cut: false };
        assert_eq!(
            usable(reply(found), "192.168.1.7:5353".parse().unwrap()),
            ["192.168.1.7:0".parse().unwrap()]
        );
        let found: Vec<IpAddr> = ["::1", "::", "::ffff:127.0.0.1", "ff02::1", "fe80::7", "fd00::7"]
            .map(|ip| ip.parse().unwrap())
            .into();
        let usable_from = |from: &str| {
            let usable = usable(reply(found.clone()), from.parse().unwrap());
            usable.iter().map(SocketAddr::to_string).collect::<Vec<_>>()
        };
        assert_eq!(usable_from("[fe80::7%3]:5353"), ["[fe80::7%3]:0", "[fd00::7]:0"]);
        assert_eq!(usable_from("192.168.1.7:5353"), ["[fd00::7]:0"]);
    }

    #[test]
    fn answers_are_kept_for_their_time_and_no_longer_than_two_minutes() {
        let (remembered, found) = (Remembered::default(), ["192.168.1.7:0".parse().unwrap()]);
        remembered.keep("a.local", &found, Duration::ZERO);
        assert_eq!(remembered.get("a.local"), None);
        remembered.keep("a.local", &found, Duration::MAX);
        assert_eq!(remembered.get("a.local").unwrap(), found);
        let until = remembered.0.lock().unwrap()["a.local"].0;
        assert!(until <= Instant::now() + MAX_KEPT);
        for n in 0..2 * MAX_NAMES {
            remembered.keep(&format!("{n}.local"), &found, MAX_KEPT);
        }
        assert_eq!(remembered.0.lock().unwrap().len(), MAX_NAMES);
    }
}
