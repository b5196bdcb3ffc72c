//! `agentpass policy replay`: what other files would have made of the calls in the record.

use std::collections::HashMap;

use argh::FromArgs;
use serde_json::{Value, json};

use crate::base::clock::Timestamp;
use crate::base::safe_text::visible;
use crate::cli::files::{OwnerFiles, paths};
use crate::cli::{Exit, Trouble, layout, moment, output, terminal};
use crate::gate::explain::Explanation;
use crate::gate::replay::{Rejudged, UNKNOWN};

/// Judge the calls in the record anew, each at its own time, and say what would have been decided otherwise.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "replay",
    example = "agentpass policy replay --permissions new.yaml --since 7d",
    error_code(1, "something would have been decided otherwise"),
    error_code(78, "bad configuration")
)]
pub(crate) struct ReplayArgs {
    /// the permissions.yaml to try (default: beside config.yaml)
    #[argh(option, arg_name = "file")]
    pub permissions: Option<String>,
    /// only calls from this time on: 24h (ago; also s, m, d, w), 2026-01-31 or 2026-01-31T12:00:00Z
    #[argh(option, arg_name = "time")]
    pub since: Option<String>,
    /// only this agent
    #[argh(option)]
    pub agent: Option<String>,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// config.yaml, which names the record and the tools (default: as for serve)
    #[argh(option, arg_name = "file")]
    pub config: Option<String>,
}

const WHAT: &str = "replay the record";

/// Calls of one signature that would have been decided otherwise in the same way.
struct Group {
    signature: String,
    tool: String,
    was: &'static str,
    would_be: &'static str,
    redacted: bool,
    count: u64,
    first: Timestamp,
    last: Timestamp,
    agents: Vec<String>,
    reasons: Value,
}

pub(super) fn run(args: &ReplayArgs) -> Result<Exit, Trouble> {
    let since = moment::since(WHAT, args.since.as_deref())?;
    let files = match OwnerFiles::load(&paths(args.config.as_deref(), args.permissions.as_deref())) {
        Ok(files) => files,
        Err(exit) => return Ok(exit),
    };
    let (mut groups, mut places) = (Vec::new(), HashMap::new());
    let mut calls = 0_u64;
    files.replay(WHAT, |rejudged| {
        let of_agent = args.agent.as_ref().is_none_or(|agent| *agent == *rejudged.call.agent.as_str());
        if of_agent && since.is_none_or(|since| rejudged.at >= since) {
            calls += 1;
            note(&rejudged, &mut groups, &mut places);
        }
    })?;
    groups.sort_by_key(|group: &Group| std::cmp::Reverse(group.count));
    if args.json {
        output::print(&output::json(&groups.iter().map(Group::to_json).collect()))?;
    } else if !groups.is_empty() {
        output::print(&groups.iter().map(Group::line).collect::<Vec<_>>().join("\n"))?;
    }
    let otherwise: u64 = groups.iter().filter(|group| group.is_known()).map(|group| group.count).sum();
    terminal::note(&format!("agentpass: {otherwise} of {calls} calls would be decided otherwise"));
    Ok(if otherwise == 0 { Exit::DONE } else { Exit::DENIED })
}

fn reasons(rejudged: &Rejudged) -> Value {
    let shown = rejudged.why.as_ref().map(Explanation::to_json);
    shown.and_then(|mut shown| Some(shown.get_mut("reasons")?.take())).unwrap_or_else(|| json!([]))
}

/// What groups are told apart by.
type Key = (String, &'static str, &'static str, bool);

fn note(rejudged: &Rejudged, groups: &mut Vec<Group>, places: &mut HashMap<Key, usize>) {
    let Rejudged { call, at, redacted, .. } = rejudged;
    let (was, would_be) = (call.decision.as_str(), rejudged.decision());
    if was == would_be {
        return;
    }
    let key = (call.signature.clone(), was, would_be, *redacted);
    let place = *places.entry(key).or_insert_with(|| {
        groups.push(Group {
            signature: call.signature.clone(),
            tool: call.tool.clone(),
            was,
            would_be,
            redacted: *redacted,
            count: 0,
            first: *at,
            last: *at,
            agents: Vec::new(),
            reasons: reasons(rejudged),
        });
        groups.len() - 1
    });
    let Some(group) = groups.get_mut(place) else { return };
    group.count += 1;
    group.last = *at;
    let agent = call.agent.as_str();
    if !group.agents.iter().any(|known| known == agent) {
        group.agents.push(agent.to_owned());
    }
}

impl Group {
    fn is_known(&self) -> bool {
        self.would_be != UNKNOWN
    }

    /// `14 × ha_call_service(light.turn_on, light.hall): was ask, would be allow`
    fn line(&self) -> String {
        let Group { signature, was, would_be, redacted, count, .. } = self;
        let would_be = match (self.is_known(), redacted) {
            (false, _) => "cannot be judged: its arguments were redacted".to_owned(),
            (true, true) => format!("would be {would_be} (as far as its redacted arguments tell)"),
            (true, false) => format!("would be {would_be}"),
        };
        let text = format!("{}: was {was}, {would_be}", visible(signature));
        layout::hanging(&format!("{count} × "), &text, terminal::width())
    }

    fn to_json(&self) -> Value {
        let Group { signature, tool, was, would_be, redacted, count, first, last, agents, reasons } = self;
        json!({
            "signature": signature,
            "tool": tool,
            "was": was,
            "would_be": would_be,
            "count": count,
            "agents": agents,
            "reasons": reasons,
            "redacted": redacted,
            "first": first.to_string(),
            "last": last.to_string(),
        })
    }
}
