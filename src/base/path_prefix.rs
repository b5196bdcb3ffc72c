//! Where below a public address something is reached: behind a proxy that shares its name among several programs.

/// A path such as `/agentpass`, or nothing. It can stand in a link, a header and a cookie without quoting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathPrefix(String);

/// In bytes.
const MAX_BYTES: usize = 200;

impl PathPrefix {
    /// Reads `/agentpass` or `/home/agentpass/`; `/` is nothing. None for what is no plain path: other characters than
    /// letters, digits, `-`, `.`, `_` and `~`, an empty part (`//host` would lead elsewhere), `.` or `..`.
    pub fn parse(text: &str) -> Option<PathPrefix> {
        let path = text.strip_suffix('/').unwrap_or(text);
        if path.is_empty() {
            return text.starts_with('/').then(PathPrefix::default);
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
        let is_part = |part: &str| !part.is_empty() && !matches!(part, "." | "..") && part.chars().all(plain);
        let fits = path.len() <= MAX_BYTES && path.strip_prefix('/')?.split('/').all(is_part);
        fits.then(|| PathPrefix(path.to_owned()))
    }

    /// The public form of a path of ours, which begins with a slash.
    pub fn to(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// The path without the prefix; as it is when it does not begin with it.
    pub(crate) fn strip<'p>(&self, path: &'p str) -> &'p str {
        match path.strip_prefix(&self.0) {
            Some("") => "/",
            Some(rest) if rest.starts_with('/') => rest,
            Some(_) | None => path,
        }
    }

    pub fn first(&self) -> &str {
        self.0.split('/').nth(1).unwrap_or_default()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As it was read, without a slash at the end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_are_taken_and_nothing_that_leads_elsewhere() {
        for (given, read) in [("/", ""), ("/a", "/a"), ("/a/", "/a"), ("/a/b-c_d.e~f", "/a/b-c_d.e~f")] {
            assert_eq!(PathPrefix::parse(given).unwrap().as_str(), read, "{given}");
        }
        let long = format!("/{}", "x".repeat(MAX_BYTES));
        for bad in [
            "",
            "a",
            "//",
            "//evil.example",
            "/a//b",
            "/..",
            "/a/../b",
            "/.",
            "/a;b",
            "/a\"b",
            "/a b",
            "/a\r\nb",
            "/%61",
            "/é",
            "/a?b",
            "/a#b",
            "https://evil.example",
            &long,
        ] {
            assert_eq!(PathPrefix::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_is_put_before_and_taken_away() {
        let prefix = PathPrefix::parse("/a/b").unwrap();
        assert_eq!((prefix.to("/audit/"), prefix.first()), ("/a/b/audit/".into(), "a"));
        for (path, stripped) in [
            ("/a/b/audit/", "/audit/"),
            ("/a/b", "/"),
            ("/a/b/", "/"),
            ("/a/bc", "/a/bc"),
            ("/audit/", "/audit/"),
        ] {
            assert_eq!(prefix.strip(path), stripped);
        }
        assert_eq!((PathPrefix::default().to("/x"), PathPrefix::default().strip("/x")), ("/x".into(), "/x"));
    }
}
