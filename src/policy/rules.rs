//! The owner's rules, and which of them decides.

use std::iter;
use std::sync::Arc;

use super::index::Index;
use super::stance::Stance;
use super::subject::{Part, Subject};
use crate::base::digest::Digest;
use crate::base::glob::Pattern;
use crate::model::{
    Action, AgentId, AskTerms, AskedPart, GrantOffer, GrantRule, Kind, Matcher, Rule, RuleLook, Terms, Tool,
    Verdict, Why,
};

/// Both lists as one, so that the first rule that matches decides and the trace for `explain` comes out of the same loop.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// In order of precedence.
    order: Vec<Rule>,
    /// Finds the places in `order` of rules for tools of any kind that can match a signature at all.
    any_kind: Index,
    /// The same of rules for tools of some kinds, by kind.
    by_kind: Vec<(Kind, Index)>,
    /// What a person is asked about when no rule speaks of it.
    fallback: Fallback,
}

/// Who asks when no rule does.
#[derive(Clone, Debug)]
struct Fallback {
    identity: Digest,
    ask: Arc<AskTerms>,
}

/// The place in the order of the rule that decides; None: none does, so a person is asked.
pub(super) type Place = Option<usize>;

impl Rules {
    /// `offer`: what may be granted where a default asks, or no rule speaks of a call.
    pub(super) fn new(mut rules: Vec<Rule>, mut defaults: Vec<Rule>, offer: Option<&GrantOffer>) -> Rules {
        if let Some(offer) = offer {
            defaults.iter_mut().for_each(|rule| rule.offer_too(offer));
        }
        // A stable sort: among equals the one further up in the file is named as the reason.
        rules.sort_by_key(|rule| match rule.action() {
            Action::Deny => 0,
            Action::Ask if rule.always => 1,
            Action::Allow => 2,
            Action::Ask => 3,
        });
        rules.extend(defaults);
        let index = |is_meant: &dyn Fn(&Matcher) -> bool| {
            let meant = rules.iter().enumerate().filter(|(_, rule)| is_meant(&rule.matcher));
            Index::new(meant.map(|(place, rule)| (place, rule.matcher.pattern.literal_prefix())))
        };
        let any_kind = index(&|matcher| matcher.kinds.is_empty());
        let is_named = |kind: &Kind| rules.iter().any(|rule| rule.matcher.kinds.contains(kind));
        let named = Kind::ALL.into_iter().filter(is_named);
        let by_kind = named.map(|kind| (kind, index(&|matcher| matcher.kinds.contains(&kind)))).collect();
        let mut fallback = Fallback { identity: Digest::sha256(b"no rule"), ask: Arc::default() };
        if let Some(offer) = offer {
            fallback.identity = offer.changes(fallback.identity);
            fallback.ask = Arc::new(AskTerms { grant: Some(offer.clone()) });
        }
        Rules { order: rules, any_kind, by_kind, fallback }
    }

    /// The strictest decision on any part of a call. No element of a list is judged less strictly than a call with this
    /// element alone.
    pub(super) fn decide(&self, subject: &Subject<'_>) -> (Verdict, Place) {
        let mut terms = Terms::default();
        let decided = subject.parts().map(|part| {
            let place = self.place(subject, &part);
            let verdict = self.verdict(place);
            gather(&mut terms, &verdict);
            (verdict, place)
        });
        let decided = strictest(decided, |(verdict, _)| verdict.decision);
        let (verdict, place) = decided.unwrap_or_else(|| (self.verdict(None), None));
        (Verdict { terms, ..verdict }, place)
    }

    /// Who asks about each part of a call that the rule at `place` has decided on.
    pub(super) fn asked<'c>(&self, subject: &Subject<'c>, place: Place) -> Vec<AskedPart<'c>> {
        let part = |signature: &'c str, place: Place| {
            let rule = place.and_then(|place| self.order.get(place));
            let asks = rule.is_none_or(|rule| rule.action() == Action::Ask);
            let identity = rule.map_or(self.fallback.identity, |rule| rule.identity);
            AskedPart {
                signature,
                rule: asks.then_some(identity),
                always: rule.is_some_and(|rule| rule.always),
            }
        };
        let call = subject.call;
        if call.parts().is_empty() {
            return vec![part(call.signature(), place)];
        }
        let parts = subject.parts().map(|each| (each.signature, self.place(subject, &each)));
        parts.map(|(signature, place)| part(signature, place)).collect()
    }

    /// On which terms a person is asked.
    pub(super) fn terms(&self, place: Place) -> &Arc<AskTerms> {
        let rule = place.and_then(|place| self.order.get(place));
        rule.map_or(&self.fallback.ask, |rule| &rule.ask)
    }

    /// The rule at this place, as grants know it.
    pub(super) fn known_as(&self, place: Place) -> GrantRule {
        let rule = place.and_then(|place| self.order.get(place));
        GrantRule {
            identity: rule.map_or(self.fallback.identity, |rule| rule.identity),
            name: rule.map(|rule| rule.id.name().to_owned()),
        }
    }

    /// Whether there is (still) such a rule.
    pub(super) fn knows(&self, identity: Digest) -> bool {
        self.fallback.identity == identity || self.order.iter().any(|rule| rule.identity == identity)
    }

    /// Whether the rule may ask about calls of this tool.
    pub(super) fn may_ask(&self, identity: Digest, agent: &AgentId, tool: &Tool) -> bool {
        let mut rules = self.order.iter().filter(|rule| rule.identity == identity);
        let asks = |rule: &Rule| speaks_of(rule, agent, tool) && could_match(&rule.matcher.pattern, tool);
        self.fallback.identity == identity || rules.any(asks)
    }

    /// The decisions on the elements of a list that is judged element by element, in its order.
    pub(super) fn decide_parts(&self, subject: &Subject<'_>) -> Vec<Verdict> {
        let judged = subject.parts().map(|part| self.decide_part(subject, &part));
        judged.take(subject.call.parts().len()).collect()
    }

    /// [`Rules::decide`], with the rules looked at for the part that decided.
    pub(super) fn trace(&self, subject: &Subject<'_>) -> (Verdict, Place, Vec<RuleLook>) {
        let mut terms = Terms::default();
        let traced = subject.parts().map(|part| {
            let traced = self.trace_part(subject, &part);
            gather(&mut terms, &traced.0);
            traced
        });
        let traced = strictest(traced, |(verdict, _, _)| verdict.decision);
        let (verdict, place, steps) = traced.unwrap_or_else(|| (self.verdict(None), None, Vec::new()));
        (Verdict { terms, ..verdict }, place, steps)
    }

    fn decide_part(&self, subject: &Subject<'_>, part: &Part<'_>) -> Verdict {
        self.verdict(self.place(subject, part))
    }

    fn place(&self, subject: &Subject<'_>, part: &Part<'_>) -> Place {
        let candidates = self.candidates(part.signature, Some(subject.call.tool().kind));
        self.deciding(subject, part, candidates, |_, _, _| {})
    }

    /// The places of rules that can match this signature of a tool of this kind; of any where it is None, and then some of
    /// them more than once.
    fn candidates<'a>(&'a self, signature: &'a str, kind: Option<Kind>) -> impl Iterator<Item = &'a [usize]> {
        let named = self.by_kind.iter().filter(move |(named, _)| kind.is_none_or(|kind| kind == *named));
        let indexes = iter::once(&self.any_kind).chain(named.map(|(_, index)| index));
        indexes.flat_map(|index| index.candidates(signature))
    }

    fn trace_part(&self, subject: &Subject<'_>, part: &Part<'_>) -> (Verdict, Place, Vec<RuleLook>) {
        let mut looks = Vec::new();
        // People want to see the rules for tools of other kinds too.
        let candidates = self.candidates(part.signature, None);
        let deciding = self.deciding(subject, part, candidates, |place, rule, why| {
            looks.push((place, RuleLook { rule: Arc::clone(&rule.id), why }));
        });
        // Looked at before the deciding rule was found, but of lower precedence.
        looks.retain(|(place, _)| deciding.is_none_or(|deciding| *place <= deciding));
        looks.sort_by_key(|(place, _)| *place);
        looks.dedup_by_key(|(place, _)| *place);
        (self.verdict(deciding), deciding, looks.into_iter().map(|(_, step)| step).collect())
    }

    /// Whether no call of `tool` by `agent` can ever be anything but denied. Never true by mistake: a deny counts only if
    /// it covers all possible signatures whatever the arguments, and nothing that could match one of them stands before it.
    pub(super) fn always_deny(&self, agent: &AgentId, tool: &Tool) -> bool {
        let beginning = beginning_of(tool);
        let concerns =
            |rule: &&Rule| speaks_of(rule, agent, tool) && could_match(&rule.matcher.pattern, tool);
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
        let terms = Terms::of(rule.and_then(|rule| rule.terms.clone()));
        Verdict { terms, ..Verdict::by_rule(decision, rule.map(|rule| Arc::clone(&rule.id))) }
    }

    /// The place in `order` of the rule that decides: the first that matches. An ask that matches only because something is
    /// unknown decides unless what comes behind it would deny, so that doubt never spares a call a default that denies.
    ///
    /// `look` is told of each rule that was examined: all that could match before that place, and perhaps some behind it.
    fn deciding<'a>(
        &self,
        subject: &Subject<'_>,
        part: &Part<'_>,
        candidates: impl Iterator<Item = &'a [usize]>,
        mut look: impl FnMut(usize, &Rule, Why),
    ) -> Option<usize> {
        let (mut first, mut doubted) = (None, None);
        for places in candidates {
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

/// Every part that is asked about is asked on its own terms.
fn gather(all: &mut Terms, verdict: &Verdict) {
    if verdict.decision == Action::Ask && !verdict.terms.is_empty() {
        *all = all.and(&verdict.terms);
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
pub(super) fn could_match(pattern: &Pattern, tool: &Tool) -> bool {
    let (literal, beginning) = (pattern.literal_prefix(), beginning_of(tool));
    match tool.signature {
        Some(_) => literal.starts_with(&beginning) || beginning.starts_with(literal),
        None => pattern.matches(&beginning),
    }
}

/// What every signature of it begins with.
fn beginning_of(tool: &Tool) -> String {
    if tool.signature.is_some() { format!("{}(", tool.name) } else { tool.name.clone() }
}
