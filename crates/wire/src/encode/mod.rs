//! From packets to bytes, into the caller's buffer.
//!
//! A packet is judged and measured before anything is written: an error leaves the buffer as it was, and the outgoing
//! size is known first. Properties that a version lacks are left out.

mod check;
mod connect;
mod error;
mod leave;
mod publish;
mod sink;
mod subscribe;

use bytes::{BufMut, Bytes, BytesMut};

pub use error::EncodeError;
use sink::{Count, Sink};

use crate::header::variable_byte_integer_bytes;
use crate::{Packet, PacketType, REMAINING_LENGTH_MAX, Version};

/// How many bytes the packet takes, fixed header included: what a peer's Maximum Packet Size limits (MQTT5 3.1.2-24).
///
/// # Errors
/// The packet breaks a rule, or says what this version cannot say.
pub fn encoded_len(packet: &Packet, version: Version) -> Result<usize, EncodeError> {
    let body_bytes = measure(packet, version)?;
    Ok(1 + variable_byte_integer_bytes(body_bytes) + body_bytes)
}

/// Appends the packet to `out`.
///
/// # Errors
/// As [`encoded_len`]; `out` is then as it was.
pub fn encode(packet: &Packet, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
    let body_bytes = measure(packet, version)?;
    out.reserve(1 + variable_byte_integer_bytes(body_bytes) + body_bytes);
    write_head(packet, version, body_bytes, out);
    out.put_slice(payload(packet));
    Ok(())
}

/// Appends the packet to `out`, but for a PUBLISH's payload, which is returned apart and not copied: write `out`, then
/// it. `None`: there is nothing more to write.
///
/// # Errors
/// As [`encoded_len`]; `out` is then as it was.
pub fn encode_vectored(packet: &Packet, version: Version, out: &mut BytesMut) -> Result<Option<Bytes>, EncodeError> {
    let body_bytes = measure(packet, version)?;
    let head_bytes = body_bytes - payload(packet).len();
    out.reserve(1 + variable_byte_integer_bytes(body_bytes) + head_bytes);
    write_head(packet, version, body_bytes, out);
    Ok(match packet {
        Packet::Publish(publish) if !publish.payload.is_empty() => Some(publish.payload.clone()),
        _ => None,
    })
}

/// The remaining length, if the packet may be written.
fn measure(packet: &Packet, version: Version) -> Result<usize, EncodeError> {
    check::check(packet, version)?;
    let mut count = Count::default();
    write_body(packet, version, &mut count);
    let body_bytes = count.finish()? + payload(packet).len();
    match body_bytes <= REMAINING_LENGTH_MAX {
        true => Ok(body_bytes),
        false => Err(EncodeError::PacketTooLarge(body_bytes)),
    }
}

fn payload(packet: &Packet) -> &[u8] {
    match packet {
        Packet::Publish(publish) => &publish.payload,
        _ => &[],
    }
}

/// The fixed header and the body up to the payload.
fn write_head(packet: &Packet, version: Version, body_bytes: usize, out: &mut BytesMut) {
    out.put_u8(first_byte(packet));
    out.variable_byte_integer(body_bytes);
    write_body(packet, version, out);
}

fn first_byte(packet: &Packet) -> u8 {
    match packet {
        Packet::Connect(_) => PacketType::Connect.first_byte(),
        Packet::ConnAck(_) => PacketType::ConnAck.first_byte(),
        Packet::Publish(publish) => PacketType::Publish.first_byte() | publish::flags(publish),
        Packet::PubAck(_) => PacketType::PubAck.first_byte(),
        Packet::PubRec(_) => PacketType::PubRec.first_byte(),
        Packet::PubRel(_) => PacketType::PubRel.first_byte(),
        Packet::PubComp(_) => PacketType::PubComp.first_byte(),
        Packet::Subscribe(_) => PacketType::Subscribe.first_byte(),
        Packet::SubAck(_) => PacketType::SubAck.first_byte(),
        Packet::Unsubscribe(_) => PacketType::Unsubscribe.first_byte(),
        Packet::UnsubAck(_) => PacketType::UnsubAck.first_byte(),
        Packet::PingReq => PacketType::PingReq.first_byte(),
        Packet::PingResp => PacketType::PingResp.first_byte(),
        Packet::Disconnect(_) => PacketType::Disconnect.first_byte(),
        Packet::Auth(_) => PacketType::Auth.first_byte(),
    }
}

/// The body, without the payload of a PUBLISH.
fn write_body(packet: &Packet, version: Version, sink: &mut impl Sink) {
    match packet {
        Packet::Connect(packet) => connect::write_connect(packet, sink),
        Packet::ConnAck(packet) => connect::write_connack(packet, version, sink),
        Packet::Publish(packet) => publish::write_publish(packet, version, sink),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            publish::write_ack(ack, version, sink);
        }
        Packet::Subscribe(packet) => subscribe::write_subscribe(packet, version, sink),
        Packet::SubAck(packet) => subscribe::write_suback(packet, version, sink),
        Packet::Unsubscribe(packet) => subscribe::write_unsubscribe(packet, version, sink),
        Packet::UnsubAck(packet) => subscribe::write_unsuback(packet, version, sink),
        Packet::PingReq | Packet::PingResp => {}
        Packet::Disconnect(packet) => leave::write_disconnect(packet, version, sink),
        Packet::Auth(packet) => leave::write_auth(packet, sink),
    }
}
