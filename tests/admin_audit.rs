//! The record's pages over real sockets: what they show of real calls, hostile ones above all, the API and the export.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use agentpass::testing::base::clock::Timestamp;
use agentpass::testing::base::zone::Zone;
use harness::gateway::{LAPTOP, SERVICE_SECRET, TOKEN};
use harness::site::{Page, Site};
use harness::{Agent, Gateway, Setup};
use serde_json::{Value, json};

const HOSTILE: &str = "</td><script>alert(1)</script>\u{202e}=cmd\u{200b}\"'&";

/// A gateway at which five calls of two agents have ended, each in another way.
fn busy() -> (Gateway, Site) {
    let gateway = Gateway::with(&Setup::with_pages());
    let mut pi = Agent::login(gateway.address, TOKEN);
    assert_eq!(pi.request("get_state", json!({"entity_id": "light.one"}))["result"]["status"], "executed");
    assert!(pi.request("drop_all", json!({}))["error"].is_object());
    assert!(pi.request("no_such_tool\u{202e}<b>", json!({}))["error"].is_object());
    let mut laptop = Agent::login(gateway.address, LAPTOP);
    let args = json!({"text": format!("{HOSTILE}{}", "x".repeat(3000)), "pin": "4711"});
    let wire = laptop.send("tool_request", json!({"tool": "say", "args": args, "reason": HOSTILE}));
    let id = laptop.asked();
    assert_eq!(gateway.approve(&id), "resolved");
    assert_eq!(laptop.reply(wire)["result"]["status"], "executed");
    let wire = laptop.send("tool_request", json!({"tool": "say", "args": {"text": "no"}}));
    let id = laptop.asked();
    gateway.control(&json!({"command": "deny", "id": id, "note": "not at night"})).unwrap();
    assert!(laptop.reply(wire)["error"].is_object());
    let site = Site::signed_in(&gateway);
    (gateway, site)
}

fn calls(page: &Page) -> usize {
    assert_eq!(page.status, 200, "{page:?}");
    page.body.matches("<li class=\"call\">").count()
}

fn entries(page: &Page) -> Vec<Value> {
    assert_eq!((page.status, page.header("content-type")), (200, "application/json"), "{page:?}");
    page.json()["entries"].as_array().unwrap().clone()
}

fn id_of(site: &Site, query: &str) -> String {
    entries(&site.get(&format!("/audit/api/log?{query}")))[0]["request_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_page_has_one_time_zone_the_gateways() {
    let gateway = Gateway::with_environment(&Setup::with_pages(), &[("TZ", "XST-5:45")]);
    let mut agent = Agent::bearer(gateway.address, TOKEN);
    agent.request("get_state", json!({"entity_id": "sun"}));
    let id = gateway.audit()[0]["request_id"].as_str().unwrap().to_owned();
    let came = gateway.audit()[0]["timestamp"].as_str().unwrap().to_owned();
    let local = Zone::named("XST-5:45").unwrap().date_and_time(Timestamp::parse(&came).unwrap());
    let site = Site::signed_in(&gateway);
    for path in ["/audit/", &format!("/audit/call/{id}")] {
        let page = site.get(path);
        assert!(page.body.contains("Times are those of the gateway: XST (UTC+5:45)."), "{}", page.body);
        assert!(
            page.body.contains(&format!("<time datetime=\"{came}\">{local}</time>")),
            "{local}: {}",
            page.body
        );
        let shown = page.body.replace(&format!("datetime=\"{came}\""), "").replace(&came, "");
        assert!(!shown.contains(&came[..13].replace('T', " ")) && !shown.contains("UTC)"), "{shown}");
    }
    // What is typed is of that zone, and a table or program is told in UTC.
    let minute = local[..16].replace(' ', "T");
    let page = site.get(&format!("/audit/?from={minute}"));
    assert!(page.body.contains("1 call<"), "{}", page.body);
    assert!(
        page.body.contains(&format!("from={}", encoded(&format!("{}:00.000Z", &came[..16])))),
        "{}",
        page.body
    );
    assert_eq!(site.get(&format!("/audit/api/log?from={}", &came[..16])).json()["total"], 1);
    assert_eq!(site.get(&format!("/audit/api/log?from={minute}")).json()["total"], 0);
}

fn encoded(text: &str) -> String {
    text.replace('-', "%2D").replace(':', "%3A").replace('.', "%2E")
}

#[test]
fn the_list_shows_what_was_chosen() {
    let (_gateway, site) = busy();
    for (query, shown) in [
        ("", 5),
        ("tool_name=say", 2),
        ("tool_name=s*", 2),
        ("agent_id=laptop", 2),
        ("decision=allow", 1),
        ("outcome=denied", 2),
        ("resolution=approved", 1),
        ("q=LIGHT.one", 1),
        ("q=at+night", 1),
        ("q=4711", 0),
        ("from=2000-01-01&to=2001-01-01", 0),
        ("range=24h&outcome=refused", 1),
        // A form in which dates were typed sends the range that was chosen before.
        ("range=24h&from=2000-01-01&to=2001-01-01", 0),
        ("per_page=2&page=3", 1),
        ("page=9", 0),
    ] {
        let page = site.get(&format!("/audit/?{query}"));
        assert_eq!(calls(&page), shown, "{query}");
        assert_eq!(page.header("cache-control"), "no-store");
    }
    let page = site.get("/audit/");
    assert!(page.body.contains("<svg") && page.body.contains("5 calls by decision"), "{}", page.body);
    assert_eq!(site.get("/audit").status, 303);
}

#[test]
fn a_wrong_query_is_refused_in_plain_words() {
    let (_gateway, site) = busy();
    for path in ["/audit/?", "/audit/api/log?", "/audit/export.csv?", "/audit/api/stats?"] {
        for query in ["tool=say", "from=soon", "range=5d", "from=2026-01-01&from=2026-01-02"] {
            let page = site.get(&format!("{path}{query}"));
            assert_eq!(page.status, 400, "{path}{query}: {page:?}");
            assert!(!page.body.contains('<') && page.body.len() < 400, "{page:?}");
        }
    }
    assert_eq!(site.get("/audit/?page=0").status, 400);
    assert_eq!(site.get("/audit/nothing").status, 404);
    assert_eq!(site.get("/audit/call/11111111-0000-4000-8000-000000000000").status, 404);
    assert_eq!(site.get("/audit/call/%27%20OR%201").status, 404);
}

#[test]
fn nothing_that_an_agent_said_acts_on_a_page() {
    let (_gateway, site) = busy();
    let id = id_of(&site, "resolution=approved");
    let unknown = id_of(&site, "outcome=refused");
    for path in [
        "/audit/",
        &format!("/audit/call/{id}"),
        &format!("/audit/call/{id}?whole"),
        &format!("/audit/call/{unknown}"),
    ] {
        let page = site.get(path);
        assert_eq!(page.status, 200);
        assert!(!page.body.contains("<script>") && !page.body.contains("<b>"), "{path}");
        assert!(!page.body.contains('\u{202e}') && !page.body.contains('\u{200b}'), "{path}");
        assert!(page.body.contains("⟨U+202E⟩"), "{path}");
        assert!(!page.body.contains("4711") && !page.body.contains(SERVICE_SECRET), "{path}");
        for inline in [" style=", "<style", " onclick", " onload"] {
            assert!(!page.body.contains(inline), "{path}: {inline}");
        }
    }
}

#[test]
fn a_call_shows_everything_known_of_it() {
    let (_gateway, site) = busy();
    let id = id_of(&site, "resolution=denied");
    let page = site.get(&format!("/audit/call/{id}"));
    for known in [
        "requested",
        "answered",
        "finished",
        "not at night",
        "local:",
        "command line",
        "laptop",
        "permissions.yaml",
        &id,
    ] {
        assert!(page.body.contains(known), "{known}: {}", page.body);
    }
    let long = id_of(&site, "resolution=approved");
    let (cut, whole) =
        (site.get(&format!("/audit/call/{long}")), site.get(&format!("/audit/call/{long}?whole")));
    assert!(cut.body.contains("bytes in all") && !cut.body.contains(&"x".repeat(2001)));
    assert!(whole.body.contains(&"x".repeat(3000)));
    let exact = site.get(&format!("/audit/api/call/{long}")).json();
    assert_eq!(exact["args"]["text"], format!("{HOSTILE}{}", "x".repeat(3000)));
    assert!(exact["result_digest"].is_string() && exact["events"].as_array().unwrap().len() == 4, "{exact}");
}

#[test]
fn the_api_has_the_shapes_that_programs_know() {
    let (gateway, site) = busy();
    let log = site.get("/audit/api/log?per_page=2&page=2").json();
    assert_eq!(
        (&log["total"], &log["page"], &log["per_page"], &log["pages"]),
        (&json!(5), &json!(2), &json!(2), &json!(3))
    );
    let entry = &log["entries"][0];
    for name in [
        "request_id",
        "timestamp",
        "tool_name",
        "args",
        "signature",
        "decision",
        "resolution",
        "resolved_by",
        "resolved_at",
        "execution_result",
        "agent_id",
    ] {
        assert!(entry.get(name).is_some(), "{name}: {entry}");
    }
    let stats = site.get("/audit/api/stats").json();
    assert_eq!((&stats["total_requests"], &stats["last_24h"]), (&json!(5), &json!(5)));
    assert_eq!(
        (&stats["approval_rate"], &stats["decision_breakdown"]),
        (&json!(0.5), &json!({"allow": 1, "ask": 2, "deny": 1}))
    );
    assert_eq!(stats["top_tools"][0], json!({"tool_name": "say", "count": 2}));
    assert_eq!(stats, gateway.json(&["audit", "stats", "--json"]), "the command line counts the same");
    assert_eq!(site.ask("POST", "/audit/api/log", &[], "").status, 403);
    gateway.verify();
}

/// The pieces of a chunked body put together.
fn joined(body: &str) -> String {
    let (mut rest, mut whole) = (body.as_bytes(), Vec::new());
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return String::from_utf8(whole).unwrap();
        }
        whole.extend(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
}

#[test]
fn rows_of_what_was_refused_or_failed_say_why() {
    let (gateway, site) = busy();
    gateway.upstream.answer(|_| harness::Answer::Close);
    let mut pi = Agent::login(gateway.address, TOKEN);
    assert!(pi.request("get_state", json!({"entity_id": "light.two"}))["error"].is_object());
    assert!(pi.request("call_service", json!({"domain": "lock", "service": "open"}))["error"].is_object());
    let whys =
        ["Unknown tool: no_such_tool", "Service closed the connection", "Lock control is always denied"];
    let (page, (_, screen)) =
        (site.get("/audit/").body, harness::terminal::run(&gateway.folder, &["audit", "list"], &[]));
    let screen = screen.split_whitespace().collect::<Vec<_>>().join(" ");
    for why in whys {
        assert!(page.contains(why), "{why}: {page}");
        assert!(screen.contains(why), "{why}: {screen}");
    }
    let table = joined(&site.get("/audit/export.csv").body);
    assert!(
        table
            .lines()
            .next()
            .unwrap()
            .ends_with("data_note,message,status,reasons,reported_ok,reported_detail,counted_by,grant_id"),
        "{table}"
    );
    assert!(table.contains("Service closed the connection"), "{table}");
    assert!(table.contains("a rule denies it: Lock control is always denied"), "{table}");
}

#[test]
fn an_export_is_a_table_without_formulas() {
    let (_gateway, site) = busy();
    let page = site.get("/audit/export.csv?agent_id=laptop");
    assert_eq!(page.status, 200, "{page:?}");
    assert!(
        page.header("content-type").starts_with("text/csv")
            && page.header("content-disposition").contains(".csv")
    );
    let table = joined(&page.body);
    let lines: Vec<_> = table.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].starts_with("request_id,timestamp,agent_id"));
    assert!(table.contains("⟨U+202E⟩=cmd") && !table.contains('\u{202e}') && !table.contains("4711"));
    assert!(table.contains("\"\"text\"\""), "quotes are doubled: {table}");
}

/// Arguments may be as long as a message. An export must not have many of them in memory at once, also when nobody
/// reads it.
#[test]
fn an_export_of_long_arguments_takes_little_memory() {
    const CALLS: usize = 8;
    const LONGEST: usize = 64 * 1024;
    let gateway = Gateway::with(&Setup::with_pages());
    let mut pi = Agent::login(gateway.address, TOKEN);
    for i in 0..CALLS {
        let mut args =
            json!({"domain": "light", "service": "turn_off", "entity_id": format!("light.room_{i}")});
        (0..14).for_each(|n| args[format!("a{n}")] = "x".repeat(LONGEST).into());
        let reply = pi.request("call_service", args);
        assert_eq!(reply["result"]["status"], "executed", "{:.300}", reply.to_string());
    }
    let site = Site::signed_in(&gateway);
    let before = gateway.most_memory();
    let table = joined(&site.get("/audit/export.csv").body);
    assert!(table.len() > CALLS * 14 * LONGEST && table.split_terminator("\r\n").count() == CALLS + 1);
    let more = gateway.most_memory() - before;
    assert!(more < 8 << 20, "{} MiB more", more >> 20);
}

#[test]
fn pages_stay_as_they_were_while_calls_come() {
    let (gateway, site) = busy();
    let first = site.get("/audit/?per_page=2");
    let next =
        first.body.split("href=\"").find(|part| part.contains("page=2") && part.contains("as_of=")).unwrap();
    let next = next.split('"').next().unwrap().replace("&amp;", "&");
    let before = site.get(&next);
    let mut pi = Agent::login(gateway.address, TOKEN);
    pi.request("get_state", json!({"entity_id": "light.two"}));
    let after = site.get(&next);
    let ids = |page: &Page| {
        page.body.split("/audit/call/").skip(1).map(|part| part[..36].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&before), ids(&after));
    assert_eq!(calls(&before), 2);
}
