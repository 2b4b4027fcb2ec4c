//! The sections `[circuits.*]` and `[limits.*]`: the electrical tree and what may flow into it.

use std::collections::BTreeMap;

use super::devices::Devices;
use super::diagnostic::{At, Report, Span};
use super::protection;
use super::reader::{MOST_POWER, Table, Wrong, is_a};
use super::sizes::LostCap;
use crate::control::site::{Cap, Circuit, CircuitId, Condition, Limit, LimitClass, MeterId, Scope};
use crate::miner::Connection;
use crate::units::Watts;

/// More circuits than any site has; bounds the search for cycles.
const MOST_CIRCUITS: usize = 10_000;

/// Deeper than any site is wired; keeps whatever walks the tree from going astray.
const MOST_LEVELS: usize = 32;

/// Names of one kind of thing and its positions.
pub(super) struct Names<'a> {
    what: &'static str,
    positions: BTreeMap<&'a str, usize>,
}

impl<'a> Names<'a> {
    pub(super) fn new(what: &'static str, names: impl IntoIterator<Item = &'a str>) -> Self {
        Self { what, positions: names.into_iter().enumerate().map(|(at, name)| (name, at)).collect() }
    }

    /// The position of a name, if it is known.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.positions.get(name).copied()
    }

    /// The position of a name; notes a name that is not known.
    pub(super) fn find(&self, report: &Report<'_>, name: At<&str>) -> Option<usize> {
        let found = self.positions.get(name.value).copied();
        if found.is_none() {
            report.error(
                name.span,
                format!("there is no {} `{}`", self.what, super::reader::shorten(name.value)),
                report.suggest(name.value, self.positions.keys().copied()),
            );
        }
        found
    }
}

/// The circuits, parents first, and where each stands in the file.
pub(super) struct Circuits<'a> {
    pub(super) circuits: Vec<Circuit>,
    pub(super) spans: Vec<Span>,
    pub(super) names: Names<'a>,
    /// Where some keys of each stand.
    pub(super) keys: Vec<CircuitKeys>,
    /// How the breaker of each is reached.
    pub(super) breakers: Vec<Option<Connection>>,
    /// The tree itself is sound: one root, no cycle, every parent known.
    pub(super) sound: bool,
}

/// Where the values of some keys of a circuit stand; `None` where they are not given.
#[derive(Clone, Copy)]
pub(super) struct CircuitKeys {
    pub(super) margin: Option<Span>,
    pub(super) fail_safe: Option<Span>,
}

struct Raw<'a> {
    keys: CircuitKeys,
    name: At<&'a str>,
    parent: Option<At<&'a str>>,
    /// The key `parent` is there, right or wrong.
    has_parent: bool,
    circuit: Circuit,
    breaker: Option<Connection>,
}

/// Reads `[circuits.*]`.
pub(super) fn circuits<'a>(root: &Table<'a>, meters: &Names<'a>, devices: &Devices) -> Circuits<'a> {
    let report = root.report();
    let mut metered: BTreeMap<usize, &str> = BTreeMap::new();
    let mut raw: Vec<Raw<'a>> = root
        .named("circuits")
        .into_iter()
        .map(|(name, table)| circuit(name, table, (meters, devices), &mut metered))
        .collect();
    if raw.is_empty() && !root.has("circuits") {
        report.error(
            root.span(),
            "the file has no [circuits.…]",
            "write at least the point of common coupling, like [circuits.pcc] with meter = \"…\"",
        );
    }
    if raw.len() > MOST_CIRCUITS {
        report.error(
            root.key_span("circuits"),
            format!("the file has {} circuits", raw.len()),
            format!("at most {MOST_CIRCUITS} are supported"),
        );
        raw.truncate(MOST_CIRCUITS);
    }
    let (parents, sound) = parents(&raw, report);
    let order = parents_first(&parents);
    let mut position = vec![None; raw.len()];
    for (new, old) in order.iter().enumerate() {
        if let Some(slot) = position.get_mut(*old) {
            *slot = Some(new);
        }
    }
    let at = |old: usize| position.get(old).copied().flatten();
    for (circuit, parent) in raw.iter_mut().zip(&parents) {
        circuit.circuit.parent = parent.and_then(at).map(CircuitId);
    }
    let sorted: Vec<&Raw<'a>> = order.iter().filter_map(|old| raw.get(*old)).collect();
    Circuits {
        circuits: sorted.iter().map(|raw| raw.circuit.clone()).collect(),
        spans: sorted.iter().map(|raw| raw.name.span).collect(),
        keys: sorted.iter().map(|raw| raw.keys).collect(),
        breakers: sorted.iter().map(|raw| raw.breaker.clone()).collect(),
        names: Names::new("circuit", sorted.iter().map(|raw| raw.name.value)),
        sound: sound && !sorted.is_empty(),
    }
}

fn circuit<'a>(
    name: At<&'a str>,
    table: Table<'a>,
    (meters, devices): (&Names<'a>, &Devices),
    metered: &mut BTreeMap<usize, &'a str>,
) -> Raw<'a> {
    let report = table.report();
    let parent = table.text("parent");
    let has_parent = table.has("parent");
    let meter_name = table.text("meter");
    let meter = meter_name.and_then(|meter| meters.find(report, meter));
    if let (Some(meter), Some(at)) = (meter, meter_name)
        && let Some(other) = metered.insert(meter, name.value)
    {
        report.error(
            at.span,
            format!("meter `{}` already stands at the head of circuit `{other}`", at.value),
            "a meter measures one circuit; give the other one its own, or none",
        );
    }
    let dedicated = table.boolean("dedicated").unwrap_or(false);
    let margin = table.load("margin");
    let other_load = table.load("other_load");
    let fail_safe = table.load("fail_safe");
    if table.has("fail_safe") && !table.has("meter") {
        report.error(
            table.key_span("fail_safe"),
            format!("circuit `{}` has a `fail_safe`, but no meter that could be lost", name.value),
            "give it a meter, or write the value as a limit: [limits.…] with miners = \"…\"",
        );
    }
    if dedicated && !table.has("meter") {
        report.error(
            table.key_span("dedicated"),
            format!("circuit `{}` is `dedicated`, but has no meter", name.value),
            "`dedicated` says that the meter measures miners alone; give the circuit a meter, or leave the key out",
        );
    }
    if let Some(load) = other_load
        && dedicated
        && load.value > Watts::ZERO
    {
        report.error(
            load.span,
            format!("circuit `{}` is `dedicated` to miners and has an `other_load`", name.value),
            "one of the two is not so; leave it out",
        );
    }
    let interlock = protection::interlock(&table, meters);
    let emergency_stop = protection::emergency_stop(&table, meters);
    let breaker = protection::breaker(name.value, &table, devices);
    table.finish();
    Raw {
        keys: CircuitKeys { margin: margin.map(|at| at.span), fail_safe: fail_safe.map(|at| at.span) },
        name,
        parent,
        has_parent,
        circuit: Circuit {
            name: name.value.to_owned(),
            parent: None,
            meter: meter.map(MeterId),
            dedicated,
            margin: margin.map_or(Watts::ZERO, |at| at.value),
            other_load: other_load.map_or(Watts::ZERO, |at| at.value),
            fail_safe: fail_safe.map_or(Watts::ZERO, |at| at.value),
            interlock,
            emergency_stop,
            breaker: breaker.as_ref().map(|(breaker, _)| *breaker),
        },
        breaker: breaker.map(|(_, connection)| connection),
    }
}

/// The parent of each circuit by position, and whether the whole is one tree.
fn parents(raw: &[Raw<'_>], report: &Report<'_>) -> (Vec<Option<usize>>, bool) {
    let names = Names::new("circuit", raw.iter().map(|raw| raw.name.value));
    let mistakes = report.count();
    let parents: Vec<Option<usize>> =
        raw.iter().map(|raw| raw.parent.and_then(|parent| names.find(report, parent))).collect();

    let roots: Vec<&Raw<'_>> = raw.iter().filter(|raw| !raw.has_parent).collect();
    if let Some((first, rest)) = roots.split_first() {
        for other in rest {
            report.error(
                other.name.span,
                format!("circuit `{}` has no `parent`, and neither has `{}`", other.name.value, first.name.value),
                "exactly one circuit is the root, the point of common coupling; name the parent of the others",
            );
        }
    }

    // Walk up from every circuit; what comes back to itself is a cycle, reported once by its first member.
    let mut in_cycle = vec![false; raw.len()];
    for start in 0..raw.len() {
        let mut path = vec![start];
        let mut at = start;
        while let Some(parent) = parents.get(at).copied().flatten() {
            if parent == start {
                report_cycle(raw, &path, &mut in_cycle, report);
                break;
            }
            // A longer walk than there are circuits went round a cycle that `start` is not part of.
            if path.len() > raw.len() {
                break;
            }
            path.push(parent);
            at = parent;
        }
    }
    if report.count() == mistakes {
        let depth = |start: usize| {
            std::iter::successors(Some(start), |at| parents.get(*at).copied().flatten())
                .take(MOST_LEVELS + 1)
                .count()
        };
        if let Some((_, deep)) = raw.iter().enumerate().find(|(at, _)| depth(*at) > MOST_LEVELS) {
            report.error(
                deep.name.span,
                format!("circuit `{}` hangs more than {MOST_LEVELS} levels deep", deep.name.value),
                "leave out circuits that have neither a meter nor a limit",
            );
        }
    }
    (parents, report.count() == mistakes)
}

fn report_cycle(raw: &[Raw<'_>], path: &[usize], in_cycle: &mut [bool], report: &Report<'_>) {
    let Some(first) = path.first().and_then(|first| raw.get(*first)) else {
        return;
    };
    if path.first().and_then(|first| in_cycle.get(*first)).copied().unwrap_or(true) {
        return;
    }
    for member in path {
        if let Some(mark) = in_cycle.get_mut(*member) {
            *mark = true;
        }
    }
    const SHOWN: usize = 12;
    let name = |member: &usize| raw.get(*member).map(|raw| format!("`{}`", raw.name.value));
    let mut members: Vec<String> = path.iter().take(SHOWN).filter_map(name).collect();
    if path.len() > SHOWN {
        members.push(format!("{} more", path.len() - SHOWN));
    }
    members.extend(path.first().and_then(name));
    report.error(
        first.parent.map_or(first.name.span, |parent| parent.span),
        format!("these circuits feed each other in a cycle: {}", members.join(" ← ")),
        "every circuit hangs below another one up to the root, which has no `parent`",
    );
}

/// Positions in depth-first order, children in the order of the file. Circuits outside of any tree come last.
fn parents_first(parents: &[Option<usize>]) -> Vec<usize> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); parents.len()];
    let mut stack = Vec::new();
    for (at, parent) in parents.iter().enumerate().rev() {
        match parent {
            None => stack.push(at),
            Some(parent) => {
                if let Some(children) = children.get_mut(*parent) {
                    children.push(at);
                }
            }
        }
    }
    let mut order = Vec::with_capacity(parents.len());
    while let Some(at) = stack.pop() {
        order.push(at);
        stack.extend(children.get(at).into_iter().flatten());
    }
    let mut reached = vec![false; parents.len()];
    for at in &order {
        if let Some(mark) = reached.get_mut(*at) {
            *mark = true;
        }
    }
    order.extend(reached.iter().enumerate().filter(|(_, reached)| !**reached).map(|(at, _)| at));
    order
}

/// The limits and where each stands in the file.
pub(super) struct Limits {
    pub(super) limits: Vec<Limit>,
    /// Where the cap itself stands.
    pub(super) spans: Vec<Span>,
    /// Where the reading of a cap is named.
    pub(super) readings: Vec<Option<Span>>,
    /// Where the meter of a condition is named.
    pub(super) conditions: Vec<Option<Span>>,
    /// No limit of the file was left out for a mistake.
    pub(super) complete: bool,
}

impl Limits {
    /// What holds while the readings that are caps are lost.
    pub(super) fn lost_caps(&self) -> impl Iterator<Item = LostCap> {
        self.limits.iter().zip(&self.spans).filter_map(|(limit, span)| match limit.cap {
            Cap::Reading { fail_safe, .. } => Some(LostCap {
                span: *span,
                title: format!("the `fail_safe` of limit `{}`", limit.name),
                circuit: limit.circuit,
                scope: limit.scope,
                cap: fail_safe,
            }),
            Cap::Constant(_) => None,
        })
    }
}

/// Reads `[limits.*]`.
pub(super) fn limits<'a>(root: &Table<'a>, circuits: &Circuits<'a>, meters: &Names<'a>) -> Limits {
    let mut result = Limits {
        limits: Vec::new(),
        spans: Vec::new(),
        readings: Vec::new(),
        conditions: Vec::new(),
        complete: true,
    };
    for (name, table) in root.named("limits") {
        let span = table.key_span(if table.has("import") { "import" } else { "miners" });
        let table_of_condition = table.table("while");
        let condition_span = table_of_condition.as_ref().map(|table| table.key_span("meter"));
        if let Some((limit, reading)) = limit(name, table, table_of_condition, circuits, meters) {
            result.limits.push(limit);
            result.spans.push(span);
            result.readings.push(reading);
            result.conditions.push(condition_span);
        } else {
            result.complete = false;
        }
    }
    result
}

fn limit<'a>(
    name: At<&'a str>,
    table: Table<'a>,
    condition_table: Option<Table<'a>>,
    circuits: &Circuits<'a>,
    meters: &Names<'a>,
) -> Option<(Limit, Option<Span>)> {
    let report = table.report();
    let conditional = table.has("while");
    let condition = condition_table.and_then(|table| condition(table, meters));
    let mut reading = None;
    let circuit = table.text("circuit");
    let circuit = table.require("circuit", circuit, "name the circuit that is limited");
    let circuit = circuit.and_then(|circuit| circuits.names.find(report, circuit)).map(CircuitId);
    let import = cap(&table, "import", -MOST_POWER, meters, &mut reading);
    let miners = cap(&table, "miners", 0.0, meters, &mut reading);
    let (scope, cap) = match (table.has("import"), table.has("miners")) {
        (true, false) => (Scope::Import, import),
        (false, true) => (Scope::Miners, miners),
        (true, true) => {
            report.error(
                table.key_span("miners"),
                format!("limit `{}` has both `import` and `miners`", name.value),
                "keep one: `import` caps what flows into the circuit, `miners` what its miners draw; \
                 two limits may share a circuit",
            );
            (Scope::Import, None)
        }
        (false, false) => {
            report.error(
                table.span(),
                format!("limit `{}` caps nothing", name.value),
                "write import = \"…\" to cap what flows into the circuit, or miners = \"…\" to cap what its miners draw",
            );
            (Scope::Import, None)
        }
    };
    let class = table.choice(
        "class",
        &[
            ("surplus", LimitClass::Surplus),
            ("safety", LimitClass::Safety),
            ("grid", LimitClass::Grid),
            ("contract", LimitClass::Contract),
            ("economic", LimitClass::Economic),
        ],
    );
    table.finish();
    let (circuit, cap) = (circuit?, cap?);
    if conditional && condition.is_none() {
        return None;
    }
    let follows_surplus = match cap {
        Cap::Reading { .. } => true,
        Cap::Constant(cap) => scope == Scope::Import && circuit.0 == 0 && cap <= Watts::ZERO,
    };
    let default = if follows_surplus { LimitClass::Surplus } else { LimitClass::Safety };
    let limit = Limit {
        name: name.value.to_owned(),
        circuit,
        scope,
        class: class.map_or(default, |at| at.value),
        cap,
        condition,
    };
    Some((limit, reading))
}

/// `while = { meter = "battery", state_of_charge_below = "60 %", until_above = "80 %" }`.
fn condition<'a>(table: Table<'a>, meters: &Names<'a>) -> Option<Condition> {
    let report = table.report();
    let name = table.text("meter");
    let name = table.require("meter", name, "name the meter that tells the state of charge: meter = \"…\"");
    let meter = name.and_then(|name| meters.find(report, name));
    let below = table.share("state_of_charge_below", 1.0);
    let below = table.require(
        "state_of_charge_below",
        below,
        "say below which charge the limit begins to act, like state_of_charge_below = \"60 %\"",
    );
    let until = table.share("until_above", 1.0);
    let until = table.require(
        "until_above",
        until,
        "say above which charge the limit ends to act, like until_above = \"80 %\"; the way between the two keeps the \
         miners from being switched to and fro",
    );
    table.finish();
    let (meter, below, until) = (meter?, below?, until?);
    if until.value <= below.value || until.value >= 1.0 {
        let (message, help) = if until.value >= 1.0 {
            ("`until_above` is never reached: no battery is fuller than full", "write less than 100 %")
        } else {
            ("`until_above` is not above `state_of_charge_below`", "leave some percent between the two")
        };
        report.error(until.span, message, help);
        return None;
    }
    Some(Condition { meter: MeterId(meter), below: below.value, until: until.value })
}

fn cap<'a>(
    table: &Table<'a>,
    key: &'static str,
    low: f64,
    meters: &Names<'a>,
    reading: &mut Option<Span>,
) -> Option<Cap> {
    let is_table = std::cell::Cell::new(false);
    let constant = table.read(key, |value| {
        if value.is_table() {
            is_table.set(true);
            return Ok(None);
        }
        if !value.is_str() && !value.is_integer() && !value.is_float() {
            return Err(Wrong::new(
                is_a(value),
                "write a power, or { reading = \"…\", fail_safe = \"0 W\" }",
            ));
        }
        super::reader::quantity_of(value, &super::quantity::POWER, low, MOST_POWER)
            .map(|power| Some(Watts::saturating(power)))
    });
    if !is_table.get() {
        let constant = constant.and_then(|at| at.value.map(|cap| At::new(cap, at.span)))?;
        table.report().remember(key, constant.span, constant.value.get());
        return Some(Cap::Constant(constant.value));
    }
    let inner = table.table(key)?;
    let name = inner.text("reading");
    let name = inner.require("reading", name, "name the meter whose value is the cap");
    let meter = name.and_then(|name| meters.find(inner.report(), name));
    *reading = name.map(|name| name.span);
    let fail_safe = inner.power("fail_safe", low, MOST_POWER);
    let broken = inner.has("fail_safe") && fail_safe.is_none();
    inner.finish();
    if broken {
        return None;
    }
    // Unknown means the worst case: without a reading and without a word about it, nothing.
    let fail_safe = fail_safe.map_or(Watts::ZERO, |at| at.value);
    Some(Cap::Reading { meter: MeterId(meter?), fail_safe })
}
