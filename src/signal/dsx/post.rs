//! What both roles share: the broker, the keys of the other side, what waits for them, and what is sent.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use rumqttc::{AsyncClient, Publish, QoS, SubscribeFilter};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, info, warn};

use super::admit::{Admitted, Answer, Gate, Refused, Rules};
use super::jws::{JwsError, KeySet, Signer};
use super::keys::{self, Tokens};
use super::message::{Outgoing, Sent, Trace, uuid};
use super::park::{Parked, Parking, due};
use super::session::{Driver, Heard, options};
use super::settings::{Account, Link};
use crate::clock::Moment;
use crate::control::frame::Frame;
use crate::control::signal::book::{MOST_ORDERS, Phase};
use crate::control::signal::{Order, Wall};
use crate::control::site::Site;
use crate::rate::Bucket;
use crate::signal::glance::Glance;
use crate::signal::link::{self, Came};
use crate::signal::{Context, keep};

/// Messages that may wait to be sent.
const QUEUE: usize = 256;
/// Messages that may wait to be looked at.
const INBOX: usize = 32;
/// Time between two looks at what is due.
const LOOK: Duration = Duration::from_secs(1);
/// Refusals that are told at once in the log, and for each second on and on.
const REFUSALS: (u32, f64) = (5, 1.0 / 60.0);
/// Wait before what cannot be prepared is tried again.
const AGAIN: Duration = Duration::from_secs(60);
/// Why a source is degraded whose broker has no session of ours.
const HOLE: &str = "the broker has kept nothing for us";

/// Keys that are on their way.
type Fetching = Pin<Box<dyn Future<Output = Result<KeySet, String>> + Send>>;

/// What one role does with what it hears.
pub(super) trait Role: Send {
    /// What a message says that is to be obeyed.
    type Said: Send;

    /// Whether it counts as a sign of life that the broker lives, since the other side sends none of its own.
    const BROKER_SPEAKS: bool;

    /// Where the other side speaks.
    fn topics(&self, partner: &str) -> Vec<SubscribeFilter>;

    /// Looks at a message.
    fn look(
        &self,
        gate: &mut Gate,
        payload: &[u8],
        keys: &KeySet,
        now: Wall,
    ) -> Result<Answer<Self::Said>, Refused>;

    /// Does what a message asks for.
    fn obey(&mut self, post: &mut Post, said: Admitted<Self::Said>) -> impl Future<Output = ()> + Send;

    /// The broker is connected.
    fn connected(&mut self, post: &Post);

    /// A cycle has ended.
    fn cycle(&mut self, post: &Post, frame: &Frame);

    /// A second has gone by.
    fn tick(&mut self, post: &Post);
}

/// The connection of one source to the other side.
pub(super) struct Post {
    /// How it is configured.
    pub(super) link: Link,
    /// The source.
    pub(super) context: Context,
    /// What may come in.
    pub(super) gate: Gate,
    /// The broker takes what is sent.
    pub(super) up: bool,
    signer: Signer,
    client: AsyncClient,
    http: Client,
    keys: KeySet,
    /// When the keys were asked for last, and whether they came.
    asked: Option<(Moment, bool)>,
    /// Messages that are signed with a key that is not known yet.
    parked: Parking<Publish>,
    /// It was told that the keys do not come.
    keyless: bool,
    subscribed: bool,
    /// What waits for a key came before the broker forgot our session.
    hole: bool,
    /// It was told that there is no connection.
    trouble: bool,
    refusals: Bucket,
    /// Refusals that were not told in the log.
    quiet: u64,
}

/// What stands of a source.
pub(super) struct Standing {
    /// The source as it is.
    pub(super) glance: Glance,
    /// The site by which the source numbers its circuits.
    pub(super) site: Arc<Site>,
    /// The orders that were neither taken back nor are over, by that site.
    pub(super) orders: Vec<Order>,
}

impl Standing {
    /// Whether a whole list of orders fits in beside what has not ended yet.
    pub(super) fn has_room_for(&self, orders: &[Order]) -> bool {
        let glance = &self.glance;
        let occupied = glance.held.iter().filter(|held| glance.phase(held) != Phase::Over).count();
        let new = orders.iter().filter(|order| glance.find(&order.id).is_none()).count();
        occupied.saturating_add(new) <= MOST_ORDERS
    }
}

/// What was verified before, and until when it counts.
type Remembered = Vec<(Arc<str>, u64)>;

/// Runs a role until it is dropped. What was verified before a restart is not obeyed again after it: `gate` makes the gate of the role.
pub(super) async fn run<R: Role>(
    link: Link,
    context: Context,
    gate: fn(&Rules<'_>, Remembered) -> Gate,
    mut role: R,
) {
    let signer = loop {
        match Signer::new(&link.signing_key, &link.signing_key_id) {
            Ok(signer) => break signer,
            Err(error) => warn!(source = &*context.name, "the signing key cannot be used: {error}"),
        }
        sleep(AGAIN).await;
    };
    let options = loop {
        match options(&link) {
            Ok(options) => break options,
            Err(error) => warn!(source = &*context.name, "TLS to the broker cannot be prepared: {error}"),
        }
        sleep(AGAIN).await;
    };
    let http = keys::client(&context.name, &link).await;
    let tokens = match &link.account {
        Account::Token(account) => Some(Tokens::new(account.clone(), http.clone(), context.clock)),
        Account::Certificate | Account::Login(..) => None,
    };
    let (client, events) = AsyncClient::new(options, QUEUE);
    let (to, heard) = mpsc::channel(INBOX);
    let driver = Driver { events, to, tokens, client_id: link.client_id.clone(), clock: context.clock };
    let rules = Rules {
        partner: &link.partner,
        identity: &link.identity,
        oldest: link.oldest,
        require_iat: link.require_iat,
    };
    let mut post = Post {
        gate: gate(&rules, context.desk.remembered(context.source)),
        link,
        context,
        up: false,
        signer,
        client,
        http,
        keys: KeySet::none(),
        asked: None,
        parked: Parking::default(),
        keyless: false,
        subscribed: false,
        hole: false,
        trouble: false,
        refusals: Bucket::new(REFUSALS.0, REFUSALS.1),
        quiet: 0,
    };
    // Neither ends before the other is dropped.
    tokio::join!(driver.run(), post.run(&mut role, heard));
}

impl Post {
    /// Until nobody speaks any more.
    async fn run<R: Role>(&mut self, role: &mut R, mut heard: mpsc::Receiver<Heard>) {
        self.note(|link| (link.connected, link.watched) = (false, Vec::new()));
        let mut frames = self.context.frames.clone();
        let mut ended = false;
        let mut fetching: Option<Fetching> = None;
        // Before the keys there is nothing by which a message could be judged: the broker keeps it.
        let mut reads = false;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if fetching.is_none() && due(self.asked, !self.parked.is_empty(), self.context.clock.now()) {
                self.asked = Some((self.context.clock.now(), false));
                fetching = Some(Box::pin(keys::read(self.link.keys.clone(), self.http.clone())));
            }
            tokio::select! {
                what = heard.recv(), if reads => match what {
                    Some(what) => self.hear(role, what).await,
                    None => return,
                },
                changed = frames.changed(), if !ended => {
                    let frame = frames.borrow_and_update().clone();
                    ended = changed.is_err();
                    if let Some(frame) = frame.filter(|_| !ended) {
                        role.cycle(self, &frame);
                    }
                }
                came = arrival(&mut fetching), if fetching.is_some() => {
                    (fetching, reads) = (None, true);
                    self.keys_came(role, came).await;
                }
                _ = looks.tick() => role.tick(self),
            }
        }
    }

    async fn hear<R: Role>(&mut self, role: &mut R, what: Heard) {
        let name = self.context.name.clone();
        match what {
            Heard::Up(kept) => {
                (self.up, self.trouble) = (true, false);
                self.note(|link| link.connected = true);
                info!(source = &*name, "the broker at {} is connected", self.link.host);
                if !kept {
                    self.context.desk.miss(self.context.source);
                    self.hole = !self.parked.is_empty();
                    info!(source = &*name, "{HOLE}: what the other side says next counts");
                    self.context.desk.complain(self.context.source, HOLE.into());
                }
                if self.client.try_subscribe_many(role.topics(&self.link.partner)).is_err() {
                    warn!(source = &*name, "the broker takes nothing from us");
                }
                role.connected(self);
            }
            Heard::Subscribed(allowed) => {
                self.subscribed = allowed;
                if allowed {
                    self.sign_of_life::<R>();
                } else {
                    warn!(source = &*name, "the broker does not let us read what the other side says");
                }
            }
            Heard::Alive => self.sign_of_life::<R>(),
            Heard::Message(message) => self.message(role, message).await,
            Heard::Lost(words) => {
                (self.up, self.subscribed) = (false, false);
                self.note(|link| link.connected = false);
                if std::mem::replace(&mut self.trouble, true) {
                    debug!(source = &*name, "the broker is not connected: {words}");
                } else {
                    warn!(
                        source = &*name,
                        "the broker at {} is not connected: {words}; it is tried again, once a minute at last",
                        self.link.host
                    );
                }
            }
        }
    }

    /// For metrics and alarms.
    pub(super) fn note(&self, note: impl FnOnce(&mut link::Link)) {
        self.context.desk.link(self.context.source, note);
    }

    /// Counts what became of a message.
    pub(super) fn count(&self, came: Came) {
        self.note(|link| link.count(came));
    }

    /// An order is in force by a message.
    pub(super) fn taken(&self) {
        self.count(Came::Taken);
        self.note(|link| link.listed = Some(self.context.clock.now()));
    }

    fn sign_of_life<R: Role>(&self) {
        if R::BROKER_SPEAKS && self.up && self.subscribed {
            self.context.desk.heartbeat(self.context.source);
        }
    }

    async fn message<R: Role>(&mut self, role: &mut R, message: Publish) {
        let wall = self.context.desk.wall();
        match role.look(&mut self.gate, &message.payload, &self.keys, wall) {
            Ok(Answer::Again) => self.count(Came::Again),
            Ok(Answer::New(said)) => role.obey(self, said).await,
            Err(Refused::Signature(JwsError::UnknownKey(_)))
                if self.gate.may_wait(&message.payload, wall) =>
            {
                // Confirmed when it was looked at again.
                let parked = Parked { message, at: self.context.clock.now(), wall };
                if let Some(oldest) = self.parked.put(parked) {
                    self.count(Came::Crowded);
                    self.refuse("a message is refused: too many wait for a key that is not known");
                    self.confirm(&oldest.message);
                }
                return;
            }
            Err(refused) => self.refused(&refused).await,
        }
        self.confirm(&message);
    }

    async fn refused(&mut self, refused: &Refused) {
        self.count(refused.came());
        if refused.missed() {
            self.miss(&refused.to_string()).await;
        } else {
            self.refuse(&refused.to_string());
        }
    }

    /// What the other side did sign is not obeyed, and may have asked for less: until they are heard anew nothing says that the source is.
    pub(super) async fn miss(&mut self, words: &str) {
        self.context.desk.miss(self.context.source);
        let news = self.gate.news();
        if self.context.desk.remember(self.context.source, news).await.is_err() {
            // The configuration was read anew without this source; the task is about to end.
            return;
        }
        self.refuse(words);
    }

    fn confirm(&self, message: &Publish) {
        if self.client.try_ack(message).is_err() {
            debug!(source = &*self.context.name, "a message could not be confirmed: it will come again");
        }
    }

    async fn keys_came<R: Role>(&mut self, role: &mut R, came: Result<KeySet, String>) {
        let name = self.context.name.clone();
        match came {
            Ok(keys) => {
                (self.keys, self.keyless) = (keys, false);
                self.asked = self.asked.map(|(at, _)| (at, true));
            }
            // Those that are known stay, and what waits goes on to.
            Err(words) if std::mem::replace(&mut self.keyless, true) => debug!(source = &*name, "{words}"),
            Err(words) => warn!(source = &*name, "{words}; tried again every few seconds"),
        }
        let Some((asked, true)) = self.asked else { return };
        let wall = self.context.desk.wall();
        for parked in self.parked.take() {
            match role.look(&mut self.gate, &parked.message.payload, &self.keys, parked.judged_at(wall)) {
                Ok(Answer::Again) => self.count(Came::Again),
                Ok(Answer::New(said)) => role.obey(self, said).await,
                // It came when these keys were on their way already.
                Err(Refused::Signature(JwsError::UnknownKey(_))) if parked.at > asked => {
                    self.parked.put(parked);
                    continue;
                }
                Err(refused) => self.refused(&refused).await,
            }
            self.confirm(&parked.message);
        }
        if std::mem::take(&mut self.hole) {
            self.context.desk.miss(self.context.source);
        }
    }

    /// A message is not obeyed: the source is degraded until one is, and the log says why, though not of each.
    fn refuse(&mut self, words: &str) {
        self.context.desk.complain(self.context.source, words.into());
        if self.refusals.take(self.context.clock.now()) {
            let quiet = std::mem::take(&mut self.quiet);
            warn!(source = &*self.context.name, quiet, "{words}; what was in force stays");
        } else {
            self.quiet = self.quiet.saturating_add(1);
        }
    }

    /// What stands of the source; `None` when the configuration was read anew without it.
    pub(super) fn standing(&self) -> Option<Standing> {
        let (desk, source) = (&self.context.desk, self.context.source);
        let (glance, site) = desk.glance(source).zip(desk.site_of(source))?;
        let orders = glance
            .held
            .iter()
            .filter(|held| {
                held.withdrawn.is_none() && matches!(glance.phase(held), Phase::Ahead | Phase::Acting)
            })
            .filter_map(|held| {
                let circuit = keep::moved(&glance.site, &site, held.order.circuit)?;
                Some(Order { circuit, ..held.order.clone() })
            })
            .collect();
        Some(Standing { glance, site, orders })
    }

    /// Says in the log that what was obeyed is not on disk, where it is not.
    pub(super) fn warn_unless_saved(&self, event: &str) {
        if !self.context.desk.is_saved(self.context.source) {
            warn!(
                source = &*self.context.name,
                event, "it is obeyed and not on disk yet: a restart before it is forgets it; check the disk"
            );
        }
    }

    /// Signs and sends; tells whether there was room.
    pub(super) fn send(&self, what: Sent, data: &Value, correlation: Option<&str>, trace: &Trace) -> bool {
        let Ok(signed) = self.signer.sign(data.to_string().as_bytes()) else { return false };
        let id = uuid(rand::random());
        let message = Outgoing {
            what,
            identity: &self.link.identity,
            id: &id,
            time: self.context.desk.wall(),
            correlation,
            trace,
            data: &signed,
        };
        let quality = match what {
            Sent::Status => QoS::AtLeastOnce,
            Sent::Breach | Sent::Enforcement => QoS::ExactlyOnce,
        };
        let topic = what.topic(&self.link.identity);
        let sent = self.client.try_publish(topic, quality, false, message.write()).is_ok();
        if sent {
            self.note(|link| {
                let count = match what {
                    Sent::Status => &mut link.states_sent,
                    Sent::Breach => &mut link.alerts_sent,
                    Sent::Enforcement => &mut link.reports_sent,
                };
                *count = count.saturating_add(1);
            });
        }
        sent
    }
}

/// The keys that are on their way; without any it does not end.
async fn arrival(fetching: &mut Option<Fetching>) -> Result<KeySet, String> {
    match fetching {
        Some(keys) => keys.as_mut().await,
        None => std::future::pending().await,
    }
}
