use super::plant::{Manner, Plant};
use crate::control::testing::site;
#[test]
fn zz_ignore() {
    let mut plant = Plant::new(site(20), 0.9, |at| if at < 30.0 { -130e3 } else { -60e3 });
    for index in 0..5 {
        plant.miners[index].manner = Manner::Ignores;
    }
    for second in 0..80 {
        let d = plant.cycle();
        if second > 26 {
            let c = &d.circuits[0];
            println!(
                "ZI {second} imp {:.0} draw {:.0} head {} set {} other {} short {} cmds {} {:?}",
                plant.import(),
                plant.draw(),
                c.headroom,
                c.setpoint,
                c.other,
                c.shortfall,
                d.commands.len(),
                d.miners.iter().fold(std::collections::BTreeMap::new(), |mut m, x| {
                    *m.entry(x.state).or_insert(0) += 1;
                    m
                })
            );
        }
    }
}
#[test]
fn zz_step() {
    let mut site = super::slow_meters::with_feeder(false);
    for meter in &mut site.meters {
        meter.learn_lag = false;
    }
    let model = site.miners[0].clone();
    site.miners = (0..120)
        .map(|i| crate::control::site::Miner {
            name: format!("m{i}"),
            circuit: crate::control::site::CircuitId(1 + i % 2),
            ..model.clone()
        })
        .collect();
    let step = |at: f64| -400e3 + 100e3 * ((at - 120.0) / 3.0).clamp(0.0, 1.0);
    let mut plant = Plant::new(site, 0.97, step);
    for second in 0..140 {
        let d = plant.cycle();
        if second > 115 {
            let c = &d.circuits[0];
            println!(
                "ZS {second} imp {:.0} draw {:.0} head {} set {} other {} cmds {}",
                plant.import(),
                plant.draw(),
                c.headroom,
                c.setpoint,
                c.other,
                d.commands.len()
            );
        }
    }
}
#[test]
fn zz_points() {
    let mut plant = Plant::new(site(20), 0.0, |_| -300e3);
    plant.points =
        Some(crate::control::testing::curve(&[(900, 50.0), (2_900, 151.0), (4_100, 190.0)]).into());
    for second in 0..200 {
        let d = plant.cycle();
        if second % 10 == 0 {
            println!(
                "ZP {second} draw {:.0} waiting {:?} {:?}",
                plant.draw(),
                d.waiting,
                d.miners.iter().fold(std::collections::BTreeMap::new(), |mut m, x| {
                    *m.entry(x.state).or_insert(0) += 1;
                    m
                })
            );
        }
    }
}
