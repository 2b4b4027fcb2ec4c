//! The section `[signals.*]`: who outside may give orders, and what holds when nobody is heard.
//!
//! The keys that all kinds share are read here; those of one kind in its own file.

mod amount;
mod calendar;
mod contact;
mod dsx;
mod guard;
mod openadr;
mod price;
mod server;
mod settlement;
pub(in crate::config) mod windows;

use std::time::Duration;

use jiff::tz::TimeZone;

use super::circuits::{Circuits, Limits, Names};
use super::diagnostic::At;
use super::meters::Links;
use super::reader::Table;
use super::secrets::Store;
use super::sizes::LostCap;
use crate::control::signal::source::{FailSafe, Feed, Release, SourceSettings};
use crate::control::site::{CircuitId, LimitClass, OrderSource, Scope};
use crate::energy::baseline::Baseline;
use crate::meter::Connection;
use crate::signal::{Kind, OPERATOR, Place, Spec, mqtt};

const DAY: Duration = Duration::from_secs(86_400);

/// What the readers of one kind may need.
pub(super) struct Context<'c, 'a> {
    pub(super) circuits: &'c Circuits<'a>,
    pub(super) meters: &'c Names<'a>,
    pub(super) store: &'c Store<'c>,
    pub(super) links: &'c Links<'a>,
    /// How the meters that are devices are read, in the order of `meters`.
    pub(super) connections: &'c [Connection],
    /// The time zone of the site, where it says one.
    pub(super) time_zone: Option<&'c TimeZone>,
}

/// The sources, the operator first.
pub(super) struct Signals {
    pub(super) specs: Vec<Spec>,
    /// What holds while they are lost, with its place.
    pub(super) lost_caps: Vec<LostCap>,
}

impl Signals {
    /// What the control law must know of them.
    pub(super) fn order_sources(&self) -> Vec<OrderSource> {
        self.specs
            .iter()
            .map(|spec| OrderSource { name: spec.settings.name.clone(), class: spec.settings.class })
            .collect()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Http,
    Mqtt,
    OpenAdr,
    Server,
    Contact,
    Calendar,
    Price,
    Guard,
    Dsx,
    DsxInfra,
}

const WORDS: [(&str, Word); 10] = [
    ("http", Word::Http),
    ("mqtt", Word::Mqtt),
    ("openadr", Word::OpenAdr),
    ("modbus-server", Word::Server),
    ("contact", Word::Contact),
    ("calendar", Word::Calendar),
    ("price", Word::Price),
    ("guard", Word::Guard),
    ("dsx-flex", Word::Dsx),
    ("dsx-flex-infra", Word::DsxInfra),
];

/// Reads `[signals.*]`.
pub(super) fn signals(root: &Table<'_>, context: &Context<'_, '_>, limits: &Limits) -> Signals {
    let mut specs = vec![operator()];
    let mut lost_caps = Vec::new();
    for (name, table) in root.named("signals") {
        if name.value == OPERATOR || limits.limits.iter().any(|limit| limit.name == name.value) {
            table.report().error(
                name.span,
                format!("`{}` is taken: by the operator or by a limit", name.value),
                "sources and limits share one set of names, for metrics and logs; choose another",
            );
        }
        if let Some(spec) = signal(name, &table, context) {
            // A guard at its fail-safe is one that cannot see; a calendar is never lost.
            lost_caps.extend(spec.settings.fail_safe.map(|lost| LostCap {
                span: table.key_span("fail_safe"),
                title: format!("the `fail_safe` of {}", table.title()),
                circuit: lost.circuit,
                scope: lost.scope,
                cap: lost.cap,
            }));
            specs.push(spec);
            table.finish();
        }
    }
    Signals { specs, lost_caps }
}

/// The operator is heard over the pages, and is never lost: their orders end with their time.
fn operator() -> Spec {
    let settings = SourceSettings {
        name: OPERATOR.into(),
        class: LimitClass::Economic,
        feed: Feed::Calendar,
        lost_after: DAY,
        fail_safe: None,
        fail_safe_hold: Duration::ZERO,
        release: Release::FreshSignal,
        finish_schedule: false,
        return_spread: Duration::ZERO,
        clock_allowance: Duration::from_secs(300),
        clock_tolerance: Duration::from_secs(30),
    };
    let place = Place { circuit: CircuitId(0), scope: Scope::Import };
    Spec { settings, place, kind: Kind::Operator, baseline: Baseline::default() }
}

fn signal(name: At<&str>, table: &Table<'_>, context: &Context<'_, '_>) -> Option<Spec> {
    let report = table.report();
    let kind = table.choice("kind", &WORDS);
    let kind = table.require("kind", kind, "write how it is heard, for example kind = \"openadr\"")?.value;
    let class = table.choice(
        "class",
        &[
            ("safety", LimitClass::Safety),
            ("grid", LimitClass::Grid),
            ("contract", LimitClass::Contract),
            ("economic", LimitClass::Economic),
        ],
    );
    let circuit = table.text("circuit").and_then(|at| context.circuits.names.find(report, at));
    let scope = table.choice("caps", &[("import", Scope::Import), ("miners", Scope::Miners)]);
    // Prices and guards are about the miners; the import of a site may be far below its cap while they run.
    let economic = kind == Word::Price;
    let of_miners = matches!(kind, Word::Price | Word::Guard);
    let place = Place {
        circuit: CircuitId(circuit.unwrap_or(0)),
        scope: scope.map_or(if of_miners { Scope::Miners } else { Scope::Import }, |at| at.value),
    };
    let seconds = Duration::from_secs;
    let time =
        |key, low, high, default| table.time(key, low, high).map_or(default, |at: At<Duration>| at.value);
    let patience = match kind {
        Word::Contact | Word::Guard => seconds(10),
        Word::Price => seconds(3_600),
        _ => seconds(120),
    };
    let lost_after = table.time("lost_after", seconds(1), DAY);
    let cap = table.load("fail_safe");
    let after_hold = table.load("release_to");
    let settings = SourceSettings {
        name: name.value.to_owned(),
        class: class.map_or(if economic { LimitClass::Economic } else { LimitClass::Grid }, |at| at.value),
        feed: match kind {
            // Without a time after which it is lost, who orders over HTTP need not be heard all the time.
            Word::Http if lost_after.is_none() => Feed::Calendar,
            Word::Http | Word::Mqtt | Word::Server | Word::Dsx | Word::DsxInfra => Feed::Stream,
            Word::OpenAdr | Word::Price => Feed::Polled,
            Word::Contact | Word::Guard => Feed::Level,
            Word::Calendar => Feed::Calendar,
        },
        lost_after: lost_after.map_or(patience, |at| at.value),
        fail_safe: cap.map(|cap| FailSafe { circuit: place.circuit, scope: place.scope, cap: cap.value }),
        fail_safe_hold: time("fail_safe_hold", Duration::ZERO, DAY * 2, Duration::ZERO),
        release: after_hold.map_or(Release::FreshSignal, |cap| Release::AfterHold(cap.value)),
        finish_schedule: table.boolean("finish_schedule").unwrap_or(false),
        return_spread: time("return_spread", Duration::ZERO, DAY, Duration::ZERO),
        clock_allowance: time("clock_allowance", Duration::ZERO, DAY, seconds(300)),
        clock_tolerance: time("clock_tolerance", seconds(1), seconds(3_600), seconds(30)),
    };
    let needs = matches!(
        kind,
        Word::Mqtt | Word::OpenAdr | Word::Server | Word::Contact | Word::Dsx | Word::DsxInfra
    ) || (kind == Word::Http && lost_after.is_some());
    if needs && cap.is_none() && !table.has("fail_safe") {
        report.error(
            table.span(),
            format!("{} has no `fail_safe`", table.title()),
            "write the cap that holds while nobody is heard, like fail_safe = \"100 kW\"; \"0 W\" is the safest",
        );
    }
    let mut settings = settings;
    let kind = match kind {
        Word::Http => Kind::Http,
        Word::Mqtt => {
            Kind::Mqtt(mqtt::Settings { oldest: oldest_message(table, mqtt::OLDEST, settings.lost_after) })
        }
        Word::OpenAdr => Kind::OpenAdr(Box::new(openadr::read(table, context)?)),
        Word::Server => Kind::Server(server::read(table, context)?),
        Word::Contact => Kind::Contact(Box::new(contact::read(table, context, &settings)?)),
        Word::Calendar => Kind::Calendar(calendar::read(table, context)?),
        Word::Price => Kind::Price(Box::new(price::read(table, context, &settings, place.scope)?)),
        Word::Guard => Kind::Guard(guard::read(table, context, &settings)?),
        Word::Dsx => Kind::Dsx(Box::new(dsx::read(table, context, &settings, place)?)),
        Word::DsxInfra => Kind::DsxInfra(Box::new(dsx::read_infra(table, context, &settings, place)?)),
    };
    match &kind {
        // Its caps have an end then, and nothing follows.
        Kind::Price(price) => settings.finish_schedule |= price.expires,
        // It draws its delay itself, where it counts from the last sag and not from a withdrawal.
        Kind::Guard(_) => settings.return_spread = Duration::ZERO,
        _ => {}
    }
    Some(Spec { settings, place, kind, baseline: settlement::baseline(table) })
}

/// How old a message of the broker may be: what hung there for longer than its source may be silent says nothing of whether they still
/// live.
fn oldest_message(table: &Table<'_>, usual: Duration, lost_after: Duration) -> Duration {
    let oldest = table.time("oldest_message", Duration::from_secs(1), Duration::from_secs(3_600));
    let oldest = oldest.map_or(usual.min(lost_after), |at: At<Duration>| at.value);
    if oldest > lost_after {
        table.report().error(
            table.key_span("oldest_message"),
            "a message that is older than `lost_after` would be taken for a sign of life",
            "make it no longer than `lost_after`",
        );
    }
    oldest
}
