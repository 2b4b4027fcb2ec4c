//! What the resources of the simulated BMC say: little, and that as DMTF's schemas of the bundle 2022.3 have it.

use serde_json::{Value, json};

use super::super::{View, rounded, whole};
use super::{Form, PROCESSORS, SESSIONS, Service, parts_of, place_of, processors, rest_of};

/// Where the graphics processors within modules are, without their numbers.
const GPUS: &str = "/redfish/v1/Chassis/GPU_";
/// Where the draw of the whole server is told.
const SENSOR: &str = "/redfish/v1/Chassis/1/Sensors/TotalPower";

fn link(path: &str) -> Value {
    json!({ "@odata.id": path })
}

fn collection(paths: impl Iterator<Item = String>) -> Value {
    let members: Vec<Value> = paths.map(|path| link(&path)).collect();
    json!({ "Members@odata.count": members.len(), "Members": members })
}

/// The schema of what is at a path, by the last words of it: the older of those that have all that is said here.
fn schema(path: &str) -> &'static str {
    let mut words = path.rsplit('/');
    let (last, before) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match (before, last) {
        (_, "EnvironmentMetrics") => "#EnvironmentMetrics.v1_3_0.EnvironmentMetrics",
        (_, "Power") => "#Power.v1_7_1.Power",
        (_, "Chassis") => "#ChassisCollection.ChassisCollection",
        (_, "Systems") => "#ComputerSystemCollection.ComputerSystemCollection",
        (_, "Processors") => "#ProcessorCollection.ProcessorCollection",
        (_, "Controls") => "#ControlCollection.ControlCollection",
        (_, "Sensors") => "#SensorCollection.SensorCollection",
        (_, "Sessions") => "#SessionCollection.SessionCollection",
        ("Systems", _) => "#ComputerSystem.v1_19_0.ComputerSystem",
        ("Processors", _) => "#Processor.v1_16_0.Processor",
        ("Controls", _) => "#Control.v1_2_0.Control",
        ("Sensors", _) => "#Sensor.v1_6_0.Sensor",
        ("Sessions", _) => "#Session.v1_5_0.Session",
        _ => "#Chassis.v1_22_0.Chassis",
    }
}

/// What every resource says of itself, beside what it says.
fn signed(path: &str, mut body: Value) -> Value {
    let last = path.rsplit('/').next().unwrap_or_default();
    if let Some(body) = body.as_object_mut() {
        for (key, value) in [("@odata.id", path), ("@odata.type", schema(path)), ("Name", last)] {
            body.insert(key.to_owned(), value.into());
        }
        // A collection has none.
        if !body.contains_key("Members") {
            body.insert("Id".to_owned(), last.into());
        }
    }
    body
}

/// What opening a session is answered with, and reading it.
pub(super) fn session(id: u64, user: &str) -> Value {
    signed(&format!("{SESSIONS}/{id}"), json!({ "UserName": user }))
}

/// A graphics processor within a module, as a chassis that says what it could be set to and cannot be set.
fn range_only(path: &str) -> Option<Value> {
    let (place, metrics) = place_of(GPUS, path)?;
    Some(if metrics {
        json!({ "PowerWatts": { "Reading": 50 }, "PowerLimitWatts": { "AllowableMax": 1200 } })
    } else {
        let module = format!("{}{place}", parts_of(Form::Modules));
        json!({ "ChassisType": "Component", "EnvironmentMetrics": link(&format!("{path}/EnvironmentMetrics")),
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
        if manner.kilowatts {
            let (set, low, high) = (set / 1e3, low / 1e3, high / 1e3);
            return json!({ "SetPoint": set, "AllowableMin": low, "AllowableMax": high, "ControlMode": mode });
        }
        if manner.unstated {
            return json!({ "SetPoint": whole(set), "ControlMode": mode });
        }
        json!({ "SetPoint": whole(set), "AllowableMin": whole(low), "AllowableMax": whole(high), "ControlMode": mode })
    }

    pub(super) fn resource(&self, path: &str, form: Form, view: &View) -> Option<Value> {
        let miner = &self.miner;
        let power = view.power.get();
        let unit = if miner.bmc(|manner| manner.kilowatts) { 1e3 } else { 1.0 };
        let reading = json!({ "Reading": rounded(power / unit, 3), "DataSourceUri": SENSOR });
        let body = match path {
            SESSIONS => collection(self.kept().sessions.iter().map(|(id, _)| format!("{SESSIONS}/{id}"))),
            "/redfish/v1/Chassis" => {
                let count = if form == Form::Modules { PROCESSORS } else { 0 };
                let parts = (0..count)
                    .flat_map(|place| [format!("{}{place}", parts_of(form)), format!("{GPUS}{place}")]);
                collection(std::iter::once("/redfish/v1/Chassis/1".to_owned()).chain(parts))
            }
            "/redfish/v1/Chassis/1" => {
                let mut chassis = json!({ "ChassisType": "RackMount", "Manufacturer": "Contoso",
                    "Model": miner.identity.model, "SerialNumber": miner.identity.serial, "PowerState": "On",
                    "Sensors": link("/redfish/v1/Chassis/1/Sensors") });
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
            "/redfish/v1/Chassis/1/Sensors" => collection(std::iter::once(SENSOR.to_owned())),
            SENSOR => {
                json!({ "ReadingType": "Power", "ReadingUnits": "W", "Reading": rounded(power, 1) })
            }
            "/redfish/v1/Chassis/1/Controls" if matches!(form, Form::Control | Form::Percent) => {
                collection(std::iter::once("/redfish/v1/Chassis/1/Controls/PowerLimit".to_owned()))
            }
            "/redfish/v1/Chassis/1/Controls/PowerLimit" if matches!(form, Form::Control | Form::Percent) => {
                self.control(form, view, &reading)
            }
            "/redfish/v1/Chassis/1/Power" if form == Form::Power => self.power_of_old(power),
            "/redfish/v1/Systems" => collection(std::iter::once("/redfish/v1/Systems/1".to_owned())),
            "/redfish/v1/Systems/1" => json!({ "Processors": link("/redfish/v1/Systems/1/Processors") }),
            "/redfish/v1/Systems/1/Processors" => {
                let count = if form == Form::Processors { PROCESSORS } else { 0 };
                collection((0..count).map(|place| format!("{}{place}", parts_of(form))))
            }
            _ if path.starts_with(SESSIONS) => {
                let id = path.rsplit('/').next()?.parse().ok()?;
                let open = self.kept().sessions.iter().any(|(known, _)| *known == id);
                return open.then(|| session(id, &miner.username));
            }
            _ if form == Form::Processors => self.part(form, path, view)?,
            _ if form == Form::Modules => range_only(path).or_else(|| self.part(form, path, view))?,
            _ => return None,
        };
        Some(signed(path, body))
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
        let own = |member: usize| format!("/redfish/v1/Chassis/1/Power#/PowerControl/{member}");
        let mut controls = vec![json!({
            "@odata.id": own(0), "MemberId": "0", "Name": "System Input Power", "PowerConsumedWatts": whole(power),
            "PowerCapacityWatts": whole(self.miner.maximum.get() * manner.capacity),
            "PowerLimit": { "LimitInWatts": whole(self.set(0)), "LimitException": "LogEventOnly", "CorrectionInMs": 50 },
        })];
        for member in 1..manner.entries {
            controls.push(json!({ "@odata.id": own(member), "MemberId": member.to_string(), "Name": "CPU Power",
                "PhysicalContext": "CPU", "PowerConsumedWatts": whole(power / 8.0), "PowerLimit": { "LimitInWatts": 200 } }));
        }
        json!({ "PowerControl": controls })
    }

    fn part(&self, form: Form, path: &str, view: &View) -> Option<Value> {
        let (place, metrics) = place_of(parts_of(form), path)?;
        if !metrics {
            let whole = link("/redfish/v1/Chassis/1");
            let metrics = link(&format!("{path}/EnvironmentMetrics"));
            return Some(if form == Form::Modules {
                json!({ "ChassisType": "Module", "EnvironmentMetrics": metrics, "Links": { "ContainedBy": whole } })
            } else {
                json!({ "ProcessorType": "GPU", "EnvironmentMetrics": metrics, "Links": { "Chassis": whole } })
            });
        }
        let power = ((view.power.get() - rest_of(&self.miner)) / processors()).max(0.0);
        Some(json!({ "PowerWatts": { "Reading": rounded(power, 1) },
            "PowerLimitWatts": self.limit(place + 1, view) }))
    }
}
