//! `agentpass pending`: outcomes of calls that ended while nobody listened.

use log::LevelFilter;
use serde_json::Value;
use smol::LocalExecutor;

use super::options::agent_command;
use super::{Exit, Trouble, logging, output, refusal};
use crate::client::{Client, ClientError, ClientOptions};

const WHAT: &str = "fetch the pending results";

agent_command! {
    /// Fetch the outcomes of calls that ended while this agent was away, and print them as JSON.
    /// What was printed counts as received and is not returned again.
    #[argh(subcommand, name = "pending")]
    PendingArgs {
    }
}

pub(crate) fn run(args: &PendingArgs) -> Result<Exit, Trouble> {
    logging::start(args.log_level.as_deref(), LevelFilter::Warn)?;
    let options = args.gateway()?;
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(fetch(&executor, options)))
}

/// Prints before it says goodbye: what could not be printed should not count as received.
async fn fetch(executor: &LocalExecutor<'_>, mut options: ClientOptions) -> Result<Exit, Trouble> {
    let refused = |e: ClientError| refusal::trouble(WHAT, &e);
    options.max_retries = Some(0);
    let client = Client::connect(executor, options).await.map_err(refused)?;
    let results = client.pending_results().await.map_err(refused)?;
    let json: Value = results.into_iter().map(|result| result.json).collect();
    output::print(&output::json(&json))?;
    client.close().await;
    Ok(Exit::DONE)
}
