//! The broker's side of TLS: files in, a `rustls::ServerConfig` out. A client certificate is always required.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use thiserror::Error;

use crate::provider::provider;

/// The PEM files of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, leaf first.
    pub certificate_chain: PathBuf,
    /// The key of the leaf (PKCS #8, SEC 1 or PKCS #1).
    pub private_key: PathBuf,
    /// The authorities whose client certificates are accepted.
    pub client_ca: PathBuf,
}

/// A version of TLS that a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// Why a listener's TLS could not be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file is missing, unreadable, or not PEM.
    #[error("{}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the PEM reader says.
        cause: pem::Error,
    },
    /// A file was read and has no certificate in it.
    #[error("{}: no certificate in it", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A certificate of the client CA file cannot be an authority.
    #[error("{}: not usable as a certificate authority: {cause}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        cause: rustls::Error,
    },
    /// The verifier of client certificates could not be built.
    #[error("client certificates cannot be verified: {0}")]
    Verifier(VerifierBuilderError),
    /// The certificate and the key do not belong together, or one of them is of a kind that TLS does not take.
    #[error("{} and {} do not work together: {cause}", certificate.display(), key.display())]
    KeyPair {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What rustls says.
        cause: rustls::Error,
    },
    /// No version is allowed, or the provider has no cipher suite for those that are.
    #[error("the list of TLS versions leaves nothing to speak: {0}")]
    Versions(rustls::Error),
}

/// Builds the configuration of a listener that speaks mutual TLS.
///
/// # Errors
/// When a file cannot be used; the message names it.
pub fn server_config(files: &TlsFiles, versions: &[TlsVersion], alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = read_certificates(&files.certificate_chain)?;
    let key = PrivateKeyDer::from_pem_file(&files.private_key)
        .map_err(|cause| TlsError::Unreadable { path: files.private_key.clone(), cause })?;
    let verifier = client_verifier(&files.client_ca)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&supported(versions))
        .map_err(TlsError::Versions)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|cause| TlsError::KeyPair {
            certificate: files.certificate_chain.clone(),
            key: files.private_key.clone(),
            cause,
        })?;
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    forbid_resumption(&mut config);
    Ok(Arc::new(config))
}

/// A resumed handshake brings the chain of an earlier one, and rustls does not verify it again: neither its validity
/// nor its CA as they are now. Invariant 3 wants that, so every handshake is a full one until issue F verifies the
/// stored chain itself.
fn forbid_resumption(config: &mut ServerConfig) {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
}

fn supported(versions: &[TlsVersion]) -> Vec<&'static SupportedProtocolVersion> {
    let mut supported = Vec::with_capacity(2);
    if versions.contains(&TlsVersion::V1_3) {
        supported.push(&rustls::version::TLS13);
    }
    if versions.contains(&TlsVersion::V1_2) {
        supported.push(&rustls::version::TLS12);
    }
    supported
}

fn client_verifier(client_ca: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(client_ca)? {
        roots.add(certificate).map_err(|cause| TlsError::Authority { path: client_ca.to_owned(), cause })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().map_err(TlsError::Verifier)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |cause| TlsError::Unreadable { path: path.to_owned(), cause };
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(certificates)
}
