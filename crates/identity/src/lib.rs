//! Who is speaking: TLS on the broker's side, and the way from a verified certificate to a `PartyId`.
//!
//! It owns the server's rustls configuration (`server`), the handshake under a timeout (`accept`), the one place that
//! reads a party out of a certificate (`peer`), what a connection is told apart by (`identification`: a certificate, or
//! on a listener that is named dangerous the client's own word), and the development CA (`authority`). What a party may
//! do is `quorate-domain`'s matter; the client's side of TLS is `quorate-client`'s.

#![warn(missing_docs)]

mod accept;
pub mod authority;
mod identification;
mod peer;
mod provider;
mod server;
#[cfg(test)]
mod tests;

pub use accept::{AcceptError, accept};
pub use identification::{DangerAnonymous, Identification, NotLoopback};
pub use peer::{IdentityError, Peer, peer_of_chain};
pub use server::{TlsError, TlsFiles, TlsVersion, server_config};
