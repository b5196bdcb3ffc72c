//! `agentpass request`: one call, its result on stdout, its end in the exit code.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_signal::{Signal, Signals};
use log::LevelFilter;
use serde_json::{Map, Value};
use smol::{LocalExecutor, future, stream::StreamExt as _};

use super::gateway::seconds;
use super::options::agent_command;
use super::progress::ApprovalProgress;
use super::suggest::nearest;
use super::{Exit, Trouble, logging, output, refusal, terminal, values};
use crate::base::safe_text::visible;
use crate::client::{Client, ClientError, ClientOptions, OnPending, RequestOptions, ToolResult};
use crate::net::deadline::within;

/// How long withdrawing a question may take after Ctrl-C.
const WITHDRAW_LIMIT: Duration = Duration::from_secs(2);
/// How long to wait for the list of tools that makes a message better.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

agent_command! {
    /// Ask the gateway to run a tool, wait for the approval if it needs one, and print the result as JSON.
    #[argh(
        subcommand,
        name = "request",
        example = "agentpass request ha_get_state entity_id=sensor.temp\nagentpass request ha_call_service domain=light service=turn_on entity_id=light.bed brightness:=120",
        note = "A connection that breaks while the call waits is taken up again; the call never runs twice.",
        note = "Ctrl-C withdraws an open question; a second Ctrl-C does not wait for that, and the question stays open.",
        error_code(1, "denied, by a human or by the policy"),
        error_code(2, "nobody answered in time"),
        error_code(3, "no connection, or not authenticated"),
        error_code(4, "bad arguments"),
        error_code(5, "the action failed, or too many requests"),
        error_code(130, "ended by Ctrl-C")
    )]
    RequestArgs {
        /// the tool
        #[argh(positional)]
        pub tool: String,
        /// its arguments: key=value is text or what the tool declares, key:=JSON is JSON
        #[argh(positional, arg_name = "key=value")]
        pub args: Vec<String>,
        /// more arguments, as one JSON object
        #[argh(option, arg_name = "json")]
        pub(crate) json_args: Option<String>,
        /// seconds to wait in all (default: 900)
        #[argh(option, default = "Duration::from_secs(900)", from_str_fn(seconds))]
        pub timeout: Duration,
        /// why; shown to the human, at most 500 characters
        #[argh(option, arg_name = "text")]
        pub reason: Option<String>,
        /// your own name for what this call is part of
        #[argh(option, arg_name = "name")]
        pub session: Option<String>,
        /// the same key for the same call returns the outcome of the first one and runs nothing again
        #[argh(option, arg_name = "key")]
        pub idempotency_key: Option<String>,
    }
}

pub(crate) fn run(args: &RequestArgs) -> Result<Exit, Trouble> {
    logging::start(args.log_level.as_deref(), LevelFilter::Warn)?;
    let values = values::read(&args.args, args.json_args.as_deref()).map_err(|cause| {
        Trouble::new(Exit::BAD_ARGUMENTS, "read the arguments", cause).help("agentpass request --help")
    })?;
    let mut gateway = args.gateway()?;
    gateway.connect_timeout = gateway.connect_timeout.min(args.timeout);
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(call(&executor, gateway, args, values)))
}

async fn call(
    executor: &LocalExecutor<'_>,
    gateway: ClientOptions,
    args: &RequestArgs,
    values: Map<String, Value>,
) -> Result<Exit, Trouble> {
    let began = Instant::now();
    let RequestArgs { tool, args: pairs, timeout, reason, session, idempotency_key, .. } = args;
    let what = format!("run {tool}");
    let refused = |e: ClientError| refusal::trouble(&what, &e);
    let client = Client::connect(executor, gateway).await.map_err(refused)?;
    // From here on Ctrl-C is ours; before, it simply ends the program.
    let mut signals = Signals::new([Signal::Int]).map_err(|e| Trouble::new(Exit::FAILED, &what, e))?;
    let waiting = Waiting::new();
    let options = RequestOptions {
        reason: reason.clone(),
        session_id: session.clone(),
        idempotency_key: idempotency_key.clone(),
        timeout: Some(timeout.saturating_sub(began.elapsed())),
        permits: None,
        on_pending: Some(waiting.on_pending()),
    };
    let reply = async { Some(ask(&client, tool, values, pairs, options).await) };
    let interrupt = async {
        signals.next().await;
        None
    };
    let outcome = future::or(future::or(reply, interrupt), waiting.progress.show()).await;
    let question = waiting.end();
    let Some(reply) = outcome else {
        let second = async { signals.next().await.map(|_| ()) };
        future::or(withdraw(client, question), second).await;
        return Ok(Exit::INTERRUPTED);
    };
    let ended = match reply {
        Ok(result) => print(&result),
        Err(e) => Err(refused(e.clone()).maybe_help(remedy(&client, tool, &e).await)),
    };
    client.close().await;
    ended
}

/// Asks for the call. Values are sent as text first; where the gateway wants another type that they can be read as,
/// they are sent once more as that: what was refused has not been carried out.
async fn ask(
    client: &Client,
    tool: &str,
    mut args: Map<String, Value>,
    pairs: &[String],
    options: RequestOptions,
) -> Result<ToolResult, ClientError> {
    let reply = client.tool_request(tool, args.clone(), options.clone()).await;
    let wrong = |e: &ClientError| matches!(e, ClientError::Invalid { argument: Some(_), .. });
    if !reply.as_ref().is_err_and(wrong) || !values::may_be_typed(pairs) {
        return reply;
    }
    let (declared, sent) = (declared(client, tool).await, args.clone());
    values::typed(&mut args, pairs, |name| {
        declared.iter().find(|(known, _)| known == name).map(|(_, kind)| kind.as_str())
    });
    if args == sent { reply } else { client.tool_request(tool, args, options).await }
}

/// The arguments of `tool` with their declared types; nothing when the gateway does not say.
async fn declared(client: &Client, tool: &str) -> Vec<(String, String)> {
    let tools = within(LOOK_LIMIT, client.list_tools()).await.and_then(Result::ok).unwrap_or_default();
    let args = tools.into_iter().find(|known| known.name == tool).map(|known| known.args);
    args.into_iter().flatten().filter_map(|arg| Some((arg.name, arg.kind?))).collect()
}

/// What the person who typed the call probably meant.
async fn remedy(client: &Client, tool: &str, e: &ClientError) -> Option<String> {
    let argument = match e {
        ClientError::Invalid { forbidden: Some((character, valid)), .. } => {
            return Some(format!("it holds {character:?}; valid is {valid}"));
        }
        ClientError::Failed { reason, .. } if &**reason == "unknown_tool" => None,
        ClientError::Invalid { argument: Some(argument), .. } => Some(argument),
        _ => return None,
    };
    let tools = within(LOOK_LIMIT, client.list_tools()).await?.ok()?;
    let Some(argument) = argument else {
        return nearest(tool, tools.iter().map(|known| known.name.as_str())).map(meant);
    };
    let known = tools.iter().find(|known| known.name == tool)?;
    let Some(arg) = known.args.iter().find(|arg| arg.name == *argument) else {
        return nearest(argument, known.args.iter().map(|arg| arg.name.as_str())).map(meant);
    };
    let kind = arg.kind.as_ref().map(|kind| format!("it is of type {kind}"));
    let pattern = arg.validate.as_ref().map(|pattern| format!("it matches {pattern}"));
    let about = Some(arg.description.clone()).filter(|text| !text.is_empty());
    let known: Vec<String> = [kind, pattern, about].into_iter().flatten().collect();
    (!known.is_empty()).then(|| known.join("; "))
}

fn meant(word: &str) -> String {
    format!("did you mean {word:?}?")
}

/// The data on stdout; on stderr what is missing from it. Whoever reads only the data and the exit code sees null and
/// success: it was done, and must not be repeated.
fn print(result: &ToolResult) -> Result<Exit, Trouble> {
    if let Some(lost) = &result.data_lost {
        let words = lost.replace('_', " ");
        terminal::note(&visible(&format!("agentpass: executed, but the service's answer was lost: {words}")));
    }
    if let Some(note) = &result.data_note {
        terminal::note(&visible(&format!("agentpass: note on the data: {note}")));
    }
    output::finish(&output::json(&result.data))
}

/// Takes the question back, if a human is being asked one.
async fn withdraw(client: Client, question: Option<String>) -> Option<()> {
    let request_id = question?;
    let work = async {
        client.cancel(&request_id).await.ok();
        client.close().await;
    };
    within(WITHDRAW_LIMIT, work).await
}

/// What is known while waiting: the progress shown, and the question's id.
struct Waiting {
    progress: ApprovalProgress,
    question: Rc<RefCell<Option<String>>>,
}

impl Waiting {
    fn new() -> Waiting {
        Waiting { progress: ApprovalProgress::new(), question: Rc::default() }
    }

    fn on_pending(&self) -> OnPending {
        let show = self.progress.on_pending();
        let question = Rc::clone(&self.question);
        Rc::new(move |pending| {
            question.replace(Some(pending.request_id.clone()));
            show(pending);
        })
    }

    /// Wipes the progress away.
    fn end(self) -> Option<String> {
        self.question.take()
    }
}
