//! What a `zeusd` says of itself and of its processors, read field by field: what is not told is not known, and no number.

use std::collections::BTreeSet;

use serde_json::Value;

use super::share::MOST_MILLIWATTS;
use super::wire::MOST_GPUS;
use crate::miner::reply::fields::{self, words};

/// What `GET /discover` says (`DiscoveryInfo` in `routes/server.rs` of `zeusd` 0.5.0).
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Found {
    /// The ids of the processors that are set and read, in rising order.
    pub(super) ids: Vec<u16>,
    /// How many there are of which kind, in words.
    pub(super) model: Option<String>,
    /// Why nothing can be set at all, in words that say what to do.
    pub(super) refuses: Option<String>,
    /// Why these are not all that there should be.
    pub(super) lacks: Option<String>,
}

impl Found {
    /// Reads it. `only` are the ids that the configuration names; `None` stands for all.
    ///
    /// # Errors
    /// When it is no such answer at all.
    pub(super) fn read(reply: &Value, only: Option<&[u16]>) -> Result<Self, String> {
        let gpus = reply.get("gpus").and_then(Value::as_array).ok_or("`gpus` is missing or is no list")?;
        let mut ids = BTreeSet::new();
        let mut names = BTreeSet::new();
        let mut unread = gpus.len() > MOST_GPUS;
        for gpu in gpus.iter().take(MOST_GPUS) {
            let id = gpu.get("id").and_then(Value::as_u64).and_then(|id| u16::try_from(id).ok());
            let Some(id) = id.filter(|id| !ids.contains(id)) else {
                unread = true;
                continue;
            };
            ids.insert(id);
            if only.is_none_or(|only| only.contains(&id)) {
                let name = fields::text(gpu, "name").map(str::trim).filter(|name| !name.is_empty());
                names.extend(name.map(|name| words(name, &[])));
            }
        }
        let missing: Vec<String> =
            only.unwrap_or_default().iter().filter(|id| !ids.contains(*id)).map(u16::to_string).collect();
        let ids: Vec<u16> = ids.into_iter().filter(|id| only.is_none_or(|only| only.contains(id))).collect();
        let lacks = if !missing.is_empty() {
            let missing = words(&missing.join(", "), &[]);
            Some(format!("it has no GPU {missing}; look for it with nvidia-smi, or correct `gpus`"))
        } else if unread {
            Some("its list of GPUs cannot be read".to_owned())
        } else {
            None
        };
        let refuses = if ids.is_empty() {
            Some("it has no GPU to set; look at its log: it finds them through NVML".to_owned())
        } else {
            off(reply)
        };
        let model = (!names.is_empty()).then(|| {
            let names: Vec<String> = names.into_iter().collect();
            words(&format!("{} x {}", ids.len(), names.join(", ")), &[])
        });
        Ok(Self { ids, model, refuses, lacks })
    }

    /// Whether it can be remembered: what is amiss may be mended any time, and is looked at again.
    pub(super) const fn is_sound(&self) -> bool {
        self.refuses.is_none() && self.lacks.is_none()
    }
}

/// Whether limits can be set there (`enabled_api_groups`); where that is not told a refusal will tell.
fn off(reply: &Value) -> Option<String> {
    let groups = reply.get("enabled_api_groups")?.as_array()?;
    let on = groups.iter().any(|group| group.as_str() == Some("gpu-control"));
    (!on).then(|| "its group gpu-control is off; start it with --enable gpu-read,gpu-control".to_owned())
}

/// A power in milliwatts that one processor can have: a whole number, as the daemon writes it (`u32`).
pub(super) fn milliwatts(value: Option<&Value>) -> Option<u32> {
    let number = u32::try_from(value?.as_u64()?).ok()?;
    (number <= MOST_MILLIWATTS).then_some(number)
}

/// The draw of a processor, from `{"power_mw": {"0": 75000}}` (`GpuPowerSnapshot` in `devices/gpu/power.rs`).
pub(super) fn power(reply: &Value, id: u16) -> Option<u32> {
    milliwatts(reply.get("power_mw")?.get(id.to_string()))
}

/// The ids of all processors whose draw is told.
pub(super) fn told(reply: &Value) -> Vec<u16> {
    let map = reply.get("power_mw").and_then(Value::as_object);
    let ids: BTreeSet<u16> =
        map.into_iter().flat_map(|map| map.keys()).filter_map(|id| id.parse().ok()).collect();
    ids.into_iter().collect()
}

/// The limit of a processor, from `{"0": {"power_limit_mw": 300000}}` (`routes/gpu.rs`). None where it is zero: that is no limit that
/// NVML could have.
pub(super) fn limit(reply: &Value, id: u16) -> Option<u32> {
    milliwatts(reply.get(id.to_string())?.get("power_limit_mw")).filter(|limit| *limit > 0)
}

/// Its lowest and highest limit, from `{"0": {"min_power_limit_mw": 100000, "max_power_limit_mw": 300000}}` (`routes/gpu.rs`).
pub(super) fn range(reply: &Value, id: u16) -> Option<(u32, u32)> {
    let gpu = reply.get(id.to_string())?;
    let low = milliwatts(gpu.get("min_power_limit_mw"))?;
    let high = milliwatts(gpu.get("max_power_limit_mw"))?;
    (low <= high && high > 0).then_some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::miner::wire::plain_http::testing::any_json;
    use proptest::prelude::*;
    use serde_json::json;

    fn found(reply: &Value, only: Option<&[u16]>) -> Found {
        Found::read(reply, only).unwrap()
    }

    #[test]
    fn the_processors_are_those_that_it_has_and_that_are_named() {
        let groups = json!(["gpu-control", "gpu-read"]);
        let gpu = |id: u16| json!({ "id": id, "name": "NVIDIA H100" });
        let reply = json!({ "gpus": [gpu(1), gpu(0), gpu(2)], "enabled_api_groups": groups });
        let all = found(&reply, None);
        assert_eq!((all.ids.as_slice(), all.model.as_deref()), (&[0, 1, 2][..], Some("3 x NVIDIA H100")));
        assert!(all.is_sound());
        assert_eq!(found(&reply, Some(&[2, 0])).ids, [0, 2]);
        let lacking = found(&reply, Some(&[0, 7]));
        assert_eq!(lacking.ids, [0]);
        assert!(lacking.lacks.unwrap().contains("no GPU 7"));
        for odd in [json!([gpu(0), gpu(0)]), json!([gpu(0), { "name": "x" }]), json!([gpu(0), { "id": -1 }])]
        {
            let odd = found(&json!({ "gpus": odd, "enabled_api_groups": groups }), None);
            assert!(odd.ids == [0] && odd.lacks.is_some() && !odd.is_sound(), "{odd:?}");
        }
        assert!(Found::read(&json!({}), None).is_err());
    }

    #[test]
    fn what_cannot_be_set_says_why() {
        let of = |gpus: Value, groups: Value| {
            found(&json!({ "gpus": gpus, "enabled_api_groups": groups }), None).refuses
        };
        let one = || json!([{ "id": 0, "name": "x" }]);
        assert!(of(one(), json!(["gpu-read"])).unwrap().contains("--enable"));
        assert!(of(json!([]), json!(["gpu-control"])).unwrap().contains("no GPU"));
        assert_eq!(of(one(), json!(["gpu-control"])), None);
        assert_eq!(of(one(), Value::Null), None, "what is not told is not held against it");
    }

    #[test]
    fn powers_are_whole_milliwatts_that_a_processor_can_have() {
        let of = |value: Value| milliwatts(Some(&value));
        assert_eq!((of(json!(75_000)), of(json!(0))), (Some(75_000), Some(0)));
        for odd in [json!(-1), json!(1.5), json!(4_294_967_295_u64), json!("75000"), Value::Null] {
            assert_eq!(of(odd.clone()), None, "{odd}");
        }
        let reply = json!({ "0": { "power_limit_mw": 0, "min_power_limit_mw": 300_000, "max_power_limit_mw": 200_000 } });
        assert_eq!((limit(&reply, 0), range(&reply, 0), range(&reply, 1)), (None, None, None));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_a_panic(
            reply in any_json(&["gpus", "id", "name", "enabled_api_groups", "power_mw", "0", "1", "power_limit_mw",
                "min_power_limit_mw", "max_power_limit_mw", "errors"])
        ) {
            if let Ok(found) = Found::read(&reply, Some(&[0, 1])) {
                prop_assert!(found.ids.is_sorted() && found.ids.len() <= 2);
            }
            for id in told(&reply).into_iter().chain([0, 1]) {
                prop_assert!(power(&reply, id).is_none_or(|power| power <= MOST_MILLIWATTS));
                prop_assert!(limit(&reply, id).is_none_or(|limit| limit > 0));
                prop_assert!(range(&reply, id).is_none_or(|(low, high)| low <= high));
            }
        }
    }
}
