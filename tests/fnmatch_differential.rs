//! `base::glob` against Python's own `fnmatch.fnmatchcase`, over many thousand random pairs.
//!
//! python3 is a stated need of the tests: without it this one fails, since a silent skip would look like a pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use agentpass::testing::base::glob::Pattern;

const PAIRS: usize = 80_000;

/// Reads `[pattern, value]` lines and answers one `0` or `1` each.
const ORACLE: &str = "
import sys, json, warnings
from fnmatch import fnmatchcase
warnings.simplefilter('ignore')  # re warns about sets such as [[--a], which are meant
for line in sys.stdin.buffer.read().decode('utf-8').split('\\n'):
    if line:
        pattern, value = json.loads(line)
        sys.stdout.write('1' if fnmatchcase(value, pattern) else '0')
";

/// Letters for both sides, then what only matters in patterns; early ones are drawn more often.
const VALUE_LETTERS: &[&str] = &[
    "a", "b", "c", "z", "-", "!", "]", "[", "^", "\\", ".", ",", "(", ")", "{", "}", "é", "ß", "😀", "\n",
    "&", "~",
];
const WILD_LETTERS: &[&str] = &["*", "?", "[", "]", "[!", "a-c", "-", "!", "^", "[]", "[!]", "z-a", "--"];

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn text(&mut self, most: usize, mut letter: impl FnMut(&mut Self) -> &'static str) -> String {
        let length = self.below(most + 1);
        (0..length).map(|_| letter(self)).collect()
    }

    fn value(&mut self) -> String {
        let narrow = 1 + self.below(VALUE_LETTERS.len());
        self.text(8, |random| random.pick(&VALUE_LETTERS[..narrow]))
    }

    fn class(&mut self) -> String {
        let body = self
            .text(7, |random| random.pick(&["a", "b", "c", "z", "-", "-", "!", "^", "[", "\\", "é", "]"]));
        format!("[{body}]")
    }

    /// Half of the patterns are made from the value, so that a good part of the pairs match.
    fn pattern(&mut self, value: &str) -> String {
        if self.below(2) == 0 {
            return self.text(9, |random| {
                let letters = if random.below(2) == 0 { VALUE_LETTERS } else { WILD_LETTERS };
                random.pick(letters)
            });
        }
        let mut pattern = String::new();
        for c in value.chars() {
            match self.below(6) {
                0 => pattern.push('*'),
                1 => pattern.push('?'),
                2 => pattern += &self.class(),
                3 => pattern += &format!("*{c}"),
                _ => pattern.push(c),
            }
        }
        pattern
    }
}

fn ask_python(pairs: &[(String, String)]) -> Vec<bool> {
    let mut python = Command::new("python3")
        .args(["-c", ORACLE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs python3 (any 3.11 or later) in PATH");
    let lines: String = pairs.iter().map(|pair| serde_json::to_string(pair).unwrap() + "\n").collect();
    // The oracle reads all before it writes: no pipe can fill up on both sides. Dropping stdin ends its input.
    python.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "python3 failed: {}", output.status);
    output.stdout.iter().map(|answer| *answer == b'1').collect()
}

#[test]
fn agrees_with_python() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed_0f91_0b00_0001);
    let mut random = Random(seed);
    let pairs: Vec<(String, String)> = (0..PAIRS)
        .map(|_| {
            let value = random.value();
            (random.pattern(&value), value)
        })
        .collect();
    let expected = ask_python(&pairs);
    assert_eq!(expected.len(), pairs.len(), "python3 answered fewer pairs than it was asked");
    for ((pattern, value), expected) in pairs.iter().zip(&expected) {
        let found = Pattern::new(pattern).matches(value);
        assert_eq!(found, *expected, "pattern {pattern:?} on value {value:?}; again with SEED={seed}");
    }
    // A generator whose pairs never match (or always do) would prove nothing.
    let matching = expected.iter().filter(|matches| **matches).count();
    assert!((PAIRS / 10..PAIRS * 9 / 10).contains(&matching), "{matching} of {PAIRS} pairs match");
}
