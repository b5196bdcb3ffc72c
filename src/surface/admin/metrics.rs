//! `/metrics`: everything that is measured, for Prometheus.
//!
//! Labels are words of ours and names that the owner has configured. It must never show anything that an agent said.

use rustix::time::{ClockId, clock_gettime};

pub(crate) use super::exposition::CONTENT_TYPE;
use super::exposition::Exposition;
use super::exposition::MetricKind::{Counter, Gauge};
use crate::base::clock::Timestamp;
use crate::gate::{Counts, Gate, Status};
use crate::store::{StoreHealth, StoreLatency};

/// The whole text as of now. Takes well under a millisecond and waits for nothing.
pub(crate) fn render(gate: &Gate) -> String {
    let (status, counts) = (gate.status(), gate.ledger.metrics.read());
    let mut text = Exposition::default();
    let version = [([("version", env!("CARGO_PKG_VERSION"))], 1)];
    text.samples(Gauge, "agentpass_build_info", "Always 1; the version is in the label.", version);
    let help = "Time since the gateway was started.";
    text.gauge("agentpass_uptime_seconds", help, status.clock.uptime_s);
    calls(&mut text, &counts, &status, gate);
    stops(&mut text, &status);
    grants(&mut text, &status, gate);
    connections(&mut text, &counts, &status);
    record(&mut text, &status.store, &gate.store().latency());
    channels(&mut text, &status);
    services(&mut text, &status);
    process(&mut text, gate.ledger.started);
    text.into_text()
}

fn calls(text: &mut Exposition, counts: &Counts, status: &Status, gate: &Gate) {
    let ended = counts.calls.iter().map(|(tool, end, count)| {
        let labels = [
            ("tool", tool.as_str()),
            ("decision", end.decision),
            ("outcome", end.outcome),
            ("reason", end.reason),
        ];
        (labels, count)
    });
    let help = "Requests that have ended, by tool, the policy's decision, and how they ended. A tool that is not \
                configured is \"other\". Decision none: refused before there was one.";
    text.samples(Counter, "agentpass_calls_total", help, ended);
    let named = counts
        .named
        .iter()
        .map(|(reason, name, count)| ([("reason", *reason), ("name", name.as_str())], count));
    let help = "Calls that a limit or a flow asked about or denied, by the reason and its name.";
    text.samples(Counter, "agentpass_policy_reasons_total", help, named);
    let help =
        "Requests that got the outcome of an identical one under way or of an earlier one with the same key.";
    text.counter("agentpass_joined_requests_total", help, counts.totals.joined);
    let help = "Answers of one of several people who must say yes, the last one aside.";
    text.counter("agentpass_partial_approvals_total", help, counts.totals.counted);
    let edits = counts.edits.iter().map(|(outcome, count)| ([("outcome", *outcome)], count));
    let help = "Changes of calls that people wanted to approve, by what became of them.";
    text.samples(Counter, "agentpass_edits_total", help, edits);
    let help = "Calls that were under way when the last process ended without order. Whether they were done is not known.";
    text.gauge("agentpass_cut_off_calls", help, counts.totals.cut_off);
    text.gauge("agentpass_running_calls", "Calls under way, questions included.", status.running);
    let help = "Calls that wait for a free place, because as many as may are being done.";
    text.gauge("agentpass_waiting_calls", help, gate.flights.waiting());
    let help = "Calls that are being recorded, done, or settled.";
    text.gauge("agentpass_executing_calls", help, gate.flights.executing());
    text.gauge("agentpass_open_questions", "Questions that wait for a person.", status.open_questions);
    let help = "Checking a call's arguments and judging it.";
    text.histograms("agentpass_decision_seconds", help, [([], &counts.decision)]);
    let waiting = counts.waiting.iter().map(|(how, reading)| ([("ended", *how)], reading));
    text.histograms("agentpass_waiting_seconds", "How long questions were open, by how they ended.", waiting);
    let execution = counts.execution.iter().map(|(name, reading)| ([("service", name.as_str())], reading));
    let help = "Calls at a service, from making the connection to the whole answer.";
    text.histograms("agentpass_execution_seconds", help, execution);
}

fn stops(text: &mut Exposition, status: &Status) {
    let general = status.stops.iter().any(|read| read.stop.agent.is_none());
    let alone: Vec<_> = status.stops.iter().filter_map(|read| read.stop.agent.as_ref()).collect();
    let agents = status.agents.keys().map(|agent| (agent.as_str(), general || alone.contains(&agent)));
    let all = agents.chain([("*", general)]).map(|(agent, is)| ([("agent", agent)], u8::from(is)));
    let help = "Whether calls of the agent are stopped (1) or not (0); \"*\": those of all.";
    text.samples(Gauge, "agentpass_stopped", help, all);
}

fn grants(text: &mut Exposition, status: &Status, gate: &Gate) {
    let counts: Vec<_> =
        status.agents.keys().map(|agent| ([("agent", agent.as_str())], gate.grant_counts(agent))).collect();
    let lasting = counts.iter().map(|(agent, (lasting, _))| (*agent, lasting));
    let uses = counts.iter().map(|(agent, (_, uses))| (*agent, uses));
    let help = "Grants that last, by agent.";
    text.samples(Gauge, "agentpass_grants", help, lasting);
    let help =
        "Uses of grants: one for each call, or for each element of a list that is judged element by element.";
    text.samples(Counter, "agentpass_grant_uses_total", help, uses);
}

fn connections(text: &mut Exposition, counts: &Counts, status: &Status) {
    let agents = status.agents.iter().map(|(agent, count)| ([("agent", agent.as_str())], count));
    text.samples(Gauge, "agentpass_connections", "Connections of each agent.", agents);
    let help = "Connections to the agents' port that have not authenticated yet.";
    text.gauge("agentpass_unauthenticated_connections", help, counts.strangers);
    let help = "Wrong tokens on the agents' port.";
    text.counter("agentpass_failed_authentications_total", help, counts.totals.failed_authentications);
    let help = "Requests that were no calls, such as list_tools, and came too soon.";
    text.counter("agentpass_refused_other_requests_total", help, counts.totals.refused_errands);
}

fn record(text: &mut Exposition, store: &StoreHealth, latency: &StoreLatency) {
    let help =
        "Whether the last attempt to write the record succeeded (1) or not (0): then nothing is executed.";
    text.gauge("agentpass_store_writable", help, u8::from(store.writable));
    let help = "Jobs that wait to be written or are being written.";
    text.gauge("agentpass_store_queued_jobs", help, store.queue);
    text.gauge("agentpass_store_events", "The number of the newest event in the record.", store.events);
    text.counter("agentpass_store_commits_total", "Transactions that wrote something.", store.commits);
    text.counter("agentpass_store_errors_total", "Failures of the disk or the database.", store.errors);
    let help = "Results that made room for others before their agents had fetched them.";
    text.counter("agentpass_store_dropped_results_total", help, store.dropped_results);
    let failed = store.last_error.iter().map(|(at, _)| ([], seconds(*at)));
    let help = "When the disk or the database last failed.";
    text.samples(Gauge, "agentpass_store_last_error_timestamp_seconds", help, failed);
    let help = "How long the gateway waited for the record, with and without waiting for the disk.";
    let commits = [([("durable", "yes")], &latency.durable), ([("durable", "no")], &latency.other)];
    text.histograms("agentpass_commit_seconds", help, commits);
    let help = "Commits that waited for the disk: its fsync, for the most part.";
    text.histograms("agentpass_store_sync_seconds", help, [([], &latency.sync)]);
}

fn channels(text: &mut Exposition, status: &Status) {
    let channels = || status.channels.iter().map(|(name, health)| ([("channel", name.as_str())], health));
    let up = channels().map(|(labels, health)| (labels, u8::from(health.up)));
    let help = "Whether people can be reached this way (1) or not (0).";
    text.samples(Gauge, "agentpass_channel_up", help, up);
    let since = channels().filter_map(|(labels, health)| Some((labels, seconds(health.since?))));
    let help = "Since when that is so, where it is known.";
    text.samples(Gauge, "agentpass_channel_since_timestamp_seconds", help, since);
    let waiting = channels().map(|(labels, health)| (labels, health.waiting));
    text.samples(Gauge, "agentpass_channel_waiting_messages", "Messages that wait to be sent.", waiting);
}

fn services(text: &mut Exposition, status: &Status) {
    let services = || status.services.iter().map(|(name, health)| ([("service", name.as_str())], health));
    let up = services().filter_map(|(labels, health)| Some((labels, u8::from(health.up?))));
    let help = "Whether the service answered its last probe or call (1) or not (0), once there was one.";
    text.samples(Gauge, "agentpass_service_up", help, up);
    let last = services().filter_map(|(labels, health)| Some((labels, seconds(health.last_ok?))));
    let help = "When it last answered.";
    text.samples(Gauge, "agentpass_service_last_success_timestamp_seconds", help, last);
    let servers = || services().filter_map(|(labels, health)| Some((labels, health.server.as_ref()?)));
    let blocked = servers().map(|(labels, server)| (labels, server.blocked));
    let help = "Tools of the MCP server that are blocked, because they are not what was imported.";
    text.samples(Gauge, "agentpass_service_blocked_tools", help, blocked);
    let memory = servers().map(|(labels, server)| (labels, server.memory.unwrap_or(0)));
    let help = "Resident memory of all processes of the MCP server; 0: it does not run.";
    text.samples(Gauge, "agentpass_service_memory_bytes", help, memory);
}

/// Metrics of the process, under the names that every program uses for them.
fn process(text: &mut Exposition, started: Timestamp) {
    let started = [([], seconds(started))];
    text.samples(Gauge, "process_start_time_seconds", "When the process was started.", started);
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let spent = [([], format!("{}.{:09}", spent.tv_sec, spent.tv_nsec))];
    text.samples(Counter, "process_cpu_seconds_total", "Processor time, user and system.", spent);
    let memory = resident_bytes().map(|bytes| ([], bytes));
    text.samples(Gauge, "process_resident_memory_bytes", "Resident memory.", memory);
    // The folder itself is open while it is read.
    let open = std::fs::read_dir("/proc/self/fd").map(|fds| ([], fds.count().saturating_sub(1)));
    text.samples(Gauge, "process_open_fds", "Open file descriptors.", open);
}

/// None where the kernel does not tell.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn seconds(at: Timestamp) -> f64 {
    at.0 as f64 / 1000.0
}
