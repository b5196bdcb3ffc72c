//! `/grants/`: what people have said yes to beforehand, and the forms that end it. Works without scripts.

use maud::{Markup, html};

use super::form::field;
use super::page::{self, Here, Viewer};
use super::site::Admin;
use crate::base::readable::{counted, short_id};
use crate::base::safe_text::visible;
use crate::gate::granting::WhichGrants;
use crate::gate::grants::GrantReading;
use crate::model::clock_time;
use crate::net::front::{WebAnswer, WebRequest};

pub(super) const FOLDER: &str = "/grants/";

/// Ended grants that the page shows.
const MOST_ENDED: usize = 50;

/// Grants that the overview shows.
const MOST_LISTED: usize = 5;

/// `GET /grants/`.
pub(super) fn answer(admin: &Admin, viewer: &Viewer) -> WebAnswer {
    let (lasting, ended): (Vec<_>, Vec<_>) =
        admin.gate.grants(true).into_iter().partition(|read| read.end.is_none());
    let main = html! {
        div.titled {
            h1 { "Grants" }
            @if lasting.len() > 1 { (revoke(viewer, "all", "Revoke all")) }
        }
        p.soft { "Calls that were said yes to beforehand. What is denied stays denied." }
        @if lasting.is_empty() {
            div.nothing { p { strong { "Nothing is granted." } } }
        }
        @for read in &lasting {
            article.card {
                (shown(viewer, read))
                (revoke(viewer, &read.grant.id.to_string(), "Revoke"))
            }
        }
        @if !ended.is_empty() {
            h2 { "Ended" }
            @for read in ended.iter().take(MOST_ENDED) { article.card { (shown(viewer, read)) } }
        }
    };
    page::page(viewer, Here::Grants, "Grants", &[], &main)
}

/// `POST /grants/revoke` with `which`: an id, or `all`.
pub(super) async fn submit(admin: &Admin, viewer: &Viewer, request: &WebRequest) -> WebAnswer {
    let body = String::from_utf8_lossy(&request.body);
    let which = match field(&body, "which").as_deref() {
        Some("all") => WhichGrants::All,
        Some(id) => WhichGrants::One(id.to_owned()),
        None => return page::text(400, "say which"),
    };
    let revoked = admin.gate.revoke_grants(&which, viewer.by.clone()).await;
    // One that has just ended by itself is shown as ended.
    if revoked.is_ok_and(|revoked| !revoked.recorded) {
        return page::text(503, "revoked, but that could not be recorded yet: a restart would bring it back");
    }
    page::elsewhere(&viewer.root, FOLDER)
}

/// The box on the overview.
pub(super) fn tile(admin: &Admin, viewer: &Viewer) -> Markup {
    let lasting = admin.gate.grants(false);
    html! {
        section.card {
            h2 { "What is granted?" }
            @if lasting.is_empty() {
                p.answer { "Nothing" }
            } @else {
                p.answer { a.plain href=(viewer.root.to(FOLDER)) { (counted(lasting.len(), "grant")) } }
                dl.rows {
                    @for read in lasting.iter().take(MOST_LISTED) {
                        dt { (read.grant.words()) }
                        dd { "until " (clock_time(read.grant.until, viewer.now, &viewer.zone)) }
                    }
                }
            }
        }
    }
}

fn shown(viewer: &Viewer, read: &GrantReading) -> Markup {
    let GrantReading { grant, uses_left, end } = read;
    let until = clock_time(grant.until, viewer.now, &viewer.zone);
    let id = grant.id.to_string();
    html! {
        h3 { (grant.words()) }
        p.facts {
            @if let Some(freedom) = grant.freedom() { span { (freedom) } }
            span { "until " time datetime=(grant.until) { (until) } }
            @if let Some(left) = uses_left { span.number { (left) " of " (grant.uses.unwrap_or(*left)) " uses left" } }
            span.soft { "by " (visible(grant.by.as_str())) }
            span.soft title=(id) { "id " code { (short_id(&id)) } }
            @if let Some((end, _)) = end { span.tag { "ended: " (visible(&end.to_string())) } }
        }
    }
}

fn revoke(viewer: &Viewer, which: &str, label: &str) -> Markup {
    html! {
        form method="post" action=(viewer.root.to("/grants/revoke")) {
            (page::csrf(viewer))
            input type="hidden" name="which" value=(which);
            button.danger type="submit" { (label) }
        }
    }
}
