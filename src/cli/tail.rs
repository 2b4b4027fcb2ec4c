//! `ballast tail`: what changes at a site, a line each, until somebody ends it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::Failure;
use super::live::{self, Frame, News, Roster};
use super::moment::stamp;
use super::orders::{Daemon, Reach, at, text};
use super::status::acting;
use crate::clock;
use crate::line::clean;

/// Miners of one cycle that get a line each; the rest are counted.
const MOST_MINERS: usize = 20;

/// What `ballast tail` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Ends with Ctrl-C, or when nobody reads its output any more. A daemon that does not answer, or is started anew, \
                        is waited for."
)]
pub struct Args {
    /// The states of miners, too
    #[arg(long)]
    miners: bool,
    /// Each line as JSON
    #[arg(long)]
    json: bool,
    /// End after this time, such as 10min
    #[arg(long = "for", value_name = "TIME", value_parser = super::time)]
    duration: Option<Duration>,
    #[command(flatten)]
    reach: Reach,
}

/// Tells what changes.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<(), Failure> {
    let mut news = live::follow(Daemon::reach_to_read(&args.reach)?, false);
    let mut teller = Teller::new(args.miners);
    let end = async {
        match args.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    loop {
        let news = tokio::select! {
            news = news.recv() => news,
            // What cannot be waited for is no reason to go on for ever.
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = &mut end => return Ok(()),
        };
        let Some(news) = news else { return Ok(()) };
        for line in teller.lines(news) {
            let text = if args.json { format!("{}\n", line.json()) } else { line.words() };
            match super::print(&text) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                Err(source) => {
                    return Err(Failure::System { what: "cannot write to standard output", source });
                }
            }
        }
    }
}

/// Something that has changed.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    /// In milliseconds since 1970 (UTC).
    at: i64,
    kind: &'static str,
    /// What it is about; empty for the site.
    subject: String,
    words: String,
}

impl Line {
    fn json(&self) -> Value {
        json!({ "at": stamp(self.at), "kind": self.kind, "subject": self.subject, "words": self.words })
    }

    fn words(&self) -> String {
        let at = jiff::Timestamp::from_millisecond(self.at).ok();
        let zone = jiff::tz::TimeZone::system();
        let at = at.map_or_else(String::new, |at| at.to_zoned(zone).strftime("%H:%M:%S").to_string());
        let about = if self.subject.is_empty() { "" } else { " " };
        let line = format!("{at}  {:<7}  {}{about}{}", self.kind, self.subject, self.words);
        clean(&line) + "\n"
    }
}

fn rows(value: &Value) -> std::slice::Iter<'_, Value> {
    value.as_array().map_or(&[][..], Vec::as_slice).iter()
}

/// What was told last.
struct Teller {
    with_miners: bool,
    roster: Roster,
    /// Mode, circuit and source that bind.
    state: Option<[String; 3]>,
    sources: BTreeMap<String, String>,
    orders: Vec<String>,
    meters: BTreeMap<String, bool>,
    /// By number: raised, known to somebody.
    alarms: Option<BTreeMap<u64, (bool, bool)>>,
    /// By kind and name: what was told of the work on it.
    works: BTreeMap<(String, String), String>,
    /// By position: the position of the state.
    miners: BTreeMap<usize, usize>,
    /// When the latest cycle was.
    at: i64,
}

impl Teller {
    fn new(with_miners: bool) -> Self {
        Self {
            with_miners,
            roster: Roster::default(),
            state: None,
            sources: BTreeMap::new(),
            orders: Vec::new(),
            meters: BTreeMap::new(),
            alarms: None,
            works: BTreeMap::new(),
            miners: BTreeMap::new(),
            at: clock::unix_millis(),
        }
    }

    fn lines(&mut self, news: News) -> Vec<Line> {
        let line = |at: i64, kind, words: String| vec![Line { at, kind, subject: String::new(), words }];
        match news {
            News::Connected => Vec::new(),
            News::Lost(why) => {
                // What it is told next is told anew.
                self.state = None;
                line(clock::unix_millis(), "daemon", format!("not connected: {why}"))
            }
            News::Roster(roster) => {
                let words = format!("{} miners on {} circuits", roster.miners.len(), roster.circuits.len());
                self.miners.clear();
                self.roster = roster;
                line(clock::unix_millis(), "site", words)
            }
            News::Frame(frame) => self.frame(&frame),
            News::Alarms(all) => self.alarms(&all),
            News::Works(works) => self.works(&works),
            News::Curves(_) => Vec::new(),
        }
    }

    fn frame(&mut self, frame: &Frame) -> Vec<Line> {
        let mut lines = Vec::new();
        self.at = frame.at;
        let mut tell = |kind, subject: String, words: String| {
            lines.push(Line { at: frame.at, kind, subject, words });
        };
        let cycle = at(&frame.status, "/cycle");
        let binding = at(cycle, "/binding");
        let state = [at(&frame.status, "/mode"), &binding["circuit"], &binding["source"]].map(text);
        if self.state.as_ref() != Some(&state) {
            let [mode, ..] = &state;
            tell("state", String::new(), format!("{mode}: {}", text(&binding["words"])));
            self.state = Some(state);
        }
        let sources = at(&frame.status, "/signals/sources");
        for source in rows(sources) {
            let name = text(&source["name"]);
            // The operator need not be heard; their orders are told below.
            if name == crate::signal::OPERATOR && source["lifted_by"].is_null() {
                continue;
            }
            let mut words = text(&source["state"]);
            for trouble in rows(&source["trouble"]) {
                words.push_str(&format!("; {}", text(trouble)));
            }
            if let Some(by) = source["lifted_by"].as_str() {
                words.push_str(&format!("; its caps are lifted by {by}"));
            }
            // How far two clocks differ is another figure each time.
            let form = words.replace(|c: char| c.is_ascii_digit(), "");
            if self.sources.insert(name.clone(), form.clone()).is_none_or(|before| before != form) {
                tell("source", name, words);
            }
        }
        let orders = acting(sources);
        for over in self.orders.iter().filter(|order| !orders.contains(order)) {
            tell("order", String::new(), format!("over: {over}"));
        }
        for order in orders.iter().filter(|order| !self.orders.contains(order)) {
            tell("order", String::new(), format!("acts: {order}"));
        }
        self.orders = orders;
        for meter in rows(at(cycle, "/meters")) {
            let (name, up) = (text(&meter["name"]), meter["up"] != false);
            let before = self.meters.insert(name.clone(), up).unwrap_or(true);
            if before != up {
                let status = text(&meter["status"]);
                let words = if up {
                    "can be relied on again".into()
                } else {
                    format!("cannot be relied on: {status}")
                };
                tell("meter", name, words);
            }
        }
        if self.with_miners {
            lines.extend(self.miners(frame));
        }
        lines
    }

    fn miners(&mut self, frame: &Frame) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut more = 0_usize;
        if frame.miners.whole {
            let there = frame.miners.rows.len();
            self.miners.retain(|position, _| *position < there);
        }
        for (position, state, draw, ..) in &frame.miners.rows {
            let before = self.miners.insert(*position, *state);
            let Some(before) = before.filter(|before| before != state) else { continue };
            if lines.len() >= MOST_MINERS {
                more += 1;
                continue;
            }
            let word = |at: usize| self.roster.states.get(at).map_or("–", String::as_str);
            let name = self.roster.miners.get(*position).map_or("–", |(name, ..)| name.as_str());
            lines.push(Line {
                at: frame.at,
                kind: "miner",
                subject: name.to_owned(),
                words: format!(
                    "was {}, is {}, draws {}",
                    word(before),
                    word(*state),
                    super::orders::watts(&json!(draw))
                ),
            });
        }
        if more > 0 {
            let words = format!("and {more} more have changed");
            lines.push(Line { at: frame.at, kind: "miner", subject: String::new(), words });
        }
        lines
    }

    fn works(&mut self, answer: &Value) -> Vec<Line> {
        let sentences = super::maintenance::sentences(answer);
        let keys = rows(&answer["maintenance"]).map(|work| (text(&work["kind"]), text(&work["name"])));
        let now: BTreeMap<_, _> = keys.zip(sentences).collect();
        let before = std::mem::replace(&mut self.works, now);
        let line = |words: String| Line { at: self.at, kind: "work", subject: String::new(), words };
        let over = before.keys().filter(|key| !self.works.contains_key(key));
        let over = over.map(|(kind, name)| line(format!("not in maintenance any more: {kind} {name}")));
        let begun = self.works.iter().filter(|(key, words)| before.get(key) != Some(words));
        over.chain(begun.map(|(_, words)| line(words.clone()))).collect()
    }

    fn alarms(&mut self, answer: &Value) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut now = BTreeMap::new();
        let before = self.alarms.take();
        for alarm in answer["alarms"].as_array().map_or(&[][..], Vec::as_slice) {
            let Some(id) = alarm["id"].as_u64() else { continue };
            let (raised, known) = (alarm["cleared"].is_null(), !alarm["acknowledged"].is_null());
            now.insert(id, (raised, known));
            let told = before.as_ref().and_then(|before| before.get(&id).copied());
            let words = text(&alarm["words"]);
            let what = match (told, raised, known) {
                // What was over before is no news.
                (None, false, _) => continue,
                (None, true, _) => format!("{}: {words}", text(&alarm["severity"])),
                (Some((true, _)), false, _) => format!("over: {words}"),
                (Some((_, false)), _, true) => {
                    format!("known to {}: {words}", text(at(alarm, "/acknowledged/by")))
                }
                _ => continue,
            };
            lines.push(Line { at: self.at, kind: "alarm", subject: format!("{id}"), words: what });
        }
        // The most urgent come first there; here the oldest.
        lines.reverse();
        self.alarms = Some(now);
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(
        mode: &str,
        source: &str,
        sources: Value,
        rows: Vec<(usize, usize, f64, Option<f64>, u8)>,
    ) -> News {
        let status = json!({
            "mode": mode,
            "signals": { "sources": sources },
            "cycle": {
                "binding": { "circuit": "pcc", "source": source, "words": format!("by {source}") },
                "meters": [{ "name": "grid", "up": mode != "fail-safe", "status": "timeout" }],
            },
        });
        let miners = live::Rows { whole: false, rows };
        News::Frame(Box::new(Frame { at: 1_790_000_000_000, status, alarms: Value::Null, miners }))
    }

    fn told(lines: Vec<Line>) -> Vec<String> {
        lines.iter().map(|line| line.words().split_once("  ").unwrap().1.trim_end().to_owned()).collect()
    }

    #[test]
    fn a_line_comes_when_something_changes_and_none_otherwise() {
        let mut teller = Teller::new(true);
        let states = ["hashing", "asleep"].map(String::from).to_vec();
        let roster = Roster {
            states,
            miners: vec![("c1-01".into(), 0, "x".into(), 3_000.0); 30],
            ..Roster::default()
        };
        assert_eq!(told(teller.lines(News::Roster(roster))), ["site     30 miners on 0 circuits"]);
        let utility = json!([{ "name": "utility", "state": "controlled", "caps": [] }]);
        let first = frame("following", "surplus", utility.clone(), vec![(0, 0, 3_000.0, None, 0)]);
        assert_eq!(
            told(teller.lines(first.clone())),
            ["state    following: by surplus", "source   utility controlled"]
        );
        assert_eq!(told(teller.lines(first)), [""; 0]);
        let ordered = json!([{ "name": "utility", "state": "limited", "caps": [
            { "circuit": "pcc", "caps": "import", "cap_watts": 150_000.0, "why": "order", "order": "night" },
        ] }]);
        let second = frame("limited", "utility", ordered, vec![(0, 1, 12.0, Some(-1.0), 0)]);
        assert_eq!(
            told(teller.lines(second)),
            [
                "state    limited: by utility",
                "source   utility limited",
                "order    acts: order night of utility: 150 kW on pcc",
                "miner    c1-01 was hashing, is asleep, draws 12 W",
            ]
        );
        assert_eq!(
            told(teller.lines(frame("fail-safe", "utility", utility, vec![]))),
            [
                "state    fail-safe: by utility",
                "source   utility controlled",
                "order    over: order night of utility: 150 kW on pcc",
                "meter    grid cannot be relied on: timeout",
            ]
        );
        let lost = teller.lines(News::Lost("refused".into()));
        assert_eq!(told(lost), ["daemon   not connected: refused"]);
        let again = teller.lines(frame("following", "surplus", json!([]), vec![]));
        assert_eq!(told(again), ["state    following: by surplus", "meter    grid can be relied on again"]);
    }

    #[test]
    fn work_is_told_when_it_begins_changes_and_is_over() {
        let mut teller = Teller::new(false);
        let mut tell = |works: Value| told(teller.lines(News::Works(json!({ "maintenance": works }))));
        let work = |by: &str| json!([{ "kind": "circuit", "name": "hall", "miners": 1, "by": by, "hold": "asleep" }]);
        assert_eq!(tell(work("Aisha")), ["work     in maintenance: circuit hall (1 miner) by Aisha"]);
        assert_eq!(tell(work("Aisha")), [""; 0]);
        assert_eq!(tell(work("Bilal")), ["work     in maintenance: circuit hall (1 miner) by Bilal"]);
        assert_eq!(tell(json!([])), ["work     not in maintenance any more: circuit hall"]);
        assert!(teller.lines(News::Works(Value::Null)).is_empty());
    }

    #[test]
    fn many_miners_at_once_are_counted() {
        let mut teller = Teller::new(true);
        let rows = |state: usize| (0..500).map(|at| (at, state, 0.0, None, 0)).collect::<Vec<_>>();
        let _ = teller.lines(frame("following", "surplus", json!([]), rows(0)));
        let lines = told(teller.lines(frame("following", "surplus", json!([]), rows(1))));
        assert_eq!(lines.len(), MOST_MINERS + 1);
        assert_eq!(lines[MOST_MINERS], "miner    and 480 more have changed");
    }

    #[test]
    fn alarms_are_told_when_they_come_are_known_and_are_over() {
        let mut teller = Teller::new(false);
        let alarm = |id: u64, cleared: Value, known: Value| json!({ "id": id, "severity": "critical", "words": "grid does not answer", "cleared": cleared, "acknowledged": known });
        let mut tell = |alarms: Value| told(teller.lines(News::Alarms(json!({ "alarms": alarms }))));
        let (none, by) = (Value::Null, json!({ "by": "Aisha" }));
        assert_eq!(
            tell(json!([alarm(2, none.clone(), none.clone()), alarm(1, json!(5), none.clone())])),
            ["alarm    2 critical: grid does not answer"]
        );
        assert_eq!(
            tell(json!([alarm(2, none.clone(), by.clone())])),
            ["alarm    2 known to Aisha: grid does not answer"]
        );
        assert_eq!(tell(json!([alarm(2, json!(6), by)])), ["alarm    2 over: grid does not answer"]);
    }

    #[test]
    fn a_line_for_programs_has_its_parts_apart() {
        let line =
            Line { at: 1_790_000_000_000, kind: "miner", subject: "c1\u{1b}".into(), words: "is\n".into() };
        assert_eq!(line.json()["at"], "2026-09-21T14:13:20Z");
        assert_eq!(line.json().to_string().lines().count(), 1);
        assert!(!line.words().contains('\u{1b}') && line.words().ends_with("is\u{fffd}\n"));
    }
}
