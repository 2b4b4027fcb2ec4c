//! `kind = "dsx-flex"`: a partner of the grid sets load targets over a broker; `kind = "dsx-flex-infra"`: a foreign agent hints who could
//! give something up.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Url;

use super::{Context, oldest_message};
use crate::config::mqtt::{Broker, Way, client_id, way};
use crate::config::quantity;
use crate::config::reader::{Table, Wrong, bounded, shorten, text_of};
use crate::config::urls;
use crate::control::signal::SourceSettings;
use crate::control::site::CircuitId;
use crate::line::is_line;
use crate::oauth::Credentials;
use crate::secret::Secret;
use crate::signal::Place;
use crate::signal::dsx::jws::{KeySet, LONGEST_KEY_NAME, Signer};
use crate::signal::dsx::keys::read_file;
use crate::signal::dsx::message::LONGEST_NAME;
use crate::signal::dsx::plan::Feeds;
use crate::signal::dsx::settings::{
    APPLIED_WITHIN, Account, BREACH_AFTER, BREACH_OVER, InfraSettings, KeysFrom, Link, OLDEST, SIGN_OF_LIFE,
    STATUS_EVERY, Settings,
};

/// Longest name of a partner or an agent, in bytes: it is a part of topics and of the name of our session.
const LONGEST_PARTY: usize = 48;
/// Longest name and scope of a client of OAuth, in bytes.
const LONGEST_CLIENT: usize = 4_096;

const SECRET_HELP: &str = "put the secret into a file of its own and write client_secret = { file = \"…\" }; credential (systemd) and \
                           env are the other two ways";

/// How the other side is called in the configuration, and what is expected of it.
struct Words {
    /// The key with its name.
    other: &'static str,
    /// What stands before our identity in the name of our session.
    session: &'static str,
    /// What to write where there is no name.
    name: &'static str,
    /// The keys with its key set: a file, and an address.
    keys: (&'static str, &'static str),
    /// Who must have registered us.
    among: &'static str,
}

const AGENT: Words = Words {
    other: "partner",
    session: "dsx-flex",
    name: "write the name of who sets the targets: partner = \"…\"",
    keys: ("partner_keys", "partner_keys_url"),
    among: "write our own name among the agents: identity = \"…\"",
};

const INFRA: Words = Words {
    other: "agent",
    session: "dsx-flex-infra",
    name: "write the name of the agent whose hints are carried out: agent = \"…\"",
    keys: ("agent_keys", "agent_keys_url"),
    among: "write our own name among those who carry hints out: identity = \"…\"",
};

/// Reads the keys of the role of the agent.
pub(super) fn read(
    table: &Table<'_>,
    context: &Context<'_, '_>,
    settings: &SourceSettings,
    place: Place,
) -> Option<Settings> {
    // Each is read, whatever is wrong with the others.
    let link = link(table, context, settings, &AGENT);
    let feeds = feeds(table, context, place);
    let seconds = Duration::from_secs;
    let status_every = table.time("status_every", seconds(5), seconds(3_600));
    let breach_over = table.share("breach_over", 0.2);
    let breach_after = table.time("breach_after", Duration::ZERO, seconds(600));
    if settings.lost_after < SIGN_OF_LIFE * 2 {
        table.report().error(
            table.key_span("lost_after"),
            format!(
                "`lost_after` is shorter than two signs of life of the broker, {} each",
                quantity::write_time(SIGN_OF_LIFE)
            ),
            "one that is late would be a lost signal; wait longer",
        );
    }
    Some(Settings {
        link: link?,
        feeds: feeds?,
        status_every: status_every.map_or(STATUS_EVERY, |at| at.value),
        breach_over: breach_over.map_or(BREACH_OVER, |at| at.value),
        breach_after: breach_after.map_or(BREACH_AFTER, |at| at.value),
    })
}

/// Reads the keys of the role of infra.
pub(super) fn read_infra(
    table: &Table<'_>,
    context: &Context<'_, '_>,
    settings: &SourceSettings,
    place: Place,
) -> Option<InfraSettings> {
    let link = link(table, context, settings, &INFRA);
    let resources = circuits(table, context, place, &RESOURCES);
    let seconds = Duration::from_secs;
    let applied_within = table.time("applied_within", seconds(5), seconds(600));
    if resources.as_ref().is_some_and(BTreeMap::is_empty) {
        table.report().error(
            table.span(),
            format!("{} has no `resources`", table.title()),
            "write which circuit each of the agent's resources is: resources = { node-17 = \"gpu-17\" }",
        );
        return None;
    }
    Some(InfraSettings {
        link: link?,
        resources: resources?,
        applied_within: applied_within.map_or(APPLIED_WITHIN, |at| at.value),
    })
}

/// Reads the way to the other side.
fn link(
    table: &Table<'_>,
    context: &Context<'_, '_>,
    settings: &SourceSettings,
    words: &Words,
) -> Option<Link> {
    let way = way(table, context.store);
    let (account, session) = (account(table, context), client_id(table));
    let identity = table.read("identity", party);
    let identity = table.require("identity", identity, words.among);
    let partner = table.read(words.other, party);
    let partner = table.require(words.other, partner, words.name);
    let (keys, signing) = (keys(table, context, words), signing(table, context));
    let oldest = oldest_message(table, OLDEST, settings.lost_after);
    let require_iat = table.boolean("require_iat").unwrap_or(false);
    let Way { broker, tls } = way?;
    let Broker { host, port, secure, here } = broker.value;
    let authenticated = ["credentials", "certificate_file", "oauth"].iter().any(|key| table.has(key));
    if !here && !secure {
        table.report().error(
            broker.span,
            format!("{} is told over a connection that is not encrypted", table.title()),
            "write broker = \"mqtts://…\"; in the clear a broker is called on this machine alone",
        );
    }
    if !here && !authenticated {
        table.report().error(
            broker.span,
            format!("{} calls a broker that does not know who we are", table.title()),
            "write certificate_file and key_file, or oauth = { … }, or credentials = { … }, as was agreed",
        );
    }
    let identity = identity?.value;
    let (signing_key, signing_key_id) = signing?;
    Some(Link {
        host,
        port,
        authority: tls.as_ref().and_then(|tls| tls.authority.clone()),
        tls,
        account: account?,
        client_id: session.map_or_else(|| format!("{}-{identity}", words.session), |at| at.value),
        identity,
        partner: partner?.value,
        keys: keys?,
        signing_key,
        signing_key_id,
        oldest,
        require_iat,
    })
}

/// A name as a part of a topic.
fn party(value: &toml::de::DeValue<'_>) -> Result<String, Wrong> {
    let text = text_of(value)?;
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty() || text.len() > LONGEST_PARTY || !text.bytes().all(sound) {
        return Err(Wrong::new(
            "cannot be a part of a topic",
            format!("write 1 to {LONGEST_PARTY} letters, digits, `-`, `_` and `.`, as it was registered"),
        ));
    }
    Ok(text.to_owned())
}

/// An address at which nobody else can answer or listen: HTTPS, or HTTP on this machine.
fn address(value: &toml::de::DeValue<'_>) -> Result<Url, Wrong> {
    let url = urls::http(text_of(value)?)?;
    if url.scheme() == "http" && !urls::is_here(&url) {
        return Err(Wrong::new("is not encrypted", "write https://…; plain HTTP is for this machine alone"));
    }
    Ok(url)
}

/// How the broker is told who we are; `None` where something is wrong with it.
fn account(table: &Table<'_>, context: &Context<'_, '_>) -> Option<Account> {
    let login = context.store.credentials(table);
    let oauth = table.table("oauth").map(|inner| {
        let account = token(&inner, context);
        inner.finish();
        account
    });
    match (login, oauth) {
        (Some(_), Some(_)) => {
            table.report().error(
                table.key_span("oauth"),
                "there is a password and a token for one broker",
                "keep credentials or oauth",
            );
            None
        }
        (Some(keys), None) => {
            let Some(name) = keys.username else {
                table.report().error(
                    table.key_span("credentials"),
                    "the account at the broker has no name",
                    "write credentials = { username = \"…\", password_file = \"…\" }",
                );
                return None;
            };
            Some(Account::Login(name.value, keys.password.or_else(|| context.store.skipped())?))
        }
        (None, Some(token)) => token.map(Account::Token),
        // What is wrong with either was noted.
        (None, None) if table.has("credentials") || table.has("oauth") => None,
        (None, None) => Some(Account::Certificate),
    }
}

fn token(inner: &Table<'_>, context: &Context<'_, '_>) -> Option<Credentials> {
    let url = inner.read("token_url", address);
    let url = inner.require("token_url", url, "write where tokens are given: token_url = \"https://…\"");
    let id = inner.read("client_id", |value| bounded(value, LONGEST_CLIENT));
    let id = inner.require("client_id", id, "write the name of the client, as it was registered");
    let scope = inner.read("scope", |value| bounded(value, LONGEST_CLIENT));
    let basic = inner.choice("token_auth", &[("body", false), ("basic", true)]);
    if inner.has("client_secret") && inner.table_named("client_secret").is_none() {
        // Whatever stands there, it is not shown. Asking for the key keeps it from being called unknown.
        inner.read_named("client_secret", |_| {
            Err::<(), _>(Wrong::new("does not belong into the configuration", SECRET_HELP))
        });
        inner.read("client_secret", |_| Ok(()));
        return None;
    }
    if !inner.has("client_secret") {
        inner.report().error(inner.span(), format!("{} has no `client_secret`", inner.title()), SECRET_HELP);
    }
    let secret = inner.table("client_secret").and_then(|table| {
        let secret = context.store.text(&table);
        table.finish();
        secret
    });
    Some(Credentials {
        token_url: url?.value,
        id: id?.value,
        secret: secret.or_else(|| context.store.skipped())?,
        scope: scope.map(|at| at.value),
        basic: basic.is_some_and(|at| at.value),
    })
}

/// Where the keys of the other side are.
fn keys(table: &Table<'_>, context: &Context<'_, '_>, words: &Words) -> Option<KeysFrom> {
    let (other, (of_file, of_url)) = (words.other, words.keys);
    let report = table.report();
    let file = table.text(of_file);
    let url = table.read(of_url, address);
    match (file, url) {
        (Some(_), Some(url)) => {
            report.error(
                url.span,
                format!("the keys of the {other} are given twice"),
                format!("keep {of_file} or {of_url}"),
            );
            None
        }
        (Some(file), None) => {
            let path = context.store.folder.join(file.value);
            let found = read_file(&path).map_err(|error| error.to_string());
            let found = found.and_then(|bytes| KeySet::read(&bytes).map_err(|error| error.to_string()));
            if let Err(what) = found {
                report.error(
                    file.span,
                    format!("the keys of the {other} in {} cannot be used: {what}", shorten(file.value)),
                    format!(
                        "name a file with the {other}'s JWKS, {{ \"keys\": [ … ] }}, relative to this file"
                    ),
                );
                return None;
            }
            Some(KeysFrom::File(path))
        }
        (None, Some(url)) => Some(KeysFrom::Url(url.value)),
        (None, None) => {
            if !table.has(of_file) && !table.has(of_url) {
                report.error(
                    table.span(),
                    format!("{} has no `{of_file}`", table.title()),
                    format!("write {of_file} = \"jwks.json\" or {of_url} = \"https://…\": only what is signed is obeyed"),
                );
            }
            None
        }
    }
}

/// Our own key and its name.
fn signing(table: &Table<'_>, context: &Context<'_, '_>) -> Option<(Secret, String)> {
    let id = table.read("signing_key_id", |value| bounded(value, LONGEST_KEY_NAME));
    let id = table.require("signing_key_id", id, "write under what `kid` others find our public key");
    let file = table.text("signing_key_file");
    let file = table.require(
        "signing_key_file",
        file,
        "write where our private key is: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` makes one",
    );
    let key = context.store.private_key(file?, table.report());
    if let (Some(key), Some(id)) = (&key, &id)
        && let Err(error) = Signer::new(key, &id.value)
    {
        table.report().error(
            table.key_span("signing_key_file"),
            format!("what `signing_key_file` names cannot be used: {error}"),
            "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` makes a key that can",
        );
        return None;
    }
    Some((key.or_else(|| context.store.skipped())?, id?.value))
}

/// A table of somebody else's names and our circuits.
struct Named {
    key: &'static str,
    /// What one of the names stands for.
    one: &'static str,
    /// What its name is called.
    other: &'static str,
    /// The same, in full.
    none: &'static str,
    /// Why a circuit elsewhere is none.
    below: &'static str,
    /// The most of them.
    most: usize,
}

const FEEDS: Named = Named {
    key: "feeds",
    one: "feed",
    other: "tag",
    none: "tag of a feed",
    below: "a partner may cap what hangs on `circuit` of their section, and nothing else",
    most: 64,
};

const RESOURCES: Named = Named {
    key: "resources",
    one: "resource",
    other: "name",
    none: "name of a resource",
    below: "an agent may cap what hangs on `circuit` of its section, and nothing else",
    most: 1_024,
};

/// `feeds = { TAG = "CIRCUIT", … }`; the whole site is one in any case.
fn feeds(table: &Table<'_>, context: &Context<'_, '_>, place: Place) -> Option<Feeds> {
    let mut tags = circuits(table, context, place, &FEEDS)?;
    if !tags.values().any(|known| *known == place.circuit) {
        let name = context.circuits.circuits.get(place.circuit.0).map(|circuit| circuit.name.clone())?;
        if tags.contains_key(&name) {
            table.report().error(
                table.key_span("feeds"),
                format!("the tag `{name}` is the name of the whole circuit, and stands for a part of it"),
                "give the whole a tag of its own in `feeds`",
            );
            return None;
        }
        tags.insert(name, place.circuit);
    }
    Some(Feeds { whole: place.circuit, tags })
}

/// `KEY = { NAME = "CIRCUIT", … }`: each circuit at or below that of the source, and under one name.
fn circuits(
    table: &Table<'_>,
    context: &Context<'_, '_>,
    place: Place,
    named: &Named,
) -> Option<BTreeMap<String, CircuitId>> {
    let report = table.report();
    let Named { key, one, other, none, below: why, most } = *named;
    let mut known: BTreeMap<String, CircuitId> = BTreeMap::new();
    let mut sound = true;
    let inner = table.table(key);
    for (name, span) in inner.iter().flat_map(Table::keys) {
        if name.is_empty() || name.len() > LONGEST_NAME || !is_line(name) {
            report.error(span, format!("`{}` is no {none}", shorten(name)), "");
            sound = false;
        }
        let circuit = inner.as_ref().and_then(|inner| inner.read_named(name, |value| text_of(value)));
        let circuit = circuit.and_then(|at| context.circuits.names.find(report, at)).map(CircuitId);
        let Some(circuit) = circuit else {
            sound = false;
            continue;
        };
        if !below(context, circuit, place.circuit) {
            report.error(
                span,
                format!("the {one} `{}` is not below the circuit of {}", shorten(name), table.title()),
                why,
            );
            sound = false;
        }
        if known.values().any(|taken| *taken == circuit) {
            report.error(
                span,
                format!("the circuit of the {one} `{}` has another {other} already", shorten(name)),
                "keep one of them",
            );
            sound = false;
        }
        known.insert(name.to_owned(), circuit);
    }
    if known.len() > most {
        report.error(
            table.key_span(key),
            format!("`{key}` is too long"),
            format!("the most is {most} {key}"),
        );
        sound = false;
    }
    sound.then_some(known)
}

/// Whether a circuit is at or below another one.
fn below(context: &Context<'_, '_>, circuit: CircuitId, above: CircuitId) -> bool {
    let circuits = &context.circuits.circuits;
    let parent = |id: &CircuitId| circuits.get(id.0).and_then(|circuit| circuit.parent);
    // A tree is no deeper than it has circuits.
    std::iter::successors(Some(circuit), parent).take(circuits.len()).any(|id| id == above)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Options, Secrets, parse};

    fn errors(section: &str) -> String {
        errors_of("dsx-flex", section)
    }

    fn errors_of(kind: &str, section: &str) -> String {
        let text = format!(
            "[site]\nname = \"Mill\"\nmode = \"control\"\n[circuits.pcc]\nother_load = \"9 kW\"\n[circuits.hall]\nparent = \"pcc\"\n\
             [limits.rating]\ncircuit = \"pcc\"\nminers = \"2.5 kW\"\nclass = \"safety\"\n[groups.a]\ndriver = \"luxos\"\nmodel = \
             \"s19k-pro\"\ncircuit = \"hall\"\naddresses = [\"127.0.0.9\"]\n[signals.grid]\nkind = \"{kind}\"\nfail_safe = \"1 kW\"\n{section}"
        );
        let options = Options { secrets: Secrets::Skip, ..Options::default() };
        match parse(&text, Path::new("site.toml"), &options) {
            Ok(_) => String::new(),
            Err(errors) => errors.to_string(),
        }
    }

    const SOUND: &str = "broker = \"mqtt://127.0.0.1\"\nidentity = \"mill\"\npartner = \"acme\"\npartner_keys_url = \
                         \"https://acme.example/jwks\"\nsigning_key_file = \"dsx.pem\"\nsigning_key_id = \"mill-1\"\n";

    #[test]
    fn every_mistake_is_told_with_what_to_do() {
        assert_eq!(errors(SOUND), "");
        assert_eq!(errors(&format!("{SOUND}feeds = {{ main-a = \"hall\", site = \"pcc\" }}\n")), "");
        let oauth = "oauth = { token_url = \"https://login.example/token\", client_id = \"mill\", client_secret = { file = \"s\" }, \
                     scope = \"mqtt\" }\n";
        let remote = SOUND.replace("mqtt://127.0.0.1", "mqtts://broker.example");
        assert_eq!(errors(&format!("{remote}{oauth}")), "");
        for (section, words) in [
            (SOUND.replace("partner = \"acme\"\n", ""), "has no `partner`"),
            (SOUND.replace("\"acme\"", "\"a/+\""), "cannot be a part of a topic"),
            (SOUND.replace("identity = \"mill\"\n", ""), "has no `identity`"),
            (SOUND.replace("https://acme", "http://acme"), "is not encrypted"),
            (SOUND.replace("partner_keys_url", "partner_key"), "has no `partner_keys`"),
            (SOUND.replace("signing_key_id = \"mill-1\"\n", ""), "has no `signing_key_id`"),
            (remote.clone(), "does not know who we are"),
            (remote.replace("mqtts:", "mqtt:"), "not encrypted"),
            (format!("{SOUND}feeds = {{ a = \"hal\" }}\n"), "there is no circuit `hal`"),
            (format!("{SOUND}circuit = \"hall\"\nfeeds = {{ a = \"pcc\" }}\n"), "is not below"),
            (format!("{SOUND}feeds = {{ a = \"hall\", b = \"hall\" }}\n"), "has another tag"),
            (format!("{SOUND}lost_after = \"10s\"\noldest_message = \"5s\"\n"), "two signs of life"),
            (format!("{SOUND}oldest_message = \"10min\"\n"), "taken for a sign of life"),
            (format!("{SOUND}require_iat = \"yes\"\n"), "`require_iat`"),
            (
                format!("{SOUND}oauth = {{ client_secret = \"hunter2\" }}\n"),
                "does not belong into the configuration",
            ),
            (format!("{SOUND}brokers = 1\n"), "unknown key `brokers`"),
        ] {
            let told = errors(&section);
            assert!(told.contains(words) && !told.contains("hunter2"), "{section}: {told}");
        }
    }

    #[test]
    fn the_role_of_infra_has_keys_of_its_own_and_every_mistake_is_told() {
        let sound = SOUND
            .replace("partner = \"acme\"", "agent = \"maxlps\"\nresources = { node-1 = \"hall\" }")
            .replace("partner_keys_url", "agent_keys_url");
        assert_eq!(errors_of("dsx-flex-infra", &sound), "");
        let resources = |table: &str| sound.replace("{ node-1 = \"hall\" }", table);
        for (section, words) in [
            (sound.replace("agent = \"maxlps\"\n", ""), "has no `agent`"),
            (sound.replace("agent_keys_url", "agent_key"), "has no `agent_keys`"),
            (sound.replace("resources", "resource"), "has no `resources`"),
            (resources("{ node-1 = \"hal\" }"), "there is no circuit `hal`"),
            (resources("{ a = \"hall\", b = \"hall\" }"), "has another name already"),
            (format!("{}circuit = \"hall\"\n", resources("{ a = \"pcc\" }")), "is not below"),
            (format!("{sound}feeds = {{ a = \"hall\" }}\n"), "unknown key `feeds`"),
            (format!("{sound}status_every = \"30s\"\n"), "unknown key `status_every`"),
            (format!("{sound}applied_within = \"1s\"\n"), "`applied_within`"),
        ] {
            let told = errors_of("dsx-flex-infra", &section);
            assert!(told.contains(words), "{section}: {told}");
        }
        let told = errors(&format!("{SOUND}resources = {{ a = \"hall\" }}\n"));
        assert!(told.contains("unknown key `resources`"), "{told}");
    }
}
