//! The sockets of the daemon: bound before anything is served.
//!
//! Listeners with the same `listen` are virtual hosts of one socket. The data listeners share their places, and
//! the admin listener has its own, so that no crowd of callers keeps the operator out. There are no more places
//! than the process may open files for, and some stay free for the store.
//!
//! Never here: what is served on one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::sync::Arc;

use super::StartError;
use crate::config::{AdminSettings, ListenerSettings};
use crate::http::places::Places;
use crate::http::server::ServerOptions;
use crate::http::socket::{BindError, Socket};
use crate::http::tls::ServerTls;
use crate::http::{Endpoint, ListenAddress};

/// The most descriptors that are asked for: what all places can use.
const DESCRIPTORS_MAX: u64 = 20_000;
/// Descriptors for the files, the log and the runtime.
const DESCRIPTORS_OF_OURS: u64 = 64;
/// The most data connections: each may need one to an upstream besides.
const DATA_CONNECTIONS_MAX: u64 = 8192;
/// The most connections to the admin listener, which apps ask as well (the verify call).
const ADMIN_CONNECTIONS_MAX: u64 = 1024;
/// The fewest of either, so that a daemon serves at all.
const CONNECTIONS_MIN: u64 = 8;

/// A bound socket, and whom it is for.
pub(super) struct Bound {
    pub(super) socket: Socket,
    pub(super) endpoint: Endpoint,
    pub(super) tls: Option<Arc<ServerTls>>,
    /// Its virtual hosts; at least one.
    pub(super) hosts: Vec<ListenerSettings>,
}

/// Binds the data listeners.
pub(super) async fn bind_all(listeners: Vec<ListenerSettings>) -> Result<Vec<Bound>, StartError> {
    let mut groups: Vec<Vec<ListenerSettings>> = Vec::new();
    for listener in listeners {
        let is_same = |group: &&mut Vec<ListenerSettings>| {
            listener.listen.is_fixed() && group.first().is_some_and(|first| first.listen == listener.listen)
        };
        match groups.iter_mut().find(is_same) {
            Some(group) => group.push(listener),
            None => groups.push(vec![listener]),
        }
    }
    let mut bound = Vec::new();
    for hosts in groups {
        let Some(first) = hosts.first() else { continue };
        let (socket, address) = bind(&first.listen, first.mode).await?;
        let certificates: Vec<_> =
            hosts.iter().filter_map(|host| Some((host.tls.clone()?, host.hosts.clone()))).collect();
        for (files, _) in certificates.iter().filter(|(files, _)| files.is_readable_by_all()) {
            tracing::warn!(key = %files.key.display(), "every user of this machine can read this private key");
        }
        let tls = match certificates {
            none if none.is_empty() => None,
            some => Some(Arc::new(ServerTls::load(some)?)),
        };
        bound.push(Bound { socket, endpoint: Endpoint { address, is_secure: tls.is_some() }, tls, hosts });
    }
    Ok(bound)
}

/// Binds the admin listener.
pub(super) async fn bind_admin(settings: &AdminSettings) -> Result<(Socket, Endpoint), StartError> {
    let (socket, address) = bind(&settings.listen, settings.mode).await?;
    Ok((socket, Endpoint { address, is_secure: false }))
}

async fn bind(listen: &ListenAddress, mode: u32) -> Result<(Socket, ListenAddress), StartError> {
    let refused = |why: String| StartError::Listen { address: listen.clone(), why };
    let socket = Socket::bind(listen, mode).await.map_err(|error| refused(why_not(listen, &error)))?;
    let address = socket.address().map_err(|error| refused(error.to_string()))?;
    Ok((socket, address))
}

fn why_not(listen: &ListenAddress, error: &BindError) -> String {
    use io::ErrorKind::{AddrNotAvailable, NotFound, PermissionDenied};
    match (listen, error) {
        (ListenAddress::Tcp(address), BindError::InUse) => format!(
            "another process listens there (ss -ltnp 'sport = :{}' shows which); stop it, or choose another port",
            address.port()
        ),
        (ListenAddress::Tcp(_), BindError::System(error)) if error.kind() == PermissionDenied => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE".to_owned()
        }
        (ListenAddress::Tcp(_), BindError::System(error)) if error.kind() == AddrNotAvailable => {
            "this machine has no such address".to_owned()
        }
        (ListenAddress::Unix(_), BindError::System(error)) if error.kind() == PermissionDenied => {
            "this user may not write to its folder, or not connect to the socket that is there".to_owned()
        }
        (ListenAddress::Unix(_), BindError::System(error)) if error.kind() == NotFound => {
            "its folder does not exist; make it, owned by the user that Keyward runs as".to_owned()
        }
        (_, error) => error.to_string(),
    }
}

/// The options of all data listeners, and of the admin listener.
pub(super) fn server_options() -> (ServerOptions, ServerOptions) {
    let (data, admin) = connections_max(descriptors());
    let options = |most| ServerOptions { places: Places::new(most), ..ServerOptions::default() };
    (options(data), options(admin))
}

/// How many files this process may open, once it has asked for what it is allowed to.
fn descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(DESCRIPTORS_MAX, |most| most.min(DESCRIPTORS_MAX));
    match limit.current {
        Some(current) if current < wanted => {
            let raised =
                setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
            if raised.is_ok() { wanted } else { current }
        }
        current => current.unwrap_or(DESCRIPTORS_MAX),
    }
}

/// Connections to the data listeners and to the admin listener, so that descriptors are left.
fn connections_max(descriptors: u64) -> (usize, usize) {
    let admin = (descriptors / 16).clamp(CONNECTIONS_MIN, ADMIN_CONNECTIONS_MAX);
    let left = descriptors.saturating_sub(DESCRIPTORS_OF_OURS + admin);
    let data = (left / 2).clamp(CONNECTIONS_MIN, DATA_CONNECTIONS_MAX);
    if data < DATA_CONNECTIONS_MAX {
        tracing::warn!(
            connections = data,
            descriptors,
            "few files may be open (ulimit -n, LimitNOFILE): fewer connections at a time than could be served"
        );
    }
    let usize_of = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    (usize_of(data), usize_of(admin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_upstreams_and_files() {
        assert_eq!(connections_max(DESCRIPTORS_MAX), (8192, 1024));
        assert_eq!(connections_max(1024), (448, 64));
        assert_eq!(connections_max(256), (88, 16));
        assert_eq!(connections_max(1), (8, 8));
        for descriptors in [128, 200, 4096, 100_000] {
            let (data, admin) = connections_max(descriptors);
            assert!(2 * data + admin < usize::try_from(descriptors).unwrap(), "{descriptors}");
        }
    }

    #[test]
    fn the_limit_of_open_files_is_raised_as_far_as_it_may_be() {
        let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX).min(DESCRIPTORS_MAX);
        assert!(descriptors() >= most);
        assert!(getrlimit(Resource::Nofile).current.is_none_or(|current| current >= most));
    }
}
