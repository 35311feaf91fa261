//! What transactions there are and how they stand.

use std::slice;

use quorate_domain::{Seq, Sha256, TxState};

use super::fixtures::{create, manifest, party, publish, soon, tx};
use crate::Backbone;

/// Standings and lists come in `TxId` order and go on after the last one seen; a stranger has none.
pub async fn standings_come_in_order_and_in_pages(backbone: Backbone) {
    for n in [3, 1, 4, 0, 2] {
        create(&backbone, &tx(&format!("page-{n}"))).await;
    }
    let expected: Vec<_> = (0..5).map(|n| tx(&format!("page-{n}"))).collect();
    let (mut standings, mut all) = (Vec::new(), Vec::new());
    loop {
        let after = standings.last().cloned();
        let page = soon(backbone.registry.standings(&party("bob"), after.as_ref(), 2)).await;
        let page = page.expect("readable");
        let listed = soon(backbone.registry.list(after.as_ref(), 2)).await;
        all.extend(listed.expect("readable"));
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        for standing in page {
            assert_eq!(standing.state, TxState::Open);
            assert_eq!(standing.head, standing.last_addressed);
            assert!(standing.head > Seq::ZERO);
            standings.push(standing.tx);
        }
    }
    assert_eq!(standings, expected);
    assert_eq!(all, expected);
    let foreign = soon(backbone.registry.standings(&party("mallory"), None, 10)).await;
    assert_eq!(foreign, Ok(Vec::new()));
}

/// The journal tells sizes and sums of everything, the slots what was written once.
pub async fn the_journal_and_the_slots_tell_what_was_written(backbone: Backbone) {
    let tx = tx("journal");
    create(&backbone, &tx).await;
    publish(&backbone, &tx, "alice", "p2p/1/alice/bob", "secret").await.expect("accepted");
    publish(&backbone, &tx, "bob", "msg/bob/n", "free").await.expect("accepted");
    let journal = soon(backbone.registry.journal(&tx, Seq::ZERO, 10)).await.expect("readable");
    let lines: Vec<_> = journal.iter().map(|entry| (entry.topic.to_string(), entry.bytes, entry.sha256)).collect();
    let manifest = manifest(&tx, "alice", true);
    let line = |rest: &str, payload: &[u8]| (format!("tx/{tx}/{rest}"), payload.len() as u64, Sha256::of(payload));
    let expected = [line("manifest", &manifest), line("p2p/1/alice/bob", b"secret"), line("msg/bob/n", b"free")];
    assert_eq!(lines, expected);
    let rest = soon(backbone.registry.journal(&tx, journal[0].seq, 1)).await.expect("readable");
    assert_eq!(rest, journal[1..2]);
    let slots = soon(backbone.registry.slots(&tx, 100)).await.expect("readable");
    let written: Vec<_> = slots.iter().map(|(topic, slot)| (topic.to_string(), slot.seq, slot.sha256)).collect();
    let slot = |n: usize| (lines[n].0.clone(), journal[n].seq, lines[n].2);
    assert_eq!(written, [slot(0), slot(1)]);
}

/// What changes the state document is marked; what does not is not.
pub async fn changes_of_state_are_marked(backbone: Backbone) {
    let (first, second) = (tx("mark-first"), tx("mark-second"));
    let changed = backbone.registry.changed();
    create(&backbone, &first).await;
    assert_eq!(soon(changed.take()).await, slice::from_ref(&first));
    publish(&backbone, &first, "alice", "msg/alice/n", "x").await.expect("accepted");
    create(&backbone, &second).await;
    assert_eq!(soon(changed.take()).await, [second], "a message is no change of state");
    publish(&backbone, &first, "alice", "broadcast/1/alice", "x").await.expect("accepted");
    publish(&backbone, &first, "alice", "broadcast/1/alice", "y").await.expect_err("taken");
    assert_eq!(soon(changed.take()).await, slice::from_ref(&first), "an equivocation is");
    publish(&backbone, &first, "bob", "abort/bob", "x").await.expect("accepted");
    assert_eq!(soon(changed.take()).await, [first]);
}
