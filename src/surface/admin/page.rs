//! The frame of every page, and the headers that every answer carries.
//!
//! Pages are made with `maud`, which escapes what is put into them; text that an agent or a service had a say in goes
//! through [`visible`](crate::base::safe_text::visible) first, so that nothing in it is invisible or reorders the rest.
//! The content security policy has no exception: a page must not carry a `style` attribute, a `<style>`, an inline
//! script or an `on…` attribute. They would be ignored.

use std::sync::Arc;

use maud::{DOCTYPE, Markup, html};

use super::assets;
use crate::base::clock::Timestamp;
use crate::base::path_prefix::PathPrefix;
use crate::base::zone::Zone;
use crate::model::Responder;
use crate::net::front::WebAnswer;

/// What a browser may do on our pages: load what we serve, send forms to us, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// On every answer. `no-store`, because nearly everything here is data; [`assets`] alone say otherwise.
const HEADERS: [(&str, &str); 6] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];
pub(crate) const HTML: &str = "text/html; charset=utf-8";
pub(crate) const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Somebody who has signed in, for the length of one request.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    /// Who it is in the record: `web:root/link@127.0.0.1`.
    pub by: Responder,
    /// The token that every form of theirs must carry as [`CSRF_FIELD`].
    pub csrf: String,
    /// What precedes our paths in the addresses that their browser knows.
    pub root: PathPrefix,
    /// The zone that times are shown in: the gateway's own.
    pub zone: Arc<Zone>,
    pub now: Timestamp,
    /// What is stopped, for every page to say.
    pub stopped: Option<String>,
}

/// The name of the field that holds [`Viewer::csrf`].
pub(crate) const CSRF_FIELD: &str = "csrf";

/// Where in the menu a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Here {
    Overview,
    Approvals,
    Grants,
    Audit,
}

const MENU: [(Here, &str, &str); 4] = [
    (Here::Overview, "/", "Overview"),
    (Here::Approvals, "/approvals/", "Approvals"),
    (Here::Grants, "/grants/", "Grants"),
    (Here::Audit, "/audit/", "Record"),
];

/// A page for somebody who has signed in. `scripts` are names in [`assets`], `main` is what lies below the menu.
pub(crate) fn page(
    viewer: &Viewer,
    here: impl Into<Option<Here>>,
    title: &str,
    scripts: &[&str],
    main: &Markup,
) -> WebAnswer {
    let (here, root) = (here.into(), &viewer.root);
    let body = html! {
        a.skip href="#main" { "Skip to content" }
        header.top {
            a.brand href=(root.to("/")) { img src=(root.to(assets::url("icon.svg"))) alt="" width="22" height="22"; "agentpass" }
            nav aria-label="Pages" {
                @for (place, path, name) in MENU {
                    a href=(root.to(path)) aria-current=[(Some(place) == here).then_some("page")] { (name) }
                }
            }
            form.out method="post" action=(root.to("/sign-out")) {
                (csrf(viewer))
                button.quiet type="submit" { "Sign out" }
            }
        }
        main #main tabindex="-1" {
            (stopped(root, viewer.stopped.as_deref()))
            (main)
        }
        footer.soft.small { "Times are those of the gateway: " (viewer.zone.described(viewer.now)) "." }
    };
    whole(root, 200, title, &[&["stopped.js"], scripts].concat(), &body)
}

/// The line that says what is stopped; nothing where nothing is.
pub(crate) fn stopped(root: &PathPrefix, line: Option<&str>) -> Markup {
    html! {
        @if let Some(line) = line {
            p.notice.bad #stopped role="alert" { (line) ". " a.plain href=(root.to("/kill/")) { "Resume" } }
        }
    }
}

/// A page for anybody: one narrow column without a menu.
pub(crate) fn bare(
    root: &PathPrefix,
    status: u16,
    title: &str,
    scripts: &[&str],
    main: &Markup,
) -> WebAnswer {
    let body = html! {
        main.bare #main {
            p.brand { img src=(root.to(assets::url("icon.svg"))) alt="" width="28" height="28"; "agentpass" }
            (main)
        }
    };
    whole(root, status, title, scripts, &body)
}

/// The hidden field that every form of a signed-in page needs.
pub(crate) fn csrf(viewer: &Viewer) -> Markup {
    html! { input type="hidden" name=(CSRF_FIELD) value=(viewer.csrf); }
}

/// Anything that is no page: JSON, CSV, plain text. Not to be kept.
pub(crate) fn data(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> WebAnswer {
    guarded(WebAnswer::new(status, content_type, body))
}

pub(crate) fn text(status: u16, line: &str) -> WebAnswer {
    guarded(WebAnswer::text(status, line))
}

/// Sends the browser elsewhere on this listener, with GET. `path` begins with one slash.
pub(crate) fn elsewhere(root: &PathPrefix, path: &str) -> WebAnswer {
    data(303, TEXT, "").with("location", root.to(path))
}

/// An answer with the headers that all of them carry. It is not to be kept unless it says so itself.
pub(crate) fn guarded(mut answer: WebAnswer) -> WebAnswer {
    if !answer.headers.iter().any(|(name, _)| *name == "cache-control") {
        answer.headers.push(("cache-control", "no-store".to_owned()));
    }
    HEADERS.into_iter().fold(answer, |answer, (name, value)| answer.with(name, value))
}

fn whole(root: &PathPrefix, status: u16, title: &str, scripts: &[&str], body: &Markup) -> WebAnswer {
    let page = html! {
        (DOCTYPE)
        html lang="en" data-root=(root.as_str()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · agentpass" }
                link rel="icon" type="image/svg+xml" href=(root.to(assets::url("icon.svg")));
                link rel="stylesheet" href=(root.to(assets::url("style.css")));
                @for script in scripts {
                    script src=(root.to(assets::url(script))) defer {}
                }
            }
            body { (body) }
        }
    };
    guarded(WebAnswer::new(status, HTML, page.into_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_escaped_and_guarded() {
        let viewer = Viewer {
            by: Responder::new("web", "root"),
            csrf: "c\"<".into(),
            root: PathPrefix::parse("/gate").unwrap(),
            zone: Arc::default(),
            now: Timestamp(0),
            stopped: Some("<i>".into()),
        };
        let answer = page(&viewer, Here::Audit, "<b>", &[], &html! { p { "<script>" } });
        let crate::net::front::WebBody::Whole(body) = answer.body else { panic!("no page") };
        let text = String::from_utf8(body).unwrap();
        assert!(
            text.contains("<title>&lt;b&gt;")
                && text.contains("role=\"alert\">&lt;i&gt;")
                && text.contains("<p>&lt;script&gt;</p>")
        );
        assert!(
            text.contains("value=\"c&quot;&lt;\"")
                && text.contains("href=\"/gate/audit/\" aria-current=\"page\"")
        );
        for path in [" href=\"/", " src=\"/", " action=\"/"] {
            assert!(
                text.contains(path) && text.split(path).skip(1).all(|rest| rest.starts_with("gate/")),
                "{path}"
            );
        }
        let header = |name| answer.headers.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str());
        assert_eq!(header("cache-control"), Some("no-store"));
        assert!(header("content-security-policy").unwrap().starts_with("default-src 'none'"));
        assert!(!header("content-security-policy").unwrap().contains("unsafe"));
    }
}
