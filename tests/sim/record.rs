//! What the simulator shows is recorded, and comes out of the record as it went in.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ballast::config;
use ballast::control::site::Site;
use ballast::control::snapshot::{Measured, Snapshot};
use ballast::control::{State, step};
use ballast::record::delta::Outcome;
use ballast::record::replay::{Cut, Window, cut, verify, what_if};
use ballast::record::segment::{Encoder, Reason, RecordError, Segment, header};
use ballast::record::settle;
use ballast::sim::Scenario;
use ballast::sim::replay::Replay;
use ballast::units::Hashrate;
use ballast::units::{Watts, WattsPerSecond};

/// 2026-11-29 04:43:52 UTC.
const BEGUN: i64 = 1_795_927_432_000;

/// A folder of its own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ballast-sim-record-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a controller beside that of the demo is told, cycle after cycle.
fn told(scenario: &str, cycles: u32) -> (Arc<Site>, Vec<Snapshot>) {
    let config = config::demo(config::DEMO_NETWORK).unwrap();
    let mut replay = Replay::new(&config, &Scenario::find(scenario).unwrap()).unwrap();
    let told = (0..cycles).map(|_| {
        replay.run(Duration::from_secs(1), |_, _| {});
        let mut snapshot = replay.snapshot();
        settle(&mut snapshot);
        snapshot
    });
    (config.site.clone(), told.collect())
}

fn wall(cycle: usize) -> i64 {
    BEGUN + 1_000 * i64::try_from(cycle).unwrap()
}

/// Writes segments of so many cycles. The site of the header may be another one than that which decides.
fn record(folder: &Path, site: &Arc<Site>, shown: &Site, told: &[Snapshot], each: usize) -> Vec<PathBuf> {
    let mut state = State::new(site.clone());
    let mut files = Vec::new();
    for (part, cycles) in told.chunks(each).enumerate() {
        let reason = if part == 0 { Reason::Start } else { Reason::Turn };
        let first = part * each;
        let (mut encoder, mut bytes) =
            Encoder::begin(&header(shown, [7; 32], wall(first), reason, 0), &state);
        for (number, snapshot) in cycles.iter().enumerate() {
            let decision = step(&mut state, snapshot);
            encoder.cycle(wall(first + number), snapshot, &Outcome::of(&decision));
            if number % 10 == 9 {
                bytes.extend_from_slice(&encoder.block());
            }
        }
        bytes.extend_from_slice(&encoder.block());
        let file = folder.join(format!("{part:03}.record"));
        fs::write(&file, bytes).unwrap();
        files.push(file);
    }
    files
}

/// As it is recorded: the hashrates apart, which are not kept to the last digit.
fn without_hashrates(mut snapshot: Snapshot) -> Snapshot {
    for status in snapshot.miners.iter_mut().filter_map(|miner| miner.status.as_mut()) {
        if let Measured::Value(_) = status.value.hashrate {
            status.value.hashrate = Measured::Value(Hashrate::ZERO);
        }
    }
    snapshot
}

#[test]
fn what_is_recorded_comes_back_to_the_last_bit_and_is_decided_again() {
    for scenario in ["cloudy-hour", "meter-faults", "miner-reboots", "miners-hang", "outage"] {
        let folder = Folder::new(scenario);
        let (site, told) = told(scenario, 300);
        let files = record(&folder.0, &site, &site, &told, 100);
        let mut back = Vec::new();
        for file in &files {
            let mut segment = Segment::open(file).unwrap();
            while let Some(cycle) = segment.next_cycle().unwrap() {
                back.push(cycle.snapshot);
            }
        }
        assert_eq!(back.len(), told.len(), "{scenario}");
        for (before, after) in told.iter().zip(back) {
            assert_eq!(without_hashrates(before.clone()), without_hashrates(after), "{scenario}");
        }
        let verdict = verify(&files, Window::default()).unwrap();
        assert!(verdict.same() && verdict.damaged.is_empty(), "{scenario}: {verdict:#?}");
        assert_eq!((verdict.cycles, verdict.segments), (300, 3));
        let window = Window { from: Some(wall(150)), to: Some(wall(249)) };
        let verdict = verify(&files, window).unwrap();
        assert!(verdict.same(), "{verdict:#?}");
        assert_eq!((verdict.cycles, verdict.segments), (100, 2));
    }
}

/// The first cycle, counted from 1, in which two sites decide otherwise.
fn first_difference(site: &Arc<Site>, other: &Arc<Site>, told: &[Snapshot]) -> usize {
    let (mut one, mut two) = (State::new(site.clone()), State::new(other.clone()));
    let differs = told.iter().position(|snapshot| {
        Outcome::of(&step(&mut one, snapshot)) != Outcome::of(&step(&mut two, snapshot))
    });
    differs.unwrap() + 1
}

#[test]
fn a_law_that_decides_otherwise_is_found_in_the_first_cycle_that_differs() {
    let folder = Folder::new("otherwise");
    let (site, told) = told("cloudy-hour", 200);
    let mut other = Site::clone(&site);
    other.settings.raise_rate = WattsPerSecond::whole(50);
    let expected = first_difference(&site, &Arc::new(other.clone()), &told);
    let files = record(&folder.0, &site, &other, &told, 1_000);
    let first = verify(&files, Window::default()).unwrap().first.unwrap();
    assert_eq!(first.cycle, u64::try_from(expected).unwrap(), "{first:#?}");
    assert!(!first.points.is_empty());
    assert!(expected > 1, "the first cycles are the same");
}

#[test]
fn another_configuration_is_compared() {
    let folder = Folder::new("other-configuration");
    let (site, told) = told("cloudy-hour", 200);
    let files = record(&folder.0, &site, &site, &told, 100);
    let same = what_if(&files, Window::default(), &site).unwrap();
    assert_eq!(same.cycles, 200);
    assert_eq!(
        (&same.first, &same.recorded),
        (&None, &same.other),
        "the same configuration decides the same"
    );
    assert!(same.only_recorded.is_empty() && same.only_other.is_empty());
    let mut other = Site::clone(&site);
    other.circuits[0].margin += Watts::kilowatts(20.0);
    other.miners[3].name = String::from("another");
    let other = what_if(&files, Window::default(), &Arc::new(other)).unwrap();
    assert!(other.first.is_some() && other.only_other.contains("miner another"), "{other:#?}");
    assert_eq!(other.only_recorded, [format!("miner {}", site.miners[3].name)].into());
    let mut foreign = Site::clone(&site);
    foreign.miners.iter_mut().for_each(|miner| miner.name.insert_str(0, "b-"));
    let refused = what_if(&files, Window::default(), &Arc::new(foreign));
    assert!(matches!(refused, Err(RecordError::OtherSite { .. })), "{refused:?}");
}

#[test]
fn a_torn_end_is_told_and_the_rest_is_used() {
    let folder = Folder::new("torn");
    let (site, told) = told("cloudy-hour", 60);
    let [file] = record(&folder.0, &site, &site, &told, 100).try_into().unwrap();
    let whole = fs::read(&file).unwrap();
    let mut lengths: Vec<usize> = (1..12).map(|part| whole.len() * part / 12).collect();
    lengths.extend([0, 5, 17, 20, whole.len() - 1]);
    for length in lengths {
        fs::write(&file, &whole[..length]).unwrap();
        let found = ballast::record::segment::find(&folder.0);
        assert_eq!(found.is_ok(), length > 0, "a file of no length is none");
        match verify(std::slice::from_ref(&file), Window::default()) {
            Ok(verdict) => {
                assert!(verdict.same(), "{length}: {verdict:?}");
                assert!(verdict.cycles < 60 && verdict.cycles % 10 == 0, "{length}: {verdict:?}");
                let told = verdict.damaged.join("\n");
                assert!(told.is_empty() || told.contains("as after a power cut"), "{told}");
            }
            Err(error) => assert!(length < whole.len() / 2, "{length}: {error}"),
        }
    }
    assert!(whole.len() > 1_000);
}

#[test]
fn a_damaged_or_foreign_file_is_an_error_with_its_place() {
    let folder = Folder::new("damaged");
    let (site, told) = told("cloudy-hour", 30);
    let [file] = record(&folder.0, &site, &site, &told, 100).try_into().unwrap();
    let whole = fs::read(&file).unwrap();
    for part in 1..60 {
        let mut damaged = whole.clone();
        let at = damaged.len() * part / 60;
        damaged[at] ^= 0x40;
        fs::write(&file, &damaged).unwrap();
        let told = match verify(std::slice::from_ref(&file), Window::default()) {
            Ok(verdict) => verdict.damaged.join("\n"),
            Err(error) => error.to_string(),
        };
        assert!(told.contains("000.record") && told.contains("byte"), "{at}: {told}");
    }
    fs::write(&file, "mode = \"control\"\n# a configuration, and long enough").unwrap();
    assert!(matches!(Segment::open(&file), Err(RecordError::Foreign(_))));
    fs::write(&file, "BALLAST RECORD 9\nwhatever comes then").unwrap();
    assert!(matches!(Segment::open(&file), Err(RecordError::Version(_))));
}

fn cut_out(files: &[PathBuf], anonymise: bool, to: &Path) -> Vec<PathBuf> {
    let window = Window { from: Some(wall(130)), to: Some(wall(229)) };
    cut(files, Cut { window, anonymise, decide_anew: false }, to).unwrap()
}

#[test]
fn a_piece_that_is_cut_out_is_decided_again_and_an_anonymous_one_names_nobody() {
    let folder = Folder::new("cut");
    let (site, told) = told("cloudy-hour", 300);
    let files = record(&folder.0, &site, &site, &told, 100);
    for anonymise in [false, true] {
        let pieces = cut_out(&files, anonymise, &folder.0.join(format!("{anonymise}")));
        let verdict = verify(&pieces, Window::default()).unwrap();
        assert!(verdict.same() && verdict.damaged.is_empty(), "{verdict:#?}");
        assert_eq!((verdict.cycles, verdict.segments), (100, 2));
        let shown = Segment::open(&pieces[0]).unwrap().header;
        let text = format!("{shown:?}");
        let names = site.miners.iter().map(|miner| &miner.name);
        let names = names.chain(site.meters.iter().map(|meter| &meter.name));
        let mut names = names.chain(site.circuits.iter().map(|circuit| &circuit.name)).chain([&site.name]);
        let quoted = |name: &String| text.contains(&format!("{name:?}"));
        assert_eq!(names.any(quoted), !anonymise, "{text}");
    }
    assert_eq!(cut_out(&files, true, &folder.0.join("again")).len(), 2);
    assert!(cut(&files, Cut::default(), Path::new("/dev/null/x")).is_err());
}

/// A version that has other fields than the one that kept it must not lose an incident.
#[test]
fn a_state_that_was_kept_with_fewer_or_other_fields_can_be_given_back() {
    let (site, told) = told("miner-reboots", 30);
    let mut state = State::new(site.clone());
    told.iter().for_each(|snapshot| drop(step(&mut state, snapshot)));
    let kept = rmp_serde::to_vec_named(&state).unwrap();
    let mut kept: serde_json::Value = rmp_serde::from_slice(&kept).unwrap();
    let field = |value: &mut serde_json::Value, gone: &str| {
        let fields = value.as_object_mut().unwrap();
        assert!(fields.remove(gone).is_some(), "{gone}");
        fields.insert("of_another_version".to_owned(), true.into());
    };
    for gone in ["taken", "slept_at", "gap"] {
        field(&mut kept, gone);
    }
    kept["tracks"].as_array_mut().unwrap().iter_mut().for_each(|track| field(track, "deaf_for"));
    kept["memories"].as_array_mut().unwrap().iter_mut().for_each(|memory| field(memory, "told"));
    let kept: State = rmp_serde::from_slice(&rmp_serde::to_vec_named(&kept).unwrap()).unwrap();
    let mut again = kept.restore(site.clone()).unwrap();
    assert_eq!(again.sequence(), state.sequence());
    let decision = step(&mut again, &told[29]);
    assert_eq!(decision.miners.len(), site.miners.len());
}

/// Records from the field and from the simulator. With `UPDATE_EXPECTED=1` what is decided now becomes what is expected;
/// where there is none, one is made.
#[test]
fn every_record_of_the_folder_is_decided_as_it_was() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/records");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        let made = Folder::new("made");
        let known = ballast::record::segment::find(&folder).unwrap_or_default();
        let again = !known.is_empty();
        let (files, window) = if again {
            (known, Window::default())
        } else {
            let (site, told) = told("miner-reboots", 240);
            let window = Window { from: Some(wall(60)), to: Some(wall(179)) };
            (record(&made.0, &site, &site, &told, 1_000), window)
        };
        let kept = made.0.join("kept");
        cut(&files, Cut { window, anonymise: !again, decide_anew: true }, &kept).unwrap();
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for file in ballast::record::segment::find(&kept).unwrap() {
            fs::copy(&file, folder.join(file.file_name().unwrap())).unwrap();
        }
    }
    let files = ballast::record::segment::find(&folder).unwrap();
    let verdict = verify(&files, Window::default()).unwrap();
    assert!(verdict.same() && verdict.damaged.is_empty(), "{verdict:#?}");
    assert!(verdict.cycles >= 120);
}
