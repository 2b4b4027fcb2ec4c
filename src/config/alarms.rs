//! The section `[alarms]`: who is told of them, and which severities and times are others than usual.

use std::collections::BTreeSet;
use std::time::Duration;

use super::diagnostic::{Report, Span};
use super::reader::{Table, shorten, text_of};
use super::secrets::Store;
use super::{alarm_windows, names, urls};
use crate::alarm::book::Tuning;
use crate::alarm::kind::{Kind, Severity};
use crate::alarm::look::Quiet;
use crate::alarm::{Settings, Webhook};

const SEVERITIES: [(&str, Severity); 3] =
    [("notice", Severity::Notice), ("warning", Severity::Warning), ("critical", Severity::Critical)];
const SEVERITIES_OR_OFF: [(&str, Option<Severity>); 4] = [
    ("off", None),
    ("notice", Some(Severity::Notice)),
    ("warning", Some(Severity::Warning)),
    ("critical", Some(Severity::Critical)),
];
const LONGEST: Duration = Duration::from_secs(86_400);

/// Alarms that are about no device, circuit or source.
const OF_THE_MACHINE: [&str; 5] = ["clock", "database", "record", "programs", "pair"];

/// Names for which nobody is to be called, each with its place, before it is known whether anything has that name.
pub(super) type Unchecked = Vec<(Span, String)>;

/// Reads `[alarms]`. Every key has a default.
pub(super) fn alarms(
    root: &Table<'_>,
    store: &Store<'_>,
    zone: Option<&jiff::tz::TimeZone>,
) -> (Settings, Unchecked, alarm_windows::Unchecked) {
    let mut settings = Settings::default();
    let mut quiet = Unchecked::new();
    let Some(table) = root.table("alarms") else {
        return (settings, quiet, alarm_windows::Unchecked::new());
    };
    for (span, value) in table.list("quiet").iter().flat_map(|at| &at.value) {
        match text_of(value) {
            Ok(name) => quiet.push((*span, name.to_owned())),
            Err(wrong) => wrong.tell(table.report(), *span, "quiet"),
        }
    }
    settings.webhook = table.table("webhook").and_then(|inner| webhook(inner, store));
    settings.tuning = kinds(&table);
    let (windows, muted) = alarm_windows::windows(&table, zone);
    settings.windows = windows;
    table.finish();
    (settings, quiet, muted)
}

/// The names for which nobody is to be called, once those are known that there are.
pub(super) fn quiet<'n>(
    report: &Report<'_>,
    unchecked: Unchecked,
    names: impl Iterator<Item = &'n str>,
) -> Quiet {
    let all: BTreeSet<&str> = names.chain(OF_THE_MACHINE).collect();
    let known = unchecked.into_iter().filter_map(|(span, name)| {
        if all.contains(name.as_str()) {
            return Some(name.into());
        }
        report.error(
            span,
            format!(
                "`quiet` has \"{}\", and no circuit, meter, miner or source is called so",
                shorten(&name)
            ),
            report.suggest(&name, all.iter().copied()),
        );
        None
    });
    known.collect()
}

/// `[alarms.kinds.NAME]`.
fn kinds(alarms: &Table<'_>) -> Tuning {
    let mut tuning = Tuning::default();
    for (name, table) in alarms.named("kinds") {
        let Some(kind) = Kind::named(name.value) else {
            table.report().error(
                name.span,
                format!("there is no kind of alarm `{}`", shorten(name.value)),
                names::suggest(name.value, Kind::ALL.map(Kind::name)),
            );
            continue;
        };
        if let Some(severity) = table.choice("severity", &SEVERITIES_OR_OFF) {
            tuning.severity.insert(kind, severity.value);
        }
        if let Some(after) = table.time("after", Duration::ZERO, LONGEST) {
            tuning.after.insert(kind, after.value);
        }
        table.finish();
    }
    tuning
}

fn webhook(table: Table<'_>, store: &Store<'_>) -> Option<Webhook> {
    let report = table.report();
    let plain = table.read("url", |value| urls::http(text_of(value)?));
    let secret = table.table("secret_url").map(|inner| {
        let secret = store.text(&inner);
        let span = inner.span();
        inner.finish();
        (secret, span)
    });
    if table.has("url") == table.has("secret_url") {
        report.error(
            table.span(),
            format!("{} needs one address", table.title()),
            "write url = \"https://…\", or secret_url = { file = \"…\" } where whoever knows the address may write to it",
        );
    }
    let token = table.table("token").map(|inner| {
        let token = store.text(&inner);
        inner.finish();
        token
    });
    let severity = table.choice("severity", &SEVERITIES).map_or(Severity::Warning, |at| at.value);
    table.check();
    let (url, span) = match (plain, secret) {
        (Some(url), None) => (url.value, url.span),
        (None, Some((secret, span))) => match urls::http(secret?.expose().trim()) {
            Ok(url) => (url, span),
            // Of a secret nothing is shown, not even what is wrong in it.
            Err(_) => {
                report.error(
                    span,
                    "what `secret_url` names holds no address",
                    "it must hold the address in full, like https://chat.example/hooks/…, and nothing else",
                );
                return None;
            }
        },
        _ => return None,
    };
    if url.scheme() == "http" && token.is_some() && !urls::is_here(&url) {
        report.error(
            span,
            "the token would travel in the clear",
            "write https://…; if that cannot be, put a proxy on this machine in between",
        );
        return None;
    }
    Some(Webhook { url, token: token.flatten(), severity })
}
