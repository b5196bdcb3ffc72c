//! `GET /approvals/api/events`: what happens to questions, as server-sent events `asked`, `settled` and `finished`. It
//! begins with an `asked` for each open question.

use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use smol::channel::{Receiver, Sender, bounded};
use smol::{Timer, future};

use super::client::{Client, open};
use super::pending::MAX_LISTENERS;
use super::reply::failure;
use crate::approval::local::WatchEvent;
use crate::approval::shape;
use crate::net::front::WebAnswer;
use crate::surface::admin::page;
use crate::surface::admin::site::Admin;

/// How often something is sent, so that both sides notice when the other is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Pieces that may wait for the program to read them. One that is further behind begins anew.
const BACKLOG: usize = 8;

pub(super) fn answer(admin: &Rc<Admin>, client: Client) -> WebAnswer {
    let Some(slot) = admin.listeners.take(MAX_LISTENERS) else {
        return failure(503, "too many programs wait");
    };
    // Listening begins before the open questions are listed, so that none falls in between.
    let news = admin.local.watch();
    let (send, pieces) = bounded(BACKLOG);
    let gone = send.clone();
    let stream = Stream { admin: admin.clone(), client, send };
    let task = async move {
        let _slot = slot;
        let run = async { stream.run(news).await.unwrap_or_default() };
        future::or(run, gone.closed()).await;
    };
    admin.executor.spawn(task).detach();
    let headers =
        vec![("content-type", "text/event-stream".to_owned()), ("x-accel-buffering", "no".to_owned())];
    page::guarded(WebAnswer::feed(headers, pieces))
}

struct Stream {
    admin: Rc<Admin>,
    client: Client,
    send: Sender<Vec<u8>>,
}

impl Stream {
    /// None when the program has gone or its token counts no more.
    async fn run(&self, news: Receiver<WatchEvent>) -> Option<()> {
        for question in open(&self.admin) {
            self.send("asked", &question).await?;
        }
        loop {
            let heard = async { Some(news.recv().await.ok()) };
            let beat = async {
                Timer::after(HEARTBEAT).await;
                None
            };
            let next = future::or(heard, beat).await;
            if !self.client.is_known(&self.admin.gate.setup()) {
                return None;
            }
            match next {
                Some(event) => self.report(&event?).await?,
                None => self.send.send(b": still here\n\n".to_vec()).await.ok()?,
            }
        }
    }

    async fn report(&self, event: &WatchEvent) -> Option<()> {
        match event {
            // A question whose call was changed is asked again, with another digest.
            WatchEvent::Asked(question) | WatchEvent::Edited(question) => {
                self.send("asked", &shape::question(question)).await
            }
            WatchEvent::Settled(question, end) => {
                self.send("settled", &shape::ended(shape::question(question), Some(end), None)).await
            }
            WatchEvent::Finished(question, outcome) => {
                self.send("finished", &shape::ended(shape::question(question), None, Some(outcome))).await
            }
            WatchEvent::AskedAgain(..) | WatchEvent::Counted(..) | WatchEvent::Notice(_) => Some(()),
        }
    }

    async fn send(&self, event: &str, data: &Value) -> Option<()> {
        // JSON has no line breaks of its own, and spells out those in its texts.
        self.send.send(format!("event: {event}\ndata: {data}\n\n").into_bytes()).await.ok()
    }
}
