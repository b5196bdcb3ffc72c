//! The admin listener: pages for the owner's browser, and what other machines may look at.
//!
//! Everything is rendered here, from the same questions and the same record that all other surfaces show. No page loads
//! anything from elsewhere, and none needs a script to answer a question. It must never show anything of the record to
//! somebody who has not signed in.
//!
//! | file | what it is |
//! |---|---|
//! | `router` | every path there is, and what a request must show before it gets there |
//! | `guards` | whose page a request comes from: `Host`, `Origin` |
//! | `visitor` | who a request is from, through a proxy too |
//! | `sign_in`, `sessions`, `links`, `backoff` | who it is that looks |
//! | [`page`], [`assets`], `form` | the frame of every page with its headers; style and scripts; forms read |
//! | `overview`, `approvals`, `health` | what there is to see |
//! | [`metrics`], `exposition` | what is measured, in Prometheus' text format |
//! | [`audit`] | the record: calls, charts, one call, the API, CSV |

mod approvals;
pub(crate) mod assets;
pub(crate) mod audit;
mod backoff;
mod exposition;
mod form;
mod guards;
mod health;
mod links;
pub(crate) mod metrics;
mod overview;
pub(crate) mod page;
mod router;
mod sessions;
mod sign_in;
mod visitor;

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use smol::{Async, future};

use super::door::{Door, Guest};
use crate::approval::local::Local;
use crate::base::network::any_contains;
use crate::base::password::PasswordHash;
use crate::base::slots::{KeyedSlot, Slots};
use crate::gate::{Executor, Gate, Latch};
use crate::model::Responder;
use crate::net::http;
use crate::net::listener::Listener;
use crate::net::stream::Stream;
use crate::net::tls::Acceptor;
use guards::Hosts;
pub(crate) use links::LIFE as LINK_LIFE;
use links::Links;
use sessions::Sessions;
use sign_in::Turnstile;
pub(crate) use visitor::Outside;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A peer that does not acknowledge what it was sent for so long is gone. Feeds would not notice otherwise.
const GONE_MS: u32 = 30_000;
/// Connections of people who have signed in.
const MAX_SIGNED_IN: usize = 64;

/// What of it a reload may change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Names besides those of this machine.
    pub(crate) hosts: Vec<String>,
    /// The password, when there is one.
    pub password: Option<PasswordHash>,
    /// Proxies and programs.
    pub outside: Outside,
}

/// What the listener is made of.
pub(crate) struct Parts {
    /// The gate.
    pub gate: Rc<Gate>,
    /// Where questions are heard of.
    pub local: Rc<Local>,
    /// Where connections run.
    pub executor: Executor,
    /// None: plain HTTP, on loopback only.
    pub acceptor: Option<Acceptor>,
    /// Where the record lies.
    pub record: PathBuf,
    /// Opens when the gateway stops.
    pub stop: Rc<Latch>,
    /// What a reload may change.
    pub(crate) settings: Settings,
}

/// The admin listener.
pub(crate) struct Admin {
    gate: Rc<Gate>,
    local: Rc<Local>,
    executor: Executor,
    acceptor: RefCell<Option<Acceptor>>,
    record: PathBuf,
    audit: audit::Audit,
    stop: Rc<Latch>,
    settings: RefCell<Settings>,
    hosts: RefCell<Hosts>,
    addresses: Vec<SocketAddr>,
    tls: bool,
    door: Rc<Door>,
    links: Links,
    sessions: Sessions,
    turnstile: Turnstile,
    feeds: Slots,
}

impl Admin {
    /// For a listener at `addresses`.
    pub(crate) fn new(parts: Parts, addresses: Vec<SocketAddr>) -> Rc<Admin> {
        let Parts { gate, local, executor, acceptor, record, stop, settings } = parts;
        let tls = acceptor.is_some();
        let port = addresses.first().map_or(0, SocketAddr::port);
        let hosts = Hosts::new(&addresses, &machine_name(), &settings.hosts);
        let audit = audit::Audit::new(record.clone(), gate.clock().clone());
        Rc::new(Admin {
            gate,
            local,
            executor,
            acceptor: RefCell::new(acceptor),
            record,
            audit,
            stop,
            settings: RefCell::new(settings),
            hosts: RefCell::new(hosts),
            addresses,
            tls,
            door: Rc::default(),
            links: Links::default(),
            sessions: Sessions::new(port),
            turnstile: Turnstile::default(),
            feeds: Slots::default(),
        })
    }

    /// Where the record lies, for [`Reader`](crate::store::reader::Reader) on the blocking pool.
    pub(crate) fn record(&self) -> &Path {
        &self.record
    }

    /// Where it listens, as a browser writes it: `http://127.0.0.1:8080`.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.addresses.iter().map(|address| self.url_of(*address)).collect()
    }

    /// A link that signs in whoever opens it first, for the one who asked for it on the control socket.
    ///
    /// # Errors
    /// When the kernel has no randomness to give.
    pub(crate) fn link(&self, by: &Responder) -> io::Result<String> {
        let token = self.links.issue(by, self.gate.clock().now())?;
        let url = self.addresses.first().map(|address| self.url_of(*address)).unwrap_or_default();
        log::info!("{by} asked for a link to the admin pages");
        let path = self.settings.borrow().outside.public_path.to(sign_in::PATH);
        Ok(format!("{url}{path}?link={}", token.expose()))
    }

    /// A renewed certificate and other settings, from now on.
    pub(crate) fn reload(&self, settings: Settings, acceptor: Option<Acceptor>) {
        if self.tls && acceptor.is_some() {
            self.acceptor.replace(acceptor);
        }
        self.hosts.replace(Hosts::new(&self.addresses, &machine_name(), &settings.hosts));
        if self.settings.replace(settings.clone()).password != settings.password {
            self.sessions.end_those_by_password();
        }
    }

    /// Accepts connections until the stop latch opens.
    pub(crate) async fn serve(self: Rc<Self>, listener: Listener) {
        let accept = async {
            loop {
                let (tcp, peer) = listener.accept().await;
                self.executor.spawn(connection(self.clone(), tcp, peer.ip())).detach();
                smol::future::yield_now().await;
            }
        };
        future::or(accept, self.stop.wait()).await;
    }

    fn password(&self) -> Option<PasswordHash> {
        self.settings.borrow().password.clone()
    }

    /// No browser can open `0.0.0.0`; the machine's name it can.
    fn url_of(&self, address: SocketAddr) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        match (address.ip().is_unspecified(), machine_name()) {
            (true, name) if !name.is_empty() => format!("{scheme}://{name}:{}", address.port()),
            (_, _) => format!("{scheme}://{address}"),
        }
    }
}

fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Who is at the other end of a connection: a stranger in the door until a request of theirs shows a session.
struct Visit {
    peer: IpAddr,
    guest: RefCell<Option<Guest>>,
    member: RefCell<Option<KeyedSlot<IpAddr>>>,
}

impl Visit {
    /// Somebody has sent a whole request.
    fn spoke(&self) {
        if let Some(guest) = &*self.guest.borrow() {
            guest.spoke();
        }
    }

    /// It was somebody who has signed in: they make room for nobody. False when there are too many already.
    fn admitted(&self, door: &Door) -> bool {
        if self.member.borrow().is_some() {
            return true;
        }
        if door.members() >= MAX_SIGNED_IN {
            return false;
        }
        self.member.replace(self.guest.take().map(|guest| guest.admitted(self.peer)));
        true
    }
}

async fn connection(admin: Rc<Admin>, tcp: Async<TcpStream>, peer: IpAddr) {
    // Not every kernel has it; without, a peer that vanished is noticed later.
    rustix::net::sockopt::set_tcp_user_timeout(&tcp, GONE_MS).ok();
    // One connection of a proxy carries requests of many people.
    let is_proxy = any_contains(&admin.settings.borrow().outside.trusted_proxies, peer);
    let guest = admin.door.enter((!is_proxy).then_some(peer));
    let leave = guest.leaving();
    let visit = Visit { peer, guest: RefCell::new(Some(guest)), member: RefCell::default() };
    let work = async {
        let Some(stream) = secured(&admin, tcp, peer).await else { return };
        http::serve(stream, async |asked| router::answer(&admin, &visit, asked).await).await;
    };
    future::or(work, future::or(leave.wait(), admin.stop.wait())).await;
}

async fn secured(admin: &Admin, tcp: Async<TcpStream>, from: IpAddr) -> Option<Stream> {
    let Some(acceptor) = admin.acceptor.borrow().clone() else { return Some(Stream::plain(tcp)) };
    let accepted = acceptor.accept(tcp, HANDSHAKE).await;
    accepted.inspect_err(|e| log::info!("admin connection from {from}: {e}")).ok()
}
