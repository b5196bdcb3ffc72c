//! Asks name servers. Every question has an id and a socket, and so a port, of its own; anything but its answer is
//! ignored.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};
use smol::{Async, future};

use super::message::{DnsQuestion, DnsReply, IpFamily};
use super::name_answer::NameAnswer;
use super::settings::Settings;
use crate::net::deadline::within;

/// The longest wait for a server that is asked for the first time: the next one may be alive.
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest answer over UDP; without an extension that nobody asked for here, they end at 512 bytes.
const MAX_DATAGRAM: usize = 4096;

const SUCCESS: u8 = 0;
const NO_SUCH_NAME: u8 = 3;

/// Asks one server after the other, until one knows the answer.
pub(crate) async fn ask(name: &str, family: IpFamily, settings: &Settings) -> NameAnswer {
    if family == IpFamily::V6 && !settings.wants_v6 {
        return NameAnswer::Nothing;
    }
    for round in 0..settings.attempts {
        let limit = if round == 0 { FIRST_TIMEOUT.min(settings.timeout) } else { settings.timeout };
        for server in &settings.servers {
            let Some(question) = DnsQuestion::new(name, family) else { return NameAnswer::NoSuchName };
            if let Some(Ok(reply)) = within(limit, exchange(*server, &question, settings.is_tcp)).await
                && let Some(outcome) = outcome(reply)
            {
                return outcome;
            }
        }
    }
    NameAnswer::Failed
}

/// None when the server could not or would not answer. Ad blockers answer 0.0.0.0 or :: for names that are to be found
/// nowhere; connecting to these would reach this machine.
fn outcome(reply: DnsReply) -> Option<NameAnswer> {
    let found = reply.found.into_iter().filter(|ip| !ip.is_unspecified());
    let found: Vec<_> = found.map(|ip| SocketAddr::new(ip, 0)).collect();
    match reply.code {
        SUCCESS if found.is_empty() => Some(NameAnswer::Nothing),
        SUCCESS => Some(NameAnswer::Found(found, Duration::from_secs(reply.ttl.into()))),
        NO_SUCH_NAME => Some(NameAnswer::NoSuchName),
        _ => None,
    }
}

async fn exchange(server: SocketAddr, question: &DnsQuestion, is_tcp: bool) -> io::Result<DnsReply> {
    if is_tcp {
        return over_tcp(server, question).await;
    }
    let reply = over_udp(server, question).await?;
    if !reply.is_cut {
        return Ok(reply);
    }
    let whole = over_tcp(server, question).await;
    // A few addresses will do where TCP is blocked.
    whole.or_else(|error| if reply.found.is_empty() { Err(error) } else { Ok(reply) })
}

async fn over_udp(server: SocketAddr, question: &DnsQuestion) -> io::Result<DnsReply> {
    let any = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = Async::<UdpSocket>::bind(SocketAddr::new(any, 0))?;
    // From here on, the system passes on what comes from the server and nothing else.
    socket.get_ref().connect(server)?;
    socket.send(&question.bytes()).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(reply) = buffer.get(..length).and_then(|message| question.read(message)) {
            return Ok(reply);
        }
        // However fast forged answers come, the time limit is looked at.
        future::yield_now().await;
    }
}

async fn over_tcp(server: SocketAddr, question: &DnsQuestion) -> io::Result<DnsReply> {
    let mut stream = Async::<TcpStream>::connect(server).await?;
    let message = question.bytes();
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes()[..], &message].concat()).await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer).await?;
    question.read(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
