//! Channels that call somebody over HTTP. One machine for all of them: what is to be told waits in a queue per question,
//! is tried again until it is taken or nobody needs it, and is known after a restart. A [`Carrier`] says how it looks.
//!
//! | file | what it is |
//! |---|---|
//! | `carrier` | what a kind of channel has to know |
//! | `errand` | what one question still has to tell (pure) |
//! | `work` | sending it |
//! | `pusher` | the state of one channel |
//! | `kept`, `restore` | what the next start has to know, and taking it up |
//! | `words` | what came of a question, in one line |

mod carrier;
mod errand;
mod kept;
mod pusher;
mod restore;
mod words;
mod work;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use smol::{LocalExecutor, Timer};

pub(crate) use carrier::{Carrier, Heard, NewsKind, Parcel, client};
use errand::Errand;
use pusher::Pusher;

use super::{Channel, ChannelHealth, Host, Later, Parting, shape};
use crate::base::clock::Clock;
use crate::base::ids::RequestId;
use crate::base::zone::Zone;
use crate::model::{Outcome, Question, QuestionEnd};
use crate::net::client::HttpClient;

/// Of how many questions that have ended it is still tried to tell that.
const MOST_ENDED: usize = 256;

/// A channel as the gate holds it.
pub(crate) struct PushChannel<C>(Rc<Pusher<C>>);

impl<C: Carrier> PushChannel<C> {
    pub(crate) fn new(
        name: &str,
        carrier: C,
        client: HttpClient,
        clock: Clock,
        executor: Rc<LocalExecutor<'static>>,
    ) -> PushChannel<C> {
        PushChannel(Rc::new(Pusher::new(name, carrier, client, clock, executor)))
    }
}

impl<C: Carrier> PushChannel<C> {
    /// Sends the open questions that have been taken once more: what people did with them may be lost.
    pub(crate) fn show_again(&self, host: &dyn Host) {
        for question in host.questions() {
            if is_told(&self.0, question.id) {
                ask_anew(&self.0, &question);
            }
        }
    }
}

impl<C: Carrier> Channel for PushChannel<C> {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn start(&self, host: Rc<dyn Host>) {
        self.0.host.replace(Some(host));
        self.0.spawn(restore::run(self.0.clone()));
    }

    fn asked(&self, question: &Arc<Question>) {
        let age = self.0.clock.now().since(question.created);
        let Some(pause) = pause_before(&self.0, question, age) else { return };
        match pause.is_zero() {
            true => ask(&self.0, question),
            false => while_open(&self.0, question.id, pause, |pusher, open| ask(pusher, open)),
        }
        let reminder = question.terms.remind().filter(|_| self.0.carrier.reminds());
        if let Some(pause) = reminder.and_then(|at| at.checked_sub(age)) {
            while_open(&self.0, question.id, pause, |pusher, open| {
                if is_told(pusher, open.id) {
                    ask_anew(pusher, open);
                }
            });
        }
    }

    /// It is asked again, under another id: the tokens of the earlier messages are void.
    fn edited(&self, question: &Arc<Question>) {
        ask_anew(&self.0, question);
    }

    fn settled(&self, question: &Arc<Question>, end: &QuestionEnd) {
        let shape = shape::ended(shape::question(question), Some(end), None);
        let runs = matches!(end, QuestionEnd::Approved { .. });
        tell(&self.0, question.id, NewsKind::Settled, &shape, &words::settled(end), runs);
    }

    fn finished(&self, question: &Arc<Question>, outcome: &Outcome) {
        let known = self.0.shape_of(question.id).unwrap_or_else(|| shape::question(question));
        let shape = shape::ended(known, None, Some(outcome));
        tell(&self.0, question.id, NewsKind::Finished, &shape, &words::finished(outcome), false);
    }

    fn notice(&self, text: &str) {
        if let Some(parcel) = self.0.carrier.notice(text) {
            let pusher = self.0.clone();
            self.0.spawn(async move { drop(pusher.send(&parcel).await) });
        }
    }

    fn health(&self) -> ChannelHealth {
        let (link, errands) = (self.0.link.borrow(), self.0.errands.borrow());
        let since = link.since.map(|at| Zone::system().hour_and_minute(at)).unwrap_or_default();
        let detail = match (&link.error, link.since) {
            (Some(_), _) if link.off => {
                "switched off until a reload: the receiver answered 410 Gone".to_owned()
            }
            (Some(error), _) => format!("does not take messages since {since}: {error}"),
            (None, Some(_)) => format!("takes messages since {since}"),
            (None, None) => "nothing was sent yet".to_owned(),
        };
        ChannelHealth {
            kind: self.0.carrier.kind(),
            pushes: true,
            // Before anything was sent, nobody knows whether it would work.
            up: link.error.is_none(),
            since: link.since,
            waiting: errands.values().map(|errand| errand.queue.len()).sum(),
            detail,
        }
    }

    fn is_off(&self) -> bool {
        self.0.link.borrow().off
    }

    fn test(&self) -> Later<'_, Result<String, String>> {
        Box::pin(async {
            let parcel = self.0.carrier.test(self.0.clock.now());
            let response = self.0.send(&parcel).await.map_err(|e| e.to_string())?;
            let answered = format!("the receiver answered {}", response.status);
            match self.0.carrier.judge(&parcel, &response, self.0.clock.now()) {
                Heard::Taken | Heard::Answered(..) => Ok(answered),
                Heard::Failed(why) | Heard::Unsure(why) => Err(why),
                Heard::Gone => Err(answered),
            }
        })
    }

    fn silence(&self) {
        self.0.silent.set(true);
    }

    fn stop<'a>(&'a self, parting: Parting<'a>) -> Later<'a, ()> {
        Box::pin(async move {
            self.0.silent.set(true);
            self.0.stop.set();
            self.0.client.shutdown();
            match parting {
                // Whoever takes the name over goes on with the same questions.
                Parting::Shutdown | Parting::Replaced(_) => kept::save_now(&self.0).await,
                Parting::Removed => kept::forget(&self.0).await,
            }
            self.0.host.replace(None);
        })
    }
}

/// How long it is before this channel is asked, by what the rule says of whom to tell; None: never.
fn pause_before<C: Carrier>(pusher: &Pusher<C>, question: &Question, age: Duration) -> Option<Duration> {
    let host = pusher.host.borrow().clone();
    let Some(host) = host else { return Some(Duration::ZERO) };
    if host.told_first(question).is_some() {
        return Some(Duration::ZERO);
    }
    host.told_later(question).into_iter().map(|(after, _)| after.saturating_sub(age)).min()
}

/// Does something after `pause` with the question as it is then, unless it has ended.
fn while_open<C: Carrier>(
    pusher: &Rc<Pusher<C>>,
    id: RequestId,
    pause: Duration,
    act: impl FnOnce(&Rc<Pusher<C>>, &Question) + 'static,
) {
    let later = pusher.clone();
    pusher.spawn(async move {
        Timer::after(pause).await;
        let host = later.host.borrow().clone();
        let open = host.and_then(|host| host.questions().into_iter().find(|open| open.id == id));
        if let Some(open) = open {
            act(&later, &open);
        }
    });
}

fn is_told<C>(pusher: &Pusher<C>, id: RequestId) -> bool {
    pusher.errands.borrow().get(&id).is_some_and(Errand::is_told)
}

fn ask_anew<C: Carrier>(pusher: &Rc<Pusher<C>>, question: &Question) {
    let now = pusher.clock.now();
    let parcels = pusher.parcels(question, now);
    if let Some(errand) = pusher.errands.borrow_mut().get_mut(&question.id) {
        errand.ask_anew(shape::question(question), parcels, now);
    }
    kept::save_soon(pusher);
    work::go_on(pusher, question.id);
}

fn ask<C: Carrier>(pusher: &Rc<Pusher<C>>, question: &Question) {
    let now = pusher.clock.now();
    if pusher.link.borrow().off {
        return;
    }
    if pusher.errands.borrow().contains_key(&question.id) {
        // An earlier run may have told it here.
        return ask_anew(pusher, question);
    }
    let errand = Errand::asked(shape::question(question), pusher.parcels(question, now), now);
    pusher.errands.borrow_mut().insert(question.id, errand);
    work::go_on(pusher, question.id);
}

/// Queues what came of a question, for those who have been asked.
fn tell<C: Carrier>(
    pusher: &Rc<Pusher<C>>,
    id: RequestId,
    kind: NewsKind,
    shape: &Value,
    words: &str,
    runs: bool,
) {
    let now = pusher.clock.now();
    {
        let mut errands = pusher.errands.borrow_mut();
        let Some(errand) = errands.get_mut(&id) else { return };
        let parcel = pusher.carrier.ended(kind, &id.to_string(), shape, words, now);
        errand.queue.push_back((kind, now, parcel));
        errand.ended.get_or_insert(now);
        errand.runs = runs;
        errand.shape = shape.clone();
        errand.failures = 0;
        errands.retain(|_, errand| !errand.is_over(now));
        forget_surplus(&mut errands);
    }
    kept::save_soon(pusher);
    work::go_on(pusher, id);
}

/// A receiver that takes nothing does not make what is to be told to it grow: of what has ended, the oldest goes.
fn forget_surplus(errands: &mut BTreeMap<RequestId, Errand>) {
    let ended = errands.iter().filter_map(|(id, errand)| Some((errand.ended?, *id)));
    let (count, oldest) = ended.fold((0, None), |(count, oldest): (usize, Option<_>), one| {
        (count + 1, Some(oldest.map_or(one, |oldest| one.min(oldest))))
    });
    if let Some((_, id)) = oldest.filter(|_| count > MOST_ENDED) {
        errands.remove(&id);
    }
}
