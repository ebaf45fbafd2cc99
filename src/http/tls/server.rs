//! Who we say we are when we are the server: a certificate and its key for each virtual host, read again when
//! they change.
//!
//! A certificate is used only whole: its chain reads, its key reads and fits. While what lies on disk does not,
//! the one before goes on being used. A name that a client asks for picks the certificate; one that is
//! nobody's gets the first.
//!
//! Never here: a connection, or what stands in a file in an error.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use zeroize::Zeroizing;

use super::super::virtual_hosts::is_named;

/// What a client chooses for HTTP/2.
pub(in crate::http) const ALPN_HTTP2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The most bytes of a certificate's or a key's file: a hundred times what a long chain takes.
const PEM_BYTES_MAX: u64 = 1 << 20;
/// Rights of a key's file that let others replace it.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// The right of a key's file that lets everybody read it.
const READABLE_BY_ALL: u32 = 0o004;

/// Why a server cannot say who it is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// A file cannot be read.
    #[error("{} cannot be read: {why}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word.
        why: std::io::ErrorKind,
    },
    /// A file is larger than any certificate.
    #[error("{} is larger than 1 MiB", .0.display())]
    TooLarge(PathBuf),
    /// Others than its owner may replace the key.
    #[error("{} can be written by others than its owner: expected mode 0600 or 0640", .0.display())]
    Writable(PathBuf),
    /// No chain of certificates can be read.
    #[error("{} holds no certificate: expected a chain in PEM, the server's own first", .0.display())]
    NoCertificate(PathBuf),
    /// No private key can be read.
    #[error("{} holds no private key that can be used: expected one in PEM, without a passphrase", .0.display())]
    NoKey(PathBuf),
    /// The key is another certificate's.
    #[error("the key {} does not belong to the certificate {}", .key.display(), .cert.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The provider does not speak any version that we do.
    #[error("no version of TLS can be spoken")]
    Versions,
}

/// Where a certificate and its key lie, in PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub cert: PathBuf,
    /// Its private key, without a passphrase.
    pub key: PathBuf,
}

/// Both files as they were read.
struct Files {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    /// Tells whether they are others than before.
    digest: [u8; 32],
}

impl CertificateFiles {
    /// Whether the files hold a certificate and its key.
    pub fn check(&self) -> Result<(), ServerTlsError> {
        self.certified(&self.read()?, &provider()).map(drop)
    }

    /// Whether everybody on the machine may read the key, which is theirs to use then.
    pub fn is_readable_by_all(&self) -> bool {
        std::fs::metadata(&self.key).is_ok_and(|found| found.mode() & READABLE_BY_ALL != 0)
    }

    fn read(&self) -> Result<Files, ServerTlsError> {
        let (cert, _) = read(&self.cert)?;
        let (key, mode) = read(&self.key)?;
        if mode & WRITABLE_BY_OTHERS != 0 {
            return Err(ServerTlsError::Writable(self.key.clone()));
        }
        let key = Zeroizing::new(key);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(cert.len() as u64).to_le_bytes()).update(&cert).update(&key);
        Ok(Files { digest: *hasher.finalize().as_bytes(), cert, key })
    }

    fn certified(&self, read: &Files, provider: &CryptoProvider) -> Result<CertifiedKey, ServerTlsError> {
        let chain = CertificateDer::pem_slice_iter(&read.cert).collect::<Result<Vec<_>, _>>();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| ServerTlsError::NoCertificate(self.cert.clone()))?;
        let no_key = || ServerTlsError::NoKey(self.key.clone());
        let key = PrivateKeyDer::from_pem_slice(&read.key).map_err(|_| no_key())?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                ServerTlsError::Mismatch { cert: self.cert.clone(), key: self.key.clone() }
            }
            rustls::Error::InvalidCertificate(_) => ServerTlsError::NoCertificate(self.cert.clone()),
            _ => no_key(),
        })
    }
}

/// A file's bytes and mode.
fn read(path: &Path) -> Result<(Vec<u8>, u32), ServerTlsError> {
    let unreadable =
        |error: std::io::Error| ServerTlsError::Unreadable { path: path.to_owned(), why: error.kind() };
    let file = File::open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    if found.len() > PEM_BYTES_MAX {
        return Err(ServerTlsError::TooLarge(path.to_owned()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(found.len()).unwrap_or(0));
    file.take(PEM_BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok((bytes, found.mode()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// One certificate in use.
#[derive(Clone)]
struct Identity {
    files: CertificateFiles,
    /// The hosts that it is for, in lower case, with or without a port.
    hosts: Vec<String>,
    certified: Arc<CertifiedKey>,
    /// Of the files that were read last, whether they could be used or not; `None` when they could not be read.
    digest: Option<[u8; 32]>,
}

/// What a server says it is.
pub struct ServerTls {
    identities: Mutex<Vec<Identity>>,
    config: ArcSwap<ServerConfig>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

impl ServerTls {
    /// A server with these certificates, each for its hosts; at least one.
    pub fn load(wanted: Vec<(CertificateFiles, Vec<String>)>) -> Result<Self, ServerTlsError> {
        let provider = provider();
        let identity = |(files, hosts): (CertificateFiles, Vec<String>)| {
            let read = files.read()?;
            let certified = Arc::new(files.certified(&read, &provider)?);
            Ok(Identity { files, hosts, certified, digest: Some(read.digest) })
        };
        let identities = wanted.into_iter().map(identity).collect::<Result<Vec<_>, ServerTlsError>>()?;
        let config = ArcSwap::new(config(&identities)?);
        Ok(Self { identities: Mutex::new(identities), config })
    }

    /// Reads the files again and takes over what is new and whole. Gives how many certificates were taken over
    /// and what is wrong with the others; a file that was told of before is told of again only if `again`.
    /// Blocks on the disk.
    pub fn reload(&self, again: bool) -> (usize, Vec<ServerTlsError>) {
        let (mut taken, mut problems) = (0, Vec::new());
        let mut identities = self.identities();
        let provider = provider();
        for identity in &mut *identities {
            let read = identity.files.read();
            let digest = read.as_ref().ok().map(|read| read.digest);
            if digest == identity.digest && !again {
                continue;
            }
            let is_new = digest != identity.digest;
            identity.digest = digest;
            match read.and_then(|read| identity.files.certified(&read, &provider)) {
                Ok(certified) if is_new => {
                    identity.certified = Arc::new(certified);
                    taken += 1;
                }
                Ok(_) => {}
                Err(problem) => problems.push(problem),
            }
        }
        if taken > 0 {
            match config(&identities) {
                Ok(config) => self.config.store(config),
                Err(problem) => problems.push(problem),
            }
        }
        (taken, problems)
    }

    /// What the next connection is told.
    pub(in crate::http) fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    fn identities(&self) -> MutexGuard<'_, Vec<Identity>> {
        // A panic between two statements leaves each identity whole.
        self.identities.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A configuration of its own for each set of certificates, so that no session of an earlier one is resumed.
fn config(identities: &[Identity]) -> Result<Arc<ServerConfig>, ServerTlsError> {
    let by_host = identities.iter().map(|identity| (identity.hosts.clone(), Arc::clone(&identity.certified)));
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|_| ServerTlsError::Versions)?.with_no_client_auth();
    let mut config = builder.with_cert_resolver(Arc::new(ByHost(by_host.collect())));
    config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
    Ok(Arc::new(config))
}

/// The certificates by the names that clients ask for.
struct ByHost(Vec<(Vec<String>, Arc<CertifiedKey>)>);

impl fmt::Debug for ByHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByHost")
    }
}

impl ResolvesServerCert for ByHost {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked =
            |name: &str| self.0.iter().find(|(hosts, _)| hosts.iter().any(|host| is_named(host, name)));
        let found = hello.server_name().and_then(asked).or_else(|| self.0.first());
        found.map(|(_, certified)| Arc::clone(certified))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    fn made(folder: &Path, name: &str) -> CertificateFiles {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let files = CertificateFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
        write(&files.cert, made.cert.pem()).unwrap();
        write(&files.key, made.signing_key.serialize_pem()).unwrap();
        set_permissions(&files.key, Permissions::from_mode(0o600)).unwrap();
        files
    }

    #[test]
    fn what_is_not_a_certificate_with_its_key_is_refused_and_no_content_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let files = made(folder.path(), "a.example");
        files.check().unwrap();
        let other = tempfile::tempdir().unwrap();
        let key = made(other.path(), "a.example").key;
        let mismatched = CertificateFiles { key, ..files.clone() };
        assert!(matches!(mismatched.check(), Err(ServerTlsError::Mismatch { .. })));
        let swapped = CertificateFiles { cert: files.key.clone(), key: files.cert.clone() };
        assert_eq!(swapped.check(), Err(ServerTlsError::NoCertificate(files.key.clone())));
        let certs = CertificateFiles { key: files.cert.clone(), ..files.clone() };
        assert_eq!(certs.check(), Err(ServerTlsError::NoKey(files.cert.clone())));
        let absent = CertificateFiles { cert: folder.path().join("absent"), ..files.clone() };
        assert!(absent.check().unwrap_err().to_string().ends_with("cannot be read: entity not found"));
        write(folder.path().join("large"), vec![b'x'; (1 << 20) + 1]).unwrap();
        let large = CertificateFiles { cert: folder.path().join("large"), ..files };
        assert!(matches!(large.check(), Err(ServerTlsError::TooLarge(_))));
    }

    #[test]
    fn a_key_that_others_can_replace_is_refused_and_one_that_all_can_read_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let files = made(folder.path(), "a.example");
        for (mode, is_refused, is_noticed) in
            [(0o600, false, false), (0o640, false, false), (0o644, false, true), (0o620, true, false)]
        {
            set_permissions(&files.key, Permissions::from_mode(mode)).unwrap();
            assert_eq!(files.check().is_err(), is_refused, "{mode:o}");
            assert_eq!(files.is_readable_by_all(), is_noticed, "{mode:o}");
        }
    }

    #[test]
    fn new_files_are_taken_over_and_bad_ones_leave_what_was() {
        let folder = tempfile::tempdir().unwrap();
        let files = made(folder.path(), "a.example");
        let tls = ServerTls::load(vec![(files.clone(), Vec::new())]).unwrap();
        let first = tls.config();
        assert_eq!(tls.reload(false), (0, vec![]));
        assert_eq!(tls.reload(true), (0, vec![]));
        assert!(Arc::ptr_eq(&first, &tls.config()));

        // The certificate is new and its key is not there yet.
        let key = std::fs::read(&files.key).unwrap();
        let renewed = made(folder.path(), "a.example");
        let new_key = std::fs::read(&renewed.key).unwrap();
        write(&files.key, key).unwrap();
        let (taken, problems) = tls.reload(false);
        assert!(taken == 0 && matches!(problems[..], [ServerTlsError::Mismatch { .. }]), "{problems:?}");
        assert_eq!(tls.reload(false), (0, vec![]), "it is told once");
        assert_eq!(tls.reload(true).1.len(), 1, "and again when asked");
        assert!(Arc::ptr_eq(&first, &tls.config()));

        write(&files.key, new_key).unwrap();
        assert_eq!(tls.reload(false), (1, vec![]));
        assert!(!Arc::ptr_eq(&first, &tls.config()));
    }
}
