//! `agentpass demo`: the whole product on one machine, with a toy smart home.
//!
//! Everything is real but the home: the gateway is the one that `serve` runs, the agent speaks over a socket. It must
//! leave nothing behind, however it ends.

mod files;
mod home;
mod story;

use std::rc::Rc;

use argh::FromArgs;
use async_signal::{Signal, Signals};
use log::LevelFilter;
use smol::stream::StreamExt as _;
use smol::{LocalExecutor, future};

use super::{Exit, Trouble, logging, terminal};
use crate::base::secret::Secret;
use crate::client::{Client, ClientOptions};
use crate::config::Paths;
use crate::daemon::{Gateway, Options};
use crate::gate::Executor;
use files::DemoFiles;
use home::ToyHome;
use story::{DemoStory, failed};

/// See all of it on this machine alone: a gateway, a toy smart home, an agent that asks, and you who approve.
/// Needs no configuration and leaves nothing behind.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "demo")]
pub(crate) struct DemoArgs {
    /// approve without asking
    #[argh(switch)]
    pub yes: bool,
}

pub(crate) fn run(args: &DemoArgs) -> Result<Exit, Trouble> {
    logging::start(None, LevelFilter::Error)?;
    let executor: Executor = Rc::new(LocalExecutor::new());
    smol::block_on(executor.run(demo(executor.clone(), args.yes)))
}

async fn demo(executor: Executor, yes: bool) -> Result<Exit, Trouble> {
    // From here on a signal ends the story and not the process, so that the folder is removed.
    let signals = Signals::new([Signal::Int, Signal::Term, Signal::Hup]).map_err(failed)?;
    let (home, address) = ToyHome::start(&executor).map_err(failed)?;
    let files = DemoFiles::write(address).map_err(failed)?;
    let paths = Paths { config: files.config(), permissions: files.permissions() };
    let gateway = Gateway::start(executor.clone(), Options { paths, insecure: true }).map_err(failed)?;
    let port = gateway.addresses.first().map(|a| a.port()).unwrap_or_default();
    let options = ClientOptions::new(format!("ws://127.0.0.1:{port}"), Secret::new(files.token.clone()));
    let agent = Client::connect(&executor, options).await.map_err(failed)?;
    let story = DemoStory { gate: gateway.gate.clone(), agent, home, files, yes };
    let end = future::or(interrupted(signals), story.tell()).await;
    story.agent.close().await;
    gateway.stop().await;
    end
}

async fn interrupted(mut signals: Signals) -> Result<Exit, Trouble> {
    signals.next().await;
    terminal::note("\nstopped; nothing stays behind");
    Ok(Exit::INTERRUPTED)
}
