//! A byte stream that lets only the one well-formed Modbus RTU answer through that a request may have.
//!
//! An RTU answer carries no number of the request that it belongs to: only unit, function and length tell one from
//! another. tokio-modbus 0.17 encodes requests and decodes answers, and is used for that. Its RTU client alone would
//! not do; this is closed here, below it:
//!
//! - After bytes that make no frame it moves on by one byte and tries again, up to twenty times, until something fits:
//!   two bytes of check stand against all of these tries. Here the first byte that is not part of the awaited answer
//!   ends the connection.
//! - It takes the length of an answer from the answer, and throws away what it has received beyond. Here the byte count
//!   must be that of the registers asked for, and bytes that nobody asked for end the connection.
//! - Adapters and gateways that hear themselves give back the request before the answer. Here it is skipped, once.
//! - It reports the end of a serial port and that of a connection in many ways. Here they have one.
//!
//! It would also flush the port after each request, and that (`tcdrain`) holds up the whole thread until the last
//! character is out. Writes are small and go out by themselves: the flush ends here.
//!
//! Frames are ended by their length and never by silence, which nobody can measure behind a network or a USB adapter;
//! the silence between frames is kept by `session`. What cannot be seen here is an answer that comes too late and fits
//! the next request: `link` sees to that.
//!
//! Frame: "MODBUS over Serial Line Specification and Implementation Guide V1.02", 2.5.1: unit, function, data, CRC with
//! its low byte first; 256 bytes at the most.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing::debug;

use super::guard::Fault;

/// Unit, function, address (2), count (2), CRC (2).
const REQUEST: usize = 8;
/// Unit, function, exception code, CRC (2): no answer is shorter.
const SHORTEST: usize = 5;
/// The longest answer: 125 registers, or 2000 bits.
const LONGEST: usize = 255;

/// The check of a frame, CRC-16 with the polynomial 0xA001 (reflected) from 0xFFFF ("Modbus over Serial Line V1.02",
/// 6.2.2). Goes out with its low byte first.
pub fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xA001 })
    })
}

/// What the answer must begin with.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    unit: u8,
    function: u8,
    /// Of the registers.
    bytes: u8,
}

/// Passes one request and its answer at a time.
#[derive(Debug)]
pub(super) struct RtuGuard<T> {
    inner: T,
    request: [u8; REQUEST],
    /// How much of the request has gone out.
    sent: usize,
    awaited: Option<Awaited>,
    answer: [u8; LONGEST],
    /// How much of the answer has come.
    received: usize,
    /// How long the answer is, once that is known.
    length: Option<usize>,
    /// How much of the answer has been passed on.
    passed: usize,
    /// The request has come back as an echo, and was skipped.
    echoed: bool,
}

impl<T> RtuGuard<T> {
    /// Guards a stream that was silent a moment ago.
    pub(super) fn new(inner: T) -> Self {
        Self {
            inner,
            request: [0; REQUEST],
            sent: REQUEST,
            awaited: None,
            answer: [0; LONGEST],
            received: 0,
            length: None,
            passed: 0,
            echoed: false,
        }
    }

    /// Whether what has come so far is the beginning of the request, so that it may be an echo.
    fn may_echo(&self) -> bool {
        let came = self.answer.get(..self.received).unwrap_or_default();
        !self.echoed && self.request.starts_with(came)
    }

    /// Checks what has come so far. What may still be an echo is not refused before it is known; a whole answer is one.
    fn check(&mut self, awaited: Awaited) -> Result<(), Fault> {
        let fits = self.fits(awaited);
        if !self.may_echo() || self.complete() && self.received < REQUEST {
            return fits;
        }
        if self.received == REQUEST {
            (self.received, self.length, self.echoed) = (0, None, true);
            debug!("the serial line gives back what is sent; the echo is skipped");
        } else if fits.is_err() {
            self.length = None;
        }
        Ok(())
    }

    /// Whether what has come so far is part of the answer.
    fn fits(&mut self, awaited: Awaited) -> Result<(), Fault> {
        let answer = self.answer.get(..self.received).unwrap_or_default();
        let mut bytes = answer.iter().copied();
        let (unit, function, third) = (bytes.next(), bytes.next(), bytes.next());
        if let Some(got) = unit.filter(|unit| *unit != awaited.unit) {
            return Err(Fault::Unit { got, asked: awaited.unit });
        }
        let Some(function) = function else { return Ok(()) };
        let refused = function == awaited.function | 0x80;
        if function != awaited.function && !refused {
            return Err(Fault::Function { got: function, asked: awaited.function });
        }
        let Some(third) = third else { return Ok(()) };
        if !refused && third != awaited.bytes {
            return Err(Fault::Count { got: third, asked: awaited.bytes });
        }
        let length = if refused { SHORTEST } else { SHORTEST + usize::from(third) };
        self.length = Some(length);
        if let Some((frame, [low, high])) = answer.get(..length).and_then(|all| all.split_last_chunk::<2>())
            && crc(frame) != u16::from_le_bytes([*low, *high])
        {
            self.length = None;
            return Err(Fault::Crc);
        }
        Ok(())
    }

    fn complete(&self) -> bool {
        self.length == Some(self.received)
    }
}

impl<T: AsyncRead + Unpin> RtuGuard<T> {
    /// Fails when anything but silence waits on the stream.
    fn check_silence(&mut self, cx: &mut Context<'_>) -> Result<(), io::Error> {
        if self.awaited.is_some() {
            return Err(Fault::Unasked.into());
        }
        let mut byte = [0];
        let mut probe = ReadBuf::new(&mut byte);
        match Pin::new(&mut self.inner).poll_read(cx, &mut probe) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) if !probe.filled().is_empty() => Err(Fault::Unasked.into()),
            // Closed, reset or unplugged while nothing had been asked.
            Poll::Ready(_) => Err(Fault::ClosedIdle.into()),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for RtuGuard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(awaited) = this.awaited else {
            // Nobody reads without having asked; whatever comes is out of step.
            this.check_silence(cx)?;
            return Poll::Pending;
        };
        while !this.complete() {
            // Never beyond the answer: the shortest one first, until the length is known; and never beyond an echo.
            let unknown = if this.received < SHORTEST { SHORTEST } else { REQUEST };
            let known = this.length.map(|length| if this.may_echo() { length.min(REQUEST) } else { length });
            let end = known.unwrap_or(unknown);
            let missing = this.answer.get_mut(this.received..end).unwrap_or_default();
            let mut part = ReadBuf::new(missing);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part))?;
            let count = part.filled().len();
            if count == 0 {
                let fault = if this.received == 0 { Fault::Closed } else { Fault::Truncated };
                return Poll::Ready(Err(fault.into()));
            }
            this.received += count;
            this.check(awaited)?;
        }
        let rest = this.answer.get(this.passed..this.received).unwrap_or_default();
        let (part, _) = rest.split_at(rest.len().min(buf.remaining()));
        buf.put_slice(part);
        this.passed += part.len();
        if this.passed == this.received {
            this.awaited = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for RtuGuard<T> {
    /// Takes a whole request. It goes out with the flush that follows.
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.check_silence(cx)?;
        // Only reads are ever asked for: at most 125 registers or 2000 bits at once.
        let (Ok(request), &[unit, function @ 1..=4, _, _, high, low, _, _]) = (buf.try_into(), buf) else {
            return Poll::Ready(Err(Fault::Oversized.into()));
        };
        let count = u16::from_be_bytes([high, low]);
        let bytes = if function < 3 { Some(count.div_ceil(8)) } else { count.checked_mul(2) };
        let Some(bytes) = bytes.and_then(|bytes| u8::try_from(bytes).ok()) else {
            return Poll::Ready(Err(Fault::Oversized.into()));
        };
        if usize::from(bytes) + SHORTEST > LONGEST {
            return Poll::Ready(Err(Fault::Oversized.into()));
        }
        this.awaited = Some(Awaited { unit, function, bytes });
        this.request = request;
        this.sent = 0;
        this.received = 0;
        this.length = None;
        this.passed = 0;
        this.echoed = false;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while let Some(rest) = this.request.get(this.sent..).filter(|rest| !rest.is_empty()) {
            let count = ready!(Pin::new(&mut this.inner).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(Fault::Closed.into()));
            }
            this.sent += count;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Dropping the stream closes it; a shutdown would wait for the port to drain.
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn framed(bytes: &[u8]) -> Vec<u8> {
        [bytes, &crc(bytes).to_le_bytes()].concat()
    }

    /// Two input registers from 0 of unit 1, and the right answer.
    const ASK: [u8; 6] = [1, 4, 0, 0, 0, 2];
    const GOOD: [u8; 7] = [1, 4, 4, 1, 2, 3, 4];

    async fn asked() -> (RtuGuard<DuplexStream>, DuplexStream) {
        let (ours, mut device) = duplex(1024);
        let mut guard = RtuGuard::new(ours);
        guard.write_all(&framed(&ASK)).await.unwrap();
        guard.flush().await.unwrap();
        let mut seen = [0; 8];
        device.read_exact(&mut seen).await.unwrap();
        assert_eq!(seen[..], framed(&ASK));
        (guard, device)
    }

    async fn fault_after(answer: &[u8], close: bool) -> Fault {
        let (mut guard, mut device) = asked().await;
        device.write_all(answer).await.unwrap();
        if close {
            drop(device);
        }
        let error = guard.read_exact(&mut [0; 64]).await.unwrap_err();
        Fault::of(&error).unwrap()
    }

    #[test]
    fn the_check_agrees_with_published_vectors() {
        // The check value of CRC-16/MODBUS in every catalogue of CRCs.
        assert_eq!(crc(b"123456789"), 0x4B37);
        assert_eq!(crc(&[]), 0xFFFF);
        // The example of the guide, 6.2.2: 0x02 0x07 gives 0x1241.
        assert_eq!(crc(&[0x02, 0x07]), 0x1241);
        // Frames as they stand in the manuals of meters: total power of an SDM630, ten holding registers.
        assert_eq!(framed(&[1, 4, 0, 0x34, 0, 2]), [1, 4, 0, 0x34, 0, 2, 0x30, 0x05]);
        assert_eq!(framed(&[1, 3, 0, 0, 0, 10]), [1, 3, 0, 0, 0, 10, 0xC5, 0xCD]);
        // A whole frame with its check leaves nothing.
        assert_eq!(crc(&framed(&[1, 4, 4, 0x43, 0x70, 0, 0])), 0);
    }

    #[tokio::test]
    async fn an_answer_passes_whole_however_it_is_cut() {
        for good in [framed(&GOOD), framed(&[1, 0x84, 2])] {
            for step in 1..good.len() {
                let (mut guard, mut device) = asked().await;
                let (answer, ()) = tokio::join!(
                    async {
                        let mut answer = Vec::new();
                        while answer.len() < good.len() {
                            let mut part = vec![0; step];
                            let count = guard.read(&mut part).await.unwrap();
                            answer.extend_from_slice(&part[..count]);
                        }
                        answer
                    },
                    async {
                        for part in good.chunks(step) {
                            device.write_all(part).await.unwrap();
                            tokio::task::yield_now().await;
                        }
                    }
                );
                assert_eq!(answer, good, "cut every {step} bytes");
            }
        }
    }

    #[tokio::test]
    async fn the_first_byte_that_does_not_fit_is_refused_before_the_rest_has_come() {
        assert_eq!(fault_after(&[2], false).await, Fault::Unit { got: 2, asked: 1 });
        assert_eq!(fault_after(&[1, 3], false).await, Fault::Function { got: 3, asked: 4 });
        assert_eq!(fault_after(&[1, 0x83], false).await, Fault::Function { got: 0x83, asked: 4 });
        assert_eq!(fault_after(&[1, 4, 2], false).await, Fault::Count { got: 2, asked: 4 });
        assert_eq!(fault_after(&[1, 4, 6], false).await, Fault::Count { got: 6, asked: 4 });
    }

    #[tokio::test]
    async fn an_echo_is_skipped_once_however_it_is_cut() {
        let echo = framed(&ASK);
        for good in [framed(&GOOD), framed(&[1, 0x84, 2])] {
            let line = [echo.clone(), good.clone()].concat();
            for step in 1..=line.len() {
                let (mut guard, mut device) = asked().await;
                let (answer, ()) = tokio::join!(
                    async {
                        let mut answer = vec![0; good.len()];
                        guard.read_exact(&mut answer).await.unwrap();
                        answer
                    },
                    async {
                        for part in line.chunks(step) {
                            device.write_all(part).await.unwrap();
                            tokio::task::yield_now().await;
                        }
                    }
                );
                assert_eq!(answer, good, "cut every {step} bytes");
                // And so every time.
                guard.write_all(&echo).await.unwrap();
                guard.flush().await.unwrap();
                device.write_all(&line).await.unwrap();
                guard.read_exact(&mut vec![0; good.len()]).await.unwrap();
            }
        }
        // Twice is no echo, and an echo is no answer.
        assert_eq!(
            fault_after(&[echo.clone(), echo.clone()].concat(), false).await,
            Fault::Count { got: 0, asked: 4 }
        );
        assert_eq!(fault_after(&echo, true).await, Fault::Closed);
        // Of a request that looks like its own answer as far as that goes.
        let ask = framed(&[1, 4, 4, 0, 0, 2]);
        let (ours, mut device) = duplex(64);
        let mut guard = RtuGuard::new(ours);
        guard.write_all(&ask).await.unwrap();
        guard.flush().await.unwrap();
        device.read_exact(&mut [0; 8]).await.unwrap();
        device.write_all(&[ask, framed(&GOOD)].concat()).await.unwrap();
        let mut answer = [0; 9];
        guard.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[..], framed(&GOOD));
    }

    #[tokio::test]
    async fn every_single_wrong_bit_is_refused() {
        for good in [framed(&GOOD), framed(&[1, 0x84, 2])] {
            for bit in 0..good.len() * 8 {
                let mut wrong = good.clone();
                wrong[bit / 8] ^= 1 << (bit % 8);
                // One way or the other: what does not fit, a wrong check, or more awaited than has come.
                fault_after(&wrong, true).await;
            }
        }
        let mut wrong = framed(&GOOD);
        wrong[5] ^= 0x10;
        assert_eq!(fault_after(&wrong, false).await, Fault::Crc);
    }

    #[tokio::test]
    async fn a_stream_that_ends_says_where() {
        assert_eq!(fault_after(&[], true).await, Fault::Closed);
        assert_eq!(fault_after(&[1], true).await, Fault::Truncated);
        assert_eq!(fault_after(&framed(&GOOD)[..8], true).await, Fault::Truncated);
    }

    #[tokio::test]
    async fn nothing_is_sent_into_a_stream_that_is_out_of_step_or_closed() {
        let (mut guard, mut device) = asked().await;
        // The answer, and a byte that belongs to nobody.
        device.write_all(&[framed(&GOOD), vec![0]].concat()).await.unwrap();
        guard.read_exact(&mut [0; 9]).await.unwrap();
        let error = guard.write_all(&framed(&ASK)).await.unwrap_err();
        assert_eq!(Fault::of(&error), Some(Fault::Unasked));
        let (mut guard, device) = asked().await;
        let error = guard.write_all(&framed(&ASK)).await.unwrap_err();
        assert_eq!(Fault::of(&error), Some(Fault::Unasked), "the answer is still awaited");
        drop(device);
        let (ours, device) = duplex(64);
        drop(device);
        let error = RtuGuard::new(ours).write_all(&framed(&ASK)).await.unwrap_err();
        assert_eq!(Fault::of(&error), Some(Fault::ClosedIdle));
    }

    #[tokio::test]
    async fn a_request_that_is_no_read_of_registers_never_goes_out() {
        for request in [
            vec![1, 6, 0, 0, 0, 1],
            vec![1, 5, 0, 0, 0xFF, 0],
            vec![1, 4, 0, 0, 0, 126],
            vec![1, 4, 0, 0, 1, 0],
            vec![1, 2, 0, 0, 0x07, 0xD1],
            vec![1, 1, 0, 0, 0xFF, 0xFF],
            vec![1, 4],
        ] {
            let (ours, _device) = duplex(64);
            let error = RtuGuard::new(ours).write_all(&framed(&request)).await.unwrap_err();
            assert_eq!(Fault::of(&error), Some(Fault::Oversized), "{request:?}");
        }
    }

    #[tokio::test]
    async fn the_bytes_of_bits_are_counted_as_well() {
        // Ten coils take two bytes.
        for (answer, fault) in [
            (vec![1, 1, 2, 0xFF, 0x03], None),
            (vec![1, 1, 1], Some(Fault::Count { got: 1, asked: 2 })),
            (vec![1, 1, 20], Some(Fault::Count { got: 20, asked: 2 })),
            (vec![1, 2], Some(Fault::Function { got: 2, asked: 1 })),
        ] {
            let (ours, mut device) = duplex(64);
            let mut guard = RtuGuard::new(ours);
            guard.write_all(&framed(&[1, 1, 0, 19, 0, 10])).await.unwrap();
            guard.flush().await.unwrap();
            let frame = if fault.is_none() { framed(&answer) } else { answer };
            device.write_all(&frame).await.unwrap();
            let mut seen = vec![0; frame.len()];
            let read = guard.read_exact(&mut seen).await;
            assert_eq!(read.as_ref().err().and_then(Fault::of), fault);
            assert!(fault.is_some() || seen == frame);
        }
    }

    /// Bytes that begin like an answer now and then.
    fn near_answers() -> impl Strategy<Value = Vec<u8>> {
        let head = proptest::sample::select(vec![vec![], vec![1], vec![1, 4], vec![1, 4, 4], vec![1, 0x84]]);
        (head, proptest::collection::vec(any::<u8>(), 0..300)).prop_map(|(head, tail)| [head, tail].concat())
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_end_in_the_awaited_frame_or_an_error(bytes in near_answers()) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (mut guard, mut device) = asked().await;
                device.write_all(&bytes).await.unwrap();
                drop(device);
                let mut passed = Vec::new();
                let error = guard.read_to_end(&mut passed).await.unwrap_err();
                assert!(Fault::of(&error).is_some());
                assert!(passed.is_empty() || crc(&passed) == 0);
            });
        }
    }
}
