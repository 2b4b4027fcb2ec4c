//! Accounts on miners. A password is never in the configuration itself: it comes from a file, from a credential
//! that systemd hands over, or from the environment.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::diagnostic::{At, Report};
use super::reader::{Table, Wrong, shorten, text_of};
use super::{Options, Secrets, devices};
use crate::line::is_line;
use crate::miner::DriverKind;
use crate::secret::Secret;

/// A kind of file that is for the service alone.
struct Sort {
    /// What it is called in messages.
    called: &'static str,
    /// What it holds.
    holds: &'static str,
    /// The largest that is read, in bytes.
    largest: u64,
}

const PASSWORD: Sort = Sort { called: "password file", holds: "the password", largest: 4_096 };
const KEY: Sort = Sort { called: "key file", holds: "the private key in PEM", largest: 64 * 1024 };

/// A `credentials` table.
#[derive(Clone)]
pub(super) struct CredentialKeys {
    pub(super) username: Option<At<String>>,
    /// `None` when it could not be read or was not to be read.
    pub(super) password: Option<Secret>,
}

/// The accounts of `[credentials.DRIVER]`: for the miners of a driver whose group and own table say nothing.
pub(super) type Accounts = BTreeMap<DriverKind, CredentialKeys>;

/// Where secrets come from.
pub(super) struct Store<'o> {
    /// The folder of the configuration; paths are relative to it.
    pub(super) folder: PathBuf,
    pub(super) options: &'o Options<'o>,
}

impl Store<'_> {
    /// Reads the table `credentials` of a group or miner, if there is one.
    pub(super) fn credentials(&self, table: &Table<'_>) -> Option<CredentialKeys> {
        table.table("credentials").map(|inner| self.account(inner))
    }

    /// Reads `[credentials.*]`, by driver.
    pub(super) fn accounts(&self, root: &Table<'_>) -> Accounts {
        let report = root.report();
        let mut accounts = Accounts::new();
        for (name, table) in root.named("credentials") {
            let keys = self.account(table);
            let known = || devices::built_in().into_iter().filter(|name| takes_account(name));
            let Some(kind) = DriverKind::from_name(name.value).filter(|kind| takes_account(kind.name()))
            else {
                let help = if devices::built_in().contains(&name.value) {
                    String::from("leave it out")
                } else {
                    report.suggest(name.value, known())
                };
                let message = if devices::built_in().contains(&name.value) {
                    format!("driver `{}` takes no password", name.value)
                } else {
                    format!("there is no driver `{}` that takes a password", shorten(name.value))
                };
                report.error(name.span, message, help);
                continue;
            };
            no_account_name(&keys, kind, report);
            accounts.insert(kind, keys);
        }
        accounts
    }

    /// Reads one account.
    fn account(&self, inner: Table<'_>) -> CredentialKeys {
        let report = inner.report();
        let username = inner.read("username", |value| {
            let name = text_of(value)?;
            if name.is_empty() || name.len() > 64 || !is_line(name) {
                return Err(Wrong::new("cannot be an account name", "write 1 to 64 characters"));
            }
            Ok(name.to_owned())
        });
        let sources =
            [inner.text("password_file"), inner.text("password_credential"), inner.text("password_env")];
        if inner.has("password") {
            // Asking for the key keeps `finish` from calling it unknown; its value was hidden before anything else.
            inner.read("password", |_| Ok(()));
            report.error(
                inner.key_span("password"),
                "a password does not belong into the configuration",
                "put it into a file of its own and write password_file = \"…\"; \
                 password_credential (systemd) and password_env are the other two ways",
            );
        }
        let given = ["password_file", "password_credential", "password_env"];
        let mut present = given.iter().filter(|key| inner.has(key));
        match (present.next(), present.next()) {
            (None, _) if !inner.has("password") => report.error(
                inner.span(),
                "these credentials have no password",
                "write one of password_file, password_credential or password_env",
            ),
            (Some(_), Some(second)) => report.error(
                inner.key_span(second),
                "the password is given twice",
                "keep one of password_file, password_credential and password_env",
            ),
            _ => {}
        }
        let [file, credential, variable] = sources;
        let password = match (self.options.secrets, file, credential, variable) {
            (Secrets::Skip, ..) => None,
            (_, Some(file), None, None) => self.file(file, report),
            (_, None, Some(name), None) => self.credential(name, report),
            (_, None, None, Some(name)) => self.variable(name, report),
            _ => None,
        };
        inner.finish();
        CredentialKeys { username, password }
    }

    /// Reads a table that names where one secret text is: `file`, `credential` or `env`. `None` when it could not be
    /// read or was not to be read.
    pub(super) fn text(&self, table: &Table<'_>) -> Option<Secret> {
        let report = table.report();
        let sources = [table.text("file"), table.text("credential"), table.text("env")];
        let given = ["file", "credential", "env"].iter().filter(|key| table.has(key)).count();
        if given != 1 {
            report.error(
                table.span(),
                format!("{} needs one source", table.title()),
                "write one of file, credential (systemd) or env: { file = \"outlet.key\" }",
            );
            return None;
        }
        match (self.options.secrets, sources) {
            (Secrets::Skip, _) => None,
            (_, [Some(file), None, None]) => self.file(file, report),
            (_, [None, Some(name), None]) => self.credential(name, report),
            (_, [None, None, Some(name)]) => self.variable(name, report),
            _ => None,
        }
    }

    /// What stands for a secret that is not to be read.
    pub(super) fn skipped(&self) -> Option<Secret> {
        (self.options.secrets == Secrets::Skip).then(|| Secret::new(String::new()))
    }

    /// Reads a file that holds one secret text. `None` when it could not be read or was not to be read.
    pub(super) fn secret_file(&self, name: At<&str>, report: &Report<'_>) -> Option<Secret> {
        if self.options.secrets == Secrets::Skip { None } else { self.file(name, report) }
    }

    fn file(&self, name: At<&str>, report: &Report<'_>) -> Option<Secret> {
        if let Some((_, text)) = self.options.files.iter().find(|(known, _)| *known == name.value) {
            return checked(text, "the embedded password", name, report);
        }
        password(&self.folder.join(name.value), name, report)
    }

    /// Reads the file of a private key (PEM). `None` when it could not be read or was not to be read.
    pub(super) fn private_key(&self, name: At<&str>, report: &Report<'_>) -> Option<Secret> {
        if self.options.secrets == Secrets::Skip {
            return None;
        }
        read_file(&self.folder.join(name.value), &KEY, name, report).map(Secret::new)
    }

    fn credential(&self, name: At<&str>, report: &Report<'_>) -> Option<Secret> {
        let shown = shorten(name.value);
        if name.value.is_empty() || name.value.contains('/') || name.value.starts_with('.') {
            report.error(
                name.span,
                format!("`{shown}` is no name of a credential"),
                "write the name alone, as in LoadCredential=NAME:/path of the service",
            );
            return None;
        }
        let Some(folder) = (self.options.environment)("CREDENTIALS_DIRECTORY") else {
            if self.options.secrets == Secrets::ByHand {
                report.warn(
                    name.span,
                    format!(
                        "the credential `{shown}` is not looked at: systemd gives it to the service alone"
                    ),
                    format!("see to it that the service has LoadCredential={shown}:/path/to/file"),
                );
                return Some(Secret::new(String::new()));
            }
            report.error(
                name.span,
                format!("there is no credential `{shown}`: CREDENTIALS_DIRECTORY is not set"),
                format!(
                    "add LoadCredential={shown}:/path/to/file to the service; outside of it, `ballast check --no-secrets` \
                     checks everything else"
                ),
            );
            return None;
        };
        password(&Path::new(&folder).join(name.value), name, report)
    }

    fn variable(&self, name: At<&str>, report: &Report<'_>) -> Option<Secret> {
        let shown = shorten(name.value);
        match (self.options.environment)(name.value) {
            Some(text) => checked(&text, &format!("the environment variable {shown}"), name, report),
            None => {
                report.error(
                    name.span,
                    format!("the environment variable {shown} is not set, or is no text"),
                    "set it for the service, or use password_file",
                );
                None
            }
        }
    }
}

/// Whether commands of this driver carry a password.
fn takes_account(driver: &str) -> bool {
    DriverKind::from_name(driver).is_some_and(DriverKind::needs_password)
}

/// Refuses a name where the vendor has none.
pub(super) fn no_account_name(given: &CredentialKeys, driver: DriverKind, report: &Report<'_>) {
    if let (Some(username), None) = (&given.username, driver.traits().username) {
        report.error(
            username.span,
            format!("driver `{}` has no account names", driver.name()),
            "leave `username` out; the password alone counts",
        );
    }
}

fn password(path: &Path, name: At<&str>, report: &Report<'_>) -> Option<Secret> {
    let text = read_file(path, &PASSWORD, name, report)?;
    checked(&text, &format!("the {} {}", PASSWORD.called, path.display()), name, report)
}

fn read_file(path: &Path, sort: &Sort, name: At<&str>, report: &Report<'_>) -> Option<String> {
    let (shown, Sort { called, holds, largest }) = (path.display(), sort);
    let fail = |message: String, help: &str| {
        report.error(name.span, message, help);
        None
    };
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            return fail(
                format!("cannot find the {called} {shown}: {error}"),
                "create it, readable for the service alone (chmod 600); paths are relative to the configuration",
            );
        }
    };
    // Opening a pipe would wait for its other end.
    if !metadata.is_file() {
        return fail(
            format!("{shown} is not a file"),
            &format!("name a file that holds {holds} and nothing else"),
        );
    }
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(largest + 1).read_to_string(&mut text));
    if let Err(error) = read {
        return fail(
            format!("cannot read the {called} {shown}: {error}"),
            "make it readable for the account that the service runs as",
        );
    }
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > *largest {
        return fail(
            format!("the {called} {shown} is larger than {largest} bytes"),
            &format!("name a file that holds {holds} and nothing else"),
        );
    }
    if readable_for_all(&metadata) {
        report.warn(
            name.span,
            format!("every account of this machine can read the {called} {shown}"),
            format!("chmod 600 {shown}"),
        );
    }
    Some(text)
}

#[cfg(unix)]
fn readable_for_all(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o004 != 0
}

#[cfg(not(unix))]
fn readable_for_all(_: &std::fs::Metadata) -> bool {
    false
}

/// A password without what editors add to it.
fn checked(text: &str, origin: &str, name: At<&str>, report: &Report<'_>) -> Option<Secret> {
    let text = crate::secret::bare(text);
    if text.is_empty() {
        report.error(name.span, format!("{origin} is empty"), "put the password into it");
        return None;
    }
    if text.chars().any(char::is_control) {
        report.error(
            name.span,
            format!("{origin} has more than one line, or control characters"),
            "it must hold the password and nothing else",
        );
        return None;
    }
    Some(Secret::new(text.to_owned()))
}
