//! Statements of the specifications that need a connection around the session; `docs/conformance.md` names them.

use super::*;

/// A CONNECT of `c` with these connect flags, and after its identifier these fields.
fn raw_connect(version: Version, flags: u8, fields: &[u8]) -> Vec<u8> {
    let (level, properties): (u8, &[u8]) = if version == Version::V5 { (5, b"\0") } else { (4, b"") };
    let body = [&b"\0\x04MQTT"[..], &[level, flags, 0, 60], properties, b"\0\x01c", fields].concat();
    [&[0x10, u8::try_from(body.len()).unwrap()], &body[..]].concat()
}

impl Stage {
    fn dial_in(&self, version: Version) -> Client {
        self.dial_as(Identification::Certificate(peer("alice")), version)
    }

    async fn connect_in(&self, version: Version) -> Client {
        let mut client = self.dial_in(version);
        client.pipe.write_all(&raw_connect(version, 2, b"")).await.unwrap();
        let Some(Packet::ConnAck(connack)) = client.receive().await else { panic!("no CONNACK") };
        assert_eq!(connack.reason_code, ReasonCode::Success);
        client
    }

    fn has_alice(&self) -> bool {
        self.shared.backbone.presence.is_present(&PartyId::new("alice").unwrap())
    }
}

const SINCE_3_1_1: [Version; 2] = [Version::V3_1_1, Version::V5];

#[tokio::test(start_paused = true)]
async fn a_malformed_connect_is_answered_by_silence() {
    for version in SINCE_3_1_1 {
        // The reserved flag; a Will QoS without a will; a byte too many; a user name that is missing.
        for (flags, fields) in [(3, &b""[..]), (10, b""), (2, b"x"), (0x82, b"")] {
            let stage = Stage::new();
            let mut client = stage.dial_in(version);
            client.pipe.write_all(&raw_connect(version, flags, fields)).await.unwrap();
            assert_eq!(client.receive().await, None, "{version:?}, flags {flags:#x}");
            assert!(client.read.is_empty());
            assert!(!stage.has_alice());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_refused_connect_is_not_processed() {
    for (version, answer) in
        [(Version::V3_1_1, ReasonCode::ClientIdentifierNotValid), (Version::V5, ReasonCode::BadAuthenticationMethod)]
    {
        let stage = Stage::new();
        let mut client = stage.dial_in(version);
        let Packet::Connect(mut refused) = connect(0) else { panic!("no CONNECT") };
        refused.version = version;
        match version {
            Version::V5 => refused.properties.authentication_method = Some("SCRAM-SHA-256".into()),
            _ => refused.client_id = "x".repeat(300).into(),
        }
        let mut bytes = BytesMut::new();
        quorate_wire::encode(&Packet::Connect(refused), version, &mut bytes).unwrap();
        quorate_wire::encode(&publish(1, &format!("tx/{TX}/manifest"), manifest()), version, &mut bytes).unwrap();
        client.pipe.write_all(&bytes).await.unwrap();
        let Some(Packet::ConnAck(connack)) = client.receive().await else { panic!("no CONNACK") };
        assert_eq!((connack.reason_code, connack.session_present), (answer, false));
        assert_eq!(client.receive().await, None, "the connection is closed");
        client.connection.await.unwrap();
        let journal = stage.shared.backbone.registry.journal(&TX.parse().unwrap(), quorate_domain::Seq::ZERO, 1).await;
        assert!(!journal.is_ok_and(|entries| !entries.is_empty()), "the transaction was created");
    }
}

#[tokio::test(start_paused = true)]
async fn before_5_a_malformed_packet_ends_the_connection_without_a_word() {
    for malformed in [
        // Header flags; QoS 3; text that is no UTF-8; U+0000 in it; a QoS of 3, and reserved bits, in a SUBSCRIBE.
        &b"\xC1\x00"[..],
        b"\x36\x05\0\x01t\0\x01",
        b"\x30\x03\0\x01\xFF",
        b"\x30\x03\0\x01\0",
        b"\x82\x06\0\x01\0\x01t\x03",
        b"\x82\x06\0\x01\0\x01t\x04",
    ] {
        let stage = Stage::new();
        let mut client = stage.connect_in(Version::V3_1_1).await;
        client.pipe.write_all(malformed).await.unwrap();
        assert_eq!(client.receive().await, None, "{malformed:02x?}");
        client.connection.await.unwrap();
        assert!(!stage.has_alice());
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_connect_ends_the_connection() {
    for version in SINCE_3_1_1 {
        let stage = Stage::new();
        let mut client = stage.connect_in(version).await;
        client.pipe.write_all(&raw_connect(version, 2, b"")).await.unwrap();
        if version == Version::V5 {
            let Some(Packet::Disconnect(disconnect)) = client.receive().await else { panic!("no DISCONNECT") };
            assert_eq!(disconnect.reason_code, ReasonCode::ProtocolError);
        }
        assert_eq!(client.receive().await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_3_1_1_has_no_code_for_is_silence() {
    let stage = Stage::new();
    let mut client = stage.dial_in(Version::V3_1_1);
    // A will to a topic that is not one of those under `tx/`.
    client.pipe.write_all(&raw_connect(Version::V3_1_1, 6, b"\0\x0Atx/nowhere\0\x01x")).await.unwrap();
    assert_eq!(client.receive().await, None);
    assert!(client.read.is_empty());
}

#[tokio::test(start_paused = true)]
async fn in_3_1_1_a_take_over_ends_the_old_connection() {
    let stage = Stage::new();
    let mut old = stage.connect_in(Version::V3_1_1).await;
    let mut new = stage.connect_in(Version::V3_1_1).await;
    assert_eq!(old.receive().await, None);
    new.send(&Packet::PingReq).await;
    assert_eq!(new.receive().await, Some(Packet::PingResp));
    assert!(stage.has_alice());
}
