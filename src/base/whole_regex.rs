//! Patterns of tool files (`validate:`). They match the whole value or not at all; only this module touches `regex`.

use std::fmt;

/// Bound on the compiled size of one pattern, in bytes.
const SIZE_LIMIT: usize = 1 << 20;

/// A compiled pattern that must match the whole value. Matching is linear in the value's length.
#[derive(Clone)]
pub struct WholeRegex {
    source: String,
    compiled: regex::Regex,
}

impl WholeRegex {
    /// Compiles `source`; `^` and `$` around it are harmless and not needed.
    ///
    /// # Errors
    /// The reason in one line, when it is no pattern, uses look-around or back-references, or is too large.
    pub fn new(source: &str) -> Result<WholeRegex, String> {
        // Compiled alone first: `a)|(b` is balanced only inside the brackets that come now.
        compile(source)?;
        let compiled = compile(&format!(r"\A(?:{source})\z"))?;
        Ok(WholeRegex { source: source.to_owned(), compiled })
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

fn compile(pattern: &str) -> Result<regex::Regex, String> {
    let built = regex::RegexBuilder::new(pattern).size_limit(SIZE_LIMIT).build();
    built.map_err(|e| {
        let text = e.to_string();
        text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
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
    fn refuses_what_it_cannot_bound() {
        for bad in ["(", "a)|(b", "(?=x)", r"(a)\1", "(?:a{1000}){1000}"] {
            assert!(WholeRegex::new(bad).is_err(), "{bad}");
        }
    }
}
