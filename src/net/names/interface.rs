//! The network interfaces of this machine, without netlink, which the service's sandbox forbids.

use std::fs::File;
use std::io::Read as _;
use std::net::UdpSocket;

use rustix::net::netdevice::name_to_index;

/// Beyond this, interfaces are those of containers rather than networks with people's devices.
const MAX: usize = 32;
/// Its own, so that it is there with `ProcSubset=pid` too.
const LIST: &str = "/proc/self/net/dev";
/// No more of the list is read, in bytes.
const MAX_LIST: u64 = 64 << 10;

/// The numbers of all interfaces but loopback. Empty when the system does not tell.
pub(crate) fn all() -> Vec<u32> {
    let mut list = String::new();
    let read = File::open(LIST).and_then(|file| file.take(MAX_LIST).read_to_string(&mut list));
    let lines = list.lines().filter(|_| read.is_ok());
    let names = lines.filter_map(|line| line.split_once(':').map(|(name, _)| name.trim()));
    names.filter(|name| *name != "lo").filter_map(index).take(MAX).collect()
}

/// The number of an interface, given as a name or as that number.
pub(crate) fn index(name: &str) -> Option<u32> {
    let by_name = || {
        let socket = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("[::1]:0")).ok()?;
        name_to_index(&socket, name).ok()
    };
    name.parse().ok().or_else(by_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_a_number_and_is_none_of_them() {
        let loopback = index("lo").unwrap();
        assert_eq!((index("7"), index("no-such-one")), (Some(7), None));
        assert!(!all().contains(&loopback));
    }
}
