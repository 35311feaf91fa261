//! One socket, seen as packets: bytes in, a bounded read buffer, a write queue, bytes out.
//!
//! It is driven by polling only, so that one task can read and write at the same time and drop the wait at any moment
//! without losing a byte. What the packets mean is the connection's matter.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorate_wire::{DecodeError, Decoder, EncodeError, Packet, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout};

use super::write_queue::{SLICES_MAX, WriteQueue};

/// How much one read takes: a full TLS record.
const READ_BYTES: usize = 16 * 1024;

/// How long a client may leave bytes untaken before the connection is given up. As long as it takes some, it is slow,
/// not gone; what it does not take stays in the log.
pub(super) const WRITE_STALL_LIMIT: Duration = Duration::from_secs(30);

/// How long the last packets of a connection have to leave.
const LAST_FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// How long the peer has to close its side after ours. Closing a socket with unread bytes makes the kernel reset the
/// connection, and the reset can overtake the DISCONNECT that says why.
const LINGER_LIMIT: Duration = Duration::from_secs(1);

/// How many bytes of a peer that goes on talking are thrown away meanwhile.
const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Whether a wait may also read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Read when bytes come.
    On,
    /// Leave them in the kernel: back-pressure.
    Off,
}

/// What a wait on the socket came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SocketEvent {
    /// So many bytes came.
    Read(usize),
    /// The peer closed its side; what came before is still in the buffer.
    Ended,
    /// Something left.
    Wrote,
}

/// A stream with its two buffers.
#[derive(Debug)]
pub(super) struct Socket<S> {
    stream: S,
    inbound: BytesMut,
    outbound: WriteQueue,
    /// Bytes were given to the stream (TLS) that it may still hold.
    unflushed: bool,
    ended: bool,
    last_progress: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            inbound: BytesMut::new(),
            outbound: WriteQueue::default(),
            unflushed: false,
            ended: false,
            last_progress: Instant::now(),
        }
    }

    /// Takes one packet out of what was read; `None`: more must be read first.
    pub(super) fn decode(&mut self, decoder: &mut Decoder) -> Result<Option<Packet>, DecodeError> {
        let packet = decoder.decode(&mut self.inbound)?;
        if self.inbound.is_empty() {
            // An idle connection keeps no buffer.
            self.inbound = BytesMut::new();
        }
        Ok(packet)
    }

    /// Puts a packet into the write queue and gives its size in bytes.
    pub(super) fn send(&mut self, packet: &Packet, version: Version) -> Result<usize, EncodeError> {
        self.mark_busy();
        self.outbound.push(packet, version)
    }

    /// Puts bytes into the write queue as they are.
    pub(super) fn send_raw(&mut self, bytes: &Bytes) {
        self.mark_busy();
        self.outbound.push_raw(bytes);
    }

    /// How many bytes wait to be written.
    pub(super) fn outbound_bytes(&self) -> usize {
        self.outbound.len()
    }

    /// Whether the peer closed its side.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// When the peer, if it takes nothing until then, counts as stuck; `None` while nothing waits.
    pub(super) fn stall_deadline(&self) -> Option<Instant> {
        self.is_busy().then(|| self.last_progress + WRITE_STALL_LIMIT)
    }

    /// Waits until bytes came or left. Dropping the wait loses nothing.
    pub(super) async fn progress(&mut self, reading: Reading) -> io::Result<SocketEvent> {
        poll_fn(|cx| self.poll_progress(cx, reading)).await
    }

    /// Writes what waits, says goodbye in TLS and TCP, and lets the peer read it. Every step has its limit.
    pub(super) async fn close(mut self) {
        let flushed = timeout(LAST_FLUSH_LIMIT, async {
            while self.is_busy() {
                self.progress(Reading::Off).await?;
            }
            poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await
        })
        .await;
        if matches!(flushed, Ok(Ok(()))) {
            let _ = timeout(LINGER_LIMIT, self.discard_rest()).await;
        }
    }

    async fn discard_rest(&mut self) {
        let mut discarded = 0;
        while !self.ended && discarded < LINGER_BYTES_MAX {
            self.inbound.clear();
            match self.progress(Reading::On).await {
                Ok(SocketEvent::Read(bytes)) => discarded += bytes,
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    fn is_busy(&self) -> bool {
        self.unflushed || !self.outbound.is_empty()
    }

    fn mark_busy(&mut self) {
        if !self.is_busy() {
            self.last_progress = Instant::now();
        }
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>, reading: Reading) -> Poll<io::Result<SocketEvent>> {
        if let Poll::Ready(event) = self.poll_write_out(cx)? {
            return Poll::Ready(Ok(event));
        }
        if reading == Reading::Off || self.ended {
            return Poll::Pending;
        }
        self.poll_read_in(cx)
    }

    /// Ready when something left; pending when nothing waits or nothing is taken.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<SocketEvent>> {
        let mut progressed = false;
        while !self.outbound.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let filled = self.outbound.slices(&mut slices);
            match Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..filled])? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(written) => {
                    self.outbound.advance(written);
                    self.unflushed = true;
                    progressed = true;
                }
                Poll::Pending => break,
            }
        }
        // tokio-rustls keeps records of its own until they are flushed.
        if self.unflushed && self.outbound.is_empty() && Pin::new(&mut self.stream).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
            progressed = true;
        }
        if !progressed {
            return Poll::Pending;
        }
        self.last_progress = Instant::now();
        Poll::Ready(Ok(SocketEvent::Wrote))
    }

    /// Reads over the stack, so that a connection that waits holds no buffer.
    fn poll_read_in(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<SocketEvent>> {
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read)) {
            // An end without TLS's close_notify is an end: MQTT itself tells a packet that was cut off from a whole one.
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Poll::Ready(Err(error)),
            _ => {}
        }
        let bytes = read.filled();
        if bytes.is_empty() {
            self.ended = true;
            return Poll::Ready(Ok(SocketEvent::Ended));
        }
        self.inbound.extend_from_slice(bytes);
        Poll::Ready(Ok(SocketEvent::Read(bytes.len())))
    }
}
