use serde_json::{Value, json};

use super::*;
use crate::fixtures::{NOW, manifest_json};

fn parse(manifest: &Value) -> Result<Manifest, ManifestError> {
    Manifest::parse(manifest.to_string().as_bytes(), NOW)
}

/// A valid manifest with one field set.
fn with(field: &str, value: Value) -> Value {
    let mut manifest = manifest_json("alice", &["alice", "bob", "carol"]);
    manifest[field] = value;
    manifest
}

#[test]
fn the_example_of_the_contract_is_accepted_and_written_back_unchanged() {
    let example = json!({
        "tx": "01JD3W8QK7V9N2M4X6Z8B0C1D3", "initiator": "alice", "protocol": "frost-ed25519/dkg",
        "parties": ["alice", "bob", "carol"], "threshold": 2, "complete_when": "all", "require_join": true,
        "purpose": "treasury wallet 7", "payload": null, "payload_digest": null, "key_id": null,
        "ready_by": "2026-12-01T00:00:00Z", "finish_within_s": 604800, "roles": {}, "ext": {}
    });
    let before_december = UnixMs(1_790_000_000_000);
    let manifest = Manifest::parse(example.to_string().as_bytes(), before_december).expect("valid");
    assert_eq!(manifest.ready_by, Some(UnixMs(1_796_083_200_000)));
    assert_eq!(serde_json::to_value(&manifest).expect("serialises"), example);
}

#[test]
fn only_five_fields_are_required() {
    let minimal = manifest_json("alice", &["alice", "bob"]);
    let manifest = parse(&minimal).expect("valid");
    assert_eq!((manifest.complete_when, manifest.require_join), (CompleteWhen::All, true));
    for field in ["tx", "initiator", "protocol", "parties", "threshold"] {
        let mut manifest = minimal.clone();
        manifest.as_object_mut().expect("an object").remove(field);
        let error = parse(&manifest).expect_err("a field is missing").to_string();
        assert!(error.contains(&format!("missing field `{field}`")), "{error}");
    }
}

#[test]
fn refusals_name_the_field_and_the_reason() {
    let many: Vec<_> = (0..65).map(|number| format!("p{number}")).collect();
    for (field, value, message) in [
        ("colour", json!("red"), "colour: unknown field `colour`, expected"),
        ("tx", json!("short"), "tx: a transaction id of 5 bytes"),
        ("initiator", json!("al/ice"), "initiator: a party id with '/' at byte 2"),
        ("protocol", json!(""), "protocol: is empty"),
        ("parties", json!(["alice", "b b"]), "parties[1]: a party id with ' ' at byte 1"),
        ("parties", json!(["alice"]), "parties: 1 parties, where 2 to 64 are allowed"),
        ("parties", json!(many), "parties: 65 parties, where 2 to 64 are allowed"),
        ("parties", json!(["alice", "bob", "ALICE"]), "parties: ALICE is listed twice, ignoring case"),
        ("threshold", json!(0), "threshold: is 0, where 1 to 3 are allowed"),
        ("threshold", json!(4), "threshold: is 4, where 1 to 3 are allowed"),
        ("threshold", json!("2"), "threshold: invalid type: string \"2\", expected u16"),
        ("threshold", json!(-1), "threshold: invalid value: integer `-1`, expected u16"),
        ("complete_when", json!("any"), "complete_when: unknown variant `any`, expected `all` or `threshold`"),
        ("require_join", json!(1), "require_join: invalid type: integer `1`, expected a boolean"),
        ("payload", json!("?"), "payload: Invalid symbol 63, offset 0"),
        ("payload_digest", json!("abc"), "payload_digest: a SHA-256 sum is written `sha256:`"),
        ("key_id", json!("x"), "key_id: a transaction id of 1 bytes"),
        ("ready_by", json!("tomorrow"), "ready_by: "),
        ("ready_by", json!("2020-01-01T00:00:00Z"), "ready_by: does not lie in the future"),
        ("ready_by", json!("1960-01-01T00:00:00Z"), "ready_by: a moment before 1970"),
        ("finish_within_s", json!(0), "finish_within_s: is 0, where 1 to 2592000 are allowed"),
        ("finish_within_s", json!(2_592_001), "finish_within_s: is 2592001, where 1 to 2592000 are allowed"),
        ("roles", json!({"new": ["b/b"]}), "roles.new[0]: a party id with '/' at byte 1"),
        ("ext", json!([]), "ext: invalid type: sequence, expected a map"),
    ] {
        let error = parse(&with(field, value)).expect_err("invalid").to_string();
        assert!(error.starts_with(message), "expected: {message}\n   found: {error}");
    }
}

#[test]
fn the_bounds_themselves_are_accepted() {
    let most: Vec<_> = (0..64).map(|number| format!("p{number}")).collect();
    for (field, value) in [
        ("parties", json!(most)),
        ("threshold", json!(3)),
        ("finish_within_s", json!(FINISH_WITHIN_S_MAX)),
        ("payload", json!("A".repeat(43_688) + "AAA=")),
        ("ext", json!({"anything": [1, {"a": null}]})),
        ("roles", json!({"old": ["zoe"], "new": []})),
    ] {
        parse(&with(field, value)).unwrap_or_else(|error| panic!("{field}: {error}"));
    }
}

#[test]
fn a_payload_must_have_the_digest_that_stands_beside_it() {
    let mut manifest = with("payload", json!("aGVsbG8="));
    manifest["payload_digest"] = json!(Sha256::of(b"hello"));
    assert_eq!(parse(&manifest).expect("valid").payload, Some(Bytes::from_static(b"hello")));
    manifest["payload_digest"] = json!(Sha256::of(b"hullo"));
    let error = parse(&manifest).expect_err("another digest").to_string();
    assert_eq!(error, format!("payload_digest: the sum of `payload` is {}", Sha256::of(b"hello")));
    manifest["payload"] = Value::Null;
    parse(&manifest).expect("a digest alone is not checked");
}

#[test]
fn a_payload_that_is_too_large_is_refused() {
    let error = parse(&with("payload", json!("A".repeat(43_692)))).expect_err("too large").to_string();
    assert_eq!(error, "payload: has 32769 bytes, where 32768 are allowed");
}

#[test]
fn a_document_that_is_too_large_is_refused_before_it_is_read() {
    let error = Manifest::parse(&vec![b' '; MANIFEST_BYTES_MAX + 1], NOW).expect_err("too large");
    assert_eq!(error, ManifestError::TooLarge { bytes: 65_537 });
}

#[test]
fn what_is_not_one_json_object_is_refused() {
    let valid = manifest_json("alice", &["alice", "bob"]).to_string();
    for text in ["", "null", "[]", "{", &format!("{valid} x"), &valid.replacen('{', "{\"threshold\": 2,", 1)] {
        Manifest::parse(text.as_bytes(), NOW).expect_err(text);
    }
    Manifest::parse(&[0xff, 0xfe], NOW).expect_err("not UTF-8");
    Manifest::parse("[".repeat(60_000).as_bytes(), NOW).expect_err("too deep");
}
