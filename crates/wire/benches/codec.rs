//! Decode and encode of the packets that a broker handles most, beside mqtt-proto and rmqtt-codec in one run.
//!
//! `cargo bench -p quorate-wire --bench codec`. Each sample handles [`BATCH`] packets. Decoding includes filling the read
//! buffer and dropping what was decoded; encoding goes into one buffer that is used again where the codec allows it
//! (mqtt-proto allocates its own; rmqtt-codec takes the packet by value, so that a clone is part of it).

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use quorate_wire::{
    Ack, Decoder, Packet, PacketId, Publish, PublishProperties, QoS, ReasonCode, Version, encode, encode_vectored,
};
use tokio_util::codec::{Decoder as _, Encoder as _};

/// Packets in one read.
const BATCH: usize = 64;
const TOPIC_BYTES: usize = 64;
const PAYLOAD_BYTES: usize = 256;
const PACKET_BYTES_MAX: usize = 1 << 20;

fn packet_id() -> PacketId {
    PacketId::new(4711).expect("not zero")
}

fn publish(user_properties: usize) -> Packet {
    let property = |n| (format!("quorate-key-{n}").into(), format!("a value of some length {n}").into());
    Packet::Publish(Box::new(Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: "t".repeat(TOPIC_BYTES).into(),
        packet_id: Some(packet_id()),
        properties: PublishProperties {
            user_properties: (0..user_properties).map(property).collect(),
            ..PublishProperties::default()
        },
        payload: Bytes::from(vec![0xA5; PAYLOAD_BYTES]),
    }))
}

fn cases() -> [(&'static str, Packet); 3] {
    let puback = Ack { packet_id: packet_id(), reason_code: ReasonCode::Success, properties: None };
    [("publish", publish(0)), ("publish with 2 user properties", publish(2)), ("puback", Packet::PubAck(puback))]
}

fn bytes_of(packet: &Packet) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(packet, Version::V5, &mut bytes).expect("a sound packet");
    bytes
}

/// A decoder of 5.0 past its CONNECT.
fn decoder() -> Decoder {
    let mut decoder = Decoder::server(PACKET_BYTES_MAX);
    let mut connect = BytesMut::from(&b"\x10\x0D\0\x04MQTT\x05\x02\0\x3C\0\0\0"[..]);
    assert!(matches!(decoder.decode(&mut connect), Ok(Some(_))));
    decoder
}

fn decode_all(criterion: &mut Criterion) {
    for (name, packet) in cases() {
        let bytes = bytes_of(&packet);
        let stream = bytes.repeat(BATCH);
        let mut group = criterion.benchmark_group(format!("decode {name}"));
        group.throughput(Throughput::Elements(BATCH as u64));
        decode_with_wire(&mut group, &stream);
        decode_with_rmqtt_codec(&mut group, &stream);
        decode_with_mqtt_proto(&mut group, &stream, bytes.len());
        group.finish();
    }
}

fn decode_with_wire(group: &mut BenchmarkGroup<WallTime>, stream: &[u8]) {
    let mut decoder = decoder();
    let mut buffer = BytesMut::with_capacity(stream.len());
    group.bench_function("quorate-wire", |bencher| {
        bencher.iter(|| {
            buffer.extend_from_slice(stream);
            while let Some(packet) = decoder.decode(&mut buffer).expect("sound") {
                black_box(packet);
            }
        });
    });
}

fn decode_with_rmqtt_codec(group: &mut BenchmarkGroup<WallTime>, stream: &[u8]) {
    let mut codec = rmqtt_codec::v5::Codec::default();
    let mut buffer = BytesMut::with_capacity(stream.len());
    group.bench_function("rmqtt-codec", |bencher| {
        bencher.iter(|| {
            buffer.extend_from_slice(stream);
            while let Some(packet) = codec.decode(&mut buffer).expect("sound") {
                black_box(packet);
            }
        });
    });
}

fn decode_with_mqtt_proto(group: &mut BenchmarkGroup<WallTime>, stream: &[u8], packet_bytes: usize) {
    let mut buffer = Vec::with_capacity(stream.len());
    group.bench_function("mqtt-proto", |bencher| {
        bencher.iter(|| {
            buffer.clear();
            buffer.extend_from_slice(stream);
            for bytes in buffer.chunks(packet_bytes) {
                black_box(mqtt_proto::v5::Packet::decode(bytes).expect("sound"));
            }
        });
    });
}

fn encode_all(criterion: &mut Criterion) {
    for (name, packet) in cases() {
        let mut bytes = bytes_of(&packet);
        let mut group = criterion.benchmark_group(format!("encode {name}"));
        group.throughput(Throughput::Elements(BATCH as u64));
        let mut out = BytesMut::with_capacity(bytes.len() * BATCH);
        group.bench_function("quorate-wire", |bencher| {
            bencher.iter(|| {
                out.clear();
                for _ in 0..BATCH {
                    encode(black_box(&packet), Version::V5, &mut out).expect("sound");
                }
            });
        });
        group.bench_function("quorate-wire, payload apart", |bencher| {
            bencher.iter(|| {
                out.clear();
                for _ in 0..BATCH {
                    black_box(encode_vectored(black_box(&packet), Version::V5, &mut out).expect("sound"));
                }
            });
        });
        let theirs = mqtt_proto::v5::Packet::decode(&bytes).expect("sound").expect("whole");
        group.bench_function("mqtt-proto", |bencher| {
            bencher.iter(|| {
                for _ in 0..BATCH {
                    black_box(black_box(&theirs).encode().expect("sound"));
                }
            });
        });
        let mut codec = rmqtt_codec::v5::Codec::default();
        let (theirs, _) = codec.decode(&mut bytes).expect("sound").expect("whole");
        group.bench_function("rmqtt-codec", |bencher| {
            bencher.iter(|| {
                out.clear();
                for _ in 0..BATCH {
                    codec.encode(black_box(&theirs).clone(), &mut out).expect("sound");
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, decode_all, encode_all);
criterion_main!(benches);
