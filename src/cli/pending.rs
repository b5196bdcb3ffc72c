//! `agentpass pending`: outcomes of calls that ended while nobody listened.

use argh::FromArgs;
use log::LevelFilter;
use serde_json::Value;
use smol::LocalExecutor;

use super::gateway::Gateway;
use super::{Exit, Trouble, logging, output, refusal};
use crate::client::{Client, ClientError, ClientOptions};

const WHAT: &str = "fetch the pending results";

/// Fetch the outcomes of calls that ended while this agent was away, and print them as JSON.
/// What was printed counts as received and is not returned again.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "pending")]
pub(crate) struct Pending {
    /// the gateway, wss://host:port (default: AGENTPASS_URL); ws:// sends the token unencrypted
    #[argh(option)]
    pub url: Option<String>,
    /// the agent's token (default: AGENT_TOKEN); other users of this machine can see it on the command line
    #[argh(option)]
    pub token: Option<String>,
    /// read the token from this file
    #[argh(option, arg_name = "file")]
    pub(crate) token_file: Option<String>,
    /// trust only the certificates in this PEM file
    #[argh(option, arg_name = "file")]
    pub ca_cert: Option<String>,
    /// trust only the public key with this hash, sha256:HEX, as `agentpass init` prints it (default: AGENTPASS_PIN)
    #[argh(option)]
    pub pin: Option<String>,
    /// how much is logged to stderr: error, warn, info, debug or trace (default: LOG_LEVEL, else warn)
    #[argh(option, arg_name = "level")]
    pub log_level: Option<String>,
}

/// Runs it.
pub(crate) fn run(args: Pending) -> Exit {
    show(args).unwrap_or_else(|trouble| trouble.report())
}

fn show(args: Pending) -> Result<Exit, Trouble> {
    let Pending { url, token, token_file, ca_cert, pin, log_level } = args;
    logging::start(log_level.as_deref(), LevelFilter::Warn)?;
    let options = Gateway { url, token, token_file, ca_cert, pin }.options()?;
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
