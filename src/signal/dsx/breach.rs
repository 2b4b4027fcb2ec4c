//! More is drawn than a target allows: who is told what, and when it is over.
//!
//! ```text
//!   within ── above, after its time to come down ──► active ── critical, or it lasts ──► escalated
//!     ▲                                                │                                    │
//!     └────────── at or below for a while, or no target any more: resolved ◄────────────────┘
//! ```
//!
//! One breach has one id to its end. What is not measured begins no breach and ends none. A target that is met with best effort alone
//! has none: its status says that it is not met.

use std::time::Duration;

use serde_json::{Value, json};

use super::message::write_power;
use super::plan::Told;
use super::tell::limit;
use crate::clock::Moment;
use crate::control::frame::Frame;
use crate::control::signal::Wall;
use crate::control::site::{CircuitId, LoadClass};
use crate::control::snapshot::Target;
use crate::signal::openadr::time::write_moment;
use crate::units::Watts;

/// Above its target by more than this part, a breach is critical (the schema).
const CRITICAL: f64 = 0.2;
/// A breach that lasts for so long is escalated.
const ESCALATE_AFTER: Duration = Duration::from_secs(60);
/// It is over when nothing was above for so long.
const RESOLVE_AFTER: Duration = Duration::from_secs(3);
/// Most members that are named.
const MOST_HINTS: usize = 64;
/// Differences that are not worth a hint.
const LITTLE: Watts = Watts::whole(10);

/// Where a breach stands, in the words of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It has begun.
    Active,
    /// It is worse, or lasts.
    Escalated,
    /// It is over.
    Resolved,
}

impl Status {
    /// All, in their order.
    pub const ALL: [Self; 3] = [Self::Active, Self::Escalated, Self::Resolved];

    /// As the schema has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Escalated => "escalated",
            Self::Resolved => "resolved",
        }
    }
}

/// A breach.
#[derive(Clone, Debug, PartialEq)]
pub struct Breach {
    /// Its id, from its beginning to its end; a UUID of version 4.
    pub id: String,
    /// Where it stands.
    pub status: Status,
    /// It is above by more than a fifth.
    pub critical: bool,
    /// When it was seen first.
    pub detected: Wall,
    /// When it was over; `None` before.
    pub resolved: Option<Wall>,
    /// Which target is exceeded: its correlation id …
    pub correlation: String,
    /// … and its cap.
    pub cap: Watts,
    /// What was measured last.
    pub measured: Watts,
    begun: Moment,
    /// It was told that it is critical after it was escalated.
    told_critical: bool,
    below_since: Option<Moment>,
}

/// Watches one feed.
#[derive(Debug)]
pub struct Watch {
    /// How far above a target still counts as met, as a fraction.
    allowed: f64,
    /// How long a target that is new or tighter may take until it is met.
    patience: Duration,
    /// The target that is watched: its cap, since when, and whether it was met since.
    watched: Option<(Watts, Moment, bool)>,
    open: Option<Breach>,
}

impl Watch {
    /// Nothing is watched yet.
    pub const fn new(allowed: f64, patience: Duration) -> Self {
        Self { allowed, patience, watched: None, open: None }
    }

    /// The breach that is not over; `None` without one.
    pub const fn open(&self) -> Option<&Breach> {
        self.open.as_ref()
    }

    /// Takes note of a cycle: `target` is the tightest that holds. Gives the breach when there is something to tell of it. `id` is for
    /// one that begins.
    pub fn follow(
        &mut self,
        measured: Option<Watts>,
        target: Option<&Told>,
        (now, wall): (Moment, Wall),
        id: impl FnOnce() -> String,
    ) -> Option<Breach> {
        let Some(target) = target else {
            self.watched = None;
            if let (Some(open), Some(measured)) = (&mut self.open, measured) {
                open.measured = measured;
            }
            return self.resolve(wall);
        };
        let cap = target.cap;
        let (since, met) = match self.watched {
            Some((before, since, met)) if cap >= before => (since, met),
            _ => (now, false),
        };
        self.watched = Some((cap, since, met));
        let measured = measured?;
        let above = measured > limit(cap, self.allowed);
        if !above {
            self.watched = Some((cap, since, true));
        }
        let critical = measured > cap + cap.scaled(CRITICAL);
        let Some(open) = &mut self.open else {
            if !above || !(met || now.since(since) >= self.patience) {
                return None;
            }
            let breach = Breach {
                id: id(),
                status: Status::Active,
                critical,
                detected: wall,
                resolved: None,
                correlation: target.correlation.clone(),
                cap,
                measured,
                begun: now,
                told_critical: false,
                below_since: None,
            };
            return Some(self.open.insert(breach).clone());
        };
        open.measured = measured;
        (open.cap, open.correlation) = (cap, target.correlation.clone());
        if !above {
            let below = *open.below_since.get_or_insert(now);
            return if now.since(below) >= RESOLVE_AFTER { self.resolve(wall) } else { None };
        }
        open.below_since = None;
        open.critical = critical;
        let lasts = now.since(open.begun) >= ESCALATE_AFTER;
        let escalates = open.status == Status::Active && (critical || lasts);
        if escalates || (critical && !open.told_critical) {
            open.status = Status::Escalated;
            open.told_critical = critical;
            return Some(open.clone());
        }
        None
    }

    fn resolve(&mut self, wall: Wall) -> Option<Breach> {
        let open = self.open.take()?;
        Some(Breach { status: Status::Resolved, resolved: Some(wall), ..open })
    }
}

/// Who could give something up.
#[derive(Clone, Debug, PartialEq)]
pub struct Hint {
    /// The name of the member.
    pub member: String,
    /// It can be put to sleep.
    pub suspend: bool,
    /// As low as it goes.
    pub lowest: Watts,
}

/// Who at or below a circuit could give so much up: miners first, then servers that may be interrupted, then those that may be slowed down;
/// in each class those who draw most. Nobody who has power by contract.
pub fn hints(frame: &Frame, circuit: CircuitId, excess: Watts) -> Vec<Hint> {
    let mut members: Vec<(LoadClass, Watts, Hint)> = Vec::new();
    for (member, decided) in frame.site.miners.iter().zip(&frame.decision.miners) {
        if !frame.site.feeds(circuit, member.circuit) || member.class == LoadClass::Guaranteed {
            continue;
        }
        let pausable = matches!(member.class, LoadClass::Miner | LoadClass::Interruptible);
        let (suspend, lowest) = match member.lowest() {
            Target::Sleep if pausable => (true, member.sleep),
            Target::Sleep => (false, member.minimum()),
            Target::Power(power) => (false, power),
        };
        let gives = decided.counted - lowest;
        if gives > LITTLE {
            members.push((member.class, gives, Hint { member: member.name.clone(), suspend, lowest }));
        }
    }
    members.sort_by(|one, other| one.0.cmp(&other.0).then(other.1.total_cmp(&one.1)));
    let (mut found, mut hints) = (Watts::ZERO, Vec::new());
    for (_, gives, hint) in members {
        if found >= excess || hints.len() >= MOST_HINTS {
            break;
        }
        found += gives;
        hints.push(hint);
    }
    hints
}

/// The data of a `grid.powerbreach.alert.v1`. Nothing harder is proposed than to switch off who is named: feeds and breakers are for
/// people to decide on.
pub fn alert(feed: &str, breach: &Breach, hints: &[Hint]) -> Value {
    let over = breach.status == Status::Resolved;
    let mut details = json!({ "breach_id": breach.id, "detected_at": write_moment(breach.detected) });
    if let (Some(details), Some(resolved)) = (details.as_object_mut(), breach.resolved) {
        details.insert("resolved_at".into(), json!(write_moment(resolved)));
    }
    let escalated = breach.status == Status::Escalated && !hints.is_empty();
    let actions: &[&str] = if escalated { &["SHUTDOWN_NODES"] } else { &[] };
    let mut alert = json!({
        "feed_tag": feed,
        "status": breach.status.name(),
        "severity": if breach.critical { "critical" } else { "warning" },
        "breach": details,
        "target": {
            "correlation_id": breach.correlation,
            "load_constraint": write_power(breach.cap),
        },
        "measured_load": write_power(breach.measured),
        "infrastructure_actions": actions,
    });
    if let (Some(alert), false) = (alert.as_object_mut(), over) {
        let hints: Vec<Value> =
            (1_u32..).zip(hints).map(|(priority, hint)| write_hint(hint, priority)).collect();
        alert.insert("shed_hints".into(), json!(hints));
    }
    alert
}

fn write_hint(hint: &Hint, priority: u32) -> Value {
    let mut written = json!({
        "resource_id": hint.member,
        "resource_type": "node",
        "action": if hint.suspend { "suspend" } else { "power_cap" },
        "priority": priority,
    });
    if let (Some(written), false) = (written.as_object_mut(), hint.suspend) {
        written.insert("target_power".into(), write_power(hint.lowest));
    }
    written
}
