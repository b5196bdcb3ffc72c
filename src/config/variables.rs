//! `${NAME}`: where values come from that do not stand in the file itself.
//!
//! They are put into single values after the YAML was read, so they never change its structure, and what they
//! hold is never looked at for further variables. A value itself never appears in a finding.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::finding::{Finding, Severity};
use super::source;

/// What [`super::load_in`] looks at besides the files it is given.
pub struct Surroundings<'a> {
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// Where tool files are that do not lie beside config.yaml.
    pub share: PathBuf,
}

impl Surroundings<'static> {
    /// The process's environment and the directory of the package.
    pub(crate) fn of_process() -> Surroundings<'static> {
        Surroundings {
            variable: &|name| std::env::var_os(name),
            share: PathBuf::from("/usr/share/agentpass"),
        }
    }
}

/// What systemd puts before a file's name when the unit loads a whole directory: `LoadCredential=secret:DIR`.
const FROM_DIRECTORY: &str = "secret_";
/// The directory beside config.yaml that the unit loads; commands of root read it themselves.
const SECRETS: &str = "secrets";

/// The places in which a variable is looked for.
pub(crate) struct Variables<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    credentials: Option<PathBuf>,
    dotenv: BTreeMap<String, String>,
    dotenv_path: PathBuf,
    secrets: PathBuf,
    /// What is wrong with `.env` and `secrets/`.
    pub(crate) findings: Vec<Finding>,
}

/// Why a value cannot be resolved, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unresolved {
    pub text: String,
    pub help: String,
}

impl<'a> Variables<'a> {
    /// Reads the `.env` file beside `config`, when there is one.
    pub(crate) fn near(config: &Path, around: &Surroundings<'a>) -> Variables<'a> {
        let dotenv_path = config.with_file_name(".env");
        let mut findings = Vec::new();
        let dotenv = read_dotenv(&dotenv_path, &mut findings);
        let credentials = (around.variable)("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let secrets = config.with_file_name(SECRETS);
        findings.extend(readable_secrets(&secrets));
        Variables { variable: around.variable, credentials, dotenv, dotenv_path, secrets, findings }
    }

    /// `raw` with every `${NAME}` replaced, and `$${` by a literal `${`; also the values that were put in.
    ///
    /// # Errors
    /// When a variable is nowhere, is no text, or the braces hold no name.
    pub(crate) fn resolve(&self, raw: &str) -> Result<(String, Vec<String>), Unresolved> {
        let (mut text, mut parts, mut rest) = (String::new(), Vec::new(), raw);
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                text.extend([before, "${"]);
                rest = after;
                continue;
            }
            let (name, behind) =
                after.split_once('}').filter(|(name, _)| is_name(name)).ok_or_else(no_name)?;
            let value = self.value(name)?;
            text.extend([before, &value]);
            parts.push(value);
            rest = behind;
        }
        text.push_str(rest);
        Ok((text, parts))
    }

    /// The order is a promise: systemd's credentials, the environment, `.env`, `secrets/`.
    fn value(&self, name: &str) -> Result<String, Unresolved> {
        let outside = self.credential(name).or_else(|| self.environment(name));
        let beside = || self.dotenv.get(name).cloned().map(Ok).or_else(|| self.secret(name));
        outside.or_else(beside).unwrap_or_else(|| Err(self.missing(name)))
    }

    fn credential(&self, name: &str) -> Option<Result<String, Unresolved>> {
        let dir = self.credentials.as_ref()?;
        in_file(name, &dir.join(name)).or_else(|| in_file(name, &dir.join(format!("{FROM_DIRECTORY}{name}"))))
    }

    fn environment(&self, name: &str) -> Option<Result<String, Unresolved>> {
        let value = (self.variable)(name)?;
        let not_text = |_| unusable(name, "the environment contains bytes that are not UTF-8");
        Some(value.into_string().map_err(not_text))
    }

    /// A service has its copies among the credentials and may not read the directory itself.
    fn secret(&self, name: &str) -> Option<Result<String, Unresolved>> {
        let is_service = self.credentials.is_some();
        if is_service { None } else { in_file(name, &self.secrets.join(name)) }
    }

    fn missing(&self, name: &str) -> Unresolved {
        let (env, secret) = (self.dotenv_path.display(), self.secrets.join(name));
        let secret = secret.display();
        let help = match &self.credentials {
            Some(dir) => format!(
                "looked in {}, the environment and {env}; a new {secret} counts when the service is restarted",
                dir.display()
            ),
            None => {
                format!("looked in the environment, {env} and {secret} ($CREDENTIALS_DIRECTORY is not set)")
            }
        };
        Unresolved { text: format!("variable {name} is not set"), help }
    }
}

/// A secret in a file of its own, without the line's end.
fn in_file(name: &str, path: &Path) -> Option<Result<String, Unresolved>> {
    match source::read_text(path) {
        Ok(text) => Some(Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())),
        Err(why) if why.is_missing() => None,
        Err(why) => Some(Err(unusable(name, &format!("{}: {why}", path.display())))),
    }
}

/// A warning for each secret that every user of this machine may read. In a private directory the mode of a file
/// does not matter.
fn readable_secrets(dir: &Path) -> Vec<Finding> {
    if !source::is_world_open(dir) {
        return Vec::new();
    }
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut open: Vec<_> = files.filter(|path| path.is_file() && source::is_world_readable(path)).collect();
    open.sort();
    open.iter().map(|path| source::world_readable(path)).collect()
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && name.chars().all(fits)
}

fn no_name() -> Unresolved {
    let text = "\"${\" is not followed by a name and \"}\"".into();
    Unresolved { text, help: "write ${NAME}, or $${ for a literal ${".into() }
}

fn unusable(name: &str, help: &str) -> Unresolved {
    Unresolved { text: format!("variable {name} cannot be used"), help: help.to_owned() }
}

fn read_dotenv(path: &Path, findings: &mut Vec<Finding>) -> BTreeMap<String, String> {
    let text = match source::read_text(path) {
        Ok(text) => text,
        Err(why) if why.is_missing() => return BTreeMap::new(),
        Err(why) => {
            findings.push(Finding::whole("cannot load variables", path, why.to_string()));
            return BTreeMap::new();
        }
    };
    if source::is_world_readable(path) {
        findings.push(source::world_readable(path));
    }
    let mut values = BTreeMap::new();
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        match assignment(line) {
            Ok(Some((name, value))) => drop(values.insert(name, value)),
            Ok(None) => {}
            Err(text) => findings.push(ignored_line(path, number, text)),
        }
    }
    values
}

/// A warning only: other programs read the same file and take more, and a variable that cannot be read matters only
/// when something names it.
fn ignored_line(path: &Path, number: u64, text: &str) -> Finding {
    let finding = Finding::whole("cannot load variables", path, format!("{text}; it is left out"));
    Finding { severity: Severity::Warning, place: Some((number, 1)), ..finding.help("write NAME=value") }
}

/// One line of a `.env` file; None for a comment or an empty line.
fn assignment(line: &str) -> Result<Option<(String, String)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, value) = line.split_once('=').ok_or("a line is not NAME=value")?;
    let name = name.trim();
    if !is_name(name) {
        return Err("a line does not begin with the name of a variable");
    }
    Ok(Some((name.to_owned(), unquote(value.trim())?)))
}

fn unquote(value: &str) -> Result<String, &'static str> {
    match value.chars().next() {
        Some('\'') => quoted(value, '\''),
        Some('"') => quoted(value, '"'),
        _ => Ok(before_comment(value).to_owned()),
    }
}

/// A `#` begins a comment at the start and after white space.
fn before_comment(value: &str) -> &str {
    let comment = value.char_indices().find(|&(at, c)| {
        let head = value.get(..at).unwrap_or_default();
        c == '#' && (head.is_empty() || head.ends_with(char::is_whitespace))
    });
    comment.map_or(value, |(at, _)| value.get(..at).unwrap_or_default()).trim_end()
}

/// Between double quotes `\n \t \" \\ \$` stand for the character; single quotes know no escapes.
fn quoted(value: &str, quote: char) -> Result<String, &'static str> {
    let (mut text, mut chars) = (String::new(), value.chars());
    chars.next();
    while let Some(c) = chars.next() {
        match c {
            c if c == quote => return only_comment(chars.as_str()).map(|()| text),
            '\\' if quote == '"' => text.push_str(&escape(chars.next().ok_or(OPEN_QUOTE)?)),
            c => text.push(c),
        }
    }
    Err(OPEN_QUOTE)
}

const OPEN_QUOTE: &str = "a quote is not closed in the same line";

fn escape(c: char) -> String {
    match c {
        'n' => "\n".into(),
        't' => "\t".into(),
        '"' | '\\' | '$' => c.into(),
        other => format!("\\{other}"),
    }
}

fn only_comment(rest: &str) -> Result<(), &'static str> {
    let rest = rest.trim_start();
    let fits = rest.is_empty() || rest.starts_with('#');
    if fits { Ok(()) } else { Err("text follows a closing quote") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Option<(String, String)> {
        assignment(text).unwrap()
    }

    #[test]
    fn reads_what_a_dotenv_file_holds() {
        let is = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        for (text, expected) in [
            ("A=b", is("A", "b")),
            ("  export  A = b c  ", is("A", "b c")),
            ("A=", is("A", "")),
            ("A=b # why", is("A", "b")),
            ("A=b#c", is("A", "b#c")),
            ("A=#c", is("A", "")),
            ("A='b # \\n\"' # why", is("A", "b # \\n\"")),
            (r#"A="b\n\"\$x\q" "#, is("A", "b\n\"$x\\q")),
            ("A=x=y==", is("A", "x=y==")),
            ("# A=b", None),
            ("", None),
        ] {
            assert_eq!(line(text), expected, "{text}");
        }
        for bad in ["A", "=b", "A B=c", "A=\"b", "A='b' c"] {
            assert!(assignment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_put_in_once_and_a_doubled_dollar_is_literal() {
        let lookup = |name: &str| (name == "X").then(|| OsString::from("${Y}\"'"));
        let around = Surroundings { variable: &lookup, share: PathBuf::new() };
        let vars = Variables::near(Path::new("/nowhere/config.yaml"), &around);
        assert_eq!(vars.resolve("a${X}b").unwrap().0, "a${Y}\"'b");
        assert_eq!(vars.resolve("$${X} $ $$ {X} ${X}").unwrap().0, "${X} $ $$ {X} ${Y}\"'");
        assert_eq!(vars.resolve("${Z}").err().unwrap().text, "variable Z is not set");
        for bad in ["${", "${}", "${a b}", "${../x}", "${a/b}", "x${Y"] {
            assert_eq!(vars.resolve(bad).err(), Some(no_name()), "{bad}");
        }
    }
}
