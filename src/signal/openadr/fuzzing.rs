//! A way in for the fuzz targets: what a top node answers, from its bytes to orders.

use crate::control::signal::Wall;
use crate::control::site::{CircuitId, Scope};
use crate::signal::Place;
use crate::units::Watts;

use super::lane::{Programmes, Surroundings, read, sound};
use super::settings::{Account, Settings};

/// Reads bytes as a list of events and, once more, as a list of programmes for it. Tells whether what comes of it is
/// within its bounds; `true` for what is no list.
pub fn events(bytes: &[u8]) -> bool {
    let Ok(serde_json::Value::Array(events)) = serde_json::from_slice(bytes) else { return true };
    let Ok(url) = "http://127.0.0.1:1/".parse() else { return false };
    let settings = Settings::new(url, Account::Nobody);
    let mut programmes = Programmes::default();
    for programme in &events {
        programmes.add(programme);
    }
    let known = ["e/0".into(), "e/0+r/0".into()];
    let around = Surroundings {
        settings: &settings,
        source: "fuzz",
        place: Place { circuit: CircuitId(0), scope: Scope::Import },
        nameplate: &|_| Watts::whole(400_000),
        known: &known,
        now: Wall::unix_millis(1_768_046_400_000),
    };
    sound(&read(&events, &programmes, &around))
}
