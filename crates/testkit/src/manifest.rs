//! Manifests, with everything that a test does not care about filled in.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use ulid::Ulid;

/// A manifest in the making. The parties must all sign, the first of them is the initiator, and the id is random.
#[derive(Debug, Clone)]
pub struct ManifestBuilder {
    fields: Map<String, Value>,
}

/// Begins a manifest for `parties`.
pub fn manifest(parties: &[&str]) -> ManifestBuilder {
    let fields = Map::from_iter([
        ("tx".to_owned(), json!(Ulid::new().to_string())),
        ("initiator".to_owned(), json!(parties.first())),
        ("protocol".to_owned(), json!("test")),
        ("parties".to_owned(), json!(parties)),
        ("threshold".to_owned(), json!(parties.len())),
    ]);
    ManifestBuilder { fields }
}

impl ManifestBuilder {
    /// Sets any field, also one that no manifest has.
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Sets the id.
    pub fn with_tx(self, tx: &str) -> Self {
        self.field("tx", tx)
    }

    /// Sets the initiator.
    pub fn initiator(self, cn: &str) -> Self {
        self.field("initiator", cn)
    }

    /// Sets how many signers suffice.
    pub fn threshold(self, threshold: u16) -> Self {
        self.field("threshold", threshold)
    }

    /// Lets it run at once, without joins.
    pub fn without_join(self) -> Self {
        self.field("require_join", false)
    }

    /// Lets as many equal results as the threshold complete it.
    pub fn complete_at_threshold(self) -> Self {
        self.field("complete_when", "threshold")
    }

    /// The id.
    pub fn tx(&self) -> &str {
        self.fields.get("tx").and_then(Value::as_str).unwrap_or_default()
    }

    /// The topic to publish it on.
    pub fn topic(&self) -> String {
        format!("tx/{}/manifest", self.tx())
    }

    /// The bytes to publish.
    pub fn json(&self) -> Bytes {
        Bytes::from(self.value().to_string())
    }

    /// The manifest as JSON: what the HTTP API takes.
    pub fn value(&self) -> Value {
        Value::Object(self.fields.clone())
    }
}

#[cfg(test)]
mod tests {
    use quorate_domain::{Manifest, UnixMs};

    use super::manifest;

    #[test]
    fn what_it_makes_is_a_manifest() {
        let built = manifest(&["alice", "bob"]).threshold(1).without_join().complete_at_threshold();
        let parsed = Manifest::parse(&built.json(), UnixMs(0)).expect("a manifest");
        assert_eq!(parsed.tx.as_str(), built.tx());
        assert_eq!(parsed.initiator.as_str(), "alice");
        assert_eq!(parsed.threshold, 1);
        assert!(!parsed.require_join);
        assert_ne!(manifest(&["alice", "bob"]).tx(), built.tx());
    }
}
