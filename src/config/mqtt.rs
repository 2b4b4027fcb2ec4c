//! The section `[mqtt]`: the broker to which state goes and from which orders may come.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

use super::Secrets;
use super::diagnostic::At;
use super::reader::{Table, Wrong, text_of};
use super::secrets::Store;
use super::urls;
use crate::broker::Identity;
pub use crate::broker::Tls;
use crate::secret::Secret;
use crate::signal::{Kind, Spec};
use crate::tls;

/// Time between two looks at what has changed, unless the file says otherwise.
const PERIOD: Duration = Duration::from_secs(5);
/// The longest topic prefix, in bytes.
const LONGEST_PREFIX: usize = 128;
/// The longest name of a client, in bytes: what every broker must take.
const LONGEST_CLIENT: usize = 64;

/// The broker, and what goes there.
#[derive(Clone, Debug, PartialEq)]
pub struct Mqtt {
    /// Name or address of the broker.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// With TLS, and how; `None` in the clear.
    pub tls: Option<Tls>,
    /// Name and password.
    pub login: Option<(String, Secret)>,
    /// How the broker knows this daemon; no two may have one name there.
    pub client_id: String,
    /// What every topic begins with, without a `/` at its end.
    pub prefix: String,
    /// Time between two looks at what has changed.
    pub period: Duration,
    /// Whether Home Assistant is told what there is.
    pub discovery: bool,
    /// What the topics of Home Assistant begin with.
    pub discovery_prefix: String,
    /// Whose orders come over the broker, and how old a message may be; `None` where none may.
    pub orders: Option<Orders>,
}

/// Whose orders come over the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orders {
    /// The source, as in `[signals.NAME]`.
    pub source: String,
    /// How long ago a message may have been sent.
    pub oldest: Duration,
}

/// The name of a site as a part of a topic: lower case, `-` for whatever has a meaning there.
pub(super) fn plain(name: &str) -> String {
    let mut plain = String::new();
    for c in name.to_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            plain.push(c);
        } else if !plain.ends_with('-') && !plain.is_empty() {
            plain.push('-');
        }
    }
    let plain = plain.trim_end_matches('-');
    if plain.is_empty() { String::from("site") } else { plain.to_owned() }
}

/// Reads `[mqtt]`; `None` without it. `sources` are those of the same file.
pub(super) fn mqtt(root: &Table<'_>, store: &Store<'_>, sources: &[Spec], site: &str) -> Option<Mqtt> {
    let report = root.report();
    let mut ordering = sources.iter().filter_map(|spec| match &spec.kind {
        Kind::Mqtt(settings) => Some(Orders { source: spec.settings.name.clone(), oldest: settings.oldest }),
        _ => None,
    });
    let orders = ordering.next();
    if let Some(second) = ordering.next() {
        report.error(
            root.key_span("signals"),
            format!("[signals.{}] is the second source that orders over MQTT", second.source),
            "there is one topic for orders: keep one source with kind = \"mqtt\", and let others push over HTTP",
        );
    }
    let Some(table) = root.table("mqtt") else {
        if let Some(orders) = orders.filter(|_| !root.has("mqtt")) {
            report.error(
                root.key_span("signals"),
                format!("[signals.{}] orders over MQTT, and there is no broker", orders.source),
                "add [mqtt] with broker = \"mqtts://HOST\"",
            );
        }
        return None;
    };
    let way = way(&table, store);
    let login = store.credentials(&table);
    let client_id = client_id(&table);
    let own_prefix = table.read("prefix", |value| prefix(text_of(value)?));
    let discovery_prefix = table.read("discovery_prefix", |value| prefix(text_of(value)?));
    let period = table.time("period", Duration::from_secs(1), Duration::from_secs(3_600));
    let discovery = table.boolean("discovery").unwrap_or(true);
    let authenticated = table.has("credentials") || table.has("certificate_file");
    let Way { broker, tls } = way?;
    let Broker { host, port, secure, here } = broker.value;
    if !secure && !here && table.has("credentials") {
        report.warn(
            broker.span,
            "the password travels in the clear to another machine",
            "write broker = \"mqtts://…\"",
        );
    }
    if let Some(orders) = &orders {
        let source = &orders.source;
        if !authenticated {
            report.error(
                broker.span,
                format!("[signals.{source}] orders over a broker that does not know who we are"),
                "let the broker ask for an account or a certificate, so that it can say who may order, and write \
                 credentials = { username = \"…\", password_file = \"…\" } or certificate_file and key_file",
            );
        }
        if !secure && !here {
            report.error(
                broker.span,
                format!("[signals.{source}] orders over a connection that is not encrypted"),
                "write broker = \"mqtts://…\"; in the clear orders come from a broker on this machine alone",
            );
        }
    }
    let login = login.and_then(|keys| {
        let password = keys.password.or_else(|| store.skipped());
        let name = keys.username.map_or_else(String::new, |at| at.value);
        if name.is_empty() {
            report.error(
                table.key_span("credentials"),
                "the account at the broker has no name",
                "write credentials = { username = \"…\", password_file = \"…\" }",
            );
        }
        Some((name, password?))
    });
    table.finish();
    let own = plain(site);
    Some(Mqtt {
        host,
        port,
        tls,
        login,
        client_id: client_id.map_or_else(|| format!("ballast-{own}"), |at| at.value),
        prefix: own_prefix.map_or_else(|| format!("ballast/{own}"), |at| at.value),
        period: period.map_or(PERIOD, |at| at.value),
        discovery,
        discovery_prefix: discovery_prefix.map_or_else(|| String::from("homeassistant"), |at| at.value),
        orders,
    })
}

/// Where a broker is, and how the connection to it is encrypted.
pub(super) struct Way {
    pub(super) broker: At<Broker>,
    /// `None` in the clear.
    pub(super) tls: Option<Tls>,
}

/// Reads `broker`, `ca`, `certificate_file` and `key_file`, wherever a section has them.
pub(super) fn way(table: &Table<'_>, store: &Store<'_>) -> Option<Way> {
    let report = table.report();
    let broker = table.read("broker", |value| broker(text_of(value)?));
    let broker =
        table.require("broker", broker, "write where it is: broker = \"mqtts://broker.example:8883\"");
    let authority = table.text("ca").and_then(|at| urls::certificates(&store.folder, at, report));
    // Of no use without its key, which is a secret.
    let certificate = table.text("certificate_file").filter(|_| store.options.secrets != Secrets::Skip);
    let certificate = certificate.and_then(|at| urls::certificates(&store.folder, at, report));
    let key = table.text("key_file").and_then(|at| store.private_key(at, report));
    if table.has("certificate_file") != table.has("key_file") {
        report.error(
            table.key_span(if table.has("key_file") { "key_file" } else { "certificate_file" }),
            "a certificate and its key belong together",
            "write both certificate_file and key_file, or none of them",
        );
    }
    let secure = broker.as_ref().map(|at| at.value.secure);
    for key in ["ca", "certificate_file", "key_file"] {
        if secure == Some(false) && table.has(key) {
            report.error(
                table.key_span(key),
                format!("`{key}` is for TLS, and the broker is called in the clear"),
                "write broker = \"mqtts://…\"",
            );
        }
    }
    let identity = certificate.zip(key).map(|(certificate, key)| (Arc::<[u8]>::from(certificate), key));
    check_tls(table, authority.as_deref(), identity.as_ref());
    let broker = broker?;
    let tls = broker.value.secure.then(|| Tls { authority: authority.map(Arc::from), identity });
    Some(Way { broker, tls })
}

/// Reads `client_id`: how a broker knows this daemon.
pub(super) fn client_id(table: &Table<'_>) -> Option<At<String>> {
    table.read("client_id", |value| {
        let text = text_of(value)?;
        if text.is_empty() || text.len() > LONGEST_CLIENT || !text.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(Wrong::new(
                "cannot be used",
                format!("write 1 to {LONGEST_CLIENT} letters, digits and signs without a space"),
            ));
        }
        Ok(text.to_owned())
    })
}

/// A broker, as its address says.
pub(super) struct Broker {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) secure: bool,
    /// On this machine, so that what is sent in the clear meets nobody on its way.
    pub(super) here: bool,
}

fn broker(text: &str) -> Result<Broker, Wrong> {
    let help = "write it like \"mqtts://broker.example:8883\", or \"mqtt://127.0.0.1:1883\" on this machine";
    let url = Url::parse(text).map_err(|_| Wrong::new("is no address of a broker", help))?;
    let secure = match url.scheme() {
        "mqtts" => true,
        "mqtt" => false,
        _ => return Err(Wrong::new("is no address of MQTT", help)),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Wrong::new(
            "has an account in it",
            "write credentials = { username = \"…\", password_file = \"…\" }",
        ));
    }
    let more = !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some();
    let host = url.host_str().filter(|host| !host.is_empty() && !more);
    let host = host.ok_or_else(|| Wrong::new("is not a host and a port alone", help))?;
    if secure && host.starts_with('[') {
        return Err(Wrong::new(
            "is an IPv6 address with TLS",
            "write the name that stands in the broker's certificate",
        ));
    }
    let port = url.port().unwrap_or(if secure { 8883 } else { 1883 });
    Ok(Broker { host: host.to_owned(), port, secure, here: urls::is_here(&url) })
}

fn prefix(text: &str) -> Result<String, Wrong> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let bad = text.is_empty()
        || text.len() > LONGEST_PREFIX
        || !text.chars().all(sound)
        || text.starts_with('/')
        || text.ends_with('/')
        || text.contains("//");
    if bad {
        return Err(Wrong::new(
            "cannot begin a topic",
            format!("write at most {LONGEST_PREFIX} letters, digits, `-`, `_` and `.`, with `/` in between"),
        ));
    }
    Ok(text.to_owned())
}

/// Notes certificates and keys that cannot be used, now and not at the first connection.
fn check_tls(table: &Table<'_>, authority: Option<&[u8]>, identity: Option<&Identity>) {
    if authority.is_none() && identity.is_none() {
        return;
    }
    let own = identity.map(|(certificate, key)| (&certificate[..], key.expose().as_bytes()));
    let Err(error) = tls::config(authority, own) else { return };
    let key = match &error {
        tls::Unusable::Authority => "ca",
        tls::Unusable::Key => "key_file",
        // The authorities of this machine need not be those of the machine on which the daemon runs.
        tls::Unusable::Tls(_) if authority.is_none() => return,
        tls::Unusable::Tls(_) | tls::Unusable::Certificate => "certificate_file",
    };
    table.report().error(
        table.key_span(key),
        format!("what `{key}` names cannot be used: {error}"),
        "name files of PEM text, which begin with -----BEGIN",
    );
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_site_of_any_name_has_a_topic() {
        for (name, topic) in [
            ("Mill Creek 2", "mill-creek-2"),
            ("a/b+#c", "a-b-c"),
            ("  Zürich  ", "z-rich"),
            ("水力", "site"),
        ] {
            assert_eq!(plain(name), topic, "{name}");
        }
    }

    fn errors(more: &str) -> String {
        let text = format!(
            "[site]\nname = \"Mill\"\nmode = \"control\"\n[circuits.pcc]\nother_load = \"9 kW\"\n[limits.rating]\ncircuit = \
             \"pcc\"\nminers = \"2.5 kW\"\nclass = \"safety\"\n[groups.a]\ndriver = \"luxos\"\nmodel = \"s19k-pro\"\ncircuit = \
             \"pcc\"\naddresses = [\"127.0.0.9\"]\n{more}"
        );
        let files = [("broker.password", "hunter2-of-the-broker")];
        let options =
            crate::config::Options { secrets: Secrets::Read, files: &files, environment: &|_| None };
        let told = match crate::config::parse(&text, Path::new("site.toml"), &options) {
            Ok(config) => config.warnings.iter().map(|warning| format!("{warning:?}")).collect(),
            Err(errors) => errors.to_string(),
        };
        assert!(!told.contains("hunter2"), "{told}");
        told
    }

    const ORDERS: &str = "[signals.d]\nkind = \"mqtt\"\nfail_safe = \"1 kW\"\n";
    const ACCOUNT: &str = "credentials = { username = \"mill\", password_file = \"broker.password\" }\n";

    #[test]
    fn orders_come_from_a_broker_that_knows_us_over_a_way_that_nobody_reads() {
        let with =
            |broker: &str, more: &str| errors(&format!("{ORDERS}[mqtt]\nbroker = \"{broker}\"\n{more}"));
        assert!(errors(ORDERS).contains("there is no broker"));
        assert!(with("mqtt://127.0.0.1", "").contains("does not know who we are"));
        assert!(with("mqtts://b.example", "").contains("does not know who we are"));
        assert!(with("mqtt://b.example", ACCOUNT).contains("a connection that is not encrypted"));
        assert_eq!(with("mqtt://127.0.0.1", ACCOUNT), "");
        assert_eq!(with("mqtts://b.example", ACCOUNT), "");
        let second =
            format!("{}{ORDERS}[mqtt]\nbroker = \"mqtt://[::1]\"\n{ACCOUNT}", ORDERS.replace(".d]", ".e]"));
        assert!(errors(&second).contains("is the second source"));
        let silent = "[signals.d]\nkind = \"mqtt\"\n";
        assert!(errors(silent).contains("has no `fail_safe`"));
    }

    #[test]
    fn state_alone_may_go_anywhere_and_every_mistake_is_told() {
        let with = |more: &str| errors(&format!("[mqtt]\n{more}"));
        assert_eq!(with("broker = \"mqtt://b.example\""), "", "nothing of it is secret by itself");
        assert!(with("").contains("has no `broker`"));
        for (more, words) in [
            ("prefix = \"a/#\"", "cannot begin a topic"),
            ("prefix = \"/a\"", "cannot begin a topic"),
            ("client_id = \"a b\"", "cannot be used"),
            ("period = \"10ms\"", "period"),
            ("brokers = 1", "brokers"),
            ("ca = \"none.pem\"", "for TLS, and the broker is called in the clear"),
            ("credentials = { password = \"hunter2\" }", "does not belong into the configuration"),
        ] {
            let told = with(&format!("broker = \"mqtt://127.0.0.1\"\n{more}\n"));
            assert!(told.contains(words), "{more}: {told}");
        }
        let clear = format!("broker = \"mqtt://b.example\"\n{ACCOUNT}");
        assert!(with(&clear).contains("in the clear to another machine"));
        let half = "broker = \"mqtts://b.example\"\nkey_file = \"none.key\"";
        assert!(with(half).contains("belong together"));
    }

    #[test]
    fn a_broker_is_an_address_and_nothing_else() {
        let read = |text: &str| broker(text).ok().map(|it| (it.host, it.port, it.secure, it.here));
        let is = |host: &str, port, secure, here| Some((host.to_owned(), port, secure, here));
        assert_eq!(read("mqtt://127.0.0.1"), is("127.0.0.1", 1883, false, true));
        assert_eq!(read("mqtts://broker.example"), is("broker.example", 8883, true, false));
        assert_eq!(read("mqtt://[::1]:1884"), is("[::1]", 1884, false, true));
        for wrong in [
            "broker.example",
            "http://broker.example",
            "mqtt://user:secret@broker.example",
            "mqtt://broker.example/topic",
            "mqtt://broker.example?x=1",
            "mqtts://[::1]",
            "mqtt://",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
