//! `/`: what an owner asks first. Is it well, what waits for me, what happened today, who is connected?

use std::time::Duration;

use maud::{Markup, html};

use super::page::{self, Here, Viewer};
use super::site::Admin;
use super::{grants, health, kill_switch};
use crate::base::readable::{countdown, counted, size, span};
use crate::base::safe_text::visible;
use crate::gate::Status;
use crate::net::front::WebAnswer;
use crate::service::ServiceHealth;
use crate::store::reader::{Answers, Reader, Stats};

/// Length of "today", the same at any hour and in any time zone.
const TODAY: Duration = Duration::from_secs(24 * 3600);
/// Days over which answers are looked at.
const DAYS: u32 = 7;
/// Questions that are listed; the link leads to the others.
const MOST_WAITING: usize = 5;
const MOST_TOOLS: usize = 5;

pub(super) async fn answer(admin: &Admin, viewer: &Viewer) -> WebAnswer {
    let (status, today, week) = (admin.gate.status(), today(admin).await, answers(admin).await);
    let main = html! {
        h1 { "Overview" }
        div.tiles {
            (well(&status))
            (waiting(admin, viewer))
            (grants::tile(admin, viewer))
            (happened(viewer, today.as_ref()))
            (connected(&status))
            (answered(week.as_ref()))
            (kill_switch::tile(admin, viewer))
        }
        p.soft.small { "agentpass " (env!("CARGO_PKG_VERSION")) ", up " (span(Duration::from_secs(status.clock.uptime_s))) }
    };
    page::page(viewer, Here::Overview, "Overview", &[], &main)
}

/// None when the record cannot be read.
async fn today(admin: &Admin) -> Option<Stats> {
    let (path, now) = (admin.record.path(), admin.gate.clock().now());
    let read = smol::unblock(move || Reader::open(&path)?.stats(Some(now.minus(TODAY)), None, now)).await;
    read.inspect_err(|e| log::error!("the record cannot be read: {e}")).ok()
}

/// None when the record cannot be read.
async fn answers(admin: &Admin) -> Option<Answers> {
    let (path, since) = (admin.record.path(), admin.gate.clock().now().minus(TODAY * DAYS));
    let read = smol::unblock(move || Reader::open(&path)?.answers(since)).await;
    read.inspect_err(|e| log::error!("the record cannot be read: {e}")).ok()
}

/// Whether questions are still looked at before they are answered.
fn answered(week: Option<&Answers>) -> Markup {
    html! {
        section.card {
            h2 { "How were questions answered in " (DAYS) " days?" }
            @match week {
                None => { p.notice.bad { "The record cannot be read right now." } }
                Some(answers) if answers.approved + answers.denied == 0 => { p.answer { span.tag { "Nobody was asked" } } }
                Some(answers) => {
                    @let all = answers.approved + answers.denied;
                    dl.rows {
                        dt { "Answers a day" } dd.number { (format!("{:.1}", f64::from(all) / f64::from(DAYS))) }
                        @if let Some(median) = answers.median { dt { "Median time to an answer" } dd.number { (median.as_secs()) " s" } }
                        dt { "Approved" } dd.number { (format!("{:.0} %", 100.0 * f64::from(answers.approved) / f64::from(all))) }
                    }
                    @for (rule, count) in &answers.always_approved {
                        p.soft.small { "All " span.number { (count) } " questions of \u{201c}" (visible(rule)) "\u{201d} were approved: consider allow or a grant." }
                    }
                }
            }
        }
    }
}

fn well(status: &Status) -> Markup {
    let (is_well, degraded) = (health::is_well(status), health::degraded(status));
    html! {
        section.card {
            h2 { "Is it well?" }
            p.answer {
                @if !is_well { span.tag.bad { "Something is wrong" } }
                @else if degraded.is_empty() { span.tag.good { "All is well" } }
                @else { span.tag.warn { (counted(degraded.len(), "service")) " down" } }
            }
            dl.rows {
                (record(status))
                @for (name, channel) in &status.channels {
                    (row(&asks(name), Some(channel.up), Some(&channel.detail)))
                }
                @for (name, service) in &status.services {
                    (row(&visible(name), service.up, Some(&detail(service))))
                }
            }
        }
    }
}

/// What is wrong with a service, and how the server is that is run for it.
fn detail(service: &ServiceHealth) -> String {
    let server = service.server.as_ref();
    let memory = server.map(|server| server.memory.map_or("not running".to_owned(), size));
    let told = [service.last_error.clone(), memory, server.and_then(|server| server.trouble.clone())];
    let drift = server.map(|server| server.drift.listed()).filter(|listed| !listed.is_empty());
    told.into_iter().chain([drift]).flatten().collect::<Vec<_>>().join("; ")
}

fn asks(channel: &str) -> String {
    match channel {
        "local" => "Asks on this gateway".into(),
        other => format!("Asks through {other}"),
    }
}

fn record(status: &Status) -> Markup {
    let error = status.store.last_error.as_ref().map(|(at, error)| format!("{at}: {error}"));
    let detail = if status.store.writable { error } else { error.or(Some("nothing is executed".into())) };
    row("Record", Some(status.store.writable), detail.as_deref())
}

fn row(name: &str, up: Option<bool>, detail: Option<&str>) -> Markup {
    html! {
        dt {
            (name)
            @if let Some(text) = detail.filter(|text| !text.is_empty()) { span.soft { (visible(text)) } }
        }
        dd {
            (match up {
                Some(true) => html! { span.tag.good { "up" } },
                Some(false) => html! { span.tag.bad { "down" } },
                None => html! { span.tag { "not checked" } },
            })
        }
    }
}

fn waiting(admin: &Admin, viewer: &Viewer) -> Markup {
    let open = admin.gate.approvals.questions();
    html! {
        section.card {
            h2 { "What waits for me?" }
            @if open.is_empty() {
                p.answer { span.tag.good { "Nothing" } }
            } @else {
                p.answer { a.button.primary href=(viewer.root.to("/approvals/")) { (counted(open.len(), "question")) } }
                dl.rows {
                    @for question in open.iter().take(MOST_WAITING) {
                        dt { (visible(&question.call.tool().name)) span.soft { "from " (visible(question.call.agent().as_str())) } }
                        dd.number { (countdown(admin.gate.approvals.time_left(question.id))) " left" }
                    }
                }
            }
        }
    }
}

fn happened(viewer: &Viewer, today: Option<&Stats>) -> Markup {
    html! {
        section.card {
            h2 { "What happened in the last 24 hours?" }
            @match today {
                None => { p.notice.bad { "The record cannot be read right now." } }
                Some(stats) => {
                    p.answer { a.plain href=(viewer.root.to("/audit/")) { strong.number { (stats.total_requests) } " " (if stats.total_requests == 1 { "call" } else { "calls" }) } }
                    dl.rows {
                        @for (word, count) in &stats.outcomes { dt { (word.replace('_', " ")) } dd.number { (count) } }
                    }
                    @if !stats.top_tools.is_empty() {
                        p.soft.small {
                            "Most used: "
                            @for (i, (tool, count)) in stats.top_tools.iter().take(MOST_TOOLS).enumerate() {
                                @if i > 0 { ", " } (visible(tool)) " " span.number { (count) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn connected(status: &Status) -> Markup {
    let count = status.agents.values().filter(|connections| **connections > 0).count();
    html! {
        section.card {
            h2 { "Which agents are connected?" }
            p.answer { strong.number { (count) } " of " span.number { (status.agents.len()) } }
            dl.rows {
                @for (agent, connections) in &status.agents {
                    dt { (visible(agent.as_str())) }
                    dd {
                        @match connections {
                            0 => { span.tag { "not connected" } }
                            1 => { span.tag.good { "connected" } }
                            n => { span.tag.good { (n) " connections" } }
                        }
                    }
                }
            }
        }
    }
}
