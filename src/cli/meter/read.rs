//! `ballast meter read`: every point of the meters of a configuration, read over connections of its own.

mod sheet;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::advice::advice;
use super::neighbour;
use super::screen::{self, Page, counted};
use crate::cli::Failure;
use crate::clock::{Clock, Moment};
use crate::config::{self, Config, Options, Secrets};
use crate::control::site::{Cap, MeterId};
use crate::meter::decode::Measured;
use crate::meter::plan::Plan;
use crate::meter::profile::{Measure, Plausible, Profile};
use crate::meter::sunspec::{BASES, Wanted};
use crate::meter::survey::{self, Survey};
use crate::meter::{Link, ReadError, Transport};
use sheet::{Role, Row, Why};

/// Time between two drawings of the table.
const DRAW: Duration = Duration::from_millis(250);

/// What `ballast meter read` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "On a terminal the table is read anew until Ctrl-C. Exit code: 0 if every meter gave its power, \
                        else 1; 78 for a wrong configuration.\n\nIt opens connections of its own. Many meters and \
                        gateways serve one client only: stop the daemon for the time of the test."
)]
pub(super) struct Args {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = crate::cli::CONFIG)]
    config: PathBuf,
    /// Which meters; all of them when none is named
    #[arg(value_name = "METER")]
    meters: Vec<String>,
    /// Read once and end
    #[arg(long)]
    once: bool,
    /// Time between two reads
    #[arg(long, value_name = "TIME", value_parser = crate::cli::time, default_value = "1s")]
    every: Duration,
    /// Print one JSON document, for scripts; reads once
    #[arg(long)]
    json: bool,
}

/// One meter and what it last said.
struct Subject {
    name: String,
    link: Link,
    unit: u8,
    profile: Profile,
    /// What the device is asked for, where it says itself what its registers mean.
    wanted: Option<Wanted>,
    /// Who it says it is, or why it has no registers.
    asked: Option<Result<String, String>>,
    invert: bool,
    plausible: Option<Plausible>,
    role: Role,
    plan: Plan,
    rows: Vec<Row>,
    /// What went wrong in the latest read; one entry for each kind of trouble.
    errors: Vec<ReadError>,
    reads: u64,
    /// Reads without power.
    failed: u64,
}

type Shared = Arc<Mutex<Vec<Subject>>>;

/// Reads and prints.
///
/// # Errors
/// A configuration that cannot be used, or does not have the meters that were named.
pub(super) async fn run(args: &Args) -> Result<u8, Failure> {
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    let config = config::load_with(&args.config, &options).map_err(Failure::Config)?;
    let subjects = subjects(&config, &args.meters)?;
    let live = screen::watched() && !args.once && !args.json;
    let clock = Clock::start();
    let busy = neighbour::daemon(config.web.listen).await;
    let head = head(&config, &subjects, busy.as_deref());
    if !live && !args.json {
        // A reader that has gone away, such as `head`, is no failure.
        let _ = crate::cli::print(&head);
    }
    let shared: Shared = Arc::new(Mutex::new(subjects));
    let mut tasks = JoinSet::new();
    for positions in by_link(&shared) {
        let again = live.then(|| args.every.max(Duration::from_millis(50)));
        tasks.spawn(poll(shared.clone(), positions, clock, again));
    }
    if live {
        watch(&shared, &head, clock).await;
        tasks.abort_all();
    }
    while tasks.join_next().await.is_some() {}
    let subjects = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let now = clock.now();
    if args.json {
        let meters: Vec<Value> = subjects.iter().map(|subject| subject.document(now)).collect();
        crate::cli::answer(&crate::cli::json(&json!({ "site": config.site.name, "meters": meters }))?)?;
    } else if !live {
        let text: String = subjects.iter().map(|subject| subject.text(now)).collect();
        crate::cli::answer(&text)?;
    }
    Ok(u8::from(!subjects.iter().all(Subject::has_power)))
}

/// Draws until Ctrl-C.
async fn watch(shared: &Shared, head: &str, clock: Clock) {
    let mut page = Page::default();
    let end = tokio::signal::ctrl_c();
    tokio::pin!(end);
    loop {
        let text: String = {
            let subjects = shared.lock().unwrap_or_else(PoisonError::into_inner);
            subjects.iter().map(|subject| subject.text(clock.now())).collect()
        };
        if page.draw(&format!("{head}{text}Ctrl-C ends it.\n")).is_err() {
            return;
        }
        tokio::select! {
            _ = &mut end => return,
            () = sleep(DRAW) => {}
        }
    }
}

/// The meters that are to be read.
fn subjects(config: &Config, wanted: &[String]) -> Result<Vec<Subject>, Failure> {
    let all = config.site.meters.iter().zip(&config.meters).enumerate();
    let known: Vec<&str> = config.site.meters.iter().map(|meter| meter.name.as_str()).collect();
    if let Some(name) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(super::no_such_meter(name, &config.path, &known));
    }
    let chosen = all.filter(|(_, (meter, _))| wanted.is_empty() || wanted.contains(&meter.name));
    Ok(chosen
        .filter_map(|(index, (meter, connection))| {
            let profile = sheet::turned(&connection.profile, connection.invert);
            Some(Subject {
                name: meter.name.clone(),
                link: config.links.get(connection.link.0)?.clone(),
                unit: connection.unit,
                plan: Plan::new(profile.points().map(|(_, point)| point)),
                wanted: profile.sunspec,
                asked: None,
                profile,
                invert: connection.invert,
                plausible: connection.plausible,
                role: role(config, MeterId(index)),
                rows: Vec::new(),
                errors: Vec::new(),
                reads: 0,
                failed: 0,
            })
        })
        .collect())
}

fn role(config: &Config, meter: MeterId) -> Role {
    let site = &config.site;
    let circuit = site.circuits.iter().find(|circuit| circuit.meter == Some(meter));
    let cap = || {
        site.limits
            .iter()
            .find(|limit| matches!(limit.cap, Cap::Reading { meter: reading, .. } if reading == meter))
    };
    match circuit {
        Some(circuit) => Role::Circuit(circuit.name.clone()),
        None => cap().map_or(Role::None, |limit| Role::Cap(limit.name.clone())),
    }
}

/// The positions of the meters, for each link its own.
fn by_link(shared: &Shared) -> Vec<Vec<usize>> {
    let subjects = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let mut links: Vec<(&str, Vec<usize>)> = Vec::new();
    for (index, subject) in subjects.iter().enumerate() {
        match links.iter_mut().find(|(name, _)| *name == subject.link.name) {
            Some((_, positions)) => positions.push(index),
            None => links.push((&subject.link.name, vec![index])),
        }
    }
    links.into_iter().map(|(_, positions)| positions).collect()
}

/// Reads the meters of one link, one after the other: once, or again and again.
async fn poll(shared: Shared, positions: Vec<usize>, clock: Clock, again: Option<Duration>) {
    let at = |position: &usize| {
        let subjects = shared.lock().unwrap_or_else(PoisonError::into_inner);
        subjects.get(*position).map(|subject| (subject.link.clone(), subject.unit, subject.plan.clone()))
    };
    let Some((link, ..)) = positions.first().and_then(at) else { return };
    let mut survey = Survey::new(link, clock);
    loop {
        let begun = clock.now();
        for position in &positions {
            if let Err(error) = identify(&shared, *position, &mut survey).await {
                let mut subjects = shared.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(subject) = subjects.get_mut(*position) {
                    subject.reads += 1;
                    subject.failed += 1;
                    subject.errors = vec![error];
                }
                continue;
            }
            let Some((_, unit, mut plan)) = at(position) else { continue };
            let replies = survey.read_plan(unit, &mut plan).await;
            let mut subjects = shared.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(subject) = subjects.get_mut(*position) {
                subject.rows =
                    sheet::rows(&subject.profile, subject.plausible, &plan, &replies, &subject.rows);
                subject.plan = plan;
                subject.reads += 1;
                subject.failed += u64::from(!subject.has_power());
                subject.errors = distinct(replies.into_iter().filter_map(|reply| reply.result?.err()));
            }
        }
        let Some(period) = again else { return };
        tokio::time::sleep_until(clock.instant((begun + period).max(clock.now()))).await;
    }
}

/// Asks a device that says itself what its registers mean, unless it has told already.
async fn identify(shared: &Shared, position: usize, survey: &mut Survey) -> Result<(), ReadError> {
    let (unit, wanted) = {
        let subjects = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(subject) = subjects.get(position) else { return Ok(()) };
        let Some(wanted) = subject.wanted.filter(|_| !matches!(subject.asked, Some(Ok(_)))) else {
            return Ok(());
        };
        (subject.unit, wanted)
    };
    let bases = wanted.base.map_or_else(|| BASES.to_vec(), |base| vec![base]);
    let told = survey.discover_at(unit, &bases).await?;
    let mut subjects = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(subject) = subjects.get_mut(position) else { return Ok(()) };
    subject.asked = Some(match told {
        Err(error) => Err(error.to_string()),
        Ok(found) => match wanted.choose(&found) {
            Some(chosen) => {
                subject.profile = sheet::turned(&chosen.profile, subject.invert);
                subject.plan = Plan::new(subject.profile.points().map(|(_, point)| point));
                Ok(format!("{}, model {} at {}", survey::who(&chosen.identity), chosen.model, chosen.address))
            }
            None => {
                let models: Vec<String> = found.iter().map(|found| found.model.to_string()).collect();
                Err(format!("it has no model of the kind that `prefer` names, but {}", models.join(", ")))
            }
        },
    });
    Ok(())
}

/// Errors that call for different advice; of the exceptions, the first with each code.
fn distinct(errors: impl Iterator<Item = ReadError>) -> Vec<ReadError> {
    let mut kept: Vec<ReadError> = Vec::new();
    for error in errors {
        if kept.iter().all(|other| other.status() != error.status()) {
            kept.push(error);
        }
    }
    kept
}

fn head(config: &Config, subjects: &[Subject], daemon: Option<&str>) -> String {
    let mut text = format!(
        "{}: {} of {}, read over connections of its own. Power is positive where it flows in (import).\n",
        config.site.name,
        counted(subjects.len(), "meter"),
        config.path.display()
    );
    text.push_str(&match daemon {
        Some(mode) => format!(
            "A daemon runs with this configuration (http://{}/, {mode}) and reads these meters at this moment. Many meters \
             and gateways serve one client: if one stays silent here, stop the daemon first.\n\n",
            config.web.listen
        ),
        None => String::from(
            "Many meters and gateways serve one client only: nothing else may read them at the same time.\n\n",
        ),
    });
    text
}

/// `switchboard (10.0.0.5:502, Modbus TCP)`.
fn place(link: &Link) -> String {
    let kind = match &link.transport {
        Transport::Tcp(_) => String::from("Modbus TCP"),
        Transport::RtuOverTcp(..) => String::from("RTU over TCP"),
        Transport::Rtu(_, line) => format!("RTU, {line}"),
    };
    format!("{} ({}, {kind})", link.name, link.transport)
}

impl Subject {
    fn has_power(&self) -> bool {
        self.rows.iter().any(|row| row.measure == Measure::Power && row.value.is_ok())
    }

    fn text(&self, now: Moment) -> String {
        let mut text =
            format!("{}: {}, unit {} on {}", self.name, self.profile.name, self.unit, place(&self.link));
        if self.reads > 1 || self.failed > 0 {
            text.push_str(&format!(
                " · {}, {} without power",
                counted(usize::try_from(self.reads).unwrap_or(usize::MAX), "read"),
                self.failed
            ));
        }
        text.push('\n');
        if self.reads == 0 {
            return text + "  reading …\n\n";
        }
        match &self.asked {
            Some(Ok(who)) => text.push_str(&format!("  SunSpec: {who}\n")),
            Some(Err(why)) => text.push_str(&format!("  !! SunSpec: {why}\n")),
            None => {}
        }
        // A meter of which nothing came needs no table of nothing.
        if self.rows.iter().any(|row| row.last.is_some() || !row.raw.is_empty()) {
            text.push_str(&sheet::table(&self.rows, now));
        }
        for (tone, remark) in sheet::remarks(&self.rows, self.invert, &self.role) {
            text.push_str(&format!("  {} {remark}\n", tone.mark()));
        }
        for error in &self.errors {
            if let (ReadError::Exception { code, .. }, true) = (error, self.has_power()) {
                let refused = self.rows.iter().filter(|row| matches!(row.value, Err(Why::Failed(_)))).count();
                text.push_str(&format!(
                    "  -- {refused} of {} are refused (exception {code}): this meter does not have them; its power does not \
                     need them\n",
                    counted(self.rows.len(), "point")
                ));
                continue;
            }
            text.push_str(&format!("  !! {error}\n     look at:\n"));
            for line in advice(error, &self.link) {
                text.push_str(&format!("     - {line}\n"));
            }
        }
        for row in &self.rows {
            if let (Measure::Power, Err(why @ (Why::Absent(_) | Why::Implausible(_)))) =
                (row.measure, &row.value)
            {
                text.push_str(&format!("  !! no power: {}\n", no_power(why)));
            }
        }
        text + "\n"
    }

    fn document(&self, now: Moment) -> Value {
        let points: Vec<Value> = self.rows.iter().map(|row| document(row, now)).collect();
        let remarks: Vec<Value> = sheet::remarks(&self.rows, self.invert, &self.role)
            .into_iter()
            .map(|(tone, text)| json!({ "warning": tone == sheet::Tone::Warning, "text": text }))
            .collect();
        json!({
            "meter": self.name,
            "link": self.link.name,
            "address": self.link.transport.to_string(),
            "unit": self.unit,
            "profile": self.profile.name,
            "invert": self.invert,
            "ok": self.has_power(),
            "sunspec": self.asked.as_ref().map(|asked| match asked {
                Ok(text) | Err(text) => text,
            }),
            "errors": self.errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "remarks": remarks,
            "points": points,
        })
    }
}

fn no_power(why: &Why) -> String {
    match why {
        Why::Absent(absent) => absent.to_string(),
        Why::Implausible(value) => format!(
            "{value} is outside of `plausible`; check the profile's scale and word order, the ratio of the current \
             transformers, and the range itself"
        ),
        Why::Failed(error) => error.to_string(),
        Why::NotAsked => String::from("it was not asked for"),
    }
}

fn document(row: &Row, now: Moment) -> Value {
    let registers: Vec<Value> = row
        .registers
        .iter()
        .map(|(function, address, count)| {
            json!({ "function": sheet::function_name(*function), "address": address, "count": count })
        })
        .collect();
    // In the unit of the measure: energies in watt-hours.
    let value = row.value.as_ref().ok().map(|value| match value {
        Measured::Power(watts) => watts.get(),
        Measured::Energy(energy) => energy.kilowatt_hours() * 1e3,
        Measured::Voltage(number) | Measured::Frequency(number) | Measured::StateOfCharge(number) => *number,
    });
    json!({
        "point": row.measure.name(),
        "unit": row.measure.unit(),
        "value": value,
        "quality": row.value.as_ref().err().map_or("ok", Why::name),
        "reason": row.value.as_ref().err().map(no_power),
        "registers": registers,
        "raw": row.raw.iter().map(|words| sheet::hexadecimal(words)).collect::<Vec<_>>(),
        "age_seconds": row.last.filter(|_| row.value.is_ok()).map(|(_, at)| (now - at).as_secs_f64()),
        "answer_seconds": row.took.map(|took| took.as_secs_f64()),
    })
}
