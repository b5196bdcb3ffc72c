//! The texts that are possible in a place, as an automaton, to find patterns that can never match there.
//!
//! A [`Language`] may hold more texts than are really possible, never fewer: where [`Language::meets`] says `false`, no
//! text fits, but `true` may be wrong. It is for advice to the owner and decides nothing.

use std::collections::HashSet;

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Repetition};

use super::glob::{Pattern, Token};

/// The largest automaton. A pattern that needs more counts as one that holds every text.
const MAX_STATES: usize = 1024;

/// A set of texts, built from left to right: each method appends a part to all of them.
#[derive(Debug)]
pub(crate) struct Language {
    states: Vec<AutomatonState>,
}

/// One state: where it leads without a character, and with one of a set. The last state accepts.
#[derive(Debug, Default)]
struct AutomatonState {
    free: Vec<usize>,
    step: Option<(ClassUnicode, usize)>,
}

impl Default for Language {
    fn default() -> Language {
        Language { states: vec![AutomatonState::default()] }
    }
}

impl Language {
    pub(crate) fn text(&mut self, text: &str) {
        text.chars().for_each(|c| self.one_of(only(&[(c, c)])));
    }

    /// Appends any text without these and control characters.
    pub(crate) fn anything_but(&mut self, refused: &[char]) {
        let loops = self.last();
        self.one_of(allowed(refused));
        let end = self.last();
        self.free(end, loops);
        self.free(loops, end);
    }

    /// Appends a text that `pattern` matches as a whole, without the refused characters; or nothing, if it is
    /// `optional`.
    pub(crate) fn matching(&mut self, pattern: &str, refused: &[char], optional: bool) {
        let begin = self.join();
        let kept = self.states.len();
        let read = regex_syntax::parse(pattern).ok().and_then(|hir| self.add(&hir, &allowed(refused)));
        if read.is_none() {
            self.states.truncate(kept);
            self.clear(begin);
            return self.anything_but(refused);
        }
        if optional {
            let end = self.last();
            self.free(begin, end);
        }
    }

    /// Whether `pattern` matches one of the texts. Each step costs one of `budget`; when that runs out the answer is
    /// yes.
    pub(crate) fn meets(&self, pattern: &Pattern, budget: &mut usize) -> bool {
        let tokens = pattern.tokens();
        let accepted = (tokens.len(), self.last());
        let (mut seen, mut open) = (HashSet::from([(0, 0)]), vec![(0, 0)]);
        while let Some(pair) = open.pop() {
            if pair == accepted || *budget == 0 {
                return true;
            }
            *budget -= 1;
            open.extend(self.after(&tokens, pair).into_iter().filter(|next| seen.insert(*next)));
        }
        false
    }

    /// What follows a pair of positions, in the pattern and in the automaton.
    fn after(&self, tokens: &[Token], (at, state): (usize, usize)) -> Vec<(usize, usize)> {
        let (Some(here), token) = (self.states.get(state), tokens.get(at)) else { return Vec::new() };
        let mut next: Vec<_> = here.free.iter().map(|to| (at, *to)).collect();
        if token == Some(&Token::Star) {
            next.push((at + 1, state));
        }
        if let (Some(token), Some((set, to))) = (token, &here.step)
            && shares(token, set)
        {
            next.push((if *token == Token::Star { at } else { at + 1 }, *to));
        }
        next
    }

    fn last(&self) -> usize {
        self.states.len() - 1
    }

    fn push(&mut self) -> usize {
        self.states.push(AutomatonState::default());
        self.last()
    }

    fn free(&mut self, from: usize, to: usize) {
        if let Some(state) = self.states.get_mut(from) {
            state.free.push(to);
        }
    }

    fn clear(&mut self, state: usize) {
        if let Some(state) = self.states.get_mut(state) {
            *state = AutomatonState::default();
        }
    }

    fn one_of(&mut self, set: ClassUnicode) {
        let from = self.last();
        let to = self.push();
        if let Some(state) = self.states.get_mut(from) {
            state.step = Some((set, to));
        }
    }

    /// Appends a text that `hir` matches. None when the automaton gets too large.
    fn add(&mut self, hir: &Hir, allowed: &ClassUnicode) -> Option<()> {
        if self.states.len() > MAX_STATES {
            return None;
        }
        match hir.kind() {
            // Where a word or a line begins or ends is not followed: a few texts too many.
            HirKind::Empty | HirKind::Look(_) => Some(()),
            HirKind::Literal(literal) => {
                let text = std::str::from_utf8(&literal.0).ok()?;
                text.chars().for_each(|c| self.one_of(within(only(&[(c, c)]), allowed)));
                Some(())
            }
            HirKind::Class(Class::Unicode(set)) => {
                self.one_of(within(set.clone(), allowed));
                Some(())
            }
            HirKind::Class(Class::Bytes(_)) => None,
            HirKind::Repetition(repetition) => self.repeat(repetition, allowed),
            HirKind::Capture(capture) => self.add(&capture.sub, allowed),
            HirKind::Concat(parts) => parts.iter().try_for_each(|part| self.add(part, allowed)),
            HirKind::Alternation(choices) => self.choose(choices, allowed),
        }
    }

    fn repeat(&mut self, repetition: &Repetition, allowed: &ClassUnicode) -> Option<()> {
        for _ in 0..repetition.min {
            self.add(&repetition.sub, allowed)?;
        }
        let more = repetition.max.map_or(1, |max| max.saturating_sub(repetition.min));
        let endless = repetition.max.is_none();
        for _ in 0..more {
            let begin = self.join();
            self.add(&repetition.sub, allowed)?;
            let end = self.join();
            self.free(begin, end);
            if endless {
                self.free(end, begin);
                self.join();
            }
        }
        Some(())
    }

    fn choose(&mut self, choices: &[Hir], allowed: &ClassUnicode) -> Option<()> {
        let (begin, mut ends) = (self.last(), Vec::new());
        for choice in choices {
            let branch = self.push();
            self.free(begin, branch);
            self.add(choice, allowed)?;
            ends.push(self.last());
        }
        let end = self.push();
        ends.into_iter().for_each(|from| self.free(from, end));
        Some(())
    }

    /// A new last state that follows the last one without a character.
    fn join(&mut self) -> usize {
        let from = self.last();
        let to = self.push();
        self.free(from, to);
        to
    }
}

fn only(ranges: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(ranges.iter().map(|(low, high)| ClassUnicodeRange::new(*low, *high)))
}

fn allowed(refused: &[char]) -> ClassUnicode {
    let mut set = only(&[('\0', '\u{1f}'), ('\u{7f}', '\u{9f}')]);
    set.union(&ClassUnicode::new(refused.iter().map(|c| ClassUnicodeRange::new(*c, *c))));
    set.negate();
    set
}

fn within(mut set: ClassUnicode, allowed: &ClassUnicode) -> ClassUnicode {
    set.intersect(allowed);
    set
}

/// Whether a token of a pattern takes some character of `set`.
fn shares(token: &Token, set: &ClassUnicode) -> bool {
    let taken = match token {
        Token::Any | Token::Star => return !set.ranges().is_empty(),
        Token::Char(c) => only(&[(*c, *c)]),
        Token::Set { negated, ranges } => {
            let mut members = only(ranges);
            if *negated {
                members.negate();
            }
            members
        }
    };
    !within(taken, set).ranges().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: [char; 2] = ['(', ','];

    fn meets(language: &Language, pattern: &str) -> bool {
        language.meets(&Pattern::new(pattern), &mut 1_000_000)
    }

    fn of(regex: &str) -> Language {
        let mut language = Language::default();
        language.text("t(");
        language.matching(regex, &REFUSED, false);
        language.text(")");
        language
    }

    #[test]
    fn a_pattern_meets_what_some_text_matches() {
        let table = [
            ("[a-z_]+", "t(lock)", true),
            ("[a-z_]+", "t(l?ck)", true),
            ("[a-z_]+", "t(*)", true),
            ("[a-z_]+", "t([!a-z_]*)", false),
            ("[a-z_]+", "t(Lock)", false),
            ("[a-z_]+", "t()", false),
            ("[a-z_]*", "t()", true),
            ("a|bc|d", "t(bc)", true),
            ("a|bc|d", "t(bd)", false),
            ("(ab){2,3}", "t(abab)", true),
            ("(ab){2,3}", "t(abababab)", false),
            ("(ab){2,}c?", "t(ababababc)", true),
            ("(ab){2,}c?", "t(ab)", false),
            ("^on$", "t(on)", true),
            (".*", "t(a,b)", false),
            (".*", "t(a b)", true),
            ("(a|b*)*c", "t(abbac)", true),
        ];
        for (regex, pattern, expected) in table {
            assert_eq!(meets(&of(regex), pattern), expected, "{pattern} with {regex}");
        }
    }

    #[test]
    fn what_may_be_absent_may_be_nothing() {
        let mut language = Language::default();
        language.matching("[a-z]+", &REFUSED, true);
        language.text(", ");
        language.anything_but(&REFUSED);
        assert!(meets(&language, ", *") && meets(&language, "a, ") && meets(&language, "a, b.c"));
        assert!(!meets(&language, "a,b") && !meets(&language, "*(*"));
    }

    #[test]
    fn doubt_is_a_yes() {
        assert!(meets(&of("(?:[a-z]{1000}){100}"), "t(Nothing of the kind)"));
        assert!(of("a").meets(&Pattern::new("b"), &mut 0));
    }
}
