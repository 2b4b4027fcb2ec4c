//! A byte stream that lets only well-formed Modbus TCP answers through to tokio-modbus.
//!
//! tokio-modbus 0.17 encodes requests, decodes answers and compares transaction, unit and function, and that is
//! what it is used for. What it leaves open is closed here, below it:
//!
//! - It numbers the transactions of every connection from 0. A gateway that hands a late answer of the previous
//!   connection to the present one would deliver a number that fits, and another register's value with it. Here
//!   the numbers go on from one connection to the next.
//! - It throws away what it has received beyond an answer. Here bytes that nobody asked for end the connection:
//!   it is out of step.
//! - It waits for as many bytes as the length field announces, up to 64 KiB. Here a length that no answer can
//!   have is refused as soon as the header is complete.
//! - It accepts bytes after an exception code, and it reports a closed connection as the last error of the
//!   operating system, whatever that was.
//!
//! A short answer (fewer registers than asked for) is well-formed; `session` counts the words.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Transaction (2), protocol (2), length (2), unit (1), function (1): what is looked at before it goes on.
/// Modbus Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3.
const HEAD: usize = 8;
/// The length field counts the unit and the protocol data unit, at least function and one byte.
const MIN_LENGTH: u16 = 3;
/// A protocol data unit has at most 253 bytes.
const MAX_LENGTH: u16 = 254;
/// Bytes of the frame that the length field does not count.
const UNCOUNTED: usize = 6;
/// The longest frame.
const MAX_FRAME: usize = 260;

/// Why a stream cannot be used any longer. Travels inside of an [`io::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// The device closed the connection while nothing was asked: no request is lost.
    #[error("the device closed the connection before anything was asked")]
    ClosedIdle,
    /// The device closed the connection instead of answering.
    #[error("the device closed the connection instead of answering")]
    Closed,
    /// The device closed the connection in the middle of an answer.
    #[error("the answer ends in the middle")]
    Truncated,
    /// Bytes came before the request was sent.
    #[error("bytes came that nobody had asked for")]
    Unasked,
    /// The protocol field is not zero.
    #[error("protocol identifier {0} instead of 0: this is not Modbus TCP")]
    Protocol(u16),
    /// No answer has this length.
    #[error("length field {0}, which no answer can have")]
    Length(u16),
    /// The answer to this request, from another unit than was asked: over TCP nothing else than the device itself says so.
    #[error("unit {got} answered where unit {asked} was asked")]
    Answerer {
        /// Who answered.
        got: u8,
        /// Who was asked.
        asked: u8,
    },
    /// The answer carries the number of another request.
    #[error("it carries the number {got}, and {asked} was asked")]
    Number {
        /// What came.
        got: u16,
        /// What was asked.
        asked: u16,
    },
    /// Another unit answers, or noise does.
    #[error("it begins with {got} instead of the unit {asked}: noise, or the answer of another unit")]
    Unit {
        /// What came.
        got: u8,
        /// The unit that was asked.
        asked: u8,
    },
    /// The answer carries a foreign function.
    #[error("it carries function {got} instead of {asked}")]
    Function {
        /// What came.
        got: u8,
        /// What was asked.
        asked: u8,
    },
    /// The answer has another length than was asked for.
    #[error("it announces {got} bytes of values instead of {asked}")]
    Count {
        /// What came.
        got: u8,
        /// What was asked.
        asked: u8,
    },
    /// The check of the frame is wrong.
    #[error("its check (CRC) is wrong: characters were lost or garbled")]
    Crc,
    /// A request that does not fit a frame; never for the requests that this program makes.
    #[error("a request longer than a frame")]
    Oversized,
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::other(fault)
    }
}

impl Fault {
    /// The fault inside of an error, if it came from a guard.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// Passes one frame at a time in each direction.
#[derive(Debug)]
pub(super) struct Guard<T> {
    inner: T,
    /// Added to the transaction numbers that go out, taken from those that come in.
    first_transaction: u16,
    /// Whether the device repeats the number of a request in its answer.
    numbered: bool,
    /// A request on its way out.
    request: [u8; MAX_FRAME],
    request_length: usize,
    sent: usize,
    /// The head of the answer that is coming in.
    head: [u8; HEAD],
    /// How much of the head has come.
    received: usize,
    /// How much of the head has been passed on.
    passed: usize,
    /// How much is still to come after the head.
    rest: usize,
}

impl<T> Guard<T> {
    /// Guards a fresh connection whose first request gets this transaction number. Where answers are not `numbered`, any
    /// number will do, and whoever asks sees to it that no late answer comes (see `link`).
    pub(super) fn new(inner: T, first_transaction: u16, numbered: bool) -> Self {
        Self {
            inner,
            first_transaction,
            numbered,
            request: [0; MAX_FRAME],
            request_length: 0,
            sent: 0,
            head: [0; HEAD],
            received: 0,
            passed: 0,
            rest: 0,
        }
    }

    /// Checks a complete head and turns the transaction number back into what tokio-modbus expects.
    fn check_head(&mut self) -> Result<(), Fault> {
        let [mut t1, mut t2, p1, p2, l1, l2, unit, function] = self.head;
        let protocol = u16::from_be_bytes([p1, p2]);
        if protocol != 0 {
            return Err(Fault::Protocol(protocol));
        }
        let length = u16::from_be_bytes([l1, l2]);
        let possible = if function < 0x80 { MIN_LENGTH..=MAX_LENGTH } else { MIN_LENGTH..=MIN_LENGTH };
        if !possible.contains(&length) {
            return Err(Fault::Length(length));
        }
        let asked = self.request.get(UNCOUNTED).copied().unwrap_or_default();
        if self.request_length > 0 {
            let [a1, a2, ..] = self.request;
            if self.numbered && (t1, t2) != (a1, a2) {
                let (got, asked) = (u16::from_be_bytes([t1, t2]), u16::from_be_bytes([a1, a2]));
                return Err(Fault::Number { got, asked });
            }
            (t1, t2) = (a1, a2);
            if unit != asked {
                return Err(Fault::Answerer { got: unit, asked });
            }
        }
        let [t1, t2] = u16::from_be_bytes([t1, t2]).wrapping_sub(self.first_transaction).to_be_bytes();
        self.head = [t1, t2, p1, p2, l1, l2, unit, function];
        self.rest = usize::from(length) + UNCOUNTED - HEAD;
        Ok(())
    }
}

impl<T: AsyncRead + Unpin> Guard<T> {
    /// Fails when anything but silence waits on the stream.
    fn check_silence(&mut self, cx: &mut Context<'_>) -> Result<(), io::Error> {
        if self.received != 0 {
            return Err(Fault::Unasked.into());
        }
        let mut byte = [0];
        let mut probe = ReadBuf::new(&mut byte);
        match Pin::new(&mut self.inner).poll_read(cx, &mut probe) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) if probe.filled().is_empty() => Err(Fault::ClosedIdle.into()),
            Poll::Ready(Ok(())) => Err(Fault::Unasked.into()),
            // Reset while idle: nothing had been asked either.
            Poll::Ready(Err(_)) => Err(Fault::ClosedIdle.into()),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.received < HEAD {
            let (_, missing) = this.head.split_at_mut(this.received);
            let mut part = ReadBuf::new(missing);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part))?;
            let count = part.filled().len();
            if count == 0 {
                let fault = if this.received == 0 { Fault::Closed } else { Fault::Truncated };
                return Poll::Ready(Err(fault.into()));
            }
            this.received += count;
            if this.received == HEAD {
                this.check_head()?;
            }
        }
        if let Some(head) = this.head.get(this.passed..).filter(|head| !head.is_empty()) {
            let (part, _) = head.split_at(head.len().min(buf.remaining()));
            buf.put_slice(part);
            this.passed += part.len();
            return Poll::Ready(Ok(()));
        }
        let room = this.rest.min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
        ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part))?;
        let count = part.filled().len();
        if count == 0 && room > 0 {
            return Poll::Ready(Err(Fault::Truncated.into()));
        }
        buf.advance(count);
        this.rest -= count;
        if this.rest == 0 {
            // The answer is complete; whatever comes next is another one.
            this.received = 0;
            this.passed = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<T> {
    /// Takes a whole request. It goes out with the flush that follows.
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.sent < this.request_length {
            ready!(Pin::new(&mut *this).poll_flush(cx))?;
        }
        this.check_silence(cx)?;
        let ([t1, t2, rest @ ..], Some(request)) = (buf, this.request.get_mut(..buf.len())) else {
            return Poll::Ready(Err(Fault::Oversized.into()));
        };
        let transaction = u16::from_be_bytes([*t1, *t2]).wrapping_add(this.first_transaction);
        let (number, tail) = request.split_at_mut(2);
        number.copy_from_slice(&transaction.to_be_bytes());
        tail.copy_from_slice(rest);
        this.request_length = buf.len();
        this.sent = 0;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while let Some(rest) =
            this.request.get(this.sent..this.request_length).filter(|rest| !rest.is_empty())
        {
            let count = ready!(Pin::new(&mut this.inner).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(Fault::Closed.into()));
            }
            this.sent += count;
        }
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const REQUEST: [u8; 12] = [0, 0, 0, 0, 0, 6, 1, 4, 0, 0, 0, 1];

    fn pair(first_transaction: u16) -> (Guard<DuplexStream>, DuplexStream) {
        let (ours, device) = duplex(1024);
        (Guard::new(ours, first_transaction, true), device)
    }

    async fn fault_after(answer: &[u8], close: bool) -> Fault {
        let (mut guard, mut device) = pair(0);
        device.write_all(answer).await.unwrap();
        if close {
            drop(device);
        }
        let error = guard.read_exact(&mut [0; 64]).await.unwrap_err();
        Fault::of(&error).unwrap()
    }

    #[tokio::test]
    async fn transaction_numbers_go_on_from_the_previous_connection() {
        let (mut guard, mut device) = pair(0xFFFF);
        guard.write_all(&[&[0, 2][..], &REQUEST[2..]].concat()).await.unwrap();
        guard.flush().await.unwrap();
        let mut seen = [0; 12];
        device.read_exact(&mut seen).await.unwrap();
        assert_eq!(seen[..2], [0, 1], "2 after 65535");
        assert_eq!(seen[2..], REQUEST[2..]);
        device.write_all(&[0, 1, 0, 0, 0, 5, 1, 4, 2, 7, 8]).await.unwrap();
        let mut answer = [0; 11];
        guard.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, [0, 2, 0, 0, 0, 5, 1, 4, 2, 7, 8]);
    }

    #[tokio::test]
    async fn impossible_heads_are_refused_before_the_rest_has_come() {
        assert_eq!(fault_after(&[0, 0, 0, 1, 0, 5, 1, 4], false).await, Fault::Protocol(1));
        assert_eq!(fault_after(&[0, 0, 0, 0, 255, 255, 1, 4], false).await, Fault::Length(65_535));
        assert_eq!(fault_after(&[0, 0, 0, 0, 0, 255, 1, 4], false).await, Fault::Length(255));
        assert_eq!(fault_after(&[0, 0, 0, 0, 0, 0, 1, 4], false).await, Fault::Length(0));
        assert_eq!(fault_after(&[0, 0, 0, 0, 0, 4, 1, 0x84, 2, 0], false).await, Fault::Length(4));
    }

    #[tokio::test]
    async fn a_connection_that_ends_says_where() {
        assert_eq!(fault_after(&[], true).await, Fault::Closed);
        assert_eq!(fault_after(&[0, 0, 0], true).await, Fault::Truncated);
        assert_eq!(fault_after(&[0, 0, 0, 0, 0, 5, 1, 4, 2, 7], true).await, Fault::Truncated);
    }

    #[tokio::test]
    async fn the_answer_of_another_unit_is_told_as_that_and_so_is_that_to_another_request() {
        let stranger = Some(Fault::Answerer { got: 0, asked: 1 });
        let late = Some(Fault::Number { got: 8, asked: 9 });
        for (numbered, unit, transaction, expected) in [
            (true, 1, 9, None),
            (true, 0, 9, stranger),
            (true, 1, 8, late),
            (true, 0, 8, late),
            (false, 1, 8, None),
            (false, 0, 8, stranger),
        ] {
            {
                let (mut guard, mut device) = pair(9);
                guard.numbered = numbered;
                guard.write_all(&REQUEST).await.unwrap();
                guard.flush().await.unwrap();
                device.write_all(&[0, transaction, 0, 0, 0, 5, unit, 4, 2, 7, 8]).await.unwrap();
                let result = guard.read_exact(&mut [0; 11]).await;
                assert_eq!(
                    result.err().and_then(|error| Fault::of(&error)),
                    expected,
                    "{unit} {transaction}"
                );
            }
        }
    }

    #[tokio::test]
    async fn nothing_is_sent_into_a_stream_that_is_out_of_step_or_closed() {
        let (mut guard, mut device) = pair(0);
        device.write_all(&[1]).await.unwrap();
        let error = guard.write_all(&REQUEST).await.unwrap_err();
        assert_eq!(Fault::of(&error), Some(Fault::Unasked));
        let (mut guard, device) = pair(0);
        drop(device);
        let error = guard.write_all(&REQUEST).await.unwrap_err();
        assert_eq!(Fault::of(&error), Some(Fault::ClosedIdle));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_end_in_a_frame_or_an_error(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (mut guard, mut device) = pair(7);
                device.write_all(&bytes).await.unwrap();
                drop(device);
                // Never more than a frame at a time, and never an end without an error.
                let mut passed = Vec::new();
                let error = guard.read_to_end(&mut passed).await.unwrap_err();
                assert!(Fault::of(&error).is_some());
                assert!(passed.len() <= bytes.len());
            });
        }
    }

    #[tokio::test]
    async fn an_answer_passes_whole_however_it_is_cut() {
        for step in 1..12 {
            let (mut guard, mut device) = pair(0);
            let frame = [0, 0, 0, 0, 0, 7, 1, 4, 4, 1, 2, 3, 4];
            let reader = async {
                let mut answer = Vec::new();
                while answer.len() < frame.len() {
                    let mut part = vec![0; step];
                    let count = guard.read(&mut part).await.unwrap();
                    answer.extend_from_slice(&part[..count]);
                }
                answer
            };
            let writer = async {
                for part in frame.chunks(step) {
                    device.write_all(part).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let (answer, ()) = tokio::join!(reader, writer);
            assert_eq!(answer, frame, "cut every {step} bytes");
        }
    }
}
