//! `/approvals/feed`: what happens to questions, as server-sent events, from the same place that `agentpass approvals
//! --watch` hears it. Each event is one line of JSON; the texts in it are finished markup. Pages that show no questions
//! hear with `?stops` what is stopped, and nothing else.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use smol::channel::{Receiver, Sender, bounded};
use smol::{Timer, future};

use super::card;
use crate::approval::local::WatchEvent;
use crate::model::Question;
use crate::net::front::{WebAnswer, WebRequest};
use crate::surface::admin::page;
use crate::surface::admin::sessions::SignedIn;
use crate::surface::admin::site::Admin;

/// Feeds at once. Further pages work without one.
const MAX_FEEDS: usize = 32;
/// How often something is sent, so that both sides notice when the other is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Pieces that may wait for the browser to read them. A browser that is further behind begins anew.
const BACKLOG: usize = 8;

/// Feeds at once with `?stops` alone: there is room left for pages with questions.
const MAX_STOPS: usize = MAX_FEEDS / 2;
/// A stop counts before it is recorded; how long pages wait for that before they say that it is not.
const RECORDED_SOON: Duration = Duration::from_millis(250);

/// Begins a feed: all open questions first, then what happens, until the session ends.
pub(crate) fn feed(admin: &Rc<Admin>, session: &SignedIn, request: &WebRequest) -> WebAnswer {
    let only_stops = request.query == "stops";
    let Some(slot) = admin.feeds.take(if only_stops { MAX_STOPS } else { MAX_FEEDS }) else {
        return page::text(503, "too many open pages");
    };
    // Listening begins before the open questions are listed, so that none falls in between.
    let events = admin.local.watch();
    let (send, pieces) = bounded(BACKLOG);
    let gone = send.clone();
    let (admin, session) = (admin.clone(), session.clone());
    let feed = Feed { admin: admin.clone(), session, only_stops, stopped: RefCell::default(), send };
    let ended = feed.session.ended.clone();
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
    only_stops: bool,
    /// What the page says of stops, as it was told last.
    stopped: RefCell<String>,
    send: Sender<Vec<u8>>,
}

impl Feed {
    /// None when the browser has gone or the session has ended.
    async fn run(&self, events: Receiver<WatchEvent>) -> Option<()> {
        let gate = &self.admin.gate;
        self.send_stopped(true).await?;
        if !self.only_stops {
            self.send_open().await?;
        }
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
            self.send_stopped(false).await?;
        }
    }

    async fn send_open(&self) -> Option<()> {
        let open = self.admin.gate.approvals.questions();
        for question in &open {
            self.send_event("card", &self.card(question)).await?;
        }
        let open: Vec<_> = open.iter().map(|question| question.id.to_string()).collect();
        self.send_event("all", &json!(open)).await
    }

    /// The line on every page that says what is stopped, if it is news or `always`.
    async fn send_stopped(&self, always: bool) -> Option<()> {
        let gate = &self.admin.gate;
        let line = || page::stopped(&self.session.viewer.root, gate.stopped_line().as_deref()).into_string();
        if !always && *self.stopped.borrow() == line() {
            return Some(());
        }
        if gate.stops.all().iter().any(|read| !read.recorded) {
            Timer::after(RECORDED_SOON).await;
        }
        let shown = line();
        self.stopped.replace(shown.clone());
        self.send_event("stopped", &json!({"line": shown})).await
    }

    async fn report(&self, event: &WatchEvent) -> Option<()> {
        let viewer = &self.session.viewer;
        match event {
            // What is told of stops is looked up after each event: whoever stops or resumes calls has it announced.
            _ if self.only_stops => Some(()),
            WatchEvent::Asked(question) => self.send_event("card", &self.card(question)).await,
            WatchEvent::Edited(question) | WatchEvent::Counted(question, _) => {
                self.send_event("card", &self.card(question)).await
            }
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
