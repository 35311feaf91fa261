//! The other codecs, each as one question: is this packet one, and how would you write it?

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::BytesMut;
use quorate_wire::Version;
use tokio_util::codec::{Decoder, Encoder};

/// Another codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Oracle {
    MqttProto,
    RmqttCodec,
}

/// What another codec says of the bytes of one whole packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A packet, which it writes like this; `None` where it cannot write what it has read.
    Accepted(Option<Vec<u8>>),
    Refused(String),
    Panicked,
}

impl Oracle {
    pub fn judge(self, version: Version, bytes: &[u8]) -> Verdict {
        let judge = || match (self, version) {
            (Oracle::MqttProto, Version::V5) => mqtt_proto_5(bytes),
            (Oracle::MqttProto, _) => mqtt_proto_3(bytes),
            (Oracle::RmqttCodec, Version::V5) => rmqtt(rmqtt_codec::v5::Codec::default(), bytes),
            (Oracle::RmqttCodec, _) => rmqtt(rmqtt_codec::v3::Codec::default(), bytes),
        };
        match catch_unwind(AssertUnwindSafe(judge)) {
            Ok(Ok(written)) => Verdict::Accepted(written),
            Ok(Err(reason)) => Verdict::Refused(reason),
            Err(_) => Verdict::Panicked,
        }
    }
}

/// All bytes of the packet are there, so that asking for more is a refusal.
const WANTS_MORE: &str = "wants more bytes";

fn mqtt_proto_5(bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let packet = mqtt_proto::v5::Packet::decode(bytes).map_err(|error| error.to_string())?;
    let packet = packet.ok_or(WANTS_MORE)?;
    Ok(packet.encode().ok().map(|written| written.as_ref().to_vec()))
}

fn mqtt_proto_3(bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let packet = mqtt_proto::v3::Packet::decode(bytes).map_err(|error| error.to_string())?;
    let packet = packet.ok_or(WANTS_MORE)?;
    Ok(packet.encode().ok().map(|written| written.as_ref().to_vec()))
}

fn rmqtt<C, P>(mut codec: C, bytes: &[u8]) -> Result<Option<Vec<u8>>, String>
where
    C: Decoder<Item = (P, u32)> + Encoder<P>,
    <C as Decoder>::Error: std::fmt::Debug,
{
    let mut buffer = BytesMut::from(bytes);
    let read = codec.decode(&mut buffer).map_err(|error| format!("{error:?}"))?;
    let (packet, _) = read.ok_or(WANTS_MORE)?;
    let mut out = BytesMut::new();
    Ok(codec.encode(packet, &mut out).ok().map(|()| out.to_vec()))
}
