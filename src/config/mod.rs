//! The configuration: TOML in, a checked [`Config`] out, every mistake with its place in the file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::control::site::Site;
use crate::{meter, miner};

/// What becomes of the miners when the daemon stops in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitPolicy {
    /// Leave them as they are.
    Hold,
    /// Put all to sleep: nobody watches the surplus any more.
    Sleep,
    /// Give each the highest power target that its model has, as before Ballast came.
    Restore,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it came from.
    pub path: PathBuf,
    /// What the control law knows.
    pub site: Arc<Site>,
    /// Physical links to meters.
    pub links: Vec<meter::Link>,
    /// How each of the site's meters is read, in the order of [`Site::meters`].
    pub meters: Vec<meter::Connection>,
    /// How each of the site's miners is reached, in the order of [`Site::miners`].
    pub miners: Vec<miner::Connection>,
    /// Where metrics and health are served.
    pub listen: SocketAddr,
    /// What to do at the end.
    pub exit: ExitPolicy,
}
