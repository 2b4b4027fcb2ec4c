//! The tree of resources as far as a search has read it: what matters of each, bounded in number and size.
//!
//! A BMC answers in some 0.3 s, and a board with eight GPUs has scores of resources. What was read before a search was cut short is
//! kept, so that the next one goes on where that one stopped.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::path::Path;
use super::wire::Bmc;
use crate::miner::DriverError;

/// The most resources that one search reads; boards with eight GPUs and their switches have some two hundred of interest.
const MOST_READS: usize = 512;
/// The most pages of a collection, and members of all of them.
const MOST_PAGES: usize = 16;
const MOST_MEMBERS: usize = 128;

/// What is kept of a resource: links, and what tells of limits and draws (DMTF schemas `ServiceRoot`, `Chassis`, `ComputerSystem`,
/// `Processor`, `EnvironmentMetrics`, `Control`, `Power`, `Sensor`).
const KEPT: [&str; 24] = [
    "Chassis",
    "Systems",
    "Members",
    "Members@odata.nextLink",
    "EnvironmentMetrics",
    "Controls",
    "Power",
    "Links",
    "Processors",
    "ProcessorType",
    "PowerWatts",
    "PowerLimitWatts",
    "ControlType",
    "ControlMode",
    "PhysicalContext",
    "SetPoint",
    "SetPointUnits",
    "AllowableMin",
    "AllowableMax",
    "Sensor",
    "Status",
    "PowerControl",
    "Reading",
    "ReadingUnits",
];

/// What was read so far.
#[derive(Default)]
pub(super) struct Tree {
    read: BTreeMap<String, Option<Value>>,
    /// So many resources may be read before the next pause.
    left: usize,
}

impl Tree {
    /// Goes on with so many further resources at the most.
    pub(super) const fn go_on(&mut self, most: usize) {
        self.left = most;
    }

    /// Whether the last search stopped for a pause only.
    pub(super) const fn is_under_way(&self) -> bool {
        self.left == 0
    }

    /// A resource, from what is known or from the BMC; `None` where it has no such one.
    ///
    /// # Errors
    /// Any [`DriverError`], and [`DriverError::Malformed`] where there is more than can be searched, or time for a pause.
    pub(super) async fn look(
        &mut self,
        bmc: &mut Bmc,
        name: &'static str,
        path: &Path,
    ) -> Result<Option<Value>, DriverError> {
        if let Some(known) = self.read.get(path.text()) {
            return Ok(known.clone());
        }
        if self.read.len() >= MOST_READS {
            self.read.clear();
            return Err(bmc.place().malformed(name, "it has more resources than can be searched"));
        }
        if self.left == 0 {
            return Err(bmc.place().malformed(name, "the search goes on later"));
        }
        let body = bmc.get(name, path).await?.map(|resource| kept(resource.body));
        self.left -= 1;
        self.read.insert(path.text().to_owned(), body.clone());
        Ok(body)
    }

    /// The members of a collection, of all its pages.
    ///
    /// # Errors
    /// Any [`DriverError`]. One that is longer than can be searched is no collection without its end: a limit that is not
    /// seen would not be lowered.
    pub(super) async fn members(&mut self, bmc: &mut Bmc, path: &Path) -> Result<Vec<Path>, DriverError> {
        let name = "a collection";
        let mut members = Vec::new();
        let mut next = Some(path.clone());
        for _ in 0..MOST_PAGES {
            let Some(page) = next.take() else { return Ok(members) };
            let page = self.look(bmc, name, &page).await?.unwrap_or_default();
            let listed = page.get("Members").and_then(Value::as_array);
            members.extend(listed.into_iter().flatten().filter_map(Path::of_link));
            if members.len() > MOST_MEMBERS {
                break;
            }
            next = page.get("Members@odata.nextLink").and_then(Path::of_page);
            if next.is_none() {
                return Ok(members);
            }
        }
        Err(bmc.place().malformed(name, format!("{} has more members than can be searched", path.text())))
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.read.clear();
    }
}

/// What matters of a resource.
fn kept(body: Value) -> Value {
    let Value::Object(body) = body else { return Value::Null };
    let mut kept: Map<String, Value> =
        body.into_iter().filter(|(key, _)| KEPT.contains(&key.as_str())).collect();
    if let Some(members) = kept.get_mut("Members").and_then(Value::as_array_mut) {
        // They may be there whole.
        for member in members.iter_mut() {
            *member = link(member);
        }
    }
    if let Some(links) = kept.get_mut("Links") {
        *links = serde_json::json!({ "ContainedBy": links.get("ContainedBy").map(link) });
    }
    Value::Object(kept)
}

fn link(member: &Value) -> Value {
    serde_json::json!({ "@odata.id": member.get("@odata.id") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_matters_of_a_resource_is_kept() {
        let whole = json!({ "@odata.id": "/x", "Oem": { "much": [1, 2] }, "Power": { "@odata.id": "/p" },
            "Members": [{ "@odata.id": "/a", "Name": "a" }, 7],
            "Links": { "ContainedBy": { "@odata.id": "/b" }, "Contains": [1] } });
        assert_eq!(
            kept(whole),
            json!({ "Power": { "@odata.id": "/p" }, "Members": [{ "@odata.id": "/a" }, { "@odata.id": null }],
                "Links": { "ContainedBy": { "@odata.id": "/b" } } })
        );
        assert_eq!(kept(json!([1])), Value::Null);
    }
}
