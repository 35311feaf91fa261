//! The upgrade and the stream, over an in-process pipe, with tungstenite's client on the other side.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::*;

const MESSAGE_BYTES_MAX: usize = 100_000;
const PIPE_BYTES: usize = 16 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);

type Outcome = Result<WebSocketBytes<DuplexStream>, UpgradeError>;
type Browser = WebSocketStream<DuplexStream>;

/// A listener's side of a new pipe, and the client's end of it.
fn listen(origins: &[&str]) -> (DuplexStream, JoinHandle<Outcome>) {
    let (near, far) = duplex(PIPE_BYTES);
    let origins: Vec<Origin> = origins.iter().map(|origin| Origin::new(origin).unwrap()).collect();
    let deadline = Instant::now() + TIMEOUT;
    (near, tokio::spawn(async move { accept(far, &origins, MESSAGE_BYTES_MAX, deadline).await }))
}

/// Asks for a WebSocket with these headers.
async fn ask(origins: &[&str], headers: &[(&'static str, &str)]) -> (Result<(Browser, Response), Error>, Outcome) {
    let (near, listening) = listen(origins);
    let mut request = "ws://broker/mqtt".into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    let asked = tokio_tungstenite::client_async(request, near).await;
    let asked = asked.map(|(browser, response)| (browser, response.map(|_| ())));
    (asked, listening.await.unwrap())
}

async fn open() -> (Browser, WebSocketBytes<DuplexStream>) {
    let (asked, outcome) = ask(&[], &[("sec-websocket-protocol", "mqtt")]).await;
    (asked.unwrap().0, outcome.unwrap())
}

/// The status of a refusal.
fn status(asked: Result<(Browser, Response), Error>) -> u16 {
    match asked {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("not refused: {other:?}"),
    }
}

/// The code of the Close frame that comes next, pongs left out.
async fn close_code(browser: &mut Browser) -> CloseCode {
    loop {
        match browser.next().await {
            Some(Ok(Message::Close(Some(frame)))) => return frame.code,
            Some(Ok(Message::Pong(_))) => {}
            other => panic!("no Close frame: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_subprotocol_is_mqtt_whatever_else_is_offered() {
    for offers in [&["mqtt"][..], &["mqttv3.1, mqtt"], &["chat", "mqtt,x"]] {
        let headers: Vec<_> = offers.iter().map(|offer| ("sec-websocket-protocol", *offer)).collect();
        let (near, listening) = listen(&[]);
        let mut request = String::from(
            "GET /any/path HTTP/1.1\r\nHost: broker\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut near = near;
        near.write_all((request + "\r\n").as_bytes()).await.unwrap();
        let accepted = listening.await.unwrap().unwrap();
        drop(accepted);
        let mut answer = String::new();
        near.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.to_lowercase().contains("sec-websocket-protocol: mqtt\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn without_the_subprotocol_there_is_no_websocket() {
    for headers in [&[][..], &[("sec-websocket-protocol", "mqttv3.1")], &[("sec-websocket-protocol", "MQTT")]] {
        let (asked, outcome) = ask(&[], headers).await;
        assert_eq!(status(asked), 400);
        assert!(matches!(outcome, Err(UpgradeError::Refused(Refusal::Subprotocol))));
    }
}

#[tokio::test]
async fn a_page_of_a_foreign_origin_is_refused_and_a_client_without_one_is_let_in() {
    let listed = ["https://app.example", "http://localhost:3000"];
    let mqtt = ("sec-websocket-protocol", "mqtt");
    for origin in listed {
        assert!(ask(&listed, &[mqtt, ("origin", origin)]).await.1.is_ok(), "{origin}");
    }
    assert!(ask(&listed, &[mqtt]).await.1.is_ok());
    for foreign in ["https://evil.example", "https://app.example.evil.example", "http://app.example", "null", ""] {
        for origins in [&listed[..], &[]] {
            let (asked, outcome) = ask(origins, &[mqtt, ("origin", foreign)]).await;
            assert_eq!(status(asked), 403, "{foreign}");
            let Err(UpgradeError::Refused(refusal)) = outcome else { panic!("{foreign} was let in") };
            assert_eq!(refusal, Refusal::Origin(foreign.to_owned()));
        }
    }
    let (asked, _) = ask(&listed, &[mqtt, ("origin", listed[0]), ("origin", "https://evil.example")]).await;
    assert_eq!(status(asked), 403, "every one of them counts");
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_that_does_not_come_is_given_up_in_time() {
    let start = Instant::now();
    let (mut near, listening) = listen(&[]);
    near.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
    assert!(matches!(listening.await.unwrap(), Err(UpgradeError::Timeout)));
    assert_eq!(start.elapsed(), TIMEOUT);
}

#[tokio::test]
async fn what_is_no_upgrade_is_refused() {
    for said in
        [&b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n"[..], b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a\r\n\r\n"]
    {
        let (mut near, listening) = listen(&[]);
        near.write_all(said).await.unwrap();
        assert!(matches!(listening.await.unwrap(), Err(UpgradeError::Failed(_))));
    }
}

#[tokio::test]
async fn messages_are_one_stream_of_bytes_wherever_they_are_cut() {
    let (mut browser, mut bytes) = open().await;
    let said: Vec<u8> = (0..50_000_u32).map(|n| n as u8).collect();
    let heard = tokio::spawn(async move {
        let mut heard = vec![0; 50_000];
        bytes.read_exact(&mut heard).await.unwrap();
        heard
    });
    let mut rest = &said[..];
    for piece in [1, 0, 2, 3, 5_000, 0, 1, 40_000].into_iter().chain([usize::MAX]) {
        let (message, after) = rest.split_at(piece.min(rest.len()));
        browser.send(Message::Binary(Bytes::copy_from_slice(message))).await.unwrap();
        rest = after;
    }
    assert_eq!(heard.await.unwrap(), said);
}

#[tokio::test]
async fn what_is_written_comes_in_binary_messages_of_bounded_length() {
    let (mut browser, mut bytes) = open().await;
    let said: Vec<u8> = (0..300_000_u32).map(|n| (n / 7) as u8).collect();
    let writing = tokio::spawn({
        let said = said.clone();
        async move {
            bytes.write_all(&said).await.unwrap();
            bytes.flush().await.unwrap();
            bytes
        }
    });
    let mut heard = Vec::new();
    while heard.len() < said.len() {
        let Some(Ok(Message::Binary(message))) = browser.next().await else { panic!("not binary") };
        assert!(message.len() <= SEND_MESSAGE_BYTES_MAX);
        heard.extend_from_slice(&message);
    }
    assert_eq!(heard, said);
    drop(writing.await.unwrap());
}

#[tokio::test]
async fn slices_leave_in_one_message() {
    let (mut browser, mut bytes) = open().await;
    let slices = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cd")];
    assert!(bytes.is_write_vectored());
    assert_eq!(bytes.write_vectored(&slices).await.unwrap(), 4);
    bytes.flush().await.unwrap();
    assert_eq!(browser.next().await.unwrap().unwrap(), Message::binary(&b"abcd"[..]));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_felt() {
    let (_browser, mut bytes) = open().await;
    let said = vec![7; SEND_MESSAGE_BYTES_MAX];
    assert_eq!(bytes.write(&said).await.unwrap(), said.len(), "one message waits here");
    assert!(tokio::time::timeout(TIMEOUT, bytes.write(&said)).await.is_err(), "a second one must not");
}

#[tokio::test]
async fn a_text_message_ends_the_connection() {
    let (mut browser, mut bytes) = open().await;
    browser.send(Message::text("\u{10}\r\0\u{4}MQTT")).await.unwrap();
    let error = bytes.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("6.0.0-1"), "{error}");
    assert_eq!(close_code(&mut browser).await, CloseCode::Unsupported);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_long_ends_the_connection_also_in_fragments() {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

    let whole = vec![Message::binary(vec![0; MESSAGE_BYTES_MAX + 1])];
    let half = || vec![0; MESSAGE_BYTES_MAX / 2 + 1];
    let fragments = vec![
        Message::Frame(Frame::message(half(), OpCode::Data(Data::Binary), false)),
        Message::Frame(Frame::message(half(), OpCode::Data(Data::Continue), true)),
    ];
    for messages in [whole, fragments] {
        let (mut browser, mut bytes) = open().await;
        let reading = tokio::spawn(async move {
            let error = bytes.read_u8().await.unwrap_err();
            (error, bytes)
        });
        for message in messages {
            // The broker may have gone before all of it left.
            let _ = browser.feed(message).await;
        }
        let flushing = browser.flush();
        let (_, ended) = tokio::join!(tokio::time::timeout(TIMEOUT, flushing), reading);
        let (error, bytes) = ended.unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        drop(bytes);
    }
}

#[tokio::test]
async fn a_message_of_the_largest_size_is_taken() {
    let (mut browser, mut bytes) = open().await;
    let said = vec![3; MESSAGE_BYTES_MAX];
    let message = Message::binary(said.clone());
    let sending = tokio::spawn(async move {
        browser.send(message).await.unwrap();
        browser
    });
    let mut heard = vec![0; MESSAGE_BYTES_MAX];
    bytes.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, said);
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn a_ping_is_answered_with_what_it_said() {
    let (mut browser, mut bytes) = open().await;
    browser.send(Message::Ping("are you there".into())).await.unwrap();
    browser.send(Message::binary(&b"x"[..])).await.unwrap();
    assert_eq!(bytes.read_u8().await.unwrap(), b'x');
    assert_eq!(browser.next().await.unwrap().unwrap(), Message::Pong("are you there".into()));
}

#[tokio::test]
async fn a_goodbye_is_said_in_websocket_and_answered() {
    let (mut browser, mut bytes) = open().await;
    bytes.write_all(b"last words").await.unwrap();
    bytes.shutdown().await.unwrap();
    assert_eq!(browser.next().await.unwrap().unwrap(), Message::binary(&b"last words"[..]));
    assert_eq!(close_code(&mut browser).await, CloseCode::Normal);
    // The answer leaves with the next look.
    let _ = browser.next().await;
    assert_eq!(bytes.read(&mut [0; 8]).await.unwrap(), 0);

    let (mut browser, mut bytes) = open().await;
    browser.close(None).await.unwrap();
    assert_eq!(bytes.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(bytes.write(b"too late").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    bytes.shutdown().await.unwrap();
    assert!(matches!(browser.next().await, Some(Ok(Message::Close(_)))));
}

#[tokio::test]
async fn an_end_without_goodbye_is_an_end() {
    let (browser, mut bytes) = open().await;
    drop(browser);
    assert_eq!(bytes.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_client_that_pings_without_end_costs_a_bounded_buffer() {
    let (mut browser, mut bytes) = open().await;
    let pinging = tokio::spawn(async move {
        // Many times what the pipe and the buffer hold, and not one pong is read.
        for _ in 0..10_000 {
            browser.send(Message::Ping(vec![7; 125].into())).await.unwrap();
        }
        browser.send(Message::binary(&b"x"[..])).await.unwrap();
        browser
    });
    assert_eq!(bytes.read_u8().await.unwrap(), b'x', "pongs are lost, not the connection");
    drop(pinging.await.unwrap());
}
