//! What the next start has to know: which questions were taken or may have been, so that none is told twice, and what came
//! of them.

use std::rc::Rc;

use serde_json::{Map, json};

use super::carrier::Carrier;
use super::pusher::Pusher;
use crate::base::ids::RequestId;

/// Keeps what has changed. Changes that come meanwhile are kept together.
pub(super) fn save_soon<C: Carrier>(pusher: &Rc<Pusher<C>>) {
    pusher.dirty.set(true);
    if !pusher.restored.get() || pusher.saving.replace(true) {
        return;
    }
    let saving = pusher.clone();
    pusher.spawn(async move {
        while saving.dirty.get() {
            save_now(&saving).await;
        }
        saving.saving.set(false);
    });
}

/// Keeps that a question is being told, before that is tried: it may be taken, and the gateway end before it hears so.
pub(super) async fn note_attempt<C: Carrier>(pusher: &Rc<Pusher<C>>, id: RequestId) {
    let is_new = {
        let mut errands = pusher.errands.borrow_mut();
        let errand = errands.get_mut(&id).filter(|errand| errand.ended.is_none() && errand.asks());
        errand.is_some_and(|errand| !std::mem::replace(&mut errand.tried, true))
    };
    if is_new {
        let saved = pusher.next_save.borrow().clone();
        save_soon(pusher);
        saved.wait().await;
    }
}

pub(super) async fn save_now<C: Carrier>(pusher: &Rc<Pusher<C>>) {
    let Some(host) = pusher.host.borrow().clone().filter(|_| pusher.restored.get()) else { return };
    pusher.dirty.set(false);
    let saved = pusher.next_save.take();
    let kept: Map<_, _> = {
        let errands = pusher.errands.borrow();
        let told = errands.iter().filter(|(_, it)| it.reached || it.tried);
        told.map(|(id, it)| (id.to_string(), it.kept())).collect()
    };
    let kept = json!({"identity": pusher.carrier.identity().hex(), "questions": kept});
    host.remember(&pusher.carrier.kept_as(), kept.to_string()).await;
    saved.set();
}

/// Nobody will ask for it.
pub(super) async fn forget<C: Carrier>(pusher: &Rc<Pusher<C>>) {
    let host = pusher.host.borrow().clone();
    if let Some(host) = host {
        host.remember(&pusher.carrier.kept_as(), "{}".to_owned()).await;
    }
}
