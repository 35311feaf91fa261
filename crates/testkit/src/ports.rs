//! Ports that are free and stay free while a broker is down.

use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::bail;

/// Below Linux' ephemeral ports (32768 and up): an outgoing connection never takes a port of a broker that is being
/// restarted.
const FIRST: u32 = 10_000;
const COUNT: u32 = 20_000;
/// Steps between the beginnings of two test processes, so that neighbours in pid do not meet.
const PROCESS_STEP: u32 = 97;

static TAKEN: AtomicU32 = AtomicU32::new(0);

/// A port on 127.0.0.1 on which nobody listens, not given out before by this process. Another process may still take
/// it first; the broker then fails to start, and its starter tries others.
///
/// # Errors
/// When all are taken.
pub fn free_port() -> anyhow::Result<u16> {
    for _ in 0..COUNT {
        let offset = process::id().wrapping_mul(PROCESS_STEP).wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + offset % COUNT)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port from {FIRST} to {}", FIRST + COUNT - 1)
}
