//! The one place where a certificate becomes a party (invariant 3).
//!
//! It trusts that the chain was verified for this connection; it decides only what name the leaf carries.

use quorate_domain::{Author, PartyId, PartyIdError, Sha256, UnixMs};
use rustls::pki_types::CertificateDer;
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

/// The other side of a connection, as its certificate names it. Only [`peer_of_chain`] makes one: no other crate can.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The subject CN.
    pub party: PartyId,
    /// SHA-256 of the leaf's DER.
    pub certificate: Sha256,
    /// When the leaf ends, in Unix milliseconds.
    pub not_after: UnixMs,
}

impl Peer {
    /// The peer as the author of what it publishes.
    pub fn author(&self) -> Author {
        Author { party: self.party.clone(), certificate: self.certificate }
    }
}

/// Why a verified certificate names no party.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The peer presented no certificate.
    #[error("no client certificate was presented")]
    NoCertificate,
    /// The leaf is not DER that can be read.
    #[error("the client certificate cannot be read: {0}")]
    Malformed(String),
    /// The subject has no CN.
    #[error("the subject of the client certificate ({subject:?}) has no CN; the CN is the party's name")]
    NoCommonName {
        /// The subject as a line.
        subject: String,
    },
    /// The subject has more than one CN, so that the name would depend on who reads it.
    #[error("the subject of the client certificate ({subject:?}) has {count} CNs; exactly one must name the party")]
    ManyCommonNames {
        /// The subject as a line.
        subject: String,
        /// How many there are.
        count: usize,
    },
    /// The CN is not text, or not one of the encodings that can be compared byte for byte.
    #[error("the CN of the client certificate is not plain text")]
    NotText,
    /// The CN is not a party id.
    #[error("the CN {common_name:?} of the client certificate is not a party id: {cause}")]
    NotAParty {
        /// The CN, escaped where it is printed.
        common_name: String,
        /// What is wrong with it.
        cause: PartyIdError,
    },
}

/// Reads the party out of a verified chain (leaf first).
///
/// # Errors
/// When the leaf does not have exactly one CN that is a valid party id.
pub fn peer_of_chain(chain: &[CertificateDer<'_>]) -> Result<Peer, IdentityError> {
    let leaf = chain.first().ok_or(IdentityError::NoCertificate)?;
    let certificate = parse(leaf)?;
    Ok(Peer {
        party: party_of_subject(certificate.subject())?,
        certificate: Sha256::of(leaf),
        not_after: unix_ms(certificate.validity().not_after.timestamp()),
    })
}

/// The certificate behind `der`, and nothing after it.
pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, IdentityError> {
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|error| IdentityError::Malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(IdentityError::Malformed(format!("{} bytes follow it", rest.len())));
    }
    Ok(certificate)
}

pub(crate) fn party_of_subject(subject: &X509Name<'_>) -> Result<PartyId, IdentityError> {
    let mut names = subject.iter_common_name();
    let name = names.next().ok_or_else(|| IdentityError::NoCommonName { subject: subject.to_string() })?;
    let further = names.count();
    if further > 0 {
        return Err(IdentityError::ManyCommonNames { subject: subject.to_string(), count: further + 1 });
    }
    let name = name.as_str().map_err(|_| IdentityError::NotText)?;
    PartyId::new(name).map_err(|cause| IdentityError::NotAParty { common_name: name.to_owned(), cause })
}

/// Seconds since the epoch as X.509 has them; before the epoch counts as the epoch.
pub(crate) fn unix_ms(seconds: i64) -> UnixMs {
    UnixMs(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
}
