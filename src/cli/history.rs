//! `ballast history`: what the daemon has kept of the surplus, the draw, the import and the cap, for people and programs.
//!
//! Of the whole site the last six hours are known in steps of ten seconds; of every circuit, and from before, in quarter hours where a
//! database is kept. Both are told in the same columns, in means of watts.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Failure;
use super::moment::{self, day_time, stamp};
use super::orders::{Daemon, DaemonCallError, Reach, at, watts};
use super::table::{Align, Table};
use crate::clock;
use crate::config::quantity;
use crate::line::clean;

/// What the daemon keeps in memory of the whole site, in minutes.
const MEMORY: i64 = 360;
/// Rows of a table that nobody has set a step for.
const ROWS: u64 = 40;
/// The most that is told, in milliseconds: as much as the daemon tells of its quarters.
const LONGEST: i64 = 32 * 86_400_000;
/// Quarters of one answer.
const PAGE: usize = 1_000;
/// No time of 32 days has more pages.
const MOST_PAGES: usize = 8;
/// Steps that people read well, in seconds.
const STEPS: [u64; 12] = [10, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 86_400];

/// What `ballast history` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Means of power, import and consumption positive; a dash (an empty field, null) is not known. Without --circuit, and \
                  within the last six hours, in steps of ten seconds and more; else in quarter hours, which the daemon keeps where it \
                  has a database. At most 32 days at once; `ballast report` makes longer ones."
)]
pub struct Args {
    /// This circuit; without it the whole site
    #[arg(long, value_name = "NAME")]
    circuit: Option<String>,
    /// The last hours, such as 90min or 6h; 1h without it
    #[arg(long, value_name = "TIME", value_parser = super::time, conflicts_with_all = ["from", "to"])]
    last: Option<Duration>,
    /// From here on: 2026-11-29T06:00 on the clocks of this machine, 06:00 of today, or RFC 3339
    #[arg(long, value_name = "WHEN", value_parser = moment::past)]
    from: Option<Timestamp>,
    /// Up to here, a day alone as a whole; now without it
    #[arg(long, value_name = "WHEN", value_parser = moment::end, requires = "from")]
    to: Option<Timestamp>,
    /// One row for so much time, such as 5min
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    step: Option<Duration>,
    /// As CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// One interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Row {
    /// When it begins, in milliseconds since 1970 (UTC).
    start: i64,
    /// Surplus, draw, import and cap, in watts.
    values: [Option<f64>; 4],
}

const NAMES: [&str; 4] = ["surplus_watts", "draw_watts", "import_watts", "cap_watts"];

/// What is told.
struct Told {
    circuit: String,
    /// The length of an interval, in seconds.
    step: u64,
    rows: Vec<Row>,
}

/// Shows the history.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<(), Failure> {
    let now = clock::unix_millis();
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let to = args.to.map_or(now, Timestamp::as_millisecond);
    let last = args.last.unwrap_or(Duration::from_secs(3_600));
    let from = args.from.map_or_else(|| to.saturating_sub(millis(last)), Timestamp::as_millisecond);
    if from >= to || to - from > LONGEST {
        return Err(Failure::Energy("--from must be before --to, and at most 32 days before it".into()));
    }
    let daemon = Daemon::reach_to_read(&args.reach)?;
    let circuits = daemon.get(&["circuits"]).await?;
    let all = at(&circuits, "/circuits").as_array().map_or(&[][..], Vec::as_slice);
    let name = |circuit: &Value| circuit["name"].as_str().map(str::to_owned);
    let root = all.iter().find(|circuit| circuit["parent"].is_null()).and_then(name).unwrap_or_default();
    let wanted = args.circuit.clone().unwrap_or_else(|| root.clone());
    if !all.iter().any(|circuit| circuit["name"] == *wanted) {
        let names: Vec<String> = all.iter().filter_map(name).collect();
        return Err(Failure::Energy(format!(
            "there is no circuit `{wanted}`; there are {}",
            names.join(", ")
        )));
    }
    let recent = from >= now - (MEMORY * 60_000);
    let (step, rows) = if wanted == root && recent {
        let minutes = ((now - from) / 60_000 + 1).clamp(1, MEMORY).to_string();
        let answer = daemon.look(&["history"], &[("minutes", &minutes)]).await?;
        curves(&answer)
    } else {
        (900, quarters(&daemon, &wanted, from, to).await?)
    };
    let rows: Vec<Row> =
        rows.into_iter().filter(|row| row.start + seconds(step) > from && row.start < to).collect();
    let told = fold(Told { circuit: wanted, step, rows }, args, (to - from) / 1_000);
    super::answer_as_it_is(&match (args.json, args.csv) {
        (true, _) => super::json(&program(&told))?,
        (_, true) => csv(&told),
        _ => table(&told, super::width()),
    })
}

fn seconds(step: u64) -> i64 {
    i64::try_from(step).unwrap_or(i64::MAX / 2_000).saturating_mul(1_000)
}

/// The last hours of the whole site.
fn curves(answer: &Value) -> (u64, Vec<Row>) {
    let step = answer["step_seconds"].as_u64().unwrap_or(10).max(1);
    let from = answer["from"].as_i64().unwrap_or(0);
    let list = |key: &str| answer[key].as_array().map_or(&[][..], Vec::as_slice);
    let lists = ["surplus_watts", "power_watts", "import_watts", "cap_watts"].map(list);
    let length = lists.iter().map(|list| list.len()).max().unwrap_or(0);
    let mut start = from;
    let rows = (0..length).map(|index| {
        let row = Row { start, values: lists.map(|list| list.get(index).and_then(Value::as_f64)) };
        start = start.saturating_add(seconds(step));
        row
    });
    (step, rows.collect())
}

/// Quarter hours of a circuit, from the database of the daemon.
async fn quarters(daemon: &Daemon, circuit: &str, from: i64, to: i64) -> Result<Vec<Row>, Failure> {
    let (from, to) = (stamp(from).unwrap_or_default(), stamp(to).unwrap_or_default());
    let mut rows = Vec::new();
    for page in 0..MOST_PAGES {
        let (limit, offset) = (PAGE.to_string(), (page * PAGE).to_string());
        let query = [
            ("from", from.as_str()),
            ("to", &to),
            ("circuit", circuit),
            ("limit", &limit),
            ("offset", &offset),
        ];
        let answer = match daemon.look(&["energy"], &query).await {
            Err(Failure::Call(DaemonCallError::Refused { code: 404, .. })) => {
                return Err(Failure::Energy(
                    "the daemon keeps no quarter hours: it has no database. Of the whole site it knows the last six hours".into(),
                ));
            }
            answer => answer?,
        };
        let all = at(&answer, "/quarters").as_array().map_or(&[][..], Vec::as_slice);
        rows.extend(all.iter().filter(|quarter| quarter["kind"] == "circuit").filter_map(quarter));
        if all.len() < PAGE {
            break;
        }
    }
    // A quarter comes in parts where the daemon was restarted in it.
    rows.sort_by_key(|row| row.start);
    Ok(rows)
}

/// A quarter as means.
fn quarter(value: &Value) -> Option<Row> {
    let start = value["start"].as_str()?.parse::<Timestamp>().ok()?.as_millisecond();
    let mean = |energy: &str, known: &str| {
        let hours = value[known].as_f64().filter(|seconds| *seconds > 0.0)? / 3_600.0;
        Some(value[energy].as_f64()? / hours)
    };
    let import = mean("import_watt_hours", "metered_seconds");
    let export = mean("export_watt_hours", "metered_seconds");
    let net = import.map(|import| import - export.unwrap_or(0.0));
    let surplus = mean("other_watt_hours", "together_seconds").map(|other| (-other).max(0.0));
    let draw = mean("miners_watt_hours", "miners_known_seconds");
    Some(Row { start, values: [surplus, draw, net, value["mean_cap_watts"].as_f64()] })
}

/// Puts intervals together: the mean of what was known in each.
fn fold(told: Told, args: &Args, length: i64) -> Told {
    let usual = || {
        let length = u64::try_from(length).unwrap_or(1);
        let fits = |step: &&u64| **step >= told.step && length / (**step).max(1) <= ROWS;
        STEPS.iter().find(fits).copied().unwrap_or(86_400)
    };
    let step = match args.step {
        Some(step) => step.as_secs().div_ceil(told.step).saturating_mul(told.step).max(told.step),
        None if args.csv || args.json => told.step,
        None => usual().div_ceil(told.step).saturating_mul(told.step),
    };
    let length = seconds(step);
    let mut rows: Vec<(i64, [(f64, f64); 4])> = Vec::new();
    for row in &told.rows {
        let start = row.start.div_euclid(length).saturating_mul(length);
        if rows.last().is_none_or(|(last, _)| *last != start) {
            rows.push((start, [(0.0, 0.0); 4]));
        }
        let Some((_, sums)) = rows.last_mut() else { continue };
        for ((sum, count), value) in sums.iter_mut().zip(row.values) {
            if let Some(value) = value {
                *sum += value;
                *count += 1.0;
            }
        }
    }
    let mean = |(sum, count): (f64, f64)| (count > 0.0).then(|| sum / count);
    let rows = rows.into_iter().map(|(start, sums)| Row { start, values: sums.map(mean) });
    Told { step, rows: rows.collect(), ..told }
}

fn program(told: &Told) -> Value {
    let row = |row: &Row| {
        let mut all = json!({ "start": stamp(row.start) });
        for (name, value) in NAMES.iter().zip(row.values) {
            if let Some(all) = all.as_object_mut() {
                all.insert((*name).into(), json!(value.map(f64::round)));
            }
        }
        all
    };
    json!({
        "circuit": told.circuit, "step_seconds": told.step, "intervals": told.rows.iter().map(row).collect::<Vec<_>>(),
    })
}

fn csv(told: &Told) -> String {
    let mut text = format!("start,seconds,{}\n", NAMES.join(","));
    for row in &told.rows {
        let values = row.values.map(|value| value.map_or_else(String::new, |value| format!("{value:.0}")));
        let start = stamp(row.start).unwrap_or_default();
        text.push_str(&format!("{start},{},{}\n", told.step, values.join(",")));
    }
    text
}

fn table(told: &Told, width: Option<usize>) -> String {
    if told.rows.is_empty() {
        return format!("nothing is known of {} in this time\n", told.circuit);
    }
    let mut table = Table::new(&[
        ("FROM", Align::Left),
        ("SURPLUS", Align::Right),
        ("DRAW", Align::Right),
        ("IMPORT", Align::Right),
        ("CAP", Align::Right),
    ]);
    for row in &told.rows {
        let mut cells = vec![day_time(&json!(row.start))];
        cells.extend(row.values.map(|value| watts(&json!(value))));
        table.row(cells);
    }
    let step = quantity::write_time(Duration::from_secs(told.step));
    let circuit = clean(&told.circuit);
    format!("{circuit}, means of {step}\n{}", table.within(width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(words: &[&str]) -> Args {
        let all = std::iter::once("history").chain(words.iter().copied());
        <Line as clap::Parser>::try_parse_from(all).unwrap().args
    }

    fn answer() -> Value {
        json!({
            "step_seconds": 10, "from": 1_790_000_000_000_i64,
            "surplus_watts": [100.0, 200.0, null, 400.0, 500.0, 600.0], "power_watts": [1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
            "import_watts": [null, null, null, null, null, null], "cap_watts": [-5.0, null, -5.0, null, null, null],
        })
    }

    #[test]
    fn intervals_are_put_together_as_means_of_what_is_known() {
        let (step, rows) = curves(&answer());
        assert_eq!((step, rows.len(), rows[3].values[0]), (10, 6, Some(400.0)));
        let told = Told { circuit: "pcc".into(), step, rows };
        let told = fold(told, &args(&["--step", "30s"]), 60);
        // 1,790,000,000 s begins 20 s after a whole half minute.
        assert_eq!(told.rows.len(), 3);
        assert_eq!(told.rows[0].values, [Some(100.0), Some(1.0), None, Some(-5.0)]);
        assert_eq!(told.rows[1].values, [Some(300.0), Some(1.0), None, Some(-5.0)]);
        assert_eq!(told.rows[2].values, [Some(550.0), Some(1.0), None, None]);
        let text = csv(&told);
        assert!(
            text.starts_with("start,seconds,surplus_watts,draw_watts,import_watts,cap_watts\n"),
            "{text}"
        );
        assert!(text.lines().nth(1).unwrap().ends_with(",30,100,1,,-5"), "{text}");
        assert_eq!(program(&told)["intervals"][2]["cap_watts"], Value::Null);
        assert!(table(&told, None).contains("550 W"));
    }

    #[test]
    fn a_table_has_few_rows_and_what_programs_read_has_all() {
        let many = |args: &Args| {
            let rows = (0..2_160).map(|at| Row { start: at * 10_000, values: [Some(1.0); 4] }).collect();
            fold(Told { circuit: "pcc".into(), step: 10, rows }, args, 21_600).rows.len()
        };
        assert_eq!(many(&args(&[])), 36);
        assert_eq!((many(&args(&["--csv"])), many(&args(&["--json"]))), (2_160, 2_160));
        assert_eq!(many(&args(&["--step", "1h"])), 6);
        assert_eq!(many(&args(&["--step", "1s"])), 2_160, "no finer than it is kept");
    }

    #[test]
    fn a_quarter_becomes_means_and_what_was_not_known_stays_so() {
        let value = json!({
            "start": "2026-11-29T12:00:00Z", "kind": "circuit", "import_watt_hours": 0.0, "export_watt_hours": 25.0,
            "metered_seconds": 900.0, "other_watt_hours": -75.0, "together_seconds": 450.0, "miners_watt_hours": null,
            "miners_known_seconds": 0.0, "mean_cap_watts": 4_000.0,
        });
        assert_eq!(quarter(&value).unwrap().values, [Some(600.0), None, Some(-100.0), Some(4_000.0)]);
        assert_eq!(quarter(&json!({ "start": "yesterday" })), None);
    }
}
