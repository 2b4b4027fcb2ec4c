//! A device of the operator's own, as its description in the configuration has it: behind HTTP it answers the described
//! requests and no others, behind Modbus TCP it has the described coils and registers and no others. Whatever else is
//! asked of it is refused and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock::{Clock, Moment};
use crate::miner::drivers::generic::http::{Call, Look};
use crate::miner::drivers::generic::modbus::{Address, Kind, Number};
use crate::miner::drivers::generic::{Description, Protocol, Unit, http, modbus};
use crate::units::Watts;

use super::door::{Door, Guest};
use super::rest::{self, Asked};
use super::{Face, Habits, Make, MinerState, Obstacle, Refusal, Setting, SimMiner, rounded};

/// What such a device is like where simulated miners differ.
pub(super) const MAKE: Make = Make {
    account: ("", ""),
    faces: [Face { model: "Switch", chips: 0 }, Face { model: "Switch", chips: 0 }],
    habits: Habits::STEADY,
    connections: rest::CONNECTIONS_MAX,
    serve: |door, connection| tokio::spawn(run(door, connection.device.clone(), connection.rated)),
    beside: &[],
};

/// A client that says nothing for so long is disconnected.
const IDLE: Duration = Duration::from_secs(30);

/// Serves until cancelled. Without a description there is nothing to answer.
pub(super) async fn run(door: Door, description: Option<Arc<Description>>, rated: Watts) {
    let (miner, clock) = (Arc::clone(door.miner()), door.clock());
    let on = AtomicBool::new(miner.state(clock.now()) != MinerState::Asleep);
    let device = Device { miner, clock, rated, unit: None, on };
    match description.as_deref() {
        Some(Description { protocol: Protocol::Http(http), setpoint, .. }) => {
            let device = Device { unit: *setpoint, ..device };
            rest::run(door, Web { device, description: (**http).clone() }).await;
        }
        Some(Description { protocol: Protocol::Modbus(modbus), setpoint, .. }) => {
            let device = Device { unit: *setpoint, ..device };
            serve(door, Arc::new(Bus { device, description: modbus.clone() })).await;
        }
        None => serve_nothing(door).await,
    }
}

async fn serve_nothing(mut door: Door) {
    let mut guests = JoinSet::new();
    while let Some((mut guest, _)) = door.next().await {
        let miner = Arc::clone(door.miner());
        while guests.try_join_next().is_some() {}
        guests.spawn(async move { super::cgminer::hang(&miner, &mut guest).await });
    }
    guests.shutdown().await;
}

/// What is behind either protocol.
struct Device {
    miner: Arc<SimMiner>,
    clock: Clock,
    rated: Watts,
    unit: Option<Unit>,
    /// The relay itself: it moves at once, the draw behind its dead time.
    on: AtomicBool,
}

impl Device {
    fn now(&self) -> Moment {
        self.clock.now()
    }

    fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    fn power(&self) -> f64 {
        self.miner.view(self.now()).power.get()
    }

    fn switch(&self, on: bool) -> Result<(), Refusal> {
        let now = self.now();
        // Not carried out while a fault makes it ignore commands.
        self.miner.command(|physics| {
            self.on.store(on, Ordering::Relaxed);
            if on { physics.wake(now) } else { physics.sleep(now) }
        })
    }

    fn set(&self, value: f64) -> Result<(), Refusal> {
        let watts = match self.unit {
            Some(Unit::Percent) => self.rated.scaled(value / 100.0),
            Some(Unit::Watts) | None => Watts::saturating(value),
        };
        self.miner.set_power(watts, self.now())
    }

    /// The setpoint in its own unit.
    fn setpoint(&self) -> f64 {
        let view = self.miner.view(self.now());
        let watts = match view.setting {
            Some(Setting::Watts(watts)) => watts,
            Some(Setting::Percent(percent)) => view.limit.scaled(percent / 100.0),
            None => view.limit,
        };
        match self.unit {
            Some(Unit::Percent) => rounded(100.0 * watts.get() / self.rated.get().max(1.0), 3),
            Some(Unit::Watts) | None => rounded(watts.get(), 3),
        }
    }
}

/// Behind HTTP.
struct Web {
    device: Device,
    description: http::Description,
}

/// What stands where a template has its placeholder; `Some(None)` for a text that has none and is the same.
fn filled(template: &str, text: &str) -> Option<Option<f64>> {
    for word in ["{watts}", "{percent}"] {
        if let Some((before, after)) = template.split_once(word) {
            let value = text.strip_prefix(before)?.strip_suffix(after)?;
            return value.parse().ok().map(Some);
        }
    }
    (template == text).then_some(None)
}

impl Web {
    /// Whether a request is this call, and with which value.
    fn is(call: &Call, asked: &Asked) -> Option<Option<f64>> {
        let path = asked.uri.path_and_query().map_or("", |path| path.as_str());
        let body = std::str::from_utf8(&asked.body).ok()?;
        let (in_path, in_body) = (filled(&call.path, path)?, filled(&call.body, body)?);
        (asked.method == call.method).then_some(in_path.or(in_body))
    }

    fn done(call: &Call, result: Result<(), Refusal>) -> Response {
        if result.is_err() {
            let body = json!({"error": "refused by the simulation"});
            return rest::json(StatusCode::INTERNAL_SERVER_ERROR, body);
        }
        let status =
            call.status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::OK);
        match &call.expect {
            Some(expect) => answer(status, &[(expect.pointer.as_deref(), expect.value.clone())]),
            None => (status, "").into_response(),
        }
    }

    /// Everything that is read at a path.
    fn looks(&self, path: &str) -> Vec<(Option<&str>, Value)> {
        let device = &self.device;
        let (place, on, off) = &self.description.state;
        let mut found: Vec<(&Look, Value)> =
            vec![(place, if device.is_on() { on.clone() } else { off.clone() })];
        if let Some((look, scale)) = &self.description.power {
            found.push((look, json!(rounded(device.power() / scale, 3))));
        }
        if let Some((look, scale)) = &self.description.target {
            found.push((look, json!(device.setpoint() / scale)));
        }
        let here = found.into_iter().filter(|(look, _)| look.path == path);
        here.map(|(look, value)| (look.pointer.as_deref(), value)).collect()
    }
}

/// An answer with values at their places; a value without a place is the whole answer as text.
fn answer(status: StatusCode, values: &[(Option<&str>, Value)]) -> Response {
    let mut document = Value::Null;
    for (pointer, value) in values {
        let Some(pointer) = pointer else {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            return (status, [(header::CONTENT_TYPE, "text/plain")], text).into_response();
        };
        put(&mut document, pointer, value.clone());
    }
    rest::json(status, document)
}

/// Puts a value at a place, making objects and lists on the way.
fn put(document: &mut Value, pointer: &str, value: Value) {
    let mut at = document;
    for part in pointer.split('/').skip(1) {
        let index = part.parse::<usize>().ok().filter(|index| *index < 64 && !at.is_object());
        at = match index {
            Some(index) => {
                if !at.is_array() {
                    *at = Value::Array(Vec::new());
                }
                let Value::Array(list) = at else { return };
                while list.len() <= index {
                    list.push(Value::Null);
                }
                let Some(place) = list.get_mut(index) else { return };
                place
            }
            None => {
                if !at.is_object() {
                    *at = Value::Object(Map::new());
                }
                let Value::Object(object) = at else { return };
                object.entry(part.replace("~1", "/").replace("~0", "~")).or_insert(Value::Null)
            }
        };
    }
    *at = value;
}

impl rest::Service for Web {
    fn answer(&self, asked: &Asked) -> Response {
        let described = &self.description;
        let sealed = described.headers.iter().all(|header| {
            asked
                .headers
                .get(&header.name)
                .is_some_and(|value| value.as_bytes() == header.value.expose().as_bytes())
        });
        if !sealed {
            return rest::json(StatusCode::UNAUTHORIZED, json!({"error": "unauthorized"}));
        }
        if Self::is(&described.on, asked).is_some() {
            return Self::done(&described.on, self.device.switch(true));
        }
        if Self::is(&described.off, asked).is_some() {
            return Self::done(&described.off, self.device.switch(false));
        }
        if let Some(call) = &described.setpoint
            && let Some(Some(value)) = Self::is(call, asked)
        {
            return Self::done(call, self.device.set(value));
        }
        let path = asked.uri.path_and_query().map_or("", |path| path.as_str());
        let looks = self.looks(path);
        if asked.method == axum::http::Method::GET && !looks.is_empty() {
            return answer(StatusCode::OK, &looks);
        }
        if asked.method != axum::http::Method::GET {
            self.device.miner.trespass();
        }
        rest::json(StatusCode::NOT_FOUND, json!({"error": "not found"}))
    }
}

/// Behind Modbus TCP.
struct Bus {
    device: Device,
    description: modbus::Description,
}

async fn serve(mut door: Door, bus: Arc<Bus>) {
    let mut guests = JoinSet::new();
    while let Some((mut guest, _)) = door.next().await {
        let bus = Arc::clone(&bus);
        while guests.try_join_next().is_some() {}
        guests.spawn(async move { while let Some(()) = exchange(&bus, &mut guest).await {} });
    }
    guests.shutdown().await;
}

/// One request and its answer; `None` when there is to be no more.
async fn exchange(bus: &Bus, guest: &mut Guest) -> Option<()> {
    let miner = &bus.device.miner;
    let mut header = [0_u8; 7];
    timeout(IDLE, guest.read_exact(&mut header)).await.ok()?.ok()?;
    let [t1, t2, .., l1, l2, unit] = header;
    let length = usize::from(u16::from_be_bytes([l1, l2]));
    if !(2..=254).contains(&length) {
        return None;
    }
    let mut request = vec![0_u8; length - 1];
    timeout(IDLE, guest.read_exact(&mut request)).await.ok()?.ok()?;
    match miner.obstacle() {
        Obstacle::Hang => {
            super::cgminer::hang(miner, guest).await;
            return None;
        }
        Obstacle::Garbage => {
            let _ = guest.write_all(&[0xFF; 16]).await;
            return None;
        }
        Obstacle::Delay(delay) => tokio::time::sleep(delay).await,
        Obstacle::Nothing => {}
    }
    if unit != bus.description.unit {
        // A gateway without such a unit.
        return None;
    }
    let function = request.first().copied().unwrap_or_default();
    let answer = bus.answer(&request).unwrap_or_else(|code| vec![function | 0x80, code]);
    let [a1, a2] = u16::try_from(answer.len() + 1).unwrap_or_default().to_be_bytes();
    let mut frame = vec![t1, t2, 0, 0, a1, a2, unit];
    frame.extend(answer);
    timeout(IDLE, guest.write_all(&frame)).await.ok()?.ok()
}

/// The exception of an address that is not there.
const NO_ADDRESS: u8 = 2;
/// The exception of a device that failed.
const FAILED: u8 = 4;

impl Bus {
    fn answer(&self, request: &[u8]) -> Result<Vec<u8>, u8> {
        let word = |at: usize| {
            let high = request.get(at).copied().ok_or(3)?;
            let low = request.get(at + 1).copied().ok_or(3)?;
            Ok::<u16, u8>(u16::from_be_bytes([high, low]))
        };
        let function = request.first().copied().ok_or(1)?;
        let (at, second) = (word(1)?, word(3)?);
        match function {
            1 | 2 if second == 1 => {
                let address = if function == 1 { Address::Coil(at) } else { Address::Discrete(at) };
                let bits = self.registers(address, 1).ok_or(NO_ADDRESS)?;
                Ok(vec![function, 1, u8::from(bits.first().is_some_and(|bit| *bit != 0))])
            }
            3 | 4 => {
                let address = if function == 3 { Address::Holding(at) } else { Address::Input(at) };
                let words = self.registers(address, second).ok_or(NO_ADDRESS)?;
                let mut answer = vec![function, u8::try_from(words.len() * 2).map_err(|_| 3)?];
                answer.extend(words.iter().flat_map(|word| word.to_be_bytes()));
                Ok(answer)
            }
            5 | 6 => {
                let (address, value) = if function == 5 {
                    (Address::Coil(at), u16::from(second == 0xFF00))
                } else {
                    (Address::Holding(at), second)
                };
                self.write(address, &[value])?;
                Ok(request.to_vec())
            }
            16 => {
                let words = (0..usize::from(second))
                    .map(|index| word(6 + index * 2))
                    .collect::<Result<Vec<_>, _>>()?;
                self.write(Address::Holding(at), &words)?;
                Ok(request.iter().take(5).copied().collect())
            }
            _ => Err(1),
        }
    }

    /// What stands at an address.
    fn registers(&self, address: Address, count: u16) -> Option<Vec<u16>> {
        let described = &self.description;
        let switch = |(place, on, off): (Address, u16, u16)| {
            (place == address && count == 1).then(|| vec![if self.device.is_on() { on } else { off }])
        };
        let number = |number: &Number, value: f64| {
            (number.address == address)
                .then(|| words(number, value))
                .filter(|words| words.len() == usize::from(count))
        };
        switch(described.state)
            .or_else(|| described.power.as_ref().and_then(|place| number(place, self.device.power())))
            .or_else(|| described.target.as_ref().and_then(|place| number(place, self.device.setpoint())))
            .or_else(|| described.setpoint.as_ref().and_then(|place| number(place, self.device.setpoint())))
    }

    fn write(&self, address: Address, values: &[u16]) -> Result<(), u8> {
        let described = &self.description;
        let is = |switch: (Address, u16)| switch.0 == address && values == [switch.1];
        let result = if is(described.on) {
            self.device.switch(true)
        } else if is(described.off) {
            self.device.switch(false)
        } else if let Some(number) = described.setpoint.as_ref().filter(|number| number.address == address) {
            self.device.set(value(number, values).ok_or(3)?)
        } else {
            self.device.miner.trespass();
            return Err(NO_ADDRESS);
        };
        result.map_err(|_| FAILED)
    }
}

/// The registers of a number, nearest.
fn words(number: &Number, value: f64) -> Vec<u16> {
    let raw = super::whole(value / number.scale);
    let bits = match number.kind {
        Kind::U16 | Kind::I16 => {
            let low = raw.to_be_bytes();
            let [.., high, low] = low;
            return vec![u16::from_be_bytes([high, low])];
        }
        Kind::F32 => format!("{}", value / number.scale).parse::<f32>().unwrap_or_default().to_be_bytes(),
        Kind::U32 | Kind::I32 => {
            let [.., b1, b2, b3, b4] = raw.to_be_bytes();
            [b1, b2, b3, b4]
        }
    };
    let [b1, b2, b3, b4] = bits;
    let (high, low) = (u16::from_be_bytes([b1, b2]), u16::from_be_bytes([b3, b4]));
    if number.low_first { vec![low, high] } else { vec![high, low] }
}

fn value(number: &Number, words: &[u16]) -> Option<f64> {
    let raw = match (number.kind, words) {
        (Kind::U16, [word]) => f64::from(*word),
        (Kind::I16, [word]) => f64::from(i16::from_be_bytes(word.to_be_bytes())),
        (kind, [first, second]) => {
            let (high, low) = if number.low_first { (second, first) } else { (first, second) };
            let ([b1, b2], [b3, b4]) = (high.to_be_bytes(), low.to_be_bytes());
            match kind {
                Kind::F32 => f64::from(f32::from_be_bytes([b1, b2, b3, b4])),
                Kind::I32 => f64::from(i32::from_be_bytes([b1, b2, b3, b4])),
                Kind::U32 | Kind::U16 | Kind::I16 => f64::from(u32::from_be_bytes([b1, b2, b3, b4])),
            }
        }
        _ => return None,
    };
    Some(raw * number.scale).filter(|value| value.is_finite())
}
