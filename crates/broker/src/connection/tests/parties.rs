//! Whose a connection is: how many a party has, and who speaks where nothing is proved.

use quorate_wire::ConnAck;

use super::*;

fn connect_as(version: Version, client_id: &str) -> Packet {
    let Packet::Connect(mut packet) = connect(0) else { panic!("no CONNECT") };
    (packet.version, packet.client_id) = (version, client_id.into());
    Packet::Connect(packet)
}

#[tokio::test(start_paused = true)]
async fn a_party_gets_only_so_many_connections_and_is_told() {
    for version in [Version::V5, Version::V3_1_1] {
        let stage = Stage::new();
        let dial = async |party: &str, client_id: &str| {
            let mut client = stage.dial_as(Identification::Certificate(peer(party)), version);
            client.send(&connect_as(version, client_id)).await;
            let Some(Packet::ConnAck(connack)) = client.receive().await else { panic!("no CONNACK") };
            (client, connack.reason_code)
        };
        let (one, code) = dial("alice", "one").await;
        assert_eq!(code, ReasonCode::Success);
        let (_two, code) = dial("alice", "two").await;
        assert_eq!(code, ReasonCode::Success);
        let (mut three, code) = dial("alice", "three").await;
        // In 3.x the return code is 3, which the decoder gives back as this.
        let told = if version == Version::V5 { ReasonCode::QuotaExceeded } else { ReasonCode::ServerUnavailable };
        assert_eq!(code, told);
        assert_eq!(three.receive().await, None);

        assert_eq!(dial("bob", "three").await.1, ReasonCode::Success, "another party has its own");
        let (_again, code) = dial("alice", "two").await;
        assert_eq!(code, ReasonCode::Success, "a take-over is not one more");
        drop(one.pipe);
        one.connection.await.unwrap();
        assert_eq!(dial("alice", "three").await.1, ReasonCode::Success, "a place that is free again is given");
    }
}

#[tokio::test(start_paused = true)]
async fn where_every_client_is_believed_the_client_identifier_is_the_party() {
    let stage = Stage::new();
    let mut client = stage.dial_danger(Version::V5);
    client.send(&connect_as(Version::V5, "alice")).await;
    let Some(Packet::ConnAck(connack)) = client.receive().await else { panic!("no CONNACK") };
    assert_eq!(connack.reason_code, ReasonCode::Success);
    assert!(stage.shared.backbone.presence.is_present(&PartyId::new("alice").unwrap()));
    assert_eq!(client.publish(1, &format!("tx/{TX}/manifest"), manifest()).await, ReasonCode::Success);
    let others = format!("tx/{TX}/broadcast/1/bob");
    assert_eq!(client.publish(2, &others, "x").await, ReasonCode::NotAuthorized, "alice is not bob here, either");
}

/// What a listener that believes every client answers to one that connects with this identifier.
async fn greeted(stage: &Stage, version: Version, client_id: &str) -> (Client, ConnAck) {
    let mut client = stage.dial_danger(version);
    client.send(&connect_as(version, client_id)).await;
    let Some(Packet::ConnAck(connack)) = client.receive().await else { panic!("no CONNACK") };
    (client, *connack)
}

#[tokio::test(start_paused = true)]
async fn where_every_client_is_believed_an_identifier_that_names_no_party_stands_for_one() {
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let stage = Stage::new();
        let (_client, connack) = greeted(&stage, version, "with spaces").await;
        assert_eq!(connack.reason_code, ReasonCode::Success);
        // The first half of `printf 'with spaces' | sha256sum`.
        let party = PartyId::new("anonymous-ad7b4040fdfb2432cc3c3e9d8f24640f").unwrap();
        assert!(stage.shared.backbone.presence.is_present(&party));
    }
}

#[tokio::test(start_paused = true)]
async fn where_every_client_is_believed_an_assigned_identifier_is_the_party() {
    let stage = Stage::new();
    let (_client, connack) = greeted(&stage, Version::V5, "").await;
    assert_eq!(connack.reason_code, ReasonCode::Success);
    let assigned = connack.properties.assigned_client_identifier.expect("the identifier that was assigned");
    assert!(stage.shared.backbone.presence.is_present(&PartyId::new(&assigned).unwrap()));
    let (_other, connack) = greeted(&stage, Version::V5, "").await;
    assert_ne!(connack.properties.assigned_client_identifier, Some(assigned), "each is a party of its own");
}

#[tokio::test(start_paused = true)]
async fn where_every_client_is_believed_mqtt_still_decides_on_empty_identifiers_and_first_packets() {
    let (_client, connack) = greeted(&Stage::new(), Version::V3_1_1, "").await;
    assert_eq!(connack.reason_code, ReasonCode::Success, "with a clean session");
    // CONNECT without an identifier: of 3.1.1 and no clean session, of 3.1 with one. No encoder of ours writes these.
    let without_clean_session: &[u8] = b"\x10\x0c\0\x04MQTT\x04\0\0\0\0\0";
    let of_3_1: &[u8] = b"\x10\x0e\0\x06MQIsdp\x03\x02\0\0\0\0";
    for (version, bytes) in [(Version::V3_1_1, without_clean_session), (Version::V3_1, of_3_1)] {
        let stage = Stage::new();
        let mut client = stage.dial_danger(version);
        client.pipe.write_all(bytes).await.unwrap();
        let Some(Packet::ConnAck(connack)) = client.receive().await else { panic!("no CONNACK") };
        assert_eq!(connack.reason_code, ReasonCode::ClientIdentifierNotValid, "{version:?}");
        assert_eq!(client.receive().await, None);
    }
    let stage = Stage::new();
    let mut client = stage.dial_danger(Version::V5);
    client.send(&Packet::PingReq).await;
    assert_eq!(client.receive().await, None, "no CONNECT, no answer");
}
