//! `ballast meter scan`: which units answer on a link, what they are, and the lines of a configuration for them.

mod fit;
mod place;
mod snippet;

use std::collections::BTreeMap;
use std::time::Duration;

use super::advice::advice;
use super::screen::{Progress, counted, spell};
use crate::cli::Failure;
use crate::clock::{Clock, Moment};
use crate::config::builtin;
use crate::meter::decode::{self, Absent};
use crate::meter::plan::{Plan, Span};
use crate::meter::profile::{FullScale, Function, Measure, Profile};
use crate::meter::sunspec::{self, Found, SunSpecError};
use crate::meter::survey::{Reply, Survey, who};
use crate::meter::{ReadError, Transport};
use fit::{Class, Fit, State};
use place::Units;
use snippet::Entry;

/// Whether a unit is there is asked with one read. Input register 0 is the first voltage in the meters that are met
/// most on serial lines (Eastron, Carlo Gavazzi), and nearly every other device refuses it, which is an answer, too.
const PROBE: Span = Span { function: Function::Input, address: 0, count: 2 };
/// Asked of a unit that was silent: some devices know one function code only, and do not answer at all what they do not
/// have. An answer that was lost has its second chance with it.
const SECOND_PROBE: Span = Span { function: Function::Holding, address: 0, count: 1 };
/// Socomec's mark: "SOCO", one letter a register ("JBUS/Modbus common table" 1.01).
const SOCOMEC: (u16, [u16; 4]) = (0xC350, [0x53, 0x4F, 0x43, 0x4F]);
/// The family that carries it.
const SOCOMEC_PROFILE: &str = "socomec-countis";
/// So many requests of one function code that are not answered, and none that is: the device does not know it.
const UNKNOWN_TO_IT: u32 = 2;
/// A unit is looked at for so long at the most.
const LONGEST_LOOK: Duration = Duration::from_secs(180);
/// As many units one after the other that garble their answer end a scan: the link is of another kind.
const GARBLED: u32 = 3;
/// From so many units on that all answered, one device is taken to answer for all of them.
const ALL: usize = 4;
/// How many profiles that are less likely are named.
const NAMED: usize = 3;

/// What `ballast meter scan` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Ctrl-C ends the scan and shows what was found. Exit code: 0 if a unit answered, else 1.\n\nThe scan \
                        only reads. It takes the one connection that many gateways give: stop the daemon for the time of \
                        the scan."
)]
pub(super) struct Args {
    /// tcp://HOST:PORT, rtu-over-tcp://HOST:PORT?baud=9600 or rtu:///dev/ttyUSB0?baud=9600&parity=none&stop_bits=1
    #[arg(value_name = "PLACE", value_parser = place::parse)]
    place: Transport,
    /// Which unit ids: numbers and ranges
    #[arg(short, long, value_name = "LIST", value_parser = place::units, default_value = "1-247")]
    units: Units,
    /// Longest wait for an answer; without it 1s behind a network, 500ms on a serial port
    #[arg(long, value_name = "TIME", value_parser = crate::cli::time)]
    timeout: Option<Duration>,
    /// Silence between two requests
    #[arg(long, value_name = "TIME", value_parser = crate::cli::time, default_value = "30ms")]
    gap: Duration,
    /// Wait after connecting, for devices that swallow what is asked sooner
    #[arg(long, value_name = "TIME", value_parser = crate::cli::time, default_value = "0s")]
    connect_delay: Duration,
    /// Ask every silent unit both questions once more; takes twice as long
    #[arg(long)]
    thorough: bool,
}

/// Whether a unit is there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Presence {
    /// It answered; the text says how.
    Answers(String),
    /// What gateways (10, 11) and some servers (4) say of units that they do not have.
    NotThere,
    /// Another unit answered instead.
    Answered(u8),
    /// Nothing came.
    Silent,
    /// Bytes came that are no answer.
    Garbled(ReadError),
}

/// What was learned of a unit.
struct Unit {
    id: u8,
    /// SunSpec models, or why there are none; `None` where the question was not answered.
    sunspec: Option<Result<Vec<Found>, SunSpecError>>,
    /// All profiles that can be read, the best first.
    fits: Vec<Fit>,
    /// Why the look was cut short.
    cut: Option<String>,
}

/// Scans and prints.
///
/// # Errors
/// None at present; the type is that of every command.
pub(super) async fn run(args: &Args) -> Result<u8, Failure> {
    let mut link = place::link(args.place.clone(), args.timeout, args.gap.min(Duration::from_secs(10)));
    link.connect_delay = args.connect_delay.min(Duration::from_secs(30));
    let clock = Clock::start();
    let mut scan = Scan {
        survey: Survey::new(link, clock),
        clock,
        thorough: args.thorough,
        progress: Progress::new(),
        answered: Vec::new(),
        looked_at: Vec::new(),
        not_there: 0,
        asked: 0,
        instead: BTreeMap::new(),
        speaks: BTreeMap::new(),
        tables: BTreeMap::new(),
        trouble: None,
    };
    let Units(units) = &args.units;
    scan.introduce(units);
    let ended = tokio::select! {
        () = scan.all(units) => true,
        _ = tokio::signal::ctrl_c() => false,
    };
    scan.progress.clear();
    crate::cli::answer(&scan.report(units.len(), ended))?;
    Ok(u8::from(scan.answered.is_empty()))
}

struct Scan {
    survey: Survey,
    clock: Clock,
    thorough: bool,
    progress: Progress,
    answered: Vec<(u8, String)>,
    looked_at: Vec<Unit>,
    /// Of how many units it was said that they are not there.
    not_there: usize,
    asked: usize,
    /// Units that answered where others were asked: who, and whom they answered for.
    instead: BTreeMap<u8, Vec<u8>>,
    /// The function code that a unit answered.
    speaks: BTreeMap<u8, Function>,
    /// By function code, what has become of the requests to the unit that is looked at: unanswered ones, and whether any
    /// was answered.
    tables: BTreeMap<Function, (u32, bool)>,
    /// What ended the scan early.
    trouble: Option<ReadError>,
}

impl Scan {
    fn introduce(&self, units: &[u8]) {
        let link = self.survey.link();
        let each = Survey::longest_silence(link) * if self.thorough { 4 } else { 2 };
        let longest = each * u32::try_from(units.len()).unwrap_or(u32::MAX);
        let _ = crate::cli::print(&format!(
            "Asking {} at {} ({}), one after the other, and those that are silent again by the other function code; each for {} \
             at the most. If none answers that takes {}. Ctrl-C ends it and shows what was found.\nMany gateways serve one client only: nothing else may read there \
             at the same time.\n\n",
            counted(units.len(), "unit"),
            link.transport,
            kind(&link.transport),
            spell(link.timeout),
            spell(longest),
        ));
    }

    /// First who is there, then what they are.
    async fn all(&mut self, units: &[u8]) {
        let mut silent = units.to_vec();
        let both = [PROBE, SECOND_PROBE];
        let rounds = if self.thorough { 2 } else { 1 };
        for (round, probe) in std::iter::repeat_n(both, rounds).flatten().enumerate() {
            let asked = std::mem::take(&mut silent);
            match self.pass(&asked, probe, round == 0).await {
                Ok(still) => silent = still,
                Err(error) => {
                    self.trouble = Some(error);
                    return;
                }
            }
        }
        // Who answered for others is asked by its own name.
        let known: Vec<u8> = self.answered.iter().map(|(unit, _)| *unit).collect();
        let callers: Vec<u8> = self.instead.keys().copied().filter(|unit| !known.contains(unit)).collect();
        if let Err(error) = self.pass(&callers, PROBE, false).await {
            self.trouble = Some(error);
            return;
        }
        self.answered.sort();
        let mut found: Vec<u8> = self.answered.iter().map(|(unit, _)| *unit).collect();
        if self.one_for_all(units.len()) {
            found.truncate(1);
        }
        for (index, unit) in found.iter().enumerate() {
            self.look(*unit, index, found.len()).await;
        }
    }

    /// Asks units one after the other. Gives those that were silent.
    ///
    /// # Errors
    /// There is no connection, or the link is of another kind.
    async fn pass(&mut self, units: &[u8], probe: Span, first: bool) -> Result<Vec<u8>, ReadError> {
        let begun = self.clock.now();
        let (mut garbled, mut silent) = (0, Vec::new());
        for (index, unit) in units.iter().enumerate() {
            self.show(begun, index, units.len());
            let presence = self.probe(*unit, probe).await?;
            self.asked += usize::from(first);
            garbled = if matches!(presence, Presence::Garbled(_)) { garbled + 1 } else { 0 };
            match presence {
                Presence::Answers(how) => {
                    self.progress.clear();
                    let _ = crate::cli::print(&format!("unit {unit} answers: {how}\n"));
                    self.answered.push((*unit, how));
                    self.speaks.insert(*unit, probe.function);
                }
                Presence::Answered(other) => self.instead.entry(other).or_default().push(*unit),
                Presence::NotThere => self.not_there += 1,
                Presence::Silent => silent.push(*unit),
                Presence::Garbled(error) => {
                    self.progress.clear();
                    let _ = crate::cli::print(&format!("unit {unit}: {error}\n"));
                    if garbled >= GARBLED && self.answered.is_empty() {
                        return Err(error);
                    }
                }
            }
        }
        Ok(silent)
    }

    /// Whether the device seems to answer for every unit id.
    fn one_for_all(&self, asked: usize) -> bool {
        asked >= ALL && self.answered.len() == asked
    }

    fn show(&mut self, begun: Moment, done: usize, total: usize) {
        let spent = self.clock.now() - begun;
        // After the first few, what each took so far is the best guess.
        let left = match u32::try_from(done) {
            Ok(done) if done >= 3 => {
                spent / done * u32::try_from(total - usize::try_from(done).unwrap_or(0)).unwrap_or(0)
            }
            _ => Survey::longest_silence(self.survey.link()) * u32::try_from(total - done).unwrap_or(0),
        };
        self.progress.show(&format!(
            "unit {} of {total} · {} found · about {} left",
            done + 1,
            self.answered.len(),
            spell(Duration::from_secs(left.as_secs().max(1)))
        ));
    }

    /// Asks whether a unit is there.
    ///
    /// # Errors
    /// There is no connection.
    async fn probe(&mut self, unit: u8, span: Span) -> Result<Presence, ReadError> {
        Ok(match self.survey.read(unit, span).await {
            Ok(words) => Presence::Answers(format!("in {} ms", words.took.as_millis())),
            Err(ReadError::Exception { code: 4 | 10 | 11, .. }) => Presence::NotThere,
            Err(ReadError::Exception { code, .. }) => {
                Presence::Answers(format!("with exception {code}, so it is there"))
            }
            Err(ReadError::Timeout { .. } | ReadError::Broken { .. }) => Presence::Silent,
            Err(ReadError::Answerer { got, .. }) => Presence::Answered(got),
            Err(error @ (ReadError::Malformed { .. } | ReadError::Number { .. })) => Presence::Garbled(error),
            Err(error @ ReadError::Connect { .. }) => return Err(error),
        })
    }

    /// Looks what a unit is. Ends by itself after [`LONGEST_LOOK`]; what was learned until then stays.
    async fn look(&mut self, id: u8, index: usize, total: usize) {
        self.looked_at.push(Unit { id, sunspec: None, fits: Vec::new(), cut: None });
        let looking = tokio::time::timeout(LONGEST_LOOK, self.identify(id, index, total)).await;
        let cut = match looking {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("not everything was asked within {}", spell(LONGEST_LOOK))),
        };
        if let Some(unit) = self.looked_at.last_mut() {
            unit.cut = cut;
            fit::rank(&mut unit.fits);
        }
    }

    async fn identify(&mut self, id: u8, index: usize, total: usize) -> Result<(), ReadError> {
        let place = format!("looking at unit {id} ({} of {total})", index + 1);
        self.tables.clear();
        self.tables.extend(self.speaks.get(&id).map(|function| (*function, (0, true))));
        self.progress.show(&format!("{place} · SunSpec"));
        match self.survey.discover(id).await {
            Ok(found) => {
                if let Ok(models) = &found
                    && let Some(model) = sunspec::preferred(models)
                {
                    let profile = model.profile.clone();
                    self.judge(id, &profile, None).await?;
                }
                if let Some(unit) = self.looked_at.last_mut() {
                    unit.sunspec = Some(found);
                }
            }
            Err(error @ ReadError::Connect { .. }) => return Err(error),
            // It does not answer what it does not have.
            Err(error) => self.note(Function::Holding, Err(&error)),
        }
        let marked = match self.survey.holding(id, SOCOMEC.0, 4).await {
            Ok(Ok(words)) => words == SOCOMEC.1,
            Ok(Err(_)) => false,
            Err(error @ ReadError::Connect { .. }) => return Err(error),
            Err(_) => false,
        };
        // Profiles that share their register of power are asked for it once.
        let mut powers: BTreeMap<Vec<(Function, u16, u16)>, bool> = BTreeMap::new();
        let profiles: Vec<Profile> = builtin::profile_names().filter_map(builtin::profile).collect();
        let count = profiles.len();
        for (number, profile) in profiles.iter().enumerate() {
            self.progress.show(&format!("{place} · profile {} of {count}: {}", number + 1, profile.name));
            let mut plan = Plan::new([&profile.power]);
            let spans: Vec<(Function, u16, u16)> = (0..)
                .map_while(|position| plan.span(position))
                .map(|span| (span.function, span.address, span.count))
                .collect();
            let readable = match powers.get(&spans) {
                Some(readable) => *readable,
                None => {
                    if spans.iter().any(|(function, ..)| self.unknown_to_it(*function)) {
                        continue;
                    }
                    let replies = self.ask(id, &mut plan).await?;
                    let readable = !replies.is_empty()
                        && replies.iter().all(|reply| matches!(reply.result, Some(Ok(_))));
                    powers.insert(spans, readable);
                    readable
                }
            };
            if readable {
                let mark = (profile.name == SOCOMEC_PROFILE).then_some(marked);
                self.judge(id, profile, mark).await?;
            }
        }
        Ok(())
    }

    /// Reads a plan, and once more what was not answered, unless the device does not know the function code at all.
    ///
    /// # Errors
    /// There is no connection any more.
    async fn ask(&mut self, id: u8, plan: &mut Plan) -> Result<Vec<Reply>, ReadError> {
        for last in [false, true] {
            let replies = self.survey.read_plan(id, plan).await;
            connected(&replies)?;
            let mut unanswered = false;
            for reply in &replies {
                if let Some(result) = &reply.result {
                    self.note(reply.span.function, result.as_ref().map(|_| ()));
                    let lost = matches!(result, Err(ReadError::Timeout { .. } | ReadError::Broken { .. }));
                    unanswered |= lost && !self.unknown_to_it(reply.span.function);
                }
            }
            if last || !unanswered {
                return Ok(replies);
            }
        }
        Ok(Vec::new())
    }

    /// Takes note of what has become of a request.
    fn note(&mut self, function: Function, result: Result<(), &ReadError>) {
        let (unanswered, any) = self.tables.entry(function).or_default();
        match result {
            Err(ReadError::Timeout { .. } | ReadError::Broken { .. }) => *unanswered += 1,
            _ => *any = true,
        }
    }

    fn unknown_to_it(&self, function: Function) -> bool {
        self.tables.get(&function).is_some_and(|(unanswered, any)| !any && *unanswered >= UNKNOWN_TO_IT)
    }

    /// Reads all points of a profile and judges them.
    async fn judge(&mut self, id: u8, profile: &Profile, mark: Option<bool>) -> Result<(), ReadError> {
        let mut whole = profile.clone();
        let needs_scale = whole.needs(FullScale::Power) || whole.needs(FullScale::Voltage);
        // What the site alone knows is taken for one: values are then parts of it.
        whole.set_full_scale(FullScale::Power, 1.0);
        whole.set_full_scale(FullScale::Voltage, 1.0);
        let mut plan = Plan::new(whole.points().map(|(_, point)| point));
        let replies = self.ask(id, &mut plan).await?;
        let states = states(&whole, &plan, &replies);
        let fit = fit::fit(&whole, &states, mark, needs_scale);
        if let Some(unit) = self.looked_at.last_mut() {
            unit.fits.push(fit);
        }
        Ok(())
    }

    fn report(&self, asked: usize, ended: bool) -> String {
        let link = self.survey.link();
        let mut text = String::new();
        let sum = format!(
            "{} of {asked} asked answered at {}",
            counted(self.answered.len(), "unit"),
            link.transport
        );
        text.push_str(&match (ended, &self.trouble) {
            (false, _) => format!("\nEnded after {} of {}: {}.\n", self.asked, counted(asked, "unit"), sum),
            (true, Some(error)) => {
                format!("\nThe scan broke off after {} of {}: {error}\n", self.asked, counted(asked, "unit"))
            }
            (true, None) => format!("\n{sum}.\n"),
        });
        if let Some(error) = &self.trouble {
            text.push_str("Look at:\n");
            for line in advice(error, link) {
                text.push_str(&format!("- {line}\n"));
            }
        }
        if self.not_there > 0 {
            text.push_str(&format!(
                "For {} came exception 4, 10 or 11: so gateways and servers speak of units that they do not reach. The \
                 network side works.\n",
                counted(self.not_there, "unit")
            ));
        }
        for (answerer, asked) in &self.instead {
            text.push_str(&format!(
                "Unit {answerer} answered where {} asked ({}): the device calls itself {answerer}. Write unit = \
                 {answerer}; behind a gateway look at its table of units.\n",
                if let [_] = asked.as_slice() { "another was" } else { "others were" },
                asked.iter().take(8).map(u8::to_string).collect::<Vec<_>>().join(", "),
            ));
        }
        let nobody = self.answered.is_empty() && self.instead.is_empty();
        if nobody && self.not_there == 0 && self.trouble.is_none() && ended {
            let silence =
                ReadError::Timeout { place: link.transport.to_string(), unit: 0, limit: link.timeout };
            text.push_str("Nothing answers. Look at:\n");
            for line in advice(&silence, link).into_iter().skip(1) {
                text.push_str(&format!("- {line}\n"));
            }
            text.push_str("- slow devices: --timeout 3s; lines that lose answers: --thorough\n");
        }
        if self.one_for_all(asked) {
            text.push_str(
                "Every unit id that was asked is answered: the device does not look at it, or a gateway answers for all. \
                 One was looked at; take the id that stands in the device's menu.\n",
            );
        }
        for unit in &self.looked_at {
            text.push_str(&unit.text());
        }
        let entries: Vec<Entry> = self.looked_at.iter().map(Unit::entry).collect();
        if !entries.is_empty() {
            text.push_str(&format!(
                "\nFor the configuration (the names are yours to choose):\n\n{}\nThen: ballast check, ballast meter read, \
                 ballast meter verify.\n",
                snippet::snippet(link, &entries)
            ));
        }
        text
    }
}

/// What the transport is, in words.
fn kind(transport: &Transport) -> String {
    match transport {
        Transport::Tcp(_) => String::from("Modbus TCP"),
        Transport::RtuOverTcp(..) => String::from("RTU over TCP"),
        Transport::Rtu(_, line) => format!("serial, {line}"),
    }
}

/// Fails when there is no connection any more; every other failure is the unit's own.
fn connected(replies: &[Reply]) -> Result<(), ReadError> {
    let failed = replies.iter().find_map(|reply| match &reply.result {
        Some(Err(error @ ReadError::Connect { .. })) => Some(error.clone()),
        _ => None,
    });
    failed.map_or(Ok(()), Err)
}

/// What became of each point, in the unit of its measure.
fn states(profile: &Profile, plan: &Plan, replies: &[Reply]) -> BTreeMap<Measure, State> {
    profile
        .points()
        .filter(|(_, point)| !point.terms.is_empty())
        .map(|(measure, point)| {
            let came = point.registers().all(|register| replies.iter().any(|reply| reply.brings(register)));
            let state = match decode::explain(point, |register| plan.words(register)) {
                _ if !came => State::Refused,
                Ok(value) => State::Value(value),
                Err(Absent::NotRead) => State::Refused,
                Err(absent) => State::Absent(absent),
            };
            (measure, state)
        })
        .collect()
}

impl Unit {
    /// The SunSpec model to take.
    fn model(&self) -> Option<&Found> {
        sunspec::preferred(self.sunspec.as_ref()?.as_ref().ok()?)
    }

    /// The fit of that model.
    fn model_fit(&self) -> Option<&Fit> {
        let model = self.model()?;
        self.fits.iter().find(|fit| fit.profile == model.profile.name)
    }

    /// Embedded profiles that are worth a word, the best first.
    fn named(&self) -> Vec<&Fit> {
        let model = self.model().map(|model| model.profile.name.as_str());
        let others =
            self.fits.iter().filter(|fit| Some(fit.profile.as_str()) != model && fit.class > Class::No);
        others.take(NAMED + 1).collect()
    }

    fn text(&self) -> String {
        let mut text = format!("\nunit {}\n", self.id);
        match &self.sunspec {
            Some(Ok(models)) => {
                let identity = models.first().map(|model| who(&model.identity)).unwrap_or_default();
                let identity =
                    if identity.is_empty() { String::from("it does not say who it is") } else { identity };
                text.push_str(&format!("  SunSpec: {identity}\n"));
                for model in models {
                    text.push_str(&format!(
                        "    model {} at {} ({})\n",
                        model.model,
                        model.address,
                        match model.kind {
                            sunspec::Kind::Meter => "meter; its sign is not defined, so verify it",
                            sunspec::Kind::Resource => "energy resource; generation is negative here",
                            sunspec::Kind::Inverter => "inverter; generation is negative here",
                        }
                    ));
                }
                if let Some(fit) = self.model_fit() {
                    text.push_str(&format!("    reads {}\n", says(fit)));
                }
            }
            Some(Err(SunSpecError::NoMark)) | None => {}
            Some(Err(error)) => text.push_str(&format!("  SunSpec, but broken: {error}\n")),
        }
        let named = self.named();
        for (index, fit) in named.iter().enumerate() {
            let sure = match (fit.class, index, self.model().is_some()) {
                (Class::Fits, 0, false) => "fits",
                (Class::Fits, ..) => "also fits",
                (_, 0, false) => "possible",
                _ => "less likely",
            };
            text.push_str(&format!("  {sure:<11} {}\n", says(fit)));
        }
        if named.is_empty() && self.model().is_none() {
            text.push_str(
                "  no profile that comes with the program fits: look up its registers in the manual and describe them \
                 (see the guide, \"A profile of your own\")\n",
            );
            // The nearest miss may be a meter without voltage or a wrong setting.
            if let Some(fit) = self.fits.first() {
                text.push_str(&format!("  nearest: {}, but {}\n", fit.profile, fit.against.join(", ")));
            }
        }
        if let Some(cut) = &self.cut {
            text.push_str(&format!("  cut short: {cut}\n"));
        }
        text
    }

    fn entry(&self) -> Entry {
        if self.model().is_some() {
            let notes = self.model().map(|model| who(&model.identity)).filter(|who| !who.is_empty());
            return Entry {
                unit: self.id,
                profile: Some(String::from("sunspec")),
                notes: notes.into_iter().collect(),
                needs_scale: false,
            };
        }
        let named = self.named();
        let best = named.first();
        let mut notes = Vec::new();
        if let Some(best) = best {
            if best.class < Class::Fits {
                notes.push(String::from("not certain: compare with the meter's display"));
            }
            let others: Vec<&str> = named.iter().skip(1).map(|fit| fit.profile.as_str()).collect();
            if !others.is_empty() {
                notes.push(format!("or: {}", others.join(", ")));
            }
        }
        Entry {
            unit: self.id,
            profile: best.map(|fit| fit.profile.clone()),
            notes,
            needs_scale: best.is_some_and(|fit| fit.needs_scale),
        }
    }
}

/// `eastron-sdm630 (Eastron SDM630): 10 of 10 points, 9.00 kW, 50.01 Hz`.
fn says(fit: &Fit) -> String {
    let mut text = fit.profile.clone();
    if !fit.description.is_empty() {
        text.push_str(&format!(" ({})", fit.description));
    }
    text.push_str(&format!(": {} of {} points", fit.present, fit.points));
    for part in &fit.evidence {
        text.push_str(&format!(", {part}"));
    }
    if fit.needs_scale {
        text.push_str(", needs `full_scale`");
    }
    if !fit.against.is_empty() {
        text.push_str(&format!("; but {}", fit.against.join(", ")));
    }
    text
}
