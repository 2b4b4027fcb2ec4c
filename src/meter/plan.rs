//! Which requests a meter takes: as few as are allowed.
//!
//! Only declared registers are read (and what lies between a value and its scale register), and only direct
//! neighbours share a request: many devices answer a read over a gap with exception 2. Some refuse even that, so a
//! request that gets exception 1, 2 or 3 is split in two and stays split for as long as the daemon runs.
//!
//! Coils and discrete inputs are planned likewise; each bit takes a word of its own in the image, 0 or 1.

use std::ops::Range;

use super::profile::{Function, Point, Register};
use crate::clock::Moment;

/// The most registers that one request may ask for (Modbus Application Protocol V1.1b3, 6.3 and 6.4).
pub const MAX_REGISTERS: u16 = 125;
/// The most coils or discrete inputs that one request may ask for (the same, 6.1 and 6.2).
pub const MAX_BITS: u16 = 2_000;

/// The most that one request may ask for of a table.
const fn most(function: Function) -> u16 {
    if function.is_bits() { MAX_BITS } else { MAX_REGISTERS }
}

/// One request: a run of registers of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which table.
    pub function: Function,
    /// Wire address of the first register.
    pub address: u16,
    /// How many registers, 1 to [`MAX_REGISTERS`]; of bits, 1 to [`MAX_BITS`].
    pub count: u16,
}

impl Span {
    /// A request near this one whose answer has another length, so that neither answer can be taken for the other's on
    /// a line where answers carry no number: one register less where there are several, else one more; eight bits more
    /// or less.
    pub fn unlike(self) -> Self {
        let Self { function, address, count } = self;
        let step = if function.is_bits() { 8 } else { 1 };
        let room = u16::MAX - address;
        if count > step {
            Self { function, address, count: count - step }
        } else if room >= count.saturating_add(step) {
            Self { function, address, count: count + step }
        } else {
            Self { function, address: address.saturating_sub(step), count: count + step }
        }
    }
}

/// Table, first address and width.
type Key = (Function, u16, u16);

/// A value and its scale register, with all between them, are one item: they come with one request or not at all.
/// A span that no request can hold is cut; its value is then never read.
fn key(register: &Register) -> Key {
    let (address, words) = register.extent();
    (register.function, address, words.min(most(register.function)))
}

/// A declared register and its place in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    function: Function,
    address: u16,
    words: u16,
    /// First word in the image.
    place: usize,
    /// When its words came; `None` when they are not there.
    at: Option<Moment>,
}

impl Item {
    fn key(&self) -> Key {
        (self.function, self.address, self.words)
    }

    /// The address after its last register; may be past the end of the table.
    fn end(&self) -> u32 {
        u32::from(self.address) + u32::from(self.words)
    }
}

/// The requests of one meter and the registers that came back.
#[derive(Clone, Debug)]
pub struct Plan {
    /// By table, address and width; each once.
    items: Vec<Item>,
    /// Runs of `items`, one for each request.
    requests: Vec<Range<usize>>,
    /// The words of all items, one after the other.
    image: Vec<u16>,
}

impl Plan {
    /// The fewest requests that read all registers of some points.
    pub fn new<'a>(points: impl IntoIterator<Item = &'a Point>) -> Self {
        let mut keys: Vec<_> = points.into_iter().flat_map(Point::registers).map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut place = 0;
        let items: Vec<Item> = keys
            .into_iter()
            .map(|(function, address, words)| {
                let item = Item { function, address, words, place, at: None };
                place += usize::from(words);
                item
            })
            .collect();
        Self { requests: merge(&items), items, image: vec![0; place] }
    }

    /// How many requests there are.
    pub fn requests(&self) -> usize {
        self.requests.len()
    }

    /// The request at a position, `None` after the last.
    pub fn span(&self, position: usize) -> Option<Span> {
        let items = self.items.get(self.requests.get(position)?.clone())?;
        let first = items.first()?;
        let end = items.iter().map(Item::end).max()?;
        Some(Span {
            function: first.function,
            address: first.address,
            count: u16::try_from(end - u32::from(first.address)).ok()?,
        })
    }

    /// Splits a request in two. `false` when it is a single register, which cannot be split.
    pub fn split(&mut self, position: usize) -> bool {
        let Some(request) = self.requests.get_mut(position) else {
            return false;
        };
        if request.len() < 2 {
            return false;
        }
        let middle = request.start + request.len() / 2;
        let rest = middle..request.end;
        request.end = middle;
        self.requests.insert(position + 1, rest);
        true
    }

    /// Forgets all words, so that none is taken for one of the round that begins.
    pub fn forget(&mut self) {
        self.items.iter_mut().for_each(|item| item.at = None);
    }

    /// As [`Self::store_at`], where the moment is of no interest.
    pub fn store(&mut self, position: usize, words: &[u16]) {
        self.store_at(position, words, Moment::START);
    }

    /// Takes over the words that came at a moment for the request at a position. Words that are missing leave the
    /// image as it was; the caller has checked their number.
    pub fn store_at(&mut self, position: usize, words: &[u16], at: Moment) {
        let range = self.requests.get(position).cloned();
        let Some(items) = range.and_then(|range| self.items.get_mut(range)) else {
            return;
        };
        let Some(start) = items.first().map(|item| item.address) else {
            return;
        };
        for item in items {
            let offset = usize::from(item.address - start);
            let length = usize::from(item.words);
            let source = words.get(offset..offset + length);
            let target = self.image.get_mut(item.place..item.place + length);
            if let (Some(source), Some(target)) = (source, target) {
                target.copy_from_slice(source);
                item.at = Some(at);
            }
        }
    }

    fn find(&self, register: &Register) -> Option<usize> {
        self.items.binary_search_by_key(&key(register), Item::key).ok()
    }

    /// The words of a register's extent, in the order of the wire; `None` for one that was not declared or whose words
    /// have not come.
    pub fn words(&self, register: &Register) -> Option<&[u16]> {
        let item = self.items.get(self.find(register)?)?;
        item.at?;
        self.image.get(item.place..item.place + usize::from(item.words))
    }

    /// When the oldest of a point's words came; `None` until all are there.
    pub fn arrival(&self, point: &Point) -> Option<Moment> {
        let mut oldest = None;
        for register in point.registers() {
            let at = self.items.get(self.find(register)?)?.at?;
            oldest = Some(oldest.map_or(at, |oldest: Moment| oldest.min(at)));
        }
        oldest
    }

    /// Whether the request at a position brings words of a point.
    pub fn concerns(&self, position: usize, point: &Point) -> bool {
        let request = self.requests.get(position).cloned().unwrap_or_default();
        point.registers().any(|register| self.find(register).is_some_and(|item| request.contains(&item)))
    }
}

/// Groups sorted items into requests.
fn merge(items: &[Item]) -> Vec<Range<usize>> {
    let mut requests: Vec<Range<usize>> = Vec::new();
    let mut run: Option<(Function, u32, u32)> = None;
    for (index, item) in items.iter().enumerate() {
        let joined = run.and_then(|(function, start, end)| {
            let longer = end.max(item.end());
            let fits = function == item.function
                && u32::from(item.address) <= end
                && longer - start <= u32::from(most(function));
            fits.then_some((function, start, longer))
        });
        match (joined, requests.last_mut()) {
            (Some(_), Some(request)) => request.end = index + 1,
            _ => requests.push(index..index + 1),
        }
        run = joined.or(Some((item.function, u32::from(item.address), item.end())));
    }
    requests
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::profile::{Format, WordOrder};
    use super::*;

    fn register(function: Function, address: u16, format: Format) -> Register {
        Register { function, address, format, word_order: WordOrder::HighFirst, ..Register::default() }
    }

    fn plan(terms: Vec<Register>) -> Plan {
        Plan::new([&Point::of(terms)])
    }

    fn spans(plan: &Plan) -> Vec<(Function, u16, u16)> {
        (0..)
            .map_while(|position| plan.span(position))
            .map(|span| (span.function, span.address, span.count))
            .collect()
    }

    #[test]
    fn neighbours_share_a_request_and_a_gap_separates() {
        let plan = plan(vec![
            register(Function::Input, 0x10, Format::F32),
            register(Function::Input, 0x0C, Format::F32),
            register(Function::Input, 0x0E, Format::F32),
            register(Function::Input, 0x13, Format::U16),
            register(Function::Holding, 0x12, Format::U16),
        ]);
        assert_eq!(
            spans(&plan),
            [(Function::Holding, 0x12, 1), (Function::Input, 0x0C, 6), (Function::Input, 0x13, 1)]
        );
    }

    #[test]
    fn a_register_that_is_declared_twice_is_read_once() {
        let plan = plan(vec![
            register(Function::Input, 5, Format::U16),
            register(Function::Input, 5, Format::U16),
            register(Function::Input, 5, Format::U32),
        ]);
        assert_eq!(spans(&plan), [(Function::Input, 5, 2)]);
    }

    #[test]
    fn no_request_asks_for_more_than_125_registers() {
        let terms = (0..63).map(|index| register(Function::Holding, index * 2, Format::F32)).collect();
        assert_eq!(spans(&plan(terms)), [(Function::Holding, 0, 124), (Function::Holding, 124, 2)]);
    }

    #[test]
    fn bits_of_one_table_share_a_request_of_2000_at_the_most() {
        let bits = |function, from: u16, to: u16| {
            (from..to).map(move |address| register(function, address, Format::Bool))
        };
        let plan = plan(bits(Function::Coil, 0, 2_005).chain(bits(Function::Discrete, 0, 3)).collect());
        assert_eq!(
            spans(&plan),
            [(Function::Coil, 0, 2_000), (Function::Coil, 2_000, 5), (Function::Discrete, 0, 3)]
        );
    }

    #[test]
    fn words_that_have_not_come_in_this_round_are_not_there() {
        let (one, other) =
            (register(Function::Input, 1, Format::U16), register(Function::Input, 9, Format::U16));
        let sum = Point::of(vec![one.clone(), other.clone()]);
        let mut plan = Plan::new([&sum]);
        assert_eq!((plan.words(&one), plan.arrival(&sum)), (None, None), "never a zero that nobody sent");
        plan.store_at(0, &[7], Moment::millis(5));
        assert_eq!((plan.words(&one), plan.words(&other)), (Some(&[7][..]), None));
        assert_eq!(plan.arrival(&sum), None);
        plan.store_at(1, &[8], Moment::millis(6));
        assert_eq!(plan.arrival(&sum), Some(Moment::millis(5)), "the oldest part");
        assert!(plan.concerns(0, &sum) && plan.concerns(1, &sum) && !plan.concerns(2, &sum));
        plan.forget();
        assert_eq!((plan.words(&one), plan.arrival(&sum)), (None, None));
    }

    #[test]
    fn the_end_of_the_table_does_not_overflow() {
        let plan = plan(vec![
            register(Function::Holding, 0xFFFF, Format::F64),
            register(Function::Holding, 0xFFFE, Format::U16),
        ]);
        assert_eq!(spans(&plan), [(Function::Holding, 0xFFFE, 5)]);
    }

    #[test]
    fn a_split_is_remembered_down_to_single_registers() {
        let mut plan = plan((0..3).map(|index| register(Function::Input, index, Format::U16)).collect());
        assert!(plan.split(0));
        assert_eq!(spans(&plan), [(Function::Input, 0, 1), (Function::Input, 1, 2)]);
        assert!(!plan.split(0), "a single register stays");
        assert!(plan.split(1));
        assert_eq!(spans(&plan), [(Function::Input, 0, 1), (Function::Input, 1, 1), (Function::Input, 2, 1)]);
        assert!(!plan.split(7), "no such request");
    }

    #[test]
    fn words_come_back_by_register_after_merging_and_splitting() {
        let terms = vec![
            register(Function::Input, 2, Format::U32),
            register(Function::Input, 0, Format::U32),
            register(Function::Input, 4, Format::U16),
        ];
        let mut plan = plan(terms.clone());
        plan.store(0, &[1, 2, 3, 4, 5]);
        assert_eq!(plan.words(&terms[0]), Some(&[3, 4][..]));
        assert_eq!(plan.words(&terms[1]), Some(&[1, 2][..]));
        assert_eq!(plan.words(&terms[2]), Some(&[5][..]));
        assert!(plan.split(0));
        plan.store(1, &[30, 40, 50]);
        assert_eq!(plan.words(&terms[0]), Some(&[30, 40][..]));
        assert_eq!(plan.words(&terms[2]), Some(&[50][..]));
        assert_eq!(plan.words(&register(Function::Input, 9, Format::U16)), None);
    }

    proptest! {
        #[test]
        fn every_register_is_covered_once_and_nothing_else_is_read(
            declared in proptest::collection::vec((any::<bool>(), 0_u16..300, 0_usize..9), 1..60),
            splits in proptest::collection::vec(0_usize..20, 0..20),
        ) {
            let terms: Vec<Register> = declared
                .iter()
                .map(|(input, address, format)| {
                    let function = if *input { Function::Input } else { Function::Holding };
                    register(function, *address, Format::NAMES[*format].1)
                })
                .collect();
            let mut plan = plan(terms.clone());
            for position in splits {
                plan.split(position);
            }
            let mut position = 0;
            let mut read = std::collections::HashSet::new();
            while let Some(span) = plan.span(position) {
                prop_assert!((1..=MAX_REGISTERS).contains(&span.count));
                let table = if span.function == Function::Input { 10_000 } else { 0 };
                let words: Vec<u16> = (0..span.count).map(|index| table + span.address + index).collect();
                read.extend(words.iter().copied());
                plan.store(position, &words);
                position += 1;
            }
            let mut wanted = std::collections::HashSet::new();
            for register in &terms {
                let table = if register.function == Function::Input { 10_000 } else { 0 };
                let expected: Vec<u16> =
                    (0..register.format.words()).map(|index| table + register.address + index).collect();
                prop_assert_eq!(plan.words(register), Some(&expected[..]));
                wanted.extend(expected);
            }
            prop_assert_eq!(read, wanted);
        }
    }
}
