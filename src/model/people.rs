//! Who is whom: the identities that one human has on several channels.

use std::collections::BTreeMap;

/// The humans of `people:` in config.yaml. Whoever is not listed is a person of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    /// Identities (`telegram:7001`) by the person's name.
    named: BTreeMap<String, Vec<String>>,
}

impl People {
    /// Lists one identity of a person.
    ///
    /// # Errors
    /// The name of the other person who has it.
    pub fn add(&mut self, name: &str, identity: &str) -> Result<(), String> {
        if let Some(other) = self.listed(identity).filter(|other| *other != name) {
            return Err(other.to_owned());
        }
        let identities = self.named.entry(name.to_owned()).or_default();
        if !identities.iter().any(|known| known == identity) {
            identities.push(identity.to_owned());
        }
        Ok(())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Each with their identities.
    pub fn each(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.named.iter().map(|(name, identities)| (name.as_str(), identities.as_slice()))
    }

    fn listed(&self, identity: &str) -> Option<&str> {
        let has = |(_, identities): &(&str, &[String])| identities.iter().any(|known| known == identity);
        self.each().find(has).map(|(name, _)| name)
    }

    /// The human behind an identity: a name of `people:`, or else the identity itself. A user of the gateway's machine is
    /// the same person on its pages, unless the two are listed as different people; `web:NAME` is also the person NAME. A
    /// channel that knows only its token speaks for nobody whom `people:` does not list with it.
    pub fn person_of(&self, identity: &str) -> String {
        let (channel, user) = identity.split_once(':').unwrap_or(("", identity));
        let [local, web] = ["local", "web"].map(|channel| format!("{channel}:{user}"));
        let person = match channel {
            "local" => self.listed(identity).or_else(|| self.listed(&web)),
            "web" => {
                let named = || Some(user).filter(|user| self.has(user));
                self.listed(identity).or_else(named).or_else(|| self.listed(&local))
            }
            // A number is not a name, and what a channel calls somebody of whom it knows only its token is a claim.
            _ => self.listed(identity),
        };
        match (person, channel) {
            (Some(person), _) => person.to_owned(),
            (None, "web") => local,
            (None, _) => identity.to_owned(),
        }
    }
}
