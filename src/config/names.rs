//! Names: what they may look like, and which one was probably meant.

/// Longest name of a circuit, limit, meter, link, model, group or miner.
pub(super) const LONGEST_NAME: usize = 64;

/// What is wrong with a name, if anything. Names become labels in metrics and words in logs.
pub(super) fn fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("is empty");
    }
    if name.len() > LONGEST_NAME {
        return Some("is longer than 64 characters");
    }
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    (!plain).then_some("may have letters, digits, `-`, `_` and `.` only")
}

/// The known name that is nearest to a misspelt one, if any is near.
pub(super) fn nearest<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // Comparing costs the product of the lengths: do not let a stray page of text make that large.
    if wrong.len() > 4 * LONGEST_NAME {
        return None;
    }
    let lower = wrong.to_lowercase();
    let tolerance = (wrong.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&lower, &name.to_lowercase()), name))
        .filter(|(distance, name)| {
            *distance <= tolerance || (lower.len() >= 4 && name.to_lowercase().starts_with(&lower))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// What to say about a name that is not known: the nearest one, else the first few that there are.
pub(super) fn suggest<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str> + Clone) -> String {
    if let Some(name) = nearest(wrong, known.clone()) {
        return format!("did you mean `{name}`?");
    }
    list(known)
}

/// The first few names, as words.
pub(super) fn list<'n>(known: impl IntoIterator<Item = &'n str>) -> String {
    const SHOWN: usize = 12;
    let mut names = known.into_iter();
    let first: Vec<String> = names.by_ref().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let rest = names.count();
    match (first.len(), rest) {
        (0, _) => String::from("none is defined"),
        (1, 0) => format!("the only one is {}", first.concat()),
        (_, 0) => format!("there are {}", first.join(", ")),
        _ => format!("there are {} and {rest} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_the_nearest() {
        assert_eq!(nearest("feedr", ["feeder", "pcc"]), Some("feeder"));
        assert_eq!(nearest("PCC", ["feeder", "pcc"]), Some("pcc"));
        assert_eq!(nearest("eastron", ["eastron-sdm630", "x"]), Some("eastron-sdm630"));
        assert_eq!(nearest("zebra", ["feeder", "pcc"]), None);
        assert_eq!(nearest(&"x".repeat(100_000), ["feeder"]), None);
    }

    #[test]
    fn a_name_that_cannot_be_a_label_is_told_why() {
        assert_eq!(fault("container-1.a_B"), None);
        assert!(fault("").is_some());
        assert!(fault("two words").is_some());
        assert!(fault(&"n".repeat(65)).is_some());
    }
}
