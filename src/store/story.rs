//! What is under way at a start, from the events alone: the chain is read backwards from its head for as long as keys
//! are remembered, and as far back as the oldest call that a table takes for open. Every event counts only when it
//! fits between its neighbours.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;

use super::chain::parse_id;
use super::chain::{self, ChainEvent, ChainKey, ChainLink, Seal};
use super::entry::KeptGrant;
use super::error::StoreError;
use super::grants;
use super::kind;
use super::live::{CallState, Live, LiveKey, Open};
use super::proof::KeyBinding;
use super::questions::{AskedCall, binding_in};
use crate::base::clock::Timestamp;
use crate::base::ids::RequestId;
use crate::model::{AgentId, Outcome, Responder};

/// So many events in a row that are too old end the way back: fewer may be from a clock that was wrong for a while.
const OLD: u32 = 1000;

/// What is under way as the events have it.
#[derive(Default)]
pub(super) struct OpenCalls {
    pub(super) live: Live,
    /// Questions that are not answered, and approvals that were not acted on.
    pub(super) questions: Vec<AskedCall>,
    /// Keys that are remembered, and until when.
    pub(super) keys: Vec<(KeyBinding, Timestamp)>,
    /// Grants that were not ended by anybody, with their uses.
    pub(super) grants: Vec<KeptGrant>,
    /// What does not verify, in words, and when at the latest it was written.
    pub(super) broken: Option<(String, Timestamp)>,
    /// The beginning was dropped by retention, of a time whose keys are still remembered.
    pub(super) dropped: bool,
}

/// What the later events of a call have said, until its first is met.
#[derive(Default)]
struct LaterEvents {
    finished: Option<Finished>,
    executing: bool,
    /// The last answer: how, and by whom.
    answered: Option<(String, Option<String>)>,
    /// Who has said yes before that, and to what, the last one first.
    counted: Vec<(Responder, String)>,
    joined: Vec<(KeyBinding, ChainEvent)>,
    /// The bodies of its edits, the last one first.
    edited: Vec<Value>,
}

#[derive(Clone, Copy)]
struct Finished {
    at: Timestamp,
    /// Its keys stand for nothing any more.
    freed: bool,
}

struct BackwardWalk<'a> {
    key: &'a ChainKey,
    now: Timestamp,
    keep_keys: Duration,
    lives: HashMap<RequestId, LaterEvents>,
    grants: LaterOfGrants,
    story: OpenCalls,
}

/// What later events have said of grants, by id, until the event is met that gave them.
#[derive(Default)]
struct LaterOfGrants {
    used: HashMap<String, u32>,
    ended: HashSet<String>,
}

/// Reads it back from the event `head`. `through` is an event that must be met, however old it is.
pub(super) fn read(
    (db, key): (&Connection, &ChainKey),
    (now, keep_keys): (Timestamp, Duration),
    (head, through): (i64, i64),
) -> Result<OpenCalls, StoreError> {
    let (lives, grants, story) = Default::default();
    let mut walk = BackwardWalk { key, now, keep_keys, lives, grants, story };
    let mut statement =
        db.prepare(&format!("SELECT {} FROM events ORDER BY seq DESC", ChainEvent::COLUMNS))?;
    let mut rows = statement.query([])?;
    let mut next = rows.next()?.map(ChainEvent::read).transpose()?;
    let (mut later, mut old) = (head.saturating_add(1), 0);
    let mut later_at = now;
    while let Some(event) = next.take() {
        next = rows.next()?.map(ChainEvent::read).transpose()?;
        let before = match &next {
            Some(event) => chain::link_of(event).ok(),
            None => walk.beginning(db)?,
        };
        let fits = walk.fits(before, &event);
        if !fits || later != event.seq.saturating_add(1) {
            walk.broken(&event, later_at);
        }
        if fits {
            walk.fold(&event)?;
        }
        (later, later_at) = (event.seq, Timestamp(event.at));
        old = if event.at < now.minus(keep_keys).0 { old + 1 } else { 0 };
        if old >= OLD && walk.lives.is_empty() && event.seq <= through {
            return Ok(walk.story);
        }
    }
    walk.story.dropped = later > 1;
    Ok(walk.story)
}

impl BackwardWalk<'_> {
    /// What the oldest event that is kept follows.
    fn beginning(&self, db: &Connection) -> Result<Option<ChainLink>, StoreError> {
        Ok(match chain::anchor(db)? {
            None => Some(ChainLink::START),
            Some(sealed) => self.key.unseal(Seal::Anchor, &sealed),
        })
    }

    fn fits(&self, before: Option<ChainLink>, event: &ChainEvent) -> bool {
        before.is_some_and(|before| {
            before.seq == event.seq.saturating_sub(1) && self.key.proves(&before.hash, event)
        })
    }

    fn broken(&mut self, event: &ChainEvent, later_at: Timestamp) {
        let what = format!("event {}, or one beside it, was changed, removed or put elsewhere", event.seq);
        self.story.broken.get_or_insert((what, later_at));
    }

    fn fold(&mut self, event: &ChainEvent) -> Result<(), StoreError> {
        match event.kind.as_str() {
            kind::GRANTED => return self.given(&body_of(event)?),
            kind::GRANT_ENDED => {
                let id = body_of(event)?.get("grant_id").and_then(Value::as_str).map(str::to_owned);
                self.grants.ended.extend(id);
                return Ok(());
            }
            _of_a_call => {}
        }
        let Some(id) = event.request_id.as_deref() else { return Ok(()) };
        let id = parse_id(id)?;
        match event.kind.as_str() {
            kind::FINISHED => {
                let reason = body_of(event)?.get("reason").and_then(Value::as_str).map(str::to_owned);
                let freed = !reason.as_deref().is_none_or(Outcome::keeps_key);
                self.life(id).finished = Some(Finished { at: Timestamp(event.at), freed });
            }
            kind::EXECUTING => self.life(id).executing = true,
            kind::ANSWERED => {
                let body = body_of(event)?;
                let text = |name| body.get(name).and_then(Value::as_str).map(str::to_owned);
                let answer = (text("resolution").unwrap_or_default(), text("by"));
                self.life(id).answered.get_or_insert(answer);
            }
            // What was said yes to before an edit was another call.
            kind::COUNTED if self.life(id).edited.is_empty() => {
                let body = body_of(event)?;
                let text = |name| body.get(name).and_then(Value::as_str).unwrap_or_default();
                self.life(id).counted.push((Responder::recorded(text("by")), text("digest").to_owned()));
            }
            kind::EDITED => {
                let body = body_of(event)?;
                self.life(id).edited.push(body);
            }
            kind::JOINED => {
                let binding = KeyBinding::from_event(event, &body_of(event)?);
                let joined = binding.map(|binding| (binding, event.clone()));
                self.life(id).joined.extend(joined);
            }
            kind::REQUESTED => {
                let life = self.lives.remove(&id).unwrap_or_default();
                self.begun(id, life, event)?;
            }
            _other => {}
        }
        Ok(())
    }

    fn given(&mut self, body: &Value) -> Result<(), StoreError> {
        if let Some(kept) = grants::of_event(body) {
            let id = kept.grant.id.to_string();
            let used = self.grants.used.remove(&id).unwrap_or_default();
            if !self.grants.ended.remove(&id) {
                self.story.grants.push(KeptGrant { used, ..kept });
            }
        }
        Ok(())
    }

    fn life(&mut self, id: RequestId) -> &mut LaterEvents {
        self.lives.entry(id).or_default()
    }

    /// The first event of a call, after all its others.
    fn begun(&mut self, id: RequestId, life: LaterEvents, event: &ChainEvent) -> Result<(), StoreError> {
        let body = body_of(event)?;
        if let Some((grant, uses)) = body.get("grant").and_then(grants::use_in) {
            let used = self.grants.used.entry(grant.to_owned()).or_default();
            *used = used.saturating_add(uses);
        }
        let own = KeyBinding::from_event(event, &body).map(|binding| (binding, event.clone()));
        let mut marks = Vec::new();
        for (binding, bound) in own.into_iter().chain(life.joined) {
            marks.extend(self.bind(binding, &bound, life.finished));
        }
        if life.finished.is_some() {
            return Ok(());
        }
        let then = body.get("then").and_then(Value::as_str);
        let (state, approved_by) = match (life.executing, life.answered) {
            (false, None) if then == Some("asked") => (CallState::Open, None),
            (false, Some((how, by))) if how == "approved" => {
                (CallState::Approved { by: Responder::recorded(by.as_deref().unwrap_or_default()) }, by)
            }
            (_, _) => (CallState::Executing, None),
        };
        let text = |name| body.get(name).and_then(Value::as_str);
        let agent = AgentId::configured(text("agent").unwrap_or_default());
        let binding = binding_in(life.edited.first().unwrap_or(&body));
        let is_question = state != CallState::Executing;
        let reads = body.get("reads").cloned().map(Arc::new);
        self.story.live.put(id, Open { seq: event.seq, agent, binding, state, keys: marks, reads });
        if is_question {
            let (event, edits, counted) = (event.clone(), life.edited, life.counted);
            self.story.questions.push(AskedCall { id, event, body, edits, approved_by, counted });
        }
        Ok(())
    }

    /// Remembers a key, unless its time is over or it has come to stand for a later call; its mark.
    fn bind(&mut self, binding: KeyBinding, event: &ChainEvent, finished: Option<Finished>) -> Option<u64> {
        let expires = match finished {
            None => LiveKey::OPEN,
            Some(Finished { freed: true, .. }) => return None,
            Some(Finished { at, freed: false }) => at.max(Timestamp(event.at)).plus(self.keep_keys),
        };
        let live = &mut self.story.live;
        let mark = live.mark(&binding.agent, &binding.key);
        let newer = live.known(mark).is_some_and(|known| known.event > event.seq);
        if newer || expires <= self.now {
            return None;
        }
        live.put_key(mark, LiveKey { event: event.seq, expires });
        self.story.keys.push((binding, expires));
        Some(mark)
    }
}

fn body_of(event: &ChainEvent) -> Result<Value, StoreError> {
    Ok(serde_json::from_str(&event.body)?)
}
