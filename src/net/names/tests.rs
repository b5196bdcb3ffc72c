//! Names against servers on loopback. What needs root (port 53, multicast) is in tests/names/run.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::thread;
use std::time::Instant;

use super::message::tests::{answer, kind_of, record};
use super::*;

const V4: u16 = 1;
const V6: u16 = 28;
const NX: u16 = 3;

/// A name server; `says` makes an answer from a question, or none.
fn server(says: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            if let Some(answer) = says(&buffer[..length]) {
                socket.send_to(&answer, peer).unwrap();
            }
        }
    });
    address
}

fn settings(servers: &[SocketAddr]) -> Settings {
    let timeout = Duration::from_secs(1);
    Settings {
        servers: servers.to_vec(),
        search: vec![],
        dots: 1,
        timeout,
        attempts: 1,
        is_tcp: false,
        wants_v6: true,
    }
}

fn ask(settings: &Settings) -> NameAnswer {
    smol::block_on(both(|family| dns::ask("box.lan", family, settings)))
}

fn v4(question: &[u8]) -> Vec<u8> {
    answer(question, 0, &[record("box.lan", V4, 30, &[192, 168, 1, 7])])
}

fn v6(question: &[u8]) -> Vec<u8> {
    let ip: Ipv6Addr = "fd00::7".parse().unwrap();
    answer(question, 0, &[record("box.lan", V6, 30, &ip.octets())])
}

fn shown(outcome: NameAnswer) -> String {
    match outcome {
        NameAnswer::Found(found, _) => {
            found.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(" ")
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn what_becomes_of_one_family_never_costs_the_other() {
    let failure = |code: Option<u16>| move |question: &[u8]| code.map(|code| answer(question, code, &[]));
    for code in [Some(0), Some(NX), Some(2), Some(4), Some(5), None] {
        let fails = failure(code);
        let only_v4 = server(move |q| if kind_of(q) == V4 { Some(v4(q)) } else { fails(q) });
        // A busy machine makes one try slow, not each.
        let is_quick = (0..5).any(|_| {
            let begin = Instant::now();
            assert_eq!(shown(ask(&settings(&[only_v4]))), "192.168.1.7", "AAAA: {code:?}");
            begin.elapsed() < Duration::from_millis(900)
        });
        assert!(is_quick, "IPv4 waits for {code:?}");
        let only_v6 = server(move |q| if kind_of(q) == V6 { Some(v6(q)) } else { fails(q) });
        assert_eq!(shown(ask(&settings(&[only_v6]))), "fd00::7", "A: {code:?}");
    }
    let whole = server(|q| Some(if kind_of(q) == V4 { v4(q) } else { v6(q) }));
    let mut both: Vec<_> = shown(ask(&settings(&[whole]))).split(' ').map(str::to_owned).collect();
    both.sort();
    assert_eq!(both, ["192.168.1.7", "fd00::7"]);
}

#[test]
fn a_server_that_fails_is_passed_over_and_one_that_knows_is_believed() {
    let refuses = server(|q| Some(answer(q, 5, &[])));
    let silent = server(|_| None);
    let knows = server(|q| (kind_of(q) == V4).then(|| v4(q)));
    let denies = server(|q| Some(answer(q, NX, &[])));
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(shown(ask(&settings(&[closed, refuses, silent, knows]))), "192.168.1.7");
    assert_eq!(ask(&settings(&[denies, knows])), NameAnswer::NoSuchName);
    assert_eq!(ask(&settings(&[refuses, closed])), NameAnswer::Failed);
    let blocks = server(|q| {
        let nowhere: &[u8] = if kind_of(q) == V4 { &[0; 4] } else { &[0; 16] };
        Some(answer(q, 0, &[record("box.lan", kind_of(q), 2, nowhere)]))
    });
    assert_eq!(ask(&settings(&[blocks])), NameAnswer::Nothing);
    let no_v6 = Settings { wants_v6: false, ..settings(&[knows]) };
    assert_eq!(shown(ask(&no_v6)), "192.168.1.7");
}

#[test]
fn a_failed_lookup_is_not_taken_for_no_such_name_because_ipv6_denies() {
    let fails = |kind| server(move |q| Some(answer(q, if kind_of(q) == kind { 2 } else { NX }, &[])));
    assert_eq!(ask(&settings(&[fails(V4)])), NameAnswer::Failed, "another domain would be another host's");
    assert_eq!(ask(&settings(&[fails(V6)])), NameAnswer::NoSuchName);
}

#[test]
fn forged_answers_are_passed_over() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        let mut ports = Vec::new();
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let question = &buffer[..length];
            let evil = answer(question, 0, &[record("box.lan", kind_of(question), 9, &[6; 4])]);
            let mut other_number = evil.clone();
            other_number[1] ^= 1;
            socket.send_to(&other_number, peer).unwrap();
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&evil, peer).unwrap();
            assert!(!ports.contains(&peer.port()), "a port is used twice");
            ports.push(peer.port());
            let good = if kind_of(question) == V4 { v4(question) } else { answer(question, 0, &[]) };
            socket.send_to(&good, peer).unwrap();
        }
    });
    assert_eq!(shown(ask(&settings(&[address]))), "192.168.1.7");
}

#[test]
fn what_does_not_fit_comes_over_tcp() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, peer)) = udp.recv_from(&mut buffer) {
            udp.send_to(&answer(&buffer[..length], 0x0200, &[]), peer).unwrap();
        }
    });
    thread::spawn(move || {
        for mut stream in tcp.incoming().map_while(Result::ok) {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut question = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut question).unwrap();
            let reply = if kind_of(&question) == V4 { v4(&question) } else { v6(&question) };
            let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
            // In two parts, as networks deliver it.
            stream.write_all(&[&length[..], &reply[..9]].concat()).unwrap();
            stream.write_all(&reply[9..]).unwrap();
        }
    });
    assert!(shown(ask(&settings(&[address]))).contains("192.168.1.7"));
    let only = Settings { is_tcp: true, ..settings(&[address]) };
    assert!(shown(ask(&only)).contains("fd00::7"));
}

#[test]
fn the_hosts_file_goes_first_and_addresses_stand_for_themselves() {
    let folder = std::env::temp_dir().join(format!("agentpass-names-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (hosts, resolv_conf) = (folder.join("hosts"), folder.join("resolv.conf"));
    std::fs::write(&hosts, "10.0.0.7 nas.local NAS\nfd00::7 nas.local\n").unwrap();
    // Nobody is there, and nobody has to be.
    std::fs::write(&resolv_conf, "nameserver 127.0.0.77\noptions timeout:1 attempts:1\nsearch local\n")
        .unwrap();
    let names = Names { hosts, resolv_conf, avahi: folder.join("none"), ..Names::default() };
    let find = |host: &str| {
        let found = smol::block_on(names.lookup(host, 80));
        found.map(|found| {
            let mut shown: Vec<_> = found.iter().map(SocketAddr::to_string).collect();
            shown.sort();
            shown.join(" ")
        })
    };
    assert_eq!(find("NAS.local.").unwrap(), "10.0.0.7:80 [fd00::7]:80");
    assert_eq!(find("nas").unwrap(), "10.0.0.7:80");
    assert_eq!(find("localhost").unwrap(), "127.0.0.1:80 [::1]:80");
    assert_eq!(find("a.localhost").unwrap(), "127.0.0.1:80 [::1]:80");
    assert_eq!((find("[::1]").unwrap(), find("1.2.3.4").unwrap()), ("[::1]:80".into(), "1.2.3.4:80".into()));
    assert_eq!(find("127.1").unwrap(), "127.0.0.1:80");
    let none = ["1.2.3.256", "a.1", "a..b", "-\u{e9}", "a b", "", ".", "127.0.0.1.", "a.invalid", "x.onion"];
    for odd in none {
        assert_eq!(find(odd), Err(NoAddress::Unknown), "{odd}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
