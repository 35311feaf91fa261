//! By what a connection's party is known: by its certificate, or on a listener that is named dangerous by nothing but
//! the client's own word. These are the only two ways to a `PartyId` (invariant 3), and the second needs a
//! [`DangerAnonymous`], which exists for loopback addresses alone.

use std::net::{IpAddr, SocketAddr};

use quorate_domain::{Author, PartyId, PartyIdError, Sha256};
use thiserror::Error;

use crate::peer::Peer;

/// How the party of one connection is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identification {
    /// The TLS handshake proved it.
    Certificate(Peer),
    /// Nothing proves it: the client identifier of its CONNECT is taken for its name.
    DangerAnonymous(DangerAnonymous),
}

/// Leave to take the client's word for who it is, on one address. Holding one means that the address is a loopback
/// address: whoever can say anything there has a login on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DangerAnonymous {
    address: SocketAddr,
}

/// The address can be reached from other machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0} is not a loopback address (127.0.0.0/8 or ::1)")]
pub struct NotLoopback(IpAddr);

impl DangerAnonymous {
    /// Leave for a listener at `address`.
    ///
    /// # Errors
    /// When `address` is not a loopback address.
    pub fn on(address: SocketAddr) -> Result<DangerAnonymous, NotLoopback> {
        match address.ip().is_loopback() {
            true => Ok(DangerAnonymous { address }),
            false => Err(NotLoopback(address.ip())),
        }
    }

    /// The one address for which it holds.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The party that a client claims to be. In the place of a certificate's sum stands the SHA-256 of no bytes
    /// (`e3b0c442...`), which is the sum of no certificate.
    fn author(&self, client_id: &str) -> Result<Author, PartyIdError> {
        Ok(Author { party: PartyId::new(client_id)?, certificate: Sha256::of(&[]) })
    }
}

impl Identification {
    /// Who speaks, once the client has said its identifier.
    ///
    /// # Errors
    /// When the identifier is all there is, and it is no party id; an empty one is none.
    pub fn author(&self, client_id: &str) -> Result<Author, PartyIdError> {
        match self {
            Identification::Certificate(peer) => Ok(peer.author()),
            Identification::DangerAnonymous(danger) => danger.author(client_id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn danger() -> DangerAnonymous {
        DangerAnonymous::on("127.0.0.1:1883".parse().expect("an address")).expect("a loopback address")
    }

    #[test]
    fn a_clients_word_counts_on_loopback_addresses_alone() {
        for (address, counts) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("192.168.0.1:1", false),
            ("[::ffff:192.168.0.1]:1", false),
            ("[fe80::1]:1", false),
        ] {
            let leave = DangerAnonymous::on(address.parse().expect("an address"));
            assert_eq!(leave.is_ok(), counts, "{address}");
        }
    }

    #[test]
    fn a_client_that_proves_nothing_is_who_it_says_and_has_the_sum_of_no_certificate() {
        let author = Identification::DangerAnonymous(danger()).author("alice").expect("a party");
        assert_eq!(author.party.as_str(), "alice");
        assert_eq!(
            author.certificate.to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for client_id in ["", "-dash", "with spaces", "a/b", &"x".repeat(65)] {
            assert!(Identification::DangerAnonymous(danger()).author(client_id).is_err(), "{client_id:?}");
        }
    }
}
