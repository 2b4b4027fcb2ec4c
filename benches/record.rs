//! What the record costs: bytes for a week and processor time for a cycle, at a cycle a second.
//!
//! `cargo bench --bench record -- [MINERS...]`. Each miner is polled every 2 to 10 s, with jitter, and reports a draw that
//! wanders by 1 %, in whole watts, and a hashrate that does; the meter has a new value each second. What is measured is what
//! the thread of the record does: no disk.

mod support {
    pub mod fleet;
    pub mod plant;
}

use std::sync::Arc;
use std::time::Duration;

use ballast::clock::Moment;
use ballast::control::snapshot::{Measured, MinerInput};
use ballast::control::{State, step};
use ballast::record::delta::Outcome;
use ballast::record::segment::{Encoder, Reason, header};
use ballast::record::settle;
use ballast::units::{Hashrate, Watts};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::time::{ClockId, clock_gettime};
use support::plant::{Plant, weather};

/// As many as are in one file.
const CYCLES: u32 = 7_200;

fn main() {
    let mut sizes: Vec<usize> = std::env::args().skip(1).filter_map(|size| size.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![100, 1_000];
    }
    for miners in sizes {
        measure(miners, "clouds all the time", weather);
        measure(miners, "a steady surplus", |_| 0.6);
    }
}

/// Processor time of this thread since it began.
fn busy() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn measure(miners: usize, what: &str, surplus: impl Fn(u32) -> f64) {
    let mut site = support::fleet::site(miners);
    let mut random = StdRng::seed_from_u64(7);
    for miner in &mut site.miners {
        miner.poll_period = Duration::from_secs(random.random_range(2..=10));
    }
    let site = Arc::new(site);
    let all = support::fleet::maximum(&site, None);
    let mut plant = Plant::new(site.clone(), 0.55);
    let mut state = State::new(site.clone());
    let mut shown: Vec<MinerInput> = Vec::new();
    let mut due: Vec<Moment> = Vec::new();
    let head = header(&site, [0; 32], 0, Reason::Start, 0);
    let (mut encoder, begin) = Encoder::begin(&head, &state);
    let (mut bytes, mut time, mut law, mut polls) = (0, Duration::ZERO, Duration::ZERO, 0_u64);
    for second in 0..CYCLES {
        let mut snapshot = plant.advance(surplus(second % 300) * all, 1e9);
        shown.resize(miners, MinerInput::PENDING);
        due.resize(miners, snapshot.now);
        for ((shown, due), (input, spec)) in
            shown.iter_mut().zip(&mut due).zip(snapshot.miners.iter_mut().zip(&site.miners))
        {
            if snapshot.now >= *due {
                let jitter = Duration::from_micros(random.random_range(3_000..25_000));
                *due = *due + spec.poll_period;
                if let Some(status) = &mut input.status {
                    let mut noise = || 1.0 + 0.01 * (random.random::<f64>() + random.random::<f64>() - 1.0);
                    status.at = snapshot.now.earlier(jitter);
                    if let Measured::Value(power) = status.value.power {
                        status.value.power =
                            Measured::Value(Watts::saturating((power.get() * noise()).round()));
                    }
                    if let Some(point) = spec.points.first() {
                        status.value.hashrate =
                            Measured::Value(Hashrate::saturating(point.hashrate.get() * noise()));
                    }
                }
                polls += 1;
                *shown = input.clone();
            } else {
                // The answer to a command comes at once, a reading with the next poll.
                input.status.clone_from(&shown.status);
            }
        }
        settle(&mut snapshot);
        let before = busy();
        let decision = step(&mut state, &snapshot);
        law += busy().saturating_sub(before);
        plant.obey(&decision);
        let before = busy();
        encoder.cycle(i64::from(second) * 1_000, &snapshot, &Outcome::of(&decision));
        if second % 10 == 9 {
            bytes += encoder.block().len();
        }
        time += busy().saturating_sub(before);
    }
    let before = busy();
    let copy = state.clone();
    let copied = busy().saturating_sub(before);
    let before = busy();
    let (_, kept) = Encoder::begin(&head, &copy);
    let packed = busy().saturating_sub(before);
    let week = |bytes: f64| bytes * 604_800.0 / f64::from(CYCLES) / 1e6;
    let size = |bytes: usize| f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
    let cycles = f64::from(CYCLES);
    println!(
        "{miners} miners, {what}, {:.1} polls a second: {:.0} bytes a cycle, {:.0} MB a week; with site and state in each file \
         ({:.0} kB, at the start {:.0} kB) {:.0} MB a week",
        f64::from(u32::try_from(polls).unwrap_or(u32::MAX)) / cycles,
        size(bytes) / cycles,
        week(size(bytes)),
        size(kept.len()) / 1e3,
        size(begin.len()) / 1e3,
        week(size(bytes) + size(kept.len())),
    );
    println!(
        "  {:.3} ms of processor time a cycle (the control law itself: {:.3} ms), {:.2} % of a core; in each file {:.2} ms to \
         copy the state in the loop and {:.1} ms to pack it",
        time.as_secs_f64() * 1e3 / cycles,
        law.as_secs_f64() * 1e3 / cycles,
        time.as_secs_f64() * 100.0 / cycles,
        copied.as_secs_f64() * 1e3,
        packed.as_secs_f64() * 1e3,
    );
}
