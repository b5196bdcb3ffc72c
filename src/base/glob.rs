//! Permission patterns: exactly Python 3.11's `fnmatch.fnmatchcase`, and nothing an agent's text can blow up.
//!
//! The values come from agents, so matching must never recurse, backtrack without bound or keep state between
//! values: one match costs at most pattern length times value length. The module never folds case, never
//! normalises Unicode and never treats `/` or `.` as special; what looks alike stays different.
//!
//! A pattern is cut at its `*` into segments. The first segment is anchored at the start, the last at the end,
//! and each one between takes the leftmost place left over, which is all the search a `*` ever needs.

/// A glob as Python's `fnmatch.fnmatchcase` understands it.
///
/// `*` is any text, `?` any one character, `[…]` one character of a set, `[!…]` one character outside it.
/// Everything else stands for itself, an unclosed `[` included: every text is a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    /// Bytes of `text` before its first wildcard.
    literal: usize,
    head: GlobPart,
    /// What follows the first `*`; `None` when there is no star and the head must be the whole value.
    rest: Option<Rest>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rest {
    middle: Vec<GlobPart>,
    last: GlobPart,
}

impl Pattern {
    /// Reads `text` as a pattern. There is no wrong one: what is no wildcard is literal.
    pub fn new(text: &str) -> Self {
        let (tokens, literal) = tokenize(text);
        let mut segments = tokens.split(|token| *token == Token::Star);
        let head = GlobPart::new(segments.next().unwrap_or_default());
        let rest = segments.next_back().map(|last| Rest {
            middle: segments.filter(|tokens| !tokens.is_empty()).map(GlobPart::new).collect(),
            last: GlobPart::new(last),
        });
        Self { text: text.to_owned(), literal, head, rest }
    }

    /// Whether the whole of `value` matches.
    pub fn matches(&self, value: &str) -> bool {
        let Some(value) = self.head.strip_prefix(value) else { return false };
        let Some(Rest { middle, last }) = &self.rest else { return value.is_empty() };
        let Some(value) = last.strip_suffix(value) else { return false };
        middle.iter().try_fold(value, |value, segment| segment.skip_past(value)).is_some()
    }

    /// Whether every text matches that begins with `beginning` and, behind it, ends with `end`, whatever lies
    /// between. Never true by mistake; it is how a rule is known to cover all calls of a tool.
    pub fn covers(&self, beginning: &str, end: &str) -> bool {
        let Some(Rest { middle, last }) = &self.rest else { return false };
        let (Some(mut beginning), Some(mut end)) =
            (self.head.strip_prefix(beginning), last.strip_suffix(end))
        else {
            return false;
        };
        // The unknown text is left to a `*`: each segment must find its place before it or behind it.
        middle.iter().all(|segment| {
            let place = segment.skip_past(beginning).map(|after| (after, end));
            let place = place.or_else(|| segment.skip_past(end).map(|after| ("", after)));
            place.map(|left| (beginning, end) = left).is_some()
        })
    }

    pub(super) fn tokens(&self) -> Vec<Token> {
        tokenize(&self.text).0
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text that every matching value begins with: all before the first wildcard.
    pub(crate) fn literal_prefix(&self) -> &str {
        self.text.get(..self.literal).unwrap_or_default()
    }

    /// Whether there is no wildcard, so that the only matching value is the pattern itself.
    pub(crate) fn is_literal(&self) -> bool {
        self.literal == self.text.len()
    }
}

/// A stretch of pattern without `*`: each of its tokens takes exactly one character.
#[derive(Clone, Debug, PartialEq, Eq)]
enum GlobPart {
    Literal(String),
    Mixed(Vec<Token>),
}

impl GlobPart {
    fn new(tokens: &[Token]) -> Self {
        let literal = tokens.iter().map(|token| if let Token::Char(c) = token { Some(*c) } else { None });
        match literal.collect() {
            Some(text) => Self::Literal(text),
            None => Self::Mixed(tokens.to_vec()),
        }
    }

    /// What is left of `value` behind this segment at its start.
    fn strip_prefix<'v>(&self, value: &'v str) -> Option<&'v str> {
        match self {
            Self::Literal(text) => value.strip_prefix(text.as_str()),
            Self::Mixed(tokens) => {
                let mut chars = value.chars();
                let fits = tokens.iter().all(|token| chars.next().is_some_and(|c| token.accepts(c)));
                fits.then_some(chars.as_str())
            }
        }
    }

    /// What is left of `value` before this segment at its end.
    fn strip_suffix<'v>(&self, value: &'v str) -> Option<&'v str> {
        match self {
            Self::Literal(text) => value.strip_suffix(text.as_str()),
            Self::Mixed(tokens) => {
                let mut chars = value.chars();
                let fits =
                    tokens.iter().rev().all(|token| chars.next_back().is_some_and(|c| token.accepts(c)));
                fits.then_some(chars.as_str())
            }
        }
    }

    /// What is left of `value` behind the leftmost place where this segment fits.
    fn skip_past<'v>(&self, value: &'v str) -> Option<&'v str> {
        match self {
            Self::Literal(text) => value.split_once(text.as_str()).map(|(_, after)| after),
            Self::Mixed(_) => {
                let mut chars = value.chars();
                loop {
                    if let Some(after) = self.strip_prefix(chars.as_str()) {
                        return Some(after);
                    }
                    chars.next()?;
                }
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Char(char),
    Any,
    Set { negated: bool, ranges: Vec<(char, char)> },
    Star,
}

impl Token {
    pub(super) fn accepts(&self, c: char) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::Any => true,
            Self::Set { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
            // Stars are cut out before a segment is made; one that were left would match nothing.
            Self::Star => false,
        }
    }
}

/// The tokens of `text`, and the length in bytes of its literal beginning.
fn tokenize(text: &str) -> (Vec<Token>, usize) {
    let mut tokens = Vec::new();
    let mut literal = None;
    let mut chars = text.chars();
    loop {
        let position = text.len() - chars.as_str().len();
        let Some(c) = chars.next() else { break };
        let token = match c {
            '*' => Token::Star,
            '?' => Token::Any,
            '[' => match split_class(chars.as_str()) {
                Some((body, after)) => {
                    chars = after.chars();
                    read_class(body)
                }
                None => Token::Char('['),
            },
            other => Token::Char(other),
        };
        if !matches!(token, Token::Char(_)) {
            literal.get_or_insert(position);
        }
        tokens.push(token);
    }
    (tokens, literal.unwrap_or(text.len()))
}

/// Cuts `after_bracket` at the `]` that closes the set. A `]` that comes first (or right behind `!`) is a member.
fn split_class(after_bracket: &str) -> Option<(&str, &str)> {
    let members = after_bracket.strip_prefix('!').unwrap_or(after_bracket);
    let members = members.strip_prefix(']').unwrap_or(members);
    let skipped = after_bracket.len() - members.len();
    let end = skipped + members.find(']')?;
    Some((after_bracket.get(..end)?, after_bracket.get(end + 1..)?))
}

/// Reads the inside of `[…]` in CPython's order: ranges first, and only then the `!` at whatever begins the
/// set by now. So `[b-a!x]` is negated, because its reversed range vanishes from before the `!`.
fn read_class(body: &str) -> Token {
    let mut chunks = drop_reversed_ranges(split_at_ranges(body));
    let first = chunks.first_mut().filter(|first| first.first() == Some(&'!'));
    let negated = first.map(|first| first.remove(0)).is_some();
    let mut ranges: Vec<_> = chunks.iter().flatten().map(|member| (*member, *member)).collect();
    for (left, right) in chunks.iter().zip(chunks.iter().skip(1)) {
        match (left.last(), right.first()) {
            (Some(low), Some(high)) => ranges.push((*low, *high)),
            // The `!` was all there was on the left: a hyphen without a left end stands for itself.
            _ => ranges.push(('-', '-')),
        }
    }
    Token::Set { negated, ranges }
}

/// Cuts a set at the hyphens that make ranges: each range runs from the last character of one chunk to the
/// first of the next. A hyphen that begins or ends the set, or follows a range at once, is a member.
fn split_at_ranges(body: &str) -> Vec<Vec<char>> {
    let chars: Vec<char> = body.chars().collect();
    let mut chunks: Vec<Vec<char>> = Vec::new();
    let mut start = 0;
    let mut search = if body.starts_with('!') { 2 } else { 1 };
    while let Some(found) = chars.iter().skip(search).position(|c| *c == '-') {
        let hyphen = search + found;
        chunks.push(chars.get(start..hyphen).unwrap_or_default().to_vec());
        start = hyphen + 1;
        search = hyphen + 3;
    }
    match (chars.get(start..).unwrap_or_default(), chunks.last_mut()) {
        ([], Some(last)) => last.push('-'),
        (remainder, _) => chunks.push(remainder.to_vec()),
    }
    chunks
}

/// Takes reversed ranges (`z-a`) out of the set, both end characters with them, from the right to the left.
fn drop_reversed_ranges(chunks: Vec<Vec<char>>) -> Vec<Vec<char>> {
    let mut kept: Vec<Vec<char>> = Vec::new();
    for mut chunk in chunks.into_iter().rev() {
        match kept.last_mut() {
            Some(next) if chunk.last() > next.first() => {
                chunk.pop();
                chunk.extend(next.iter().skip(1));
                *next = chunk;
            }
            _ => kept.push(chunk),
        }
    }
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_what_fnmatchcase_matches() {
        let table = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "a\nb", true),
            ("a*", "ba", false),
            ("*a", "ab", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a**b", "a/.b", true),
            ("*ab*ab*", "abab", true),
            ("*ab*ab*", "ab_a", false),
            ("*a?c*c", "abcc", true),
            ("*a?c*c", "abc", false),
            ("?", "é", true),
            ("?", "😀", true),
            ("?", "", false),
            ("?", "\n", true),
            ("A", "a", false),
            ("[ab]c", "bc", true),
            ("[a-c]", "b", true),
            ("[a-c]", "-", false),
            ("[!a-c]", "d", true),
            ("[!a-c]", "b", false),
            ("[^a]", "^", true),
            ("[^a]", "b", false),
            ("[]]", "]", true),
            ("[!]]", "]", false),
            ("[]-a]", "^", true),
            ("[", "[", true),
            ("[a", "[a", true),
            ("[]", "[]", true),
            ("[!]", "[!]", true),
            ("[a-]", "-", true),
            ("[-a]", "-", true),
            ("[!-a]", "-", false),
            ("[z-a]", "m", false),
            ("[!z-a]", "m", true),
            ("[a-c-e]", "d", false),
            ("[a-c-e]", "-", true),
            ("[b-a!x]", "x", false),
            ("[b-a!x]", "y", true),
            ("[b-a!-x]", "-", false),
            ("[b-a!-x]", "m", true),
            ("[b-a!]", "q", true),
            ("[\\]", "\\", true),
            ("\\*", "\\x", true),
            ("{a,b}", "a", false),
            ("{a,b}", "{a,b}", true),
            ("a.b", "axb", false),
        ];
        for (pattern, value, expected) in table {
            assert_eq!(Pattern::new(pattern).matches(value), expected, "{pattern:?} on {value:?}");
        }
    }

    #[test]
    fn literal_beginning_ends_at_the_first_wildcard() {
        let table = [
            ("", "", true),
            ("ha_get(x)", "ha_get(x)", true),
            ("ha_*", "ha_", false),
            ("é?", "é", false),
            ("a[b]", "a", false),
            ("a[b", "a[b", true),
            ("a[b*", "a[b", false),
            ("*", "", false),
        ];
        for (text, prefix, literal) in table {
            let pattern = Pattern::new(text);
            assert_eq!((pattern.literal_prefix(), pattern.is_literal()), (prefix, literal), "{text:?}");
            assert_eq!(pattern.as_str(), text);
        }
    }

    #[test]
    fn covers_only_what_it_always_matches() {
        let table = [
            ("*", true),
            ("t*", true),
            ("t(*", true),
            ("t(*)", true),
            ("*)", true),
            ("?(*)", true),
            ("[st]*", true),
            ("*t*(*)*", true),
            ("*(*)", true),
            ("**", true),
            ("t", false),
            ("t()", false),
            ("t(?*)", false),
            ("t(*?)", false),
            ("t(*,*)", false),
            ("t(*t*)", false),
            ("*)*(*", false),
            ("u(*)", false),
            ("t(*]", false),
            ("t(a*)", false),
        ];
        for (pattern, expected) in table {
            assert_eq!(Pattern::new(pattern).covers("t(", ")"), expected, "{pattern}");
        }
    }

    /// A matcher that backtracks over several stars would not come back from any of these.
    #[test]
    fn hostile_values_end() {
        let value = "a".repeat(4096);
        let patterns = [
            "*a".repeat(40) + "b",
            "*?".repeat(2000) + "b",
            "*[!b]a".repeat(500) + "b*",
            "*".to_owned() + &"a".repeat(2000) + "b*",
            "*".to_owned() + &"?".repeat(2000) + "b*",
            "*".repeat(4096) + "b",
        ];
        for pattern in patterns {
            assert!(!Pattern::new(&pattern).matches(&value), "{pattern}");
        }
    }
}
