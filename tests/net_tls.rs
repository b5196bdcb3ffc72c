//! TLS over real sockets: certificates, versions, pins and what goes wrong.

// A test that cannot go on should panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod net;

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use agentpass::testing::base::url::Url;
use agentpass::testing::net::connect::{ConnectError, Trust, connect};
use agentpass::testing::net::front::serve_upgrade;
use agentpass::testing::net::listener::Listener;
use agentpass::testing::net::tls::{Acceptor, TlsError, self_signed, spki_pin_of_pem};
use agentpass::testing::net::ws::{WRITE_DEADLINE, WsIncoming};
use net::*;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion};
use smol::Async;
use smol::future::zip;
use smol::io::AsyncWriteExt;

fn acceptor(files: &Files) -> Acceptor {
    Acceptor::from_files(&files.cert, &files.key).unwrap()
}

/// One connection to an echo server of ours.
async fn echo(acceptor: &Acceptor, listener: &Listener) -> Result<(), TlsError> {
    let (tcp, _) = listener.accept().await;
    let stream = acceptor.accept(tcp, PATIENCE).await?;
    assert!(stream.is_tls());
    let Ok(Some((mut socket, ()))) = serve_upgrade(stream, &limits(MAX), welcome).await else {
        return Ok(());
    };
    if let WsIncoming::Text(text) = socket.next().await {
        socket.send_text_batch([text], None, WRITE_DEADLINE).await.unwrap();
        socket.close_with(1000, "bye").await;
    }
    Ok(())
}

/// What a client with this trust makes of a server with that certificate, connecting to `host`.
fn visit(files: &Files, host: &str, trust: &Trust) -> Result<WsIncoming, ConnectError> {
    run(async {
        let (listener, address) = listen();
        let url = Url::gateway(&format!("wss://{host}:{}/", address.port())).unwrap();
        let acceptor = acceptor(files);
        let client = async {
            let mut socket = connect(&url, trust, None, PATIENCE, MAX).await?;
            socket.send_text_batch(["hello".into()], None, WRITE_DEADLINE).await.unwrap();
            let answer = socket.next().await;
            assert_eq!(socket.next().await, WsIncoming::Closed);
            assert_eq!(socket.farewell(), Some((1000, "bye")));
            Ok(answer)
        };
        zip(echo(&acceptor, &listener), client).await.1
    })
}

fn hello() -> WsIncoming {
    WsIncoming::Text("hello".into())
}

fn refusal(result: Result<WsIncoming, ConnectError>) -> String {
    match result {
        Err(ConnectError::Tls(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_certificate_of_ours_is_its_own_authority() {
    let files = Files::new("authority");
    let trust = Trust::CaFile(files.made.cert_pem.clone());
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(visit(&files, host, &trust).unwrap(), hello(), "{host}");
    }
}

#[test]
fn strangers_are_refused_in_our_own_words() {
    let files = Files::new("strangers");
    let unknown = refusal(visit(&files, "localhost", &Trust::System));
    assert_eq!(
        unknown,
        "certificate verify failed: self-signed certificate; trust it by its CA file or its pin"
    );
    let other = self_signed(&["localhost".into()]).unwrap();
    refusal(visit(&files, "localhost", &Trust::CaFile(other.cert_pem)));
    let garbage = refusal(visit(&files, "localhost", &Trust::CaFile(b"no certificate".to_vec())));
    assert!(garbage.contains("no PEM certificate"), "{garbage}");
}

#[test]
fn the_name_must_match() {
    let mut files = Files::new("name");
    files.made = self_signed(&["other.example".into()]).unwrap();
    std::fs::write(&files.cert, &files.made.cert_pem).unwrap();
    std::fs::write(&files.key, &files.made.key_pem).unwrap();
    let trust = Trust::CaFile(files.made.cert_pem.clone());
    assert!(refusal(visit(&files, "localhost", &trust)).contains("hostname mismatch"));
    assert!(refusal(visit(&files, "127.0.0.1", &trust)).contains("IP address mismatch"));
}

#[test]
fn a_pin_is_enough_and_a_wrong_one_is_not() {
    let files = Files::new("pin");
    let pin = &files.made.pin;
    assert_eq!(&spki_pin_of_pem(&files.made.cert_pem).unwrap(), pin);
    for spelling in [pin.clone(), pin.to_uppercase(), format!(" {pin}\n")] {
        let trust = Trust::parse_pin(&spelling).unwrap();
        assert_eq!(visit(&files, "127.0.0.1", &trust).unwrap(), hello());
    }
    let wrong = refusal(visit(&files, "localhost", &Trust::Pin([7; 32])));
    assert!(wrong.contains(pin) && wrong.contains("sha256:0707"), "{wrong}");
}

#[test]
fn texts_that_are_no_pin() {
    let digits = "a".repeat(62);
    for bad in ["", "sha256:", &"a".repeat(64), &format!("sha256:{digits}"), &format!("sha256:{digits}+1")] {
        assert!(Trust::parse_pin(bad).is_err(), "{bad:?}");
    }
    assert!(Trust::parse_pin(&format!("sha256:{digits}é")).is_err());
    assert!(spki_pin_of_pem(b"nothing").is_err());
}

#[test]
fn nothing_is_sent_to_a_server_with_the_wrong_pin() {
    run(async {
        let files = Files::new("unsent");
        let (listener, address) = listen();
        let acceptor = acceptor(&files);
        let url = Url::gateway(&format!("wss://{address}")).unwrap();
        let server = async {
            let (tcp, _) = listener.accept().await;
            let mut stream = acceptor.accept(tcp, PATIENCE).await.unwrap();
            let mut seen = Vec::new();
            smol::io::AsyncReadExt::read_to_end(&mut stream, &mut seen).await.ok();
            seen
        };
        let client = connect(&url, &Trust::Pin([0; 32]), Some("secret"), PATIENCE, MAX);
        let (seen, result) = zip(server, client).await;
        assert!(result.is_err() && seen.is_empty(), "{seen:?}");
    });
}

/// The version a client gets that speaks `max` at most.
fn negotiate(files: &Files, max: SslVersion) -> (String, Option<&'static str>) {
    let (listener, address) = listen();
    let client = std::thread::spawn(move || {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
        builder.set_verify(SslVerifyMode::NONE);
        builder.set_max_proto_version(Some(max)).unwrap();
        match builder.build().connect("localhost", TcpStream::connect(address).unwrap()) {
            Ok(stream) => stream.ssl().version_str().to_owned(),
            Err(error) => error.to_string(),
        }
    });
    let version = run(async {
        let (tcp, _) = listener.accept().await;
        acceptor(files).accept(tcp, PATIENCE).await.ok().and_then(|stream| stream.tls_version())
    });
    (client.join().unwrap(), version)
}

#[test]
fn tls_1_3_is_spoken_and_1_2_accepted_but_nothing_older() {
    let files = Files::new("versions");
    assert_eq!(negotiate(&files, SslVersion::TLS1_3), ("TLSv1.3".into(), Some("TLSv1.3")));
    assert_eq!(negotiate(&files, SslVersion::TLS1_2), ("TLSv1.2".into(), Some("TLSv1.2")));
    assert_eq!(negotiate(&files, SslVersion::TLS1_1).1, None);
}

/// What the acceptor makes of a client that sends these bytes and then waits.
fn accept_bytes(bytes: &'static [u8]) -> TlsError {
    run(async {
        let files = Files::new(&format!("bytes{}", bytes.len()));
        let (listener, address) = listen();
        let mut client = Async::<TcpStream>::connect(address).await.unwrap();
        client.write_all(bytes).await.unwrap();
        let (tcp, _) = listener.accept().await;
        acceptor(&files).accept(tcp, Duration::from_secs(1)).await.err().unwrap()
    })
}

#[test]
fn clients_that_do_not_speak_tls() {
    let plain = accept_bytes(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(plain.to_string(), "client spoke plain HTTP to the TLS port");
    assert!(matches!(accept_bytes(b""), TlsError::TimedOut));
    assert!(matches!(accept_bytes(b"SSH-2.0-x\r\n\r\n"), TlsError::Handshake(_)));
}

#[test]
fn the_client_says_when_the_port_is_plain() {
    run(async {
        let (listener, address) = listen();
        let url = Url::gateway(&format!("wss://{address}")).unwrap();
        let server = async {
            let (mut tcp, _) = listener.accept().await;
            tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            tcp
        };
        let (_tcp, result) = zip(server, connect(&url, &Trust::System, None, PATIENCE, MAX)).await;
        let error = result.err().unwrap();
        assert!(error.to_string().contains("does not speak TLS on this port"), "{error}");
    });
}

fn message(cert: &Path, key: &Path) -> String {
    Acceptor::from_files(cert, key).err().unwrap().to_string()
}

#[test]
fn file_errors_name_the_file_and_the_remedy() {
    let files = Files::new("files");
    let (cert, key) = (&files.cert, &files.key);
    let missing = message(Path::new("/nowhere/cert.pem"), key);
    assert!(missing.starts_with("cannot read /nowhere/cert.pem: "), "{missing}");
    assert!(message(key, key).contains("no certificate in"));
    assert!(message(cert, cert).contains("no private key in"));
    let stranger = self_signed(&["x".into()]).unwrap();
    let other = files.write("other.pem", &stranger.key_pem);
    assert!(message(cert, &other).contains("does not belong to"));
}

#[test]
fn an_encrypted_key_is_refused_without_a_question() {
    let files = Files::new("encrypted");
    let key = openssl::pkey::PKey::private_key_from_pem(&files.made.key_pem).unwrap();
    let cipher = openssl::symm::Cipher::aes_128_cbc();
    let path = files.write("enc.pem", &key.private_key_to_pem_pkcs8_passphrase(cipher, b"secret").unwrap());
    assert!(message(&files.cert, &path).contains("without a password"));
}

#[test]
fn names_that_cannot_stand_in_a_certificate() {
    assert!(self_signed(&[]).is_err());
    for bad in ["", "a,DNS:evil.example", "a b", "a\nb", "é", "dirName:x", &"a".repeat(300)] {
        assert!(matches!(self_signed(&[bad.into()]), Err(TlsError::BadName(_))), "{bad:?}");
    }
}

const STRICT_CLIENT: &str = "
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
context.verify_flags |= ssl.VERIFY_X509_STRICT
for host in ('localhost', '127.0.0.1'):
    with socket.create_connection(('127.0.0.1', int(sys.argv[2]))) as tcp:
        with context.wrap_socket(tcp, server_hostname=host) as tls:
            assert tls.version() == 'TLSv1.3', tls.version()
";

#[test]
fn a_strict_verifier_accepts_our_certificate() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("python3 is not here: nothing verified");
        return;
    }
    let files = Files::new("strict");
    let (listener, address): (Listener, SocketAddr) = listen();
    let mut client = Command::new("python3")
        .args(["-c", STRICT_CLIENT])
        .arg(&files.cert)
        .arg(address.port().to_string())
        .spawn()
        .unwrap();
    run(async {
        for _ in 0..2 {
            let (tcp, _) = listener.accept().await;
            acceptor(&files).accept(tcp, PATIENCE).await.unwrap().linger().await;
        }
    });
    assert!(client.wait().unwrap().success());
}

/// Clients that end at TLS 1.2 get in, unless the owner has shut them out.
#[test]
fn the_oldest_version_is_the_owners_choice() {
    use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion};

    let files = Files::new("oldest");
    let visit = |acceptor: Acceptor, newest: SslVersion| {
        let (listener, address) = listen();
        let client = std::thread::spawn(move || {
            let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
            builder.set_verify(SslVerifyMode::NONE);
            builder.set_max_proto_version(Some(newest)).unwrap();
            let tcp = std::net::TcpStream::connect(address).unwrap();
            let made = builder.build().connect("localhost", tcp);
            made.ok().map(|stream| stream.ssl().version_str().to_owned())
        });
        let served = run(async {
            let (tcp, _) = listener.accept().await;
            acceptor.accept(tcp, PATIENCE).await.is_ok()
        });
        (served, client.join().unwrap())
    };
    let both = || acceptor(&files);
    let newer = || Acceptor::of_tls13(&files.cert, &files.key).unwrap();
    assert_eq!(visit(both(), SslVersion::TLS1_3), (true, Some("TLSv1.3".into())));
    assert_eq!(visit(both(), SslVersion::TLS1_2), (true, Some("TLSv1.2".into())));
    assert_eq!(visit(newer(), SslVersion::TLS1_3), (true, Some("TLSv1.3".into())));
    assert_eq!(visit(newer(), SslVersion::TLS1_2), (false, None));
}
