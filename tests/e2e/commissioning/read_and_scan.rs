//! Reading and finding meters.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use super::{meter, says};
use crate::bench::{Settings, Site, eventually, scenario, seconds, skip};

/// pymodbus in its process, ended with the test.
struct Foreign {
    child: Child,
    port: u16,
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Foreign {
    /// `None`, and a word about it, where pymodbus is not installed.
    fn start(rtu: bool) -> Option<Self> {
        let python = std::env::var("BALLAST_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
        let found = Command::new(&python)
            .args(["-c", "from pymodbus.simulator import SimDevice, SimData"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !found {
            skip(&format!("{python} has no pymodbus 3.16; install it or set BALLAST_TEST_PYTHON"));
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/commissioning/pymodbus_meters.py");
        let mut command = Command::new(&python);
        command.arg(script).arg(port.to_string()).args(rtu.then_some("rtu"));
        // It tells every request that it refuses at length.
        command.stderr(Stdio::null());
        let foreign = Self { child: command.spawn().expect("python starts"), port };
        eventually("pymodbus listens", seconds(60.0), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(drop)
        });
        Some(foreign)
    }

    /// A configuration that reads its meters.
    fn config(&self, site: &Site) -> String {
        let port = self.port;
        let config = site.config(&Settings::default(), "");
        config.replace(&format!("{}:5020", site.host(1)), &format!("127.0.0.1:{port}"))
    }
}

#[test]
fn a_simulated_meter_is_read_with_words_for_its_flow() {
    let site = Site::new();
    site.write("site.toml", &site.config(&Settings::default(), ""));
    let _sim = site.simulate("site.toml", &scenario(""));
    let (code, out, err) = meter(&site, &["read", "-c", "site.toml", "pcc"]);
    assert_eq!(code, 0, "{out}{err}");
    says(
        &out,
        &[
            "Many meters and gateways serve one client",
            "pcc: eastron-sdm630, unit 1 on switchboard",
            "input 0x0034-35",
            "export ",
            "power flows out of circuit pcc",
        ],
    );
    let (code, out, err) = meter(&site, &["read", "-c", "site.toml", "--json"]);
    assert_eq!(code, 0, "{out}{err}");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let power = &json["meters"][0]["points"][0];
    assert_eq!((power["point"].as_str(), power["quality"].as_str()), (Some("power"), Some("ok")));
    assert!((-3_500.0..-500.0).contains(&power["value"].as_f64().unwrap()), "{power}");
    let (code, _, err) = meter(&site, &["read", "-c", "site.toml", "pc"]);
    assert_eq!(code, 78);
    assert!(err.contains("has no meter `pc`; there are: pcc"), "{err}");
}

#[test]
fn a_silent_meter_ends_with_1_and_a_list_of_what_to_look_at() {
    let site = Site::new();
    let config = site.config(&Settings::default(), "");
    site.write("site.toml", &config);
    let fault = "[[event]]\nat = \"0s\"\nmeter = { name = \"pcc\", fault = \"silent\" }\n";
    let _sim = site.simulate("site.toml", &scenario(fault));
    let (code, out, _) = meter(&site, &["read", "-c", "site.toml"]);
    assert_eq!(code, 1, "{out}");
    says(
        &out,
        &["did not answer within 500ms", "look at:", "the unit id", "one client only?", "rtu_over_tcp"],
    );
    // Nothing listens at all.
    site.write("nobody.toml", &config.replace(":5020", ":5999"));
    let (code, out, _) = meter(&site, &["read", "-c", "nobody.toml"]);
    assert_eq!(code, 1, "{out}");
    says(&out, &["cannot connect", "nothing listens on port 5999"]);
}

#[test]
fn a_scan_finds_the_simulated_unit_and_gives_lines_that_check() {
    let site = Site::new();
    let config = site.config(&Settings::default(), "");
    site.write("site.toml", &config);
    let _sim = site.simulate("site.toml", &scenario(""));
    let place = format!("tcp://{}:5020", site.host(1));
    let (code, out, err) = meter(&site, &["scan", &place, "--units", "1-4"]);
    assert_eq!(code, 0, "{out}{err}");
    says(
        &out,
        &[
            "Asking 4 units",
            "unit 1 answers",
            "eastron-sdm630",
            "[links.switchboard]",
            "[meters.meter-1]",
            "unit = 1",
            "profile = \"eastron-sdm630\"",
        ],
    );
    let (code, out, _) = meter(&site, &["scan", &format!("tcp://{}:5999", site.host(1)), "--units", "1-4"]);
    assert_eq!(code, 1, "{out}");
    says(&out, &["broke off after 0 of 4", "nothing listens on port 5999"]);
    let (code, _, err) = meter(&site, &["scan", "udp://host", "--units", "1-4"]);
    assert_eq!(code, 2);
    assert!(err.contains("there is no `udp`"), "{err}");
}

#[test]
fn foreign_meters_are_recognised_by_what_they_measure() {
    let Some(foreign) = Foreign::start(false) else { return };
    let site = Site::new();
    let place = format!("tcp://127.0.0.1:{}", foreign.port);
    let (code, out, err) = meter(&site, &["scan", &place, "--units", "1-3,9,20"]);
    assert_eq!(code, 0, "{out}{err}");
    says(
        &out,
        &[
            "3 units of 5 asked answered",
            "For 2 units came exception 4, 10 or 11",
            "unit 1\n  fits        eastron-sdm630",
            "the phases add up",
            "unit 3\n  fits        socomec-countis",
            "the maker's mark",
            "unit 20\n  SunSpec: Acme EM-3, serial number SN42",
            "model 203 at 40070 (meter",
            "1.50 kW",
            "[meters.meter-1]",
            "profile = \"eastron-sdm630\"",
            "profile = \"socomec-countis\"",
            "profile = \"sunspec\"",
        ],
    );
    site.write("site.toml", &foreign.config(&site));
    let (code, out, err) = meter(&site, &["read", "-c", "site.toml"]);
    assert_eq!(code, 0, "{out}{err}");
    says(
        &out,
        &[
            "power          input 0x0034-35  460C A000  9.00 kW",
            "power_l1",
            "3.01 kW",
            "voltage_l1",
            "230.1 V",
            "50.020 Hz",
            "1234.500 kWh",
            "import 9.00 kW: power flows into circuit pcc",
            "ok the phases add up",
        ],
    );
    // Turned: signs and energies.
    let turned = foreign.config(&site).replace("unit = 1\n", "unit = 1\ninvert = true\n");
    site.write("turned.toml", &turned);
    let (code, out, err) = meter(&site, &["read", "-c", "turned.toml", "pcc"]);
    assert_eq!(code, 0, "{out}{err}");
    says(
        &out,
        &[
            "-9.00 kW",
            "energy_import",
            "7.250 kWh",
            "energy_export",
            "1234.500 kWh",
            "export 9.00 kW",
            "`invert` is set",
        ],
    );
    // Another maker's profile: refused, with the way on.
    site.write("wrong.toml", &foreign.config(&site).replace("eastron-sdm630", "abb-b23-b24"));
    let (code, out, _) = meter(&site, &["read", "-c", "wrong.toml"]);
    assert_eq!(code, 1, "{out}");
    says(&out, &["refused", "exception 2", "the profile is that of another model", "ballast meter scan"]);
}

#[test]
fn a_scan_over_rtu_in_tcp_waits_out_silence_and_finds_the_rest() {
    let Some(foreign) = Foreign::start(true) else { return };
    let site = Site::new();
    let place = format!("rtu-over-tcp://127.0.0.1:{}?baud=19200", foreign.port);
    let (code, out, err) =
        meter(&site, &["scan", &place, "--units", "1-2", "--timeout", "300ms", "--gap", "5ms"]);
    assert_eq!(code, 0, "{out}{err}");
    says(&out, &["unit 1 answers", "fits        eastron-sdm630", "rtu_over_tcp = ", "baud = 19200"]);
    // The same gateway taken for Modbus TCP: garbled or silent, and said so.
    let (code, out, _) = meter(
        &site,
        &["scan", &format!("tcp://127.0.0.1:{}", foreign.port), "--units", "1-4", "--timeout", "300ms"],
    );
    assert_eq!(code, 1, "{out}");
    says(&out, &["rtu_over_tcp"]);
}

/// The unit that answers and what it says; nothing at all for silence.
type Reply = Option<(u8, Vec<u8>)>;

/// A device that makes something of each request (unit, function, address, count), or does not answer. Gives its port.
fn device(answer: fn(u8, u8, u16, u16) -> Reply) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 12];
            while stream.read_exact(&mut request).is_ok() {
                let [t1, t2, _, _, _, _, unit, function, a1, a2, c1, c2] = request;
                let (address, count) = (u16::from_be_bytes([a1, a2]), u16::from_be_bytes([c1, c2]));
                let Some((unit, pdu)) = answer(unit, function, address, count) else { continue };
                let [l1, l2] = u16::try_from(pdu.len() + 1).unwrap().to_be_bytes();
                let head = [t1, t2, 0, 0, l1, l2, unit];
                let _ = stream.write_all(&[&head[..], &pdu].concat());
            }
        }
    });
    port
}

/// The words of a float at each address, high word first; exception 2 for all other registers.
fn floats(function: u8, address: u16, count: u16, known: &[(u16, f32)]) -> Vec<u8> {
    let word = |address: u16| {
        let (at, value) = known.iter().find(|(at, _)| (*at..at + 2).contains(&address))?;
        let bytes = value.to_be_bytes();
        Some(if address == *at { [bytes[0], bytes[1]] } else { [bytes[2], bytes[3]] })
    };
    let words: Option<Vec<[u8; 2]>> = (address..address + count).map(word).collect();
    match words {
        Some(words) => [vec![function, u8::try_from(2 * count).unwrap()], words.concat()].concat(),
        None => vec![function | 0x80, 2],
    }
}

#[test]
fn a_device_that_calls_itself_by_another_unit_is_told_as_that_and_found() {
    let port = device(|_, function, address, count| {
        (function == 4)
            .then(|| (0, floats(4, address, count, &[(0, 230.0), (12, 500.0), (52, 500.0), (70, 50.0)])))
    });
    let site = Site::new();
    let place = format!("tcp://127.0.0.1:{port}");
    let (code, out, err) =
        meter(&site, &["scan", &place, "--units", "1-3", "--timeout", "200ms", "--gap", "1ms"]);
    assert_eq!(code, 0, "{out}{err}");
    says(
        &out,
        &[
            "unit 0 answers",
            "Unit 0 answered where others were asked (1, 2, 3): the device calls itself 0. Write unit = 0",
            "unit 0\n",
            "unit = 0\n",
        ],
    );
    let config = site.config(&Settings::default(), "");
    site.write("site.toml", &config.replace(&format!("{}:5020", site.host(1)), &format!("127.0.0.1:{port}")));
    let (code, out, _) = meter(&site, &["read", "-c", "site.toml", "pcc"]);
    assert_eq!(code, 1, "{out}");
    says(&out, &["unit 1 at 127.0.0.1", "was asked, and unit 0 answered", "write unit = 0"]);
    assert!(!out.contains("rtu_over_tcp"), "{out}");
}

#[test]
fn a_device_with_one_function_code_that_ignores_the_rest_is_found() {
    // As a Janitza meter: holding registers alone, and nothing at all for the other table or for what it does not have.
    let port = device(|unit, function, address, count| {
        let known = [
            (0, 0.0),
            (19_000, 230.0),
            (19_002, 231.0),
            (19_004, 229.0),
            (19_020, 3_000.0),
            (19_022, 3_100.0),
            (19_024, 2_900.0),
            (19_026, 9_000.0),
            (19_050, 50.0),
            (19_068, 5_000.0),
            (19_076, 0.0),
        ];
        let pdu = floats(function, address, count, &known);
        (unit == 2 && function == 3 && pdu.first() == Some(&3)).then_some((unit, pdu))
    });
    let site = Site::new();
    let place = format!("tcp://127.0.0.1:{port}");
    let (code, out, err) =
        meter(&site, &["scan", &place, "--units", "1-3", "--timeout", "100ms", "--gap", "1ms"]);
    assert_eq!(code, 0, "{out}{err}");
    says(&out, &["unit 2 answers", "1 unit of 3 asked answered", "fits        janitza-umg96rm"]);
}
