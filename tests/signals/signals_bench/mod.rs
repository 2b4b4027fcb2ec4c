//! A desk with a small site and clocks of one's own, for tests of orders.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use ballast::clock::Clock;
use ballast::config::{self, Config, Options};
use ballast::control::signal::{Ask, Basis, Doubt, Order, Urgency, Wall, Why};
use ballast::control::site::{CircuitId, Scope};
use ballast::control::snapshot::OrderCap;
use ballast::signal::desk::WallClock;
use ballast::signal::start::{Beginning, MOST_RECORDS};
use ballast::signal::{Desk, SourceKey};
use ballast::store::{Opened, Store};
use ballast::units::Watts;

pub const ROOT: CircuitId = CircuitId(0);

/// How long is waited for what must come: enough for a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Looks until it is so; panics with `what` when it never is. Time must be real.
pub async fn eventually(what: &str, mut good: impl AsyncFnMut() -> bool) {
    let clock = Clock::start();
    while !good().await {
        assert!(clock.now().since_start() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the thread of a store that was dropped has let go of its file, which takes what is beside it away. Blocks,
/// so that a clock that is paused stays where it is.
pub fn let_go(database: &Path) {
    let (beside, look) = (database.with_extension("db-wal"), Duration::from_millis(10));
    let mut waited = Duration::ZERO;
    while beside.exists() {
        assert!(waited < PATIENCE, "{} is still in use", database.display());
        std::thread::sleep(look);
        waited += look;
    }
}

/// A folder that ends with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("orders-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn database(&self) -> PathBuf {
        self.0.join("ballast.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A wall clock that the test sets.
#[derive(Clone)]
pub struct Hands(Arc<AtomicI64>);

impl Hands {
    /// 2026-06-01 00:00 UTC.
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_780_272_000_000)))
    }

    pub fn wall(&self) -> Wall {
        Wall::unix_millis(self.0.load(Ordering::Relaxed))
    }

    pub fn forward(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// Somebody sets it, by so many seconds, while no time goes by.
    pub fn jump(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000, Ordering::Relaxed);
    }

    pub fn clock(&self) -> WallClock {
        let hands = self.clone();
        Arc::new(move || (hands.wall(), Doubt::None))
    }
}

/// A site of two halls with a miner of 10 kW each and 500 kW of other load. `circuits` in the order of the file.
pub fn site(circuits: &[&str], signals: &str) -> Config {
    let text = text(circuits) + signals;
    config::parse(&text, Path::new("orders.toml"), &Options::default())
        .unwrap_or_else(|errors| panic!("{errors}"))
}

/// The text of [`site`].
pub fn text(circuits: &[&str]) -> String {
    let mut text = String::from(
        r#"
[site]
name = "orders"
mode = "control"
[circuits.pcc]
other_load = "500 kW"
[limits.rating]
circuit = "pcc"
miners = "1 MW"
class = "safety"
"#,
    );
    for name in circuits {
        text.push_str(&format!("[circuits.{name}]\nparent = \"pcc\"\n"));
    }
    for (name, host) in circuits.iter().zip(1..) {
        text.push_str(&format!(
            "[groups.{name}]\ndriver = \"luxos\"\nmodel = \"s19k-pro\"\ncircuit = \"{name}\"\naddresses = [\"127.0.66.{host}\"]\n"
        ));
    }
    text
}

/// A stream with a fail-safe of 100 kW, lost after two minutes.
pub const UTILITY: &str = r#"
[signals.utility]
kind = "http"
lost_after = "120s"
fail_safe = "100 kW"
"#;

pub fn order(id: &str, kilowatts: f64, from: Wall, until: Option<Wall>) -> Order {
    Order {
        id: id.into(),
        revision: 1,
        lane: "".into(),
        priority: 5,
        circuit: ROOT,
        scope: Scope::Import,
        ask: Ask::Cap(Watts::kilowatts(kilowatts)),
        basis: Basis::Instant,
        urgency: Urgency::Normal,
        from,
        until,
        start_spread: Duration::ZERO,
    }
}

pub fn open(path: &Path) -> Opened {
    Store::open(path, MOST_RECORDS).unwrap_or_else(|error| panic!("{error}"))
}

/// A desk with what is in a file.
pub fn desk(config: &Config, path: &Path, hands: &Hands) -> Desk {
    let sources = config.signals.iter().map(|spec| spec.settings.clone()).collect();
    let beginning = Beginning {
        opened: Some(open(path)),
        settings: &config.store,
        clock: Clock::start(),
        wall: hands.clock(),
    };
    Desk::start(config.site.clone(), sources, beginning)
}

pub fn source(desk: &Desk, name: &str) -> SourceKey {
    desk.source(name).expect("a source of that name")
}

/// The tightest cap in kilowatts on a circuit and scope.
pub fn tightest(caps: &[OrderCap], circuit: CircuitId, scope: Scope) -> Option<f64> {
    let here = caps.iter().filter(|cap| cap.active.circuit == circuit && cap.active.scope == scope);
    here.map(|cap| cap.active.cap.get() / 1e3).reduce(f64::min)
}

pub fn import(desk: &Desk) -> Option<f64> {
    tightest(&desk.look(), ROOT, Scope::Import)
}

/// The names of the orders that act.
pub fn acting(desk: &Desk) -> Vec<String> {
    let name = |cap: &OrderCap| match &cap.active.why {
        Why::Order(id) => Some(id.to_string()),
        _ => None,
    };
    desk.look().iter().filter_map(name).collect()
}
