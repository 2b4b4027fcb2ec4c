//! The keys of the configuration, each with what it takes, in one place.
//!
//! A [`Table`](super::reader::Table) knows the [`Section`] that it is, and reads what that declares and nothing else: a
//! key that a reader asks for and that is not here, or is here as something else, is an unknown one. From the same
//! declarations comes the schema for editors ([`schema`](mod@super::schema)).
//!
//! What a key means is told in `config/ballast.toml` alone, from where the schema takes its words.

mod meters;
mod miners;
mod signals;
mod site;

use super::quantity::{self, Kind, Unit};

pub(super) use meters::PROFILE;
pub(super) use miners::MODEL;
pub(super) use site::ROOT;

/// What a key takes.
pub(super) enum Shape {
    /// A text of which the schema says no more: a name, an address, a path.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A whole number from the first to the second.
    Whole(u32, u32),
    /// The raw bits of a register: a whole number from zero on.
    Bits,
    /// A number, whole or not.
    Number,
    /// A number with a unit, of either sign.
    Quantity(&'static Kind),
    /// A number with a unit, from zero on.
    Amount(&'static Kind),
    /// A price of what has these units, like `0.06 USD/kWh`.
    Price(&'static [Unit]),
    /// The unit of such a price, like `USD/MWh`.
    PriceUnit(&'static [Unit]),
    /// One of these words.
    Words(&'static [&'static str]),
    /// One of the words that an enumeration has.
    OneOf(fn() -> Vec<&'static str>),
    /// One of these names, or one that the file defines.
    Known(fn() -> Vec<&'static str>),
    /// A list.
    List(&'static Shape),
    /// A table.
    Table(&'static Section),
    /// A table, or a list of tables.
    Tables(&'static Section),
    /// One of several.
    Any(&'static [Shape]),
    /// Of an earlier version: it has no effect.
    Gone,
    /// It is looked for to be refused with words of its own.
    Refused,
}

/// What a reader takes the value of a key for.
#[derive(Clone, Copy)]
pub(super) enum Taken<'t> {
    /// What a function of its own makes of it.
    Anything,
    /// A text.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A whole number between two bounds.
    Whole(u32, u32),
    /// A number with a unit; whether it may be negative.
    Quantity(&'static Kind, bool),
    /// One of these words.
    Words(&'t [&'static str]),
    /// A list.
    List,
    /// A table.
    Table,
    /// A table, or a list of tables.
    Tables,
}

impl Shape {
    /// Whether a reader that takes the value for this reads what is declared.
    fn fits(&self, taken: Taken<'_>) -> bool {
        match (self, taken) {
            (Self::Any(shapes), _) => shapes.iter().any(|shape| shape.fits(taken)),
            (Self::Refused, _) | (_, Taken::Anything) => true,
            (Self::Text | Self::Words(_) | Self::OneOf(_) | Self::Known(_), Taken::Text) => true,
            (Self::Boolean, Taken::Boolean) => true,
            (Self::Whole(low, high), Taken::Whole(least, most)) => (*low, *high) == (least, most),
            (Self::Quantity(kind), Taken::Quantity(wanted, true))
            | (Self::Amount(kind), Taken::Quantity(wanted, false)) => *kind == wanted,
            (Self::Words(words), Taken::Words(wanted)) => *words == wanted,
            (Self::OneOf(words), Taken::Words(wanted)) => words() == wanted,
            (Self::List(_), Taken::List) => true,
            (Self::Table(_), Taken::Table) | (Self::Tables(_), Taken::Tables) => true,
            _ => false,
        }
    }

    /// The section that a value of this shape is, where it may be a table.
    fn section(&self) -> Option<&'static Section> {
        match self {
            Self::Table(section) | Self::Tables(section) => Some(*section),
            Self::Any(shapes) => shapes.iter().find_map(Self::section),
            _ => None,
        }
    }
}

/// A key and what it takes.
pub(super) struct Key {
    /// As written in the file.
    pub(super) name: &'static str,
    /// What it takes.
    pub(super) takes: Shape,
    /// It must be there wherever its table is, whatever else is.
    pub(super) must: bool,
}

/// A key that may be left out.
const fn key(name: &'static str, takes: Shape) -> Key {
    Key { name, takes, must: false }
}

/// A key that must be there.
const fn must(name: &'static str, takes: Shape) -> Key {
    Key { name, takes, must: true }
}

/// A table of the file.
pub(super) struct Section {
    /// What the schema calls it.
    pub(super) name: &'static str,
    /// The headers below which `config/ballast.toml` describes its keys, the best first; `*` stands for a name. The empty
    /// one is the file.
    pub(super) told: &'static [&'static str],
    /// Its keys.
    pub(super) keys: &'static [&'static [Key]],
    /// The keys that it has beside those with a certain word at its key `kind`.
    pub(super) kinds: &'static [(&'static str, &'static [&'static [Key]])],
    /// What stands at keys that are names.
    pub(super) named: Option<Shape>,
    /// The names that there are, where they are not the operator's own.
    pub(super) names: Option<fn() -> Vec<&'static str>>,
}

/// A section without anything, to complete others.
const EMPTY: Section = Section { name: "", told: &[], keys: &[], kinds: &[], named: None, names: None };

/// What is below a key that is no table.
static NOTHING: Section = EMPTY;

impl Section {
    /// Its keys; where it says its kind, those of other kinds are left out.
    pub(super) fn keys(&'static self, kind: Option<&str>) -> impl Iterator<Item = &'static Key> {
        let kinds = self.kinds.iter().filter(move |(word, _)| kind.is_none_or(|kind| kind == *word));
        let own = self.keys.iter().copied().flatten();
        own.chain(kinds.flat_map(|(_, keys)| keys.iter().copied().flatten()))
    }

    /// Whether a reader may ask for this key and take its value for that.
    pub(super) fn declares(&'static self, kind: Option<&str>, name: &str, taken: Taken<'_>) -> bool {
        self.keys(kind).any(|key| key.name == name && key.takes.fits(taken))
    }

    /// The section below a key or name.
    pub(super) fn below(&'static self, kind: Option<&str>, name: &str) -> &'static Self {
        let own = self.keys(kind).filter(|key| key.name == name).find_map(|key| key.takes.section());
        own.or_else(|| self.named.as_ref().and_then(Shape::section)).unwrap_or(&NOTHING)
    }
}

/// The words of an enumeration, as its table of names has them.
fn words<T>(names: &[(&'static str, T)]) -> Vec<&'static str> {
    names.iter().map(|(name, _)| *name).collect()
}

/// A power of either sign.
const POWER: Shape = Shape::Quantity(&quantity::POWER);
/// A power that is not negative.
const LOAD: Shape = Shape::Amount(&quantity::POWER);
/// A change of power.
const RATE: Shape = Shape::Amount(&quantity::POWER_RATE);
/// A time.
const TIME: Shape = Shape::Amount(&quantity::TIME);
/// A share, in percent.
const SHARE: Shape = Shape::Amount(&quantity::SHARE);
/// The address of a register or a single bit.
const ADDRESS: Shape = Shape::Whole(0, 65_535);
/// A Modbus unit id.
const UNIT_ID: Shape = Shape::Whole(0, 255);
/// The port of a device.
const PORT: Shape = Shape::Whole(1, 65_535);
/// Texts.
const TEXTS: Shape = Shape::List(&Shape::Text);
/// Which end of a register or a value comes first.
const ORDER: Shape = Shape::Words(&["high-first", "low-first"]);
