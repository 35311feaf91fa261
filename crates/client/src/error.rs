//! What can go wrong with a connection and with an identity. The API's errors are in [`crate::api`], the envelope's in
//! [`crate::envelope`].

use std::{io, path::PathBuf};

use quorate_wire::ReasonCode;

/// Why a call on a [`crate::Client`] failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The name that the server's certificate must carry is not a host name or address.
    #[error("\"{0}\" is not a server name: give a host name or an IP address")]
    ServerName(String),
    /// No TCP connection.
    #[error("cannot connect to {address}: {cause}")]
    Connect {
        /// Host and port that were tried.
        address: String,
        /// What the system said.
        cause: String,
    },
    /// The TLS handshake failed: either side did not accept the other's certificate, or there is no TLS there.
    #[error("TLS with {address} failed: {cause}")]
    Tls {
        /// Host and port.
        address: String,
        /// What rustls said.
        cause: String,
    },
    /// The server did not answer in time.
    #[error("no answer to {0} in time")]
    Timeout(&'static str),
    /// The server answered with a refusal (CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK).
    #[error("refused: {code}{}", reason.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused {
        /// The reason code.
        code: ReasonCode,
        /// The reason string, where the server sent one.
        reason: Option<String>,
    },
    /// The connection is over. What was not acknowledged may or may not have been taken.
    #[error("connection lost: {cause}{}{}",
        code.map(|code| format!(": {code}")).unwrap_or_default(),
        reason.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
    ConnectionLost {
        /// The reason code of the server's DISCONNECT, where it sent one.
        code: Option<ReasonCode>,
        /// The reason string of the server's DISCONNECT, where it sent one.
        reason: Option<String>,
        /// How it ended, for a person.
        cause: String,
    },
    /// The packet would be larger than the server takes.
    #[error("the packet has {bytes} bytes, and the server takes {bytes_max}")]
    TooLarge {
        /// Bytes of the packet.
        bytes: usize,
        /// The server's limit.
        bytes_max: usize,
    },
    /// The packet cannot be encoded: a text is too long, say.
    #[error("cannot encode the packet: {0}")]
    Encode(String),
    /// The message came over another connection: its packet identifier means nothing on this one.
    #[error("the message came over another connection and can only be acknowledged there")]
    StaleMessage,
}

/// Why an [`crate::Identity`] could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file is not there.
    #[error("{0} does not exist")]
    Missing(PathBuf),
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no certificate or key where one is needed, or it is not PEM.
    #[error("{what}: no usable PEM block ({cause})")]
    Pem {
        /// Which of the three parts.
        what: &'static str,
        /// What the parser said.
        cause: String,
    },
    /// rustls does not accept the parts: the key does not fit the certificate, say.
    #[error("certificate, key and CA do not make a TLS client: {0}")]
    Tls(#[from] rustls::Error),
}
