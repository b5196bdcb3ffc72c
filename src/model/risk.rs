//! A label for people, taken from the tool's name. It informs and decides nothing.

/// What the name of a tool suggests. The four labels come from the seed's human-in-the-loop library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Risk {
    /// Cannot be undone.
    Irreversible,
    /// Leaves the house.
    ExternalSend,
    /// Runs something.
    SystemExecution,
    /// Changes what is stored.
    DataMutation,
}

/// Beginnings of words, the gravest label first.
const WORDS: [(Risk, &[&str]); 4] = [
    (Risk::Irreversible, &["delete", "remove", "drop", "wipe", "destroy", "purge", "erase", "truncate"]),
    (Risk::ExternalSend, &["send", "email", "mail", "message", "notify", "publish", "post"]),
    (Risk::SystemExecution, &["execute", "exec", "run", "shell", "command", "eval", "spawn"]),
    (Risk::DataMutation, &["write", "overwrite", "update", "insert", "modify", "save"]),
];

impl Risk {
    /// The label that the words of a tool's name suggest (`delete_user`, `deleteUser`, `user.delete`).
    pub fn suggested_by(tool: &str) -> Option<Risk> {
        let words = words(tool);
        WORDS
            .iter()
            .find(|(_, starts)| words.iter().any(|w| starts.iter().any(|s| w.starts_with(s))))
            .map(|r| r.0)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Risk::Irreversible => "irreversible",
            Risk::ExternalSend => "external send",
            Risk::SystemExecution => "system execution",
            Risk::DataMutation => "data mutation",
        }
    }
}

/// The lower-case words of a snake, kebab, dotted or camel case name.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if c.is_uppercase() || !c.is_alphanumeric() {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c.is_alphanumeric(), words.last_mut()) {
            word.extend(c.to_lowercase());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_from_words() {
        for (name, label) in [
            ("delete_file", Some(Risk::Irreversible)),
            ("userDelete", Some(Risk::Irreversible)),
            ("send_email", Some(Risk::ExternalSend)),
            ("run-shell", Some(Risk::SystemExecution)),
            ("db.update", Some(Risk::DataMutation)),
            ("ha_get_state", None),
            ("prune_list", None),
            ("", None),
        ] {
            assert_eq!(Risk::suggested_by(name), label, "{name}");
        }
    }
}
