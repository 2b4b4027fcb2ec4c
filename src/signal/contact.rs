//! Contacts: relays of a ripple control receiver, a load-shed relay of the utility, a switch in the control room.
//!
//! The contacts of a source hang on one unit of one link, on discrete inputs or coils. The link is read by its one
//! owner (`crate::meter`), because meters may hang on it too; this task is given each reading. A reading that fails
//! says nothing of the contacts, least of all that they are open: nothing is called then, and the source is lost after
//! its time. So is one whose contacts never come to rest.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::{Context, DeskError, List};
use crate::control::signal::contacts::{Debounce, Group, Level, bits};
use crate::control::signal::{Ask, Basis, Order, Urgency, Wall};
use crate::control::snapshot::{MeterInput, MeterStatus};
use crate::meter::Connection;
use crate::units::Watts;

/// The settings of this kind of source.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How its bits are read: its profile is [`crate::meter::profile::Profile::of_contacts`].
    pub connection: Connection,
    /// What they say.
    pub group: Group,
    /// For how long they must stay as they are before they count.
    pub debounce: Duration,
}

/// Runs until it is dropped. `input` has each reading of the bits.
pub async fn run(settings: Settings, context: Context, mut input: watch::Receiver<MeterInput>) {
    let mut task =
        Task { settings, context, debounce: Debounce::default(), told: None, standing: Vec::new() };
    while input.changed().await.is_ok() {
        let input = *input.borrow_and_update();
        task.take(&input).await;
    }
}

struct Task {
    settings: Settings,
    context: Context,
    debounce: Debounce,
    /// The bits that the desk has been told of.
    told: Option<u32>,
    /// The names of the orders that were taken last.
    standing: Vec<Arc<str>>,
}

impl Task {
    async fn take(&mut self, input: &MeterInput) {
        let read = input.power.filter(|_| input.status == MeterStatus::Ok);
        let Some(number) = read.and_then(|reading| bits(reading.value.get())) else {
            return self.debounce.gap();
        };
        let now = self.context.clock.now();
        let Some(number) = self.debounce.take(number, now, self.settings.debounce) else { return };
        if self.told == Some(number) {
            return self.context.desk.heartbeat(self.context.source);
        }
        match self.tell(number).await {
            Ok(()) => self.told = Some(number),
            Err(error) => warn!(source = %self.context.name, "{error}"),
        }
    }

    /// Tells the desk what the contacts say. What cannot be obeyed leaves what was in force in force.
    async fn tell(&mut self, number: u32) -> Result<(), DeskError> {
        let Context { source, desk, name, place, .. } = &self.context;
        let orders: Vec<Order> = match self.settings.group.level(number) {
            Level::Caps(caps) => {
                let nameplate = desk.nameplate(place.circuit, place.scope);
                caps.into_iter().map(|(contact, ask)| order(&contact, ask, place, nameplate)).collect()
            }
            Level::Fault(why) => {
                warn!(source = %name, "{why}; what was in force stays in force");
                return self.object(why).await;
            }
        };
        for order in &orders {
            match desk.give(*source, order.clone()).await {
                Ok(_) => {}
                Err(DeskError::Refused(refusal)) => {
                    let why = format!("{}: {refusal}", order.id);
                    warn!(source = %name, "{why}; what was in force stays in force");
                    return self.object(why.into()).await;
                }
                Err(error) => return Err(error),
            }
        }
        let standing: Vec<Arc<str>> = orders.iter().map(|order| order.id.clone()).collect();
        info!(source = %name, "the contacts say: {}", said(&standing));
        desk.list(*source, List { orders, ..List::default() }).await?;
        self.standing = standing;
        Ok(())
    }

    /// The contacts are heard, but what they say cannot be meant.
    async fn object(&self, why: Arc<str>) -> Result<(), DeskError> {
        let unreadable = self.standing.clone();
        let list = List { unreadable, complaint: Some(why), ..List::default() };
        self.context.desk.list(self.context.source, list).await.map(|_| ())
    }
}

fn said(standing: &[Arc<str>]) -> String {
    if standing.is_empty() { "no limit".into() } else { standing.join(", ") }
}

/// The order of a contact. It holds "since ever": a level has no window, so that a wall clock that is set back cannot
/// put it off.
fn order(contact: &str, ask: Ask, place: &super::Place, nameplate: Watts) -> Order {
    Order {
        id: format!("{contact}: {}", words(ask, nameplate)).into(),
        revision: 0,
        lane: "contacts".into(),
        priority: u32::MAX,
        circuit: place.circuit,
        scope: place.scope,
        ask,
        basis: Basis::Instant,
        urgency: Urgency::Normal,
        from: Wall::unix_millis(0),
        until: None,
        start_spread: Duration::ZERO,
    }
}

/// What is asked for, for the names of orders: exactly, and with the nameplate where that decides, so that a changed
/// configuration makes another order of it.
pub(super) fn words(ask: Ask, nameplate: Watts) -> String {
    let whole = |power: Watts| format!("{} W", power.get());
    match ask {
        Ask::Cap(cap) => whole(cap),
        Ask::ReduceBy(by) => format!("-{}", whole(by)),
        Ask::ShareOfNameplate(share) => format!("{} % of {}", (share * 1e5).round() / 1e3, whole(nameplate)),
    }
}
