//! "Did you mean": the known word that a mistyped one is closest to.

/// The word of `known` that is like `given`, as long as no more than a third of it is different.
pub(crate) fn nearest<'w>(given: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let lower = given.to_lowercase();
    let far = |word: &str| strsim::damerau_levenshtein(&lower, &word.to_lowercase());
    // Words from outside may be long: what is far longer than any name is like none.
    let close = known.into_iter().filter(|word| word.len().abs_diff(given.len()) <= 3 && given.len() <= 128);
    let (distance, word) = close.map(|word| (far(word), word)).min_by_key(|(distance, _)| *distance)?;
    (distance <= (word.chars().count() / 3).clamp(1, 3)).then_some(word)
}

/// `did you mean "word"?`, or else `otherwise`.
pub(crate) fn hint<'w>(
    given: &str,
    known: impl IntoIterator<Item = &'w str>,
    otherwise: impl Into<String>,
) -> String {
    nearest(given, known).map_or_else(|| otherwise.into(), |word| format!("did you mean {word:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_alike() {
        let words = ["entity_id", "domain", "service", "x"];
        for (given, expected) in [
            ("entity", Some("entity_id")),
            ("entityid", Some("entity_id")),
            ("entity-id", Some("entity_id")),
            ("domian", Some("domain")),
            ("Service", Some("service")),
            ("brightness", None),
            ("", Some("x")),
        ] {
            assert_eq!(nearest(given, words), expected, "{given}");
        }
        assert_eq!(nearest(&"a".repeat(100_000), words), None);
        assert_eq!(hint("zzzzzz", words, "none"), "none");
    }
}
