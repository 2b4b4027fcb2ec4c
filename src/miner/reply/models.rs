//! From a vendor's model name to the name that a configuration uses.

/// The model name in the form of `config/models/`: lower case, words joined by hyphens, without the maker's name and
/// without the variant of the hash boards (`M60S_VK40` and `WhatsMiner M60S` are both `m60s`). Empty when nothing is
/// left.
pub fn slug(model: &str) -> String {
    let mut text = model.trim().to_ascii_lowercase();
    if let Some((head, _)) = text.split_once(" (") {
        text = head.to_owned();
    }
    for maker in ["bitmain ", "antminer ", "whatsminer ", "microbt ", "canaan "] {
        if let Some(rest) = text.strip_prefix(maker) {
            text = rest.to_owned();
        }
    }
    // MicroBT writes the variant of the boards behind an underscore: _VK40.
    if let Some((head, tail)) = text.split_once('_')
        && tail.starts_with('v')
        && head.starts_with('m')
    {
        text = head.to_owned();
    }
    let text = text.replace("++", "-plus-plus").replace('+', "-plus");
    let mut slug = String::new();
    for character in text.chars() {
        if character.is_ascii_alphanumeric() {
            slug.push(character);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    // "S19XP" and "S19 XP" are one model, "Hyd." is short for "Hydro".
    let slug = match slug.strip_prefix("s19xp") {
        Some(rest) => format!("s19-xp{rest}"),
        None => slug.to_owned(),
    };
    let slug = match slug.strip_suffix("-hyd") {
        Some(head) => format!("{head}-hydro"),
        None => slug,
    };
    slug.chars().take(40).collect::<String>().trim_end_matches('-').to_owned()
}

/// Whether what a device says that it is can be the model of a configuration. Variants of the boards agree (`m60s` with
/// `M60S_VK40`), and what a device does not say contradicts nothing.
pub fn agrees(configured: &str, told: &str) -> bool {
    let bare = |text: &str| {
        let letters: String = slug(text).chars().filter(char::is_ascii_alphanumeric).collect();
        letters.trim_start_matches("avalonminer").trim_start_matches("avalon").to_owned()
    };
    let (ours, theirs) = (bare(configured), bare(told));
    ours.is_empty() || theirs.is_empty() || ours == theirs
}

/// What a model hashes, where that is not Bitcoin (SHA-256). Bitmain names its models by algorithm; of the other makers
/// listed here all models count. Source: the makers' product pages; pyasic `device/models.py`.
pub fn other_algorithm(model: &str) -> Option<&'static str> {
    let text = model.to_ascii_lowercase();
    let text = text.trim_start_matches("bitmain ").trim();
    if let Some(name) = text.strip_prefix("antminer ") {
        let letters = name.split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or_default();
        return match letters {
            "l" => Some("scrypt"),
            "d" => Some("X11"),
            "z" => Some("Equihash"),
            "e" => Some("Ethash"),
            "k" | "ka" => Some("Kadena"),
            "ks" => Some("kHeavyHash"),
            "hs" => Some("Handshake"),
            "x" => Some("RandomX"),
            "a" | "al" | "b" | "dr" => Some("Blake"),
            _ => None,
        };
    }
    let makers = [
        ("volcminer", "scrypt"),
        ("elphapex", "scrypt"),
        ("dg-home", "scrypt"),
        ("dg1", "scrypt"),
        ("dg2", "scrypt"),
        ("goldshell", "another algorithm"),
        ("jasminer", "Ethash"),
        ("ipollo", "another algorithm"),
        ("iceriver", "another algorithm"),
    ];
    makers.into_iter().find(|(maker, _)| text.starts_with(maker)).map(|(_, algorithm)| algorithm)
}

/// Whether a model hashes Bitcoin, as far as its name tells.
pub fn hashes_bitcoin(model: &str) -> bool {
    other_algorithm(model).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendors_names_become_the_names_of_the_models_that_come_with_the_program() {
        let cases = [
            ("M60S_VK40", "m60s"),
            ("M30S++_VG40", "m30s-plus-plus"),
            ("WhatsMiner M60S", "m60s"),
            ("Antminer S19k Pro", "s19k-pro"),
            ("Antminer S19 XP", "s19-xp"),
            ("Bitmain Antminer S19XP", "s19-xp"),
            ("AntMiner S19 Pro Hyd.", "s19-pro-hydro"),
            ("Antminer S19 Pro (88)", "s19-pro"),
            ("Avalon Q", "avalon-q"),
            ("AvalonMiner 15-194", "avalonminer-15-194"),
            ("../../etc", "etc"),
            ("", ""),
        ];
        for (model, expected) in cases {
            assert_eq!(slug(model), expected, "{model}");
        }
    }

    #[test]
    fn scrypt_miners_and_others_are_not_taken_for_bitcoin_miners() {
        for model in
            ["Antminer L7", "Bitmain Antminer L9", "Antminer KS5", "VolcMiner D1", "Elphapex DG1", "DG-Home1"]
        {
            assert!(!hashes_bitcoin(model), "{model}");
        }
        for model in
            ["", "Antminer S19 Pro", "Antminer T21", "Antminer R4", "M60S", "1246", "Avalon Q", "Proto Rig"]
        {
            assert!(hashes_bitcoin(model), "{model}");
        }
    }

    #[test]
    fn a_model_agrees_with_its_variants_and_with_no_other_model() {
        for (configured, told) in [
            ("m60s", "WhatsMiner M60S_VK40"),
            ("s19k-pro", "Antminer S19k Pro"),
            ("s19-xp", "Bitmain Antminer S19XP"),
            ("m60s", ""),
        ] {
            assert!(agrees(configured, told), "{configured}: {told}");
        }
        for (configured, told) in [("s21", "Antminer S19"), ("s19-pro", "Antminer S19"), ("m60s", "M60_VK40")]
        {
            assert!(!agrees(configured, told), "{configured}: {told}");
        }
    }
}
