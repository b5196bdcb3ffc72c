//! What the network tests share: a clock for each test, raw bytes on loopback, and certificates on disk.

#![allow(dead_code)]

use std::future::Future;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use agentpass::testing::base::url::Url;
use agentpass::testing::net::connect::{Trust, connect};
use agentpass::testing::net::deadline::within;
use agentpass::testing::net::front::{UpgradeError, WebAnswer, WebRequest, WsLimits, serve_upgrade};
use agentpass::testing::net::listener::Listener;
use agentpass::testing::net::stream::Stream;
use agentpass::testing::net::tls::{SelfSigned, self_signed};
use agentpass::testing::net::ws::WebSocket;
use smol::Async;
use smol::future::zip;
use smol::io::{AsyncReadExt, AsyncWriteExt};

#[path = "../nobody/mod.rs"]
mod nobody;
#[path = "../timing/mod.rs"]
mod timing;

#[allow(unused_imports, reason = "each test binary uses a part of it")]
pub use nobody::Nobody;
#[allow(unused_imports, reason = "each test binary uses a part of it")]
pub use timing::{PATIENCE, takes_less};

pub const MAX: usize = 1 << 20;

/// Runs one test; a test that hangs is a test that fails.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    smol::block_on(within(2 * PATIENCE, test)).expect("the test hangs")
}

pub fn limits(max_message_bytes: usize) -> WsLimits {
    WsLimits { max_message_bytes, header_timeout: PATIENCE }
}

pub fn listen() -> (Listener, SocketAddr) {
    let listener = Listener::bind("127.0.0.1", 0).unwrap();
    let address = listener.addresses()[0];
    (listener, address)
}

pub fn welcome(_: &WebRequest) -> Result<(), WebAnswer> {
    Ok(())
}

pub fn url(address: SocketAddr) -> Url {
    Url::gateway(&format!("ws://{address}/")).unwrap()
}

/// A server's and a client's end of one connection.
pub async fn sockets(max: usize) -> (WebSocket, WebSocket) {
    let (listener, address) = listen();
    let url = url(address);
    let server = async {
        let (tcp, _) = listener.accept().await;
        serve_upgrade(Stream::plain(tcp), &limits(max), welcome).await.unwrap().unwrap().0
    };
    let client = connect(&url, &Trust::System, None, PATIENCE, MAX);
    let (server, client) = zip(server, client).await;
    (server, client.unwrap())
}

pub const UPGRADE: &str = "GET /any/path HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: keep-alive, Upgrade\r\n\
                           sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A server's end, and a client that is only a socket.
pub async fn raw_client(max: usize) -> (WebSocket, Async<TcpStream>) {
    let (listener, address) = listen();
    let server = async {
        let (tcp, _) = listener.accept().await;
        serve_upgrade(Stream::plain(tcp), &limits(max), welcome).await.unwrap().unwrap().0
    };
    let client = async {
        let mut tcp = Async::<TcpStream>::connect(address).await.unwrap();
        tcp.write_all(UPGRADE.as_bytes()).await.unwrap();
        assert!(read_head(&mut tcp).await.starts_with("HTTP/1.1 101"));
        tcp
    };
    zip(server, client).await
}

/// Sends `bytes` to a server and returns its whole answer with what the server made of it.
pub async fn exchange<T>(
    bytes: &[u8],
    decide: impl Fn(&WebRequest) -> Result<T, WebAnswer>,
) -> (String, Result<Option<T>, UpgradeError>) {
    let (listener, address) = listen();
    let server = async {
        let (tcp, _) = listener.accept().await;
        serve_upgrade(Stream::plain(tcp), &limits(MAX), decide).await.map(|done| done.map(|(_, grant)| grant))
    };
    let client = async {
        let mut tcp = Async::<TcpStream>::connect(address).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        read_all(&mut tcp).await
    };
    let (served, answer) = zip(server, client).await;
    (answer, served)
}

pub async fn read_head(tcp: &mut Async<TcpStream>) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && tcp.read(&mut byte).await.unwrap() == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Everything until the end or an error.
pub async fn read_all(tcp: &mut Async<TcpStream>) -> String {
    let mut all = Vec::new();
    tcp.read_to_end(&mut all).await.ok();
    String::from_utf8_lossy(&all).into_owned()
}

/// A client's frame: first byte (FIN and opcode), and a payload masked with zeros.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        n @ 0..=125 => bytes.push(0x80 | n as u8),
        n @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((n as u16).to_be_bytes());
        }
        n => {
            bytes.push(0x80 | 127);
            bytes.extend((n as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// A certificate for localhost in files of its own, removed at the end.
pub struct Files {
    pub made: SelfSigned,
    pub cert: PathBuf,
    pub key: PathBuf,
    folder: PathBuf,
}

impl Files {
    pub fn new(test: &str) -> Self {
        let made = self_signed(&["localhost".into(), "127.0.0.1".into(), "::1".into()]).unwrap();
        let folder = std::env::temp_dir().join(format!("agentpass-net-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&cert, &made.cert_pem).unwrap();
        std::fs::write(&key, &made.key_pem).unwrap();
        Self { made, cert, key, folder }
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}
