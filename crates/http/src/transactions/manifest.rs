//! The manifest as the API shows it: as it was stored, without its payload (invariant 10). What is to be signed is told
//! by its length and its digest.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use quorate_backbone::ReadLimit;
use quorate_domain::{Seq, Sha256, Transaction};
use serde_json::{Map, Value};

use crate::Api;
use crate::problem::Problem;

/// The manifest is the first record of its log.
const MANIFEST_ONLY: ReadLimit = ReadLimit { messages: 1, bytes: 0 };

/// Reads it. Whoever may see a transaction may see its manifest, so it is read with its initiator's eyes, who always may.
pub(crate) async fn shown_manifest(api: &Api, transaction: &Transaction) -> Result<Map<String, Value>, Problem> {
    let charter = &transaction.charter;
    let page = api.backbone.log.read(&charter.tx, &charter.initiator, Seq::ZERO, MANIFEST_ONLY).await?;
    let first = page.messages.first().ok_or_else(|| Problem::fault("a transaction without a manifest in its log"))?;
    let stored = serde_json::from_slice(&first.message.payload)
        .map_err(|error| Problem::fault(format!("a stored manifest is not JSON: {error}")))?;
    Ok(without_payload(stored))
}

fn without_payload(mut manifest: Map<String, Value>) -> Map<String, Value> {
    let payload = match manifest.remove("payload") {
        Some(Value::String(text)) => STANDARD.decode(text).ok(),
        _ => None,
    };
    if let Some(payload) = payload {
        manifest.insert("payload_bytes".to_owned(), payload.len().into());
        manifest.insert("payload_digest".to_owned(), Sha256::of(&payload).to_string().into());
    }
    manifest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(manifest: Value) -> Value {
        let Value::Object(fields) = manifest else {
            panic!("a manifest is an object");
        };
        Value::Object(without_payload(fields))
    }

    #[test]
    fn a_payload_is_shown_as_length_and_digest() {
        let shown = shown(json!({ "tx": "t", "payload": "aGVsbG8=", "payload_digest": null }));
        assert_eq!(shown, json!({ "tx": "t", "payload_bytes": 5, "payload_digest": Sha256::of(b"hello").to_string() }));
    }

    #[test]
    fn a_digest_without_a_payload_stays() {
        let shown = shown(json!({ "payload": null, "payload_digest": "sha256:00" }));
        assert_eq!(shown, json!({ "payload_digest": "sha256:00" }));
    }
}
