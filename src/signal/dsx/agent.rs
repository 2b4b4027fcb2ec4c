//! The agent: hears the partner, hands over what they may order, and tells them what comes of it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use rumqttc::{AsyncClient, Publish, QoS};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, info, warn};

use super::admit::{Admitted, Answer, Gate, Refused, Rules};
use super::breach::{Breach, Watch, alert, hints};
use super::jws::{JwsError, KeySet, Signer};
use super::keys::{self, Tokens};
use super::message::{Outgoing, Sent, Trace, target_topic, uuid};
use super::park::{Parked, Parking, due};
use super::plan::{Surroundings, Told, binding, orders, told};
use super::session::{Driver, Heard, options};
use super::settings::{Account, Settings};
use super::tell::{Event, Feed, Metadata, limit, look, status};
use crate::clock::Moment;
use crate::control::frame::Frame;
use crate::control::signal::book::{Held, MOST_ORDERS, Phase};
use crate::control::signal::{Doubt, Order};
use crate::control::site::CircuitId;
use crate::rate::Bucket;
use crate::signal::link::{Came, Exceeded, Link};
use crate::signal::{Context, List, keep};

/// Messages that may wait to be sent.
const QUEUE: usize = 256;
/// Messages that may wait to be looked at.
const INBOX: usize = 32;
/// Time between two looks at what is due.
const LOOK: Duration = Duration::from_secs(1);
/// Alerts, and answers, that may wait for the broker.
const MOST_UNTOLD: usize = 32;
/// Refusals that are told at once in the log, and for each second on and on.
const REFUSALS: (u32, f64) = (5, 1.0 / 60.0);
/// Wait before what cannot be prepared is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// Why a source is degraded whose broker has no session of ours.
const HOLE: &str = "the broker has kept nothing for us";

/// Keys that are on their way.
type Fetching = Pin<Box<dyn Future<Output = Result<KeySet, String>> + Send>>;

/// Runs until it is dropped.
pub async fn run(settings: Settings, context: Context) {
    let signer = loop {
        match Signer::new(&settings.signing_key, &settings.signing_key_id) {
            Ok(signer) => break signer,
            Err(error) => warn!(source = &*context.name, "the signing key cannot be used: {error}"),
        }
        sleep(AGAIN).await;
    };
    let options = loop {
        match options(&settings) {
            Ok(options) => break options,
            Err(error) => warn!(source = &*context.name, "TLS to the broker cannot be prepared: {error}"),
        }
        sleep(AGAIN).await;
    };
    let http = keys::client(&context.name, &settings).await;
    let tokens = match &settings.account {
        Account::Token(account) => Some(Tokens::new(account.clone(), http.clone(), context.clock)),
        Account::Certificate | Account::Login(..) => None,
    };
    let (client, events) = AsyncClient::new(options, QUEUE);
    let (to, heard) = mpsc::channel(INBOX);
    let driver = Driver { events, to, tokens, client_id: settings.client_id.clone(), clock: context.clock };
    let mut agent = Agent::new(settings, context, signer, client, http);
    // Neither ends before the other is dropped.
    tokio::join!(driver.run(), agent.run(heard));
}

struct Agent {
    settings: Settings,
    context: Context,
    signer: Signer,
    client: AsyncClient,
    http: Client,
    gate: Gate,
    keys: KeySet,
    /// When the keys were asked for last, and whether they came.
    asked: Option<(Moment, bool)>,
    /// Messages that are signed with a key that is not known yet.
    parked: Parking<Publish>,
    /// It was told that the keys do not come.
    keyless: bool,
    feeds: Vec<Feed>,
    watches: Vec<Watch>,
    /// Alerts that could not be handed to the broker.
    untold: VecDeque<Value>,
    /// Lists that are in force and were not answered yet: by what the partner knows each, and its trace.
    unanswered: VecDeque<(String, Option<Trace>)>,
    up: bool,
    subscribed: bool,
    /// What waits for a key came before the broker forgot our session.
    hole: bool,
    /// It was told that there is no connection.
    trouble: bool,
    refusals: Bucket,
    /// Refusals that were not told in the log.
    quiet: u64,
    next_status: Moment,
}

impl Agent {
    fn new(settings: Settings, context: Context, signer: Signer, client: AsyncClient, http: Client) -> Self {
        let rules = Rules {
            partner: &settings.partner,
            identity: &settings.identity,
            oldest: settings.oldest,
            require_iat: settings.require_iat,
        };
        // What was verified before a restart is not obeyed again after it.
        let gate = Gate::new(&rules, context.desk.remembered(context.source));
        let site = context.desk.site();
        let feed = |(tag, circuit): (&String, &CircuitId)| {
            let maximum = context.desk.nameplate(*circuit, context.place.scope);
            Feed::new(tag, *circuit, Metadata::of(&site, *circuit, context.place.scope, maximum))
        };
        let feeds: Vec<Feed> = settings.feeds.tags.iter().map(feed).collect();
        let watch = |_: &Feed| Watch::new(settings.breach_over, settings.breach_after);
        let watches = feeds.iter().map(watch).collect();
        Self {
            next_status: context.clock.now(),
            gate,
            keys: KeySet::none(),
            asked: None,
            parked: Parking::default(),
            keyless: false,
            feeds,
            watches,
            untold: VecDeque::new(),
            unanswered: VecDeque::new(),
            up: false,
            subscribed: false,
            hole: false,
            trouble: false,
            refusals: Bucket::new(REFUSALS.0, REFUSALS.1),
            quiet: 0,
            settings,
            context,
            signer,
            client,
            http,
        }
    }

    /// Until nobody speaks any more.
    async fn run(&mut self, mut heard: mpsc::Receiver<Heard>) {
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
                fetching = Some(Box::pin(keys::read(self.settings.keys.clone(), self.http.clone())));
            }
            tokio::select! {
                what = heard.recv(), if reads => match what {
                    Some(what) => self.hear(what).await,
                    None => return,
                },
                changed = frames.changed(), if !ended => {
                    let frame = frames.borrow_and_update().clone();
                    ended = changed.is_err();
                    if let Some(frame) = frame.filter(|_| !ended) {
                        self.cycle(&frame);
                    }
                }
                came = arrival(&mut fetching), if fetching.is_some() => {
                    (fetching, reads) = (None, true);
                    self.keys_came(came).await;
                }
                _ = looks.tick() => {
                    let targets = self.targets();
                    self.statuses(&targets);
                }
            }
        }
    }

    async fn hear(&mut self, what: Heard) {
        let name = self.context.name.clone();
        match what {
            Heard::Up(kept) => {
                (self.up, self.trouble) = (true, false);
                self.note(|link| link.connected = true);
                info!(source = &*name, "the broker at {} is connected", self.settings.host);
                if !kept {
                    self.context.desk.miss(self.context.source);
                    self.hole = !self.parked.is_empty();
                    info!(source = &*name, "{HOLE}: the next list of targets counts");
                    self.context.desk.complain(self.context.source, HOLE.into());
                }
                let topic = target_topic(&self.settings.partner);
                if self.client.try_subscribe(topic, QoS::AtLeastOnce).is_err() {
                    warn!(source = &*name, "the broker takes nothing from us");
                }
                self.next_status = self.context.clock.now();
                self.flush();
                let targets = self.targets();
                self.statuses(&targets);
            }
            Heard::Subscribed(allowed) => {
                self.subscribed = allowed;
                if allowed {
                    self.sign_of_life();
                } else {
                    warn!(source = &*name, "the broker does not let us read the targets of the partner");
                }
            }
            Heard::Alive => self.sign_of_life(),
            Heard::Message(message) => self.message(message).await,
            Heard::Lost(words) => {
                (self.up, self.subscribed) = (false, false);
                self.note(|link| link.connected = false);
                if std::mem::replace(&mut self.trouble, true) {
                    debug!(source = &*name, "the broker is not connected: {words}");
                } else {
                    warn!(
                        source = &*name,
                        "the broker at {} is not connected: {words}; it is tried again, once a minute at last",
                        self.settings.host
                    );
                }
            }
        }
    }

    /// For metrics and alarms.
    fn note(&self, note: impl FnOnce(&mut Link)) {
        self.context.desk.link(self.context.source, note);
    }

    fn count(&self, came: Came) {
        self.note(|link| link.count(came));
    }

    fn sign_of_life(&self) {
        if self.up && self.subscribed {
            self.context.desk.heartbeat(self.context.source);
        }
    }

    async fn message(&mut self, message: Publish) {
        let wall = self.context.desk.wall();
        match self.gate.look(&message.payload, &self.keys, wall) {
            Ok(Answer::Again) => self.count(Came::Again),
            Ok(Answer::Targets(list)) => self.obey(list).await,
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

    /// What the partner did sign is not obeyed, and may have asked for less: until another list is in force nothing says that the source
    /// is heard.
    async fn miss(&mut self, words: &str) {
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

    async fn keys_came(&mut self, came: Result<KeySet, String>) {
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
            match self.gate.look(&parked.message.payload, &self.keys, parked.judged_at(wall)) {
                Ok(Answer::Again) => self.count(Came::Again),
                Ok(Answer::Targets(list)) => self.obey(list).await,
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

    /// Hands a list over to the desk, as a whole.
    async fn obey(&mut self, list: Admitted) {
        let (desk, source) = (self.context.desk.clone(), self.context.source);
        let now = desk.wall();
        let Some((glance, site)) = desk.glance(source).zip(desk.site_of(source)) else { return };
        let stands = |held: &&Held| told(held, glance.phase(held)).is_some();
        let standing: Vec<Order> = glance
            .held
            .iter()
            .filter(stands)
            .filter_map(|held| {
                let circuit = keep::moved(&glance.site, &site, held.order.circuit)?;
                Some(Order { circuit, ..held.order.clone() })
            })
            .collect();
        let planned = {
            let scope = self.context.place.scope;
            let believed = |circuit: CircuitId| desk.believed(circuit, scope);
            let around = Surroundings {
                feeds: &self.settings.feeds,
                scope,
                believed: &believed,
                now,
                standing: &standing,
            };
            orders(&list, &around)
        };
        let orders = match planned {
            Ok(orders) => orders,
            Err(error) => {
                self.count(Came::Unplanned);
                return self.miss(&error.to_string()).await;
            }
        };
        let occupied = glance.held.iter().filter(|held| glance.phase(held) != Phase::Over).count();
        let new = orders.iter().filter(|order| glance.find(&order.id).is_none()).count();
        if occupied.saturating_add(new) > MOST_ORDERS {
            self.count(Came::Unplanned);
            return self
                .miss("a list of targets is refused: too much of the lists before it has not ended yet")
                .await;
        }
        let mut concerned: Vec<CircuitId> = self.targets().iter().map(|told| told.circuit).collect();
        let ahead = list.sent.since(now);
        desk.doubt(source, if ahead.is_zero() { Doubt::None } else { Doubt::Off(ahead) });
        let caps = orders.len();
        match desk.list(source, List { orders, remember: self.gate.news(), ..List::default() }).await {
            Ok(answers) => {
                if let Some(refusal) = answers.iter().find_map(|answer| answer.outcome.as_ref().err()) {
                    desk.miss(source);
                    warn!(source = &*self.context.name, "a target is not obeyed: {refusal}");
                }
            }
            // The configuration was read anew without this source; the task is about to end.
            Err(_) => return,
        }
        self.count(Came::Taken);
        self.note(|link| link.listed = Some(self.context.clock.now()));
        info!(source = &*self.context.name, event = %list.id, caps, "a list of load targets is in force");
        if !desk.is_saved(source) {
            warn!(
                source = &*self.context.name, event = %list.id,
                "the list is obeyed and not on disk yet: a restart before it is forgets it; check the disk"
            );
        }
        let targets = self.targets();
        concerned.extend(targets.iter().map(|told| told.circuit));
        // A list that lifts what was never set is answered for the whole site.
        concerned.push(self.settings.feeds.whole);
        for feed in self.feeds.iter_mut().filter(|feed| concerned.contains(&feed.circuit)) {
            feed.push(Event::TargetSet);
        }
        if self.unanswered.len() >= MOST_UNTOLD {
            self.unanswered.pop_front();
        }
        self.unanswered.push_back((list.correlation, list.trace));
        self.statuses(&targets);
    }

    /// The targets of the partner that are known, as what is on disk has them.
    fn targets(&self) -> Vec<Told> {
        let Some(glance) = self.context.desk.glance(self.context.source) else { return Vec::new() };
        glance.held.iter().filter_map(|held| told(held, glance.phase(held))).collect()
    }

    /// A cycle has ended: what is to be told of it?
    fn cycle(&mut self, frame: &Frame) {
        let (now, wall) = (self.context.clock.now(), self.context.desk.wall());
        let scope = self.context.place.scope;
        let targets = self.targets();
        let mut alerts = Vec::new();
        for (feed, watch) in self.feeds.iter_mut().zip(&mut self.watches) {
            let source = self.context.source.position();
            let Some(view) = look(frame, source, feed.circuit, scope, now) else { continue };
            feed.follow(view, now, wall);
            let target = binding(&targets, feed.circuit, false);
            let id = || uuid(rand::random());
            if let Some(breach) = watch.follow(view.measured, target, (now, wall), id) {
                let excess = breach.measured - limit(breach.cap, 0.0);
                let hints = hints(frame, feed.circuit, excess);
                warn!(
                    source = &*self.context.name, feed = feed.tag, breach = breach.id, measured = %breach.measured,
                    cap = %breach.cap, "a load target is exceeded, or no more: {:?}", breach.status
                );
                alerts.push(alert(&feed.tag, &breach, &hints));
            }
        }
        let open = |watch: &Watch| {
            let exceeded =
                |it: &Breach| Exceeded { cap: it.cap, measured: it.measured, critical: it.critical };
            watch.open().map(exceeded)
        };
        let circuit = |feed: &Feed| -> Option<Arc<str>> {
            Some(frame.site.circuits.get(feed.circuit.0)?.name.as_str().into())
        };
        let each = self.feeds.iter().zip(&self.watches);
        let watched: Vec<_> = each.filter_map(|(feed, watch)| Some((circuit(feed)?, open(watch)))).collect();
        self.note(|link| link.watched = watched);
        for alert in alerts {
            if self.untold.len() >= MOST_UNTOLD {
                self.untold.pop_front();
            }
            self.untold.push_back(alert);
        }
        self.flush();
        self.statuses(&targets);
    }

    /// Sends the alerts that wait, while the broker takes them.
    fn flush(&mut self) {
        while self.up
            && let Some(alert) = self.untold.pop_front()
        {
            let trace = Trace::new(rand::random(), rand::random());
            if !self.send(Sent::Breach, &alert, None, &trace) {
                self.untold.push_front(alert);
                return;
            }
        }
    }

    /// Tells how the feeds stand, when one of them has news, a list waits to be answered, or it is time. What the broker does
    /// not take waits.
    fn statuses(&mut self, targets: &[Told]) {
        let now = self.context.clock.now();
        let mut due = now >= self.next_status;
        while self.up && (due || !self.unanswered.is_empty() || self.feeds.iter().any(Feed::has_news)) {
            let data = status(&self.feeds, targets, self.settings.breach_over, self.context.desk.wall());
            let span = rand::random();
            let answered = self.unanswered.front();
            let trace = match answered.and_then(|(_, trace)| trace.as_ref()) {
                Some(trace) => trace.next(span),
                None => Trace::new(rand::random(), span),
            };
            let correlation = answered.map(|(correlation, _)| correlation.as_str());
            if !self.send(Sent::Status, &data, correlation, &trace) {
                return;
            }
            self.unanswered.pop_front();
            self.feeds.iter_mut().for_each(Feed::was_told);
            due = false;
            self.next_status = now + self.settings.status_every;
        }
    }

    /// Signs and sends; tells whether there was room.
    fn send(&self, what: Sent, data: &Value, correlation: Option<&str>, trace: &Trace) -> bool {
        let Ok(signed) = self.signer.sign(data.to_string().as_bytes()) else { return false };
        let id = uuid(rand::random());
        let message = Outgoing {
            what,
            identity: &self.settings.identity,
            id: &id,
            time: self.context.desk.wall(),
            correlation,
            trace,
            data: &signed,
        };
        let quality = match what {
            Sent::Status => QoS::AtLeastOnce,
            Sent::Breach => QoS::ExactlyOnce,
        };
        let topic = what.topic(&self.settings.identity);
        let sent = self.client.try_publish(topic, quality, false, message.write()).is_ok();
        if sent {
            self.note(|link| {
                let count = match what {
                    Sent::Status => &mut link.states_sent,
                    Sent::Breach => &mut link.alerts_sent,
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
