//! Who a simulated miner says it is. All serial numbers, addresses and salts come from its seed.

use crate::miner::Connection;

use super::noise::Noise;
use super::{Face, make};

/// The letters of salts and tokens: those of crypt(3).
const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What is engraved, burnt or configured.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// The vendor's model name.
    pub(super) model: &'static str,
    /// In colon notation, upper case, from the locally administered range.
    pub(super) mac: String,
    pub(super) serial: String,
    /// The miner's own salt.
    pub(super) salt: String,
    /// Address that it shows for itself.
    pub(super) ip: String,
    pub(super) boards: u32,
    pub(super) chips: u32,
    /// Ends its answers with a NUL, as some firmware does.
    pub(super) ends_with_nul: bool,
    /// Runs the older of the firmware versions that differ, or is the lesser of the models that differ; one miner in
    /// four.
    pub(super) older: bool,
    noise: Noise,
}

/// Places in the noise; apart from those of the physics.
mod channel {
    pub(super) const MAC: u64 = 100;
    pub(super) const SERIAL: u64 = 101;
    pub(super) const SALT: u64 = 102;
    pub(super) const NUL: u64 = 103;
    pub(super) const FRESH: u64 = 104;
    pub(super) const AGE: u64 = 105;
}

/// Text of crypt(3) letters and digits only, which every salt may use.
fn text(noise: Noise, channel: u64, index: u64, length: usize) -> String {
    (0_u64..)
        .filter_map(|place| {
            let bits = noise.bits(channel ^ (index << 8), place);
            let letter = usize::try_from(bits % 62).ok()?;
            // The first two letters are punctuation; salts go without.
            LETTERS.get(letter + 2).map(|byte| char::from(*byte))
        })
        .take(length)
        .collect()
}

/// What a maker calls a model that comes with the program, and its chips on a board.
fn known(model: &str) -> Option<(&'static str, u32)> {
    Some(match model {
        "m30s-plus-plus" => ("M30S++_VG40", 111),
        "m60s" => ("M60S_VK40", 225),
        "s19-pro-hydro" => ("Antminer S19 Pro Hydro", 180),
        "s19-xp" => ("Antminer S19 XP", 110),
        "s19k-pro" => ("Antminer S19k Pro", 77),
        _ => return None,
    })
}

impl Identity {
    /// Makes it the model that the configuration names, where that is one that comes with the program.
    pub(super) fn be(&mut self, model: &str) {
        (self.model, self.chips) = known(model).unwrap_or((self.model, self.chips));
    }

    pub(super) fn new(connection: &Connection, seed: u64) -> Self {
        let noise = Noise::new(seed);
        let big = connection.rated.get() > 3_300.0;
        let [large, small] = make(connection.driver).faces;
        let Face { model, chips } = if big { large } else { small };
        let octet = |place: u64| noise.bits(channel::MAC, place) & 0xff;
        Self {
            model,
            mac: format!("02:B1:{:02X}:{:02X}:{:02X}:{:02X}", octet(0), octet(1), octet(2), octet(3)),
            serial: format!("SIM{}", text(noise, channel::SERIAL, 0, 14).to_uppercase()),
            salt: text(noise, channel::SALT, 0, 8),
            ip: connection.endpoint.host.clone(),
            boards: 3,
            chips,
            ends_with_nul: noise.bits(channel::NUL, 0) & 1 == 1,
            older: noise.bits(channel::AGE, 0) & 3 == 0,
            noise,
        }
    }

    /// Text that no one has seen before, for the `index`th salt or token.
    pub(super) fn fresh(&self, index: u64, length: usize) -> String {
        text(self.noise, channel::FRESH, index, length)
    }

    /// Bytes that are nothing, for the `index`th garbled answer.
    pub(super) fn garbage(&self, index: u64) -> Vec<u8> {
        match index % 3 {
            0 => (0..40)
                .map(|place| {
                    u8::try_from(self.noise.bits(channel::FRESH, place ^ index) & 0xff).unwrap_or_default()
                })
                .collect(),
            1 => b"{\"STATUS\":[{\"STATUS\":\"S\",\"When\":17".to_vec(),
            _ => b"<html><body>502 Bad Gateway</body></html>".to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::builtin;
    use crate::miner::reply::models;

    #[test]
    fn a_miner_says_to_be_the_model_that_it_is() {
        for name in builtin::model_names() {
            let (told, _) = known(name).unwrap_or_else(|| panic!("{name} is not known here"));
            assert!(models::agrees(name, told), "{name}: {told}");
        }
    }
}
