//! Asking a link by hand: one request after the other, for the commands of a person who commissions meters.
//!
//! Everything that `link` keeps to is kept here: one connection, one request at a time, the link's gap, and the rules
//! for late answers (see there): whatever ends an exchange other than an answer or an exception drops the connection;
//! a serial line is then left alone and drained, and the unit's next answers are thrown away. A caller that stops
//! waiting counts as such an end.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{sleep, sleep_until};

use super::Link;
use super::plan::{Plan, Span};
use super::profile::Register;
use super::session::{ExceptionKind, ReadError, Refusal, Session};
use super::sunspec::{self, Discovery, Found, Identity, Refused, SunSpecError};
use crate::clock::{Clock, Moment};

/// How many answers of a unit in doubt are thrown away; as in `link`.
const DOUBTS: u8 = 2;
/// Pauses before a connection that had worked before is tried again: devices that take one client need a moment to
/// notice that the last one has gone.
const AGAIN: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(400), Duration::from_secs(1)];

/// The words of an answer and when they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// As many registers as were asked for.
    pub words: Vec<u16>,
    /// From the request to the answer.
    pub took: Duration,
    /// When the answer came.
    pub at: Moment,
}

/// What became of one request of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What was asked for.
    pub span: Span,
    /// How long the answer took and when it came, or why there is none; [`None`] when it was not asked for, because the
    /// unit had failed to answer just before.
    pub result: Option<Result<(Duration, Moment), ReadError>>,
}

impl Reply {
    /// Whether all of a register came with this reply.
    pub fn brings(&self, register: &Register) -> bool {
        matches!(self.result, Some(Ok(_))) && self.covers(register)
    }

    /// Whether a register was (or would have been) part of the request.
    pub fn covers(&self, register: &Register) -> bool {
        let (address, count) = register.extent();
        let (first, last) = (u32::from(address), u32::from(address) + u32::from(count));
        let from = u32::from(self.span.address);
        register.function == self.span.function && first >= from && last <= from + u32::from(self.span.count)
    }
}

/// A link that is asked by hand.
pub struct Survey {
    link: Link,
    clock: Clock,
    session: Option<Session>,
    /// The transaction number with which the next connection begins.
    next_transaction: u16,
    /// Until when a serial line is left alone.
    quiet_until: Moment,
    /// Not before this moment does the session send: known here so that waiting does not count as round-trip time.
    ready_at: Moment,
    /// How many answers of which unit are not to be believed.
    doubts: BTreeMap<u8, u8>,
    /// A unit that did not answer a request which differs from the one it is asked for.
    plain: Option<u8>,
    /// The unit of an exchange that has not ended: left behind when the caller stopped waiting.
    asked: Option<u8>,
    /// Whether a connection was ever opened.
    connected_before: bool,
}

impl Survey {
    /// Nothing is connected before the first read. A serial line is first listened to for the link's timeout: whoever
    /// was here before may have asked.
    pub fn new(link: Link, clock: Clock) -> Self {
        Self {
            quiet_until: clock.now() + link.quarantine(),
            ready_at: Moment::START,
            link,
            clock,
            session: None,
            next_transaction: rand::random(),
            doubts: BTreeMap::new(),
            plain: None,
            asked: None,
            connected_before: false,
        }
    }

    /// The link.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// The longest that a read of a unit which does not answer takes, the rest for the line included.
    pub fn longest_silence(link: &Link) -> Duration {
        let serial = link.transport.line().is_some();
        let drain = if serial { link.connect_delay + link.silence() } else { link.connect_delay };
        link.timeout + link.quarantine() + link.silence() + drain
    }

    /// Ends the connection. The next read opens another.
    pub fn close(&mut self) {
        self.session = None;
    }

    async fn connect(&mut self) -> Result<Session, ReadError> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        let mut pauses = AGAIN.iter().filter(|_| self.connected_before);
        loop {
            sleep_until(self.clock.instant(self.quiet_until)).await;
            match Session::open(&self.link, self.clock, self.next_transaction).await {
                Ok(session) => {
                    self.connected_before = true;
                    let serial = self.link.transport.line().is_some();
                    let delay = if serial { Duration::ZERO } else { self.link.connect_delay };
                    self.ready_at = self.clock.now() + delay.max(self.link.silence());
                    return Ok(session);
                }
                Err(error) => match pauses.next() {
                    Some(pause) => sleep(*pause).await,
                    None => return Err(error),
                },
            }
        }
    }

    /// Reads some registers of a unit. Asks at most a handful of times: again only for what is thrown away, and for
    /// connections that were closed before they had served.
    ///
    /// # Errors
    /// [`ReadError`]. Only after [`ReadError::Exception`] is the connection still open.
    pub async fn read(&mut self, unit: u8, span: Span) -> Result<Words, ReadError> {
        if let Some(left) = self.asked.take() {
            self.doubt(left);
        }
        let mut hang_ups = AGAIN.iter();
        loop {
            let session = self.connect().await?;
            let answered = session.answered();
            self.next_transaction = session.next_transaction().wrapping_add(1);
            sleep_until(self.clock.instant(self.ready_at)).await;
            let begun = self.clock.now();
            self.asked = Some(unit);
            // As in `link`: the last answer that is thrown away is one of another length.
            let decoy = self.doubts.get(&unit) == Some(&1) && self.plain != Some(unit);
            let asked = if decoy { span.unlike() } else { span };
            let (session, result) = session.read(&self.link, self.clock, unit, asked).await;
            self.asked = None;
            self.session = session;
            if matches!(result, Err(Refusal::Failed(ReadError::Timeout { .. }))) {
                self.plain = decoy.then_some(unit);
            }
            let at = self.clock.now();
            self.ready_at = at + self.link.silence();
            if self.session.is_none() && !matches!(result, Err(Refusal::HungUp)) {
                self.doubt(unit);
            } else if self.session.is_some() && self.throw_away(unit) {
                continue;
            }
            return match result {
                Ok(words) => Ok(Words { words, took: at - begun, at }),
                Err(Refusal::HungUp) => continue,
                Err(Refusal::Failed(error)) => {
                    // A device that serves one client may not have noticed yet that the last one left.
                    let closed_at_once = !answered && matches!(error, ReadError::Broken { .. });
                    if closed_at_once && let Some(pause) = hang_ups.next() {
                        sleep(*pause).await;
                        continue;
                    }
                    Err(error)
                }
            };
        }
    }

    /// Reads all that a plan asks for. A request that is refused as a whole is split, and the plan remembers. After a
    /// failure that is no exception of the unit itself the rest is not asked for.
    pub async fn read_plan(&mut self, unit: u8, plan: &mut Plan) -> Vec<Reply> {
        let mut replies = Vec::new();
        let mut position = 0;
        let mut silent = false;
        while let Some(span) = plan.span(position) {
            if silent {
                replies.push(Reply { span, result: None });
                position += 1;
                continue;
            }
            let result = match self.read(unit, span).await {
                Ok(words) => {
                    plan.store(position, &words.words);
                    Ok((words.took, words.at))
                }
                Err(ReadError::Exception { code, .. })
                    if ExceptionKind::of(code) == ExceptionKind::Configuration && plan.split(position) =>
                {
                    continue;
                }
                Err(error) => {
                    // Gateways say 10 and 11 after they have waited for the unit themselves: that is silence, too.
                    silent = !matches!(error, ReadError::Exception { code, .. } if !matches!(code, 10 | 11));
                    Err(error)
                }
            };
            replies.push(Reply { span, result: Some(result) });
            position += 1;
        }
        replies
    }

    /// Looks for SunSpec models.
    ///
    /// # Errors
    /// The first failure of the link (outside), else why the device gives no profile (inside).
    pub async fn discover(&mut self, unit: u8) -> Result<Result<Vec<Found>, SunSpecError>, ReadError> {
        self.discover_at(unit, &sunspec::BASES).await
    }

    /// As [`Self::discover`], looking at these addresses only.
    ///
    /// # Errors
    /// As there.
    pub async fn discover_at(
        &mut self,
        unit: u8,
        bases: &[u16],
    ) -> Result<Result<Vec<Found>, SunSpecError>, ReadError> {
        let mut discovery = Discovery::beginning_at(bases);
        while let Some(request) = discovery.request() {
            discovery.answer(&self.holding(unit, request.address, request.count).await?);
        }
        Ok(discovery.finish())
    }

    /// Reads holding registers; an exception is an answer here.
    ///
    /// # Errors
    /// A failure of the link.
    pub async fn holding(
        &mut self,
        unit: u8,
        address: u16,
        count: u16,
    ) -> Result<sunspec::Answer, ReadError> {
        let span = Span { function: super::profile::Function::Holding, address, count };
        match self.read(unit, span).await {
            Ok(words) => Ok(Ok(words.words)),
            Err(ReadError::Exception { .. }) => Ok(Err(Refused)),
            Err(error) => Err(error),
        }
    }

    fn doubt(&mut self, unit: u8) {
        if !self.link.tells_requests_apart() {
            self.quiet_until = self.clock.now() + self.link.quarantine();
            self.doubts.insert(unit, DOUBTS);
        }
    }

    fn throw_away(&mut self, unit: u8) -> bool {
        let Some(doubts) = self.doubts.get_mut(&unit).filter(|doubts| **doubts > 0) else {
            return false;
        };
        *doubts -= 1;
        if *doubts == 0
            && let Some(session) = &mut self.session
        {
            let quarantine = self.link.quarantine();
            session.listen(self.clock, quarantine);
            self.ready_at = self.clock.now() + quarantine;
        }
        true
    }
}

/// Who a device says it is, in one line; empty where it does not say.
pub fn who(identity: &Identity) -> String {
    let mut words = format!("{} {}", identity.manufacturer, identity.model).trim().to_owned();
    if !identity.serial.is_empty() {
        words.push_str(&format!(", serial number {}", identity.serial));
    }
    words
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::profile::{Format, Function, WordOrder};
    use super::super::{Transport, line::Line, rtu};
    use super::*;
    use crate::endpoint::Endpoint;

    fn span(address: u16) -> Span {
        Span { function: Function::Holding, address, count: 1 }
    }

    /// A device behind a transparent gateway whose registers hold their own addresses. It answers each request after a
    /// while, over whichever connection there is by then.
    async fn late(delay: Arc<Mutex<Duration>>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let newest = Arc::new(tokio::sync::Mutex::new(None));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut requests, answers) = stream.into_split();
                *newest.lock().await = Some(answers);
                let (newest, delay) = (newest.clone(), delay.clone());
                tokio::spawn(async move {
                    let mut request = [0; 8];
                    while requests.read_exact(&mut request).await.is_ok() {
                        let (newest, delay) = (newest.clone(), *delay.lock().unwrap());
                        tokio::spawn(async move {
                            sleep(delay).await;
                            let first = u16::from_be_bytes([request[2], request[3]]);
                            let mut answer = vec![request[0], 3, 2 * request[5]];
                            for register in first..first + u16::from(request[5]) {
                                answer.extend(register.to_be_bytes());
                            }
                            answer.extend(rtu::crc(&answer).to_le_bytes());
                            if let Some(answers) = &mut *newest.lock().await {
                                let _ = answers.write_all(&answer).await;
                            }
                        });
                    }
                });
            }
        });
        port
    }

    fn link(port: u16) -> Link {
        Link {
            name: "l".into(),
            transport: Transport::RtuOverTcp(Endpoint { host: "127.0.0.1".into(), port }, Line::default()),
            connect_timeout: Duration::from_secs(1),
            timeout: Duration::from_millis(60),
            connect_delay: Duration::ZERO,
            numbered: true,
            gap: Duration::from_millis(2),
        }
    }

    #[tokio::test]
    async fn a_late_answer_is_never_taken_for_another_register() {
        // Later than a timeout and the rest that follows it.
        let delay = Arc::new(Mutex::new(Duration::from_millis(150)));
        let port = late(delay.clone()).await;
        let mut survey = Survey::new(link(port), Clock::start());
        for address in [10, 20, 30, 40] {
            if let Ok(words) = survey.read(1, span(address)).await {
                assert_eq!(words.words, [address]);
            }
        }
        *delay.lock().unwrap() = Duration::ZERO;
        let mut good = 0;
        for address in [50, 60, 70, 80] {
            if let Ok(words) = survey.read(1, span(address)).await {
                assert_eq!(words.words, [address]);
                good += 1;
            }
        }
        assert!(good >= 2, "it is believed again once it keeps up");
    }

    #[tokio::test]
    async fn a_caller_that_stops_waiting_leaves_nothing_behind() {
        let delay = Arc::new(Mutex::new(Duration::from_secs(60)));
        let port = late(delay.clone()).await;
        let mut survey = Survey::new(link(port), Clock::start());
        let given_up = tokio::time::timeout(Duration::from_millis(90), survey.read(1, span(10))).await;
        assert!(given_up.is_err(), "it was still waiting");
        *delay.lock().unwrap() = Duration::ZERO;
        assert_eq!(survey.read(1, span(20)).await.unwrap().words, [20]);
    }

    #[test]
    fn a_reply_brings_the_registers_of_its_request_and_no_others() {
        let reply = Reply {
            span: Span { function: Function::Input, address: 10, count: 4 },
            result: Some(Ok((Duration::ZERO, Moment::START))),
        };
        let register = |function, address| Register {
            function,
            address,
            format: Format::U32,
            word_order: WordOrder::HighFirst,
            ..Register::default()
        };
        assert!(reply.brings(&register(Function::Input, 10)) && reply.brings(&register(Function::Input, 12)));
        assert!(!reply.brings(&register(Function::Input, 13)), "its second half is missing");
        assert!(
            !reply.brings(&register(Function::Input, 9)) && !reply.brings(&register(Function::Holding, 10))
        );
        let failed = Reply { result: None, ..reply };
        assert!(
            !failed.brings(&register(Function::Input, 10)) && failed.covers(&register(Function::Input, 10))
        );
    }
}
