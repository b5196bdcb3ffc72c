//! One-time links: how somebody who may open the control socket signs in without a password.
//!
//! Only hashes are kept, in memory: a restart ends all links. A link is good once and for five minutes.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::base::clock::{Deadline, Timestamp};
use crate::base::ids::random_bytes;
use crate::base::secret::{Secret, TokenHash};
use crate::model::Responder;

/// The path that a link leads to.
pub(crate) const SIGN_IN: &str = "/sign-in";
pub(crate) const LIFE: Duration = Duration::from_secs(300);
/// Open links; a new one ends the oldest.
const MOST: usize = 16;

/// The links that have not been used.
#[derive(Default)]
pub(crate) struct Links {
    open: RefCell<Vec<OpenLink>>,
}

/// Who signs in with a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The user of this machine who asked for it.
    pub(crate) issuer: String,
    /// The person that it is for, where that was said.
    pub(crate) name: Option<String>,
}

struct OpenLink {
    token: TokenHash,
    holder: Holder,
    until: Deadline,
}

/// A fresh token: 256 bits, fit for a URL or a cookie.
///
/// # Errors
/// When the kernel has no randomness to give.
pub(crate) fn token() -> io::Result<Secret> {
    random_bytes::<32>().map(|bytes| Secret::new(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
}

impl Links {
    /// Makes a link for the person who asks on the control socket.
    ///
    /// # Errors
    /// When the kernel has no randomness to give.
    pub(crate) fn issue(&self, by: &Responder, name: Option<&str>, now: Timestamp) -> io::Result<Secret> {
        let made = token()?;
        let issuer = by.as_str().strip_prefix("local:").unwrap_or(by.as_str()).to_owned();
        let holder = Holder { issuer, name: name.map(str::to_owned) };
        let until = Deadline::new(now.plus(LIFE), now);
        let mut open = self.open.borrow_mut();
        open.retain(|link| !link.until.is_over(now));
        if open.len() >= MOST {
            open.remove(0);
        }
        open.push(OpenLink { token: TokenHash::new(made.expose()), holder, until });
        Ok(made)
    }

    /// Uses a link up and returns who signs in with it. Every link is compared, so that the time taken says nothing.
    pub(crate) fn redeem(&self, token: &str, now: Timestamp) -> Option<Holder> {
        let given = TokenHash::new(token);
        let mut open = self.open.borrow_mut();
        open.retain(|link| !link.until.is_over(now));
        let found = open.iter().enumerate().fold(None, |found, (index, link)| {
            if link.token.matches(&given) { Some(index) } else { found }
        })?;
        Some(open.remove(found).holder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn issue(links: &Links) -> String {
        links.issue(&Responder::new("local", "root"), None, NOW).unwrap().expose().to_owned()
    }

    #[test]
    fn a_link_is_good_once_and_not_for_long() {
        let links = Links::default();
        let (one, two, late) = (issue(&links), issue(&links), issue(&links));
        assert_eq!(one.len(), 43);
        assert_eq!(links.redeem(&two, NOW), Some(Holder { issuer: "root".into(), name: None }));
        assert_eq!(links.redeem(&two, NOW), None);
        assert_eq!(links.redeem("", NOW), None);
        assert!(links.redeem(&one, NOW.plus(LIFE).minus(Duration::from_millis(1))).is_some());
        assert_eq!(links.redeem(&late, NOW.plus(LIFE)), None);
    }

    #[test]
    fn a_new_link_ends_the_oldest_of_many() {
        let links = Links::default();
        let all: Vec<_> = (0..MOST + 1).map(|_| issue(&links)).collect();
        assert_eq!(links.redeem(&all[0], NOW), None);
        assert!(all[1..].iter().all(|token| links.redeem(token, NOW).is_some()));
    }
}
