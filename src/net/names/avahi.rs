//! avahi's socket, as nss-mdns uses it: one line with a name, one line back.
//!
//! What it says is taken as it is, loopback included: it is a part of this machine's own name service, and its answer
//! for the machine's own name may be 127.0.0.1.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use smol::Async;
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::message::IpFamily;
use super::name_answer::{NameAnswer, both};
use crate::net::deadline::within;

/// avahi itself waits five seconds for a name that nobody has.
const LIMIT: Duration = Duration::from_secs(1);
const MAX_LINE: u64 = 1024;

/// Asks the daemon for both families. [`NameAnswer::Failed`] when it is not there.
pub(crate) async fn ask(socket: &Path, name: &str) -> NameAnswer {
    if !socket.exists() {
        return NameAnswer::Failed;
    }
    both(|family| async move {
        let line = within(LIMIT, exchange(socket, name, family)).await;
        let address = line.and_then(Result::ok).and_then(|line| address(&line, family));
        address.map_or(NameAnswer::Failed, |found| NameAnswer::Found(vec![found], Duration::ZERO))
    })
    .await
}

async fn exchange(socket: &Path, name: &str, family: IpFamily) -> io::Result<String> {
    let mut stream = Async::<UnixStream>::connect(socket).await?;
    let command = match family {
        IpFamily::V4 => "RESOLVE-HOSTNAME-IPV4",
        IpFamily::V6 => "RESOLVE-HOSTNAME-IPV6",
    };
    stream.write_all(format!("{command} {name}\n").as_bytes()).await?;
    let mut line = Vec::new();
    let mut stream = stream.take(MAX_LINE);
    let mut byte = [0];
    while !line.ends_with(b"\n") && stream.read(&mut byte).await? > 0 {
        line.extend(byte);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// From `+ INTERFACE PROTOCOL NAME ADDRESS`; anything else is an error in words.
fn address(line: &str, family: IpFamily) -> Option<SocketAddr> {
    let mut words = line.split_ascii_whitespace();
    let (sign, interface, address) = (words.next()?, words.next()?, words.nth(2)?);
    let address: IpAddr = address.parse().ok().filter(|ip| sign == "+" && family.has(*ip))?;
    Some(match address {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => {
            SocketAddrV6::new(ip, 0, 0, interface.parse().ok()?).into()
        }
        ip => SocketAddr::new(ip, 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_daemon_are_read_and_its_errors_are_none() {
        let read = |line, family| address(line, family).map(|found| found.to_string());
        assert_eq!(read("+ 2 0 pi.local 127.0.0.1\n", IpFamily::V4).as_deref(), Some("127.0.0.1:0"));
        assert_eq!(read("+ 2 1 pi.local fd00::7\n", IpFamily::V6).as_deref(), Some("[fd00::7]:0"));
        assert_eq!(read("+ 3 1 pi.local fe80::7\n", IpFamily::V6).as_deref(), Some("[fe80::7%3]:0"));
        for line in ["", "+", "-15 Timeout reached\n", "- 2 0 pi.local 127.0.0.1\n", "+ 2 0 pi.local x\n"] {
            assert_eq!(read(line, IpFamily::V4), None, "{line}");
        }
        assert_eq!(read("+ 2 0 pi.local 127.0.0.1\n", IpFamily::V6), None, "of the other family");
    }
}
