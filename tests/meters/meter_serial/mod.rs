//! RTU devices on a serial line that do what a test tells them to, right or wrong, behind a transparent gateway or on a
//! pseudo-terminal; and the meters that read them.

pub mod cases;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ballast::clock::{Clock, Moment};
use ballast::control::snapshot::{MeterInput, MeterStatus};
use ballast::endpoint::Endpoint;
use ballast::meter::line::Line;
use ballast::meter::profile::{Format, Function, Point, Profile, Register, WordOrder};
use ballast::meter::{Connection, Link, LinkId, Meters, Transport, spawn};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_serial::{SerialPort, SerialStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub const TIMEOUT: Duration = Duration::from_millis(100);
pub const PERIOD: Duration = Duration::from_millis(50);

/// The check of a frame, bit by bit and not by the code under test.
fn crc(bytes: &[u8]) -> [u8; 2] {
    let mut crc = 0xFFFF_u16;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            let odd = crc % 2 == 1;
            crc /= 2;
            if odd {
                crc ^= 0xA001;
            }
        }
    }
    crc.to_le_bytes()
}

/// A frame around a unit and a protocol data unit, as it ought to be.
pub fn frame(bytes: &[u8]) -> Vec<u8> {
    [bytes, &crc(bytes)].concat()
}

/// A request as the devices saw it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Counts all requests from 0.
    pub number: usize,
    pub unit: u8,
    pub function: u8,
    pub address: u16,
    pub count: u16,
    pub at: Moment,
}

impl Asked {
    pub fn exception(&self, code: u8) -> Vec<u8> {
        frame(&[self.unit, self.function | 0x80, code])
    }

    pub fn words(&self, words: &[u16]) -> Vec<u8> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let count = u8::try_from(bytes.len()).unwrap();
        frame(&[&[self.unit, self.function, count][..], &bytes].concat())
    }
}

/// What a device does with a request.
pub enum Act {
    Send(Vec<u8>),
    Silence,
    /// Sends later and goes on listening in the meantime. What is asked in the meantime is answered afterwards: devices
    /// answer in order.
    Late(Duration, Vec<u8>),
    /// One byte at a time.
    Drip(Duration, Vec<u8>),
}

type Script = Box<dyn FnMut(&Asked, Vec<u8>) -> Act + Send>;

#[derive(Default)]
struct State {
    registers: HashMap<(u8, u16), u16>,
    script: Option<Script>,
    asked: Vec<Asked>,
    /// When the latest answer will be out.
    busy_until: Moment,
}

/// Where the answers go at present: to the connection that is open, whoever asked. What finds none waits for the next.
#[derive(Default)]
struct Output {
    stream: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    waiting: Vec<u8>,
}

type Shared<T> = Arc<Mutex<T>>;
type SharedOutput = Arc<tokio::sync::Mutex<Output>>;

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the line is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    OverTcp,
    Pty,
}

/// Each test program uses one of them.
const _: [Kind; 2] = [Kind::OverTcp, Kind::Pty];

enum Place {
    Gateway(SocketAddr),
    Port(PathBuf),
}

/// The devices of a line.
pub struct Device {
    place: Place,
    state: Shared<State>,
    output: SharedOutput,
    server: Option<JoinHandle<()>>,
    clock: Clock,
}

impl Device {
    pub async fn start(kind: Kind) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let place = match kind {
            Kind::OverTcp => Place::Gateway("127.0.0.1:0".parse().unwrap()),
            Kind::Pty => {
                let name = format!("ballast-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
                Place::Port(std::env::temp_dir().join(name))
            }
        };
        let (state, output) = (Arc::default(), Arc::default());
        let mut device = Self { place, state, output, server: None, clock: Clock::start() };
        device.plug().await;
        device
    }

    /// Puts the line (back) in its place.
    pub async fn plug(&mut self) {
        let (state, output, clock) = (Arc::clone(&self.state), Arc::clone(&self.output), self.clock);
        self.server = Some(match &mut self.place {
            Place::Gateway(address) => {
                let listener = TcpListener::bind(*address).await.unwrap();
                *address = listener.local_addr().unwrap();
                tokio::spawn(async move {
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        let (input, writer) = split(stream);
                        // Errors are the other side hanging up.
                        let _ = talk(input, writer, clock, &state, &output).await;
                    }
                })
            }
            Place::Port(path) => {
                let (line, mut other) = SerialStream::pair().unwrap();
                // The other end is held open, or the line would end whenever the meters' side closes it; but not as a
                // port, of which there can be one only.
                other.set_exclusive(false).unwrap();
                let name = other.name().unwrap();
                let held = std::fs::File::open(&name).unwrap();
                drop(other);
                std::os::unix::fs::symlink(&name, path).unwrap();
                tokio::spawn(async move {
                    let (input, writer) = split(line);
                    let _ = talk(input, writer, clock, &state, &output).await;
                    drop(held);
                })
            }
        });
    }

    /// Takes the line away, with whatever is on its way.
    pub async fn unplug(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = server.await;
        }
        *self.output.lock().await = Output::default();
        if let Place::Port(path) = &self.place {
            std::fs::remove_file(path).unwrap();
        }
    }

    /// Gives an input register a value. Registers without one are illegal addresses; units without any are silent.
    pub fn set(&self, unit: u8, address: u16, value: u16) {
        lock(&self.state).registers.insert((unit, address), value);
    }

    /// What happens to each request from now on, given the answer that would be right (none for a silent unit).
    pub fn script(&self, script: impl FnMut(&Asked, Vec<u8>) -> Act + Send + 'static) {
        lock(&self.state).script = Some(Box::new(script));
    }

    /// Sends bytes that nobody asked for.
    pub async fn send(&self, bytes: &[u8]) {
        send(&self.output, bytes).await;
    }

    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.state).asked.clone()
    }

    pub fn link(&self) -> Link {
        let line = Line { baud: 19_200, ..Line::default() };
        Link {
            name: "line".into(),
            transport: match &self.place {
                Place::Gateway(address) => Transport::RtuOverTcp(
                    Endpoint { host: address.ip().to_string(), port: address.port() },
                    line,
                ),
                Place::Port(path) => Transport::Rtu(path.to_str().unwrap().into(), line),
            },
            connect_timeout: TIMEOUT,
            timeout: TIMEOUT,
            connect_delay: Duration::ZERO,
            numbered: true,
            gap: Duration::from_millis(5),
        }
    }

    /// Starts reading it.
    pub fn read(&self, connections: Vec<Connection>) -> Reader {
        Reader::start(self.link(), connections)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
        if let Place::Port(path) = &self.place {
            let _ = std::fs::remove_file(path);
        }
    }
}

async fn send(output: &SharedOutput, bytes: &[u8]) {
    let mut output = output.lock().await;
    let sent = match &mut output.stream {
        Some(stream) => stream.write_all(bytes).await.is_ok(),
        None => false,
    };
    if !sent {
        output.stream = None;
        output.waiting.extend(bytes);
    }
}

async fn talk<T>(
    mut input: ReadHalf<T>,
    mut writer: WriteHalf<T>,
    clock: Clock,
    state: &Mutex<State>,
    output: &SharedOutput,
) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    {
        let mut output = output.lock().await;
        let waiting = std::mem::take(&mut output.waiting);
        writer.write_all(&waiting).await?;
        output.stream = Some(Box::new(writer));
    }
    let ended = answer_all(&mut input, clock, state, output).await;
    output.lock().await.stream = None;
    ended
}

async fn answer_all(
    input: &mut (impl AsyncRead + Unpin),
    clock: Clock,
    state: &Mutex<State>,
    output: &SharedOutput,
) -> io::Result<()> {
    loop {
        let mut request = [0; 8];
        input.read_exact(&mut request).await?;
        assert_eq!(request[6..], crc(&request[..6]), "the request is sound");
        let (act, busy) = {
            let mut state = lock(state);
            let asked = Asked {
                number: state.asked.len(),
                unit: request[0],
                function: request[1],
                address: u16::from_be_bytes([request[2], request[3]]),
                count: u16::from_be_bytes([request[4], request[5]]),
                at: clock.now(),
            };
            state.asked.push(asked.clone());
            let right = right_answer(&state, &asked);
            let act = match (&mut state.script, right) {
                (Some(script), right) => script(&asked, right.unwrap_or_default()),
                (None, Some(right)) => Act::Send(right),
                (None, None) => Act::Silence,
            };
            let act = match act {
                // After those that are not out yet.
                Act::Send(bytes) if state.busy_until > asked.at => Act::Late(Duration::ZERO, bytes),
                act => act,
            };
            if let Act::Late(delay, _) = act {
                let after = state.busy_until + Duration::from_millis(2);
                state.busy_until = (asked.at + delay).max(after);
            }
            (act, state.busy_until - asked.at)
        };
        match act {
            Act::Send(bytes) => send(output, &bytes).await,
            Act::Silence => (),
            Act::Late(_, bytes) => {
                let output = Arc::clone(output);
                tokio::spawn(async move {
                    tokio::time::sleep(busy).await;
                    send(&output, &bytes).await;
                });
            }
            Act::Drip(pause, bytes) => {
                for byte in bytes {
                    send(output, &[byte]).await;
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

fn right_answer(state: &State, asked: &Asked) -> Option<Vec<u8>> {
    if !state.registers.keys().any(|(unit, _)| *unit == asked.unit) {
        return None;
    }
    let words: Option<Vec<u16>> = (0..asked.count)
        .map(|offset| state.registers.get(&(asked.unit, asked.address + offset)).copied())
        .collect();
    Some(words.map_or_else(|| asked.exception(2), |words| asked.words(&words)))
}

/// A meter whose power is the sum of some input registers in watts.
pub fn meter(unit: u8, addresses: &[u16]) -> Connection {
    let register = |address| Register {
        function: Function::Input,
        address,
        format: Format::U16,
        word_order: WordOrder::HighFirst,
        scale: 1.0,
        unavailable: vec![0xFFFF],
        ..Register::default()
    };
    Connection {
        link: LinkId(0),
        unit,
        profile: Profile {
            name: "test".into(),
            power: Point::of(addresses.iter().copied().map(register).collect()),
            ..Profile::default()
        },
        invert: false,
        plausible: None,
        frozen_after: None,
        stale_after: Duration::from_secs(5),
        period: PERIOD,
    }
}

/// The meters under test.
pub struct Reader {
    pub meters: Meters,
    pub clock: Clock,
    cancel: CancellationToken,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Reader {
    pub fn start(link: Link, connections: Vec<Connection>) -> Self {
        // What the log says is part of the output of a test that fails.
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_test_writer();
        let _ = log.try_init();
        let clock = Clock::start();
        let cancel = CancellationToken::new();
        let names = ["a", "b", "c", "d", "e", "f"];
        let meters = spawn(&[link], &connections, &names, clock, &cancel, &TaskTracker::new());
        Self { meters, clock, cancel }
    }

    pub fn now(&self, meter: usize) -> MeterInput {
        *self.meters.inputs[meter].borrow()
    }

    pub fn reads(&self, meter: usize, result: &str) -> u64 {
        self.meters.counters[meter].reads_of(result)
    }

    /// How often the link was opened.
    pub fn connections(&self) -> u64 {
        self.meters.links[0].connections()
    }

    /// The next published state of a meter.
    pub async fn next(&mut self, meter: usize) -> MeterInput {
        let input = &mut self.meters.inputs[meter];
        tokio::time::timeout(Duration::from_secs(60), input.changed()).await.expect("in time").unwrap();
        *input.borrow_and_update()
    }

    /// Waits until a meter has a status; fails after a minute, which is enough for a busy machine.
    pub async fn until(&mut self, meter: usize, status: MeterStatus) -> MeterInput {
        let wait = self.meters.inputs[meter].wait_for(|input| input.status == status);
        *tokio::time::timeout(Duration::from_secs(60), wait).await.expect("in time").unwrap()
    }
}

/// The value of the latest good reading in watts.
pub fn watts(input: &MeterInput) -> Option<f64> {
    input.power.map(|reading| reading.value.get())
}
