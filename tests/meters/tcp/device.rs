//! A Modbus TCP device on a loopback socket that does what a test tells it to, right or wrong, and the meters
//! that read it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ballast::clock::{Clock, Moment};
use ballast::control::snapshot::{MeterInput, MeterStatus};
use ballast::endpoint::Endpoint;
use ballast::meter::profile::{Format, Function, Plausible, Point, Profile, Register, WordOrder};
use ballast::meter::{Connection, Link, LinkId, Meters, Transport, spawn};
use ballast::units::Watts;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub const TIMEOUT: Duration = Duration::from_millis(200);
pub const PERIOD: Duration = Duration::from_millis(100);

/// A request as the device saw it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Counts all requests from 0.
    pub number: usize,
    pub transaction: [u8; 2],
    pub unit: u8,
    pub function: u8,
    pub address: u16,
    pub count: u16,
    pub at: Moment,
}

impl Asked {
    /// A frame around a protocol data unit, as it ought to be.
    pub fn frame(&self, pdu: &[u8]) -> Vec<u8> {
        let length = u16::try_from(pdu.len() + 1).unwrap().to_be_bytes();
        [&self.transaction[..], &[0, 0], &length, &[self.unit], pdu].concat()
    }

    pub fn exception(&self, code: u8) -> Vec<u8> {
        self.frame(&[self.function | 0x80, code])
    }

    pub fn words(&self, words: &[u16]) -> Vec<u8> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let count = u8::try_from(bytes.len()).unwrap();
        self.frame(&[&[self.function, count][..], &bytes].concat())
    }
}

/// What the device does with a request.
pub enum Act {
    Send(Vec<u8>),
    Silence,
    /// Sends later and goes on listening in the meantime.
    Late(Duration, Vec<u8>),
    /// One byte at a time.
    Drip(Duration, Vec<u8>),
    SendAndClose(Vec<u8>),
    Reset,
}

type Script = Box<dyn FnMut(&Asked, Vec<u8>) -> Act + Send>;

#[derive(Default)]
struct State {
    registers: HashMap<(u8, u8, u16), u16>,
    script: Option<Script>,
    asked: Vec<Asked>,
    connections: usize,
    open: usize,
    most_open: usize,
    limit: Option<usize>,
}

pub struct Device {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: tokio::task::JoinHandle<()>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Device {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let clock = Clock::start();
        let state = Arc::<Mutex<State>>::default();
        let server = tokio::spawn(serve(listener, clock, Arc::clone(&state)));
        Self { address, state, server }
    }

    /// Gives an input register a value. Registers without one are illegal addresses; units without any are
    /// silent.
    pub fn set(&self, unit: u8, address: u16, value: u16) {
        self.set_at(unit, 4, address, value);
    }

    /// Gives a register of the table of a function a value.
    pub fn set_at(&self, unit: u8, function: u8, address: u16, value: u16) {
        lock(&self.state).registers.insert((unit, function, address), value);
    }

    /// What happens to each request from now on, given the answer that would be right.
    pub fn script(&self, script: impl FnMut(&Asked, Vec<u8>) -> Act + Send + 'static) {
        lock(&self.state).script = Some(Box::new(script));
    }

    /// Refuses further connections while this many are open, by closing them.
    pub fn limit(&self, connections: usize) {
        lock(&self.state).limit = Some(connections);
    }

    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.state).asked.clone()
    }

    pub fn connections(&self) -> usize {
        lock(&self.state).connections
    }

    pub fn open(&self) -> usize {
        lock(&self.state).open
    }

    pub fn most_open(&self) -> usize {
        lock(&self.state).most_open
    }

    /// Ends it with all of its connections.
    pub async fn stop(self) {
        self.server.abort();
        let _ = self.server.await;
    }

    pub fn link(&self) -> Link {
        Link {
            name: "gateway".into(),
            transport: Transport::Tcp(Endpoint {
                host: self.address.ip().to_string(),
                port: self.address.port(),
            }),
            connect_timeout: TIMEOUT,
            timeout: TIMEOUT,
            connect_delay: Duration::ZERO,
            numbered: true,
            gap: Duration::from_millis(5),
        }
    }

    /// Starts reading it.
    pub fn read(&self, connections: Vec<Connection>) -> Reader {
        self.read_over(self.link(), connections)
    }

    pub fn read_over(&self, link: Link, connections: Vec<Connection>) -> Reader {
        Reader::start(link, connections)
    }
}

async fn serve(listener: TcpListener, clock: Clock, state: Arc<Mutex<State>>) {
    let mut tasks = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        {
            let mut state = lock(&state);
            if state.limit.is_some_and(|limit| state.open >= limit) {
                continue;
            }
            state.connections += 1;
            state.open += 1;
            state.most_open = state.most_open.max(state.open);
        }
        let state = Arc::clone(&state);
        tasks.spawn(async move {
            // Errors are the other side hanging up.
            let _ = talk(stream, clock, &state).await;
            lock(&state).open -= 1;
        });
    }
}

async fn talk(stream: TcpStream, clock: Clock, state: &Mutex<State>) -> std::io::Result<()> {
    let (mut input, output) = stream.into_split();
    let output = Arc::new(tokio::sync::Mutex::new(output));
    loop {
        let mut request = [0; 12];
        input.read_exact(&mut request).await?;
        let act = {
            let mut state = lock(state);
            let asked = Asked {
                number: state.asked.len(),
                transaction: [request[0], request[1]],
                unit: request[6],
                function: request[7],
                address: u16::from_be_bytes([request[8], request[9]]),
                count: u16::from_be_bytes([request[10], request[11]]),
                at: clock.now(),
            };
            state.asked.push(asked.clone());
            let right = right_answer(&state, &asked);
            match (&mut state.script, right) {
                (Some(script), right) => script(&asked, right.unwrap_or_default()),
                (None, Some(right)) => Act::Send(right),
                (None, None) => Act::Silence,
            }
        };
        match act {
            Act::Send(bytes) => output.lock().await.write_all(&bytes).await?,
            Act::Silence => (),
            Act::Late(delay, bytes) => {
                let output = Arc::clone(&output);
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    let _ = output.lock().await.write_all(&bytes).await;
                });
            }
            Act::Drip(pause, bytes) => {
                for byte in bytes {
                    output.lock().await.write_all(&[byte]).await?;
                    tokio::time::sleep(pause).await;
                }
            }
            Act::SendAndClose(bytes) => {
                output.lock().await.write_all(&bytes).await?;
                return Ok(());
            }
            Act::Reset => {
                output.lock().await.as_ref().set_zero_linger()?;
                return Ok(());
            }
        }
    }
}

fn right_answer(state: &State, asked: &Asked) -> Option<Vec<u8>> {
    if !state.registers.keys().any(|(unit, ..)| *unit == asked.unit) {
        return None;
    }
    let words: Option<Vec<u16>> = (0..asked.count)
        .map(|offset| {
            let key = (asked.unit, asked.function, asked.address + offset);
            state.registers.get(&key).copied()
        })
        .collect();
    Some(words.map_or_else(|| asked.exception(2), |words| asked.words(&words)))
}

/// An unsigned input register in watts.
pub fn register(address: u16) -> Register {
    Register {
        function: Function::Input,
        address,
        format: Format::U16,
        word_order: WordOrder::HighFirst,
        scale: 1.0,
        unavailable: vec![0xFFFF],
        ..Register::default()
    }
}

/// A meter whose power is the sum of some registers.
pub fn meter(unit: u8, addresses: &[u16]) -> Connection {
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

pub fn plausible(low: i32, high: i32) -> Option<Plausible> {
    Some(Plausible { low: Watts::whole(low), high: Watts::whole(high) })
}

/// The meters under test.
pub struct Reader {
    pub meters: Meters,
    pub clock: Clock,
    pub cancel: CancellationToken,
    pub tracker: TaskTracker,
}

impl Reader {
    pub fn start(link: Link, connections: Vec<Connection>) -> Self {
        // What the log says is part of the output of a test that fails.
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_test_writer();
        let _ = log.try_init();
        let clock = Clock::start();
        let cancel = CancellationToken::new();
        let tracker = TaskTracker::new();
        let names = ["a", "b", "c", "d"];
        Self {
            meters: spawn(&[link], &connections, &names, clock, &cancel, &tracker),
            clock,
            cancel,
            tracker,
        }
    }

    pub fn now(&self, meter: usize) -> MeterInput {
        *self.meters.inputs[meter].borrow()
    }

    pub fn reads(&self, meter: usize, result: &str) -> u64 {
        self.meters.counters[meter].reads_of(result)
    }

    /// The next published state of a meter.
    pub async fn next(&mut self, meter: usize) -> MeterInput {
        next(&mut self.meters.inputs[meter]).await
    }

    /// Waits until it is so; fails after a minute, too.
    pub async fn eventually(&self, what: &str, good: impl Fn(&Self) -> bool) {
        let end = self.clock.now() + Duration::from_secs(60);
        while !good(self) {
            assert!(self.clock.now() < end, "not within a minute: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until a meter has a status; fails after a minute, which is enough for a busy machine.
    pub async fn until(&mut self, meter: usize, status: MeterStatus) -> MeterInput {
        self.until_it(meter, |input| input.status == status).await
    }

    pub async fn until_it(&mut self, meter: usize, mut is: impl FnMut(&MeterInput) -> bool) -> MeterInput {
        let wait = self.meters.inputs[meter].wait_for(|input| is(input));
        let found = tokio::time::timeout(Duration::from_secs(60), wait).await;
        *found.expect("in time").unwrap()
    }
}

async fn next(input: &mut watch::Receiver<MeterInput>) -> MeterInput {
    tokio::time::timeout(Duration::from_secs(60), input.changed()).await.expect("in time").unwrap();
    *input.borrow_and_update()
}

/// The value of the latest good reading in watts.
pub fn watts(input: &MeterInput) -> Option<f64> {
    input.power.map(|reading| reading.value.get())
}
