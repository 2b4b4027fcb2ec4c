//! Addresses of the web, wherever a section has one.

use std::io::{self, Read as _};
use std::path::Path;

use reqwest::Url;

use super::diagnostic::{At, Report};
use super::reader::{Wrong, shorten};
use crate::endpoint;

/// More than any file of certificates has, in bytes.
const LARGEST: u64 = 1 << 20;

/// Reads an address of http or https that has no account in it.
pub(super) fn http(text: &str) -> Result<Url, Wrong> {
    let url = Url::parse(text).map_err(|error| {
        Wrong::new(format!("is no URL: {error}"), "write it in full, like url = \"https://host/path\"")
    })?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(Wrong::new(
            "is not of http or https",
            "write it in full, like url = \"https://host/path\"",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Wrong::new(
            "has an account in it",
            "give a bearer token instead: token = { file = \"…\" }",
        ));
    }
    Ok(url)
}

/// Whether it leads to this machine, so that what is sent in the clear meets nobody on its way.
pub(super) fn is_here(url: &Url) -> bool {
    url.host_str().is_some_and(|host| endpoint::is_here(host.trim_matches(['[', ']'])))
}

/// Reads a file of certificates (PEM), of authorities or our own.
pub(super) fn certificates(folder: &Path, name: At<&str>, report: &Report<'_>) -> Option<Vec<u8>> {
    let what = match read(&folder.join(name.value)) {
        Err(error) => error.to_string(),
        Ok(pem) => match reqwest::Certificate::from_pem_bundle(&pem) {
            Ok(found) if !found.is_empty() => return Some(pem),
            _ => "it holds no certificate in PEM".into(),
        },
    };
    report.error(
        name.span,
        format!("the certificates in {} cannot be used: {what}", shorten(name.value)),
        "name a file of certificates in PEM that the service can read, relative to this file",
    );
    None
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its other end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut pem = Vec::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut pem)?;
    if u64::try_from(pem.len()).unwrap_or(u64::MAX) > LARGEST {
        return Err(io::Error::other(format!("it is larger than {LARGEST} bytes")));
    }
    Ok(pem)
}
