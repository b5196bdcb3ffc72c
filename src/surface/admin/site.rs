//! The state behind the admin pages.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use super::audit::Readers;
use super::links::{Links, SIGN_IN};
use super::password::PasswordGuard;
use super::sessions::Sessions;
use super::wrong_tokens::WrongTokens;
use crate::approval::local::LocalChannel;
use crate::base::once_flag::OnceFlag;
use crate::base::password::PasswordHash;
use crate::base::slots::Slots;
use crate::gate::{Executor, Gate, Setup};
use crate::model::Responder;
use crate::net::tls::Acceptor;
use crate::surface::admission::Admission;
use crate::surface::hosts::{Hosts, machine_name};

/// What the listener is made of.
pub(crate) struct Parts {
    pub gate: Rc<Gate>,
    /// The channel on which feeds hear of questions.
    pub local: Rc<LocalChannel>,
    pub executor: Executor,
    /// None for plain HTTP, on loopback only.
    pub acceptor: Option<Acceptor>,
    pub record: PathBuf,
    /// Set when the gateway stops.
    pub stop: Rc<OnceFlag>,
}

pub(crate) struct Admin {
    pub(super) gate: Rc<Gate>,
    pub(super) local: Rc<LocalChannel>,
    pub(super) executor: Executor,
    pub(super) acceptor: RefCell<Option<Acceptor>>,
    pub(super) record: Readers,
    pub(super) stop: Rc<OnceFlag>,
    pub(super) hosts: RefCell<Hosts>,
    addresses: Vec<SocketAddr>,
    pub(super) tls: bool,
    pub(super) admission: Rc<Admission>,
    pub(super) links: Links,
    pub(super) sessions: Sessions,
    pub(super) passwords: Rc<PasswordGuard>,
    /// Event streams that are open.
    pub(super) feeds: Slots,
    /// Programs that wait for news.
    pub(super) listeners: Slots,
    pub(super) wrong_tokens: WrongTokens,
}

impl Admin {
    /// For a listener at `addresses`.
    pub(crate) fn new(parts: Parts, addresses: Vec<SocketAddr>) -> Rc<Admin> {
        let Parts { gate, local, executor, acceptor, record, stop } = parts;
        let tls = acceptor.is_some();
        let port = addresses.first().map_or(0, SocketAddr::port);
        let hosts = Hosts::new(&addresses, &machine_name(), &gate.setup().config.gateway.admin_hosts);
        let record = Readers::new(record, gate.clock().clone());
        Rc::new(Admin {
            gate,
            local,
            executor,
            acceptor: RefCell::new(acceptor),
            record,
            stop,
            hosts: RefCell::new(hosts),
            addresses,
            tls,
            admission: Rc::default(),
            links: Links::default(),
            sessions: Sessions::new(port),
            passwords: Rc::default(),
            feeds: Slots::default(),
            listeners: Slots::default(),
            wrong_tokens: WrongTokens::default(),
        })
    }

    /// Where it listens, as a browser writes it: `http://127.0.0.1:8080`.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.addresses.iter().map(|address| self.url_of(*address)).collect()
    }

    /// A link that signs in whoever opens it first, for the one who asked for it on the control
    /// socket, or as the person of this name.
    ///
    /// # Errors
    /// When the kernel has no randomness to give.
    pub(crate) fn link(&self, by: &Responder, name: Option<&str>) -> io::Result<String> {
        let token = self.links.issue(by, name, self.gate.clock().now())?;
        let url = self.addresses.first().map(|address| self.url_of(*address)).unwrap_or_default();
        log::info!("{by} asked for a link to the admin pages");
        let path = self.gate.setup().config.gateway.public_path.to(SIGN_IN);
        Ok(format!("{url}{path}?link={}", token.expose()))
    }

    /// Follows a reload of the gate, before which `earlier` was in force, with the certificate that was read again.
    pub(crate) fn reloaded(&self, earlier: &Setup, acceptor: Option<Acceptor>) {
        if self.tls && acceptor.is_some() {
            self.acceptor.replace(acceptor);
        }
        let setup = self.gate.setup();
        let gateway = &setup.config.gateway;
        self.hosts.replace(Hosts::new(&self.addresses, &machine_name(), &gateway.admin_hosts));
        if gateway.admin_password_hash != earlier.config.gateway.admin_password_hash {
            self.sessions.end_those_by_password();
        }
    }

    pub(super) fn password(&self) -> Option<PasswordHash> {
        self.gate.setup().config.gateway.admin_password_hash.clone()
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
