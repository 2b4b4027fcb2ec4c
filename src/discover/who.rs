//! Asking a miner whose firmware is known who it is: the one or two questions of discovery that tell hardware address or
//! serial number, and none besides. All of them only read.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::evidence::{Evidence, Page, Question, Reply};
use super::finding::{Control, Firmware};
use super::identify::identify_as;
use super::login::{self, Account};
use super::neighbours::Neighbours;
use super::wire::{self, Knock};
use crate::control::snapshot::Rejection;
use crate::miner::identity::Identity;
use crate::miner::{Connection, Credentials, DriverError, DriverKind, Endpoint};
use crate::names;

/// The exchange, in errors.
const NAME: &str = "identification";
/// Pause before and after a question to LuxOS: it refuses connections for a while when two come within less than a
/// millisecond (a user's report), and the driver's come right before and after.
const LUXOS_PAUSE: Duration = Duration::from_millis(50);

/// Asks one miner who it is.
pub struct Witness {
    endpoint: Endpoint,
    firmware: Firmware,
    credentials: Option<Credentials>,
    limit: Duration,
    http: reqwest::Client,
    neighbours: Arc<Neighbours>,
}

/// The firmware that a driver speaks with; `None` where nothing of it tells an identity: the cgminer API has no word for it, and
/// what is never commanded need not be known.
fn firmware(kind: DriverKind) -> Option<Firmware> {
    let speaks = |firmware: &Firmware| firmware.control() == Control::Driver(kind);
    Firmware::ALL.into_iter().find(speaks)
}

/// The questions, in the order in which they are asked until hardware address or serial number is known.
fn questions(firmware: Firmware) -> &'static [Question] {
    use Question::{Api, Epic, Framed, Private, Web};
    match firmware {
        Firmware::WhatsminerV3 => &[Framed("get.device.info", None)],
        Firmware::WhatsminerV2 => &[Api("get_miner_info"), Api("summary")],
        Firmware::BraiinsOs => &[Private("/api/v1/miner/details")],
        Firmware::Vnish => &[Web("/api/v1/info")],
        Firmware::LuxOs => &[Api("config")],
        Firmware::BitmainStock => &[Private("/cgi-bin/get_system_info.cgi")],
        Firmware::Epic => &[Epic("/network"), Epic("/capabilities")],
        Firmware::AxeOs => &[Web("/api/system/info")],
        Firmware::Avalon => &[Api("version")],
        Firmware::Auradine => &[Private("/ipreport")],
        Firmware::Proto => &[Web("/api/v1/network"), Web("/api/v1/system")],
        Firmware::Ballast => &[Web("/api/v1/status")],
        Firmware::Mara => &[Private("/kaonsu/v1/overview")],
        Firmware::SealMiner => &[Api("stats")],
        _ => &[],
    }
}

impl Witness {
    /// For one miner; `None` where its driver's firmware does not tell who it is. Nothing is sent yet.
    pub fn new(
        connection: &Connection,
        http: &reqwest::Client,
        neighbours: &Arc<Neighbours>,
    ) -> Option<Self> {
        Some(Self {
            endpoint: connection.endpoint.clone(),
            firmware: firmware(connection.driver)?,
            credentials: connection.credentials.clone(),
            limit: connection.timeout,
            http: http.clone(),
            neighbours: Arc::clone(neighbours),
        })
    }

    /// Asks. `None`: it answers, and tells neither hardware address nor serial number. Bounded: each exchange in size and
    /// by the time limit of the connection, at most four of them.
    ///
    /// # Errors
    /// No connection, nothing that can be read in time, or an account that the miner refuses.
    pub async fn ask(&self) -> Result<Option<Identity>, DriverError> {
        if self.firmware != Firmware::LuxOs {
            return self.find_out().await;
        }
        tokio::time::sleep(LUXOS_PAUSE).await;
        let told = self.find_out().await;
        tokio::time::sleep(LUXOS_PAUSE).await;
        told
    }

    async fn find_out(&self) -> Result<Option<Identity>, DriverError> {
        let ip = self.address().await?;
        let mut evidence = Evidence::default();
        for question in questions(self.firmware) {
            let reply = match question {
                Question::Private(path) => self.private(ip, path).await,
                open => {
                    let asking = self.open(ip, *open);
                    tokio::time::timeout(self.limit, asking).await.unwrap_or(Ok(Reply::Nothing))?
                }
            };
            evidence.replies.insert(*question, reply);
            let told = identify_as(ip, self.firmware, &evidence).identity;
            if !told.is_anonymous() {
                return Ok(Some(told));
            }
        }
        if evidence.replies.values().all(|reply| *reply == Reply::Nothing) {
            return Err(DriverError::Timeout {
                endpoint: self.endpoint.clone(),
                exchange: NAME,
                limit: self.limit,
            });
        }
        // It answers, so what the network says of its address is fresh.
        evidence.neighbour = self.neighbours.of(ip);
        let told = identify_as(ip, self.firmware, &evidence).identity;
        if !told.is_anonymous() {
            return Ok(Some(told));
        }
        let refused = |reply: &Reply| matches!(reply, Reply::Page(Page { status: 401 | 403, .. }));
        if self.credentials.is_some() && evidence.replies.values().any(refused) {
            return Err(DriverError::Rejected {
                endpoint: self.endpoint.clone(),
                exchange: NAME,
                reason: Rejection::Credentials,
            });
        }
        Ok(None)
    }

    fn unreachable(&self, reason: impl Into<String>) -> DriverError {
        DriverError::Unreachable { endpoint: self.endpoint.clone(), reason: reason.into() }
    }

    /// The miner's address, looked up where it is a name.
    async fn address(&self) -> Result<IpAddr, DriverError> {
        let found = tokio::time::timeout(self.limit, names::address(&self.endpoint.host, self.endpoint.port));
        let found = found.await.map_err(|_| self.unreachable("its name was not found in time"))?;
        found.map_err(|error| self.unreachable(error.kind().to_string()))
    }

    async fn open(&self, ip: IpAddr, question: Question) -> Result<Reply, DriverError> {
        let address = SocketAddr::new(ip, self.endpoint.port);
        match question {
            Question::Web(path) | Question::Epic(path) => {
                Ok(wire::http(self.http.get(format!("http://{address}{path}"))).await)
            }
            Question::Api(command) => Ok(wire::api(self.connect(ip).await?, command).await),
            Question::Framed(command, parameter) => {
                Ok(wire::framed(self.connect(ip).await?, command, parameter).await)
            }
            Question::Private(_) | Question::Graph(_) => Ok(Reply::Nothing),
        }
    }

    async fn connect(&self, ip: IpAddr) -> Result<tokio::net::TcpStream, DriverError> {
        match wire::knock(ip, self.endpoint.port, self.limit).await {
            Knock::Open(stream) => Ok(stream),
            Knock::Refused => Err(self.unreachable("connection refused")),
            Knock::Silent => Err(self.unreachable("no connection in time")),
            Knock::Starved => Err(self.unreachable("this machine is out of files or ports")),
        }
    }

    /// A page behind a login, with the account of the connection.
    async fn private(&self, ip: IpAddr, path: &str) -> Reply {
        let refused = Reply::Page(Page { status: 401, ..Page::default() });
        let Some(credentials) = &self.credentials else { return refused };
        let client = login::Client {
            http: &self.http,
            address: SocketAddr::new(ip, self.endpoint.port),
            firmware: self.firmware,
            limit: self.limit,
        };
        let account = Account {
            driver: String::new(),
            username: credentials.username.clone(),
            password: credentials.password.clone(),
            file: PathBuf::new(),
        };
        match client.with_account(&account).await {
            (_, Some(session)) => client.get(path, &session).await,
            (super::evidence::LoginResult::Refused, None) => refused,
            (_, None) => Reply::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_driver_that_commands_can_be_asked_who_it_is() {
        for kind in DriverKind::ALL {
            let asked = firmware(kind).map_or(0, |firmware| questions(firmware).len());
            // A BMC is asked by its driver alone, which knows its certificate; a zeusd does not tell who it is.
            let never = matches!(
                kind,
                DriverKind::CgminerReadOnly | DriverKind::Generic | DriverKind::Redfish | DriverKind::Zeusd
            );
            assert_eq!(asked == 0, never, "{kind:?}");
        }
    }
}
