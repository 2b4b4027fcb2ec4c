//! Orders and ledger entries as rows of the database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{Connection, Row, Transaction, params};

use super::boot::Alive;
use super::{
    Kept, LedgerRow, Loaded, MOST_LEDGER, StoredCap, StoredOrder, alarms, energy, learned, maintenance,
};
use crate::control::signal::book::{Begun, Held};
use crate::control::signal::{Active, Ask, Basis, Order, Urgency, Wall, Why};
use crate::control::site::{CircuitId, Scope};
use crate::units::{Joules, Watts};

type Result<T> = rusqlite::Result<T>;

/// Reads everything. Rows that make no sense are counted and left out.
pub(super) fn load(connection: &Connection, newest: usize) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    let mut sources: BTreeMap<Arc<str>, Kept> = BTreeMap::new();
    let bad = &mut loaded.unreadable;
    for (source, order) in all(connection, "SELECT * FROM orders", order_of, bad)? {
        sources.entry(source).or_default().orders.push(order);
    }
    let withdrawn = |row: &Row<'_>| Ok((text(row, "source")?, (text(row, "name")?, revision(row)?)));
    for (source, withdrawn) in all(connection, "SELECT * FROM withdrawn ORDER BY sequence", withdrawn, bad)? {
        sources.entry(source).or_default().withdrawn.push(withdrawn);
    }
    for (source, cap) in all(connection, "SELECT * FROM caps", cap_of, bad)? {
        sources.entry(source).or_default().caps.push(cap);
    }
    let lift = |row: &Row<'_>| {
        Ok((text(row, "source")?, (text(row, "person")?, Wall::unix_millis(row.get("until_ms")?))))
    };
    for (source, lift) in all(connection, "SELECT * FROM lifts", lift, bad)? {
        sources.entry(source).or_default().lift = Some(lift);
    }
    loaded.sources = sources.into_iter().collect();
    let ledger = format!("SELECT * FROM ledger ORDER BY number DESC LIMIT {newest}");
    loaded.ledger = all(connection, &ledger, ledger_of, bad)?;
    loaded.ledger.reverse();
    let last: Option<i64> = connection.query_row("SELECT max(number) FROM ledger", [], |row| row.get(0))?;
    loaded.last_number = last.and_then(|last| u64::try_from(last).ok()).unwrap_or(0);
    loaded.alive = all(connection, "SELECT * FROM alive", alive_of, bad)?.pop();
    loaded.alarms = all(connection, &alarms::newest(), alarms::row, bad)?;
    loaded.maintenance = all(connection, "SELECT * FROM maintenance", maintenance::row, bad)?;
    loaded.learned = all(connection, "SELECT * FROM learned", learned::row, bad)?;
    loaded.refreshes = all(connection, "SELECT * FROM refreshes", learned::refresh, bad)?;
    loaded.counters = all(connection, "SELECT * FROM energy_counters", energy::counter, bad)?;
    Ok(loaded)
}

fn all<T>(
    connection: &Connection,
    sql: &str,
    read: impl Fn(&Row<'_>) -> Result<T>,
    bad: &mut u64,
) -> Result<Vec<T>> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        match read(row) {
            Ok(value) => found.push(value),
            Err(_) => *bad = bad.saturating_add(1),
        }
    }
    Ok(found)
}

/// Writes an order, in the place of an earlier version.
pub(super) fn put_order(to: &Transaction<'_>, source: &str, stored: &StoredOrder) -> Result<()> {
    let StoredOrder { circuit, held } = stored;
    let order = &held.order;
    let (ask, amount) = match order.ask {
        Ask::Cap(cap) => ("cap", cap.get()),
        Ask::ReduceBy(by) => ("reduce-by", by.get()),
        Ask::ShareOfNameplate(share) => ("share", share),
    };
    to.prepare_cached(
        "INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        source,
        order.id,
        order.revision.cast_signed(),
        order.lane,
        order.priority,
        circuit,
        scope_name(order.scope),
        ask,
        amount,
        window(order.basis),
        urgency_name(order.urgency),
        order.from.as_unix_millis(),
        order.until.map(Wall::as_unix_millis),
        millis(order.start_spread),
        held.cap.get(),
        held.baseline.map(Watts::get),
        held.received.as_unix_millis(),
        millis(held.start_delay),
        millis(held.return_delay),
        held.withdrawn.map(Wall::as_unix_millis),
        held.begun.map(|begun| begun.wall.as_unix_millis()),
        held.begun.map(|begun| begun.steady.as_unix_millis()),
        held.sent.map(Wall::as_unix_millis),
    ])?;
    Ok(())
}

/// Removes an order.
pub(super) fn drop_order(to: &Transaction<'_>, source: &str, name: &str) -> Result<()> {
    to.prepare_cached("DELETE FROM orders WHERE source = ? AND name = ?")?.execute([source, name])?;
    Ok(())
}

/// Adds the name of an order that was taken back.
pub(super) fn add_withdrawn(to: &Transaction<'_>, source: &str, name: &str, revision: u64) -> Result<()> {
    to.prepare_cached("INSERT INTO withdrawn (source, name, revision) VALUES (?, ?, ?)")?
        .execute(params![source, name, revision.cast_signed()])?;
    Ok(())
}

/// Removes the oldest names of orders that were taken back; all but the newest `keep`.
pub(super) fn trim_withdrawn(to: &Transaction<'_>, source: &str, keep: usize) -> Result<()> {
    to.prepare_cached(
        "DELETE FROM withdrawn WHERE source = ?1 AND sequence NOT IN \
         (SELECT sequence FROM withdrawn WHERE source = ?1 ORDER BY sequence DESC LIMIT ?2)",
    )?
    .execute(params![source, i64::try_from(keep).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// Writes the caps that a source keeps, in the place of those before.
pub(super) fn put_caps(to: &Transaction<'_>, source: &str, caps: &[StoredCap]) -> Result<()> {
    to.prepare_cached("DELETE FROM caps WHERE source = ?")?.execute([source])?;
    for StoredCap { circuit, active } in caps {
        let (why, name) = match &active.why {
            Why::Order(id) => ("order", &**id),
            Why::Returning(id) => ("returning", &**id),
            Why::Kept(id) => ("kept", &**id),
            Why::FailSafe => ("fail-safe", ""),
            Why::Released => ("released", ""),
        };
        to.prepare_cached("INSERT INTO caps VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?.execute(params![
            source,
            circuit,
            scope_name(active.scope),
            active.cap.get(),
            why,
            name,
            window(active.basis),
            urgency_name(active.urgency),
        ])?;
    }
    Ok(())
}

/// Writes the lift of a source, or that there is none.
pub(super) fn put_lift(to: &Transaction<'_>, source: &str, lift: Option<&(Arc<str>, Wall)>) -> Result<()> {
    to.prepare_cached("DELETE FROM lifts WHERE source = ?")?.execute([source])?;
    if let Some((person, until)) = lift {
        to.prepare_cached("INSERT INTO lifts VALUES (?, ?, ?)")?.execute(params![
            source,
            person,
            until.as_unix_millis()
        ])?;
    }
    Ok(())
}

/// Writes an entry of the ledger, in the place of an earlier state of it.
pub(super) fn put_ledger(to: &Transaction<'_>, row: &LedgerRow) -> Result<()> {
    to.prepare_cached(
        "INSERT OR REPLACE INTO ledger VALUES \
         (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        i64::try_from(row.number).unwrap_or(i64::MAX),
        row.source,
        row.id,
        row.revision.cast_signed(),
        row.circuit,
        scope_name(row.scope),
        row.stage,
        row.reason,
        row.cap.map(Watts::get),
        row.baseline.map(Watts::get),
        window(row.basis),
        row.from.as_unix_millis(),
        row.until.map(Wall::as_unix_millis),
        row.received.as_unix_millis(),
        row.applied.map(Wall::as_unix_millis),
        row.met.map(Wall::as_unix_millis),
        row.ended.map(Wall::as_unix_millis),
        millis(row.measured),
        row.energy.get(),
        row.worst.get(),
        row.worst_mean.map(Watts::get),
        row.stored,
        row.by,
        row.remark,
    ])?;
    Ok(())
}

/// Drops what the ledger need not hold any more: by number alone, which no clock can make wrong.
pub(super) fn trim_ledger(to: &Transaction<'_>, newest: u64) -> Result<()> {
    let oldest = newest.saturating_sub(u64::from(MOST_LEDGER));
    to.prepare_cached("DELETE FROM ledger WHERE number <= ?")?
        .execute([i64::try_from(oldest).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// Writes the latest sign of life.
pub(super) fn put_alive(to: &Transaction<'_>, alive: &Alive) -> Result<()> {
    to.prepare_cached("INSERT OR REPLACE INTO alive VALUES (1, ?, ?, ?, ?)")?.execute(params![
        alive.boot,
        alive.uptime.map(millis),
        alive.wall.as_unix_millis(),
        alive.steady.map(Wall::as_unix_millis)
    ])?;
    Ok(())
}

fn order_of(row: &Row<'_>) -> Result<(Arc<str>, StoredOrder)> {
    let amount: f64 = row.get("amount")?;
    let ask = match row.get::<_, String>("ask")?.as_str() {
        "cap" => Ask::Cap(finite(row, "amount")?),
        "reduce-by" => Ask::ReduceBy(finite(row, "amount")?),
        "share" => Ask::ShareOfNameplate(amount),
        other => return Err(strange("ask", other)),
    };
    let order = Order {
        id: text(row, "name")?,
        revision: revision(row)?,
        lane: text(row, "lane")?,
        priority: row.get("priority")?,
        circuit: CircuitId(0),
        scope: scope_of(row)?,
        ask,
        basis: basis_of(row)?,
        urgency: urgency_of(row)?,
        from: Wall::unix_millis(row.get("from_ms")?),
        until: wall(row, "until_ms")?,
        start_spread: time(row, "start_spread_ms")?,
    };
    let held = Held {
        order,
        cap: finite(row, "cap_w")?,
        baseline: watts(row, "baseline_w")?,
        received: Wall::unix_millis(row.get("received_ms")?),
        start_delay: time(row, "start_delay_ms")?,
        return_delay: time(row, "return_delay_ms")?,
        withdrawn: wall(row, "withdrawn_ms")?,
        begun: wall(row, "begun_ms")?
            .zip(wall(row, "begun_steady_ms")?)
            .map(|(wall, steady)| Begun { wall, steady }),
        sent: wall(row, "sent_ms")?,
    };
    Ok((text(row, "source")?, StoredOrder { circuit: text(row, "circuit")?, held }))
}

fn cap_of(row: &Row<'_>) -> Result<(Arc<str>, StoredCap)> {
    let name = text(row, "name")?;
    let why = match row.get::<_, String>("why")?.as_str() {
        "order" => Why::Order(name),
        "returning" => Why::Returning(name),
        "kept" => Why::Kept(name),
        "fail-safe" => Why::FailSafe,
        "released" => Why::Released,
        other => return Err(strange("why", other)),
    };
    let active = Active {
        circuit: CircuitId(0),
        scope: scope_of(row)?,
        cap: finite(row, "cap_w")?,
        why,
        basis: basis_of(row)?,
        urgency: urgency_of(row)?,
    };
    Ok((text(row, "source")?, StoredCap { circuit: text(row, "circuit")?, active }))
}

pub(super) fn ledger_of(row: &Row<'_>) -> Result<LedgerRow> {
    Ok(LedgerRow {
        number: u64::try_from(row.get::<_, i64>("number")?).unwrap_or(0),
        source: text(row, "source")?,
        id: text(row, "name")?,
        revision: revision(row)?,
        circuit: text(row, "circuit")?,
        scope: scope_of(row)?,
        stage: text(row, "stage")?,
        reason: row.get::<_, Option<String>>("reason")?.map(Into::into),
        cap: watts(row, "cap_w")?,
        baseline: watts(row, "baseline_w")?,
        basis: basis_of(row)?,
        from: Wall::unix_millis(row.get("from_ms")?),
        until: wall(row, "until_ms")?,
        received: Wall::unix_millis(row.get("received_ms")?),
        applied: wall(row, "applied_ms")?,
        met: wall(row, "met_ms")?,
        ended: wall(row, "ended_ms")?,
        measured: time(row, "measured_ms")?,
        energy: Joules::saturating(row.get("energy_j")?),
        worst: finite(row, "worst_w")?,
        worst_mean: watts(row, "worst_mean_w")?,
        stored: row.get("stored")?,
        by: row.get::<_, Option<String>>("given_by")?.map(Into::into),
        remark: row.get::<_, Option<String>>("remark")?.map(Into::into),
    })
}

fn alive_of(row: &Row<'_>) -> Result<Alive> {
    Ok(Alive {
        boot: row.get("boot")?,
        uptime: row.get::<_, Option<i64>>("uptime_ms")?.map(duration),
        wall: Wall::unix_millis(row.get("wall_ms")?),
        steady: wall(row, "steady_ms")?,
    })
}

pub(super) fn text(row: &Row<'_>, column: &str) -> Result<Arc<str>> {
    Ok(row.get::<_, String>(column)?.into())
}

fn revision(row: &Row<'_>) -> Result<u64> {
    Ok(row.get::<_, i64>("revision")?.cast_unsigned())
}

fn wall(row: &Row<'_>, column: &str) -> Result<Option<Wall>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Wall::unix_millis))
}

fn time(row: &Row<'_>, column: &str) -> Result<Duration> {
    Ok(duration(row.get(column)?))
}

fn watts(row: &Row<'_>, column: &str) -> Result<Option<Watts>> {
    row.get::<_, Option<f64>>(column)?
        .map(|value| Watts::new(value).map_err(|error| strange(column, &error.to_string())))
        .transpose()
}

fn finite(row: &Row<'_>, column: &str) -> Result<Watts> {
    watts(row, column)?.ok_or_else(|| strange(column, "NULL"))
}

fn duration(milliseconds: i64) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn window(basis: Basis) -> Option<i64> {
    match basis {
        Basis::Instant => None,
        Basis::Mean(window) => Some(millis(window)),
    }
}

fn basis_of(row: &Row<'_>) -> Result<Basis> {
    let window: Option<i64> = row.get("window_ms")?;
    Ok(window.map_or(Basis::Instant, |window| Basis::Mean(duration(window))))
}

const fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Import => "import",
        Scope::Miners => "miners",
    }
}

fn scope_of(row: &Row<'_>) -> Result<Scope> {
    match row.get::<_, String>("scope")?.as_str() {
        "import" => Ok(Scope::Import),
        "miners" => Ok(Scope::Miners),
        other => Err(strange("scope", other)),
    }
}

const fn urgency_name(urgency: Urgency) -> &'static str {
    match urgency {
        Urgency::Normal => "normal",
        Urgency::Emergency => "emergency",
    }
}

fn urgency_of(row: &Row<'_>) -> Result<Urgency> {
    match row.get::<_, String>("urgency")?.as_str() {
        "normal" => Ok(Urgency::Normal),
        "emergency" => Ok(Urgency::Emergency),
        other => Err(strange("urgency", other)),
    }
}

pub(super) fn strange(column: &str, value: &str) -> rusqlite::Error {
    let words = format!("{column} cannot be {value}");
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, words.into())
}
