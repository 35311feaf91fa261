//! By what a connection's party is known: by its certificate, or on a listener that is named dangerous by nothing but
//! the client's own word. These are the only two ways to a `PartyId` (invariant 3), and the second needs a
//! [`DangerAnonymous`], which exists for loopback addresses alone.

use std::net::{IpAddr, SocketAddr};

use quorate_domain::{Author, PartyId, Sha256};
use thiserror::Error;

use crate::peer::Peer;

/// Bytes of the SHA-256 by which a client is named whose identifier names no party: enough that no two of them meet.
const ANONYMOUS_BYTES: usize = 16;

/// How the party of one connection is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identification {
    /// The TLS handshake proved it.
    Certificate(Peer),
    /// Nothing proves it: the client identifier of its CONNECT is taken for its name, or stands for one.
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

    /// The party that a client claims to be; where its identifier is no party id, one that is named after it. In the
    /// place of a certificate's sum stands the SHA-256 of no bytes (`e3b0c442...`), which is the sum of no certificate.
    fn author(&self, client_id: &str) -> Author {
        let party = PartyId::new(client_id).unwrap_or_else(|_| anonymous(client_id));
        Author { party, certificate: Sha256::of(&[]) }
    }
}

fn anonymous(client_id: &str) -> PartyId {
    let Sha256(sum) = Sha256::of(client_id.as_bytes());
    let name = format!("anonymous-{}", hex::encode(&sum[..ANONYMOUS_BYTES]));
    PartyId::new(&name).expect("41 letters and digits and a dash are a party id")
}

impl Identification {
    /// Who speaks, once the client has said its identifier. Where it says none, `client_id` is the one that the broker
    /// gives it.
    pub fn author(&self, client_id: &str) -> Author {
        match self {
            Identification::Certificate(peer) => peer.author(),
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

    fn author(client_id: &str) -> Author {
        Identification::DangerAnonymous(danger()).author(client_id)
    }

    #[test]
    fn a_client_that_proves_nothing_is_who_it_says_and_has_the_sum_of_no_certificate() {
        let author = author("alice");
        assert_eq!(author.party.as_str(), "alice");
        assert_eq!(
            author.certificate.to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn an_identifier_that_names_no_party_stands_for_one_of_its_own() {
        // The first half of `printf 'a/b' | sha256sum`.
        assert_eq!(author("a/b").party.as_str(), "anonymous-c14cddc033f64b9dea80ea675cf280a0");
        let mut parties = Vec::new();
        for client_id in ["-dash", "with spaces", "a/b", "\u{1F511}", &"x".repeat(65), &"x".repeat(66)] {
            assert_eq!(author(client_id), author(client_id), "{client_id:?} is the same party each time");
            parties.push(author(client_id).party);
        }
        parties.sort();
        parties.dedup();
        assert_eq!(parties.len(), 6);
    }
}
