//! Who answers questions.

use std::fmt;

/// Between the name that a link was made for and who made it.
const LINK_BY: &str = " (link by ";

/// Who answered: `local:root`, `telegram:123456`, `cool_down`. Made by a channel from what it authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Responder(String);

impl Responder {
    /// `channel:user`.
    pub fn new(channel: &str, user: &str) -> Responder {
        Responder(format!("{channel}:{user}"))
    }

    /// Stands for the person who has denied the same call too often to be asked again.
    pub fn cool_down() -> Responder {
        Responder("cool_down".to_owned())
    }

    /// Stands for nobody: too many calls were denied.
    pub(crate) fn circuit_breaker() -> Responder {
        Responder("circuit_breaker".to_owned())
    }

    /// Whether it was somebody on the gateway's machine or its pages, and not in a chat.
    pub(crate) fn is_at_the_gateway(&self) -> bool {
        ["local:", "web:"].iter().any(|channel| self.0.starts_with(channel))
    }

    /// Reads back what the record holds.
    pub fn recorded(text: &str) -> Responder {
        Responder(text.to_owned())
    }

    /// Whom the pages name by the link that they signed in with: `name`, with a link that `issuer` made.
    pub(crate) fn by_link_for(name: &str, issuer: &str) -> Responder {
        Responder(format!("web:{name}{LINK_BY}local:{issuer})"))
    }

    /// Of somebody on the pages: the name of `people` that their link was made for.
    pub(crate) fn named_by_link(&self) -> Option<&str> {
        Some(self.0.strip_prefix("web:")?.split_once(LINK_BY)?.0)
    }

    /// Whether somebody has signed in to the pages with the password.
    pub(crate) fn is_by_password(&self) -> bool {
        self.0.starts_with("web:") && self.named_by_link().is_none() && self.0.contains("/password@")
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Who this is, without how they signed in and from where: `telegram:123456`, `local:root`. A link to the pages stands
    /// for the user of this machine who made it, unless it names somebody.
    pub fn identity(&self) -> String {
        let Some(user) = self.0.strip_prefix("web:") else { return self.0.clone() };
        if let Some((name, _)) = user.split_once(LINK_BY) {
            return format!("web:{name}");
        }
        match (user.rsplit_once("/link@"), user.rsplit_once("/password@")) {
            (Some((issuer, _)), _) => format!("local:{issuer}"),
            (None, Some((name, _))) => format!("web:{name}"),
            (None, None) => self.0.clone(),
        }
    }
}

impl fmt::Display for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
