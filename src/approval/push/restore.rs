//! Taking up what an earlier run has kept.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use serde_json::Value;

use super::carrier::{Carrier, NewsKind};
use super::errand::Errand;
use super::pusher::Pusher;
use super::{kept, words, work};
use crate::approval::{Host, shape};
use crate::base::ids::RequestId;
use crate::base::safe_text::visible;
use crate::model::QuestionRecord;

/// Takes up what an earlier run has kept, then begins to work.
pub(super) async fn run<C: Carrier>(pusher: Rc<Pusher<C>>) {
    let Some(host) = pusher.host.borrow().clone() else { return };
    let known = host
        .recall(&pusher.carrier.kept_as())
        .await
        .and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let member = |name| known.as_ref().and_then(|known| known.get(name));
    let is_same = member("identity").and_then(Value::as_str) == Some(&pusher.carrier.identity().hex());
    let members = member("questions").and_then(Value::as_object).into_iter().flatten();
    let found =
        members.filter_map(|(id, kept)| Some((RequestId::parse(id)?, (kept, Errand::restore(kept)?))));
    let found: BTreeMap<_, _> = found.collect();
    let open: Vec<_> = host.questions().iter().map(|question| question.id).collect();
    for (id, (kept, errand)) in found {
        if open.contains(&id) {
            // It was asked again a moment ago, for those who have not taken it.
            // Whoever took it under another configuration may be somebody else, and has no valid token.
            if is_same {
                still_open(&mut pusher.errands.borrow_mut(), id, errand, kept);
            }
            continue;
        }
        pusher.errands.borrow_mut().insert(id, errand);
        catch_up(&pusher, &*host, id).await;
    }
    pusher.restored.set(true);
    let ids: Vec<_> = pusher.errands.borrow().keys().copied().collect();
    ids.into_iter().for_each(|id| work::go_on(&pusher, id));
    kept::save_soon(&pusher);
}

fn still_open(errands: &mut BTreeMap<RequestId, Errand>, id: RequestId, errand: Errand, kept: &Value) {
    let Some(asked) = errands.get_mut(&id) else {
        // By now it is others who are told of it at first; what comes of it is told here as well.
        errands.insert(id, errand);
        return;
    };
    (asked.reached, asked.tried) = (true, true);
    if errand.was_told(kept, asked) {
        asked.queue = VecDeque::new();
    }
}

/// Adds what happened to a question while nobody was there to tell it.
async fn catch_up<C: Carrier>(pusher: &Rc<Pusher<C>>, host: &dyn Host, id: RequestId) {
    let Some(record) = host.question_record(id).await else { return };
    let is_under_way = host.is_under_way(id);
    let mut errands = pusher.errands.borrow_mut();
    let Some(errand) = errands.get_mut(&id) else { return };
    let has = |errand: &Errand, kind| errand.queue.iter().any(|(queued, ..)| *queued == kind);
    let now = pusher.clock.now();
    let at = record.at.unwrap_or(now);
    let shape = recorded(errand.shape.clone(), &record);
    if errand.ended.is_none() {
        let parcel = pusher.carrier.ended(NewsKind::Settled, &id.to_string(), &shape, &in_words(&record), at);
        errand.queue.push_back((NewsKind::Settled, at, parcel));
        errand.ended = Some(at);
        errand.runs = record.end.as_ref().is_none_or(|end| end.outcome().is_none());
    }
    if errand.runs && !is_under_way && !has(errand, NewsKind::Finished) {
        let parcel =
            pusher.carrier.ended(NewsKind::Finished, &id.to_string(), &shape, &in_words(&record), at);
        errand.queue.push_back((NewsKind::Finished, at, parcel));
        errand.runs = false;
    }
    errand.shape = shape;
}

fn recorded(shape: Value, record: &QuestionRecord) -> Value {
    let mut shape = shape::ended(shape, record.end.as_ref(), None);
    if let Some(members) = shape.as_object_mut() {
        members.insert("outcome".into(), record.outcome.as_str().into());
    }
    shape
}

fn in_words(record: &QuestionRecord) -> String {
    let end = record.end.as_ref().map(words::settled).unwrap_or_default();
    let note = record.data_note.as_ref().map(|note| format!(": {}", visible(note))).unwrap_or_default();
    format!("{end} ({}{note})", record.outcome)
}
