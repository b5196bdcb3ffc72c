//! Who has signed in. In memory only, as hashes: a restart signs everybody out.

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use super::links::{Holder, token};
use super::page::Viewer;
use super::visitor::Visitor;
use crate::base::clock::{Deadline, Timestamp};
use crate::base::once_flag::OnceFlag;
use crate::base::secret::{Secret, TokenHash};
use crate::base::zone::Zone;
use crate::model::Responder;

/// Idle timeout of a session. A page that is only open does not keep it alive.
const IDLE: Duration = Duration::from_secs(12 * 3600);
/// The longest that a session lasts.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// Sessions at once; a new one ends the least recently used one.
const MOST: usize = 32;

/// How somebody signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// By a one-time link.
    Link(Holder),
    Password,
}

impl Means {
    /// Who it is in the record, how they signed in and where they answer from.
    fn responder(&self, from: IpAddr) -> Responder {
        match self {
            Means::Link(Holder { issuer, name: Some(name) }) => Responder::by_link_for(name, issuer),
            Means::Link(Holder { issuer, name: None }) => {
                Responder::new("web", &format!("{issuer}/link@{from}"))
            }
            Means::Password => Responder::new("web", &format!("admin/password@{from}")),
        }
    }
}

pub(crate) struct Sessions {
    port: u16,
    open: RefCell<Vec<OpenSession>>,
}

struct OpenSession {
    id: TokenHash,
    csrf: String,
    means: Means,
    idle: Deadline,
    until: Deadline,
    ended: Rc<OnceFlag>,
}

/// The session that a request belongs to.
#[derive(Clone)]
pub(crate) struct SignedIn {
    pub viewer: Viewer,
    /// Set when the session ends.
    pub ended: Rc<OnceFlag>,
    id: TokenHash,
}

impl Sessions {
    /// The sessions of the listener at `port`. Browsers keep cookies per host, not per port, and two gateways must not
    /// sign each other out.
    pub(crate) fn new(port: u16) -> Sessions {
        Sessions { port, open: RefCell::default() }
    }

    /// Begins a session and returns its `Set-Cookie`.
    ///
    /// # Errors
    /// When the kernel has no randomness to give.
    pub(crate) fn begin(&self, means: Means, visitor: &Visitor, now: Timestamp) -> io::Result<String> {
        let (id, csrf) = (token()?, token()?);
        let mut open = self.open.borrow_mut();
        if open.len() >= MOST {
            let stale = open.iter().enumerate().min_by_key(|(_, s)| s.idle.at()).map(|(index, _)| index);
            stale.into_iter().for_each(|index| open.remove(index).ended.set());
        }
        open.push(OpenSession {
            id: TokenHash::new(id.expose()),
            csrf: csrf.expose().to_owned(),
            means,
            idle: Deadline::new(now.plus(IDLE), now),
            until: Deadline::new(now.plus(LONGEST), now),
            ended: Rc::default(),
        });
        Ok(self.set_cookie(visitor, &id, LONGEST))
    }

    /// The session whose cookie is among `cookies`, for a request of `visitor`'s. It counts as used now.
    pub(crate) fn find(&self, cookies: &str, visitor: &Visitor, now: Timestamp) -> Option<SignedIn> {
        let given = self.id_in(visitor, cookies)?;
        self.sweep(now);
        let mut open = self.open.borrow_mut();
        let found =
            open.iter_mut().fold(None, |found, s| if s.id.matches(&given) { Some(s) } else { found })?;
        found.idle = Deadline::new(now.plus(IDLE), now);
        let by = found.means.responder(visitor.from);
        let (csrf, root) = (found.csrf.clone(), visitor.root.clone());
        let viewer = Viewer { by, csrf, root, zone: Zone::system(), now, stopped: None };
        Some(SignedIn { viewer, ended: found.ended.clone(), id: found.id })
    }

    /// Whether a session has not ended. Does not count as use.
    pub(crate) fn lives(&self, session: &SignedIn, now: Timestamp) -> bool {
        self.sweep(now);
        self.open.borrow().iter().any(|s| s.id.matches(&session.id))
    }

    /// Ends a session and returns the `Set-Cookie` that makes the browser forget it.
    pub(crate) fn end(&self, session: &SignedIn, visitor: &Visitor) -> String {
        self.end_those(|s| s.id.matches(&session.id));
        self.set_cookie(visitor, &Secret::new(String::new()), Duration::ZERO)
    }

    /// Signs out everybody who came with a password, because it has changed.
    pub(crate) fn end_those_by_password(&self) {
        self.end_those(|s| s.means == Means::Password);
    }

    fn sweep(&self, now: Timestamp) {
        self.end_those(|s| s.idle.is_over(now) || s.until.is_over(now));
    }

    fn end_those(&self, which: impl Fn(&OpenSession) -> bool) {
        self.open.borrow_mut().retain(|session| {
            let ends = which(session);
            if ends {
                session.ended.set();
            }
            !ends
        });
    }

    /// The cookie's name. `__Host-` keeps neighbouring hosts from setting the cookie; browsers take it for the path `/`
    /// only, so pages below another path get `__Secure-`.
    fn cookie(&self, visitor: &Visitor) -> String {
        let prefix = match (visitor.is_secure, visitor.root.is_empty()) {
            (true, true) => "__Host-",
            (true, false) => "__Secure-",
            (false, _) => "",
        };
        format!("{prefix}agentpass-{}", self.port)
    }

    fn id_in(&self, visitor: &Visitor, cookies: &str) -> Option<TokenHash> {
        let cookie = self.cookie(visitor);
        let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == cookie).map(|(_, value)| TokenHash::new(value))
    }

    fn set_cookie(&self, visitor: &Visitor, id: &Secret, life: Duration) -> String {
        let secure = if visitor.is_secure { "; Secure" } else { "" };
        let (name, id, seconds) = (self.cookie(visitor), id.expose(), life.as_secs());
        let path = if visitor.root.is_empty() { "/" } else { visitor.root.as_str() };
        format!("{name}={id}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
    }
}

/// Whether a form carries the token of this session's forms, in constant time.
pub(crate) fn is_ours(viewer: &Viewer, given: &str) -> bool {
    TokenHash::new(&viewer.csrf).matches(&TokenHash::new(given))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);
    fn pi() -> Holder {
        Holder { issuer: "pi".into(), name: None }
    }

    fn here(is_secure: bool, root: &str) -> Visitor {
        Visitor::here(is_secure, root)
    }

    fn begin(sessions: &Sessions, means: Means, now: Timestamp) -> String {
        begin_as(sessions, means, &here(false, "/"), now)
    }

    fn begin_as(sessions: &Sessions, means: Means, visitor: &Visitor, now: Timestamp) -> String {
        sessions.begin(means, visitor, now).unwrap().split(';').next().unwrap().to_owned()
    }

    #[test]
    fn a_session_ends_when_it_is_not_used_and_in_any_case() {
        let (sessions, here) = (Sessions::new(8080), here(false, "/"));
        let cookie = begin(&sessions, Means::Link(pi()), NOW);
        let cookies = format!("other=1; {cookie}; x=y");
        let found = sessions.find(&cookies, &here, NOW).unwrap();
        assert_eq!(found.viewer.by.as_str(), "web:pi/link@127.0.0.1");
        assert!(sessions.find(&cookies.replace("8080", "8081"), &here, NOW).is_none());
        let mut now = NOW;
        while sessions.find(&cookie, &here, now).is_some() {
            now = now.plus(IDLE.saturating_sub(Duration::from_secs(1)));
        }
        assert!(now.since(NOW) >= LONGEST && found.ended.is_set());
        let cookie = begin(&sessions, Means::Password, now);
        assert!(sessions.find(&cookie, &here, now.plus(IDLE)).is_none());
    }

    #[test]
    fn signing_out_and_a_new_password_end_sessions() {
        let (sessions, here) = (Sessions::new(8080), here(true, "/"));
        let link = begin_as(&sessions, Means::Link(pi()), &here, NOW);
        let password = begin_as(&sessions, Means::Password, &here, NOW);
        sessions.end_those_by_password();
        assert!(sessions.find(&password, &here, NOW).is_none());
        let found = sessions.find(&link, &here, NOW).unwrap();
        assert!(sessions.lives(&found, NOW));
        let cleared = sessions.end(&found, &here);
        assert!(
            cleared.starts_with("__Host-agentpass-8080=; Path=/; Max-Age=0") && cleared.ends_with("; Secure")
        );
        assert!(found.ended.is_set() && !sessions.lives(&found, NOW));
    }

    #[test]
    fn a_cookie_goes_where_the_pages_are_and_nowhere_else() {
        let sessions = Sessions::new(8080);
        let made = |visitor: &Visitor| sessions.begin(Means::Password, visitor, NOW).unwrap();
        let (plain, below) = (here(false, "/"), here(true, "/home/gate/"));
        assert!(made(&plain).starts_with("agentpass-8080=") && !made(&plain).contains("Secure"));
        let cookie = made(&below);
        assert!(
            cookie.starts_with("__Secure-agentpass-8080=") && cookie.contains("; Path=/home/gate; "),
            "{cookie}"
        );
        assert!(
            sessions.find(&cookie, &below, NOW).is_some() && sessions.find(&cookie, &plain, NOW).is_none()
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (sessions, here) = (Sessions::new(1), here(false, "/"));
        let first = begin(&sessions, Means::Password, NOW);
        (0..MOST).for_each(|i| drop(begin(&sessions, Means::Password, Timestamp(NOW.0 + 1 + i as i64))));
        assert!(sessions.find(&first, &here, NOW).is_none());
        assert_eq!(sessions.open.borrow().len(), MOST);
    }
}
