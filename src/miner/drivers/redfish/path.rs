//! Paths to resources of a BMC: which links are followed, and which resources are ever written to.

use serde_json::Value;

use super::forms::Form;

/// Where the tree of resources begins (DSP0266, "Protocol version and service root").
const ROOT: &str = "/redfish/v1";
/// Where sessions are opened (DSP0266, "Session login").
pub(super) const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
/// Longest path that is followed, in bytes.
const LONGEST_PATH: usize = 256;

/// A resource below the root, without a fragment; a query has only the next page of a collection.
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
        (plain && below && !climbs(text) && text.len() <= LONGEST_PATH).then(|| Self(text.to_owned()))
    }

    /// The next page of a collection (DSP0266, "Resource collection responses": `Members@odata.nextLink`), which may have a query.
    /// It is read and never written to.
    pub(super) fn of_page(link: &Value) -> Option<Self> {
        let text = link.as_str().or_else(|| link.get("@odata.id")?.as_str())?;
        let Some((path, query)) = text.split_once('?') else { return Self::of_text(text) };
        let plain = query.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"$=&_.-~%,+".contains(&byte));
        let path = Self::of_text(path)?;
        (plain && query.len() <= LONGEST_PATH).then(|| Self(format!("{}?{query}", path.0)))
    }

    /// The session behind the `Location` of a login: the one resource that is ever deleted. Exactly one segment below the
    /// collection, so that no other resource is meant.
    pub(super) fn of_session(location: &str) -> Option<Self> {
        let path = Self::of_text(location)?;
        let one = path.0.strip_prefix(SESSIONS)?.strip_prefix('/')?.trim_end_matches('/');
        (!one.is_empty() && !one.contains('/')).then_some(path)
    }

    /// As it goes over the wire.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Whether this is a resource in which a form has its power limit. No other is ever written to.
    pub(super) fn holds_limit(&self, form: Form) -> bool {
        if self.0.contains('?') {
            return false;
        }
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

/// Whether a path may mean another one than it says: dot segments, also where dots or slashes are escaped, are taken out by whoever
/// normalises it (WHATWG URL, "double-dot path segment": `.%2e`, `%2E.` and `%2e%2e` are ones).
fn climbs(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let hidden = ["%2e", "%2f", "%5c"].iter().any(|escape| lower.contains(escape));
    hidden || text.split('/').any(|part| part == "." || part == "..")
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
            "/redfish/v1/./x",
            "/redfish/v1/%2e%2E/x",
            "/redfish/v1/.%2e/x",
            "/redfish/v1/%2E./x",
            "/redfish/v1/x%2Fy",
            "/redfish/v1/a b",
            "/redfish/v1/a?b",
        ] {
            assert_eq!(Path::of_text(odd), None, "{odd}");
        }
        assert_eq!(Path::of_text(&format!("/redfish/v1/{}", "a".repeat(300))), None);
    }

    #[test]
    fn only_a_session_is_ever_deleted() {
        let session = |text: &str| Path::of_session(text).map(|path| path.text().to_owned());
        let own = "/redfish/v1/SessionService/Sessions/7a";
        assert_eq!(session(own).as_deref(), Some(own));
        assert_eq!(session(&format!("https://bmc.example{own}/")), Some(format!("{own}/")));
        for odd in [
            "/redfish/v1/SessionService/Sessions",
            "/redfish/v1/SessionService/Sessions/",
            "/redfish/v1/SessionService/Sessions/7a/Members",
            "/redfish/v1/SessionService/SessionsOther/7a",
            "/redfish/v1/SessionService/Sessions/.%2e/.%2e/AccountService/Accounts/3",
            "/redfish/v1/AccountService/Accounts/3",
        ] {
            assert_eq!(session(odd), None, "{odd}");
        }
    }

    #[test]
    fn the_next_page_of_a_collection_is_read_and_never_written_to() {
        let page = |text: &str| Path::of_page(&Value::from(text));
        let next = page("/redfish/v1/Chassis/1/Controls/x?$skip=32&$top=32").unwrap();
        assert_eq!(next.text(), "/redfish/v1/Chassis/1/Controls/x?$skip=32&$top=32");
        assert!(!next.holds_limit(Form::Control));
        assert!(page("/redfish/v1/Chassis").is_some());
        for odd in ["/redfish/v1/Chassis?a b", "/redfish/v1/../x?$skip=1", "?$skip=1"] {
            assert_eq!(page(odd), None, "{odd}");
        }
    }
}
