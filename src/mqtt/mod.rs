//! State to a broker of MQTT, and orders from it.
//!
//! ```text
//!  exporter, alarms ──► topics, discovery ──► outbox ─┐
//!                                                     ├─► session ◄──► broker
//!  desk ◄── web/api/message ◄── limit/set, … ─────────┘
//! ```
//!
//! A task of its own: the control loop knows nothing of it and waits for none. What is told is what `/api/v1` tells, of the same
//! types; what may be ordered is what may be ordered over HTTP, by the same rules.
//!
//! | File | What it does |
//! |---|---|
//! | `topics` | what there is to tell, topic by topic |
//! | `discovery` | the same for Home Assistant |
//! | `outbox` | what of it is news; pure |
//! | `session` | one connection, from the first packet to the last |
//!
//! The protocol is MQTT 5: only there a broker can be told not to send what it has kept, and not to send what is too large.

mod discovery;
mod outbox;
mod session;
mod topics;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::alarm::Alarms;
use crate::broker::{FIRST_WAIT, GOOD, LONGEST_WAIT, spread};
use crate::clock::Clock;
use crate::config;
use crate::metrics::{Exporter, MqttCounts, MqttStats};
use crate::web::api::Api;
use discovery::Counters;
use session::End;

/// What was done since the start.
#[derive(Debug, Default)]
struct Tally {
    configured: AtomicBool,
    connected: AtomicBool,
    published: AtomicU64,
    connections_failed: AtomicU64,
    publishes_failed: AtomicU64,
    done: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
    /// Outlive a connection: what is kept at the broker is not taken away for a meter that is not fresh just then.
    counters: Mutex<Counters>,
}

impl Tally {
    fn counters(&self) -> Counters {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, counters: Counters) {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner) = counters;
    }
}

fn one_more(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

impl MqttStats for Tally {
    fn mqtt(&self) -> Option<MqttCounts> {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        self.configured.load(Ordering::Relaxed).then(|| MqttCounts {
            connected: self.connected.load(Ordering::Relaxed),
            published: count(&self.published),
            connections_failed: count(&self.connections_failed),
            publishes_failed: count(&self.publishes_failed),
            done: count(&self.done),
            refused: count(&self.refused),
            dropped: count(&self.dropped),
        })
    }
}

/// What the messages are made from, and who takes orders.
#[derive(Clone, Debug)]
pub struct Around {
    /// What is going on.
    pub exporter: Arc<Exporter>,
    /// What somebody should know of.
    pub alarms: Alarms,
    /// Who takes orders.
    pub api: Arc<Api>,
    /// The daemon's clock.
    pub clock: Clock,
}

/// The way to the broker, as the configuration in force has it.
#[derive(Debug)]
pub struct Mqtt {
    plan: Option<Arc<config::Mqtt>>,
    hears: bool,
    to: watch::Sender<Option<Arc<config::Mqtt>>>,
}

impl Mqtt {
    /// Nothing is connected before [`run`] runs, nor while another daemon leads: of two with one name the broker lets in the
    /// latter.
    pub fn new(config: &config::Config, hears: bool) -> Self {
        let plan = config.mqtt.clone().map(Arc::new);
        Self { to: watch::Sender::new(plan.clone().filter(|_| hears)), plan, hears }
    }

    /// Takes a new configuration: what has not changed stays connected.
    pub fn configure(&mut self, config: &config::Config) {
        if self.plan.as_deref() != config.mqtt.as_ref() {
            self.plan = config.mqtt.clone().map(Arc::new);
            self.tell();
        }
    }

    /// Whether this daemon takes orders, or another one leads.
    pub fn hear(&mut self, hears: bool) {
        if self.hears != hears {
            self.hears = hears;
            self.tell();
        }
    }

    fn tell(&self) {
        self.to.send_replace(self.plan.clone().filter(|_| self.hears));
    }

    /// What [`run`] follows.
    pub fn plans(&self) -> watch::Receiver<Option<Arc<config::Mqtt>>> {
        self.to.subscribe()
    }
}

/// Keeps a connection to the broker of the configuration in force, until `cancel`, also when nobody is left to change it.
pub async fn run(
    plans: watch::Receiver<Option<Arc<config::Mqtt>>>,
    around: Around,
    cancel: CancellationToken,
) {
    follow(plans, around, &cancel).await;
    cancel.cancelled().await;
}

async fn follow(
    mut plans: watch::Receiver<Option<Arc<config::Mqtt>>>,
    around: Around,
    cancel: &CancellationToken,
) {
    let tally = Arc::new(Tally::default());
    around.exporter.watch_mqtt(tally.clone());
    let (mut wait, mut told) = (FIRST_WAIT, false);
    loop {
        let plan = plans.borrow_and_update().clone();
        tally.configured.store(plan.is_some(), Ordering::Relaxed);
        let Some(plan) = plan else {
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = plans.changed() => if changed.is_err() { return },
            }
            continue;
        };
        let begun = around.clock.now();
        let end = session::session(&plan, &around, &tally, &mut plans, cancel).await;
        let was_connected = tally.connected.swap(false, Ordering::Relaxed);
        match end {
            End::Cancelled => return,
            End::Changed => {
                (wait, told) = (FIRST_WAIT, false);
                continue;
            }
            End::Lost(words) => {
                one_more(&tally.connections_failed);
                if was_connected && around.clock.now() - begun >= GOOD {
                    (wait, told) = (FIRST_WAIT, false);
                }
                let (host, port) = (&*plan.host, plan.port);
                if told {
                    tracing::debug!("the broker of MQTT at {host}:{port} is not connected: {words}");
                } else {
                    tracing::warn!(
                        "the broker of MQTT at {host}:{port} is not connected: {words}; it is tried again, once a minute at \
                         last. Control goes on without it"
                    );
                }
                told = true;
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = plans.changed() => {
                if changed.is_err() {
                    return;
                }
                (wait, told) = (FIRST_WAIT, false);
            }
            () = sleep(spread(wait, &plan.client_id)) => wait = (wait * 2).min(LONGEST_WAIT),
        }
    }
}
