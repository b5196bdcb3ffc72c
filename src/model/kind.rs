//! What a tool does to the world, in one word.

use std::fmt;

use crate::base::words::words;

words! {
    /// The kind of a tool: the owner's word, or the default of its target.
    pub enum Kind {
        /// The only kind without side effects.
        Read = "read",
        /// Changes what is stored.
        Write = "write",
        /// Sends something to somebody.
        Send = "send",
        /// Takes something away.
        Delete = "delete",
        /// Spends money.
        Pay = "pay",
        /// Puts something into service.
        Deploy = "deploy",
        /// Takes data out of the house.
        Export = "export",
        /// Runs something.
        Execute = "execute",
        /// Changes who may do what.
        Admin = "admin",
    }
}

impl Kind {
    /// A call with side effects is on disk before it is sent, and is never repeated.
    pub(crate) fn has_side_effects(self) -> bool {
        self != Kind::Read
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
