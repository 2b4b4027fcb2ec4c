//! The keys of a source that say against what its orders are settled.

use crate::config::reader::Table;
use crate::energy::baseline::Baseline;
use crate::units::Watts;

#[derive(Clone, Copy)]
enum Word {
    MeterBefore,
    TenInTen,
    SameDay,
    Firm,
}

const WORDS: [(&str, Word); 4] = [
    ("meter-before", Word::MeterBefore),
    ("10-in-10", Word::TenInTen),
    ("same-day-3+2", Word::SameDay),
    ("firm", Word::Firm),
];

/// Reads `baseline` and `firm_level`.
pub(super) fn baseline(table: &Table<'_>) -> Baseline {
    let word = table.choice("baseline", &WORDS);
    let level = table.load("firm_level");
    if let (Some(at), None, false) = (&word, level, table.has("firm_level"))
        && matches!(at.value, Word::Firm)
    {
        table.report().error(
            at.span,
            "a firm baseline has no level",
            "write the level that is agreed, like firm_level = \"5 MW\"",
        );
    }
    if let (Some(level), false) = (level, word.is_some_and(|at| matches!(at.value, Word::Firm))) {
        table.report().error(
            level.span,
            "`firm_level` belongs to baseline = \"firm\"",
            "leave it out, or write baseline = \"firm\"",
        );
    }
    match word.map(|at| at.value) {
        None | Some(Word::MeterBefore) => Baseline::MeterBefore,
        Some(Word::TenInTen) => Baseline::TenInTen,
        Some(Word::SameDay) => Baseline::SameDay,
        Some(Word::Firm) => Baseline::Firm(level.map_or(Watts::ZERO, |at| at.value)),
    }
}
