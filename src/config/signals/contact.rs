//! The keys of a source of kind `contact`.

use std::time::Duration;

use super::{Context, amount};
use crate::config::diagnostic::At;
use crate::config::reader::Table;
use crate::config::{meters, registers};
use crate::control::signal::contacts::{Contact, Group, MOST_CONTACTS, Reading};
use crate::control::signal::{Ask, SourceSettings};
use crate::meter::profile::{Function, Profile};
use crate::meter::{Connection, LinkId};
use crate::signal::contact::Settings;

const FUNCTIONS: [(&str, Function); 2] = [("discrete", Function::Discrete), ("coil", Function::Coil)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    First,
    All,
    One,
    Number,
}

const READINGS: [(&str, Word); 4] =
    [("first", Word::First), ("strictest", Word::All), ("one", Word::One), ("number", Word::Number)];

/// Reads the keys of this kind of source.
pub(super) fn read(
    table: &Table<'_>,
    context: &Context<'_, '_>,
    settings: &SourceSettings,
) -> Option<Settings> {
    let report = table.report();
    let link = table.text("link");
    let link = table.require("link", link, "name the link that the contacts hang on: link = \"…\"");
    let link = link.and_then(|link| context.links.find(report, link));
    let unit = table.integer("unit", 0, 255);
    let unit = table.require("unit", unit, "write the Modbus unit id of the I/O module, like unit = 1");
    let millis = Duration::from_millis;
    let time =
        |key, low, high, default| table.time(key, low, high).map_or(default, |at: At<Duration>| at.value);
    let period = time("period", millis(50), millis(60_000), millis(250));
    let debounce = time("debounce", Duration::ZERO, millis(60_000), millis(200));
    if settings.lost_after <= period.saturating_add(debounce) {
        report.error(
            table.key_span("lost_after"),
            "the source would be lost before its contacts can count",
            "make `lost_after` longer than `period` and `debounce` together, with room for a few lost readings",
        );
    }
    if let Some(link) = link.and_then(|link| context.links.links.get(link)) {
        let lost = ("the source is lost", settings.lost_after);
        meters::warn_of_lost_answers(report, table.key_span("lost_after"), link, lost, "`lost_after`");
    }
    let word = table.choice("stages", &READINGS).map_or(Word::First, |at| at.value);
    let tables = table.tables("contacts");
    let count = tables.len();
    if count == 0 || count > MOST_CONTACTS {
        report.error(
            table.key_span("contacts"),
            format!("{} has {count} contacts", table.title()),
            format!("write one to {MOST_CONTACTS}, each as [[signals.NAME.contacts]]"),
        );
    }
    let read: Vec<Option<(Contact, (Function, u16))>> = tables
        .into_iter()
        .take(MOST_CONTACTS)
        .enumerate()
        .map(|(at, inner)| contact(&inner, at, word == Word::Number))
        .collect();
    let steps = steps(table, word, count);
    let otherwise = amount::ask(table, "otherwise");
    if table.has("otherwise") && matches!(word, Word::One | Word::Number) {
        report.error(
            table.key_span("otherwise"),
            "`otherwise` means nothing where the contacts always say something",
            "it belongs to stages = \"first\" and \"strictest\"",
        );
    }
    let whole: Option<Vec<_>> = read.into_iter().collect();
    let (contacts, bits): (Vec<_>, Vec<_>) = whole?.into_iter().unzip();
    if let Some(twice) =
        bits.iter().enumerate().find(|(at, bit)| bits.iter().take(*at).any(|one| one == *bit))
    {
        report.error(
            table.key_span("contacts"),
            format!("two contacts are the same bit, {} {}", twice.1.0.items(), twice.1.1),
            "each contact has its own address",
        );
        return None;
    }
    let reading = match word {
        Word::First => Reading::First,
        Word::All => Reading::All,
        Word::One => Reading::One,
        Word::Number => Reading::Number(steps?),
    };
    Some(Settings {
        connection: Connection {
            link: LinkId(link?),
            unit: unit.and_then(|at| u8::try_from(at.value).ok())?,
            profile: Profile::of_contacts(&settings.name, &bits),
            invert: false,
            plausible: None,
            frozen_after: None,
            stale_after: settings.lost_after,
            period,
        },
        group: Group { contacts, reading, otherwise: otherwise.and_then(|at| at.value) },
        debounce,
    })
}

fn contact(inner: &Table<'_>, at: usize, numbers: bool) -> Option<(Contact, (Function, u16))> {
    let report = inner.report();
    let function = inner.choice("table", &FUNCTIONS).map_or(Function::Discrete, |at| at.value);
    let address = registers::wire_address(inner, "address", Some(function));
    let address = inner.require(
        "address",
        address,
        "write the wire address of the input, counted from zero; manuals that count from 1 or 10001 mean one less, or \
         10001 less",
    );
    let when_closed =
        inner.choice("speaks_when", &[("closed", true), ("open", false)]).is_none_or(|at| at.value);
    let name = inner.text("name").map_or_else(|| format!("contact {}", at + 1), |at| at.value.to_owned());
    let ask = amount::ask(inner, "cap");
    match (numbers, inner.has("cap")) {
        (true, true) => report.error(
            inner.key_span("cap"),
            "a contact that is part of a number has no `cap` of its own",
            "the caps stand in `steps`, one for each number",
        ),
        (false, false) => report.error(
            inner.span(),
            "this contact has no `cap`",
            "write what holds while it speaks: cap = \"100 kW\", cap = \"30 %\" of the nameplate, or cap = \"none\"",
        ),
        _ => {}
    }
    inner.check();
    let address = u16::try_from(address?.value).ok()?;
    let ask = if numbers { None } else { ask?.value };
    Some((Contact { name: name.into(), when_closed, ask }, (function, address)))
}

/// `steps = ["none", "60 %", "30 %", "0 %"]`: the cap of each number that the contacts can form.
fn steps(table: &Table<'_>, word: Word, contacts: usize) -> Option<Vec<Option<Ask>>> {
    let report = table.report();
    let list = table.list("steps");
    if word != Word::Number {
        if table.has("steps") {
            report.error(
                table.key_span("steps"),
                "`steps` belongs to contacts that form a number",
                "write stages = \"number\", or give each contact its own `cap`",
            );
        }
        return None;
    }
    let list = table.require(
        "steps",
        list,
        "write the cap of each number, from zero on: steps = [\"none\", \"60 %\"]",
    )?;
    let most = 1_usize << contacts.min(MOST_CONTACTS);
    if list.value.is_empty() || list.value.len() > most {
        report.error(
            list.span,
            format!("{contacts} contacts form {most} numbers, and here are {} caps", list.value.len()),
            "write at most one for each number; a number without one is a fault of the receiver",
        );
        return None;
    }
    let caps: Vec<Option<Option<Ask>>> =
        list.value.into_iter().map(|(span, value)| amount::ask_of(report, span, "steps", value)).collect();
    caps.into_iter().collect()
}
