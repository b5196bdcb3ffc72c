//! Whether one pattern takes in all that another one does.

use super::glob::{Pattern, Token};

/// Whether every text that `narrow` matches is matched by `wide` too. Never true by mistake.
pub(crate) fn takes_in(wide: &Pattern, narrow: &Pattern) -> bool {
    // Each sign of `narrow` must be matched as a sign. That costs less to find out first, and is seldom wrong.
    if !wide.matches(narrow.as_str()) {
        return false;
    }
    let wide = wide.tokens();
    // The places in `wide` at which the rest of `narrow` may go on.
    let mut places = behind_stars(&wide, vec![0]);
    for sign in narrow.tokens() {
        let next = places.iter().filter_map(|place| {
            let taken = wide.get(*place)?;
            match (taken, &sign) {
                (Token::Star, _) => Some(*place),
                (_, Token::Star) => None,
                (Token::Any, _) => Some(place + 1),
                (_, Token::Char(c)) => taken.accepts(*c).then_some(place + 1),
                (_, Token::Any | Token::Set { .. }) => (*taken == sign).then_some(place + 1),
            }
        });
        places = behind_stars(&wide, next.collect());
    }
    places.contains(&wide.len())
}

/// `places` and those behind them that are reached over stars, each once.
fn behind_stars(tokens: &[Token], mut places: Vec<usize>) -> Vec<usize> {
    let mut at = 0;
    while let Some(place) = places.get(at).copied() {
        if tokens.get(place) == Some(&Token::Star) {
            places.push(place + 1);
        }
        at += 1;
    }
    places.sort_unstable();
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_matched_whatever_it_stands_for_is_taken_in() {
        for (wide, narrow, expected) in [
            ("*", "", true),
            ("*", "a*", true),
            ("*", "[!a]?", true),
            ("a*", "a", true),
            ("a*", "ab*", true),
            ("a*", "*", false),
            ("a?", "a?", true),
            ("a?", "a*", false),
            ("a?", "ab", true),
            ("a?", "a[bc]", false),
            ("a?*", "a[bc]*", true),
            ("ab", "a?", false),
            ("*b*", "a*b", true),
            ("*b*", "a*", false),
            ("a*b*c", "a*b?c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "ab", false),
            ("[ab]", "a", true),
            ("[ab]*", "[ab]c", false),
            ("pay(*)", "pay(usd, *)", true),
            ("pay(*)", "pay*", false),
            ("*(*)", "pay(*)", true),
        ] {
            assert_eq!(takes_in(&Pattern::new(wide), &Pattern::new(narrow)), expected, "{wide} {narrow}");
        }
    }
}
