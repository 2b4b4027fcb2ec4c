//! What a meter's registers mean, as data.
//!
//! Addresses are wire addresses (zero-based, as in the protocol data unit). A profile is a TOML file in
//! `config/meters/`, embedded in the binary, or an inline table in the configuration.

use crate::units::Watts;

/// Which of the two tables of 16-bit registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Function {
    /// Holding registers, function code 3.
    Holding,
    /// Input registers, function code 4.
    Input,
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
}

impl Format {
    /// How many registers it takes.
    pub const fn words(self) -> u16 {
        match self {
            Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
        }
    }

    /// Every format with its name in TOML.
    pub const NAMES: [(&'static str, Self); 8] = [
        ("u16", Self::U16),
        ("i16", Self::I16),
        ("u32", Self::U32),
        ("i32", Self::I32),
        ("u64", Self::U64),
        ("i64", Self::I64),
        ("f32", Self::F32),
        ("f64", Self::F64),
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

/// One value in a meter.
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
    /// Multiplies the raw number into watts (or the unit of the point).
    pub scale: f64,
    /// Raw bit patterns that mean "no value", right-aligned.
    pub unavailable: Vec<u64>,
}

/// How a point is put together: the sum of registers, each with its own scale (a negative scale subtracts).
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// At least one.
    pub terms: Vec<Register>,
}

/// A meter model.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The name that the configuration uses.
    pub name: String,
    /// Active power in watts, import positive.
    pub power: Point,
}

/// The power values that a meter can plausibly show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plausible {
    /// Lowest.
    pub low: Watts,
    /// Highest.
    pub high: Watts,
}
