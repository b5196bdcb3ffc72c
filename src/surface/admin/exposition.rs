//! Prometheus' text format, version 0.0.4, written. It knows nothing of what is measured.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::{Display, Write as _};

use crate::base::histogram::HistogramReading;

/// What an answer in this format calls itself.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A name of ours and a value, which is escaped.
type Label<'a> = (&'a str, &'a str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricKind {
    /// Only grows, until the gateway is started again.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A text that grows family by family: everything of one name, each name once.
#[derive(Default)]
pub(crate) struct Exposition {
    text: String,
}

impl Exposition {
    /// A counter that stands alone.
    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.samples(MetricKind::Counter, name, help, [([], value)]);
    }

    /// A gauge that stands alone.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.samples(MetricKind::Gauge, name, help, [([], value)]);
    }

    /// A family of samples, each set of labels once.
    pub(crate) fn samples<'l, const N: usize>(
        &mut self,
        kind: MetricKind,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([Label<'l>; N], impl Display)>,
    ) {
        self.head(name, help, if kind == MetricKind::Counter { "counter" } else { "gauge" });
        for (labels, value) in samples {
            self.line(name, &labels, value);
        }
    }

    /// A family of histograms, in seconds.
    pub(crate) fn histograms<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        histograms: impl IntoIterator<Item = ([Label<'l>; N], &'l HistogramReading)>,
    ) {
        self.head(name, help, "histogram");
        for (labels, reading) in histograms {
            let finite = reading.buckets.iter().map(|(end, count)| (end.as_secs_f64().to_string(), *count));
            for (bound, count) in finite.chain([("+Inf".to_owned(), reading.count)]) {
                let labels: Vec<_> = labels.into_iter().chain([("le", bound.as_str())]).collect();
                self.line(&format!("{name}_bucket"), &labels, count);
            }
            self.line(&format!("{name}_sum"), &labels, reading.sum.as_secs_f64());
            self.line(&format!("{name}_count"), &labels, reading.count);
        }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    // Writing into a String does not fail.
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn line(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.text, "{name}{labels} {value}");
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
        let samples = [([("x", "quote\" back\\ line\n"), ("y", "")], 0.25), ([("x", "é"), ("y", "z")], -1.0)];
        text.samples(MetricKind::Gauge, "b", "Help.", samples);
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
        text.histograms("h_seconds", "Help.", [([("k", "v")], &histogram.read())]);
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
