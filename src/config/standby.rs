//! The section `[standby]`: the other machine of a pair, and the address that says which of them leads.

use std::net::IpAddr;

use super::reader::{Table, Wrong, text_of};
use super::secrets::Store;
use super::urls;
use crate::config::ExitPolicy;
use crate::standby::Settings;

/// Reads `[standby]`; `None` where there is none.
pub(super) fn standby(root: &Table<'_>, store: &Store<'_>, exit: ExitPolicy) -> Option<Settings> {
    let table = root.table("standby")?;
    let report = table.report();
    let address = table.read("address", |value| address(text_of(value)?));
    let address = table.require(
        "address",
        address,
        "write the address that VRRP moves between the two machines, like address = \"10.20.0.9\"",
    );
    let peer = table.read("peer", |value| urls::http(text_of(value)?));
    let peer = table.require(
        "peer",
        peer,
        "write where the other machine serves its pages, like peer = \"http://10.20.0.12:9842\"",
    );
    let ca = table.text("ca").and_then(|at| urls::certificates(&store.folder, at, report));
    let token = table.table("token").and_then(|inner| {
        let token = store.text(&inner);
        inner.finish();
        token
    });
    if exit != ExitPolicy::Hold {
        report.error(
            table.span(),
            "a daemon that moves the miners when it ends would do so under the other one's hands",
            "write on_exit = \"hold\" in [control]: the other machine takes over",
        );
    }
    table.finish();
    let (address, peer) = (address?, peer?);
    if peer.value.host_str().is_some_and(|host| {
        host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|peer| peer == address.value)
    }) {
        report.error(
            peer.span,
            "the address that moves is this machine's own as often as the other one's",
            "write the address of the other machine that stays with it",
        );
        return None;
    }
    Some(Settings { address: address.value, peer: peer.value, ca, token })
}

fn address(text: &str) -> Result<IpAddr, Wrong> {
    let wrong = |what: &str| Wrong::new(what.to_owned(), "write an address like \"10.20.0.9\"");
    let address: IpAddr = text.parse().map_err(|_| wrong("is no IP address"))?;
    if address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST)
    {
        return Err(wrong("is an address that every machine has"));
    }
    Ok(address)
}
