//! The admin listener of a starting gateway, and the ways in which it can keep it from starting. It must never listen
//! beyond this machine without TLS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use super::StartError;
use crate::approval::local::LocalChannel;
use crate::base::once_flag::OnceFlag;
use crate::config::Config;
use crate::gate::{Executor, Gate};
use crate::net::listener::Listener;
use crate::net::tls::Acceptor;
use crate::surface::admin::{Admin, Parts};

/// A bound port that nobody is answered on yet.
pub(super) struct AdminPort {
    listener: Listener,
    acceptor: Option<Acceptor>,
    record: PathBuf,
}

impl AdminPort {
    /// Binds it; None when it is switched off. `acceptor` is that of the agents' port.
    ///
    /// # Errors
    /// When the port is taken, or may not be used without TLS.
    pub(super) fn open(
        config: &Config,
        acceptor: Option<&Acceptor>,
    ) -> Result<Option<AdminPort>, StartError> {
        let Some(port) = config.gateway.health_port else { return Ok(None) };
        let listener = Listener::bind(&config.gateway.health_host, port).map_err(|e| {
            let help =
                "set gateway.health_port to another port; 0 takes any free one, off does without the pages";
            StartError::machine(format!("the admin pages have no port: {e}"), help)
        })?;
        let acceptor = match (is_open(&listener.addresses()), acceptor) {
            (false, _) => None,
            (true, Some(acceptor)) => Some(acceptor.clone()),
            // `preflight` looked the name up before; it may have got another address since.
            (true, None) => {
                return Err(StartError::machine(
                    "the admin pages would be open to the network without TLS",
                    "",
                ));
            }
        };
        let record = config.storage.path.clone();
        Ok(Some(AdminPort { listener, acceptor, record }))
    }

    /// Begins to answer.
    pub(super) fn serve(
        self,
        gate: Rc<Gate>,
        local: Rc<LocalChannel>,
        executor: Executor,
        stop: Rc<OnceFlag>,
    ) -> Rc<Admin> {
        let AdminPort { listener, acceptor, record } = self;
        let parts = Parts { gate, local, executor: executor.clone(), acceptor, record, stop };
        let admin = Admin::new(parts, listener.addresses());
        executor.spawn(admin.clone().serve(listener)).detach();
        log::info!("admin pages on {}; `agentpass web` signs in", admin.urls().join(", "));
        admin
    }
}

/// Whether others than programs of this machine reach one of `addresses`.
pub(super) fn is_open(addresses: &[SocketAddr]) -> bool {
    addresses.iter().any(|address| !address.ip().is_loopback())
}
