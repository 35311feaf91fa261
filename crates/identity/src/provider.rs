//! The cryptography that TLS uses here: aws-lc-rs, named explicitly and never taken from a process-wide default.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};

/// aws-lc-rs with the hybrid post-quantum group first: recorded traffic stays closed to a later quantum computer
/// wherever the client can do the same.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..default_provider()
    })
}
