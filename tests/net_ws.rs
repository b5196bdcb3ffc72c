//! The agent port over real sockets: the upgrade and its refusals, caps, deadlines, floods, and the goodbye.

// A test that cannot go on should panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod net;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use agentpass::testing::base::url::Url;
use agentpass::testing::net::connect::{ConnectError, Trust, connect};
use agentpass::testing::net::front::WsLimits;
use agentpass::testing::net::front::{UpgradeError, WebAnswer, serve_upgrade};
use agentpass::testing::net::listener::{BindError, Listener};
use agentpass::testing::net::stream::Stream;
use agentpass::testing::net::ws::{MAX_PINGS, SendError, WRITE_DEADLINE, WebSocket, WsIncoming};
use net::*;
use smol::future::{or, zip};
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::{Async, Timer};

async fn send(socket: &mut WebSocket, text: String) -> Result<(), SendError> {
    socket.send_text_batch([text], None, WRITE_DEADLINE).await
}

/// What the server saw, and the close code that a client got which sent these bytes.
async fn server_sees(bytes: &[u8], max: usize) -> (WsIncoming, Option<u16>) {
    let (mut server, mut client) = raw_client(max).await;
    let serve = async {
        let seen = server.next().await;
        let code = seen.close_code().expect("something that ends the connection");
        server.close_with(code, "because").await;
        seen
    };
    let talk = async move {
        client.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.ok();
        match answer.as_slice() {
            [0x88, _, high, low, ..] => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        }
    };
    zip(serve, talk).await
}

#[test]
fn every_address_is_one_socket_that_takes_ipv4_too() {
    run(async {
        let listener = Listener::bind("::", 0).unwrap();
        let [address] = listener.addresses()[..] else { panic!("{:?}", listener.addresses()) };
        let mut clients = vec!["127.0.0.1"];
        if address.is_ipv6() {
            clients.push("::1");
        }
        for client in clients {
            let client = std::net::SocketAddr::new(client.parse().unwrap(), address.port());
            let (_client, (_, peer)) = zip(Async::<TcpStream>::connect(client), listener.accept()).await;
            assert_eq!(peer.ip(), client.ip(), "limits and logs know one form of an address");
        }
        assert!(matches!(Listener::bind("0.0.0.0", address.port()), Err(BindError::InUse(_))));
    });
}

#[test]
fn texts_go_both_ways_in_order_with_a_ping_behind_them() {
    run(async {
        let (mut server, mut client) = sockets(MAX).await;
        let batch = ["one", "two", "three"].map(String::from);
        server.send_text_batch(batch, Some(b"mark".to_vec()), WRITE_DEADLINE).await.unwrap();
        for expected in ["one", "two", "three"] {
            assert_eq!(client.next().await, WsIncoming::Text(expected.into()));
        }
        assert_eq!(client.next().await, WsIncoming::Ping);
        assert_eq!(server.next().await, WsIncoming::Pong(b"mark".to_vec()));
        send(&mut client, "four".into()).await.unwrap();
        assert_eq!(server.next().await, WsIncoming::Text("four".into()));
    });
}

#[test]
fn a_frame_right_behind_the_request_is_not_lost() {
    run(async {
        let (listener, address) = listen();
        let client = async {
            let mut tcp = Async::<TcpStream>::connect(address).await.unwrap();
            let mut bytes = UPGRADE.as_bytes().to_vec();
            bytes.extend(frame(0x81, b"early"));
            tcp.write_all(&bytes).await.unwrap();
            tcp
        };
        let server = async {
            let (tcp, _) = listener.accept().await;
            serve_upgrade(Stream::plain(tcp), &limits(MAX), welcome).await.unwrap().unwrap().0
        };
        let (mut server, _client) = zip(server, client).await;
        assert_eq!(server.next().await, WsIncoming::Text("early".into()));
    });
}

#[test]
fn the_cap_is_exact() {
    run(async {
        let (mut server, mut client) = sockets(1000).await;
        send(&mut client, "x".repeat(1000)).await.unwrap();
        assert_eq!(server.next().await, WsIncoming::Text("x".repeat(1000)));
        send(&mut client, "x".repeat(1001)).await.unwrap();
        let seen = server.next().await;
        assert_eq!(seen, WsIncoming::TooLarge);
        let ((), last) = zip(server.close_with(1009, "1000 bytes at most"), client.next()).await;
        assert_eq!(last, WsIncoming::Closed);
        assert_eq!(client.farewell(), Some((1009, "1000 bytes at most")));
        assert_eq!(client.next().await, WsIncoming::Closed);
        assert_eq!(send(&mut client, "late".into()).await, Err(SendError::Closed));
    });
}

#[test]
fn fragments_count_together() {
    let mut bytes = frame(0x01, &[b'x'; 600]);
    bytes.extend(frame(0x80, &[b'x'; 401]));
    assert_eq!(run(server_sees(&bytes, 1000)), (WsIncoming::TooLarge, Some(1009)));
}

#[test]
fn a_huge_length_is_refused_before_its_bytes_come() {
    let bytes = [0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert_eq!(run(server_sees(&bytes, MAX)), (WsIncoming::TooLarge, Some(1009)));
}

#[test]
fn a_client_that_is_still_sending_reads_why_it_is_cut_off() {
    let (seen, code) = run(server_sees(&frame(0x81, &vec![b'x'; 3 << 20]), 1000));
    assert_eq!((seen, code), (WsIncoming::TooLarge, Some(1009)));
}

#[test]
fn binary_bad_text_and_broken_frames_have_their_codes() {
    assert_eq!(run(server_sees(&frame(0x82, b"x"), MAX)), (WsIncoming::Binary, Some(1003)));
    assert_eq!(run(server_sees(&frame(0x81, b"\xff\xfe"), MAX)), (WsIncoming::BadUtf8, Some(1007)));
    for broken in [&frame(0x83, b"x")[..], &frame(0xc1, b"x"), &frame(0x80, b"x"), b"\x81\x01x"] {
        let (seen, code) = run(server_sees(broken, MAX));
        assert!(matches!(seen, WsIncoming::ProtocolError(_)), "{seen:?}");
        assert_eq!(code, Some(1002));
    }
}

#[test]
fn a_ping_is_answered_though_the_task_never_reads_again() {
    run(async {
        let (mut server, mut client) = raw_client(MAX).await;
        client.write_all(&frame(0x89, b"hi")).await.unwrap();
        assert_eq!(server.next().await, WsIncoming::Ping);
        let mut pong = [0; 4];
        client.read_exact(&mut pong).await.unwrap();
        assert_eq!(&pong, b"\x8a\x02hi");
    });
}

#[test]
fn ping_floods_end_the_connection() {
    for opcode in [0x89, 0x8a] {
        run(async {
            let (mut server, mut client) = raw_client(MAX).await;
            let flood = frame(opcode, b"").repeat(MAX_PINGS as usize + 1);
            client.write_all(&flood).await.unwrap();
            for _ in 0..MAX_PINGS {
                assert!(matches!(server.next().await, WsIncoming::Ping | WsIncoming::Pong(_)));
            }
            assert_eq!(server.next().await, WsIncoming::ProtocolError("too many pings".into()));
        });
    }
}

#[test]
fn pongs_we_asked_for_are_no_flood() {
    run(async {
        let (mut server, mut client) = sockets(MAX).await;
        let peer = async {
            loop {
                client.next().await;
            }
        };
        let ours = async {
            for n in 0..2 * MAX_PINGS {
                server.ping(n.to_be_bytes().to_vec()).await.unwrap();
                assert_eq!(server.next().await, WsIncoming::Pong(n.to_be_bytes().to_vec()));
            }
        };
        or(ours, peer).await;
    });
}

#[test]
fn a_peer_that_never_reads_is_given_up() {
    run(async {
        let (mut server, _client) = raw_client(MAX).await;
        let started = Instant::now();
        let flood = (0..64).map(|_| "x".repeat(MAX));
        let sent = server.send_text_batch(flood, None, Duration::from_millis(300)).await;
        assert_eq!(sent, Err(SendError::TimedOut));
        assert!(started.elapsed() < PATIENCE);
    });
}

#[test]
fn two_ends_that_both_send_much_do_not_wait_for_each_other() {
    run(async {
        let (mut server, mut client) = sockets(4 * MAX).await;
        async fn talk(socket: &mut WebSocket) {
            let much = || (0..6).map(|n| n.to_string().repeat(MAX));
            assert_eq!(socket.send_text_batch(much(), None, PATIENCE).await, Ok(()));
            for expected in much() {
                assert!(socket.next().await == WsIncoming::Text(expected), "a message was lost");
            }
        }
        zip(talk(&mut server), talk(&mut client)).await;
    });
}

#[test]
fn a_dropped_next_loses_nothing() {
    run(async {
        let (mut server, mut client) = raw_client(MAX).await;
        let dribble = async {
            for byte in (0..20u8).flat_map(|n| frame(0x81, n.to_string().as_bytes())) {
                client.write_all(&[byte]).await.unwrap();
                Timer::after(Duration::from_millis(1)).await;
            }
        };
        let read = async {
            let mut seen = Vec::new();
            while seen.len() < 20 {
                let nothing = async {
                    Timer::after(Duration::from_micros(700)).await;
                    None
                };
                seen.extend(or(async { Some(server.next().await) }, nothing).await);
            }
            seen
        };
        let ((), seen) = zip(dribble, read).await;
        let expected: Vec<_> = (0..20).map(|n| WsIncoming::Text(n.to_string())).collect();
        assert_eq!(seen, expected);
    });
}

#[test]
fn a_vanished_peer_is_closed_and_stays_so() {
    run(async {
        let (mut server, client) = raw_client(MAX).await;
        drop(client);
        assert_eq!(server.next().await, WsIncoming::Closed);
        assert_eq!(server.next().await, WsIncoming::Closed);

        let (mut server, client) = raw_client(MAX).await;
        server.ping(b"unread".to_vec()).await.unwrap();
        Timer::after(Duration::from_millis(20)).await;
        drop(client);
        assert_eq!(server.next().await, WsIncoming::Closed, "a reset is no error either");
    });
}

#[test]
fn a_polite_goodbye_is_answered_and_prompt() {
    // Nobody has to wait for a deadline.
    takes_less(Duration::from_millis(500), || {
        run(async {
            let (mut server, client) = sockets(MAX).await;
            let started = Instant::now();
            let (last, ()) = zip(server.next(), client.close_with(1000, &"ü".repeat(100))).await;
            assert_eq!(last, WsIncoming::Closed);
            assert_eq!(server.farewell(), Some((1000, "ü".repeat(61).as_str())));
            started.elapsed()
        })
    });
}

#[test]
fn a_peer_that_sends_without_end_does_not_keep_the_thread() {
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        run(others_get_their_turn());
        done.send(()).unwrap();
    });
    finished.recv_timeout(PATIENCE).expect("the thread was kept");
}

async fn others_get_their_turn() {
    let (mut server, client) = raw_client(MAX).await;
    let raw = client.into_inner().unwrap();
    raw.set_nonblocking(false).unwrap();
    let sender = std::thread::spawn(move || {
        let (mut raw, more) = (raw, frame(0x00, b"").repeat(10_000));
        raw.write_all(&frame(0x01, b"")).unwrap();
        while raw.write_all(&more).is_ok() {}
    });
    let others = async {
        for _ in 0..20 {
            Timer::after(Duration::from_millis(1)).await;
        }
    };
    let reader = async { panic!("no message ever ends, but: {:?}", server.next().await) };
    or(others, reader).await;
    drop(server);
    sender.join().unwrap();
}

/// The head must have come so soon.
fn hurried() -> WsLimits {
    WsLimits { header_timeout: Duration::from_millis(300), ..limits(MAX) }
}

#[test]
fn a_dribbled_head_is_cut_at_the_deadline() {
    run(async {
        let (listener, address) = listen();
        let started = Instant::now();
        let server = async {
            let (tcp, _) = listener.accept().await;
            serve_upgrade(Stream::plain(tcp), &hurried(), welcome).await.map(|_| ())
        };
        let client = async {
            let mut tcp = Async::<TcpStream>::connect(address).await.unwrap();
            for byte in UPGRADE.bytes() {
                if tcp.write_all(&[byte]).await.is_err() {
                    break;
                }
                Timer::after(Duration::from_millis(200)).await;
            }
        };
        let result = or(server, async {
            client.await;
            std::future::pending().await
        });
        assert!(matches!(result.await, Err(UpgradeError::TimedOut)));
        assert!(started.elapsed() >= Duration::from_millis(290));
        assert!(started.elapsed() < Duration::from_secs(15), "all of it takes half a minute");
    });
}

#[test]
fn a_silent_client_is_cut_at_the_deadline() {
    run(async {
        let (listener, address) = listen();
        let _client = Async::<TcpStream>::connect(address).await.unwrap();
        let (tcp, _) = listener.accept().await;
        let result = serve_upgrade(Stream::plain(tcp), &hurried(), welcome).await;
        assert!(matches!(result, Err(UpgradeError::TimedOut)));
    });
}

/// Every refusal is complete HTTP and closes the connection.
fn assert_refused(answer: &str, status: &str) {
    let lower = answer.to_ascii_lowercase();
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    assert!(lower.contains("content-length: "), "{answer}");
    assert!(lower.contains("connection: close"), "{answer}");
}

#[test]
fn whatever_is_no_upgrade_gets_a_proper_answer() {
    let other = |from: &str, to: &str| UPGRADE.replace(from, to);
    let huge = other("host: x", &format!("host: x\r\nx-pad: {}", "x".repeat(9000)));
    for (request, status, also) in [
        ("GET / HTTP/1.1\r\nhost: x\r\n\r\n".into(), "426", "upgrade: websocket"),
        ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999\r\n\r\nxx".into(), "426", "wss://"),
        (other("HTTP/1.1", "HTTP/1.0"), "426", "upgrade: websocket"),
        (other("Upgrade\r\n", "close\r\n"), "426", "upgrade: websocket"),
        (other("version: 13", "version: 8"), "426", "sec-websocket-version: 13"),
        (other("dGhlIHNhbXBsZSBub25jZQ==", "short"), "400", "sec-websocket-key"),
        (other("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""), "400", "sec-websocket-key"),
    ] {
        let (answer, served) = run(exchange(request.as_bytes(), welcome));
        if request.contains("HTTP/1.0") {
            assert!(answer.starts_with("HTTP/1.0 426"), "{answer}");
        } else {
            assert_refused(&answer, status);
        }
        assert!(answer.contains(also), "{answer}");
        assert!(matches!(served, Ok(None)));
    }
    assert!(run(exchange(huge.as_bytes(), |_| Err::<(), _>(WebAnswer::text(403, "no")))).0.contains(" 403 "));
}

#[test]
fn oversized_heads_and_garbage_are_errors() {
    let large = format!("GET / HTTP/1.1\r\nx-pad: {}\r\n\r\n", "x".repeat(17_000));
    let (answer, served) = run(exchange(large.as_bytes(), welcome));
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert!(matches!(served, Err(UpgradeError::Http(_))));
    let (_, served) = run(exchange(b"\x16\x03\x01\x00\xee hello\r\n\r\n", welcome));
    assert!(matches!(served, Err(UpgradeError::Http(_))));
}

#[test]
fn decide_sees_who_asks_and_its_refusal_is_sent() {
    let request = UPGRADE
        .replace("host: x", "host: x\r\norigin: https://evil.example\r\nauthorization: bearer  s3cret");
    let (answer, _) = run(exchange(request.as_bytes(), |who| {
        assert_eq!(who.path, "/any/path");
        assert_eq!(who.origin().as_deref(), Some("https://evil.example"));
        assert_eq!(who.bearer().as_deref(), Some("s3cret"));
        let answer = WebAnswer::text(429, "too many failures").with("retry-after", "60");
        Err::<(), _>(answer.with("x-bad", "a\r\nb: c"))
    }));
    assert_refused(&answer, "429");
    assert!(
        answer.contains("retry-after: 60\r\n") && answer.ends_with("\r\n\r\ntoo many failures\n"),
        "{answer}"
    );
    assert!(!answer.contains("x-bad"), "{answer}");
}

#[test]
fn repeated_and_garbled_headers_never_pass_as_absent() {
    let mut request = UPGRADE
        .replace("host: x", "host: x\r\norigin: a\r\norigin: b\r\nauthorization: Bearer ")
        .into_bytes();
    let end = request.windows(7).position(|w| w == b"Bearer ").unwrap() + 7;
    request.splice(end..end, *b"\xff\xfe");
    let (answer, _) = run(exchange(&request, |who| {
        assert_eq!(who.origin().as_deref(), Some("a, b"));
        assert_eq!(who.bearer().as_deref(), Some("\u{fffd}\u{fffd}"));
        Err::<(), _>(WebAnswer::text(403, "no"))
    }));
    assert_refused(&answer, "403");
}

#[test]
fn the_client_tells_refusals_apart() {
    for status in [401, 403, 429, 500] {
        run(async {
            let (listener, address) = listen();
            let server = async {
                let (tcp, _) = listener.accept().await;
                let refuse = |who: &agentpass::testing::net::front::WebRequest| {
                    assert_eq!(who.bearer().as_deref(), Some("tok"));
                    Err::<(), _>(WebAnswer::text(status, "no"))
                };
                serve_upgrade(Stream::plain(tcp), &limits(MAX), refuse).await.unwrap();
            };
            let url = url(address);
            let client = connect(&url, &Trust::System, Some("tok"), PATIENCE, MAX);
            let ((), result) = zip(server, client).await;
            assert!(matches!(result, Err(ConnectError::Refused(s)) if s == status));
        });
    }
}

#[test]
fn the_client_names_what_it_cannot_reach() {
    run(async {
        let (listener, address) = listen();
        let url = url(address);
        let silent = connect(&url, &Trust::System, None, Duration::from_millis(200), MAX).await;
        assert!(matches!(&silent, Err(ConnectError::Unreachable(why)) if why.contains("did not answer")));
        let bad = connect(&url, &Trust::System, Some("a\nb"), PATIENCE, MAX).await;
        assert!(matches!(bad, Err(ConnectError::BadToken)));
        drop(listener);
        let refused = connect(&url, &Trust::System, None, PATIENCE, MAX).await.err().unwrap();
        assert!(matches!(refused, ConnectError::Unreachable(_)), "{refused}");
        let nowhere = Url::gateway("ws://no-such-host.invalid").unwrap();
        let unknown = connect(&nowhere, &Trust::System, None, PATIENCE, MAX).await.err().unwrap();
        assert!(matches!(unknown, ConnectError::Unreachable(_)), "{unknown}");
    });
}

#[test]
fn bind_errors_say_what_to_do() {
    let (_listener, address) = listen();
    let taken = Listener::bind("127.0.0.1", address.port()).err().unwrap();
    assert!(matches!(taken, BindError::InUse(a) if a == address));
    assert!(taken.to_string().contains(&address.to_string()), "{taken}");
    assert!(matches!(Listener::bind("no such host", 0), Err(BindError::BadHost { .. })));
    assert!(matches!(Listener::bind("192.0.2.1", 0), Err(BindError::Unavailable(_))));
}

#[test]
fn every_address_of_localhost_is_served() {
    run(async {
        let listener = Listener::bind("localhost", 0).unwrap();
        let addresses = listener.addresses();
        assert!(addresses.iter().all(|a| a.port() == addresses[0].port() && a.ip().is_loopback()));
        for address in addresses {
            let (client, (server, peer)) = zip(Async::<TcpStream>::connect(address), listener.accept()).await;
            assert_eq!(peer, client.unwrap().get_ref().local_addr().unwrap());
            assert!(server.get_ref().nodelay().unwrap());
        }
    });
}
