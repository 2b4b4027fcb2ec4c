//! What the resources of the simulated BMC say.

use serde_json::{Value, json};

use super::super::{View, rounded, whole};
use super::{Form, PROCESSORS, SESSIONS, Service, parts_of, place_of, processors, rest_of};

/// Where the graphics processors within modules are, without their numbers.
const GPUS: &str = "/redfish/v1/Chassis/GPU_";

fn link(path: &str) -> Value {
    json!({ "@odata.id": path })
}

/// A graphics processor within a module, as a chassis that says what it could be set to and cannot be set.
fn range_only(path: &str) -> Option<Value> {
    let (place, metrics) = place_of(GPUS, path)?;
    Some(if metrics {
        json!({ "PowerWatts": { "Reading": 50 }, "PowerLimitWatts": { "AllowableMax": 1200 } })
    } else {
        let module = format!("{}{place}", parts_of(Form::Modules));
        json!({ "Id": format!("GPU_{place}"), "ChassisType": "Component",
            "EnvironmentMetrics": link(&format!("{GPUS}{place}/EnvironmentMetrics")),
            "Links": { "ContainedBy": link(&module) } })
    })
}

impl Service {
    pub(super) fn root(&self) -> Value {
        json!({
            "@odata.id": "/redfish/v1/", "@odata.type": "#ServiceRoot.v1_15_0.ServiceRoot", "Id": "RootService",
            "Name": "Root Service", "RedfishVersion": "1.15.0", "Chassis": link("/redfish/v1/Chassis"),
            "Systems": link("/redfish/v1/Systems"), "Links": { "Sessions": link(SESSIONS) },
        })
    }

    fn limit(&self, place: usize, view: &View) -> Value {
        let (low, high) = self.bounds(place);
        let manner = self.miner.bmc(|manner| manner.clone());
        let set = if manner.beyond { high * 1.5 } else { self.set(place) };
        let part = place.checked_sub(1);
        let off = view.write_api_off || (part.is_some() && part == manner.disabled);
        let mode = if off { "Disabled" } else { "Automatic" };
        if manner.unstated {
            return json!({ "SetPoint": whole(set), "ControlMode": mode });
        }
        json!({ "SetPoint": whole(set), "AllowableMin": whole(low), "AllowableMax": whole(high), "ControlMode": mode })
    }

    pub(super) fn resource(&self, path: &str, form: Form, view: &View) -> Option<Value> {
        let miner = &self.miner;
        let power = view.power.get();
        let reading = json!({ "Reading": rounded(power, 1), "DataSourceUri": "/redfish/v1/Chassis/1/Sensors/TotalPower" });
        let mut body = match path {
            "/redfish/v1/Chassis" => {
                let mut members = vec![link("/redfish/v1/Chassis/1")];
                if form == Form::Modules {
                    for place in 0..PROCESSORS {
                        members.push(link(&format!("{}{place}", parts_of(form))));
                        members.push(link(&format!("{GPUS}{place}")));
                    }
                }
                json!({ "Members@odata.count": members.len(), "Members": members })
            }
            "/redfish/v1/Chassis/1" => {
                let mut chassis = json!({ "Id": "1", "ChassisType": "RackMount", "Manufacturer": "Contoso",
                    "Model": miner.identity.model, "SerialNumber": miner.identity.serial, "PowerState": "On" });
                let parts: &[&str] = match form {
                    Form::Power => &["Power"],
                    Form::Control | Form::Percent => &["EnvironmentMetrics", "Controls"],
                    Form::Environment | Form::Processors | Form::Modules => &["EnvironmentMetrics"],
                };
                for part in parts {
                    if let Some(chassis) = chassis.as_object_mut() {
                        chassis.insert((*part).to_owned(), link(&format!("/redfish/v1/Chassis/1/{part}")));
                    }
                }
                chassis
            }
            "/redfish/v1/Chassis/1/EnvironmentMetrics" if form == Form::Environment => {
                json!({ "PowerWatts": reading, "PowerLimitWatts": self.limit(0, view) })
            }
            "/redfish/v1/Chassis/1/EnvironmentMetrics" if form != Form::Power => {
                json!({ "PowerWatts": reading })
            }
            "/redfish/v1/Chassis/1/Controls" if matches!(form, Form::Control | Form::Percent) => {
                json!({ "Members": [link("/redfish/v1/Chassis/1/Controls/PowerLimit")], "Members@odata.count": 1 })
            }
            "/redfish/v1/Chassis/1/Controls/PowerLimit" if matches!(form, Form::Control | Form::Percent) => {
                self.control(form, view, &reading)
            }
            "/redfish/v1/Chassis/1/Power" if form == Form::Power => self.power_of_old(power),
            "/redfish/v1/Systems" => {
                json!({ "Members": [link("/redfish/v1/Systems/1")], "Members@odata.count": 1 })
            }
            "/redfish/v1/Systems/1" => {
                json!({ "Id": "1", "Processors": link("/redfish/v1/Systems/1/Processors") })
            }
            "/redfish/v1/Systems/1/Processors" => {
                let count = if form == Form::Processors { PROCESSORS } else { 0 };
                let member = |place: usize| link(&format!("/redfish/v1/Systems/1/Processors/GPU_{place}"));
                json!({ "Members": (0..count).map(member).collect::<Vec<_>>(), "Members@odata.count": count })
            }
            _ if form == Form::Processors => self.part(form, path, view)?,
            _ if form == Form::Modules => range_only(path).or_else(|| self.part(form, path, view))?,
            _ => return None,
        };
        if let Some(body) = body.as_object_mut() {
            body.insert("@odata.id".into(), path.into());
        }
        Some(body)
    }

    fn control(&self, form: Form, view: &View, reading: &Value) -> Value {
        let (low, high) = (self.miner.minimum.get(), self.miner.maximum.get());
        let mut control = self.limit(0, view);
        let percent = |watts: f64| whole(watts / self.miner.rated.get() * 100.0);
        if let Some(control) = control.as_object_mut() {
            if form == Form::Percent {
                for (key, watts) in [("SetPoint", self.set(0)), ("AllowableMin", low), ("AllowableMax", high)]
                {
                    control.insert(key.into(), percent(watts).into());
                }
            }
            let units = if form == Form::Percent { "%" } else { "W" };
            for (key, value) in [
                ("Id", json!("PowerLimit")),
                ("PhysicalContext", json!("Chassis")),
                ("ControlType", json!("Power")),
                ("SetPointUnits", json!(units)),
                ("Status", json!({ "State": "Enabled", "Health": "OK" })),
                ("Sensor", reading.clone()),
            ] {
                control.insert(key.into(), value);
            }
        }
        control
    }

    /// The old form, whose first entry is about the whole.
    fn power_of_old(&self, power: f64) -> Value {
        let manner = self.miner.bmc(|manner| manner.clone());
        let mut controls = vec![json!({
            "MemberId": "0", "Name": "System Input Power", "PowerConsumedWatts": whole(power),
            "PowerCapacityWatts": whole(self.miner.maximum.get() * manner.capacity),
            "PowerLimit": { "LimitInWatts": whole(self.set(0)), "LimitException": "LogEventOnly", "CorrectionInMs": 50 },
        })];
        for member in 1..manner.entries {
            controls.push(json!({ "MemberId": member.to_string(), "PhysicalContext": "CPU",
                "PowerConsumedWatts": whole(power / 8.0), "PowerLimit": { "LimitInWatts": 200 } }));
        }
        json!({ "PowerControl": controls })
    }

    fn part(&self, form: Form, path: &str, view: &View) -> Option<Value> {
        let (place, metrics) = place_of(parts_of(form), path)?;
        if !metrics {
            let own = format!("{}{place}", parts_of(form));
            return Some(json!({ "Id": format!("GPU_{place}"), "ProcessorType": "GPU",
                "EnvironmentMetrics": link(&format!("{own}/EnvironmentMetrics")),
                "Links": { "ContainedBy": link("/redfish/v1/Chassis/1") } }));
        }
        let power = ((view.power.get() - rest_of(&self.miner)) / processors()).max(0.0);
        Some(json!({ "PowerWatts": { "Reading": rounded(power, 1) },
            "PowerLimitWatts": self.limit(place + 1, view) }))
    }
}
