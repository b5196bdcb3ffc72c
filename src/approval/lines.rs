//! A question in lines, and those in pieces that fit into one message each. Nothing is ever cut off: what does not fit
//! goes on in the next piece. Pure.

use super::text::QuestionField;

/// A line with less room than this is not cut: it begins in the next piece.
const WORTH_CUTTING: usize = 200;
/// Marks a line that was cut. An agent's own `⟨` is spelled out, so these are the gateway's.
pub(crate) const CONTINUES: &str = "⟨continues⟩";
pub(crate) const CONTINUED: &str = "⟨continued⟩";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// Whether the agent has a say in it; a channel sets it apart from the gateway's words.
    pub(crate) by_agent: bool,
}

/// How a messenger counts the size of a message.
#[derive(Clone, Copy)]
pub(crate) struct Measure {
    pub(crate) of: fn(char) -> usize,
    /// What each line takes besides its characters.
    pub(crate) line: usize,
}

impl Measure {
    pub(crate) fn size(self, text: &str) -> usize {
        text.chars().map(self.of).sum()
    }

    /// Cuts after at most `room`, never inside a character or an escape.
    pub(crate) fn cut(self, text: &str, room: usize) -> (&str, &str) {
        let mut taken = 0;
        let fits = |c: &char| {
            taken += (self.of)(*c);
            taken <= room
        };
        let end: usize = text.chars().take_while(fits).map(char::len_utf8).sum();
        let (before, after) = text.split_at(end);
        match before.rfind('⟨') {
            Some(at) if at > 0 && !before.get(at..).is_some_and(|escape| escape.contains('⟩')) => {
                text.split_at(at)
            }
            _ => (before, after),
        }
    }

    /// The lines in pieces of at most `room` each; at least one piece, which may be empty.
    pub(crate) fn pieces(self, lines: Vec<Line>, room: usize) -> Vec<Vec<Line>> {
        let (mut done, mut piece, mut left) = (Vec::new(), Vec::new(), room);
        for line in lines {
            let mut rest = line;
            while self.size(&rest.text) + self.line > left {
                if left > WORTH_CUTTING {
                    let (before, after) = self.cut(&rest.text, left - self.size(CONTINUES) - self.line);
                    piece.push(Line { text: format!("{before}{CONTINUES}"), ..rest });
                    rest.text = format!("{CONTINUED}{after}");
                }
                done.push(std::mem::take(&mut piece));
                left = room;
            }
            left -= self.size(&rest.text) + self.line;
            piece.push(rest);
        }
        done.push(piece);
        done
    }
}

/// The gateway's lines first, whatever the order of the fields.
pub(crate) fn lines<'f>(fields: impl Iterator<Item = &'f QuestionField>) -> Vec<Line> {
    let mut lines: Vec<_> = fields.flat_map(field_lines).collect();
    lines.sort_by_key(|line| line.by_agent);
    lines
}

fn field_lines(field: &QuestionField) -> Vec<Line> {
    let label = match (field.by_agent, field.label.as_str()) {
        (false, "does") => String::new(),
        (false, label) => format!("{}: ", capital(label)),
        (true, label) => format!("{label}: "),
    };
    let indented = |(index, text): (usize, &String)| match index {
        0 => format!("{label}{text}"),
        _ if text.is_empty() => String::new(),
        _ => format!("      {text}"),
    };
    let line = |text| Line { text, by_agent: field.by_agent };
    field.lines.iter().enumerate().map(indented).map(line).collect()
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
