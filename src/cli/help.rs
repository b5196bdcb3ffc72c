//! Argh's help texts as people read them: no wider than 80 columns, and with the value and the short name beside every
//! option.

use super::arguments::SHORT;
use super::layout::{hanging, padded, width};

/// As wide as the lists that argh wraps itself.
const WIDTH: usize = 80;
/// Where the words for an option begin; a longer option has them on the next line.
const COLUMN: usize = 26;
/// Keeps an option and its value on one line until the breaking is done.
const TOGETHER: &str = "\u{1}";

/// `help` with whole options and its long lines broken.
pub(crate) fn shown(help: &str) -> String {
    let (usage, mut lines, mut options) = (help.lines().next().unwrap_or_default(), Vec::new(), None);
    for text in help.lines() {
        match (&mut options, text) {
            (None, "Options:") => options = Some(Vec::<String>::new()),
            (Some(found), text) if text.starts_with("  -") => found.push(text.trim().to_owned()),
            // What argh has broken is put together again.
            (Some(found), text) if text.starts_with("   ") => {
                found.iter_mut().last().into_iter().for_each(|last| {
                    last.push(' ');
                    last.push_str(text.trim());
                })
            }
            _ => {
                lines.extend(options.take().map(|found| list(usage, &found)));
                lines.push(line(text));
            }
        }
    }
    lines.extend(options.take().map(|found| list(usage, &found)));
    lines.join("\n")
}

fn list(usage: &str, options: &[String]) -> String {
    let rows = options.iter().map(|text| {
        let (name, words) = text.split_once(' ').unwrap_or((text, ""));
        let name = name.trim_end_matches(',');
        let short = match name {
            "--help" => Some("-h"),
            name => SHORT.iter().find(|(_, long)| *long == name).map(|(short, _)| *short),
        };
        let short = short.map(|short| format!(", {short}")).unwrap_or_default();
        let value = value(usage, name).map(|value| format!(" {value}")).unwrap_or_default();
        let label = format!("  {name}{short}{value}");
        let words = words.trim_start().trim_start_matches("help ").trim_start();
        match width(&label) < COLUMN {
            true => hanging(&padded(&label, COLUMN), words, Some(WIDTH)),
            false => format!("{label}\n{}", hanging(&" ".repeat(COLUMN), words, Some(WIDTH))),
        }
    });
    ["Options:".to_owned()].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
}

/// `<file>`, as the usage line names what an option takes.
fn value<'u>(usage: &'u str, name: &str) -> Option<&'u str> {
    let (_, rest) = usage.split_once(&format!("[{name} <"))?;
    let end = rest.find('>')?;
    let start = usage.len() - rest.len() - 1;
    usage.get(start..start + end + 2)
}

fn line(text: &str) -> String {
    if text.chars().count() <= WIDTH {
        return text.to_owned();
    }
    match text.split_once(" [") {
        Some((usage, options)) if text.starts_with("Usage: ") => {
            let options = format!("[{options}").replace(" <", &format!("{TOGETHER}<"));
            hanging(&format!("{usage} "), &options, Some(WIDTH)).replace(TOGETHER, " ")
        }
        _ => {
            let start = text.trim_start_matches(' ');
            hanging(&" ".repeat(text.len() - start.len()), start, Some(WIDTH))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_hangs_and_options_stay_whole() {
        let usage =
            "Usage: agentpass audit list [--tool <tool>] [--agent <agent>] [--decision <decision>] [--json]";
        assert_eq!(
            shown(usage),
            "Usage: agentpass audit list [--tool <tool>] [--agent <agent>]\n\
             \x20                           [--decision <decision>] [--json]"
        );
        assert_eq!(shown("short\n\n  lines"), "short\n\n  lines");
    }

    #[test]
    fn options_name_their_value_and_their_short_form() {
        let help = "Usage: x [--config <file>] [--idempotency-key <key>] [--json]\n\nOptions:\n  --config          the file,\n\
                    \x20                   which is\n  --idempotency-key a key\n  --json            JSON\n\
                    \x20 --help, help      display usage information\n\nNotes:\n  x";
        let expected = "Options:\n  --config, -c <file>     the file, which is\n  --idempotency-key <key> a key\n\
                        \x20 --json, -j              JSON\n  --help, -h              display usage information\n\nNotes:\n  x";
        assert_eq!(shown(help).split_once("\n\n").unwrap().1, expected);
    }
}
