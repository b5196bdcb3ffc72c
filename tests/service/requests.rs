//! What reaches the service.

use agentpass::testing::base::template::Template;
use agentpass::testing::base::whole_regex::WholeRegex;
use agentpass::testing::config::{Auth, HttpService};
use agentpass::testing::model::{ArgSpec, ArgType, Encoding, InvalidCall, Method, Outcome, Tool};
use agentpass::testing::service::request;
use serde_json::{Value, json};

use super::fake::*;

/// The one request that this call becomes.
fn sent(change: impl FnOnce(&mut HttpService), tool: Tool, args: Value) -> Seen {
    let upstream = Upstream::body("", b"");
    let mut config = upstream.service();
    change(&mut config);
    assert_eq!(check(&config, &call(tool.clone(), args.clone())), Ok(()));
    assert_eq!(run(&config, call(tool, args)), Outcome::Executed(Value::Null.into()));
    let mut seen = upstream.seen();
    assert_eq!(seen.len(), 1);
    seen.remove(0)
}

/// What `check` and `run` say to a call that must not leave.
fn refused(tool: Tool, args: Value) -> InvalidCall {
    let upstream = Upstream::body("", b"");
    let why = check(&upstream.service(), &call(tool.clone(), args.clone())).unwrap_err();
    assert_eq!(run(&upstream.service(), call(tool, args)), Outcome::Invalid(why.clone()));
    assert_eq!(upstream.seen().len(), 0);
    why
}

const GET: Method = Method::Get;
const POST: Method = Method::Post;

#[test]
fn a_plain_read() {
    let seen = sent(|_| {}, tool(GET, "/api/states"), json!({}));
    assert!(seen.head.starts_with("GET /api/states HTTP/1.1\r\n"), "{}", seen.head);
    assert_eq!(seen.header("user-agent"), [concat!("agentpass/", env!("CARGO_PKG_VERSION"))]);
    for absent in ["authorization", "accept-encoding", "content-type", "content-length", "transfer-encoding"]
    {
        assert!(seen.header(absent).is_empty(), "{absent}: {}", seen.head);
    }
}

#[test]
fn every_kind_of_credentials() {
    let bearer = |c: &mut HttpService| c.auth = Auth::Bearer(secret("T0ken"));
    assert_eq!(sent(bearer, tool(GET, "/"), json!({})).header("authorization"), ["Bearer T0ken"]);
    let basic = |c: &mut HttpService| {
        c.auth = Auth::Basic { username: "Aladdin".into(), password: secret("open sesame") };
    };
    let seen = sent(basic, tool(GET, "/"), json!({}));
    assert_eq!(seen.header("authorization"), ["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]);
    let header = |c: &mut HttpService| c.auth = Auth::Header { name: "X-API-Key".into(), token: secret("k") };
    assert_eq!(sent(header, tool(GET, "/"), json!({})).header("x-api-key"), ["k"]);
    let query =
        |c: &mut HttpService| c.auth = Auth::Query { param: "api key".into(), token: secret("a&b=c") };
    assert_eq!(sent(query, tool(GET, "/"), json!({})).target(), "/?api%20key=a%26b%3Dc");
    let seen = sent(query, tool(GET, "/x?q={q}"), json!({"q": "1"}));
    assert_eq!(seen.target(), "/x?q=1&api%20key=a%26b%3Dc");
}

#[test]
fn nothing_takes_the_place_of_the_credentials() {
    let mut sly = tool(GET, "/");
    http(&mut sly).request.headers = items(&[("AUTHORIZATION", "Bearer {x}"), ("X-Other", "{x}")]);
    http(&mut sly).request.query = items(&[("key", "{x}")]);
    let bearer = |c: &mut HttpService| {
        c.auth = Auth::Bearer(secret("T0ken"));
        c.headers = vec![("authorization".into(), secret("Basic zzz")), ("x-other".into(), secret("owner"))];
    };
    let seen = sent(bearer, sly.clone(), json!({"x": "mine"}));
    assert_eq!(seen.header("authorization"), ["Bearer T0ken"]);
    assert_eq!(seen.header("x-other"), ["mine"]);
    let query = |c: &mut HttpService| c.auth = Auth::Query { param: "key".into(), token: secret("T0ken") };
    assert_eq!(sent(query, sly, json!({"x": "mine"})).target(), "/?key=T0ken");
}

#[test]
fn a_path_argument_is_one_segment_whatever_it_holds() {
    for (value, on_the_wire) in [
        (json!("light.x-y_z~"), "light.x-y_z~"),
        (json!("100%"), "100%25"),
        (json!("%20%41"), "%2520%2541"),
        (json!("x;a=.."), "x%3Ba%3D.."),
        (json!("a&b=c"), "a%26b%3Dc"),
        (json!("a?b#c"), "a%3Fb%23c"),
        (json!("a b+c"), "a%20b%2Bc"),
        (json!("äß😀"), "%C3%A4%C3%9F%F0%9F%98%80"),
        (json!("@evil.example:80"), "%40evil.example%3A80"),
        (json!("a\r\nX: y"), "a%0D%0AX%3A%20y"),
        (json!("..."), "..."),
        (json!(7), "7"),
        (json!(-0.5), "-0.5"),
        (json!(true), "true"),
    ] {
        let seen = sent(|_| {}, tool(GET, "/a/{v}/b"), json!({"v": value}));
        assert_eq!(seen.target(), format!("/a/{on_the_wire}/b"));
        assert_eq!(seen.header("host").len(), 1);
        assert!(seen.header("x").is_empty());
    }
}

#[test]
fn segments_that_climb_or_vanish_are_refused_before_dialling() {
    let v = InvalidCall::Unsendable { argument: "v".into() };
    for value in [".", "..", ""] {
        assert_eq!(refused(tool(GET, "/a/{v}"), json!({"v": value})), v, "{value:?}");
        assert_eq!(refused(tool(GET, "/a/{v}/b"), json!({"v": value})), v, "{value:?}");
    }
    assert_eq!(refused(tool(GET, "/a/{v}/b"), json!({})), v);
    assert_eq!(refused(tool(GET, "/a/{v}"), json!({"v": null})), v);
    assert_eq!(refused(tool(GET, "/a/.{v}"), json!({"v": "."})), v);
    assert_eq!(refused(tool(GET, "/a/%2E{v}"), json!({"v": "."})), v);
    assert_eq!(
        refused(tool(GET, "/a/{v}{w}"), json!({"v": "."})),
        InvalidCall::Unsendable { argument: "w".into() }
    );
    assert_eq!(refused(tool(GET, "/a/{u}{v}/b"), json!({"u": ".", "v": "."})), v);
    assert_eq!(refused(tool(GET, "/a/{v}"), json!({"v": ["x"]})), v);
    assert_eq!(refused(tool(GET, "/a/{v}"), json!({"v": {"x": 1}})), v);
    assert_eq!(sent(|_| {}, tool(GET, "/a/x{v}/"), json!({})).target(), "/a/x/");
}

/// What deletes the given items must not become what deletes all.
#[test]
fn a_required_list_without_elements_is_not_left_out() {
    let of = |method: Method, path: &str, place: &str| {
        let mut tool = tool(method, path);
        let spec = ArgSpec { required: true, kind: Some(ArgType::Array), ..ArgSpec::default() };
        tool.args.insert("ids".into(), spec);
        match place {
            "query" => http(&mut tool).request.query.push(("id".into(), Template::parse("{ids}").unwrap())),
            _ => http(&mut tool).request.encoding = Some(Encoding::Form),
        }
        tool
    };
    let upstream = Upstream::body("", b"");
    let run_with = |tool: Tool, ids: Value| {
        let call = raw_call(tool, json!({"ids": ids})).unwrap();
        (check(&upstream.service(), &call), run(&upstream.service(), call))
    };
    let delete = || of(Method::Delete, "/items", "query");
    let form = || of(POST, "/delete", "form");
    for tool in [delete(), form()] {
        let why = InvalidCall::Unsendable { argument: "ids".into() };
        assert_eq!(run_with(tool, json!([])), (Err(why.clone()), Outcome::Invalid(why)));
    }
    assert_eq!(upstream.seen().len(), 0);
    assert_eq!(run_with(delete(), json!([1, 2])).0, Ok(()));
    assert_eq!(run_with(form(), json!([1])).0, Ok(()));
    let seen = upstream.seen();
    assert_eq!(seen[0].target(), "/items?id=1&id=2");
    assert_eq!(seen[1].body, b"ids%5B%5D=1");
}

#[test]
fn no_reading_of_a_segment_leads_elsewhere() {
    let v = InvalidCall::Unsendable { argument: "v".into() };
    for value in [
        "../../secrets",
        "x/y",
        "..\\x",
        "/",
        "//evil.example",
        "%2e",
        "%2e%2e",
        "%2E.",
        "%252e%252e",
        "..;",
        "..;/",
        ".;x",
        "..;jsessionid=1",
        "..#x",
        "..%3fx",
        "%2e%2e%3b",
        ";x",
        "..\u{0}",
        "%2e%2e%00",
        " .. ",
        " ",
        "x%2fy",
        "x%252Fy",
        "x%5cy",
        "%c0%ae%c0%ae",
        "%c0%af",
        "\u{ff0e}\u{ff0e}",
        "\u{2025}",
        "x\u{ff0f}y",
        "x\u{2215}y",
        "x\u{ff05}2fy",
        "x%ef%bc%8fy",
        "x\u{fe68}y",
    ] {
        let mut tool = tool(GET, "/a/{v}/b");
        tool.args.insert("v".into(), ArgSpec { free_text: true, ..ArgSpec::default() });
        let raw = match raw_call(tool, json!({"v": value})) {
            Ok(raw) => raw,
            // A NUL never gets this far.
            Err(why) => {
                assert_eq!(
                    (why, value.contains('\0')),
                    (InvalidCall::Forbidden { argument: "v".into(), char: Some('\0') }, true)
                );
                continue;
            }
        };
        assert_eq!(check(&service("http://127.0.0.1:1"), &raw), Err(v.clone()), "{value:?}");
    }
    // Two arguments make what neither of them is.
    let both = json!({"u": "x%2", "v": "fy"});
    assert_eq!(refused(tool(GET, "/a/{u}{v}"), both), v);
    assert_eq!(refused(tool(GET, "/a/{u}.{v}"), json!({"u": "%2e", "v": ";x"})), v);
    // What the owner wrote is the owner's.
    let seen = sent(|_| {}, tool(GET, "/p/group%2Fsub%2F{v}"), json!({"v": "x"}));
    assert_eq!(seen.target(), "/p/group%2Fsub%2Fx");
    assert_eq!(refused(tool(GET, "/p/group%2F{v}"), json!({"v": ".."})), v);
}

/// A tool whose argument `v` is free text of this pattern.
fn patterned(path: &str, pattern: &str) -> Tool {
    let validate = Some(WholeRegex::new(pattern).unwrap());
    let mut tool = tool(GET, path);
    tool.args.insert("v".into(), ArgSpec { validate, free_text: true, ..ArgSpec::default() });
    tool
}

#[test]
fn a_pattern_that_spells_a_slash_out_admits_it() {
    let upstream = Upstream::body("", b"");
    let said =
        |tool: Tool, value: &str| check(&upstream.service(), &raw_call(tool, json!({"v": value})).unwrap());
    let unsendable = Err(InvalidCall::Unsendable { argument: "v".into() });
    let project = |pattern| patterned("/projects/{v}/issues", pattern);
    let call = raw_call(project("[a-z.]+/[a-z.]+"), json!({"v": "group/name"})).unwrap();
    run(&upstream.service(), call);
    assert_eq!(upstream.seen()[0].target(), "/projects/group%2Fname/issues");
    // A slash, but never the way up, and no backslash.
    for value in ["../x", "x/..", "./x"] {
        assert_eq!(said(project("[a-z.]+/[a-z.]+"), value), unsendable, "{value}");
    }
    for value in ["/x", "x/", "x//y"] {
        assert_eq!(said(project("[a-z/]+"), value), unsendable, "{value}");
    }
    assert_eq!(said(project(r"[a-z/\\]+"), r"x\y"), Ok(()));
    // A pattern that takes everything says nothing of slashes.
    for pattern in [".+", "[^x]+", r"\S+", "[!-~]+", "a/.+"] {
        assert_eq!(said(project(pattern), "a/b"), unsendable, "{pattern}");
    }
}

#[test]
fn several_segments_are_encoded_one_by_one() {
    for (value, target) in [
        ("a", "/f/a"),
        ("a/b c/d?.txt", "/f/a/b%20c/d%3F.txt"),
        ("a/...", "/f/a/..."),
        ("ä/%41", "/f/%C3%A4/%2541"),
    ] {
        assert_eq!(sent(|_| {}, tool(GET, "/f/{v...}"), json!({"v": value})).target(), target);
    }
    let v = InvalidCall::Unsendable { argument: "v".into() };
    for value in
        ["", "/", "/a", "a/", "a//b", ".", "a/..", "../a", "a/./b", "a/..;x/b", "a\\b", "a%2fb", "a/%2e%2e"]
    {
        assert_eq!(refused(tool(GET, "/f/{v...}"), json!({"v": value})), v, "{value:?}");
        assert_eq!(refused(tool(GET, "/f/{v...}/x"), json!({"v": value})), v, "{value:?}");
    }
    assert_eq!(refused(tool(GET, "/f/{v...}"), json!({})), v);
    assert_eq!(refused(tool(GET, "/f/{v...}"), json!({"v": ["a"]})), v);
}

#[test]
fn a_query_argument_is_one_value_whatever_it_holds() {
    for (value, on_the_wire) in [
        (json!("a&b=c"), "a%26b%3Dc"),
        (json!("a b+c"), "a%20b%2Bc"),
        (json!("#x;y,z"), "%23x%3By%2Cz"),
        (json!("%26"), "%2526"),
        (json!("ö"), "%C3%B6"),
        (json!("'\"<>"), "%27%22%3C%3E"),
        (json!("a\nb"), "a%0Ab"),
        (json!(12), "12"),
    ] {
        let mut both = tool(GET, "/p?one={v}");
        http(&mut both).request.query = items(&[("two [x]", "<{v}>")]);
        let seen = sent(|_| {}, both, json!({"v": value}));
        assert_eq!(seen.target(), format!("/p?one={on_the_wire}&two%20%5Bx%5D=%3C{on_the_wire}%3E"));
    }
}

#[test]
fn query_items_without_their_arguments_are_left_out() {
    let mut tool = tool(GET, "/p?x=1&y={y}");
    http(&mut tool).request.query = items(&[("a", "{a}"), ("ab", "{a}-{b}"), ("c", "fixed")]);
    assert_eq!(sent(|_| {}, tool.clone(), json!({})).target(), "/p?x=1&y=&c=fixed");
    assert_eq!(sent(|_| {}, tool.clone(), json!({"b": "2"})).target(), "/p?x=1&y=&ab=-2&c=fixed");
    assert_eq!(sent(|_| {}, tool, json!({"a": ""})).target(), "/p?x=1&y=&a=&ab=-&c=fixed");
}

#[test]
fn headers_are_one_line_each() {
    let mut tool = tool(GET, "/");
    http(&mut tool).request.headers = items(&[("X-Title", "{v}"), ("X-Fixed", "f"), ("X-None", "{none}")]);
    let seen = sent(|_| {}, tool.clone(), json!({"v": "héllo w: 1"}));
    assert_eq!(seen.header("x-title"), ["héllo w: 1"]);
    assert_eq!(seen.header("x-fixed"), ["f"]);
    assert!(seen.header("x-none").is_empty());
    for bad in ["a\r\nX-Evil: 1", "a\nb", "a\rb"] {
        assert_eq!(
            refused(tool.clone(), json!({"v": bad})),
            InvalidCall::Unsendable { argument: "v".into() }
        );
    }
    assert_eq!(refused(tool, json!({"v": [1]})), InvalidCall::Unsendable { argument: "v".into() });
}

#[test]
fn the_prefix_of_the_base_url_stays() {
    let upstream = Upstream::body("", b"");
    let config = service(&format!("http://127.0.0.1:{}/pre/fix/", upstream.port));
    run(&config, call(tool(GET, "/x/{v}"), json!({"v": "a b"})));
    assert_eq!(upstream.seen()[0].target(), "/pre/fix/x/a%20b");
}

#[test]
fn no_template_leaves_its_service() {
    for path in [
        "@evil.example/{v}",
        ":1@evil.example/{v}",
        ".evil.example/{v}",
        "1/{v}",
        "{v}/x",
        "/a#{v}",
        "/a b/{v}",
    ] {
        let why = refused(tool(GET, path), json!({"v": "@evil.example"}));
        assert_eq!(why, InvalidCall::BadRequest, "{path}");
    }
    let sent = sent(|_| {}, tool(GET, "//evil.example/{v}"), json!({"v": "x"}));
    assert_eq!(sent.target(), "//evil.example/x");
}

#[test]
fn a_url_that_is_too_long_is_refused() {
    let long = "ä".repeat(30_000);
    assert_eq!(refused(tool(GET, "/{v}"), json!({"v": long})), InvalidCall::BadRequest);
}

#[test]
fn the_body_is_what_was_asked_for() {
    let mut tool = tool(POST, "/api/{domain}");
    http(&mut tool).request.body_exclude = ["domain".to_owned()].into();
    let args = json!({
        "domain": "light", "n": 1, "f": 0.25, "b": false, "s": "\"},{\"x\":\"ü\u{2028}", "gone": null,
        "o": {"deep": [1, {"x": null}]}, "big": 9_007_199_254_740_991_i64
    });
    let seen = sent(|_| {}, tool, args.clone());
    let mut expected = args;
    expected.as_object_mut().unwrap().retain(|k, _| k != "domain" && k != "gone");
    assert_eq!(seen.json(), expected);
    assert_eq!(seen.header("content-type"), ["application/json"]);
    assert_eq!(seen.header("content-length"), [seen.body.len().to_string()]);
}

#[test]
fn each_method_with_and_without_a_body() {
    for method in Method::ALL {
        let seen = sent(|_| {}, tool(method.clone(), "/x"), json!({"a": 1}));
        assert!(seen.head.starts_with(&format!("{method} /x ")), "{}", seen.head);
        match matches!(method, Method::Post | Method::Put | Method::Patch) {
            true => assert_eq!(seen.body, br#"{"a":1}"#),
            false => assert!(seen.body.is_empty() && seen.header("content-type").is_empty()),
        }
    }
    assert_eq!(sent(|_| {}, tool(POST, "/x"), json!({})).body, b"{}");
}

#[test]
fn a_service_that_is_not_configured_is_never_called() {
    let mut tool = tool(GET, "/");
    tool.service = "other".into();
    let config = Upstream::body("", b"").service();
    assert_eq!(check(&config, &call(tool.clone(), json!({}))), Err(InvalidCall::BadRequest));
    assert_eq!(run(&config, call(tool, json!({}))), Outcome::ServiceUnreachable);
}

/// A number below `sides`, from a fixed sequence.
fn roll(seed: &mut u64, sides: usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize % sides
}

/// What a server makes of a path that decodes it so often, and drops parameters and blanks.
fn resolved(path: &str, times: usize) -> Option<Vec<String>> {
    let fold = |text: String| {
        text.replace('\u{ff0e}', ".")
            .replace('\u{ff0f}', "/")
            .replace('\u{ff05}', "%")
            .replace('\u{ff3c}', "\\")
    };
    let mut text = path.to_owned();
    for _ in 0..times {
        text = fold(percent_encoding::percent_decode_str(&text).decode_utf8().ok()?.into_owned());
    }
    let parts = text.split(['/', '\\']).map(|part| part.split(';').next().unwrap().trim().to_owned());
    Some(parts.collect())
}

#[test]
fn whatever_is_sent_has_the_segments_that_the_tool_shows() {
    let pieces = [
        ".", "..", "/", "\\", "%", "2", "e", "f", "F", "5", "c", "%2e", "%2f", "%25", "%5c", "%252e",
        "%252f", ";", ";x", " ", "x", "a.b", "\u{ff0e}", "\u{ff0f}", "\u{ff05}", "\u{ff3c}", "\t",
    ];
    let config = service("http://127.0.0.1:1");
    let (mut seed, mut sent, mut refused) = (5, 0, 0);
    for _ in 0..20_000 {
        let mut text = || {
            let count = 1 + roll(&mut seed, 4);
            (0..count).map(|_| pieces[roll(&mut seed, pieces.len())]).collect::<String>()
        };
        let args = json!({"u": text(), "v": text(), "w": text()});
        let tool = tool(GET, "/base/{u}{v}/x.{w}/end");
        let Ok(request) = request::build(&config, &call(tool, args.clone())) else {
            refused += 1;
            continue;
        };
        sent += 1;
        let path = request.url.strip_prefix("http://127.0.0.1:1/").unwrap();
        for times in 1..=3 {
            let parts = resolved(path, times).unwrap_or_else(|| panic!("{args} is no text"));
            assert_eq!(parts.len(), 4, "{args}, decoded {times} times: {parts:?}");
            let climbs = parts.iter().any(|part| matches!(part.as_str(), "" | "." | ".."));
            assert!(!climbs, "{args}, decoded {times} times: {parts:?}");
        }
    }
    assert!(sent > 1000 && refused > 1000, "{sent} sent, {refused} refused");
}
