//! One connection as its caller sees it. The socket belongs to the task in [`crate::connection`]; calls reach it over
//! a bounded channel, and messages come back over another, so that a caller that lags slows the broker down instead
//! of filling memory.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use quorate_wire::{Publish, PublishProperties, QoS, RetainHandling, SubscribeFilter};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    ClientError, ConnectOptions, Message,
    connection::{self, Command, Waiter},
};

/// How long [`Client::disconnect`] waits for the goodbye to be written.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// One MQTT connection over mutual TLS. Dropping it cuts the connection without a goodbye.
#[derive(Debug)]
pub struct Client {
    inbound: mpsc::Receiver<Message>,
    handle: Handle,
    session_present: bool,
    task: JoinHandle<()>,
}

/// The sending side of a [`Client`], to be used from several tasks. It does not keep the connection open: that ends
/// with its `Client`.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) commands: mpsc::Sender<Command>,
    /// Unacknowledged publishes: the server's Receive Maximum.
    pub(crate) window: Arc<Semaphore>,
    /// Unanswered SUBSCRIBEs and UNSUBSCRIBEs.
    pub(crate) requests: Arc<Semaphore>,
    /// Why the connection ended; set before anything that waits is let go.
    pub(crate) ended: Arc<OnceLock<ClientError>>,
    pub(crate) connection: u64,
}

/// A publish on its way.
#[derive(Debug)]
#[must_use = "the outcome of the publish is only known from acknowledged()"]
pub struct PublishTicket {
    answer: oneshot::Receiver<Result<(), ClientError>>,
    ended: Arc<OnceLock<ClientError>>,
}

impl PublishTicket {
    /// Waits for the server's answer. QoS 0: until the packet is on its way.
    pub async fn acknowledged(self) -> Result<(), ClientError> {
        self.answer.await.unwrap_or_else(|_| Err(ending(&self.ended)))
    }
}

impl Client {
    /// Connects, shakes hands, and waits for CONNACK; all within 10 seconds.
    pub async fn connect(options: ConnectOptions) -> Result<Self, ClientError> {
        let opened = connection::open(&options).await?;
        let session_present = opened.session_present();
        let (inbound, handle, task) = connection::start(opened, &options);
        Ok(Self { inbound, handle, session_present, task })
    }

    /// Whether the broker kept a session for this client id (MQTT5 3.2.2.1.1).
    pub fn session_present(&self) -> bool {
        self.session_present
    }

    /// The sending side, for another task.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// See [`Handle::subscribe`].
    pub async fn subscribe(&self, filter: &str, qos: QoS) -> Result<(), ClientError> {
        self.handle.subscribe(filter, qos).await
    }

    /// See [`Handle::subscribe_with`].
    pub async fn subscribe_with(&self, filter: SubscribeFilter) -> Result<(), ClientError> {
        self.handle.subscribe_with(filter).await
    }

    /// See [`Handle::unsubscribe`].
    pub async fn unsubscribe(&self, filter: &str) -> Result<(), ClientError> {
        self.handle.unsubscribe(filter).await
    }

    /// See [`Handle::publish`].
    pub async fn publish(&self, topic: &str, payload: Bytes, qos: QoS) -> Result<(), ClientError> {
        self.handle.publish(topic, payload, qos).await
    }

    /// See [`Handle::publish_retained`].
    pub async fn publish_retained(&self, topic: &str, payload: Bytes, qos: QoS) -> Result<(), ClientError> {
        self.handle.publish_retained(topic, payload, qos).await
    }

    /// See [`Handle::start_publish`].
    pub async fn start_publish(&self, topic: &str, payload: Bytes, qos: QoS) -> Result<PublishTicket, ClientError> {
        self.handle.start_publish(topic, payload, qos).await
    }

    /// See [`Handle::acknowledge`].
    pub async fn acknowledge(&self, message: &Message) -> Result<(), ClientError> {
        self.handle.acknowledge(message).await
    }

    /// The next message. Cancel safe: a message is returned or stays. After the connection is lost, what arrived
    /// before is still returned, then the error.
    pub async fn next(&mut self) -> Result<Message, ClientError> {
        self.inbound.recv().await.ok_or_else(|| ending(&self.handle.ended))
    }

    /// Sends what is queued (acknowledgements among it), says goodbye and closes.
    pub async fn disconnect(self) -> Result<(), ClientError> {
        let Self { inbound, handle, task, .. } = self;
        // `inbound` stays until the end: dropping it means "cut the connection".
        let goodbye = async {
            handle.send(Command::Disconnect).await?;
            task.await.map_err(|error| lost(&format!("the connection's task failed: {error}")))
        };
        let outcome = tokio::time::timeout(DISCONNECT_TIMEOUT, goodbye).await;
        drop(inbound);
        outcome.map_err(|_| ClientError::Timeout("DISCONNECT"))?
    }
}

impl Handle {
    /// Subscribes and waits for SUBACK. A new subscription under `tx/` hears everything from the beginning.
    pub async fn subscribe(&self, filter: &str, qos: QoS) -> Result<(), ClientError> {
        self.subscribe_with(SubscribeFilter {
            filter: filter.into(),
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        })
        .await
    }

    /// Subscribes with every option of MQTT 5 and waits for SUBACK.
    pub async fn subscribe_with(&self, filter: SubscribeFilter) -> Result<(), ClientError> {
        let (waiter, answer) = self.request().await?;
        self.send(Command::Subscribe(filter, waiter)).await?;
        answer.acknowledged().await
    }

    /// Unsubscribes and waits for UNSUBACK.
    pub async fn unsubscribe(&self, filter: &str) -> Result<(), ClientError> {
        let (waiter, answer) = self.request().await?;
        self.send(Command::Unsubscribe(filter.into(), waiter)).await?;
        answer.acknowledged().await
    }

    /// Publishes and waits until the server has taken it: PUBACK at QoS 1, PUBCOMP at QoS 2, nothing at QoS 0.
    pub async fn publish(&self, topic: &str, payload: Bytes, qos: QoS) -> Result<(), ClientError> {
        self.start_publish(topic, payload, qos).await?.acknowledged().await
    }

    /// Publishes without waiting for the answer, so that many can be on their way; waits while as many as the server
    /// takes (its Receive Maximum) are. Publishes leave in the order of these calls.
    pub async fn start_publish(&self, topic: &str, payload: Bytes, qos: QoS) -> Result<PublishTicket, ClientError> {
        self.start(topic, payload, qos, false).await
    }

    /// Publishes to an ordinary topic what is to be retained for it, in the place of what is; an empty payload clears it
    /// (MQTT5 3.3.1.3). Under `tx/` this is a publish like any other. Waits as [`Handle::publish`] does.
    pub async fn publish_retained(&self, topic: &str, payload: Bytes, qos: QoS) -> Result<(), ClientError> {
        self.start(topic, payload, qos, true).await?.acknowledged().await
    }

    async fn start(&self, topic: &str, payload: Bytes, qos: QoS, retain: bool) -> Result<PublishTicket, ClientError> {
        let (waiter, ticket) = match qos {
            QoS::AtMostOnce => self.waiter(None),
            QoS::AtLeastOnce | QoS::ExactlyOnce => self.waiter(Some(self.permit(&self.window).await?)),
        };
        let publish = Publish {
            dup: false,
            qos,
            retain,
            topic: topic.into(),
            packet_id: None,
            properties: PublishProperties::default(),
            payload,
        };
        self.send(Command::Publish(Box::new(publish), waiter)).await?;
        Ok(ticket)
    }

    /// Tells the broker that this message has been dealt with, so that it is not sent again. QoS 0: nothing to tell.
    /// Returns when the acknowledgement is queued; it may still be lost with the connection, and then the message
    /// comes again.
    pub async fn acknowledge(&self, message: &Message) -> Result<(), ClientError> {
        if message.connection != self.connection {
            return Err(ClientError::StaleMessage);
        }
        match message.packet_id {
            Some(packet_id) => self.send(Command::Acknowledge { packet_id, qos: message.qos }).await,
            None => Ok(()),
        }
    }

    async fn request(&self) -> Result<(Waiter, PublishTicket), ClientError> {
        Ok(self.waiter(Some(self.permit(&self.requests).await?)))
    }

    async fn permit(&self, bound: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, ClientError> {
        Arc::clone(bound).acquire_owned().await.map_err(|_| ending(&self.ended))
    }

    fn waiter(&self, permit: Option<OwnedSemaphorePermit>) -> (Waiter, PublishTicket) {
        let (sender, answer) = oneshot::channel();
        (Waiter::new(sender, permit), PublishTicket { answer, ended: Arc::clone(&self.ended) })
    }

    async fn send(&self, command: Command) -> Result<(), ClientError> {
        self.commands.send(command).await.map_err(|_| ending(&self.ended))
    }
}

/// Why the connection ended, for a call that found it ended.
fn ending(ended: &OnceLock<ClientError>) -> ClientError {
    ended.get().cloned().unwrap_or_else(|| lost("its task is gone"))
}

/// An end without a word from the server.
pub(crate) fn lost(cause: &str) -> ClientError {
    ClientError::ConnectionLost { code: None, reason: None, cause: cause.to_owned() }
}
