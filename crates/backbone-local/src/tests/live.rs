//! Lanes that lose copies: every loss is noticed, and the log has all.

use quorate_backbone::{Backbone, Mailbox};
use quorate_domain::{Addressed, Delivery, Seq, TxId};

use super::{create, directory, open, publish, read, read_after, session, soon, tx};

/// Hears like a session does: a live copy if it is the next one, else what the log has.
async fn hear(backbone: &Backbone, mailbox: &mut Mailbox, tx: &TxId, until: usize) -> (Vec<Addressed>, usize) {
    let mut heard: Vec<Addressed> = Vec::new();
    let mut live = 0;
    while heard.len() < until {
        let position = heard.last().map_or(Seq::ZERO, |last| last.message.seq);
        match soon(mailbox.recv()).await {
            Delivery::Log(copy) if copy.message.seq > position && copy.prev <= position => {
                live += 1;
                heard.push(copy);
            }
            Delivery::Log(_) => {}
            Delivery::Behind => {
                heard.extend(read_after(backbone, tx, "carol", position).await);
            }
            Delivery::State { .. } | Delivery::Queued(_) | Delivery::Purged(_) => panic!("no state was published"),
        }
    }
    (heard, live)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_every_third_copy_lost_all_is_heard_without_a_reconnect() {
    const MESSAGES: usize = 500;
    let directory = directory();
    let local = open(directory.path(), Some(3));
    let backbone = local.backbone();
    let mut mailbox = backbone.fanout.mailbox(&session("carol"));
    let writer = tokio::spawn({
        let backbone = backbone.clone();
        async move {
            create(&backbone, &tx(1)).await;
            for n in 0..MESSAGES {
                publish(&backbone, &tx(1), "bob", "msg/bob/n", n.to_string()).await.expect("accepted");
            }
        }
    });
    let (heard, live) = hear(&backbone, &mut mailbox, &tx(1), MESSAGES + 1).await;
    soon(writer).await.expect("the writer ends well");
    assert_eq!(heard, read(&backbone, &tx(1), "carol").await);
    assert!(live > 0, "some came live");
    soon(local.shut_down()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_the_last_copy_is_noticed() {
    let directory = directory();
    let local = open(directory.path(), Some(1));
    let backbone = local.backbone();
    let mut mailbox = backbone.fanout.mailbox(&session("carol"));
    create(&backbone, &tx(1)).await;
    // Nothing follows that could show a gap.
    assert!(matches!(soon(mailbox.recv()).await, Delivery::Behind));
    let (heard, live) = {
        publish(&backbone, &tx(1), "bob", "msg/bob/n", "x").await.expect("accepted");
        hear(&backbone, &mut mailbox, &tx(1), 2).await
    };
    assert_eq!((heard.len(), live), (2, 0));
    soon(local.shut_down()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_beyond_the_bounds_of_a_lane_is_heard_whole() {
    const MESSAGES: usize = 60;
    const BYTES: usize = 1 << 20;
    let directory = directory();
    let local = open(directory.path(), None);
    let backbone = local.backbone();
    let mut mailbox = backbone.fanout.mailbox(&session("carol"));
    create(&backbone, &tx(1)).await;
    let writers: Vec<_> = (0..MESSAGES)
        .map(|n| {
            let backbone = backbone.clone();
            let payload = vec![u8::try_from(n).expect("a small number"); BYTES];
            tokio::spawn(async move { publish(&backbone, &tx(1), "bob", "msg/bob/n", payload).await })
        })
        .collect();
    let (heard, _) = hear(&backbone, &mut mailbox, &tx(1), MESSAGES + 1).await;
    for writer in writers {
        soon(writer).await.expect("the writer ends well").expect("accepted");
    }
    assert_eq!(heard, read(&backbone, &tx(1), "carol").await);
    soon(local.shut_down()).await;
}
