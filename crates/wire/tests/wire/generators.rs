//! Packets at random: valid ones of every kind, for each version and each sender.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use quorate_wire::*;

use crate::generated_fields::*;
use crate::peers::Peer;

/// A version, and whether the client sends.
pub fn peers() -> impl Strategy<Value = Peer> {
    (versions(), any::<bool>()).prop_map(|(version, by_client)| match by_client {
        true => Peer::Client(version),
        false => Peer::Server(version),
    })
}

pub fn versions() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V3_1), Just(Version::V3_1_1), Just(Version::V5)]
}

/// A sender, and packets that may come from it in this order.
pub fn streams() -> impl Strategy<Value = (Peer, Vec<Packet>)> {
    peers().prop_flat_map(|peer| (Just(peer), vec(packets(peer), 0..8)))
}

/// A packet that this sender may send, after its first one. Only what its version has is set.
pub fn packets(peer: Peer) -> BoxedStrategy<Packet> {
    let version = peer.version().expect("generated peers have one");
    let by_client = matches!(peer, Peer::Client(_));
    let common = prop_oneof![
        6 => publish(version, by_client),
        1 => ack(version, DELIVERY).prop_map(Packet::PubAck),
        1 => ack(version, DELIVERY).prop_map(Packet::PubRec),
        1 => ack(version, RELEASE).prop_map(Packet::PubRel),
        1 => ack(version, RELEASE).prop_map(Packet::PubComp),
    ];
    let own = match by_client {
        true => prop_oneof![subscribe(version), unsubscribe(version), Just(Packet::PingReq)].boxed(),
        false => prop_oneof![suback(version), unsuback(version), Just(Packet::PingResp)].boxed(),
    };
    let leave = match (version, by_client) {
        (Version::V5, _) => prop_oneof![disconnect(by_client), auth(by_client)].boxed(),
        (_, true) => Just(plain_disconnect()).boxed(),
        (_, false) => Just(Packet::PingResp).boxed(),
    };
    prop_oneof![3 => common, 2 => own, 1 => leave].boxed()
}

/// The first packet of a sender.
pub fn first_packets(peer: Peer) -> BoxedStrategy<Packet> {
    match peer {
        Peer::Client(version) => connect(version),
        Peer::Server(version) => connack(version),
        Peer::NewClient | Peer::NewServer(_) => unreachable!("generated peers are connected"),
    }
}

const DELIVERY: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const RELEASE: &[u8] = &[0x00, 0x92];
const CONNACK: &[u8] = &[
    0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C,
    0x9D, 0x9F,
];
const SUBACK: &[u8] = &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
const UNSUBACK: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
const DISCONNECT_BY_CLIENT: &[u8] = &[0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x95, 0x98, 0x99];
const DISCONNECT_BY_SERVER: &[u8] = &[0x00, 0x80, 0x81, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x9C, 0x9D, 0xA0, 0xA2];

fn code(listed: &'static [u8]) -> impl Strategy<Value = ReasonCode> {
    proptest::sample::select(listed).prop_map(|code| ReasonCode::try_from(code).expect("a listed code"))
}

fn message_properties() -> impl Strategy<Value = PublishProperties> {
    (
        option::of(any::<bool>()),
        option::of(any::<u32>()),
        option::of(topic()),
        option::of(binary()),
        user_properties(),
        option::of(text()),
    )
        .prop_map(|(format, expiry, response_topic, correlation_data, user_properties, content_type)| {
            PublishProperties {
                payload_format_indicator: format,
                message_expiry_interval_s: expiry,
                response_topic,
                correlation_data,
                user_properties,
                content_type,
                ..PublishProperties::default()
            }
        })
}

fn publish(version: Version, by_client: bool) -> BoxedStrategy<Packet> {
    let identifiers = match by_client {
        true => Just(Vec::new()).boxed(),
        false => vec(subscription_identifier(), 0..3).boxed(),
    };
    let properties = (message_properties(), option::of(any::<std::num::NonZeroU16>()), identifiers).prop_map(
        |(properties, topic_alias, subscription_identifiers)| PublishProperties {
            topic_alias,
            subscription_identifiers,
            ..properties
        },
    );
    let flags = (any::<bool>(), qos(), any::<bool>());
    (flags, topic(), packet_id(), since_5(version, properties), payload(), any::<bool>())
        .prop_map(|((dup, qos, retain), topic, packet_id, properties, payload, by_alias)| {
            let above_0 = qos != QoS::AtMostOnce;
            let aliased = by_alias && properties.topic_alias.is_some();
            Packet::Publish(Box::new(Publish {
                dup: dup && above_0,
                qos,
                retain,
                topic: if aliased { ByteString::new() } else { topic },
                packet_id: above_0.then_some(packet_id),
                properties,
                payload,
            }))
        })
        .boxed()
}

fn reason_properties() -> impl Strategy<Value = ReasonProperties> {
    (option::of(text()), user_properties())
        .prop_map(|(reason_string, user_properties)| ReasonProperties { reason_string, user_properties })
}

fn ack(version: Version, listed: &'static [u8]) -> BoxedStrategy<Ack> {
    match version {
        Version::V5 => (packet_id(), code(listed), reason_properties())
            .prop_map(|(packet_id, reason_code, properties)| Ack {
                packet_id,
                reason_code,
                properties: (properties != ReasonProperties::default()).then(|| Box::new(properties)),
            })
            .boxed(),
        Version::V3_1 | Version::V3_1_1 => packet_id()
            .prop_map(|packet_id| Ack { packet_id, reason_code: ReasonCode::Success, properties: None })
            .boxed(),
    }
}

fn subscribe_filter(version: Version) -> impl Strategy<Value = SubscribeFilter> {
    let handling = prop_oneof![
        Just(RetainHandling::SendAtSubscribe),
        Just(RetainHandling::SendIfNew),
        Just(RetainHandling::DoNotSend),
    ];
    (filter(), qos(), any::<[bool; 2]>(), handling).prop_map(
        move |(filter, qos, [no_local, retain_as_published], retain_handling)| {
            let is_5 = version == Version::V5;
            let shared = filter.starts_with(SHARE_PREFIX);
            SubscribeFilter {
                filter,
                qos,
                no_local: no_local && is_5 && !shared,
                retain_as_published: retain_as_published && is_5,
                retain_handling: if is_5 { retain_handling } else { RetainHandling::SendAtSubscribe },
            }
        },
    )
}

fn subscribe(version: Version) -> impl Strategy<Value = Packet> {
    (
        packet_id(),
        since_5(version, option::of(subscription_identifier())),
        since_5(version, user_properties()),
        vec(subscribe_filter(version), 1..4),
    )
        .prop_map(|(packet_id, subscription_identifier, user_properties, filters)| {
            Packet::Subscribe(Subscribe { packet_id, subscription_identifier, user_properties, filters })
        })
}

fn suback(version: Version) -> impl Strategy<Value = Packet> {
    let listed = match version {
        Version::V5 => SUBACK,
        Version::V3_1_1 => &SUBACK[..4],
        Version::V3_1 => &SUBACK[..3],
    };
    (packet_id(), vec(code(listed), 1..5), since_5(version, reason_properties())).prop_map(
        |(packet_id, reason_codes, properties)| Packet::SubAck(SubAck { packet_id, reason_codes, properties }),
    )
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Packet> {
    (packet_id(), since_5(version, user_properties()), vec(filter(), 1..4)).prop_map(
        |(packet_id, user_properties, filters)| {
            Packet::Unsubscribe(Unsubscribe { packet_id, user_properties, filters })
        },
    )
}

fn unsuback(version: Version) -> impl Strategy<Value = Packet> {
    let codes = since_5(version, vec(code(UNSUBACK), 1..5));
    (packet_id(), codes, since_5(version, reason_properties())).prop_map(|(packet_id, reason_codes, properties)| {
        Packet::UnsubAck(UnsubAck { packet_id, reason_codes, properties })
    })
}

fn plain_disconnect() -> Packet {
    Packet::Disconnect(Box::new(Disconnect {
        reason_code: ReasonCode::Success,
        session_expiry_interval_s: None,
        reason_string: None,
        user_properties: Vec::new(),
        server_reference: None,
    }))
}

fn disconnect(by_client: bool) -> impl Strategy<Value = Packet> {
    let listed = if by_client { DISCONNECT_BY_CLIENT } else { DISCONNECT_BY_SERVER };
    let expiry = option::of(any::<u32>()).prop_map(move |expiry| expiry.filter(|_| by_client));
    (code(listed), expiry, option::of(text()), user_properties(), option::of(text())).prop_map(
        |(reason_code, session_expiry_interval_s, reason_string, user_properties, server_reference)| {
            Packet::Disconnect(Box::new(Disconnect {
                reason_code,
                session_expiry_interval_s,
                reason_string,
                user_properties,
                server_reference,
            }))
        },
    )
}

fn auth(by_client: bool) -> impl Strategy<Value = Packet> {
    let listed: &'static [u8] = if by_client { &[0x18, 0x19] } else { &[0x00, 0x18] };
    (code(listed), text(), option::of(binary()), option::of(text()), user_properties()).prop_map(
        |(reason_code, method, authentication_data, reason_string, user_properties)| {
            Packet::Auth(Box::new(Auth {
                reason_code,
                authentication_method: Some(method),
                authentication_data,
                reason_string,
                user_properties,
            }))
        },
    )
}

fn will(version: Version) -> impl Strategy<Value = Will> {
    let delay = since_5(version, option::of(any::<u32>()));
    (topic(), binary(), qos(), any::<bool>(), delay, since_5(version, message_properties())).prop_map(
        |(topic, payload, qos, retain, delay_interval_s, properties)| Will {
            topic,
            payload,
            qos,
            retain,
            delay_interval_s,
            properties,
        },
    )
}

fn connect_properties() -> impl Strategy<Value = ConnectProperties> {
    (
        option::of(any::<u32>()),
        option::of(any::<std::num::NonZeroU16>()),
        option::of(1..=u32::MAX),
        option::of(any::<u16>()),
        option::of(any::<bool>()),
        option::of(any::<bool>()),
        user_properties(),
        option::of((text(), option::of(binary()))),
    )
        .prop_map(
            |(expiry, receive_maximum, size, aliases, response, problem, user_properties, authentication)| {
                let (method, data) = authentication.unzip();
                ConnectProperties {
                    session_expiry_interval_s: expiry,
                    receive_maximum,
                    maximum_packet_size: size,
                    topic_alias_maximum: aliases,
                    request_response_information: response,
                    request_problem_information: problem,
                    user_properties,
                    authentication_method: method,
                    authentication_data: data.flatten(),
                }
            },
        )
}

pub fn connect(version: Version) -> BoxedStrategy<Packet> {
    let properties = since_5(version, connect_properties());
    let credentials = (option::of(text()), option::of(binary()));
    (any::<bool>(), any::<u16>(), topic(), option::of(will(version)), credentials, properties)
        .prop_map(move |(clean_start, keep_alive_s, client_id, will, (username, password), properties)| {
            let named = username.is_some();
            Packet::Connect(Box::new(Connect {
                version,
                clean_start,
                keep_alive_s,
                client_id,
                will,
                username,
                password: password.filter(|_| named || version == Version::V5),
                properties,
            }))
        })
        .boxed()
}

fn connack_properties() -> impl Strategy<Value = ConnAckProperties> {
    let numbers = (
        option::of(any::<u32>()),
        option::of(any::<std::num::NonZeroU16>()),
        option::of(prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce)]),
        option::of(1..=u32::MAX),
        option::of(any::<u16>()),
        option::of(any::<u16>()),
    );
    let flags = vec(option::of(any::<bool>()), 4);
    let texts = vec(option::of(text()), 4);
    let authentication = option::of((text(), option::of(binary())));
    (numbers, flags, texts, user_properties(), authentication).prop_map(
        |((expiry, receive_maximum, maximum_qos, size, aliases, keep_alive), flags, texts, user, authentication)| {
            let (method, data) = authentication.unzip();
            ConnAckProperties {
                session_expiry_interval_s: expiry,
                receive_maximum,
                maximum_qos,
                retain_available: flags[0],
                maximum_packet_size: size,
                assigned_client_identifier: texts[0].clone(),
                topic_alias_maximum: aliases,
                reason_string: texts[1].clone(),
                user_properties: user,
                wildcard_subscription_available: flags[1],
                subscription_identifiers_available: flags[2],
                shared_subscription_available: flags[3],
                server_keep_alive_s: keep_alive,
                response_information: texts[2].clone(),
                server_reference: texts[3].clone(),
                authentication_method: method,
                authentication_data: data.flatten(),
            }
        },
    )
}

pub fn connack(version: Version) -> BoxedStrategy<Packet> {
    let refusals = match version {
        Version::V5 => code(CONNACK).boxed(),
        // Those that a return code gives back as they were.
        Version::V3_1 | Version::V3_1_1 => code(&[0x84, 0x85, 0x86, 0x87, 0x88]).boxed(),
    };
    let outcome = prop_oneof![
        any::<bool>().prop_map(move |present| (present && version != Version::V3_1, ReasonCode::Success)),
        refusals.prop_map(|reason_code| (false, reason_code)),
    ];
    (outcome, since_5(version, connack_properties()))
        .prop_map(|((session_present, reason_code), properties)| {
            Packet::ConnAck(Box::new(ConnAck { session_present, reason_code, properties }))
        })
        .boxed()
}
