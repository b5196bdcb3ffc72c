//! Keeps the layers of the architecture: a module imports from lower ranks only, files and functions stay short.
//! Tests inside `src/` are held to the imports, not to the lengths.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::fs;
use std::path::{Path, PathBuf};

#[path = "layering/graph.rs"]
mod graph;

const RANKS: [(&str, u8); 15] = [
    ("base", 0),
    ("model", 1),
    ("protocol", 1),
    ("config", 2),
    ("policy", 2),
    ("net", 2),
    ("store", 2),
    ("approval", 3),
    ("service", 3),
    ("gate", 4),
    ("surface", 5),
    ("daemon", 6),
    ("client", 6),
    ("cli", 7),
    ("testing", 7),
];
const MAX_FILE: usize = 400;
const MAX_FIELDS: usize = 8;
const MAX_FUNCTION: usize = 60;
const MAX_PIPELINE: usize = 250;

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 30, "only {} sources found", files.len());
    files
}

/// The top-level module a file belongs to; None for lib.rs and main.rs.
fn module_of(path: &Path) -> Option<String> {
    let below = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = below.components().next()?.as_os_str().to_str()?.to_owned();
    let name = first.strip_suffix(".rs").unwrap_or(&first).to_owned();
    (name != "lib" && name != "main").then_some(name)
}

fn rank(module: &str) -> u8 {
    RANKS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|r| r.1)
        .unwrap_or_else(|| panic!("{module} has no rank"))
}

/// Every `crate::name` outside comments and strings of documentation.
fn imports(code: &str) -> Vec<String> {
    let code: String =
        code.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let inner = group.split('}').next().unwrap();
            found.extend(inner.split(',').map(|part| first_word(part.trim())));
        } else {
            found.push(first_word(rest));
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The code of a file without its unit tests.
fn without_tests(code: &str) -> &str {
    code.split("#[cfg(test)]\n").next().unwrap()
}

fn is_test_file(path: &Path) -> bool {
    path.file_name().is_some_and(|n| n.to_string_lossy().contains("test"))
}

#[test]
fn imports_go_strictly_downhill() {
    let mut wrong = Vec::new();
    for path in sources() {
        let Some(module) = module_of(&path) else { continue };
        for import in imports(&fs::read_to_string(&path).unwrap()) {
            if import != module && rank(&import) >= rank(&module) {
                wrong.push(format!("{}: {module} imports {import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Execution needs what the record claimed; nothing else of the record concerns those who ask people or call services.
#[test]
fn of_the_record_a_service_sees_claims_alone() {
    let needs = graph::Graph::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).needs();
    let is_in = |file: &str, module: &str| file == module || file.starts_with(&format!("{module}::"));
    let mut claims = 0;
    for (file, needed) in &needs {
        for record in needed.iter().filter(|other| is_in(other, "store")) {
            assert!(!is_in(file, "approval"), "{file} sees the record: {record}");
            assert!(!is_in(file, "service") || record == "store::claim", "{file} sees {record}");
            claims += usize::from(is_in(file, "service"));
        }
    }
    assert!(claims > 0, "services run claims");
}

#[test]
fn files_are_short() {
    let long: Vec<_> = sources()
        .into_iter()
        .filter(|path| !is_test_file(path))
        .map(|path| (without_tests(&fs::read_to_string(&path).unwrap()).lines().count(), path))
        .filter(|(lines, _)| *lines > MAX_FILE)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

/// The path of one call is read in one sitting.
#[test]
fn the_pipeline_tells_its_story_on_few_pages() {
    let code =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gate/pipeline.rs")).unwrap();
    let lines = without_tests(&code).lines().count();
    assert!(lines <= MAX_PIPELINE, "{lines} lines");
}

/// A part of the gate that owns more than this is two parts.
#[test]
fn the_parts_of_the_gate_are_few() {
    let mut structs = 0;
    for path in sources().into_iter().filter(|path| path.to_string_lossy().contains("src/gate/")) {
        let code = fs::read_to_string(&path).unwrap();
        let mut open: Option<(String, usize)> = None;
        for line in without_tests(&code).lines() {
            let is_struct = !line.starts_with([' ', '/']) && line.contains("struct ") && line.ends_with('{');
            let is_field = line.starts_with("    ") && !line.starts_with("     ") && !line.contains("//");
            match &mut open {
                None if is_struct => open = Some((line.to_owned(), 0)),
                Some((_, fields)) if is_field && line.contains(": ") => *fields += 1,
                Some((name, fields)) if line == "}" => {
                    assert!(*fields <= MAX_FIELDS, "{}: {name} has {fields} fields", path.display());
                    structs += 1;
                    open = None;
                }
                _ => {}
            }
        }
    }
    assert!(structs > 20, "structs are found: {structs}");
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for path in sources().into_iter().filter(|path| !is_test_file(path)) {
        let code = fs::read_to_string(&path).unwrap();
        let mut open: Option<(usize, usize, String)> = None;
        for (number, line) in without_tests(&code).lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let is_fn = line.contains("fn ") && !line.trim_start().starts_with("//");
            match &open {
                None if is_fn && !line.trim_end().ends_with(['}', ';']) => {
                    open = Some((number, indent, line.trim().to_owned()));
                }
                Some((start, depth, name)) if line.trim_end() == format!("{}}}", " ".repeat(*depth)) => {
                    if number - start >= MAX_FUNCTION {
                        long.push(format!(
                            "{}:{}: {} lines: {name}",
                            path.display(),
                            start + 1,
                            number - start + 1
                        ));
                    }
                    open = None;
                }
                _ => {}
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// Whether `name::` stands in the line as a word of its own.
fn names(line: &str, name: &str) -> bool {
    let path = format!("{name}::");
    line.match_indices(&path)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

#[test]
fn only_one_module_touches_what_one_module_should() {
    let homes = [
        ("serde_yaml", "src/config"),
        ("globset", "src/config"),
        ("rusqlite", "src/store"),
        ("ureq", "src/net/client"),
        ("regex", "src/base/whole_regex.rs"),
        ("sha2", "src/base/digest.rs"),
        ("argh", "src/cli"),
        ("sd_notify", "src/net/notify.rs"),
        ("simple_logger", "src/cli"),
    ];
    for path in sources() {
        let code = fs::read_to_string(&path).unwrap();
        let shown = path.to_string_lossy();
        for (name, home) in homes {
            let used = code.lines().any(|l| !l.trim_start().starts_with("//") && names(l, name));
            assert!(!used || shown.contains(home), "{shown} touches {name}, which is {home}'s");
        }
    }
}

#[test]
fn files_and_siblings_have_no_circles() {
    let graph = graph::Graph::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let shown =
        |circles: Vec<Vec<String>>| circles.iter().map(|c| c.join(" <-> ")).collect::<Vec<_>>().join("\n");
    let (files, siblings) = (shown(graph.between_files()), shown(graph.between_siblings()));
    assert!(
        files.is_empty() && siblings.is_empty(),
        "between files:\n{files}\nbetween siblings:\n{siblings}"
    );
}
