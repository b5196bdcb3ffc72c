//! Prometheus' text format, version 0.0.4, written. It knows nothing of what is measured.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::{Display, Write as _};

use crate::base::histogram::HistogramReading;

/// What an answer in this format calls itself.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A name and its value. Values are escaped; names are ours.
pub(crate) type Label<'a> = (&'a str, &'a str);

/// The kinds of metrics that there are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows, until the gateway is started again.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in buckets.
    Histogram,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A text that grows family by family.
#[derive(Default)]
pub(crate) struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family: everything of one name. Each name once.
    pub(crate) fn family<'e>(&'e mut self, kind: Kind, name: &'e str, help: &str) -> Family<'e> {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing into a String does not fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {}\n", kind.as_str());
        Family { text: &mut self.text, name }
    }

    /// A counter that stands alone.
    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(Kind::Counter, name, help).sample(&[], value);
    }

    /// A gauge that stands alone.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(Kind::Gauge, name, help).sample(&[], value);
    }

    /// The whole text.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// The samples of one family.
pub(crate) struct Family<'e> {
    text: &'e mut String,
    name: &'e str,
}

impl Family<'_> {
    /// One sample. Each set of labels once.
    pub(crate) fn sample(&mut self, labels: &[Label<'_>], value: impl Display) {
        self.line("", labels, value);
    }

    /// The samples of one histogram, in seconds.
    pub(crate) fn histogram(&mut self, labels: &[Label<'_>], reading: &HistogramReading) {
        for (bound, count) in &reading.buckets {
            self.bucket(labels, &bound.as_secs_f64().to_string(), *count);
        }
        self.bucket(labels, "+Inf", reading.count);
        self.line("_sum", labels, reading.sum.as_secs_f64());
        self.line("_count", labels, reading.count);
    }

    fn bucket(&mut self, labels: &[Label<'_>], bound: &str, count: u64) {
        let labels: Vec<_> = labels.iter().copied().chain([("le", bound)]).collect();
        self.line("_bucket", &labels, count);
    }

    fn line(&mut self, suffix: &str, labels: &[Label<'_>], value: impl Display) {
        let _ = write!(self.text, "{}{suffix}", self.name);
        for (index, (name, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{name}=\"{}\"", escaped(value));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{after} {value}");
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::histogram::Histogram;
    use std::time::Duration;

    #[test]
    fn writes_what_the_format_says() {
        let mut text = Exposition::default();
        text.counter("a_total", "Back\\slash and\nnewline.", 3);
        let mut family = text.family(Kind::Gauge, "b", "Help.");
        family.sample(&[("x", "quote\" back\\ line\n"), ("y", "")], 0.25);
        family.sample(&[("x", "é"), ("y", "z")], -1);
        assert_eq!(
            text.into_text(),
            "# HELP a_total Back\\\\slash and\\nnewline.\n# TYPE a_total counter\na_total 3\n\
             # HELP b Help.\n# TYPE b gauge\n\
             b{x=\"quote\\\" back\\\\ line\\n\",y=\"\"} 0.25\nb{x=\"é\",y=\"z\"} -1\n"
        );
    }

    #[test]
    fn writes_buckets_in_seconds() {
        const BOUNDS: [Duration; 2] = [Duration::from_micros(5), Duration::from_secs(900)];
        let histogram = Histogram::new(&BOUNDS);
        [0, 900, 901].into_iter().for_each(|s| histogram.observe(Duration::from_secs(s)));
        let mut text = Exposition::default();
        text.family(Kind::Histogram, "h_seconds", "Help.").histogram(&[("k", "v")], &histogram.read());
        let lines = text.into_text();
        let samples: Vec<_> = lines.lines().skip(2).collect();
        assert_eq!(
            samples,
            [
                r#"h_seconds_bucket{k="v",le="0.000005"} 1"#,
                r#"h_seconds_bucket{k="v",le="900"} 2"#,
                r#"h_seconds_bucket{k="v",le="+Inf"} 3"#,
                r#"h_seconds_sum{k="v"} 1801"#,
                r#"h_seconds_count{k="v"} 3"#,
            ]
        );
    }
}
