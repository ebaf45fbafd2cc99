//! The sockets of the daemon: bound before anything is served.
//!
//! Never here: what is served on one.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::StartError;

pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => format!("another process listens there (ss -ltnp 'sport = :{}' shows which); stop it, or choose another port", address.port()),
            std::io::ErrorKind::PermissionDenied => "ports below 1024 need the capability CAP_NET_BIND_SERVICE".to_owned(),
            std::io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
            _ => error.to_string(),
        };
        StartError::Listen { address, why }
    })
}

pub(super) fn local_address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|_| StartError::BrokeOff("a listener without an address"))
}
