//! What a scrape costs.

#[expect(dead_code, clippy::unwrap_used, reason = "a bench ends by a panic, and tests use the rest")]
#[path = "../tests/shared/metrics_sample.rs"]
mod metrics_sample;

use divan::Bencher;

fn main() {
    divan::main();
}

/// A whole scrape: metrics collected, sorted and written.
#[divan::bench(args = [100, 1_000, 10_000], sample_count = 20, sample_size = 1)]
fn render(bencher: Bencher<'_, '_>, miners: usize) {
    let (exporter, _) = metrics_sample::running(miners);
    bencher.bench(|| exporter.render().map(|text| text.len()));
}

/// What a cycle pays for being seen.
#[divan::bench(args = [100, 10_000])]
fn publish(bencher: Bencher<'_, '_>, miners: usize) {
    let (exporter, _) = metrics_sample::running(miners);
    let frame = exporter.frame();
    bencher.bench(|| {
        if let Some(frame) = &frame {
            exporter.publish(frame.snapshot.clone(), frame.decision.clone());
        }
    });
}
