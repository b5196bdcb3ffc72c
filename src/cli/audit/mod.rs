//! `agentpass audit`: the record of everything that was asked, decided and done.

mod list;
mod show;

use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Write as _, stdout};
use std::path::PathBuf;

pub(crate) use self::list::table;
use super::output::Audience;
use super::{Exit, Trouble, moment, output, owner, terminal};
use crate::base::clock::{Clock, Timestamp};
use crate::config::{self, Paths};
use crate::store::reader::{Anchor, Anchored, Filter, Lookup, OUTCOMES, Reader, key_path, verify_export};
use crate::store::{StoreError, rebuild};
use argh::FromArgs;
use serde_json::json;

fn rows(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "it must be a whole number".into())
}

/// Read and check the record of everything that was asked, decided and done.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "audit")]
pub(crate) struct AuditArgs {
    /// what to do with it
    #[argh(subcommand)]
    pub command: AuditCommand,
}

/// What `audit` can do.
#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub(crate) enum AuditCommand {
    List(ListArgs),
    Show(ShowArgs),
    Verify(VerifyArgs),
    Anchor(AnchorArgs),
    Export(ExportArgs),
    Rebuild(RebuildArgs),
    Stats(StatsArgs),
}

/// List calls, newest first: a table on a terminal, one JSON object per line otherwise.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "list")]
pub(crate) struct ListArgs {
    /// only this tool
    #[argh(option)]
    pub tool: Option<String>,
    /// only this agent
    #[argh(option)]
    pub agent: Option<String>,
    /// only this decision: allow, ask or deny
    #[argh(option)]
    pub decision: Option<String>,
    /// only this outcome: executed, permitted, failed, denied, timed_out, withdrawn, refused, unknown or pending
    #[argh(option)]
    pub outcome: Option<String>,
    /// only from this time on: 24h (ago; also s, m, d, w), 2026-01-31 or 2026-01-31T12:00:00Z
    #[argh(option, arg_name = "time")]
    pub since: Option<String>,
    /// only before this time
    #[argh(option, arg_name = "time")]
    pub until: Option<String>,
    /// at most so many (default: 50)
    #[argh(option, default = "50", from_str_fn(rows))]
    pub limit: u32,
    /// JSON on a terminal too
    #[argh(switch)]
    pub json: bool,
    /// config.yaml, which names the store (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
}

/// Show one call with all its events.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "show")]
pub(crate) struct ShowArgs {
    /// the request id, or as much of its beginning as is unique
    #[argh(positional)]
    pub id: String,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// config.yaml, which names the store (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
}

/// Check that no event was changed, removed or put elsewhere.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "verify", error_code(1, "it was; the first bad row is named"))]
pub(crate) struct VerifyArgs {
    /// an export to check instead of the store
    #[argh(positional)]
    pub file: Option<String>,
    /// a line of "audit anchor", which must still fit
    #[argh(option, arg_name = "line")]
    pub anchor: Option<String>,
    /// config.yaml, which names the store (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
}

/// Print where the record ends as one line, to be kept on another machine or in a chat: "audit verify --anchor" says
/// later whether the record still holds it.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "anchor")]
pub(crate) struct AnchorArgs {
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// config.yaml, which names the store (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
}

/// Print every event with its link in the chain, oldest first, one JSON object per line.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "export")]
pub(crate) struct ExportArgs {
    /// config.yaml, which names the store (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
}

/// Empty the tables that lists and counts go by, and make them again from the events. The gateway must be stopped.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "rebuild")]
pub(crate) struct RebuildArgs {
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// config.yaml, which names the store (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
}

/// Count calls by tool, agent, decision and outcome.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "stats")]
pub(crate) struct StatsArgs {
    /// only from this time on: 24h (ago; also s, m, d, w), 2026-01-31 or 2026-01-31T12:00:00Z
    #[argh(option, arg_name = "time")]
    pub since: Option<String>,
    /// only before this time
    #[argh(option, arg_name = "time")]
    pub until: Option<String>,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// config.yaml, which names the store (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
}

const WHAT: &str = "read the record";

pub(crate) fn run(args: &AuditArgs) -> Result<Exit, Trouble> {
    match &args.command {
        AuditCommand::List(args) => list(args),
        AuditCommand::Show(args) => show(args),
        AuditCommand::Verify(args) => verify(args),
        AuditCommand::Anchor(args) => anchor(args),
        AuditCommand::Export(args) => export(args),
        AuditCommand::Rebuild(args) => rebuilt(args),
        AuditCommand::Stats(args) => stats(args),
    }
}

fn open(config: Option<&str>) -> Result<Reader, Trouble> {
    let local = owner::local(WHAT, config)?;
    Reader::open(&local.storage.path).map_err(|e| unreadable(&e))
}

fn unreadable(e: &StoreError) -> Trouble {
    Trouble::new(Exit::FAILED, WHAT, e).maybe_help(e.help())
}

fn usage(cause: String) -> Trouble {
    Trouble::new(Exit::BAD_ARGUMENTS, WHAT, cause).help("agentpass audit --help")
}

fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, Trouble> {
    let read = text.map(|text| moment::read(text).ok_or_else(|| usage(moment::mistake(name))));
    read.transpose()
}

fn one_of(name: &str, given: Option<&str>, words: &[&str]) -> Result<Option<String>, Trouble> {
    match given {
        Some(word) if !words.contains(&word) => {
            Err(usage(format!("--{name} is none of {}", words.join(", "))))
        }
        other => Ok(other.map(str::to_owned)),
    }
}

fn list(args: &ListArgs) -> Result<Exit, Trouble> {
    let filter = Filter {
        decision: one_of("decision", args.decision.as_deref(), &["allow", "ask", "deny"])?,
        outcome: one_of("outcome", args.outcome.as_deref(), OUTCOMES)?,
        since: time("since", args.since.as_deref())?,
        until: time("until", args.until.as_deref())?,
        tool: args.tool.clone(),
        agent: args.agent.clone(),
        limit: usize::try_from(args.limit).ok(),
        ..Filter::default()
    };
    let rows = open(args.config.as_deref())?.list(&filter).map_err(|e| unreadable(&e))?;
    if terminal::is_stdout() && !args.json {
        output::print(&table(&rows, "", terminal::width()))?;
        if rows.len() as u64 == u64::from(args.limit) {
            terminal::note("(there may be more: --limit, --since and --until choose)");
        }
        return Ok(Exit::DONE);
    }
    for row in rows {
        if output::print(&row.to_json().to_string())? == Audience::Gone {
            break;
        }
    }
    Ok(Exit::DONE)
}

fn show(args: &ShowArgs) -> Result<Exit, Trouble> {
    let mut reader = open(args.config.as_deref())?;
    let found = reader.show(&args.id).map_err(|e| unreadable(&e))?;
    let shown = match found {
        Lookup::Found(shown) => shown,
        Lookup::Unknown => {
            let trouble = Trouble::new(Exit::FAILED, WHAT, "no such request");
            return Err(trouble.help("`agentpass audit list` shows the ids"));
        }
        Lookup::Ambiguous(ids) => {
            let trouble = Trouble::new(Exit::FAILED, WHAT, "several requests begin with this id");
            return Err(trouble.help(ids.join(", ")));
        }
    };
    let data = reader.whole_result(&shown.row).map_err(|e| unreadable(&e))?;
    let mut whole = shown.into_json();
    if let (Some(members), Some(data)) = (whole.as_object_mut(), data) {
        members.insert("execution_result".into(), data.into());
    }
    if args.json || !terminal::is_stdout() {
        return output::finish(&output::json(&whole));
    }
    output::finish(&show::story(&whole, terminal::width()))
}

fn anchor(args: &AnchorArgs) -> Result<Exit, Trouble> {
    let anchor = open(args.config.as_deref())?.anchor().map_err(|e| unreadable(&e))?;
    let Anchor { seq, hash, at } = anchor;
    let text = match args.json {
        true => json!({"line": anchor.to_string(), "seq": seq, "hash": hash.hex(), "at": at.to_string()})
            .to_string(),
        false => anchor.to_string(),
    };
    output::finish(&text)
}

fn read_anchor(line: &str) -> Result<Anchor, Trouble> {
    Anchor::parse(line)
        .ok_or_else(|| usage("--anchor is not a line that `agentpass audit anchor` has printed".into()))
}

fn verify(args: &VerifyArgs) -> Result<Exit, Trouble> {
    let anchor = args.anchor.as_deref().map(read_anchor).transpose()?;
    let check = match &args.file {
        None => open(args.config.as_deref())?.verify_with(anchor.as_ref()),
        Some(file) => {
            let opened = File::open(file).map_err(|e| Trouble::new(Exit::FAILED, WHAT, e).at(file))?;
            let key = key(args.config.as_deref())?;
            verify_export(&mut BufReader::new(opened), key.as_deref(), anchor.as_ref())
        }
    };
    let check = check.map_err(|e| unreadable(&e))?;
    match check.fault {
        Some(fault) => {
            let trouble = Trouble::new(Exit::DENIED, "verify the record", fault);
            Err(trouble.help("somebody or something has changed it; compare it with a backup or an export"))
        }
        None => {
            let calls = if check.calls > 0 { format!(" of {} calls", check.calls) } else { String::new() };
            let order = if check.keyed { "" } else { " (the order only: the key is not here)" };
            let anchored = match check.anchored {
                Some(Anchored::Confirmed) => "; it holds the anchor",
                Some(Anchored::Dropped) => {
                    "; the anchor's event was dropped by retention and cannot be compared"
                }
                None => "",
            };
            let (events, last) = (check.events, check.last);
            let text = format!("whole: {events} events{calls}, the last is {last}{order}{anchored}");
            output::finish(&text)
        }
    }
}

/// The key that an export is checked with, where it is at hand: exports are checked on other machines too.
fn key(config: Option<&str>) -> Result<Option<PathBuf>, Trouble> {
    let local = match config {
        Some(_) => owner::local(WHAT, config)?,
        None => match config::local(&Paths::find(None, None)) {
            Ok(local) => local,
            Err(_) => return Ok(None),
        },
    };
    Ok(Some(key_path(&local.storage.path)).filter(|path| path.exists()))
}

fn export(args: &ExportArgs) -> Result<Exit, Trouble> {
    let mut reader = open(args.config.as_deref())?;
    let mut out = BufWriter::new(stdout().lock());
    match reader.export(&mut out).and_then(|_| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Trouble::new(Exit::FAILED, "export the record", e))
        }
        Ok(()) | Err(_) => Ok(Exit::DONE),
    }
}

fn rebuilt(args: &RebuildArgs) -> Result<Exit, Trouble> {
    let path = owner::local(WHAT, args.config.as_deref())?.storage.path;
    let failed = |e: StoreError| Trouble::new(Exit::FAILED, "rebuild the record", &e).maybe_help(e.help());
    let last = rebuild(&path).map_err(failed)?;
    let text = match args.json {
        true => json!({"rebuilt": true, "last": last}).to_string(),
        false => format!("rebuilt from the events; the last is {last}"),
    };
    output::finish(&text)
}

fn stats(args: &StatsArgs) -> Result<Exit, Trouble> {
    let (since, until) = (time("since", args.since.as_deref())?, time("until", args.until.as_deref())?);
    let now = Clock::system().now();
    let stats = open(args.config.as_deref())?.stats(since, until, now).map_err(|e| unreadable(&e))?.to_json();
    if args.json || !terminal::is_stdout() {
        return output::finish(&output::json(&stats));
    }
    output::finish(&show::numbers(&stats))
}
