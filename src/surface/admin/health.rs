//! `/healthz`: whether the gateway works, for monitoring: it can record, and people can be reached. A sick service is no
//! reason to restart the gateway; it is listed. What exactly is wrong is for people who have signed in.

use serde_json::{Map, Value};

use super::page::{self, JSON};
use super::site::Admin;
use crate::gate::Status;
use crate::net::front::WebAnswer;
use crate::surface::shapes;

/// 200 when the gateway works, 503 when it does not.
pub(super) fn answer(admin: &Admin, in_detail: bool) -> WebAnswer {
    let status = admin.gate.status();
    let (well, degraded) = (is_well(&status), degraded(&status));
    let mut body = Map::from_iter([("status".to_owned(), if well { "healthy" } else { "unhealthy" }.into())]);
    if status.stops.iter().any(|read| read.stop.agent.is_none()) {
        body.insert("stopped".into(), true.into());
    }
    if !degraded.is_empty() {
        body.insert("degraded".into(), degraded.into());
    }
    if in_detail {
        body.insert("checks".into(), checks(&status));
        body.insert("details".into(), shapes::status(&status));
    }
    let body = Value::Object(body);
    page::data(if well { 200 } else { 503 }, JSON, format!("{body}\n"))
}

/// Whether calls can be recorded and people be reached: where there are channels that call people, one must work.
pub(super) fn is_well(status: &Status) -> bool {
    let mut pushing =
        status.channels.iter().map(|(_, health)| health).filter(|health| health.pushes).peekable();
    status.store.writable && (pushing.peek().is_none() || pushing.any(|health| health.up))
}

/// The services that do not answer, as far as is known.
pub(super) fn degraded(status: &Status) -> Vec<&str> {
    let down = status.services.iter().filter(|(_, health)| health.up == Some(false));
    down.map(|(name, _)| name.as_str()).collect()
}

/// The predecessor's shape: `database`, the channels by name, `services`.
fn checks(status: &Status) -> Value {
    let mut checks = Map::from_iter([("database".to_owned(), word(Some(status.store.writable)))]);
    checks.extend(status.channels.iter().map(|(name, health)| (name.clone(), word(Some(health.up)))));
    let services = status.services.iter().map(|(name, health)| (name.clone(), word(health.up)));
    checks.insert("services".into(), Value::Object(services.collect()));
    Value::Object(checks)
}

fn word(up: Option<bool>) -> Value {
    match up {
        Some(true) => "ok".into(),
        Some(false) => "error".into(),
        None => "unknown".into(),
    }
}
