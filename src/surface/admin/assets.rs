//! Style and scripts, compiled in. Their addresses contain a hash of their content, so browsers keep them for good and
//! never use an old one with a new page. They hold no data, so anybody may read them.

use std::sync::LazyLock;

use crate::base::digest::Digest;
use crate::net::front::WebAnswer;

pub(crate) const FOLDER: &str = "/static/";
/// A year, in the words of RFC 9111 and RFC 8246.
const FOR_GOOD: &str = "public, max-age=31536000, immutable";
/// Hex digits of the hash in an address: enough to tell any two versions apart.
const HASH_DIGITS: usize = 16;

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Name, content type, content. A page names those that it needs; `style.css` is on every page.
const FILES: [(&str, &str, &str); 6] = [
    ("style.css", CSS, include_str!("static/style.css")),
    ("audit.css", CSS, include_str!("static/audit.css")),
    ("sign-in.js", SCRIPT, include_str!("static/sign-in.js")),
    ("approvals.js", SCRIPT, include_str!("static/approvals.js")),
    ("stopped.js", SCRIPT, include_str!("static/stopped.js")),
    ("icon.svg", "image/svg+xml", include_str!("static/icon.svg")),
];

struct Asset {
    name: &'static str,
    path: String,
    content_type: &'static str,
    content: &'static str,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| FILES.into_iter().map(asset).collect());

fn asset((name, content_type, content): (&'static str, &'static str, &'static str)) -> Asset {
    let hash: String = Digest::sha256(content.as_bytes()).hex().chars().take(HASH_DIGITS).collect();
    Asset { name, path: format!("{FOLDER}{hash}/{name}"), content_type, content }
}

/// The address of a file; empty when there is none of that name.
pub(crate) fn url(name: &str) -> &'static str {
    ASSETS.iter().find(|asset| asset.name == name).map_or("", |asset| &asset.path)
}

/// The file at `path`.
pub(crate) fn answer(path: &str) -> Option<WebAnswer> {
    let asset = ASSETS.iter().find(|asset| asset.path == path)?;
    let answer = WebAnswer::new(200, asset.content_type, asset.content);
    Some(answer.with("cache-control", FOR_GOOD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_an_address_that_follows_from_its_content() {
        for (name, _, content) in FILES {
            let hash = &Digest::sha256(content.as_bytes()).hex()[..HASH_DIGITS];
            assert_eq!(url(name), format!("/static/{hash}/{name}"));
            assert!(answer(url(name)).is_some());
        }
        assert!(answer("/static/style.css").is_none() && answer("/static/").is_none());
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        for (name, _, content) in FILES {
            let outside = content.replace("http://www.w3.org/2000/svg", "");
            assert!(!outside.contains("//") || !outside.contains("http"), "{name}");
            assert!(!outside.contains("@import") && !outside.contains("eval("), "{name}");
        }
    }
}
