//! Who a client is: its certificate chain, its private key, and the CA that it trusts to name the server.
//!
//! This is the client's own side of TLS; the server's side lives in `quorate-identity`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::{TLS12, TLS13},
};

use crate::IdentityError;

/// A party's certificate, key and trusted CA, checked to fit together.
#[derive(Clone)]
pub struct Identity {
    tls: Arc<ClientConfig>,
}

impl Identity {
    /// Reads `ca.pem`, `{name}.pem` and `{name}.key.pem` from `certs_dir`.
    pub fn load(certs_dir: &Path, name: &str) -> Result<Self, IdentityError> {
        let ca = read(certs_dir.join("ca.pem"))?;
        let chain = read(certs_dir.join(format!("{name}.pem")))?;
        let key = read(certs_dir.join(format!("{name}.key.pem")))?;
        Self::from_pem(&ca, &chain, &key)
    }

    /// Takes the three parts as PEM: the CA's certificates, the party's chain (leaf first), its private key.
    pub fn from_pem(ca: &[u8], chain: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("CA certificate", ca)? {
            roots.add(certificate)?;
        }
        let chain = certificates("certificate chain", chain)?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| IdentityError::Pem { what: "private key", cause: error.to_string() })?;
        // The provider is named here: a process-wide default could be set by any other crate in the process.
        let tls = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Self { tls: Arc::new(tls) })
    }

    /// The TLS configuration for an MQTT connection.
    pub(crate) fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.tls)
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Identity(..)")
    }
}

/// aws-lc-rs with the hybrid post-quantum group first: what is recorded today must not be readable later.
fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![
            aws_lc_rs::kx_group::X25519MLKEM768,
            aws_lc_rs::kx_group::X25519,
            aws_lc_rs::kx_group::SECP256R1,
            aws_lc_rs::kx_group::SECP384R1,
        ],
        ..aws_lc_rs::default_provider()
    }
}

fn read(path: PathBuf) -> Result<Vec<u8>, IdentityError> {
    fs::read(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => IdentityError::Missing(path),
        _ => IdentityError::Read { path, source },
    })
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| IdentityError::Pem { what, cause: error.to_string() })?;
    match found.is_empty() {
        true => Err(IdentityError::Pem { what, cause: "it is empty".to_owned() }),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = Identity::load(folder.path(), "alice").expect_err("nothing there");
        assert!(matches!(&error, IdentityError::Missing(path) if path.ends_with("ca.pem")), "{error}");
    }

    #[test]
    fn text_that_is_not_pem_is_refused() {
        let error = Identity::from_pem(b"hello", b"", b"").expect_err("no PEM");
        assert!(matches!(error, IdentityError::Pem { what: "CA certificate", .. }), "{error}");
    }

    #[test]
    fn the_post_quantum_group_comes_first() {
        assert_eq!(provider().kx_groups[0].name(), rustls::NamedGroup::X25519MLKEM768);
    }
}
