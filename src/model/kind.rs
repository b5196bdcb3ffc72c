//! What a tool does to the world, in one word.

use std::fmt;

use super::tool::Method;

/// The kind of a tool: the owner's word, or read off the method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Changes nothing. The only kind without side effects.
    Read,
    /// Changes what is stored.
    Write,
    /// Sends something to somebody.
    Send,
    /// Takes something away.
    Delete,
    /// Spends money.
    Pay,
    /// Puts something into service.
    Deploy,
    /// Takes data out of the house.
    Export,
    /// Runs something.
    Execute,
    /// Changes who may do what.
    Admin,
}

impl Kind {
    /// All of them, in the order of the documentation.
    pub const ALL: [Kind; 9] = [
        Kind::Read,
        Kind::Write,
        Kind::Send,
        Kind::Delete,
        Kind::Pay,
        Kind::Deploy,
        Kind::Export,
        Kind::Execute,
        Kind::Admin,
    ];

    /// The kind of a tool whose file does not say it.
    pub fn of(method: &Method) -> Kind {
        match method {
            Method::Get | Method::Head => Kind::Read,
            Method::Delete => Kind::Delete,
            Method::Post | Method::Put | Method::Patch | Method::Other(_) => Kind::Write,
        }
    }

    /// The word used in tool files.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Read => "read",
            Kind::Write => "write",
            Kind::Send => "send",
            Kind::Delete => "delete",
            Kind::Pay => "pay",
            Kind::Deploy => "deploy",
            Kind::Export => "export",
            Kind::Execute => "execute",
            Kind::Admin => "admin",
        }
    }

    /// Everything but reading may change something: it is on disk before it is done, and never repeated.
    pub(crate) fn has_side_effects(self) -> bool {
        self != Kind::Read
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
