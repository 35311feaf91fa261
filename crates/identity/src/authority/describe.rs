//! What a certificate says, for a person or a program to read. It verifies nothing.

use std::net::{Ipv4Addr, Ipv6Addr};

use quorate_domain::{PartyId, Sha256, UnixMs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName};
use x509_parser::prelude::X509Certificate;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name};

use crate::peer::{IdentityError, parse, party_of_subject, unix_ms};

/// Why a file could not be described.
#[derive(Debug, Error)]
pub enum DescribeError {
    /// It is not PEM.
    #[error("not a PEM file: {0}")]
    NotPem(pem::Error),
    /// It has no certificate in it; a key, for example.
    #[error("no certificate in it")]
    NoCertificate,
    /// A certificate in it cannot be read.
    #[error(transparent)]
    Malformed(#[from] IdentityError),
}

/// What one certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSummary {
    /// The CNs of the subject; a party's certificate has exactly one.
    pub common_names: Vec<String>,
    /// The whole subject as a line.
    pub subject: String,
    /// Which party the broker would take the bearer for, or why for none. Of an authority it says nothing of use.
    pub party: Result<PartyId, String>,
    /// The issuer as a line.
    pub issuer: String,
    /// When it begins.
    pub not_before: UnixMs,
    /// When it ends.
    pub not_after: UnixMs,
    /// SHA-256 of its DER: what deliveries call `quorate-cert`.
    pub fingerprint: Sha256,
    /// Whether it may sign certificates.
    pub is_authority: bool,
    /// What it may be used for, as OpenSSL names the purposes (`clientAuth`, ...); empty: not restricted.
    pub usages: Vec<String>,
    /// The DNS names and IP addresses of a server.
    pub names: Vec<String>,
    /// The kind of its key.
    pub key_algorithm: String,
    public_key: Vec<u8>,
}

impl CertificateSummary {
    /// Whether the certificate is for this raw public key.
    pub(super) fn public_key_is(&self, raw: &[u8]) -> bool {
        self.public_key == raw
    }
}

/// Describes every certificate in a PEM file, in its order.
///
/// # Errors
/// When there is none, or one cannot be read.
pub fn describe(pem: &[u8]) -> Result<Vec<CertificateSummary>, DescribeError> {
    let mut summaries = Vec::new();
    for der in CertificateDer::pem_slice_iter(pem) {
        let der = der.map_err(DescribeError::NotPem)?;
        summaries.push(summary(&der, &parse(&der)?));
    }
    if summaries.is_empty() {
        return Err(DescribeError::NoCertificate);
    }
    Ok(summaries)
}

/// A moment as RFC 3339 has it, in UTC and to the second.
pub fn rfc3339(at: UnixMs) -> String {
    let moment = i64::try_from(at.0 / 1000).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    match moment {
        Some(moment) => format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            moment.year(),
            u8::from(moment.month()),
            moment.day(),
            moment.hour(),
            moment.minute(),
            moment.second()
        ),
        None => "after the year 9999".to_owned(),
    }
}

fn summary(der: &CertificateDer<'_>, certificate: &X509Certificate<'_>) -> CertificateSummary {
    let subject = certificate.subject();
    CertificateSummary {
        common_names: common_names(subject),
        subject: subject.to_string(),
        party: party_of_subject(subject).map_err(|error| error.to_string()),
        issuer: certificate.issuer().to_string(),
        not_before: unix_ms(certificate.validity().not_before.timestamp()),
        not_after: unix_ms(certificate.validity().not_after.timestamp()),
        fingerprint: Sha256::of(der),
        is_authority: certificate.is_ca(),
        usages: usages(certificate),
        names: server_names(certificate),
        key_algorithm: key_algorithm(certificate.public_key()),
        public_key: certificate.public_key().subject_public_key.data.to_vec(),
    }
}

fn common_names(subject: &X509Name<'_>) -> Vec<String> {
    subject
        .iter_common_name()
        .map(|name| name.as_str().map_or_else(|_| "(not plain text)".to_owned(), str::to_owned))
        .collect()
}

fn usages(certificate: &X509Certificate<'_>) -> Vec<String> {
    match certificate.extended_key_usage() {
        Ok(Some(extension)) => extended_usages(extension.value),
        Ok(None) => Vec::new(),
        Err(_) => vec!["(unreadable)".to_owned()],
    }
}

fn extended_usages(usage: &ExtendedKeyUsage<'_>) -> Vec<String> {
    let named = [
        (usage.any, "anyExtendedKeyUsage"),
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
    ];
    named
        .iter()
        .filter(|(present, _)| *present)
        .map(|(_, name)| (*name).to_owned())
        .chain(usage.other.iter().map(|oid| oid.to_id_string()))
        .collect()
}

fn server_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    match certificate.subject_alternative_name() {
        Ok(Some(extension)) => extension.value.general_names.iter().map(general_name).collect(),
        Ok(None) => Vec::new(),
        Err(_) => vec!["(unreadable)".to_owned()],
    }
}

fn general_name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => ip_address(bytes),
        other => other.to_string(),
    }
}

fn ip_address(bytes: &[u8]) -> String {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ipv4Addr::from(octets).to_string();
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(octets) => Ipv6Addr::from(octets).to_string(),
        Err(_) => "(malformed address)".to_owned(),
    }
}

fn key_algorithm(key: &SubjectPublicKeyInfo<'_>) -> String {
    /// Ed25519's object identifier (RFC 8410).
    const ED25519: &str = "1.3.101.112";
    let id = key.algorithm.algorithm.to_id_string();
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => format!("RSA {}", rsa.key_size()),
        Ok(PublicKey::EC(point)) => match point.key_size() {
            256 => "ECDSA P-256".to_owned(),
            384 => "ECDSA P-384".to_owned(),
            size => format!("ECDSA {size}"),
        },
        _ if id == ED25519 => "Ed25519".to_owned(),
        _ => id,
    }
}
