//! SunSpec meters on a link: asked what their registers mean, and read by that.

use std::time::Duration;

use super::device::{Act, Device, PERIOD, meter, watts};
use crate::stalls::Stalls;
use ballast::clock::Moment;
use ballast::control::measure::Measure;
use ballast::control::snapshot::MeterStatus;
use ballast::meter::Connection;
use ballast::meter::profile::Profile;
use ballast::meter::sunspec::{Kind, Wanted};
use tokio::time::sleep;

const HOLDING: u8 = 3;

/// A meter of which nothing is known but the unit id.
fn asked(unit: u8, wanted: Wanted) -> Connection {
    let profile = Profile { name: "SunSpec".into(), sunspec: Some(wanted), ..Profile::default() };
    Connection { profile, ..meter(unit, &[]) }
}

/// Puts the mark, the names, an inverter 103 and a meter 203 into the holding registers of unit 1.
fn install(device: &Device, base: u16, maker: u16, watts: i16) {
    let mut words = vec![0x5375, 0x6E53, 1, 66, maker];
    words.resize(70, 0);
    let mut inverter = vec![0xFFFF_u16; 52];
    inverter[0..2].copy_from_slice(&[103, 50]);
    inverter[14..16].copy_from_slice(&[5_000, 0]);
    let mut model = vec![0x8000_u16; 107];
    model[0..2].copy_from_slice(&[203, 105]);
    // Hertz with a factor of 0.01; watts with a factor of 10.
    model[16..18].copy_from_slice(&[5_002, 0xFFFE]);
    model[18] = watts.cast_unsigned();
    model[22] = 1;
    words.extend(inverter);
    words.extend(model);
    words.extend([0xFFFF, 0]);
    for (address, word) in (base..).zip(words) {
        device.set_at(1, HOLDING, address, word);
    }
}

#[tokio::test]
async fn a_device_says_itself_what_its_registers_mean_and_the_others_are_read_meanwhile() {
    let device = Device::start().await;
    install(&device, 40_000, 0x4163, 123);
    device.set(2, 10, 800);
    device.script(|_, right| Act::Late(Duration::from_millis(12), right));
    let stalls = Stalls::watch();
    let mut reader = device.read(vec![asked(1, Wanted::default()), meter(2, &[10])]);
    let input = reader.until(0, MeterStatus::Ok).await;
    assert_eq!(watts(&input), Some(1_230.0));
    let asked = device.asked();
    let first =
        asked.iter().take_while(|asked| asked.address != 40_140).filter(|asked| asked.unit == 1).count();
    assert_eq!(first, 6, "the mark, two requests for the names, two models, the end");
    let other: Vec<Moment> = asked.iter().filter(|asked| asked.unit == 2).map(|asked| asked.at).collect();
    for pair in other.windows(2) {
        assert!(pair[1] - pair[0] < PERIOD + Duration::from_millis(50) + stalls.most(), "{other:?}");
    }
    let input = reader.until_it(0, |input| input.others.get(Measure::Frequency).is_some()).await;
    assert_eq!(input.others.get(Measure::Frequency).map(|reading| reading.value), Some(50.02));
    assert_eq!(reader.reads(0, "unavailable"), 0, "pending until then");
}

#[tokio::test]
async fn the_kind_that_is_preferred_is_read_and_a_kind_that_is_not_there_is_told() {
    let device = Device::start().await;
    install(&device, 50_000, 0x4163, 123);
    let prefer = |kind| Wanted { prefer: Some(kind), base: Some(50_000) };
    let mut reader = device.read(vec![asked(1, prefer(Kind::Inverter)), asked(1, prefer(Kind::Resource))]);
    assert_eq!(watts(&reader.until(0, MeterStatus::Ok).await), Some(-5_000.0), "generation");
    reader.until(1, MeterStatus::Unavailable).await;
    assert!(device.asked().iter().all(|asked| asked.address >= 50_000), "the base was given");
}

#[tokio::test]
async fn a_device_that_is_none_is_unavailable_and_asked_again_only_later() {
    let device = Device::start().await;
    device.set(1, 10, 700);
    let mut reader = device.read(vec![asked(1, Wanted::default()), meter(1, &[10])]);
    reader.until(0, MeterStatus::Unavailable).await;
    sleep(Duration::from_millis(800)).await;
    let questions = device.asked().iter().filter(|asked| asked.function == HOLDING).count();
    assert_eq!((questions, reader.reads(0, "unavailable")), (3, 1));
    assert!(reader.reads(1, "ok") >= 6);
}

#[tokio::test]
async fn a_device_that_is_silent_at_an_address_that_it_does_not_have_is_found_at_another() {
    let device = Device::start().await;
    install(&device, 0, 0x4163, 5);
    device.script(|asked, right| if asked.address >= 40_000 { Act::Silence } else { Act::Send(right) });
    let mut reader = device.read(vec![asked(1, Wanted::default())]);
    assert_eq!(watts(&reader.until(0, MeterStatus::Ok).await), Some(50.0));
}

#[tokio::test]
async fn a_device_whose_registers_have_moved_is_asked_anew() {
    let device = Device::start().await;
    install(&device, 40_000, 0x4163, 123);
    let mut reader = device.read(vec![asked(1, Wanted::default())]);
    reader.until(0, MeterStatus::Ok).await;
    // New firmware: everything is at 0, and nothing at 40000 any more.
    install(&device, 0, 0x4163, 7);
    device.script(
        |asked, right| {
            if asked.address >= 40_000 { Act::Send(asked.exception(2)) } else { Act::Send(right) }
        },
    );
    reader.until(0, MeterStatus::Exception(2)).await;
    let input = reader.until(0, MeterStatus::Ok).await;
    assert_eq!(watts(&input), Some(70.0));
    assert_eq!(device.connections(), 1);
}

#[tokio::test]
async fn after_an_exception_a_new_connection_is_a_reason_to_ask_who_it_is() {
    let device = Device::start().await;
    install(&device, 40_000, 0x4163, 123);
    let mut reader = device.read(vec![asked(1, Wanted::default())]);
    reader.until(0, MeterStatus::Ok).await;
    let mut reads_of_power = 0;
    device.script(move |asked, right| {
        reads_of_power += usize::from(asked.address == 40_140);
        match reads_of_power {
            1 if asked.address == 40_140 => Act::Send(asked.exception(2)),
            2 if asked.address == 40_140 => Act::Reset,
            _ => Act::Send(right),
        }
    });
    reader.until(0, MeterStatus::Exception(2)).await;
    reader.until(0, MeterStatus::Ok).await;
    let marks = device.asked().iter().filter(|asked| asked.address == 40_000).count();
    assert_eq!(marks, 2, "once at the start and once after the reset");
    assert_eq!(device.connections(), 2);
}
