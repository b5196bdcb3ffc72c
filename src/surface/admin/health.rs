//! `/healthz`: whether everything works, for monitoring. What exactly does not is for people who have signed in.

use serde_json::{Map, Value, json};

use super::{Admin, page};
use crate::gate::Status;
use crate::net::http::Answer;
use crate::surface::control::shapes;

/// 200 when all is well, 503 when anything is not.
pub(super) fn answer(admin: &Admin, in_detail: bool) -> Answer {
    let status = admin.gate.status();
    let well = is_well(&status);
    let word = if well { "healthy" } else { "unhealthy" };
    let body = match in_detail {
        false => json!({"status": word}),
        true => json!({"status": word, "checks": checks(&status), "details": shapes::status(&status)}),
    };
    page::data(if well { 200 } else { 503 }, "application/json", format!("{body}\n"))
}

/// Whether calls can be recorded, people be reached and services called, as far as is known.
pub(super) fn is_well(status: &Status) -> bool {
    let services = status.services.iter().all(|(_, health)| health.up != Some(false));
    status.store.writable && status.channels.iter().all(|(_, health)| health.up) && services
}

/// The predecessor's shape: `database`, the channels by name, `services`.
fn checks(status: &Status) -> Value {
    let mut checks = Map::from_iter([("database".to_owned(), word(Some(status.store.writable)))]);
    checks.extend(status.channels.iter().map(|(name, health)| ((*name).to_owned(), word(Some(health.up)))));
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
