//! `/kill/`: stops calls after one more look, and lets them go on. Works without scripts.

use maud::{Markup, html};

use super::form::field;
use super::page::{self, Viewer};
use super::site::Admin;
use crate::base::safe_text::visible;
use crate::gate::stops::{CannotResume, StopReading};
use crate::model::{AgentId, MAX_STOP_REASON, Stop};
use crate::net::front::{WebAnswer, WebRequest};

pub(super) const FOLDER: &str = "/kill/";

/// `GET /kill/`: asks once more before anything is stopped.
pub(super) fn answer(admin: &Admin, viewer: &Viewer) -> WebAnswer {
    let stops = admin.gate.stops.all();
    let main = html! {
        h1 { "Stop calls" }
        @for read in &stops { (resume(viewer, read)) }
        @if !is_general(&stops) { (confirm(viewer, &admin.gate.status().agents.into_keys().collect::<Vec<_>>())) }
    };
    page::page(viewer, None, "Stop calls", &[], &main)
}

fn confirm(viewer: &Viewer, agents: &[AgentId]) -> Markup {
    html! {
        form.card method="post" action=(viewer.root.to(FOLDER)) {
            (page::csrf(viewer))
            p {
                "Every new call is denied from then on, open questions are withdrawn, and grants end. Calls that are at a "
                "service already are seen through: they cannot be called back."
            }
            p {
                label for="agent" { "What" } " "
                select #agent name="agent" {
                    option value="" { "Everything" }
                    @for agent in agents {
                        option value=(agent.as_str()) { "Agent " (visible(agent.as_str())) }
                    }
                }
            }
            p {
                label for="reason" { "Why (optional)" } " "
                input #reason name="reason" maxlength=(MAX_STOP_REASON) autocomplete="off";
            }
            p {
                button.danger type="submit" { "Yes, stop" } " "
                a href=(viewer.root.to("/")) { "Back" }
            }
        }
    }
}

/// `POST /kill/` with `agent`, empty for everything, and `reason`.
pub(super) async fn stop(admin: &Admin, viewer: &Viewer, request: &WebRequest) -> WebAnswer {
    let body = String::from_utf8_lossy(&request.body);
    let agent = match field(&body, "agent").filter(|name| !name.is_empty()) {
        None => None,
        Some(name) => {
            let known = admin.gate.status().agents.into_keys().find(|agent| agent.as_str() == name);
            if known.is_none() {
                return page::text(400, "there is no such agent");
            }
            known
        }
    };
    let reason = field(&body, "reason").map(|text| text.trim().chars().take(MAX_STOP_REASON).collect());
    admin.gate.stop(agent, reason.filter(|text: &String| !text.is_empty()), viewer.by.clone()).await;
    page::elsewhere(&viewer.root, "/")
}

/// `POST /kill/resume` with `agent`, empty for everything, and `at`: a stop that the person has not seen stands.
pub(super) async fn lift(admin: &Admin, viewer: &Viewer, request: &WebRequest) -> WebAnswer {
    let body = String::from_utf8_lossy(&request.body);
    let (Some(agent), Some(at)) = (field(&body, "agent"), field(&body, "at")) else {
        return page::text(400, "say which");
    };
    let is_meant = |stop: &Stop| name(stop) == agent && stop.at.to_string() == at;
    let Some(found) = admin.gate.stops.all().into_iter().find(|read| is_meant(&read.stop)) else {
        return page::elsewhere(&viewer.root, "/");
    };
    match admin.gate.resume(found.stop.agent, viewer.by.clone()).await {
        Ok(_) | Err(CannotResume::NotStopped) => page::elsewhere(&viewer.root, "/"),
        Err(CannotResume::NotHere) => {
            page::text(403, "it was stopped on the gateway itself: resume it there")
        }
        Err(CannotResume::Store(e)) => {
            page::text(503, &format!("it could not be recorded, so calls are stopped as before: {e}"))
        }
    }
}

/// The box on the overview.
pub(super) fn tile(admin: &Admin, viewer: &Viewer) -> Markup {
    let stops = admin.gate.stops.all();
    html! {
        section.card {
            h2 { "Must it stop?" }
            @for read in &stops { (resume(viewer, read)) }
            @if !is_general(&stops) {
                p.answer { a.button.danger href=(viewer.root.to(FOLDER)) { "Stop everything…" } }
            }
        }
    }
}

fn resume(viewer: &Viewer, read: &StopReading) -> Markup {
    let agent = read.stop.agent.as_ref().map(|agent| visible(agent.as_str()));
    html! {
        form method="post" action=(viewer.root.to("/kill/resume")) {
            (page::csrf(viewer))
            input type="hidden" name="agent" value=(name(&read.stop));
            input type="hidden" name="at" value=(read.stop.at);
            p.facts {
                @match agent {
                    None => { span.tag.bad { "Everything is stopped" } }
                    Some(agent) => { span.tag.bad { "Agent " (agent) " is stopped" } }
                }
                " by " (visible(read.stop.by.as_str())) " "
                button type="submit" { "Resume" }
            }
        }
    }
}

fn is_general(stops: &[StopReading]) -> bool {
    stops.iter().any(|read| read.stop.agent.is_none())
}

/// As forms name it: empty for everything.
fn name(stop: &Stop) -> &str {
    stop.agent.as_ref().map_or("", AgentId::as_str)
}
