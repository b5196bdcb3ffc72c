//! What argh does not do, done before it: `--name=value`, `-h`, a default command, a version.
//!
//! Positional arguments go behind `--`, so that argh, which takes the word `help` for a flag wherever it stands,
//! takes a tool of that name for a tool. An option without a value does not swallow the option behind it. It must
//! not know more about the commands than [`SWITCHES`] and [`NESTED`]; a test holds both against the help texts.

use std::collections::BTreeSet;
use std::ffi::OsString;

use super::suggest::nearest;
use super::{Exit, Trouble};

/// The options that take no value, of all commands.
pub(super) const SWITCHES: [&str; 13] = [
    "--all",
    "--check",
    "--from-record",
    "--hash-password",
    "--help",
    "--insecure",
    "--json",
    "--live",
    "--secrets",
    "--stdin",
    "--stdio",
    "--watch",
    "--yes",
];
/// Short names of options that are typed often, the same for every command that has the option.
pub(super) const SHORT: [(&str, &str); 9] = [
    ("-a", "--agent"),
    ("-c", "--config"),
    ("-j", "--json"),
    ("-n", "--limit"),
    ("-r", "--reason"),
    ("-t", "--timeout"),
    ("-u", "--url"),
    ("-w", "--watch"),
    ("-y", "--yes"),
];
/// Options that may be given more than once.
const REPEATED: [&str; 3] = ["--env", "--include", "--set"];
/// The commands whose first positional argument is a command again.
pub(super) const NESTED: [&str; 8] =
    ["audit", "channels", "clock", "grants", "hook", "limits", "mcp", "policy"];

/// A command line that argh can read.
#[derive(Debug, PartialEq)]
pub(crate) enum Prepared {
    Version,
    Command(Vec<String>),
}

/// Prepares the arguments after the program's name.
///
/// # Errors
/// Exit 4: an argument that is not UTF-8, an option that is given twice, lacks its value or takes none.
pub(crate) fn prepare(args: impl IntoIterator<Item = OsString>) -> Result<Prepared, Trouble> {
    let args: Vec<String> = args.into_iter().map(utf8).collect::<Result<_, _>>()?;
    let mut rest = args.into_iter().peekable();
    let command = match rest.peek().map(String::as_str) {
        Some("-V" | "--version") => return Ok(Prepared::Version),
        Some("-h" | "--help") => return Ok(Prepared::Command(vec!["--help".into()])),
        Some("help") => return Ok(Prepared::Command(help_of(rest.skip(1)))),
        Some(first) if !first.starts_with('-') => rest.next().unwrap_or_default(),
        Some(_) | None => "serve".into(),
    };
    let mut sorted = Sorted::default();
    sorted.sort(rest).map_err(|cause| bad(Some(&command), &cause))?;
    Ok(Prepared::Command(sorted.line(command)))
}

/// An error from argh in our words. `help` is the help text of the command that was meant.
pub(super) fn mistake(args: &[&str], output: &str, help: &str) -> Trouble {
    let words: Vec<&str> = output.split_whitespace().collect();
    let words = words.join(" ");
    let cause = words.split(" Run ").next().unwrap_or(&words);
    let trouble = bad(args.first().copied(), cause);
    // Other mistakes than an unknown word are no mistyped ones.
    let Some((_, unknown)) = cause.split_once("nrecognized argument: ") else { return trouble };
    let known = help.lines().filter_map(|line| line.strip_prefix("  ")?.split([' ', ',']).next());
    let known = known.filter(|word| !word.is_empty());
    match nearest(unknown, known.filter(|word| word.starts_with("--") == unknown.starts_with("--"))) {
        Some(word) if word != unknown => trouble.help(format!("did you mean {word}?")),
        Some(_) | None => trouble,
    }
}

fn bad(command: Option<&str>, cause: &str) -> Trouble {
    let known = command.filter(|c| c.chars().all(|c| c.is_ascii_lowercase()) && !cause.contains(*c));
    let help = match known {
        Some(command) => format!("agentpass {command} --help"),
        None => "agentpass --help".into(),
    };
    Trouble::new(Exit::BAD_ARGUMENTS, "read the command line", cause).help(help)
}

fn utf8(arg: OsString) -> Result<String, Trouble> {
    arg.into_string().map_err(|arg| bad(None, &format!("{} is not UTF-8", arg.to_string_lossy())))
}

/// `agentpass help`, `agentpass help COMMAND`, `agentpass help audit list`.
fn help_of(command: impl Iterator<Item = String>) -> Vec<String> {
    let mut words: Vec<String> = command.take_while(|word| !word.starts_with('-')).collect();
    let nested = words.first().is_some_and(|first| NESTED.contains(&first.as_str()));
    words.truncate(if nested { 2 } else { 1 });
    words.push("--help".to_owned());
    words
}

#[derive(Default)]
struct Sorted {
    options: Vec<String>,
    positionals: Vec<String>,
    help: bool,
    seen: BTreeSet<String>,
}

impl Sorted {
    fn sort(&mut self, mut rest: impl Iterator<Item = String>) -> Result<(), String> {
        while let Some(arg) = rest.next() {
            match arg.as_str() {
                "--" => {
                    self.positionals.extend(rest);
                    return Ok(());
                }
                "-h" | "--help" => self.help = true,
                option if option.starts_with("--") => self.option(option, &mut rest)?,
                short if arg.starts_with('-') => {
                    let long = SHORT.iter().find(|(name, _)| *name == short).ok_or_else(|| {
                        format!("there is no option {arg}; write -- before a text that begins with a dash")
                    })?;
                    self.option(long.1, &mut rest)?;
                }
                _ => self.positionals.push(arg),
            }
        }
        Ok(())
    }

    fn option(&mut self, option: &str, rest: &mut impl Iterator<Item = String>) -> Result<(), String> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (option, None),
        };
        if !self.seen.insert(name.to_owned()) && !REPEATED.contains(&name) {
            return Err(format!("{name} is given twice"));
        }
        self.options.push(name.to_owned());
        match (SWITCHES.contains(&name), value) {
            (true, Some(_)) => Err(format!("{name} takes no value")),
            (true, None) => Ok(()),
            (false, value) => {
                // An unknown option gets here too; argh then says so, whatever follows it.
                let value = value.or_else(|| rest.next().filter(|next| !next.starts_with("--")));
                self.options.push(value.ok_or_else(|| format!("{name} needs a value ({name}=VALUE)"))?);
                Ok(())
            }
        }
    }

    fn line(self, command: String) -> Vec<String> {
        let Sorted { options, mut positionals, help, .. } = self;
        let inner =
            (NESTED.contains(&command.as_str()) && !positionals.is_empty()).then(|| positionals.remove(0));
        let mut line: Vec<String> = [command].into_iter().chain(inner).collect();
        if help {
            line.push("--help".into());
            return line;
        }
        line.extend(options);
        if !positionals.is_empty() {
            line.push("--".into());
            line.extend(positionals);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(args: &str) -> String {
        match prepare(args.split_whitespace().map(OsString::from)) {
            Ok(Prepared::Command(line)) => line.join(" "),
            Ok(Prepared::Version) => "(version)".into(),
            Err(trouble) => trouble.to_string(),
        }
    }

    #[test]
    fn argh_gets_what_it_understands() {
        for (given, made) in [
            ("", "serve"),
            ("--insecure", "serve --insecure"),
            ("--config=a.yaml", "serve --config a.yaml"),
            ("-V", "(version)"),
            ("--version", "(version)"),
            ("-h", "--help"),
            ("audit list -n 5 -j -a x", "audit list --limit 5 --json --agent x"),
            ("help", "--help"),
            ("help request", "request --help"),
            ("help audit list", "audit list --help"),
            ("help tools x", "tools --help"),
            ("serve -h", "serve --help"),
            ("request t -h --url", "request t --url needs a value"),
            ("request t a=1 --url=ws://x --timeout 5", "request --url ws://x --timeout 5 -- t a=1"),
            ("request --url=a=b t", "request --url a=b -- t"),
            ("request help", "request -- help"),
            ("request --reason=help t", "request --reason help -- t"),
            ("request --reason=--x t", "request --reason --x -- t"),
            ("request t -- --url -h a=1", "request -- t --url -h a=1"),
            ("request --limit -5", "request --limit -5"),
            ("audit list --json", "audit list --json"),
            ("audit --json list x", "audit list --json -- x"),
            ("audit -h", "audit --help"),
            ("audit show -h", "audit show --help"),
            ("audit show help", "audit show -- help"),
        ] {
            let got = line(given);
            if made.contains("needs") {
                assert!(got.contains("needs a value"))
            } else {
                assert_eq!(got, made)
            }
        }
    }

    #[test]
    fn mistakes_are_found_before_argh_misreads_them() {
        for (given, cause) in [
            ("request t --url", "--url needs a value"),
            ("request t --url --token x", "--url needs a value"),
            ("request t --token x --token=y", "--token is given twice"),
            ("tools --json=yes", "--json takes no value"),
            ("request t -5", "there is no option -5"),
            ("-x", "there is no option -x"),
        ] {
            let got = line(given);
            assert!(
                got.starts_with(&format!("agentpass: could not read the command line: {cause}")),
                "{got}"
            );
        }
        assert!(!line("request t --token hunter2 --token hunter3").contains("hunter"));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        use std::os::unix::ffi::OsStringExt as _;
        let trouble = prepare([OsString::from_vec(vec![b'a', 0xff])]).unwrap_err();
        assert!(trouble.to_string().contains("is not UTF-8"));
    }
}
