//! Two machines that stand by each other: which of them leads, and what the other one takes over from it.
//!
//! ```text
//!  an address that moves ──► holds ─┐
//!  (VRRP: keepalived)               ├─► role ──► Snapshot.lead ──► control law
//!  the other machine's ──► peer ────┘
//!  /api/v1/standby          │
//!                           └─► orders and maintenance, while the other one leads
//! ```
//!
//! Who leads is decided by a lock that is there already: the address that VRRP moves between the two machines. Whoever has it
//! leads. Nothing is written to say so, and nothing can be left behind by a machine that has died. Where it is not clear who
//! leads, nobody is raised ([`crate::control::lead`]).
//!
//! | File | What it does |
//! |---|---|
//! | `holds` | whether this machine has the address |
//! | `peer` | what the other machine says, asked over HTTP |

mod holds;
mod peer;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Moment};
use crate::control::lead::Lead;
use crate::maintenance::Maintenance;
use crate::secret::Secret;
use crate::signal::Desk;
use crate::signal::mirror::DeskCopy;
use crate::stops::Stops;
use crate::store::MaintenanceRow;

/// Time between two looks at the address.
const LOOK: Duration = Duration::from_millis(100);
/// Time between two questions to the other machine.
const ASK: Duration = Duration::from_millis(500);
/// What the other machine said counts for so long: two questions may go unanswered.
const COUNTS: Duration = Duration::from_millis(1_800);
/// Without anybody who leads for so long, the miners are lowered where they must be: an address that moves is elsewhere by then.
const UNLED: Duration = Duration::from_secs(3);
/// A daemon whose latest cycle is older than this leads nobody.
const CYCLE: Duration = Duration::from_secs(3);
/// The other machine has been silent for long enough to be told.
const SILENT: Duration = Duration::from_secs(5);
/// Clocks that are further apart begin and end orders at other times.
const APART: Duration = Duration::from_secs(2);

/// The section `[standby]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The address that moves between the two machines. Whoever has it leads.
    pub address: IpAddr,
    /// Where the pages of the other machine are, by an address that does not move.
    pub peer: reqwest::Url,
    /// The authority of its certificate, as PEM; `None` for those of this machine.
    pub ca: Option<Vec<u8>>,
    /// Sent as `Authorization: Bearer …`: a token of the other machine, of the scope `read` or `operator`.
    pub token: Option<Secret>,
}

/// What one machine tells the other: the answer of `GET /api/v1/standby`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// It began without knowing anything, and nobody has told it since: what it does not know says nothing.
    #[serde(default)]
    pub empty: bool,
    /// The name of the site: both machines are to have the same one.
    pub site: String,
    /// The version of the program.
    pub version: String,
    /// It has the address, and its control law has run a moment ago.
    pub leads: bool,
    /// What its desk knows.
    pub desk: DeskCopy,
    /// What somebody works on.
    pub maintenance: Vec<MaintenanceRow>,
    /// The circuits whose emergency stop is latched.
    #[serde(default)]
    pub stops: Vec<Arc<str>>,
    /// The circuits whose emergency stop somebody has released, and when, in Unix milliseconds: what is not latched there was not
    /// released for that.
    #[serde(default)]
    pub released: Vec<(Arc<str>, i64)>,
}

/// What is known of the pair, for metrics, pages and alarms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// This machine has the address.
    pub holds: bool,
    /// The other one answers.
    pub peer_up: bool,
    /// It says that it leads.
    pub peer_leads: bool,
    /// What is wrong, in words.
    pub trouble: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    holds: bool,
    /// Why it is not known whether this machine has the address.
    blind: Option<String>,
    /// The other one's latest answer: when, and whether it leads.
    heard: Option<(Moment, bool)>,
    /// What is wrong with its answers.
    amiss: Option<String>,
    /// When somebody was last known to lead.
    led: Option<Moment>,
    /// When the latest cycle of this daemon was.
    cycle: Option<Moment>,
    /// This daemon began without knowing anything, and has been told nothing since.
    empty: bool,
}

/// One of the two. Copies share it.
#[derive(Clone, Debug)]
pub struct Standby(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    clock: Clock,
    state: Mutex<State>,
}

impl Standby {
    /// Takes the first look, and begins to ask the other machine.
    pub fn start(
        settings: Settings,
        clock: Clock,
        (desk, maintenance, stops): (&Desk, &Maintenance, &Stops),
        empty: bool,
        cancel: &CancellationToken,
    ) -> Self {
        let standby = Self::new(settings, clock, empty);
        standby.look();
        let (looks, asks) = (standby.clone(), standby.clone());
        let looking = async move {
            loop {
                tokio::time::sleep(LOOK).await;
                looks.look();
            }
        };
        tokio::spawn(cancel.child_token().run_until_cancelled_owned(looking));
        let (desk, maintenance, stops) = (desk.clone(), maintenance.clone(), stops.clone());
        let asking = async move {
            let client = peer::client(&asks.0.settings).await;
            asks.ask(&client, &desk, &maintenance, &stops).await;
        };
        tokio::spawn(cancel.child_token().run_until_cancelled_owned(asking));
        standby
    }

    fn new(settings: Settings, clock: Clock, empty: bool) -> Self {
        let state = State { led: Some(clock.now()), empty, ..State::default() };
        Self(Arc::new(Inner { settings, clock, state: Mutex::new(state) }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address that moves.
    pub fn address(&self) -> IpAddr {
        self.0.settings.address
    }

    fn look(&self) {
        let looked = holds::holds(self.0.settings.address);
        let mut state = self.state();
        let (holds, blind) = match looked {
            Ok(holds) => (holds, None),
            Err(error) => (false, Some(error.to_string())),
        };
        if blind.is_some() && state.blind != blind {
            tracing::error!("{}", blind.as_deref().unwrap_or_default());
        }
        if holds != state.holds {
            let address = self.0.settings.address;
            if holds {
                tracing::warn!("this machine has {address} now: it leads");
            } else {
                tracing::warn!("this machine does not have {address} any more: it commands nobody");
            }
        }
        (state.holds, state.blind) = (holds, blind);
    }

    async fn ask(&self, client: &reqwest::Client, desk: &Desk, maintenance: &Maintenance, stops: &Stops) {
        loop {
            let heard = peer::ask(client, &self.0.settings).await;
            // Whether it leads counts, whatever else is wrong with its word.
            let follows = heard.leads.is_some_and(|leads| self.hear(leads));
            let amiss = match heard.word {
                Err(error) => Some(error.to_string()),
                Ok(word) if *word.site != *desk.site().name => {
                    let site: String = word.site.chars().take(100).map(crate::line::shown).collect();
                    Some(format!("the other machine has the site {site:?}: both need the same configuration"))
                }
                Ok(word) => self.take_over(follows, word, desk, maintenance, stops).await,
            };
            self.tell(amiss);
            tokio::time::sleep(ASK).await;
        }
    }

    /// Takes over what the other one knows, where it leads, or where this one leads and knows nothing. What is wrong with that.
    async fn take_over(
        &self,
        follows: bool,
        word: Word,
        desk: &Desk,
        maintenance: &Maintenance,
        stops: &Stops,
    ) -> Option<String> {
        let empty = self.is_empty(desk);
        if empty && word.empty && !word.leads {
            // The only other one that could know something does not.
            self.state().empty = false;
            return None;
        }
        if word.empty && !empty {
            let blank = "the machine that leads began without its database: its orders are not taken over, and those that this one \
                         knows stay; it takes them from here";
            return follows.then(|| blank.to_owned());
        }
        // One that leads and knows nothing asks the other one, once.
        let asks = empty && !word.leads && !word.empty;
        if !follows && !asks {
            return None;
        }
        let ahead = desk.wall().as_unix_millis().saturating_sub(word.desk.wall.as_unix_millis());
        let taken = desk.mirror(word.desk);
        stops.mirror(word.stops, word.released, (taken.apart <= APART).then_some(ahead));
        if maintenance.mirror(word.maintenance, ahead).await == Some(false) {
            tracing::warn!("what is worked on could not be brought to disk");
        }
        if !word.empty {
            self.state().empty = false;
        }
        if asks {
            tracing::warn!(
                "this machine began without its database: what the other one knows is taken from it"
            );
        }
        amiss_of(&taken)
    }

    /// Takes note of the other one's word; whether what it knows is to be taken over.
    fn hear(&self, leads: bool) -> bool {
        self.look();
        let now = self.0.clock.now();
        let mut state = self.state();
        state.heard = Some((now, leads));
        leads && !state.holds
    }

    /// The same trouble is told once.
    fn tell(&self, amiss: Option<String>) {
        let mut state = self.state();
        if state.amiss != amiss {
            match &amiss {
                Some(words) => tracing::warn!("stand-by: {words}"),
                None => tracing::info!("stand-by: the other machine answers"),
            }
        }
        state.amiss = amiss;
    }

    /// What this daemon may do with the miners in the cycle that begins now.
    ///
    /// The address is looked at anew: whoever was stopped for a while, as a virtual machine is, must not go on by what it saw before.
    pub fn role(&self) -> Lead {
        self.look();
        let now = self.0.clock.now();
        let mut state = self.state();
        state.cycle = Some(now);
        let heard = state.heard.map(|(at, leads)| (now - at, leads));
        let unled = state.led.map_or(Duration::MAX, |at| now - at);
        let role = role(state.holds, heard, unled);
        if matches!(role, Lead::Leads) || heard.is_some_and(|(age, leads)| leads && age <= COUNTS) {
            state.led = Some(now);
        }
        role
    }

    /// Whether orders are taken here: they go to whoever has the address.
    pub fn takes_orders(&self) -> bool {
        self.look();
        self.state().holds
    }

    /// Whether an order is to be given elsewhere: another machine leads, or the address is on its way. Where nobody is known to lead,
    /// a person can still lower what this one moves.
    pub fn refuses_orders(&self) -> bool {
        if self.takes_orders() {
            return false;
        }
        let now = self.0.clock.now();
        let state = self.state();
        let other = state.heard.is_some_and(|(at, leads)| leads && now - at <= COUNTS);
        other || state.led.is_some_and(|at| now - at < UNLED)
    }

    /// It began without knowing anything, and knows nothing still.
    fn is_empty(&self, desk: &Desk) -> bool {
        self.state().empty && desk.is_blank()
    }

    /// What is told to the other machine.
    pub fn word(&self, desk: &Desk, maintenance: Option<&Maintenance>, stops: Option<&Stops>) -> Word {
        self.look();
        let now = self.0.clock.now();
        let leads = {
            let state = self.state();
            state.holds && state.cycle.is_some_and(|at| now - at <= CYCLE)
        };
        Word {
            empty: self.is_empty(desk),
            site: desk.site().name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            leads,
            desk: desk.copy(),
            maintenance: maintenance.map(Maintenance::copy).unwrap_or_default(),
            stops: stops.map(|stops| stops.latched().into_keys().collect()).unwrap_or_default(),
            released: stops.map(Stops::released).unwrap_or_default(),
        }
    }

    /// How the pair is.
    pub fn health(&self) -> Health {
        let now = self.0.clock.now();
        let state = self.state();
        let heard = state.heard.map(|(at, leads)| (now - at, leads));
        let peer_up = heard.is_some_and(|(age, _)| age <= COUNTS);
        let silent = heard.map_or_else(|| now.since_start(), |(age, _)| age) > SILENT;
        let silence = || {
            let why = state.amiss.as_deref().unwrap_or("no answer yet");
            format!("the other machine is not heard, and would not take over: {why}")
        };
        let amiss = if peer_up { state.amiss.clone() } else { silent.then(silence) };
        Health {
            holds: state.holds,
            peer_up,
            peer_leads: peer_up && heard.is_some_and(|(_, leads)| leads),
            trouble: state.blind.clone().or(amiss),
        }
    }
}

/// What is wrong with what was taken over.
fn amiss_of(taken: &crate::signal::mirror::Taken) -> Option<String> {
    if !taken.strange.is_empty() {
        let what = taken.strange.join(", ");
        return Some(format!("this machine does not have {what}: both need the same configuration"));
    }
    (taken.apart > APART)
        .then(|| "the clocks of the two machines differ: let both be synchronised".to_owned())
}

/// Who leads, by whether this machine has the address, how old the other one's word is and what it says, and for how long nobody
/// has been known to lead.
fn role(holds: bool, heard: Option<(Duration, bool)>, unled: Duration) -> Lead {
    let other_leads = heard.is_some_and(|(age, leads)| leads && age <= COUNTS);
    match (holds, other_leads) {
        (true, false) => Lead::Leads,
        (true, true) => Lead::Lowers,
        (false, true) => Lead::Follows,
        (false, false) if unled >= UNLED => Lead::Lowers,
        (false, false) => Lead::Follows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn whoever_has_the_address_leads_and_where_that_is_not_clear_nobody_raises() {
        let old = COUNTS + Duration::from_millis(1);
        for (holds, heard, unled, expected) in [
            (true, None, NOW, Lead::Leads),
            (true, Some((NOW, false)), NOW, Lead::Leads),
            // Both have it.
            (true, Some((NOW, true)), NOW, Lead::Lowers),
            // What the other one said is too old to be true.
            (true, Some((old, true)), NOW, Lead::Leads),
            (false, Some((NOW, true)), NOW, Lead::Follows),
            (false, Some((NOW, true)), Duration::MAX, Lead::Follows),
            // The address is on its way.
            (false, Some((old, true)), Duration::from_secs(2), Lead::Follows),
            (false, Some((NOW, false)), Duration::from_secs(2), Lead::Follows),
            // It is nowhere.
            (false, Some((NOW, false)), UNLED, Lead::Lowers),
            (false, Some((old, true)), UNLED, Lead::Lowers),
            (false, None, UNLED, Lead::Lowers),
        ] {
            assert_eq!(role(holds, heard, unled), expected, "{holds} {heard:?} {unled:?}");
        }
    }
}
