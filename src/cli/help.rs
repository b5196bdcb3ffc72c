//! Argh's help texts, no wider than 80 columns: it wraps the columns of its lists, but not what stands above them.

use super::layout::hanging;

/// As wide as the lists that argh wraps itself.
const WIDTH: usize = 80;
/// Keeps an option and its value on one line until the breaking is done.
const TOGETHER: &str = "\u{1}";

/// `help` with its long lines broken.
pub fn wrapped(help: &str) -> String {
    help.lines().map(line).collect::<Vec<_>>().join("\n")
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
            wrapped(usage),
            "Usage: agentpass audit list [--tool <tool>] [--agent <agent>]\n\
             \x20                           [--decision <decision>] [--json]"
        );
        assert_eq!(wrapped("short\n\n  lines"), "short\n\n  lines");
    }
}
