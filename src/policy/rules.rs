//! The owner's rules, and which of them decides.

use std::sync::Arc;

use super::index::Index;
use super::texts::Texts;
use crate::model::{Action, AgentId, Call, Rule, Step, Tool, Verdict, Why};

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

    /// The strictest decision on any part of `call`. No element of a list is judged less strictly than a call with this
    /// element alone.
    pub(super) fn decide(&self, call: &Call) -> Verdict {
        let texts = Texts::new(call);
        let verdicts = parts(call).map(|part| self.decide_part(call, &part, &texts));
        strictest(verdicts, |verdict| verdict.decision).unwrap_or_else(|| self.verdict(None))
    }

    /// The decisions on the elements of a list that is judged element by element, in its order.
    pub(super) fn decide_parts(&self, call: &Call) -> Vec<Verdict> {
        let texts = Texts::new(call);
        let judged = parts(call).map(|part| self.decide_part(call, &part, &texts));
        judged.take(call.parts().len()).collect()
    }

    /// [`Rules::decide`], with the rules looked at for the part that decided.
    pub(super) fn trace(&self, call: &Call) -> (Verdict, Vec<Step>) {
        let texts = Texts::new(call);
        let traced = parts(call).map(|part| self.trace_part(call, &part, &texts));
        strictest(traced, |(verdict, _)| verdict.decision).unwrap_or_else(|| (self.verdict(None), Vec::new()))
    }

    fn decide_part(&self, call: &Call, part: &Part<'_>, texts: &Texts<'_>) -> Verdict {
        self.verdict(self.first_match(call, part, texts, |_, _, _| {}))
    }

    fn trace_part(&self, call: &Call, part: &Part<'_>, texts: &Texts<'_>) -> (Verdict, Vec<Step>) {
        let mut looks = Vec::new();
        let first = self.first_match(call, part, texts, |place, rule, why| {
            looks.push((place, Step { rule: Arc::clone(&rule.id), why }));
        });
        // Looked at before the deciding rule was found, but of lower precedence.
        looks.retain(|(place, _)| first.is_none_or(|first| *place <= first));
        looks.sort_by_key(|(place, _)| *place);
        (self.verdict(first), looks.into_iter().map(|(_, step)| step).collect())
    }

    /// Whether no call of `tool` by `agent` can ever be anything but denied. Never true by mistake: a deny counts only if
    /// it covers all possible signatures whatever the arguments, and nothing that could match one of them stands before it.
    pub(super) fn always_deny(&self, agent: &AgentId, tool: &Tool) -> bool {
        let beginning = if tool.signature.is_some() { format!("{}(", tool.name) } else { tool.name.clone() };
        let concerns = |rule: &&Rule| speaks_of(rule, agent) && could_match(rule, &beginning, tool);
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

    /// The first place in `order` whose rule matches. `look` is told of each rule that was examined: all that
    /// could match before that place, and perhaps some behind it.
    fn first_match(
        &self,
        call: &Call,
        part: &Part<'_>,
        texts: &Texts<'_>,
        mut look: impl FnMut(usize, &Rule, Why),
    ) -> Option<usize> {
        let mut first = None;
        for places in self.index.candidates(part.signature) {
            for place in places.iter().copied().take_while(|place| first.is_none_or(|first| *place < first)) {
                let Some(rule) = self.order.get(place) else { continue };
                let why = examine(place, rule, call, part, texts);
                look(place, rule, why);
                if why == Why::Matched {
                    first = Some(place);
                    break;
                }
            }
        }
        first
    }
}

/// What is judged at once: a call, or one element of the list in it that is judged element by element.
struct Part<'c> {
    signature: &'c str,
    /// The element's place in the list.
    element: Option<usize>,
}

fn parts(call: &Call) -> impl Iterator<Item = Part<'_>> {
    let whole = call.parts().is_empty().then(|| Part { signature: call.signature(), element: None });
    let elements = call.parts().iter().enumerate();
    whole.into_iter().chain(elements.map(|(at, signature)| Part { signature, element: Some(at) }))
}

/// The first of those whose action is the strictest.
fn strictest<T>(all: impl Iterator<Item = T>, action: impl Fn(&T) -> Action) -> Option<T> {
    all.min_by_key(|one| match action(one) {
        Action::Deny => 0,
        Action::Ask => 1,
        Action::Allow => 2,
    })
}

/// Whether the rule at this `place` matches a part of `call`, or what keeps it from that; the costly question comes last.
fn examine(place: usize, rule: &Rule, call: &Call, part: &Part<'_>, texts: &Texts<'_>) -> Why {
    if !rule.matcher.pattern.matches(part.signature) {
        return Why::Pattern;
    }
    if !speaks_of(rule, call.agent()) {
        return Why::Agents;
    }
    match &rule.matcher.any_value {
        Some(pattern) if !texts.any(place, pattern, rule.action(), part.element) => Why::AnyValue,
        Some(_) | None => Why::Matched,
    }
}

fn speaks_of(rule: &Rule, agent: &AgentId) -> bool {
    rule.matcher.agents.as_ref().is_none_or(|agents| agents.contains(agent))
}

/// Whether some signature of `tool` might match: never false by mistake.
fn could_match(rule: &Rule, beginning: &str, tool: &Tool) -> bool {
    let literal = rule.matcher.pattern.literal_prefix();
    match tool.signature {
        Some(_) => literal.starts_with(beginning) || beginning.starts_with(literal),
        None => rule.matcher.pattern.matches(beginning),
    }
}
