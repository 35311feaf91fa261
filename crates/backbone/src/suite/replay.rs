//! Reading: from any place, in bounded pages, and only what the reader may hear.

use quorate_domain::Seq;

use super::fixtures::{create, party, publish, read, soon, told, tx};
use crate::{Backbone, ReadLimit};

/// Read from each place in the log, the rest comes, and nothing else.
pub async fn reads_go_on_from_any_place(backbone: Backbone) {
    let tx = tx("replay");
    create(&backbone, &tx).await;
    for n in 0..20 {
        publish(&backbone, &tx, "alice", "msg/alice/n", n.to_string()).await.expect("accepted");
    }
    let whole = read(&backbone, &tx, "bob", Seq::ZERO).await;
    for (place, addressed) in whole.messages.iter().enumerate() {
        let seq = addressed.message.seq;
        let rest = read(&backbone, &tx, "bob", seq).await;
        assert_eq!(rest.messages, whole.messages[place + 1..]);
        // A place between two messages is a place, too: numbers may have gaps.
        let between = read(&backbone, &tx, "bob", Seq(seq.0 - 1)).await;
        assert_eq!(between.messages, whole.messages[place..]);
    }
}

/// Pages keep to their limits, follow each other without a gap, and end; one message comes whatever the limit.
pub async fn limits_bound_a_page_and_one_message_always_comes(backbone: Backbone) {
    let tx = tx("pages");
    create(&backbone, &tx).await;
    for n in 0..30_u8 {
        publish(&backbone, &tx, "alice", "msg/alice/n", vec![n; 100]).await.expect("accepted");
    }
    let whole = read(&backbone, &tx, "bob", Seq::ZERO).await;
    let limits = [(1, 1_000_000), (7, 1_000_000), (1_000, 1), (1_000, 350), (0, 0)];
    for (messages, bytes) in limits {
        let mut collected = Vec::new();
        let mut after = Seq::ZERO;
        loop {
            let limit = ReadLimit { messages, bytes };
            let page = soon(backbone.log.read(&tx, &party("bob"), after, limit)).await.expect("readable");
            assert!(page.messages.len() <= messages.max(1));
            let sum: usize = page.messages.iter().map(|m| m.message.payload.len()).sum();
            assert!(sum <= bytes || page.messages.len() == 1);
            collected.extend(page.messages);
            if page.scanned_to == page.head {
                break;
            }
            assert!(page.scanned_to > after, "each page gets further");
            after = page.scanned_to;
        }
        assert_eq!(collected, whole.messages, "limits {messages} and {bytes}");
    }
}

/// Invariant 2: of `p2p`, nothing to anybody but its addressee.
pub async fn a_letter_reaches_its_addressee_alone(backbone: Backbone) {
    let tx = tx("letters");
    create(&backbone, &tx).await;
    publish(&backbone, &tx, "alice", "p2p/1/alice/bob", "for bob").await.expect("accepted");
    publish(&backbone, &tx, "alice", "p2p/1/alice/carol", "for carol").await.expect("accepted");
    publish(&backbone, &tx, "bob", "p2p/1/bob/alice", "for alice").await.expect("accepted");
    for (reader, letter) in [("alice", "for alice"), ("bob", "for bob"), ("carol", "for carol")] {
        let page = read(&backbone, &tx, reader, Seq::ZERO).await;
        let heard: Vec<_> = told(&page).into_iter().skip(1).map(|(_, bytes)| bytes).collect();
        assert_eq!(heard, [letter]);
        assert_eq!(page.scanned_to, page.head, "what is not for the reader is passed over");
    }
}

/// `prev` is the message before it that this party may hear, so that a client can notice a gap.
pub async fn each_party_has_its_own_chain_of_prev(backbone: Backbone) {
    let tx = tx("chain");
    create(&backbone, &tx).await;
    for n in 0..6 {
        publish(&backbone, &tx, "alice", &format!("p2p/{n}/alice/bob"), "x").await.expect("ok");
        publish(&backbone, &tx, "bob", "msg/bob/n", n.to_string()).await.expect("ok");
        publish(&backbone, &tx, "bob", &format!("p2p/{n}/bob/carol"), "y").await.expect("ok");
    }
    for reader in ["alice", "bob", "carol"] {
        let mut prev = Seq::ZERO;
        for addressed in read(&backbone, &tx, reader, Seq::ZERO).await.messages {
            assert_eq!(addressed.prev, prev);
            prev = addressed.message.seq;
        }
        let standings = soon(backbone.registry.standings(&party(reader), None, 10)).await;
        assert_eq!(standings.expect("readable")[0].last_addressed, prev);
    }
}

/// A transaction that does not exist and one that does not list the reader look the same.
pub async fn a_stranger_reads_an_empty_end(backbone: Backbone) {
    let (known, unknown) = (tx("listed"), tx("not-there"));
    create(&backbone, &known).await;
    for after in [Seq::ZERO, Seq(3)] {
        let foreign = read(&backbone, &known, "mallory", after).await;
        let missing = read(&backbone, &unknown, "mallory", after).await;
        assert!(foreign.messages.is_empty());
        assert_eq!(foreign.scanned_to, foreign.head);
        assert_eq!(foreign, missing);
    }
}
