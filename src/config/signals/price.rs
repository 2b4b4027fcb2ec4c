//! The keys of a source of kind `price`.

use std::time::Duration;

use super::{Context, windows};
use crate::config::diagnostic::{At, Span};
use crate::config::quantity::{self, Unit};
use crate::config::reader::{Table, Wrong, text_of};
use crate::config::urls;
use crate::control::signal::SourceSettings;
use crate::control::site::Scope;
use crate::signal::price::poll::Poll;
use crate::signal::price::{Quote, Settings};

const DAY: Duration = Duration::from_secs(86_400);
const POWER_EXAMPLE: &str = "0.06 USD/kWh";
const HASH_EXAMPLE: &str = "0.05 USD/TH/day";

/// What a price is for.
struct Good {
    key: &'static str,
    per: &'static [Unit],
    example: &'static str,
}

/// A quote and the currency that each of its prices names, with its place.
type Read = (Quote, Vec<(String, Span)>);

/// Reads the keys of this kind of source.
pub(super) fn read(
    table: &Table<'_>,
    context: &Context<'_, '_>,
    settings: &SourceSettings,
    scope: Scope,
) -> Option<Settings> {
    let report = table.report();
    if scope != Scope::Miners {
        report.error(
            table.key_span("caps"),
            "a price caps what the miners draw",
            "remove `caps`; a limit on the import is another source",
        );
    }
    let power = quote(
        table,
        context,
        &Good { key: "power_price", per: quantity::PER_ENERGY, example: POWER_EXAMPLE },
    );
    let hash =
        quote(table, context, &Good { key: "hash_price", per: quantity::PER_HASHING, example: HASH_EXAMPLE });
    let seconds = Duration::from_secs;
    let time =
        |key, low, high, default| table.time(key, low, high).map_or(default, |at: At<Duration>| at.value);
    let every = time("every", seconds(1), DAY, seconds(60));
    let minimum_hold = time("minimum_hold", Duration::ZERO, DAY, seconds(600));
    let hysteresis = table.share("hysteresis", 0.5).map_or(0.05, |at| at.value);
    let overhead = table.share("overhead", 0.9).map_or(0.0, |at| at.value);
    let expires = table.choice("when_lost", &[("keep", false), ("nothing", true)]).is_some_and(|at| at.value);
    if expires && settings.fail_safe.is_some() {
        report.error(
            table.key_span("when_lost"),
            "a lost price cannot end its caps and have a `fail_safe` at once",
            "keep one of the two",
        );
    }
    let ca = table.text("ca").and_then(|at| urls::certificates(&context.store.folder, at, report));
    if settings.lost_after <= every {
        report.error(
            table.key_span("lost_after"),
            "the price would be lost before it is asked for again",
            "make `lost_after` a few times `every`",
        );
    }
    let ((power, mut currencies), (hash, more)) = (power?, hash?);
    currencies.extend(more);
    let (first, _) = currencies.first().cloned()?;
    if let Some((other, span)) = currencies.iter().find(|(currency, _)| *currency != first) {
        report.error(
            *span,
            format!("the prices are in {first} and in {other}"),
            "write both in one currency: no exchange rate is known here",
        );
        return None;
    }
    Some(Settings {
        power,
        hash,
        currency: first,
        every,
        overhead,
        hysteresis,
        minimum_hold,
        lost_after: settings.lost_after,
        expires,
        ca,
    })
}

/// A price: a text, `{ url = … }`, or `{ otherwise = …, windows = [ … ] }`.
fn quote(table: &Table<'_>, context: &Context<'_, '_>, good: &Good) -> Option<Read> {
    let is_table = std::cell::Cell::new(false);
    let fixed = table.read(good.key, |value| {
        if value.is_table() {
            is_table.set(true);
            return Ok(None);
        }
        price(text_of(value)?, good).map(Some)
    });
    let fixed = table.require(
        good.key,
        fixed,
        &format!("write {} = \"{}\", a tariff, or {{ url = \"…\", … }}", good.key, good.example),
    )?;
    if let Some((price, currency)) = fixed.value {
        return Some((Quote::Fixed(price), vec![(currency, fixed.span)]));
    }
    let inner = is_table.get().then(|| table.table(good.key)).flatten()?;
    let read = if inner.has("url") { polled(&inner, context, good) } else { tariff(&inner, context, good) };
    inner.finish();
    read
}

fn price(text: &str, good: &Good) -> Result<(f64, String), Wrong> {
    quantity::price(text, good.per).map(|(price, currency)| (price, currency.to_owned())).ok_or_else(|| {
        let units: Vec<&str> = good.per.iter().map(|(name, ..)| *name).collect();
        Wrong::new(
            "is no price",
            format!(
                "write a number, a currency and what it is for, like \"{}\" (there are {})",
                good.example,
                units.join(", ")
            ),
        )
    })
}

fn tariff(inner: &Table<'_>, context: &Context<'_, '_>, good: &Good) -> Option<Read> {
    let otherwise = inner.read("otherwise", |value| price(text_of(value)?, good));
    let otherwise = inner.require(
        "otherwise",
        otherwise,
        &format!(
            "write the price outside of all windows, like otherwise = \"{}\"; or `url` to ask for it",
            good.example
        ),
    );
    let (windows, prices) = windows::windows(inner, "windows", context, |window| {
        let found = window.read("price", |value| price(text_of(value)?, good));
        window.require(
            "price",
            found,
            &format!("write the price in the window, like price = \"{}\"", good.example),
        )
    })?;
    let otherwise = otherwise?;
    let mut currencies = vec![(otherwise.value.1, otherwise.span)];
    currencies.extend(prices.iter().map(|at| (at.value.1.clone(), at.span)));
    let prices = prices.into_iter().map(|at| at.value.0).collect();
    Some((Quote::Tariff { windows, prices, otherwise: otherwise.value.0 }, currencies))
}

fn polled(inner: &Table<'_>, context: &Context<'_, '_>, good: &Good) -> Option<Read> {
    let report = inner.report();
    let url = inner.read("url", |value| urls::http(text_of(value)?));
    let pointer = inner.read("pointer", |value| pointer(text_of(value)?));
    let pointer = inner.require(
        "pointer",
        pointer,
        "write where in the answer the number stands, as a JSON pointer: pointer = \"/data/0/price\"",
    );
    let time_pointer = inner.read("time_pointer", |value| self::pointer(text_of(value)?));
    let unit = inner.read("unit", |value| {
        let text = text_of(value)?;
        quantity::price_unit(text, good.per)
            .map(|(currency, factor)| (currency.to_owned(), factor))
            .ok_or_else(|| {
                Wrong::new(
                    "is no unit of a price",
                    "write the currency and what it is for, like unit = \"EUR/MWh\"",
                )
            })
    });
    let unit = inner.require(
        "unit",
        unit,
        "write the unit of the number, like unit = \"EUR/MWh\"; it is never guessed",
    );
    let bound = |key| inner.read(key, |value| price(text_of(value)?, good));
    let (lowest, highest) = (bound("lowest"), bound("highest"));
    let token_table = inner.table("token");
    let token = token_table.as_ref().and_then(|table| context.store.text(table));
    if let Some(table) = token_table {
        table.finish();
    }
    let (url, unit) = (url?, unit?);
    if url.value.scheme() == "http" && !urls::is_here(&url.value) {
        if inner.has("token") {
            report.error(
                url.span,
                "the token would travel in the clear",
                "write https://…; if that cannot be, put a proxy on this machine in between",
            );
            return None;
        }
        report.warn(
            url.span,
            "anyone on the way can change a price that comes over http",
            "write https://…, or set `lowest` and `highest`",
        );
    }
    let mut currencies = vec![(unit.value.0, unit.span)];
    for bound in [&lowest, &highest].into_iter().flatten() {
        currencies.push((bound.value.1.clone(), bound.span));
    }
    let poll = Poll {
        url: url.value,
        pointer: pointer?.value,
        time_pointer: time_pointer.map(|at| at.value),
        factor: unit.value.1,
        lowest: lowest.map(|at| at.value.0),
        highest: highest.map(|at| at.value.0),
        token,
    };
    Some((Quote::Poll(poll), currencies))
}

fn pointer(text: &str) -> Result<String, Wrong> {
    if (!text.is_empty() && !text.starts_with('/')) || text.len() > 256 {
        return Err(Wrong::new("is no JSON pointer", "it begins with a slash, like \"/data/0/price\""));
    }
    Ok(text.to_owned())
}
