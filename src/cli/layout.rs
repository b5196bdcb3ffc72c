//! Text in columns, no wider than the terminal. It adds line ends and spaces, and never takes a character away.
//!
//! Lines are broken here and not by the terminal: a terminal goes on in its first column, where words of an agent
//! could pose as the gateway's.

/// The narrowest a column that wraps is made. Below it lines are too long for the terminal, but still readable.
const NARROWEST: usize = 20;

/// How many columns `text` takes, colours apart. For characters of doubtful width rather too many than too few.
pub(crate) fn width(text: &str) -> usize {
    let mut columns = 0;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            // Only `colour` writes these; texts of others have been made visible.
            '\x1b' => rest.by_ref().take_while(|c| *c != 'm').for_each(drop),
            c => columns += cells(c),
        }
    }
    columns
}

fn cells(c: char) -> usize {
    match c {
        '⟨' | '⟩' => 1,
        '\u{1100}'..='\u{115f}' | '\u{231a}'..='\u{2bff}' | '\u{2e80}'.. => 2,
        _ => 1,
    }
}

/// `text` in lines of at most `limit` columns, broken after a blank or punctuation where there is one.
pub(crate) fn wrap(text: &str, limit: usize) -> Vec<String> {
    let limit = limit.max(NARROWEST);
    let (mut lines, mut line, mut left) = (Vec::new(), String::new(), limit);
    for word in text.split_inclusive([' ', ',', '(', '/', '&']) {
        // The blank behind a word may hang over.
        if width(word.trim_end()) > left && left < limit {
            lines.push(std::mem::take(&mut line));
            left = limit;
        }
        for c in word.chars() {
            if cells(c) > left && c != ' ' {
                lines.push(std::mem::take(&mut line));
                left = limit;
            }
            left = left.saturating_sub(cells(c));
            line.push(c);
        }
    }
    lines.push(line);
    lines
}

/// `text` behind `head`, its further lines below its first one.
pub(crate) fn hanging(head: &str, text: &str, limit: Option<usize>) -> String {
    let indent = width(head);
    let lines = match limit {
        Some(limit) => wrap(text, limit.saturating_sub(indent)),
        None => vec![text.to_owned()],
    };
    let mut shown = String::new();
    for (number, line) in lines.iter().enumerate() {
        match number {
            0 => shown.push_str(head),
            _ => shown.push_str(&format!("\n{:indent$}", "")),
        }
        shown.push_str(line.trim_end());
    }
    shown.trim_end().to_owned()
}

/// `text` in at least `columns` columns.
pub(crate) fn padded(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(width(text));
    format!("{text}{:missing$}", "")
}

/// Rows of cells with aligned columns, two blanks apart; the last column wraps at `limit`. Each line begins with
/// `indent`.
pub(crate) fn table<const N: usize>(rows: &[[String; N]], indent: &str, limit: Option<usize>) -> String {
    let widest = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| width(c)).max();
    let widths: Vec<usize> = (0..N).map(|column| widest(column).unwrap_or_default()).collect();
    let line = |row: &[String; N]| {
        let Some((last, first)) = row.split_last() else { return String::new() };
        let first = first.iter().zip(&widths).map(|(cell, &width)| padded(cell, width) + "  ");
        hanging(&(indent.to_owned() + &first.collect::<String>()), last, limit)
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_where_it_reads_well_and_loses_nothing() {
        let text = "call(light.turn_on, light.the_lamp_on_the_desk) with a long list of words";
        let lines = wrap(text, 24);
        assert_eq!(lines.concat(), text);
        assert!(lines.iter().all(|line| width(line.trim_end()) <= 24), "{lines:?}");
        assert_eq!(lines[0], "call(light.turn_on, ");
        assert_eq!(wrap(&"x".repeat(50), 20), ["x".repeat(20), "x".repeat(20), "x".repeat(10)]);
        assert_eq!(wrap("", 20), [""]);
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(wrap(&"漢".repeat(20), 20), ["漢".repeat(10), "漢".repeat(10)]);
        assert_eq!(width("⟨U+202E⟩ü"), 9);
        assert_eq!(width("\x1b[31mred\x1b[0m!"), 4);
    }

    #[test]
    fn a_table_is_aligned_and_its_last_column_wraps() {
        let rows =
            [["a", "b", ""], ["long", "x", "one two three four five six"]].map(|r| r.map(str::to_owned));
        assert_eq!(table(&rows, " ", Some(30)), " a     b\n long  x  one two three four\n          five six");
        assert_eq!(table(&rows, "", None), "a     b\nlong  x  one two three four five six");
    }
}
