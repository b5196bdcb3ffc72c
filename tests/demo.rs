//! What a newcomer does first: the demo, then `init` and every step that it prints.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output, Stdio};

use harness::{BINARY, Folder, eventually, terminal};

/// The demo without a terminal, its temporary files in `folder`.
fn demo(folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("demo").args(arguments).current_dir(&folder.0).env("TMPDIR", &folder.0).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn is_empty(folder: &Folder) {
    let left: Vec<_> = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The story, in order.
fn tells(story: &str, parts: &[&str]) {
    let mut rest = story;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is missing, or too early, in\n{story}"));
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn it_runs_without_questions() {
    for (arguments, why) in [(&["--yes"][..], "--yes was given"), (&[], "there is no terminal to ask on")] {
        let folder = Folder::new();
        let output = demo(&folder, arguments).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
        let story = text(&output.stdout);
        let answer = format!("you       yes ({why})");
        tells(
            &story,
            &[
                "the gateway",
                "rules:\n",
                "1. ",
                "\"state\":\"21.5\"",
                "2. ",
                "refused   Denied by policy: doors stay shut",
                "3. ",
                "| signature     ha_call_service(light.turn_on, light.desk)",
                "| agent says    It is getting dark",
                &answer,
                "done      the lamp is on now",
                "4. ",
                "executed  ha_call_service(light.turn_on, light.desk)",
                "denied    ha_call_service(lock.unlock, lock.front_door)",
                "the chain is whole",
                "GET /api/states/sensor.living_room\n",
                "POST /api/services/light/turn_on\n",
                "agentpass init",
            ],
        );
        assert!(!story.contains("the-home-token"), "{story}");
        assert!(story.lines().all(|line| line.chars().count() <= 100), "{story}");
        is_empty(&folder);
    }
}

#[test]
fn a_person_says_no() {
    let folder = Folder::new();
    let talk = [("approve? [y/n] ", "what?\n"), ("approve? [y/n] ", "n\n")];
    let (code, screen) = terminal::run(&folder, &["demo"], &talk);
    assert_eq!(code, 0, "{screen}");
    tells(&screen, &["refused   Denied by user; the lamp is still off", "the chain is whole"]);
    assert!(!screen.contains("POST /api/"), "{screen}");
    is_empty(&folder);
}

#[test]
fn a_person_says_yes() {
    let folder = Folder::new();
    let (code, screen) = terminal::run(&folder, &["demo"], &[("approve? [y/n] ", "yes\n")]);
    assert_eq!(code, 0, "{screen}");
    tells(&screen, &["done      the lamp is on now", "POST /api/services/light/turn_on"]);
    assert!(screen.lines().all(|line| line.chars().count() <= 80 || line.contains('\x1b')), "{screen}");
    is_empty(&folder);
}

#[test]
fn a_person_stops_it() {
    let folder = Folder::new();
    let (code, screen) = terminal::run(&folder, &["demo"], &[("approve? [y/n] ", "\x03")]);
    assert_eq!(code, 130, "{screen}");
    assert!(screen.contains("stopped; nothing stays behind"), "{screen}");
    is_empty(&folder);
}

#[test]
fn a_person_has_nothing_to_say() {
    let folder = Folder::new();
    let (code, screen) = terminal::run(&folder, &["demo"], &[("approve? [y/n] ", "\x04")]);
    assert_eq!(code, 0, "{screen}");
    tells(&screen, &["refused   Denied by user; the lamp is still off", "the chain is whole"]);
    is_empty(&folder);
}

#[test]
fn nobody_reads_it() {
    let folder = Folder::new();
    let mut child = demo(&folder, &["--yes"]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    is_empty(&folder);
}

// init

fn agentpass(folder: &Folder, arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(&folder.0).env_remove("AGENTPASS_URL").env_remove("AGENT_TOKEN");
    command.stdin(Stdio::null()).output().unwrap()
}

fn mode(folder: &Folder, name: &str) -> u32 {
    fs::metadata(folder.0.join(name)).unwrap().permissions().mode() & 0o777
}

const WRITTEN: [&str; 6] =
    ["config.yaml", "permissions.yaml", "tools/homeassistant.yaml", ".env", "key.pem", "cert.pem"];

#[test]
fn init_writes_what_is_missing_and_nothing_else() {
    let folder = Folder::new();
    let first = agentpass(&folder, &["init", "gw"]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let written = |name: &str| fs::read(folder.0.join("gw").join(name)).unwrap();
    let before: Vec<_> = WRITTEN.iter().map(|name| written(name)).collect();
    for (name, bits) in [(".env", 0o600), ("key.pem", 0o600), ("config.yaml", 0o644), ("cert.pem", 0o644)] {
        assert_eq!(mode(&folder, &format!("gw/{name}")), bits, "{name}");
    }
    let token =
        text(&before[3]).lines().find_map(|l| l.strip_prefix("AGENT_TOKEN=").map(str::to_owned)).unwrap();
    assert!(
        token.len() >= 32 && !text(&first.stdout).contains(&token) && !text(&first.stderr).contains(&token)
    );

    let again = agentpass(&folder, &["init", "gw"]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert_eq!(text(&again.stdout), text(&first.stdout), "the same pin");
    assert_eq!(text(&again.stderr).lines().filter(|line| line.starts_with("kept ")).count(), WRITTEN.len());
    assert!(WRITTEN.iter().zip(&before).all(|(name, bytes)| written(name) == *bytes));

    // A file of the owner's is kept, the rest is made; another folder has another token and key.
    fs::create_dir(folder.0.join("other")).unwrap();
    fs::write(folder.0.join("other/permissions.yaml"), "rules: []\n").unwrap();
    assert!(agentpass(&folder, &["init", "other"]).status.success());
    assert_eq!(fs::read_to_string(folder.0.join("other/permissions.yaml")).unwrap(), "rules: []\n");
    for name in [".env", "key.pem", "cert.pem"] {
        assert_ne!(fs::read(folder.0.join("other").join(name)).unwrap(), written(name), "{name}");
    }
    assert!(agentpass(&folder, &["check", "--config", "gw/config.yaml"]).status.success());
}

#[test]
fn a_package_gets_only_what_must_differ_between_machines() {
    let folder = Folder::new();
    let first = agentpass(&folder, &["init", "--secrets", "etc"]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    for (name, bits) in
        [("secrets", 0o700), ("secrets/AGENT_TOKEN", 0o600), ("key.pem", 0o600), ("cert.pem", 0o644)]
    {
        assert_eq!(mode(&folder, &format!("etc/{name}")), bits, "{name}");
    }
    assert_eq!(fs::read_dir(folder.0.join("etc")).unwrap().count(), 3, "no configuration");
    let token = fs::read_to_string(folder.0.join("etc/secrets/AGENT_TOKEN")).unwrap();
    assert!(
        token.trim().len() >= 32 && text(&first.stdout).starts_with("sha256:"),
        "{}",
        text(&first.stdout)
    );

    // An upgrade runs it again.
    let again = agentpass(&folder, &["init", "--secrets", "etc"]);
    assert_eq!(text(&again.stdout), text(&first.stdout));
    assert_eq!(fs::read_to_string(folder.0.join("etc/secrets/AGENT_TOKEN")).unwrap(), token);

    // With the packaged configuration it is a gateway.
    for name in ["config.yaml", "permissions.yaml"] {
        fs::copy(format!("{}/etc/{name}", env!("CARGO_MANIFEST_DIR")), folder.0.join("etc").join(name))
            .unwrap();
    }
    let checked = agentpass(&folder, &["check", "--config", "etc/config.yaml"]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
}

#[test]
fn init_says_what_it_cannot_write() {
    let folder = Folder::new();
    fs::write(folder.0.join("file"), "").unwrap();
    let output = agentpass(&folder, &["init", "file/below"]);
    assert_eq!(output.status.code(), Some(5));
    let err = text(&output.stderr);
    assert!(
        err.starts_with("agentpass: could not write the configuration: ")
            && err.contains("\n  at file/below"),
        "{err}"
    );
}

struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The gateway, and the port it listens on.
fn serve(folder: &Folder, arguments: &[&str]) -> (Served, u16) {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(&folder.0).env_remove("AGENT_TOKEN").stdin(Stdio::null());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let served = Served(child);
    let listening = lines.find(|line| line.contains("listening on wss://")).unwrap();
    std::thread::spawn(move || lines.for_each(drop));
    let port = listening.rsplit(':').next().unwrap().trim().parse().unwrap();
    (served, port)
}

/// Every command that `init` prints, as it is printed; only the port is another one (8443 may be taken here), and so
/// is the host (the machine's name may be unknown to itself).
#[test]
fn what_init_prints_works() {
    for dir in [None, Some("my-gateway")] {
        let folder = Folder::new();
        let printed = text(&agentpass(&folder, &[&["init"][..], dir.as_slice()].concat()).stdout);
        let home = folder.0.join(dir.unwrap_or("."));
        let config = fs::read_to_string(home.join("config.yaml")).unwrap();
        fs::write(home.join("config.yaml"), config.replace("port: 8443", "port: 0\n  health_port: 0"))
            .unwrap();
        let step = |name: &str| -> Vec<&str> {
            let command = format!("  agentpass {name}");
            let line = printed.lines().find(|line| line.starts_with(&command));
            let line = line.unwrap_or_else(|| panic!("no {name} in\n{printed}"));
            line.split("  #").next().unwrap().split_whitespace().skip(1).collect()
        };
        let checked = agentpass(&folder, &step("check"));
        assert!(checked.status.success(), "{}", text(&checked.stderr));
        let (_served, port) = serve(&folder, &step("serve"));
        // What the second terminal would show, without waiting for a question.
        let watch = step("approvals");
        assert_eq!(watch[1], "--watch");
        let approvals = agentpass(&folder, &[&watch[..1], &watch[2..]].concat());
        assert_eq!((approvals.status.code(), text(&approvals.stdout).as_str()), (Some(0), "[]\n"));

        assert!(printed.contains("export AGENTPASS_URL=wss://") && printed.contains(":8443\n"), "{printed}");
        let env = fs::read_to_string(home.join(".env")).unwrap();
        let token = env.lines().find_map(|line| line.strip_prefix("AGENT_TOKEN=")).unwrap();
        let tools = |trust: &[&str]| {
            let mut command = Command::new(BINARY);
            command.arg("tools").args(trust).current_dir(&home).env("AGENT_TOKEN", token);
            let output = command.env("AGENTPASS_URL", format!("wss://localhost:{port}")).output().unwrap();
            (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
        };
        let pin = step("tools");
        assert_eq!(tools(&pin[1..]), (0, "[]\n".into(), String::new()));
        assert_eq!(tools(&["--ca-cert", "cert.pem"]), (0, "[]\n".into(), String::new()));
        let wrong = format!("sha256:{}", "0".repeat(64));
        let hints = ["help: `agentpass init`, run again on the gateway", "help: give its key with --pin"];
        for (trust, hint) in [&["--pin", wrong.as_str()][..], &[]].into_iter().zip(hints) {
            let (code, out, err) = tools(trust);
            assert_eq!((code, out.as_str()), (3, ""), "{trust:?}");
            assert!(err.starts_with("agentpass: could not list the tools: ") && err.contains(hint), "{err}");
        }
        eventually("the gateway to have stayed", || {
            agentpass(&folder, &[&["status"], &watch[2..]].concat()).status.success().then_some(())
        });
    }
}
