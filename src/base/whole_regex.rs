//! Patterns of tool files (`validate:`). They match the whole value or not at all; only this module touches `regex` and
//! `regex-syntax`.

use std::fmt;

use regex_syntax::ast::{
    self, Ast, ClassAsciiKind, ClassSetBinaryOp, ClassSetItem, ClassUnicodeKind, Visitor,
};

/// Bound on the compiled size of one pattern, in bytes.
const SIZE_LIMIT: usize = 1 << 20;

/// A compiled pattern that must match the whole value. Matching is linear in the value's length.
#[derive(Clone)]
pub struct WholeRegex {
    source: String,
    compiled: regex::Regex,
    spelled: Vec<char>,
}

/// Characters that [`WholeRegex::spells_out`] is asked about: what separates the segments of a path.
const SEPARATORS: [char; 2] = ['/', '\\'];

impl WholeRegex {
    /// Compiles `source`; `^` and `$` around it are harmless and not needed.
    ///
    /// # Errors
    /// The reason in one line, when it is no pattern, uses look-around or back-references, or is too large.
    pub fn new(source: &str) -> Result<WholeRegex, String> {
        // Compiled alone first: `a)|(b` is balanced only inside the brackets that come now.
        compile(source)?;
        let compiled = compile(&format!(r"\A(?:{source})\z"))?;
        let spelled = SEPARATORS.into_iter().filter(|c| spells_out(source, *c)).collect();
        Ok(WholeRegex { source: source.to_owned(), compiled, spelled })
    }

    /// Whether the author of the pattern meant `/` or `\` to be in a value: the pattern names it, alone or in a class,
    /// and no part matches it only because it matches almost anything (`.`, `[^a]`, `\S`, `[!-~]`, `\p{P}`). False for
    /// all other characters.
    pub(crate) fn spells_out(&self, separator: char) -> bool {
        self.spelled.contains(&separator)
    }

    /// Whether the whole of `value` matches.
    pub fn matches(&self, value: &str) -> bool {
        self.compiled.is_match(value)
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

/// A compiled pattern that may match anywhere in a text, in time that is linear in its length.
#[derive(Clone, Debug)]
pub(crate) struct PartRegex(regex::Regex);

impl PartRegex {
    /// # Errors
    /// As [`WholeRegex::new`].
    pub(crate) fn new(source: &str) -> Result<PartRegex, String> {
        compile(source).map(PartRegex)
    }

    pub(crate) fn finds(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

fn compile(pattern: &str) -> Result<regex::Regex, String> {
    let built = regex::RegexBuilder::new(pattern).size_limit(SIZE_LIMIT).build();
    built.map_err(|e| {
        let text = e.to_string();
        text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}

fn spells_out(source: &str, wanted: char) -> bool {
    let parsed = ast::parse::Parser::new().parse(source);
    parsed.is_ok_and(|ast| {
        let visited = ast::visit(&ast, Spelling { wanted, found: false, is_open: false });
        visited.is_ok_and(|spelling| spelling.found && !spelling.is_open)
    })
}

/// A visitor of a pattern that looks for one character.
struct Spelling {
    wanted: char,
    /// Whether it stands there literally.
    found: bool,
    /// Whether some part matches it without naming it.
    is_open: bool,
}

impl Spelling {
    fn literal(&mut self, c: char) {
        self.found |= c == self.wanted;
    }

    fn unicode(&mut self, class: &ast::ClassUnicode) {
        // Letters, marks and numbers; the separators are punctuation.
        let is_narrow = match &class.kind {
            ClassUnicodeKind::OneLetter(c) => matches!(c, 'L' | 'M' | 'N'),
            ClassUnicodeKind::Named(name) => name.len() <= 2 && name.starts_with(['L', 'M', 'N']),
            ClassUnicodeKind::NamedValue { .. } => false,
        };
        self.is_open |= class.negated || !is_narrow;
    }
}

impl Visitor for Spelling {
    type Output = Spelling;
    type Err = ();

    fn finish(self) -> Result<Spelling, ()> {
        Ok(self)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), ()> {
        match ast {
            Ast::Literal(literal) => self.literal(literal.c),
            Ast::Dot(_) => self.is_open = true,
            Ast::ClassUnicode(class) => self.unicode(class),
            Ast::ClassPerl(class) => self.is_open |= class.negated,
            Ast::ClassBracketed(class) => self.is_open |= class.negated,
            Ast::Empty(_) | Ast::Flags(_) | Ast::Assertion(_) | Ast::Repetition(_) => {}
            Ast::Group(_) | Ast::Alternation(_) | Ast::Concat(_) => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), ()> {
        use ClassAsciiKind::{Ascii, Graph, Print, Punct};
        match item {
            ClassSetItem::Literal(literal) => self.literal(literal.c),
            ClassSetItem::Range(range) => {
                self.is_open |= (range.start.c..=range.end.c).contains(&self.wanted);
            }
            ClassSetItem::Ascii(class) => {
                self.is_open |= class.negated || matches!(class.kind, Ascii | Graph | Print | Punct);
            }
            ClassSetItem::Unicode(class) => self.unicode(class),
            ClassSetItem::Perl(class) => self.is_open |= class.negated,
            ClassSetItem::Bracketed(class) => self.is_open |= class.negated,
            ClassSetItem::Empty(_) | ClassSetItem::Union(_) => {}
        }
        Ok(())
    }

    fn visit_class_set_binary_op_pre(&mut self, _: &ClassSetBinaryOp) -> Result<(), ()> {
        self.is_open = true;
        Ok(())
    }
}

impl fmt::Debug for WholeRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_value_or_nothing() {
        let re = WholeRegex::new("[a-z]+").unwrap();
        assert!(re.matches("abc"));
        for value in ["abc1", "1abc", "abc\n", "", "ABC"] {
            assert!(!re.matches(value), "{value:?}");
        }
        assert!(!WholeRegex::new("^a$|b").unwrap().matches("xb"));
        assert!(!WholeRegex::new("(?m)^a$").unwrap().matches("a\nb"));
    }

    #[test]
    fn a_separator_is_meant_only_where_it_is_written() {
        let meant = |pattern: &str| WholeRegex::new(pattern).unwrap().spells_out('/');
        for yes in ["a/b", "[a-z/]+", r"[\p{L}\d/]+", "(?:x|y)/[[:alnum:]]*", r"\x2f", "(?i)^[a/]$"] {
            assert!(meant(yes), "{yes}");
        }
        for no in [
            "[a-z]+",
            ".*",
            "a/.*",
            "a/b|[^x]+",
            r"/\S+",
            "/[!-~]+",
            "[^/]+",
            "/[[:punct:]]",
            r"/\p{P}",
            r"/\PL",
            "[a-z/&&[^b]]",
            r"[/\D]",
        ] {
            assert!(!meant(no), "{no}");
        }
        let back = WholeRegex::new(r"[a-z]+\\[a-z]+").unwrap();
        assert!(back.spells_out('\\') && !back.spells_out('/'));
    }

    #[test]
    fn refuses_what_it_cannot_bound() {
        for bad in ["(", "a)|(b", "(?=x)", r"(a)\1", "(?:a{1000}){1000}"] {
            assert!(WholeRegex::new(bad).is_err(), "{bad}");
        }
    }
}
