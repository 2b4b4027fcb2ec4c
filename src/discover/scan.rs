//! Many hosts: at most so many a second, at most so many at once, and an end that is known beforehand.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::finding::Finding;
use super::probe::{Outcome, Prober};
use crate::clock::Clock;

/// The highest rate that can be asked for, in hosts a second.
pub const MOST_RATE: u32 = 1_000;
/// Hosts under way at once: with three connections each they stay below the 1024 open files that most systems allow.
pub const MOST_AT_ONCE: usize = 256;
/// How often a host is tried for which this machine had no socket left.
const STARVED_TRIES: u32 = 3;

/// How a scan behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// New hosts a second; from 1 to [`MOST_RATE`].
    pub rate: u32,
    /// Hosts under way at once; from 1 to [`MOST_AT_ONCE`].
    pub at_once: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { rate: 200, at_once: MOST_AT_ONCE }
    }
}

/// How far a scan is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Hosts that are done.
    pub done: usize,
    /// Hosts in total.
    pub total: usize,
    /// Miners among those that are done.
    pub found: usize,
    /// Time since the start.
    pub elapsed: Duration,
}

impl Progress {
    /// Time to the end at the pace so far; `None` as long as there is none.
    pub fn left(&self) -> Option<Duration> {
        let done = u32::try_from(self.done).ok().filter(|done| *done > 0)?;
        let left = u32::try_from(self.total.saturating_sub(self.done)).ok()?;
        Some(self.elapsed.checked_mul(left)? / done)
    }
}

/// What a scan found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Scan {
    /// Miners, by address.
    #[serde(rename = "miners")]
    pub findings: Vec<Finding>,
    /// Hosts that answer and are no known miners, with what they show.
    #[serde(rename = "other_hosts")]
    pub others: Vec<(IpAddr, String)>,
    /// Hosts with none of the three doors open.
    pub closed: usize,
    /// Addresses from which nothing came back.
    pub silent: usize,
    /// Addresses that this machine had no sockets for.
    pub not_asked: usize,
    /// Addresses in total.
    pub addresses: usize,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
    /// Addresses that were asked to the end.
    #[serde(skip)]
    pub settled: BTreeSet<IpAddr>,
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// The longest that a scan of so many hosts can take.
pub fn bound(hosts: usize, options: &Options, prober: &Prober) -> Duration {
    let hosts = u32::try_from(hosts).unwrap_or(u32::MAX);
    let at_once = u32::try_from(options.at_once.max(1)).unwrap_or(u32::MAX);
    let paced = Duration::from_secs(1).saturating_mul(hosts) / options.rate.max(1);
    let batches = hosts.div_ceil(at_once);
    paced + prober.host_limit().saturating_mul(batches.saturating_mul(STARVED_TRIES))
}

/// Asks every address. Ends early when cancelled, with what was found by then.
pub async fn scan(
    addresses: &BTreeSet<IpAddr>,
    options: &Options,
    prober: &Arc<Prober>,
    cancel: &CancellationToken,
    progress: &watch::Sender<Progress>,
) -> Scan {
    let clock = Clock::start();
    let rate = options.rate.clamp(1, MOST_RATE);
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut waiting: std::collections::VecDeque<(IpAddr, u32)> =
        addresses.iter().map(|ip| (*ip, 1)).collect();
    let mut under_way: JoinSet<(IpAddr, u32, Outcome)> = JoinSet::new();
    let mut result = Scan { addresses: addresses.len(), ..Scan::default() };
    let room = options.at_once.clamp(1, MOST_AT_ONCE);
    progress.send_replace(Progress { total: addresses.len(), ..Progress::default() });
    while !(waiting.is_empty() && under_way.is_empty()) {
        tokio::select! {
            () = cancel.cancelled() => {
                result.interrupted = true;
                break;
            }
            Some(joined) = under_way.join_next() => {
                // A task that failed is one that was not asked.
                let Ok((ip, tries, outcome)) = joined else {
                    result.not_asked += 1;
                    continue;
                };
                if outcome == Outcome::Starved && tries < STARVED_TRIES {
                    waiting.push_back((ip, tries + 1));
                    continue;
                }
                settle(&mut result, ip, outcome);
                progress.send_replace(Progress {
                    done: result.settled.len() + result.not_asked,
                    total: addresses.len(),
                    found: result.findings.len(),
                    elapsed: clock.now().since_start(),
                });
            }
            _ = pace.tick(), if !waiting.is_empty() && under_way.len() < room => {
                if let Some((ip, tries)) = waiting.pop_front() {
                    let prober = Arc::clone(prober);
                    under_way.spawn(async move { (ip, tries, prober.probe(ip).await) });
                }
            }
        }
    }
    under_way.shutdown().await;
    result.findings.sort_by_key(|finding| finding.address);
    result.others.sort_by_key(|(ip, _)| *ip);
    result.elapsed = clock.now().since_start();
    result
}

fn settle(result: &mut Scan, ip: IpAddr, outcome: Outcome) {
    match outcome {
        Outcome::Starved => {
            result.not_asked += 1;
            return;
        }
        Outcome::Miner(finding) => result.findings.push(*finding),
        Outcome::Other(what) => result.others.push((ip, what)),
        Outcome::Closed => result.closed += 1,
        Outcome::Silent => result.silent += 1,
    }
    result.settled.insert(ip);
}
