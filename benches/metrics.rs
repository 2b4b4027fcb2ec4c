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

/// What one viewer of the events costs in a cycle in which one of a hundred miners has changed.
#[divan::bench(args = [100, 10_000], sample_count = 50, sample_size = 1)]
fn event(bencher: Bencher<'_, '_>, miners: usize) {
    let (exporter, _) = metrics_sample::running(miners);
    let mut viewer = ballast::web::Viewer::default();
    viewer.next(&exporter);
    let mut draw = 0;
    bencher
        .with_inputs(|| {
            draw = (draw + 500) % 3_000;
            metrics_sample::publish(&exporter, |_, decision| {
                for miner in decision.miners.iter_mut().step_by(100) {
                    miner.draw = ballast::units::Watts::whole(draw);
                }
            });
        })
        .bench_local_values(|()| viewer.next(&exporter).len());
}
