//! Whether this machine has an address.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Addresses that are for documentation alone (RFC 5737, RFC 3849), which no machine has: one is tried beside the real one.
const NOBODYS: ([IpAddr; 2], [IpAddr; 2]) = (
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 254)), IpAddr::V4(Ipv4Addr::new(198, 51, 100, 254))],
    [
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfffe)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0xfffe)),
    ],
);

/// Why nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum HoldsError {
    /// The system lets any address be bound.
    #[error(
        "it cannot be seen whether this machine has {0}: any address can be bound here; set net.ipv4.ip_nonlocal_bind and \
         net.ipv6.ip_nonlocal_bind to 0, nothing is raised until then"
    )]
    Anything(IpAddr),
    /// The system says something else.
    #[error("it cannot be seen whether this machine has {0}: {1}; nothing is raised until then")]
    Failed(IpAddr, io::Error),
}

/// Whether this machine has an address now, by whether a socket can be bound to it. No packet leaves. It needs no rights, and
/// works in the unit's sandbox, where most of /proc is not.
///
/// # Errors
/// That says nothing here.
pub fn holds(address: IpAddr) -> Result<bool, HoldsError> {
    let known = binds(address).map_err(|error| HoldsError::Failed(address, error))?;
    let all = if address.is_ipv4() { NOBODYS.0 } else { NOBODYS.1 };
    let other = all.into_iter().find(|other| *other != address);
    // An error of the second one says that not everything can be bound.
    if known && other.is_some_and(|other| binds(other).unwrap_or(false)) {
        return Err(HoldsError::Anything(address));
    }
    Ok(known)
}

fn binds(address: IpAddr) -> io::Result<bool> {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_this_machine_is_told_from_one_that_is_not() {
        let [one, other] = NOBODYS.0;
        // Where any address can be bound nothing can be seen, and that is said.
        if binds(other).unwrap() {
            assert!(matches!(holds([127, 0, 0, 1].into()), Err(HoldsError::Anything(_))));
            return;
        }
        assert!(holds([127, 0, 0, 1].into()).unwrap());
        assert!(!holds(one).unwrap() && !holds([192, 0, 2, 77].into()).unwrap());
    }
}
