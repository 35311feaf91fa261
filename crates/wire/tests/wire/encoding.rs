//! What is written, byte for byte, and what is not written at all.

use bytes::{Bytes, BytesMut};
use quorate_wire::*;

use crate::peers::{BEFORE_5, VERSIONS};

fn written(packet: &Packet, version: Version) -> Vec<u8> {
    crate::checks::encoded(packet, version).to_vec()
}

fn refused(packet: &Packet, version: Version) -> EncodeError {
    let mut out = BytesMut::from(&b"before"[..]);
    let error = encode(packet, version, &mut out).expect_err("unsound");
    assert_eq!(encode_vectored(packet, version, &mut out), Err(error));
    assert_eq!(encoded_len(packet, version), Err(error));
    assert_eq!(&out[..], b"before", "nothing is written");
    error
}

fn id(value: u16) -> PacketId {
    PacketId::new(value).expect("not zero")
}

fn ack(reason_code: ReasonCode) -> Ack {
    Ack { packet_id: id(1), reason_code, properties: None }
}

fn publish(qos: QoS) -> Publish {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: "t".into(),
        packet_id: (qos != QoS::AtMostOnce).then(|| id(7)),
        properties: PublishProperties::default(),
        payload: Bytes::from_static(b"p"),
    }
}

fn packet_of(publish: Publish) -> Packet {
    Packet::Publish(Box::new(publish))
}

fn connect(version: Version) -> Connect {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 60,
        client_id: "c".into(),
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    }
}

fn connack(reason_code: ReasonCode) -> ConnAck {
    ConnAck { session_present: false, reason_code, properties: ConnAckProperties::default() }
}

fn disconnect(reason_code: ReasonCode) -> Disconnect {
    Disconnect {
        reason_code,
        session_expiry_interval_s: None,
        reason_string: None,
        user_properties: Vec::new(),
        server_reference: None,
    }
}

fn subscribe(filter: &str) -> Subscribe {
    let entry = SubscribeFilter {
        filter: filter.into(),
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    Subscribe {
        packet_id: id(1),
        subscription_identifier: Some(5),
        user_properties: vec![("k".into(), "v".into())],
        filters: vec![entry],
    }
}

#[test]
fn acknowledgements_take_the_shortest_form() {
    let with = Ack { properties: Some(Box::new(ReasonProperties::default())), ..ack(ReasonCode::Success) };
    assert_eq!(written(&Packet::PubAck(ack(ReasonCode::Success)), Version::V5), [0x40, 2, 0, 1], "MQTT5 3.4.2.1");
    assert_eq!(written(&Packet::PubAck(with), Version::V5), [0x40, 2, 0, 1], "an empty list is none");
    assert_eq!(written(&Packet::PubRec(ack(ReasonCode::NotAuthorized)), Version::V5), [0x50, 3, 0, 1, 0x87]);
    let properties = ReasonProperties { reason_string: Some("r".into()), user_properties: Vec::new() };
    let with = Ack { properties: Some(Box::new(properties)), ..ack(ReasonCode::Success) };
    assert_eq!(written(&Packet::PubRel(with), Version::V5), [0x62, 8, 0, 1, 0, 4, 0x1F, 0, 1, b'r']);
}

#[test]
fn a_refusal_is_never_written_as_a_success() {
    for version in BEFORE_5 {
        for packet in [Packet::PubAck(ack(ReasonCode::NotAuthorized)), Packet::PubRec(ack(ReasonCode::QuotaExceeded))] {
            assert!(matches!(refused(&packet, version), EncodeError::ReasonCode { .. }));
        }
        for reason_code in [ReasonCode::ServerShuttingDown, ReasonCode::DisconnectWithWill] {
            refused(&Packet::Disconnect(Box::new(disconnect(reason_code))), version);
        }
        // "No matching subscribers" is a success, and PUBCOMP completes whatever its code says.
        assert_eq!(written(&Packet::PubAck(ack(ReasonCode::NoMatchingSubscribers)), version), [0x40, 2, 0, 1]);
        assert_eq!(written(&Packet::PubComp(ack(ReasonCode::PacketIdentifierNotFound)), version), [0x70, 2, 0, 1]);
    }
}

#[test]
fn a_reason_code_stands_only_where_it_is_listed() {
    for packet in [
        Packet::PubAck(ack(ReasonCode::PacketIdentifierNotFound)),
        Packet::PubComp(ack(ReasonCode::NotAuthorized)),
        Packet::ConnAck(Box::new(connack(ReasonCode::SessionTakenOver))),
        Packet::Disconnect(Box::new(disconnect(ReasonCode::GrantedQoS1))),
    ] {
        assert!(matches!(refused(&packet, Version::V5), EncodeError::ReasonCode { .. }), "MQTT5 2.4");
    }
}

#[test]
fn suback_failures_are_0x80_in_3_1_1_and_unsayable_in_3_1() {
    let packet = Packet::SubAck(SubAck {
        packet_id: id(1),
        reason_codes: vec![ReasonCode::GrantedQoS2, ReasonCode::TopicFilterInvalid],
        properties: ReasonProperties { reason_string: Some("r".into()), user_properties: Vec::new() },
    });
    assert_eq!(written(&packet, Version::V5), [0x90, 9, 0, 1, 4, 0x1F, 0, 1, b'r', 2, 0x8F]);
    assert_eq!(written(&packet, Version::V3_1_1), [0x90, 4, 0, 1, 2, 0x80], "MQTT3.1.1 3.9.3-2");
    refused(&packet, Version::V3_1);
}

#[test]
fn connack_codes_are_translated_before_5() {
    for (reason_code, return_code) in [
        (ReasonCode::Success, 0),
        (ReasonCode::UnsupportedProtocolVersion, 1),
        (ReasonCode::ClientIdentifierNotValid, 2),
        (ReasonCode::ServerUnavailable, 3),
        (ReasonCode::ServerBusy, 3),
        (ReasonCode::BadUserNameOrPassword, 4),
        (ReasonCode::NotAuthorized, 5),
        (ReasonCode::Banned, 5),
    ] {
        for version in BEFORE_5 {
            let packet = Packet::ConnAck(Box::new(connack(reason_code)));
            assert_eq!(written(&packet, version), [0x20, 2, 0, return_code], "MQTT3.1.1 3.2.2.3");
        }
    }
    for version in BEFORE_5 {
        let packet = Packet::ConnAck(Box::new(connack(ReasonCode::MalformedPacket)));
        assert!(matches!(refused(&packet, version), EncodeError::ReasonCode { .. }), "MQTT3.1.1 3.2.2-6");
    }
    let present = ConnAck { session_present: true, ..connack(ReasonCode::Success) };
    let present = Packet::ConnAck(Box::new(present));
    assert_eq!(written(&present, Version::V5), [0x20, 3, 1, 0, 0]);
    assert_eq!(written(&present, Version::V3_1_1), [0x20, 2, 1, 0]);
    assert_eq!(written(&present, Version::V3_1), [0x20, 2, 0, 0], "3.1 has no such flag (MQTT3.1 3.2)");
    let present = ConnAck { session_present: true, ..connack(ReasonCode::NotAuthorized) };
    let error = refused(&Packet::ConnAck(Box::new(present)), Version::V5);
    assert_eq!(error, EncodeError::SessionPresentInRefusal, "MQTT5 3.2.2-6");
}

#[test]
fn maximum_qos_2_is_said_by_silence() {
    let properties = ConnAckProperties { maximum_qos: Some(QoS::ExactlyOnce), ..ConnAckProperties::default() };
    let packet = Packet::ConnAck(Box::new(ConnAck { properties, ..connack(ReasonCode::Success) }));
    assert_eq!(written(&packet, Version::V5), [0x20, 3, 0, 0, 0], "MQTT5 3.2.2.3.4");
}

#[test]
fn properties_and_options_are_left_out_before_5() {
    let properties =
        PublishProperties { content_type: Some("c".into()), topic_alias: Some(id(1)), ..PublishProperties::default() };
    let packet = packet_of(Publish { properties, retain: true, ..publish(QoS::AtLeastOnce) });
    for version in BEFORE_5 {
        assert_eq!(written(&packet, version), *b"\x33\x06\0\x01t\0\x07p");
        assert_eq!(written(&Packet::Subscribe(subscribe("t")), version), *b"\x82\x06\0\x01\0\x01t\x01");
    }
    assert_eq!(
        written(&Packet::Subscribe(subscribe("t")), Version::V5),
        *b"\x82\x10\0\x01\x09\x0B\x05\x26\0\x01k\0\x01v\0\x01t\x2D"
    );
    let unsuback = Packet::UnsubAck(UnsubAck {
        packet_id: id(1),
        reason_codes: vec![ReasonCode::NotAuthorized],
        properties: ReasonProperties::default(),
    });
    assert_eq!(written(&unsuback, Version::V5), [0xB0, 4, 0, 1, 0, 0x87]);
    assert_eq!(written(&unsuback, Version::V3_1_1), [0xB0, 2, 0, 1]);
}

#[test]
fn disconnect_takes_the_shortest_form() {
    let with_will = Packet::Disconnect(Box::new(disconnect(ReasonCode::DisconnectWithWill)));
    let normal = Packet::Disconnect(Box::new(disconnect(ReasonCode::Success)));
    assert_eq!(written(&with_will, Version::V5), [0xE0, 1, 4], "MQTT5 3.14.2.2.1");
    for version in VERSIONS {
        assert_eq!(written(&normal, version), [0xE0, 0], "MQTT5 3.14.2.1");
    }
}

#[test]
fn a_publish_says_its_packet_identifier_exactly_above_qos_0() {
    let packet = packet_of(Publish { packet_id: None, ..publish(QoS::ExactlyOnce) });
    assert_eq!(refused(&packet, Version::V5), EncodeError::PacketIdMissing);
    let packet = packet_of(Publish { packet_id: Some(id(1)), ..publish(QoS::AtMostOnce) });
    assert_eq!(refused(&packet, Version::V3_1_1), EncodeError::PacketIdAtQoS0);
    let packet = packet_of(Publish { dup: true, ..publish(QoS::AtMostOnce) });
    assert_eq!(refused(&packet, Version::V5), EncodeError::DupAtQoS0);
}

#[test]
fn topics_are_judged_before_they_are_written() {
    for version in VERSIONS {
        for (topic, error) in [("", TopicError::Empty), ("a/#", TopicError::Wildcard), ("a\0", TopicError::Null)] {
            let packet = packet_of(Publish { topic: topic.into(), ..publish(QoS::AtMostOnce) });
            assert_eq!(refused(&packet, version), EncodeError::Topic(error));
        }
    }
    let properties = PublishProperties { topic_alias: Some(id(3)), ..PublishProperties::default() };
    let packet = packet_of(Publish { topic: "".into(), properties, ..publish(QoS::AtMostOnce) });
    assert_eq!(written(&packet, Version::V5), *b"\x30\x07\0\0\x03\x23\0\x03p");
    assert_eq!(refused(&packet, Version::V3_1_1), EncodeError::Topic(TopicError::Empty));
    let properties = PublishProperties { response_topic: Some("+".into()), ..PublishProperties::default() };
    let packet = packet_of(Publish { properties, ..publish(QoS::AtMostOnce) });
    assert_eq!(refused(&packet, Version::V5), EncodeError::Topic(TopicError::Wildcard), "MQTT5 3.3.2-14");
}

#[test]
fn lengths_beyond_the_format_are_refused() {
    let long = ByteString::from("x".repeat(65_536));
    let properties = PublishProperties { content_type: Some(long.clone()), ..PublishProperties::default() };
    let packet = packet_of(Publish { properties, ..publish(QoS::AtMostOnce) });
    assert_eq!(refused(&packet, Version::V5), EncodeError::FieldTooLong(65_536), "MQTT5 1.5.4");
    let packet = Packet::Connect(Box::new(Connect { client_id: long, ..connect(Version::V5) }));
    assert_eq!(refused(&packet, Version::V5), EncodeError::FieldTooLong(65_536));
    let payload = Bytes::from(vec![0; REMAINING_LENGTH_MAX]);
    let packet = packet_of(Publish { payload: payload.slice(3..), ..publish(QoS::AtMostOnce) });
    let length = encoded_len(&packet, Version::V3_1_1);
    assert_eq!(length, Ok(REMAINING_LENGTH_MAX + 5), "the largest packet there is (MQTT5 2.1.4)");
    let packet = packet_of(Publish { payload: payload.slice(2..), ..publish(QoS::AtMostOnce) });
    assert_eq!(refused(&packet, Version::V3_1_1), EncodeError::PacketTooLarge(REMAINING_LENGTH_MAX + 1));
}

#[test]
fn texts_have_no_null_character() {
    let properties = ReasonProperties { reason_string: Some("a\0b".into()), user_properties: Vec::new() };
    let packet = Packet::PubAck(Ack { properties: Some(Box::new(properties)), ..ack(ReasonCode::Success) });
    assert_eq!(refused(&packet, Version::V5), EncodeError::NullCharacter, "MQTT5 1.5.4-2");
    assert_eq!(written(&packet, Version::V3_1), [0x40, 2, 0, 1], "left out there");
}

#[test]
fn connect_is_sound_for_its_version() {
    let packet = Packet::Connect(Box::new(connect(Version::V5)));
    assert!(matches!(refused(&packet, Version::V3_1_1), EncodeError::VersionMismatch { .. }));
    for version in BEFORE_5 {
        let password = Some(Bytes::from_static(b"p"));
        let packet = Packet::Connect(Box::new(Connect { password, ..connect(version) }));
        assert_eq!(refused(&packet, version), EncodeError::PasswordWithoutUserName, "MQTT3.1.1 3.1.2-22");
        let packet =
            Packet::Connect(Box::new(Connect { client_id: "".into(), clean_start: false, ..connect(version) }));
        assert_eq!(refused(&packet, version), EncodeError::ClientIdMissing, "MQTT3.1.1 3.1.3-7");
    }
    for (properties, error) in [
        (
            ConnectProperties { maximum_packet_size: Some(0), ..ConnectProperties::default() },
            EncodeError::PropertyValue(Property::MaximumPacketSize),
        ),
        (
            ConnectProperties { authentication_data: Some(Bytes::new()), ..ConnectProperties::default() },
            EncodeError::AuthenticationMethodMissing,
        ),
    ] {
        let packet = Packet::Connect(Box::new(Connect { properties, ..connect(Version::V5) }));
        assert_eq!(refused(&packet, Version::V5), error);
    }
}

#[test]
fn a_will_has_no_alias_and_no_subscription_identifier() {
    for (properties, property) in [
        (PublishProperties { topic_alias: Some(id(1)), ..PublishProperties::default() }, Property::TopicAlias),
        (
            PublishProperties { subscription_identifiers: vec![1], ..PublishProperties::default() },
            Property::SubscriptionIdentifier,
        ),
    ] {
        let will = Will {
            topic: "w".into(),
            payload: Bytes::new(),
            qos: QoS::AtMostOnce,
            retain: false,
            delay_interval_s: None,
            properties,
        };
        let packet = Packet::Connect(Box::new(Connect { will: Some(will), ..connect(Version::V5) }));
        assert_eq!(refused(&packet, Version::V5), EncodeError::PropertyInWill(property), "MQTT5 3.1.3.2");
    }
}

#[test]
fn lists_are_not_empty_and_identifiers_in_range() {
    let none = Packet::Subscribe(Subscribe { filters: Vec::new(), ..subscribe("t") });
    assert_eq!(refused(&none, Version::V5), EncodeError::NoEntries(PacketType::Subscribe), "MQTT5 3.8.3-2");
    let none = Packet::Unsubscribe(Unsubscribe { packet_id: id(1), user_properties: Vec::new(), filters: Vec::new() });
    assert_eq!(refused(&none, Version::V3_1), EncodeError::NoEntries(PacketType::Unsubscribe), "MQTT5 3.10.3-2");
    for identifier in [0, 268_435_456] {
        let packet = Packet::Subscribe(Subscribe { subscription_identifier: Some(identifier), ..subscribe("t") });
        let error = EncodeError::PropertyValue(Property::SubscriptionIdentifier);
        assert_eq!(refused(&packet, Version::V5), error, "MQTT5 3.8.2.1.2");
        let properties =
            PublishProperties { subscription_identifiers: vec![identifier], ..PublishProperties::default() };
        let packet = packet_of(Publish { properties, ..publish(QoS::AtMostOnce) });
        assert_eq!(refused(&packet, Version::V5), error);
    }
    let shared = Packet::Subscribe(subscribe("$share/g/t"));
    assert_eq!(refused(&shared, Version::V5), EncodeError::NoLocalOnShared, "MQTT5 3.8.3-4");
}

#[test]
fn auth_is_for_5_and_names_its_method() {
    let auth = |reason_code, authentication_method| {
        Packet::Auth(Box::new(Auth {
            reason_code,
            authentication_method,
            authentication_data: None,
            reason_string: None,
            user_properties: Vec::new(),
        }))
    };
    let named = auth(ReasonCode::ContinueAuthentication, Some("m".into()));
    assert_eq!(written(&named, Version::V5), *b"\xF0\x06\x18\x04\x15\0\x01m");
    for version in BEFORE_5 {
        assert!(matches!(refused(&named, version), EncodeError::NotInVersion { .. }));
    }
    assert_eq!(written(&auth(ReasonCode::Success, None), Version::V5), [0xF0, 0], "MQTT5 3.15.2.1");
    let error = refused(&auth(ReasonCode::ReAuthenticate, None), Version::V5);
    assert_eq!(error, EncodeError::AuthenticationMethodMissing, "MQTT5 3.15.2.2.2");
}

#[test]
fn a_payload_is_returned_apart_and_not_copied() {
    let packet = publish(QoS::AtLeastOnce);
    let payload = packet.payload.clone();
    let mut out = BytesMut::new();
    let apart = encode_vectored(&packet_of(packet), Version::V5, &mut out).expect("sound");
    let apart = apart.expect("there is a payload");
    assert_eq!(apart.as_ptr(), payload.as_ptr());
    assert_eq!(&out[..], b"\x32\x07\0\x01t\0\x07\0");
    let empty = packet_of(Publish { payload: Bytes::new(), ..publish(QoS::AtMostOnce) });
    assert_eq!(encode_vectored(&empty, Version::V5, &mut out), Ok(None));
    assert_eq!(encode_vectored(&Packet::PingReq, Version::V5, &mut out), Ok(None));
}

#[test]
fn packets_are_appended() {
    let mut out = BytesMut::new();
    encode(&Packet::PingReq, Version::V5, &mut out).expect("sound");
    encode(&Packet::PingResp, Version::V5, &mut out).expect("sound");
    assert_eq!(&out[..], [0xC0, 0, 0xD0, 0]);
}
