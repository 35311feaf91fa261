//! What waits to be written to one socket: small packets gathered in one buffer, large payloads as they are.
//!
//! It only keeps and counts; when to stop filling it is the connection's matter (`OUT_BYTES_MAX`).

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use quorate_wire::{EncodeError, Packet, Version};

/// Payloads below this are copied into the gathered buffer. TLS copies them into its records anyway, and one long slice
/// is cheaper than many short ones; above it, a second copy would cost more than a slice of its own.
const GATHER_BELOW_BYTES: usize = 2 * 1024;

/// How many slices one vectored write offers.
pub(super) const SLICES_MAX: usize = 16;

/// Encoded packets in the order in which they leave.
#[derive(Debug, Default)]
pub(super) struct WriteQueue {
    chunks: VecDeque<Bytes>,
    /// What is being gathered; comes after all chunks.
    tail: BytesMut,
    bytes: usize,
}

impl WriteQueue {
    /// Encodes a packet behind all others and gives its size in bytes.
    pub(super) fn push(&mut self, packet: &Packet, version: Version) -> Result<usize, EncodeError> {
        let before = self.tail.len();
        let payload = match quorate_wire::encode_vectored(packet, version, &mut self.tail) {
            Ok(payload) => payload,
            Err(error) => {
                // Half a packet must never reach the socket.
                self.tail.truncate(before);
                return Err(error);
            }
        };
        let mut added = self.tail.len() - before;
        if let Some(payload) = payload {
            added += payload.len();
            if payload.len() < GATHER_BELOW_BYTES {
                self.tail.extend_from_slice(&payload);
            } else {
                self.seal();
                self.chunks.push_back(payload);
            }
        }
        self.bytes += added;
        Ok(added)
    }

    /// Puts bytes behind all others as they are.
    pub(super) fn push_raw(&mut self, bytes: &Bytes) {
        self.tail.extend_from_slice(bytes);
        self.bytes += bytes.len();
    }

    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Fills `slices` with what comes first and gives how many it filled.
    pub(super) fn slices<'a>(&'a mut self, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        self.seal();
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk);
            filled += 1;
        }
        filled
    }

    /// Forgets the first `written` bytes.
    pub(super) fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(first) = self.chunks.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.chunks.pop_front();
        }
    }

    /// Ends the gathered buffer, so that what it holds can be written. It gives its memory away: an idle connection
    /// keeps none.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(std::mem::take(&mut self.tail).freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_wire::{Publish, PublishProperties, QoS};

    fn publish(payload: Bytes) -> Packet {
        Packet::Publish(Box::new(Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: "a".into(),
            packet_id: None,
            properties: PublishProperties::default(),
            payload,
        }))
    }

    fn written_in_steps_of(queue: &mut WriteQueue, step: usize) -> Vec<u8> {
        let mut written = Vec::new();
        while !queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let filled = queue.slices(&mut slices);
            let offered: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
            let taken = offered.len().min(step);
            written.extend_from_slice(&offered[..taken]);
            queue.advance(taken);
        }
        written
    }

    #[test]
    fn packets_leave_in_order_whatever_a_write_takes() {
        let packets = [
            Packet::PingResp,
            publish(Bytes::from(vec![1; 10])),
            publish(Bytes::from(vec![2; 5_000])),
            Packet::PingResp,
            publish(Bytes::from(vec![3; 3_000])),
        ];
        let mut expected = BytesMut::new();
        for packet in &packets {
            quorate_wire::encode(packet, Version::V5, &mut expected).unwrap();
        }
        for step in [1, 7, 4_096, usize::MAX] {
            let mut queue = WriteQueue::default();
            let added: usize = packets.iter().map(|packet| queue.push(packet, Version::V5).unwrap()).sum();
            assert_eq!(added, expected.len());
            assert_eq!(queue.len(), expected.len());
            assert_eq!(written_in_steps_of(&mut queue, step), expected, "step {step}");
        }
    }

    #[test]
    fn a_large_payload_is_not_copied() {
        let payload = Bytes::from(vec![7; 100_000]);
        let mut queue = WriteQueue::default();
        queue.push(&publish(payload.clone()), Version::V5).unwrap();
        assert!(queue.chunks.iter().any(|chunk| chunk.as_ptr() == payload.as_ptr()));
    }

    #[test]
    fn small_packets_share_one_slice() {
        let mut queue = WriteQueue::default();
        for _ in 0..100 {
            queue.push(&publish(Bytes::from(vec![1; 200])), Version::V5).unwrap();
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        assert_eq!(queue.slices(&mut slices), 1);
    }
}
