//! What both roles share: the broker, the keys of the other side, what waits for them, and what is sent.

use std::collections::VecDeque;
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
use super::message::{Envelope, Outgoing, Sent, Trace, uuid};
use super::park::{self, Parked, Parking, due};
use super::session::{Driver, Heard, options};
use super::settings::{Account, Link};
use crate::clock::Moment;
use crate::control::frame::Frame;
use crate::control::signal::book::{MOST_ORDERS, Phase};
use crate::control::signal::{Order, Wall};
use crate::control::site::Site;
use crate::rate::Words;
use crate::signal::glance::Glance;
use crate::signal::link::{self, Came};
use crate::signal::{Context, Desk, SourceKey, keep};

/// Messages that may wait to be sent.
const QUEUE: usize = 256;
/// Messages that may wait to be looked at.
const INBOX: usize = 32;
/// What may wait to be told while the broker takes nothing.
const MOST_UNTOLD: usize = 32;
/// Time between two looks at what is due.
const LOOK: Duration = Duration::from_secs(1);
/// Refusals that are told at once in the log, and for each second on and on.
const REFUSALS: (u32, f64) = (5, 1.0 / 60.0);
/// Wait before what cannot be prepared is tried again.
const AGAIN: Duration = Duration::from_secs(60);
/// Why a source is degraded whose broker has no session of ours.
const HOLE: &str = "the broker has kept nothing for us, as at a first connection or where it has forgotten us: what was said before now is not known";

/// Keys that are on their way.
type Fetching = Pin<Box<dyn Future<Output = Result<KeySet, String>> + Send>>;

/// How a gate looks at a message.
pub(super) type Look<T> = fn(&mut Gate, &[u8], &KeySet, Wall) -> Result<Answer<T>, Refused>;

/// How a gate is made: by its rules, and what was verified before a restart, and until when that counts.
pub(super) type Make = fn(&Rules<'_>, Vec<(Arc<str>, u64)>) -> Gate;

/// What one role does with what it hears.
pub(super) trait Role: Send {
    /// What a message says that is to be obeyed.
    type Said: Send;

    /// Whether it counts as a sign of life that the broker lives, since the other side sends none of its own.
    const BROKER_SPEAKS: bool;

    /// Makes the gate.
    const GATE: Make;

    /// Looks at a message.
    const LOOK: Look<Self::Said>;

    /// Where the other side speaks.
    fn topics(&self, partner: &str) -> Vec<SubscribeFilter>;

    /// Does what a message asks for.
    fn obey(&mut self, post: &mut Post, said: Admitted<Self::Said>) -> impl Future<Output = ()> + Send;

    /// The broker is connected.
    fn connected(&mut self, _post: &Post) {}

    /// A cycle has ended.
    fn cycle(&mut self, post: &mut Post, frame: &Frame);

    /// A second has gone by.
    fn tick(&mut self, post: &mut Post);
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
    /// What the broker has not taken yet.
    untold: VecDeque<Untold>,
    /// It was told that the keys do not come.
    keyless: bool,
    subscribed: bool,
    /// What waits for a key came before the broker forgot our session.
    hole: bool,
    /// It was told that there is no connection.
    trouble: bool,
    refusals: Words,
}

/// What waits for the broker.
struct Untold {
    what: Sent,
    data: Value,
    /// The trace of what it answers.
    after: Option<Trace>,
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

/// What stands of a source; `None` when the configuration was read again without it.
pub(super) fn standing(desk: &Desk, source: SourceKey) -> Option<Standing> {
    let (glance, site) = desk.glance(source).zip(desk.site_of(source))?;
    let orders = glance
        .held
        .iter()
        .filter(|held| glance.is_ahead_or_acts(held))
        .filter_map(|held| {
            let circuit = keep::moved(&glance.site, &site, held.order.circuit)?;
            Some(Order { circuit, ..held.order.clone() })
        })
        .collect();
    Some(Standing { glance, site, orders })
}

/// Runs a role until it is dropped. What was verified before a restart is not obeyed again after it.
pub(super) async fn run<R: Role>(link: Link, context: Context, mut role: R) {
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
    let gate = (R::GATE)(&rules, context.desk.remembered(context.source));
    let mut post = Post::new(link, context, gate, signer, (client, http));
    // Neither ends before the other is dropped.
    tokio::join!(driver.run(), post.run(&mut role, heard));
}

impl Post {
    /// Nothing was heard yet, and no key is known.
    fn new(
        link: Link,
        context: Context,
        gate: Gate,
        signer: Signer,
        (client, http): (AsyncClient, Client),
    ) -> Self {
        Self {
            gate,
            link,
            context,
            up: false,
            signer,
            client,
            http,
            keys: KeySet::none(),
            asked: None,
            parked: Parking::default(),
            untold: VecDeque::new(),
            keyless: false,
            subscribed: false,
            hole: false,
            trouble: false,
            refusals: Words::new(REFUSALS.0, REFUSALS.1),
        }
    }

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
                _ = looks.tick() => {
                    role.tick(self);
                    self.flush();
                }
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
                self.flush();
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
        let now = self.context.clock.now();
        // What waits for a key that does not come may ask for less.
        let read = self.parked.oldest().is_none_or(|at| now.since(at) <= park::AGAIN);
        if R::BROKER_SPEAKS && self.up && self.subscribed && read {
            self.context.desk.heartbeat(self.context.source);
        }
    }

    async fn message<R: Role>(&mut self, role: &mut R, message: Publish) {
        let wall = self.context.desk.wall();
        match (R::LOOK)(&mut self.gate, &message.payload, &self.keys, wall) {
            Ok(Answer::Again) => self.count(Came::Again),
            Ok(Answer::New(said)) => role.obey(self, said).await,
            // However old it is: with its key it may turn out to be missed.
            Err(Refused::Signature(JwsError::UnknownKey(_))) => {
                // Confirmed when it was looked at again.
                let asks =
                    !Envelope::read(&message.payload).is_ok_and(|event| event.kind == Sent::Status.kind());
                let parked = Parked { message, at: self.context.clock.now(), wall, asks };
                if let Some(gone) = self.parked.put(parked) {
                    self.count(Came::Crowded);
                    if gone.asks {
                        // Nobody will know any more whether the other side has signed it.
                        self.miss("a message is refused: too many wait for a key that is not known").await;
                    }
                    self.confirm(&gone.message);
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

    /// What the other side did sign is not obeyed, and may have asked for less: until they are heard again nothing says that the source is.
    pub(super) async fn miss(&mut self, words: &str) {
        self.context.desk.miss(self.context.source);
        let news = self.gate.news();
        if self.context.desk.remember(self.context.source, news).await.is_err() {
            // The configuration was read again without this source; the task is about to end.
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
            match (R::LOOK)(&mut self.gate, &parked.message.payload, &self.keys, parked.judged_at(wall)) {
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
        if let Some(quiet) = self.refusals.take(self.context.clock.now()) {
            warn!(source = &*self.context.name, quiet, "{words}; what was in force stays");
        }
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

    /// Sends a message, in its turn; `after` is the trace of what it answers. What the broker does not take waits, the newest
    /// [`MOST_UNTOLD`].
    pub(super) fn tell(&mut self, what: Sent, data: Value, after: Option<Trace>) {
        if self.untold.len() >= MOST_UNTOLD {
            self.untold.pop_front();
        }
        self.untold.push_back(Untold { what, data, after });
        self.flush();
    }

    /// Sends what waits, while the broker takes it.
    fn flush(&mut self) {
        while self.up
            && let Some(next) = self.untold.pop_front()
        {
            if !self.send(next.what, &next.data, None, next.after.as_ref()) {
                self.untold.push_front(next);
                return;
            }
        }
    }

    /// Signs and sends; tells whether there was room. `after` is the trace of what it answers.
    pub(super) fn send(
        &self,
        what: Sent,
        data: &Value,
        correlation: Option<&str>,
        after: Option<&Trace>,
    ) -> bool {
        let span = rand::random();
        let trace = after.map_or_else(|| Trace::new(rand::random(), span), |after| after.next(span));
        let Ok(signed) = self.signer.sign(data.to_string().as_bytes()) else { return false };
        let id = uuid(rand::random());
        let message = Outgoing {
            what,
            identity: &self.link.identity,
            id: &id,
            time: self.context.desk.wall(),
            correlation,
            trace: &trace,
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use rumqttc::MqttOptions;
    use serde_json::json;
    use tokio::sync::watch;

    use super::*;
    use crate::clock::Clock;
    use crate::config::{self, Options, Secrets};
    use crate::control::signal::Doubt;
    use crate::secret::Secret;
    use crate::signal::dsx::admit::FromAgent;
    use crate::signal::dsx::message::{TARGET_SET, Target, agent_source, partner_source};
    use crate::signal::dsx::park::MOST_PARKED;
    use crate::signal::{Kind, Word};

    const SITE: &str = "[site]\nname = \"Mill\"\nmode = \"control\"\n[circuits.pcc]\nother_load = \"1 kW\"\n[limits.rating]\ncircuit = \
                        \"pcc\"\nminers = \"9 kW\"\nclass = \"safety\"\n[groups.hall]\ndriver = \"luxos\"\nmodel = \
                        \"s19k-pro\"\ncircuit = \"pcc\"\naddresses = [\"127.0.0.9\"]\n[signals.grid]\nkind = \"dsx-flex\"\nfail_safe = \
                        \"1 kW\"\nbroker = \"mqtt://127.0.0.1\"\nidentity = \"mill\"\npartner = \"acme\"\npartner_keys_url = \
                        \"https://acme.example/jwks\"\nsigning_key_file = \"dsx.pem\"\nsigning_key_id = \"mill-1\"\n";
    /// 2026-11-30 09:00 UTC.
    const NOW: Wall = Wall::unix_millis(1_796_029_200_000);

    /// A role that takes everything, and does nothing.
    macro_rules! role {
        ($name:ident, $said:ty, $broker_speaks:literal, $gate:path, $look:path) => {
            struct $name;

            impl Role for $name {
                type Said = $said;
                const BROKER_SPEAKS: bool = $broker_speaks;
                const GATE: Make = $gate;
                const LOOK: Look<Self::Said> = $look;

                fn topics(&self, _: &str) -> Vec<SubscribeFilter> {
                    Vec::new()
                }

                async fn obey(&mut self, post: &mut Post, _: Admitted<Self::Said>) {
                    post.taken();
                }

                fn cycle(&mut self, _: &mut Post, _: &Frame) {}
                fn tick(&mut self, _: &mut Post) {}
            }
        };
    }

    role!(Obeys, Vec<Target>, true, Gate::new, Gate::look);
    role!(Hears, FromAgent, false, Gate::of_infra, Gate::look_at_agent);

    /// The post of a source, and the partner: who signs, and their key set.
    fn post() -> (Post, Signer, Result<KeySet, String>) {
        let options = Options { secrets: Secrets::Skip, ..Options::default() };
        let config = config::parse(SITE, Path::new("site.toml"), &options);
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        let Kind::Dsx(settings) = config.signals[1].kind.clone() else { panic!("another kind") };
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
        let coded = STANDARD.encode(document.as_ref());
        let pem = Secret::new(format!("-----BEGIN PRIVATE KEY-----\n{coded}\n-----END PRIVATE KEY-----\n"));
        let point = pair.public_key().as_ref();
        let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        let key =
            json!({ "kty": "EC", "crv": "P-256", "kid": "acme-1", "x": part(1..33), "y": part(33..65) });
        let keys = KeySet::read(json!({ "keys": [key] }).to_string().as_bytes()).unwrap();
        let clock = Clock::start();
        let sources = config.signals.iter().map(|spec| spec.settings.clone()).collect();
        let desk = Desk::new(config.site, sources, clock, Arc::new(|| (NOW, Doubt::None)));
        let context = Context {
            source: desk.source("grid").unwrap(),
            name: "grid".into(),
            place: config.signals[1].place,
            desk,
            clock,
            frames: watch::channel(None).1,
        };
        let link = settings.link;
        let rules = Rules { partner: "acme", identity: "mill", oldest: link.oldest, require_iat: false };
        let gate = (Obeys::GATE)(&rules, Vec::new());
        let (client, _) = AsyncClient::new(MqttOptions::new("mill", "127.0.0.1", 1), QUEUE);
        let own = Signer::new(&pem, "mill-1").unwrap();
        let post =
            Post::new(link, context, gate, own, (client, crate::fetch::client(false, None, LOOK).unwrap()));
        (post, Signer::new(&pem, "acme-1").unwrap(), Ok(keys))
    }

    /// A list that lifts everything, sent so long ago.
    fn list(number: u128, signer: &Signer, ago: Duration) -> Publish {
        let data = json!({ "targets": [{ "interval": {}, "load_constraint": null }] });
        says((number, ago), signer, (&partner_source("acme"), TARGET_SET), &data)
    }

    /// A message, its number and sent so long ago, of that source and kind.
    fn says(
        (number, ago): (u128, Duration),
        signer: &Signer,
        (source, kind): (&str, &str),
        data: &Value,
    ) -> Publish {
        let at = jiff::Timestamp::from_millisecond(NOW.earlier(ago).as_unix_millis()).unwrap();
        let event = json!({
            "specversion": "1.0.2", "id": uuid(number), "source": source, "type": kind,
            "time": at.to_string(), "datacontenttype": "application/json",
            "data": signer.sign(data.to_string().as_bytes()).unwrap(),
        });
        Publish::new("grid/v1/any", QoS::AtLeastOnce, event.to_string())
    }

    fn missed(post: &Post) -> bool {
        post.context.desk.word(post.context.source) == Some(Word::Missed)
    }

    #[tokio::test]
    async fn what_the_broker_does_not_take_waits_and_the_oldest_makes_room() {
        let (mut post, ..) = post();
        let (client, _events) = AsyncClient::new(MqttOptions::new("mill", "127.0.0.1", 1), 2);
        post.client = client;
        let waits = |post: &Post| {
            post.untold.iter().map(|untold| untold.data.as_u64().unwrap()).collect::<Vec<u64>>()
        };
        for number in 0..=32 {
            post.tell(Sent::Breach, json!(number), None);
        }
        assert_eq!(waits(&post), Vec::from_iter(1..=32), "nobody is connected");
        post.up = true;
        post.flush();
        assert_eq!(waits(&post), Vec::from_iter(3..=32), "there is room for two");
        post.tell(Sent::Breach, json!(33), None);
        assert_eq!(waits(&post), Vec::from_iter(3..=33));
    }

    #[tokio::test]
    async fn an_old_message_whose_key_comes_later_is_missed() {
        let (mut post, signer, keys) = post();
        post.asked = Some((post.context.clock.now(), true));
        post.message(&mut Obeys, list(1, &signer, Duration::from_secs(90))).await;
        assert!(!missed(&post), "nobody knows yet who has signed it");
        post.asked = Some((post.context.clock.now(), false));
        post.keys_came(&mut Obeys, keys).await;
        assert!(missed(&post) && post.parked.is_empty());
    }

    #[tokio::test]
    async fn a_message_that_is_pushed_out_before_its_key_came_is_missed() {
        let (mut post, signer, _) = post();
        for number in 0..MOST_PARKED {
            post.message(&mut Obeys, list(number as u128, &signer, Duration::ZERO)).await;
        }
        assert!(!missed(&post));
        post.message(&mut Obeys, list(99, &signer, Duration::ZERO)).await;
        assert!(missed(&post));
    }

    #[tokio::test]
    async fn a_status_that_is_pushed_out_is_not_missed_and_pushes_out_no_alert() {
        let (mut post, signer, _) = post();
        let rules =
            Rules { partner: "acme", identity: "mill", oldest: Duration::from_secs(60), require_iat: false };
        post.gate = (Hears::GATE)(&rules, Vec::new());
        let source = agent_source("acme");
        let says = |number: usize, what: Sent| {
            says((number as u128, Duration::ZERO), &signer, (&source, what.kind()), &json!({}))
        };
        let most = MOST_PARKED;
        post.message(&mut Hears, says(0, Sent::Breach)).await;
        for number in 1..=2 * most {
            post.message(&mut Hears, says(number, Sent::Status)).await;
        }
        assert!(!missed(&post), "statuses ask for nothing");
        for number in 3 * most..4 * most - 1 {
            post.message(&mut Hears, says(number, Sent::Breach)).await;
        }
        post.message(&mut Hears, says(5 * most, Sent::Status)).await;
        assert!(!missed(&post), "an alert pushes out statuses, and a status no alert");
        post.message(&mut Hears, says(6 * most, Sent::Breach)).await;
        assert!(missed(&post));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_lives_is_no_sign_of_life_while_a_list_waits_too_long_for_its_key() {
        let (mut post, signer, _) = post();
        let age = |post: &Post| {
            post.context.desk.look();
            post.context.desk.view(post.context.source).unwrap().age
        };
        (post.up, post.subscribed) = (true, true);
        post.message(&mut Obeys, list(1, &signer, Duration::ZERO)).await;
        tokio::time::advance(park::AGAIN).await;
        post.sign_of_life::<Obeys>();
        assert_eq!(age(&post), Some(Duration::ZERO), "keys are asked for so often");
        tokio::time::advance(Duration::from_secs(1)).await;
        post.sign_of_life::<Obeys>();
        assert_eq!(age(&post), Some(Duration::from_secs(1)));
        post.parked.take();
        post.sign_of_life::<Obeys>();
        assert_eq!(age(&post), Some(Duration::ZERO));
    }
}
