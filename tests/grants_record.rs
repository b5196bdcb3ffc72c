//! Grants in the record: what `audit verify`, the tables, the pages, the metrics and a replay say of them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use harness::gateway::{LAPTOP, TOKEN};
use harness::site::Site;
use harness::{Agent, Gateway, Setup};
use serde_json::{Value, json};

const RULES: &str = r#"rules:
  - {pattern: "say", action: ask, description: "Talk", grant: {for: [15m], uses: 3, scope: rule}}
  - {pattern: "call_service(light.*)", action: ask}
  - {pattern: "call_service(door.*)", action: ask, always: true}
"#;

fn setup(permissions: &str) -> Setup {
    let usual = Setup::with_pages();
    let config = format!("{}\napprovals: {{cool_down: off}}\n", usual.config);
    Setup { config, permissions: permissions.into(), ..usual }
}

fn say(agent: &mut Agent, text: &str) -> Value {
    agent.request("say", json!({"text": text}))
}

/// A grant for saying things, at the question with this id.
fn granted(gateway: &Gateway, agent: &mut Agent) -> String {
    let wire = agent.send("tool_request", json!({"tool": "say", "args": {"text": "first"}}));
    let id = agent.asked();
    gateway.json(&["approve", &id, "--for", "15m", "--json"]);
    assert_eq!(agent.reply(wire)["result"]["status"], "executed");
    id
}

#[test]
fn what_is_changed_in_the_table_of_grants_is_found() {
    let mut gateway = Gateway::with(&setup(RULES));
    let mut agent = Agent::login(gateway.address, TOKEN);
    granted(&gateway, &mut agent);
    assert_eq!(say(&mut agent, "second")["result"]["grant"]["uses_left"], 2);
    gateway.json(&["grant", "default", "call_service*", "--for", "1h", "--json"]);
    gateway.json(&["grants", "revoke", "--all", "--json"]);
    granted(&gateway, &mut agent);
    // Also while the newest events stand in no table yet.
    gateway.verify();
    assert_eq!(gateway.terminate(), Some(0));
    gateway.verify();
    let path = gateway.path("data/agentpass.db");
    let whole = std::fs::read(&path).unwrap();
    for forged in [
        "UPDATE grants SET used = 0 WHERE used > 0",
        "UPDATE grants SET ended = NULL, ended_by = NULL, ended_at = NULL WHERE ended = 'revoked'",
        "UPDATE grants SET ended_by = 'local:nobody' WHERE ended = 'revoked'",
        "UPDATE grants SET until = until + 1 WHERE ended IS NULL",
        "UPDATE grants SET body = replace(body, '\"uses\":3', '\"uses\":300')",
        "DELETE FROM grants WHERE ended IS NULL",
        "INSERT INTO grants SELECT 'more', seq, body, until, used, NULL, NULL, NULL FROM grants LIMIT 1",
    ] {
        let db = rusqlite::Connection::open(&path).unwrap();
        assert!(db.execute(forged, []).unwrap() > 0, "{forged}");
        drop(db);
        let found = gateway.cli(&["audit", "verify"]);
        let said = String::from_utf8_lossy(&found.stderr).into_owned();
        assert!(!found.status.success() && said.contains("grants or their uses"), "{forged}: {said}");
        std::fs::write(&path, &whole).unwrap();
    }
    gateway.verify();
    // What retention drops is no fault.
    gateway.restart();
    gateway.verify();
}

#[test]
fn pages_tables_and_metrics_name_the_grant() {
    let gateway = Gateway::with(&setup(RULES));
    let mut agent = Agent::login(gateway.address, TOKEN);
    let id = granted(&gateway, &mut agent);
    let mut uses = (0..2).map(|n| say(&mut agent, &format!("again {n}"))["result"]["request_id"].clone());
    let used = uses.next().unwrap().as_str().unwrap().to_owned();
    assert!(uses.next().unwrap().is_string());
    let row = gateway.row(&used);
    assert_eq!(row["grant"], json!({"grant_id": id, "uses": 1}), "{row}");
    let site = Site::signed_in(&gateway);
    let table = site.get("/audit/export.csv").body;
    let mut lines = csv(&table);
    let head = lines.remove(0);
    let column = head.iter().position(|name| name == "grant_id").unwrap();
    let ids: Vec<_> = lines.iter().map(|line| line[column].as_str()).collect();
    assert_eq!(ids, [id.as_str(), &id, ""], "{table}");

    let page = site.get(&format!("/audit/call/{used}")).body;
    assert!(page.contains("<dt>Grant</dt>") && page.contains(&id), "{page}");
    gateway.followed();
    let words = "everything of default that &quot;Talk&quot; asks about, at most 3 times";
    let page = site.get(&format!("/audit/call/{id}")).body;
    assert!(page.contains("granted") && page.contains(words), "{page}");
    let story = gateway.json(&["audit", "show", &id, "--json"]);
    let kinds: Vec<_> = story["events"].as_array().unwrap().iter().map(|event| &event["kind"]).collect();
    assert_eq!(kinds, ["requested", "answered", "granted", "executing", "finished"]);

    let metrics = site.get("/metrics").body;
    for line in [
        "agentpass_grants{agent=\"default\"} 1\n",
        "agentpass_grants{agent=\"laptop\"} 0\n",
        "agentpass_grant_uses_total{agent=\"default\"} 2\n",
        "agentpass_grant_uses_total{agent=\"laptop\"} 0\n",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    say(&mut agent, "the last");
    let metrics = site.get("/metrics").body;
    assert!(metrics.contains("agentpass_grants{agent=\"default\"} 0\n"), "{metrics}");
}

/// A read waits for the disk when it uses a grant: a power cut must not give the use back.
#[test]
fn a_use_waits_for_the_disk_also_where_the_call_only_reads() {
    let gateway = Gateway::with(&setup(
        "rules: [{pattern: \"get_state(asked*\", action: ask}, {pattern: \"get_state(allowed*\", action: allow}]\n",
    ));
    gateway.json(&["grant", "default", "get_state*", "--for", "1h", "--json"]);
    let site = Site::signed_in(&gateway);
    let waits = || {
        let metrics = site.get("/metrics").body;
        let name = "agentpass_commit_seconds_count{durable=\"yes\"} ";
        metrics.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok()).unwrap()
    };
    let mut agent = Agent::login(gateway.address, TOKEN);
    let mut read = |entity: &str| {
        let before = waits();
        let reply = agent.request("get_state", json!({"entity_id": entity}));
        assert_eq!(reply["result"]["status"], "executed", "{reply}");
        waits() > before
    };
    assert_eq!((read("allowed"), read("asked about")), (false, true));
}

fn csv(table: &str) -> Vec<Vec<String>> {
    let mut rows = vec![vec![String::new()]];
    let mut quoted = false;
    for c in table.chars() {
        let row = rows.last_mut().unwrap();
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(String::new()),
            '\n' if !quoted => rows.push(vec![String::new()]),
            '\r' => {}
            c => row.last_mut().unwrap().push(c),
        }
    }
    rows.retain(|row| row.len() > 1);
    rows
}

#[test]
fn a_replay_knows_what_was_granted() {
    let gateway = Gateway::with(&setup(RULES));
    let mut agent = Agent::login(gateway.address, TOKEN);
    granted(&gateway, &mut agent);
    assert_eq!(say(&mut agent, "second")["result"]["status"], "executed");
    gateway.json(&["grant", "laptop", "*", "--for", "1h", "--json"]);
    let mut laptop = Agent::login(gateway.address, LAPTOP);
    let light = json!({"domain": "light", "service": "turn_on", "entity_id": "light.a"});
    assert_eq!(laptop.request("call_service", light)["result"]["status"], "executed");

    let same = gateway.cli(&["policy", "replay"]);
    let said = String::from_utf8_lossy(&same.stderr).into_owned();
    assert!(same.status.success() && said.contains("0 of 3 calls"), "{said}");

    let otherwise = |rules: &str| {
        std::fs::write(gateway.path("other.yaml"), rules).unwrap();
        let output = gateway.cli(&["policy", "replay", "--permissions", "other.yaml", "--json"]);
        let groups: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let one = |group: &Value| {
            let text = |name: &str| group[name].as_str().unwrap().to_owned();
            (text("signature"), text("was"), text("would_be"))
        };
        groups.iter().map(one).collect::<Vec<_>>()
    };
    let light = "call_service(light.turn_on, light.a)";
    let was = |signature: &str, was: &str, would_be: &str| (signature.into(), was.into(), would_be.into());
    // Where nothing is offered any more, nothing can have been granted; a deny is a deny.
    assert_eq!(
        otherwise(&RULES.replace(", grant: {for: [15m], uses: 3, scope: rule}", "")),
        [was("say", "allow", "ask")]
    );
    assert_eq!(
        otherwise(&RULES.replace("light.*)\", action: ask", "light.*)\", action: deny")),
        [was(light, "allow", "deny")]
    );
    // What was given beforehand covers nothing that is always asked about.
    assert_eq!(
        otherwise(&RULES.replace("light.*)\", action: ask", "light.*)\", action: ask, always: true")),
        [was(light, "allow", "ask")]
    );
    assert_eq!(otherwise(&RULES.replace("Talk", "Speak")), []);

    // As a test, such a call is one that is asked about.
    let written = gateway.cli(&["policy", "test", "--from-record"]);
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let passed = gateway.cli(&["policy", "test"]);
    assert!(passed.status.success(), "{}", String::from_utf8_lossy(&passed.stdout));
}
