//! `agentpass demo`: the whole product on one machine, with a toy smart home.

mod files;
mod home;
mod story;

use std::rc::Rc;

use argh::FromArgs;
use log::LevelFilter;
use smol::LocalExecutor;

use super::{Exit, Trouble, logging, output};
use crate::base::secret::Secret;
use crate::client::{Client, ClientOptions};
use crate::config::Paths;
use crate::daemon::{Gateway, Options};
use crate::gate::Executor;
use files::Files;
use home::Home;
use story::Story;

/// Show the whole product on this machine alone: a gateway, a toy smart home, an agent that asks, and you who
/// approve. Needs no configuration and leaves nothing behind.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "demo")]
pub struct Demo {
    /// approve everything without asking
    #[argh(switch)]
    pub yes: bool,
}

const WHAT: &str = "run the demo";

/// Runs it.
pub fn run(args: Demo) -> Exit {
    if let Err(trouble) = logging::start(None, LevelFilter::Error) {
        return trouble.report();
    }
    let executor: Executor = Rc::new(LocalExecutor::new());
    let told = smol::block_on(executor.run(demo(executor.clone(), args.yes)));
    told.unwrap_or_else(|trouble| trouble.report())
}

async fn demo(executor: Executor, yes: bool) -> Result<Exit, Trouble> {
    let failed = |e: &dyn std::fmt::Display| Trouble::new(Exit::FAILED, WHAT, e);
    let (home, address) = Home::start(&executor).map_err(|e| failed(&e))?;
    let files = Files::write(address).map_err(|e| failed(&e))?;
    let paths = Paths { config: files.config(), permissions: files.permissions() };
    let gateway =
        Gateway::start(executor.clone(), Options { paths, insecure: true }).map_err(|e| failed(&e))?;
    let port = gateway.addresses.first().map(|a| a.port()).unwrap_or_default();
    let options = ClientOptions::new(format!("ws://127.0.0.1:{port}"), Secret::new(files.token.clone()));
    let agent = Client::connect(&executor, options).await.map_err(|e| failed(&e))?;
    output::print(INTRODUCTION)?;
    let story = Story { gate: gateway.gate.clone(), agent, home, files, yes };
    let told = story.tell().await;
    story.agent.close().await;
    gateway.stop().await;
    told
}

const INTRODUCTION: &str = "\
A gateway, a toy smart home, an agent and you, all in this process, on loopback only. Nothing stays behind.

   agent --- asks ---> gateway --- calls, with a token the agent never sees ---> home
                          |
                  policy, you, record";
