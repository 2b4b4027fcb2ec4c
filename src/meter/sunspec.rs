//! SunSpec: devices that say themselves what their registers mean.
//!
//! A SunSpec device holds the words `SunS` at 40000, 0 or 50000, and behind them a chain of models: a number, a
//! length, and as many registers (SunSpec Device Information Model Specification 1.1). The numbers and offsets here
//! are those of the public model definitions (`model_1`, `model_101` … `model_701`).
//!
//! [`Discovery`] only says what to read next and looks at the answers, so it can be driven over any link, and over
//! none. Whatever a device answers, it comes to an end: each step goes forward in 65,536 registers, and models,
//! their length and the number of requests are bounded.
//!
//! The result is a [`Profile`] with absolute addresses: from then on a SunSpec meter is a meter like any other. The
//! points that a device does not implement stay in the profile and are absent when they are read.

use super::profile::Format::{F32, I16, U16, U32, U64};
use super::profile::Measure::{
    EnergyExport, EnergyImport, Frequency, Power, PowerL1, PowerL2, PowerL3, VoltageL1, VoltageL2, VoltageL3,
};
use super::profile::{Certainty, Condition, Format, Function, Measure, Patterns, Point, Profile, Register};

/// Where the chain may begin, in the order in which it is looked for.
pub const BASES: [u16; 3] = [40_000, 0, 50_000];
/// "SunS".
const MARK: [u16; 2] = [0x5375, 0x6E53];
/// The number that ends the chain.
const END: u16 = 0xFFFF;
/// The common model, with the names.
const COMMON: u16 = 1;
/// Registers of the common model up to the end of the serial number, with number and length.
const COMMON_WORDS: u16 = 66;
/// More models than any device has.
pub const MAX_MODELS: usize = 64;
/// More registers than any model has.
pub const MAX_LENGTH: u16 = 8_192;
/// The most requests that a discovery makes.
pub const MAX_REQUESTS: usize = BASES.len() + 2 * MAX_MODELS + 1;

/// What to read next, with function code 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Wire address of the first register.
    pub address: u16,
    /// How many registers, 1 to 66.
    pub count: u16,
}

/// The device answered with a Modbus exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// What a device answered. A link that fails is not an answer: end the discovery.
pub type Answer = Result<Vec<u16>, Refused>;

/// Why a device gives no profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SunSpecError {
    /// There is no mark.
    #[error(
        "not a SunSpec device: no \"SunS\" at 40000, 0 or 50000 (or at the base of the configuration); check the \
         unit id, or take a profile by name"
    )]
    NoMark,
    /// The chain breaks off.
    #[error(
        "the chain of SunSpec models breaks off: the device refuses register {address}, where a model should begin"
    )]
    Truncated {
        /// Where the next model should be.
        address: u16,
    },
    /// The answer has not as many registers as were asked for.
    #[error("asked for {wanted} registers at {address} and got {got}")]
    Miscounted {
        /// The first register asked for.
        address: u16,
        /// How many were asked for.
        wanted: u16,
        /// How many came.
        got: usize,
    },
    /// A model has a length that leads nowhere.
    #[error("SunSpec model {model} at {address} claims {length} registers, more than can be")]
    Overlong {
        /// Its number.
        model: u16,
        /// Where it begins.
        address: u16,
        /// Its length as the device tells it.
        length: u16,
    },
    /// A model that cannot be: number 0.
    #[error("no SunSpec model at {address}: the chain leads into empty registers")]
    Empty {
        /// Where the model should be.
        address: u16,
    },
    /// The chain does not end.
    #[error("the chain of SunSpec models has no end within {MAX_MODELS} models")]
    Endless,
    /// The chain is sound but has no model that measures power.
    #[error(
        "the SunSpec device has none of the models 101-103, 111-113, 201-204, 211-214 and 701 with a power in it"
    )]
    NoPower,
}

/// Who a device says it is (model 1). Empty where it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Maker.
    pub manufacturer: String,
    /// Device model.
    pub model: String,
    /// Serial number.
    pub serial: String,
}

/// What a model measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A meter. SunSpec does not define its sign: most show import as positive, SolarEdge shows export as positive.
    /// Drop a known load once and look.
    Meter,
    /// A distributed energy resource (701). Generation is negative here.
    Resource,
    /// An inverter. Generation is negative here.
    Inverter,
}

impl Kind {
    /// Every kind with its name in TOML.
    pub const NAMES: [(&'static str, Self); 3] =
        [("meter", Self::Meter), ("resource", Self::Resource), ("inverter", Self::Inverter)];

    /// As written in TOML.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meter => "meter",
            Self::Resource => "resource",
            Self::Inverter => "inverter",
        }
    }
}

/// What is wanted of a device that says itself what its registers mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only models that measure this; `None` takes what [`preferred`] takes.
    pub prefer: Option<Kind>,
    /// The chain begins here and is looked for nowhere else; `None` looks at [`BASES`].
    pub base: Option<u16>,
}

impl Wanted {
    /// The model to take among those of a device, `None` when it has none of the kind.
    pub fn choose(self, found: &[Found]) -> Option<&Found> {
        match self.prefer {
            None => preferred(found),
            Some(kind) => found.iter().find(|found| found.kind == kind),
        }
    }
}

/// A model that measures power.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Who the device says it is: the latest common model before this one.
    pub identity: Identity,
    /// Wire address of the number of that common model, if there is one that has the names.
    pub identity_at: Option<u16>,
    /// SunSpec number, like 203.
    pub model: u16,
    /// Wire address of its number.
    pub address: u16,
    /// What it measures.
    pub kind: Kind,
    /// What its registers mean.
    pub profile: Profile,
}

/// Where a discovery stands.
#[derive(Clone, Debug, PartialEq)]
enum State {
    /// Looking for the mark at a base, by position.
    Mark(usize),
    /// At the number of a model.
    Head(u16),
    /// At a common model; the next one begins at `next`.
    Names { address: u16, next: u16 },
    /// Over.
    Done(Result<(), SunSpecError>),
}

/// Looks for the models of a device. Ask for the [`Discovery::request`], read it, hand over the
/// [`Discovery::answer`], until there is no request any more; then [`Discovery::finish`].
#[derive(Clone, Debug)]
pub struct Discovery {
    bases: Vec<u16>,
    state: State,
    models: usize,
    identity: Identity,
    identity_at: Option<u16>,
    found: Vec<Found>,
}

impl Default for Discovery {
    fn default() -> Self {
        Self::new()
    }
}

impl Discovery {
    /// Before the first request.
    pub fn new() -> Self {
        Self::beginning_at(&BASES)
    }

    /// Before the first request, looking for the mark at these addresses in this order. Without any, at [`BASES`].
    pub fn beginning_at(bases: &[u16]) -> Self {
        Self {
            bases: if bases.is_empty() { BASES.to_vec() } else { bases.to_vec() },
            state: State::Mark(0),
            models: 0,
            identity: Identity::default(),
            identity_at: None,
            found: Vec::new(),
        }
    }

    /// Whether the mark is still being looked for.
    pub fn seeks_mark(&self) -> bool {
        matches!(self.state, State::Mark(_))
    }

    /// What to read next; `None` when it is over.
    pub fn request(&self) -> Option<Request> {
        match self.state {
            State::Mark(base) => self.bases.get(base).map(|address| Request { address: *address, count: 2 }),
            State::Head(address) => Some(Request { address, count: 2 }),
            State::Names { address, .. } => Some(Request { address, count: COMMON_WORDS }),
            State::Done(_) => None,
        }
    }

    /// Takes the answer to [`Self::request`].
    pub fn answer(&mut self, answer: &Answer) {
        let Some(request) = self.request() else {
            return;
        };
        if let Ok(words) = answer
            && words.len() != usize::from(request.count)
        {
            let error = SunSpecError::Miscounted {
                address: request.address,
                wanted: request.count,
                got: words.len(),
            };
            self.state = State::Done(Err(error));
            return;
        }
        let words = answer.as_ref().ok().map(Vec::as_slice);
        self.state = match (&self.state, words) {
            (State::Mark(_), Some(words)) if words == MARK => match request.address.checked_add(2) {
                Some(address) => State::Head(address),
                None => State::Done(Err(SunSpecError::NoMark)),
            },
            (State::Mark(base), _) if base + 1 < self.bases.len() => State::Mark(base + 1),
            (State::Mark(_), _) => State::Done(Err(SunSpecError::NoMark)),
            (State::Head(address), Some(&[model, length])) => self.head(*address, model, length),
            (State::Head(address), _) => State::Done(Err(SunSpecError::Truncated { address: *address })),
            (State::Names { address, next }, words) => {
                let next = *next;
                self.identity_at = words.map(|_| *address);
                // A device that does not give its names is a meter all the same.
                self.identity = words.map(identity).unwrap_or_default();
                State::Head(next)
            }
            (State::Done(result), _) => State::Done(*result),
        };
    }

    /// Looks at the number and the length of a model. Says where to go on.
    fn head(&mut self, address: u16, model: u16, length: u16) -> State {
        if model == END {
            return State::Done(Ok(()));
        }
        if model == 0 {
            return State::Done(Err(SunSpecError::Empty { address }));
        }
        self.models += 1;
        if self.models > MAX_MODELS {
            return State::Done(Err(SunSpecError::Endless));
        }
        // The number of the next model takes a register, too.
        let next =
            address.checked_add(2).and_then(|body| body.checked_add(length)).filter(|next| *next < u16::MAX);
        let Some(next) = next.filter(|_| length <= MAX_LENGTH) else {
            return State::Done(Err(SunSpecError::Overlong { model, address, length }));
        };
        if model == COMMON && length + 2 >= COMMON_WORDS {
            return State::Names { address, next };
        }
        if let Some((kind, points)) = layout(model)
            && let Some(profile) = profile(model, kind, points, address, length, &self.identity)
        {
            let identity = self.identity.clone();
            let identity_at = self.identity_at;
            self.found.push(Found { identity, identity_at, model, address, kind, profile });
        }
        State::Head(next)
    }

    /// All models that measure power, in the order of the chain. At least one.
    ///
    /// # Errors
    /// [`SunSpecError`]; an unfinished discovery counts as broken off.
    pub fn finish(self) -> Result<Vec<Found>, SunSpecError> {
        match self.state {
            State::Done(result) => result?,
            State::Mark(_) => return Err(SunSpecError::NoMark),
            State::Head(address) | State::Names { address, .. } => {
                return Err(SunSpecError::Truncated { address });
            }
        }
        if self.found.is_empty() { Err(SunSpecError::NoPower) } else { Ok(self.found) }
    }
}

/// Drives a discovery with a function that reads holding registers at an address. One request at a time.
///
/// # Errors
/// The first failure of the link (outside), else what the device is to blame for (inside).
pub async fn discover<E>(
    mut read: impl AsyncFnMut(Request) -> Result<Answer, E>,
) -> Result<Result<Vec<Found>, SunSpecError>, E> {
    let mut discovery = Discovery::new();
    while let Some(request) = discovery.request() {
        discovery.answer(&read(request).await?);
    }
    Ok(discovery.finish())
}

/// The model to take when the user names none: the first meter, else a resource, else an inverter.
pub fn preferred(found: &[Found]) -> Option<&Found> {
    found.iter().min_by_key(|found| found.kind)
}

/// A point of a model: offset from the model's number, format, offset of the scale register.
type Spot = (Measure, u16, Format, Option<u16>);

/// Inverters with integers: 101, 102, 103.
const INVERTER: [Spot; 6] = [
    (Power, 14, I16, Some(15)),
    (VoltageL1, 10, U16, Some(13)),
    (VoltageL2, 11, U16, Some(13)),
    (VoltageL3, 12, U16, Some(13)),
    (Frequency, 16, U16, Some(17)),
    (EnergyExport, 24, U32, Some(26)),
];
/// Inverters with floats: 111, 112, 113.
const INVERTER_FLOAT: [Spot; 6] = [
    (Power, 22, F32, None),
    (VoltageL1, 16, F32, None),
    (VoltageL2, 18, F32, None),
    (VoltageL3, 20, F32, None),
    (Frequency, 24, F32, None),
    (EnergyExport, 32, F32, None),
];
/// Meters with integers: 201 to 204.
const METER: [Spot; 10] = [
    (Power, 18, I16, Some(22)),
    (PowerL1, 19, I16, Some(22)),
    (PowerL2, 20, I16, Some(22)),
    (PowerL3, 21, I16, Some(22)),
    (VoltageL1, 8, I16, Some(15)),
    (VoltageL2, 9, I16, Some(15)),
    (VoltageL3, 10, I16, Some(15)),
    (Frequency, 16, I16, Some(17)),
    (EnergyExport, 38, U32, Some(54)),
    (EnergyImport, 46, U32, Some(54)),
];
/// Meters with floats: 211 to 214.
const METER_FLOAT: [Spot; 10] = [
    (Power, 28, F32, None),
    (PowerL1, 30, F32, None),
    (PowerL2, 32, F32, None),
    (PowerL3, 34, F32, None),
    (VoltageL1, 12, F32, None),
    (VoltageL2, 14, F32, None),
    (VoltageL3, 16, F32, None),
    (Frequency, 26, F32, None),
    (EnergyExport, 60, F32, None),
    (EnergyImport, 68, F32, None),
];
/// Distributed energy resources: 701. Energy injected is export, energy absorbed is import.
const RESOURCE: [Spot; 10] = [
    (Power, 10, I16, Some(116)),
    (PowerL1, 41, I16, Some(116)),
    (PowerL2, 64, I16, Some(116)),
    (PowerL3, 87, I16, Some(116)),
    (VoltageL1, 47, U16, Some(114)),
    (VoltageL2, 70, U16, Some(114)),
    (VoltageL3, 93, U16, Some(114)),
    (Frequency, 17, U32, Some(115)),
    (EnergyExport, 19, U64, Some(120)),
    (EnergyImport, 23, U64, Some(120)),
];

/// Offset of the events of a meter's models (`Evt`), with integers and with floats.
const EVENTS: [u16; 2] = [105, 124];
/// The events in which a meter does not measure what it should: 2 is a loss of power or of a phase, 7 a missing sensor
/// (`M_EVENT_Power_Failure`, `M_EVENT_Missing_Sensor` of the models 201 to 214).
const BLIND: u64 = 1 << 2 | 1 << 7;

/// What a meter's model says of its own measurement, where it has that within its length.
fn events(model: u16, address: u16, length: u16) -> Option<Condition> {
    let [integers, floats] = EVENTS;
    let offset = match model {
        201..=204 => integers,
        211..=214 => floats,
        _ => return None,
    };
    // With number and length before it, the model ends behind them.
    let whole = offset < length + 1;
    let register = Register {
        function: Function::Holding,
        address: address.checked_add(offset).filter(|_| whole)?,
        format: U32,
        unavailable: vec![0xFFFF_FFFF],
        ..Register::default()
    };
    Some(Condition { register, patterns: Patterns { mask: BLIND, any_of: vec![0] }, good: true })
}

/// What a model that measures power has, and where.
fn layout(model: u16) -> Option<(Kind, &'static [Spot])> {
    Some(match model {
        101..=103 => (Kind::Inverter, &INVERTER),
        111..=113 => (Kind::Inverter, &INVERTER_FLOAT),
        201..=204 => (Kind::Meter, &METER),
        211..=214 => (Kind::Meter, &METER_FLOAT),
        701 => (Kind::Resource, &RESOURCE),
        _ => return None,
    })
}

/// The bit patterns of "not implemented". NaN needs none. An accumulator that is zero is not implemented either
/// (SunSpec Device Information Model Specification 1.1, table of data types).
fn not_implemented(measure: Measure, format: Format) -> Vec<u64> {
    let accumulator = matches!(measure, EnergyExport | EnergyImport);
    match format {
        Format::I16 => vec![0x8000],
        Format::U16 => vec![0xFFFF],
        Format::I32 => vec![0x8000_0000],
        Format::I64 => vec![0x8000_0000_0000_0000],
        Format::U32 if accumulator => vec![0xFFFF_FFFF, 0],
        Format::U64 if accumulator => vec![u64::MAX, 0],
        Format::U32 => vec![0xFFFF_FFFF],
        Format::U64 => vec![u64::MAX],
        _ => Vec::new(),
    }
}

/// The profile of a model at an address. Points that lie behind its end are left out; `None` if power is one.
fn profile(
    model: u16,
    kind: Kind,
    spots: &[Spot],
    address: u16,
    length: u16,
    identity: &Identity,
) -> Option<Profile> {
    let mut points = spots.iter().filter_map(|(measure, offset, format, scale)| {
        let last = scale.unwrap_or(0).max(offset + format.words() - 1);
        if last >= length + 2 {
            return None;
        }
        let generation = measure.is_power() && kind != Kind::Meter;
        let register = Register {
            function: Function::Holding,
            address: address.checked_add(*offset)?,
            format: *format,
            scale: if generation { -1.0 } else { 1.0 },
            scale_register: match scale {
                Some(scale) => Some(address.checked_add(*scale)?),
                None => None,
            },
            unavailable: not_implemented(*measure, *format),
            ..Register::default()
        };
        Some((*measure, Point::of(vec![register])))
    });
    let (measure, power) = points.next()?;
    if measure != Power {
        return None;
    }
    let name = format!("sunspec {model} at {address}");
    let description = format!("{} {}", identity.manufacturer, identity.model).trim().to_owned();
    let others = points.collect();
    let mut profile =
        Profile { name, power, others, description, certainty: Certainty::High, ..Profile::default() };
    if let Some(events) = events(model, address, length) {
        profile.only_if(&events);
    }
    Some(profile)
}

/// The request that reads the common model at an address, and with it the names.
pub fn names_request(address: u16) -> Request {
    Request { address, count: COMMON_WORDS }
}

/// The names in a common model, from [`names_request`].
pub fn identity(words: &[u16]) -> Identity {
    let text = |from: usize| text(words.get(from..from + 16).unwrap_or(&[]));
    Identity { manufacturer: text(2), model: text(18), serial: text(50) }
}

/// Printable ASCII up to the first NUL, without blanks at the ends. Anything else becomes a question mark: names go
/// into logs and tables.
fn text(words: &[u16]) -> String {
    let bytes = words.iter().flat_map(|word| word.to_be_bytes()).take_while(|byte| *byte != 0);
    let text: String =
        bytes.map(|byte| if (0x20..0x7F).contains(&byte) { char::from(byte) } else { '?' }).collect();
    text.trim().to_owned()
}
