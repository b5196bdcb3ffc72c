//! The table: rows on stdout for people, 98 columns wide, and the same as JSON.

use std::time::Duration;

use serde_json::{Value, json};

/// A figure in its base unit.
#[derive(Clone, Copy)]
pub enum Figure {
    Time(Duration),
    /// Nanoseconds with a fraction, for what is shorter than a clock can tell.
    Nanos(f64),
    PerSecond(f64),
    Bytes(f64),
    Count(f64),
    /// How many times the direct call's.
    Times(f64),
    /// How many times the direct call's, and how much that is more.
    Above(f64, Duration),
    /// Nothing to say in this column.
    None,
}

use Figure::{Above, Bytes, Count, Nanos, PerSecond, Time, Times};

impl Figure {
    /// A latency beside that of the direct call.
    pub fn beside(one: Duration, direct: Duration) -> Figure {
        Above(one.as_secs_f64() / direct.as_secs_f64(), one.saturating_sub(direct))
    }

    fn text(self) -> String {
        match self {
            Time(time) => duration(time.as_nanos() as f64),
            Nanos(nanos) => duration(nanos),
            PerSecond(rate) if rate < 100.0 => format!("{rate:.1} /s"),
            PerSecond(rate) => format!("{} /s", grouped(rate)),
            Bytes(bytes) if bytes.abs() < 10_000.0 => format!("{bytes:.0} B"),
            Bytes(bytes) if bytes.abs() < 1e6 => format!("{:.1} kB", bytes / 1e3),
            Bytes(bytes) => format!("{:.2} MB", bytes / 1e6),
            Count(count) => grouped(count),
            Times(times) if times < 9.995 => format!("{times:.2}x"),
            Times(times) => format!("{times:.0}x"),
            Above(times, more) => {
                format!("{} +{}", Times(times).text(), duration(more.as_nanos() as f64))
            }
            Figure::None => String::new(),
        }
    }

    /// Seconds, bytes, per second, or how many times.
    fn json(self) -> Value {
        match self {
            Time(time) => json!(time.as_secs_f64()),
            Nanos(nanos) => json!(nanos / 1e9),
            PerSecond(n) | Bytes(n) | Count(n) | Times(n) | Above(n, _) => json!(n),
            Figure::None => Value::Null,
        }
    }
}

fn duration(nanos: f64) -> String {
    match nanos {
        n if n < 1e3 => format!("{n:.1} ns"),
        n if n < 1e6 => format!("{:.1} us", n / 1e3),
        n if n < 1e9 => format!("{:.2} ms", n / 1e6),
        n => format!("{:.2} s", n / 1e9),
    }
}

/// 1234567 as 1,234,567.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// All that was measured so far.
pub struct Table {
    rows: Vec<Value>,
    heading: Vec<String>,
    part: String,
    columns: Vec<String>,
}

impl Table {
    /// Prints the heading.
    pub fn new(heading: Vec<String>) -> Table {
        heading.iter().for_each(|line| println!("{line}"));
        Table { rows: Vec::new(), heading, part: String::new(), columns: Vec::new() }
    }

    /// Begins a part; up to four columns, of which the last is the widest.
    pub fn part(&mut self, name: &str, columns: &[&str]) {
        (self.part, self.columns) = (name.into(), columns.iter().map(|c| (*c).into()).collect());
        println!("\n{}", line(name, "mode", columns.iter().map(|c| (*c).to_owned())));
    }

    /// One row; its figures stand below the part's columns.
    pub fn row(&mut self, what: &str, mode: &str, figures: &[Figure]) {
        assert!(figures.len() <= self.columns.len(), "{what} has more figures than columns");
        println!("{}", line(&format!("  {what}"), mode, figures.iter().map(|f| f.text())));
        let named: serde_json::Map<_, _> =
            self.columns.iter().zip(figures).map(|(name, f)| (name.clone(), f.json())).collect();
        self.rows.push(json!({"part": self.part, "what": what, "mode": mode, "figures": named}));
    }

    /// A line of words below the rows.
    pub fn note(&self, text: &str) {
        println!("  {text}");
    }

    /// The same for machines: times in seconds, memory in bytes, and how many times another figure.
    pub fn json(&self) -> String {
        let all = json!({"heading": self.heading, "rows": self.rows});
        serde_json::to_string_pretty(&all).unwrap()
    }
}

fn line(what: &str, mode: &str, figures: impl Iterator<Item = String>) -> String {
    let mut line = format!("{what:<33}{mode:<16}");
    for (place, text) in figures.enumerate() {
        let width = if place == 3 { 17 } else { 11 };
        line += &format!("{text:>width$}");
    }
    line
}
