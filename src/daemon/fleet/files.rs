//! How many files, and so how many connections, this process may have open.

use std::io::Read as _;

/// Where Linux says it (proc(5)).
const LIMITS: &str = "/proc/self/limits";
/// What a shell usually gives, taken where the system does not say.
const USUAL: usize = 1_024;
/// Files that are not the miners': meters, pages, database, log.
const OTHERS: usize = 256;

/// The limit in force. Cautious where it is not known.
pub(super) fn limit() -> usize {
    let mut text = String::new();
    let read = std::fs::File::open(LIMITS).and_then(|file| file.take(16 * 1024).read_to_string(&mut text));
    read.ok().and_then(|_| parse(&text)).unwrap_or(USUAL)
}

/// How many files a fleet can need: a connection to each miner, and as many again for those that are being replaced
/// while a reload or a fault replaces many at once.
pub(super) const fn needed(miners: usize) -> usize {
    miners.saturating_mul(2).saturating_add(OTHERS)
}

/// The soft limit of the line "Max open files".
fn parse(text: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(usize::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_counts() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             95941                95941                processes \n\
                    Max open files            1024                 1048576              files     \n";
        assert_eq!(parse(text), Some(1_024));
        assert_eq!(
            parse("Max open files            unlimited            unlimited            files\n"),
            Some(usize::MAX)
        );
        for text in ["", "Max open files", "Max open files   many"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(limit() > 0);
    }

    #[test]
    fn the_unit_gives_files_for_a_large_site() {
        let unit = include_str!("../../../systemd/ballast.service");
        let given =
            unit.lines().find_map(|line| line.strip_prefix("LimitNOFILE=")).and_then(|n| n.parse().ok());
        assert!(given >= Some(needed(30_000)), "{given:?}");
    }
}
