//! Topic aliases of a connection, both ways (MQTT5 3.3.2.3.4).

use std::num::NonZeroU16;

use crate::world::*;
use quorate_domain::*;
use quorate_session::*;
use quorate_wire::*;

fn alice(alias_max: Option<u16>) -> Endpoint {
    let mut alice = Endpoint::new("alice");
    alice.access = everything_open();
    reconnect(&mut alice, alias_max);
    alice
}

fn reconnect(alice: &mut Endpoint, alias_max: Option<u16>) {
    let connect = connect(false, 3_600);
    let properties = ConnectProperties { topic_alias_maximum: alias_max, ..connect.properties };
    let limits = Limits { topic_alias_max: 2, ..limits() };
    alice.connect_with(Connect { properties, ..connect }, limits).unwrap();
}

fn say(alice: &mut Endpoint, topic: &str, alias: u16) {
    let Packet::Publish(mut publish) = publish(topic, QoS::AtMostOnce, 0, "x") else { unreachable!() };
    publish.properties.topic_alias = NonZeroU16::new(alias);
    alice.packet(Packet::Publish(publish));
}

fn topics(alice: &Endpoint) -> Vec<&str> {
    let topics = alice.published.iter().filter_map(|effect| match effect {
        Effect::Publish { topic, .. } => Some(topic.as_str()),
        _ => None,
    });
    topics.collect()
}

fn delivered(alice: &Endpoint) -> Vec<(String, Option<u16>)> {
    let publishes = alice.sent.iter().filter_map(|packet| match packet {
        Packet::Publish(publish) => {
            Some((publish.topic.to_string(), publish.properties.topic_alias.map(NonZeroU16::get)))
        }
        _ => None,
    });
    publishes.collect()
}

#[test]
fn connack_announces_how_many_a_client_may_use() {
    let alice = alice(None);
    let Some(Packet::ConnAck(connack)) = alice.sent.first() else { panic!("no CONNACK") };
    assert_eq!(connack.properties.topic_alias_maximum, Some(2));
}

#[test]
fn an_alias_stands_for_its_topic_on_this_connection_alone() {
    let mut alice = alice(None);
    say(&mut alice, "a", 1);
    say(&mut alice, "", 1);
    say(&mut alice, "b", 1);
    say(&mut alice, "", 1);
    assert_eq!(topics(&alice), ["a", "a", "b", "b"]);
    alice.lose_connection();
    reconnect(&mut alice, None);
    say(&mut alice, "", 1);
    assert_eq!(alice.last_reason(), Some(ReasonCode::ProtocolError));
}

#[test]
fn an_alias_above_the_maximum_disconnects_with_0x94() {
    let mut alice = alice(None);
    say(&mut alice, "a", 3);
    assert_eq!(alice.last_reason(), Some(ReasonCode::TopicAliasInvalid));
}

#[test]
fn a_refused_publish_still_gives_its_alias() {
    let mut alice = alice(None);
    let Packet::Publish(mut refused) = publish("tx/nonsense", QoS::AtLeastOnce, 1, "x") else { unreachable!() };
    refused.properties.topic_alias = NonZeroU16::new(1);
    alice.packet(Packet::Publish(refused.clone()));
    refused.topic = "".into();
    alice.packet(Packet::Publish(refused));
    let codes = alice.sent.iter().filter_map(|packet| match packet {
        Packet::PubAck(ack) => Some(ack.reason_code),
        _ => None,
    });
    assert_eq!(codes.collect::<Vec<_>>(), [ReasonCode::TopicNameInvalid; 2]);
}

#[test]
fn deliveries_use_the_aliases_that_the_client_takes() {
    let mut alice = alice(Some(1));
    for topic in ["a", "a", "b", "a"] {
        alice.bring_loose(topic, "x");
    }
    let full = |topic: &str| (topic.to_owned(), Some(1));
    assert_eq!(delivered(&alice), [full("a"), full(""), full("b"), full("a")]);
}

#[test]
fn without_a_topic_alias_maximum_deliveries_use_none() {
    let mut alice = alice(None);
    alice.bring_loose("a", "x");
    alice.bring_loose("a", "x");
    assert_eq!(delivered(&alice), [("a".to_owned(), None), ("a".to_owned(), None)]);
}

#[test]
fn a_delivery_that_waits_for_the_store_takes_its_alias_when_it_goes_out() {
    let mut alice = alice(Some(5));
    alice.bring(Qos::ExactlyOnce, "a", "held");
    alice.bring_loose("a", "behind it");
    alice.answer_all(&Logs::default());
    assert_eq!(delivered(&alice), [("a".to_owned(), Some(1)), (String::new(), Some(1))]);
}
