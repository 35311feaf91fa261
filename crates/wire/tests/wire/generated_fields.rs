//! Fields at random: the parts that generated packets are made of.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use quorate_wire::*;

pub fn character() -> impl Strategy<Value = char> {
    prop_oneof![
        8 => proptest::char::range('a', 'z'),
        1 => Just('/'),
        1 => any::<char>().prop_filter("U+0000", |&character| character != '\0'),
    ]
}

pub fn text() -> impl Strategy<Value = ByteString> {
    vec(character(), 0..12).prop_map(|characters| String::from_iter(characters).into())
}

pub fn topic() -> impl Strategy<Value = ByteString> {
    vec(character().prop_filter("wildcard", |character| !['+', '#'].contains(character)), 1..24)
        .prop_map(|characters| String::from_iter(characters).into())
}

/// Any text, a sound filter or not; `$share/` now and then.
pub fn filter() -> impl Strategy<Value = ByteString> {
    prop_oneof![text(), topic(), topic().prop_map(|topic| format!("$share/{topic}/#").into()), Just("+/#".into()),]
}

pub fn binary() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

/// Mostly short; now and then above the size from which frames are split off instead of copied.
pub fn payload() -> impl Strategy<Value = Bytes> {
    let long = (COPY_BELOW_BYTES - 40)..(COPY_BELOW_BYTES + 40);
    prop_oneof![
        9 => binary(),
        1 => (any::<u8>(), long).prop_map(|(byte, length)| Bytes::from(vec![byte; length])),
    ]
}

pub fn user_properties() -> impl Strategy<Value = UserProperties> {
    prop_oneof![3 => Just(Vec::new()), 1 => vec((text(), text()), 1..4)]
}

pub fn packet_id() -> impl Strategy<Value = PacketId> {
    any::<PacketId>()
}

pub fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

/// What the strategy gives in 5.0, and nothing before.
pub fn since_5<T: Default + Clone + std::fmt::Debug + 'static>(
    version: Version,
    strategy: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    match version {
        Version::V5 => strategy.boxed(),
        Version::V3_1 | Version::V3_1_1 => Just(T::default()).boxed(),
    }
}

pub fn subscription_identifier() -> impl Strategy<Value = u32> {
    prop_oneof![1..=200_u32, 1..=268_435_455_u32]
}
