//! Names that programs give for whoever answered through them. They are claims: the token says which channel it was, and
//! nothing says who was there.

use crate::base::safe_text::visible;

const MAX_NAME: usize = 64;

/// # Errors
/// What is wrong with such a name.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.chars().count() > MAX_NAME {
        return Err("must have 1 to 64 characters");
    }
    // What is shown otherwise than it is written could pose as another name.
    if visible(name) == name && name.trim() == name { Ok(()) } else { Err("must be printable") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_printable_and_short() {
        assert!(
            ["anna", "Carol Ö.", "a@example.org", &"x".repeat(64)]
                .iter()
                .all(|name| check_name(name).is_ok())
        );
        for bad in ["", " anna", "a\nb", "a\u{202e}b", "a\u{0}", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
