//! What each circuit's own limits leave to its miners.
//!
//! `headroom(t) = limit − (meter(t) − miners(t))`, meter and miners **at the same instant**, so that a command in
//! flight cancels out and is never corrected twice. How late the meter is, and so what the miners have in its value, is
//! known only within bounds ([`super::lag`]): a shed goes by the most that they may have in it, a raise by the least.
//! Between the two nothing is moved.
//!
//! Where meters see the miners alone they are what the circuit's meter is compared with; elsewhere it is the estimate
//! that the control law kept.

use std::time::Duration;

use crate::control::balance::Outlook;
use crate::control::decision::{LimitValue, Source};
use crate::control::meters::{CircuitMemory, LEAST_DRAWN, Meters};
use crate::control::signal::{Active, Urgency, Why};
use crate::control::site::{Cap, Circuit, CircuitId, Limit, LimitClass, LimitId, Scope, Site};
use crate::control::snapshot::OrderCap;
use crate::control::stop::{self, Stop};
use crate::control::tree::Tree;
use crate::units::Watts;

/// Caps beyond this many watts mean the same, and leave differences exact: see what is plausible of a meter.
const PLAUSIBLE: Watts = Watts::whole(2_000_000_000);

/// A circuit's own limits in one cycle. All are watts for its miners, infinite without any limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Headroom {
    /// The meter's latest good value, while it is fresh.
    pub power: Option<Watts>,
    /// Load other than miners, generation negative.
    pub outlook: Outlook,
    /// What meters that see miners alone, here or below, show of them beyond what they say.
    pub unsaid: f64,
    /// What is left out of that because it is counted for servers that swing. Something else may draw it: no limit but that of following
    /// the surplus leaves it out.
    pub masked: f64,
    /// How much of that the outlook lacks.
    pub hidden: f64,
    /// What its miners that do not answer may come to draw without having been told to. It counts against every limit but that
    /// of following the surplus by what flows in, where the circuit's own meter is fresh: there a rise is seen like that of any other load.
    pub unseen: f64,
    /// What is kept free because the other load moves.
    pub reserve: f64,
    /// The same, were the load as high as it has been in the last forty seconds.
    pub reserve_at_top: f64,
    /// What may come of a load that switches.
    pub away: f64,
    /// What the tightest own limit leaves: above it miners are lowered.
    pub headroom: f64,
    /// What they may be raised to. At most the headroom.
    pub raise: f64,
    /// The headroom had nothing been kept free. Above it miners are put to sleep, once that is certain to be needed.
    pub firm: f64,
    /// The same by the limits alone for which they are put to sleep at once. At least `firm`.
    pub urgent: f64,
    /// The same by those alone that stand before any contract: limits of class `safety`, interlocks, emergency stops, and a lost
    /// meter that such a limit needs. At least `urgent`.
    pub safety: f64,
    /// What set the headroom; [`Source::Fleet`] without any.
    pub binding: Source,
    /// Every limit that acts here.
    pub limits: Vec<LimitValue>,
    /// Whether a limit that acts is exceeded by what its meter says, or nothing says that it is not.
    pub exceeded: bool,
    /// Time between two samples of its meter; zero without one.
    pub apart: Duration,
    /// Whether the meter may be raised on: it has not failed to show what the miners did.
    pub shows: bool,
    /// What may be drawn at the most on the word of a meter that has not yet been seen to move with the miners.
    pub unproven: f64,
    /// What they might be raised to but for that, in watts.
    pub if_proven: f64,
    /// What they are lowered to so that its meter may show it ([`super::meters::Question`]); infinite where it is not asked. It is no limit: nothing
    /// is exceeded above it, and no contract is broken for it.
    pub asked: f64,
    /// Whether one of them may be put to sleep for that.
    pub asked_by_sleep: bool,
}

impl Headroom {
    /// Other load as it most likely is, in watts, generation negative: those on their way down draw less than they say.
    pub fn other(&self) -> f64 {
        self.outlook.level + self.outlook.further
    }

    /// Whether it is the surplus that says how much there is: it comes and goes. Where another limit says so, or none, what is there stays.
    pub fn follows_surplus(&self) -> bool {
        self.firm < self.urgent
    }
}

/// What the headrooms are worked out from, beside the meters.
pub struct Terms<'t> {
    /// The site.
    pub site: &'t Site,
    /// Its circuits.
    pub tree: &'t Tree,
    /// Per circuit, the sum of the nameplates of all miners at or below it.
    pub nameplates: &'t [f64],
    /// Per circuit, true watts for each of their own.
    pub scale: &'t [f64],
    /// Per circuit, the most that one of them draws while it starts.
    pub largest: &'t [f64],
    /// Per circuit, what they draw when all of them sleep.
    pub asleep: &'t [f64],
    /// Per circuit, what they draw now, as estimated.
    pub drawn: &'t [f64],
    /// Per circuit, what those of them that do not answer may draw beyond that without anybody having told them to.
    pub unseen: &'t [f64],
    /// Per circuit, what is counted for servers beyond what they are estimated to draw now, because they drew it lately.
    pub swing: &'t [f64],
    /// Per limit, whether it acts.
    pub acting: &'t [bool],
    /// Per circuit, how its emergency stop stands.
    pub stops: &'t [Stop],
    /// What is ordered from outside.
    pub orders: &'t [OrderCap],
}

/// Everything about the circuits' own limits, parents before children.
pub fn headrooms(terms: &Terms<'_>, memories: &[CircuitMemory], meters: Meters<'_>) -> Vec<Headroom> {
    let site = terms.site;
    let outlooks = outlooks(terms, memories, meters);
    let mut result: Vec<Headroom> = site
        .circuits
        .iter()
        .zip(outlooks)
        .zip(memories)
        .enumerate()
        .map(|(index, ((circuit, Seen { outlook, unsaid, masked, hidden }), memory))| {
            let nameplate = terms.nameplates.get(index).copied().unwrap_or(0.0);
            let drawn = terms.drawn.get(index).copied().unwrap_or(0.0).max(nameplate * LEAST_DRAWN);
            let metered = meters.of(site, circuit).filter(|_| !circuit.dedicated);
            let share = site.settings.import_share * drawn;
            // Other limits have the margin anyway.
            let follows = |limit: &Limit| {
                limit.circuit.0 == index && limit.class == LimitClass::Surplus && limit.scope == Scope::Import
            };
            let first = if site.limits.iter().any(follows) { circuit.margin.get() } else { 0.0 };
            let (reserve, reserve_at_top) = metered.map_or((0.0, 0.0), |_| {
                let balance = &memory.balance;
                (balance.reserve(share, first, nameplate), balance.reserve_at_top(share, first, nameplate))
            });
            let fresh = meters.of(site, circuit).filter(|(_, seen)| seen.fresh());
            Headroom {
                power: fresh.and_then(|(_, seen)| seen.input.power).map(|reading| reading.value),
                outlook,
                unsaid,
                masked,
                hidden,
                unseen: terms.unseen.get(index).copied().unwrap_or(0.0),
                reserve,
                reserve_at_top,
                away: metered.map_or(0.0, |_| memory.balance.away()),
                headroom: f64::INFINITY,
                raise: f64::INFINITY,
                firm: f64::INFINITY,
                urgent: f64::INFINITY,
                safety: f64::INFINITY,
                binding: Source::Fleet,
                limits: Vec::new(),
                exceeded: false,
                apart: metered.map_or(Duration::ZERO, |(_, seen)| seen.period),
                shows: memory.pulse.shows(),
                unproven: metered.map_or(f64::INFINITY, |_| {
                    let scale = terms.scale.get(index).copied().unwrap_or(1.0);
                    memory.unproven(nameplate, scale, terms.largest.get(index).copied().unwrap_or(0.0))
                }),
                if_proven: f64::INFINITY,
                asked: f64::INFINITY,
                asked_by_sleep: false,
            }
        })
        .collect();
    apply_limits(site, meters, terms.acting, &mut result);
    apply_orders(site, terms.orders, &mut result);
    apply_interlocks(site, terms.asleep, meters, &mut result);
    apply_stops(site, terms, meters, &mut result);
    apply_lost_meters(terms, meters, &mut result);
    ask(terms, memories, meters, &mut result);
    result
}

/// Load other than miners is known from the leaves up: a circuit without a meter adds up what it feeds, and what a
/// dedicated meter shows beyond its miners belongs to it and to every circuit above; it stands beside each.
fn outlooks(terms: &Terms<'_>, memories: &[CircuitMemory], meters: Meters<'_>) -> Vec<Seen> {
    let site = terms.site;
    let mut outlooks = vec![Seen::default(); site.circuits.len()];
    for (index, (circuit, memory)) in site.circuits.iter().zip(memories).enumerate().rev() {
        let children = terms.tree.children(index);
        let below: Vec<Seen> = children.iter().filter_map(|&child| outlooks.get(child)).copied().collect();
        let more: f64 = below.iter().map(|seen| seen.unsaid).sum();
        let masked: f64 = below.iter().map(|seen| seen.masked).sum();
        let known = memory.balance.outlook().filter(|_| meters.of(site, circuit).is_some());
        let own = circuit.other_load.get();
        let at = |level: f64| Outlook { level, ..Outlook::default() };
        let seen = match known {
            Some(known) if circuit.dedicated => {
                // A server that swings says a mean, and late. Up to what is counted for its swing the meter shows nothing new.
                let counted = terms.swing.get(index).copied().unwrap_or(0.0);
                let unexplained = memory.unexplained(&known);
                let excess = (unexplained - counted).max(more);
                let masked = (unexplained.max(more + masked) - excess).max(0.0);
                Seen { outlook: at(excess), unsaid: excess, masked, hidden: masked }
            }
            Some(known) => {
                // The children's excess is in their meters, and so was taken for miners here.
                let covered = |value: f64| if memory.miners_metered { value } else { 0.0 };
                let outlook = Outlook { level: known.level + covered(more), ..known };
                Seen { outlook, unsaid: more, masked, hidden: covered(masked) }
            }
            None if circuit.dedicated => Seen { outlook: at(more), unsaid: more, masked, hidden: masked },
            None => {
                let below = below.into_iter().fold(Outlook::default(), |sum, Seen { outlook, .. }| Outlook {
                    level: sum.level + outlook.level,
                    below: sum.below + outlook.below,
                    above: sum.above + outlook.above,
                    further: sum.further + outlook.further,
                    ahead: sum.ahead + outlook.ahead,
                });
                let level = own + if circuit.meter.is_some() { below.level.max(0.0) } else { below.level };
                Seen { outlook: Outlook { level, ..below }, unsaid: more, masked, hidden: masked }
            }
        };
        if let Some(slot) = outlooks.get_mut(index) {
            *slot = seen;
        }
    }
    outlooks
}

/// What is drawn beside the miners of a circuit, in watts, as the fields of [`Headroom`] of the same names say it.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    outlook: Outlook,
    unsaid: f64,
    masked: f64,
    hidden: f64,
}

/// A value on its way from what was last known to the fail-safe, never above either while it is lost.
fn decay(known: f64, fail_safe: f64, lost: f64) -> f64 {
    if lost <= 0.0 { known } else { known + (fail_safe.min(known) - known) * lost }
}

/// What sets a cap: what it is listed as, what binds where it is the tightest, and whether it is there to follow the
/// surplus, so that a moment above it costs energy and nothing else.
#[derive(Clone, Copy)]
struct Setter {
    listed: Source,
    binding: Source,
    patient: bool,
    /// Whether it stands before any contract.
    safety: bool,
}

impl Setter {
    /// What is there to protect people and wires.
    const fn safety(source: Source) -> Self {
        Self { listed: source, binding: source, patient: false, safety: true }
    }
}

fn apply_limits(site: &Site, meters: Meters<'_>, acting: &[bool], result: &mut [Headroom]) {
    for (index, limit) in site.limits.iter().enumerate() {
        let Some((circuit, slot)) = site.circuits.get(limit.circuit.0).zip(result.get_mut(limit.circuit.0))
        else {
            continue;
        };
        let id = Source::Limit(LimitId(index));
        let (cap, source) = match limit.cap {
            Cap::Constant(cap) => (cap.clamp(-PLAUSIBLE, PLAUSIBLE).get(), id),
            Cap::Reading { meter: meter_id, fail_safe } => {
                let Some(seen) = meters.seen.get(meter_id.0) else {
                    continue;
                };
                let cap = match seen.input.power {
                    Some(reading) => decay(reading.value.get(), fail_safe.get(), seen.lost),
                    None => fail_safe.get(),
                };
                (cap, if seen.lost > 0.0 { Source::LostMeter(meter_id) } else { id })
            }
        };
        let acts = acting.get(index).copied().unwrap_or(true);
        let patient = limit.class == LimitClass::Surplus && source == id;
        let safety = limit.class == LimitClass::Safety;
        slot.cap(circuit, limit.scope, cap, Setter { listed: id, binding: source, patient, safety }, acts);
    }
}

/// Orders from outside are limits like any other.
fn apply_orders(site: &Site, orders: &[OrderCap], result: &mut [Headroom]) {
    for OrderCap { source, active: Active { circuit: id, scope, cap, why, .. } } in orders {
        let Some((circuit, slot)) = site.circuits.get(id.0).zip(result.get_mut(id.0)) else { continue };
        let safety = site.sources.get(source.0).is_some_and(|source| source.class == LimitClass::Safety);
        let source = match why {
            Why::Order(_) | Why::Returning(_) | Why::Kept(_) => Source::Order(*source),
            Why::FailSafe | Why::Released => Source::LostSource(*source),
        };
        let cap = (*cap).clamp(-PLAUSIBLE, PLAUSIBLE).get();
        let setter = Setter { listed: source, binding: source, patient: false, safety };
        slot.cap(circuit, *scope, cap, setter, true);
    }
}

/// Whether an order says that it is an emergency.
pub fn emergency(orders: &[OrderCap]) -> bool {
    orders.iter().any(|order| order.active.urgency == Urgency::Emergency)
}

/// Of each circuit, whether more is drawn there or above than what protects people and wires allows. Nothing that was agreed stands
/// before that.
pub(super) fn endangered(tree: &Tree, circuits: &[Headroom], sums: &[f64]) -> Vec<bool> {
    above(tree, circuits, sums, |circuit| circuit.safety)
}

/// Of each circuit, whether an emergency stop or an interlock there or above lets nobody run.
pub(super) fn stopped(tree: &Tree, circuits: &[Headroom]) -> Vec<bool> {
    let own = |circuit: &Headroom| {
        let mut acting = circuit.limits.iter().filter(|limit| limit.acts);
        acting.any(|limit| matches!(limit.source, Source::Stop(_) | Source::Interlock(_)))
    };
    let own: Vec<bool> = circuits.iter().map(own).collect();
    tree.below(&own)
}

/// Of each circuit, whether more is drawn there or above than a limit of it allows.
pub(super) fn above(
    tree: &Tree,
    circuits: &[Headroom],
    sums: &[f64],
    most: impl Fn(&Headroom) -> f64,
) -> Vec<bool> {
    let over: Vec<bool> =
        circuits.iter().zip(sums).map(|(circuit, sum)| *sum > most(circuit).max(0.0) + 1e-6).collect();
    tree.below(&over)
}

/// Of each circuit, whether an order there or above says that it is an emergency.
pub fn emergencies(site: &Site, orders: &[OrderCap]) -> Vec<bool> {
    let mut own = vec![false; site.circuits.len()];
    for OrderCap { active, .. } in orders.iter().filter(|order| order.active.urgency == Urgency::Emergency) {
        if let Some(own) = own.get_mut(active.circuit.0) {
            *own = true;
        }
    }
    let here = |index| site.up(CircuitId(index)).any(|(above, _)| own.get(above.0) == Some(&true));
    (0..own.len()).map(here).collect()
}

/// Where what must hold does not hold, or is not known to, the miners sleep. They may draw what they draw asleep.
fn apply_interlocks(site: &Site, asleep: &[f64], meters: Meters<'_>, result: &mut [Headroom]) {
    for (((circuit, slot), asleep), index) in site.circuits.iter().zip(result.iter_mut()).zip(asleep).zip(0..)
    {
        let Some(interlock) = circuit.interlock else { continue };
        let seen = meters.seen.get(interlock.meter.0).filter(|seen| seen.fresh());
        let holds = seen.and_then(|seen| seen.low).is_some_and(|power| power.value >= interlock.at_least);
        let source = Source::Interlock(CircuitId(index));
        let (cap, room) = (Some(Watts::saturating(*asleep)), *asleep - slot.unseen);
        slot.limits.push(LimitValue { source, cap, headroom: Watts::saturating(room), acts: !holds });
        if !holds {
            slot.tighten(room, room, room, Setter::safety(source));
        }
    }
}

/// Where an emergency stop is latched, or its contact is not seen to be closed, the miners sleep.
fn apply_stops(site: &Site, terms: &Terms<'_>, meters: Meters<'_>, result: &mut [Headroom]) {
    let each =
        site.circuits.iter().zip(result.iter_mut()).zip(terms.asleep).zip(terms.drawn).zip(terms.stops);
    for (((((circuit, slot), asleep), drawn), state), index) in each.zip(0..) {
        let Some(stop) = &circuit.emergency_stop else { continue };
        // One whose contact is open is latched.
        let acts = state.latched();
        let source = Source::Stop(CircuitId(index));
        let (cap, room) = (Some(Watts::saturating(*asleep)), *asleep - slot.unseen);
        slot.limits.push(LimitValue { source, cap, headroom: Watts::saturating(room), acts });
        if acts {
            slot.tighten(room, room, room, Setter::safety(source));
        } else if stop::contact(meters.seen, stop).is_none() {
            // A contact that a reload has brought is read a moment later: until then nobody is raised or woken, and nobody who
            // runs is stopped for it. Lost for its time it is latched.
            slot.raise = slot.raise.min(*drawn);
        }
    }
}

impl Headroom {
    /// Takes in a cap on its circuit.
    fn cap(&mut self, circuit: &Circuit, scope: Scope, cap: f64, setter: Setter, acts: bool) {
        let margin = if setter.patient { 0.0 } else { circuit.margin.get() };
        let [headroom, raise, if_proven, firm] = match scope {
            Scope::Import => {
                let room = cap - margin;
                // What switches may come back at any moment: only where a moment above the limit costs nothing but energy does one
                // go by how long it stays away.
                let reserve = if setter.patient { self.reserve } else { self.reserve.max(self.away) };
                let free = room - self.outlook.for_raise() - reserve;
                // Following the surplus, nothing is shed twice while it is in doubt whether the meter shows the first
                // shed already. Any other limit is kept by the most likely: too much shed is better than one exceeded.
                let doubt = if setter.patient { self.outlook.below } else { 0.0 };
                let hidden = if setter.patient { 0.0 } else { self.hidden };
                let firm = room - (self.outlook.level - doubt) - hidden;
                let unsaid = hidden + if setter.patient { 0.0 } else { self.outlook.further };
                let raise = free.min(self.unproven) - unsaid;
                [firm - self.outlook.ahead - reserve, raise, free - unsaid, firm]
            }
            Scope::Miners => {
                let masked = if setter.patient { 0.0 } else { self.masked };
                let room = cap - margin - self.unsaid - masked;
                [room; 4]
            }
        };
        // Whatever a silent miner draws is in the value of a meter that is fresh, but not in what miners are counted for.
        let seen = setter.patient && scope == Scope::Import && self.power.is_some();
        let unseen = if seen { 0.0 } else { self.unseen };
        let [headroom, raise, if_proven, firm] = [headroom, raise, if_proven, firm].map(|room| room - unseen);
        self.limits.push(LimitValue {
            source: setter.listed,
            cap: Some(Watts::saturating(cap)),
            headroom: Watts::saturating(headroom),
            acts,
        });
        if !acts {
            return;
        }
        let told = self.power.filter(|_| scope == Scope::Import || circuit.dedicated);
        self.exceeded |= told.is_none_or(|power| power.get() > cap);
        self.if_proven = self.if_proven.min(if_proven);
        self.tighten(headroom, raise, firm, setter);
    }

    fn tighten(&mut self, headroom: f64, raise: f64, firm: f64, setter: Setter) {
        self.firm = self.firm.min(firm);
        if !setter.patient {
            self.urgent = self.urgent.min(firm);
        }
        if setter.safety {
            self.safety = self.safety.min(firm);
        }
        if headroom < self.headroom {
            self.headroom = headroom;
            self.binding = setter.binding;
        }
        self.raise = self.raise.min(raise).min(self.headroom);
        self.if_proven = self.if_proven.min(self.headroom);
    }
}

/// A meter that is lost is a limit on the miners of its circuit. Where nothing but the surplus is at stake and a meter
/// further up is sound, it is none: that meter and the miners' own word carry on.
fn apply_lost_meters(terms: &Terms<'_>, meters: Meters<'_>, result: &mut [Headroom]) {
    let site = terms.site;
    for (index, circuit) in site.circuits.iter().enumerate() {
        let (Some(id), Some((_, seen))) = (circuit.meter, meters.of(site, circuit)) else {
            continue;
        };
        if seen.lost <= 0.0 {
            continue;
        }
        let path = terms.tree.path(index).iter().skip(1);
        let seen_above = path
            .filter_map(|&above| site.circuits.get(above))
            .any(|above| meters.of(site, above).is_some_and(|(_, seen)| seen.fresh()));
        let Some(slot) = result.get_mut(index) else { continue };
        let at_risk = slot.limits.iter().any(|limit| limit.acts);
        if seen_above && !at_risk && circuit.dedicated {
            continue;
        }
        let nameplate = terms.nameplates.get(index).copied().unwrap_or(0.0);
        let fail_safe = circuit.fail_safe.get();
        let known = seen.input.power.is_some();
        let room = if known {
            // Without a fresh meter every limit has given up what is unseen; the fail-safe value does so once.
            decay((slot.headroom + slot.unseen).min(nameplate), fail_safe, seen.lost)
        } else {
            fail_safe
        };
        let headroom = room - slot.unseen;
        let source = Source::LostMeter(id);
        slot.limits.push(LimitValue { source, cap: None, headroom: Watts::saturating(headroom), acts: true });
        if headroom <= slot.headroom || !known {
            slot.binding = source;
        }
        // Without the meter nobody knows whether a limit that protects something is kept.
        let safety = slot.safety.is_finite();
        let setter = Setter { listed: source, binding: slot.binding, patient: false, safety };
        slot.tighten(headroom, headroom, headroom, setter);
    }
}

/// Where a meter has stood still for longer than it does, its miners are put a little lower to see whether it lives.
fn ask(terms: &Terms<'_>, memories: &[CircuitMemory], meters: Meters<'_>, result: &mut [Headroom]) {
    let each = terms.site.circuits.iter().zip(memories).zip(terms.scale).zip(result);
    for (((circuit, memory), scale), slot) in each {
        let fresh = meters.of(terms.site, circuit).is_some_and(|(_, seen)| seen.fresh());
        let Some(question) = memory.pulse.question(meters.now).filter(|_| fresh) else { continue };
        slot.asked = question.most * scale;
        slot.asked_by_sleep = question.by_sleep;
        slot.raise = slot.raise.min(slot.asked);
    }
}
