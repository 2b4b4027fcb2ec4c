//! Which graphics processors of a server are set by its `zeusd`, what it draws beside them, and where that listens.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::diagnostic::{At, Report};
use super::models::MOST_MINER_POWER;
use super::reader::{Table, Wrong, integer_of, is_a, text_of};
use crate::line::is_line;
use crate::miner::{DriverKind, Gpus};
use crate::units::Watts;

/// The highest id of a processor: no server has more than 64.
const HIGHEST_ID: u16 = 63;

/// The longest path that a socket can have (`sun_path` of Linux, with the zero behind it).
const LONGEST_SOCKET: usize = 107;

/// The keys `gpus`, `base` and `socket`.
#[derive(Clone, Default)]
pub(super) struct GpuKeys {
    only: Option<At<Arc<[u16]>>>,
    base: Option<At<Watts>>,
    socket: Option<At<Arc<Path>>>,
}

impl GpuKeys {
    /// Reads them; what is wrong with them is noted.
    pub(super) fn read(table: &Table<'_>) -> Self {
        let base = table.power("base", 0.0, MOST_MINER_POWER);
        Self { only: ids(table), base, socket: None }
    }

    /// Reads where a single server's listens. A group has no such key: one socket is one server.
    pub(super) fn read_socket(&mut self, table: &Table<'_>) {
        self.socket = table.read("socket", |value| {
            let path = text_of(value)?;
            if path.starts_with('/') && path.len() <= LONGEST_SOCKET && is_line(path) {
                return Ok(Arc::from(Path::new(path)));
            }
            let help = "write its whole path, like socket = \"/run/zeusd/zeusd.sock\"";
            Err(Wrong::new("is no path of a socket", help))
        });
    }

    /// These where they are given, else those of the group.
    pub(super) fn or(self, group: Self) -> Self {
        Self { only: self.only.or(group.only), base: self.base.or(group.base), socket: self.socket }
    }

    /// What the driver is told; `None` where nothing is given.
    pub(super) fn settings(&self) -> Option<Gpus> {
        if self.only.is_none() && self.base.is_none() && self.socket.is_none() {
            return None;
        }
        let only = self.only.as_ref().map(|at| Arc::clone(&at.value));
        let socket = self.socket.as_ref().map(|at| Arc::clone(&at.value));
        Some(Gpus { only, base: self.base.map_or(Watts::ZERO, |at| at.value), socket })
    }
}

fn ids(table: &Table<'_>) -> Option<At<Arc<[u16]>>> {
    let report = table.report();
    let list = table.list("gpus")?;
    let mut ids = BTreeSet::new();
    for (span, value) in list.value {
        let help =
            format!("write whole numbers from 0 to {HIGHEST_ID}, each once, as `nvidia-smi -L` counts them");
        let id = integer_of(value).and_then(|id| u16::try_from(id).ok()).filter(|id| *id <= HIGHEST_ID);
        match id {
            Some(id) if ids.insert(id) => {}
            Some(id) => report.error(span, format!("`gpus` has {id} twice"), help),
            None => report.error(span, format!("an element of `gpus` {}", is_a(value)), help),
        }
    }
    if ids.is_empty() {
        report.error(
            list.span,
            "`gpus` names no GPU that could be set",
            "write their ids, like gpus = [0, 1], or leave it out: then all are set",
        );
        return None;
    }
    Some(At::new(ids.into_iter().collect(), list.span))
}

/// Refuses them where they would mean nothing, and a base that leaves nothing to set.
pub(super) fn fit(
    title: &str,
    driver: DriverKind,
    keys: &GpuKeys,
    maximum: Option<At<Watts>>,
    report: &Report<'_>,
) {
    let first = keys.only.as_ref().map(|at| at.span).or(keys.base.map(|at| at.span));
    let first = first.or(keys.socket.as_ref().map(|at| at.span));
    if let Some(span) = first.filter(|_| driver != DriverKind::Zeusd) {
        report.error(
            span,
            format!("{title} is not set by a zeusd"),
            "`gpus`, `base` and `socket` are for driver = \"zeusd\"",
        );
        return;
    }
    if let (Some(base), Some(maximum)) = (keys.base, maximum)
        && base.value >= maximum.value
    {
        report.error(
            base.span,
            format!("`base` ({}) leaves nothing of `maximum` ({}) for its GPUs", base.value, maximum.value),
            "`maximum` is that of the whole server: its GPUs and the rest",
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::server;
    use crate::miner::Gpus;

    fn read(driver: &str, more: &str) -> Result<Option<Gpus>, String> {
        let config = server(driver, "10.0.0.9", more)?;
        Ok(config.miners.into_iter().next().and_then(|miner| miner.gpus))
    }

    #[test]
    fn the_processors_and_the_rest_of_a_server_are_read_and_refused_elsewhere() {
        assert_eq!(read("zeusd", ""), Ok(None));
        let gpus = read("zeusd", "gpus = [2, 0]\nbase = \"600 W\"").unwrap().unwrap();
        assert_eq!((gpus.only.as_deref(), gpus.base.get().round()), (Some(&[0, 2][..]), 600.0));
        for (driver, more, words) in [
            ("zeusd", "gpus = []", "names no GPU"),
            ("zeusd", "gpus = [1, 1]", "twice"),
            ("zeusd", "gpus = [64]", "an element of"),
            ("zeusd", "gpus = [\"0\"]", "an element of"),
            ("zeusd", "base = \"2 kW\"", "leaves nothing"),
            ("zeusd", "socket = \"zeusd.sock\"", "no path of a socket"),
            ("vnish", "base = \"100 W\"", "not set by a zeusd"),
            ("vnish", "socket = \"/run/zeusd.sock\"", "not set by a zeusd"),
            ("vnish", "gpus = [0]", "not set by a zeusd"),
        ] {
            let told = read(driver, more).unwrap_err();
            assert!(told.contains(words), "{told}");
        }
    }
}
