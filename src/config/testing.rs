//! A small site for the tests of what stands above the configuration.

use std::path::Path;

use super::{Config, Options, Secrets, parse};
use crate::control::site::Site;

/// Miners `m0`, `m1` … below a metered root that may not import.
///
/// # Panics
/// The text below is no site any more, or has room for fewer miners.
pub fn site(miners: usize) -> Site {
    let text = "
[site]
name = \"Test\"
mode = \"control\"
[circuits.pcc]
meter = \"pcc\"
margin = \"1 kW\"
fail_safe = \"0 W\"
[limits.follow]
circuit = \"pcc\"
import = \"0 W\"
class = \"surplus\"
[links.board]
tcp = \"127.0.0.1:5020\"
[meters.pcc]
link = \"board\"
unit = 1
profile = \"eastron-sdm630\"
[groups.all]
driver = \"luxos\"
model = \"s19k-pro\"
circuit = \"pcc\"
addresses = [\"127.0.1.1-127.0.1.200\"]
";
    let config = parse(text, Path::new("site.toml"), &Options::default()).unwrap();
    let mut site = Site::clone(&config.site);
    assert!(site.miners.len() >= miners);
    site.miners.truncate(miners);
    for (number, miner) in site.miners.iter_mut().enumerate() {
        miner.name = format!("m{number}");
    }
    site
}

/// A site with one server, and this more of it.
///
/// # Errors
/// What is wrong with it, in words.
pub fn server(driver: &str, address: &str, more: &str) -> Result<Config, String> {
    let text = format!(
        "[site]\nname = \"s\"\nmode = \"observe\"\n[circuits.pcc]\n[limits.cap]\ncircuit = \"pcc\"\nminers = \"2 kW\"\n[miners.gpu-1]\ndriver = \"{driver}\"\ncircuit = \"pcc\"\naddress = \"{address}\"\n\
         minimum = \"1 kW\"\nmaximum = \"2 kW\"\nnameplate = \"2.2 kW\"\n{more}\n"
    );
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    parse(&text, Path::new("site.toml"), &options).map_err(|errors| errors.to_string())
}
