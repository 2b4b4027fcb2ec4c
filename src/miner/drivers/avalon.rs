//! Canaan's Avalon miners (A10 to A15, Q, Mini 3, Nano 3s): the cgminer API on TCP 4028, without an account.
//!
//! One command per connection and never two at once. What the driver sets is on and off: `ascset 0,softoff` and
//! `0,softon`, each with the moment at which it takes effect. That moment is in the *miner's* clock, which may be
//! hours off or count from the start; every reply carries it as `When`, so it is reckoned from there. A work mode is
//! no actuator for a control loop: its watts are not told before it runs, it calibrates anew on some models and
//! reboots on others.
//!
//! The state is in `estats`, as text of the form `NAME[values]` under keys that begin with `MM ID`. `PS` is
//! `[error, supply mV, board mV, board A, board W, set mV, wall W]`: only the seventh is the draw at the wall, and a
//! miner whose list ends before it has no such reading. The Nano 3 (not the 3s) has another list: its sixth is watts and
//! its seventh is not. It has neither `SYSTEMSTATU` nor `SoftOFF`.
//!
//! Sources: Canaan "Avalon A10 API manual" and the Avalon Q and Nano 3s API documents (`estats`, `ascset`); pyasic 0.79
//! (`softoff`, `softon` with `1:<unix time>`), asic-rs 0.8 (replies of A1246 and Q on record; `softon` may close
//! without an answer); the Nano 3's list as its owners report it (miner-sentinel #16). The whole list of what can be sent
//! is `Request` below.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::clock::{Clock, Moment};
use crate::control::site::{AnswerWithin, ChangeCost, Response};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::miner::kind::{About, Class, Quantum, Traits};
use crate::miner::reply::fields;
use crate::miner::reply::said::Said;
use crate::miner::wire::Place;
use crate::miner::wire::exchange;
use crate::miner::{Connection, Driver, DriverError, Urgency};
use crate::units::{Watts, WattsPerSecond};

/// What is known of such a miner before it was spoken with.
pub(in crate::miner) const ABOUT: About = About {
    name: "avalon",
    // Its API knows no accounts.
    needs_password: false,
    new: |connection, _| Box::new(Avalon::new(connection)),
    // Switching off takes effect at a moment three seconds ahead; all other times are cautious guesses, as is
    // that it comes back hashing after a reboot.
    traits: Traits {
        quantum: Quantum::Fraction(1.0),
        class: Class::OnOff,
        restarts: false,
        persists: false,
        answers: AnswerWithin::NONE,
        response: Response {
            dead_time_down: Duration::from_secs(5),
            dead_time_up: Duration::from_secs(5),
            ramp_down: WattsPerSecond::whole(500),
            ramp_up: WattsPerSecond::whole(50),
            start_time: Duration::from_secs(180),
            starts_at_full: true,
            start_overshoot: 0.05,
            caps: false,
        },
        cost: ChangeCost {
            adjust: Duration::from_secs(600),
            sleep: Duration::from_secs(600),
            min_interval: Duration::from_secs(60),
        },
        port: 4028,
        username: None,
    },
};

/// How far ahead of the miner's clock a command takes effect: its clock is told in whole seconds, and a moment that has
/// gone by when the command arrives might never come.
const LEAD: u64 = 3;
/// A reading of the miner's clock this old is renewed before it is used.
const CLOCK_LIFE: Duration = Duration::from_secs(60);
/// For this long after a command its effect may not show yet.
const UNDER_WAY: Duration = Duration::from_secs(10);
/// More modules than a controller has.
const MOST_MODULES: usize = 16;
/// Where the wall power is in `PS`.
const WALL: usize = 6;
/// Where it is on a Nano 3.
const WALL_OF_NANO_3: usize = 5;

/// cgminer's code for a command that this client may not give.
const CODE_DENIED: i64 = 45;
/// cgminer's code for an unknown command.
const CODE_NO_COMMAND: i64 = 14;

/// Everything that this driver can say to a miner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Version,
    Estats,
    Summary,
    SoftOff(u64),
    SoftOn(u64),
}

impl Request {
    const fn name(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Estats => "estats",
            Self::Summary => "summary",
            Self::SoftOff(_) => "ascset softoff",
            Self::SoftOn(_) => "ascset softon",
        }
    }

    fn body(self) -> Value {
        match self {
            Self::SoftOff(at) => json!({ "command": "ascset", "parameter": format!("0,softoff,1:{at}") }),
            Self::SoftOn(at) => json!({ "command": "ascset", "parameter": format!("0,softon,1:{at}") }),
            _ => json!({ "command": self.name() }),
        }
    }
}

/// The value of `NAME[value]` in a module's text.
pub(crate) fn bracket<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    if name.is_empty() {
        // It would be found for ever in the same place.
        return None;
    }
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| rest.find(name)) {
        let start = from + found;
        let after = start + name.len();
        let before = text.get(..start).and_then(|head| head.chars().next_back());
        // `PS` must not be found in `POWS`, nor `Elapsed` in another name.
        let whole = !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
        if whole && let Some(rest) = text.get(after..).and_then(|rest| rest.strip_prefix('[')) {
            return rest.split(']').next().map(str::trim);
        }
        from = after;
    }
    None
}

/// A number in brackets, with or without a percent sign.
fn bracket_number(text: &str, name: &str) -> Option<f64> {
    fields::as_number(&Value::from(bracket(text, name)?))
}

/// What `estats` says, over all modules of the controller.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stats {
    wall: Option<f64>,
    /// It has a place for the draw, whatever stands there now.
    has_wall: bool,
    /// In gigahashes per second, at this moment.
    rate: Option<f64>,
    /// The words after `Work:`.
    work: Option<String>,
    soft_off: bool,
    objective: Option<f64>,
    elapsed: Option<f64>,
    errors: String,
}

impl Stats {
    /// Reads `estats`. A controller without modules says nothing of them, as while it starts.
    ///
    /// # Errors
    /// When it is no such answer at all.
    pub(crate) fn read(reply: &Value) -> Result<Self, String> {
        let Some(Value::Array(rows)) = reply.get("STATS") else {
            return Err("`STATS` is missing".to_owned());
        };
        let mut modules: Vec<&str> = Vec::new();
        for row in rows.iter().filter_map(Value::as_object) {
            // `MM ID0`, or `MM ID0:Summary` on newer controllers.
            let texts = row.iter().filter(|(key, _)| key.starts_with("MM ID"));
            modules.extend(texts.filter_map(|(_, value)| value.as_str()).take(MOST_MODULES));
        }
        let mut stats = Self::default();
        for text in modules.iter().take(MOST_MODULES) {
            let work = bracket(text, "SYSTEMSTATU").and_then(|state| {
                let state = state.split(',').next().unwrap_or_default();
                state.strip_prefix("Work:").map(|work| work.trim().to_owned())
            });
            // One module that works is enough.
            if stats.work.as_deref() != Some("In Work") {
                stats.work = work.or(stats.work);
            }
            stats.has_wall |= has_wall(text);
            stats.soft_off |= bracket_number(text, "SoftOFF").is_some_and(|flag| flag > 0.0);
            stats.objective = stats.objective.or_else(|| bracket_number(text, "MPO"));
            stats.elapsed = stats.elapsed.or_else(|| bracket_number(text, "Elapsed"));
            for name in ["ECHU", "ECMM"] {
                let codes = bracket(text, name).unwrap_or_default();
                if stats.errors.is_empty() && codes.split_whitespace().any(|code| code != "0") {
                    stats.errors = format!("{name} {codes}");
                }
            }
        }
        stats.elapsed = stats.elapsed.or_else(|| fields::number(rows.first()?, "Elapsed"));
        // A sum with a part missing is none.
        let sum = |of: fn(&str) -> Option<f64>| {
            modules.iter().take(MOST_MODULES).map(|text| of(text)).reduce(|sum, part| Some(sum? + part?))?
        };
        stats.wall = sum(wall_power);
        stats.rate = sum(|text| bracket_number(text, "GHSspd"));
        Ok(stats)
    }

    /// What it means, with the hashrate of `summary` for firmware whose `estats` has none of this moment.
    pub(crate) fn said(&self, summary: Option<f64>) -> Said {
        let rate = self.rate.or(summary);
        let hashes = rate.is_some_and(|rate| rate > 0.0);
        let activity = match self.work.as_deref() {
            Some("In Work") | None if hashes => Activity::Hashing,
            Some("In Work") => Activity::Starting,
            _ if self.soft_off => Activity::Asleep,
            Some("In Idle") if !self.errors.is_empty() => {
                Activity::Fault(Arc::from(fields::words(&self.errors, &[])))
            }
            // Idle without a command, as while no pool answers: it may begin at any moment.
            _ => Activity::Starting,
        };
        Said {
            power: fields::live_watts(self.wall, self.has_wall),
            hashrate: fields::hashes(rate.map(|gigahashes| gigahashes * 1e9), true),
            activity,
        }
    }
}

fn is_nano_3(text: &str) -> bool {
    bracket(text, "Ver").is_some_and(|version| version.to_ascii_lowercase().starts_with("nano3-"))
}

/// Which word of a module's text is its draw at the wall.
fn wall_word(text: &str) -> Option<&str> {
    let place = if is_nano_3(text) { WALL_OF_NANO_3 } else { WALL };
    bracket(text, "WALLPOWER").or_else(|| bracket(text, "PS")?.split_whitespace().nth(place))
}

fn has_wall(text: &str) -> bool {
    wall_word(text).is_some()
}

/// The draw of a module at the wall. None draws nothing.
fn wall_power(text: &str) -> Option<f64> {
    fields::as_number(&Value::from(wall_word(text)?)).filter(|watts| *watts > 0.0)
}

/// The hashrate in `summary`, for firmware whose `estats` has only averages since the start; in gigahashes per second.
pub(crate) fn summary_rate(reply: &Value) -> Option<f64> {
    let row = reply.pointer("/SUMMARY/0")?;
    let rates = ["MHS 5s", "MHS 30s", "MHS 1m", "MHS av"];
    fields::agreed(rates.map(|key| fields::number(row, key).map(|rate| rate * 1e6))).map(|rate| rate / 1e9)
}

/// Speaks with one miner.
pub struct Avalon {
    place: Place,
    time: Clock,
    /// The miner's clock in seconds, and when it said so.
    when: Option<(u64, Moment)>,
    asleep: Option<bool>,
    /// Until when the latest command counts for more than what the miner shows.
    under_way: Option<Moment>,
    /// What was asked last, and the miner's power objective then.
    asked: Option<(Watts, Option<f64>)>,
    objective: Option<f64>,
}

impl Avalon {
    /// For one miner. Nothing is sent yet.
    pub fn new(connection: &Connection) -> Self {
        Self {
            place: Place::new(connection),
            time: Clock::start(),
            when: None,
            asleep: None,
            under_way: None,
            asked: None,
            objective: None,
        }
    }

    /// Asks, and takes only yes for an answer.
    async fn ask(&mut self, request: Request) -> Result<Value, DriverError> {
        let name = request.name();
        let bytes = exchange::over_tcp(&self.place, name, request.body().to_string().as_bytes()).await?;
        let reply = self.place.json(name, &bytes)?;
        let status = reply.pointer("/STATUS/0");
        let letter = status.and_then(|status| fields::text(status, "STATUS"));
        if let Some(when) = status.and_then(|status| status.get("When")).and_then(Value::as_u64) {
            self.when = Some((when, self.time.now()));
        }
        match letter {
            Some("S" | "I") => Ok(reply),
            Some("E" | "F" | "W") => Err(self.refusal(name, status.unwrap_or(&Value::Null))),
            _ => Err(self.place.malformed(name, "its `STATUS` is missing or unknown")),
        }
    }

    fn refusal(&self, name: &'static str, status: &Value) -> DriverError {
        let message = fields::text(status, "Msg").unwrap_or_default();
        let lower = message.to_ascii_lowercase();
        let reason = match status.get("Code").and_then(Value::as_i64) {
            Some(CODE_DENIED) => Rejection::WriteDisabled,
            _ if lower.contains("access denied") => Rejection::WriteDisabled,
            Some(CODE_NO_COMMAND) => Rejection::Unsupported,
            _ if lower.contains("unknown option") => Rejection::Unsupported,
            // As the firmware spells it while it calibrates.
            _ if lower.contains("permit") || lower.contains("caling") => Rejection::WrongState,
            _ => return self.place.other(name, message, &[]),
        };
        self.place.rejected(name, reason)
    }

    /// The moment at which a command is to take effect, in the miner's clock.
    async fn moment(&mut self) -> Result<u64, DriverError> {
        let usable = self.when.filter(|(_, at)| self.time.now().since(*at) < CLOCK_LIFE);
        let (when, at) = match usable {
            Some(known) => known,
            None => {
                self.when = None;
                self.ask(Request::Version).await?;
                let name = Request::Version.name();
                self.when.ok_or_else(|| self.place.malformed(name, "its `When` is missing"))?
            }
        };
        Ok(when.saturating_add(self.time.now().since(at).as_secs()).saturating_add(LEAD))
    }

    /// Notes that the miner took a command.
    fn took(&mut self, asleep: bool) {
        self.asleep = Some(asleep);
        self.under_way = Some(self.time.now() + UNDER_WAY);
    }

    async fn read_stats(&mut self) -> Result<Stats, DriverError> {
        let name = Request::Estats.name();
        let reply = self.ask(Request::Estats).await?;
        let stats = Stats::read(&reply).map_err(|reason| self.place.malformed(name, reason))?;
        let shows = stats.soft_off && stats.work.as_deref() != Some("In Work");
        let hashes = stats.rate.is_some_and(|rate| rate > 0.0);
        // What says neither keeps what it was told last, as long as it does not hash.
        let told = stats.work.is_some() || stats.soft_off || hashes;
        if told && self.under_way.is_none_or(|until| self.time.now() >= until) {
            self.asleep = Some(shows);
        }
        self.objective = stats.objective;
        Ok(stats)
    }

    /// Hashrate by `summary`; a miner that refuses it says none.
    async fn read_rate(&mut self) -> Result<Option<f64>, DriverError> {
        match self.ask(Request::Summary).await {
            Ok(reply) => Ok(summary_rate(&reply)),
            Err(DriverError::Rejected { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// All readers of this driver, for the fuzz targets.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_all(reply: &Value) -> Vec<Said> {
    let summary = summary_rate(reply);
    Stats::read(reply).map(|stats| [stats.said(None), stats.said(summary)].to_vec()).unwrap_or_default()
}

#[async_trait]
impl Driver for Avalon {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        let stats = self.read_stats().await?;
        let summary = if stats.rate.is_none() { self.read_rate().await? } else { None };
        let Said { power, hashrate, mut activity } = stats.said(summary);
        if stats.work.is_none() && activity == Activity::Starting && self.asleep == Some(true) {
            activity = Activity::Asleep;
        }
        let target = match (&activity, self.asked) {
            (Activity::Asleep, _) => Measured::Value(Target::Sleep),
            // It has one power alone; that one is what was asked while its objective stays the same.
            (_, Some((asked, objective))) if objective == stats.objective => {
                Measured::Value(Target::Power(asked))
            }
            _ => match stats.objective.filter(|watts| *watts > 0.0) {
                Some(watts) => Measured::Value(Target::Power(Watts::saturating(watts))),
                None => Measured::Unavailable,
            },
        };
        Ok(MinerStatus {
            power,
            hashrate,
            activity,
            target,
            range: None,
            points: None,
            uptime: stats.elapsed.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        })
    }

    async fn apply(&mut self, target: Target, _: Urgency) -> Result<(), DriverError> {
        match target {
            Target::Sleep => {
                let at = self.moment().await?;
                self.ask(Request::SoftOff(at)).await?;
                self.took(true);
                Ok(())
            }
            Target::Power(power) => {
                if self.asleep.is_none() {
                    self.read_stats().await?;
                }
                if self.asleep == Some(true) {
                    let at = self.moment().await?;
                    self.ask(Request::SoftOn(at)).await?;
                    self.took(false);
                }
                // Awake it has one power alone, and runs at it.
                self.asked = Some((power, self.objective));
                Ok(())
            }
        }
    }

    async fn close(&mut self) {
        // Nothing is open between two exchanges.
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_found_whole_and_not_within_another() {
        let text =
            "POWS[7] XPS[8] PS[0 1214 1316 242 3189 1320 3504] SYSTEMSTATU[Work: In Work, Hash Board: 3 ]";
        assert_eq!(bracket(text, "PS"), Some("0 1214 1316 242 3189 1320 3504"));
        assert_eq!(bracket(text, "WORK"), None);
        assert_eq!(wall_power(text), Some(3504.0));
        // Six values: the board's power is not the draw at the wall.
        assert_eq!(wall_power("Ver[Mini3-25011701_3f53b19] PS[0 1210 2083 37 760 2085 824]"), Some(824.0));
        assert_eq!(wall_power("PS[0 1217 1279 221 2834 1280]"), None);
        assert_eq!(wall_power("PS[0 0 0 0 0 0 0]"), None);
        assert_eq!(wall_power("PS[0 0 0 0 0 0 x]"), None);
        // The Nano 3 has another list than the Nano 3s.
        assert_eq!(wall_power("Ver[nano3-25103101_0736b2e] PS[0 0 0 4 2756 126 330]"), Some(126.0));
        assert_eq!(wall_power("Ver[Nano3s-25021401_0000000] PS[0 0 27965 2 0 3210 66]"), Some(66.0));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,200}", name in "[A-Z]{0,4}") {
            let _ = bracket(&text, &name);
            let _ = wall_power(&text);
            let _ = Stats::read(&json!({ "STATS": [{ "MM ID0": text }] }));
        }
    }
}
