//! The development CA: makes an authority, certificates for the broker and for parties, and reads certificates for a
//! person to see.
//!
//! It is made for development and tests: its key lies beside the certificates. Who runs Quorate for real brings
//! certificates of their own. Files in a certificates folder: `ca.pem`, `ca.key.pem`, `{name}.pem`, `{name}.key.pem`;
//! keys have mode 0600, and nothing is overwritten unless that was asked for.

use std::path::{Path, PathBuf};

use quorate_domain::{PartyId, PartyIdError, Sha256};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use thiserror::Error;
use time::OffsetDateTime;

mod describe;
mod files;
mod folder;
#[cfg(test)]
mod tests;

pub use describe::{CertificateSummary, DescribeError, describe, rfc3339};
pub use folder::{Existing, FolderEntry, FolderPlan, Outcome, fill_folder};

/// The file name, without `.pem`, of the authority in a certificates folder.
pub const CA_NAME: &str = "ca";
/// How long a development authority is valid, in days.
pub const CA_DAYS: u32 = 3650;
/// How long a certificate is valid, in days, unless another number is named.
pub const LEAF_DAYS_DEFAULT: u32 = 365;
/// The longest validity, in days, that can be asked for.
pub const DAYS_MAX: u32 = 3650;
/// The names of a server certificate unless others are named.
pub const SERVER_NAMES_DEFAULT: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// How far in the past a new certificate begins, so that a clock that is a little late takes it.
const NOT_BEFORE_SLACK: time::Duration = time::Duration::hours(1);

/// Why the authority could not do what was asked.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// A file is there already; nothing was changed.
    #[error("{} exists already; nothing was overwritten", .0.display())]
    Exists(PathBuf),
    /// One half of a certificate and its key is there, the other is not.
    #[error("{} exists, but {} does not; move it away, or make both anew", present.display(), missing.display())]
    Half {
        /// The file that is there.
        present: PathBuf,
        /// The file that belongs to it.
        missing: PathBuf,
    },
    /// There is no authority in the folder.
    #[error("{} does not exist; `quorate certs init` makes an authority there", .0.display())]
    NoAuthority(PathBuf),
    /// A file or folder cannot be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        cause: std::io::Error,
    },
    /// A file of the authority does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The CN is not a party id.
    #[error("{name:?} cannot be the CN of a certificate: {cause}")]
    Name {
        /// What was asked for.
        name: String,
        /// What is wrong with it.
        cause: PartyIdError,
    },
    /// The name would give a file that means something else in a certificates folder.
    #[error("a certificate cannot be called {0:?}: its files would be taken for those of another")]
    ReservedName(String),
    /// The validity is out of range.
    #[error("a certificate is valid for 1 to {DAYS_MAX} days, not {0}")]
    Days(u32),
    /// A name of a server certificate is neither a DNS name nor an IP address.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    ServerName(String),
    /// A server certificate without any name would fit no server.
    #[error("a server certificate needs at least one DNS name or IP address")]
    NoServerName,
    /// Making the key or the signature failed.
    #[error("the certificate could not be made: {0}")]
    Signing(rcgen::Error),
}

/// Not derived: every message here tells its cause itself, and a `source` beside it would be printed twice.
impl From<rcgen::Error> for AuthorityError {
    fn from(error: rcgen::Error) -> Self {
        AuthorityError::Signing(error)
    }
}

/// A certificate authority whose key is at hand.
#[derive(Debug)]
pub struct Authority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate.
    pub certificate_pem: String,
    /// Its key (PKCS #8).
    pub key_pem: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Issued").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// When a certificate begins and ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Validity {
    pub(crate) from: OffsetDateTime,
    pub(crate) to: OffsetDateTime,
}

impl Validity {
    fn days(days: u32) -> Result<Validity, AuthorityError> {
        if !(1..=DAYS_MAX).contains(&days) {
            return Err(AuthorityError::Days(days));
        }
        let now = OffsetDateTime::now_utc();
        Ok(Validity { from: now - NOT_BEFORE_SLACK, to: now + time::Duration::days(days.into()) })
    }
}

impl Authority {
    /// Makes a new authority (ECDSA P-256) and writes it into `dir`, which is made where it is missing.
    ///
    /// # Errors
    /// [`AuthorityError::Exists`] where the folder has an authority; it is never replaced.
    pub fn create(dir: &Path) -> Result<Authority, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(&[authority_name(&key)], Validity::days(CA_DAYS)?);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key)?.pem();
        let issued = Issued { certificate_pem: certificate_pem.clone(), key_pem: key.serialize_pem() };
        files::create_folder(dir)?;
        files::write_new(dir, CA_NAME, &issued)?;
        Ok(Authority { certificate_pem, issuer: Issuer::new(params, key) })
    }

    /// Opens the authority that [`Authority::create`] wrote into `dir`.
    ///
    /// # Errors
    /// When a file is missing or does not hold a certificate or a key, or the two do not belong together.
    pub fn open(dir: &Path) -> Result<Authority, AuthorityError> {
        let paths = files::pair(dir, CA_NAME);
        if !paths.certificate.exists() {
            return Err(AuthorityError::NoAuthority(paths.certificate));
        }
        let certificate_pem = files::read(&paths.certificate)?;
        let key = KeyPair::from_pem(&files::read(&paths.key)?)
            .map_err(|error| AuthorityError::Unusable { path: paths.key.clone(), reason: error.to_string() })?;
        let described = describe(certificate_pem.as_bytes())
            .map_err(|error| AuthorityError::Unusable { path: paths.certificate.clone(), reason: error.to_string() })?;
        if !described.first().is_some_and(|ca| ca.public_key_is(key.public_key_raw())) {
            return Err(AuthorityError::Unusable {
                path: paths.key,
                reason: "not the key of the certificate beside it".to_owned(),
            });
        }
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key)
            .map_err(|error| AuthorityError::Unusable { path: paths.certificate, reason: error.to_string() })?;
        Ok(Authority { certificate_pem, issuer })
    }

    /// The authority's own certificate: what peers trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Issues a client certificate for a party.
    ///
    /// # Errors
    /// When `cn` is not a party id, or `days` is out of range.
    pub fn issue_party(&self, cn: &str, days: u32) -> Result<Issued, AuthorityError> {
        let cn = checked_name(cn)?;
        self.sign_leaf(params(&[cn], Validity::days(days)?), ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// Issues a server certificate for `names` (DNS names and IP addresses).
    ///
    /// # Errors
    /// When `cn` is not a party id, a name is malformed or none is given, or `days` is out of range.
    pub fn issue_server(&self, cn: &str, names: &[String], days: u32) -> Result<Issued, AuthorityError> {
        let mut params = params(&[checked_name(cn)?], Validity::days(days)?);
        if names.is_empty() {
            return Err(AuthorityError::NoServerName);
        }
        params.subject_alt_names = names.iter().map(|name| server_name(name)).collect::<Result<Vec<_>, _>>()?;
        self.sign_leaf(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Issues a client certificate with any subject CNs, also such as the broker must refuse: none, several, or no
    /// party id. For tests; nothing else calls it.
    ///
    /// # Errors
    /// When the key or the signature cannot be made.
    pub fn issue_danger_unchecked(&self, common_names: &[&str]) -> Result<Issued, AuthorityError> {
        self.issue_with_validity(common_names, Validity::days(LEAF_DAYS_DEFAULT)?)
    }

    pub(crate) fn issue_with_validity(
        &self,
        common_names: &[&str],
        validity: Validity,
    ) -> Result<Issued, AuthorityError> {
        let names: Vec<String> = common_names.iter().map(|&name| name.to_owned()).collect();
        self.sign_leaf(params(&names, validity), ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign_leaf(
        &self,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Issued, AuthorityError> {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

impl Issued {
    /// Writes `{name}.pem` and `{name}.key.pem` (mode 0600) into `dir`.
    ///
    /// # Errors
    /// [`AuthorityError::Exists`] where one of them is there.
    pub fn write(&self, dir: &Path, name: &str) -> Result<(), AuthorityError> {
        files::write_new(dir, &checked_name(name)?, self)
    }

    /// Writes them over what is there.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn replace(&self, dir: &Path, name: &str) -> Result<(), AuthorityError> {
        files::write_over(dir, &checked_name(name)?, self)
    }
}

/// A CN that is a party id and whose files can be told from others in the folder.
fn checked_name(name: &str) -> Result<String, AuthorityError> {
    PartyId::new(name).map_err(|cause| AuthorityError::Name { name: name.to_owned(), cause })?;
    if name == CA_NAME || name.ends_with(".key") {
        return Err(AuthorityError::ReservedName(name.to_owned()));
    }
    Ok(name.to_owned())
}

/// Two development authorities have different names, so that a certificate of the wrong one is told as such.
fn authority_name(key: &KeyPair) -> String {
    let digest = Sha256::of(key.public_key_raw());
    let [a, b, c, d, ..] = digest.0;
    format!("Quorate development CA {a:02x}{b:02x}{c:02x}{d:02x}")
}

fn params(common_names: &[String], validity: Validity) -> CertificateParams {
    let mut subject = DistinguishedName::new();
    for (index, name) in common_names.iter().enumerate() {
        subject.push(common_name_type(index), name.as_str());
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.not_before = validity.from;
    params.not_after = validity.to;
    params
}

/// rcgen keeps one value a type; the second CN of a test certificate goes by its object identifier.
fn common_name_type(index: usize) -> DnType {
    if index == 0 { DnType::CommonName } else { DnType::CustomDnType(vec![2, 5, 4, 3]) }
}

fn server_name(name: &str) -> Result<rcgen::SanType, AuthorityError> {
    if let Ok(address) = name.parse() {
        return Ok(rcgen::SanType::IpAddress(address));
    }
    // rustls' own reading of a DNS name: what it would not accept from a client must not be certified.
    rustls::pki_types::DnsName::try_from(name).map_err(|_| AuthorityError::ServerName(name.to_owned()))?;
    name.try_into().map(rcgen::SanType::DnsName).map_err(|_| AuthorityError::ServerName(name.to_owned()))
}
