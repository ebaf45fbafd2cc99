//! Whom we believe when we are the client: the system's authorities, and those that a file names.
//!
//! Never here: a connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Why nobody could be believed.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    /// The file of authorities cannot be read as certificates in PEM.
    #[error("the authorities in {} cannot be read: expected a file of PEM certificates", .0.display())]
    Authorities(PathBuf),
    /// The system has no authorities and no file names one.
    #[error("this system has no certificate authorities: install them (ca-certificates), or name a file")]
    NoAuthorities,
    /// The provider does not speak any version that we do.
    #[error("no version of TLS can be spoken")]
    Versions(#[from] rustls::Error),
}

/// What a client believes: the authorities in the PEM file `own`, or those of the system when there is none.
/// Protocols are for whoever dials to add.
pub fn client_config(own: Option<&Path>) -> Result<ClientConfig, ClientTlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = own {
        let unreadable = || ClientTlsError::Authorities(path.to_owned());
        let read = CertificateDer::pem_file_iter(path).map_err(|_| unreadable())?;
        for authority in read {
            roots.add(authority.map_err(|_| unreadable())?).map_err(|_| unreadable())?;
        }
        if roots.is_empty() {
            return Err(unreadable());
        }
    } else {
        // What of a system's store cannot be read leaves the rest.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(ClientTlsError::NoAuthorities);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_without_authorities_is_refused_when_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        for text in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(client_config(Some(&path)), Err(ClientTlsError::Authorities(_))), "{text}");
        }
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        fs::write(&path, made.cert.pem()).unwrap();
        client_config(Some(&path)).unwrap();
        assert!(client_config(Some(&folder.path().join("absent.pem"))).is_err());
    }
}
