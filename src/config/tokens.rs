//! The tables `[web.tokens.*]`: who may order over HTTP, and what.

use super::diagnostic::{At, Span};
use super::names;
use super::reader::{Table, Wrong, is_a, shorten, text_of};
use super::secrets::Store;
use crate::signal::{Kind, Spec};
use crate::token::{Hash, Scopes, Token};

/// The shortest token, in bytes: what nobody can guess by trying.
const SHORTEST: usize = 20;
/// The longest, in bytes.
const LONGEST: usize = 512;
/// More than any site has.
const MOST_TOKENS: usize = 64;

/// Reads `[web.tokens.*]`. `sources` are those of the same file, where they are read.
pub(super) fn tokens(web: &Table<'_>, store: &Store<'_>, sources: Option<&[Spec]>) -> Vec<Token> {
    let report = web.report();
    let mut tokens: Vec<Token> = Vec::new();
    for (name, table) in web.named("tokens") {
        if let Some(read) = token(name, &table, store, sources) {
            let hash = read.hash();
            let same = tokens.iter().find(|other| hash.is_some() && other.hash() == hash);
            if let Some(other) = same {
                report.error(
                    name.span,
                    format!("the tokens `{}` and `{}` are the same text", other.name, read.name),
                    "give each its own: the answer to \"who was it?\" is in the token",
                );
            }
            tokens.push(read);
        }
        table.finish();
    }
    if tokens.len() > MOST_TOKENS {
        report.error(
            web.key_span("tokens"),
            format!("there are {} tokens; the most is {MOST_TOKENS}", tokens.len()),
            "one for each source and each person is enough",
        );
    }
    // Whoever names the file of the tokens that `ballast token` makes has them there.
    if let Some(sources) = sources.filter(|_| !web.has("tokens_file")) {
        for spec in sources.iter().filter(|spec| spec.kind == Kind::Http) {
            let name = &spec.settings.name;
            if !tokens.iter().any(|token| token.source.as_ref() == Some(name)) {
                report.warn(
                    web.key_span("tokens"),
                    format!(
                        "nobody can give the orders of [signals.{name}] with a token of this file: none has it as its \
                         `source`"
                    ),
                    format!(
                        "add [web.tokens.{name}] with token = {{ file = \"{name}.token\" }}, scopes = [\"limits\"] \
                         and source = \"{name}\"; or make one with `ballast token create {name} --scope limits \
                         --source {name}` and write tokens_file in [web]"
                    ),
                );
            }
        }
    }
    tokens
}

fn token(name: At<&str>, table: &Table<'_>, store: &Store<'_>, sources: Option<&[Spec]>) -> Option<Token> {
    let report = table.report();
    let hash = table.read("hash", |value| {
        text_of(value)?.parse::<Hash>().map_err(|error| {
            Wrong::new(
                format!("cannot be used: {error}"),
                "`printf %s TOKEN | sha256sum` prints it, or let `ballast token create` keep it elsewhere",
            )
        })
    });
    let inner = table.table("token");
    if hash.is_some() && inner.is_some() {
        report.error(table.key_span("hash"), "the token is given twice", "keep one of `token` and `hash`");
    }
    let inner = match table.has("hash") {
        true => inner,
        false => table.require(
            "token",
            inner,
            "name where it is: token = { file = \"NAME.token\" }; `head -c 24 /dev/urandom | base64` makes a good one; or \
             give its hash = \"sha256:…\"",
        ),
    };
    let secret = inner.and_then(|inner| {
        let secret = store.text(&inner);
        inner.finish();
        secret
    });
    if let Some(secret) = &secret {
        let text = secret.expose();
        let sound = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !(SHORTEST..=LONGEST).contains(&text.len()) || !sound {
            report.error(
                table.key_span("token"),
                format!("the token `{}` cannot be used", shorten(name.value)),
                format!(
                    "it must be {SHORTEST} to {LONGEST} letters, digits and signs without a space; \
                     `head -c 24 /dev/urandom | base64` makes a good one"
                ),
            );
        }
    }
    let given = scopes(table);
    let source = table.text("source");
    let (scopes, at) = given?;
    if scopes.limits && scopes.operator {
        report.error(
            at,
            "a token cannot have both `limits` and `operator`",
            "make two: the one orders for a source, the other for the operator",
        );
    }
    match source {
        Some(source) if !scopes.limits => report.error(
            source.span,
            "`source` says for whom the scope `limits` orders, and this token does not have it",
            "add \"limits\" to `scopes`, or leave `source` away",
        ),
        None if scopes.limits && !table.has("source") => report.error(
            table.span(),
            format!("{} has no `source`", table.title()),
            "write for which [signals.NAME] with kind = \"http\" it orders, like source = \"aggregator\"",
        ),
        Some(source) => known(source, table, sources),
        None => {}
    }
    Some(Token {
        name: name.value.into(),
        secret,
        hash: hash.map(|at| at.value),
        scopes,
        expires: None,
        source: source.map(|source| source.value.to_owned()),
    })
}

/// The scopes, and where they stand.
fn scopes(table: &Table<'_>) -> Option<(Scopes, Span)> {
    let report = table.report();
    let list = table.list("scopes");
    let help = "write what it may do, like scopes = [\"limits\"]; there are `limits`, `read` and `operator`";
    let list = table.require("scopes", list, help)?;
    let mut scopes = Scopes::default();
    if list.value.is_empty() {
        report.error(list.span, "`scopes` is empty: this token may do nothing", help);
    }
    for (span, value) in &list.value {
        match text_of(value) {
            Ok("limits") => scopes.limits = true,
            Ok("read") => scopes.read = true,
            Ok("operator") => scopes.operator = true,
            Ok(other) => report.error(
                *span,
                format!("`scopes` cannot have \"{}\"", shorten(other)),
                names::suggest(other, Scopes::NAMES),
            ),
            Err(_) => report.error(*span, format!("a scope {}", is_a(value)), "write a text in quotes"),
        }
    }
    Some((scopes, list.span))
}

/// Notes a source that is not there, or does not hear over HTTP.
fn known(source: At<&str>, table: &Table<'_>, sources: Option<&[Spec]>) {
    let (Some(sources), report) = (sources, table.report()) else { return };
    let shown = shorten(source.value);
    match sources.iter().find(|spec| spec.settings.name == source.value) {
        Some(spec) if spec.kind == Kind::Http => {}
        Some(spec) => report.error(
            source.span,
            format!("the source `{shown}` does not order over HTTP: its kind is `{}`", spec.kind.name()),
            "name one with kind = \"http\"; for the operator, give the scope `operator` and no `source`",
        ),
        None => {
            let http = sources.iter().filter(|spec| spec.kind == Kind::Http);
            report.error(
                source.span,
                format!("there is no source `{shown}`"),
                report.suggest(source.value, http.map(|spec| spec.settings.name.as_str())),
            );
        }
    }
}
