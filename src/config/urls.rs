//! Addresses of the web, wherever a section has one.

use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;

use reqwest::Url;

use super::diagnostic::{At, Report};
use super::reader::{Wrong, shorten};

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
    url.host_str().is_some_and(|host| {
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    })
}

/// Reads a file with certificates of an authority.
pub(super) fn authority(folder: &Path, name: At<&str>, report: &Report<'_>) -> Option<Vec<u8>> {
    let path = folder.join(name.value);
    let mut pem = Vec::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(LARGEST).read_to_end(&mut pem));
    let what = match read {
        Err(error) => error.to_string(),
        Ok(_) => match reqwest::Certificate::from_pem_bundle(&pem) {
            Ok(found) if !found.is_empty() => return Some(pem),
            _ => "it holds no certificate in PEM".into(),
        },
    };
    report.error(
        name.span,
        format!("the certificates in {} cannot be used: {what}", shorten(name.value)),
        "name a file with the authority's certificate in PEM, relative to this file",
    );
    None
}
