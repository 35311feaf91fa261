//! The payload of a measured message: who sent it, which of the sender's it is, when it began, and filling that no
//! compression makes smaller, as little as it does ciphertext.

use bytes::{BufMut, Bytes, BytesMut};

/// The smallest payload: a stamp alone.
pub const PAYLOAD_BYTES_MIN: u32 = 24;

/// Tells a measured message from a manifest or a state document.
const MARK: u32 = 0x7175_6f72;
/// Any odd constant spreads neighbouring numbers; this is the golden ratio's.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a payload begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Place of the sender among the senders of the run.
    pub sender: u32,
    /// The sender's messages, counted from 1.
    pub number: u64,
    /// When it was to be sent, on the clock of the run.
    pub began_ns: u64,
}

impl Stamp {
    /// A payload of so many bytes, at least [`PAYLOAD_BYTES_MIN`]. No two stamps make the same.
    pub fn payload(self, bytes: usize) -> Bytes {
        let mut payload = BytesMut::with_capacity(bytes.next_multiple_of(8).max(PAYLOAD_BYTES_MIN as usize));
        payload.put_u32(MARK);
        payload.put_u32(self.sender);
        payload.put_u64(self.number);
        payload.put_u64(self.began_ns);
        let mut state = (self.number ^ (u64::from(self.sender) << 40)).wrapping_mul(SPREAD) | 1;
        while payload.len() < bytes {
            // xorshift64: not random for a cryptographer, but so for LZ4 and zstd.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            payload.put_u64(state);
        }
        payload.truncate(bytes);
        payload.freeze()
    }

    /// The stamp of a measured message; `None` for anything else.
    pub fn read(payload: &[u8]) -> Option<Stamp> {
        let (mark, rest) = payload.split_first_chunk()?;
        let (sender, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (began_ns, _) = rest.split_first_chunk()?;
        (u32::from_be_bytes(*mark) == MARK).then(|| Stamp {
            sender: u32::from_be_bytes(*sender),
            number: u64::from_be_bytes(*number),
            began_ns: u64::from_be_bytes(*began_ns),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back() {
        let stamp = Stamp { sender: 3, number: 9, began_ns: 7 };
        for bytes in [24, 25, 256] {
            let payload = stamp.payload(bytes);
            assert_eq!(payload.len(), bytes);
            assert_eq!(Stamp::read(&payload), Some(stamp));
        }
        assert_eq!(Stamp::read(&stamp.payload(24)[..23]), None);
    }

    #[test]
    fn a_manifest_is_no_measured_message() {
        assert_eq!(Stamp::read(br#"{"tx":"0123456789abcdef","initiator":"alice"}"#), None);
    }

    #[test]
    fn the_filling_of_no_two_messages_is_equal() {
        let filling = |sender, number| Stamp { sender, number, began_ns: 0 }.payload(256).slice(24..);
        assert_ne!(filling(0, 1), filling(0, 2));
        assert_ne!(filling(0, 1), filling(1, 1));
    }
}
