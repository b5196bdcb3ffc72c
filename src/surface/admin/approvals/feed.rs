//! `/approvals/feed`: what happens to questions, as server-sent events, from the same place that `agentpass approvals
//! --watch` hears it. Each event is one line of JSON; the texts in it are finished markup.

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use smol::channel::{Receiver, Sender, bounded};
use smol::{Timer, future};

use super::card;
use crate::approval::local::WatchEvent;
use crate::net::front::{WebAnswer, WebBody};
use crate::surface::admin::page::{self, TEXT};
use crate::surface::admin::sessions::SignedIn;
use crate::surface::admin::site::Admin;

/// Feeds at once. Pages beyond that work without.
const MAX_FEEDS: usize = 32;
/// How often something is said, so that both sides notice when the other is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Pieces that may wait for the browser to read. Whoever is further behind begins anew.
const BACKLOG: usize = 8;

/// Begins a feed: all open questions first, then what happens, until the session ends.
pub(crate) fn feed(admin: &Rc<Admin>, session: &SignedIn) -> WebAnswer {
    let Some(place) = admin.feeds.take(MAX_FEEDS) else {
        return page::data(503, TEXT, "too many open pages\n");
    };
    // Listening begins before the open questions are listed, so that none falls in between.
    let events = admin.local.watch();
    let (send, pieces) = bounded(BACKLOG);
    let gone = send.clone();
    let (teller, ended) =
        (Teller { admin: admin.clone(), session: session.clone(), send }, session.ended.clone());
    let tell = async move {
        let _place = place;
        let over = future::or(ended.wait(), gone.closed());
        let told = async { teller.run(events).await.unwrap_or_default() };
        future::or(told, over).await;
    };
    admin.executor.spawn(tell).detach();
    let headers =
        vec![("content-type", "text/event-stream".to_owned()), ("x-accel-buffering", "no".to_owned())];
    page::guarded(WebAnswer { status: 200, headers, body: WebBody::Feed(pieces) })
}

struct Teller {
    admin: Rc<Admin>,
    session: SignedIn,
    send: Sender<Vec<u8>>,
}

impl Teller {
    /// None when the browser has gone or the session has ended.
    async fn run(&self, events: Receiver<WatchEvent>) -> Option<()> {
        let gate = &self.admin.gate;
        for question in gate.approvals.questions() {
            self.say("card", &self.card(&question)).await?;
        }
        let open: Vec<_> =
            gate.approvals.questions().iter().map(|question| question.id.to_string()).collect();
        self.say("all", &json!(open)).await?;
        loop {
            let heard = async { Some(events.recv().await.ok()) };
            let beat = async {
                Timer::after(HEARTBEAT).await;
                None
            };
            let next = future::or(heard, beat).await;
            if !self.admin.sessions.lives(&self.session, gate.clock().now()) {
                return None;
            }
            match next {
                Some(event) => self.tell(&event?).await?,
                None => self.send.send(b": still here\n\n".to_vec()).await.ok()?,
            }
        }
    }

    async fn tell(&self, event: &WatchEvent) -> Option<()> {
        let viewer = &self.session.viewer;
        match event {
            WatchEvent::Asked(question) => self.say("card", &self.card(question)).await,
            WatchEvent::AskedAgain(question, times) => {
                self.say("again", &json!({"id": question.id.to_string(), "times": times})).await
            }
            WatchEvent::Settled(question, settlement) => {
                let end = card::ended(viewer, question.id, &card::settled_text(settlement, &viewer.by))
                    .into_string();
                let word = settlement.as_str();
                self.say("settled", &json!({"id": question.id.to_string(), "how": word, "end": end})).await
            }
            WatchEvent::Finished(question, outcome) => {
                let text = card::finished_text(outcome);
                self.say("finished", &json!({"id": question.id.to_string(), "text": text})).await
            }
        }
    }

    fn card(&self, question: &crate::model::Question) -> Value {
        let gate = &self.admin.gate;
        let (left, times) = (gate.approvals.time_left(question.id), gate.flights.times_asked(question));
        let card = card::open(&self.session.viewer, question, left, times).into_string();
        json!({"id": question.id.to_string(), "card": card})
    }

    async fn say(&self, event: &str, data: &Value) -> Option<()> {
        // JSON has no line breaks of its own, and spells out those in its texts.
        self.send.send(format!("event: {event}\ndata: {data}\n\n").into_bytes()).await.ok()
    }
}
