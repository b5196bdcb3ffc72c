//! The owner's rules, and which of them decides.

use std::sync::Arc;

use super::index::Index;
use super::stance::Stance;
use super::subject::{Part, Subject};
use crate::model::{Action, AgentId, Matcher, Rule, Step, Tool, Verdict, Why};

/// Both lists as one, so that the first rule that matches decides and the trace for `explain` comes out of the same loop.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// In order of precedence.
    order: Vec<Rule>,
    /// Finds the places in `order` that can match a signature at all.
    index: Index,
}

impl Rules {
    pub(super) fn new(mut rules: Vec<Rule>, defaults: Vec<Rule>) -> Rules {
        // A stable sort: among equals the one further up in the file is named as the reason.
        rules.sort_by_key(|rule| match rule.action() {
            Action::Deny => 0,
            Action::Ask if rule.always => 1,
            Action::Allow => 2,
            Action::Ask => 3,
        });
        rules.extend(defaults);
        let index = Index::new(rules.iter().map(|rule| rule.matcher.pattern.literal_prefix()));
        Rules { order: rules, index }
    }

    /// The strictest decision on any part of a call. No element of a list is judged less strictly than a call with this
    /// element alone.
    pub(super) fn decide(&self, subject: &Subject<'_>) -> Verdict {
        let verdicts = subject.parts().map(|part| self.decide_part(subject, &part));
        strictest(verdicts, |verdict| verdict.decision).unwrap_or_else(|| self.verdict(None))
    }

    /// The decisions on the elements of a list that is judged element by element, in its order.
    pub(super) fn decide_parts(&self, subject: &Subject<'_>) -> Vec<Verdict> {
        let judged = subject.parts().map(|part| self.decide_part(subject, &part));
        judged.take(subject.call.parts().len()).collect()
    }

    /// [`Rules::decide`], with the rules looked at for the part that decided.
    pub(super) fn trace(&self, subject: &Subject<'_>) -> (Verdict, Vec<Step>) {
        let traced = subject.parts().map(|part| self.trace_part(subject, &part));
        strictest(traced, |(verdict, _)| verdict.decision).unwrap_or_else(|| (self.verdict(None), Vec::new()))
    }

    fn decide_part(&self, subject: &Subject<'_>, part: &Part<'_>) -> Verdict {
        self.verdict(self.deciding(subject, part, |_, _, _| {}))
    }

    fn trace_part(&self, subject: &Subject<'_>, part: &Part<'_>) -> (Verdict, Vec<Step>) {
        let mut looks = Vec::new();
        let deciding = self.deciding(subject, part, |place, rule, why| {
            looks.push((place, Step { rule: Arc::clone(&rule.id), why }));
        });
        // Looked at before the deciding rule was found, but of lower precedence.
        looks.retain(|(place, _)| deciding.is_none_or(|deciding| *place <= deciding));
        looks.sort_by_key(|(place, _)| *place);
        (self.verdict(deciding), looks.into_iter().map(|(_, step)| step).collect())
    }

    /// Whether no call of `tool` by `agent` can ever be anything but denied. Never true by mistake: a deny counts only if
    /// it covers all possible signatures whatever the arguments, and nothing that could match one of them stands before it.
    pub(super) fn always_deny(&self, agent: &AgentId, tool: &Tool) -> bool {
        let beginning = if tool.signature.is_some() { format!("{}(", tool.name) } else { tool.name.clone() };
        let concerns = |rule: &&Rule| speaks_of(rule, agent, tool) && could_match(rule, &beginning, tool);
        let covers = |rule: &Rule| match tool.signature {
            Some(_) => rule.matcher.pattern.covers(&beginning, ")"),
            None => rule.matcher.pattern.matches(&beginning),
        };
        self.order
            .iter()
            .filter(concerns)
            .take_while(|rule| rule.action() == Action::Deny)
            .any(|rule| rule.matcher.ignores_circumstances() && covers(rule))
    }

    fn verdict(&self, place: Option<usize>) -> Verdict {
        let rule = place.and_then(|place| self.order.get(place));
        let decision = rule.map_or(Action::Ask, Rule::action);
        Verdict::by_rule(decision, rule.map(|rule| Arc::clone(&rule.id)))
    }

    /// The place in `order` of the rule that decides: the first that matches. An ask that matches only because something is
    /// unknown decides unless what comes behind it would deny, so that doubt never spares a call a default that denies.
    ///
    /// `look` is told of each rule that was examined: all that could match before that place, and perhaps some behind it.
    fn deciding(
        &self,
        subject: &Subject<'_>,
        part: &Part<'_>,
        mut look: impl FnMut(usize, &Rule, Why),
    ) -> Option<usize> {
        let (mut first, mut doubted) = (None, None);
        for places in self.index.candidates(part.signature) {
            for place in places.iter().copied().take_while(|place| first.is_none_or(|first| *place < first)) {
                let Some(rule) = self.order.get(place) else { continue };
                let why = subject.examine(&rule.matcher, part, Stance::of(rule));
                let (matched, in_doubt) = (why.is_match(), why.is_in_doubt());
                look(place, rule, why);
                if in_doubt && rule.action() == Action::Ask {
                    doubted = Some(doubted.map_or(place, |earlier: usize| earlier.min(place)));
                } else if matched {
                    first = Some(place);
                    break;
                }
            }
        }
        let denies = |place: usize| self.order.get(place).is_some_and(|rule| rule.action() == Action::Deny);
        match (doubted, first) {
            (Some(doubted), Some(first)) if first < doubted || denies(first) => Some(first),
            (Some(doubted), _) => Some(doubted),
            (None, first) => first,
        }
    }
}

/// The first of those whose action is the strictest.
fn strictest<T>(all: impl Iterator<Item = T>, action: impl Fn(&T) -> Action) -> Option<T> {
    all.min_by_key(|one| match action(one) {
        Action::Deny => 0,
        Action::Ask => 1,
        Action::Allow => 2,
    })
}

fn speaks_of(rule: &Rule, agent: &AgentId, tool: &Tool) -> bool {
    let Matcher { agents, kinds, risks, .. } = &rule.matcher;
    agents.as_ref().is_none_or(|agents| agents.contains(agent))
        && (kinds.is_empty() || kinds.contains(&tool.kind))
        && (risks.is_empty() || risks.contains(&tool.facts.risk))
}

/// Whether some signature of `tool` might match: never false by mistake.
fn could_match(rule: &Rule, beginning: &str, tool: &Tool) -> bool {
    let literal = rule.matcher.pattern.literal_prefix();
    match tool.signature {
        Some(_) => literal.starts_with(beginning) || beginning.starts_with(literal),
        None => rule.matcher.pattern.matches(beginning),
    }
}
