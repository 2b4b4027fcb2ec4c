//! A simulated terminal of a utility: writes limit and heartbeat into our Modbus server, and stops as it is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::{interval, timeout};
use tokio_modbus::client::{Context, Writer, tcp};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The longest time for a connection or an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// The first of its registers: the limit (two words), enable, heartbeat and emergency follow each other.
const FIRST: u16 = 0;

/// What the terminal does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Time between two writes. Above zero.
    pub period: Duration,
    /// The limit, in the unit of the server's registers.
    pub limit: u32,
    /// Whether the limit holds.
    pub enable: bool,
    /// Whether it says that there is an emergency.
    pub emergency: bool,
    /// After so many writes its counter stands still, while the writes go on: its program hangs.
    pub stuck_after: u32,
    /// After so many writes it says nothing more and closes its connection: its power or its line is gone.
    pub silent_after: u32,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(1),
            limit: 0,
            enable: true,
            emergency: false,
            stuck_after: u32::MAX,
            silent_after: u32::MAX,
        }
    }
}

/// A running terminal. It ends when it is dropped.
#[derive(Debug)]
pub struct Terminal {
    written: Arc<AtomicU32>,
    _guard: DropGuard,
}

impl Terminal {
    /// Starts one that writes to a server at this address. It connects anew whenever its connection is gone.
    pub fn start(server: SocketAddr, script: Script) -> Self {
        let (written, cancel) = (Arc::new(AtomicU32::new(0)), CancellationToken::new());
        tokio::spawn(cancel.clone().run_until_cancelled_owned(run(server, script, written.clone())));
        Self { written, _guard: cancel.drop_guard() }
    }

    /// How many of its writes were taken.
    pub fn written(&self) -> u32 {
        self.written.load(Ordering::Relaxed)
    }
}

async fn run(server: SocketAddr, script: Script, written: Arc<AtomicU32>) {
    let mut ticks = interval(script.period.max(Duration::from_millis(1)));
    let mut connection: Option<Context> = None;
    loop {
        ticks.tick().await;
        let count = written.load(Ordering::Relaxed);
        if count >= script.silent_after {
            return;
        }
        if connection.is_none() {
            connection = timeout(PATIENCE, tcp::connect(server)).await.ok().and_then(Result::ok);
        }
        let Some(context) = &mut connection else { continue };
        // A counter of 16 bits goes round; what matters is that it moves.
        let [_, _, high, low] = count.min(script.stuck_after).wrapping_add(1).to_be_bytes();
        let [a, b, c, d] = script.limit.to_be_bytes();
        let words = [
            u16::from_be_bytes([a, b]),
            u16::from_be_bytes([c, d]),
            u16::from(script.enable),
            u16::from_be_bytes([high, low]),
            u16::from(script.emergency),
        ];
        match timeout(PATIENCE, context.write_multiple_registers(FIRST, &words)).await {
            Ok(Ok(Ok(()))) => {
                written.fetch_add(1, Ordering::Relaxed);
            }
            // The server has refused; it is still there.
            Ok(Ok(Err(_))) => {}
            Ok(Err(_)) | Err(_) => connection = None,
        }
    }
}
