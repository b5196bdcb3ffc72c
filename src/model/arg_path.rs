//! Where in a call's arguments a condition looks.

use std::fmt;
use std::sync::Arc;

/// A path into the arguments: `amount`, `target.entity_id[]`, `*.id`; `.` alone is all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgPath {
    text: Arc<str>,
    steps: Vec<PathStep>,
}

/// One step from a value to those in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathStep {
    /// The member of this name.
    Member(String),
    /// `*`: every member.
    AnyMember,
    /// `[]`: every element of a list.
    Elements,
}

impl ArgPath {
    /// Reads a path. A name that holds a dot or a bracket cannot be reached.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<ArgPath, &'static str> {
        let mut steps = Vec::new();
        let names = if text == "." { None } else { Some(text.split('.')) };
        for name in names.into_iter().flatten() {
            let bare = name.trim_end_matches("[]");
            match bare {
                "" => return Err("a name is missing before a \".\" or \"[]\", or at the end"),
                _ if bare.contains(['[', ']']) => {
                    return Err("\"[]\" stands behind a name, with nothing in it");
                }
                "*" => steps.push(PathStep::AnyMember),
                _ => steps.push(PathStep::Member(bare.to_owned())),
            }
            steps.extend((0..(name.len() - bare.len()) / "[]".len()).map(|_| PathStep::Elements));
        }
        Ok(ArgPath { text: text.into(), steps })
    }

    /// From all arguments, which is what no step leads to.
    pub fn steps(&self) -> &[PathStep] {
        &self.steps
    }

    /// The argument that it leads into, if it names one.
    pub fn argument(&self) -> Option<&str> {
        match self.steps.first()? {
            PathStep::Member(name) => Some(name),
            PathStep::AnyMember | PathStep::Elements => None,
        }
    }

    /// As written.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }
}

impl fmt::Display for ArgPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_members_and_elements() {
        let member = |name: &str| PathStep::Member(name.to_owned());
        for (text, steps) in [
            (".", vec![]),
            ("amount", vec![member("amount")]),
            ("a b", vec![member("a b")]),
            ("target.entity_id[]", vec![member("target"), member("entity_id"), PathStep::Elements]),
            ("x[][].y", vec![member("x"), PathStep::Elements, PathStep::Elements, member("y")]),
            ("*", vec![PathStep::AnyMember]),
            ("*[].*", vec![PathStep::AnyMember, PathStep::Elements, PathStep::AnyMember]),
        ] {
            assert_eq!(ArgPath::parse(text).map(|path| path.steps), Ok(steps), "{text}");
        }
        for wrong in ["", "..", ".a", "a.", "a..b", "[]", "[].a", "a[", "a]", "a[0]", "a[]b", "a.[]"] {
            assert!(ArgPath::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(ArgPath::parse("a.b").unwrap().argument(), Some("a"));
        assert_eq!(
            (ArgPath::parse("*").unwrap().argument(), ArgPath::parse(".").unwrap().argument()),
            (None, None)
        );
    }
}
