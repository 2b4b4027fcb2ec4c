//! A hall of a megawatt whose training swings by a fifth, all servers in step, beside a megawatt of miners under a surplus that does
//! not move: whatever is commanded is because of the swing.

use ballast::config::Config;
use ballast::sim::replay::Steps;

use super::{HEAD, Seen, YARD, group, miners, order, replay, run, scenario, site};

const WARM_UP: f64 = 120.0;
const COUNTED: f64 = 180.0;
/// How far the swing rises above its mean, in watts.
const ENVELOPE: f64 = 200e3;

/// The site, and its jobs at a frequency.
fn swings(frequency: &str) -> (Config, String) {
    // A mean of 1 MW at 1.2 MW at the most.
    let server = "class = \"throttle\"\nmaximum = \"30 kW\"\nnameplate = \"31 kW\"\nramp_down = \"50 kW/s\"\nramp_up = \"50 kW/s\"\n";
    let miner = "minimum = \"4.2 kW\"\nmaximum = \"6.7 kW\"\nnameplate = \"7 kW\"\nefficiency = \"18 J/TH\"\nstart_time = \"30s\"\n";
    let hall = group("racks", "zeusd", "hall", (4, 40), server);
    let yard = group("hydro", "whatsminer-v3", "yard", (1, 150), miner);
    let head = HEAD.replace("50 kW", "600 kW") + &YARD.replace("50 kW", "300 kW");
    let job = format!(
        "[[job]]\nname = \"racks-*\"\ntraining = {{ swing = \"20 %\", frequency = \"{frequency}\", in_step = true }}\n"
    );
    (site(&(head + &hall + &yard)), job)
}

/// What came of it at a frequency: commands for each miner and minute, and the highest import in watts.
fn came(frequency: &str) -> (f64, f64) {
    let (config, job) = swings(frequency);
    let mut replay = replay(&config, &scenario(1_800.0, &job), Steps::Fine, 0.0);
    run(&mut replay, WARM_UP, &mut Seen::default());
    let mut seen = Seen::default();
    run(&mut replay, COUNTED, &mut seen);
    let (count, is_miner) = miners(&config);
    let commands = seen.commands.iter().filter(|(_, member)| is_miner(*member)).count();
    let commands = f64::from(u32::try_from(commands).unwrap()) / count / (COUNTED / 60.0);
    let import = seen.import(WARM_UP);
    let mean = seen.mean(WARM_UP, WARM_UP + COUNTED);
    println!(
        "±20 % at {frequency}: {commands:.2} commands for each miner and minute, import at most {:.1} kW and {:.2} kW on the mean, \
         {:.0} kW drawn of 1800 on the mean (1600 is all that leaves room for the highest)",
        import / 1e3,
        seen.imported(WARM_UP) / 1e3,
        mean / 1e3
    );
    (commands, import)
}

#[track_caller]
fn is_not_chased(frequency: &str) {
    let (commands, import) = came(frequency);
    assert!(commands <= 2.0, "{commands:.2} commands for each miner and minute at {frequency}");
    // Half of the swing is what the hall itself draws above its mean; miners that follow it down and not up again, or up and not down,
    // would make it more.
    assert!(import <= ENVELOPE, "{import:.0} W are imported at {frequency}");
}

#[test]
fn miners_do_not_chase_a_swing_of_one_hertz() {
    is_not_chased("1 Hz");
}

#[test]
fn nor_one_of_a_fifth_of_that() {
    is_not_chased("0.2 Hz");
}

#[test]
fn nor_one_that_no_period_of_the_meters_fits() {
    is_not_chased("0.37 Hz");
}

#[test]
fn nor_one_of_three_hertz() {
    is_not_chased("3 Hz");
}

/// Where what servers say always comes at the same moment of their swing, or at one that moves slowly, and where the samples of two meters are
/// far from each other's.
#[test]
fn nor_one_that_beats_with_the_time_between_two_readings() {
    for frequency in ["0.25 Hz", "0.35 Hz", "0.48 Hz", "0.5 Hz", "0.52 Hz", "0.6 Hz", "0.7 Hz", "1.5 Hz"] {
        is_not_chased(frequency);
    }
}

/// What was seen of the swing before the loss says nothing of now.
#[test]
fn a_lost_meter_of_the_hall_keeps_nobody_down() {
    let (config, job) = swings("0.37 Hz");
    let lost = "[[event]]\nat = \"150s\"\nmeter = { name = \"hall\", fault = \"silent\" }\n";
    let more = job + lost + &order(120.0, 120.0, 1.3e6, false);
    let mut replay = replay(&config, &scenario(1_800.0, &more), Steps::Fine, 0.0);
    let mut seen = Seen::default();
    run(&mut replay, 360.0, &mut seen);
    let (capped, after) = (seen.mean(200.0, 240.0), seen.mean(320.0, 360.0));
    println!("{capped:.0} W under the cap, {after:.0} W after it");
    assert!(capped < 1.35e6, "{capped:.0} W are drawn under a cap of 1.3 MW");
    // Without the meter the swing is other load that comes and goes: less than the 1.6 MW of before.
    assert!(after > 1.4e6, "{after:.0} W are drawn a minute after the cap has ended");
}
