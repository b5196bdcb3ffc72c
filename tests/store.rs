//! The record from the outside: the life of a call, crashes, refusals to open, and every way of falsifying it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead as _, BufReader, Cursor};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use agentpass::testing::base::clock::{Clock, Timestamp};
use agentpass::testing::base::digest::Digest;
use agentpass::testing::base::ids::RequestId;
use agentpass::testing::base::template::Template;
use agentpass::testing::model::*;
use agentpass::testing::store::reader::{
    Anchor, Anchored, FaultKind, Filter, Lookup, Reader, Verification, verify_export,
};
use agentpass::testing::store::*;
use rusqlite::Connection;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);
const SECRET: &str = "open-sesame-4711";

fn at(seconds: i64) -> Timestamp {
    Timestamp(NOW.0 + seconds * 1000)
}

struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        Dir(std::env::temp_dir().join(format!("agentpass-record-{}", RequestId::random())))
    }

    fn db(&self) -> PathBuf {
        self.0.join("agentpass.db")
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        self.0.join(format!("agentpass.db.{suffix}"))
    }

    fn options(&self) -> StoreOptions {
        StoreOptions {
            path: self.db(),
            sync_all: false,
            retain_days: 365,
            max_mb: 512,
            keep_results: DAY * 7,
            keep_keys: DAY,
        }
    }

    fn open(&self) -> (Store, Recovered) {
        Store::open(self.options(), &Clock::manual(NOW)).unwrap()
    }

    /// Runs `work` on a freshly opened store and closes it in order.
    fn with<T>(&self, work: impl AsyncFnOnce(&Store) -> T) -> T {
        let (store, _) = self.open();
        smol::block_on(async {
            let answer = work(&store).await;
            store.close().await;
            answer
        })
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.db()).unwrap()
    }

    fn verify(&self) -> Verification {
        self.reader().verify().unwrap()
    }

    fn wrong(&self) -> FaultKind {
        self.verify().fault.expect("a fault").wrong
    }

    fn falsify(&self, sql: &str) {
        Connection::open(self.db()).unwrap().execute_batch(sql).unwrap();
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn tool() -> Arc<Tool> {
    let arg = |secret| ArgSpec { secret, free_text: true, ..ArgSpec::default() };
    let request = RequestSpec::new(Method::Post, Template::parse("/open").unwrap());
    Arc::new(Tool {
        service: "home".into(),
        signature: Some(Template::parse("{door}").unwrap()),
        args: BTreeMap::from([("door".into(), ArgSpec::default()), ("pin".into(), arg(true))]),
        digest: Digest::sha256(b"tool"),
        ..Tool::new("door_open", request)
    })
}

fn call(agent: &str, door: &str) -> Arc<Call> {
    let Value::Object(args) = json!({"door": door, "pin": SECRET}) else { unreachable!() };
    Arc::new(Call::new(AgentId::configured(agent), tool(), args).unwrap())
}

fn new_call(door: &str, action: Action) -> NewCall {
    let rule = RuleRef {
        list: RuleList::Rules,
        index: 3,
        pattern: "door_*".into(),
        action,
        description: Some("doors".into()),
        file: "permissions.yaml".into(),
    };
    NewCall {
        id: RequestId::random(),
        at: NOW,
        call: call("pi", door),
        session: Some("s1".into()),
        reason: Some("guests\nare \u{1b}[31mhere\u{202e}".into()),
        key: None,
        decision: Verdict::by_rule(action, Some(Arc::new(rule))),
    }
}

fn asked(door: &str) -> NewCall {
    new_call(door, Action::Ask)
}

fn allowed(door: &str) -> NewCall {
    new_call(door, Action::Allow)
}

fn approved() -> QuestionEnd {
    QuestionEnd::Approved { by: Responder::new("local", "root") }
}

/// Records a call as its decision says: claimed, or as an open question.
async fn try_record(store: &Store, new: NewCall) -> Result<(), StoreError> {
    match new.decision.decision {
        Action::Allow => store.record_claimed(new, true).await.map(drop),
        Action::Ask | Action::Deny => store.record(new, Stage::Asked { expires: at(900) }, true).await,
    }
}

async fn record(store: &Store, new: NewCall) -> RequestId {
    let id = new.id;
    try_record(store, new).await.unwrap();
    id
}

async fn record_ended(store: &Store, new: NewCall, stage: Stage) -> RequestId {
    let id = new.id;
    store.record(new, stage, true).await.unwrap();
    id
}

/// Whether this approved call could be claimed.
async fn claimed(store: &Store, id: RequestId, door: &str, at: Timestamp) -> bool {
    store.claim(id, call("pi", door), vec![], at, true).await.unwrap().is_some()
}

/// One executed call: two events.
async fn execute(store: &Store, door: &str) -> RequestId {
    let id = record(store, allowed(door)).await;
    store.settle(id, &Outcome::Executed(json!({"door": door}).into()), at(1)).await.unwrap();
    id
}

fn row(dir: &Dir, id: RequestId) -> Value {
    match dir.reader().show(&id.to_string()).unwrap() {
        Lookup::Found(shown) => shown.row.to_json(),
        other => panic!("{other:?}"),
    }
}

// --- the life of a call -------------------------------------------------------------------------------------------

#[test]
fn an_approved_call_leaves_its_whole_story() {
    let dir = Dir::new();
    let id = dir.with(async |store| {
        let id = record(store, asked("front")).await;
        assert!(store.answer(id, &approved(), None, at(5), true).await.unwrap());
        assert!(!store.answer(id, &approved(), None, at(6), true).await.unwrap(), "one answer counts");
        assert!(claimed(store, id, "front", at(7)).await);
        store.settle(id, &Outcome::Executed(json!({"ok": true}).into()), at(8)).await.unwrap();
        assert_eq!(store.settle(id, &Outcome::TimedOut, at(9)).await, Err(StoreError::NotOpen));
        assert!(
            !store
                .answer(id, &QuestionEnd::Void(Void::ToolChanged), Some(&Outcome::ApprovalVoid), at(9), true)
                .await
                .unwrap()
        );
        id
    });
    let row = row(&dir, id);
    let expected = json!({
        "request_id": id.to_string(), "timestamp": NOW.to_string(), "agent_id": "pi", "session_id": "s1",
        "tool_name": "door_open", "args": {"door": "front", "pin": "•••"}, "signature": "door_open(front)",
        "decision": "ask", "resolution": "approved", "resolved_by": "local:root",
        "resolved_at": at(5).to_string(), "outcome": "executed", "execution_result": "{\"ok\":true}",
        "finished_at": at(8).to_string(), "duration_ms": 8000, "note": null, "note_by": null,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&row[name], value, "{name}");
    }
    assert_eq!(row["rule"]["index"], 3);
    let Lookup::Found(shown) = dir.reader().show(&id.to_string()[..13]).unwrap() else { panic!() };
    let kinds: Vec<_> = shown.events.iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["requested", "answered", "executing", "finished"]);
    assert_eq!(dir.verify().fault, None);
}

#[test]
fn answers_that_end_a_call_end_it_at_once() {
    let dir = Dir::new();
    let by = || Responder::new("telegram", "7");
    let cases = [
        (
            QuestionEnd::Denied { by: by(), note: Some("not now".into()) },
            Outcome::DeniedByUser { note: Some("not now".into()) },
        ),
        (QuestionEnd::TimedOut, Outcome::TimedOut),
        (QuestionEnd::Withdrawn, Outcome::Withdrawn),
        (QuestionEnd::Void(Void::ToolChanged), Outcome::ApprovalVoid),
    ];
    for (settlement, outcome) in cases {
        let id = dir.with(async |store| {
            let id = record(store, asked("front")).await;
            assert!(store.answer(id, &settlement, Some(&outcome), at(5), true).await.unwrap());
            assert!(!claimed(store, id, "front", at(6)).await);
            id
        });
        let row = row(&dir, id);
        assert_eq!(row["resolution"], settlement.as_str());
        assert_eq!(row["outcome"], outcome.as_str());
        assert_eq!(
            row["note"].as_str(),
            matches!(settlement, QuestionEnd::Denied { .. }).then_some("not now")
        );
    }
    assert_eq!(dir.verify().fault, None);
}

#[test]
fn a_note_may_follow_a_denial_once() {
    let dir = Dir::new();
    let by = || Responder::new("telegram", "7");
    let denied = |note: Option<&str>| QuestionEnd::Denied { by: by(), note: note.map(str::to_owned) };
    let outcome = |note: Option<&str>| Outcome::DeniedByUser { note: note.map(str::to_owned) };
    let id = dir.with(async |store| {
        let id = record(store, asked("front")).await;
        let add = async |id, note: &str| store.add_note(id, note.into(), by(), at(7), true).await.unwrap();
        assert!(!add(id, "too early").await);
        assert!(store.answer(id, &denied(None), Some(&outcome(None)), at(5), true).await.unwrap());
        assert!(add(id, "guests are asleep").await);
        assert!(!add(id, "another").await);
        let waiting =
            &store.pending_results(&AgentId::configured("pi"), HashSet::new(), NOW, 10).await.unwrap()[0];
        let result: Value = serde_json::from_str(&waiting.result).unwrap();
        assert_eq!(
            (&result["status"], &result["data"]["note"]),
            (&json!("denied"), &json!("guests are asleep"))
        );

        let with_note = record(store, asked("back")).await;
        let (settlement, end) = (denied(Some("no")), outcome(Some("no")));
        assert!(store.answer(with_note, &settlement, Some(&end), at(5), true).await.unwrap());
        assert!(!add(with_note, "another").await);
        let late = record(store, asked("side")).await;
        assert!(
            store.answer(late, &QuestionEnd::TimedOut, Some(&Outcome::TimedOut), at(5), true).await.unwrap()
        );
        assert!(!add(late, "nobody was asked").await);
        id
    });
    assert_eq!(
        (&row(&dir, id)["note"], &row(&dir, id)["note_by"]),
        (&json!("guests are asleep"), &json!("telegram:7"))
    );
    let Lookup::Found(shown) = dir.reader().show(&id.to_string()).unwrap() else { panic!() };
    let kinds: Vec<_> = shown.events.iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["requested", "answered", "finished", "noted"]);
    assert_eq!(shown.events[3]["body"], json!({"by": "telegram:7", "note": "guests are asleep"}));
    let found = dir.reader().list(&Filter { text: Some("asleep".into()), ..Filter::default() }).unwrap();
    assert_eq!(found.iter().map(|r| r.request_id.clone()).collect::<Vec<_>>(), [id.to_string()]);
    assert_eq!(dir.verify().fault, None);
    dir.falsify("UPDATE events SET body = replace(body, 'guests', 'ghosts') WHERE kind = 'noted'");
    assert!(dir.verify().fault.is_some());
}

#[test]
fn a_denial_without_a_question_is_one_transaction_and_nobodys_opinion() {
    let dir = Dir::new();
    let id = dir.with(async |store| {
        let stage = Stage::Denied { by: Responder::cool_down(), note: "not asked".into() };
        let id = record_ended(store, new_call("front", Action::Ask), stage).await;
        assert!(!claimed(store, id, "front", at(1)).await);
        id
    });
    let row = row(&dir, id);
    for (name, value) in [
        ("decision", "ask"),
        ("resolution", "denied"),
        ("resolved_by", "cool_down"),
        ("note", "not asked"),
        ("outcome", "denied"),
    ] {
        assert_eq!(row[name], value, "{name}");
    }
    assert_eq!(dir.verify().fault, None);
    assert_eq!(dir.reader().stats(None, None, NOW).unwrap().approval_rate, None);
}

#[test]
fn an_approval_can_become_void_until_it_is_claimed() {
    let dir = Dir::new();
    dir.with(async |store| {
        let id = record(store, asked("front")).await;
        assert!(store.answer(id, &approved(), None, at(1), true).await.unwrap());
        let late = QuestionEnd::Denied { by: Responder::new("local", "eve"), note: None };
        let denied = Outcome::DeniedByUser { note: None };
        assert!(!store.answer(id, &late, Some(&denied), at(2), true).await.unwrap());
        assert!(
            store
                .answer(id, &QuestionEnd::Void(Void::ToolChanged), Some(&Outcome::ApprovalVoid), at(3), true)
                .await
                .unwrap()
        );
        assert!(!claimed(store, id, "front", at(4)).await);
    });
    assert_eq!(dir.verify().fault, None);
}

#[test]
fn a_claim_is_for_the_call_that_was_recorded() {
    let dir = Dir::new();
    dir.with(async |store| {
        let new = allowed("front");
        let claim = store.record_claimed(new.clone(), true).await.unwrap();
        assert_eq!((claim.id(), claim.approved_by(), claim.at()), (new.id, None, NOW));
        assert_eq!(claim.call().digest(), new.call.digest());

        let id = record(store, asked("front")).await;
        assert!(store.answer(id, &approved(), None, at(1), true).await.unwrap());
        assert!(!claimed(store, id, "back", at(2)).await, "somebody approved another call");
        let claim = store.claim(id, call("pi", "front"), vec![], at(3), true).await.unwrap().unwrap();
        let by = Responder::new("local", "root");
        assert_eq!((claim.id(), claim.approved_by(), claim.at()), (id, Some(&by), at(3)));
    });
}

#[test]
fn a_call_is_claimed_exactly_once() {
    let dir = Dir::new();
    let (store, _) = dir.open();
    let executor = smol::LocalExecutor::new();
    let id = smol::block_on(executor.run(async {
        let id = record(&store, asked("front")).await;
        assert!(!claimed(&store, id, "front", at(1)).await, "not before it is approved");
        assert!(store.answer(id, &approved(), None, at(1), true).await.unwrap());
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let store = store.clone();
                executor.spawn(async move { claimed(&store, id, "front", at(2)).await })
            })
            .collect();
        let mut won = 0;
        for task in tasks {
            won += usize::from(task.await);
        }
        assert_eq!(won, 1);
        store.close().await;
        id
    }));
    let (store, recovered) = dir.open();
    assert_eq!(recovered.unknown, 1);
    assert!(!smol::block_on(claimed(&store, id, "front", at(3))), "not after a restart either");
    smol::block_on(store.close());
}

/// Whether a yes counted, and whether the call was claimed with it.
async fn yes_and_claim(store: &Store, id: RequestId, door: &str) -> (bool, bool) {
    let yes = (id, Responder::new("local", "root"));
    let written = store.approve_and_claim(yes, call("pi", door), vec![], at(2), true).await.unwrap();
    (written.0, written.1.is_some())
}

#[test]
fn a_yes_and_its_claim_are_one_step() {
    let dir = Dir::new();
    let (store, _) = dir.open();
    let (both, other) = smol::block_on(async {
        let (both, other, denied) = (
            record(&store, asked("front")).await,
            record(&store, asked("back")).await,
            record(&store, asked("side")).await,
        );
        assert_eq!(yes_and_claim(&store, both, "front").await, (true, true));
        assert_eq!(yes_and_claim(&store, both, "front").await, (false, false), "neither counts twice");
        assert!(!claimed(&store, both, "front", at(3)).await);
        let no = QuestionEnd::Denied { by: Responder::new("local", "root"), note: None };
        let told = Outcome::DeniedByUser { note: None };
        assert!(!store.answer(both, &no, Some(&told), at(3), true).await.unwrap(), "it is under way");
        assert!(store.answer(denied, &no, Some(&told), at(3), true).await.unwrap());
        assert_eq!(yes_and_claim(&store, denied, "side").await, (false, false), "it was denied");
        assert_eq!(yes_and_claim(&store, other, "front").await, (true, false), "not what was asked about");
        assert!(claimed(&store, other, "back", at(4)).await);
        (both, other)
    });
    let copy = copied(&dir);
    assert_eq!((dir.verify().fault, copy.verify().fault), (None, None));
    let (again, recovered) = copy.open();
    assert_eq!((recovered.unknown, recovered.open.len()), (2, 0), "neither runs again");
    smol::block_on(again.close());
    smol::block_on(async {
        for id in [both, other] {
            store.settle(id, &Outcome::Executed(json!(1).into()), at(5)).await.unwrap();
        }
        store.close().await;
    });
    assert_eq!(dir.verify().fault, None);
}

#[test]
fn denials_and_refusals_are_recorded_too() {
    let dir = Dir::new();
    let (denied, refused) = dir.with(async |store| {
        let outcome = Outcome::DeniedByPolicy(Denial::by_rule(Some("doors".into())));
        let denied = record_ended(store, new_call("front", Action::Deny), Stage::Settled(outcome)).await;
        let refusal = RefusedRequest {
            id: RequestId::random(),
            at: NOW,
            agent: AgentId::configured("pi"),
            tool: format!("no\n\u{1b}[2J\0{}", "x".repeat(100_000)),
            session: None,
            outcome: Outcome::UnknownTool { tool: "no".into() },
        };
        let refused = refusal.id;
        store.refuse(refusal).await.unwrap();
        (denied, refused)
    });
    let denied = row(&dir, denied);
    assert_eq!(denied["decision"], "deny");
    assert_eq!(denied["outcome_reason"], "denied_by_policy");
    let refused = row(&dir, refused);
    assert_eq!((&refused["outcome"], &refused["args"]), (&json!("refused"), &json!(null)));
    assert!(refused["tool_name"].as_str().unwrap().len() < 200);
    assert_eq!(dir.verify().fault, None);
}

// --- inbox and keys -----------------------------------------------------------------------------------------------

#[test]
fn a_result_waits_until_its_agent_has_it() {
    let dir = Dir::new();
    let pi = AgentId::configured("pi");
    let id = dir.with(async |store| execute(store, "front").await);
    dir.with(async |store| {
        let results = store.pending_results(&pi, HashSet::new(), NOW, 10).await.unwrap();
        let [result] = &results[..] else { panic!("{results:?}") };
        assert_eq!(result.request_id, id);
        assert_eq!((result.tool_name.as_str(), result.signature.as_str()), ("door_open", "door_open(front)"));
        let args: Value = serde_json::from_str(&result.args).unwrap();
        assert_eq!(args, json!({"door": "front", "pin": "•••"}));
        let body: Value = serde_json::from_str(&result.result).unwrap();
        assert_eq!(body, json!({"status": "executed", "data": {"door": "front"}}));
        assert_eq!(result.expires_at, at(1).plus(DAY * 7));

        let other = AgentId::configured("laptop");
        assert_eq!(store.pending_results(&other, HashSet::new(), NOW, 10).await.unwrap(), []);
        assert_eq!(store.pending_results(&pi, HashSet::new(), NOW.plus(DAY * 8), 10).await.unwrap(), []);
        assert_eq!(
            store.pending_results(&pi, HashSet::new(), NOW, 10).await.unwrap().len(),
            1,
            "asking is not receiving"
        );
        store.received(vec![id]);
        store.write_received().await.unwrap();
        assert_eq!(store.pending_results(&pi, HashSet::new(), NOW, 10).await.unwrap(), []);
    });
}

#[test]
fn an_idempotency_key_stands_for_one_call() {
    let dir = Dir::new();
    let pi = AgentId::configured("pi");
    dir.with(async |store| {
        let keyed = |door: &str| NewCall { key: Some("k".into()), ..allowed(door) };
        assert_eq!(store.replay(&pi, "k", NOW).await.unwrap(), None);
        let first = keyed("front");
        let (id, digest) = (first.id, first.call.digest());
        record(store, first).await;
        let replay = store.replay(&pi, "k", NOW).await.unwrap().unwrap();
        assert_eq!(replay, Replay { id, digest, outcome: None });
        assert_eq!(try_record(store, keyed("back")).await, Err(StoreError::KeyInUse));

        let done = Outcome::Executed(json!(1).into());
        store.settle(id, &done, at(10)).await.unwrap();
        store.received(vec![id]);
        store.write_received().await.unwrap();
        let replay = store.replay(&pi, "k", NOW).await.unwrap().unwrap();
        assert_eq!(replay.outcome, Some(done), "received, and still there for a replay");
        assert_eq!(store.pending_results(&pi, HashSet::new(), NOW, 10).await.unwrap(), []);
        assert_eq!(store.replay(&AgentId::configured("laptop"), "k", NOW).await.unwrap(), None);
        assert_eq!(try_record(store, keyed("front")).await, Err(StoreError::KeyInUse));

        let later = at(10).plus(DAY);
        assert_eq!(store.replay(&pi, "k", later).await.unwrap(), None);
        record(store, NewCall { at: later, ..keyed("back") }).await;
    });
}

#[test]
fn a_call_that_several_callers_wait_for_answers_each_ones_key() {
    let dir = Dir::new();
    let pi = AgentId::configured("pi");
    dir.with(async |store| {
        let new = NewCall { key: Some("a".into()), ..allowed("front") };
        let (id, digest) = (new.id, new.call.digest());
        record(store, new).await;
        store.alias(&pi, "b", id, digest, NOW).await.unwrap();
        assert_eq!(store.alias(&pi, "b", id, digest, NOW).await, Err(StoreError::KeyInUse));
        let done = Outcome::Executed(json!(1).into());
        store.settle(id, &done, at(1)).await.unwrap();
        store.received(vec![id]);
        store.write_received().await.unwrap();
        for key in ["a", "b"] {
            let replay = store.replay(&pi, key, NOW).await.unwrap().unwrap();
            assert_eq!(replay, Replay { id, digest, outcome: Some(done.clone()) }, "{key}");
        }
    });
}

#[test]
fn a_key_whose_result_is_gone_never_says_not_done() {
    let dir = Dir::new();
    let pi = AgentId::configured("pi");
    dir.with(async |store| {
        let new = NewCall { key: Some("k".into()), ..allowed("front") };
        let id = record(store, new).await;
        store.settle(id, &Outcome::Executed(json!(1).into()), at(1)).await.unwrap();
    });
    dir.falsify("DELETE FROM results");
    dir.with(async |store| {
        let replay = store.replay(&pi, "k", NOW).await.unwrap().unwrap();
        assert_eq!(replay.outcome, Some(Outcome::UnknownResult));
    });
}

#[test]
fn small_values_are_remembered() {
    let dir = Dir::new();
    dir.with(async |store| {
        assert_eq!(store.recall("telegram.offset").await.unwrap(), None);
        store.remember("telegram.offset", "17".into()).await.unwrap();
    });
    dir.with(async |store| {
        assert_eq!(store.recall("telegram.offset").await.unwrap().as_deref(), Some("17"));
    });
}

// --- after a crash ------------------------------------------------------------------------------------------------

#[test]
fn open_questions_and_approvals_outlive_the_process() {
    let dir = Dir::new();
    let (open, yes) = dir.with(async |store| {
        let open = record(store, NewCall { key: Some("k".into()), ..asked("front") }).await;
        let yes = record(store, asked("back")).await;
        assert!(store.answer(yes, &approved(), None, at(5), true).await.unwrap());
        (open, yes)
    });
    let (store, recovered) = dir.open();
    let [first, second] = &recovered.open[..] else { panic!("{recovered:?}") };
    assert_eq!((first.id, second.id), (open, yes));
    assert_eq!(first.args["pin"], SECRET, "it must be able to run");
    assert_eq!(first.binding, call("pi", "front").binding());
    assert_eq!(first.rule, asked("front").decision.rule);
    assert_eq!((first.expires, first.approved_by.clone()), (at(900), None));
    assert_eq!((first.key.as_deref(), first.session.as_deref()), (Some("k"), Some("s1")));
    assert_eq!(second.approved_by, Some(Responder::new("local", "root")));
    assert!(smol::block_on(claimed(&store, yes, "back", at(6))));
    smol::block_on(store.close());
    assert_eq!((recovered.unknown, recovered.rolled_back), (0, None));
}

/// Not a test of its own: the process that `kill_nine` starts and kills.
#[test]
fn the_child_of_kill_nine() {
    let Some(dir) = std::env::var_os("AGENTPASS_STORE_CHILD") else { return };
    let dir = std::mem::ManuallyDrop::new(Dir(dir.into()));
    let (store, _) = dir.open();
    smol::block_on(async {
        loop {
            let claimed = record(&store, allowed("front")).await;
            println!("\nclaimed {claimed}");
            let settled = execute(&store, "back").await;
            println!("\nsettled {settled}");
            let open = record(&store, asked("side")).await;
            println!("\nopen {open}");
        }
    });
}

#[test]
fn kill_nine_loses_nothing_that_was_promised() {
    let dir = Dir::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["the_child_of_kill_nine", "--exact", "--nocapture"])
        .env("AGENTPASS_STORE_CHILD", &dir.0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut promised: Vec<(String, String)> = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some((word, id)) =
            line.split_once(' ').filter(|(w, _)| ["claimed", "settled", "open"].contains(w))
        {
            promised.push((word.to_owned(), id.to_owned()));
        }
        if promised.len() == 100 {
            child.kill().unwrap();
            break;
        }
    }
    child.wait().unwrap();
    assert_eq!(promised.len(), 100);

    // The lists work before any gateway has recovered the record.
    assert!(dir.reader().list(&Filter::default()).unwrap().len() >= 100);
    let (store, recovered) = dir.open();
    smol::block_on(store.close());
    let count = |word: &str| promised.iter().filter(|(w, _)| w == word).count();
    assert!(recovered.unknown >= count("claimed"));
    assert!(recovered.open.len() >= count("open"));
    assert_eq!(recovered.rolled_back, None);
    let mut reader = dir.reader();
    for (word, id) in &promised {
        let Lookup::Found(shown) = reader.show(id).unwrap() else { panic!("{id} is lost") };
        let outcome = match word.as_str() {
            "claimed" => "unknown",
            "settled" => "executed",
            _open => "pending",
        };
        assert_eq!(shown.row.outcome, outcome, "{word} {id}");
    }
    assert_eq!(dir.verify().fault, None);
}

// --- refusing to open ---------------------------------------------------------------------------------------------

fn refused(dir: &Dir) -> StoreError {
    match Store::open(dir.options(), &Clock::manual(NOW)) {
        Err(e) => e,
        Ok(_) => panic!("it opened"),
    }
}

#[test]
fn files_are_for_their_owner_only() {
    let dir = Dir::new();
    let (store, _) = dir.open();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.0), 0o700);
    for entry in std::fs::read_dir(&dir.0).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    smol::block_on(store.close());
    std::fs::set_permissions(dir.db(), std::fs::Permissions::from_mode(0o644)).unwrap();
    dir.with(async |_| ());
    assert_eq!(mode(&dir.db()), 0o600, "a mode that grew wider is taken back");
}

#[test]
fn two_gateways_never_share_a_record() {
    let dir = Dir::new();
    let (store, _) = dir.open();
    let e = refused(&dir);
    assert!(matches!(e, StoreError::AlreadyRunning(_)) && e.help().is_some(), "{e}");
    let link = dir.0.join("other.db");
    std::os::unix::fs::symlink(dir.db(), &link).unwrap();
    let other = Store::open(StoreOptions { path: link, ..dir.options() }, &Clock::manual(NOW)).map(|_| ());
    assert!(matches!(other, Err(StoreError::AlreadyRunning(_))), "{other:?}");
    smol::block_on(store.close());
    dir.with(async |_| ());
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let newer = Dir::new();
    newer.with(async |_| ());
    newer.falsify("PRAGMA user_version = 99");
    let e = refused(&newer);
    assert!(matches!(e, StoreError::NewerSchema { found: 99, .. }) && e.help().is_some(), "{e}");
    assert!(matches!(Reader::open(&newer.db()).err(), Some(StoreError::NewerSchema { .. })));

    let foreign = Dir::new();
    std::fs::create_dir(&foreign.0).unwrap();
    foreign.falsify("CREATE TABLE photos (x)");
    assert!(matches!(refused(&foreign), StoreError::Foreign(_)));

    for bytes in [vec![b'x'; 9000], [b"SQLite format 3\0".as_slice(), &[0xff; 5000]].concat()] {
        let corrupt = Dir::new();
        std::fs::create_dir(&corrupt.0).unwrap();
        std::fs::write(corrupt.db(), &bytes).unwrap();
        let e = refused(&corrupt);
        assert!(matches!(e, StoreError::Corrupt(_)) && e.help().is_some(), "{e}");
        assert_eq!(std::fs::read(corrupt.db()).unwrap(), bytes);
    }
}

#[test]
fn a_record_goes_on_with_its_own_key_only() {
    let dir = Dir::new();
    dir.with(async |store| execute(store, "front").await);
    let key = std::fs::read(dir.beside("key")).unwrap();
    std::fs::write(dir.beside("key"), [7; 32]).unwrap();
    let e = refused(&dir);
    assert!(matches!(e, StoreError::KeyMismatch { .. }) && e.help().is_some(), "{e}");
    assert!(matches!(dir.wrong(), FaultKind::Changed));
    std::fs::remove_file(dir.beside("key")).unwrap();
    let e = refused(&dir);
    assert!(matches!(e, StoreError::KeyMissing(_)) && e.help().is_some(), "{e}");
    assert_eq!(dir.wrong(), FaultKind::KeyMissing);
    std::fs::write(dir.beside("key"), key).unwrap();
    dir.with(async |_| ());
    assert_eq!(dir.verify().fault, None);
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let mut places = vec![PathBuf::from("/proc/agentpass.db"), PathBuf::from("/proc/agentpass/agentpass.db")];
    let dir = Dir::new();
    std::fs::create_dir(&dir.0).unwrap();
    std::fs::write(dir.0.join("file"), "").unwrap();
    places.push(dir.0.join("file/agentpass.db"));
    std::fs::set_permissions(&dir.0, std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::write(dir.0.join("probe"), "").is_err() {
        // Not root, whom modes do not stop.
        places.push(dir.db());
    }
    for path in places {
        let e = Store::open(StoreOptions { path: path.clone(), ..dir.options() }, &Clock::manual(NOW))
            .map(|_| ())
            .unwrap_err();
        assert!(
            matches!(e, StoreError::Unwritable { .. }) && e.help().is_some(),
            "{}: {e:?}",
            path.display()
        );
    }
    std::fs::set_permissions(&dir.0, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(matches!(Reader::open(&dir.0.join("none.db")).err(), Some(StoreError::Absent(_))));
}

// --- falsifications -----------------------------------------------------------------------------------------------

/// A record of six executed calls, twelve events.
fn recorded() -> Dir {
    let dir = Dir::new();
    dir.with(async |store| {
        for n in 0..6 {
            execute(store, &format!("door{n}")).await;
        }
    });
    let check = dir.verify();
    assert_eq!((check.events, check.calls, check.last, check.fault), (12, 6, 12, None));
    dir
}

#[test]
fn a_changed_event_is_found() {
    for sql in [
        "UPDATE events SET body = replace(body, 'door2', 'door9') WHERE seq = 5",
        "UPDATE events SET at = at + 1 WHERE seq = 5",
        "UPDATE events SET kind = 'refused' WHERE seq = 5",
        "UPDATE events SET request_id = NULL WHERE seq = 5",
        "UPDATE events SET hash = zeroblob(32) WHERE seq = 5",
        "UPDATE events SET hash = x'00' WHERE seq = 5",
    ] {
        let dir = recorded();
        dir.falsify(sql);
        let fault = dir.verify().fault.unwrap();
        assert_eq!((fault.seq, &fault.wrong), (Some(5), &FaultKind::Changed), "{sql}");
        assert!(fault.to_string().starts_with("event 5: changed"), "{fault}");
    }
}

#[test]
fn a_removed_event_is_found() {
    let dir = recorded();
    dir.falsify("DELETE FROM events WHERE seq IN (4, 5)");
    let fault = dir.verify().fault.unwrap();
    assert_eq!((fault.seq, fault.wrong), (Some(4), FaultKind::Missing { through: 5 }));

    let dir = recorded();
    dir.falsify("DELETE FROM events WHERE seq <= 4; DELETE FROM calls WHERE seq <= 4");
    let fault = dir.verify().fault.unwrap();
    assert_eq!((fault.seq, fault.wrong), (Some(1), FaultKind::Missing { through: 4 }));
}

#[test]
fn reordered_events_are_found() {
    for (a, b) in [(5, 6), (3, 9)] {
        let dir = recorded();
        dir.falsify(&format!(
            "UPDATE events SET seq = -1 WHERE seq = {a}; UPDATE events SET seq = {a} WHERE seq = {b};
             UPDATE events SET seq = {b} WHERE seq = -1"
        ));
        let fault = dir.verify().fault.unwrap();
        assert_eq!((fault.seq, fault.wrong), (Some(a), FaultKind::Reordered));
    }
}

#[test]
fn a_cut_tail_is_found() {
    let dir = recorded();
    dir.falsify("DELETE FROM events WHERE seq > 10");
    let fault = dir.verify().fault.unwrap();
    assert_eq!((fault.seq, fault.wrong), (Some(10), FaultKind::CutTail));

    // Cut with everything that knows of it: only the exported head is left as a witness.
    let dir = recorded();
    dir.falsify(
        "DELETE FROM events WHERE seq > 10; DELETE FROM calls WHERE seq > 10; DELETE FROM results WHERE seq > 10;
         DELETE FROM meta WHERE name = 'durable'",
    );
    let fault = dir.verify().fault.unwrap();
    assert_eq!((fault.seq, fault.wrong), (Some(10), FaultKind::OlderCopy { head: 12 }));
}

#[test]
fn an_older_copy_is_found_and_nothing_in_it_runs() {
    let dir = Dir::new();
    let id = dir.with(async |store| {
        let id = record(store, asked("front")).await;
        assert!(store.answer(id, &approved(), None, at(1), true).await.unwrap());
        id
    });
    let copy = std::fs::read(dir.db()).unwrap();
    dir.with(async |store| {
        assert!(claimed(store, id, "front", at(2)).await);
        store.settle(id, &Outcome::Executed(json!(1).into()), at(3)).await.unwrap();
    });
    assert_eq!(dir.verify().fault, None);
    std::fs::write(dir.db(), copy).unwrap();
    assert_eq!(dir.wrong(), FaultKind::OlderCopy { head: 4 });

    let (store, recovered) = dir.open();
    assert!(recovered.rolled_back.is_some());
    assert_eq!((recovered.open.len(), recovered.unknown), (0, 1));
    assert!(!smol::block_on(claimed(&store, id, "front", at(4))), "it ran once already");
    smol::block_on(store.close());
    assert_eq!(dir.wrong(), FaultKind::RolledBack);
}

#[test]
fn a_record_that_was_rolled_back_with_its_head_does_not_fit_an_anchor_from_outside() {
    let dir = recorded();
    let older: Vec<_> =
        ["", ".head"].map(|s| std::fs::read(format!("{}{s}", dir.db().display())).unwrap()).into();
    let early = dir.reader().anchor().unwrap();
    dir.with(async |store| execute(store, "door9").await);
    let late = dir.reader().anchor().unwrap();
    assert_eq!((early.seq, late.seq), (12, 14));
    for anchor in [early, late] {
        let check = dir.reader().verify_with(Some(&anchor)).unwrap();
        assert_eq!((check.fault, check.anchored), (None, Some(Anchored::Confirmed)));
        let lines = export(&dir).join("\n") + "\n";
        let check = verify_export(&mut Cursor::new(lines), None, Some(&anchor)).unwrap();
        assert_eq!((check.fault, check.anchored), (None, Some(Anchored::Confirmed)));
    }
    for wrong in [Anchor { at: at(99), ..late }, Anchor { hash: early.hash, ..late }] {
        assert_eq!(
            dir.reader().verify_with(Some(&wrong)).unwrap().fault.unwrap().wrong,
            FaultKind::ForeignAnchor
        );
    }

    std::fs::write(dir.db(), &older[0]).unwrap();
    std::fs::write(dir.beside("head"), &older[1]).unwrap();
    assert_eq!(dir.verify().fault, None, "nothing in the folder tells");
    let wrong = |anchor| dir.reader().verify_with(Some(anchor)).unwrap().fault.unwrap().wrong;
    assert_eq!(wrong(&late), FaultKind::EndsBeforeAnchor { anchor: 14, end: 12 });
    let lines = export(&dir).join("\n") + "\n";
    let exported = verify_export(&mut Cursor::new(lines), None, Some(&late)).unwrap();
    assert_eq!(exported.fault.unwrap().wrong, FaultKind::EndsBeforeAnchor { anchor: 14, end: 12 });
    dir.with(async |store| {
        execute(store, "door7").await;
        execute(store, "door8").await;
    });
    assert_eq!(dir.verify().fault, None);
    assert_eq!(wrong(&late), FaultKind::ForeignAnchor);
    assert_eq!(dir.reader().verify_with(Some(&early)).unwrap().fault, None);
}

#[test]
fn the_head_can_be_neither_removed_nor_forged() {
    let dir = recorded();
    let head = std::fs::read_to_string(dir.beside("head")).unwrap();
    std::fs::remove_file(dir.beside("head")).unwrap();
    assert_eq!(dir.wrong(), FaultKind::HeadMissing);
    assert!(matches!(dir.reader().anchor(), Err(StoreError::Forged(_))));
    std::fs::write(dir.beside("head"), head.replace("\"seq\":12", "\"seq\":11")).unwrap();
    assert_eq!(dir.wrong(), FaultKind::HeadForged);
    let (store, recovered) = dir.open();
    smol::block_on(store.close());
    assert!(recovered.rolled_back.is_some());

    let emptied = recorded();
    std::fs::remove_file(emptied.db()).unwrap();
    let (store, recovered) = emptied.open();
    smol::block_on(store.close());
    assert!(recovered.rolled_back.is_some(), "a new database beside an old head");
}

#[test]
fn rows_that_disagree_with_their_events_are_found() {
    let cases = [
        ("UPDATE calls SET outcome = 'denied' WHERE seq = 5", FaultKind::CallChanged { column: "outcome" }),
        ("UPDATE calls SET decision = 'ask' WHERE seq = 5", FaultKind::CallChanged { column: "decision" }),
        ("UPDATE calls SET agent = 'x' WHERE seq = 5", FaultKind::CallChanged { column: "agent" }),
        ("UPDATE calls SET tool = 'x' WHERE seq = 5", FaultKind::CallChanged { column: "tool" }),
        (
            "UPDATE calls SET resolved_by = 'x' WHERE seq = 5",
            FaultKind::CallChanged { column: "resolved_by" },
        ),
        (
            "UPDATE calls SET finished_seq = 4 WHERE seq = 5",
            FaultKind::CallChanged { column: "finished_seq" },
        ),
        ("DELETE FROM calls WHERE seq = 5", FaultKind::CallMissing),
        (
            "INSERT INTO calls (seq, request_id, at, agent, tool, outcome) VALUES (6, 'x', 0, 'a', 't', 'executed')",
            FaultKind::CallInvented,
        ),
    ];
    for (sql, wrong) in cases {
        let dir = recorded();
        dir.falsify(sql);
        assert_eq!(dir.wrong(), wrong, "{sql}");
    }
}

#[test]
fn an_open_call_that_was_taken_out_of_the_lists_is_found() {
    for sql in ["DELETE FROM open_calls", "UPDATE open_calls SET seq = 1"] {
        let dir = recorded();
        let id = dir.with(async |store| record(store, asked("front")).await);
        assert_eq!(dir.verify().fault, None);
        dir.falsify(sql);
        let fault = dir.verify().fault.unwrap();
        assert_eq!(
            (fault.seq, fault.request_id, fault.wrong),
            (Some(13), Some(id.to_string()), FaultKind::OpenMissing)
        );
    }
}

#[test]
fn an_index_that_hides_an_answer_is_found() {
    let dir = Dir::new();
    dir.with(async |store| {
        let id = record(store, asked("front")).await;
        assert!(store.answer(id, &approved(), None, at(1), true).await.unwrap());
    });
    assert_eq!(dir.verify().fault, None);
    dir.falsify("DELETE FROM steps");
    assert_eq!(dir.wrong(), FaultKind::IndexChanged);
}

#[test]
fn tables_are_rebuilt_from_the_events_and_say_the_same() {
    let dir = recorded();
    let open = dir.with(async |store| {
        store.note(NOW, NoteKind::Started, json!({})).await.unwrap();
        let denied = record(store, asked("window")).await;
        let no = QuestionEnd::Denied { by: Responder::new("local", "root"), note: None };
        let told = Outcome::DeniedByUser { note: None };
        store.answer(denied, &no, Some(&told), at(1), true).await.unwrap();
        store
            .add_note(denied, "too cold".into(), Responder::new("local", "root"), at(2), true)
            .await
            .unwrap();
        let keyed = NewCall { key: Some("k".into()), ..allowed("gate") };
        let id = record(store, keyed).await;
        store.settle(id, &Outcome::Executed(json!(1).into()), at(3)).await.unwrap();
        store.received(vec![id]);
        store.write_received().await.unwrap();
        let open = record(store, asked("front")).await;
        store.answer(open, &approved(), None, at(4), true).await.unwrap();
        open
    });
    let tables = ["calls", "steps", "keys", "open_calls", "counts", "spans", "results", "projections"];
    let kept = || {
        let db = Connection::open(dir.db()).unwrap();
        tables.map(|table| {
            let sql = format!("SELECT * FROM {table} ORDER BY 1, 2");
            let mut statement = db.prepare(&sql).unwrap();
            let columns = statement.column_count();
            let row = |row: &rusqlite::Row<'_>| {
                (0..columns).map(|column| row.get(column)).collect::<Result<Vec<rusqlite::types::Value>, _>>()
            };
            statement.query_map([], row).unwrap().collect::<Result<Vec<_>, _>>().unwrap()
        })
    };
    let before = kept();
    assert_eq!(rebuild(&dir.db()).unwrap(), 21);
    assert_eq!(kept(), before);
    dir.falsify(
        "DELETE FROM calls; DELETE FROM steps; DELETE FROM keys; DELETE FROM counts; DELETE FROM spans;
         INSERT INTO calls (seq, request_id, at, agent, tool, outcome) VALUES (1, 'x', 0, 'a', 't', 'executed')",
    );
    assert_ne!(dir.verify().fault, None);
    assert_eq!(rebuild(&dir.db()).unwrap(), 21);
    assert_eq!(kept(), before);
    assert_eq!(dir.verify().fault, None);
    let (store, recovered) = dir.open();
    assert_eq!(recovered.open.iter().map(|open| open.id).collect::<Vec<_>>(), [open]);
    assert!(matches!(rebuild(&dir.db()), Err(StoreError::AlreadyRunning(_))));
    smol::block_on(store.close());
    assert!(matches!(rebuild(&dir.0.join("none.db")), Err(StoreError::Absent(_))));
}

// --- tables follow the events -------------------------------------------------------------------------------------

/// The record as it would be found after a power cut at this moment.
fn copied(dir: &Dir) -> Dir {
    let copy = Dir::new();
    std::fs::create_dir(&copy.0).unwrap();
    for suffix in ["", "-wal", ".key", ".head"] {
        let from = format!("{}{suffix}", dir.db().display());
        if Path::new(&from).exists() {
            std::fs::copy(from, format!("{}{suffix}", copy.db().display())).unwrap();
        }
    }
    copy
}

/// How far the tables are behind the events.
fn behind(dir: &Dir) -> i64 {
    let sql = "SELECT (SELECT max(seq) FROM events) - (SELECT min(folded) FROM projections)";
    Connection::open(dir.db()).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

/// What readers see of every request, oldest first.
fn seen(dir: &Dir) -> Vec<Value> {
    let mut rows: Vec<_> =
        dir.reader().list(&Filter::default()).unwrap().iter().map(|row| row.to_json()).collect();
    rows.reverse();
    rows
}

#[test]
fn a_copy_from_any_moment_says_and_becomes_what_was_recorded() {
    let dir = Dir::new();
    let (store, _) = dir.open();
    let no = QuestionEnd::Denied { by: Responder::new("local", "root"), note: None };
    let pi = AgentId::configured("pi");
    let mut unfolded = 0;
    let mut check = |words: &str, expected: &[&str], results: usize, open: usize| {
        let copy = copied(&dir);
        unfolded += usize::from(behind(&copy) > 0);
        let outcomes = |dir: &Dir| -> Vec<String> {
            seen(dir).iter().map(|row| row["outcome"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(outcomes(&copy), expected, "{words}, read");
        assert_eq!(copy.verify().fault, None, "{words}, read");
        assert_eq!(dir.verify().fault, None, "{words}, beside the gateway");
        let before = seen(&copy);
        let (again, recovered) = copy.open();
        assert_eq!(recovered.open.len(), open, "{words}");
        smol::block_on(async {
            let waiting = again.pending_results(&pi, HashSet::new(), at(9), 100).await.unwrap();
            // What was being executed is unknown now.
            let cut_short = expected.iter().filter(|word| **word == "pending").count() - open;
            assert_eq!(waiting.len(), results + cut_short, "{words}");
            again.close().await;
        });
        assert_eq!(behind(&copy), 0, "{words}");
        let settled = |rows: Vec<Value>| -> Vec<Value> {
            rows.into_iter()
                .filter(|row| row["outcome"] != "pending" && row["outcome"] != "unknown")
                .collect()
        };
        assert_eq!(settled(seen(&copy)), settled(before), "{words}");
        assert_eq!(copy.verify().fault, None, "{words}, opened");
    };
    smol::block_on(async {
        let first = record(&store, allowed("front")).await;
        check("claimed", &["pending"], 0, 0);
        store.settle(first, &Outcome::Executed(json!(1).into()), at(1)).await.unwrap();
        check("executed", &["executed"], 1, 0);
        let asked_about = record(&store, NewCall { key: Some("k".into()), ..asked("back") }).await;
        check("asked", &["executed", "pending"], 1, 1);
        store.answer(asked_about, &approved(), None, at(2), true).await.unwrap();
        check("approved", &["executed", "pending"], 1, 1);
        assert!(claimed(&store, asked_about, "back", at(3)).await);
        check("claimed after an approval", &["executed", "pending"], 1, 0);
        let large = Outcome::Executed(json!("x".repeat(10_000)).into());
        store.settle(asked_about, &large, at(4)).await.unwrap();
        check("a large result", &["executed", "executed"], 2, 0);
        let denied = record(&store, asked("window")).await;
        let told = Outcome::DeniedByUser { note: None };
        store.answer(denied, &no, Some(&told), at(5), true).await.unwrap();
        check("denied", &["executed", "executed", "denied"], 3, 0);
        store.add_note(denied, "cold".into(), Responder::new("local", "root"), at(6), true).await.unwrap();
        check("a note", &["executed", "executed", "denied"], 3, 0);
        store.received(vec![first, asked_about]);
        store.write_received().await.unwrap();
        check("received", &["executed", "executed", "denied"], 1, 0);
        let asked_about = record(&store, asked("gate")).await;
        assert_eq!(yes_and_claim(&store, asked_about, "gate").await, (true, true));
        check("approved and claimed at once", &["executed", "executed", "denied", "pending"], 1, 0);
        store.settle(asked_about, &Outcome::Executed(json!(2).into()), at(8)).await.unwrap();
        check("executed at last", &["executed", "executed", "denied", "executed"], 2, 0);
        store.close().await;
    });
    check("closed", &["executed", "executed", "denied", "executed"], 2, 0);
    assert!(unfolded >= 7, "only {unfolded} copies were behind");
}

#[test]
fn a_fold_that_fails_halfway_stops_no_call_and_is_made_up_for() {
    let dir = Dir::new();
    let (store, _) = dir.open();
    smol::block_on(async {
        execute(&store, "before").await;
        dir.falsify(
            "CREATE TRIGGER stuck BEFORE INSERT ON calls WHEN NEW.seq > 100 BEGIN SELECT RAISE(ABORT, 'stuck'); END",
        );
        for n in 0..400 {
            execute(&store, &format!("door{n}")).await;
        }
        let id = record(&store, asked("window")).await;
        let none_of_it = "SELECT count(*) FROM calls WHERE seq > 2";
        let kept: i64 =
            Connection::open(dir.db()).unwrap().query_row(none_of_it, [], |row| row.get(0)).unwrap();
        assert!(behind(&dir) >= 700 && kept < 60, "{} behind, {kept} kept", behind(&dir));
        assert_eq!(dir.verify().fault, None);
        assert_eq!(seen(&dir).len(), 402);
        let pi = AgentId::configured("pi");
        let told = store.pending_results(&pi, HashSet::new(), at(9), 1000).await.unwrap();
        assert!(told.len() < 402 && told.iter().all(|result| !result.result.contains("unknown")));
        dir.falsify("DROP TRIGGER stuck");
        store.answer(id, &QuestionEnd::TimedOut, Some(&Outcome::TimedOut), at(9), false).await.unwrap();
        assert_eq!(store.pending_results(&pi, HashSet::new(), at(9), 1000).await.unwrap().len(), 402);
        assert_eq!(behind(&dir), 0);
        store.close().await;
    });
    assert_eq!((seen(&dir).len(), dir.verify().fault), (402, None));
}

#[test]
fn readers_see_everything_while_tables_follow() {
    let dir = Dir::new();
    let (store, _) = dir.open();
    smol::block_on(execute(&store, "first"));
    let done = std::sync::atomic::AtomicBool::new(false);
    let recorded = std::sync::atomic::AtomicUsize::new(1);
    std::thread::scope(|scope| {
        use std::sync::atomic::Ordering::SeqCst;
        let reads = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(SeqCst) || reads < 3 {
                let before = recorded.load(SeqCst);
                let mut reader = dir.reader();
                let ended = Filter { outcome: Some("executed".into()), ..Filter::default() };
                let found = reader.list(&ended).unwrap().len();
                let after = recorded.load(SeqCst) + 1;
                assert!((before..=after).contains(&found), "{found} of {before} to {after}");
                assert_eq!(reader.verify().unwrap().fault, None);
                reads += 1;
            }
        });
        smol::block_on(async {
            for n in 0..1500 {
                execute(&store, &format!("door{n}")).await;
                recorded.fetch_add(1, SeqCst);
            }
        });
        done.store(true, SeqCst);
        reads.join().unwrap();
    });
    smol::block_on(store.close());
    assert_eq!((seen(&dir).len(), dir.verify().fault), (1501, None));
}

#[test]
fn tables_that_are_far_behind_catch_up_at_a_start_and_go_on_after_a_kill() {
    let dir = Dir::new();
    dir.with(async |store| {
        let executor = smol::LocalExecutor::new();
        for _ in 0..2 {
            let many = (0..5000).map(|n| {
                let (store, new) = (store.clone(), allowed(&format!("door{}", n % 10)));
                let ended = Stage::Settled(Outcome::DeniedByPolicy(Denial::default()));
                executor.spawn(async move { store.record(new, ended, false).await.unwrap() })
            });
            for one in many.collect::<Vec<_>>() {
                executor.run(one).await;
            }
        }
    });
    let expected = format!("{:?}", dir.reader().stats(None, None, at(9)).unwrap());
    // As a rebuild leaves them that is killed after its first step, and after some more.
    let forget = "DELETE FROM calls WHERE seq > N; DELETE FROM steps; DELETE FROM counts; DELETE FROM spans;
                  UPDATE projections SET folded = N WHERE name <> 'results'";
    for through in ["0", "5000"] {
        dir.falsify(&forget.replace('N', through));
        assert_eq!(format!("{:?}", dir.reader().stats(None, None, at(9)).unwrap()), expected, "read");
        assert_eq!(dir.verify().fault, None, "read");
        dir.with(async |_| ());
        assert_eq!(behind(&dir), 0);
        assert_eq!(format!("{:?}", dir.reader().stats(None, None, at(9)).unwrap()), expected, "caught up");
        assert_eq!(dir.verify().fault, None, "caught up");
    }
    // Positions of events that are not there yet would keep the tables from following them.
    dir.falsify("UPDATE projections SET folded = 1000000");
    assert_eq!(dir.wrong(), FaultKind::CutTail);
    dir.with(async |store| execute(store, "last").await);
    assert_eq!((behind(&dir), dir.verify().fault, seen(&dir).len()), (0, None, 10_001));
}

// --- export -------------------------------------------------------------------------------------------------------

fn export(dir: &Dir) -> Vec<String> {
    let mut out = Vec::new();
    dir.reader().export(&mut out).unwrap();
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

fn check(lines: &[String], key: Option<&Path>) -> Verification {
    verify_export(&mut Cursor::new(lines.join("\n") + "\n"), key, None).unwrap()
}

#[test]
fn an_export_proves_itself() {
    let dir = recorded();
    let (lines, key) = (export(&dir), dir.beside("key"));
    assert_eq!(lines.len(), 13);
    let whole = check(&lines, Some(&key));
    assert_eq!((whole.events, whole.keyed, whole.fault), (12, true, None));
    assert_eq!(check(&lines, None).fault, None);
    for line in &lines {
        let safe = |c: char| !c.is_control() && c != '\u{202e}' && c != '\u{9b}';
        assert!(line.chars().all(safe), "{line}");
    }
    let first: Value = serde_json::from_str(&lines[0]).unwrap();
    let body: Value = serde_json::from_str(first["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["reason"], "guests\nare \u{1b}[31mhere\u{202e}");
    assert!(!lines.join("").contains(SECRET));
}

#[test]
fn a_falsified_export_is_found() {
    let dir = recorded();
    let (lines, key) = (export(&dir), dir.beside("key"));
    let fault = |change: &dyn Fn(&mut Vec<String>)| {
        let mut changed = lines.clone();
        change(&mut changed);
        let fault = check(&changed, Some(&key)).fault.expect("a fault");
        (fault.seq, fault.wrong)
    };
    let changed = fault(&|l| l[4] = l[4].replace("door2", "door9"));
    assert_eq!(changed, (Some(5), FaultKind::Changed));
    assert_eq!(fault(&|l| drop(l.remove(4))), (Some(5), FaultKind::Missing { through: 5 }));
    assert_eq!(fault(&|l| l.swap(4, 5)), (Some(5), FaultKind::Reordered));
    assert_eq!(fault(&|l| drop(l.pop())), (Some(12), FaultKind::CutTail));
    assert_eq!(fault(&|l| drop(l.remove(11))), (Some(11), FaultKind::CutTail));
    assert_eq!(fault(&|l| l[12] = l[12].replace("\"mac\":\"", "\"mac\":\"0")), (None, FaultKind::HeadForged));
    assert_eq!(fault(&|l| l[3] = "nonsense".into()), (None, FaultKind::Unreadable { line: 4 }));
    assert_eq!(fault(&|l| l.push("{}".into())), (None, FaultKind::Unreadable { line: 13 }));
    let doubled = |l: &mut Vec<String>| l[4] = l[4].replacen('{', "{\"kind\":\"refused\",", 1);
    assert_eq!(fault(&doubled), (None, FaultKind::Unreadable { line: 5 }));
    // Without the key a rewritten body goes unseen, and the check says that it had no key.
    let mut rewritten = lines.clone();
    rewritten[4] = rewritten[4].replace("door2", "door9");
    assert!(!check(&rewritten, None).keyed);
    rewritten.remove(6);
    assert_eq!(check(&rewritten, None).fault.unwrap().wrong, FaultKind::Missing { through: 7 });
}

// --- retention ----------------------------------------------------------------------------------------------------

#[test]
fn old_events_go_as_a_prefix_and_the_rest_verifies() {
    let dir = Dir::new();
    dir.with(async |store| execute(store, "door").await);
    let older = dir.reader().anchor().unwrap();
    dir.with(async |store| {
        for n in 0..5 {
            execute(store, &format!("door{n}")).await;
        }
    });
    let last = dir.reader().anchor().unwrap();
    let later = NOW.plus(DAY * 366);
    let open = dir.with(async |store| {
        let open = record(store, NewCall { at: later.minus(DAY), ..asked("front") }).await;
        store.maintain(later).await.unwrap();
        open
    });
    let check = dir.verify();
    // The question and the note about retention.
    assert_eq!((check.events, check.calls, check.fault), (2, 1, None));
    let anchored = |anchor| dir.reader().verify_with(Some(anchor)).unwrap().anchored;
    assert_eq!((anchored(&older), anchored(&last)), (Some(Anchored::Dropped), Some(Anchored::Confirmed)));
    assert_eq!(dir.reader().list(&Filter::default()).unwrap().len(), 1);
    assert_eq!(row(&dir, open)["outcome"], "pending");
    let lines = export(&dir);
    assert!(lines[0].starts_with("{\"anchor\""));
    let key = dir.beside("key");
    assert_eq!(verify_export(&mut Cursor::new(lines.join("\n")), Some(&key), None).unwrap().fault, None);

    dir.falsify("UPDATE meta SET value = replace(value, '\"seq\":12', '\"seq\":13') WHERE name = 'anchor'");
    assert_eq!(dir.wrong(), FaultKind::AnchorBroken);
    dir.falsify("DELETE FROM meta WHERE name = 'anchor'");
    assert_eq!(dir.wrong(), FaultKind::Missing { through: 12 });
}

#[test]
fn changed_events_are_not_dropped_unseen() {
    let dir = recorded();
    dir.with(async |store| {
        dir.falsify("UPDATE events SET at = 0, body = replace(body, 'door2', 'door9') WHERE seq <= 8");
        store.maintain(NOW).await.unwrap();
    });
    let check = dir.verify();
    let Some(FaultKind::Tampered { found }) = check.fault.map(|fault| fault.wrong) else { panic!("whole") };
    assert!(found.contains("event 1 did not verify"), "{found}");
    assert!(export(&dir)[0].contains("\"seq\":8"), "dropped, as too old");
}

#[test]
fn an_open_call_keeps_its_events() {
    let dir = Dir::new();
    dir.with(async |store| {
        execute(store, "front").await;
        record(store, asked("front")).await;
        execute(store, "back").await;
        store.maintain(NOW.plus(DAY * 1000)).await.unwrap();
    });
    assert_eq!(dir.reader().list(&Filter::default()).unwrap().len(), 2);
    assert_eq!(dir.verify().fault, None);
}

#[test]
fn one_event_from_1970_does_not_take_the_record_along() {
    let dir = recorded();
    dir.with(async |store| {
        store.note(Timestamp(0), NoteKind::Started, json!({})).await.unwrap();
        store.maintain(at(60)).await.unwrap();
    });
    assert_eq!(dir.reader().list(&Filter::default()).unwrap().len(), 6);
}

#[test]
fn the_record_stays_within_its_size() {
    let dir = Dir::new();
    let options = StoreOptions { max_mb: 1, ..dir.options() };
    let (store, _) = Store::open(options, &Clock::manual(NOW)).unwrap();
    smol::block_on(async {
        for _ in 0..150 {
            let id = record(&store, allowed("front")).await;
            let big = Outcome::Executed(json!("x".repeat(20_000)).into());
            store.settle(id, &big, at(1)).await.unwrap();
            store.note(NOW, NoteKind::Started, json!({"x": "y".repeat(10_000)})).await.unwrap();
        }
        store.maintain(at(2)).await.unwrap();
        let kept =
            store.pending_results(&AgentId::configured("pi"), HashSet::new(), at(2), 1000).await.unwrap();
        assert!(kept.len() < 30, "{} results that nobody fetches", kept.len());
        store.close().await;
    });
    assert!(used(&dir) < 2 << 20, "{} bytes", used(&dir));
    assert_eq!(dir.verify().fault, None);
}

/// Bytes of the database's pages that hold something.
fn used(dir: &Dir) -> i64 {
    let db = Connection::open(dir.db()).unwrap();
    let pragma = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    (pragma("page_count") - pragma("freelist_count")) * pragma("page_size")
}

#[test]
fn one_agents_results_take_nothing_from_another_and_nothing_from_the_record() {
    let dir = Dir::new();
    let options = StoreOptions { max_mb: 4, ..dir.options() };
    let (store, _) = Store::open(options, &Clock::manual(NOW)).unwrap();
    let (modest, greedy) = (AgentId::configured("laptop"), AgentId::configured("pi"));
    let pending = async |store: &Store, agent: &AgentId| {
        let ids = store.pending_results(agent, HashSet::new(), at(2), 10_000).await.unwrap().into_iter();
        ids.map(|result| result.request_id).collect::<Vec<_>>()
    };
    smol::block_on(async {
        let mut theirs = Vec::new();
        for door in ["front", "back"] {
            theirs.push(record(&store, NewCall { call: call("laptop", door), ..allowed(door) }).await);
            let done = Outcome::Executed(json!(door).into());
            store.settle(*theirs.last().unwrap(), &done, at(1)).await.unwrap();
        }
        let mut own = Vec::new();
        for n in 0..100 {
            own.push(record(&store, allowed("front")).await);
            let big = Outcome::Executed(json!("x".repeat(100_000)).into());
            store.settle(own[n], &big, at(1)).await.unwrap();
            // Whatever has to go for the newest is gone as soon as that is written: the oldest, one by one.
            if n < 2 || n == 50 {
                let kept = pending(&store, &greedy).await;
                assert_eq!(kept, own[n.saturating_sub(1)..=n], "after {n}");
            }
        }
        store.maintain(at(2)).await.unwrap();
        assert_eq!(pending(&store, &modest).await, theirs);
        store.close().await;
    });
    let (calls, most) = (dir.reader().list(&Filter::default()).unwrap().len(), 2 << 20);
    assert_eq!(calls, 102, "the record is shortened because results are large");
    assert!(used(&dir) < most, "{} bytes", used(&dir));
    assert_eq!(dir.verify().fault, None);
}

#[test]
fn many_small_results_do_not_shield_large_ones() {
    let dir = Dir::new();
    let options = StoreOptions { max_mb: 64, ..dir.options() };
    let (store, _) = Store::open(options, &Clock::manual(NOW)).unwrap();
    smol::block_on(async {
        for n in 0..1500 {
            let length = if n < 1490 { 2_000 } else { 3_000_000 };
            let id = record(&store, allowed("front")).await;
            store.settle(id, &Outcome::Executed(json!("x".repeat(length)).into()), at(1)).await.unwrap();
        }
        store.close().await;
    });
    let db = Connection::open(dir.db()).unwrap();
    let kept: i64 = db.query_row("SELECT sum(size) FROM results", [], |row| row.get(0)).unwrap();
    assert!((3_000_000..4 << 20).contains(&kept), "{kept} bytes");
}

#[test]
fn a_record_of_before_with_too_many_results_is_tidied_bit_by_bit() {
    let dir = Dir::new();
    dir.with(async |store| {
        for n in 0..40 {
            let id = record(store, allowed(&format!("door{n}"))).await;
            store.settle(id, &Outcome::Executed(json!("x".repeat(100_000)).into()), at(1)).await.unwrap();
        }
    });
    let (store, _) = Store::open(StoreOptions { max_mb: 4, ..dir.options() }, &Clock::manual(NOW)).unwrap();
    let left = smol::block_on(async {
        let id = execute(&store, "last").await;
        let left =
            store.pending_results(&AgentId::configured("pi"), HashSet::new(), at(2), 100).await.unwrap();
        store.close().await;
        assert_eq!(left.last().map(|result| result.request_id), Some(id));
        left.len()
    });
    assert_eq!(left, 3);
}

#[test]
fn a_record_that_grows_is_shortened_without_waiting_for_the_clock() {
    let dir = Dir::new();
    let options = StoreOptions { max_mb: 1, ..dir.options() };
    let (store, _) = Store::open(options, &Clock::manual(NOW)).unwrap();
    smol::block_on(async {
        for _ in 0..3000 {
            store.note(NOW, NoteKind::Started, json!({"x": "y".repeat(10_000)})).await.unwrap();
        }
        store.close().await;
    });
    // What is written until the write-ahead log is moved comes on top.
    assert!(used(&dir) < 12 << 20, "{} bytes of 30 MB", used(&dir));
    assert_eq!(dir.verify().fault, None);
}

#[test]
fn no_more_is_dropped_than_is_too_much() {
    let dir = Dir::new();
    let options = StoreOptions { max_mb: 2, ..dir.options() };
    let (store, _) = Store::open(options, &Clock::manual(NOW)).unwrap();
    smol::block_on(async {
        for _ in 0..250 {
            store.note(NOW, NoteKind::Started, json!({"x": "y".repeat(10_000)})).await.unwrap();
        }
        store.maintain(at(1)).await.unwrap();
        store.close().await;
    });
    assert!((1_700_000..2 << 20).contains(&used(&dir)), "{} bytes", used(&dir));
    assert_eq!(dir.verify().fault, None);
}

#[test]
fn expired_results_and_keys_go() {
    let dir = Dir::new();
    dir.with(async |store| {
        let id = record(store, NewCall { key: Some("k".into()), ..allowed("front") }).await;
        store.settle(id, &Outcome::Executed(json!(1).into()), at(1)).await.unwrap();
        store.maintain(at(1).plus(DAY * 7)).await.unwrap();
    });
    let db = Connection::open(dir.db()).unwrap();
    for table in ["results", "keys"] {
        let left: i64 = db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "{table}");
    }
}

#[test]
fn a_key_that_joined_late_outlives_the_others_of_its_call() {
    let dir = Dir::new();
    let pi = AgentId::configured("pi");
    dir.with(async |store| {
        let new = NewCall { key: Some("early".into()), ..allowed("front") };
        let (id, digest) = (new.id, new.call.digest());
        record(store, new).await;
        store.settle(id, &Outcome::Executed(json!(1).into()), at(1)).await.unwrap();
        store.alias(&pi, "late", id, digest, at(3600)).await.unwrap();
        store.maintain(at(60).plus(DAY)).await.unwrap();
    });
    let db = Connection::open(dir.db()).unwrap();
    let left: String = db.query_row("SELECT group_concat(key) FROM keys", [], |row| row.get(0)).unwrap();
    assert_eq!(left, "late");
    assert_eq!(dir.verify().fault, None);
}

// --- secrets, and reading beside the gateway ----------------------------------------------------------------------

#[test]
fn arguments_in_clear_are_wiped_when_the_call_is_over() {
    let dir = Dir::new();
    let holds_secret = || {
        let files = [dir.db(), dir.0.join("agentpass.db-wal")];
        files.iter().any(|path| {
            let bytes = std::fs::read(path).unwrap_or_default();
            bytes.windows(SECRET.len()).any(|w| w == SECRET.as_bytes())
        })
    };
    let (store, _) = dir.open();
    smol::block_on(async {
        let mut ids = Vec::new();
        for n in 0..200 {
            ids.push(record(&store, asked(&format!("door{n}"))).await);
        }
        assert!(holds_secret(), "the test looks where the arguments are");
        for (n, id) in ids.into_iter().enumerate() {
            if n % 2 == 0 {
                store
                    .answer(id, &QuestionEnd::TimedOut, Some(&Outcome::TimedOut), at(1), false)
                    .await
                    .unwrap();
            } else {
                store.answer(id, &approved(), None, at(1), false).await.unwrap();
                let door = call("pi", &format!("door{n}"));
                assert!(store.claim(id, door, vec![], at(2), false).await.unwrap().is_some());
            }
        }
        store.maintain(at(3)).await.unwrap();
        assert!(!holds_secret(), "while the gateway runs");
        store.close().await;
    });
    assert!(!holds_secret());
}

#[test]
fn the_lists_work_beside_a_running_gateway() {
    let dir = Dir::new();
    let (store, _) = dir.open();
    smol::block_on(async {
        for n in 0..5 {
            execute(&store, &format!("door{n}")).await;
        }
        let id = record(&store, asked("front")).await;
        let denied = QuestionEnd::Denied { by: Responder::new("local", "root"), note: None };
        let outcome = Outcome::DeniedByUser { note: None };
        store.answer(id, &denied, Some(&outcome), at(9), true).await.unwrap();
        let other = NewCall { call: call("laptop", "gate"), at: at(100), ..asked("gate") };
        let other = record(&store, other).await;
        store.answer(other, &approved(), None, at(101), true).await.unwrap();
    });
    let mut reader = dir.reader();
    let mut count = |filter: Filter| reader.list(&filter).unwrap().len();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(count(Filter::default()), 7);
    assert_eq!(count(Filter { limit: Some(3), ..Filter::default() }), 3);
    assert_eq!(count(Filter { agent: text("laptop"), ..Filter::default() }), 1);
    assert_eq!(count(Filter { tool: text("door_*"), ..Filter::default() }), 7);
    assert_eq!(count(Filter { tool: text("*[!a-z]open"), ..Filter::default() }), 7);
    assert_eq!(count(Filter { tool: text("door"), ..Filter::default() }), 0);
    assert_eq!(count(Filter { decision: text("ask"), ..Filter::default() }), 2);
    assert_eq!(count(Filter { outcome: text("denied"), ..Filter::default() }), 1);
    assert_eq!(count(Filter { session: text("s1"), ..Filter::default() }), 7);
    assert_eq!(count(Filter { since: Some(at(100)), ..Filter::default() }), 1);
    assert_eq!(count(Filter { until: Some(at(100)), ..Filter::default() }), 6);
    assert_eq!(count(Filter { text: text("door3"), ..Filter::default() }), 1);
    assert_eq!(count(Filter { text: text("guests\nare"), ..Filter::default() }), 7);
    let page = reader.list(&Filter { limit: Some(2), ..Filter::default() }).unwrap();
    assert!(page[0].seq > page[1].seq, "newest first");
    let next = reader.list(&Filter { before: Some(page[1].seq), ..Filter::default() }).unwrap();
    assert_eq!(next.len(), 5);
    assert!(matches!(reader.show("").unwrap(), Lookup::Unknown));
    assert!(matches!(reader.show("zz%").unwrap(), Lookup::Unknown));

    let stats = reader.stats(None, None, at(200)).unwrap().to_json();
    let expected = json!({
        "total_requests": 7, "last_24h": 7, "approval_rate": 0.5,
        "top_tools": [{"tool_name": "door_open", "count": 7}],
        "top_agents": [{"agent_id": "pi", "count": 6}, {"agent_id": "laptop", "count": 1}],
        "decision_breakdown": {"allow": 5, "ask": 2},
        "outcome_breakdown": {"executed": 5, "denied": 1, "pending": 1},
    });
    assert_eq!(stats, expected);
    assert_eq!(reader.verify().unwrap().fault, None);
    smol::block_on(store.close());
    assert_eq!(dir.verify().fault, None);
}

/// Half a cent more under the limit `spend`, until `until`.
fn charge(session: Option<&str>, until: Timestamp) -> Charge {
    let pi = AgentId::configured("pi");
    let named = session.map(|name| Some(Arc::from(name)));
    Charge {
        limit: "spend".into(),
        counter: CounterId {
            limit: Digest::sha256(b"spend"),
            key: CounterKey { agent: Some(pi.clone()), session: named, ..CounterKey::default() },
        },
        agent: pi,
        part: Part { until, amount: "0.005".parse().unwrap() },
        how: Charging::Sum,
        session: session.map_or(0, |_| 7),
    }
}

/// What counts after a start: session, amount, last charged.
fn counted(dir: &Dir) -> Vec<(Option<String>, String, Timestamp)> {
    let (store, recovered) = dir.open();
    smol::block_on(store.close());
    let shown = |counter: &KeptCounter| {
        let session = counter.key.session.clone().flatten().map(|name| name.to_string());
        (session, counter.tally.sum(at(0)).unwrap().to_string(), counter.last)
    };
    let mut counted: Vec<_> = recovered.counted.iter().map(shown).collect();
    counted.sort();
    counted
}

fn charged(door: &str, charges: &[Charge]) -> NewCall {
    let new = allowed(door);
    NewCall { decision: Verdict { charges: charges.to_vec(), ..new.decision.clone() }, ..new }
}

#[test]
fn what_a_claim_charges_is_counted_in_its_transaction_and_no_other_call_charges() {
    let dir = Dir::new();
    let charges = [charge(None, at(60)), charge(Some("s"), Part::OPEN)];
    dir.with(async |store| {
        record(store, charged("front", &charges)).await;
        record(store, charged("back", &charges[..1])).await;
        let open = charged("side", &charges);
        let asked = NewCall { decision: Verdict { decision: Action::Ask, ..open.decision.clone() }, ..open };
        let id = record(store, asked).await;
        assert!(store.answer(id, &approved(), None, at(1), true).await.unwrap());
        let claim = store.claim(id, call("pi", "side"), charges[..1].to_vec(), at(2), true).await.unwrap();
        assert!(claim.is_some());
        let again = store.claim(id, call("pi", "side"), charges[..1].to_vec(), at(3), true).await.unwrap();
        assert!(again.is_none());
    });
    let session = (Some("s".to_owned()), "0.005".to_owned(), NOW);
    assert_eq!(counted(&dir), [(None, "0.015".to_owned(), at(2)), session]);
    let db = Connection::open(dir.db()).unwrap();
    let sql = "SELECT count(*) FROM events WHERE json_array_length(body -> '$.charges') > 0";
    assert_eq!(db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap(), 3);
    assert_eq!(dir.verify().fault, None);
}

#[test]
fn a_counter_ends_with_its_time_its_session_or_at_a_persons_word() {
    let dir = Dir::new();
    dir.with(async |store| {
        record(store, charged("front", &[charge(None, at(-1)), charge(Some("s"), Part::OPEN)])).await;
        let anew = Charge { session: 8, ..charge(Some("s"), Part::OPEN) };
        record(store, NewCall { at: at(5), ..charged("front", &[anew]) }).await;
        record(store, charged("front", &[charge(Some("t"), Part::OPEN)])).await;
        // Of the session that has ended: it takes nothing from the later one.
        record(store, charged("front", &[charge(Some("s"), Part::OPEN)])).await;
    });
    let session = |name: &str, at| (Some(name.to_owned()), "0.005".to_owned(), at);
    assert_eq!(counted(&dir), [session("s", at(5)), session("t", NOW)]);
    dir.with(async |store| {
        let s = (AgentId::configured("pi"), Some("s".into()));
        let t = (AgentId::configured("pi"), Some("t".into()));
        let live = |number, last| LiveSession { number, last };
        let live = LiveSessions::from([(s, live(8, at(5))), (t, live(7, at(4)))]);
        store.end_sessions(at(1), live).await.unwrap()
    });
    assert_eq!(
        counted(&dir),
        [session("s", at(5)), session("t", at(4))],
        "calls that were not claimed keep them"
    );
    dir.with(async |store| store.end_sessions(at(5), LiveSessions::new()).await.unwrap());
    assert_eq!(counted(&dir), [session("s", at(5))]);
    let reset = |agent: &str| LimitReset {
        limit: "spend".into(),
        identity: Digest::sha256(b"spend"),
        agent: Some(AgentId::configured(agent)),
        by: Responder::new("local", "root"),
    };
    dir.with(async |store| store.reset_limit(at(6), reset("laptop")).await.unwrap());
    assert_eq!(counted(&dir).len(), 1);
    dir.with(async |store| store.reset_limit(at(6), reset("pi")).await.unwrap());
    assert_eq!(counted(&dir), []);
    assert_eq!(dir.verify().fault, None);
}

#[test]
fn what_is_counted_is_what_was_charged() {
    let far = at(100_000_000);
    let filled = || {
        let dir = Dir::new();
        dir.with(async |store| {
            record(store, charged("front", &[charge(None, far), charge(Some("s"), Part::OPEN)])).await;
            record(store, charged("front", &[charge(None, far)])).await;
        });
        assert_eq!((dir.verify().fault, counted(&dir).len()), (None, 2));
        dir
    };
    // What a session has counted ends without an event.
    let dir = filled();
    dir.with(async |store| store.end_sessions(at(1), LiveSessions::new()).await.unwrap());
    assert_eq!(dir.verify().fault, None);
    for sql in [
        "UPDATE counters SET amount = '0' WHERE key NOT LIKE '%session%'",
        "UPDATE counters SET amount = '0' WHERE key LIKE '%session%'",
        "DELETE FROM counters WHERE key NOT LIKE '%session%'",
        "UPDATE counters SET until = until - 1",
    ] {
        let dir = filled();
        dir.falsify(sql);
        assert_eq!(dir.wrong(), FaultKind::CountersChanged, "{sql}");
    }
}

// --- what agents have read ----------------------------------------------------------------------------------------

/// A call of a tool that reads from the CRM.
fn reading(door: &str, session: Option<&str>) -> NewCall {
    let data =
        DataFacts { from: Some("crm".into()), labels: ["pii".to_owned()].into(), ..DataFacts::default() };
    let facts = ToolFacts { data: Some(data), ..tool().facts.clone() };
    let tool = Arc::new(Tool { facts, ..(*tool()).clone() });
    let Value::Object(args) = json!({ "door": door }) else { unreachable!() };
    let call = Arc::new(Call::new(AgentId::configured("pi"), tool, args).unwrap());
    NewCall { call, session: session.map(str::to_owned), ..allowed(door) }
}

fn read_by(dir: &Dir) -> Vec<(Option<String>, String, Timestamp)> {
    let (store, recovered) = dir.open();
    smol::block_on(store.close());
    let shown = |read: Reading| {
        assert_eq!((read.agent.as_str(), read.source.labels.len()), ("pi", 1));
        (read.session.map(|session| session.to_string()), read.source.from, read.at)
    };
    recovered.read.into_iter().map(shown).collect()
}

#[test]
fn what_an_agent_has_read_is_kept_with_the_end_of_its_call() {
    let dir = Dir::new();
    let crm = |session: Option<&str>, at| (session.map(str::to_owned), "crm".to_owned(), at);
    dir.with(async |store| {
        let id = record(store, reading("front", Some("s"))).await;
        store.settle(id, &Outcome::Executed(json!(1).into()), at(1)).await.unwrap();
        // Read anew, failed, denied, and of a tool that reads nothing.
        let id = record(store, reading("back", Some("s"))).await;
        store.settle(id, &Outcome::Executed(json!(1).into()), at(5)).await.unwrap();
        let id = record(store, reading("side", Some("other"))).await;
        store.settle(id, &Outcome::ServiceUnreachable, at(6)).await.unwrap();
        record_ended(store, reading("gate", Some("third")), Stage::Settled(Outcome::TooManyPending)).await;
        execute(store, "front").await;
    });
    assert_eq!(read_by(&dir), [crm(Some("s"), at(5))]);
    // Nobody knows whether the agent has heard of the end of a call that was under way.
    dir.with(async |store| record(store, reading("cut off", None)).await);
    assert_eq!(read_by(&dir), [crm(None, NOW), crm(Some("s"), at(5))]);
    let again = Reading {
        agent: AgentId::configured("pi"),
        session: Some("t".into()),
        source: Source { from: "crm".into(), labels: ["pii".to_owned()].into() },
        at: at(9),
    };
    dir.with(async |store| store.hand_out(vec![again]).await.unwrap());
    let all = [crm(None, NOW), crm(Some("s"), at(5)), crm(Some("t"), at(9))];
    assert_eq!(read_by(&dir), all);
    rebuild(&dir.db()).unwrap();
    assert_eq!(read_by(&dir), all);
    let root = Responder::new("local", "root");
    let forget = async |store: &Store, agent: &str| {
        store.forget(at(10), AgentId::configured(agent), root.clone()).await.unwrap();
    };
    dir.with(async |store| forget(store, "laptop").await);
    assert_eq!(read_by(&dir), all);
    dir.with(async |store| forget(store, "pi").await);
    assert_eq!(read_by(&dir), []);
    rebuild(&dir.db()).unwrap();
    assert_eq!(read_by(&dir), []);
    assert_eq!(dir.verify().fault, None);
}

#[test]
fn what_agents_have_read_is_what_was_handed_to_them() {
    // Old readings count no more and may be gone.
    let far = at(100_000_000);
    let filled = || {
        let dir = Dir::new();
        dir.with(async |store| {
            for (door, session) in [("front", Some("s")), ("back", None)] {
                let id = record(store, reading(door, session)).await;
                store.settle(id, &Outcome::Executed(json!(1).into()), far).await.unwrap();
            }
        });
        assert_eq!((dir.verify().fault, read_by(&dir).len()), (None, 2));
        dir
    };
    for sql in [
        "DELETE FROM readings WHERE session = 'null'",
        "UPDATE readings SET at = at - 1",
        "UPDATE readings SET agent = 'laptop' WHERE session = 'null'",
        "UPDATE readings SET source = '{\"from\":\"crm\",\"labels\":[]}' WHERE session = 'null'",
    ] {
        let dir = filled();
        dir.falsify(sql);
        assert_eq!(dir.wrong(), FaultKind::ReadingsChanged, "{sql}");
    }
}
