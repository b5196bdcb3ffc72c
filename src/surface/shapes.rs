//! The JSON shapes of the control socket and of `/healthz`. `approvals --json`, `status --json` and the answers are
//! stable, because other programs rely on them.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::approval::{ChannelHealth, YesTally, shape, text};
use crate::base::decimal::Decimal;
use crate::config::CHILD_CAN;
use crate::gate::grants::GrantReading;
use crate::gate::limits::LimitReading;
use crate::gate::reading::{AgentReading, Carried};
use crate::gate::stops::StopReading;
use crate::gate::{Answered, Status, Stopped};
use crate::model::{
    AgentId, AnswerOutcome, CounterKey, Outcome, People, Question, QuestionEnd, Responder, Stop,
};
use crate::service::ServiceHealth;

/// An open question that was asked for so many times, and who has said yes to it, with what only the command line needs.
pub(crate) fn question(question: &Question, times: u32, tally: &YesTally) -> Value {
    let again = (times > 1).then(|| text::asked_times(times));
    let fields: Vec<_> =
        text::fields(question).into_iter().chain(text::said_yes(tally)).chain(again).collect();
    let mut shape = shape::question(question);
    if let Some(members) = shape.as_object_mut() {
        members.insert("description".into(), question.call.tool().description.as_str().into());
        members.insert("times_asked".into(), times.into());
        if tally.need > 1 || !question.terms.is_empty() {
            members.insert("approvals".into(), tally_of(tally));
        }
        members.insert("shown".into(), fields.iter().map(shown).collect::<Vec<_>>().into());
    }
    shape
}

fn tally_of(tally: &YesTally) -> Value {
    let by: Vec<_> = tally.yes.iter().map(Responder::as_str).collect();
    json!({"have": tally.have, "need": tally.need, "by": by})
}

/// Text for people, rendered here so that every command line shows the same.
fn shown(field: &text::QuestionField) -> Value {
    json!({"label": field.label, "lines": field.lines})
}

/// What became of an answer, and how the question had ended before it.
pub(crate) fn answered(answered: &Answered) -> Value {
    let Answered { id, outcome, ended } = answered;
    let mut shown = json!({"outcome": outcome.as_str(), "request_id": id.map(|id| id.to_string())});
    if let (Some(members), AnswerOutcome::Counted { have, need }) = (shown.as_object_mut(), outcome) {
        members.insert("have".into(), (*have).into());
        members.insert("need".into(), (*need).into());
    }
    if let (Some(members), AnswerOutcome::Refused(why) | AnswerOutcome::Denied(why)) =
        (shown.as_object_mut(), outcome)
    {
        members.insert("why".into(), why.as_str().into());
    }
    if let (Some(members), Some(ended)) = (shown.as_object_mut(), ended) {
        members.insert("resolution".into(), ended.as_str().into());
        members.extend(ended.by().map(|by| ("resolved_by".to_owned(), by.as_str().into())));
        members.extend(why_void(ended).map(|why| ("why".to_owned(), why.into())));
    }
    shown
}

fn why_void(end: &QuestionEnd) -> Option<String> {
    if let QuestionEnd::Void(why) = end { Some(why.to_string()) } else { None }
}

/// For watchers: one of several people who must say yes has said it.
pub(crate) fn counted(question: &Question, tally: &YesTally) -> Value {
    let by = tally.yes.last().map(Responder::as_str);
    json!({"request_id": question.id.to_string(), "counted": {"have": tally.have, "need": tally.need}, "by": by})
}

/// For watchers: the same is asked for again.
pub(crate) fn asked_again(question: &Question, times: u32) -> Value {
    json!({"request_id": question.id.to_string(), "times_asked": times})
}

/// For watchers: a question has ended.
pub(crate) fn settled(question: &Question, end: &QuestionEnd) -> Value {
    json!({
        "request_id": question.id.to_string(),
        "settled": end.as_str(),
        "by": end.by().map(|by| by.as_str()),
        "why": why_void(end),
    })
}

/// For watchers: what came of an approved call.
pub(crate) fn finished(question: &Question, outcome: &Outcome) -> Value {
    json!({
        "request_id": question.id.to_string(),
        "finished": outcome.as_str(),
        "reason": outcome.reason(),
        "why": why_denied(outcome),
        "data_note": outcome.data_note(),
    })
}

/// What the policy said against an approved call at the last moment.
fn why_denied(outcome: &Outcome) -> Option<String> {
    if let Outcome::DeniedByPolicy(denial) = outcome { Some(denial.to_string()) } else { None }
}

/// One row of `agents --json`.
pub(crate) fn agent(read: &AgentReading) -> Value {
    let labels: BTreeSet<&String> = read.carried.iter().flat_map(|carried| &carried.source.labels).collect();
    let source = |carried: &Carried| {
        json!({
            "from": carried.source.from,
            "labels": carried.source.labels,
            "read_at": carried.read_at.to_string(),
            "until": carried.until.map(|at| at.to_string()),
        })
    };
    json!({
        "agent": read.agent.as_str(),
        "groups": read.groups,
        "connections": read.connections,
        "labels": labels,
        "sources": read.carried.iter().map(source).collect::<Vec<_>>(),
    })
}

/// One row of `limits --json`.
pub(crate) fn limit(read: &LimitReading) -> Value {
    let limit = &read.limit;
    let amount = |amount: Option<Decimal>| amount.map(|amount| limit.count.to_json(amount));
    json!({
        "name": *limit.name,
        "description": limit.description,
        "key": read.key.as_ref().map(CounterKey::to_json),
        "shown": read.held(),
        "count": amount(read.count),
        "ask_above": amount(limit.ask_above),
        "deny_above": amount(limit.deny_above),
        "resets_at": read.resets_at.map(|at| at.to_string()),
        "for": read.key.as_ref().map(CounterKey::to_string),
    })
}

/// One row of `grants --json`.
pub(crate) fn grant(read: &GrantReading) -> Value {
    let GrantReading { grant, uses_left, end, .. } = read;
    let freedom = grant.freedom().map(|freedom| format!(" ({freedom})")).unwrap_or_default();
    json!({
        "grant_id": grant.id.to_string(),
        "agent_id": grant.agent.as_str(),
        "session_id": grant.session.name(),
        "scope": grant.scope().as_str(),
        "covers": format!("{}{freedom}", grant.words()),
        "rule": grant.rule().and_then(|rule| rule.name.as_deref()),
        "granted_by": grant.by.as_str(),
        "created_at": grant.created.to_string(),
        "until": grant.until.to_string(),
        "uses_left": uses_left,
        "ended": end.as_ref().map(|(end, _)| end.to_string()),
    })
}

/// For watchers: something that the owner should know.
pub(crate) fn notice(text: &str) -> Value {
    json!({"notice": text})
}

pub(crate) fn failure(what: &str, help: Option<&str>) -> Value {
    json!({"error": {"message": what, "help": help}})
}

/// An error of the one who asks, not of the gateway: exit 4.
pub(crate) fn invalid(what: &str, help: &str) -> Value {
    json!({"error": {"message": what, "help": help, "invalid": true}})
}

/// `people --json`.
pub(crate) fn people(people: &People) -> Value {
    let identity = |identity: &String| {
        identity.split_once(':').map(|(channel, user)| json!({"channel": channel, "user": user}))
    };
    let person = |(name, all): (&str, &[String])| json!({"name": name, "identities": all.iter().filter_map(identity).collect::<Vec<_>>()});
    people.each().map(person).collect()
}

/// `status --json`.
pub(crate) fn status(status: &Status) -> Value {
    let agents: Map<_, _> = status
        .agents
        .iter()
        .map(|(agent, count)| (agent.to_string(), json!({"connections": count})))
        .collect();
    let channels: Map<_, _> =
        status.channels.iter().map(|(name, health)| (name.clone(), channel(health))).collect();
    let services: Map<_, _> =
        status.services.iter().map(|(name, health)| (name.clone(), service(health))).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": status.clock.uptime_s,
        "agents": agents,
        "open_questions": status.open_questions,
        "stopped": all_stopped(&status.stops),
        "channels": channels,
        "store": {
            "writable": status.store.writable,
            "queue": status.store.queue,
            "last_error": status.store.last_error.as_ref().map(|(at, e)| json!({"at": at.to_string(), "error": e})),
        },
        "services": services,
        "clock": {
            "set": status.clock.set,
            "now": status.clock.now.to_string(),
            "newest": status.clock.newest.map(|at| at.to_string()),
        },
    })
}

/// One stop; `agent` null: everything.
pub(crate) fn stop(stop: &Stop) -> Value {
    json!({
        "agent": stop.agent.as_ref().map(AgentId::as_str),
        "by": stop.by.as_str(),
        "at": stop.at.to_string(),
        "reason": stop.reason,
    })
}

pub(crate) fn stops(stops: &[StopReading]) -> Value {
    stops.iter().map(|read| stop(&read.stop)).collect()
}

/// What `kill` has done.
pub(crate) fn stopped(stopped: &Stopped) -> Value {
    json!({
        "stopped": stop(&stopped.stop),
        "already": stopped.already,
        "withdrawn": stopped.withdrawn,
        "executing": stopped.executing,
        "recorded": stopped.recorded,
    })
}

/// Who, when and why are those of the general stop, else of the latest one.
fn all_stopped(stops: &[StopReading]) -> Value {
    let general = stops.iter().find(|read| read.stop.agent.is_none());
    let first = general.or_else(|| stops.iter().max_by_key(|read| read.stop.at));
    let agents: Vec<_> =
        stops.iter().filter_map(|read| read.stop.agent.as_ref()).map(AgentId::as_str).collect();
    let each = |read: &StopReading| {
        let mut shown = stop(&read.stop);
        if let Some(members) = shown.as_object_mut() {
            members.insert("recorded".into(), read.recorded.into());
        }
        shown
    };
    json!({
        "all": general.is_some(),
        "agents": agents,
        "by": first.map(|read| read.stop.by.as_str()),
        "at": first.map(|read| read.stop.at.to_string()),
        "reason": first.and_then(|read| read.stop.reason.as_deref()),
        "each": stops.iter().map(each).collect::<Vec<_>>(),
    })
}

fn channel(health: &ChannelHealth) -> Value {
    json!({
        "type": health.kind,
        "up": health.up,
        "since": health.since.map(|at| at.to_string()),
        "waiting": health.waiting,
        "detail": health.detail,
    })
}

/// `channels --json`.
pub(crate) fn channels(status: &Status) -> Value {
    let row = |(name, health): &(String, ChannelHealth)| {
        let mut row = channel(health);
        if let Some(members) = row.as_object_mut() {
            members.insert("name".into(), name.as_str().into());
            members.insert("pushes".into(), health.pushes.into());
        }
        row
    };
    json!({"channels": status.channels.iter().map(row).collect::<Vec<_>>()})
}

fn service(health: &ServiceHealth) -> Value {
    let mut shown = json!({
        "up": health.up,
        "since": health.since.map(|at| at.to_string()),
        "last_error": health.last_error,
    });
    if let (Some(members), Some(server)) = (shown.as_object_mut(), &health.server) {
        let drift = &server.drift;
        let server = json!({
            "running": server.memory.is_some(),
            "memory_bytes": server.memory,
            "trouble": server.trouble,
            "tools": server.imported,
            "changed": drift.changed,
            "vanished": drift.vanished,
            "new": drift.new,
            "blocked": server.blocked,
            "warning": CHILD_CAN,
        });
        members.insert("server".into(), server);
    }
    shown
}
