//! The last word: ed25519-dalek, which knows nothing of FROST, judges the signature.

use anyhow::{Context, ensure};
use ed25519_dalek::{Signature, VerifyingKey};

/// Checks that `signature` is an ordinary Ed25519 signature of `message`, and that one changed byte makes it fail.
pub fn verify(key: &[u8], message: &[u8], signature: &[u8]) -> anyhow::Result<()> {
    let key: [u8; 32] = key.try_into().context("an Ed25519 public key has 32 bytes")?;
    let key = VerifyingKey::from_bytes(&key).context("not an Ed25519 public key")?;
    let signature = Signature::from_slice(signature).context("an Ed25519 signature has 64 bytes")?;
    key.verify_strict(message, &signature).context("the signature is not valid")?;
    for at in 0..message.len() {
        let mut altered = message.to_vec();
        altered[at] ^= 1;
        ensure!(key.verify_strict(&altered, &signature).is_err(), "the signature holds for an altered message");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;

    #[test]
    fn only_the_signed_message_verifies() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let signature = key.sign(b"pay 10").to_bytes();
        verify(key.verifying_key().as_bytes(), b"pay 10", &signature).expect("valid");
        assert!(verify(key.verifying_key().as_bytes(), b"pay 90", &signature).is_err());
    }
}
