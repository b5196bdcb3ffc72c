//! What the next start has to know: which questions were taken, so that none is told twice, and what came of them.

use std::rc::Rc;

use serde_json::{Map, json};

use super::carrier::Carrier;
use super::pusher::Pusher;

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

pub(super) async fn save_now<C: Carrier>(pusher: &Rc<Pusher<C>>) {
    let Some(host) = pusher.host.borrow().clone().filter(|_| pusher.restored.get()) else { return };
    pusher.dirty.set(false);
    let kept: Map<_, _> = {
        let errands = pusher.errands.borrow();
        errands.iter().filter(|(_, it)| it.taken).map(|(id, it)| (id.to_string(), it.kept())).collect()
    };
    let kept = json!({"identity": pusher.carrier.identity().hex(), "questions": kept});
    host.remember(&pusher.carrier.kept_as(), kept.to_string()).await;
}

/// Nobody will ask for it.
pub(super) async fn forget<C: Carrier>(pusher: &Rc<Pusher<C>>) {
    let host = pusher.host.borrow().clone();
    if let Some(host) = host {
        host.remember(&pusher.carrier.kept_as(), "{}".to_owned()).await;
    }
}
