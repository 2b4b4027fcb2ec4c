//! A price of power against what hashing earns: the operating points that do not pay are not used.
//!
//! Prices are fixed, follow a tariff, or are polled as JSON. What they come to is worked out in
//! [`crate::control::signal::economics`]: one cap for each circuit that feeds miners. They are caps like all others and
//! can only lower the draw.
//!
//! Only whole, timely answers with a price that can be meant count as heard. One that holds no such price makes the source degraded, and
//! no fresher.

pub mod poll;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use super::windows::{Windows, timestamp};
use super::{Context, List};
use crate::clock::Moment;
use crate::control::signal::economics::{BreakEven, Keeper, Prices, caps};
use crate::control::signal::{Ask, Basis, Doubt, Order, Urgency, Wall};
use crate::control::site::Scope;
use crate::fetch;
use crate::units::Watts;
use poll::{Poll, PriceError};

/// A tariff's price is looked up at least so often, so that its hours begin in time.
const TARIFF_LOOK: Duration = Duration::from_secs(5);

/// The settings of this kind of source.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Of a kilowatt-hour.
    pub power: Quote,
    /// Of a terahash per second over a day, in the same currency.
    pub hash: Quote,
    /// The currency of both, for people.
    pub currency: String,
    /// Time between two looks.
    pub every: Duration,
    /// What of the earnings goes elsewhere, as a fraction: fees, losses and cooling.
    pub overhead: f64,
    /// Changes of the break-even below this part of it do not count. 0.05 = 5 %.
    pub hysteresis: f64,
    /// For how long after a change it does not rise.
    pub minimum_hold: Duration,
    /// From this age on, a price is none any more.
    pub lost_after: Duration,
    /// The caps of a price that is lost end by themselves, one to two times `lost_after` after it was last heard.
    pub expires: bool,
    /// A certificate authority in PEM beside those of the system, for polled prices.
    pub ca: Option<Vec<u8>>,
}

/// Where a price comes from. Numbers are per kilowatt-hour, or per terahash per second and day.
#[derive(Clone, Debug, PartialEq)]
pub enum Quote {
    /// It does not change.
    Fixed(f64),
    /// It follows the hours of a calendar: the price of the first window that covers the moment, else another.
    Tariff {
        /// When.
        windows: Windows,
        /// How much in each.
        prices: Vec<f64>,
        /// Outside of all windows.
        otherwise: f64,
    },
    /// It is asked for.
    Poll(Poll),
}

/// Runs until it is dropped.
pub async fn run(settings: Settings, context: Context) {
    let quotes = [&settings.power, &settings.hash];
    let tls = quotes.iter().any(|quote| matches!(quote, Quote::Poll(poll) if poll.url.scheme() == "https"));
    let who = format!("signal `{}`", context.name);
    let client = fetch::patient(&who, tls, settings.ca.as_deref(), poll::LIMIT).await;
    let every = if [&settings.power, &settings.hash].iter().any(|quote| matches!(quote, Quote::Tariff { .. }))
    {
        settings.every.min(TARIFF_LOOK)
    } else {
        settings.every
    };
    let mut task = Task {
        settings,
        context,
        client,
        keeper: Keeper::default(),
        told: None,
        trouble: None,
        complained: false,
    };
    loop {
        task.look().await;
        sleep(every).await;
    }
}

struct Task {
    settings: Settings,
    context: Context,
    client: reqwest::Client,
    keeper: Keeper,
    /// What the desk has been told: the break-even, and when its orders were given.
    told: Option<(BreakEven, Moment)>,
    /// What went wrong the last time, so that it is logged once.
    trouble: Option<&'static str>,
    /// The desk has been told of it.
    complained: bool,
}

impl Task {
    async fn look(&mut self) {
        match self.prices().await {
            Ok(prices) => {
                if self.trouble.take().is_some() {
                    info!(source = %self.context.name, "prices are there again");
                }
                self.take(prices).await;
            }
            Err(error) => {
                if self.trouble.replace(error.kind()) != Some(error.kind()) {
                    warn!(source = %self.context.name, "{error}; the latest price stays until it is too old");
                }
                if error.is_bad_value() {
                    self.context.desk.complain(self.context.source, error.to_string().into());
                    self.complained = true;
                }
            }
        }
    }

    /// Both prices, or why there are none.
    async fn prices(&self) -> Result<Prices, PriceError> {
        let power = self.price(&self.settings.power).await?;
        let hash = self.price(&self.settings.hash).await?;
        if hash < 0.0 {
            return Err(PriceError::Negative(hash));
        }
        Ok(Prices { power, hash })
    }

    async fn price(&self, quote: &Quote) -> Result<f64, PriceError> {
        let now = self.context.desk.wall();
        match quote {
            Quote::Fixed(price) => Ok(*price),
            Quote::Tariff { windows, prices, otherwise } => {
                let covering = windows.at(timestamp(now));
                Ok(covering.first().and_then(|at| prices.get(*at)).copied().unwrap_or(*otherwise))
            }
            Quote::Poll(poll) => {
                let answer = poll::ask(&self.client, poll).await?;
                let (price, date) = poll.read(&answer, self.context.desk.wall(), self.settings.lost_after)?;
                if let Some(date) = date {
                    self.compare(date);
                }
                Ok(price)
            }
        }
    }

    /// How far the clock of whoever tells the price is from ours. It says whole seconds.
    fn compare(&self, date: Wall) {
        let now = self.context.desk.wall();
        let apart = now.since(date).max(date.since(now));
        let doubt = if apart <= Duration::from_secs(2) { Doubt::None } else { Doubt::Off(apart) };
        self.context.desk.doubt(self.context.source, doubt);
    }

    async fn take(&mut self, prices: Prices) {
        let now = self.context.clock.now();
        let Settings { overhead, hysteresis, minimum_hold, .. } = self.settings;
        let latest = BreakEven::of(prices).less(overhead);
        let counts = self.keeper.take(latest, now, hysteresis, minimum_hold);
        let due = |at: Moment| self.settings.expires && now - at >= self.settings.lost_after;
        let known = self.told.as_ref().is_some_and(|(told, at)| *told == counts && !due(*at));
        // A heartbeat says nothing of what could not be obeyed before; the list does.
        if known && !std::mem::take(&mut self.complained) {
            return self.context.desk.heartbeat(self.context.source);
        }
        let orders = self.orders(counts);
        let standing: Vec<&str> = orders.iter().map(|order| &*order.id).collect();
        let said = if standing.is_empty() { "all of the fleet pays".into() } else { standing.join(", ") };
        info!(
            source = %self.context.name,
            "{} {}/kWh against {} {}/TH/day: {said}",
            prices.power,
            self.settings.currency,
            prices.hash,
            self.settings.currency
        );
        if self.tell(List { orders, ..List::default() }).await {
            self.complained = false;
            self.told = Some((counts, now));
        }
    }

    /// The orders that a break-even comes to. A name says all that its order is, so that the same price after a restart is
    /// the same order.
    fn orders(&self, break_even: BreakEven) -> Vec<Order> {
        let Context { desk, source, place, .. } = &self.context;
        let Some(site) = desk.site_of(*source) else { return Vec::new() };
        let until = self.settings.expires.then(|| desk.wall().later(self.settings.lost_after * 2));
        caps(&site, place.circuit, break_even)
            .into_iter()
            .map(|(circuit, cap)| {
                let name = site.circuits.get(circuit.0).map_or("", |circuit| circuit.name.as_str());
                let cap = Watts::saturating(cap.get().floor());
                let joules = break_even.joules_per_terahash();
                let id: Arc<str> = format!("{name} below {joules:.2} J/TH: {:.0} W", cap.get()).into();
                Order {
                    // Rises with what it prolongs.
                    revision: until.map_or(0, |_| desk.next_revision(*source, &id)),
                    id,
                    lane: "price".into(),
                    priority: u32::MAX,
                    circuit,
                    scope: Scope::Miners,
                    ask: Ask::Cap(cap),
                    basis: Basis::Instant,
                    urgency: Urgency::Normal,
                    from: Wall::unix_millis(0),
                    until,
                    start_spread: Duration::ZERO,
                }
            })
            .collect()
    }

    async fn tell(&self, list: List) -> bool {
        match self.context.desk.list(self.context.source, list).await {
            Ok(answers) => {
                for answer in answers {
                    if let Err(refusal) = answer.outcome {
                        warn!(source = %self.context.name, order = %answer.id, "{refusal}");
                    }
                }
                true
            }
            Err(error) => {
                warn!(source = %self.context.name, "{error}");
                false
            }
        }
    }
}
