//! One connection to the broker: connected, told and heard, until it is lost or not wanted any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, ConnectReturnCode, Filter, LastWill, Packet, Publish, RetainForwardRule,
    SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::outbox::Outbox;
use super::{Around, Tally, discovery, one_more, topics};
use crate::broker::{self, CONNECT_SECONDS, GOODBYE, KEEP_ALIVE, SILENCE};
use crate::config::Mqtt;
use crate::rate::Bucket;
use crate::tls;
use crate::web::api::message::{Command, Message};

/// The largest packet that the broker may send, in bytes; more than an order may have, so that who sends more is told.
const LARGEST_PACKET: u32 = 64 * 1024;
/// Messages that may wait to be sent: more than there are topics.
const QUEUE: usize = 2_048;
/// Messages that may wait to be looked at.
const INBOX: usize = 32;
/// Messages that the broker has not confirmed.
const IN_FLIGHT: u16 = 32;
/// Orders and heartbeats at once, and for each second on and on: as a token has over HTTP.
const MESSAGES: (u32, f64) = (40, 10.0);

/// Why a connection ended.
#[derive(Debug)]
pub enum End {
    /// The daemon ends.
    Cancelled,
    /// The configuration has changed.
    Changed,
    /// It could not be had, or was lost; in words.
    Lost(String),
}

/// What the connection has to say.
enum Heard {
    Up,
    Message(Box<Publish>),
    /// A subscription was refused.
    NotAllowed,
}

/// Connects once, and keeps at it until the end.
pub async fn session(
    plan: &Arc<Mqtt>,
    around: &Around,
    tally: &Arc<Tally>,
    plans: &mut watch::Receiver<Option<Arc<Mqtt>>>,
    cancel: &CancellationToken,
) -> End {
    let options = match options(plan) {
        Ok(options) => options,
        Err(error) => return End::Lost(error.to_string()),
    };
    let (client, events) = AsyncClient::new(options, QUEUE);
    let (to, mut heard) = mpsc::channel(INBOX);
    let mut driver = tokio::spawn(drive(events, to));
    let mut link = Link {
        plan: plan.clone(),
        around: around.clone(),
        tally: tally.clone(),
        client,
        outbox: Outbox::default(),
        bucket: Bucket::new(MESSAGES.0, MESSAGES.1),
        dropped: 0,
        looked_for_leftovers: false,
    };
    let mut ticks = interval(plan.period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut up = false;
    loop {
        tokio::select! {
            ended = &mut driver => return End::Lost(ended.unwrap_or_else(|_| String::from("it was given up"))),
            Some(what) = heard.recv() => match what {
                Heard::Up => {
                    up = true;
                    tally.connected.store(true, Ordering::Relaxed);
                    tracing::info!("the broker of MQTT at {}:{} is connected", plan.host, plan.port);
                    link.begin();
                    link.tell().await;
                    ticks.reset();
                }
                Heard::Message(message) => link.message(&message).await,
                Heard::NotAllowed => tracing::warn!(
                    "the broker of MQTT does not let us read all that we ask for; see which topics the guide names"
                ),
            },
            _ = ticks.tick(), if up => link.tell().await,
            // Whoever could change it has gone with the daemon.
            changed = plans.changed() => {
                link.goodbye(driver, up).await;
                return if changed.is_ok() { End::Changed } else { End::Cancelled };
            }
            () = cancel.cancelled() => {
                link.goodbye(driver, up).await;
                return End::Cancelled;
            }
        }
    }
}

fn options(plan: &Mqtt) -> Result<MqttOptions, tls::Unusable> {
    let mut options = MqttOptions::new(&*plan.client_id, &*plan.host, plan.port);
    options.set_keep_alive(KEEP_ALIVE);
    options.set_clean_start(true);
    options.set_connection_timeout(CONNECT_SECONDS);
    options.set_outgoing_inflight_upper_limit(IN_FLIGHT);
    let mut properties = ConnectProperties::new();
    // What comes while we are away is not kept for us: it would be old.
    properties.session_expiry_interval = Some(0);
    properties.max_packet_size = Some(LARGEST_PACKET);
    properties.receive_maximum = Some(IN_FLIGHT);
    options.set_connect_properties(properties);
    let will = LastWill::new(topics::availability(plan), "offline", QoS::AtLeastOnce, true, None);
    options.set_last_will(will);
    if let Some((name, password)) = &plan.login {
        options.set_credentials(&**name, password.expose());
    }
    if let Some(tls) = &plan.tls {
        options.set_transport(broker::transport(tls)?);
    }
    Ok(options)
}

/// Keeps the connection going, until it is lost; says why in words.
async fn drive(mut events: EventLoop, to: mpsc::Sender<Heard>) -> String {
    loop {
        let what = match timeout(SILENCE, events.poll()).await {
            Err(_) => return String::from("it takes nothing any more"),
            Ok(Err(error)) => return words(&error),
            Ok(Ok(Event::Outgoing(_))) => continue,
            Ok(Ok(Event::Incoming(packet))) => match packet {
                Packet::ConnAck(_) => Heard::Up,
                Packet::Publish(message) => Heard::Message(Box::new(message)),
                Packet::SubAck(answer) => {
                    let allowed =
                        |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
                    if answer.return_codes.iter().all(allowed) {
                        continue;
                    }
                    Heard::NotAllowed
                }
                _ => continue,
            },
        };
        // While it is full the broker waits, and we with it.
        if to.send(what).await.is_err() {
            return String::from("nobody listens any more");
        }
    }
}

/// What went wrong, for whoever looks after the broker. No error has the password in it.
fn words(error: &ConnectionError) -> String {
    let words = match error {
        ConnectionError::ConnectionRefused(ConnectReturnCode::UnsupportedProtocolVersion) => {
            String::from("it does not speak MQTT 5 (mosquitto does from 1.6 on)")
        }
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => String::from("it does not let us in; check `credentials` and the client certificate"),
        ConnectionError::ConnectionRefused(code) => format!("it refuses the connection ({code:?})"),
        ConnectionError::Timeout(_) | ConnectionError::MqttState(StateError::AwaitPingResp) => {
            String::from("it does not answer")
        }
        other => other.to_string(),
    };
    broker::shown(&words)
}

/// The two ends of what is said on a connection.
struct Link {
    plan: Arc<Mqtt>,
    around: Around,
    tally: Arc<Tally>,
    client: AsyncClient,
    outbox: Outbox,
    bucket: Bucket,
    /// Messages that were not looked at since that was last said.
    dropped: u64,
    looked_for_leftovers: bool,
}

impl Link {
    /// Says that the daemon is there, and asks for orders where some may come.
    fn begin(&mut self) {
        self.send(&topics::availability(&self.plan), QoS::AtLeastOnce, true, "online");
        if self.plan.orders.is_none() {
            return;
        }
        let filter = |command: Command| Filter {
            path: self.command_topic(command),
            qos: QoS::AtLeastOnce,
            nolocal: true,
            // What the broker has kept is not asked for; a flag that is seen all the same is not obeyed.
            preserve_retain: true,
            retain_forward_rule: RetainForwardRule::Never,
        };
        let filters: Vec<Filter> = Command::ALL.into_iter().map(filter).collect();
        if self.client.try_subscribe_many(filters).is_err() {
            one_more(&self.tally.publishes_failed);
        }
    }

    fn command_topic(&self, command: Command) -> String {
        format!("{}/limit/{}", self.plan.prefix, command.name())
    }

    /// Hands a message over; tells whether there was room.
    fn send(&self, topic: &str, qos: QoS, retain: bool, payload: &str) -> bool {
        let sent = self.client.try_publish(topic, qos, retain, payload.to_owned()).is_ok();
        one_more(if sent { &self.tally.published } else { &self.tally.publishes_failed });
        sent
    }

    /// Tells what is news.
    async fn tell(&mut self) {
        if let Some(dropped) = Some(std::mem::take(&mut self.dropped)).filter(|dropped| *dropped > 0) {
            let answer = json!({
                "status": 429,
                "title": format!("{dropped} messages were not looked at"),
                "detail": format!("send at most {} for each second; orders need to be told once", MESSAGES.1),
            });
            tracing::warn!(dropped, "too many messages of MQTT came: some were not looked at");
            self.send(&self.result_topic(), QoS::AtLeastOnce, false, &answer.to_string());
        }
        let (exporter, alarms, plan) =
            (self.around.exporter.clone(), self.around.alarms.clone(), self.plan.clone());
        let mut counters = self.tally.counters();
        let made = tokio::task::spawn_blocking(move || {
            let all = topics::all(&exporter, &alarms, &plan, &mut counters);
            (all, counters)
        });
        let Ok((all, counters)) = made.await else { return };
        self.tally.keep(counters);
        let Some(all) = all else { return };
        let (client, tally, announced) = (&self.client, &self.tally, self.plan.discovery_prefix.as_str());
        self.outbox.tell(&all, |parcel| {
            // A state is told again and again; what is told once is told for sure.
            let once = parcel.payload.is_empty() || parcel.topic.starts_with(announced);
            let qos = if once { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            let sent = client.try_publish(parcel.topic, qos, true, parcel.payload.to_owned()).is_ok();
            one_more(if sent { &tally.published } else { &tally.publishes_failed });
            sent
        });
        if !std::mem::replace(&mut self.looked_for_leftovers, true) {
            self.look_for_leftovers();
        }
    }

    /// Asks for what the broker has kept of us, to take away what is not there any more: another configuration may have
    /// left it.
    fn look_for_leftovers(&self) {
        let kinds = ["circuits", "meters", "signals"].map(|kind| format!("{}/{kind}/+", self.plan.prefix));
        let announced = discovery::config_topic(&self.plan, "+", "+");
        let filter = |path: String| Filter {
            path,
            qos: QoS::AtMostOnce,
            nolocal: true,
            preserve_retain: false,
            retain_forward_rule: RetainForwardRule::OnEverySubscribe,
        };
        let filters: Vec<Filter> = kinds.into_iter().chain([announced]).map(filter).collect();
        if self.client.try_subscribe_many(filters).is_err() {
            one_more(&self.tally.publishes_failed);
        }
    }

    fn result_topic(&self) -> String {
        format!("{}/limit/result", self.plan.prefix)
    }

    async fn message(&mut self, message: &Publish) {
        let Ok(topic) = std::str::from_utf8(&message.topic) else { return };
        let command = Command::ALL.into_iter().find(|command| self.command_topic(*command) == topic);
        let (Some(command), Some(orders)) = (command, self.plan.orders.clone()) else {
            // Nobody else writes at our topics: what is there and is not ours any more was left behind.
            if message.retain && !message.payload.is_empty() && !self.outbox.knows(topic) {
                self.send(topic, QoS::AtLeastOnce, true, "");
            }
            return;
        };
        if message.payload.is_empty() && message.retain {
            // Somebody takes away what the broker has kept there.
            return;
        }
        if !self.bucket.take(self.around.clock.now()) {
            self.dropped = self.dropped.saturating_add(1);
            one_more(&self.tally.dropped);
            return;
        }
        let asked = Message { command, payload: &message.payload, retained: message.retain };
        let answer = self.around.api.message(&orders.source, orders.oldest, asked).await;
        one_more(if answer.is_done() { &self.tally.done } else { &self.tally.refused });
        if let Ok(text) = serde_json::to_string(&answer) {
            self.send(&self.result_topic(), QoS::AtLeastOnce, false, &text);
        }
    }

    /// Says that the daemon goes, and lets that go out.
    async fn goodbye(&self, driver: tokio::task::JoinHandle<String>, up: bool) {
        let abort = driver.abort_handle();
        if up {
            self.send(&topics::availability(&self.plan), QoS::AtLeastOnce, true, "offline");
            // Where it does not go out the broker says so itself.
            let _ = self.client.try_disconnect();
            let _ = timeout(GOODBYE, driver).await;
        }
        abort.abort();
    }
}
