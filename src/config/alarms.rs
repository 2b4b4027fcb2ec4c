//! The section `[alarms]`: who is told of them, and which severities and times are others than usual.

use std::net::IpAddr;
use std::time::Duration;

use super::names;
use super::reader::{Table, shorten};
use super::secrets::Store;
use crate::alarm::book::Tuning;
use crate::alarm::kind::{Kind, Severity};
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

/// Reads `[alarms]`. Every key has a default.
pub(super) fn alarms(root: &Table<'_>, store: &Store<'_>) -> Settings {
    let mut settings = Settings::default();
    let Some(table) = root.table("alarms") else {
        return settings;
    };
    settings.webhook = table.table("webhook").and_then(|inner| webhook(inner, store));
    settings.tuning = kinds(&table);
    table.finish();
    settings
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
    let plain = table.text("url");
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
    // Of a secret nothing is shown, not even what is wrong in it.
    let (url, span) = match (plain, secret) {
        (Some(text), None) => (text.value.parse::<reqwest::Url>().ok(), text.span),
        (None, Some((secret, span))) => (secret?.expose().trim().parse::<reqwest::Url>().ok(), span),
        _ => return None,
    };
    let Some(url) = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some()) else {
        report.error(
            span,
            "the address of the webhook is none",
            "write it in full, like url = \"https://alerts.example/ballast\"",
        );
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        report.error(
            span,
            "an account does not belong into the address of the webhook",
            "put a token into a file of its own and write token = { file = \"…\" }",
        );
        return None;
    }
    let near = url.host_str().is_some_and(|host| {
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    });
    if url.scheme() == "http" && token.is_some() && !near {
        report.warn(
            span,
            "the token of the webhook goes over the network without encryption",
            "write https://…, or put a proxy that speaks HTTPS on this machine in between",
        );
    }
    Some(Webhook { url, token: token.flatten(), severity })
}
