//! The section `[web]`: where pages and orders are served, under which names, and who may order.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::reader::{Table, Wrong, is_a, shorten, text_of};
use super::secrets::Store;
use super::tokens;
use crate::signal::Spec;
use crate::token::{Token, kept};

/// Where metrics and health are served unless the configuration says otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9842);
/// The longest path of a socket, in bytes (unix(7): 108 with the zero at its end).
const LONGEST_SOCKET: usize = 107;
/// More names than any computer has.
const MOST_HOSTS: usize = 32;
/// The longest name of a host (RFC 1035, 2.3.4).
const LONGEST_HOST: usize = 253;

/// How the daemon is reached, and who may order.
#[derive(Clone, Debug, PartialEq)]
pub struct Web {
    /// Where metrics, health and orders are served.
    pub listen: SocketAddr,
    /// The socket of this machine at which the same is served; `None` where the file names none: then the service takes the
    /// folder that systemd made for it, if any.
    pub socket: Option<PathBuf>,
    /// The names by which it may be called, besides `localhost` and addresses.
    pub hosts: Vec<String>,
    /// Who may order over HTTP.
    pub tokens: Vec<Token>,
    /// The file of the tokens that `ballast token` makes; `None` where the file names none and there is no database beside which
    /// it could stand.
    pub tokens_file: Option<PathBuf>,
}

impl Web {
    /// Where tokens stand that `ballast token` makes: beside the database unless the file says otherwise.
    pub fn keep_tokens_beside(&mut self, database: Option<&Path>) {
        let beside = database.and_then(Path::parent).map(|folder| folder.join(kept::FILE));
        self.tokens_file = self.tokens_file.take().or(beside);
    }
}

/// Reads `[web]`. `sources` are those of the same file, where they are read. Paths are relative to `folder`.
pub(super) fn web(root: &Table<'_>, store: &Store<'_>, sources: Option<&[Spec]>, folder: &Path) -> Web {
    let mut web = Web {
        listen: DEFAULT_LISTEN,
        socket: None,
        hosts: Vec::new(),
        tokens: Vec::new(),
        tokens_file: None,
    };
    let Some(table) = root.table("web") else {
        return web;
    };
    let listen = table.read("listen", |value| {
        let text = text_of(value)?;
        text.parse::<SocketAddr>().map_err(|_| {
            Wrong::new(
                format!("is no address to listen at: \"{}\"", shorten(text)),
                "write an IP address and a port, like \"127.0.0.1:9842\" or \"[::1]:9842\"",
            )
        })
    });
    let socket = table.read("socket", |value| usable(text_of(value)?, folder));
    web.socket = socket.map(|at| at.value);
    web.hosts = hosts(&table);
    let file = table.read("tokens_file", |value| {
        let text = text_of(value)?.trim();
        if text.is_empty() || text.ends_with('/') || text.chars().any(char::is_control) {
            return Err(Wrong::new(
                "names no file",
                "name one in a folder of the service, like tokens_file = \"/var/lib/ballast/tokens.json\"",
            ));
        }
        Ok(folder.join(text))
    });
    web.tokens_file = file.map(|at| at.value);
    web.tokens = tokens::tokens(&table, store, sources);
    if let Some(at) = &listen
        && !at.value.ip().is_loopback()
    {
        table.report().warn(
            at.span,
            "metrics are served to other machines without a password",
            "listen at 127.0.0.1 with a reverse proxy in front, or see to it that only trusted machines reach the port",
        );
        if table.has("tokens") {
            table.report().warn(
                at.span,
                "orders and their tokens are taken from other machines without encryption",
                "listen at 127.0.0.1 with a reverse proxy in front that speaks HTTPS: whoever reads a token on its \
                 way can order with it",
            );
        }
    }
    table.finish();
    web.listen = listen.map_or(DEFAULT_LISTEN, |at| at.value);
    web
}

fn usable(text: &str, folder: &Path) -> Result<PathBuf, Wrong> {
    let path = folder.join(text.trim());
    if text.trim().is_empty() || text.ends_with('/') || text.chars().any(char::is_control) {
        return Err(Wrong::new(
            "names no file",
            "name a socket that the service may make, like socket = \"/run/ballast/ballast.sock\"",
        ));
    }
    let length = path.as_os_str().len();
    if length > LONGEST_SOCKET {
        return Err(Wrong::new(
            format!("has {length} bytes with its folder"),
            format!("the path of a socket has {LONGEST_SOCKET} at the most: take a shorter one"),
        ));
    }
    Ok(path)
}

fn hosts(table: &Table<'_>) -> Vec<String> {
    let report = table.report();
    let mut hosts = Vec::new();
    for (span, value) in table.list("hosts").iter().flat_map(|at| &at.value) {
        match text_of(value) {
            Ok(name) if is_name(name) => hosts.push(name.to_owned()),
            Ok(name) => report.error(
                *span,
                format!("`hosts` has \"{}\", which is no name of a computer", shorten(name)),
                "write it as in the address of the page, without http:// and port, like \"mill.example\"",
            ),
            Err(_) => report.error(*span, format!("a host {}", is_a(value)), "write a text in quotes"),
        }
    }
    if hosts.len() > MOST_HOSTS {
        report.error(
            table.key_span("hosts"),
            format!("`hosts` has {} names", hosts.len()),
            format!("the most is {MOST_HOSTS}; addresses need not stand there"),
        );
    }
    hosts
}

fn is_name(name: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !name.is_empty()
        && name.len() <= LONGEST_HOST
        && name.bytes().all(sound)
        && !name.starts_with('.')
        && !name.ends_with('.')
}
