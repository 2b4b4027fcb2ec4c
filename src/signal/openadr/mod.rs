//! OpenADR 3: a virtual end node (VEN) that polls its virtual top node (VTN).
//!
//! ```text
//!  token server ──► client ──► poll ──► event ──► window ──► lane ──► desk
//!                     ▲      whole     one of    when its    orders
//!                     │      lists     them      intervals
//!                     └─── report ◄─── frames    hold
//! ```
//!
//! | File | What it does |
//! |---|---|
//! | `settings` | what is configured, and what the payload types of the specification mean |
//! | `client` | requests with a token, bounded in time and size |
//! | `poll` | the programmes and the whole list of events, page by page |
//! | `event`, `time` | one event from JSON, in the shapes of versions 3.0 and 3.1 |
//! | `window` | when each interval holds: followed, repeated, shifted at random |
//! | `lane` | from events to orders: units, meanings, sums of capacity |
//! | `report`, `telemetry` | what is reported back, and from what |
//!
//! Only a whole, authenticated list reaches the desk. Whatever else comes (nothing, 401, 500, half a page, no JSON) is
//! no news, and after a while the source is lost. One event that cannot be read is left out of the list, and what was known
//! of it stays in force.

pub mod client;
pub mod event;
pub mod fault;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
pub mod lane;
pub mod poll;
pub mod report;
pub mod settings;
pub mod telemetry;
#[cfg(test)]
mod tests;
pub mod time;
pub mod window;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::{Context, DeskError};
use crate::clock::Moment;
use crate::control::signal::Doubt;
use client::{Client, VenError};
use lane::{Followed, Programmes, Surroundings};
pub use settings::Settings;

/// The longest pause between two attempts to hear a top node that does not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A whole poll, all its pages together, takes at most this many times the limit for one answer.
const POLL_ANSWERS: u32 = 12;
/// Programmes are asked for anew this often; their units and names hardly change.
const PROGRAMMES_EVERY: Duration = Duration::from_secs(600);
/// Most payload types that are remembered as told.
const MOST_TOLD: usize = 64;

/// Runs until it is dropped.
pub async fn run(settings: Settings, context: Context) {
    let desk = context.desk.clone();
    let wall: client::OwnWall = Arc::new(move || desk.wall());
    let client = loop {
        match Client::new(&settings, context.clock, wall.clone()) {
            Ok(client) => break client,
            Err(error) => {
                warn!(source = &*context.name, "{error}");
                tokio::time::sleep(LONGEST_PAUSE).await;
            }
        }
    };
    let (followed, events) = watch::channel(Vec::new());
    let reporter = report::Reporter::new(&settings, &context, client.clone(), events);
    let mut poller = Poller {
        settings,
        context,
        client,
        programmes: None,
        followed,
        failures: 0,
        trouble: None,
        complaint: None,
        told: BTreeSet::new(),
    };
    tokio::join!(poller.run(), reporter.run());
}

struct Poller {
    settings: Settings,
    context: Context,
    client: Client,
    programmes: Option<(Programmes, Moment)>,
    followed: watch::Sender<Vec<Followed>>,
    /// Polls that failed in a row.
    failures: u32,
    /// What was told last of a top node that is not heard.
    trouble: Option<VenError>,
    /// What was told last of events that cannot be obeyed.
    complaint: Option<Arc<str>>,
    /// Payload types that were told to mean nothing here.
    told: BTreeSet<String>,
}

impl Poller {
    async fn run(&mut self) {
        loop {
            let most = self.settings.timeout.saturating_mul(POLL_ANSWERS);
            let place = self.settings.url.host_str().unwrap_or("?").to_owned();
            let outcome = tokio::time::timeout(most, self.poll())
                .await
                .unwrap_or(Err(VenError::Timeout { place, within: most }));
            let pause = match outcome {
                Ok(()) => {
                    if self.trouble.take().is_some() {
                        info!(source = &*self.context.name, "the top node is heard again");
                    }
                    self.failures = 0;
                    self.settings.poll
                }
                Err(error) => {
                    self.failures = self.failures.saturating_add(1);
                    // The same trouble is told once.
                    let told = self.trouble.as_ref().map(std::mem::discriminant);
                    if told != Some(std::mem::discriminant(&error)) {
                        warn!(source = &*self.context.name, "{error}");
                    }
                    self.trouble = Some(error);
                    self.backoff()
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Twice as long after each failure in a row, a little different at each site.
    fn backoff(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(8);
        let pause = self.settings.poll.saturating_mul(1 << doublings);
        let longest = LONGEST_PAUSE.max(self.settings.poll);
        pause.min(longest).mul_f64(rand::random_range(0.75..=1.0))
    }

    /// One poll. When it returns `Ok`, the desk has the whole list.
    async fn poll(&mut self) -> Result<(), VenError> {
        let now = self.context.clock.now();
        let due = self.programmes.as_ref().is_none_or(|(_, at)| now - *at >= PROGRAMMES_EVERY);
        if due {
            match poll::programmes(&self.client, &self.settings).await {
                Ok(programmes) => self.programmes = Some((programmes, now)),
                // What they say hardly changes: the old answer will do, but a programme that is gone is gone.
                Err(error) if self.programmes.is_none() || matches!(error, VenError::NoProgramme(_)) => {
                    self.programmes = None;
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        let Some((programmes, _)) = &self.programmes else { return Ok(()) };
        let entries = poll::events(&self.client, &self.settings, programmes).await?;

        let Context { desk, source, name, place, .. } = &self.context;
        desk.doubt(*source, entries.off.map_or(Doubt::None, Doubt::Off));
        let known = desk.known(*source);
        let read = |now| {
            let around = Surroundings {
                settings: &self.settings,
                source: name,
                place: *place,
                nameplate: &|scope| desk.nameplate(place.circuit, scope),
                known: &known,
                now,
            };
            lane::read(&entries.entries, programmes, &around)
        };
        let mut reading = read(desk.wall());
        desk.add_what_holds(*source, &mut reading.list.orders, |then| read(then).list.orders);
        let complaint = reading.list.complaint.clone();
        let refused = match desk.list(*source, reading.list).await {
            Ok(answers) => answers.into_iter().find_map(|answer| {
                answer.outcome.err().map(|refusal| Arc::<str>::from(format!("{}: {refusal}", answer.id)))
            }),
            // The configuration was read anew without this source; the task is about to end.
            Err(DeskError::NoSource | DeskError::Refused(_)) => None,
        };
        self.tell(complaint.or(refused), reading.unmapped);
        self.followed.send_replace(reading.followed);
        Ok(())
    }

    /// Tells what is new among what cannot be obeyed.
    fn tell(&mut self, complaint: Option<Arc<str>>, unmapped: BTreeSet<String>) {
        let source = &*self.context.name;
        if complaint != self.complaint {
            match &complaint {
                Some(words) => warn!(source, "an event is not obeyed, what was known of it stays: {words}"),
                None => info!(source, "every event can be obeyed again"),
            }
            self.complaint = complaint;
        }
        for payload in unmapped {
            if settings::INFORMATIVE.contains(&payload.as_str()) || self.told.len() >= MOST_TOLD {
                continue;
            }
            let shown = crate::line::shorten(&payload);
            if self.told.insert(payload) {
                warn!(
                    source,
                    "payloads of type {shown} mean nothing here and are not obeyed; map them under `payloads` if they should be"
                );
            }
        }
    }
}
