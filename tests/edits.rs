//! Edit, then approve: what is executed is the changed call, once, under the same request; what is said against the
//! change ends the change and not the question.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use harness::gateway::{LAPTOP, TOKEN, cli};
use harness::site::Site;
use harness::{Agent, Gateway, Setup, eventually};
use serde_json::{Value, json};

const PERMISSIONS: &str = r#"
rules:
  - {pattern: "call_service(lock.*)", action: deny, description: "Lock control is always denied"}
  - {pattern: "say*", action: ask}
defaults:
  - {pattern: "get_*", action: allow}
  - {pattern: "*", action: ask}
"#;

fn setup() -> Setup {
    Setup { permissions: PERMISSIONS.into(), ..Setup::default() }
}

fn dim(agent: &mut Agent) -> u64 {
    agent.send("tool_request", json!({"tool": "call_service", "args": args(100), "idempotency_key": "dim-1"}))
}

fn args(brightness: u32) -> Value {
    json!({"domain": "light", "service": "turn_on", "entity_id": "light.desk", "brightness": brightness})
}

/// Exit code and the answer of `approve --json` with these options.
fn approve(gateway: &Gateway, options: &[&str]) -> (i32, Value) {
    let output = cli(&gateway.folder, &[&["approve", "--json"], options].concat(), "");
    let text = String::from_utf8(output.stdout).unwrap();
    print!("{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// What the service was sent: path and body.
fn sent(gateway: &Gateway) -> Vec<(String, Value)> {
    gateway.upstream.seen().iter().map(|seen| (seen.target.clone(), seen.json())).collect()
}

#[test]
fn the_changed_call_is_made_once_and_both_are_in_the_record() {
    let gateway = Gateway::with(&setup());
    let mut agent = Agent::login(gateway.address, TOKEN);
    let call = dim(&mut agent);
    let id = gateway.question();
    let (code, answer) = approve(
        &gateway,
        &[&id, "--set", "brightness:=60", "--set", "transition:=null", "--set", "entity_id=light.door"],
    );
    assert_eq!((code, &answer["outcome"]), (0, &json!("resolved")), "{answer}");
    let reply = agent.reply(call);
    assert_eq!(reply["result"]["edited"], json!(["brightness", "entity_id"]), "{reply}");
    assert_eq!(reply["result"]["request_id"], id.as_str());
    let body = json!({"brightness": 60, "entity_id": "light.door"});
    assert_eq!(sent(&gateway), [("/api/services/light/turn_on".to_owned(), body)]);

    // The key stands for what the agent asked, and the answer still says what was changed.
    let again = dim(&mut agent);
    let again = agent.reply(again);
    assert_eq!(
        (&again["result"]["replayed"], &again["result"]["edited"]),
        (&json!(true), &reply["result"]["edited"])
    );
    assert_eq!(sent(&gateway).len(), 1);

    let row = gateway.row(&id);
    assert_eq!(row["args"], args(100));
    assert_eq!(row["edited"]["names"], json!(["brightness", "entity_id"]));
    assert_eq!(row["edited"]["args"]["brightness"], 60);
    assert_eq!(row["edited"]["signature"], "call_service(light.turn_on, light.door)");
    assert!(row["edited"]["by"].as_str().unwrap().starts_with("local:"), "{row}");
    assert_eq!((&row["outcome"], &row["resolution"]), (&json!("executed"), &json!("approved")));
    let shown = gateway.json(&["audit", "show", &id, "--json"]);
    let kinds: Vec<_> =
        shown["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["requested", "edited", "answered", "executing", "finished"]);
    gateway.verify();
}

#[test]
fn what_is_said_against_a_change_leaves_the_question_open() {
    let gateway = Gateway::with(&setup());
    let mut agent = Agent::login(gateway.address, TOKEN);
    let call = dim(&mut agent);
    let id = gateway.question();
    let before = gateway.questions();
    let refused = [
        (&["--set", "domain=LIGHT"][..], 4, "refused"),
        (&["--set", "domain:=null"], 4, "refused"),
        (&["--set", "colour=red"], 4, "refused"),
        (&["--set", "brightness:=[1"], 4, ""),
        (&["--set", "x=1", "--set", "x=2"], 4, ""),
        (&["--set", "entity_id=s3rvice-cr3dential-0123456789"], 4, "refused"),
        (&["--set", "domain=lock"], 1, "denied"),
        (&["--set", "brightness:=60", "--digest", "0011223344556677"], 1, "stale"),
        (&["--digest", "0011223344556677"], 1, "stale"),
    ];
    for (options, code, outcome) in refused {
        let (exit, answer) = approve(&gateway, &[&[id.as_str()], options].concat());
        assert_eq!(
            (exit, answer["outcome"].as_str().unwrap_or_default()),
            (code, outcome),
            "{options:?}: {answer}"
        );
    }
    let said = cli(&gateway.folder, &["approve", &id, "--set", "domain=lock"], "");
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("a rule denies it now: Lock control is always denied"), "{said}");
    assert_eq!(gateway.questions(), before);
    assert!(sent(&gateway).is_empty());
    let digest = before[0]["digest"].as_str().unwrap();
    assert_eq!(approve(&gateway, &[&id, "--digest", digest]).0, 0);
    let reply = agent.reply(call);
    assert_eq!((&reply["result"]["status"], &reply["result"]["edited"]), (&json!("executed"), &Value::Null));
    assert_eq!(sent(&gateway)[0].1["brightness"], 100);
    let (code, answer) = approve(&gateway, &[&id, "--set", "brightness:=1"]);
    assert_eq!((code, &answer["outcome"]), (5, &json!("already_resolved")), "{answer}");
    gateway.verify();
}

#[test]
fn secrets_are_neither_changed_nor_shown() {
    let gateway = Gateway::with(&setup());
    let mut agent = Agent::login(gateway.address, LAPTOP);
    let call = agent.send("tool_request", json!({"tool": "say", "args": {"text": "hi", "pin": "4711"}}));
    let id = gateway.question();
    for set in ["pin=1", "pin:=null"] {
        let (code, answer) = approve(&gateway, &[&id, "--set", set]);
        assert_eq!((code, &answer["outcome"]), (4, &json!("refused")), "{answer}");
    }
    let shown = cli(&gateway.folder, &["approve", &id, "--set", "text=hello"], "");
    let shown = String::from_utf8([shown.stdout, shown.stderr].concat()).unwrap();
    assert!(shown.contains("text ⟨changed⟩") && shown.contains("text ⟨as asked⟩"), "{shown}");
    assert!(shown.contains("•••") && !shown.contains("4711"), "{shown}");
    assert_eq!(agent.reply(call)["result"]["edited"], json!(["text"]));
    assert_eq!(sent(&gateway)[0].1, json!({"text": "hello", "pin": "4711"}));
    let record = gateway.json(&["audit", "show", &id, "--json"]).to_string();
    assert!(!record.contains("4711"));
}

/// The same call is joined by what it was when it was asked, also after somebody has changed it.
#[test]
fn limits_count_the_changed_call_and_joins_go_by_the_call_as_asked() {
    let limits = "limits:\n  - {name: bright, pattern: \"call_service*\", count: \"arg:brightness\", per: agent, window: 1h, deny_above: 100}\n";
    let gateway = Gateway::with(&Setup { permissions: format!("{PERMISSIONS}{limits}"), ..setup() });
    let mut agent = Agent::login(gateway.address, TOKEN);
    let first = dim(&mut agent);
    let id = gateway.question();
    let mut other = Agent::login(gateway.address, TOKEN);
    let joined = other.send("tool_request", json!({"tool": "call_service", "args": args(100)}));
    eventually("the second one joins", || (gateway.whole_questions()[0]["times_asked"] == 2).then_some(()));
    let (code, answer) = approve(&gateway, &[&id, "--set", "brightness:=101"]);
    assert_eq!((code, &answer["outcome"]), (1, &json!("denied")), "{answer}");
    assert_eq!(approve(&gateway, &[&id, "--set", "brightness:=30"]).0, 0);
    for reply in [agent.reply(first), other.reply(joined)] {
        assert_eq!(
            (&reply["result"]["edited"], &reply["result"]["request_id"]),
            (&json!(["brightness"]), &json!(id))
        );
    }
    let counted = gateway.json(&["limits", "--json"]);
    assert_eq!(counted[0]["count"], "30", "{counted}");
    assert_eq!(sent(&gateway).len(), 1);
}

fn pages() -> Setup {
    Setup { permissions: PERMISSIONS.into(), ..Setup::with_pages() }
}

/// What follows `before` up to the next quote, with the escapes of HTML undone.
fn after(page: &str, before: &str) -> String {
    let rest = page.split_once(before).unwrap_or_else(|| panic!("{before} is not in {page}")).1;
    rest.split('"').next().unwrap().replace("&quot;", "\"").replace("&amp;", "&")
}

#[test]
fn a_plain_form_changes_arguments_shows_them_and_approves_just_that() {
    let gateway = Gateway::with(&pages());
    let site = Site::signed_in(&gateway);
    let mut agent = Agent::login(gateway.address, TOKEN);
    let call = dim(&mut agent);
    let id = gateway.question();
    let (edit, answer) = (format!("/approvals/{id}/edit"), format!("/approvals/{id}"));
    let form = site.get(&edit);
    // Declared arguments first, by name; what the agent added comes after them.
    for field in
        ["name=\"a0\" value=\"light\"", "name=\"a1\" value=\"light.desk\"", "name=\"a3\" value=\"100\""]
    {
        assert!(form.body.contains(field), "{field}: {}", form.body);
    }
    let digest = after(&form.body, "name=\"digest\" value=\"");
    let fields = |domain: &'static str, digest: &str| {
        let fields = [("a0", domain), ("a1", "light.desk"), ("a2", "turn_on"), ("a3", "60"), ("o1", "on")];
        let all = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        [&all[..], &[("digest".to_owned(), digest.to_owned())]].concat()
    };
    let post = |path: &str, fields: Vec<(String, String)>| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        site.post(path, &fields)
    };
    for (domain, digest, status, said) in [
        ("LIGHT", digest.as_str(), 400, "Not like this"),
        ("lock", digest.as_str(), 200, "Lock control is always denied"),
        ("light", "0011223344556677", 409, "Look again"),
    ] {
        let page = post(&edit, fields(domain, digest));
        assert!(page.status == status && page.body.contains(said), "{domain}: {} {}", page.status, page.body);
    }
    let page = post(&edit, fields("light", &digest));
    assert!(page.body.contains("⟨changed⟩") && page.body.contains("⟨as asked⟩"), "{}", page.body);
    assert!(sent(&gateway).is_empty() && gateway.questions().len() == 1);
    let set = after(&page.body, "name=\"set\" value=\"");
    assert_eq!(serde_json::from_str::<Value>(&set).unwrap(), json!({"brightness": 60, "entity_id": null}));
    let yes = |digest: &str| {
        let fields = [("choice", "approve"), ("set", set.as_str()), ("digest", digest)];
        post(&answer, fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
    };
    assert_eq!(yes("0011223344556677").status, 409);
    assert_eq!(yes(&digest).status, 303);
    assert_eq!(agent.reply(call)["result"]["edited"], json!(["brightness", "entity_id"]));
    assert_eq!(sent(&gateway)[0].1, json!({"brightness": 60}));
    let record = site.get(&format!("/audit/call/{id}")).body;
    assert!(record.contains("Arguments as changed") && record.contains("edited"), "{record}");
}

#[test]
fn many_are_answered_at_once_and_what_came_since_is_not() {
    let gateway = Gateway::with(&pages());
    let site = Site::signed_in(&gateway);
    let (mut agent, mut laptop) =
        (Agent::login(gateway.address, TOKEN), Agent::login(gateway.address, LAPTOP));
    let say = |agent: &mut Agent, text: &str| {
        agent.send("tool_request", json!({"tool": "say", "args": {"text": text}}))
    };
    let said: Vec<_> = ["one", "two"].map(|text| say(&mut agent, text)).into();
    let dimmed = dim(&mut agent);
    let other = say(&mut laptop, "three");
    eventually("four questions", || (gateway.questions().len() == 4).then_some(()));
    for options in [
        &["--all"][..],
        &["--agent", "default"],
        &["--all", "--agent", "default", "--rule", "1", "--default", "1"],
    ] {
        assert_eq!(approve(&gateway, options).0, 4, "{options:?}");
    }
    let all = ["approve", "--all", "--agent", "default", "--rule", "2", "--json"];
    let output = cli(&gateway.folder, &all, "");
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((output.status.code(), lines.len()), (Some(0), 2), "{lines:?}");
    assert!(lines.iter().all(|line| line["outcome"] == "resolved"), "{lines:?}");
    for call in said {
        assert_eq!(agent.reply(call)["result"]["status"], "executed");
    }
    // The page: one that was shown, one that is no more, one whose call is another.
    let page = site.get("/approvals/").body;
    let boxes: Vec<_> =
        page.split("name=\"q\" value=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(boxes.len(), 2, "{page}");
    let gone = lines[0]["request_id"].as_str().unwrap().to_owned() + ".0011223344556677";
    let mut fields: Vec<_> = boxes.iter().map(|shown| ("q", *shown)).collect();
    fields.extend([("q", gone.as_str()), ("choice", "deny")]);
    let told = site.post("/approvals/several", &fields).body;
    assert_eq!(told.matches("Denied by you").count(), 2, "{told}");
    assert!(told.contains("Approved by local:"), "{told}");
    assert!(agent.reply(dimmed)["error"].is_object() && laptop.reply(other)["error"].is_object());
    let output = cli(&gateway.folder, &["deny", "--all", "--agent", "default", "--json"], "");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
}
