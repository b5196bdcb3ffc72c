//! The hosts file.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::IpAddr;
use std::path::Path;

/// No more of the file is read, in bytes. Files against advertising have megabytes.
const MAX_FILE: u64 = 16 << 20;
/// The most addresses of one name.
const MAX_ADDRESSES: usize = 8;

/// All addresses that the file gives a name, which is in lower case. None when there is no such file.
pub(crate) fn find(path: &Path, name: &str) -> Vec<IpAddr> {
    let Ok(file) = File::open(path) else { return Vec::new() };
    let lines = BufReader::new(file.take(MAX_FILE)).split(b'\n').map_while(Result::ok);
    lines.filter_map(|line| address(&line, name)).take(MAX_ADDRESSES).collect()
}

fn address(line: &[u8], name: &str) -> Option<IpAddr> {
    let line = String::from_utf8_lossy(line);
    let mut words = line.split('#').next()?.split_ascii_whitespace();
    let address = words.next()?.parse().ok()?;
    words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name)).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_addresses_of_all_its_lines() {
        let line = |text: &[u8]| address(text, "pi.lan").map(|ip| ip.to_string());
        assert_eq!(line(b"10.0.0.2\tpi PI.lan. # the small one\r").as_deref(), Some("10.0.0.2"));
        assert_eq!(line(b" fd00::2 \xff pi.lan").as_deref(), Some("fd00::2"));
        for other in
            ["", "# 10.0.0.2 pi.lan", "10.0.0.2 # pi.lan", "10.0.0.2 pi.lan.example", "x pi.lan", "pi.lan"]
        {
            assert_eq!(line(other.as_bytes()), None, "{other}");
        }
        assert!(find(Path::new("/nowhere/hosts"), "pi.lan").is_empty());
    }
}
