//! Requests of Modbus RTU out of a stream of bytes: a connection of a transparent gateway, or a pseudo-terminal.
//!
//! Frame: "MODBUS over Serial Line Specification and Implementation Guide V1.02", 2.5.1. As on a real line, what is not
//! a whole and sound frame gets no answer, and a unit that does not exist does not either.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::server::Request;
use crate::meter::rtu::crc;

/// A silence of this length ends a frame, whole or not. Far more than 3.5 characters: streams arrive in pieces.
const SILENCE: Duration = Duration::from_millis(20);

/// The longest frame.
const LONGEST: usize = 256;

/// The length of a read of registers; requests of other lengths end with silence.
const READ: usize = 8;

/// What has come of a frame.
#[derive(Debug)]
pub struct Inlet {
    frame: [u8; LONGEST],
    length: usize,
}

impl Inlet {
    /// Nothing has come yet.
    pub fn new() -> Self {
        Self { frame: [0; LONGEST], length: 0 }
    }

    /// Waits for the end of a frame; gives the request in it, none where it is garbled. Nothing is lost when the waiting
    /// is given up and begun anew.
    ///
    /// # Errors
    /// The end of the stream.
    pub async fn next(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Request>> {
        // More than a frame without a pause is noise, and ends as such.
        while let Some(room) = self.frame.get_mut(self.length..).filter(|room| !room.is_empty()) {
            let reading = stream.read(room);
            let count = if self.length == 0 {
                reading.await?
            } else {
                match timeout(SILENCE, reading).await {
                    Ok(read) => read?,
                    Err(_) => break,
                }
            };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.length += count;
            if self.length == READ && matches!(self.frame.get(1), Some(1..=4)) {
                break;
            }
        }
        let length = std::mem::take(&mut self.length);
        let whole = self.frame.get(..length).unwrap_or_default();
        let Some(([unit, pdu @ ..], [low, high])) = whole.split_last_chunk::<2>() else {
            return Ok(None);
        };
        let sound = crc(whole.get(..length - 2).unwrap_or_default()) == u16::from_le_bytes([*low, *high]);
        Ok(sound.then(|| Request { transaction: 0, unit: *unit, pdu: pdu.to_vec() }))
    }
}

impl Default for Inlet {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncWriteExt, duplex};

    use super::super::bus::Bus;
    use super::super::server::{Framing, talk};
    use super::*;
    use crate::meter::profile::Function;
    use crate::sim::scenario::Bend;

    fn bus(bends: Vec<(Bend, u32)>) -> Bus {
        let mut bus = Bus::new();
        bus.add(0, 1, [(Function::Input, 52), (Function::Input, 53)].into_iter());
        bus.write(0, 1, &[((Function::Input, 52), 0x1234), ((Function::Input, 53), 0x5678)]);
        bus.behave(0, bends);
        bus
    }

    /// What comes back within some time.
    async fn answers(bends: Vec<(Bend, u32)>, requests: &[&[u8]]) -> Vec<u8> {
        let bus = bus(bends);
        let (mut ours, mut theirs) = duplex(1024);
        let serving = talk(&bus, Framing::Rtu, &mut ours);
        let asking = async {
            for request in requests {
                theirs.write_all(request).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let mut answer = vec![0; 1024];
            let mut length = 0;
            while let Ok(Ok(count @ 1..)) =
                timeout(Duration::from_millis(500), theirs.read(&mut answer[length..])).await
            {
                length += count;
            }
            answer.truncate(length);
            answer
        };
        tokio::select! {
            answer = asking => answer,
            ended = serving => panic!("{ended:?}"),
        }
    }

    /// Two input registers from 52 of unit 1.
    const ASK: [u8; 8] = [1, 4, 0, 0x34, 0, 2, 0x30, 0x05];

    #[tokio::test(start_paused = true)]
    async fn a_sound_request_is_answered_with_a_sound_frame() {
        let answer = answers(vec![], &[&ASK]).await;
        assert_eq!(answer[..7], [1, 4, 4, 0x12, 0x34, 0x56, 0x78]);
        assert_eq!((answer.len(), crc(&answer)), (9, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn garbled_requests_and_those_for_nobody_get_silence() {
        let mut wrong = ASK;
        wrong[7] ^= 1;
        let mut other = vec![2, 4, 0, 0x34, 0, 2];
        other.extend(crc(&other).to_le_bytes());
        for request in [&wrong[..], &ASK[..5], &[0; 300], &other] {
            assert!(answers(vec![], &[request]).await.is_empty(), "{request:?}");
        }
        assert_eq!(answers(vec![], &[&wrong, &ASK[..5], &ASK]).await.len(), 9, "and the line lives on");
    }

    #[tokio::test(start_paused = true)]
    async fn faults_show_in_the_frame() {
        let short = answers(vec![(Bend::Short, 1)], &[&ASK]).await;
        assert_eq!((short.len(), short[2], crc(&short)), (7, 2, 0));
        let crossed = answers(vec![(Bend::Crossed, 1)], &[&ASK]).await;
        assert_eq!((crossed[0], crc(&crossed)), (2, 0));
        assert_ne!(crc(&answers(vec![(Bend::Crc, 1)], &[&ASK]).await), 0);
        assert!(answers(vec![(Bend::Silent, 1)], &[&ASK]).await.is_empty());
        assert_eq!(answers(vec![(Bend::Silent, 2)], &[&ASK, &ASK, &ASK]).await.len(), 18, "one is swallowed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_comes_after_the_next_request_and_before_its_answer() {
        let late = Bend::Late(Duration::from_millis(80));
        let both = answers(vec![(late, 2)], &[&ASK, &ASK, &ASK]).await;
        assert_eq!(both.len(), 27, "none is lost");
    }
}
