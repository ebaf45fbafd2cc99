//! A bound socket and the connections that it takes, over TCP or at a path.
//!
//! The file of a unix socket has its mode before anybody can connect to it, takes the place of one that nobody
//! listens at any more and of nothing else, and goes away with the socket.
//!
//! Never here: a bound on how many connections there are.

use std::fs::{Permissions, metadata, remove_file, rename, set_permissions, symlink_metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixSocket, UnixStream};

use super::listen::ListenAddress;
use super::server::Peer;

/// Behind the path of a unix socket, for the time until it has its mode.
const UNREADY: &str = ".new";

/// The most connections that wait to be accepted, as far as the system allows them.
const CONNECTIONS_WAITING_MAX: u32 = 1024;

/// Why a unix socket cannot be made at its path.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Something answers there.
    #[error("another process listens there; stop it, or choose another address")]
    InUse,
    /// There is a file of another kind.
    #[error("there is a file that is no socket; move it away, or choose another path")]
    NoSocket,
    /// The system refused.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// A socket that listens. Dropping it closes it and removes its file.
#[derive(Debug)]
pub struct Socket(Listening);

#[derive(Debug)]
enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl From<TcpListener> for Socket {
    fn from(listener: TcpListener) -> Self {
        Self(Listening::Tcp(listener))
    }
}

impl Socket {
    /// Binds `address`. The file of a unix socket gets `mode`, such as `0o600`: connecting takes the right to
    /// write.
    pub async fn bind(address: &ListenAddress, mode: u32) -> Result<Self, BindError> {
        match address {
            ListenAddress::Tcp(address) => match TcpListener::bind(address).await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(BindError::InUse),
                bound => Ok(bound?.into()),
            },
            ListenAddress::Unix(path) => bind_unix(path, mode).await,
        }
    }

    /// Where it listens, with the port that it got.
    pub fn address(&self) -> io::Result<ListenAddress> {
        match &self.0 {
            Listening::Tcp(listener) => listener.local_addr().map(ListenAddress::Tcp),
            Listening::Unix(_, file) => Ok(ListenAddress::Unix(file.path.clone())),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.0 {
            Listening::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Answers go out whole; waiting for more to send would only delay them. A socket that refuses
                // is already dead.
                let _ = stream.set_nodelay(true);
                let peer = Peer { address: Some(address.ip().to_canonical()), is_secure: false };
                Ok((Stream::Tcp(stream), peer))
            }
            Listening::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), Peer { address: None, is_secure: false }))
            }
        }
    }
}

async fn bind_unix(path: &Path, mode: u32) -> Result<Socket, BindError> {
    match symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NoSocket),
        // Only a socket that nobody listens at is one that a crash left.
        Ok(_) => match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Err(BindError::InUse),
        },
    }
    let mut unready = path.as_os_str().to_owned();
    unready.push(UNREADY);
    let unready = PathBuf::from(unready);
    if symlink_metadata(&unready).is_ok_and(|found| found.file_type().is_socket()) {
        remove_file(&unready)?;
    }
    let socket = UnixSocket::new_stream()?;
    socket.bind(&unready)?;
    // Nobody can connect to what does not listen yet, whatever mode the file was made with.
    set_permissions(&unready, Permissions::from_mode(mode))?;
    let listener = socket.listen(CONNECTIONS_WAITING_MAX)?;
    rename(&unready, path)?;
    let own = symlink_metadata(path)?;
    let file = SocketFile { path: path.to_owned(), device: own.dev(), inode: own.ino() };
    Ok(Socket(Listening::Unix(listener, file)))
}

/// The file of a unix socket.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // By now it may be somebody else's.
        let is_ours = |found: std::fs::Metadata| (found.dev(), found.ino()) == (self.device, self.inode);
        if metadata(&self.path).is_ok_and(is_ours) {
            let _ = remove_file(&self.path);
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &Path) -> ListenAddress {
        ListenAddress::Unix(path.to_owned())
    }

    #[tokio::test]
    async fn a_unix_socket_has_its_mode_and_goes_away_when_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        for mode in [0o600, 0o660] {
            let socket = Socket::bind(&at(&path), mode).await.unwrap();
            assert_eq!(metadata(&path).unwrap().mode() & 0o777, mode);
            assert_eq!(socket.address().unwrap(), at(&path));
            let connecting = UnixStream::connect(&path);
            let (accepted, connected) = tokio::join!(socket.accept(), connecting);
            assert_eq!(accepted.unwrap().1.address, None);
            connected.unwrap();
            drop(socket);
            assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        }
    }

    #[tokio::test]
    async fn only_a_socket_that_nobody_listens_at_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let first = Socket::bind(&at(&path), 0o600).await.unwrap();
        assert!(matches!(Socket::bind(&at(&path), 0o600).await, Err(BindError::InUse)));
        UnixStream::connect(&path).await.unwrap();
        drop(first);
        // The standard library leaves the file, as a crash does.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let second = Socket::bind(&at(&path), 0o600).await.unwrap();
        UnixStream::connect(&path).await.unwrap();
        // A file that is not its own any more stays.
        remove_file(&path).unwrap();
        std::fs::write(&path, "mine").unwrap();
        drop(second);
        assert!(matches!(Socket::bind(&at(&path), 0o600).await, Err(BindError::NoSocket)));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_an_error_of_the_system() {
        let folder = tempfile::tempdir().unwrap();
        let absent = at(&folder.path().join("absent/api.sock"));
        assert!(matches!(Socket::bind(&absent, 0o600).await, Err(BindError::System(_))));
    }
}
