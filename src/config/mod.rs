//! The configuration: TOML in, a checked [`Config`] out, every mistake with its place in the file.
//!
//! The text is parsed once into a tree that knows the place of every key and value, and is then walked by hand,
//! section by section. Each reader notes what is wrong and goes on, so that one run finds everything
//! ([`ConfigErrors`]). What depends on more than one section is checked at the end.
//!
//! | File | What it reads |
//! |---|---|
//! | `diagnostic` | mistakes and their place |
//! | `quantity` | numbers with units |
//! | `reader` | one table, key by key |
//! | `keys/` | which keys there are, and what each takes |
//! | `schema`, `reference` | the schema for editors; its words, from `config/ballast.toml` |
//! | `settings`, `web`, `tokens` | `[site]`, `[control]`, `[web]`, `[web.tokens.*]` |
//! | `store` | `[store]` |
//! | `proof` | `[proof]` |
//! | `mqtt` | `[mqtt]` |
//! | `standby` | `[standby]` |
//! | `circuits` | `[circuits.*]`, `[limits.*]` |
//! | `meters`, `profiles` | `[links.*]`, `[meters.*]`, `[profiles.*]` |
//! | `combined` | meters in `[meters.*]` that are put together from others |
//! | `protection` | interlock and breaker of a circuit |
//! | `devices` | `[drivers.*]` |
//! | `heartbeat` | `[heartbeat.*]` |
//! | `models`, `miners`, `curve`, `addresses`, `secrets` | `[models.*]`, `[groups.*]`, `[miners.*]`, `[credentials.*]` |
//! | `certificate` | `certificate` and `ca` of a miner over HTTPS |
//! | `gpus` | `gpus` and `base` of a server that is set by its `zeusd` |
//! | `pause` | `pause` of a server whose work can be paused |
//! | `builtin` | the files in `config/models/` and `config/meters/` |
//! | `alarms`, `alarm_windows` | `[alarms]` |
//! | `signals/` | `[signals.*]` |
//! | `sizes` | quantities that are out of proportion to the site |
//! | `checks` | what only the whole shows |
//! | `summary`, `summary_orders` | the whole in words, for `ballast check` |

mod addresses;
mod alarm_windows;
mod alarms;
pub mod builtin;
mod certificate;
mod checks;
mod circuits;
mod combined;
mod curve;
mod devices;
pub mod diagnostic;
mod gpus;
mod heartbeat;
mod keys;
mod members;
mod meters;
mod miners;
pub mod models;
mod mqtt;
mod names;
mod pause;
mod profiles;
mod proof;
mod protection;
pub mod quantity;
mod reader;
mod record;
mod reference;
mod registers;
mod schema;
mod secrets;
mod settings;
mod signals;
mod sizes;
mod standby;
mod store;
mod summary;
mod summary_orders;
#[cfg(test)]
pub(crate) mod testing;
mod tokens;
mod urls;
mod web;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::Digest as _;
use toml::Spanned;
use toml::de::DeTable;

use crate::control::site::{Cap, Circuit, Limit, Site};
use crate::miner::identity::Identity;
use crate::units::Watts;
use crate::{meter, miner};

pub use diagnostic::{ConfigErrors, Diagnostic};
pub use members::THROUGHPUT;
pub use mqtt::{Mqtt, Orders, Tls};
pub use schema::schema;
pub use summary::summary;
pub use web::Web;

/// Largest file that is read, in bytes: room for a hundred thousand miners one by one.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// The site that `ballast demo` shows.
pub const DEMO: &str = include_str!("../../config/demo.toml");

/// The site of `ballast demo --fleet mixed`: at least one miner of every driver.
pub const DEMO_MIXED: &str = include_str!("../../config/demo-mixed.toml");

/// The site of `ballast demo --fleet ai`: a hall of servers and the standard miners on one feeder.
pub const DEMO_AI: &str = include_str!("../../config/demo-ai.toml");

/// The fleets that the demo has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum DemoFleet {
    /// 120 miners of three vendors that follow quickly
    #[default]
    Standard,
    /// At least one miner of every driver, two devices of the operator's own, and two miners that can only be watched
    Mixed,
    /// The standard miners, and beside them an AI hall of 12 servers in three classes, when the grid asks for less
    Ai,
}

impl DemoFleet {
    /// The built-in scenario that shows it.
    pub const fn scenario(self) -> &'static str {
        match self {
            Self::Standard | Self::Mixed => "cloudy-hour",
            Self::Ai => "ai-event",
        }
    }
}

/// The password of the demo's miners and the token of its operator, as its configuration names the files.
const DEMO_FILES: &[(&str, &str)] = &[
    ("demo.password", include_str!("../../config/demo.password")),
    ("demo.token", include_str!("../../config/demo.token")),
];

/// What becomes of the miners when the daemon stops in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitPolicy {
    /// Leave them as they are.
    Hold,
    /// Put all to sleep: nobody watches the surplus any more.
    Sleep,
    /// Give each the highest power target that its model has, as before Ballast came.
    Restore,
}

impl ExitPolicy {
    /// As written in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Sleep => "sleep",
            Self::Restore => "restore",
        }
    }
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it came from.
    pub path: PathBuf,
    /// What the control law knows.
    pub site: Arc<Site>,
    /// Physical links to meters.
    pub links: Vec<meter::Link>,
    /// How each of the site's meters is read that is a device, in the order of [`Site::meters`]. The combined ones come
    /// after them there, and have none.
    pub meters: Vec<meter::Connection>,
    /// How each of the site's miners is reached, in the order of [`Site::miners`].
    pub miners: Vec<miner::Connection>,
    /// Who each of the site's miners is, in the order of [`Site::miners`], as far as the file says. A miner that says to
    /// be another one ([`same_miner`](crate::miner::identity::same_miner)) must not be commanded.
    pub identities: Vec<Identity>,
    /// Which of the models that come with the program each of the site's miners is by the file, in the order of
    /// [`Site::miners`]; `None` for any other model. What the device says is compared with it
    /// ([`models::agrees`](crate::miner::reply::models::agrees)); a difference is a warning and no more.
    pub models: Vec<Option<String>>,
    /// Whose each of the site's miners is, in the order of [`Site::miners`], where the file says so.
    pub tenants: Vec<Option<Arc<str>>>,
    /// How the breaker of each of the site's circuits is reached, in the order of [`Site::circuits`]; `None` without one.
    pub breakers: Vec<Option<miner::Connection>>,
    /// The signs of life that PLCs are given.
    pub heartbeats: Vec<crate::heartbeat::Settings>,
    /// The sources of orders, in the order of [`Site::sources`]; the operator first.
    pub signals: Vec<crate::signal::Spec>,
    /// Where orders are kept, and what a power outage is.
    pub store: crate::store::Settings,
    /// Whether every cycle is kept on disk, where, and how much.
    pub record: crate::record::Settings,
    /// How much of the chained record stays.
    pub proof: crate::proof::Settings,
    /// The other machine of a pair; `None` where there is none.
    pub standby: Option<crate::standby::Settings>,
    /// Who is told of alarms, and what is one.
    pub alarms: crate::alarm::Settings,
    /// The hash (SHA-256) of the text that it was read from.
    pub hash: [u8; 32],
    /// Whether somebody keeps this machine's clock right; `None` where the file does not say: then the service looks for
    /// it, and a demo or a simulation trusts it.
    pub clock: Option<crate::signal::wall::Trust>,
    /// How the daemon is reached, and who may order over HTTP.
    pub web: Web,
    /// The broker to which state goes and from which orders may come, where there is one.
    pub mqtt: Option<Mqtt>,
    /// What to do at the end.
    pub exit: ExitPolicy,
    /// What deserves a look, by place in the file. Log them once.
    pub warnings: Vec<Diagnostic>,
}

/// Whether passwords are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Secrets {
    /// A password that is missing is a mistake.
    #[default]
    Read,
    /// As [`Self::Read`], but a credential of systemd, which only the service is given, is a warning where there are none:
    /// to check a file by hand.
    ByHand,
    /// No password is looked for, and no miner has credentials: to check a file on another machine.
    Skip,
}

/// How a configuration is read.
pub struct Options<'o> {
    /// Whether passwords are read.
    pub secrets: Secrets,
    /// Password files that are taken from here instead of the disk: name as in the configuration, and content.
    pub files: &'o [(&'o str, &'o str)],
    /// Looks up an environment variable; `None` when it is not set or no text.
    pub environment: &'o dyn Fn(&str) -> Option<String>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { secrets: Secrets::Read, files: &[], environment: &|name| std::env::var(name).ok() }
    }
}

/// Reads and checks a file.
///
/// # Errors
/// Everything that is wrong with it, by place; also when it is missing, too large or no text.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    load_with(path, &Options::default())
}

/// Reads and checks a file, in a way of one's own.
///
/// # Errors
/// As [`load`].
pub fn load_with(path: &Path, options: &Options<'_>) -> Result<Config, ConfigErrors> {
    parse(&read(path)?, path, options)
}

/// The second part of the loopback addresses (127.77.x.y) that the demo's file names.
pub const DEMO_NETWORK: u8 = 77;

/// The configuration of the demo, from the binary itself, on the loopback addresses 127.`network`.x.y, so that two
/// demos can run side by side.
///
/// # Errors
/// Never for the file that was tested; the type is that of every configuration.
pub fn demo(network: u8) -> Result<Config, ConfigErrors> {
    demo_fleet(DemoFleet::Standard, network)
}

/// The configuration of the demo with one of its fleets; otherwise as [`demo`].
///
/// # Errors
/// As [`demo`].
pub fn demo_fleet(fleet: DemoFleet, network: u8) -> Result<Config, ConfigErrors> {
    let (file, text) = match fleet {
        DemoFleet::Standard => ("demo.toml", DEMO),
        DemoFleet::Mixed => ("demo-mixed.toml", DEMO_MIXED),
        DemoFleet::Ai => ("demo-ai.toml", DEMO_AI),
    };
    let text = text.replace(&format!("127.{DEMO_NETWORK}."), &format!("127.{network}."));
    parse(&text, Path::new(file), &Options { files: DEMO_FILES, ..Options::default() })
}

/// How the running demo is reached.
///
/// # Errors
/// As [`demo`].
pub fn demo_door() -> Result<Web, ConfigErrors> {
    door(DEMO, Path::new("demo.toml"), &Options { files: DEMO_FILES, ..Options::default() })
}

/// The meter profiles that a configuration adds to those of the program or puts in their place, by name: those of the
/// folder in `[site]` and of `[profiles.*]`. The rest of the file need not be finished.
///
/// # Errors
/// Everything that is wrong with these profiles, by place; also when the file is missing, too large or no TOML.
pub fn profiles(path: &Path) -> Result<Vec<meter::profile::Profile>, ConfigErrors> {
    let text = read(path)?;
    let report = diagnostic::Report::new(&text, path);
    let document = syntax(&text, &report);
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let own = document.as_ref().map(|document| {
        let root = root(&report, document);
        let site = if root.has("site") { root.table("site") } else { None };
        let files = site.and_then(|site| settings::profiles(&site, &folder));
        profiles::own(&root, files.as_ref())
    });
    report.finish()?;
    Ok(own.unwrap_or_default().into_values().collect())
}

/// Where a daemon with this configuration is reached, and with which tokens; the rest of the file need not be usable by
/// whoever asks, such as the passwords of the miners.
///
/// # Errors
/// Everything that is wrong with `[web]`, by place; also when the file is missing, too large or no TOML.
pub fn door(text: &str, path: &Path, options: &Options<'_>) -> Result<Web, ConfigErrors> {
    let report = diagnostic::Report::new(text, path);
    let document = syntax(text, &report);
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let store = secrets::Store { folder: folder.clone(), options };
    let door = document.as_ref().map(|document| {
        let root = root(&report, document);
        let mut door = web::web(&root, &store, None, &folder);
        let database = if root.has("store") { store::store(&root, &folder).path } else { None };
        door.keep_tokens_beside(database.as_deref());
        door
    });
    report.finish()?;
    door.ok_or_else(|| {
        ConfigErrors::of_file(path, "cannot be used", "this should not happen; please report it")
    })
}

/// Reads a configuration as text.
///
/// # Errors
/// It is missing, a folder, too large or no text.
pub fn read(path: &Path) -> Result<String, ConfigErrors> {
    read_bounded(
        path,
        LARGEST_FILE,
        "is it a configuration? Ranges like \"10.0.1.1-10.0.1.40\" keep it short",
    )
}

/// Reads a file of at most `largest` bytes as text; `too_large` says what to do with a larger one.
fn read_bounded(path: &Path, largest: u64, too_large: &str) -> Result<String, ConfigErrors> {
    let fail = |message: String, help: &str| Err(ConfigErrors::of_file(path, message, help));
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            return fail(
                format!("cannot be read: {error}"),
                "check the path, or name another file with --config",
            );
        }
    };
    if metadata.is_dir() {
        return fail(String::from("is a folder"), "name the file in it");
    }
    let mut bytes = Vec::new();
    let result = std::fs::File::open(path)
        .and_then(|file| file.take(largest.saturating_add(1)).read_to_end(&mut bytes));
    if let Err(error) = result {
        return fail(
            format!("cannot be read: {error}"),
            "make it readable for the account that the service runs as",
        );
    }
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > largest {
        let kib = largest / 1024;
        let most = if kib < 1024 { format!("{kib} KiB") } else { format!("{} MiB", kib / 1024) };
        return fail(format!("is larger than {most}"), too_large);
    }
    String::from_utf8(bytes).or_else(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count() + 1;
        fail(format!("is not UTF-8 text (line {line})"), "save it as UTF-8 in the editor")
    })
}

/// Parses TOML and notes its syntax errors. `None` when what is left is not worth reading.
fn syntax<'t>(text: &'t str, report: &diagnostic::Report<'t>) -> Option<Spanned<DeTable<'t>>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    report.hide_secrets(document.get_ref());
    let mut readable = true;
    let mut last_line = 0;
    for error in &errors {
        let span = error.span().unwrap_or(0..0).into();
        // A key given twice leaves the rest of the file as it was meant. Anything else does not, and one slip
        // makes the parser stumble several times in a line.
        let twice = error.message().starts_with("duplicate key");
        readable &= twice;
        let line = report.line(span);
        if line == last_line && !twice {
            continue;
        }
        last_line = line;
        let quote = text.lines().nth(line.saturating_sub(1)).and_then(typographic);
        let help = match quote {
            _ if twice => String::from("keep one of them"),
            Some(quote) => {
                format!("`{quote}` is a quotation mark of a word processor: write the plain one, \"")
            }
            None => String::new(),
        };
        report.error(span, error.message(), help);
    }
    readable.then_some(document)
}

/// The first quotation mark in a line that is none to TOML: one outside of a text and of a comment, or one that was to end a text.
fn typographic(line: &str) -> Option<char> {
    let is_one =
        |sign: &char| matches!(sign, '\u{2018}'..='\u{201f}' | '\u{ab}' | '\u{bb}' | '\u{2039}' | '\u{203a}');
    let (mut open, mut within) = (None, None);
    for sign in line.chars() {
        match open {
            Some(mark) if mark == sign => (open, within) = (None, None),
            Some(_) => within = within.or(Some(sign).filter(is_one)),
            None if sign == '#' => break,
            None if is_one(&sign) => return Some(sign),
            None => open = Some(sign).filter(|sign| matches!(sign, '"' | '\'')),
        }
    }
    within
}

/// The whole file as a table.
fn root<'t>(report: &'t diagnostic::Report<'t>, document: &'t Spanned<DeTable<'t>>) -> reader::Table<'t> {
    reader::Table::new(report, document.get_ref(), &keys::ROOT, String::new(), document.span().into())
}

/// Whether a text is TOML at all; its keys and values are not looked at.
///
/// # Errors
/// What the parser stumbles over, with its place; passwords are masked.
pub fn check_syntax(text: &str, path: &Path) -> Result<(), ConfigErrors> {
    let report = diagnostic::Report::new(text, path);
    syntax(text, &report);
    report.finish().map(|_| ())
}

/// Checks a text. Paths in it are relative to the folder of `path`, which need not exist.
///
/// # Errors
/// Everything that is wrong with it, by place.
pub fn parse(text: &str, path: &Path, options: &Options<'_>) -> Result<Config, ConfigErrors> {
    let report = diagnostic::Report::new(text, path);
    let document = syntax(text, &report);
    let parts = document.as_ref().and_then(|document| build(document, &report, path, options));
    let warnings = report.finish()?;
    let Some(config) = parts else {
        return Err(ConfigErrors::of_file(
            path,
            "cannot be used",
            "this should not happen; please report it",
        ));
    };
    Ok(Config { warnings, hash: sha2::Sha256::digest(text).into(), ..config })
}

/// The most that can hang at the site, as far as its configuration tells: the miners, the other loads, and the largest
/// cap that never changes, such as the rating of a transformer.
fn hanging(nameplate: Watts, circuits: &[Circuit], limits: &[Limit]) -> Watts {
    let others: f64 = circuits.iter().map(|circuit| circuit.other_load.get().abs()).sum();
    let caps = limits.iter().filter_map(|limit| match limit.cap {
        Cap::Constant(cap) => Some(cap.get().abs()),
        Cap::Reading { .. } => None,
    });
    Watts::saturating(caps.fold(nameplate.get() + others, f64::max))
}

fn build<'t>(
    document: &'t Spanned<DeTable<'t>>,
    report: &'t diagnostic::Report<'t>,
    path: &Path,
    options: &Options<'_>,
) -> Option<Config> {
    let root = root(report, document);
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let site = settings::site(&root, &folder);
    let control = settings::control(&root, site.observe);
    let kept = store::store(&root, &folder);
    let record = record::record(&root, &folder);
    let proof = proof::proof(&root, &folder);

    let mut links = meters::links(&root);
    let meter_names = circuits::Names::new("meter", meters::names(&root).into_iter().map(|name| name.value));
    let profiles = profiles::own(&root, site.profiles.as_ref());
    let mut meters = meters::meters(&root, &mut links, &profiles);
    combined::combine(&root, &meter_names, &mut meters);
    let store = secrets::Store { folder: folder.clone(), options };
    let (mut alarms, quiet, muted) = alarms::alarms(&root, &store, site.time_zone.as_ref());
    let devices = devices::section(&root, &store);
    let heartbeats = heartbeat::section(&root);
    let standby = standby::standby(&root, &store, control.exit);
    let circuits = circuits::circuits(&root, &meter_names, &devices);
    let limits = circuits::limits(&root, &circuits, &meter_names);

    let models = models::section(&root);
    let known = signals::Context {
        circuits: &circuits,
        meters: &meter_names,
        store: &store,
        links: &links,
        connections: &meters.connections,
        time_zone: site.time_zone.as_ref(),
    };
    let signals = signals::signals(&root, &known, &limits);
    let sources = signals.order_sources();
    let mut web = web::web(&root, &store, Some(&signals.specs), &folder);
    web.keep_tokens_beside(kept.path.as_deref());
    let mqtt = mqtt::mqtt(&root, &store, &signals.specs, &site.name);
    let accounts = store.accounts(&root);
    let context = miners::Context {
        circuits: &circuits,
        models: &models,
        devices: &devices,
        store: &store,
        accounts: &accounts,
        observe: site.observe,
        found: std::cell::RefCell::default(),
    };
    let miners = miners::miners(&root, &context);
    let peopled = root.has("groups") || root.has("miners");
    root.finish();

    let nameplate = miners.miners.iter().map(|miner| miner.nameplate).sum();
    let hanging = hanging(nameplate, &circuits.circuits, &limits.limits);
    let exit = control.exit;
    let settings = control.settings(nameplate);
    if circuits.sound {
        let whole = checks::Whole {
            circuits: &circuits,
            limits: &limits,
            meters: &meters,
            miners: &miners,
            report,
            peopled,
        };
        let below = checks::check(&whole);
        let lost_caps: Vec<_> = limits.lost_caps().chain(signals.lost_caps).collect();
        sizes::check(&whole, &below, &settings, hanging, &lost_caps);
    }
    let names = circuits.circuits.iter().map(|circuit| circuit.name.as_str());
    alarm_windows::check(report, &mut alarms.windows, muted, names.clone());
    let names = names.chain(meters.meters.iter().map(|meter| meter.name.as_str()));
    let names = names.chain(miners.miners.iter().map(|miner| miner.name.as_str()));
    let names = names.chain(sources.iter().map(|source| source.name.as_str()));
    let names = names.chain(heartbeats.iter().map(|heartbeat| &*heartbeat.name));
    alarms.quiet = alarms::quiet(report, quiet, names);
    if report.count() > 0 {
        return None;
    }
    meters::warn_of_narrowness(&meters, &circuits.circuits, nameplate, report);
    meters::assume_plausible(&mut meters.connections, hanging);
    Some(Config {
        path: path.to_owned(),
        site: Arc::new(Site {
            name: site.name,
            circuits: circuits.circuits,
            meters: meters.meters,
            limits: limits.limits,
            sources,
            miners: miners.miners,
            settings,
        }),
        links: links.links,
        meters: meters.connections,
        miners: miners.connections,
        identities: miners.identities,
        models: miners.models,
        tenants: miners.tenants,
        breakers: circuits.breakers,
        heartbeats,
        signals: signals.specs,
        store: kept,
        record,
        proof,
        standby,
        alarms,
        hash: [0; 32],
        clock: site.clock,
        web,
        mqtt,
        exit,
        warnings: Vec::new(),
    })
}
