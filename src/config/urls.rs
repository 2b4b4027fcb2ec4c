//! Addresses of the web, wherever a section has one.

use std::net::IpAddr;

use reqwest::Url;

use super::reader::Wrong;

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
