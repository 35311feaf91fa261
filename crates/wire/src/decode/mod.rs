//! From bytes to packets: a stream cut anywhere in, whole packets out.
//!
//! Here are the stream, the fixed header and the order of the first packet; each packet's body has its own file.

mod ack;
mod connack;
mod connect;
mod error;
mod leave;
mod publish;
mod reader;
mod subscribe;

use bytes::{Buf, Bytes, BytesMut};

pub use error::DecodeError;
use reader::Reader;

use crate::header::{Sender, VariableByteInteger};
use crate::{Packet, PacketType, Version};

/// Packets with fewer bytes than this are copied out of the read buffer once, so that a message of 200 bytes does not
/// keep a read buffer of 64 KiB alive; larger ones are split off it. Of a PUBLISH only the payload is copied: that is what
/// is kept. Who keeps its texts copies them.
pub const COPY_BELOW_BYTES: usize = 4096;

/// Bodies of at most this many bytes (acknowledgements without properties, pings) are read where they lie.
const IN_PLACE_BYTES_MAX: usize = 4;

/// Reads the packets of one connection in one direction.
///
/// What it holds is bounded by the caller's buffer: a packet above the limit is refused from its fixed header, before
/// its body is waited for, and nothing is reserved for a body that has not come. A decoded packet holds at most 33 times
/// the bytes that it came in: an empty filter of an UNSUBSCRIBE, 2 bytes, becomes a string of 32 in a list that may have
/// doubled, and behind it stands the frame.
#[derive(Debug)]
pub struct Decoder {
    sender: Sender,
    version: Option<Version>,
    packet_bytes_max: usize,
    phase: Phase,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// CONNECT from a client, CONNACK from a server.
    AwaitsFirst,
    Open,
    Failed(DecodeError),
}

impl Decoder {
    /// For what clients send. The first packet must be CONNECT; from it the version is learnt.
    ///
    /// `max_packet_bytes` counts the whole packet, fixed header included (MQTT5 3.1.2.11.4).
    pub fn server(max_packet_bytes: usize) -> Self {
        Self { sender: Sender::Client, version: None, packet_bytes_max: max_packet_bytes, phase: Phase::AwaitsFirst }
    }

    /// For what a server sends to a client of this version. The first packet must be CONNACK, or in 5.0 AUTH.
    pub fn client(version: Version, max_packet_bytes: usize) -> Self {
        Self {
            sender: Sender::Server,
            version: Some(version),
            packet_bytes_max: max_packet_bytes,
            phase: Phase::AwaitsFirst,
        }
    }

    /// The connection's version; `None` until the CONNECT has come.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// Takes the next packet off the front of `buffer`. `Ok(None)`: it needs more bytes.
    ///
    /// # Errors
    /// The bytes break a rule, and the connection is over: every later call answers the same.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Packet>, DecodeError> {
        if let Phase::Failed(error) = self.phase {
            return Err(error);
        }
        self.next_packet(buffer).inspect_err(|error| self.phase = Phase::Failed(*error))
    }

    fn next_packet(&mut self, buffer: &mut BytesMut) -> Result<Option<Packet>, DecodeError> {
        let Some(&first_byte) = buffer.first() else {
            return Ok(None);
        };
        let packet_type = self.check_first_byte(first_byte)?;
        let Some(length) = VariableByteInteger::read(&buffer[1..])? else {
            return Ok(None);
        };
        let header_bytes = 1 + length.bytes;
        let body_bytes = length.value as usize;
        self.check_length(packet_type, length, header_bytes + body_bytes)?;
        if buffer.len() < header_bytes + body_bytes {
            return Ok(None);
        }
        let header = Header { first_byte, length };
        if body_bytes <= IN_PLACE_BYTES_MAX {
            let body = &buffer[header_bytes..header_bytes + body_bytes];
            let packet = self.read_packet(header, Reader::in_place(packet_type, body))?;
            buffer.advance(header_bytes + body_bytes);
            return Ok(Some(packet));
        }
        let frame = take_frame(buffer, packet_type, header_bytes, body_bytes);
        self.read_packet(header, Reader::of_frame(packet_type, &frame)).map(Some)
    }

    /// All that the first byte alone can be wrong about.
    fn check_first_byte(&self, first_byte: u8) -> Result<PacketType, DecodeError> {
        let reserved = DecodeError::ReservedPacketType(first_byte >> 4);
        let packet_type = PacketType::from_first_byte(first_byte).ok_or(reserved)?;
        match (self.phase, self.sender, packet_type) {
            (Phase::AwaitsFirst, Sender::Client, PacketType::Connect) => return Ok(packet_type),
            (Phase::AwaitsFirst, Sender::Client, _) => {
                return Err(DecodeError::FirstNotConnect(packet_type));
            }
            (Phase::AwaitsFirst, Sender::Server, PacketType::ConnAck | PacketType::Auth) => {}
            (Phase::AwaitsFirst, Sender::Server, _) => {
                return Err(DecodeError::FirstNotConnAck(packet_type));
            }
            (_, Sender::Client, PacketType::Connect) => return Err(DecodeError::SecondConnect),
            (_, Sender::Server, PacketType::ConnAck) => return Err(DecodeError::SecondConnAck),
            _ => {}
        }
        let Some(version) = self.version else {
            return Err(DecodeError::FirstNotConnect(packet_type));
        };
        if packet_type == PacketType::Auth && version != Version::V5 {
            return Err(reserved);
        }
        if !packet_type.may_come_from(self.sender, version) {
            return Err(DecodeError::WrongDirection(packet_type));
        }
        match packet_type {
            PacketType::Publish => publish::check_flags(first_byte, version)?,
            _ => packet_type.check_flags(first_byte & 0x0F, version)?,
        }
        Ok(packet_type)
    }

    /// All that the fixed header can be wrong about once it is complete.
    fn check_length(
        &self,
        packet_type: PacketType,
        length: VariableByteInteger,
        packet_bytes: usize,
    ) -> Result<(), DecodeError> {
        if packet_bytes > self.packet_bytes_max {
            return Err(DecodeError::PacketTooLarge { bytes: packet_bytes, bytes_max: self.packet_bytes_max });
        }
        // Before the CONNECT the version is open: the bounds of 3.x are the wider ones for it, and whether its length
        // had to be minimal is judged when it has been read.
        let version = self.version.unwrap_or(Version::V3_1);
        check_minimal(length, version)?;
        let bytes = length.value as usize;
        let (bytes_min, bytes_max) = packet_type.body_bounds(version);
        match (bytes_min..=bytes_max).contains(&bytes) {
            true => Ok(()),
            false => Err(DecodeError::RemainingLength { packet_type, bytes }),
        }
    }

    fn read_packet(&mut self, header: Header, mut reader: Reader) -> Result<Packet, DecodeError> {
        let Some(version) = self.version else {
            let connect = connect::read(&mut reader, header.first_byte & 0x0F)?;
            reader.finish()?;
            check_minimal(header.length, connect.version)?;
            self.version = Some(connect.version);
            self.phase = Phase::Open;
            return Ok(Packet::Connect(Box::new(connect)));
        };
        let context = Context { version, sender: self.sender };
        let packet = read_body(header.first_byte, &mut reader, context)?;
        reader.finish()?;
        if let Packet::ConnAck(_) = packet {
            self.phase = Phase::Open;
        }
        Ok(packet)
    }
}

/// A fixed header that is complete.
struct Header {
    first_byte: u8,
    length: VariableByteInteger,
}

/// What decides how a body is read, beside its type.
#[derive(Clone, Copy)]
struct Context {
    version: Version,
    sender: Sender,
}

impl Context {
    fn is_v5(self) -> bool {
        self.version == Version::V5
    }
}

/// The remaining length must be minimal in 5.0 (MQTT5 1.5.5-1); 3.x has no such rule (MQTT3.1.1 2.2.3).
fn check_minimal(length: VariableByteInteger, version: Version) -> Result<(), DecodeError> {
    match version == Version::V5 && !length.is_minimal() {
        true => Err(DecodeError::VariableByteIntegerNotMinimal),
        false => Ok(()),
    }
}

/// The body, as bytes of its own: copied if the packet is small, else split off. A PUBLISH copies its payload itself.
fn take_frame(buffer: &mut BytesMut, packet_type: PacketType, header_bytes: usize, body_bytes: usize) -> Bytes {
    let packet_bytes = header_bytes + body_bytes;
    if packet_bytes < COPY_BELOW_BYTES && packet_type != PacketType::Publish {
        let frame = Bytes::copy_from_slice(&buffer[header_bytes..packet_bytes]);
        buffer.advance(packet_bytes);
        return frame;
    }
    buffer.advance(header_bytes);
    buffer.split_to(body_bytes).freeze()
}

fn read_body(first_byte: u8, reader: &mut Reader, context: Context) -> Result<Packet, DecodeError> {
    Ok(match reader.packet_type() {
        // The first packet of a client is read apart, and `check_first_byte` lets no second one pass.
        PacketType::Connect => return Err(DecodeError::SecondConnect),
        PacketType::ConnAck => Packet::ConnAck(Box::new(connack::read(reader, context)?)),
        PacketType::Publish => {
            let publish = publish::read(first_byte, reader, context)?;
            Packet::Publish(Box::new(publish))
        }
        PacketType::PubAck => Packet::PubAck(ack::read(reader, context)?),
        PacketType::PubRec => Packet::PubRec(ack::read(reader, context)?),
        PacketType::PubRel => Packet::PubRel(ack::read(reader, context)?),
        PacketType::PubComp => Packet::PubComp(ack::read(reader, context)?),
        PacketType::Subscribe => Packet::Subscribe(subscribe::read_subscribe(reader, context)?),
        PacketType::SubAck => Packet::SubAck(subscribe::read_suback(reader, context)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(subscribe::read_unsubscribe(reader, context)?),
        PacketType::UnsubAck => Packet::UnsubAck(subscribe::read_unsuback(reader, context)?),
        PacketType::PingReq => Packet::PingReq,
        PacketType::PingResp => Packet::PingResp,
        PacketType::Disconnect => Packet::Disconnect(Box::new(leave::read_disconnect(reader, context)?)),
        PacketType::Auth => Packet::Auth(Box::new(leave::read_auth(reader, context)?)),
    })
}
