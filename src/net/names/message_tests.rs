//! Tests of the messages, and a name server for the other tests.

use super::*;

pub(crate) fn record(owner: &str, kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = encoded(owner).unwrap();
    bytes.extend([kind, INTERNET].iter().flat_map(|word| word.to_be_bytes()));
    bytes.extend(ttl.to_be_bytes());
    bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    bytes.extend(data);
    bytes
}

/// The answer of a server to a question as it came.
pub(crate) fn answer(question: &[u8], flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = question[..2].to_vec();
    let counts = [0x8180 | flags, 1, u16::try_from(records.len()).unwrap(), 0, 0];
    bytes.extend(counts.iter().flat_map(|word| word.to_be_bytes()));
    bytes.extend(&question[12..]);
    bytes.extend(records.concat());
    bytes
}

/// What is asked for: 1 for A, 28 for AAAA.
pub(crate) fn kind_of(question: &[u8]) -> u16 {
    let end = question.len() - 4;
    u16::from_be_bytes([question[end], question[end + 1]])
}

fn question(family: IpFamily) -> DnsQuestion {
    DnsQuestion { id: 0x1234, ..DnsQuestion::new("Box.lan", family).unwrap() }
}

#[test]
fn a_question_is_what_the_standard_says() {
    let head = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x03box\x03lan\0";
    assert_eq!(question(IpFamily::V4).bytes(), [&head[..], b"\0\x01\0\x01"].concat());
    assert_eq!(question(IpFamily::V6).bytes(), [&head[..], b"\0\x1c\0\x01"].concat());
    let to_all = DnsQuestion { id: 0, ..DnsQuestion::to_all("box.local", IpFamily::V4).unwrap() };
    assert_eq!(to_all.bytes(), b"\0\0\0\0\0\x01\0\0\0\0\0\0\x03box\x05local\0\0\x01\x80\x01");
    for name in ["", ".", "a..b", &"a".repeat(64), &vec!["a".repeat(63); 4].join(".")] {
        assert!(DnsQuestion::new(name, IpFamily::V4).is_none(), "{name}");
    }
    let numbers: std::collections::HashSet<_> =
        (0..100).map(|_| DnsQuestion::new("a", IpFamily::V4).unwrap().id).collect();
    assert!(numbers.len() > 90, "numbers repeat");
}

#[test]
fn addresses_are_found_behind_aliases() {
    let asked = question(IpFamily::V4);
    let chain = |names: &[&str]| {
        let aliases = names.windows(2).map(|pair| record(pair[0], 5, 60, &encoded(pair[1]).unwrap()));
        let mut records: Vec<_> = aliases.collect();
        records.push(record(names[names.len() - 1], 1, 30, &[192, 168, 1, 7]));
        records.reverse();
        asked.read(&answer(&asked.bytes(), 0, &records)).unwrap().found.len()
    };
    assert_eq!((chain(&["box.lan"]), chain(&["BOX.lan", "b.lan", "c.example"])), (1, 1));
    assert_eq!(chain(&["other.lan"]), 0, "of another name");
    let long: Vec<String> = (0..20).map(|n| format!("n{n}.lan")).collect();
    let mut names = vec!["box.lan"];
    names.extend(long.iter().map(String::as_str));
    assert_eq!((chain(&names[..8]), chain(&names)), (1, 0));
    let circle = [
        record("box.lan", 5, 9, &encoded("b.lan").unwrap()),
        record("b.lan", 5, 9, &encoded("box.lan").unwrap()),
    ];
    assert_eq!(asked.read(&answer(&asked.bytes(), 0, &circle)).unwrap().found.len(), 0);
}

#[test]
fn records_of_other_kinds_spoil_nothing() {
    let asked = question(IpFamily::V6);
    let ip = "fd00::7".parse::<Ipv6Addr>().unwrap();
    let records = [
        record("box.lan", 47, 9, &[0xff; 40]),
        record("box.lan", 1, 9, &[1, 2, 3, 4]),
        record("box.lan", 28, 9, &ip.octets()),
        record("box.lan", 65_280, 9, b""),
    ];
    let reply = asked.read(&answer(&asked.bytes(), 0, &records)).unwrap();
    assert_eq!(reply, DnsReply { found: vec![ip.into()], ttl: 9, code: 0, is_cut: false });
    // Compressed, as all servers send them: the owner is a pointer to the question.
    let compressed = [&b"\xc0\x0c\0\x1c\0\x01\0\0\0\x09\0\x10"[..], &ip.octets()].concat();
    assert_eq!(asked.read(&answer(&asked.bytes(), 0, &[compressed])).unwrap().found, [ip]);
    let many = vec![record("box.lan", 28, 9, &ip.octets()); 200];
    assert_eq!(asked.read(&answer(&asked.bytes(), 0, &many)).unwrap().found.len(), MAX_ADDRESSES);
}

#[test]
fn what_does_not_answer_this_question_is_none() {
    let asked = question(IpFamily::V4);
    let good = answer(&asked.bytes(), 0, &[record("box.lan", 1, 9, &[1, 2, 3, 4])]);
    assert!(asked.read(&good).is_some());
    let with = |at: usize, byte: u8| {
        let mut bad = good.clone();
        bad[at] = byte;
        bad
    };
    let end = asked.bytes().len();
    for (what, bad) in [
        ("number", with(0, 0x13)),
        ("a question", with(2, 0x01)),
        ("another operation", with(2, 0x91)),
        ("two questions", with(5, 2)),
        ("another name", with(13, b'f')),
        ("another kind", with(end - 3, 28)),
        ("another class", with(end - 1, 3)),
        ("an address of three bytes", [&good[..good.len() - 5], &[3, 1, 2, 3][..]].concat()),
    ] {
        assert_eq!(asked.read(&bad), None, "{what}");
    }
    for length in 0..good.len() {
        assert_eq!(asked.read(&good[..length]), None, "cut after {length} bytes");
    }
    // A name that points at itself, at what comes after it, and at a pointer that leads back.
    for pointer in [b"\xc0\x19", b"\xc0\x20", b"\xff\xff"] {
        let looped = [&pointer[..], b"\0\x01\0\x01\0\0\0\x09\0\x04\x01\x02\x03\x04"].concat();
        assert_eq!(asked.read(&answer(&asked.bytes(), 0, &[looped])), None, "{pointer:?}");
    }
}

#[test]
fn no_message_makes_it_panic_or_take_long() {
    let asked = question(IpFamily::V4);
    let alias = record("box.lan", 5, 9, b"\x01b\xc0\x10");
    let good = answer(&asked.bytes(), 0, &[alias, record("b.lan", 1, 9, &[1, 2, 3, 4])]);
    assert_eq!(asked.read(&good).unwrap().found.len(), 1);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..200_000 {
        let mut bad = good.clone();
        for _ in 0..=next(4) {
            let at = next(bad.len());
            match next(4) {
                0 => bad[at] = [0xc0, 0xff, 0, 63, 64, 12][next(6)],
                1 => bad.truncate(at.max(1)),
                2 => bad.insert(at, u8::try_from(next(256)).unwrap()),
                _ => bad[at] ^= 1 << next(8),
            }
        }
        let _ = asked.read(&bad);
    }
}
