//! Asking one host: three knocks, then only what an open door makes worth asking.

use std::net::IpAddr;
use std::time::Duration;

use super::evidence::{Door, Evidence, Ports, Question, Reply};
use super::finding::{Finding, Firmware};
use super::identify::identify;
use super::login::{self, Account, Session};
use super::neighbours::Neighbours;
use super::plan;
use super::wire::{self, Knock};
use crate::clock::{Clock, Moment, unix_seconds};

/// A host is asked nothing more after this many times the time limit of one answer; what is under way then (a login
/// of two exchanges with its page) may still end.
const HOST_SHARE: u32 = 8;

/// What became of a host.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A miner.
    Miner(Box<Finding>),
    /// A host that answers, and is no miner that anything is known of. What it is, for people.
    Other(String),
    /// A host without any of the three doors.
    Closed,
    /// Nothing came back.
    Silent,
    /// This machine ran out of sockets before it could ask.
    Starved,
}

/// Asks hosts. Shared by all of a scan.
pub struct Prober {
    /// Where miners listen.
    pub ports: Ports,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Accounts, by driver.
    pub accounts: Vec<Account>,
    /// Whether vendors' default passwords are tried.
    pub try_defaults: bool,
    http: reqwest::Client,
    clock: Clock,
    neighbours: Neighbours,
}

impl Prober {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be built, which is a fault of the system.
    pub fn new(
        ports: Ports,
        timeout: Duration,
        accounts: Vec<Account>,
        try_defaults: bool,
    ) -> Result<Self, reqwest::Error> {
        let clock = Clock::start();
        let neighbours = Neighbours::new(clock);
        Ok(Self { ports, timeout, accounts, try_defaults, http: wire::client()?, clock, neighbours })
    }

    /// Longest wait for a connection: a lost packet is sent again after one second.
    pub fn connect_limit(&self) -> Duration {
        self.timeout.min(Duration::from_millis(1_300))
    }

    /// Longest time that one host can take.
    pub fn host_limit(&self) -> Duration {
        self.connect_limit() + self.timeout * (HOST_SHARE + 4)
    }

    const fn port(&self, door: Door) -> u16 {
        match door {
            Door::Api => self.ports.api,
            Door::Framed => self.ports.framed,
            Door::Web => self.ports.web,
        }
    }

    /// Asks one host everything. Ends within [`Self::host_limit`], whatever the host does.
    pub async fn probe(&self, ip: IpAddr) -> Outcome {
        let limit = self.connect_limit();
        let (api, framed, web) = tokio::join!(
            wire::knock(ip, self.port(Door::Api), limit),
            wire::knock(ip, self.port(Door::Framed), limit),
            wire::knock(ip, self.port(Door::Web), limit),
        );
        let knocks = [&api, &framed, &web];
        if knocks.iter().any(|knock| matches!(knock, Knock::Starved)) {
            return Outcome::Starved;
        }
        let mut evidence = Evidence::default();
        for (door, knock) in Door::ALL.into_iter().zip(knocks) {
            if matches!(knock, Knock::Open(_)) {
                evidence.open.push(door);
            }
        }
        if evidence.open.is_empty() {
            let refused = knocks.iter().any(|knock| matches!(knock, Knock::Refused));
            return if refused { Outcome::Closed } else { Outcome::Silent };
        }
        // The connections of the knocks carry the first question; that of the web port has no use.
        let opened = |knock| if let Knock::Open(stream) = knock { Some(stream) } else { None };
        let mut streams = [opened(api), opened(framed)];
        drop(web);

        let deadline = self.clock.now() + self.timeout * HOST_SHARE;
        for _ in 0..plan::MOST_QUESTIONS {
            let questions = plan::next(&evidence);
            if questions.is_empty() || self.clock.now() >= deadline {
                break;
            }
            // Doors side by side; behind one door one after the other, because many firmwares serve one at a time.
            let of = |door| questions.iter().copied().filter(move |question| question.door() == door);
            let [first_api, first_framed] = std::mem::take(&mut streams);
            let (api, framed, web) = tokio::join!(
                self.ask_all(ip, of(Door::Api), first_api, deadline),
                self.ask_all(ip, of(Door::Framed), first_framed, deadline),
                self.ask_all(ip, of(Door::Web), None, deadline),
            );
            evidence.replies.extend(api.into_iter().chain(framed).chain(web));
            evidence.unix_seconds = unix_seconds();
        }
        if let Some(firmware) = plan::recognise(&evidence) {
            self.log_in(ip, firmware, &mut evidence, deadline).await;
        }
        evidence.neighbour = self.neighbours.of(ip);
        match identify(ip, &evidence) {
            Some(mut finding) => {
                finding.port = self.unusual_port(&finding);
                Outcome::Miner(Box::new(finding))
            }
            None => Outcome::Other(describe(&evidence)),
        }
    }

    /// The port that the configuration must name, because it is not the one that the driver takes by itself.
    fn unusual_port(&self, finding: &Finding) -> Option<u16> {
        let driver = finding.control.driver()?;
        let used = match finding.firmware {
            Firmware::WhatsminerV3 => self.ports.framed,
            Firmware::BraiinsOs
            | Firmware::Vnish
            | Firmware::BitmainStock
            | Firmware::Mara
            | Firmware::Proto
            | Firmware::Ballast
            | Firmware::AxeOs => self.ports.web,
            Firmware::Auradine => self.ports.auradine,
            _ => self.ports.api,
        };
        (driver.traits().port != used).then_some(used)
    }

    async fn ask_all(
        &self,
        ip: IpAddr,
        questions: impl Iterator<Item = Question>,
        mut stream: Option<tokio::net::TcpStream>,
        deadline: Moment,
    ) -> Vec<(Question, Reply)> {
        let mut replies = Vec::new();
        for question in questions {
            let reply = if self.clock.now() < deadline {
                let asking = self.ask(ip, question, stream.take());
                tokio::time::timeout(self.timeout, asking).await.unwrap_or(Reply::Nothing)
            } else {
                Reply::Nothing
            };
            replies.push((question, reply));
        }
        replies
    }

    async fn ask(&self, ip: IpAddr, question: Question, stream: Option<tokio::net::TcpStream>) -> Reply {
        let port = self.port(question.door());
        let url = |path: &str| format!("http://{}{path}", std::net::SocketAddr::new(ip, port));
        match question {
            Question::Web(path) | Question::Epic(path) => wire::http(self.http.get(url(path))).await,
            Question::Graph(query) => {
                let body = serde_json::json!({ "query": query });
                wire::http(self.http.post(url("/graphql")).json(&body)).await
            }
            // Asked by `log_in` alone.
            Question::Private(_) => Reply::Nothing,
            Question::Api(_) | Question::Framed(..) => {
                let stream = match stream {
                    Some(stream) => stream,
                    None => match wire::knock(ip, port, self.connect_limit()).await {
                        Knock::Open(stream) => stream,
                        _ => return Reply::Nothing,
                    },
                };
                match question {
                    Question::Framed(command, parameter) => wire::framed(stream, command, parameter).await,
                    Question::Api(command) => wire::api(stream, command).await,
                    _ => Reply::Nothing,
                }
            }
        }
    }

    /// Uses the operator's account and, when asked to, the vendor's default password; reads what lies behind.
    async fn log_in(&self, ip: IpAddr, firmware: Firmware, evidence: &mut Evidence, deadline: Moment) {
        let paths = plan::private(firmware);
        if paths.is_empty() {
            return;
        }
        let client = login::Client::new(&self.http, ip, &self.ports, firmware, self.timeout);
        let mut session: Option<Session> = None;
        let driver = firmware.control().driver_name();
        if let Some(account) = self.accounts.iter().find(|account| Some(account.driver.as_str()) == driver) {
            let (result, opened) = client.with_account(account).await;
            evidence.logins.account = Some(result);
            session = opened;
        }
        if self.try_defaults
            && self.clock.now() < deadline
            && let Some((result, opened)) = client.with_default().await
        {
            evidence.logins.default = Some(result);
            session = session.or(opened);
        }
        let Some(session) = session else { return };
        for path in paths {
            if self.clock.now() >= deadline {
                return;
            }
            let reply = client.get(path, &session).await;
            evidence.replies.insert(Question::Private(path), reply);
        }
    }
}

/// What a host that is no miner shows.
fn describe(evidence: &Evidence) -> String {
    let answered = |door: Door| {
        evidence.replies.iter().any(|(question, reply)| question.door() == door && *reply != Reply::Nothing)
    };
    let doors: Vec<&str> = evidence
        .open
        .iter()
        .map(|door| match (door, answered(*door)) {
            (Door::Api, true) => "port 4028 answers, but not like a miner",
            (Door::Api, false) => "port 4028 is open and silent",
            (Door::Framed, true) => "port 4433 answers, but not like a Whatsminer",
            (Door::Framed, false) => "port 4433 is open and silent",
            (Door::Web, true) => "a web server",
            (Door::Web, false) => "a web server that does not answer",
        })
        .collect();
    doors.join(", ")
}
