//! DNS messages (RFC 1035): one question and its answer, of which only A, AAAA and CNAME records are read; others do no
//! harm, however odd.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The most records of an answer that are read.
const MAX_RECORDS: u16 = 64;
/// The longest chain of aliases.
const MAX_ALIASES: usize = 8;
const MAX_ADDRESSES: usize = 8;
/// The longest name as it is sent, in bytes.
const MAX_NAME: usize = 255;

const INTERNET: u16 = 1;
const CNAME: u16 = 5;
/// In the class of a question: a unicast answer will do (RFC 6762, 5.4). In that of a record: older answers are void.
const TOP_BIT: u16 = 0x8000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IpFamily {
    V4,
    /// AAAA records.
    V6,
}

impl IpFamily {
    fn code(self) -> u16 {
        match self {
            IpFamily::V4 => 1,
            IpFamily::V6 => 28,
        }
    }

    fn address(self, data: &[u8]) -> Option<IpAddr> {
        match self {
            IpFamily::V4 => <[u8; 4]>::try_from(data).ok().map(|bytes| Ipv4Addr::from(bytes).into()),
            IpFamily::V6 => <[u8; 16]>::try_from(data).ok().map(|bytes| Ipv6Addr::from(bytes).into()),
        }
    }

    pub(crate) fn has(self, address: IpAddr) -> bool {
        matches!((self, address), (IpFamily::V4, IpAddr::V4(_)) | (IpFamily::V6, IpAddr::V6(_)))
    }
}

/// A question with an id that nobody can guess.
#[derive(Debug)]
pub(crate) struct DnsQuestion {
    id: u16,
    name: Vec<u8>,
    family: IpFamily,
    is_multicast: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DnsReply {
    /// The addresses; empty when there are none.
    pub found: Vec<IpAddr>,
    /// How long they may be kept, in seconds.
    pub(crate) ttl: u32,
    /// 0 is success, 3 says that there is no such name at all.
    pub code: u8,
    /// Truncated: more did not fit.
    pub(crate) is_cut: bool,
}

impl DnsQuestion {
    /// A question to a name server. None when no message can hold the name.
    pub(crate) fn new(name: &str, family: IpFamily) -> Option<DnsQuestion> {
        let id = getrandom::u32().ok()?.to_be_bytes();
        let [high, low, ..] = id;
        Some(DnsQuestion {
            id: u16::from_be_bytes([high, low]),
            name: encoded(name)?,
            family,
            is_multicast: false,
        })
    }

    /// A question to everybody on this network (mDNS).
    pub(crate) fn to_all(name: &str, family: IpFamily) -> Option<DnsQuestion> {
        Some(DnsQuestion { is_multicast: true, ..DnsQuestion::new(name, family)? })
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (flags, class) = if self.is_multicast { (0, INTERNET | TOP_BIT) } else { (RECURSE, INTERNET) };
        let head = [self.id, flags, 1, 0, 0, 0];
        let mut bytes: Vec<u8> = head.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.extend(&self.name);
        bytes.extend([self.family.code(), class].iter().flat_map(|word| word.to_be_bytes()));
        bytes
    }

    /// None when the message is not a well-formed answer to this very question.
    pub(crate) fn read(&self, message: &[u8]) -> Option<DnsReply> {
        let mut reader = DnsReader { message, at: 0 };
        let [id, flags, questions, answers, ..] = reader.words::<6>()?;
        if id != self.id || flags & (ANSWER | OPCODE) != ANSWER || questions != 1 {
            return None;
        }
        let name = reader.name()?;
        let [kind, class] = reader.words()?;
        if name != self.name || kind != self.family.code() || class & !self.ignored() != INTERNET {
            return None;
        }
        let is_cut = flags & CUT != 0;
        let records = self.records(&mut reader, answers.min(MAX_RECORDS), is_cut)?;
        let (found, ttl) = self.follow(&records);
        let code = u8::try_from(flags & CODE).ok()?;
        Some(DnsReply { found, ttl, code, is_cut })
    }

    fn ignored(&self) -> u16 {
        if self.is_multicast { TOP_BIT } else { 0 }
    }

    fn records(&self, reader: &mut DnsReader<'_>, count: u16, is_cut: bool) -> Option<Vec<DnsRecord>> {
        let mut records = Vec::new();
        for _ in 0..count {
            match reader.record(self.family, self.ignored()) {
                Some(record) => records.extend(record),
                None if is_cut => break,
                None => return None,
            }
        }
        Some(records)
    }

    /// The addresses at the end of the chain of names that begins at the one asked for.
    fn follow(&self, records: &[DnsRecord]) -> (Vec<IpAddr>, u32) {
        let (mut name, mut ttl) = (&self.name, u32::MAX);
        for _ in 0..MAX_ALIASES {
            let of_name: Vec<&DnsRecord> = records.iter().filter(|record| record.owner == *name).collect();
            let addresses =
                of_name.iter().filter_map(|record| record.address().map(|found| (found, record.ttl)));
            let (found, ttls): (Vec<IpAddr>, Vec<u32>) = addresses.take(MAX_ADDRESSES).unzip();
            if !found.is_empty() {
                return (found, ttls.into_iter().fold(ttl, u32::min));
            }
            let alias = of_name.iter().find_map(|record| record.alias().map(|alias| (alias, record.ttl)));
            let Some((alias, lasts)) = alias else { break };
            (name, ttl) = (alias, ttl.min(lasts));
        }
        (Vec::new(), 0)
    }
}

const ANSWER: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const CUT: u16 = 0x0200;
const RECURSE: u16 = 0x0100;
const CODE: u16 = 0x000f;

/// Labels with their lengths, in lower case.
fn encoded(name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
    }
    bytes.push(0);
    (bytes.len() <= MAX_NAME).then_some(bytes)
}

/// A record of one of the kinds that matter.
struct DnsRecord {
    owner: Vec<u8>,
    ttl: u32,
    says: Says,
}

enum Says {
    Address(IpAddr),
    Alias(Vec<u8>),
}

impl DnsRecord {
    fn address(&self) -> Option<IpAddr> {
        if let Says::Address(address) = self.says { Some(address) } else { None }
    }

    fn alias(&self) -> Option<&Vec<u8>> {
        if let Says::Alias(name) = &self.says { Some(name) } else { None }
    }
}

/// Reads a message from front to back. None from any of it means that the message ends too early or is malformed.
struct DnsReader<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> DnsReader<'m> {
    fn take(&mut self, count: usize) -> Option<&'m [u8]> {
        let end = self.at.checked_add(count)?;
        let bytes = self.message.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn word(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn words<const N: usize>(&mut self) -> Option<[u16; N]> {
        let words: Option<Vec<u16>> = (0..N).map(|_| self.word()).collect();
        words?.try_into().ok()
    }

    /// A name in the form of [`encoded`], its pointers followed. Each pointer must lead to before the one that led to
    /// it, so there is an end.
    fn name(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        let mut part = DnsReader { message: self.message, at: self.at };
        let (mut begin, mut end) = (self.at, None);
        loop {
            let length = part.byte()?;
            match length >> 6 {
                0 if length == 0 => break,
                0 => {
                    name.push(length);
                    name.extend(part.take(length.into())?.iter().map(u8::to_ascii_lowercase));
                }
                3 => {
                    let to = usize::from(u16::from_be_bytes([length & 0x3f, part.byte()?]));
                    end.get_or_insert(part.at);
                    (begin, part.at) = if to < begin { (to, to) } else { return None };
                }
                _ => return None,
            }
            if name.len() >= MAX_NAME {
                return None;
            }
        }
        self.at = end.unwrap_or(part.at);
        name.push(0);
        Some(name)
    }

    /// Some(None) for a record that is about something else.
    fn record(&mut self, family: IpFamily, ignored: u16) -> Option<Option<DnsRecord>> {
        let owner = self.name()?;
        let [kind, class] = self.words()?;
        let ttl = self.take(4)?.try_into().ok().map(u32::from_be_bytes)?;
        let length = usize::from(self.word()?);
        let data = DnsReader { message: self.message, at: self.at };
        let bytes = self.take(length)?;
        let says = match kind {
            CNAME => Some(Says::Alias(DnsReader { ..data }.name()?)),
            kind if kind == family.code() => Some(Says::Address(family.address(bytes)?)),
            _ => None,
        };
        let is_internet = class & !ignored == INTERNET;
        Some(says.filter(|_| is_internet).map(|says| DnsRecord { owner, ttl, says }))
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
pub(super) mod tests;
