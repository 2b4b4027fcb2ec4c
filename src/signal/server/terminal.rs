//! The registers and what stands behind them: writes become orders, reads are answered from the last cycle.

use std::net::IpAddr;
use std::sync::Arc;

use super::Settings;
use super::map::{self, Commands, Exception, Plan, Telemetry};
use crate::clock::Moment;
use crate::control::frame::Frame;
use crate::control::signal::book::Held;
use crate::control::signal::{Ask, Basis, Order, Receipt, SourceState, Urgency};
use crate::control::site::{CircuitId, Scope};
use crate::rate::Bucket;
use crate::signal::{Context, DeskError, List};
use crate::units::Watts;

/// The order that the limit register gives.
const LIMIT: &str = "limit";
/// The order that the emergency register gives.
const EMERGENCY: &str = "emergency";
/// A cycle that is older than so many periods tells nothing about now.
const PERIODS: u32 = 5;

/// One set of registers, whoever writes them.
pub(super) struct Terminal {
    context: Context,
    unit: Watts,
    emergency_cap: Watts,
    state: tokio::sync::Mutex<State>,
}

struct State {
    commands: Commands,
    accepted: u16,
    refused: u16,
    /// How often a refusal is worth a line.
    log: Bucket,
    /// The orders as they were given last, so that the same again is told in the same words.
    limit: Option<Order>,
    emergency: Option<Order>,
}

impl Terminal {
    /// The registers as the orders that are known left them.
    pub(super) fn new(settings: &Settings, context: Context) -> Self {
        let glance = context.desk.glance(context.source);
        let standing = |name: &str| glance.as_ref().and_then(|glance| glance.standing(name));
        let (limit, emergency) = (standing(LIMIT), standing(EMERGENCY));
        let heard = glance.as_ref().and_then(|glance| glance.view.as_ref()).is_some_and(|view| {
            matches!(view.state, SourceState::Controlled | SourceState::Limited | SourceState::Degraded)
        });
        let mut commands = Commands::new();
        commands.limit = limit.and_then(|held| units(held, settings.scale));
        // A source that is heard and has no limit has said so; one that is not heard has said nothing.
        commands.enable = limit.is_some() || !heard;
        commands.emergency = emergency.is_some();
        let state = State {
            commands,
            accepted: 0,
            refused: 0,
            log: Bucket::new(10, 0.1),
            limit: limit.map(|held| held.order.clone()),
            emergency: emergency.map(|held| held.order.clone()),
        };
        Self {
            context,
            unit: settings.scale,
            emergency_cap: settings.emergency_cap,
            state: tokio::sync::Mutex::new(state),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.context.name
    }

    pub(super) fn now(&self) -> Moment {
        self.context.clock.now()
    }

    /// Words from an address on.
    pub(super) async fn read(&self, start: u16, count: u16) -> Result<Vec<u16>, Exception> {
        let state = self.state.lock().await;
        map::read(&state.commands, &self.telemetry(&state), start, count)
    }

    /// Takes words from an address on. When this returns `Ok`, they are in force.
    pub(super) async fn write(&self, peer: IpAddr, start: u16, words: &[u16]) -> Result<(), Exception> {
        let mut state = self.state.lock().await;
        let result = match state.commands.plan(peer, self.now(), start, words) {
            Ok(plan) => self.carry_out(&mut state, plan).await,
            Err(exception) => {
                let shown = words.get(..words.len().min(5)).unwrap_or_default();
                Err((exception, format!("{shown:?} from register {start} on cannot be taken")))
            }
        };
        result.map_err(|(exception, words)| {
            if exception != Exception::Busy {
                state.refused = state.refused.wrapping_add(1);
                self.context.desk.complain(self.context.source, words.as_str().into());
                if state.log.take(self.now()) {
                    tracing::warn!(source = self.name(), %peer, "a write is refused: {words}");
                }
            }
            exception
        })
    }

    async fn carry_out(&self, state: &mut State, plan: Plan) -> Result<(), (Exception, String)> {
        if plan.orders {
            self.order(state, &plan.next).await.map_err(|error| match error {
                DeskError::Refused(_) => (Exception::Value, error.to_string()),
                _ => (Exception::Busy, error.to_string()),
            })?;
            state.accepted = state.accepted.wrapping_add(1);
        }
        if plan.alive {
            self.context.desk.heartbeat(self.context.source);
        }
        state.commands = plan.next;
        Ok(())
    }

    /// Tells the desk everything that holds by these registers: first what holds, then what does not any more.
    async fn order(&self, state: &mut State, next: &Commands) -> Result<(), DeskError> {
        let wanted = match (next.enable, next.limit) {
            (false, _) => None,
            (true, Some(units)) => Some(self.unit.scaled(f64::from(units))),
            // It has spoken, but not of a limit: until then, what holds is what held without a word.
            (true, None) => self.fail_safe(),
        };
        if let Some(cap) = wanted {
            state.limit = Some(self.give(LIMIT, cap, Urgency::Normal, state.limit.clone()).await?);
        }
        if next.emergency {
            let before = state.emergency.clone();
            let given = self.give(EMERGENCY, self.emergency_cap, Urgency::Emergency, before).await;
            state.emergency = Some(match given {
                Ok(order) => order,
                // A cap of the configuration that cannot be meant must not stand in the way of an emergency.
                Err(DeskError::Refused(_)) => {
                    self.give(EMERGENCY, Watts::ZERO, Urgency::Emergency, None).await?
                }
                Err(error) => return Err(error),
            });
        }
        if wanted.is_none() {
            state.limit = None;
        }
        if !next.emergency {
            state.emergency = None;
        }
        // And that there is nothing else, which is a word of its own where nothing stood before.
        let standing = [&state.limit, &state.emergency].into_iter().flatten().map(|order| order.id.clone());
        let standing: Vec<Arc<str>> = standing.collect();
        for order in self.context.desk.known(self.context.source).iter().filter(|id| !standing.contains(id)) {
            tracing::info!(source = self.name(), order = &**order, "order taken back");
        }
        let list = List { unreadable: standing, ..List::default() };
        self.context.desk.list(self.context.source, list).await?;
        Ok(())
    }

    fn fail_safe(&self) -> Option<Watts> {
        let fail_safe = self.context.desk.settings(self.context.source)?.fail_safe?;
        Some(fail_safe.cap)
    }

    async fn give(
        &self,
        name: &'static str,
        cap: Watts,
        urgency: Urgency,
        before: Option<Order>,
    ) -> Result<Order, DeskError> {
        let (desk, place) = (&self.context.desk, self.context.place);
        let same =
            before.as_ref().filter(|order| order.ask == Ask::Cap(cap) && order.circuit == place.circuit);
        let order = same.cloned().unwrap_or_else(|| Order {
            id: name.into(),
            revision: desk.next_revision(self.context.source, name),
            lane: name.into(),
            priority: u32::MAX,
            circuit: place.circuit,
            scope: place.scope,
            ask: Ask::Cap(cap),
            basis: Basis::Instant,
            urgency,
            from: desk.wall(),
            until: None,
            start_spread: std::time::Duration::ZERO,
        });
        let receipt = desk.give(self.context.source, order.clone()).await?;
        if matches!(receipt, Receipt::Accepted | Receipt::Replaced) {
            tracing::info!(source = self.name(), order = name, cap = %cap, "order accepted");
        }
        Ok(order)
    }

    fn telemetry(&self, state: &State) -> Telemetry {
        let (source, place) = (self.context.source, self.context.place);
        let view = self.context.desk.view(source);
        let now = self.now();
        let ours = self.context.desk.site_of(source);
        let frame = self.context.frames.borrow().clone().filter(|frame| {
            let same = ours.as_ref().is_some_and(|ours| Arc::ptr_eq(ours, &frame.site));
            same && now.since(frame.decision.at) <= frame.site.settings.period.saturating_mul(PERIODS)
        });
        let caps = view.iter().flat_map(|view| &view.caps);
        let here = caps.filter(|cap| cap.circuit == place.circuit && cap.scope == place.scope);
        let measured = frame.as_ref().and_then(|frame| frame.decision.circuits.get(place.circuit.0));
        Telemetry {
            cap: here.map(|cap| cap.cap).min_by(Watts::total_cmp),
            power: measured.and_then(|circuit| match place.scope {
                Scope::Import => circuit.power,
                Scope::Miners => Some(circuit.miners),
            }),
            to_shed: frame
                .as_ref()
                .zip(measured)
                .map(|(frame, circuit)| (circuit.miners - asleep(frame, place.circuit)).at_least_zero()),
            state: view.as_ref().map_or(SourceState::Init, |view| view.state),
            accepted: state.accepted,
            refused: state.refused,
            age: view.and_then(|view| view.age),
            unit: self.unit,
        }
    }
}

/// What the members at or below a circuit draw at the least.
fn asleep(frame: &Frame, circuit: CircuitId) -> Watts {
    frame.site.sums(|_, member| member.least()).get(circuit.0).copied().unwrap_or_default()
}

/// A cap in units, as it stood in the registers.
fn units(held: &Held, unit: Watts) -> Option<u32> {
    let units = (held.cap.get() / unit.get()).round();
    // Through text, which is exact for whole numbers, and refuses what does not fit.
    format!("{units:.0}").parse().ok().filter(|units| *units != map::NONE)
}
