//! A record as the version before this one left it: readable as it is, and the same after it was opened.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use super::*;
use crate::base::clock::{Clock, Timestamp};
use crate::base::digest::Digest;
use crate::base::ids::RequestId;
use crate::base::template::Template;
use crate::base::zone::Zone;
use crate::model::*;
use crate::store::reader::{Filter, Lookup, Reader};
use crate::store::{NewCall, Recovered, Stage, Store, StoreOptions};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        let dir = std::env::temp_dir().join(format!("agentpass-schema-{}", RequestId::random()));
        std::fs::create_dir(&dir).unwrap();
        Dir(dir)
    }

    fn db(&self) -> PathBuf {
        self.0.join("a.db")
    }

    fn open(&self) -> (Store, Recovered) {
        let (keep_results, keep_keys) = (Duration::from_secs(3600), Duration::from_secs(3600));
        let path = self.db();
        let options =
            StoreOptions { path, sync_all: false, retain_days: 365, max_mb: 512, keep_results, keep_keys };
        Store::open(options, &Clock::manual(NOW)).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn new_call(n: usize) -> NewCall {
    let path = Template::parse("/x").unwrap();
    let request = RequestSpec::new(Method::Post, path);
    let tool = Tool {
        service: "home".into(),
        args: BTreeMap::from([("n".into(), ArgSpec::default())]),
        digest: Digest::sha256(b"tool"),
        ..Tool::new(&format!("tool_{}", n % 5), request)
    };
    let Value::Object(args) = json!({ "n": n }) else { unreachable!() };
    let call = Call::new(AgentId::configured(["pi", "laptop"][n % 2]), Arc::new(tool), args).unwrap();
    let decision = Verdict::by_rule(Action::Allow, None);
    let key = n.is_multiple_of(7).then(|| format!("key{n}"));
    let id = RequestId::random();
    NewCall { id, at: NOW, call: call.into(), session: None, reason: None, key, decision }
}

/// Calls of every sort, beyond the end of a bucket; the ids of an approved, an open and an executed one.
async fn fill(store: &Store) -> [RequestId; 3] {
    let asked = || Stage::Asked { expires: NOW.plus(Duration::from_secs(60)) };
    let local = || Responder::new("local", "root");
    let approved = new_call(1);
    let (id, open) = (approved.id, new_call(2));
    let (still_open, executed) = (open.id, new_call(4));
    let last = executed.id;
    store.record(approved, asked(), false).await.unwrap();
    store.answer(id, &QuestionEnd::Approved { by: local() }, None, NOW, false).await.unwrap();
    store.record(open, asked(), false).await.unwrap();
    let denied = new_call(3);
    let (denied_id, note) = (denied.id, Outcome::DeniedByUser { note: None });
    store.record(denied, asked(), false).await.unwrap();
    let no = QuestionEnd::Denied { by: local(), note: None };
    store.answer(denied_id, &no, Some(&note), NOW, false).await.unwrap();
    store.add_note(denied_id, "too loud".into(), local(), NOW, false).await.unwrap();
    let executor = smol::LocalExecutor::new();
    let many = (0..4200).map(|n| {
        let (store, ended) = (store.clone(), Stage::Settled(Outcome::DeniedByPolicy(Denial::default())));
        executor.spawn(async move { store.record(new_call(n), ended, false).await.unwrap() })
    });
    let many: Vec<_> = many.collect();
    for recorded in many {
        executor.run(recorded).await;
    }
    store.record_claimed(executed, false).await.unwrap();
    store.settle(last, &Outcome::Executed(json!({"on": true}).into()), NOW).await.unwrap();
    [id, still_open, last]
}

/// Makes a record of version 3 out of a current one.
fn take_back(current: &Dir) -> Dir {
    let old = Dir::new();
    let db = at_version(&old.db(), 3);
    db.execute("ATTACH ? AS new", [current.db().to_str().unwrap()]).unwrap();
    let copy = "INSERT INTO meta SELECT * FROM new.meta; INSERT INTO events SELECT * FROM new.events;
                INSERT INTO calls SELECT * FROM new.calls; INSERT INTO keys SELECT * FROM new.keys;
                INSERT INTO open_calls SELECT * FROM new.open_calls;
                INSERT INTO results SELECT seq, request_id, r.agent, r.outcome, data, size, created, expires,
                  received, keyed FROM new.results r JOIN new.calls USING (seq);";
    db.execute_batch(copy).unwrap();
    let counted = MIGRATIONS[2].split_once("INSERT INTO counts").unwrap().1;
    db.execute_batch(&format!("INSERT INTO counts{counted}")).unwrap();
    for suffix in ["key", "head"] {
        let name = format!("a.db.{suffix}");
        std::fs::copy(current.0.join(&name), old.0.join(&name)).unwrap();
    }
    old
}

/// What readers see of a record.
fn seen(path: &Path, id: RequestId) -> (Vec<Value>, String, Value) {
    let mut reader = Reader::open(path).unwrap();
    assert_eq!(reader.verify().unwrap().fault, None);
    let rows = reader.list(&Filter::default()).unwrap().iter().map(|row| row.to_json()).collect();
    let filter =
        Filter { tool: Some("t*l_[13]".into()), outcome: Some("denied".into()), ..Filter::default() };
    let counted = format!(
        "{:?} {:?}",
        reader.charts(&filter, &Zone::default()).unwrap(),
        reader.stats(None, None, NOW).unwrap()
    );
    let Lookup::Found(shown) = reader.show(&id.to_string()).unwrap() else { panic!("not found") };
    (rows, counted, shown.events.into())
}

#[test]
fn the_version_before_is_read_as_it_is_and_brought_up_to_date() {
    let current = Dir::new();
    let pi = AgentId::configured("pi");
    let pending =
        async |store: &Store| store.pending_results(&pi, HashSet::new(), NOW, 10_000).await.unwrap();
    let (ids, waiting) = smol::block_on(async {
        let store = current.open().0;
        let filled = fill(&store).await;
        let waiting = pending(&store).await;
        store.close().await;
        (filled, waiting)
    });
    let old = take_back(&current);
    let expected = seen(&current.db(), ids[0]);
    assert_eq!(expected.2.as_array().unwrap().len(), 2);
    assert_eq!(seen(&old.db(), ids[0]), expected, "as it is");

    // The caller of the executed call had company, whose key had no event yet.
    let joined = "INSERT INTO keys SELECT json_extract(body, '$.agent'), 'company', request_id,
                  json_extract(body, '$.digest'), ? FROM events WHERE request_id = ? AND kind = 'requested'";
    let later = NOW.plus(Duration::from_secs(60)).0;
    let add_key = |path: &Path| {
        let db = Connection::open(path).unwrap();
        assert_eq!(db.execute(joined, rusqlite::params![later, ids[2].to_string()]).unwrap(), 1);
        db
    };
    drop(add_key(&old.db()));
    assert_eq!(Reader::open(&old.db()).unwrap().verify().unwrap().fault, None);

    let (store, recovered) = old.open();
    let open: Vec<_> = recovered.open.iter().map(|open| (open.id, open.approved_by.is_some())).collect();
    assert_eq!(open, [(ids[0], true), (ids[1], false)]);
    smol::block_on(async {
        assert_eq!(pending(&store).await, waiting);
        assert!(store.claim(ids[0], new_call(1).call, vec![], NOW, false).await.unwrap().is_some());
        store.settle(ids[0], &Outcome::Executed(json!(1).into()), NOW).await.unwrap();
        store.received(vec![ids[2]]);
        store.write_received().await.unwrap();
        assert!(pending(&store).await.iter().all(|result| result.request_id != ids[2]));
        assert_eq!(store.replay(&pi, "company", NOW).await.unwrap().unwrap().id, ids[2]);
        store.note(NOW, crate::store::NoteKind::Started, json!({})).await.unwrap();
        store.close().await;
    });
    assert_eq!(seen(&old.db(), ids[1]).0.len(), expected.0.len());
    let version: i64 = Connection::open(old.db())
        .unwrap()
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, KNOWN);

    // Said to be old once more, it is not taken for that: its own events say otherwise.
    Connection::open(old.db())
        .unwrap()
        .execute("UPDATE keys SET key = 'company2' WHERE key = 'company'", [])
        .unwrap();
    let pretended = add_key(&old.db());
    let tables = "DROP TABLE steps; DROP TABLE projections; DROP TABLE counters; DROP TABLE readings; DROP TABLE grants; DROP TABLE stops; CREATE INDEX events_between ON events(request_id)";
    pretended.execute_batch(tables).unwrap();
    pretended.pragma_update(None, "user_version", 4).unwrap();
    drop(pretended);
    smol::block_on(async {
        let store = old.open().0;
        assert!(store.replay(&pi, "company2", NOW).await.unwrap().is_none());
        assert!(store.replay(&pi, "company", NOW).await.unwrap().is_some());
        store.close().await;
    });
    let fault = Reader::open(&old.db()).unwrap().verify().unwrap().fault.unwrap();
    assert!(fault.to_string().contains("changed from outside"), "{fault}");
}
