//! What a meter's registers mean, as data.
//!
//! Addresses are wire addresses (zero-based, as in the protocol data unit). A profile is a TOML file in
//! `config/meters/`, embedded in the binary, `[profiles.NAME]`, an inline table in the configuration, or what a
//! SunSpec device says of itself ([`super::sunspec`]).
//!
//! Single bits, coils and discrete inputs, are points like registers: with a scale a contact can stand for a power.

use std::collections::BTreeMap;
use std::time::Duration;

use super::sunspec::Wanted;
pub use crate::control::measure::Measure;
use crate::units::Watts;

/// Which of the four tables (Modbus Application Protocol V1.1b3, 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Function {
    /// Holding registers, function code 3.
    Holding,
    /// Input registers, function code 4.
    Input,
    /// Coils, single bits that can be written as well, function code 1. Ballast only reads them.
    Coil,
    /// Discrete inputs, single bits, function code 2.
    Discrete,
}

impl Function {
    /// Every table with its name in TOML.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("holding", Self::Holding),
        ("input", Self::Input),
        ("coil", Self::Coil),
        ("discrete", Self::Discrete),
    ];

    /// Whether it is a table of single bits.
    pub const fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }

    /// What stands in the table, for messages.
    pub const fn items(self) -> &'static str {
        match self {
            Self::Holding => "holding registers",
            Self::Input => "input registers",
            Self::Coil => "coils",
            Self::Discrete => "discrete inputs",
        }
    }
}

/// The number format of a value in one or more registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Unsigned, 16 bits.
    U16,
    /// Signed, 16 bits.
    I16,
    /// Unsigned, 32 bits.
    U32,
    /// Signed, 32 bits.
    I32,
    /// Unsigned, 64 bits.
    U64,
    /// Signed, 64 bits.
    I64,
    /// IEEE 754, 32 bits.
    F32,
    /// IEEE 754, 64 bits.
    F64,
    /// IEEE 754, 16 bits.
    F16,
    /// Sign and magnitude, 16 bits: the highest bit says that it is negative, the others how much it is.
    Sm16,
    /// Sign and magnitude, 32 bits.
    Sm32,
    /// Decimal digits of four bits each, 4 of them. Anything that is no digit is no value.
    Bcd16,
    /// Decimal digits, 8 of them.
    Bcd32,
    /// Decimal digits, 16 of them.
    Bcd64,
    /// A single bit, 0 or 1: all that a coil or a discrete input can hold. It has no pattern for "no value".
    Bool,
}

impl Format {
    /// How many registers it takes; of coils and discrete inputs, how many bits.
    pub const fn words(self) -> u16 {
        match self {
            Self::U16 | Self::I16 | Self::F16 | Self::Sm16 | Self::Bcd16 | Self::Bool => 1,
            Self::U32 | Self::I32 | Self::F32 | Self::Sm32 | Self::Bcd32 => 2,
            Self::U64 | Self::I64 | Self::F64 | Self::Bcd64 => 4,
        }
    }

    /// The bit patterns at the ends of an integer, right-aligned: the highest number and, where there is a sign, the lowest.
    /// Makers take them for "no value", and a number that is there by chance is met once in a meter's life. Other formats
    /// have none.
    pub const fn ends(self) -> &'static [u64] {
        match self {
            Self::U16 => &[0xFFFF],
            Self::I16 => &[0x8000, 0x7FFF],
            Self::U32 => &[0xFFFF_FFFF],
            Self::I32 => &[0x8000_0000, 0x7FFF_FFFF],
            Self::U64 => &[u64::MAX],
            Self::I64 => &[0x8000_0000_0000_0000, 0x7FFF_FFFF_FFFF_FFFF],
            _ => &[],
        }
    }

    /// Every format with its name in TOML.
    pub const NAMES: [(&'static str, Self); 15] = [
        ("u16", Self::U16),
        ("i16", Self::I16),
        ("u32", Self::U32),
        ("i32", Self::I32),
        ("u64", Self::U64),
        ("i64", Self::I64),
        ("f32", Self::F32),
        ("f64", Self::F64),
        ("f16", Self::F16),
        ("sm16", Self::Sm16),
        ("sm32", Self::Sm32),
        ("bcd16", Self::Bcd16),
        ("bcd32", Self::Bcd32),
        ("bcd64", Self::Bcd64),
        ("bool", Self::Bool),
    ];
}

/// Which register of a value comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WordOrder {
    /// The most significant register first.
    HighFirst,
    /// The least significant register first.
    LowFirst,
}

/// Which byte of a register comes first. Modbus says the high one; some devices disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ByteOrder {
    /// As Modbus says.
    #[default]
    HighFirst,
    /// The two bytes of each register are swapped.
    LowFirst,
}

/// A raw range that stands for a range of values, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawRange {
    /// Lowest raw number; numbers below are no value.
    pub raw_low: f64,
    /// Highest raw number, above `raw_low`; numbers above are no value.
    pub raw_high: f64,
    /// The values that the two ends stand for, in the unit of the point.
    pub ends: Ends,
}

/// What the two ends of a raw range stand for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ends {
    /// Two numbers.
    Known {
        /// At `raw_low`.
        low: f64,
        /// At `raw_high`.
        high: f64,
    },
    /// From zero to the full scale that follows from the transformers on site. No value until that is given.
    ToFullScale(FullScale),
    /// From minus the full scale to the full scale. No value until that is given.
    PlusMinusFullScale(FullScale),
}

/// A full scale that only the site knows: it follows from its current and voltage transformers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FullScale {
    /// Of power, in watts.
    Power,
    /// Of voltage, in volts.
    Voltage,
}

/// Raw patterns that say one thing, out of one or more registers.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Patterns {
    /// The bits that are looked at; all others count as zero.
    pub mask: u64,
    /// What they may be, right-aligned.
    pub any_of: Vec<u64>,
}

impl Patterns {
    /// Whether a bit pattern is one of them.
    pub fn hold(&self, bits: u64) -> bool {
        self.any_of.contains(&(bits & self.mask))
    }
}

/// A register beside that of a value which says whether the value is negative. It is always read in one request with the
/// value: a sign of one moment and an amount of another are no power.
#[derive(Clone, Debug, PartialEq)]
pub struct Sign {
    /// Wire address, in the table of the value; one register.
    pub address: u16,
    /// The value is as it stands.
    pub positive: Patterns,
    /// The value is negative. What is neither is no value.
    pub negative: Patterns,
}

/// What a factor does to the raw number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Multiplies it: the ratio of a transformer. A factor that is zero, negative or absent makes the value absent.
    Multiply,
    /// It is a power of ten, a whole number from -10 to 10.
    PowerOfTen,
}

/// A register of either table that says how the raw number of another one is to be taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Factor {
    /// Where it stands, with a scale of its own; has no factors.
    pub register: Register,
    /// What it does.
    pub effect: Effect,
}

/// What the device says of its own measurement: it counts only while this holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Where it says so. Its `unavailable` patterns mean that it says nothing, and then the value counts.
    pub register: Register,
    /// What it says while the value counts, or does not count.
    pub patterns: Patterns,
    /// Whether the value counts while it says this, or while it does not.
    pub good: bool,
}

/// One value in a meter.
///
/// `value = ±raw × factors × 10^(scale register) × scale + offset`, or the place of that number in its range, times
/// `scale`, plus `offset`.
#[derive(Clone, Debug, PartialEq)]
pub struct Register {
    /// Which table.
    pub function: Function,
    /// Wire address of its first register.
    pub address: u16,
    /// Number format.
    pub format: Format,
    /// Order of its registers.
    pub word_order: WordOrder,
    /// Order of the bytes in each register.
    pub byte_order: ByteOrder,
    /// Multiplies the raw number into watts (or the unit of the point).
    pub scale: f64,
    /// Is added after the scale, in the unit of the point.
    pub offset: f64,
    /// Wire address of a register of the same table with a power of ten (`sunssf`: -10 to 10, signed). It is
    /// always read in one request with the value, because some devices change it while they run.
    pub scale_register: Option<u16>,
    /// A register with the sign.
    pub sign: Option<Sign>,
    /// Registers of either table that multiply the number.
    pub factors: Vec<Factor>,
    /// For devices that stretch a raw range over a range of values.
    pub range: Option<RawRange>,
    /// Raw bit patterns that stand for the value 0, right-aligned, whatever scale and offset: of a device that shows no number while nothing flows,
    /// as inverters do at night.
    pub zero: Vec<u64>,
    /// Raw bit patterns that mean "no value", right-aligned.
    pub unavailable: Vec<u64>,
    /// Raw bit patterns that mean "more than I can show", right-aligned: the true value is further out, so this
    /// is no value either.
    pub saturated: Vec<u64>,
}

impl Default for Register {
    /// A plain unsigned holding register at 0; for `..Register::default()`.
    fn default() -> Self {
        Self {
            function: Function::Holding,
            address: 0,
            format: Format::U16,
            word_order: WordOrder::HighFirst,
            byte_order: ByteOrder::HighFirst,
            scale: 1.0,
            offset: 0.0,
            scale_register: None,
            sign: None,
            factors: Vec::new(),
            range: None,
            zero: Vec::new(),
            unavailable: Vec::new(),
            saturated: Vec::new(),
        }
    }
}

impl Register {
    /// First address and number of the registers that must be read at once: the value's own, and all up to its
    /// scale register and its sign. The number may lead past the last address; nothing is read there.
    pub fn extent(&self) -> (u16, u16) {
        let end = |address: u16, words: u16| u32::from(address) + u32::from(words);
        let beside = [self.scale_register, self.sign.as_ref().map(|sign| sign.address)];
        let (mut first, mut last) = (self.address, end(self.address, self.format.words()));
        for address in beside.into_iter().flatten() {
            (first, last) = (first.min(address), last.max(end(address, 1)));
        }
        (first, u16::try_from(last - u32::from(first)).unwrap_or(u16::MAX))
    }

    /// How far apart two numbers are that look the same in it, for integers of 16 bits: what they stand for jumps by so
    /// much when a device lets them run over. In the unit of the point; `None` for wider ones, which no power fills.
    pub fn turnover(&self) -> Option<f64> {
        let narrow = matches!(self.format, Format::U16 | Format::I16)
            && self.range.is_none()
            && self.scale_register.is_none()
            && self.factors.is_empty();
        narrow.then(|| 65_536.0 * self.scale.abs())
    }
}

/// How a point is put together: the sum of registers, each with its own scale (a negative scale subtracts).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Point {
    /// At least one.
    pub terms: Vec<Register>,
    /// All of them must hold, or there is no value.
    pub only_if: Vec<Condition>,
}

impl Point {
    /// A point of some registers, with nothing else to it.
    pub const fn of(terms: Vec<Register>) -> Self {
        Self { terms, only_if: Vec::new() }
    }

    /// Every register that has to be read for it.
    pub fn registers(&self) -> impl Iterator<Item = &Register> {
        let factors = |term| std::iter::once(term).chain(factors(term));
        self.terms.iter().flat_map(factors).chain(self.only_if.iter().map(|condition| &condition.register))
    }
}

fn factors(term: &Register) -> impl Iterator<Item = &Register> {
    term.factors.iter().map(|factor| &factor.register)
}

/// How well it is known that the register of total power is the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Certainty {
    /// Two independent sources or the maker's list.
    High,
    /// One implementation that works.
    Medium,
    /// A second-hand or disputed source.
    Low,
    /// Nobody says.
    #[default]
    Unknown,
}

impl Certainty {
    /// Every certainty that a profile can claim, with its name in TOML.
    pub const NAMES: [(&'static str, Self); 3] =
        [("high", Self::High), ("medium", Self::Medium), ("low", Self::Low)];

    /// As written in TOML; a dash when nobody says.
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
            Self::Unknown => "-",
        }
    }
}

/// A meter model.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Profile {
    /// The name that the configuration uses.
    pub name: String,
    /// Active power in watts, import positive. Without terms where the meter does not tell its power, as a battery that
    /// tells its state of charge alone.
    pub power: Point,
    /// What else the meter tells. Never has [`Measure::Power`].
    pub others: BTreeMap<Measure, Point>,
    /// Maker and model, for people; may be empty.
    pub description: String,
    /// How well the register of power is known.
    pub certainty: Certainty,
    /// For a device that says itself what its registers mean: it is asked on every new connection, and until it has
    /// answered there is no point at all.
    pub sunspec: Option<Wanted>,
    /// What the device itself can show at the most; the site may narrow it.
    pub plausible: Option<Plausible>,
    /// What the device needs of its link.
    pub pace: Pace,
    /// It is a group of contacts: the power is no power but their bits as one number, the first contact lowest.
    pub contacts: bool,
}

impl Profile {
    /// The profile of a group of contacts: their bits are read together and come as one number, the first contact
    /// being worth 1, the second 2, the third 4 and so on.
    pub fn of_contacts(name: &str, bits: &[(Function, u16)]) -> Self {
        let mut worth = 0.5;
        let terms = bits.iter().map(|(function, address)| {
            worth *= 2.0;
            Register {
                function: *function,
                address: *address,
                format: Format::Bool,
                scale: worth,
                ..Register::default()
            }
        });
        Self { name: name.to_owned(), power: Point::of(terms.collect()), contacts: true, ..Self::default() }
    }

    /// The point of a measure, if the meter has it.
    pub fn point(&self, measure: Measure) -> Option<&Point> {
        match measure {
            Measure::Power => Some(&self.power).filter(|power| !power.terms.is_empty()),
            other => self.others.get(&other),
        }
    }

    /// All points that there are, power first.
    pub fn points(&self) -> impl Iterator<Item = (Measure, &Point)> {
        let power = self.point(Measure::Power).map(|power| (Measure::Power, power));
        power.into_iter().chain(self.others.iter().map(|(measure, point)| (*measure, point)))
    }

    /// Whether it tells power, as far as that is known before a SunSpec device was asked.
    pub fn tells_power(&self) -> bool {
        !self.power.terms.is_empty() || self.sunspec.is_some()
    }

    /// Whether a point needs a full scale that the site has to give.
    pub fn needs(&self, scale: FullScale) -> bool {
        self.points().flat_map(|(_, point)| &point.terms).any(|term| {
            term.range.is_some_and(|range| match range.ends {
                Ends::Known { .. } => false,
                Ends::ToFullScale(needed) | Ends::PlusMinusFullScale(needed) => needed == scale,
            })
        })
    }

    /// Puts a full scale, in watts or volts, into every range that waits for it.
    pub fn set_full_scale(&mut self, scale: FullScale, full: f64) {
        let points = std::iter::once(&mut self.power).chain(self.others.values_mut());
        for range in points.flat_map(|point| &mut point.terms).filter_map(|term| term.range.as_mut()) {
            match range.ends {
                Ends::ToFullScale(needed) if needed == scale => {
                    range.ends = Ends::Known { low: 0.0, high: full };
                }
                Ends::PlusMinusFullScale(needed) if needed == scale => {
                    range.ends = Ends::Known { low: -full, high: full };
                }
                _ => {}
            }
        }
    }

    /// Makes all points count only while the device says that its measurement is there.
    pub fn only_if(&mut self, condition: &Condition) {
        let points = std::iter::once(&mut self.power).chain(self.others.values_mut());
        for point in points.filter(|point| !point.terms.is_empty()) {
            point.only_if.push(condition.clone());
        }
    }

    /// Turns the sign of every power.
    pub fn turn(&mut self) {
        self.plausible = self.plausible.map(|range| Plausible { low: -range.high, high: -range.low });
        let others = self.others.iter_mut().filter(|(measure, _)| measure.is_power()).map(|(_, point)| point);
        for term in std::iter::once(&mut self.power).chain(others).flat_map(|point| &mut point.terms) {
            term.scale = -term.scale;
            term.offset = -term.offset;
        }
    }
}

/// What a device needs of its link; the link's own settings go before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Wait after connecting: some swallow what is asked sooner.
    pub connect_delay: Option<Duration>,
    /// Longest wait for an answer.
    pub timeout: Option<Duration>,
}

/// The power values that a meter can plausibly show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plausible {
    /// Lowest.
    pub low: Watts,
    /// Highest.
    pub high: Watts,
}
