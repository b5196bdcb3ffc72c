//! `agentpass mcp add`: a server into config.yaml, and its tools into their file, in one step.

use std::fs;
use std::path::Path;

use argh::FromArgs;
use serde_json::{Value, json};

use super::import::{failed, import};
use super::server::find;
use crate::cli::files::paths;
use crate::cli::replace_file::NextFile;
use crate::cli::{Exit, Trouble, output};
use crate::config::{OVER_HTTP, Paths};

/// Put an MCP server behind the gateway: start it with the command that follows, write it into config.yaml and its tools
/// into tools/NAME.mcp.yaml. When anything fails, nothing is written.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "add",
    example = "agentpass mcp add memory -- npx -y @modelcontextprotocol/server-memory@2026.8.31",
    error_code(4, "there is a service of this name, or no command"),
    error_code(5, "the server gives no list"),
    error_code(78, "config.yaml cannot be used")
)]
pub(crate) struct AddArgs {
    /// a variable that the server gets, NAME=VALUE; may be repeated. ${NAME} stands for a variable of the gateway's or of
    /// its .env file
    #[argh(option, arg_name = "name")]
    pub env: Vec<String>,
    /// only tools whose name at the server matches this pattern; may be repeated
    #[argh(option, arg_name = "glob")]
    pub include: Vec<String>,
    /// config.yaml (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
    /// a name for the service, which its tools begin with; then a command and its arguments behind --
    #[argh(positional, arg_name = "name")]
    pub words: Vec<String>,
}

const WHAT: &str = "add the MCP server";

pub(crate) fn run(args: &AddArgs) -> Result<Exit, Trouble> {
    let bad = |cause: &str| Trouble::new(Exit::BAD_ARGUMENTS, WHAT, cause).help("agentpass mcp add --help");
    let [name, command @ ..] = args.words.as_slice() else { return Err(bad("give it a name")) };
    if command.is_empty() {
        return Err(bad("give the command that starts it, behind --"));
    }
    if command.iter().any(|word| word.starts_with("http://") || word.starts_with("https://"))
        && command.len() == 1
    {
        return Err(Trouble::new(Exit::BAD_ARGUMENTS, WHAT, OVER_HTTP)
            .help("give the command of a server that the gateway starts itself, behind --"));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > 32 || !name.chars().all(fits) || name.contains("__") {
        return Err(bad("a name has up to 32 letters, digits, _ and -, without __"));
    }
    let env =
        args.env.iter().map(|pair| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.into())));
    let env: Option<serde_json::Map<String, Value>> = env.collect();
    let env = env.ok_or_else(|| bad("--env needs NAME=VALUE"))?;
    let paths = paths(args.config.as_deref(), None);
    let failed_at = |path: &Path, e| Trouble::new(Exit::FAILED, WHAT, e).at(path.display().to_string());
    let text = fs::read_to_string(&paths.config).map_err(|e| failed_at(&paths.config, e))?;
    let mut entry = json!({"handler": "mcp", "command": command, "tools": format!("tools/{name}.mcp.yaml")});
    if let (false, Some(members)) = (env.is_empty(), entry.as_object_mut()) {
        members.insert("env".to_owned(), env.into());
    }
    let with = with_service(&text, name, &entry).map_err(bad)?;
    let next = NextFile::write(&paths.config, &with).map_err(failed)?;
    let beside = Paths { config: next.path.clone(), permissions: paths.permissions.clone() };
    let service = match find(&beside, name) {
        Ok(service) => service,
        Err(exit) => return Ok(exit),
    };
    let imported = match import(&service, &args.include, WHAT)? {
        Ok(imported) => imported,
        Err(exit) => return Ok(exit),
    };
    imported.file.put().map_err(failed)?;
    next.put().map_err(failed)?;
    let added = format!("{name} is a service in {}", paths.config.display());
    output::finish(&format!("{added}\n{}", imported.report.to_text()))
}

/// The text of config.yaml with one more service, in one line below `services:`.
fn with_service(text: &str, name: &str, entry: &Value) -> Result<String, &'static str> {
    let line = format!("{name}: {entry}");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let Some(at) = lines.iter().position(|line| line.starts_with("services:")) else {
        return Ok(format!("{}\n\nservices:\n  {line}\n", text.trim_end()));
    };
    let below: Vec<&String> = lines.iter().skip(at + 1).collect();
    let is_entry = |line: &&&String| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let indent = below.iter().find(is_entry).map_or(0, |line| line.len() - line.trim_start().len());
    let is_own = |line: &&&String| {
        let own = line.trim_start();
        line.len() - own.len() == indent && own.trim_start_matches('"').starts_with(name) && {
            let rest = own.trim_start_matches('"').get(name.len()..).unwrap_or_default();
            rest.trim_start_matches('"').trim_start().starts_with(':')
        }
    };
    let section = below.iter().take_while(|line| line.is_empty() || line.starts_with([' ', '#']));
    if indent > 0 && section.copied().any(|line| is_own(&&line)) {
        return Err("there is a service of this name");
    }
    let own = lines.get(at).map(|line| line["services:".len()..].trim().to_owned()).unwrap_or_default();
    match own.split('#').next().unwrap_or_default().trim() {
        "" => {}
        "{}" | "null" | "~" => lines.splice(at..=at, ["services:".to_owned()]).for_each(drop),
        _ => {
            return Err(
                "services: stands in one line of config.yaml: write one service below the other first",
            );
        }
    }
    lines.insert(at + 1, format!("{}{line}", " ".repeat(if indent == 0 { 2 } else { indent })));
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_written_below_the_others() {
        let with = |text: &str| with_service(text, "x", &json!({"a": 1}));
        assert_eq!(with("a: 1\n").unwrap(), "a: 1\n\nservices:\n  x: {\"a\":1}\n");
        assert_eq!(with("services: {}\nb: 2\n").unwrap(), "services:\n  x: {\"a\":1}\nb: 2\n");
        let two = "services:\n    # first\n    y:\n        url: z\nb: 2\n";
        assert_eq!(
            with(two).unwrap(),
            "services:\n    x: {\"a\":1}\n    # first\n    y:\n        url: z\nb: 2\n"
        );
        for taken in ["services:\n  x:\n    url: z\n", "services:\n  y: {}\n  \"x\" : {}\n"] {
            assert!(with(taken).is_err(), "{taken}");
        }
        assert!(with("services: {y: {}}\n").is_err());
        assert!(with("services:\n  y:\n    x: 1\nother:\n  x: 1\n").is_ok());
        assert!(with("services:\n  xx: {}\n").is_ok());
    }
}
