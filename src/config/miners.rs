//! The sections `[groups.*]` and `[miners.*]`: which miners there are and how each is reached.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::addresses::{self, Addresses, Host};
use super::certificate;
use super::circuits::Circuits;
use super::curve;
use super::devices::{self, Devices};
use super::diagnostic::{At, Report, Span};
use super::gpus::{self, GpuKeys};
use super::members::{self, ClassKeys};
use super::models::{self, Fineness, Model, ResponseKeys};
use super::pause::{self, PauseKeys};
use super::reader::{Table, shorten};
use super::secrets::{Accounts, CredentialKeys, Store, no_account_name};
use crate::control::site::{AnswerWithin, CircuitId, LoadClass, Miner, OperatingPoint};
use crate::line::is_line;
use crate::miner::drivers::generic::Description;
use crate::miner::identity::{Identity, Mac, meaningful_serial};
use crate::miner::kind::Class;
use crate::miner::pause::Pause;
use crate::miner::{Connection, Credentials, DriverKind, Endpoint, Gpus};
use crate::tls::Trust;
use crate::units::Watts;

/// More miners than one daemon is made for.
const MOST_MINERS: usize = 100_000;
/// The longest name of a tenant.
const LONGEST_TENANT: usize = 64;
/// Miners that one warning names.
const MOST_NAMED: usize = 3;

/// All miners, in the order of the file: groups first.
#[derive(Default)]
pub(super) struct Miners {
    pub(super) miners: Vec<Miner>,
    pub(super) connections: Vec<Connection>,
    /// Who each miner is, as far as the file says.
    pub(super) identities: Vec<Identity>,
    /// Which of the models that come with the program each is, where it is one.
    pub(super) models: Vec<Option<String>>,
    /// Whose each miner is, where the file says so.
    pub(super) tenants: Vec<Option<Arc<str>>>,
    /// For each miner, which of `origins` it came from.
    pub(super) origin: Vec<usize>,
    /// The groups and single miners of the file, for messages.
    pub(super) origins: Vec<Origin>,
}

/// A group or a single miner of the file.
pub(super) struct Origin {
    /// "group `a`" or "miner `b`".
    pub(super) title: String,
    /// Where it stands.
    pub(super) span: Span,
}

/// The keys that groups and miners share.
#[derive(Clone, Default)]
pub(super) struct Keys {
    pub(super) driver: Option<At<DriverKind>>,
    /// Belongs to `driver`.
    device: Option<Arc<Description>>,
    circuit: Option<At<CircuitId>>,
    tenant: Option<Arc<str>>,
    pub(super) model: Option<Rc<Model>>,
    /// The name of a model that comes with the program: what the device should say that it is.
    known_model: Option<String>,
    port: Option<u16>,
    credentials: Option<CredentialKeys>,
    certificate: Option<At<Trust>>,
    gpus: GpuKeys,
    class: ClassKeys,
    pause: Option<At<PauseKeys>>,
    timeout: Option<Duration>,
    poll_period: Option<At<Duration>>,
    silent_after: Option<At<Duration>>,
    pub(super) minimum: Option<At<Watts>>,
    pub(super) maximum: Option<At<Watts>>,
    pub(super) nameplate: Option<At<Watts>>,
    pub(super) sleep: Option<At<Watts>>,
    pub(super) rated: Option<At<Watts>>,
    /// Joules per hash at the highest point, for miners without a model.
    pub(super) efficiency: Option<At<f64>>,
    pub(super) actuator: Option<Fineness>,
    pub(super) response: ResponseKeys,
    /// A key was there and could not be read: what follows from it would be noise.
    broken: bool,
}

impl Keys {
    /// These keys where they are given, else those of the group.
    fn or(self, group: &Self) -> Self {
        let group = group.clone();
        Self {
            device: if self.driver.is_some() { self.device } else { group.device },
            driver: self.driver.or(group.driver),
            circuit: self.circuit.or(group.circuit),
            tenant: self.tenant.or(group.tenant),
            known_model: if self.model.is_some() { self.known_model } else { group.known_model },
            model: self.model.or(group.model),
            port: self.port.or(group.port),
            credentials: self.credentials.or(group.credentials),
            certificate: self.certificate.or(group.certificate),
            gpus: self.gpus.or(group.gpus),
            class: self.class.or(group.class),
            pause: self.pause.or(group.pause),
            timeout: self.timeout.or(group.timeout),
            poll_period: self.poll_period.or(group.poll_period),
            silent_after: self.silent_after.or(group.silent_after),
            minimum: self.minimum.or(group.minimum),
            maximum: self.maximum.or(group.maximum),
            nameplate: self.nameplate.or(group.nameplate),
            sleep: self.sleep.or(group.sleep),
            rated: self.rated.or(group.rated),
            efficiency: self.efficiency.or(group.efficiency),
            actuator: self.actuator.or(group.actuator),
            response: self.response.or(group.response),
            broken: self.broken || group.broken,
        }
    }
}

/// What reading a group or miner needs to know of the rest.
pub(super) struct Context<'c, 'a> {
    pub(super) circuits: &'c Circuits<'a>,
    pub(super) models: &'c BTreeMap<&'a str, Model>,
    pub(super) devices: &'c Devices,
    pub(super) store: &'c Store<'c>,
    /// For miners that say nothing themselves.
    pub(super) accounts: &'c Accounts,
    pub(super) observe: bool,
    /// Models that were looked up before.
    pub(super) found: RefCell<BTreeMap<String, Rc<Model>>>,
}

/// Reads `[groups.*]` and `[miners.*]`.
pub(super) fn miners<'a>(root: &Table<'a>, context: &Context<'_, 'a>) -> Miners {
    let report = root.report();
    let mut all = Collector::default();
    let mut groups: BTreeMap<&str, Keys> = BTreeMap::new();
    let mut empty: BTreeMap<&str, Span> = BTreeMap::new();
    for (name, table) in root.named("groups") {
        let list = address_list(&table, "addresses");
        let keys = keys(&table, context);
        let (span, title) = (table.span(), table.title());
        table.finish();
        match list {
            // A group may be there for single miners to inherit from alone.
            None => {
                empty.insert(name.value, name.span);
            }
            Some(list) => {
                let origin = all.origin(format!("group `{}`", name.value), name.span);
                if let Some(template) = template(&title, span, &keys, context, report) {
                    all.add_group(name, &list, &template, origin, report);
                }
            }
        }
        groups.insert(name.value, keys);
    }
    for (name, table) in root.named("miners") {
        let group = table.text("group");
        let address = table.read("address", |value| {
            let text = super::reader::text_of(value)?;
            addresses::host(text).map_err(|fault| {
                super::reader::Wrong::new(fault, "write a host, like address = \"10.0.1.7\"")
            })
        });
        let address =
            table.require("address", address, "write where the miner listens, like address = \"10.0.1.7\"");
        let who = identity(&table);
        let mut keys = keys(&table, context);
        keys.gpus.read_socket(&table);
        if let Some(group) = group {
            empty.remove(group.value);
            match groups.get(group.value) {
                Some(group) => keys = keys.or(group),
                None => {
                    keys.broken = true;
                    report.error(
                        group.span,
                        format!("there is no group `{}`", shorten(group.value)),
                        report.suggest(group.value, groups.keys().copied()),
                    );
                }
            }
        }
        let (span, title) = (table.span(), table.title());
        table.finish();
        let origin = all.origin(format!("miner `{}`", name.value), name.span);
        if let (Some(template), Some(address)) = (template(&title, span, &keys, context, report), address) {
            let Host { host, port } = address.value;
            let host = Host { host, port: port.or(template.own_port) };
            all.add(name.value.to_owned(), host, address.span, &template, origin, report);
            all.identify(name.value, who, report);
        }
    }
    for (name, span) in empty {
        report.error(
            span,
            format!("group `{name}` has no `addresses`, and no miner refers to it"),
            "write addresses = [\"10.0.1.1-10.0.1.40\"]",
        );
    }
    if !root.has("groups") && !root.has("miners") {
        let help = "write [groups.NAME] with addresses = [\"first-last\"], or [miners.NAME] with an address";
        if root.has("meters") {
            let message = "the file has no miners: its meters are read, and nothing is commanded";
            report.warn(root.key_span("meters"), message, help);
        } else if root.has("site") && root.has("circuits") && context.observe {
            // As it is installed: a daemon that runs and says what is missing is found sooner than one that failed.
            let message = "the file has no meters and no miners: there is nothing to watch yet";
            let help = "`ballast meter scan` finds meters, `ballast discover` finds miners; both say what to write here";
            report.warn(root.key_span("circuits"), message, help);
        } else {
            report.error(root.span(), "the file has no miners", help);
        }
    }
    all.report_duplicates(report);
    all.report_bare(report);
    all.result
}

/// The keys `mac` and `serial`: who the miner is, whatever address it has.
fn identity(table: &Table<'_>) -> Identified {
    let mac = table.read("mac", |value| {
        let text = super::reader::text_of(value)?;
        text.parse::<Mac>()
            .map_err(|fault| super::reader::Wrong::new(fault.to_string(), "`ballast discover` finds it out"))
    });
    let serial = table.read("serial", |value| {
        let text = super::reader::text_of(value)?;
        meaningful_serial(text).ok_or_else(|| {
            super::reader::Wrong::new(
                "tells no miner from another one",
                "write what the miner says, or leave it out",
            )
        })
    });
    Identified { mac, serial: serial.map(|at| at.value) }
}

/// Who a miner is, with the place of its hardware address.
struct Identified {
    mac: Option<At<Mac>>,
    serial: Option<String>,
}

/// The key `tenant`: whose the miners are.
fn tenant(table: &Table<'_>) -> Option<Arc<str>> {
    let at = table.text("tenant")?;
    let name = at.value.trim();
    if name.is_empty() || name.chars().count() > LONGEST_TENANT || !is_line(name) {
        table.report().error(
            at.span,
            "`tenant` is no name",
            format!(
                "write whose the miners are, in 1 to {LONGEST_TENANT} characters, like tenant = \"north\""
            ),
        );
        return None;
    }
    Some(name.into())
}

fn keys(table: &Table<'_>, context: &Context<'_, '_>) -> Keys {
    let report = table.report();
    let mistakes = report.count();
    let seconds = Duration::from_secs;
    let driver = table.read("driver", |value| context.devices.driver(super::reader::text_of(value)?));
    let (driver, device) = match driver {
        Some(At { value: (kind, device), span }) => (Some(At::new(kind, span)), device),
        None => (None, None),
    };
    let circuit = table.text("circuit").and_then(|name| {
        let found = context.circuits.names.find(report, name)?;
        Some(At::new(CircuitId(found), name.span))
    });
    let model_name = table.text("model");
    let known_model = model_name
        .map(|name| name.value)
        .filter(|name| !context.models.contains_key(name) && super::builtin::model(name).is_some());
    let model = model_name.and_then(|name| model(name, context, report));
    let port = table.integer("port", 1, 65_535).and_then(|at| u16::try_from(at.value).ok());
    let credentials = context.store.credentials(table);
    let certificate = certificate::trust(table, &context.store.folder);
    let short = Duration::from_millis(50);
    let power = |key| table.power(key, 1.0, members::MOST_POWER);
    let mut keys = Keys {
        driver,
        device,
        circuit,
        tenant: tenant(table),
        model,
        known_model: known_model.map(str::to_owned),
        port,
        credentials,
        certificate,
        gpus: GpuKeys::read(table),
        class: ClassKeys::read(table),
        pause: pause::read(table, context.store),
        timeout: table.time("timeout", short, seconds(120)).map(|at| at.value),
        poll_period: table.time("poll_period", short, seconds(3_600)),
        silent_after: table.time("silent_after", short, seconds(86_400)),
        minimum: power("minimum"),
        maximum: power("maximum"),
        nameplate: power("nameplate"),
        sleep: table.power("sleep", 0.0, members::MOST_POWER),
        rated: power("rated"),
        efficiency: table.efficiency("efficiency"),
        actuator: models::fineness(table),
        response: ResponseKeys::read(table),
        broken: false,
    };
    // What is wrong with a device was noted where it is described.
    let nameless = keys.device.is_none() && keys.driver.is_some_and(|at| at.value == DriverKind::Generic);
    keys.broken = report.count() > mistakes || nameless;
    keys
}

fn model(name: At<&str>, context: &Context<'_, '_>, report: &Report<'_>) -> Option<Rc<Model>> {
    if let Some(model) = context.found.borrow().get(name.value) {
        return Some(Rc::clone(model));
    }
    let found = context.models.get(name.value).cloned().or_else(|| super::builtin::model(name.value));
    if let Some(model) = found.map(Rc::new) {
        context.found.borrow_mut().insert(name.value.to_owned(), Rc::clone(&model));
        return Some(model);
    }
    let mut known: Vec<&str> = context.models.keys().copied().collect();
    super::builtin::model_names().for_each(|name| known.push(name));
    report.error(
        name.span,
        format!("there is no model `{}`", shorten(name.value)),
        format!(
            "{}; an unknown model works too: leave `model` out and write minimum, maximum and nameplate",
            report.suggest(name.value, known.iter().copied()).trim_end_matches('?')
        ),
    );
    None
}

/// A miner without its name and address.
struct Template {
    miner: Miner,
    driver: DriverKind,
    port: u16,
    /// The port where the file says it; else it is the usual one of the driver.
    own_port: Option<u16>,
    /// Where it stands, when it has no account and its driver needs one.
    bare: Option<Span>,
    credentials: Option<Credentials>,
    timeout: Duration,
    rated: Watts,
    rated_is_told: bool,
    device: Option<Arc<Description>>,
    certificate: Option<Trust>,
    gpus: Option<Gpus>,
    pause: Option<Arc<Pause>>,
    model: Option<String>,
    tenant: Option<Arc<str>>,
}

fn template(
    title: &str,
    span: Span,
    keys: &Keys,
    context: &Context<'_, '_>,
    report: &Report<'_>,
) -> Option<Template> {
    if keys.broken {
        return None;
    }
    let missing = |key: &str, help: String| report.error(span, format!("{title} has no `{key}`"), help);
    if keys.driver.is_none() {
        missing("driver", format!("drivers: {}", super::names::list(devices::built_in())));
    }
    if keys.circuit.is_none() {
        missing("circuit", String::from("name the circuit that feeds these miners"));
    }
    let mistakes = report.count();
    let (driver, circuit) = (keys.driver?.value, keys.circuit?.value);
    let traits = keys.device.as_ref().map_or_else(|| driver.traits(), |device| device.traits());
    let response =
        keys.response.or(keys.model.as_ref().map_or_else(ResponseKeys::default, |model| model.response));
    members::sizes(driver, keys, report);
    let curve = curve::curve(
        title,
        span,
        keys,
        response.response(traits.response),
        &traits,
        driver.is_server(),
        report,
    );

    let poll_period = keys.poll_period.map_or(Duration::from_secs(5), |at| at.value);
    let timeout = keys.timeout.unwrap_or(Duration::from_secs(5));
    let silent_after = keys
        .silent_after
        .map_or_else(|| poll_period.saturating_mul(6).max(Duration::from_secs(30)), |at| at.value);
    if silent_after <= poll_period {
        report.error(
            keys.silent_after.map_or(span, |at| at.span),
            format!(
                "a miner would count as silent after {}, but is asked every {} only",
                super::quantity::write_time(silent_after),
                super::quantity::write_time(poll_period)
            ),
            "give `silent_after` room for a few lost answers, or shorten `poll_period`",
        );
    } else if poll_period + timeout > silent_after {
        let write = super::quantity::write_time;
        report.warn(
            keys.silent_after.map_or(span, |at| at.span),
            format!(
                "a miner is asked every {}, has {} to answer, and counts as silent after {}: one lost answer is enough",
                write(poll_period),
                write(timeout),
                write(silent_after)
            ),
            "give `silent_after` room for a few lost answers, or shorten `timeout`",
        );
    }
    let given = keys.credentials.as_ref().or_else(|| context.accounts.get(&driver));
    let bare = given.is_none() && driver.needs_password() && traits.class != Class::ReadOnly;
    let credentials = credentials(keys, driver, context, report);
    certificate::only_over_https(title, driver, keys.certificate.as_ref(), report);
    gpus::fit(title, driver, &keys.gpus, keys.maximum, report);
    let ends =
        curve.as_ref().and_then(|curve| Some((curve.points.first()?.power, curve.points.last()?.power)));
    let (class, contract) =
        ends.map_or((LoadClass::Miner, None), |ends| keys.class.of(title, span, driver, ends, report));
    let pause =
        ends.and_then(|(lowest, _)| pause::fit(title, driver, class, lowest, keys.pause.as_ref(), report));
    let worth = keys.class.worth(report);
    if report.count() > mistakes {
        return None;
    }
    let curve = curve?;
    // What counts in the allocation is what the work is worth; of servers the points say nothing else.
    let valued = |point: OperatingPoint| OperatingPoint { hashrate: point.hashrate.scaled(worth), ..point };
    let seed = members::response(driver, &traits, curve.nameplate);
    Some(Template {
        model: keys.known_model.clone(),
        tenant: keys.tenant.clone(),
        miner: Miner {
            name: String::new(),
            driver: driver.name(),
            circuit,
            points: curve.points.into_iter().map(valued).collect(),
            class,
            contract,
            sleeps: !driver.is_server() || pause.is_some(),
            notice: pause.as_ref().map_or(Duration::ZERO, |pause| pause.notice),
            answer_within: AnswerWithin {
                switch: pause.as_ref().map_or(traits.answers.switch, |pause| pause.timeout),
                ..traits.answers
            },
            restarts: traits.restarts && traits.persists,
            sleep: pause.as_ref().map_or(curve.sleep, |pause| pause.draw),
            nameplate: curve.nameplate,
            actuator: curve.actuator,
            response: response.response(seed),
            cost: response.cost(traits.cost),
            poll_period,
            silent_after,
        },
        driver,
        port: keys.port.unwrap_or(traits.port),
        own_port: keys.port,
        bare: bare.then_some(span),
        credentials,
        timeout,
        rated: curve.rated,
        rated_is_told: curve.rated_is_told,
        device: keys.device.clone(),
        certificate: keys.certificate.as_ref().map(|at| at.value.clone()),
        gpus: keys.gpus.settings(),
        pause,
    })
}

fn credentials(
    keys: &Keys,
    driver: DriverKind,
    context: &Context<'_, '_>,
    report: &Report<'_>,
) -> Option<Credentials> {
    // The most specific wins: the miner's, its group's, its driver's.
    let given = keys.credentials.as_ref().or_else(|| context.accounts.get(&driver))?;
    let default = driver.traits().username;
    if keys.credentials.is_some() {
        no_account_name(given, driver, report);
    }
    let username = given.username.as_ref().map(|at| at.value.clone()).or_else(|| default.map(String::from));
    given.password.clone().map(|password| Credentials { username, password })
}

type AddressList = Vec<At<Addresses>>;

/// The key with all addresses of a group; `None` when it is missing.
fn address_list(table: &Table<'_>, key: &'static str) -> Option<AddressList> {
    let report = table.report();
    let present = table.has(key);
    let Some(list) = table.list(key) else {
        return present.then(Vec::new);
    };
    if list.value.is_empty() {
        report.error(
            list.span,
            format!("`{key}` is empty"),
            "write at least one, like \"10.0.1.1-10.0.1.40\"",
        );
    }
    let mut found = Vec::new();
    for (span, value) in list.value {
        let Some(text) = value.as_str() else {
            report.error(
                span,
                format!("an element of `{key}` {}", super::reader::is_a(value)),
                "write \"10.0.1.7\" or \"10.0.1.1-10.0.1.40\"",
            );
            continue;
        };
        match addresses::addresses(text) {
            Ok(addresses) => found.push(At::new(addresses, span)),
            Err(fault) => report.error(span, format!("an address {fault}"), ""),
        }
    }
    Some(found)
}

#[derive(Default)]
struct Collector {
    result: Miners,
    names: BTreeMap<String, Span>,
    endpoints: BTreeMap<(String, u16), (usize, Span)>,
    /// Hosts of miners: which is the first there, where it stands, and whether somebody has written its port.
    hosts: BTreeMap<String, (usize, Span, bool)>,
    macs: BTreeMap<Mac, Span>,
    /// Pause hooks that are not told which server is meant: whose each is, and whether it was noted that it is another one's, too.
    hooks: BTreeMap<String, (String, bool)>,
    /// Hosts used twice, at different ports: as of the addresses.
    neighbours: BTreeMap<(Span, Span), (String, usize)>,
    /// Addresses used twice: (place, earlier place) with the first of them and how many there are.
    duplicates: BTreeMap<(Span, Span), (String, usize)>,
    /// Miners without an account that their driver needs: where the first stands, some names, and how many there are.
    bare: Option<(Span, Vec<String>, usize)>,
}

impl Collector {
    fn origin(&mut self, title: String, span: Span) -> usize {
        self.result.origins.push(Origin { title, span });
        self.result.origins.len() - 1
    }

    fn add_group(
        &mut self,
        name: At<&str>,
        list: &AddressList,
        template: &Template,
        origin: usize,
        report: &Report<'_>,
    ) {
        let count = list.iter().fold(0_usize, |sum, at| sum.saturating_add(at.value.count()));
        if count.saturating_add(self.result.miners.len()) > MOST_MINERS {
            report.error(
                name.span,
                format!("group `{}` brings the site to more than {MOST_MINERS} miners", name.value),
                "check the ends of its ranges",
            );
            return;
        }
        let width = count.to_string().len().max(3);
        let hosts = list.iter().flat_map(|at| {
            // One port for a whole range says nothing of any address in it.
            let own = template.own_port.filter(|_| at.value.count() == 1);
            at.value.hosts().map(move |host| (Host { port: host.port.or(own), ..host }, at.span))
        });
        for (index, (host, span)) in hosts.enumerate() {
            self.add(format!("{}-{:0width$}", name.value, index + 1), host, span, template, origin, report);
        }
    }

    fn add(
        &mut self,
        name: String,
        host: Host,
        span: Span,
        template: &Template,
        origin: usize,
        report: &Report<'_>,
    ) {
        let port_is_told = host.port.is_some();
        let endpoint = Endpoint { port: host.port.unwrap_or(template.port), host: host.host };
        let index = self.result.miners.len();
        if let Some(place) = template.bare {
            let (_, names, count) = self.bare.get_or_insert_with(|| (place, Vec::new(), 0));
            *count += 1;
            if names.len() < MOST_NAMED {
                names.push(name.clone());
            }
        }
        if let Some(first) = self.names.insert(name.clone(), span) {
            let origin = self.result.origins.get(origin).map_or(span, |origin| origin.span);
            report.error(
                origin,
                format!(
                    "there are two miners named `{name}`; the other one is in line {}",
                    report.line(first)
                ),
                "members of a group are named GROUP-001 and so on; rename one of them",
            );
        }
        self.tell_apart(&name, template, origin, report);
        certificate::must_be_known(
            &name,
            span,
            template.driver,
            template.certificate.as_ref(),
            &endpoint,
            report,
        );
        let key = (endpoint.host.to_ascii_lowercase(), endpoint.port);
        match self.endpoints.get(&key) {
            Some((first, first_span)) => {
                let other = self.result.miners.get(*first).map_or("", |miner| miner.name.as_str());
                self.duplicates
                    .entry((span, *first_span))
                    .or_insert_with(|| (format!("`{name}` and `{other}` are both at {endpoint}"), 0))
                    .1 += 1;
            }
            None => {
                self.look_around(&name, &key.0, (index, span, port_is_told), template.driver);
                self.endpoints.insert(key, (index, span));
            }
        }
        self.result.connections.push(Connection {
            name: Arc::from(name.as_str()),
            driver: template.driver,
            endpoint,
            credentials: template.credentials.clone(),
            timeout: template.timeout,
            rated: template.rated,
            device: template.device.clone(),
            certificate: template.certificate.clone(),
            gpus: template.gpus.clone(),
            pause: template.pause.clone(),
            rated_is_told: template.rated_is_told,
        });
        self.result.identities.push(Identity::default());
        self.result.models.push(template.model.clone());
        self.result.tenants.push(template.tenant.clone());
        self.result.miners.push(Miner { name, ..template.miner.clone() });
        self.result.origin.push(origin);
    }

    /// Notes a hook of several servers that is not told which of them is meant, once.
    fn tell_apart(&mut self, name: &str, template: &Template, origin: usize, report: &Report<'_>) {
        let Some(url) = template.pause.as_deref().and_then(Pause::shared) else { return };
        let Some((first, told)) = self.hooks.get_mut(url.as_str()) else {
            self.hooks.insert(url.as_str().to_owned(), (name.to_owned(), false));
            return;
        };
        if let Some(origin) = self.result.origins.get(origin).filter(|_| !std::mem::replace(told, true)) {
            report.error(
                origin.span,
                format!("`{first}` and `{name}` have one pause hook, which is not told which of them is meant"),
                "write {name} where the address names the server: url = \"http://127.0.0.1:9000/pause/{name}\"",
            );
        }
    }

    /// Notes a host that has another miner at another port. Where both ports are written, somebody knows what they do: behind
    /// one address that forwards them, or in a simulation, each is a miner of its own.
    fn look_around(&mut self, name: &str, host: &str, new: (usize, Span, bool), driver: DriverKind) {
        let (_, span, told) = new;
        let Some((first, first_span, first_told)) = self.hosts.get(host).copied() else {
            self.hosts.insert(host.to_owned(), new);
            return;
        };
        if told && first_told {
            return;
        }
        if let Some(other) = self.result.connections.get(first) {
            let words = || {
                let (driver, other_driver) = (driver.name(), other.driver.name());
                (format!("`{name}` ({driver}) and `{}` ({other_driver}) are both at {host}", other.name), 0)
            };
            self.neighbours.entry((span, first_span)).or_insert_with(words).1 += 1;
        }
        if !told {
            self.hosts.insert(host.to_owned(), new);
        }
    }

    /// Notes who the miner that was added last is.
    fn identify(&mut self, name: &str, who: Identified, report: &Report<'_>) {
        if let Some(mac) = &who.mac
            && let Some(first) = self.macs.insert(mac.value, mac.span)
        {
            report.error(
                mac.span,
                format!(
                    "`{name}` has the hardware address of another miner; that one is in line {}",
                    report.line(first)
                ),
                "no two devices share one; `ballast discover` finds out whose it is",
            );
        }
        if let Some(identity) = self.result.identities.last_mut() {
            *identity =
                Identity { mac: who.mac.map(|at| at.value), serial: who.serial, ..Identity::default() };
        }
    }

    /// One warning for all of them, also while nothing is commanded: it is to be known before that changes.
    fn report_bare(&self, report: &Report<'_>) {
        let Some((span, names, count)) = &self.bare else { return };
        let message = match (names.as_slice(), count) {
            ([name], _) => format!("`{name}` has no `credentials`: it can be watched, but not throttled"),
            (names, count) => {
                let more = match count - names.len() {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                let names = names.join(", ");
                format!(
                    "{count} miners have no `credentials`: they can be watched, but not throttled ({names}{more})"
                )
            }
        };
        let help =
            "write credentials = { password_file = \"…\" }, or once for all of a driver [credentials.DRIVER]";
        report.warn(*span, message, help);
    }

    fn report_duplicates(&self, report: &Report<'_>) {
        let words = |first: Span, message: &str, count: usize| {
            let more =
                if count > 1 { format!(", and {} more pairs like them", count - 1) } else { String::new() };
            format!("{message}{more}; the other address is in line {}", report.line(first))
        };
        for ((span, first), (message, count)) in &self.duplicates {
            report.error(
                *span,
                words(*first, message, *count),
                "one miner would be commanded twice; each address belongs to one miner",
            );
        }
        for ((span, first), (message, count)) in &self.neighbours {
            report.warn(
                *span,
                words(*first, message, *count),
                "check the ends of the ranges: one device would be two miners; where one address forwards its ports to \
                 several, write the port of each: \"10.0.0.1:4029\"",
            );
        }
    }
}
