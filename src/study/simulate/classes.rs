//! What the classes of a fleet come to, where it has servers: what each drew, for how long its members were at work, and how much of
//! the work of its jobs was done.

use serde::Serialize;

use crate::clock::Moment;
use crate::control::site::{LoadClass, Miner, Site};
use crate::sim::jobs::Work;
use crate::study::number;
use crate::units::Watts;

/// What was counted of a class. Where the trace is not known nothing is, but for the work: that goes on over short gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassAccount {
    /// Drawn by its members.
    pub watt_hours: f64,
    /// Hours at work, of all its members together: one is at work that draws more than halfway from its draw asleep to its lowest,
    /// and of those that do not sleep more than half of their lowest.
    pub member_hours: f64,
    /// Work that was done, in seconds of work at full power.
    pub done: f64,
    /// Work that would have been done without any cap.
    pub asked: f64,
}

/// One for each of [`LoadClass::ALL`].
pub type Accounts = [ClassAccount; LoadClass::ALL.len()];

/// Adds what was counted at another time.
pub(super) fn add(accounts: &mut Accounts, other: &Accounts) {
    for (sum, more) in accounts.iter_mut().zip(other) {
        sum.watt_hours += more.watt_hours;
        sum.member_hours += more.member_hours;
        sum.done += more.done;
        sum.asked += more.asked;
    }
}

/// A class in the result.
#[derive(Clone, Debug, Serialize)]
pub struct ClassResult {
    /// `miner`, `interruptible`, `throttle` or `guaranteed`.
    pub class: &'static str,
    /// How many members.
    pub members: usize,
    /// What all of them draw at full power, in watts.
    pub full_power_watts: f64,
    /// What they drew, in watt-hours.
    pub watt_hours: f64,
    /// The same as a share of what they would have drawn at full power all the time; `None` where no time is known.
    pub of_full_share: Option<f64>,
    /// For how much of the time a member was at work, in the mean; `None` where no time is known.
    pub at_work_share: Option<f64>,
    /// How much was done of the work that was asked for; `None` where the scenario gives them no jobs.
    pub work_share: Option<f64>,
}

fn place(class: LoadClass) -> usize {
    LoadClass::ALL.iter().position(|known| *known == class).unwrap_or(0)
}

fn has_servers(site: &Site) -> bool {
    site.miners.iter().any(|member| member.class != LoadClass::Miner)
}

/// What the classes came to in so many hours; empty for a fleet of miners alone, of which the other figures tell.
pub(super) fn results(site: &Site, accounts: &Accounts, hours: f64) -> Vec<ClassResult> {
    if !has_servers(site) {
        return Vec::new();
    }
    let result = |(class, account): (LoadClass, &ClassAccount)| {
        let members: Vec<&Miner> = site.miners.iter().filter(|member| member.class == class).collect();
        let full: Watts = members.iter().map(|member| member.maximum()).sum();
        let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        (!members.is_empty()).then(|| ClassResult {
            class: class.name(),
            members: members.len(),
            full_power_watts: full.get(),
            watt_hours: account.watt_hours,
            of_full_share: share(account.watt_hours, full.get() * hours),
            at_work_share: share(account.member_hours, number::count(members.len()) * hours),
            work_share: share(account.done, account.asked),
        })
    };
    LoadClass::ALL.into_iter().zip(accounts).filter_map(result).collect()
}

/// Draws, and members at work, of each class at one moment.
type Seen = [(f64, f64); LoadClass::ALL.len()];

/// Counts what the members draw from a moment on.
pub(super) struct Members {
    /// Of each, the place of its class, and above which draw it is at work.
    each: Vec<(usize, f64)>,
    from: Moment,
    last: Option<(Moment, Seen)>,
    accounts: Accounts,
}

impl Members {
    /// Of a fleet with servers; `None` of one of miners alone.
    pub(super) fn of(site: &Site, from: Moment) -> Option<Self> {
        let each = site.miners.iter().map(|member| {
            let least = member.minimum();
            let rests = if member.sleeps { member.sleep.min(least) } else { Watts::ZERO };
            (place(member.class), (rests + (least - rests).scaled(0.5)).get())
        });
        has_servers(site).then(|| Self {
            each: each.collect(),
            from,
            last: None,
            accounts: Accounts::default(),
        })
    }

    /// What all draw at a moment. Since the one before all ran straight; that is not counted where it is not `known`.
    pub(super) fn see(&mut self, at: Moment, draws: &[Watts], known: bool) {
        let mut seen = Seen::default();
        for ((place, works), draw) in self.each.iter().zip(draws) {
            if let Some((sum, working)) = seen.get_mut(*place) {
                *sum += draw.get();
                *working += if draw.get() > *works { 1.0 } else { 0.0 };
            }
        }
        let Some((before, then)) = self.last.replace((at, seen)) else { return };
        if before < self.from || !known {
            return;
        }
        let half = at.since(before).as_secs_f64() / 7_200.0;
        for (account, (then, now)) in self.accounts.iter_mut().zip(then.into_iter().zip(seen)) {
            account.watt_hours += half * (then.0 + now.0);
            account.member_hours += half * (then.1 + now.1);
        }
    }

    /// What came to be, with the work of all members at the beginning and at the end.
    pub(super) fn close(mut self, before: &[Option<Work>], after: &[Option<Work>]) -> Accounts {
        for ((place, _), (before, after)) in self.each.iter().zip(before.iter().zip(after)) {
            let (Some(after), Some(account)) = (after, self.accounts.get_mut(*place)) else { continue };
            let work = after.since(before.unwrap_or_default());
            account.done += work.done;
            account.asked += work.asked;
        }
        self.accounts
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    /// The demo with its first two miners taken for servers.
    fn hall() -> Site {
        let mut site = (*config::demo(config::DEMO_NETWORK).unwrap().site).clone();
        site.miners.truncate(3);
        site.miners[0].class = LoadClass::Throttle;
        site.miners[1].class = LoadClass::Throttle;
        site
    }

    #[test]
    fn each_class_is_counted_by_itself_and_only_where_the_time_is_known() {
        let site = hall();
        let mut members = Members::of(&site, at(600)).unwrap();
        let draws = [Watts::whole(3_000), Watts::whole(1), Watts::whole(1_000)];
        for second in 0..=7_200 {
            // The last half hour is not known.
            members.see(at(second), &draws, second <= 5_400);
        }
        let none = [None, None, None];
        let asked = Some(Work { done: 300.0, asked: 400.0 });
        let later = Some(Work { done: 900.0, asked: 1_200.0 });
        let accounts = members.close(&[asked, None, None], &[later, None, None]);
        let throttle = accounts[place(LoadClass::Throttle)];
        let hours = 4_800.0 / 3_600.0;
        assert!((throttle.watt_hours - 3_001.0 * hours).abs() < 1e-6, "{throttle:?}");
        assert!((throttle.member_hours - hours).abs() < 1e-9, "one of the two sleeps: {throttle:?}");
        assert!((throttle.done - 600.0).abs() < 1e-9 && (throttle.asked - 800.0).abs() < 1e-9);
        let results = results(&site, &accounts, hours);
        let told: Vec<_> = results.iter().map(|one| (one.class, one.members, one.work_share)).collect();
        assert_eq!(told, [("miner", 1, None), ("throttle", 2, Some(0.75))]);
        assert!((results[1].at_work_share.unwrap() - 0.5).abs() < 1e-9);
        let again = Members::of(&site, Moment::START).unwrap().close(&none, &none);
        assert_eq!(again, Accounts::default());
    }

    #[test]
    fn of_miners_alone_nothing_is_counted_by_class() {
        let site = config::demo(config::DEMO_NETWORK).unwrap().site;
        assert!(Members::of(&site, Moment::START).is_none());
        assert!(results(&site, &Accounts::default(), 1.0).is_empty());
    }
}
