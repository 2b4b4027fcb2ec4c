//! Who of two daemons commands the miners.
//!
//! Two machines may stand by each other: an address that moves between them, with a lock of its own (VRRP), says which of them
//! leads. The other one reads everything and commands nothing: where the miners are counts as where it put them, from cycle to
//! cycle, so that it goes on from there when it is to lead.
//!
//! Where it is not clear who leads, a daemon only lowers. Two that both only lower can do no more harm than one: neither undoes
//! what the other has done, and each keeps what it knows of. What a daemon cannot be told, it sees: miners that say another target
//! than the one they had followed were told so by somebody else, and when several of them do, another daemon leads, too.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::commands;
use crate::control::response::Track;
use crate::control::site::Site;
use crate::control::step::Inputs;
use crate::moment::Moment;

/// Miners that somebody else has moved within this time count together. It is also for how long nothing is raised the first time.
const TOGETHER: Duration = Duration::from_secs(60);
/// After the beginning, what the one that led before has told the miners last is still on its way to what they say.
const SETTLES: Duration = Duration::from_secs(15);
/// Each time that it is seen anew, nothing is raised for twice as long, up to this.
const LONGEST: Duration = Duration::from_secs(960);
/// One miner that is moved is somebody at its page. In a fleet of fewer than [`FEW`] it may be all that another daemon needed.
const SEVERAL: usize = 2;
/// The smallest fleet of which several must be moved.
const FEW: usize = 4;

/// What a daemon may do with the miners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Lead {
    /// Everything: no other one stands by.
    #[default]
    Alone,
    /// Everything, and another one stands by: it is watched for whether it leads, too.
    Leads,
    /// Nothing but lower them: it is not clear who leads.
    Lowers,
    /// Nothing: another one leads.
    Follows,
}

impl Lead {
    /// All, for metrics.
    pub const ALL: [Self; 4] = [Self::Alone, Self::Leads, Self::Lowers, Self::Follows];

    /// As written in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Leads => "leads",
            Self::Lowers => "lowers-only",
            Self::Follows => "follows",
        }
    }
}

/// What was seen of another daemon that leads, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Contest {
    /// Until when nothing is raised.
    until: Option<Moment>,
    /// For how long, the latest time.
    lasts: Duration,
    /// Since when this daemon may command the miners.
    since: Option<Moment>,
}

impl Contest {
    /// Whether it has only just begun to: what miners say then was told to them by the one before, and is where they are.
    pub(super) fn settles(&self, now: Moment) -> bool {
        self.since.is_some_and(|since| now - since < SETTLES)
    }

    fn seen(&mut self, now: Moment) {
        // While nothing is raised, it goes on being seen, and that says nothing new.
        let new = self.until.is_none_or(|until| now >= until);
        let calm = self.until.is_none_or(|until| now - until > LONGEST);
        if calm {
            self.lasts = TOGETHER;
        } else if new {
            self.lasts = (self.lasts * 2).min(LONGEST);
        }
        self.until = Some(now + self.lasts);
    }
}

/// What this daemon may do in this cycle, by what it is told and by what the miners show.
pub(super) fn role(
    told: Lead,
    contest: &mut Contest,
    site: &Site,
    tracks: &mut [Track],
    inputs: &Inputs<'_>,
    now: Moment,
) -> Lead {
    if matches!(told, Lead::Alone | Lead::Follows) {
        contest.since = None;
        return told;
    }
    contest.since.get_or_insert(now);
    let settled = !contest.settles(now);
    let (mut moved, mut news) = (0, false);
    for (index, (miner, track)) in site.miners.iter().zip(tracks.iter_mut()).enumerate() {
        if commands::is_moved(miner, track, inputs.miner(index), now) && settled {
            track.moved_at = Some(now);
            news = true;
        }
        moved += usize::from(track.moved_at.is_some_and(|at| now - at < TOGETHER));
    }
    if news && moved >= if site.miners.len() < FEW { 1 } else { SEVERAL } {
        contest.seen(now);
    }
    if contest.until.is_some_and(|until| now < until) { Lead::Lowers } else { told }
}
