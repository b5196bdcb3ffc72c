//! Every path, and what a request must show before it gets there: a name of ours, a page of ours, a session, and the
//! session's token in a form. Only what is routed before the session is looked at may be seen by anybody.

use std::net::IpAddr;
use std::rc::Rc;

use super::links::SIGN_IN;
use super::page::{self, CSRF_FIELD, Viewer};
use super::sessions::{SignedIn, is_ours};
use super::site::Admin;
use super::visitor::{Visit, Visitor};
use super::{approvals, assets, audit, form, grants, guards, health};
use super::{kill_switch, metrics, overview, programs, sign_in};
use crate::base::safe_text::visible;
use crate::net::front::{WebAnswer, WebRequest};
use crate::surface::admission::Caller;

/// Connections of people who have signed in.
const MAX_SIGNED_IN: usize = 64;

pub(super) async fn answer(
    admin: &Rc<Admin>,
    caller: &Caller,
    peer: IpAddr,
    mut request: WebRequest,
) -> WebAnswer {
    caller.spoke();
    let (visitor, refusal) = {
        let (setup, hosts) = (admin.gate.setup(), admin.hosts.borrow());
        let visitor = Visitor::new(&setup.config, &hosts, admin.tls, peer, &request);
        request.path = visitor.path(&request.path).to_owned();
        (visitor, guards::foreign_name(&hosts, &request))
    };

    let answer = match refusal {
        // Monitoring asks by whatever name leads here, and learns nothing.
        _ if request.path == "/livez" && guards::is_safe(&request) => page::text(200, "ok"),
        Some(refusal) => refusal,
        None => at_home(admin, &Visit { caller, peer, visitor: &visitor, request: &request }).await,
    };
    log::debug!(
        "admin: {} {} from {}: {}",
        request.method(),
        visible(&request.path),
        visitor.from,
        answer.status
    );
    // After these refusals the rest of the connection is not worth serving.
    if matches!(answer.status, 421 | 429) { answer.with("connection", "close") } else { answer }
}

/// A request by one of our names. Programs show a token in each of theirs, whatever page they run in; all others are
/// from browsers and must come from our pages.
async fn at_home(admin: &Rc<Admin>, visit: &Visit<'_>) -> WebAnswer {
    if let Some(answer) = programs::answer(admin, visit).await {
        return answer;
    }
    match guards::foreign_page(visit.request, admin.tls) {
        Some(refusal) => refusal,
        None => routed(admin, visit).await,
    }
}

async fn routed(admin: &Rc<Admin>, visit: &Visit<'_>) -> WebAnswer {
    let (visitor, request) = (visit.visitor, visit.request);
    if !guards::is_safe(request) && request.method() != "POST" {
        return page::text(405, "GET and POST only").with("allow", "GET, HEAD, POST");
    }
    let session = admin.sessions.find(request.header("cookie"), visitor, admin.gate.clock().now());
    if let Some(open) = for_anybody(admin, visitor, session.as_ref(), request).await {
        return open;
    }
    let Some(mut session) = session else { return sign_in_first(visitor, request) };
    // Somebody who has signed in makes room for nobody.
    if !visit.is_admitted_to(&admin.admission, MAX_SIGNED_IN) {
        return page::text(503, "too many connections; close some pages").with("connection", "close");
    }
    session.viewer.stopped = admin.gate.stopped_line();
    if guards::is_safe(request) {
        let main = viewed(admin, &session, request).await;
        return main.unwrap_or_else(|| missing(&session.viewer));
    }
    if !has_csrf(&session.viewer, request) {
        return page::text(403, "this form is not from this session; go back and reload the page");
    }
    submitted(admin, visitor, &session, request).await.unwrap_or_else(|| missing(&session.viewer))
}

/// Answers what needs no session.
async fn for_anybody(
    admin: &Rc<Admin>,
    visitor: &Visitor,
    session: Option<&SignedIn>,
    request: &WebRequest,
) -> Option<WebAnswer> {
    match (request.path.as_str(), guards::is_safe(request)) {
        (SIGN_IN, true) => Some(sign_in::form(admin, visitor, request)),
        (SIGN_IN, false) => Some(sign_in::submit(admin, visitor, request).await),
        ("/healthz", true) => Some(health::answer(admin, session.is_some())),
        ("/metrics", true) if visitor.may_measure || session.is_some() => {
            Some(page::data(200, metrics::CONTENT_TYPE, metrics::render(&admin.gate)))
        }
        (path, true) if path.starts_with(assets::FOLDER) => {
            Some(assets::answer(path).map_or_else(not_found, page::guarded))
        }
        (_, _) => None,
    }
}

/// Serves pages and data.
async fn viewed(admin: &Rc<Admin>, session: &SignedIn, request: &WebRequest) -> Option<WebAnswer> {
    let viewer = &session.viewer;
    match request.path.as_str() {
        "/" => Some(overview::answer(admin, viewer).await),
        "/approvals" => Some(page::elsewhere(&viewer.root, "/approvals/")),
        "/grants" => Some(page::elsewhere(&viewer.root, grants::FOLDER)),
        grants::FOLDER => Some(grants::answer(admin, viewer)),
        "/kill" => Some(page::elsewhere(&viewer.root, kill_switch::FOLDER)),
        kill_switch::FOLDER => Some(kill_switch::answer(admin, viewer)),
        "/audit" => Some(page::elsewhere(&viewer.root, audit::FOLDER)),
        path if path.starts_with(audit::FOLDER) => Some(audit::answer(&admin.record, viewer, request).await),
        path => match path.strip_prefix("/approvals/")? {
            "" => Some(approvals::page(admin, viewer, request).await),
            "feed" => Some(approvals::feed(admin, session, request)),
            path => match path.strip_suffix("/edit") {
                Some(id) => approvals::edit::form(admin, viewer, id),
                None => approvals::end(admin, viewer, path.strip_suffix("/end")?).await,
            },
        },
    }
}

/// Takes forms, whose token has been checked.
async fn submitted(
    admin: &Rc<Admin>,
    visitor: &Visitor,
    session: &SignedIn,
    request: &WebRequest,
) -> Option<WebAnswer> {
    match request.path.as_str() {
        "/approvals/several" => Some(approvals::answer_several(admin, &session.viewer, request).await),
        "/sign-out" => Some(sign_in::out(admin, visitor, session)),
        "/grants/revoke" => Some(grants::submit(admin, &session.viewer, request).await),
        kill_switch::FOLDER => Some(kill_switch::stop(admin, &session.viewer, request).await),
        "/kill/resume" => Some(kill_switch::lift(admin, &session.viewer, request).await),
        path => {
            let (path, viewer) = (path.strip_prefix("/approvals/")?, &session.viewer);
            match path.strip_suffix("/edit") {
                Some(id) => approvals::edit::preview(admin, viewer, id, request),
                None => approvals::answer(admin, viewer, path, request).await,
            }
        }
    }
}

fn has_csrf(viewer: &Viewer, request: &WebRequest) -> bool {
    let body = String::from_utf8_lossy(&request.body);
    form::field(&body, CSRF_FIELD).is_some_and(|given| is_ours(viewer, &given))
}

/// Browsers are sent to the form, programs get a text.
fn sign_in_first(visitor: &Visitor, request: &WebRequest) -> WebAnswer {
    if guards::is_safe(request) && request.header("accept").contains("text/html") {
        return page::elsewhere(&visitor.root, &sign_in::on_the_way_to(request));
    }
    page::text(401, "sign in first")
}

fn missing(viewer: &Viewer) -> WebAnswer {
    let main = maud::html! {
        h1 { "There is nothing here" }
        p { a href=(viewer.root.to("/")) { "Back to the overview" } }
    };
    let mut page = page::page(viewer, None, "Not found", &[], &main);
    page.status = 404;
    page
}

fn not_found() -> WebAnswer {
    page::text(404, "there is nothing here")
}
