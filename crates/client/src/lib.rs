//! The SDK: what a party uses to take part in Quorate's transactions.
//!
//! - [`Client`] is one MQTT connection over mutual TLS. Nothing is acknowledged by itself: the caller says when a
//!   message has been dealt with ([`Client::acknowledge`]), so that a crash before that brings it again.
//! - [`envelope`] seals bytes for one party, so that the broker cannot read them.
//! - [`api`] asks the broker's HTTP API, with the same identity.
//!
//! Reconnecting is left to the caller: a lost connection fails every waiting call with
//! [`ClientError::ConnectionLost`], and what was not acknowledged by then is published again by the caller (slots
//! make that safe: identical bytes are acknowledged again and stored once).

pub mod api;
pub mod envelope;

mod client;
mod connection;
mod error;
mod identity;
mod message;
mod options;

pub use client::{Client, Handle, PublishTicket};
pub use error::{ClientError, IdentityError};
pub use identity::Identity;
pub use message::Message;
pub use options::ConnectOptions;
pub use quorate_wire::{QoS, ReasonCode, RetainHandling, SubscribeFilter, Version};
