//! All that is said while everything is stopped: to agents over both protocols, to programs that watch, and to people.

use serde_json::{Value, json};

use crate::client::{Client, holding, text};
use crate::harness::agent::error;
use crate::harness::gateway::{LAPTOP, TOKEN};
use crate::harness::site::Site;
use crate::harness::{Agent, Gateway, Setup};

const STOPPED: (i64, &str) = (-32003, "kill_switch");

fn keyed(text: &str) -> Value {
    let args = json!({"domain": "light", "service": "turn_off", "text": text});
    json!({"tool": "call_service", "args": args, "idempotency_key": text})
}

#[test]
fn everybody_hears_of_a_stop_in_their_own_words() {
    let usual = holding(1);
    let config = usual.config.replace("health_port: off", "health_port: 0");
    let gateway = Gateway::with(&Setup { config, ..usual });
    let mut agent = Agent::login(gateway.address, TOKEN);
    assert_eq!(agent.call("tool_request", keyed("before"))["result"]["status"], "executed");
    let open = agent.send("tool_request", json!({"tool": "say", "args": {"text": "open"}}));
    let question = agent.asked();
    let site = Site::signed_in(&gateway);
    assert_eq!(site.get("/healthz").json().get("stopped"), None);
    assert!(site.get("/metrics").body.contains("agentpass_stopped{agent=\"*\"} 0\n"));
    assert_eq!(gateway.json(&["status", "--json"])["stopped"]["all"], false);
    let old = Client::legacy(&gateway, TOKEN);
    let told = gateway.json(&["kill", "--reason", "Odd <b>calls", "--json"]);

    agents_hear_it(&gateway, &mut agent, open, &old);
    programs_hear_it(&gateway, &site, &told["stopped"]);
    people_hear_it(&gateway, &site, &question);

    gateway.json(&["resume", "--json"]);
    assert_eq!(agent.call("tool_request", keyed("before"))["result"]["replayed"], true);
    assert_eq!(old.old_call("get_state", json!({"entity_id": "a"}))["isError"], false);
    assert_eq!(site.get("/healthz").json().get("stopped"), None);
    assert!(!site.get("/").body.contains("role=\"alert\""));
    assert_eq!(gateway.upstream.seen().len(), 2);
    gateway.verify();
}

fn agents_hear_it(gateway: &Gateway, agent: &mut Agent, open: u64, old: &Client) {
    assert_eq!(error(&agent.reply(open)), STOPPED);
    let unknown = json!({"tool": "no_such_tool", "args": {}});
    for call in [keyed("before"), keyed("new"), json!({"tool": "say", "args": {"text": "new"}}), unknown] {
        let reply = agent.call("tool_request", call);
        assert_eq!(error(&reply), STOPPED);
        // Why and by whom is not for agents.
        assert!(!reply.to_string().contains("Odd") && !reply.to_string().contains("local:"), "{reply}");
    }
    // What is no call goes on: connections stay, new ones are let in, and tools are listed.
    assert!(agent.call("list_tools", json!({}))["result"]["tools"].is_array());
    let mut laptop = Agent::login(gateway.address, LAPTOP);
    let why = laptop.call("explain", json!({"tool": "get_state", "args": {"entity_id": "a"}}));
    assert_eq!(
        (&why["result"]["decision"], &why["result"]["reasons"]),
        (&json!("deny"), &json!([{"reason": "kill_switch"}])),
        "{why}"
    );
    // The same over MCP, in both eras.
    let read = json!({"entity_id": "a"});
    let new = Client::new(gateway, TOKEN);
    for denied in [
        old.old_call("get_state", read.clone()),
        new.call("get_state", read.clone()).json()["result"].clone(),
    ] {
        assert!(denied["isError"] == true && text(&denied).contains("kill_switch"), "{denied}");
        assert!(!denied.to_string().contains("Odd"), "{denied}");
    }
    let replay = json!({"name": "call_service", "arguments": keyed("before")["args"], "_meta": {"agentpass/idempotency_key": "before"}});
    let replay = old.old("tools/call", replay).json()["result"].clone();
    assert!(replay["isError"] == true && text(&replay).contains("kill_switch"), "{replay}");
    assert!(old.old("tools/list", json!({})).json()["result"]["tools"].is_array());
    let why = Client::new(gateway, LAPTOP)
        .call("agentpass_explain", json!({"tool": "get_state", "arguments": read}));
    assert!(text(&why.json()["result"]).contains("kill_switch"), "{why:?}");
}

fn programs_hear_it(gateway: &Gateway, site: &Site, stop: &Value) {
    let health = site.get("/healthz");
    assert_eq!((health.status, &health.json()["stopped"]), (200, &json!(true)), "{health:?}");
    assert_eq!(site.get("/livez").status, 200);
    let metrics = site.get("/metrics").body;
    for agent in ["*", "default", "laptop"] {
        let line = format!("agentpass_stopped{{agent=\"{agent}\"}} 1\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    let status = gateway.json(&["status", "--json"]);
    let stopped = status["stopped"].as_object().unwrap();
    for name in ["all", "agents", "by", "at", "reason"] {
        assert!(stopped.contains_key(name), "{name}: {stopped:?}");
    }
    assert_eq!((&stopped["all"], &stopped["agents"]), (&json!(true), &json!([])));
    for name in ["by", "at", "reason"] {
        assert_eq!(stopped[name], stop[name], "{name}");
    }
    assert_eq!(stopped["reason"], "Odd <b>calls");
}

fn people_hear_it(gateway: &Gateway, site: &Site, question: &str) {
    let call = format!("/audit/call/{question}");
    for path in ["/", "/approvals/", "/grants/", "/audit/", &call, "/kill/", "/nowhere"] {
        let page = site.get(path).body;
        let line = "Everything is stopped by local:";
        assert!(page.contains("role=\"alert\"") && page.contains(line), "{path}: {page}");
        assert!(page.contains("Odd &lt;b&gt;calls"), "{path}: {page}");
    }
    let status = String::from_utf8(gateway.cli(&["status"]).stdout).unwrap();
    assert!(status.contains("EVERYTHING by local:") && status.contains("Odd"), "{status}");
    let row = gateway.row(question);
    assert_eq!((&row["outcome"], &row["resolution"]), (&json!("denied"), &json!("withdrawn")), "{row}");
}
