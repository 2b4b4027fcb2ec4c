//! What is reported back to the top node. Nothing here touches the orders: a report that cannot be delivered is tried a few
//! times and dropped.
//!
//! - On receipt of an event: the acknowledgement, where one is configured, and the present state, where it is asked for.
//! - States (`OPERATING_STATE`, `LOAD_SHED_DELTA_AVAILABLE`): also when an interval begins or ends, and every so often in
//!   between.
//! - Means (`DEMAND`, `USAGE`): over each interval, sent after as many of them as the event asks for; over periods of our
//!   own where an interval has no end or the event leaves the time to us (`frequency` 0).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use super::client::{Client, VenError};
use super::lane::Followed;
use super::settings::{PowerUnit, Reports, Settings, Telling};
use super::telemetry::{Sample, sample};
use super::time::{write_duration, write_moment};
use crate::clock::{Clock, Moment};
use crate::control::frame::Frame;
use crate::control::signal::Wall;
use crate::signal::{Context, Desk, Place, SourceKey};
use crate::units::Joules;

/// Time between two samples.
const SAMPLE: Duration = Duration::from_secs(1);
/// A gap between samples longer than this is not counted as measured.
const LONGEST_STEP: Duration = Duration::from_secs(30);
/// Most reports that wait, and most receipts, which wait by themselves and go first: a top node may ask for nothing else.
const MOST_WAITING: usize = 4 * MOST_EVENTS;
/// How often a report is tried.
const ATTEMPTS: u32 = 3;
/// Pause before it is tried again, doubled each time.
const RETRY: Duration = Duration::from_secs(5);
/// Most events that are reported on.
const MOST_EVENTS: usize = super::lane::MOST_ORDERS;
/// Most intervals of an event whose means wait to be sent.
const MOST_DONE: usize = 512;

/// Reports on the events that are followed.
pub struct Reporter {
    reports: Reports,
    client: Client,
    name: Arc<str>,
    /// As reports name the sender.
    client_name: String,
    source: SourceKey,
    place: Place,
    desk: Desk,
    clock: Clock,
    frames: watch::Receiver<Option<Frame>>,
    events: watch::Receiver<Vec<Followed>>,
    jobs: BTreeMap<String, Job>,
}

/// What is owed for one event.
struct Job {
    followed: Followed,
    tellings: Vec<Wish>,
    /// The intervals that hold, by number and start.
    open: BTreeMap<(i64, Wall), Measured>,
    /// Those that are over and not sent.
    done: Vec<Measured>,
    /// Reports of means that were sent.
    sent: i64,
    /// When its states were sent last.
    told: Option<Moment>,
    /// When the means of a period of ours were sent last.
    period: Option<Moment>,
}

/// Something to be told, and the unit of its powers.
struct Wish {
    telling: Telling,
    unit: PowerUnit,
}

/// What was measured in an interval.
#[derive(Clone)]
struct Measured {
    number: i64,
    from: Wall,
    until: Option<Wall>,
    energy: Joules,
    time: Duration,
}

impl Reporter {
    /// Nothing is sent yet.
    pub fn new(
        settings: &Settings,
        context: &Context,
        client: Client,
        events: watch::Receiver<Vec<Followed>>,
    ) -> Self {
        Self {
            reports: settings.reports.clone(),
            client,
            name: context.name.clone(),
            client_name: settings.names.ven.clone().unwrap_or_else(|| "ballast".into()),
            source: context.source,
            place: context.place,
            desk: context.desk.clone(),
            clock: context.clock,
            frames: context.frames.clone(),
            events,
            jobs: BTreeMap::new(),
        }
    }

    /// Runs until it is dropped.
    pub async fn run(self) {
        let (receipts, first) = mpsc::channel(MOST_WAITING);
        let (outbox, inbox) = mpsc::channel(MOST_WAITING);
        let (client, name) = (self.client.clone(), self.name.clone());
        tokio::join!(self.watch(receipts, outbox), deliver(client, name, first, inbox));
    }

    async fn watch(mut self, receipts: mpsc::Sender<Value>, outbox: mpsc::Sender<Value>) {
        let mut ticks = tokio::time::interval(SAMPLE);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last: Option<Moment> = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                changed = self.events.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let events = self.events.borrow_and_update().clone();
                    let (news, owed) = self.take(events);
                    for receipt in news {
                        self.send(&receipts, receipt);
                    }
                    for report in owed {
                        self.send(&outbox, report);
                    }
                }
            }
            let now = self.clock.now();
            let step = last.map_or(Duration::ZERO, |last| now - last);
            last = Some(now);
            for report in self.look(now, step) {
                self.send(&outbox, report);
            }
        }
    }

    fn send(&self, outbox: &mpsc::Sender<Value>, report: Value) {
        if outbox.try_send(report).is_err() {
            warn!(
                source = &*self.name,
                "{MOST_WAITING} reports of a kind wait for the top node already; one is dropped"
            );
        }
    }

    fn sample(&self) -> Sample {
        let frame = self.frames.borrow();
        // Where the configuration was read again meanwhile, positions mean something else.
        let ours = self.desk.site_of(self.source);
        let frame = frame.as_ref().filter(|frame| ours.is_some_and(|ours| Arc::ptr_eq(&ours, &frame.site)));
        frame
            .map_or(Sample::NONE, |frame| sample(frame, self.source.position(), self.place, self.clock.now()))
    }

    /// Takes in the events of a poll: begins, changes and ends jobs. Gives the receipts of what is new, and the reports
    /// that are still owed for what is gone.
    fn take(&mut self, events: Vec<Followed>) -> (Vec<Value>, Vec<Value>) {
        let (mut receipts, mut out) = (Vec::new(), Vec::new());
        let mut jobs = std::mem::take(&mut self.jobs);
        let mut kept = BTreeMap::new();
        for event in events.into_iter().take(MOST_EVENTS) {
            let tellings = self.tellings(&event);
            let known = jobs.remove(&event.id);
            let news = known.as_ref().is_none_or(|job| job.followed.revision != event.revision);
            if let Some(payload) = self.reports.acknowledge.as_deref().filter(|_| news && event.obeyed) {
                receipts.push(self.receipt(&event, payload));
            }
            let mut job = known.unwrap_or_else(|| Job::new(event.clone()));
            (job.followed, job.tellings) = (event, tellings);
            if news {
                job.told = None;
            }
            kept.insert(job.followed.id.clone(), job);
        }
        // What was measured under an event that is gone is still owed.
        for mut job in jobs.into_values() {
            job.followed.windows.clear();
            job.measure(&Sample::NONE, self.desk.wall(), Duration::ZERO);
            let done = std::mem::take(&mut job.done);
            out.extend(self.means(&job, &done));
        }
        self.jobs = kept;
        (receipts, out)
    }

    /// What is to be told of an event: what it asks for, and what is configured for all.
    fn tellings(&self, event: &Followed) -> Vec<Wish> {
        let asked = event.wishes.iter().filter(|_| self.reports.asked).filter_map(|wish| {
            let telling = Telling::ALL.into_iter().find(|telling| telling.name() == wish.payload)?;
            let unit = wish.unit.as_deref().and_then(PowerUnit::from_name);
            Some(Wish { telling, unit: unit.unwrap_or(PowerUnit::Kilowatt) })
        });
        let mut tellings: Vec<Wish> = asked.collect();
        if event.obeyed {
            for telling in &self.reports.always {
                if !tellings.iter().any(|wish| wish.telling == *telling) {
                    tellings.push(Wish { telling: *telling, unit: PowerUnit::Kilowatt });
                }
            }
        }
        tellings
    }

    /// Takes a sample in, and gives the reports that are due.
    fn look(&mut self, now: Moment, step: Duration) -> Vec<Value> {
        let (sample, wall) = (self.sample(), self.desk.wall());
        let mut out = Vec::new();
        let mut jobs = std::mem::take(&mut self.jobs);
        for job in jobs.values_mut().filter(|job| !job.tellings.is_empty()) {
            let turned = job.measure(&sample, wall, step);
            let states = job.tellings.iter().any(|wish| !wish.is_mean());
            let due = job.told.is_none_or(|told| turned || now - told >= self.reports.every);
            if states && due && (job.told.is_none() || turned || !job.open.is_empty()) {
                job.told = Some(now);
                out.extend(self.states(job, &sample, wall));
            }
            if job.tellings.iter().any(Wish::is_mean) {
                let done = job.due(now, wall, self.reports.every);
                out.extend(self.means(job, &done));
            }
        }
        self.jobs = jobs;
        out
    }

    /// The present state.
    fn states(&self, job: &Job, sample: &Sample, wall: Wall) -> Option<Value> {
        let wishes: Vec<&Wish> = job.tellings.iter().filter(|wish| !wish.is_mean()).collect();
        let mut payloads = Vec::new();
        for wish in &wishes {
            let value = match wish.telling {
                Telling::OperatingState => json!(sample.state.name()),
                _ => json!(wish.number(sample.sheddable?.get())),
            };
            payloads.push(json!({ "type": wish.telling.name(), "values": [value] }));
        }
        let number = job.open.keys().next().map_or(0, |(number, _)| *number);
        let period = json!({ "start": write_moment(wall), "duration": write_duration(self.reports.every) });
        let intervals = json!([{ "id": number, "intervalPeriod": period, "payloads": payloads }]);
        Some(self.report(&job.followed, "state", &wishes, intervals))
    }

    /// The means of intervals; `None` where nothing was measured in them.
    fn means(&self, job: &Job, done: &[Measured]) -> Option<Value> {
        let wishes: Vec<&Wish> = job.tellings.iter().filter(|wish| wish.is_mean()).collect();
        let measured = done.iter().filter(|measured| !measured.time.is_zero());
        let intervals: Vec<Value> = measured
            .map(|measured| {
                let payloads: Vec<Value> = wishes.iter().map(|wish| wish.mean(measured)).collect();
                let until = measured.until.unwrap_or_else(|| measured.from.later(measured.time));
                let lasted = until.since(measured.from);
                json!({
                    "id": measured.number,
                    "intervalPeriod": { "start": write_moment(measured.from), "duration": write_duration(lasted) },
                    "payloads": payloads,
                })
            })
            .collect();
        if wishes.is_empty() || intervals.is_empty() {
            return None;
        }
        Some(self.report(&job.followed, "measurement", &wishes, Value::Array(intervals)))
    }

    /// That an event has come and is obeyed.
    fn receipt(&self, event: &Followed, payload: &str) -> Value {
        let state = payload == Telling::OperatingState.name();
        let value = if state { self.sample().state.name() } else { "ACCEPTED" };
        let number = event.windows.first().map_or(0, |(number, ..)| *number);
        let intervals = json!([{ "id": number, "payloads": [{ "type": payload, "values": [value] }] }]);
        self.report(event, "receipt", &[], intervals)
    }

    /// The whole of a report. Version 3.0 asks for the programme, version 3.1 does not mind it.
    fn report(&self, event: &Followed, name: &str, wishes: &[&Wish], intervals: Value) -> Value {
        let descriptors: Vec<Value> = wishes.iter().map(|wish| wish.descriptor()).collect();
        let mut report = json!({
            "objectType": "REPORT",
            "eventID": event.id,
            "clientName": self.client_name,
            "reportName": format!("{name} {}", event.id),
            "resources": [{ "resourceName": self.reports.resource, "intervals": intervals }],
        });
        if let Some(fields) = report.as_object_mut() {
            if !event.program.is_empty() {
                fields.insert("programID".into(), json!(event.program));
            }
            if !descriptors.is_empty() {
                fields.insert("payloadDescriptors".into(), Value::Array(descriptors));
            }
        }
        report
    }
}

impl Job {
    fn new(followed: Followed) -> Self {
        Self {
            followed,
            tellings: Vec::new(),
            open: BTreeMap::new(),
            done: Vec::new(),
            sent: 0,
            told: None,
            period: None,
        }
    }

    /// Counts a sample in every interval that holds. Tells whether one has begun or ended.
    fn measure(&mut self, sample: &Sample, wall: Wall, step: Duration) -> bool {
        let before: Vec<(i64, Wall)> = self.open.keys().copied().collect();
        for (number, from, until) in &self.followed.windows {
            let holds = *from <= wall && until.is_none_or(|until| wall < until);
            if holds {
                let measured = self.open.entry((*number, *from)).or_insert_with(|| Measured {
                    number: *number,
                    from: wall.max(*from),
                    until: *until,
                    energy: Joules::ZERO,
                    time: Duration::ZERO,
                });
                measured.until = *until;
                if let Some(power) = sample.power.filter(|_| step <= LONGEST_STEP) {
                    measured.energy += power.over(step);
                    measured.time = measured.time.saturating_add(step);
                }
            }
        }
        let listed = &self.followed.windows;
        let is_over = |key: &(i64, Wall), measured: &Measured| {
            measured.until.is_some_and(|until| until <= wall)
                || !listed.iter().any(|(number, from, _)| (*number, *from) == *key)
        };
        let over: Vec<_> =
            self.open.iter().filter(|(key, measured)| is_over(key, measured)).map(|(key, _)| *key).collect();
        for key in over {
            if let Some(mut measured) = self.open.remove(&key) {
                measured.until = Some(measured.until.unwrap_or(wall).min(wall));
                self.done.push(measured);
            }
        }
        let surplus = self.done.len().saturating_sub(MOST_DONE);
        self.done.drain(..surplus);
        before.len() != self.open.len() || before.iter().any(|key| !self.open.contains_key(key))
    }

    /// The intervals whose means are due now.
    fn due(&mut self, now: Moment, wall: Wall, every: Duration) -> Vec<Measured> {
        let wish = self.followed.wishes.iter().find(|wish| {
            Telling::ALL.into_iter().any(|telling| telling.is_mean() && telling.name() == wish.payload)
        });
        let (frequency, repeat) = wish.map_or((1, -1), |wish| (wish.frequency, wish.repeat));
        let endless = self.open.values().any(|measured| measured.until.is_none());
        if frequency == 0 || endless {
            let begun = *self.period.get_or_insert(now);
            if now - begun < every {
                return Vec::new();
            }
            self.period = Some(now);
            let mut due = std::mem::take(&mut self.done);
            for measured in self.open.values_mut() {
                due.push(Measured { until: Some(wall), ..measured.clone() });
                (measured.from, measured.energy, measured.time) = (wall, Joules::ZERO, Duration::ZERO);
            }
            return due;
        }
        // Without a number: all intervals of the event, each round of them where they are repeated.
        let all = self.followed.intervals.max(1);
        let count = usize::try_from(frequency).ok().filter(|count| *count > 0).unwrap_or(all);
        let finished = self.open.is_empty()
            && !self.followed.windows.iter().any(|(_, _, until)| until.is_none_or(|until| until > wall));
        if (self.done.len() < count && !finished) || self.done.is_empty() {
            return Vec::new();
        }
        let due = std::mem::take(&mut self.done);
        if repeat > 0 && self.sent >= repeat && wish.is_some() {
            return Vec::new();
        }
        self.sent = self.sent.saturating_add(1);
        due
    }
}

impl Wish {
    fn is_mean(&self) -> bool {
        self.telling.is_mean()
    }

    /// A power in the unit of the report.
    fn number(&self, watts: f64) -> f64 {
        let number = watts / self.unit.watts(1.0);
        (number * 1e3).round() / 1e3
    }

    /// The mean of an interval. Both kinds are consumption in the specification, so what is exported counts as none.
    fn mean(&self, measured: &Measured) -> Value {
        let energy = measured.energy.get().max(0.0);
        let value = match self.telling {
            Telling::Usage => (energy / 3.6e6 * 1e3).round() / 1e3,
            _ => self.number(energy / measured.time.as_secs_f64().max(1e-3)),
        };
        json!({ "type": self.telling.name(), "values": [value] })
    }

    fn descriptor(&self) -> Value {
        let mut descriptor =
            json!({ "objectType": "REPORT_PAYLOAD_DESCRIPTOR", "payloadType": self.telling.name() });
        let (unit, reading) = match (self.telling, self.unit) {
            (Telling::OperatingState, _) => return descriptor,
            (Telling::Usage, _) => ("KWH", "MEAN"),
            (_, PowerUnit::Watt) => ("W", "MEAN"),
            (_, PowerUnit::Kilowatt) => ("KW", "MEAN"),
            (_, PowerUnit::Megawatt) => ("MW", "MEAN"),
        };
        let reading = if self.is_mean() && self.telling != Telling::Usage { reading } else { "DIRECT_READ" };
        if let Some(fields) = descriptor.as_object_mut() {
            fields.insert("units".into(), json!(unit));
            fields.insert("readingType".into(), json!(reading));
        }
        descriptor
    }
}

/// Hands reports over, one after the other.
async fn deliver(
    client: Client,
    name: Arc<str>,
    mut receipts: mpsc::Receiver<Value>,
    mut inbox: mpsc::Receiver<Value>,
) {
    let mut told = false;
    loop {
        let next = tokio::select! {
            biased;
            Some(receipt) = receipts.recv() => Some(receipt),
            Some(report) = inbox.recv() => Some(report),
            else => None,
        };
        let Some(report) = next else { return };
        let mut pause = RETRY;
        for attempt in 1..=ATTEMPTS {
            match client.post(client.address(&["reports"]), &report).await {
                Ok(_) => {
                    debug!(source = &*name, "a report is delivered");
                    told = false;
                    break;
                }
                Err(error) => {
                    // What the top node does not want it will not want again.
                    let refused = matches!(error, VenError::Status { status: 400..=428, .. });
                    if attempt == ATTEMPTS || refused {
                        if !told {
                            warn!(source = &*name, "a report cannot be delivered and is dropped: {error}");
                        }
                        told = true;
                        break;
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::ReportWish;
    use super::super::telemetry::OperatingState;
    use super::*;
    use crate::units::Watts;

    const BEGIN: Wall = Wall::unix_millis(1_768_046_400_000);
    const EVERY: Duration = Duration::from_secs(60);

    fn job(windows: Vec<(i64, Wall, Option<Wall>)>, frequency: i64, repeat: i64) -> Job {
        let wish = ReportWish { payload: "DEMAND".into(), unit: None, frequency, historical: true, repeat };
        let mut job = Job::new(Followed {
            id: "e".into(),
            program: "p".into(),
            revision: 1,
            obeyed: true,
            intervals: windows.len(),
            wishes: vec![wish],
            windows,
        });
        job.tellings.push(Wish { telling: Telling::Demand, unit: PowerUnit::Kilowatt });
        job
    }

    fn at(second: u64) -> Wall {
        BEGIN.later(Duration::from_secs(second))
    }

    /// Four intervals of ten seconds; 10 kW in the first, 20 kW in the second and so on.
    fn four() -> Vec<(i64, Wall, Option<Wall>)> {
        (0..4_u64).zip(0_i64..).map(|(n, id)| (id, at(n * 10), Some(at(n * 10 + 10)))).collect()
    }

    /// Lets the seconds pass; gives the second and the numbers and means (kW) of each report.
    fn run(job: &mut Job, seconds: u64) -> Vec<(u64, Vec<(i64, i64)>)> {
        let mut out = Vec::new();
        for second in 0..=seconds {
            let kilowatts = 10.0 * f64::from(u32::try_from(second / 10).unwrap() + 1);
            let power = Some(Watts::kilowatts(kilowatts));
            let sample = Sample { power, state: OperatingState::RunningNormal, sheddable: None };
            // The step before this second belongs to the interval that holds now.
            let step = if second % 10 == 0 { Duration::ZERO } else { Duration::from_secs(1) };
            job.measure(&sample, at(second), step);
            let due = job.due(Moment::millis(second * 1_000), at(second), EVERY);
            if !due.is_empty() {
                let mean = |measured: &Measured| {
                    let mean = job.tellings[0].mean(measured);
                    (measured.number, format!("{:.0}", mean["values"][0].as_f64().unwrap()).parse().unwrap())
                };
                out.push((second, due.iter().map(mean).collect()));
            }
        }
        out
    }

    #[test]
    fn one_report_comes_at_the_end_unless_another_number_is_asked_for() {
        let all = vec![(0, 10), (1, 20), (2, 30), (3, 40)];
        assert_eq!(run(&mut job(four(), -1, 1), 60), [(40, all.clone())]);
        let found = run(&mut job(four(), 2, -1), 60);
        assert_eq!(found, [(20, all[..2].to_vec()), (40, all[2..].to_vec())]);
        assert_eq!(run(&mut job(four(), 1, 3), 60).len(), 3, "no more often than is asked for");
        assert_eq!(run(&mut job(four(), 3, -1), 60), [(30, all[..3].to_vec()), (40, all[3..].to_vec())]);
    }

    #[test]
    fn what_has_no_end_is_reported_every_so_often() {
        let found = run(&mut job(vec![(7, at(0), None)], -1, 1), 130);
        assert_eq!(found.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [60, 120]);
        assert!(found.iter().all(|(_, means)| means.len() == 1 && means[0].0 == 7));
    }

    #[test]
    fn an_interval_that_is_taken_back_ends_there() {
        let mut job = job(vec![(0, at(0), Some(at(600)))], 1, -1);
        assert!(run(&mut job, 5).is_empty());
        job.followed.windows.clear();
        job.measure(&Sample::NONE, at(6), Duration::from_secs(1));
        let due = job.due(Moment::millis(6_000), at(6), EVERY);
        assert_eq!(due.iter().map(|measured| measured.until).collect::<Vec<_>>(), [Some(at(6))]);
    }

    #[test]
    fn time_without_a_value_is_not_counted() {
        let mut job = job(vec![(0, at(0), Some(at(10)))], 1, -1);
        for second in 0..10 {
            let power = (second < 5).then(|| Watts::kilowatts(8.0));
            let sample = Sample { power, ..Sample::NONE };
            job.measure(&sample, at(second), Duration::from_secs(1));
        }
        job.measure(&Sample::NONE, at(10), Duration::from_secs(1));
        let due = job.due(Moment::millis(10_000), at(10), EVERY);
        assert_eq!(due[0].time, Duration::from_secs(5));
        assert_eq!(job.tellings[0].mean(&due[0])["values"], json!([8.0]));
    }
}
