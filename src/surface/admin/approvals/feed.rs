//! `/approvals/feed`: what happens to questions, as server-sent events, from the same place that `agentpass approvals
//! --watch` hears it. Each event is one line of JSON; the texts in it are finished markup.

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use smol::channel::{Receiver, Sender, bounded};
use smol::{Timer, future};

use super::card;
use crate::approval::local::WatchEvent;
use crate::model::Question;
use crate::net::front::WebAnswer;
use crate::surface::admin::page;
use crate::surface::admin::sessions::SignedIn;
use crate::surface::admin::site::Admin;

/// Feeds at once. Further pages work without one.
const MAX_FEEDS: usize = 32;
/// How often something is sent, so that both sides notice when the other is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Pieces that may wait for the browser to read them. A browser that is further behind begins anew.
const BACKLOG: usize = 8;

/// Begins a feed: all open questions first, then what happens, until the session ends.
pub(crate) fn feed(admin: &Rc<Admin>, session: &SignedIn) -> WebAnswer {
    let Some(slot) = admin.feeds.take(MAX_FEEDS) else {
        return page::text(503, "too many open pages");
    };
    // Listening begins before the open questions are listed, so that none falls in between.
    let events = admin.local.watch();
    let (send, pieces) = bounded(BACKLOG);
    let gone = send.clone();
    let (feed, ended) =
        (Feed { admin: admin.clone(), session: session.clone(), send }, session.ended.clone());
    let task = async move {
        let _slot = slot;
        let over = future::or(ended.wait(), gone.closed());
        let run = async { feed.run(events).await.unwrap_or_default() };
        future::or(run, over).await;
    };
    admin.executor.spawn(task).detach();
    let headers =
        vec![("content-type", "text/event-stream".to_owned()), ("x-accel-buffering", "no".to_owned())];
    page::guarded(WebAnswer::feed(headers, pieces))
}

struct Feed {
    admin: Rc<Admin>,
    session: SignedIn,
    send: Sender<Vec<u8>>,
}

impl Feed {
    /// None when the browser has gone or the session has ended.
    async fn run(&self, events: Receiver<WatchEvent>) -> Option<()> {
        let gate = &self.admin.gate;
        for question in gate.approvals.questions() {
            self.send_event("card", &self.card(&question)).await?;
        }
        let open: Vec<_> =
            gate.approvals.questions().iter().map(|question| question.id.to_string()).collect();
        self.send_event("all", &json!(open)).await?;
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
                Some(event) => self.report(&event?).await?,
                None => self.send.send(b": still here\n\n".to_vec()).await.ok()?,
            }
        }
    }

    async fn report(&self, event: &WatchEvent) -> Option<()> {
        let viewer = &self.session.viewer;
        match event {
            WatchEvent::Asked(question) => self.send_event("card", &self.card(question)).await,
            WatchEvent::Edited(question) => self.send_event("edited", &self.card(question)).await,
            WatchEvent::Counted(question, _) => self.send_event("card", &self.card(question)).await,
            WatchEvent::AskedAgain(question, times) => {
                self.send_event("again", &json!({"id": question.id.to_string(), "times": times})).await
            }
            WatchEvent::Settled(question, end) => {
                let (id, text) = (question.id, card::end_text(end, &viewer.by));
                let shown = card::ended(viewer, id, &text).into_string();
                self.send_event("settled", &json!({"id": id.to_string(), "how": end.as_str(), "end": shown}))
                    .await
            }
            WatchEvent::Notice(text) => self.send_event("notice", &json!({"text": **text})).await,
            WatchEvent::Finished(question, outcome) => {
                let text = card::finished_text(outcome);
                self.send_event("finished", &json!({"id": question.id.to_string(), "text": text})).await
            }
        }
    }

    fn card(&self, question: &Question) -> Value {
        let card = card::open(&self.admin.gate, &self.session.viewer, question).into_string();
        json!({"id": question.id.to_string(), "card": card})
    }

    async fn send_event(&self, event: &str, data: &Value) -> Option<()> {
        // JSON has no line breaks of its own, and spells out those in its texts.
        self.send.send(format!("event: {event}\ndata: {data}\n\n").into_bytes()).await.ok()
    }
}
