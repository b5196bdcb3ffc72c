//! `agentpass tools`: what this agent may ask for.

use log::LevelFilter;
use serde_json::Value;
use smol::LocalExecutor;

use super::options::agent_command;
use super::{Exit, Trouble, layout, logging, output, refusal, terminal};
use crate::base::safe_text::visible;
use crate::client::{ArgInfo, Client, ClientError, ClientOptions, ToolInfo};

const WHAT: &str = "list the tools";

agent_command! {
    /// List the tools that this agent may ask for: a table on a terminal, JSON otherwise.
    #[argh(subcommand, name = "tools")]
    ToolsArgs {
        /// JSON on a terminal too
        #[argh(switch)]
        pub json: bool,
    }
}

/// Columns that a description needs beside the arguments, blanks included.
const ROOM: usize = 34;

pub(crate) fn run(args: &ToolsArgs) -> Result<Exit, Trouble> {
    logging::start(args.log_level.as_deref(), LevelFilter::Warn)?;
    let options = args.gateway()?;
    let executor = LocalExecutor::new();
    let tools = smol::block_on(executor.run(fetch(&executor, options)));
    let tools = tools.map_err(|e| refusal::trouble(WHAT, &e))?;
    let text = if args.json || !terminal::is_stdout() {
        output::json(&tools.into_iter().map(|tool| tool.json).collect::<Value>())
    } else {
        table(&tools, terminal::width())
    };
    output::finish(&text)
}

async fn fetch(
    executor: &LocalExecutor<'_>,
    mut options: ClientOptions,
) -> Result<Vec<ToolInfo>, ClientError> {
    options.max_retries = Some(0);
    let client = Client::connect(executor, options).await?;
    let tools = client.list_tools().await;
    client.close().await;
    tools
}

/// The tools with aligned columns, or with the arguments below the description where a line has no room for both; all
/// of it comes from the network.
fn table(tools: &[ToolInfo], width: Option<usize>) -> String {
    let head = ["TOOL", "ARGUMENTS", "DESCRIPTION"].map(str::to_owned);
    let rows: Vec<[String; 3]> = std::iter::once(head).chain(tools.iter().map(row)).collect();
    let names = rows.iter().map(|[name, ..]| layout::width(name)).max().unwrap_or_default();
    let args = rows.iter().map(|[_, args, _]| layout::width(args)).max().unwrap_or_default();
    match width {
        Some(width) if names + args + ROOM > width => {
            rows.iter().map(|row| stacked(row, names, width)).collect::<Vec<_>>().join("\n")
        }
        _ => layout::table(&rows, "", width),
    }
}

/// A tool's description, and its arguments on lines of their own.
fn stacked([name, args, description]: &[String; 3], names: usize, width: usize) -> String {
    let texts = [description, args].into_iter().filter(|text| !text.is_empty());
    let lines = texts.enumerate().map(|(number, text)| {
        let head = layout::padded(if number == 0 { name } else { "" }, names + 2);
        layout::hanging(&head, text, Some(width))
    });
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() { name.clone() } else { lines.join("\n") }
}

fn row(tool: &ToolInfo) -> [String; 3] {
    let args: Vec<String> = tool.args.iter().map(argument).collect();
    [visible(&tool.name), args.join(" "), visible(&tool.description)]
}

/// `name`, or `[name]` when it may be left out.
fn argument(arg: &ArgInfo) -> String {
    let name = visible(&arg.name);
    if arg.required { name } else { format!("[{name}]") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_safe() {
        let arg = |name: &str, required| ArgInfo {
            name: name.into(),
            required,
            kind: None,
            validate: None,
            description: String::new(),
        };
        let tool = |name: &str, args, description: &str| ToolInfo {
            name: name.into(),
            description: description.into(),
            service: String::new(),
            args,
            json: Value::Null,
        };
        let tools = [
            tool("get", vec![arg("id", true), arg("deep", false)], "Fetch\u{1b}[2J it"),
            tool("longer_name", vec![], ""),
        ];
        assert_eq!(
            table(&tools, None),
            "TOOL         ARGUMENTS  DESCRIPTION\n\
             get          id [deep]  Fetch⟨U+001B⟩[2J it\n\
             longer_name"
        );
        assert_eq!(
            table(&tools, Some(40)),
            "TOOL         DESCRIPTION\n\x20            ARGUMENTS\n\
             get          Fetch⟨U+001B⟩[2J it\n\x20            id [deep]\n\
             longer_name"
        );
    }
}
