//! `watch`: the open questions, then everything that happens to questions, one line each.

use serde_json::Value;
use smol::future;
use smol::io::AsyncReadExt as _;
use smol::net::unix::UnixStream;

use super::commands::Control;
use super::socket::write_line;
use crate::approval::local::WatchEvent;
use crate::model::Question;
use crate::surface::shapes;

/// Serves one watcher until it leaves or does not read.
pub(crate) async fn run(control: &Control, writer: &mut UnixStream) {
    // Watching begins before the open questions are listed, so that none falls in between.
    let events = control.local.watch();
    for question in control.gate.approvals.questions() {
        if write_line(writer, &shown(control, &question)).await.is_none() {
            return;
        }
    }
    let mut reader = writer.clone();
    let left = async {
        // Watchers send nothing; the read ends when they leave.
        let mut byte = [0];
        let _ = reader.read(&mut byte).await;
    };
    let report = async {
        while let Ok(event) = events.recv().await {
            let line = match &event {
                WatchEvent::Asked(question) | WatchEvent::Edited(question) => shown(control, question),
                WatchEvent::AskedAgain(question, times) => shapes::asked_again(question, *times),
                WatchEvent::Counted(question, tally) => shapes::counted(question, tally),
                WatchEvent::Settled(question, end) => shapes::settled(question, end),
                WatchEvent::Finished(question, outcome) => shapes::finished(question, outcome),
                WatchEvent::Notice(text) => shapes::notice(text),
            };
            if write_line(writer, &line).await.is_none() {
                return;
            }
        }
    };
    future::or(left, report).await;
}

fn shown(control: &Control, question: &Question) -> Value {
    let gate = &control.gate;
    shapes::question(question, gate.flights.times_asked(question), &gate.tally(question.id))
}
