//! Keys, so that a prefix scan is one transaction, one party or one session, and byte order is the order of what is
//! encoded. Each text ends with a terminator that no text contains (a zero byte inside is escaped), so no id is a prefix
//! of another one's key; numbers are big-endian.

use quorate_domain::{PartyId, Place, Seq, SessionKey, TxId};

/// `keys`: from what the keys of ordinary topics are derived. (The key of a transaction ends like every text.)
pub(crate) const ORDINARY_KEY: &[u8] = b"ordinary";

/// Ends a text. Sorts before the escape, and so before every continuation of the text.
const END: [u8; 2] = [0x00, 0x01];
/// A zero byte inside a text.
const ESCAPED_ZERO: [u8; 2] = [0x00, 0xff];
/// After a transaction id: what is under the key.
const CHARTER: u8 = b'c';
const PROGRESS: u8 = b'p';
/// After the number of an ordinary message: what is under the key.
const MESSAGE: u8 = b'm';
const REFERENCES: u8 = b'r';

fn push_text(key: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            0 => key.extend_from_slice(&ESCAPED_ZERO),
            byte => key.push(byte),
        }
    }
    key.extend_from_slice(&END);
}

/// Takes one text off the front of a key; `None` if there is none.
fn take_text(key: &mut &[u8]) -> Option<String> {
    let mut text = Vec::new();
    let mut rest = *key;
    loop {
        match rest {
            [0x00, 0x01, after @ ..] => {
                *key = after;
                return String::from_utf8(text).ok();
            }
            [0x00, 0xff, after @ ..] => {
                text.push(0);
                rest = after;
            }
            [0x00, ..] | [] => return None,
            [byte, after @ ..] => {
                text.push(*byte);
                rest = after;
            }
        }
    }
}

fn text_key(text: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(text.len() + 16);
    push_text(&mut key, text);
    key
}

/// The first key after all those that begin with `prefix`, which is one or more whole texts.
pub(crate) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        // The last byte is the second of the terminator, hence never 0xff.
        *last += 1;
    }
    end
}

/// The first possible key after `key` itself.
pub(crate) fn after(key: &[u8]) -> Vec<u8> {
    let mut after = key.to_vec();
    after.push(0);
    after
}

/// All keys of one transaction, in each family that begins with the transaction.
pub(crate) fn transaction(tx: &TxId) -> Vec<u8> {
    text_key(tx.as_str())
}

/// `transactions`: what never changes.
pub(crate) fn charter(tx: &TxId) -> Vec<u8> {
    let mut key = transaction(tx);
    key.push(CHARTER);
    key
}

/// `transactions`: what changes.
pub(crate) fn progress(tx: &TxId) -> Vec<u8> {
    let mut key = transaction(tx);
    key.push(PROGRESS);
    key
}

/// The transaction of a key of `transactions`, if it is the key of a charter.
pub(crate) fn transaction_of_charter(mut key: &[u8]) -> Option<TxId> {
    let tx = take_text(&mut key)?;
    if key != [CHARTER] {
        return None;
    }
    TxId::new(&tx).ok()
}

/// The transaction that a key begins with.
pub(crate) fn transaction_of(mut key: &[u8]) -> Option<TxId> {
    TxId::new(&take_text(&mut key)?).ok()
}

/// `log`.
pub(crate) fn log(tx: &TxId, seq: Seq) -> Vec<u8> {
    let mut key = transaction(tx);
    key.extend_from_slice(&seq.0.to_be_bytes());
    key
}

/// The place of a key of `log`.
pub(crate) fn seq_of_log(mut key: &[u8]) -> Option<Seq> {
    take_text(&mut key)?;
    Some(Seq(u64::from_be_bytes(key.try_into().ok()?)))
}

/// `slots`.
pub(crate) fn slot(tx: &TxId, place: &Place) -> Vec<u8> {
    let mut key = transaction(tx);
    key.extend_from_slice(place.to_string().as_bytes());
    key
}

/// The place of a key of `slots`.
pub(crate) fn place_of_slot(mut key: &[u8]) -> Option<Place> {
    take_text(&mut key)?;
    std::str::from_utf8(key).ok()?.parse().ok()
}

/// All keys of one party, in each family that begins with the party.
pub(crate) fn party(party: &PartyId) -> Vec<u8> {
    text_key(party.as_str())
}

/// The party that a key begins with.
pub(crate) fn party_of(mut key: &[u8]) -> Option<PartyId> {
    PartyId::new(&take_text(&mut key)?).ok()
}

/// `party_tx`.
pub(crate) fn party_tx(of: &PartyId, tx: &TxId) -> Vec<u8> {
    let mut key = party(of);
    push_text(&mut key, tx.as_str());
    key
}

/// The transaction of a key of `party_tx`.
pub(crate) fn transaction_of_party_tx(mut key: &[u8]) -> Option<TxId> {
    take_text(&mut key)?;
    TxId::new(&take_text(&mut key)?).ok()
}

/// `sessions`, and all keys of one session in `cursors`, `receipts` and `inflight`.
pub(crate) fn session(session: &SessionKey) -> Vec<u8> {
    let mut key = party(&session.party);
    push_text(&mut key, &session.client_id);
    key
}

/// `cursors`.
pub(crate) fn cursor(of: &SessionKey, tx: &TxId) -> Vec<u8> {
    let mut key = session(of);
    push_text(&mut key, tx.as_str());
    key
}

/// `receipts` and `inflight`.
pub(crate) fn packet(of: &SessionKey, packet_id: u16) -> Vec<u8> {
    let mut key = session(of);
    key.extend_from_slice(&packet_id.to_be_bytes());
    key
}

/// The session that a key of `cursors`, `receipts` or `inflight` begins with.
pub(crate) fn session_before(mut key: &[u8]) -> Option<SessionKey> {
    let party = PartyId::new(&take_text(&mut key)?).ok()?;
    Some(SessionKey { party, client_id: take_text(&mut key)? })
}

/// The packet identifier of a key of `receipts` or `inflight`.
pub(crate) fn packet_id_of(mut key: &[u8]) -> Option<u16> {
    take_text(&mut key)?;
    take_text(&mut key)?;
    Some(u16::from_be_bytes(key.try_into().ok()?))
}

/// The session of a key of `sessions` or `wills`.
pub(crate) fn session_of(mut key: &[u8]) -> Option<SessionKey> {
    let party = PartyId::new(&take_text(&mut key)?).ok()?;
    let client_id = take_text(&mut key)?;
    key.is_empty().then_some(SessionKey { party, client_id })
}

/// `ordinary`: a message.
pub(crate) fn ordinary(id: u64) -> Vec<u8> {
    numbered(id, MESSAGE)
}

/// `ordinary`: how many queues refer to a message.
pub(crate) fn references(id: u64) -> Vec<u8> {
    numbered(id, REFERENCES)
}

fn numbered(id: u64, what: u8) -> Vec<u8> {
    let mut key = id.to_be_bytes().to_vec();
    key.push(what);
    key
}

/// What is under the number of an ordinary message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbered {
    Message,
    References,
}

/// The number of a key of `ordinary`, and what is under it.
pub(crate) fn number_of(key: &[u8]) -> Option<(u64, Numbered)> {
    let (id, what) = key.split_first_chunk()?;
    let what = match what {
        [MESSAGE] => Numbered::Message,
        [REFERENCES] => Numbered::References,
        _ => return None,
    };
    Some((u64::from_be_bytes(*id), what))
}

/// `queue`.
pub(crate) fn queued(queue: u64, seq: Seq) -> Vec<u8> {
    let mut key = queue.to_be_bytes().to_vec();
    key.extend_from_slice(&seq.0.to_be_bytes());
    key
}

/// The first key after all those of a queue.
pub(crate) fn queue_end(queue: u64) -> Vec<u8> {
    queue.saturating_add(1).to_be_bytes().to_vec()
}

/// The queue of a key of `queue`, and the place in it.
pub(crate) fn place_of_queued(key: &[u8]) -> Option<(u64, Seq)> {
    let (queue, seq) = key.split_first_chunk()?;
    Some((u64::from_be_bytes(*queue), Seq(u64::from_be_bytes(seq.try_into().ok()?))))
}

/// `retained`: the topic as it is, so that the topics with one beginning stand together.
pub(crate) fn retained(topic: &str) -> Vec<u8> {
    topic.as_bytes().to_vec()
}

/// The first key of `retained` after all topics that begin with `prefix`; empty: there is none.
pub(crate) fn retained_end(prefix: &str) -> Vec<u8> {
    let mut end = retained(prefix);
    if let Some(last) = end.last_mut() {
        // A byte of UTF-8 is never 0xff.
        *last += 1;
    }
    end
}

/// The transaction of a key of `cursors`.
pub(crate) fn transaction_of_cursor(mut key: &[u8]) -> Option<TxId> {
    take_text(&mut key)?;
    take_text(&mut key)?;
    TxId::new(&take_text(&mut key)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tx(text: &str) -> TxId {
        TxId::new(text).expect("a valid id")
    }

    #[test]
    fn no_transaction_is_inside_the_prefix_of_another() {
        let (short, long) = (tx("aaaaaaaaaaaaaaaa"), tx("aaaaaaaaaaaaaaaab"));
        assert!(!log(&long, Seq(1)).starts_with(&transaction(&short)));
        assert!(log(&long, Seq(0)) > end_of(&transaction(&short)));
        assert!(log(&short, Seq(u64::MAX)) < end_of(&transaction(&short)));
    }

    #[test]
    fn parts_are_read_back() {
        let tx = tx("01JD3W8QK7V9N2M4");
        let alice = PartyId::new("alice").expect("a valid party");
        let place: Place = "p2p/1/alice/bob".parse().expect("a valid place");
        let key = SessionKey { party: alice.clone(), client_id: "a\0b".to_owned() };
        assert_eq!(transaction_of_charter(&charter(&tx)), Some(tx.clone()));
        assert_eq!(transaction_of_charter(&progress(&tx)), None);
        assert_eq!(seq_of_log(&log(&tx, Seq(77))), Some(Seq(77)));
        assert_eq!(place_of_slot(&slot(&tx, &place)), Some(place));
        assert_eq!(transaction_of_party_tx(&party_tx(&alice, &tx)), Some(tx.clone()));
        assert_eq!(transaction_of_cursor(&cursor(&key, &tx)), Some(tx));
        assert_eq!(packet_id_of(&packet(&key, 258)), Some(258));
        assert_eq!(party_of(&party(&alice)), Some(alice));
        assert_eq!(session_of(&session(&key)), Some(key));
        assert_eq!(place_of_queued(&queued(7, Seq(9))), Some((7, Seq(9))));
        assert!(queued(7, Seq(u64::MAX)) < queue_end(7) && queue_end(7) <= queued(8, Seq(0)));
    }

    #[test]
    fn what_is_no_key_is_not_read() {
        for key in [&b""[..], b"alice", b"alice\0", b"alice\0\x02", b"\xff\0\x01", b"alice\0\x01x"] {
            assert_eq!(transaction_of_party_tx(key), None);
            assert_eq!(seq_of_log(key), None);
        }
    }

    proptest! {
        #[test]
        fn order_is_kept_and_texts_come_back(a in any::<String>(), b in any::<String>(), c in any::<String>()) {
            let two = |first: &str, second: &str| {
                let mut key = Vec::new();
                push_text(&mut key, first);
                push_text(&mut key, second);
                key
            };
            prop_assert_eq!(two(&a, &c).cmp(&two(&b, &c)), a.cmp(&b));
            prop_assert_eq!(two(&a, &b).cmp(&two(&a, &c)), b.cmp(&c));
            let key = two(&a, &b);
            let mut rest = &key[..];
            prop_assert_eq!(take_text(&mut rest), Some(a));
            prop_assert_eq!(take_text(&mut rest), Some(b));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn the_end_of_a_prefix_is_after_all_that_begin_with_it(text in any::<String>(), tail in any::<Vec<u8>>()) {
            let prefix = text_key(&text);
            let mut key = prefix.clone();
            key.extend(tail);
            prop_assert!(key < end_of(&prefix));
            prop_assert!(key >= prefix);
        }
    }
}
