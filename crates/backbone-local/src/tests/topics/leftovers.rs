//! What is left where a queue is full.

use super::*;
use crate::LocalBackbone;
use crate::tests::options;

#[tokio::test(flavor = "multi_thread")]
async fn a_will_that_finds_a_queue_full_is_counted() {
    let directory = directory();
    let registry = prometheus::Registry::new();
    let mut options = options(directory.path());
    options.topics.queue_messages_max = 1;
    let local = LocalBackbone::open(options, &registry).expect("it opens");
    let backbone = local.backbone();
    let not_queued = || {
        let families = registry.gather();
        let is_of_it = |family: &&prometheus::proto::MetricFamily| family.name() == "quorate_wills_not_queued_total";
        let family = families.iter().find(is_of_it).expect("it is registered");
        family.get_metric()[0].get_counter().get_value()
    };
    let carol = Listener::lasting(&backbone, "carol", "#").await;
    let bob = Listener::connect(&backbone, "bob", Start::Clean, SessionExpiry::Never, Some(will("gone"))).await;
    say(&backbone, "a", "fills").await;
    soon(backbone.sessions.say_will(&bob.key, bob.epoch)).await.expect("said");
    assert_eq!(carol.waiting().await, ["fills"]);
    assert!((not_queued() - 1.0).abs() < f64::EPSILON);
    soon(local.shut_down()).await;
}
