//! For whom a request may say that it is meant.
//!
//! A page of somebody else that a person on the site looks at can have its own name point at this machine (DNS rebinding), and its
//! browser then lets it read what is served here. Such a request bears that page's name in its `Host` (RFC 9110, 7.2), and is
//! refused. An address cannot be made to point elsewhere, and a client without a `Host` is no browser.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use axum::http::{Request, header};

/// The names by which the daemon may be called, besides `localhost` and addresses.
#[derive(Debug, Default)]
pub struct Hosts(Mutex<Vec<String>>);

impl Hosts {
    /// With the names of a configuration.
    pub fn new(names: &[String]) -> Self {
        Self(Mutex::new(names.to_vec()))
    }

    /// Takes other names.
    pub fn set(&self, names: &[String]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = names.to_vec();
    }

    /// Whether a request is meant for this daemon: the name that is not known otherwise.
    ///
    /// # Errors
    /// What it says instead, as it stands there.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), String> {
        let told =
            request.headers().get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or("\u{fffd}"));
        // A request in the absolute form is for whom it says there, whatever its `Host` is (RFC 9112, 3.2.2).
        let told = told.chain(request.uri().authority().map(|authority| authority.as_str()));
        for host in told {
            let name = name(host);
            let known = is_ours(name) || {
                let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                names.iter().any(|known| known.eq_ignore_ascii_case(name))
            };
            if !known {
                return Err(host.to_owned());
            }
        }
        Ok(())
    }
}

/// A host without its port and without the dot that ends a full name.
fn name(host: &str) -> &str {
    let host = host.trim();
    let port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let bare = match host.rsplit_once(':') {
        // The colons of an address in brackets are its own.
        Some((before, after)) if port(after) && (!before.contains(':') || before.ends_with(']')) => before,
        _ => host,
    };
    bare.strip_suffix('.').unwrap_or(bare)
}

fn is_ours(name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let lower = name.to_ascii_lowercase();
    // Names below `localhost` never leave the machine (RFC 6761, 6.3).
    lower == "localhost" || lower.ends_with(".localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hosts: &Hosts, host: &str) -> Result<(), String> {
        hosts.check(&Request::builder().uri("/metrics").header(header::HOST, host).body(()).unwrap())
    }

    #[test]
    fn a_name_that_is_not_ours_is_refused_and_an_address_is_not() {
        let hosts = Hosts::new(&["mill.example".into()]);
        let good = [
            "localhost",
            "LOCALHOST:9842",
            "localhost.",
            "a.localhost:1",
            "127.0.0.1:9842",
            "[::1]:9842",
            "[::1]",
            "10.0.0.5",
            "mill.example",
            "Mill.Example:9842",
            "mill.example.:80",
        ];
        for host in good {
            assert_eq!(check(&hosts, host), Ok(()), "{host}");
        }
        let bad = [
            "evil.example",
            "evil.example:9842",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1.evil.example",
            "evil.example:9842:1",
            "user@localhost",
            "",
            ":9842",
            "localhost evil",
            "0x7f.1",
            "2130706433",
        ];
        for host in bad {
            assert_eq!(check(&hosts, host), Err(host.to_owned()), "{host}");
        }
        hosts.set(&[]);
        assert!(check(&hosts, "mill.example").is_err());
    }

    #[test]
    fn every_host_that_a_request_names_must_be_known() {
        let hosts = Hosts::default();
        let bare = Request::builder().uri("/metrics").body(()).unwrap();
        assert_eq!(hosts.check(&bare), Ok(()));
        let two = Request::builder().uri("/").header("host", "localhost").header("host", "evil.example");
        assert!(hosts.check(&two.body(()).unwrap()).is_err());
        let absolute = Request::builder().uri("http://evil.example/metrics").header("host", "localhost");
        assert!(hosts.check(&absolute.body(()).unwrap()).is_err());
        let absolute = Request::builder().uri("http://127.0.0.1:9842/metrics").header("host", "localhost");
        assert_eq!(hosts.check(&absolute.body(()).unwrap()), Ok(()));
    }
}
