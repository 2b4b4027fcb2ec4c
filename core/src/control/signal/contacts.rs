//! What a group of contacts says: from bits to the caps that hold, with the debounce in between.

use std::sync::Arc;
use std::time::Duration;

use super::order::Ask;
use crate::moment::Moment;

/// More contacts than any group has.
pub const MOST_CONTACTS: usize = 16;

/// One contact.
#[derive(Clone, Debug, PartialEq)]
pub struct Contact {
    /// Its name, for people and as part of the order's name.
    pub name: Arc<str>,
    /// It speaks when it is closed (its bit is 1); otherwise when it is open.
    pub when_closed: bool,
    /// What it asks for when it speaks; `None` for no limit, and where contacts form a number.
    pub ask: Option<Ask>,
}

/// How the contacts of a group are taken together.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// The first that speaks, in the order of the configuration.
    First,
    /// All that speak: the strictest binds.
    All,
    /// Exactly one speaks at any time, as in ripple control receivers; anything else is a fault.
    One,
    /// They form a number, the first contact worth 1, and each number has its cap (`None`: no limit). A number beyond
    /// the list is a fault.
    Number(Vec<Option<Ask>>),
}

/// A group of contacts.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The contacts, at most [`MOST_CONTACTS`].
    pub contacts: Vec<Contact>,
    /// How they are taken together.
    pub reading: Reading,
    /// What holds when none speaks; `None` for no limit. Not used by [`Reading::One`] and [`Reading::Number`].
    pub otherwise: Option<Ask>,
}

/// What a group says.
#[derive(Clone, Debug, PartialEq)]
pub enum Level {
    /// Each of these caps holds, by the name of what asks for it; none when the list is empty.
    Caps(Vec<(Arc<str>, Ask)>),
    /// What cannot be meant, in words.
    Fault(Arc<str>),
}

impl Group {
    /// What the bits say, the first contact lowest; 1 is closed.
    pub fn level(&self, bits: u32) -> Level {
        let mut speaking = self.contacts.iter().enumerate().filter_map(|(at, contact)| {
            let closed = u32::try_from(at).is_ok_and(|at| bits.checked_shr(at).unwrap_or(0) & 1 == 1);
            (closed == contact.when_closed).then_some((at, contact))
        });
        let caps = |contact: &Contact| contact.ask.map(|ask| (contact.name.clone(), ask));
        let otherwise = || self.otherwise.map(|ask| (Arc::from("none of the contacts"), ask));
        match &self.reading {
            Reading::First => match speaking.next() {
                Some((_, contact)) => Level::Caps(caps(contact).into_iter().collect()),
                None => Level::Caps(otherwise().into_iter().collect()),
            },
            Reading::All => {
                let speaking: Vec<&Contact> = speaking.map(|(_, contact)| contact).collect();
                let rest = otherwise().filter(|_| speaking.is_empty());
                Level::Caps(speaking.into_iter().filter_map(caps).chain(rest).collect())
            }
            Reading::One => match (speaking.next(), speaking.next()) {
                (Some((_, contact)), None) => Level::Caps(caps(contact).into_iter().collect()),
                (None, _) => Level::Fault("none of the contacts speaks, and exactly one should".into()),
                (Some((_, one)), Some((_, other))) => Level::Fault(
                    format!("{} and {} speak at once, and exactly one should", one.name, other.name).into(),
                ),
            },
            Reading::Number(caps) => {
                let number =
                    speaking.fold(0_usize, |number, (at, _)| number | (1_usize << at.min(MOST_CONTACTS)));
                match caps.get(number) {
                    Some(ask) => Level::Caps(
                        ask.map(|ask| (format!("number {number}").into(), ask)).into_iter().collect(),
                    ),
                    None => Level::Fault(
                        format!("the contacts form the number {number}, which has no cap").into(),
                    ),
                }
            }
        }
    }
}

/// The bits of a number that came as the sum of their worths; `None` for what is no such sum.
pub fn bits(number: f64) -> Option<u32> {
    let mut left = number;
    let mut bits = 0_u32;
    for at in (0..=MOST_CONTACTS).rev() {
        let worth = 1_u32 << at;
        if left >= f64::from(worth) {
            left -= f64::from(worth);
            bits |= worth;
        }
    }
    (left.abs() < 1e-6 && bits.checked_shr(16) == Some(0)).then_some(bits)
}

/// A contact bounces, and a wire picks things up: only what stays for a while counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Debounce {
    seen: Option<(u32, Moment)>,
}

impl Debounce {
    /// Takes the bits of a reading. Gives them back once they have been the same, in readings without a gap, for the
    /// time of the debounce; `None` while they have not.
    pub fn take(&mut self, bits: u32, at: Moment, time: Duration) -> Option<u32> {
        let since = match self.seen {
            Some((before, since)) if before == bits => since,
            _ => {
                self.seen = Some((bits, at));
                at
            }
        };
        (at - since >= time).then_some(bits)
    }

    /// A reading failed: nobody knows what the contacts did meanwhile.
    pub fn gap(&mut self) {
        self.seen = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::units::Watts;

    fn contact(name: &str, when_closed: bool, share: f64) -> Contact {
        Contact { name: name.into(), when_closed, ask: Some(Ask::ShareOfNameplate(share)) }
    }

    fn group(reading: Reading) -> Group {
        Group {
            contacts: vec![contact("60", true, 0.6), contact("30", true, 0.3), contact("0", false, 0.0)],
            reading,
            otherwise: None,
        }
    }

    fn shares(level: &Level) -> Vec<f64> {
        let Level::Caps(caps) = level else { return vec![f64::NAN] };
        let share = |ask: &Ask| match ask {
            Ask::ShareOfNameplate(share) => *share,
            other => panic!("{other:?}"),
        };
        caps.iter().map(|(_, ask)| share(ask)).collect()
    }

    #[test]
    fn the_first_that_speaks_counts_and_a_wire_that_is_cut_speaks_where_rest_is_closed() {
        let group = group(Reading::First);
        assert_eq!(shares(&group.level(0b100)), [] as [f64; 0], "all at rest");
        assert_eq!(shares(&group.level(0b101)), [0.6]);
        assert_eq!(shares(&group.level(0b111)), [0.6]);
        assert_eq!(shares(&group.level(0b110)), [0.3]);
        assert_eq!(shares(&group.level(0b000)), [0.0], "a normally closed contact has opened");
    }

    #[test]
    fn what_holds_when_nothing_speaks_can_be_said() {
        let group = Group { otherwise: Some(Ask::Cap(Watts::whole(7))), ..group(Reading::All) };
        assert_eq!(
            group.level(0b100),
            Level::Caps(vec![("none of the contacts".into(), Ask::Cap(Watts::whole(7)))])
        );
        assert_eq!(shares(&group.level(0b011)), [0.6, 0.3, 0.0]);
    }

    #[test]
    fn a_receiver_with_one_contact_at_a_time_is_at_fault_with_none_or_two() {
        let group = group(Reading::One);
        assert_eq!(shares(&group.level(0b101)), [0.6]);
        assert!(matches!(group.level(0b100), Level::Fault(_)));
        assert!(matches!(group.level(0b001), Level::Fault(why) if why.contains("60 and 0")));
    }

    #[test]
    fn contacts_form_a_number_with_the_first_lowest() {
        let steps = vec![None, Some(Ask::ShareOfNameplate(0.6)), Some(Ask::ShareOfNameplate(0.3))];
        let mut group = group(Reading::Number(steps));
        group.contacts.truncate(2);
        assert_eq!(shares(&group.level(0b00)), [] as [f64; 0]);
        assert_eq!(shares(&group.level(0b01)), [0.6]);
        assert_eq!(shares(&group.level(0b10)), [0.3]);
        assert!(matches!(group.level(0b11), Level::Fault(why) if why.contains("number 3")));
    }

    #[test]
    fn what_does_not_stay_does_not_count() {
        let mut debounce = Debounce::default();
        let time = Duration::from_millis(200);
        let mut take = |bits, ms| debounce.take(bits, Moment::millis(ms), time);
        assert_eq!(take(1, 0), None);
        assert_eq!(take(1, 200), Some(1));
        assert_eq!(take(0, 300), None, "it bounces");
        assert_eq!(take(1, 350), None);
        assert_eq!(take(1, 549), None);
        assert_eq!(take(1, 550), Some(1));
        debounce.gap();
        assert_eq!(debounce.take(1, Moment::millis(700), time), None, "nobody saw what was in between");
        assert_eq!(debounce.take(7, Moment::millis(701), Duration::ZERO), Some(7));
    }

    proptest! {
        #[test]
        fn every_sum_of_worths_gives_its_bits_back(bits in 0..65_536_u32) {
            prop_assert_eq!(super::bits(f64::from(bits)), Some(bits));
            prop_assert_eq!(super::bits(f64::from(bits) + 0.5), None);
            prop_assert_eq!(super::bits(-1.0 - f64::from(bits)), None);
        }

        #[test]
        fn a_group_says_something_for_all_bits(bits in any::<u32>(), number in any::<f64>()) {
            for reading in [Reading::First, Reading::All, Reading::One, Reading::Number(vec![None])] {
                let _ = group(reading).level(bits);
            }
            let _ = super::bits(number);
        }
    }
}
