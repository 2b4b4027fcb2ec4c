//! The sections `[site]` and `[control]`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::ExitPolicy;
use super::diagnostic::At;
use super::reader::{MOST_POWER, Table, Wrong, shorten};
use crate::control::site::Settings;
use crate::line::is_line;
use crate::signal::wall::Trust;
use crate::units::{Watts, WattsPerSecond};

/// The fleet's target rises by this share of its nameplate per second unless the configuration says otherwise: from
/// nothing to everything in 50 seconds, slow enough for the voltage regulation of a distribution grid.
const DEFAULT_RAISE_SHARE: f64 = 0.02;

/// What may be imported because the surplus moves faster than the fleet, as a share of what the miners draw.
const DEFAULT_IMPORT_SHARE: f64 = 0.000_4;
/// More than this is no following any more.
const MOST_IMPORT_SHARE: f64 = 0.2;

/// Keys of earlier versions that have nothing to set any more, and what has taken their place.
const GONE: [(&str, &str); 4] = [
    ("raise_hold", "how long room must have been there follows from how the other load moves"),
    ("raise_samples", "a sample counts by how much noise is seen in the meter"),
    ("anticipate", "how far ahead is looked follows from the lag of the meter and the times of the miners"),
    ("max_starting", "miners are started by power, as fast as `raise_rate` says"),
];

const DAY: Duration = Duration::from_secs(86_400);

/// `[site]`.
pub(super) struct SiteKeys {
    pub(super) name: String,
    /// `mode = "observe"`.
    pub(super) observe: bool,
    /// The folder with meter profiles of the site.
    pub(super) profiles: Option<At<PathBuf>>,
    /// Whether somebody keeps the clock right.
    pub(super) clock: Option<Trust>,
    /// Where calendars get their time from unless they say otherwise.
    pub(super) time_zone: Option<TimeZone>,
}

/// Reads a time zone by its name in the IANA database that comes with the program.
pub(super) fn time_zone(table: &Table<'_>) -> Option<TimeZone> {
    let read = table.read("time_zone", |value| {
        let name = super::reader::text_of(value)?;
        jiff::tz::TimeZoneDatabase::bundled().get(name).map_err(|_| {
            Wrong::new(
                format!("is no time zone: \"{}\"", shorten(name)),
                "write the name of the IANA database, like \"Asia/Karachi\", \"Europe/Berlin\" or \"UTC\"; a name \
                 like \"CET\" or \"GMT+5\" does not follow the law of a country",
            )
        })
    });
    read.map(|at| at.value)
}

/// Reads the folder of profiles in `[site]`, relative to that of the configuration.
pub(super) fn profiles(site: &Table<'_>, folder: &Path) -> Option<At<PathBuf>> {
    let named = site.text("profiles")?;
    if named.value.trim().is_empty() {
        site.report().error(named.span, "`profiles` is empty", "name a folder, like profiles = \"meters.d\"");
        return None;
    }
    Some(At::new(folder.join(named.value), named.span))
}

/// Reads `[site]`. Paths in it are relative to `folder`.
pub(super) fn site(root: &Table<'_>, folder: &Path) -> SiteKeys {
    let Some(table) = root.table("site") else {
        if !root.has("site") {
            root.report().error(
                root.span(),
                "the file has no [site]",
                "write [site] with name = \"…\" and mode = \"control\" or \"observe\"",
            );
        }
        return SiteKeys { name: String::new(), observe: true, profiles: None, clock: None, time_zone: None };
    };
    let name = table.read("name", |value| {
        let text = super::reader::text_of(value)?;
        if text.trim().is_empty() || text.chars().count() > 64 || !is_line(text) {
            return Err(Wrong::new("cannot be used as a name", "write 1 to 64 printable characters"));
        }
        Ok(text.to_owned())
    });
    let name = table.require("name", name, "name the site as its people call it");
    let mode = table.choice("mode", &[("control", false), ("observe", true)]);
    let mode = table.require(
        "mode",
        mode,
        "write mode = \"observe\" to watch without commanding anything, mode = \"control\" to command the miners",
    );
    let profiles = profiles(&table, folder);
    let clock = table.choice("clock", &[("checked", Trust::Checked), ("trusted", Trust::Trusted)]);
    let time_zone = time_zone(&table);
    table.finish();
    SiteKeys {
        name: name.map_or_else(String::new, |at| at.value),
        observe: mode.is_none_or(|at| at.value),
        profiles,
        clock: clock.map(|at| at.value),
        time_zone,
    }
}

/// `[control]`.
pub(super) struct ControlKeys {
    settings: Settings,
    raise_rate: Option<WattsPerSecond>,
    /// `on_exit`.
    pub(super) exit: ExitPolicy,
}

impl ControlKeys {
    /// The settings, now that the sum of all nameplates is known.
    pub(super) fn settings(self, nameplate: Watts) -> Settings {
        let raise_rate = self.raise_rate.unwrap_or_else(|| {
            WattsPerSecond::saturating(nameplate.get() * DEFAULT_RAISE_SHARE).max(WattsPerSecond::whole(1))
        });
        Settings { raise_rate, ..self.settings }
    }
}

/// Reads `[control]`. Every key has a default.
pub(super) fn control(root: &Table<'_>, observe: bool) -> ControlKeys {
    let seconds = Duration::from_secs;
    let mut settings = Settings {
        observe,
        period: seconds(1),
        raise_rate: WattsPerSecond::ZERO,
        import_share: DEFAULT_IMPORT_SHARE,
        deadband: None,
        min_sleep: seconds(60),
        start_timeout: seconds(10),
        horizon: seconds(600),
        rebalance_period: seconds(60),
        straggler_grace: seconds(10),
    };
    let Some(table) = root.table("control") else {
        return ControlKeys { settings, raise_rate: None, exit: ExitPolicy::Sleep };
    };
    let time = |key, low: Duration, high: Duration, into: &mut Duration| {
        if let Some(at) = table.time(key, low, high) {
            *into = at.value;
            table.report().remember(key, at.span, 0.0);
        }
    };
    let tick = Duration::from_millis(100);
    time("period", tick, seconds(60), &mut settings.period);
    time("min_sleep", Duration::ZERO, DAY, &mut settings.min_sleep);
    time("start_timeout", seconds(1), seconds(600), &mut settings.start_timeout);
    time("horizon", seconds(1), DAY, &mut settings.horizon);
    time("rebalance_period", seconds(1), DAY, &mut settings.rebalance_period);
    time("straggler_grace", Duration::ZERO, seconds(3_600), &mut settings.straggler_grace);
    let raise_rate = table.rate("raise_rate").map(|at| at.value);
    if let Some(at) = table.share("import_share", MOST_IMPORT_SHARE) {
        settings.import_share = at.value;
    }
    settings.deadband = table.power("deadband", 0.0, MOST_POWER).map(|at| at.value);
    for (key, why) in GONE {
        table.retired(key, why);
    }
    let exit = table
        .choice(
            "on_exit",
            &[("sleep", ExitPolicy::Sleep), ("hold", ExitPolicy::Hold), ("restore", ExitPolicy::Restore)],
        )
        .map_or(ExitPolicy::Sleep, |at| at.value);
    table.finish();
    ControlKeys { settings, raise_rate, exit }
}
