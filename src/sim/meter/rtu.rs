//! Modbus RTU devices of our own, on any stream of bytes: a connection of a transparent gateway, or a pseudo-terminal.
//!
//! Frame: "MODBUS over Serial Line Specification and Implementation Guide V1.02", 2.5.1: unit, protocol data unit, CRC
//! with its low byte first. As on a real line, what is not a whole and sound frame gets no answer, and a unit that does
//! not exist does not either.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::bus::{Answer, Bus, exception};
use crate::meter::rtu::crc;

/// A silence of this length ends a frame, whole or not. Far more than 3.5 characters: streams arrive in pieces.
const SILENCE: Duration = Duration::from_millis(20);

/// The longest frame.
const LONGEST: usize = 256;

/// The length of a read of registers; requests of other lengths end with silence.
const READ: usize = 8;

/// Takes one request and answers it, if it is one. Returns when that is done; a request that is garbled or for nobody
/// is done at once.
///
/// # Errors
/// The end of the stream.
pub async fn exchange(bus: &Bus, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let mut frame = [0; LONGEST];
    let mut length = 0;
    loop {
        let Some(room) = frame.get_mut(length..).filter(|room| !room.is_empty()) else {
            // More than a frame without a pause: noise.
            return Ok(());
        };
        let reading = stream.read(room);
        let count = if length == 0 {
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
        length += count;
        if length == READ && matches!(frame.get(1), Some(3 | 4)) {
            break;
        }
    }
    let Some((whole, [low, high])) = frame.get(..length).and_then(|all| all.split_last_chunk::<2>()) else {
        return Ok(());
    };
    let Some((&unit, request)) = whole.split_first() else {
        return Ok(());
    };
    if crc(whole) != u16::from_le_bytes([*low, *high]) {
        return Ok(());
    }
    let Answer::Reply { pdu, after, crossed } = bus.answer(unit, request) else {
        return Ok(());
    };
    // Nobody there: on a serial line that is silence, and there is no gateway to say so.
    if matches!(pdu.as_slice(), [_, exception::GATEWAY_TARGET]) && !bus.has(unit) {
        return Ok(());
    }
    if !after.is_zero() {
        sleep(after).await;
    }
    // There is no transaction that could be foreign; the unit can.
    let mut answer = vec![unit.wrapping_add(u8::from(crossed))];
    answer.extend(pdu);
    answer.extend(crc(&answer).to_le_bytes());
    stream.write_all(&answer).await
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::super::bus::Manner;
    use super::*;
    use crate::meter::profile::Function;

    fn bus() -> Bus {
        let mut bus = Bus::new();
        bus.add(0, 1, [(Function::Input, 52), (Function::Input, 53)].into_iter());
        bus.write(0, 1, &[((Function::Input, 52), 0x1234), ((Function::Input, 53), 0x5678)]);
        bus
    }

    async fn answers(bus: Bus, request: &[u8]) -> Vec<u8> {
        let (mut ours, mut theirs) = duplex(1024);
        theirs.write_all(request).await.unwrap();
        let serving = async {
            exchange(&bus, &mut ours).await.unwrap();
            drop(ours);
        };
        let mut answer = Vec::new();
        let (_, read) = tokio::join!(serving, theirs.read_to_end(&mut answer));
        read.unwrap();
        answer
    }

    /// Two input registers from 52 of unit 1.
    const ASK: [u8; 8] = [1, 4, 0, 0x34, 0, 2, 0x30, 0x05];

    #[tokio::test]
    async fn a_sound_request_is_answered_with_a_sound_frame() {
        let answer = answers(bus(), &ASK).await;
        assert_eq!(answer[..7], [1, 4, 4, 0x12, 0x34, 0x56, 0x78]);
        assert_eq!((answer.len(), crc(&answer)), (9, 0));
    }

    #[tokio::test]
    async fn garbled_requests_and_those_for_nobody_get_silence() {
        let mut wrong = ASK;
        wrong[7] ^= 1;
        assert!(answers(bus(), &wrong).await.is_empty());
        assert!(answers(bus(), &ASK[..5]).await.is_empty());
        assert!(answers(bus(), &[0; 300]).await.is_empty());
        let mut other = vec![2, 4, 0, 0x34, 0, 2];
        other.extend(crc(&other).to_le_bytes());
        assert!(answers(bus(), &other).await.is_empty());
    }

    #[tokio::test]
    async fn faults_bend_the_frame_and_leave_it_sound() {
        let changed = |manner| {
            let bus = bus();
            bus.behave(0, manner);
            bus
        };
        let short = answers(changed(Manner { short: true, ..Manner::default() }), &ASK).await;
        assert_eq!((short.len(), short[2], crc(&short)), (7, 2, 0));
        let crossed = answers(changed(Manner { crossed: true, ..Manner::default() }), &ASK).await;
        assert_eq!((crossed[0], crc(&crossed)), (2, 0));
        let refused = answers(changed(Manner { exception: Some(6), ..Manner::default() }), &ASK).await;
        assert_eq!(refused[..3], [1, 0x84, 6]);
        assert!(answers(changed(Manner { silent: true, ..Manner::default() }), &ASK).await.is_empty());
    }
}
