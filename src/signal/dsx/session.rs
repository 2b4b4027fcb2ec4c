//! The connection to the broker: kept up, with a session that outlives it.
//!
//! The session is a lasting one. What the partner sends while the connection is away comes with the next one, late, and the age that
//! is allowed decides about it; with a session that ends it would be lost, and nobody would know. A broker that says that it has kept no
//! session has a hole: nothing is known then of what the partner wants, until they say it.

use std::time::Duration;

use rumqttc::{
    ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions, NetworkOptions, Packet, Publish,
    StateError, SubscribeReasonCode,
};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::keys::Tokens;
use super::message::LARGEST;
use super::settings::{Account, Link};
use crate::broker::{self, CONNECT_SECONDS, FIRST_WAIT, GOOD, KEEP_ALIVE, LONGEST_WAIT, SILENCE};
use crate::clock::{Clock, Moment};
use crate::tls;

/// The largest packet that is read, in bytes: far more than is looked at, for the broker would send it again and again to one that hangs up
/// on it.
const LARGEST_PACKET: usize = 8 * 1024 * 1024;
/// The largest packet that is sent, in bytes.
const LARGEST_OWN: usize = 1024 * 1024;
/// Messages that the broker has not confirmed.
const IN_FLIGHT: u16 = 32;
/// The name that goes with a token (the schema).
const TOKEN_USER: &str = "oauthtoken";

/// What the connection has to say.
#[derive(Debug)]
pub enum Heard {
    /// It is up; whether the broker has kept the session.
    Up(bool),
    /// The broker sends us what we asked for, or does not let us read it.
    Subscribed(bool),
    /// The broker lives.
    Alive,
    /// A message.
    Message(Publish),
    /// It is gone, in words.
    Lost(String),
}

/// How a broker is connected to.
///
/// # Errors
/// A certificate or key cannot be used.
pub fn options(link: &Link) -> Result<MqttOptions, tls::Unusable> {
    let mut options = MqttOptions::new(&*link.client_id, &*link.host, link.port);
    options.set_keep_alive(KEEP_ALIVE);
    options.set_clean_session(false);
    options.set_max_packet_size(LARGEST_PACKET, LARGEST_OWN);
    options.set_inflight(IN_FLIGHT);
    // A message is confirmed when what it orders is on disk.
    options.set_manual_acks(true);
    if let Account::Login(name, password) = &link.account {
        options.set_credentials(name.as_str(), password.expose());
    }
    if let Some(tls) = &link.tls {
        options.set_transport(broker::transport(tls)?);
    }
    Ok(options)
}

/// A message with no more in it than is looked at: one that is too large stays so by a byte. It has memory of its own, and does not hold
/// on to what else came with it.
pub fn bounded(mut message: Publish) -> Publish {
    let kept = message.payload.get(..=LARGEST).unwrap_or(&message.payload).to_vec();
    message.payload = kept.into();
    message
}

/// Keeps the connection up.
pub struct Driver {
    /// What goes on.
    pub events: EventLoop,
    /// Who is told.
    pub to: mpsc::Sender<Heard>,
    /// Where a token comes from, where one is needed.
    pub tokens: Option<Tokens>,
    /// By what the broker knows us.
    pub client_id: String,
    /// The daemon's clock.
    pub clock: Clock,
}

impl Driver {
    /// Until nobody listens any more.
    pub async fn run(mut self) {
        let mut network = NetworkOptions::new();
        network.set_connection_timeout(CONNECT_SECONDS);
        self.events.set_network_options(network);
        let mut wait = FIRST_WAIT;
        let mut up: Option<Moment> = None;
        loop {
            if up.is_none()
                && let Err(words) = self.authorise().await
            {
                if !lost(&self.to, &self.client_id, words, &mut wait).await {
                    return;
                }
                continue;
            }
            let heard = match timeout(SILENCE, self.events.poll()).await {
                Ok(Ok(Event::Outgoing(_))) => continue,
                Ok(Ok(Event::Incoming(packet))) => match packet {
                    Packet::ConnAck(answer) => {
                        up = Some(self.clock.now());
                        Heard::Up(answer.session_present)
                    }
                    Packet::Publish(message) => Heard::Message(bounded(message)),
                    Packet::SubAck(answer) => {
                        let allowed =
                            |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
                        Heard::Subscribed(answer.return_codes.iter().all(allowed))
                    }
                    Packet::PingResp => Heard::Alive,
                    _ => continue,
                },
                failed => {
                    if up.take().is_some_and(|since| self.clock.now().since(since) >= GOOD) {
                        wait = FIRST_WAIT;
                    }
                    let words = match failed {
                        Ok(Err(error)) => self.words(&error),
                        _ => {
                            self.events.clean();
                            String::from("it takes nothing any more")
                        }
                    };
                    if !lost(&self.to, &self.client_id, words, &mut wait).await {
                        return;
                    }
                    continue;
                }
            };
            // While it is full the broker waits, and we with it.
            if self.to.send(heard).await.is_err() {
                return;
            }
        }
    }

    /// Puts a token into what the next connection says.
    async fn authorise(&mut self) -> Result<(), String> {
        if let Some(tokens) = &mut self.tokens {
            let token = tokens.get().await?;
            self.events.mqtt_options.set_credentials(TOKEN_USER, token.expose());
        }
        Ok(())
    }

    /// What went wrong, for those who look after the broker. No error has a password or token in it.
    fn words(&mut self, error: &ConnectionError) -> String {
        let words = match error {
            ConnectionError::ConnectionRefused(
                ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
            ) => {
                if let Some(tokens) = &mut self.tokens {
                    tokens.forget();
                }
                String::from("it does not let us in; check the account, or the client certificate")
            }
            ConnectionError::ConnectionRefused(code) => format!("it refuses the connection ({code:?})"),
            ConnectionError::NetworkTimeout
            | ConnectionError::FlushTimeout
            | ConnectionError::MqttState(StateError::AwaitPingResp) => String::from("it does not answer"),
            other => other.to_string(),
        };
        broker::shown(&words)
    }
}

/// Tells that there is no connection, and waits. `false` when nobody listens any more.
async fn lost(to: &mpsc::Sender<Heard>, client_id: &str, words: String, wait: &mut Duration) -> bool {
    if to.send(Heard::Lost(words)).await.is_err() {
        return false;
    }
    sleep(broker::spread(*wait, client_id)).await;
    *wait = (*wait * 2).min(LONGEST_WAIT);
    true
}
