//! Which file of `src/` names something of which other file, and the circles in it.
//!
//! A path counts for the file that defines what it names: re-exports are followed, and a re-export alone is no use.
//! Tests inside `src/` are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

type Module = Vec<String>;

/// What one file says of others.
#[derive(Default)]
struct Source {
    /// Name here and the path it stands for; `use` of any visibility.
    aliases: Vec<(String, Vec<String>)>,
    /// The names among them that are re-exports.
    re_exports: BTreeSet<String>,
    /// Paths in code and in private `use`s.
    paths: BTreeSet<Vec<String>>,
    /// Names in code that stand alone: those of re-exports are uses of what they stand for.
    words: BTreeSet<String>,
}

/// All files by the module they hold.
pub struct Graph(BTreeMap<Module, Source>);

impl Graph {
    /// Reads the files of `src`.
    pub fn read(src: &Path) -> Graph {
        let mut files = BTreeMap::new();
        collect(src, &mut Vec::new(), &mut files);
        Graph(files)
    }

    /// What each file needs of which others.
    pub fn needs(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.edges(|module| Some(module.join("::")))
    }

    /// The circles between files: groups in which each file needs, by whatever way, each other.
    pub fn between_files(&self) -> Vec<Vec<String>> {
        circles(&self.needs())
    }

    /// The circles between what lies in one folder: its files, and its folders as a whole.
    pub fn between_siblings(&self) -> Vec<Vec<String>> {
        let folders: BTreeSet<&[String]> =
            self.0.keys().filter_map(|m| m.split_last().map(|l| l.1)).collect();
        let of = |folder: &[String]| {
            circles(&self.edges(|module| {
                module.strip_prefix(folder)?;
                Some(module.get(..=folder.len()).unwrap_or(module).join("::"))
            }))
        };
        folders.into_iter().flat_map(of).collect()
    }

    /// What needs what, by the names that `name` gives; a module without one is left out.
    fn edges(&self, name: impl Fn(&Module) -> Option<String>) -> BTreeMap<String, BTreeSet<String>> {
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (module, source) in &self.0 {
            let re_exported = source.re_exports.intersection(&source.words).map(|name| vec![name.clone()]);
            for path in source.paths.iter().cloned().chain(re_exported) {
                let Some(target) = self.resolve(module, &path, 0) else { continue };
                if let (Some(from), Some(to)) = (name(module), name(&target))
                    && from != to
                {
                    edges.entry(from).or_default().insert(to);
                }
            }
        }
        edges
    }

    /// The module whose file defines what `path` names inside `module`; None for other crates and local names.
    fn resolve(&self, module: &Module, path: &[String], depth: u8) -> Option<Module> {
        assert!(depth < 20, "{module:?} {path:?}");
        let (first, mut rest) = path.split_first()?;
        let mut here = match first.as_str() {
            "crate" => Vec::new(),
            "self" => module.clone(),
            "super" => module.split_last()?.1.to_vec(),
            name => {
                let child = [module.as_slice(), &[name.to_owned()]].concat();
                if !self.0.contains_key(&child) {
                    return self.through_alias(module, path, depth);
                }
                child
            }
        };
        while let Some((next, after)) = rest.split_first() {
            if next == "super" {
                here.pop();
            } else if next != "self" {
                here.push(next.clone());
                if !self.0.contains_key(&here) {
                    here.pop();
                    return self.through_alias(&here, rest, depth).or(Some(here));
                }
            }
            rest = after;
        }
        Some(here)
    }

    /// The same for a path that begins with a name that a `use` of the module brings in.
    fn through_alias(&self, module: &Module, path: &[String], depth: u8) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        let (_, meant) =
            self.0.get(module)?.aliases.iter().find(|(name, meant)| name == first && meant != path)?;
        self.resolve(module, &[meant, rest].concat(), depth + 1)
    }
}

fn collect(folder: &Path, module: &mut Module, files: &mut BTreeMap<Module, Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            module.push(name);
            collect(&path, module, files);
            module.pop();
        } else if path.extension().is_some_and(|e| e == "rs") && name != "main" && !super::is_test_file(&path)
        {
            let mut here = module.clone();
            if name != "mod" && name != "lib" {
                here.push(name);
            }
            files.insert(here, source(&fs::read_to_string(&path).unwrap()));
        }
    }
}

fn source(code: &str) -> Source {
    let code: TokenStream = code.parse().unwrap();
    let mut source = Source::default();
    scan(&code.into_iter().collect::<Vec<_>>(), &mut source);
    source
}

/// Collects the paths among the tokens, whatever they stand in: also inside macros.
fn scan(tokens: &[TokenTree], source: &mut Source) {
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Punct(p) if p.as_char() == '#' && is_cfg_test(tokens.get(at + 1)) => {
                at = end_of_item(tokens, at + 2);
                continue;
            }
            TokenTree::Ident(word) if word == "use" => {
                let end = end_of_item(tokens, at);
                let public =
                    at.checked_sub(1).and_then(|before| tokens.get(before)).is_some_and(is_visibility);
                for (name, path) in use_tree(tokens.get(at + 1..end).unwrap_or_default(), &[]) {
                    assert_ne!(name, "*", "a glob hides what a file needs: {path:?}");
                    if public {
                        source.re_exports.insert(name.clone());
                    } else {
                        source.paths.insert(path.clone());
                    }
                    source.aliases.push((name, path));
                }
                at = end;
                continue;
            }
            // A declared module shares its name with what is re-exported from it now and then.
            TokenTree::Ident(word) if word == "mod" => at += 1,
            TokenTree::Group(group) => scan(&group.stream().into_iter().collect::<Vec<_>>(), source),
            TokenTree::Ident(_) => {
                let (path, next) = path_at(tokens, at);
                match path.as_slice() {
                    [word] => source.words.insert(word.clone()),
                    _ => source.paths.insert(path),
                };
                at = next;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
}

/// Whether a `use` behind this token is a re-export: `pub`, or the braces of `pub(crate)`.
fn is_visibility(token: &TokenTree) -> bool {
    match token {
        TokenTree::Ident(word) => word == "pub",
        TokenTree::Group(group) => group.delimiter() == Delimiter::Parenthesis,
        _ => false,
    }
}

fn is_cfg_test(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Group(g)) if g.to_string().replace(' ', "") == "[cfg(test)]")
}

/// Where the item that begins at `at` ends: behind its semicolon or its braces.
fn end_of_item(tokens: &[TokenTree], at: usize) -> usize {
    let is_use = matches!(tokens.get(at), Some(TokenTree::Ident(word)) if word == "use");
    let ends = |token: &TokenTree| match token {
        TokenTree::Punct(p) => p.as_char() == ';',
        TokenTree::Group(g) => !is_use && g.delimiter() == Delimiter::Brace,
        _ => false,
    };
    tokens.iter().skip(at).position(ends).map_or(tokens.len(), |found| at + found + 1)
}

/// The path of identifiers that begins at `at`, and where the tokens go on.
fn path_at(tokens: &[TokenTree], mut at: usize) -> (Vec<String>, usize) {
    let mut path = Vec::new();
    while let Some(TokenTree::Ident(word)) = tokens.get(at) {
        path.push(word.to_string());
        at += 1;
        let colons = tokens.iter().skip(at).take(2);
        if colons.filter(|t| matches!(t, TokenTree::Punct(p) if p.as_char() == ':')).count() < 2 {
            break;
        }
        at += 2;
    }
    (path, at)
}

/// The names that a `use` brings in, each with its path.
fn use_tree(tokens: &[TokenTree], prefix: &[String]) -> Vec<(String, Vec<String>)> {
    let (path, at) = path_at(tokens, 0);
    let full = [prefix, &path].concat();
    match tokens.get(at) {
        Some(TokenTree::Group(group)) => {
            let inner: Vec<_> = group.stream().into_iter().collect();
            inner
                .split(|t| matches!(t, TokenTree::Punct(p) if p.as_char() == ','))
                .flat_map(|part| use_tree(part, &full))
                .collect()
        }
        Some(TokenTree::Ident(word)) if word == "as" => {
            tokens.get(at + 1).map(|name| (name.to_string(), full)).into_iter().collect()
        }
        _ if full.is_empty() => Vec::new(),
        _ => {
            let full = match full.split_last() {
                Some((last, folder)) if last == "self" => folder.to_vec(),
                _ => full,
            };
            vec![(full.last().unwrap().clone(), full)]
        }
    }
}

/// Groups of more than one node that reach each other.
fn circles(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reach = |from: &str| {
        let mut seen: BTreeSet<String> = BTreeSet::new();
        let mut open = vec![from.to_owned()];
        while let Some(node) = open.pop() {
            for next in edges.get(&node).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> = edges.keys().map(|node| (node, reach(node))).collect();
    let mut found: BTreeSet<Vec<String>> = BTreeSet::new();
    for (node, theirs) in &reached {
        if theirs.contains(*node) {
            found.insert(
                theirs
                    .iter()
                    .filter(|other| reached.get(other).is_some_and(|r| r.contains(*node)))
                    .cloned()
                    .collect(),
            );
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(files: &[(&str, &str)]) -> Vec<String> {
        let module =
            |name: &str| name.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let graph = Graph(files.iter().map(|(name, code)| (module(name), source(code))).collect());
        let needs = graph.needs();
        needs.iter().flat_map(|(from, all)| all.iter().map(move |to| format!("{from} -> {to}"))).collect()
    }

    #[test]
    fn every_way_of_naming_something_is_found() {
        let table: [(&str, &[&str]); 7] = [
            ("use crate::b::Thing; fn f(_: Thing) {}", &["a -> b"]),
            ("fn f(_: crate::b::Thing) {}", &["a -> b"]),
            ("use super::b; fn f(_: b::Thing) {}", &["a -> b"]),
            // Through a re-export of another file, inside a macro, and in a nested `use`.
            ("use crate::c::Thing; fn f(_: Thing) {}", &["a -> b"]),
            ("fn f() { println!(\"{}\", crate::b::thing()); }", &["a -> b"]),
            ("use crate::{b::{Thing as T}}; fn f(_: T) {}", &["a -> b"]),
            // Re-exported and used in the same file.
            ("pub(crate) use crate::b::Thing; fn f(_: Thing) {}", &["a -> b"]),
        ];
        for (code, expected) in table {
            let others =
                [("a", code), ("b", "pub struct Thing;"), ("c", "pub use crate::b::Thing;"), ("", "")];
            assert_eq!(needs(&others), expected, "{code}");
        }
    }

    #[test]
    fn what_only_tests_or_others_use_does_not_count() {
        let unused = [
            "#[cfg(test)] mod tests { use crate::b::Thing; fn f(_: Thing) {} }",
            "pub use crate::b::Thing;",
            "mod thing; pub use crate::b::thing;",
            "use std::fmt; fn f(_: fmt::Error) {}",
        ];
        for code in unused {
            assert_eq!(needs(&[("a", code), ("b", "pub struct Thing;"), ("", "")]), [""; 0], "{code}");
        }
    }

    #[test]
    fn circles_are_found_whatever_their_length() {
        let files = [
            ("a", "use crate::b::B; pub struct A(B);"),
            ("b", "use crate::c::C; pub struct B(C);"),
            ("c", "pub struct C(Box<crate::a::A>);"),
            ("d", "use crate::a::A; pub struct D(A);"),
        ];
        let module = |name: &str| vec![name.to_owned()];
        let graph = Graph(files.iter().map(|(name, code)| (module(name), source(code))).collect());
        assert_eq!(graph.between_files(), [["a", "b", "c"]]);
    }
}
