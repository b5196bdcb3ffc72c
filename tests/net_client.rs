//! The HTTP client against upstreams that are broken or hostile: each failure has its kind, nothing is sent twice,
//! and no secret gets into an error.

// A test that cannot go on should panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod net;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use agentpass::testing::net::client::{
    HttpClient, HttpError, HttpOptions, HttpRequest, HttpResponse, MaybeSent, NotSent,
};
use net::{Files, Nobody, PATIENCE, takes_less};
use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod};

const CAP: u64 = 1000;
const SECRET: &str = "s3cret";

fn options() -> HttpOptions {
    HttpOptions {
        timeout: PATIENCE,
        connect_timeout: PATIENCE,
        max_response_bytes: CAP,
        ca_pem: None,
        socket: None,
        pin: None,
        server_name: None,
        allow_link_local: false,
        reuse_connections: false,
    }
}

/// For what is waited for in vain.
fn hurried() -> HttpOptions {
    HttpOptions { timeout: Duration::from_secs(1), connect_timeout: Duration::from_millis(500), ..options() }
}

/// Says nothing until the caller has given up.
fn silent<S: Read>(stream: &mut S) {
    let _ = stream.read(&mut [0]);
}

fn client(options: HttpOptions) -> HttpClient {
    HttpClient::new(options).unwrap()
}

fn request(method: &str, url: impl Into<String>) -> HttpRequest {
    HttpRequest { method: method.into(), url: url.into(), headers: Vec::new(), body: None, timeout: None }
}

/// A server that hands each connection to `serve` and reports each request it read.
fn upstream(serve: impl Fn(&mut TcpStream, &str) + Send + 'static) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (report, requests) = channel();
    thread::spawn(move || {
        for tcp in listener.incoming() {
            let mut tcp = tcp.unwrap();
            let request = read_request(&mut tcp);
            report.send(request.clone()).ok();
            serve(&mut tcp, &request);
        }
    });
    (address, requests)
}

/// Head and body of one request; empty when the connection ended.
fn read_request(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            _ => return String::new(),
        }
    }
    let head = String::from_utf8(bytes).unwrap();
    let length =
        head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    head + std::str::from_utf8(&body).unwrap()
}

/// What a GET gives when the server sends exactly this and closes.
fn answer_with(bytes: impl Into<Vec<u8>>) -> Result<HttpResponse, HttpError> {
    let bytes = bytes.into();
    let (address, _requests) = upstream(move |tcp, _| {
        tcp.write_all(&bytes).ok();
    });
    call_secretly(client(options()), address)
}

/// A call whose path, query and header are secret; no error may show them.
fn call_secretly(client: HttpClient, address: SocketAddr) -> Result<HttpResponse, HttpError> {
    let mut request = request("GET", format!("http://{address}/{SECRET}?k={SECRET}"));
    request.headers.push(("authorization".into(), format!("Bearer {SECRET}")));
    let result = client.call(request);
    if let Err(error) = &result {
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
    }
    result
}

fn with_length(length: usize, body: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), &vec![b'x'; body]].concat()
}

#[test]
fn a_call_sends_what_it_was_given_and_nothing_else() {
    let (address, requests) = upstream(|tcp, _| {
        tcp.write_all(b"HTTP/1.1 418 no\r\nContent-Type: a/b; c=\xff\r\nContent-Length: 2\r\n\r\nhi")
            .unwrap();
    });
    let mut post = request("POST", format!("http://{address}/p%20q?a=b%26c"));
    post.headers.push(("x-one".into(), "1".into()));
    post.body = Some(b"{\"a\":1}".to_vec());
    let answer = client(options()).call(post).unwrap();
    let HttpResponse { status, content_type, body, .. } = &answer;
    let content_type = content_type.as_deref();
    assert_eq!((*status, content_type, body.as_slice()), (418, Some("a/b; c=\u{fffd}"), &b"hi"[..]));
    assert_eq!(answer.header("Content-Length").collect::<Vec<_>>(), ["2"]);
    let seen = requests.recv().unwrap();
    assert!(seen.starts_with("POST /p%20q?a=b%26c HTTP/1.1\r\n"), "{seen}");
    assert!(seen.ends_with("\r\n\r\n{\"a\":1}") && seen.contains("x-one: 1\r\n"), "{seen}");
    let lower = seen.to_ascii_lowercase();
    assert!(!lower.contains("accept-encoding") && !lower.contains("content-type"), "{seen}");
}

#[test]
fn methods_with_and_without_bodies() {
    let (address, requests) = upstream(|tcp, _| {
        tcp.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    });
    for (method, body, sent) in [
        ("GET", None, None),
        ("DELETE", None, None),
        ("POST", None, Some("0")),
        ("PATCH", Some("p"), Some("1")),
        ("DELETE", Some("dd"), Some("2")),
        ("PURGE", None, None),
    ] {
        let mut request = request(method, format!("http://{address}/"));
        request.body = body.map(|b: &str| b.as_bytes().to_vec());
        assert_eq!(client(options()).call(request).unwrap().status, 204, "{method}");
        let seen = requests.recv().unwrap().to_ascii_lowercase();
        let length = seen.lines().find_map(|l| l.strip_prefix("content-length: "));
        assert!(seen.starts_with(&method.to_ascii_lowercase()) && length == sent, "{seen}");
    }
}

#[test]
fn the_cap_is_exact_however_the_body_comes() {
    let cap = CAP as usize;
    let too_large = Err(HttpError::TooLarge { status: 200, cap: CAP });
    assert_eq!(answer_with(with_length(cap, cap)).unwrap().body.len(), cap);
    // Only the length is there: it is believed before a byte is read.
    assert_eq!(answer_with(with_length(cap + 1, 0)), too_large);
    let chunked = |n: usize| {
        let body = "x".repeat(n);
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{n:x}\r\n{body}\r\n0\r\n\r\n")
    };
    assert_eq!(answer_with(chunked(cap)).unwrap().body.len(), cap);
    assert_eq!(answer_with(chunked(cap + 1)), too_large);
    let until_close = |n: usize| format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(n));
    assert_eq!(answer_with(until_close(cap)).unwrap().body.len(), cap);
    assert_eq!(answer_with(until_close(cap + 1)), too_large);
}

#[test]
fn broken_answers_have_their_kinds() {
    let maybe = |kind| Err(HttpError::MaybeSent(kind));
    for (bytes, why) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", MaybeSent::Disconnected),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", MaybeSent::Disconnected),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n", MaybeSent::Garbage),
    ] {
        assert_eq!(answer_with(bytes), Err(HttpError::Cut { status: 200, why }), "{bytes:?}");
    }
    for (bytes, kind) in [
        ("", MaybeSent::Disconnected),
        ("HTTP/1.1 200 OK\r\nContent-", MaybeSent::Disconnected),
        ("220 smtp ready\r\n\r\n", MaybeSent::Garbage),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", MaybeSent::Garbage),
    ] {
        assert_eq!(answer_with(bytes), maybe(kind), "{bytes:?}");
    }
    let huge = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(70_000));
    assert_eq!(answer_with(huge), maybe(MaybeSent::HeaderTooLarge));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(300));
    assert_eq!(answer_with(many), maybe(MaybeSent::Garbage));
}

#[test]
fn redirects_are_answers() {
    let (address, requests) = upstream(|tcp, _| {
        tcp.write_all(b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    assert_eq!(call_secretly(client(options()), address).unwrap().status, 302);
    requests.recv().unwrap();
    assert!(requests.recv_timeout(Duration::from_millis(50)).is_err());
}

#[test]
fn a_reset_is_a_lost_connection() {
    let (address, _requests) = upstream(|tcp, _| {
        let linger = Some(Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(tcp, linger).unwrap();
    });
    let lost = Err(HttpError::MaybeSent(MaybeSent::Disconnected));
    assert_eq!(call_secretly(client(options()), address), lost);
}

#[test]
fn silence_trickles_and_endless_answers_end_in_time() {
    fn trickle(tcp: &mut TcpStream) {
        tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n").unwrap();
        while tcp.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    }
    let why = MaybeSent::Timeout;
    for (serve, late) in [
        (silent::<TcpStream> as fn(&mut TcpStream), HttpError::MaybeSent(why)),
        (trickle, HttpError::Cut { status: 200, why }),
    ] {
        let (address, _requests) = upstream(move |tcp, _| serve(tcp));
        let started = Instant::now();
        assert_eq!(call_secretly(client(hurried()), address), Err(late));
        assert!(started.elapsed() < Duration::from_secs(15), "all of it takes eighteen seconds");
    }
    let (address, _requests) = upstream(|tcp, _| {
        tcp.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        while tcp.write_all(&[b'x'; 4096]).is_ok() {}
    });
    assert_eq!(call_secretly(client(options()), address), Err(HttpError::TooLarge { status: 200, cap: CAP }));
}

#[test]
fn a_request_can_have_its_own_limit() {
    let (address, _requests) = upstream(|tcp, _| silent(tcp));
    let mut quick = request("GET", format!("http://{address}/"));
    quick.timeout = Some(Duration::from_secs(1));
    let started = Instant::now();
    assert_eq!(client(options()).call(quick), Err(HttpError::MaybeSent(MaybeSent::Timeout)));
    assert!(started.elapsed() < PATIENCE);
}

fn not_sent(url: &str) -> NotSent {
    match client(hurried()).call(request("GET", url)) {
        Err(HttpError::NotSent(why)) => why,
        other => panic!("{url}: {other:?}"),
    }
}

#[test]
fn what_never_left_is_known_not_to_have_been_sent() {
    let nobody = Nobody::new();
    assert_eq!(not_sent(&format!("http://{}/", nobody.address)), NotSent::Refused);
    assert_eq!(not_sent("http://no-such-host.invalid/"), NotSent::Dns);
    let full = full_backlog();
    assert_eq!(not_sent(&format!("http://{}/", full.0)), NotSent::Timeout);
    let (plain, _requests) = upstream(|_, _| {});
    assert!(matches!(not_sent(&format!("https://{plain}/")), NotSent::Tls(_) | NotSent::Timeout));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    assert_eq!(not_sent(&format!("https://{address}/")), NotSent::Timeout);
}

/// A listener that answers no more connection attempts, with what fills it.
fn full_backlog() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(500));
    let waiting = (0..3).map_while(|n| connect(n).ok()).collect();
    (address, listener, waiting)
}

#[test]
fn urls_and_headers_that_are_refused_before_dialling() {
    for url in
        ["", "/path", "ftp://x/", "http://", "http://user:pw@x/", "http://x/a b", "http://x/\r\nb", "x:1"]
    {
        assert!(matches!(not_sent(url), NotSent::BadUrl(_)), "{url:?}");
    }
    for (name, value) in [("a b", "x"), ("a", "x\r\nb: c"), ("a", "x\0"), ("Content-Length", "1"), ("", "x")]
    {
        let mut bad = request("GET", "http://127.0.0.1:1/");
        bad.headers.push((name.into(), value.into()));
        let result = client(options()).call(bad);
        assert!(matches!(result, Err(HttpError::NotSent(NotSent::BadHeader(_)))), "{name} {value}");
    }
    let bad = client(options()).call(request("GE T", "http://127.0.0.1:1/"));
    assert_eq!(bad, Err(HttpError::NotSent(NotSent::BadHeader("method"))));
}

#[test]
fn link_local_addresses_are_refused_without_dialling() {
    let hosts = [
        "169.254.169.254",
        "[::ffff:169.254.1.1]",
        "[fe80::1]",
        "[64:ff9b::a9fe:a9fe]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        // Spellings that the system's lookup understands.
        "2852039166",
        "0xa9fea9fe",
        "169.254.43518",
    ];
    // As long as one that is dialled.
    takes_less(Duration::from_millis(400), || {
        let started = Instant::now();
        for host in hosts {
            assert_eq!(not_sent(&format!("http://{host}/latest/meta-data")), NotSent::LinkLocal, "{host}");
        }
        started.elapsed()
    });
}

#[test]
fn link_local_can_be_allowed() {
    let allowed = HttpOptions { allow_link_local: true, ..hurried() };
    let result = client(allowed).call(request("GET", "http://169.254.169.254/"));
    assert!(!matches!(result, Err(HttpError::NotSent(NotSent::LinkLocal))), "{result:?}");
}

/// Serves two requests on each connection; the second one is read and then the connection closed.
fn goes_stale() -> (SocketAddr, Receiver<String>) {
    let (second, seconds) = channel();
    let (address, requests) = upstream(move |tcp, _| {
        tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        second.send(read_request(tcp)).unwrap();
    });
    thread::spawn(move || requests.iter().count());
    (address, seconds)
}

#[test]
fn a_stale_connection_is_never_a_reason_to_send_twice() {
    let (address, seconds) = goes_stale();
    let client = client(HttpOptions { reuse_connections: true, ..options() });
    let post = || client.call(request("POST", format!("http://{address}/")));
    assert_eq!(post().unwrap().body, b"ok");
    assert_eq!(post(), Err(HttpError::MaybeSent(MaybeSent::Disconnected)));
    assert!(seconds.recv().unwrap().starts_with("POST"));
    assert!(seconds.recv_timeout(Duration::from_millis(50)).is_err(), "sent twice");
}

#[test]
fn without_reuse_every_call_has_its_own_connection() {
    let (address, seconds) = goes_stale();
    let client = client(options());
    for _ in 0..3 {
        assert_eq!(client.call(request("POST", format!("http://{address}/"))).unwrap().body, b"ok");
        assert_eq!(seconds.recv().unwrap(), "", "the connection ended after one request");
    }
}

#[test]
fn shutdown_ends_running_calls_and_refuses_new_ones() {
    let (address, requests) = upstream(|tcp, _| silent(tcp));
    let client = client(options());
    let running = {
        let client = client.clone();
        thread::spawn(move || client.call(request("GET", format!("http://{address}/"))))
    };
    requests.recv().unwrap();
    let started = Instant::now();
    client.shutdown();
    assert_eq!(running.join().unwrap(), Err(HttpError::MaybeSent(MaybeSent::Disconnected)));
    assert!(started.elapsed() < PATIENCE / 2, "nobody waits for the time limit");
    let later = client.call(request("GET", format!("http://{address}/")));
    assert_eq!(later, Err(HttpError::NotSent(NotSent::ShutDown)));
}

#[test]
fn an_answer_cut_by_our_own_shutdown_is_not_complete() {
    // Nobody can see from outside when the client has read the head: the time for it grows.
    let cut = [100, 1000, 10_000].into_iter().find_map(|millis| {
        let (address, requests) = upstream(|tcp, _| {
            tcp.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf").unwrap();
            silent(tcp);
        });
        let client = client(options());
        let running = {
            let client = client.clone();
            thread::spawn(move || client.call(request("GET", format!("http://{address}/"))))
        };
        requests.recv().unwrap();
        thread::sleep(Duration::from_millis(millis));
        client.shutdown();
        let ended = running.join().unwrap();
        (ended != Err(HttpError::MaybeSent(MaybeSent::Disconnected))).then_some(ended)
    });
    assert_eq!(cut, Some(Err(HttpError::Cut { status: 200, why: MaybeSent::Disconnected })));
}

/// An HTTPS server with a certificate of ours.
fn https(files: &Files) -> SocketAddr {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    builder.set_certificate_chain_file(&files.cert).unwrap();
    builder.set_private_key_file(&files.key, SslFiletype::PEM).unwrap();
    let acceptor = builder.build();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for tcp in listener.incoming() {
            let Ok(mut tls) = acceptor.accept(tcp.unwrap()) else { continue };
            read_request(&mut tls);
            tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
            tls.shutdown().ok();
        }
    });
    address
}

#[test]
fn a_certificate_of_ours_is_trusted_when_told_so() {
    let files = Files::new("https");
    let port = https(&files).port();
    let trusting = HttpOptions { ca_pem: Some(files.made.cert_pem.clone()), ..options() };
    let trusting = client(trusting);
    for host in ["127.0.0.1", "localhost"] {
        let answer = trusting.call(request("GET", format!("https://{host}:{port}/"))).unwrap();
        assert_eq!(answer.body, b"ok");
    }
    let Err(HttpError::NotSent(NotSent::Tls(reason))) =
        client(options()).call(request("GET", format!("https://127.0.0.1:{port}/")))
    else {
        panic!("an unknown certificate was accepted")
    };
    assert!(reason.starts_with("certificate verify failed: self-signed certificate"), "{reason}");
    let other = agentpass::testing::net::tls::self_signed(&["localhost".into()]).unwrap();
    let other = client(HttpOptions { ca_pem: Some(other.cert_pem), ..options() });
    let result = other.call(request("GET", format!("https://localhost:{port}/")));
    assert!(matches!(result, Err(HttpError::NotSent(NotSent::Tls(_)))), "{result:?}");
}

fn url(host: &str, port: u16) -> HttpRequest {
    request("GET", format!("https://{host}:{port}/"))
}

fn tls_failure(result: Result<HttpResponse, HttpError>) -> String {
    match result {
        Err(HttpError::NotSent(NotSent::Tls(reason))) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pin_goes_by_the_key_alone() {
    let files = Files::new("pinned");
    let port = https(&files).port();
    let pin = |pem: &[u8]| {
        let text = agentpass::testing::net::tls::spki_pin_of_pem(pem).unwrap();
        let agentpass::testing::net::connect::Trust::Pin(pin) =
            agentpass::testing::net::connect::Trust::parse_pin(&text).unwrap()
        else {
            panic!()
        };
        Some(pin)
    };
    let right = client(HttpOptions { pin: pin(&files.made.cert_pem), ..options() });
    for _ in 0..2 {
        assert_eq!(right.call(url("127.0.0.1", port)).unwrap().body, b"ok");
    }
    let other = agentpass::testing::net::tls::self_signed(&["localhost".into()]).unwrap();
    let wrong = client(HttpOptions { pin: pin(&other.cert_pem), ..options() });
    let reason = tls_failure(wrong.call(url("localhost", port)));
    assert!(reason.starts_with("the server's key is sha256:"), "{reason}");
    // What speaks no TLS at all has sent nothing either.
    let (address, _requests) = upstream(|_, _| {});
    let hurried = client(HttpOptions { pin: pin(&files.made.cert_pem), ..hurried() });
    assert!(matches!(hurried.call(url("127.0.0.1", address.port())), Err(HttpError::NotSent(_))));
}

#[test]
fn another_name_may_stand_in_the_certificate() {
    let files = Files::new("named");
    let port = https(&files).port();
    let named = |name: &str, ca: &Files| {
        let ca_pem = Some(ca.made.cert_pem.clone());
        client(HttpOptions { server_name: Some(name.into()), ca_pem, ..options() })
    };
    assert_eq!(named("localhost", &files).call(url("127.0.0.1", port)).unwrap().body, b"ok");
    let reason = tls_failure(named("nas.lan", &files).call(url("localhost", port)));
    assert!(reason.contains("hostname mismatch"), "{reason}");
    let stranger = Files::new("stranger");
    let reason = tls_failure(named("localhost", &stranger).call(url("127.0.0.1", port)));
    assert!(reason.starts_with("certificate verify failed: self-signed certificate"), "{reason}");
    // A server that says nothing during the handshake.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hurried = HttpOptions { server_name: Some("localhost".into()), ..hurried() };
    let silent = client(hurried).call(url("127.0.0.1", listener.local_addr().unwrap().port()));
    assert_eq!(silent, Err(HttpError::NotSent(NotSent::Timeout)));
}

/// A server on a unix socket that keeps its connections, and counts them.
fn behind_a_socket(
    name: &str,
    serve: impl Fn(&mut UnixStream, &str) + Send + Sync + 'static,
) -> (PathBuf, Arc<AtomicUsize>) {
    let path = std::env::temp_dir().join(format!("agentpass-{}-{name}.sock", std::process::id()));
    std::fs::remove_file(&path).ok();
    let (listener, connections) = (UnixListener::bind(&path).unwrap(), Arc::new(AtomicUsize::new(0)));
    let (count, serve) = (connections.clone(), Arc::new(serve));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::SeqCst);
            let (mut stream, serve) = (stream, serve.clone());
            thread::spawn(move || {
                loop {
                    let request = read_request(&mut stream);
                    if request.is_empty() {
                        return;
                    }
                    serve(&mut stream, &request);
                }
            });
        }
    });
    (path, connections)
}

#[test]
fn a_service_behind_a_socket_is_like_any_other() {
    let (path, connections) = behind_a_socket("echo", |stream, request| {
        let large = "x".repeat(900);
        let body = if request.starts_with("GET /large") { large.as_str() } else { request };
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    });
    let through = |options| client(HttpOptions { socket: Some(path.clone()), ..options });
    let reading = through(HttpOptions { reuse_connections: true, ..options() });
    for _ in 0..3 {
        assert_eq!(reading.call(request("GET", "http://localhost/large")).unwrap().body.len(), 900);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    let mut post = request("POST", "http://localhost/a?b=c");
    post.body = Some(b"hello".to_vec());
    let echo = through(options()).call(post).unwrap().body;
    let echo = String::from_utf8(echo).unwrap();
    assert!(echo.starts_with("POST /a?b=c HTTP/1.1\r\n") && echo.ends_with("\r\n\r\nhello"), "{echo}");
    assert!(echo.to_lowercase().contains("host: localhost\r\n"), "{echo}");
    std::fs::remove_file(&path).unwrap();
    let gone = through(options()).call(request("GET", "http://localhost/"));
    assert_eq!(gone, Err(HttpError::NotSent(NotSent::Socket(std::io::ErrorKind::NotFound))));
}

#[test]
fn a_socket_without_anybody_behind_it_is_refused_or_waited_for_in_vain() {
    let path = std::env::temp_dir().join(format!("agentpass-{}-dead.sock", std::process::id()));
    std::fs::remove_file(&path).ok();
    drop(UnixListener::bind(&path).unwrap());
    let through = || client(HttpOptions { socket: Some(path.clone()), ..options() });
    let nobody = through().call(request("POST", "http://localhost/"));
    assert_eq!(nobody, Err(HttpError::NotSent(NotSent::Refused)));
    std::fs::remove_file(&path).unwrap();
    let (came, coming) = channel();
    let (silent, _) = behind_a_socket("silent", move |stream, _| {
        came.send(()).unwrap();
        silent(stream);
    });
    let through = client(HttpOptions { socket: Some(silent), ..hurried() });
    let started = Instant::now();
    let late = through.call(request("POST", "http://localhost/"));
    assert_eq!(late, Err(HttpError::MaybeSent(MaybeSent::Timeout)));
    let stopper = through.clone();
    let mut long = request("POST", "http://localhost/");
    long.timeout = Some(PATIENCE);
    let running = thread::spawn(move || through.call(long));
    (0..2).for_each(|_| coming.recv().unwrap());
    stopper.shutdown();
    assert_eq!(running.join().unwrap(), Err(HttpError::MaybeSent(MaybeSent::Disconnected)));
    assert!(started.elapsed() < PATIENCE / 2, "nobody waits for the time limit");
}

#[test]
fn a_ca_file_without_certificate_is_an_error() {
    let result = HttpClient::new(HttpOptions { ca_pem: Some(b"nothing".to_vec()), ..options() });
    assert!(matches!(result.err(), Some(HttpError::NotSent(NotSent::Tls(_)))));
}
