//! One connection to a link: how it is opened, one request and its answer, and what can go wrong.
//!
//! An exchange takes the session by value and gives it back only when the connection is certainly in step: after
//! a good answer or a Modbus exception. A timeout, a broken answer, or a caller that stops waiting drops the
//! connection with the exchange. Over TCP no late answer can then be taken for that of another request, since the
//! numbers of requests go on; over RTU it takes more, see `link`.

use std::io;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_modbus::client::{Client as _, Context, rtu, tcp};
use tokio_modbus::slave::SlaveContext as _;
use tokio_modbus::{Request, Response, Slave};
use tokio_serial::{DataBits, FlowControl, SerialStream, StopBits};

use super::guard::{Fault, Guard};
use super::line::{Line, Parity};
use super::plan::Span;
use super::profile::Function;
use super::rtu::RtuGuard;
use super::{Link, Transport};
use crate::clock::{Clock, Moment};
use crate::control::snapshot::MeterStatus;
use crate::endpoint::Endpoint;

/// What a Modbus exception code says about whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExceptionKind {
    /// 1, 2, 3: the device does not serve what the profile asks for. Stays until somebody changes something.
    Configuration,
    /// 5, 6, 10, 11: busy, or a gateway that does not reach the unit at the moment.
    Transient,
    /// 4, 8 and all others: a fault of the device.
    Device,
}

impl ExceptionKind {
    /// The kind of a code (Modbus Application Protocol V1.1b3, 7).
    pub const fn of(code: u8) -> Self {
        match code {
            1..=3 => Self::Configuration,
            5 | 6 | 10 | 11 => Self::Transient,
            _ => Self::Device,
        }
    }

    /// As written in metrics: a closed set of labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Transient => "transient",
            Self::Device => "device",
        }
    }
}

/// What an exception code means and what to do about it.
fn explain(code: u8) -> &'static str {
    match code {
        1 => "illegal function; a configuration fault: check the profile's register table and the unit id",
        2 => "illegal data address; a configuration fault: check the profile and the unit id",
        3 => "illegal data value; a configuration fault: check the profile and the unit id",
        4 => "device failure; look at the device's own display or log",
        5 => "acknowledged but not ready; transient, it is asked again",
        6 => "device busy; transient, it is asked again; if it stays, read it less often",
        8 => "memory parity error; the device needs service",
        10 => {
            "the gateway has no path to the unit; transient, it is asked again; if it stays, check the gateway"
        }
        11 => {
            "the gateway reaches no such unit; transient, it is asked again; if it stays, check the unit's power, \
             wiring and id"
        }
        _ => "not in the standard; see the device's manual",
    }
}

/// Why a read failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No connection.
    #[error("cannot connect to {place}: {reason}; check its address, its power and the network")]
    Connect {
        /// Where.
        place: String,
        /// What the operating system says.
        reason: String,
    },
    /// Connected, but no whole answer in time.
    #[error(
        "unit {unit} at {place} did not answer within {limit:?}; check the unit id, its power and its wiring, and \
         that no other client holds the device"
    )]
    Timeout {
        /// Where.
        place: String,
        /// Which unit.
        unit: u8,
        /// The time given.
        limit: Duration,
    },
    /// The connection broke while an answer was awaited.
    #[error(
        "the connection to {place} broke while unit {unit} was read: {reason}; check that no other client holds the device"
    )]
    Broken {
        /// Where.
        place: String,
        /// Which unit.
        unit: u8,
        /// In which way.
        reason: String,
    },
    /// The answer breaks the protocol.
    #[error("unit {unit} at {place} broke the protocol: {reason}; check that the link really is {kind}")]
    Malformed {
        /// Where.
        place: String,
        /// Which unit.
        unit: u8,
        /// In which way; never the whole answer.
        reason: String,
        /// What the link is taken for.
        kind: &'static str,
    },
    /// The device answers under another unit id than the one it was asked by.
    #[error(
        "unit {unit} at {place} was asked, and unit {got} answered: if that is the meter, write unit = {got}; else check \
         the gateway's table of units"
    )]
    Answerer {
        /// Where.
        place: String,
        /// Which unit was asked.
        unit: u8,
        /// Which answered.
        got: u8,
    },
    /// The device gives its answers numbers of its own.
    #[error(
        "unit {unit} at {place} answered under the number {got} where {asked} was asked: once, that is a late answer or one \
         for somebody else; always, the gateway does not repeat the numbers of requests: write numbered = false in the link, \
         or set the gateway to transparent and write rtu_over_tcp instead of tcp"
    )]
    Number {
        /// Where.
        place: String,
        /// Which unit was asked.
        unit: u8,
        /// Which number came.
        got: u16,
        /// Which was asked.
        asked: u16,
    },
    /// The device refused.
    #[error(
        "unit {unit} at {place} refused {count} {} from {address} with exception {code}: {}",
        function.items(),
        explain(*code)
    )]
    Exception {
        /// Where.
        place: String,
        /// Which unit.
        unit: u8,
        /// Of which table.
        function: Function,
        /// First register.
        address: u16,
        /// How many.
        count: u16,
        /// Modbus exception code.
        code: u8,
    },
}

impl ReadError {
    /// Whether the device does not serve what it was asked for, and will not until somebody changes something: exception
    /// 1, 2 or 3.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Exception { code, .. } if ExceptionKind::of(*code) == ExceptionKind::Configuration)
    }

    /// As the control law and the metrics see it.
    pub const fn status(&self) -> MeterStatus {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Broken { .. } => MeterStatus::Unreachable,
            Self::Malformed { .. } | Self::Answerer { .. } | Self::Number { .. } => MeterStatus::Malformed,
            Self::Exception { code, .. } => MeterStatus::Exception(*code),
        }
    }
}

/// How an exchange ended, when not with words.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The device had closed a connection that had worked, before the request was sent: nothing is lost, connect
    /// and ask again.
    HungUp,
    /// The read failed.
    Failed(ReadError),
}

/// An open connection, in step.
pub(super) struct Session {
    context: Context,
    /// Not before this moment may the next request go out.
    quiet_until: Moment,
    /// The transaction number of the next request.
    next_transaction: u16,
    /// Whether any answer came over this connection.
    answered: bool,
}

impl Session {
    /// Connects and waits out the link's connect delay. A serial line is drained of what waits on it, until it is
    /// silent.
    ///
    /// # Errors
    /// [`ReadError::Connect`].
    pub(super) async fn open(link: &Link, clock: Clock, first_transaction: u16) -> Result<Self, ReadError> {
        let place = link.transport.to_string();
        let failed = |reason: String| ReadError::Connect { place: place.clone(), reason };
        let context = match &link.transport {
            Transport::Tcp(endpoint) => {
                let stream = connect(endpoint, link).await.map_err(failed)?;
                tcp::attach_slave(Guard::new(stream, first_transaction, link.numbered), Slave(0))
            }
            Transport::RtuOverTcp(endpoint, _) => {
                let mut stream = connect(endpoint, link).await.map_err(failed)?;
                drain(&mut stream, link).await.map_err(failed)?;
                rtu::attach_slave(RtuGuard::new(stream), Slave(0))
            }
            Transport::Rtu(path, line) => {
                let mut stream = open_port(path, line).map_err(failed)?;
                drain(&mut stream, link).await.map_err(failed)?;
                rtu::attach_slave(RtuGuard::new(stream), Slave(0))
            }
        };
        let delay = if link.transport.line().is_some() { Duration::ZERO } else { link.connect_delay };
        Ok(Self {
            context,
            quiet_until: clock.now() + delay.max(link.silence()),
            next_transaction: first_transaction,
            answered: false,
        })
    }

    /// Whether any answer came over this connection.
    pub(super) fn answered(&self) -> bool {
        self.answered
    }

    /// Sends nothing for some time. What comes in the meantime is refused as unasked by the next request.
    pub(super) fn listen(&mut self, clock: Clock, time: Duration) {
        self.quiet_until = self.quiet_until.max(clock.now() + time);
    }

    /// Not before this moment goes the next request out.
    pub(super) fn quiet_until(&self) -> Moment {
        self.quiet_until
    }

    /// The transaction number with which a next connection has to begin.
    pub(super) fn next_transaction(&self) -> u16 {
        self.next_transaction
    }

    /// Reads some registers or bits of a unit; each bit becomes a word, 0 or 1. The session comes back when the connection may be used again; it is gone
    /// when it may not.
    pub(super) async fn read(
        mut self,
        link: &Link,
        clock: Clock,
        unit: u8,
        span: Span,
    ) -> (Option<Self>, Result<Vec<u16>, Refusal>) {
        sleep_until(clock.instant(self.quiet_until)).await;
        self.context.set_slave(Slave(unit));
        self.next_transaction = self.next_transaction.wrapping_add(1);
        let request = match span.function {
            Function::Holding => Request::ReadHoldingRegisters(span.address, span.count),
            Function::Input => Request::ReadInputRegisters(span.address, span.count),
            Function::Coil => Request::ReadCoils(span.address, span.count),
            Function::Discrete => Request::ReadDiscreteInputs(span.address, span.count),
        };
        let answer = timeout(link.timeout, self.context.call(request)).await;
        self.quiet_until = clock.now() + link.silence();
        let place = link.transport.to_string();
        let kind = link.transport.kind();
        let malformed = |reason: String| {
            let place = place.clone();
            (None, Err(Refusal::Failed(ReadError::Malformed { place, unit, reason, kind })))
        };
        let words = match answer {
            Ok(Ok(Ok(Response::ReadHoldingRegisters(words) | Response::ReadInputRegisters(words)))) => words,
            Ok(Ok(Ok(Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits)))) => {
                // The bits come in whole bytes; what is beyond those asked for means nothing.
                if bits.len() != usize::from(span.count).next_multiple_of(8) {
                    return malformed(format!(
                        "{} bytes of bits came for {} {}",
                        bits.len() / 8,
                        span.count,
                        span.function.items()
                    ));
                }
                bits.into_iter().take(usize::from(span.count)).map(u16::from).collect()
            }
            Ok(Ok(Ok(_))) => return malformed("an answer of another kind than the request".into()),
            Ok(Ok(Err(exception))) => {
                self.answered = true;
                let error = ReadError::Exception {
                    place,
                    unit,
                    function: span.function,
                    address: span.address,
                    count: span.count,
                    code: u8::from(exception),
                };
                return (Some(self), Err(Refusal::Failed(error)));
            }
            Ok(Err(tokio_modbus::Error::Protocol(error))) => return malformed(mismatch(&error)),
            Ok(Err(tokio_modbus::Error::Transport(error))) => {
                return (None, Err(broken(&error, place, unit, kind, self.answered)));
            }
            Err(_) => {
                let limit = link.timeout;
                return (None, Err(Refusal::Failed(ReadError::Timeout { place, unit, limit })));
            }
        };
        if words.len() != usize::from(span.count) {
            return malformed(format!("{} registers came instead of {}", words.len(), span.count));
        }
        self.answered = true;
        (Some(self), Ok(words))
    }
}

/// Opens a TCP connection.
async fn connect(endpoint: &Endpoint, link: &Link) -> Result<TcpStream, String> {
    match timeout(link.connect_timeout, endpoint.connect()).await {
        Ok(opened) => opened.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {:?}", link.connect_timeout)),
    }
}

/// A serial port that is ours alone, until it is dropped: a pseudo-terminal would stay locked after its closing.
#[derive(Debug)]
struct Port(SerialStream);

impl Drop for Port {
    fn drop(&mut self) {
        // It fails where the port is gone, and the lock with it.
        let _ = self.0.set_exclusive(false);
    }
}

impl AsyncRead for Port {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Port {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Opens a serial port, for this process alone: a second master on the line would garble both. Does not wait for
/// anything.
fn open_port(path: &str, line: &Line) -> Result<Port, String> {
    let builder = tokio_serial::new(path, line.baud)
        .data_bits(DataBits::Eight)
        .parity(match line.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Even => tokio_serial::Parity::Even,
            Parity::Odd => tokio_serial::Parity::Odd,
        })
        .stop_bits(if line.stop_bits > 1 { StopBits::Two } else { StopBits::One })
        .flow_control(FlowControl::None);
    SerialStream::open(&builder).map(Port).map_err(|error| {
        format!("{error} (is the adapter plugged in, may this account open it, and does no other program have it?)")
    })
}

/// Throws away what waits on a fresh connection to a serial line, until the line has been silent for the link's gap.
async fn drain(stream: &mut (impl AsyncRead + Unpin), link: &Link) -> Result<(), String> {
    sleep(link.connect_delay).await;
    let mut waste = [0; 256];
    let draining = async {
        loop {
            match timeout(link.silence(), stream.read(&mut waste)).await {
                Err(_) => return Ok(()),
                Ok(Ok(0)) => return Err(String::from("it was closed at once")),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error.to_string()),
            }
        }
    };
    timeout(link.connect_timeout, draining).await.unwrap_or_else(|_| {
        Err(String::from(
            "the line does not fall silent: another master is on it, a device talks unasked, or the baud rate is wrong",
        ))
    })
}

/// The library's whole message holds the registers of the answer as well; this is what it comes down to.
fn mismatch(error: &tokio_modbus::ProtocolError) -> String {
    match error {
        tokio_modbus::ProtocolError::HeaderMismatch { message, .. } => {
            format!("the answer belongs to another transaction or unit ({message})")
        }
        tokio_modbus::ProtocolError::FunctionCodeMismatch { .. } => {
            "the answer carries another function than the request".into()
        }
    }
}

/// Sorts the errors of a stream: the device's end of the line, or bytes that are not Modbus. `answered` says
/// whether the connection had ever worked.
fn broken(error: &io::Error, place: String, unit: u8, kind: &'static str, answered: bool) -> Refusal {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    let reason = error.to_string();
    Refusal::Failed(match (Fault::of(error), error.kind()) {
        (Some(Fault::ClosedIdle), _) if answered => return Refusal::HungUp,
        (Some(Fault::Answerer { got, .. }), _) => ReadError::Answerer { place, unit, got },
        (Some(Fault::Number { got, asked }), _) => ReadError::Number { place, unit, got, asked },
        (Some(Fault::ClosedIdle | Fault::Closed), _) => ReadError::Broken { place, unit, reason },
        (Some(_), _) => ReadError::Malformed { place, unit, reason, kind },
        // From the decoder of tokio-modbus. The guard has checked the frame, so it is the byte count.
        (None, InvalidData | InvalidInput | UnexpectedEof) => ReadError::Malformed {
            place,
            unit,
            reason: "the byte count does not fit the length of the answer".into(),
            kind,
        },
        (None, _) => ReadError::Broken { place, unit, reason },
    })
}
