//! A port that nobody listens on.

#![allow(dead_code, clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{self, AddressFamily, SocketType};

/// Connections there are refused. As long as this lives the system gives the port to nobody else, as it may do with one
/// that was only free a moment ago.
pub struct Nobody {
    pub address: SocketAddr,
    _socket: OwnedFd,
}

impl Nobody {
    pub fn new() -> Nobody {
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = net::getsockname(&socket).unwrap().try_into().unwrap();
        Nobody { address, _socket: socket }
    }
}
