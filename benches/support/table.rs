//! Percentiles of times, as a table.

use std::time::Duration;

/// The head of the table.
pub fn head() {
    println!("{:<46}{:>6}{:>9}{:>9}{:>9}{:>9}", "", "cycles", "p50", "p90", "p99", "max");
}

/// One row; nothing without any times.
pub fn row(name: &str, times: &[Duration]) {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    if sorted.is_empty() {
        println!("{name:<46}{:>6}", 0);
        return;
    }
    println!("{name:<46}{:>6}{:>9.3}{:>9.3}{:>9.3}{:>9.3}", sorted.len(), at(50), at(90), at(99), at(100));
}
