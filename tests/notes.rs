//! The reason that follows a denial: the denial counts at once, the agent's answer waits for the note, and nothing
//! that happens in between changes the denial.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use agentpass::testing::base::ids::RequestId;
use agentpass::testing::config::Paths;
use agentpass::testing::daemon::{Gateway, Options};
use agentpass::testing::gate::{Executor, Gate};
use agentpass::testing::model::{AgentId, AnswerOutcome, Approval, Choice, Responder};
use harness::gateway::{TOKEN, cli};
use harness::{Agent, Folder, Setup, Upstream};
use serde_json::{Value, json};
use smol::{LocalExecutor, Timer};

fn anna() -> Responder {
    Responder::new("telegram", "1")
}

/// A folder with a configuration whose `approvals` section is `approvals`.
fn folder(approvals: &str, upstream: &Upstream) -> Folder {
    let (folder, setup) = (Folder::new(), Setup::default());
    let config = format!("{}approvals: {approvals}\n", setup.config.replace("{upstream}", &upstream.url()));
    for (name, text) in
        [("config.yaml", config), ("tools.yaml", setup.tools), ("permissions.yaml", setup.permissions)]
    {
        std::fs::write(folder.0.join(name), text).unwrap();
    }
    folder
}

/// Runs a gateway in this process for `story`, which has the gate in its hands.
fn with_gate<T>(folder: &Folder, story: impl AsyncFnOnce(Rc<Gate>, SocketAddr) -> T) -> T {
    let executor: Executor = Rc::new(LocalExecutor::new());
    let paths =
        Paths { config: folder.0.join("config.yaml"), permissions: folder.0.join("permissions.yaml") };
    smol::block_on(executor.clone().run(async {
        let gateway = Gateway::start(executor.clone(), Options { paths, insecure: true }).unwrap();
        let told = story(gateway.gate.clone(), gateway.addresses[0]).await;
        gateway.stop().await;
        told
    }))
}

/// An agent on a thread of its own that asks to say "hello"; its reply comes at the end.
fn ask(address: SocketAddr) -> smol::Task<Value> {
    smol::unblock(move || Agent::login(address, TOKEN).request("say", json!({"text": "hello"})))
}

async fn question(gate: &Gate) -> RequestId {
    loop {
        if let Some(question) = gate.approvals.questions().first() {
            return question.id;
        }
        Timer::after(Duration::from_millis(2)).await;
    }
}

async fn deny(gate: &Rc<Gate>, id: RequestId) {
    let answered = gate.answer(&id.to_string(), Choice::DenyNoteFollows, anna()).await.unwrap();
    assert_eq!(answered.outcome, AnswerOutcome::Resolved);
}

async fn waiting(gate: &Gate) -> usize {
    gate.inbox.pending_results(&AgentId::configured("default")).await.unwrap().len()
}

fn row(folder: &Folder, id: RequestId) -> Value {
    let output = cli(folder, &["audit", "show", &id.to_string(), "--json"], "");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_note_that_follows_reaches_the_agent_and_the_record() {
    let upstream = Upstream::start();
    let folder = folder("{note_seconds: 30}", &upstream);
    let id = with_gate(&folder, async |gate, address| {
        let reply = ask(address);
        let id = question(&gate).await;
        assert!(!gate.approvals.add_note(id, Some("too early".into()), anna()).await.unwrap());
        deny(&gate, id).await;
        let left = gate.approvals.note_window(id);
        assert!(left > Duration::from_secs(20) && left <= Duration::from_secs(30), "{left:?}");
        // It is decided: nobody can approve it any more, and the agent hears nothing yet.
        let late = gate.answer(&id.to_string(), Choice::Approve(Approval::once()), anna()).await.unwrap();
        assert_eq!(late.outcome, AnswerOutcome::AlreadyResolved);
        assert_eq!((gate.approvals.questions().len(), waiting(&gate).await), (0, 0));
        let ben = Responder::new("telegram", "2");
        assert!(gate.approvals.add_note(id, Some(" guests are asleep\n".into()), ben).await.unwrap());
        assert!(!gate.approvals.add_note(id, Some("another".into()), anna()).await.unwrap());
        let reply = reply.await;
        assert_eq!(reply["error"]["data"]["note"], "guests are asleep", "{reply}");
        assert_eq!(gate.approvals.note_window(id), Duration::ZERO);
        id
    });
    let row = row(&folder, id);
    assert_eq!((&row["note"], &row["resolved_by"]), (&json!("guests are asleep"), &json!("telegram:1")));
    assert_eq!(row["events"][3]["body"]["by"], "telegram:2");
    assert!(cli(&folder, &["audit", "verify"], "").status.success());
    assert!(upstream.seen().is_empty());
}

#[test]
fn no_reason_and_no_time_let_the_denial_through() {
    let upstream = Upstream::start();
    for (approvals, no_reason) in
        [("{note_seconds: 30}", true), ("{note_seconds: 1}", false), ("{note_seconds: 0}", false)]
    {
        let folder = folder(approvals, &upstream);
        with_gate(&folder, async |gate, address| {
            let reply = ask(address);
            let id = question(&gate).await;
            deny(&gate, id).await;
            if no_reason {
                assert!(gate.approvals.add_note(id, None, anna()).await.unwrap());
            }
            let reply = reply.await;
            assert_eq!(reply["error"]["data"]["reason"], "denied_by_user", "{reply}");
            assert_eq!(reply["error"]["data"].get("note"), None, "{reply}");
            assert!(!gate.approvals.add_note(id, Some("too late".into()), anna()).await.unwrap());
        });
    }
}

#[test]
fn the_window_ends_with_the_question() {
    let upstream = Upstream::start();
    let folder = folder("{note_seconds: 600}", &upstream);
    let config = std::fs::read_to_string(folder.0.join("config.yaml")).unwrap();
    std::fs::write(
        folder.0.join("config.yaml"),
        config.replace("approval_timeout: 60", "approval_timeout: 5"),
    )
    .unwrap();
    with_gate(&folder, async |gate, address| {
        let reply = ask(address);
        let id = question(&gate).await;
        deny(&gate, id).await;
        assert!(gate.approvals.note_window(id) <= Duration::from_secs(5));
        assert_eq!(reply.await["error"]["data"]["reason"], "denied_by_user");
    });
}

#[test]
fn a_stop_in_the_window_leaves_the_denial_in_the_inbox() {
    let upstream = Upstream::start();
    let folder = folder("{note_seconds: 600}", &upstream);
    let id = with_gate(&folder, async |gate, address| {
        ask(address).detach();
        let id = question(&gate).await;
        deny(&gate, id).await;
        id
    });
    with_gate(&folder, async |gate, _| {
        assert_eq!(gate.approvals.questions().len(), 0);
        assert!(!gate.approvals.add_note(id, Some("too late".into()), anna()).await.unwrap());
        let results = gate.inbox.pending_results(&AgentId::configured("default")).await.unwrap();
        assert_eq!(results[0].request_id, id);
        assert!(results[0].result.contains("denied_by_user") && !results[0].result.contains("note"));
    });
    assert!(cli(&folder, &["audit", "verify"], "").status.success());
    assert!(upstream.seen().is_empty());
}
