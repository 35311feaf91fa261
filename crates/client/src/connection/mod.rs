//! The task that owns the socket: it reads, writes, pings, and ends. What packets mean is in [`protocol`]; how a
//! connection begins is in [`open`].

mod open;
mod protocol;

use std::{
    io,
    ops::ControlFlow,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use bytestring::ByteString;
use quorate_wire::{Decoder, PacketId, Publish, QoS, SubscribeFilter};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::client::TlsStream;

use crate::{ClientError, ConnectOptions, Handle, Message, client::lost};
pub(crate) use open::{Opened, open};
use protocol::Protocol;

/// Calls that wait to be taken by the task. Callers beyond it wait.
const COMMANDS_MAX: usize = 64;
/// SUBSCRIBEs and UNSUBSCRIBEs without an answer. Callers beyond it wait.
const REQUESTS_MAX: usize = 16;
/// Unacknowledged publishes, however many more the server would take: packet identifiers stay easy to find.
const WINDOW_MAX: usize = 4_096;
/// Messages that may wait for the caller beyond the Receive Maximum: QoS 0. Beyond them the socket is not read.
const INBOUND_SPARE: usize = 64;
/// Above this much unwritten output no further call is taken.
const OUT_BYTES_MAX: usize = 256 * 1024;
/// How much is read at once, at most.
const READ_BYTES: usize = 64 * 1024;
/// With less room than this the read buffer grows again.
const READ_BYTES_MIN: usize = 4 * 1024;
/// After a failed write: how long the server's last words are waited for.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_millis(500);
/// How long writing the goodbye may take.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(3);

type Stream = TlsStream<TcpStream>;

/// What a caller asks of the task.
#[derive(Debug)]
pub(crate) enum Command {
    Publish(Box<Publish>, Waiter),
    Subscribe(SubscribeFilter, Waiter),
    Unsubscribe(ByteString, Waiter),
    Acknowledge { packet_id: PacketId, qos: QoS },
    Disconnect,
}

/// Who waits for an answer; holds its place in the window until then.
#[derive(Debug)]
pub(crate) struct Waiter {
    answer: oneshot::Sender<Result<(), ClientError>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Waiter {
    pub(crate) fn new(answer: oneshot::Sender<Result<(), ClientError>>, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self { answer, _permit: permit }
    }

    /// A caller that no longer listens is no fault.
    fn answer(self, outcome: Result<(), ClientError>) {
        let _ = self.answer.send(outcome);
    }
}

/// Starts the task of an opened connection.
pub(crate) fn start(opened: Opened, options: &ConnectOptions) -> (mpsc::Receiver<Message>, Handle, JoinHandle<()>) {
    static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);
    let connection = NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed);
    let (commands, command_queue) = mpsc::channel(COMMANDS_MAX);
    let (inbound, messages) = mpsc::channel(usize::from(options.receive_maximum) + INBOUND_SPARE);
    let handle = Handle {
        commands,
        window: Arc::new(Semaphore::new(opened.receive_maximum().min(WINDOW_MAX))),
        requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
        ended: Arc::new(OnceLock::new()),
        connection,
    };
    let ending = Ending {
        window: Arc::clone(&handle.window),
        requests: Arc::clone(&handle.requests),
        ended: Arc::clone(&handle.ended),
    };
    let keep_alive = KeepAlive::new(opened.keep_alive_s(options));
    let protocol = Protocol::new(options.version, opened.packet_bytes_max(), connection);
    let (reader, writer) = tokio::io::split(opened.stream);
    let mut task = Task {
        reader,
        writer,
        decoder: opened.decoder,
        input: opened.input,
        protocol,
        keep_alive,
        commands: command_queue,
        inbound,
        held: None,
        unflushed: false,
    };
    let task = tokio::spawn(async move {
        let cause = task.run().await;
        tracing::debug!(%cause, "connection ended");
        // The order matters: whoever is woken below finds the cause.
        let _ = ending.ended.set(cause.clone());
        ending.window.close();
        ending.requests.close();
        task.protocol.fail_all(&cause);
    });
    (messages, handle, task)
}

/// What the end of the task is told through.
struct Ending {
    window: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    ended: Arc<OnceLock<ClientError>>,
}

/// What the task waited for.
enum Event {
    Read(io::Result<usize>),
    Written(io::Result<()>),
    Flushed(io::Result<()>),
    /// The caller has room for the held message.
    Room,
    Command(Command),
    /// The caller's `Client` is gone.
    Dropped,
    /// The keep-alive deadline has passed.
    Due,
}

struct Task {
    reader: ReadHalf<Stream>,
    writer: WriteHalf<Stream>,
    decoder: Decoder,
    input: BytesMut,
    protocol: Protocol,
    keep_alive: KeepAlive,
    commands: mpsc::Receiver<Command>,
    inbound: mpsc::Sender<Message>,
    /// A message for which the caller has no room: nothing is read until it has.
    held: Option<Message>,
    unflushed: bool,
}

impl Task {
    /// Runs until the connection ends and says why.
    async fn run(&mut self) -> ClientError {
        loop {
            if let ControlFlow::Break(cause) = self.take_input() {
                return cause;
            }
            if let ControlFlow::Break(cause) = self.step().await {
                return cause;
            }
        }
    }

    /// Deals with what has been read, as far as the caller has room.
    fn take_input(&mut self) -> ControlFlow<ClientError> {
        while self.held.is_none() {
            let packet = match self.decoder.decode(&mut self.input) {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(error) => return ControlFlow::Break(lost(&format!("the server broke the protocol: {error}"))),
            };
            self.keep_alive.heard();
            if let Some(message) = self.protocol.handle_packet(packet)? {
                match self.inbound.try_send(message) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(message)) => self.held = Some(message),
                    Err(mpsc::error::TrySendError::Closed(_)) => return ControlFlow::Break(lost(DROPPED)),
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Waits for one thing and does it.
    async fn step(&mut self) -> ControlFlow<ClientError> {
        match self.next_event().await {
            Event::Read(Ok(0)) => return ControlFlow::Break(lost("the server closed it")),
            Event::Read(Ok(_)) => self.keep_input_room(),
            Event::Read(Err(error)) => return ControlFlow::Break(lost(&error.to_string())),
            Event::Written(Ok(())) => {
                self.unflushed = true;
                self.keep_alive.sent();
            }
            Event::Flushed(Ok(())) => self.unflushed = false,
            Event::Written(Err(error)) | Event::Flushed(Err(error)) => {
                return ControlFlow::Break(self.last_words(&error.to_string()).await);
            }
            Event::Room => {
                if let Some(Err(mpsc::error::TrySendError::Full(message))) =
                    self.held.take().map(|held| self.inbound.try_send(held))
                {
                    self.held = Some(message);
                }
            }
            Event::Command(Command::Disconnect) => return ControlFlow::Break(self.goodbye().await),
            Event::Command(command) => self.protocol.handle_command(command),
            Event::Dropped => return ControlFlow::Break(lost(DROPPED)),
            Event::Due => return self.keep_alive.due(&mut self.protocol),
        }
        ControlFlow::Continue(())
    }

    /// Waits for what can happen now. Every branch is cancel safe.
    async fn next_event(&mut self) -> Event {
        let has_output = !self.protocol.out.is_empty();
        // While the socket is not read, silence proves nothing.
        let deadline = self.keep_alive.deadline().filter(|_| self.held.is_none());
        tokio::select! {
            read = self.reader.read_buf(&mut self.input), if self.held.is_none() => Event::Read(read),
            event = write(&mut self.writer, &mut self.protocol.out), if has_output || self.unflushed => event,
            room = self.inbound.reserve(), if self.held.is_some() => match room {
                Ok(_) => Event::Room,
                Err(_) => Event::Dropped,
            },
            command = self.commands.recv(), if self.protocol.out.len() < OUT_BYTES_MAX => {
                command.map_or(Event::Dropped, Event::Command)
            }
            () = self.inbound.closed() => Event::Dropped,
            () = at(deadline), if deadline.is_some() => Event::Due,
        }
    }

    fn keep_input_room(&mut self) {
        if self.input.capacity() - self.input.len() < READ_BYTES_MIN {
            self.input.reserve(READ_BYTES);
        }
    }

    /// Writes what is queued, DISCONNECT at its end, and closes.
    async fn goodbye(&mut self) -> ClientError {
        self.protocol.disconnect();
        let farewell = async {
            self.writer.write_all_buf(&mut self.protocol.out).await?;
            self.writer.flush().await?;
            self.writer.shutdown().await
        };
        // Whether it reached the server makes no difference to what follows.
        let _ = timeout(GOODBYE_TIMEOUT, farewell).await;
        lost("this side disconnected")
    }

    /// A server that refuses something closes right after its DISCONNECT; the write that hits the closed socket is
    /// often noticed before that DISCONNECT has been read.
    async fn last_words(&mut self, write_error: &str) -> ClientError {
        let words = async {
            loop {
                while let Ok(Some(packet)) = self.decoder.decode(&mut self.input) {
                    if let ControlFlow::Break(cause) = self.protocol.handle_packet(packet) {
                        return Some(cause);
                    }
                }
                self.keep_input_room();
                if !matches!(self.reader.read_buf(&mut self.input).await, Ok(read) if read > 0) {
                    return None;
                }
            }
        };
        timeout(LAST_WORDS_TIMEOUT, words).await.ok().flatten().unwrap_or_else(|| lost(write_error))
    }
}

const DROPPED: &str = "this side dropped the client";

/// Keep alive (MQTT5 3.1.2.10): a PINGREQ after three quarters of the interval without sending, and the connection is
/// given up when its answer takes longer than the interval.
struct KeepAlive {
    interval: Option<Duration>,
    last_sent: Instant,
    pinged: Option<Instant>,
}

impl KeepAlive {
    fn new(seconds: u16) -> Self {
        let interval = (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)));
        Self { interval, last_sent: Instant::now(), pinged: None }
    }

    fn sent(&mut self) {
        self.last_sent = Instant::now();
    }

    fn heard(&mut self) {
        self.pinged = None;
    }

    fn deadline(&self) -> Option<Instant> {
        let interval = self.interval?;
        Some(self.pinged.map_or(self.last_sent + interval * 3 / 4, |pinged| pinged + interval))
    }

    fn due(&mut self, protocol: &mut Protocol) -> ControlFlow<ClientError> {
        let now = Instant::now();
        match (self.pinged, self.interval) {
            (Some(pinged), Some(interval)) if now >= pinged + interval => {
                ControlFlow::Break(lost("the server does not answer pings"))
            }
            (Some(_), _) => ControlFlow::Continue(()),
            (None, _) => {
                protocol.ping();
                self.pinged = Some(now);
                ControlFlow::Continue(())
            }
        }
    }
}

/// Writes what can be written, or flushes what was. Cancel safe: what was written is gone from `out`.
async fn write(writer: &mut WriteHalf<Stream>, out: &mut BytesMut) -> Event {
    match out.is_empty() {
        false => Event::Written(writer.write_buf(out).await.map(|_| ())),
        true => Event::Flushed(writer.flush().await),
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
