//! MQTT over WebSocket (MQTT5 6): the upgrade, and the messages as one stream of bytes.
//!
//! To the rest of the connection it is a stream like any other: packets may straddle messages and messages may hold
//! several (MQTT5 6.0.0-2). RFC 6455 itself is tokio-tungstenite's matter; here is which pages may connect, and what
//! MQTT asks of a WebSocket. Pings are answered while the connection is read, and do not count as signs of life: MQTT
//! has its own.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Sink, Stream};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN, SEC_WEBSOCKET_PROTOCOL,
};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::config::Origin;

#[cfg(test)]
mod tests;

/// The subprotocol that both sides must name (MQTT5 6.0.0-3, 6.0.0-4).
const SUBPROTOCOL: &str = "mqtt";

/// What tungstenite reads at once, and holds for every connection; a longer message gets its room when it comes.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// The longest message that is sent. Longer ones would save nothing, and each is copied into the frame.
const SEND_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// One message and the pongs beside it. A client that pings without reading loses pongs first, then the connection.
const WRITE_BUFFER_BYTES_MAX: usize = 2 * SEND_MESSAGE_BYTES_MAX;

/// Why a connection did not become a WebSocket.
#[derive(Debug, Error)]
pub(super) enum UpgradeError {
    /// The time of the handshakes is over.
    #[error("the WebSocket upgrade did not come in time")]
    Timeout,
    /// A page that is not listed.
    #[error("the WebSocket upgrade was refused: {0}")]
    Refused(Refusal),
    /// It is no upgrade to a WebSocket, or the connection broke.
    #[error("the WebSocket upgrade failed: {0}")]
    Failed(Error),
}

/// Why an upgrade that is one was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    /// A browser says that a page of this origin connects, and the listener does not list it.
    #[error("origin {0:?} is not among the listener's origins")]
    Origin(String),
    /// MQTT5 6.0.0-3.
    #[error("the client does not offer the subprotocol \"mqtt\"")]
    Subprotocol,
}

impl Refusal {
    /// What is told to the client: nothing that it did not say itself.
    fn response(&self) -> ErrorResponse {
        let (status, body) = match self {
            Refusal::Origin(_) => (StatusCode::FORBIDDEN, "this origin may not connect\n"),
            Refusal::Subprotocol => (StatusCode::BAD_REQUEST, "the WebSocket subprotocol must be mqtt\n"),
        };
        let mut response = ErrorResponse::new(Some(body.to_owned()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

/// Answers an upgrade, in its time; no message and no frame will be longer than `message_bytes_max`.
///
/// # Errors
/// See [`UpgradeError`]; a refusal has been answered.
pub(super) async fn accept<S>(
    stream: S,
    origins: &[Origin],
    message_bytes_max: usize,
    deadline: Instant,
) -> Result<WebSocketBytes<S>, UpgradeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    let mut refusal = None;
    #[allow(clippy::result_large_err, reason = "tungstenite's trait has it so")]
    let judge = |request: &Request, mut response: Response| match judge(request, origins) {
        Ok(()) => {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
            Ok(response)
        }
        Err(refused) => Err(refusal.insert(refused).response()),
    };
    let upgrade = tokio_tungstenite::accept_hdr_async_with_config(stream, judge, Some(config));
    let outcome = timeout_at(deadline, upgrade).await.map_err(|_| UpgradeError::Timeout)?;
    match (outcome, refusal) {
        (Ok(messages), _) => Ok(WebSocketBytes { messages, inbound: Bytes::new(), goodbye: Goodbye::ToSay }),
        (Err(_), Some(refusal)) => Err(UpgradeError::Refused(refusal)),
        (Err(error), None) => Err(UpgradeError::Failed(error)),
    }
}

/// Whether the client may have a WebSocket. A client without an Origin header is no browser: what it may do, its
/// certificate decides. Browsers always send it (RFC 6455, 4.1), so that a page cannot use the certificate of whoever
/// looks at it.
fn judge(request: &Request, origins: &[Origin]) -> Result<(), Refusal> {
    let is_listed =
        |header: &&HeaderValue| origins.iter().any(|origin| origin.as_str().as_bytes() == header.as_bytes());
    if let Some(foreign) = request.headers().get_all(ORIGIN).iter().find(|header| !is_listed(header)) {
        return Err(Refusal::Origin(String::from_utf8_lossy(foreign.as_bytes()).into_owned()));
    }
    let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|header| header.to_str().ok());
    match offered.flat_map(|list| list.split(',')).any(|offer| offer.trim() == SUBPROTOCOL) {
        true => Ok(()),
        false => Err(Refusal::Subprotocol),
    }
}

/// A WebSocket as a stream of bytes.
#[derive(Debug)]
pub(super) struct WebSocketBytes<S> {
    messages: WebSocketStream<S>,
    /// What was not read yet of the last message.
    inbound: Bytes,
    goodbye: Goodbye,
}

/// The Close frame that ends our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goodbye {
    ToSay,
    Said,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocketBytes<S> {
    /// The next message that has bytes in it; `None` at the end.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            match ready!(Pin::new(&mut self.messages).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) if !bytes.is_empty() => return Poll::Ready(Ok(Some(bytes))),
                // Tungstenite answers pings and closes by itself.
                Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Close(_))) => {}
                // MQTT5 6.0.0-1. A bare frame never comes out of a stream.
                Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                    let error = invalid("a WebSocket message is not binary (MQTT5 6.0.0-1)");
                    return Poll::Ready(Err(self.fail(CloseCode::Unsupported, error, cx)));
                }
                Some(Err(error)) => return Poll::Ready(self.end_with(error, cx).map(|()| None)),
                None => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// What an error that ends the stream means: an end, or a fault, of which the peer is told where it is its own.
    fn end_with(&mut self, error: Error, cx: &mut Context<'_>) -> io::Result<()> {
        use tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
        let (code, error) = match error {
            // MQTT itself tells a packet that was cut off from a whole one.
            Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(ResetWithoutClosingHandshake) => {
                return Ok(());
            }
            Error::Io(error) => return Err(error),
            error @ Error::Capacity(_) => (CloseCode::Size, error),
            error @ Error::Utf8(_) => (CloseCode::Unsupported, error),
            error => (CloseCode::Protocol, error),
        };
        Err(self.fail(code, invalid(error), cx))
    }

    /// Tells the peer as far as it can be told at once: nothing waits for a peer that breaks the rules.
    fn fail(&mut self, code: CloseCode, error: io::Error, cx: &mut Context<'_>) -> io::Error {
        self.say_goodbye(code);
        let _ = Pin::new(&mut self.messages).poll_flush(cx);
        error
    }

    /// Queues the Close frame, once. That it cannot be sent any more is an end as well.
    fn say_goodbye(&mut self, code: CloseCode) {
        if self.goodbye == Goodbye::ToSay {
            self.goodbye = Goodbye::Said;
            let close = Message::Close(Some(CloseFrame { code, reason: "".into() }));
            let _ = Pin::new(&mut self.messages).start_send(close);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketBytes<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.inbound.is_empty() {
            match ready!(self.poll_message(cx))? {
                Some(bytes) => self.inbound = bytes,
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = self.inbound.len().min(buffer.remaining());
        buffer.put_slice(&self.inbound[..taken]);
        self.inbound.advance(taken);
        if self.inbound.is_empty() {
            // An idle connection keeps no message.
            self.inbound = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocketBytes<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    /// One message out of what is offered. The one before it must have left: then what waits here is bounded, and the
    /// peer's slowness is felt.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.messages).poll_flush(cx)).map_err(write_error)?;
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut message = BytesMut::with_capacity(offered.min(SEND_MESSAGE_BYTES_MAX));
        for slice in slices {
            let room = SEND_MESSAGE_BYTES_MAX - message.len();
            message.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        let taken = message.len();
        if taken > 0 {
            Pin::new(&mut self.messages).start_send(Message::Binary(message.freeze())).map_err(write_error)?;
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.messages).poll_flush(cx).map_err(write_error)
    }

    /// Says goodbye in WebSocket, then in what is beneath it.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.say_goodbye(CloseCode::Normal);
        match ready!(Pin::new(&mut self.messages).poll_flush(cx)) {
            Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => {}
            Err(error) => return Poll::Ready(Err(write_error(error))),
        }
        Pin::new(self.messages.get_mut()).poll_shutdown(cx)
    }
}

/// The peer's fault.
fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn write_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        // The peer has said goodbye: nothing may be sent after it.
        error => io::Error::new(io::ErrorKind::BrokenPipe, error),
    }
}
