//! What a black-box test needs: a CA of its own, a broker of its own on free ports, clients of any party, and waits
//! that end.
//!
//! A dev-dependency only (and the benchmark's). It drives the built binary from outside; it knows nothing of the
//! broker's inside. Everything lies in a temporary folder and every process is ended by its id.

#![warn(missing_docs)]

mod binary;
mod broker;
mod ca;
mod config;
mod manifest;
mod ports;
mod wait;

pub use binary::quorate_binary;
pub use broker::BrokerProcess;
pub use ca::TestCa;
pub use config::BrokerOptions;
pub use manifest::{ManifestBuilder, manifest};
pub use ports::free_port;
pub use wait::eventually;
