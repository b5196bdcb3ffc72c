//! A strict reader of Prometheus' text format 0.0.4. It refuses what a scraper would refuse, what `promtool check
//! metrics` complains of, and whatever else would only be sloppy.

use std::collections::{BTreeMap, BTreeSet};

pub type Labels = BTreeMap<String, String>;

/// One scrape.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    /// Kind by name of the family.
    pub families: BTreeMap<String, String>,
    pub samples: BTreeMap<(String, Labels), f64>,
}

impl Scrape {
    /// The value of one sample; zero when there is none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        self.samples.get(&(name.to_owned(), labels)).copied().unwrap_or_default()
    }

    /// The samples of `name` whose values are not those of `earlier`, and by how much.
    pub fn moved(&self, earlier: &Scrape, name: &str) -> Vec<(Labels, f64)> {
        let of_name = self.samples.iter().filter(|((n, _), _)| n == name);
        let by = of_name.map(|(key, value)| {
            (key.1.clone(), value - earlier.samples.get(key).copied().unwrap_or_default())
        });
        by.filter(|(_, by)| *by != 0.0).collect()
    }
}

/// Reads a whole answer.
pub fn parse(text: &str) -> Result<Scrape, String> {
    let Some(text) = text.strip_suffix('\n') else { return Err("does not end with a newline".into()) };
    let mut scrape = Scrape::default();
    let mut lines = text.split('\n').peekable();
    while let Some(line) = lines.next() {
        let (name, help) =
            comment(line, "# HELP ").ok_or_else(|| format!("no HELP where one must be: {line}"))?;
        check_escapes(help, &['\\', 'n'])?;
        let (same, kind) = lines
            .next()
            .and_then(|line| comment(line, "# TYPE "))
            .ok_or_else(|| format!("no TYPE after the HELP of {name}"))?;
        check_family(name, same, kind, help)?;
        if scrape.families.insert(name.to_owned(), kind.to_owned()).is_some() {
            return Err(format!("the family {name} is there twice"));
        }
        let mut samples = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            samples.push(sample(line).map_err(|why| format!("{why}: {line}"))?);
        }
        check_samples(name, kind, &samples)?;
        for (name, labels, value) in samples {
            if scrape.samples.insert((name.clone(), labels.clone()), value).is_some() {
                return Err(format!("{name}{labels:?} is there twice"));
            }
        }
    }
    Ok(scrape)
}

type Sample = (String, Labels, f64);

fn comment<'t>(line: &'t str, start: &str) -> Option<(&'t str, &'t str)> {
    line.strip_prefix(start)?.split_once(' ')
}

fn check_family(name: &str, same: &str, kind: &str, help: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words: Vec<_> = name.split('_').collect();
    let strange = [
        "ms",
        "us",
        "ns",
        "milliseconds",
        "microseconds",
        "nanoseconds",
        "minutes",
        "hours",
        "days",
        "kb",
        "mb",
        "kilobytes",
        "kibibytes",
        "megabytes",
        "percent",
        "counter",
        "gauge",
        "histogram",
        "summary",
        "metric",
    ];
    let wrong = if same != name {
        "TYPE of another family"
    } else if help.trim().is_empty() {
        "no help"
    } else if !name.chars().all(plain) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        "not a good name"
    } else if words.iter().any(|word| word.is_empty() || strange.contains(word)) {
        "a unit that is no base unit, or the kind, in the name"
    } else if !["counter", "gauge", "histogram"].contains(&kind) {
        "no such kind"
    } else if (kind == "counter") != name.ends_with("_total") {
        "counters and nothing else end in _total"
    } else if ["_bucket", "_sum", "_count", "_info_total"].iter().any(|end| name.ends_with(end)) {
        "an ending that belongs to histograms"
    } else {
        return Ok(());
    };
    Err(format!("{name}: {wrong}"))
}

fn check_escapes(text: &str, allowed: &[char]) -> Result<(), String> {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\\' && !chars.next().is_some_and(|next| allowed.contains(&next)) {
            return Err(format!("a bad escape in {text}"));
        }
    }
    Ok(())
}

/// `name{label="value",…} value` and nothing after it.
fn sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = read_labels(inside, &mut labels)?;
    }
    let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
    if value.contains(' ') {
        return Err("a timestamp, or spaces".into());
    }
    let is_number = value.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        && value.chars().all(|c| c.is_ascii_digit() || "-+.e".contains(c));
    let value = value.parse().ok().filter(|_| is_number).ok_or("the value is no number")?;
    Ok((name.to_owned(), labels, value))
}

/// Reads labels up to the closing brace and gives what follows it.
fn read_labels<'t>(mut text: &'t str, labels: &mut Labels) -> Result<&'t str, String> {
    loop {
        let (name, rest) = text.split_once("=\"").ok_or("no label")?;
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty()
            || !name.chars().all(good)
            || name.starts_with(|c: char| c == '_' || c.is_ascii_digit())
        {
            return Err(format!("a bad label name {name:?}"));
        }
        let (value, rest) = read_value(rest)?;
        if labels.insert(name.to_owned(), value).is_some() {
            return Err(format!("the label {name} is there twice"));
        }
        match (rest.strip_prefix(','), rest.strip_prefix('}')) {
            (Some(more), _) => text = more,
            (None, Some(after)) => return Ok(after),
            (None, None) => return Err("neither comma nor brace after a label".into()),
        }
    }
}

fn read_value(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('\\' | '"'))) => c,
                _ => return Err("a bad escape".into()),
            }),
            c => value.push(c),
        }
    }
    Err("a label value without an end".into())
}

fn check_samples(name: &str, kind: &str, samples: &[Sample]) -> Result<(), String> {
    let label_names = |labels: &Labels| {
        labels.keys().filter(|n| kind != "histogram" || *n != "le").cloned().collect::<BTreeSet<_>>()
    };
    if samples.iter().any(|(_, labels, _)| label_names(labels) != label_names(&samples[0].1)) {
        return Err(format!("{name}: not all of its samples have the same labels"));
    }
    if kind == "histogram" {
        return check_histogram(name, samples);
    }
    for (sample, labels, value) in samples {
        if sample != name || labels.contains_key("le") || (kind == "counter" && *value < 0.0) {
            return Err(format!("{sample} does not fit the {kind} {name}"));
        }
    }
    Ok(())
}

/// One histogram after the other: buckets that rise, `+Inf`, sum, count.
fn check_histogram(name: &str, samples: &[Sample]) -> Result<(), String> {
    let mut rest = samples.iter();
    let mut bound_and_count: Option<(f64, f64)> = None;
    while let Some((sample, labels, value)) = rest.next() {
        let le = labels.get("le").ok_or_else(|| format!("{sample} without le"))?;
        let bound =
            if le == "+Inf" { f64::INFINITY } else { le.parse().map_err(|_| format!("a bad le {le}"))? };
        let rises = bound_and_count.is_none_or(|(last, count)| bound > last && *value >= count);
        if *sample != format!("{name}_bucket") || !rises {
            return Err(format!("{sample}{labels:?} does not follow its bucket"));
        }
        bound_and_count = Some((bound, *value));
        if bound.is_infinite() {
            let outer: Labels =
                labels.iter().filter(|(n, _)| *n != "le").map(|(n, v)| (n.clone(), v.clone())).collect();
            let (sum, count) = (rest.next(), rest.next());
            let fits = sum.is_some_and(|(n, l, v)| *n == format!("{name}_sum") && *l == outer && *v >= 0.0)
                && count.is_some_and(|(n, l, v)| *n == format!("{name}_count") && *l == outer && v == value);
            if !fits {
                return Err(format!("{name}{outer:?}: sum or count is missing or wrong"));
            }
            bound_and_count = None;
        }
    }
    if bound_and_count.is_some() { Err(format!("{name}: no +Inf")) } else { Ok(()) }
}

#[test]
fn refuses_what_a_scraper_would() {
    let good = "# HELP a_total Help.\n# TYPE a_total counter\na_total{x=\"\\\"\\\\\\n,}\",y=\"\"} 1\n\
                # HELP h_seconds Help.\n# TYPE h_seconds histogram\n\
                h_seconds_bucket{le=\"0.5\"} 1\nh_seconds_bucket{le=\"+Inf\"} 2\nh_seconds_sum 3.5\nh_seconds_count 2\n";
    let read = parse(good).unwrap();
    assert_eq!(read.value("a_total", &[("x", "\"\\\n,}"), ("y", "")]), 1.0);
    for (from, to) in [
        ("count 2\n", "count 2"),
        ("# HELP a_total Help.\n", ""),
        ("# TYPE a_total counter\n", ""),
        ("a_total Help", "a_total \\q"),
        ("TYPE a_total", "TYPE b_total"),
        ("TYPE a_total counter", "TYPE a_total gauge"),
        ("TYPE a_total counter", "TYPE a_total untyped"),
        ("} 1\n#", "} 1 1700000000\n#"),
        ("} 1\n#", "} -1\n#"),
        ("} 1\n#", "} NaN\n#"),
        ("} 1\n#", "}  1\n#"),
        ("} 1\n#", "}\n#"),
        (",y=\"\"", ",x=\"\""),
        (",y=\"\"", ",y=\"\","),
        (",y=\"\"", ",Y=\"\""),
        (",y=\"\"", ",__y=\"\""),
        ("\\n,}", "\\t,}"),
        ("bucket{le=\"0.5\"} 1", "bucket{le=\"0.5\"} 3"),
        ("bucket{le=\"+Inf\"} 2\n", ""),
        ("bucket{le=\"+Inf\"} 2\n", "bucket{le=\"0.1\"} 2\n"),
        ("h_seconds_sum 3.5\n", ""),
        ("h_seconds_count 2", "h_seconds_count 3"),
        ("} 1\n#", "} 1\n\n#"),
        ("} 1\n#", "} 1\nb_total{x=\"\",y=\"\"} 1\n#"),
        ("} 1\n#", "} 1\na_total{x=\"\\\"\\\\\\n,}\",y=\"\"} 1\n#"),
        ("} 1\n#", "} 1\na_total{x=\"1\"} 1\n#"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        assert!(parse(&bad).is_err(), "{bad}");
    }
    for bad in
        ["h_ms", "h_minutes", "H_seconds", "h:seconds", "h_count", "h_total", "h__seconds", "h_histogram"]
    {
        assert!(parse(&good.replace("h_seconds", bad)).is_err(), "{bad}");
    }
    assert!(parse(&good.repeat(2)).is_err());
}
