//! Ordinary topics as `broker.toml` opens them: rules, and what the broker tells about itself.

mod support;

use quorate_wire::ReasonCode;
use support::TestBroker;

#[tokio::test]
async fn the_rules_of_the_configuration_decide_who_says_and_hears_what() {
    let broker = TestBroker::start_with_tables(
        r#"
        [[acl.rule]]
        permission = "allow"
        action = "subscribe"
        topics = ["news/#"]
        parties = ["*"]
        [[acl.rule]]
        permission = "allow"
        action = "publish"
        topics = ["news/#"]
        parties = ["press-*"]
        "#,
    )
    .await;
    let mut bob = broker.connect("bob", "b").await;
    assert_eq!(bob.subscribe("news/#").await, ReasonCode::GrantedQoS1);
    assert_eq!(bob.subscribe("home/#").await, ReasonCode::NotAuthorized);
    let mut alice = broker.connect("alice", "a").await;
    assert_eq!(alice.publish(1, "news/today", "rumour").await, ReasonCode::NotAuthorized);
    let mut press = broker.connect("press-1", "p").await;
    assert_eq!(press.publish(1, "news/today", "fact").await, ReasonCode::Success);
    assert_eq!(bob.receive_message().await.payload, "fact");
    broker.drain().await;
}

#[tokio::test]
async fn the_broker_tells_about_itself_to_whom_a_rule_lets_hear_it() {
    let broker = TestBroker::start_with_tables(
        r#"
        [[acl.rule]]
        permission = "allow"
        action = "subscribe"
        topics = ["$SYS/broker/version"]
        parties = ["monitor"]
        "#,
    )
    .await;
    let mut alice = broker.connect("alice", "a").await;
    assert_eq!(alice.subscribe("$SYS/#").await, ReasonCode::NotAuthorized);
    let mut monitor = broker.connect("monitor", "m").await;
    assert_eq!(monitor.subscribe("$SYS/#").await, ReasonCode::GrantedQoS1);
    let told = monitor.receive_message().await;
    assert_eq!(told.topic.as_ref() as &str, "$SYS/broker/version");
    assert_eq!(told.payload, format!("quorate version {}", env!("CARGO_PKG_VERSION")));
    broker.drain().await;
}
