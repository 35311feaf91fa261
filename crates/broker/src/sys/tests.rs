use std::collections::BTreeMap;

use prometheus::Registry;

use super::*;
use crate::fixtures::{Listener, OPERATOR, backbone, open_access};

const INTERVAL: Duration = Duration::from_secs(10);

fn publisher(backbone: &Backbone) -> (SysPublisher, Metrics) {
    let metrics = Metrics::register(&Registry::new()).unwrap();
    (SysPublisher::new(backbone.clone(), metrics.clone(), INTERVAL), metrics)
}

async fn hear(listener: &mut Listener, messages: usize) -> BTreeMap<String, String> {
    let mut heard = BTreeMap::new();
    for _ in 0..messages {
        let (topic, text) = listener.hear().await;
        assert!(heard.insert(topic.strip_prefix("$SYS/broker/").unwrap().to_owned(), text).is_none());
    }
    heard
}

#[tokio::test(start_paused = true)]
async fn everything_is_told_at_the_start_and_then_what_changed() {
    let backbone = backbone(open_access());
    let mut operator = Listener::start(&backbone, OPERATOR, "$SYS/#").await;
    let (publisher, metrics) = publisher(&backbone);
    metrics.bytes_received.inc_by(1_234);
    let topics = publisher.report().map(|(topic, _)| topic);
    tokio::spawn(publisher.run());
    let told = hear(&mut operator, topics.len()).await;
    assert!(topics.iter().all(|topic| told.contains_key(*topic)));
    assert_eq!(told["version"], format!("quorate version {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(told["uptime"], "0 seconds");
    assert_eq!(told["bytes/received"], "1234");
    assert_eq!(told["clients/connected"], "0");
    assert_eq!(told["subscriptions/count"], "1");

    metrics.publishes_sent.inc();
    // By now the topics themselves are retained.
    let changed = hear(&mut operator, 4).await;
    let retained = topics.len().to_string();
    let expected = [
        ("publish/messages/sent", "1"),
        ("retained messages/count", &retained),
        ("store/messages/count", &retained),
        ("uptime", "10 seconds"),
    ];
    assert_eq!(changed, expected.map(|(topic, text)| (topic.to_owned(), text.to_owned())).into());

    assert_eq!(hear(&mut operator, 1).await, BTreeMap::from([("uptime".to_owned(), "20 seconds".to_owned())]));
}

#[tokio::test(start_paused = true)]
async fn what_a_rule_does_not_name_is_heard_by_admins_alone() {
    let backbone = backbone(open_access());
    let mut alice = Listener::start(&backbone, "alice", "#").await;
    let mut bob = Listener::start(&backbone, "bob", "$SYS/#").await;
    let mut operator = Listener::start(&backbone, OPERATOR, "$SYS/broker/uptime").await;
    let (publisher, _metrics) = publisher(&backbone);
    tokio::spawn(publisher.run());
    assert_eq!(operator.hear().await.1, "0 seconds");
    let others = async {
        tokio::select! { heard = alice.hear() => heard, heard = bob.hear() => heard }
    };
    tokio::select! {
        heard = others => panic!("{heard:?}"),
        heard = operator.hear() => assert_eq!(heard.1, "10 seconds"),
    }
}
