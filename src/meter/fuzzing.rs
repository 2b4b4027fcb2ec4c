//! A way in for the fuzz targets: what a device answers, through the guards and the client.

use tokio::io::{AsyncWriteExt as _, duplex};
use tokio_modbus::Slave;
use tokio_modbus::client::{Reader as _, rtu, tcp};

use super::guard::Guard;
use super::rtu::RtuGuard;

/// The registers that are asked for.
pub const ASKED: u16 = 2;

/// Asks unit 1 for [`ASKED`] input registers from 10 on, over TCP (as transaction 0) or on a serial line, and gives the
/// words that are made of these bytes. `None` where they make none. The link counts the words besides.
pub fn answer(serial: bool, bytes: &[u8]) -> Option<Vec<u16>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    runtime.block_on(async {
        let (ours, mut device) = duplex(1 << 16);
        let mut context = if serial {
            rtu::attach_slave(RtuGuard::new(ours), Slave(1))
        } else {
            tcp::attach_slave(Guard::new(ours, 0, true), Slave(1))
        };
        // Nothing may wait when the request goes out, so the answer comes behind it.
        let answering = async {
            tokio::task::yield_now().await;
            let _ = device.write_all(bytes).await;
            let _ = device.shutdown().await;
            // What was asked must have a place to go.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            words = context.read_input_registers(10, ASKED) => words.ok()?.ok(),
            () = answering => None,
        }
    })
}
