//! Reads the fields of one packet's body, never beyond its end.

use std::num::NonZeroU16;

use bytes::Bytes;
use bytestring::ByteString;

use super::{COPY_BELOW_BYTES, DecodeError};
use crate::header::VariableByteInteger;
use crate::reason::Place;
use crate::{PacketId, PacketType, Property, QoS, ReasonCode, ReasonProperties, UserProperties};

/// A place in one packet's body.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// The same bytes, counted: what is kept is a slice of them. Where there is none, what is kept is copied.
    frame: Option<&'a Bytes>,
    position: usize,
    /// The packet's end, or while properties are read the end of their list.
    end: usize,
    packet_type: PacketType,
}

impl<'a> Reader<'a> {
    /// Reads from a frame; text and payloads become slices of it.
    pub(super) fn of_frame(packet_type: PacketType, frame: &'a Bytes) -> Self {
        Self { frame: Some(frame), ..Self::in_place(packet_type, frame) }
    }

    /// Reads from the connection's buffer; for bodies so short that there is next to nothing to keep.
    pub(super) fn in_place(packet_type: PacketType, bytes: &'a [u8]) -> Self {
        Self { bytes, frame: None, position: 0, end: bytes.len(), packet_type }
    }

    pub(super) fn packet_type(&self) -> PacketType {
        self.packet_type
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.position == self.end
    }

    /// Refuses bytes after the last field.
    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        match self.is_at_end() {
            true => Ok(()),
            false => Err(DecodeError::TrailingBytes(self.packet_type)),
        }
    }

    fn advance(&mut self, length: usize) -> Result<usize, DecodeError> {
        if self.end - self.position < length {
            return Err(DecodeError::Truncated(self.packet_type));
        }
        let start = self.position;
        self.position += length;
        Ok(start)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let start = self.advance(N)?;
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[start..start + N]);
        Ok(array)
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A Variable Byte Integer in the body, which only 5.0 has, so that it must be minimal (MQTT5 1.5.5-1).
    pub(super) fn variable_byte_integer(&mut self) -> Result<u32, DecodeError> {
        let rest = &self.bytes[self.position..self.end];
        let read = VariableByteInteger::read(rest)?.ok_or(DecodeError::Truncated(self.packet_type))?;
        if !read.is_minimal() {
            return Err(DecodeError::VariableByteIntegerNotMinimal);
        }
        self.position += read.bytes;
        Ok(read.value)
    }

    pub(super) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        PacketId::new(self.u16()?).ok_or(DecodeError::PacketIdZero(self.packet_type))
    }

    pub(super) fn reason_code(&mut self, place: Place) -> Result<ReasonCode, DecodeError> {
        let code = self.byte()?;
        ReasonCode::try_from(code)
            .ok()
            .filter(|reason| reason.may_stand_in(place))
            .ok_or(DecodeError::WrongReasonCode { packet_type: self.packet_type, code })
    }

    fn keep(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        let start = self.advance(length)?;
        let range = start..start + length;
        Ok(match self.frame {
            Some(frame) => frame.slice(range),
            None => Bytes::copy_from_slice(&self.bytes[range]),
        })
    }

    /// All that is left, as a payload: that of a small packet is copied, so that keeping it keeps nothing else.
    pub(super) fn payload(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.end - self.position;
        if self.bytes.len() < COPY_BELOW_BYTES {
            let start = self.advance(length)?;
            return Ok(Bytes::copy_from_slice(&self.bytes[start..start + length]));
        }
        self.keep(length)
    }

    /// Binary data (MQTT5 1.5.6).
    pub(super) fn binary(&mut self) -> Result<Bytes, DecodeError> {
        let length = usize::from(self.u16()?);
        self.keep(length)
    }

    /// A UTF-8 encoded string (MQTT5 1.5.4), with U+0000 refused.
    pub(super) fn text(&mut self) -> Result<ByteString, DecodeError> {
        let bytes = self.binary()?;
        // Without an early exit the compiler compares many bytes at once.
        if bytes.iter().fold(false, |found, &byte| found | (byte == 0)) {
            return Err(DecodeError::NullCharacter(self.packet_type));
        }
        ByteString::try_from(bytes).map_err(|_| DecodeError::Utf8(self.packet_type))
    }

    /// Reads a property list (MQTT5 2.2.2) and hands each property to `each`, which reads its value.
    pub(super) fn properties(
        &mut self,
        mut each: impl FnMut(&mut Self, Property) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let length = self.variable_byte_integer()? as usize;
        let packet_end = self.end;
        if packet_end - self.position < length {
            return Err(DecodeError::PropertyLength(self.packet_type));
        }
        self.end = self.position + length;
        while !self.is_at_end() {
            let identifier = self.variable_byte_integer()?;
            let property =
                Property::from_identifier(identifier).ok_or_else(|| self.not_allowed_identifier(identifier))?;
            each(self, property)?;
        }
        self.end = packet_end;
        Ok(())
    }

    fn not_allowed_identifier(&self, identifier: u32) -> DecodeError {
        DecodeError::PropertyNotAllowed { identifier, packet_type: self.packet_type }
    }

    /// For a property that this packet may not carry.
    pub(super) fn not_allowed(&self, property: Property) -> DecodeError {
        self.not_allowed_identifier(u32::from(property.identifier()))
    }

    /// A byte that is 0 or 1.
    pub(super) fn flag(&mut self, property: Property) -> Result<bool, DecodeError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::PropertyValue(property)),
        }
    }

    pub(super) fn non_zero_u16(&mut self, property: Property) -> Result<NonZeroU16, DecodeError> {
        NonZeroU16::new(self.u16()?).ok_or(DecodeError::PropertyValue(property))
    }

    pub(super) fn non_zero_u32(&mut self, property: Property) -> Result<u32, DecodeError> {
        match self.u32()? {
            0 => Err(DecodeError::PropertyValue(property)),
            value => Ok(value),
        }
    }

    /// 1 to 268,435,455 (MQTT5 3.8.2.1.2).
    pub(super) fn subscription_identifier(&mut self) -> Result<u32, DecodeError> {
        match self.variable_byte_integer()? {
            0 => Err(DecodeError::PropertyValue(Property::SubscriptionIdentifier)),
            value => Ok(value),
        }
    }

    pub(super) fn user_property(&mut self, into: &mut UserProperties) -> Result<(), DecodeError> {
        into.push((self.text()?, self.text()?));
        Ok(())
    }

    /// A property list of reason string and user properties, which most answers have.
    pub(super) fn reason_properties(&mut self) -> Result<ReasonProperties, DecodeError> {
        let mut into = ReasonProperties::default();
        self.properties(|reader, property| match property {
            Property::ReasonString => once(&mut into.reason_string, property, reader.text()?),
            Property::UserProperty => reader.user_property(&mut into.user_properties),
            _ => Err(reader.not_allowed(property)),
        })?;
        Ok(into)
    }
}

/// Sets a property that may come once.
pub(super) fn once<T>(slot: &mut Option<T>, property: Property, value: T) -> Result<(), DecodeError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(DecodeError::PropertyTwice(property)),
    }
}

/// The QoS in the lower two bits; `None` for 3.
pub(super) const fn qos_from_bits(bits: u8) -> Option<QoS> {
    match bits & 0b11 {
        0 => Some(QoS::AtMostOnce),
        1 => Some(QoS::AtLeastOnce),
        2 => Some(QoS::ExactlyOnce),
        _ => None,
    }
}
