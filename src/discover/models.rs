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
}
