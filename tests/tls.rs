//! The door: who has no certificate of the right CA, or a CN that breaks the rule, does not come in.

use quorate_testkit::{TestCa, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stage::{LIMIT, Stage};

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused() {
    let stage = Stage::open().await;
    let other = TestCa::new().unwrap();
    // The broker is believed, so that it is the broker who refuses.
    other.issue("alice").unwrap();
    std::fs::copy(stage.certificates(&[]).join("ca.pem"), other.dir().join("ca.pem")).unwrap();
    let stranger = other.identity("alice").unwrap();
    let error = stage.try_identity(stranger).await.unwrap_err().to_string();
    assert!(error.contains("TLS") || error.contains("lost"), "{error}");
    assert!(stage.try_identity(stage.broker().identity("alice").unwrap()).await.is_ok());
}

#[tokio::test]
async fn a_cn_that_breaks_the_rule_is_refused_and_logged() {
    let stage = Stage::open().await;
    let cases: [(&str, &[&str]); 4] =
        [("dash", &["-dash"]), ("spaces", &["with spaces"]), ("two", &["alice", "bob"]), ("none", &[])];
    for (name, common_names) in cases {
        let identity = stage.broker().ca().issue_unchecked(name, common_names).unwrap();
        assert!(stage.try_identity(identity).await.is_err(), "{name}");
    }
    eventually(LIMIT, async || {
        anyhow::ensure!(stage.broker().log().contains("with spaces"), "the log does not name the CN");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn plain_tcp_gets_no_answer_in_mqtt() {
    let stage = Stage::open().await;
    let mut socket = TcpStream::connect(stage.broker().address()).await.unwrap();
    socket.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a").await.unwrap();
    let mut answer = Vec::new();
    // The broker may reset the connection: that, too, is no CONNACK.
    let _ = socket.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"\x20"), "a CONNACK without TLS: {answer:?}");
}
