//! The keys of an OpenADR 3 source.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use toml::de::DeValue;

use super::Context;
use crate::config::diagnostic::At;
use crate::config::quantity;
use crate::config::reader::{MOST_POWER, Table, Wrong, bounded, is_a, quantity_of, shorten, text_of};
use crate::config::urls;
use crate::control::signal::Basis;
use crate::control::site::Scope;
use crate::signal::openadr::settings::{
    Account, Level, Meaning, Names, PowerUnit, Programme, Reports, Rule, Settings, Telling,
};
use crate::units::Watts;

/// Longest name, id or target (OpenADR 3.1.1: 128), and longest scope.
const LONGEST: usize = 128;
/// Most names of one kind.
const MOST_NAMES: usize = 64;

const UNITS: [(&str, PowerUnit); 3] =
    [("W", PowerUnit::Watt), ("kW", PowerUnit::Kilowatt), ("MW", PowerUnit::Megawatt)];

/// Reads the keys of this kind of source.
pub(super) fn read(table: &Table<'_>, context: &Context<'_, '_>) -> Option<Settings> {
    let url = address(table, "url");
    let url =
        table.require("url", url, "write where the API begins: url = \"https://vtn.example/openadr3/3.1.0\"");
    // Each is read, whatever is wrong with the others.
    let account = url.as_ref().map(|url| account(table, context, &url.value));
    let (authorities, programme, names) = (authorities(table, context), programme(table), names(table));
    let seconds = Duration::from_secs;
    let poll = table.time("poll", seconds(1), seconds(300));
    let timeout = table.time("timeout", Duration::from_millis(500), seconds(30));
    let unit = table.choice("unit", &UNITS);
    let (simple, rating) = (simple(table), table.load("rating"));
    let judged = table.time("judged_over", seconds(1), seconds(86_400));
    let (alerts, payloads) = (alerts(table), payloads(table));
    let mut settings = Settings::new(url?.value, account??);
    settings.authorities = authorities;
    settings.programme = programme;
    settings.reports = reports(table, &names);
    settings.names = names;
    settings.poll = poll.map_or(settings.poll, |at| at.value);
    settings.timeout = timeout.map_or(settings.timeout, |at| at.value);
    settings.unit = unit.map_or(settings.unit, |at| at.value);
    settings.simple = simple.unwrap_or(settings.simple);
    settings.rating = rating.map(|at| at.value);
    settings.basis = judged.map_or(Basis::Instant, |at| Basis::Mean(at.value));
    settings.payloads.extend(alerts.into_iter().chain(payloads));
    let lost = table.time("lost_after", seconds(1), seconds(86_400));
    if let Some(lost) = lost.filter(|lost| lost.value < settings.poll * 2) {
        table.report().error(
            lost.span,
            format!("`lost_after` is shorter than two polls of {}", quantity::write_time(settings.poll)),
            "one answer that is late would be a lost signal; poll more often, or wait longer",
        );
    }
    Some(settings)
}

/// An address that may carry a secret: HTTPS, or HTTP on this machine.
fn address(table: &Table<'_>, key: &'static str) -> Option<At<Url>> {
    table.read(key, |value| {
        let text = text_of(value)?;
        let wrong = |what: &str, help: &str| Err(Wrong::new(what, help));
        let Ok(url) = Url::parse(text) else {
            return wrong("is no address", "write it in full, like \"https://vtn.example/openadr3/3.1.0\"");
        };
        if !url.username().is_empty() || url.password().is_some() {
            return wrong("has an account in it", "write client_id and client_secret, or token");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return wrong("has a query in it", "write the address up to the path, without ? and #");
        }
        match url.scheme() {
            "https" => Ok(url),
            "http" if urls::is_here(&url) => Ok(url),
            "http" => wrong(
                "is not encrypted",
                "write https://; plain HTTP is for a top node under test on 127.0.0.1 alone",
            ),
            _ => wrong("is no address of the web", "it begins with https://"),
        }
    })
}

fn account(table: &Table<'_>, context: &Context<'_, '_>, url: &Url) -> Option<Account> {
    let report = table.report();
    let token_url = address(table, "token_url");
    let id = table.read("client_id", |value| bounded(value, 4_096));
    let scope = table.read("scope", |value| bounded(value, 4_096));
    let basic = table.choice("token_auth", &[("body", false), ("basic", true)]);
    let secret = |key| {
        let inner = table.table(key)?;
        let secret = context.store.text(&inner);
        inner.finish();
        secret
    };
    for key in ["client_secret", "token"] {
        if table.has(key) && table.table_named(key).is_none() {
            // Whatever stands there, it is not shown.
            table.read_named(key, |_| {
                Err::<(), _>(Wrong::new("does not belong into the configuration", SECRET_HELP))
            });
        }
    }
    let (client_secret, token) = (secret("client_secret"), secret("token"));
    let (has_client, has_token) = (table.has("client_id") || table.has("client_secret"), table.has("token"));
    match (has_client, has_token) {
        (true, true) => {
            report.error(
                table.key_span("token"),
                "there is a token and a client",
                "keep client_id and client_secret, or token alone",
            );
            None
        }
        (true, false) => {
            let id = table.require("client_id", id, "write the name of the client, as the programme gave it");
            if !table.has("client_secret") {
                report.error(table.span(), format!("{} has no `client_secret`", table.title()), SECRET_HELP);
            }
            let token_url = token_url.map_or_else(|| below(url, "auth/token"), |at| at.value);
            let secret = client_secret.or_else(|| context.store.skipped());
            Some(Account::Client {
                token_url,
                id: id?.value,
                secret: secret?,
                scope: scope.map(|at| at.value),
                basic: basic.is_some_and(|at| at.value),
            })
        }
        (false, true) => token.or_else(|| context.store.skipped()).map(Account::Bearer),
        (false, false) if urls::is_here(url) => Some(Account::Nobody),
        (false, false) => {
            report.error(
                table.span(),
                format!("{} has no account", table.title()),
                "write client_id = \"…\" and client_secret = { file = \"…\" }; only a top node under test on 127.0.0.1 \
                 may do without",
            );
            None
        }
    }
}

const SECRET_HELP: &str = "put the secret into a file of its own and write { file = \"…\" }; credential (systemd) and env \
                           are the other two ways";

fn below(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path.split('/'));
    }
    url
}

fn authorities(table: &Table<'_>, context: &Context<'_, '_>) -> Option<Arc<[u8]>> {
    if table.has("ca_file") {
        table.read("ca_file", |_| {
            Err::<(), _>(Wrong::new("is called `ca`, as everywhere else", "write ca = \"…\""))
        });
    }
    let ca = table.text("ca")?;
    urls::certificates(&context.store.folder, ca, table.report()).map(Into::into)
}

fn programme(table: &Table<'_>) -> Programme {
    let name = table.read("program", |value| bounded(value, LONGEST));
    let id = table.read("program_id", |value| bounded(value, LONGEST));
    match (name, id) {
        (Some(_), Some(id)) => {
            table.report().error(id.span, "the programme is given twice", "keep `program` or `program_id`");
            Programme::Any
        }
        (Some(name), None) => Programme::Name(name.value),
        (None, Some(id)) => Programme::Id(id.value),
        (None, None) => Programme::Any,
    }
}

fn names(table: &Table<'_>) -> Names {
    Names {
        ven: table.read("ven_name", |value| bounded(value, LONGEST)).map(|at| at.value),
        resources: list(table, "resources"),
        groups: list(table, "groups"),
        targets: list(table, "targets"),
    }
}

fn list(table: &Table<'_>, key: &'static str) -> Vec<String> {
    let list = table.read(key, |value| {
        let array = value
            .as_array()
            .ok_or_else(|| Wrong::new(is_a(value), "write a list of names: [ \"…\", \"…\" ]"))?;
        if array.len() > MOST_NAMES {
            return Err(Wrong::new("is too long", format!("the most is {MOST_NAMES} names")));
        }
        array.iter().map(|name| bounded(name.get_ref(), LONGEST)).collect()
    });
    list.map(|at| at.value).unwrap_or_default()
}

/// A cap as a share of what hangs there, or as a power.
fn level(value: &DeValue<'_>) -> Result<Level, Wrong> {
    let share = value.as_str().is_some_and(|text| text.trim_end().ends_with('%'));
    if share {
        return quantity_of(value, &quantity::SHARE, 0.0, 1.0).map(Level::Share);
    }
    quantity_of(value, &quantity::POWER, 0.0, MOST_POWER).map(|watts| Level::Power(Watts::saturating(watts)))
}

fn simple(table: &Table<'_>) -> Option<[Level; 4]> {
    let levels = table.read("simple", |value| {
        let wrong = || {
            Wrong::new(
                "does not have four caps",
                "write one for each level from 0 to 3: [\"100 %\", \"60 %\", \"30 %\", \"0 %\"]",
            )
        };
        let array = value.as_array().ok_or_else(wrong)?;
        let levels: Vec<Level> = array.iter().map(|cap| level(cap.get_ref())).collect::<Result<_, _>>()?;
        <[Level; 4]>::try_from(levels).map_err(|_| wrong())
    });
    levels.map(|at| at.value)
}

/// `alerts = { ALERT_GRID_EMERGENCY = "0 W", … }`.
fn alerts(table: &Table<'_>) -> Vec<(String, Rule)> {
    let Some(inner) = table.table("alerts") else { return Vec::new() };
    let mut rules = Vec::new();
    for (name, span) in inner.keys() {
        payload_name(table, name, span);
        if let Some(cap) = inner.read_named(name, level) {
            let rule = Rule { meaning: Meaning::Alert(cap.value), unit: None, scope: None };
            rules.push((name.to_owned(), rule));
        }
    }
    rules
}

/// `payloads = { NAME = { means = "cap", unit = "kW", caps = "miners" }, … }`. `means = "nothing"` takes one out.
fn payloads(table: &Table<'_>) -> Vec<(String, Rule)> {
    let Some(inner) = table.table("payloads") else { return Vec::new() };
    let mut rules = Vec::new();
    for (name, span) in inner.keys() {
        payload_name(table, name, span);
        let Some(keys) = inner.table_named(name) else {
            let help = "write { means = \"cap\" }, and `unit` and `caps` where they are needed";
            inner.read_named(name, |value| Err::<(), _>(Wrong::new(is_a(value), help)));
            continue;
        };
        let meaning = keys.choice(
            "means",
            &[
                ("cap", Meaning::Cap),
                ("subscription", Meaning::Subscription),
                ("reservation", Meaning::Reservation),
                ("reduction", Meaning::Reduction),
                ("simple", Meaning::Simple),
            ],
        );
        let meaning = keys.require("means", meaning, "write means = \"cap\" for an upper bound of the power");
        let unit = keys.choice("unit", &UNITS).map(|at| at.value);
        let caps = keys.choice("caps", &[("import", Scope::Import), ("miners", Scope::Miners)]);
        keys.finish();
        if let Some(meaning) = meaning {
            let rule = Rule { meaning: meaning.value, unit, scope: caps.map(|at| at.value) };
            rules.push((name.to_owned(), rule));
        }
    }
    rules
}

fn payload_name(table: &Table<'_>, name: &str, span: crate::config::diagnostic::Span) {
    if name.is_empty() || name.len() > LONGEST {
        table.report().error(span, format!("`{}` is no payload type", shorten(name)), "");
    }
}

fn reports(table: &Table<'_>, names: &Names) -> Reports {
    let seconds = Duration::from_secs;
    let always = table.read("report_always", |value| {
        let help = || {
            let known = Telling::ALL.map(Telling::name).join(", ");
            format!("write a list of any of {known}")
        };
        let array = value.as_array().ok_or_else(|| Wrong::new(is_a(value), help()))?;
        let find = |word: &str| Telling::ALL.into_iter().find(|telling| telling.name() == word);
        array
            .iter()
            .map(|word| {
                let word = text_of(word.get_ref())?;
                find(word).ok_or_else(|| Wrong::new(format!("cannot hold \"{}\"", shorten(word)), help()))
            })
            .collect::<Result<Vec<_>, _>>()
    });
    let resource = table.read("resource_name", |value| bounded(value, LONGEST)).map(|at| at.value);
    let fallback = || names.resources.first().cloned().unwrap_or_else(|| "SITE".into());
    Reports {
        asked: table.boolean("report").unwrap_or(true),
        always: always.map(|at| at.value).unwrap_or_default(),
        acknowledge: table.read("acknowledge", |value| bounded(value, LONGEST)).map(|at| at.value),
        every: table.time("report_every", seconds(5), seconds(86_400)).map_or(seconds(60), |at| at.value),
        resource: resource.unwrap_or_else(fallback),
    }
}
