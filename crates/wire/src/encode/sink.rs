//! Where fields go: into a count of bytes, which also finds what cannot be written, and then into the buffer.
//!
//! Each packet is described once, over [`Sink`], so that the length and the bytes cannot disagree.

use bytes::{BufMut, BytesMut};

use super::EncodeError;
use crate::header::variable_byte_integer_bytes;
use crate::{Property, UserProperties};

/// Longest text or binary data.
const FIELD_BYTES_MAX: usize = u16::MAX as usize;

/// Takes the fields of a packet in order.
pub(super) trait Sink {
    fn raw(&mut self, bytes: &[u8]);
    fn variable_byte_integer(&mut self, value: usize);
    /// Two bytes of length, then the bytes.
    fn binary(&mut self, bytes: &[u8]);
    /// The same for text.
    fn text(&mut self, text: &str);

    fn byte(&mut self, byte: u8) {
        self.raw(&[byte]);
    }

    fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    /// A property list with its length before it.
    fn properties(&mut self, list: &impl PropertyList)
    where
        Self: Sized,
    {
        let mut count = Count::default();
        list.write(&mut count);
        self.variable_byte_integer(count.bytes);
        list.write(self);
        self.absorb(count);
    }

    /// Keeps the fault that a count found.
    fn absorb(&mut self, _count: Count) {}

    fn property_byte(&mut self, property: Property, value: Option<u8>) {
        if let Some(value) = value {
            self.raw(&[property.identifier(), value]);
        }
    }

    fn property_flag(&mut self, property: Property, value: Option<bool>) {
        self.property_byte(property, value.map(u8::from));
    }

    fn property_u16(&mut self, property: Property, value: Option<u16>) {
        if let Some(value) = value {
            self.byte(property.identifier());
            self.u16(value);
        }
    }

    fn property_u32(&mut self, property: Property, value: Option<u32>) {
        if let Some(value) = value {
            self.byte(property.identifier());
            self.raw(&value.to_be_bytes());
        }
    }

    fn property_integer(&mut self, property: Property, value: Option<u32>) {
        if let Some(value) = value {
            self.byte(property.identifier());
            self.variable_byte_integer(value as usize);
        }
    }

    fn property_text(&mut self, property: Property, value: Option<&str>) {
        if let Some(value) = value {
            self.byte(property.identifier());
            self.text(value);
        }
    }

    fn property_binary(&mut self, property: Property, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.byte(property.identifier());
            self.binary(value);
        }
    }

    fn user_properties(&mut self, properties: &UserProperties) {
        for (name, value) in properties {
            self.byte(Property::UserProperty.identifier());
            self.text(name);
            self.text(value);
        }
    }
}

/// The properties of one packet.
pub(super) trait PropertyList {
    fn write(&self, sink: &mut impl Sink);

    /// Whether there are none, so that the shortest form may leave out their length.
    fn is_empty(&self) -> bool {
        let mut count = Count::default();
        self.write(&mut count);
        count.bytes == 0
    }
}

/// Counts, and finds what cannot be written.
#[derive(Default)]
pub(super) struct Count {
    bytes: usize,
    fault: Option<EncodeError>,
}

impl Count {
    /// The bytes counted, or the first fault.
    pub(super) fn finish(self) -> Result<usize, EncodeError> {
        match self.fault {
            None => Ok(self.bytes),
            Some(fault) => Err(fault),
        }
    }
}

impl Sink for Count {
    fn raw(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
    }

    fn variable_byte_integer(&mut self, value: usize) {
        self.bytes += variable_byte_integer_bytes(value);
    }

    fn binary(&mut self, bytes: &[u8]) {
        if bytes.len() > FIELD_BYTES_MAX {
            self.fault = self.fault.or(Some(EncodeError::FieldTooLong(bytes.len())));
        }
        self.bytes += 2 + bytes.len();
    }

    fn text(&mut self, text: &str) {
        // Without an early exit the compiler compares many bytes at once.
        if text.bytes().fold(false, |found, byte| found | (byte == 0)) {
            self.fault = self.fault.or(Some(EncodeError::NullCharacter));
        }
        self.binary(text.as_bytes());
    }

    fn absorb(&mut self, count: Count) {
        self.fault = self.fault.or(count.fault);
    }
}

/// Writes what a [`Count`] has found sound and for which room is reserved.
impl Sink for BytesMut {
    fn raw(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }

    fn variable_byte_integer(&mut self, mut value: usize) {
        while value > 0x7F {
            self.put_u8((value & 0x7F) as u8 | 0x80);
            value >>= 7;
        }
        self.put_u8(value as u8);
    }

    fn binary(&mut self, bytes: &[u8]) {
        // `Count` has refused more than `FIELD_BYTES_MAX`.
        self.put_u16(bytes.len() as u16);
        self.put_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.binary(text.as_bytes());
    }
}
