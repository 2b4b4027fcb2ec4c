//! Paths to resources of a BMC: which links are followed, and which resources are ever written to.

use serde_json::Value;

use super::forms::Form;

/// Where the tree of resources begins (DSP0266, "Protocol version and service root").
const ROOT: &str = "/redfish/v1";
/// Longest path that is followed, in bytes.
const LONGEST_PATH: usize = 256;

/// A resource below the root, without a query and without a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path(String);

impl Path {
    /// The service root.
    pub(super) fn root() -> Self {
        Self(format!("{ROOT}/"))
    }

    /// A path that stands in the specification.
    pub(super) fn known(path: &'static str) -> Self {
        Self(path.to_owned())
    }

    /// The path of a link, such as `{"@odata.id": "/redfish/v1/Chassis/1"}`; `None` for what leads elsewhere.
    pub(super) fn of_link(link: &Value) -> Option<Self> {
        Self::of_text(link.get("@odata.id")?.as_str()?)
    }

    /// The path of a URI, absolute or not.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        let text = text.split('#').next().unwrap_or_default();
        let text = match text.split_once("://") {
            Some((_, rest)) => rest.find('/').and_then(|slash| rest.get(slash..))?,
            None => text,
        };
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_.-~%:@+,()".contains(&byte));
        let below = text.strip_prefix(ROOT).is_some_and(|rest| rest.starts_with('/'));
        let climbs = text.split('/').any(|part| part == ".." || part.eq_ignore_ascii_case("%2e%2e"));
        (plain && below && !climbs && text.len() <= LONGEST_PATH).then(|| Self(text.to_owned()))
    }

    /// As it goes over the wire.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Whether this is a resource in which a form has its power limit. No other is ever written to.
    pub(super) fn holds_limit(&self, form: Form) -> bool {
        let mut parts = self.0.trim_end_matches('/').rsplit('/');
        let (last, before) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let below = |collection: &str| self.0.starts_with(&format!("{ROOT}/{collection}/"));
        match form {
            Form::Environment => last == "EnvironmentMetrics" && (below("Chassis") || below("Systems")),
            Form::Control => before == "Controls" && below("Chassis"),
            Form::Power => last == "Power" && below("Chassis"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_resources_with_a_power_limit_are_written_to() {
        let holds = |text: &str| {
            let path = Path::of_text(text).unwrap();
            [Form::Environment, Form::Control, Form::Power].map(|form| path.holds_limit(form))
        };
        assert_eq!(holds("/redfish/v1/Chassis/1/EnvironmentMetrics"), [true, false, false]);
        assert_eq!(holds("/redfish/v1/Systems/H/Processors/GPU_0/EnvironmentMetrics/"), [true, false, false]);
        assert_eq!(holds("/redfish/v1/Chassis/1/Controls/PowerLimit"), [false, true, false]);
        assert_eq!(holds("/redfish/v1/Chassis/1/Power#/PowerControl/0"), [false, false, true]);
        for other in [
            "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset",
            "/redfish/v1/Systems/1",
            "/redfish/v1/Systems/1/Bios/Settings",
            "/redfish/v1/Chassis/1",
            "/redfish/v1/Managers/1/EnvironmentMetrics",
            "/redfish/v1/UpdateService",
            "/redfish/v1/Chassis/1/Controls",
        ] {
            assert_eq!(holds(other), [false; 3], "{other}");
        }
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_not_followed() {
        let path = Path::of_text("https://bmc.example/redfish/v1/Chassis/1").unwrap();
        assert_eq!(path.text(), "/redfish/v1/Chassis/1");
        for odd in [
            "",
            "/",
            "/redfish/v1",
            "/redfish/v12/x",
            "/redfish/v1/../x",
            "/redfish/v1/%2e%2E/x",
            "/redfish/v1/a b",
            "/redfish/v1/a?b",
        ] {
            assert_eq!(Path::of_text(odd), None, "{odd}");
        }
        assert_eq!(Path::of_text(&format!("/redfish/v1/{}", "a".repeat(300))), None);
    }
}
