//! The admin listener: pages for the owner's browser, and what other machines may look at.
//!
//! Everything is rendered here, from the same questions and the same record that all other surfaces show. No page loads
//! anything from elsewhere, and none needs a script to answer a question. It must never show anything of the record to
//! somebody who has not signed in.
//!
//! | file | what it is |
//! |---|---|
//! | `site` | the state behind the pages: gate, record, who has signed in |
//! | `router` | every path there is, and what a request must show before it gets there |
//! | `guards` | whose page a request comes from: `Host`, `Origin` |
//! | `visitor` | who a request is from, through a proxy too |
//! | `sign_in`, `password`, `sessions`, `links`, `backoff` | who it is that looks |
//! | [`page`], [`assets`], `form` | the frame of every page with its headers; style and scripts; forms read |
//! | `overview`, `approvals`, `health` | what there is to see |
//! | `kill_switch` | calls stopped and resumed |
//! | [`metrics`], `exposition` | what is measured, in Prometheus' text format |
//! | `programs` | what other programs ask with a token: the API of the approvals |
//! | `wrong_tokens` | addresses that guess programs' tokens |
//! | [`audit`] | the record: calls, charts, one call, the API, CSV |

mod approvals;
pub(crate) mod assets;
pub(crate) mod audit;
mod backoff;
mod exposition;
mod form;
mod grants;
mod guards;
mod health;
mod kill_switch;
mod links;
pub(crate) mod metrics;
mod overview;
pub(crate) mod page;
mod password;
mod programs;
mod router;
mod sessions;
mod sign_in;
mod site;
mod visitor;
mod wrong_tokens;

use std::net::{IpAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use smol::{Async, future};

use crate::base::network::any_contains;
use crate::net::front;
use crate::net::listener::Listener;
use crate::net::stream::Stream;
pub(crate) use links::LIFE as LINK_LIFE;
pub(crate) use site::{Admin, Parts};

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A peer that does not acknowledge for so long what it was sent is gone. Feeds would not notice otherwise.
const GONE_MS: u32 = 30_000;

impl Admin {
    /// Accepts connections until `stop` is set.
    pub(crate) async fn serve(self: Rc<Self>, listener: Listener) {
        let accept = async {
            loop {
                let (tcp, peer) = listener.accept().await;
                self.executor.spawn(connection(self.clone(), tcp, peer.ip())).detach();
                future::yield_now().await;
            }
        };
        future::or(accept, self.stop.wait()).await;
    }
}

async fn connection(admin: Rc<Admin>, tcp: Async<TcpStream>, peer: IpAddr) {
    // Not every kernel has it; without, a peer that vanished is noticed later.
    rustix::net::sockopt::set_tcp_user_timeout(&tcp, GONE_MS).ok();
    // One connection of a proxy carries requests of many people.
    let is_proxy = any_contains(&admin.gate.setup().config.gateway.trusted_proxies, peer);
    let caller = admin.admission.enter((!is_proxy).then_some(peer));
    let work = async {
        let Some(stream) = secured(&admin, tcp, peer).await else { return };
        front::serve_pages(stream, async |request| router::answer(&admin, &caller, peer, request).await)
            .await;
    };
    future::or(work, future::or(caller.must_leave(), admin.stop.wait())).await;
}

async fn secured(admin: &Admin, tcp: Async<TcpStream>, from: IpAddr) -> Option<Stream> {
    let Some(acceptor) = admin.acceptor.borrow().clone() else { return Some(Stream::plain(tcp)) };
    let accepted = acceptor.accept(tcp, HANDSHAKE).await;
    accepted.inspect_err(|e| log::info!("admin connection from {from}: {e}")).ok()
}
