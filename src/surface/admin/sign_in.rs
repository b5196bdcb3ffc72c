//! Signing in and out. It must never say why a link or password is wrong.

use std::net::IpAddr;
use std::rc::Rc;

use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::form::field;
use super::links::SIGN_IN;
use super::page;
use super::password::PasswordError;
use super::sessions::{Means, SignedIn};
use super::site::Admin;
use super::visitor::Visitor;
use crate::base::secret::Secret;
use crate::net::front::{WebAnswer, WebRequest};

/// The longest address of a page that is remembered while somebody signs in, in bytes.
const MAX_WANTED: usize = 1024;
/// The form's address, with the page that was asked for.
pub(super) fn on_the_way_to(request: &WebRequest) -> String {
    let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    match own_page(format!("{}{query}", request.path)) {
        Some(page) if page != "/" => format!("{SIGN_IN}?to={}", utf8_percent_encode(&page, NON_ALPHANUMERIC)),
        Some(_) | None => SIGN_IN.to_owned(),
    }
}

/// `wanted` if it is a page of this listener: the author of a link to the form must not choose where it leads. What
/// browsers read as another host (`//host`, `/\host`) or leave out (line ends, tabs) is no page of ours.
fn own_page(wanted: String) -> Option<String> {
    let is_local = wanted.starts_with('/') && !wanted.starts_with("//");
    let is_plain = wanted.len() <= MAX_WANTED && wanted.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    (is_local && is_plain && !wanted.starts_with("/sign-")).then_some(wanted)
}

/// `GET /sign-in`: a form. With `?link=` it needs a tap only, so that programs that preview links use none up.
pub(super) fn form(admin: &Admin, visitor: &Visitor, request: &WebRequest) -> WebAnswer {
    match field(&request.query, "link") {
        Some(link) => page::bare(&visitor.root, 200, "Sign in", &["sign-in.js"], &by_link(visitor, &link)),
        None => shown(admin, visitor, 200, None, field(&request.query, "to")),
    }
}

/// `POST /sign-in` with `link` or `password`.
pub(super) async fn submit(admin: &Rc<Admin>, visitor: &Visitor, request: &WebRequest) -> WebAnswer {
    let body = String::from_utf8_lossy(&request.body);
    let (now, from) = (admin.gate.clock().now(), visitor.from);
    if let Some(link) = field(&body, "link") {
        return match admin.links.redeem(&link, now) {
            Some(holder) => welcome(admin, Means::Link(holder), visitor, None),
            None => {
                log::warn!("admin sign-in from {from}: the link was used or is too old");
                let text = "This link was used already, or is older than five minutes. Make a new one.";
                shown(admin, visitor, 403, Some(text), None)
            }
        };
    }
    let wanted = field(&body, "to");
    let password = Secret::new(field(&body, "password").unwrap_or_default());
    match check(admin, from, password).await {
        Ok(()) => welcome(admin, Means::Password, visitor, wanted),
        Err(PasswordError::Wrong) => {
            log::warn!("admin sign-in from {from}: wrong password");
            shown(admin, visitor, 403, Some("This is not the password."), wanted)
        }
        Err(PasswordError::Wait(time)) => {
            let seconds = time.as_secs() + 1;
            let text = format!("Too many wrong passwords. Try again in {seconds} s, or use a one-time link.");
            shown(admin, visitor, 429, Some(&text), wanted).with("retry-after", seconds.to_string())
        }
    }
}

/// `POST /sign-out`.
pub(super) fn out(admin: &Admin, visitor: &Visitor, session: &SignedIn) -> WebAnswer {
    page::elsewhere(&visitor.root, SIGN_IN).with("set-cookie", admin.sessions.end(session, visitor))
}

fn welcome(admin: &Admin, means: Means, visitor: &Visitor, wanted: Option<String>) -> WebAnswer {
    let how = match &means {
        Means::Link(holder) => format!("a link made by {}", holder.issuer),
        Means::Password => "the password".to_owned(),
    };
    match admin.sessions.begin(means, visitor, admin.gate.clock().now()) {
        Ok(cookie) => {
            log::info!("admin sign-in from {} by {how}", visitor.from);
            let page = wanted.and_then(own_page).unwrap_or_else(|| "/".to_owned());
            page::elsewhere(&visitor.root, &page).with("set-cookie", cookie)
        }
        Err(e) => {
            log::error!("admin sign-in: {e}");
            shown(admin, visitor, 503, Some("The machine has no randomness to give. Try again."), wanted)
        }
    }
}

async fn check(admin: &Rc<Admin>, from: IpAddr, password: Secret) -> Result<(), PasswordError> {
    let hash = admin.password().ok_or(PasswordError::Wrong)?;
    admin.passwords.check(&admin.executor, from, hash.clone(), password).await?;
    // A reload meanwhile has ended the sessions of the old password; this one must not begin after that.
    if admin.password() == Some(hash) { Ok(()) } else { Err(PasswordError::Wrong) }
}

fn by_link(visitor: &Visitor, link: &str) -> Markup {
    html! {
        div.card {
            h1 { "Sign in" }
            form #by-link method="post" action=(visitor.root.to(SIGN_IN)) {
                input type="hidden" name="link" value=(link);
                button.primary.wide type="submit" autofocus { "Continue" }
            }
            p.soft { "This link works once." }
        }
    }
}

fn shown(
    admin: &Admin,
    visitor: &Visitor,
    status: u16,
    trouble: Option<&str>,
    wanted: Option<String>,
) -> WebAnswer {
    let main = html! {
        div.card {
            h1 { "Sign in" }
            @if let Some(text) = trouble { p.notice.bad role="alert" { (text) } }
            @if admin.password().is_some() {
                form method="post" action=(visitor.root.to(SIGN_IN)) {
                    @if let Some(page) = wanted.and_then(own_page) { input type="hidden" name="to" value=(page); }
                    label for="password" { "Admin password" }
                    input.wide #password type="password" name="password" autocomplete="current-password" required autofocus;
                    button.primary.wide type="submit" { "Sign in" }
                }
                p.soft { "Or use a one-time link: run " code { "agentpass web" } " on the gateway." }
            } @else {
                p { "Run this on the gateway and open the link that it prints:" }
                pre.command { "agentpass web" }
                p.soft { "The link works once, for five minutes." }
            }
        }
    };
    page::bare(&visitor.root, status, "Sign in", &[], &main)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_ours_are_remembered() {
        for page in ["/", "/audit/", "/audit/?outcome=failed&from=2026-01-31", "/approvals/x"] {
            assert_eq!(own_page(page.to_owned()).as_deref(), Some(page));
        }
        let long = format!("/{}", "a".repeat(MAX_WANTED));
        for page in [
            "",
            "audit",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\r\nset-cookie: x",
            "/\t/evil",
            "/sign-out",
            "/sign-in?to=/",
            "/é",
            &long,
        ] {
            assert_eq!(own_page(page.to_owned()), None, "{page:?}");
        }
    }
}
