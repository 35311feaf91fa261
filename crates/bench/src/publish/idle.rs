//! What an idle connection costs the broker in memory.

use quorate_client::{Client, QoS};
use quorate_testkit::BrokerProcess;
use serde::Serialize;

use crate::process::Process;

/// Connections that come and stay before the first look, so that what is allocated once (thread stacks, caches, the
/// allocator's first arenas) is not divided among those that count.
const BEFORE_THE_FIRST_LOOK: u32 = 20;

/// Memory of idle connections.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct IdleMemory {
    /// How many there were.
    pub connections: u32,
    /// Resident memory of the broker before them, in bytes.
    pub before_bytes: u64,
    /// And with them.
    pub after_bytes: u64,
    /// The growth, divided by their number. It holds TLS, the session and its mailbox; not the kernel's socket buffers.
    pub bytes_per_connection: f64,
}

/// Opens `connections` connections, each of a party of its own with one subscription, looks, and closes them.
pub async fn measure(broker: &BrokerProcess, connections: u32) -> anyhow::Result<IdleMemory> {
    let process = Process::Id(broker.pid()?);
    let mut open = connect(broker, 0..BEFORE_THE_FIRST_LOOK).await?;
    let before_bytes = process.resident_bytes()?;
    open.extend(connect(broker, BEFORE_THE_FIRST_LOOK..BEFORE_THE_FIRST_LOOK + connections).await?);
    let after_bytes = process.resident_bytes()?;
    for client in open {
        client.disconnect().await?;
    }
    let growth = after_bytes.saturating_sub(before_bytes) as f64;
    Ok(IdleMemory { connections, before_bytes, after_bytes, bytes_per_connection: growth / f64::from(connections) })
}

/// One after the other: what handshakes need at the same time is not what a connection costs.
async fn connect(broker: &BrokerProcess, numbers: std::ops::Range<u32>) -> anyhow::Result<Vec<Client>> {
    let mut clients = Vec::new();
    for number in numbers {
        let client = broker.client(&format!("idle-{number}")).await?;
        client.subscribe("tx/#", QoS::AtLeastOnce).await?;
        clients.push(client);
    }
    Ok(clients)
}
