//! Bad input of every kind gets a clear error and loses nothing: broken files, missing secrets, an occupied port, a
//! disk that takes nothing, a record of a newer version, a second gateway.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

mod harness;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use harness::gateway::{SERVICE_SECRET, TOKEN};
use harness::{Agent, BINARY, Folder, Gateway, Setup, stranger};
use serde_json::json;

const CONFIGURATION: i32 = 78;
const MACHINE: i32 = 5;

/// The usual files in a folder of their own; `change` alters config.yaml.
fn files(change: impl Fn(&str) -> String) -> Folder {
    let (folder, setup) = (Folder::new(), Setup::default());
    let config = change(&setup.config.replace("{upstream}", "http://127.0.0.1:1"));
    put(&folder, "config.yaml", &config);
    put(&folder, "tools.yaml", &setup.tools);
    put(&folder, "permissions.yaml", &setup.permissions);
    folder
}

fn usual() -> Folder {
    files(str::to_owned)
}

/// A file that only its owner may read.
fn put(folder: &Folder, name: &str, text: &str) {
    fs::write(folder.0.join(name), text).unwrap();
    fs::set_permissions(folder.0.join(name), fs::Permissions::from_mode(0o600)).unwrap();
}

/// `agentpass serve`, which must not start: it ends with `code` and says all of `parts`.
fn refused(folder: &Folder, code: i32, parts: &[&str]) {
    let mut command = Command::new(BINARY);
    command.args(["serve", "--insecure"]).current_dir(&folder.0).stdin(Stdio::null());
    said(command.output().unwrap(), code, parts);
}

fn said(output: Output, code: i32, parts: &[&str]) {
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!((output.status.code(), out.as_str()), (Some(code), ""), "{err}");
    let start =
        if code == CONFIGURATION { "agentpass: cannot load " } else { "agentpass: could not start: " };
    let error = err.lines().position(|line| line.starts_with(start));
    let error = error.unwrap_or_else(|| panic!("no line begins with {start:?}:\n{err}"));
    let text: String = err.lines().skip(error).map(|line| format!("{line}\n")).collect();
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{err}");
    }
    for never in ["panicked", "RUST_BACKTRACE", "Err(", "Error {", "listening on", SERVICE_SECRET] {
        assert!(!err.contains(never), "{never:?} is in\n{err}");
    }
}

/// A refused start has made nothing.
fn untouched(folder: &Folder) {
    let mut found: Vec<_> = fs::read_dir(&folder.0)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, ["config.yaml", "permissions.yaml", "tools.yaml"]);
}

#[test]
fn broken_yaml() {
    for (name, doing) in
        [("config.yaml", "configuration"), ("permissions.yaml", "permissions"), ("tools.yaml", "tools")]
    {
        let folder = usual();
        put(&folder, name, "a: [1,\nb: {\n");
        let first = format!("agentpass: cannot load {doing}: not valid YAML: ");
        refused(&folder, CONFIGURATION, &[&first, &format!("\n  at {name}:3:1\n")]);
        untouched(&folder);
    }
}

#[test]
fn keys_that_nobody_knows_and_keys_given_twice() {
    let folder = files(|config| config.replace("messenger:", "messanger:"));
    refused(
        &folder,
        CONFIGURATION,
        &["unknown key \"messanger\"\n  at config.yaml:10:1\n  help: ", "messenger"],
    );
    let folder = files(|config| format!("{config}agents: {{}}\n"));
    refused(&folder, CONFIGURATION, &["duplicate key \"agents\"\n  at config.yaml:"]);
    // The predecessor took this for a file without rules, and every deny was gone.
    let folder = usual();
    put(&folder, "permissions.yaml", "rule: [{pattern: \"*\", action: deny}]\n");
    refused(&folder, CONFIGURATION, &["unknown key \"rule\"\n  at permissions.yaml:1:1\n  help: ", "rules"]);
    untouched(&folder);
}

#[test]
fn values_of_another_type() {
    for (from, to, place) in [
        ("port: 0", "port: many", "config.yaml:4:9"),
        ("port: 0", "port: 70000", "config.yaml:4:9"),
        ("approval_timeout: 60", "approval_timeout: soon", "config.yaml:20:19"),
        ("{type: local}", "[local]", "config.yaml:10:12"),
        ("timeout: 45", "timeout: -5", "config.yaml:15:14"),
        ("type: bearer", "type: barer", "config.yaml:14:18"),
    ] {
        let folder = files(|config| config.replace(from, to));
        refused(
            &folder,
            CONFIGURATION,
            &["agentpass: cannot load configuration: ", &format!("\n  at {place}")],
        );
        untouched(&folder);
    }
}

#[test]
fn secrets_that_are_missing() {
    let folder = files(|config| config.replace(SERVICE_SECRET, "${AGENTPASS_NO_SUCH_SECRET}"));
    refused(
        &folder,
        CONFIGURATION,
        &[
            "variable AGENTPASS_NO_SUCH_SECRET is not set\n  at config.yaml:14:",
            "\n  help: looked in the environment",
        ],
    );
    untouched(&folder);
    let folder = files(|config| config.replace(TOKEN, ""));
    refused(&folder, CONFIGURATION, &["\n  at config.yaml:8:"]);
}

#[test]
fn files_that_are_not_there_or_no_files() {
    for name in ["config.yaml", "permissions.yaml", "tools.yaml"] {
        let folder = usual();
        let place = if name == "tools.yaml" { "config.yaml:16:12" } else { name };
        fs::remove_file(folder.0.join(name)).unwrap();
        refused(&folder, CONFIGURATION, &["there is no ", &format!("\n  at {place}\n  help: ")]);
        fs::create_dir(folder.0.join(name)).unwrap();
        refused(&folder, CONFIGURATION, &["\n  at "]);
    }
    let folder = usual();
    fs::write(folder.0.join("permissions.yaml"), b"rules: \xff\n").unwrap();
    refused(&folder, CONFIGURATION, &["the file is not UTF-8 text\n  at permissions.yaml\n"]);
    untouched(&folder);
}

#[test]
fn files_that_may_not_be_read() {
    for name in ["config.yaml", "permissions.yaml", "tools.yaml"] {
        let folder = usual();
        for file in ["config.yaml", "permissions.yaml", "tools.yaml"] {
            let mode = if file == name { 0o000 } else { 0o644 };
            fs::set_permissions(folder.0.join(file), fs::Permissions::from_mode(mode)).unwrap();
        }
        let output = stranger::run(&folder, &["serve", "--insecure"]);
        said(output, CONFIGURATION, &["may not be read by this user", name]);
        untouched(&folder);
    }
}

#[test]
fn tls_that_cannot_be_used() {
    let folder = usual();
    let mut serve = Command::new(BINARY);
    let output = serve.arg("serve").current_dir(&folder.0).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(CONFIGURATION), "{err}");
    assert!(
        err.contains("could not start: gateway.tls is missing") && err.contains("\n  help: `agentpass init`")
    );
    untouched(&folder);
    let folder =
        files(|config| config.replace("  port: 0", "  port: 0\n  tls: {cert: tools.yaml, key: tools.yaml}"));
    let output = Command::new(BINARY).arg("serve").current_dir(&folder.0).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(CONFIGURATION), "{err}");
    assert!(err.contains("tools.yaml") && !err.contains("panicked"), "{err}");
    untouched(&folder);
}

#[test]
fn a_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = files(|config| config.replace("port: 0", &format!("port: {}", address.port())));
    refused(&folder, MACHINE, &[&format!("{address} is already in use\n  help: ")]);
    untouched(&folder);
    let folder = files(|config| config.replace("\"127.0.0.1\"", "\"192.0.2.1\""));
    refused(&folder, MACHINE, &["this machine has no address 192.0.2.1\n  help: "]);
    untouched(&folder);
}

#[test]
fn places_that_cannot_be_written() {
    // A file where a folder should be, and a file system without files.
    for path in ["tools.yaml/agentpass.db", "/proc/agentpass/agentpass.db"] {
        let folder = files(|config| config.replace("data/agentpass.db", path));
        refused(&folder, MACHINE, &["\n  at ", "\n  help: make ", " writable"]);
        assert!(!folder.0.join("data").exists());
    }
    let folder = files(|config| config.replace("\"control.sock\"", "\"/proc/agentpass.sock\""));
    refused(&folder, MACHINE, &["/proc/agentpass.sock", "\n  help: set gateway.control_socket"]);
    // Somebody's file where the socket should be is left alone.
    let folder = files(|config| config.replace("control.sock", "permissions.yaml"));
    let before = fs::read(folder.0.join("permissions.yaml")).unwrap();
    refused(&folder, MACHINE, &["permissions.yaml exists and is not a socket", "\n  help: "]);
    assert_eq!(fs::read(folder.0.join("permissions.yaml")).unwrap(), before);
}

#[test]
fn a_folder_that_is_read_only() {
    let folder = usual();
    for file in ["config.yaml", "permissions.yaml", "tools.yaml"] {
        fs::set_permissions(folder.0.join(file), fs::Permissions::from_mode(0o644)).unwrap();
    }
    fs::create_dir(folder.0.join("run")).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(folder.0.join("run"), Some(65534), Some(65534)).unwrap();
    }
    let config = fs::read_to_string(folder.0.join("config.yaml")).unwrap();
    fs::write(folder.0.join("config.yaml"), config.replace("control.sock", "run/control.sock")).unwrap();
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o555)).unwrap();
    let output = stranger::run(&folder, &["serve", "--insecure"]);
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).unwrap();
    said(output, MACHINE, &["permission denied", "\n  at ", "\n  help: make ", " writable"]);
    assert!(!folder.0.join("data").exists());
}

/// A gateway that may write `kib` KiB to each file, as on a disk with no more room.
fn on_a_full_disk(folder: &Folder, kib: u32) -> Output {
    // A write beyond the limit is to fail and not to end the process.
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" serve --insecure", kib * 2);
    Command::new("sh")
        .args(["-c", &script, BINARY])
        .current_dir(&folder.0)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn a_disk_that_is_full() {
    let folder = usual();
    said(on_a_full_disk(&folder, 8), MACHINE, &["\n  at ", "agentpass.db\n", "\n  help: "]);
    // With room again it starts, and what the failed start left is a good record.
    let (gateway, _) = record(folder);
    drop(gateway);
}

#[test]
fn a_full_disk_loses_nothing_of_the_record() {
    let (mut gateway, calls) = record(usual());
    gateway.terminate();
    let folder = &gateway.folder;
    let before = fs::read(folder.0.join("data/agentpass.db")).unwrap();
    said(on_a_full_disk(folder, 0), MACHINE, &["\n  at ", "\n  help: "]);
    assert_eq!(fs::read(folder.0.join("data/agentpass.db")).unwrap(), before);
    gateway.restart();
    assert_eq!(gateway.audit().len(), calls);
    assert!(gateway.cli(&["audit", "verify"]).status.success());
}

/// A gateway in `folder` with a call in its record.
fn record(folder: Folder) -> (Gateway, usize) {
    let gateway = Gateway::in_folder(folder, &Setup::default(), &[]);
    let mut agent = Agent::login(gateway.address, TOKEN);
    agent.request("get_state", json!({"entity_id": "a"}));
    let calls = gateway.audit().len();
    assert_eq!(calls, 1);
    assert!(gateway.cli(&["audit", "verify"]).status.success());
    (gateway, calls)
}

fn version(path: &Path, set: Option<i64>) -> i64 {
    let db = rusqlite::Connection::open(path).unwrap();
    if let Some(version) = set {
        db.pragma_update(None, "user_version", version).unwrap();
    }
    db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

#[test]
fn a_record_of_a_newer_version() {
    let (mut gateway, calls) = record(usual());
    gateway.terminate();
    let path = gateway.path("data/agentpass.db");
    let known = version(&path, None);
    version(&path, Some(99));
    let before = fs::read(&path).unwrap();
    refused(
        &gateway.folder,
        MACHINE,
        &["written by a newer agentpass (schema 99", "\n  at ", "\n  help: install the newer"],
    );
    assert_eq!(fs::read(&path).unwrap(), before);
    // Reading it is refused as well.
    let output = gateway.cli(&["audit", "list"]);
    assert_eq!(output.status.code(), Some(MACHINE));
    assert!(String::from_utf8_lossy(&output.stderr).contains("newer agentpass"));
    version(&path, Some(known));
    gateway.restart();
    assert_eq!(gateway.audit().len(), calls);
}

#[test]
fn a_record_that_is_none() {
    let folder = usual();
    fs::create_dir(folder.0.join("data")).unwrap();
    let path = folder.0.join("data/agentpass.db");
    let nonsense = "this is no database ".repeat(500);
    fs::write(&path, &nonsense).unwrap();
    refused(&folder, MACHINE, &["damaged or no database", "\n  at ", "\n  help: move the database"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), nonsense);
    // Another program's database.
    fs::remove_file(&path).unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)").unwrap();
    drop(db);
    refused(&folder, MACHINE, &["belongs to another program", "\n  help: set storage.path"]);
    let db = rusqlite::Connection::open(&path).unwrap();
    assert_eq!(db.query_row("SELECT x FROM theirs", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}

#[test]
fn a_record_without_its_key() {
    let (mut gateway, calls) = record(usual());
    gateway.terminate();
    let key = fs::read_dir(gateway.path("data")).unwrap().map(|entry| entry.unwrap().path());
    let key = key.into_iter().find(|path| path.to_string_lossy().ends_with(".key")).unwrap();
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    refused(&gateway.folder, MACHINE, &["the key of the record is missing", "\n  help: restore "]);
    assert!(!key.exists(), "a new key would bury the record");
    fs::write(&key, kept).unwrap();
    gateway.restart();
    assert_eq!(gateway.audit().len(), calls);
}

#[test]
fn a_second_gateway_is_refused_and_the_first_goes_on() {
    let gateway = Gateway::start();
    let config = fs::read_to_string(gateway.path("config.yaml")).unwrap();
    refused(&gateway.folder, MACHINE, &["another gateway answers on ", "control.sock", "\n  help: "]);
    // With a socket of its own it is the record that says no.
    fs::write(gateway.path("config.yaml"), config.replace("control.sock", "other.sock")).unwrap();
    refused(&gateway.folder, MACHINE, &["another gateway is using ", "\n  help: stop the other gateway"]);
    assert!(!gateway.path("other.sock").exists());
    // And with a record of its own the port.
    let other = config.replace("control.sock", "other.sock").replace("data/", "other/");
    let other = other.replace("port: 0", &format!("port: {}", gateway.address.port()));
    fs::write(gateway.path("config.yaml"), other).unwrap();
    refused(&gateway.folder, MACHINE, &["is already in use\n  help: "]);
    assert!(!gateway.path("other").exists());

    fs::write(gateway.path("config.yaml"), config).unwrap();
    let mut agent = Agent::login(gateway.address, TOKEN);
    let reply = agent.request("get_state", json!({"entity_id": "a"}));
    assert_eq!(reply["result"]["status"], "executed", "{reply}");
    assert!(gateway.cli(&["status"]).status.success());
    assert!(gateway.cli(&["audit", "verify"]).status.success());
}
