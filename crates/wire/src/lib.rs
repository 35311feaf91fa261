//! Bytes to MQTT packets and back (3.1, 3.1.1, 5.0), strict and zero-copy. No I/O.
//!
//! This is what hostile bytes meet first. It owns every rule of the specifications that one packet's bytes decide, and
//! the order of the first packet. It leaves to `session` what needs memory of earlier packets (topic aliases, packet
//! identifiers in use, whether a property was negotiated), and to `domain` who may do what.
//!
//! [`Decoder`] reads a stream of bytes, [`encode`] and [`encode_vectored`] write packets into the caller's buffer. Each
//! refusal is a [`DecodeError`] that knows its MQTT 5 reason code and the clause that it enforces. Clauses are written
//! `MQTT5 2.1.3-1` for the numbered statement \[MQTT-2.1.3-1\] of the 5.0 standard, or with a section number where a rule
//! has no number of its own; `MQTT3.1.1` and `MQTT3.1` stand for the older documents. A rule that several versions share
//! is cited from 5.0.

mod decode;
mod encode;
mod header;
mod packet;
mod property;
mod reason;
mod topic;

pub use bytestring::ByteString;
pub use decode::{COPY_BELOW_BYTES, DecodeError, Decoder};
pub use encode::{EncodeError, encode, encode_vectored, encoded_len};
pub use header::{PacketType, REMAINING_LENGTH_MAX};
pub use packet::*;
pub use property::Property;
pub use reason::{ReasonCode, UnknownReasonCode};
pub use topic::{FilterSyntax, SHARE_PREFIX, TopicError, check_filter, check_topic_name};
