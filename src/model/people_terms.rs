//! On what terms people are asked: how many of them, whose answers count, and who is told when.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::people::People;
use super::responder::Responder;

/// What one rule says of the questions that it asks. Its serde form is what the record keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeopleTerms {
    /// How many different people must say yes; at least 1.
    #[serde(default = "one")]
    pub approvals: u32,
    /// Whose answers count; empty: those of all who may answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<Approver>,
    /// Whom the question is brought to at first, people or channels; empty: everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Approver>,
    /// At which age, in seconds, the question is brought up once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate: Option<Escalation>,
}

/// Who is told of a question later than others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// At which age of the question, in seconds.
    pub after: u64,
    /// People or channels.
    pub to: Vec<Approver>,
}

/// Somebody, by name as in `people:` or by one identity, `telegram:7001`; where people are told, also a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Approver(pub String);

/// The channels that authenticate each person; of the others a token speaks, with names that are claims.
const KNOWS_PEOPLE: [&str; 3] = ["telegram", "local", "web"];

fn one() -> u32 {
    1
}

impl Default for PeopleTerms {
    fn default() -> PeopleTerms {
        PeopleTerms { approvals: one(), approvers: vec![], notify: vec![], remind: None, escalate: None }
    }
}

impl Approver {
    /// Whether this is who answers: an identity stands for itself, a name for all identities of that person.
    fn is(&self, by: &Responder, people: &People) -> bool {
        match self.0.contains(':') {
            true => by.identity() == self.0,
            false => people.person_of(&by.identity()) == self.0,
        }
    }

    /// The human, whichever way they are named.
    pub fn person(&self, people: &People) -> String {
        if self.0.contains(':') { people.person_of(&self.0) } else { self.0.clone() }
    }
}

impl fmt::Display for Approver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PeopleTerms {
    /// Whether the yes of any one person is not enough.
    pub(crate) fn is_for_some(&self) -> bool {
        self.approvals > 1 || !self.approvers.is_empty()
    }

    fn admits(&self, by: &Responder, people: &People) -> bool {
        self.approvers.is_empty() || self.approvers.iter().any(|approver| approver.is(by, people))
    }
}

/// The users of a channel among those who are named; with none of them, whether the channel itself is.
fn on_channel<'a>(
    named: impl Iterator<Item = &'a Approver>,
    channel: &str,
    people: &People,
) -> Option<Vec<String>> {
    let (mut users, mut whole) = (Vec::new(), false);
    let prefix = format!("{channel}:");
    for Approver(name) in named {
        let identities = people.each().filter(|(person, _)| person == name).flat_map(|(_, all)| all);
        let all = identities.chain([name]).filter_map(|identity| identity.strip_prefix(&prefix));
        users.extend(all.map(str::to_owned));
        whole |= name == channel;
    }
    (whole || !users.is_empty()).then_some(users)
}

/// The terms that hold for one question together: each of them must be met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms(Vec<Arc<PeopleTerms>>);

impl Terms {
    pub fn of(terms: impl IntoIterator<Item = Arc<PeopleTerms>>) -> Terms {
        let mut all: Vec<Arc<PeopleTerms>> = Vec::new();
        for one in terms {
            if !all.contains(&one) {
                all.push(one);
            }
        }
        Terms(all)
    }

    /// These and others: what is stricter of each counts.
    pub(crate) fn and(&self, others: &Terms) -> Terms {
        Terms::of(self.each().chain(others.each()).cloned())
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = &Arc<PeopleTerms>> {
        self.0.iter()
    }

    /// As the record and `explain` have them: one object per rule that says something.
    pub(crate) fn to_json(&self) -> Value {
        self.each().map(|terms| json!(**terms)).collect()
    }

    /// Whether the yes of any one person is not enough.
    pub(crate) fn is_for_some(&self) -> bool {
        self.each().any(|terms| terms.is_for_some())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many different people must say yes.
    pub fn need(&self) -> u32 {
        self.each().map(|terms| terms.approvals).max().unwrap_or(1)
    }

    /// Whether an answer of this one counts.
    pub fn admits(&self, by: &Responder, people: &People) -> bool {
        self.each().all(|terms| terms.admits(by, people))
    }

    /// How many different people have said yes. One human counts once, whatever channels they answer on; and so does a
    /// channel that only knows its token, whatever names it gives.
    pub fn have<'a>(&self, yes: impl IntoIterator<Item = &'a Responder>, people: &People) -> u32 {
        let (mut humans, mut tokens) = (BTreeSet::new(), BTreeSet::new());
        for by in yes.into_iter().filter(|by| self.admits(by, people)) {
            let identity = by.identity();
            let human = people.person_of(&identity);
            let channel = identity.split_once(':').map(|(channel, _)| channel.to_owned()).unwrap_or_default();
            let is_token = !KNOWS_PEOPLE.contains(&channel.as_str());
            if humans.contains(&human) || (is_token && !tokens.insert(channel)) {
                continue;
            }
            humans.insert(human);
        }
        u32::try_from(humans.len()).unwrap_or(u32::MAX)
    }

    /// At which age of the question people are reminded of it.
    pub(crate) fn remind(&self) -> Option<Duration> {
        self.each().filter_map(|terms| terms.remind).min().map(Duration::from_secs)
    }

    /// Whom of a channel a question is brought to when it is asked: these users, or with none the channel as a whole. None:
    /// nobody there.
    pub(crate) fn told_first(&self, channel: &str, people: &People) -> Option<Vec<String>> {
        let mut lists = self.each().map(|terms| &terms.notify).filter(|all| !all.is_empty()).peekable();
        match lists.peek() {
            None => Some(Vec::new()),
            Some(_) => on_channel(lists.flatten(), channel, people),
        }
    }

    /// At which age of the question further people of a channel are told of it, and who, as in [`Terms::told_first`].
    pub(crate) fn told_later(&self, channel: &str, people: &People) -> Vec<(Duration, Vec<String>)> {
        let escalations = self.each().filter_map(|terms| terms.escalate.as_ref());
        let there = |escalation: &Escalation| {
            let users = on_channel(escalation.to.iter(), channel, people)?;
            Some((Duration::from_secs(escalation.after), users))
        };
        escalations.filter_map(there).collect()
    }

    /// What a person is told of it: nothing where any one yes of anybody does.
    pub(crate) fn in_words(&self) -> Vec<String> {
        let many = Some(self.need()).filter(|need| *need > 1).map(|need| format!("{need} different people"));
        let lists = self.each().filter(|terms| !terms.approvers.is_empty());
        let named = lists.map(|terms| {
            let names: Vec<_> = terms.approvers.iter().map(Approver::to_string).collect();
            format!("only these count: {}", names.join(", "))
        });
        many.into_iter().chain(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people() -> People {
        let mut people = People::default();
        for (name, identity) in [("anna", "telegram:1"), ("anna", "local:anna"), ("ben", "telegram:2")] {
            people.add(name, identity).unwrap();
        }
        people
    }

    fn by(text: &str) -> Responder {
        Responder::recorded(text)
    }

    fn terms(approvals: u32, approvers: &[&str]) -> Terms {
        let approvers = approvers.iter().map(|name| Approver((*name).to_owned())).collect();
        Terms::of([Arc::new(PeopleTerms { approvals, approvers, ..PeopleTerms::default() })])
    }

    #[test]
    fn a_token_speaks_for_those_alone_who_are_listed_with_it() {
        let (both, mut people) = (terms(2, &["anna", "ben"]), people());
        let said = by("ops:anna");
        assert!(!both.admits(&said, &people));
        assert_eq!(both.have([&said, &by("telegram:2")], &people), 1);
        people.add("anna", "ops:anna").unwrap();
        assert!(both.admits(&said, &people) && !both.admits(&by("ops:ben"), &people));
        assert_eq!(both.have([&said, &by("telegram:1")], &people), 1);
        assert_eq!(both.have([&said, &by("telegram:2")], &people), 2);
    }

    #[test]
    fn one_human_counts_once_on_all_channels() {
        let anna = ["telegram:1", "local:anna", "web:anna", "web:anna/link@127.0.0.1"].map(by);
        let also = by("web:anna (link by local:root)");
        let (two, people) = (terms(2, &[]), people());
        assert_eq!(two.have(anna.iter().chain([&also]), &people), 1);
        assert_eq!(two.have(anna.iter().chain([&by("telegram:2")]), &people), 2);
        // Whoever it says it is, a token is one of those who answer.
        let board = ["board:ben", "board:cleo", "board:anna"].map(by);
        assert_eq!(two.have(&board, &people), 1);
        assert_eq!(two.have(anna.iter().chain(&board), &people), 2);
        assert_eq!(two.have(&["web:cleo/link@::1", "local:cleo", "web:cleo"].map(by), &people), 1);
    }

    #[test]
    fn an_identity_admits_itself_and_a_name_the_person() {
        let people = people();
        let only = terms(1, &["anna", "local:root"]);
        for (text, admitted) in [
            ("telegram:1", true),
            ("web:anna", true),
            ("telegram:2", false),
            ("local:root", true),
            ("web:root/link@127.0.0.1", true),
            ("web:admin/password@127.0.0.1", false),
            ("telegram:11", false),
        ] {
            assert_eq!(only.admits(&by(text), &people), admitted, "{text}");
        }
        let both = only.and(&terms(3, &["ben", "anna"]));
        assert!(both.need() == 3 && both.admits(&by("telegram:1"), &people));
        assert!(!both.admits(&by("local:root"), &people) && !both.admits(&by("telegram:2"), &people));
        assert_eq!(both.have(&[by("local:root"), by("telegram:2"), by("local:anna")], &people), 1);
    }
}
