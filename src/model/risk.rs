//! How grave a call is, in one word: the owner's, or what the tool's name suggests.

use crate::base::words::words;

words! {
    /// The risk of a tool. The labels come from the seed's human-in-the-loop library.
    pub enum Risk {
        /// Nothing is known to speak against it.
        None = "none",
        /// Changes what is stored.
        DataMutation = "data_mutation",
        /// Leaves the house.
        ExternalSend = "external_send",
        /// Runs something.
        SystemExecution = "system_execution",
        /// Cannot be undone.
        Irreversible = "irreversible",
    }
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
    pub fn suggested_by(tool: &str) -> Risk {
        let words = name_words(tool);
        WORDS
            .iter()
            .find(|(_, starts)| words.iter().any(|w| starts.iter().any(|s| w.starts_with(s))))
            .map_or(Risk::None, |r| r.0)
    }

    /// For people; None where there is nothing to say.
    pub(crate) fn label(self) -> Option<String> {
        (self != Risk::None).then(|| self.as_str().replace('_', " "))
    }
}

/// The lower-case words of a snake, kebab, dotted or camel case name.
fn name_words(name: &str) -> Vec<String> {
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
            ("delete_file", Risk::Irreversible),
            ("userDelete", Risk::Irreversible),
            ("send_email", Risk::ExternalSend),
            ("run-shell", Risk::SystemExecution),
            ("db.update", Risk::DataMutation),
            ("ha_get_state", Risk::None),
            ("prune_list", Risk::None),
            ("", Risk::None),
        ] {
            assert_eq!(Risk::suggested_by(name), label, "{name}");
        }
    }
}
