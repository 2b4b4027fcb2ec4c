//! A loopback network with simulated miners, and with hosts that mean no good.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ballast::clock::Clock;
use ballast::config;
use ballast::discover::evidence::Ports;
use ballast::discover::login::Account;
use ballast::discover::probe::Prober;
use ballast::discover::scan::{self, Options, Progress, Scan};
use ballast::discover::targets::{Target, addresses};
use ballast::sim::{Scenario, Simulation};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The ports of this bench: the web port is one that needs no privilege.
pub(crate) const PORTS: Ports = Ports { api: 4028, framed: 4433, web: 8080, auradine: 8081 };
/// What the simulated miners take as a password.
pub(crate) const PASSWORD: &str = "not the default";

/// A simulated site with miners at 127.`net`.0.1 and on: two with API 3, two with API 2, two with Braiins OS.
pub(crate) async fn site(net: u8) -> Simulation {
    let text = format!(
        r#"
        [site]
        name = "bench"
        mode = "control"
        [circuits.pcc]
        [limits.all]
        circuit = "pcc"
        miners = "30 kW"
        [groups.a]
        driver = "whatsminer-v3"
        model = "m60s"
        circuit = "pcc"
        addresses = ["127.{net}.0.1-127.{net}.0.2"]
        credentials = {{ password_file = "p" }}
        [groups.b]
        driver = "whatsminer-v2"
        model = "m30s-plus-plus"
        circuit = "pcc"
        addresses = ["127.{net}.0.3-127.{net}.0.4"]
        credentials = {{ password_file = "p" }}
        [groups.c]
        driver = "braiins-os"
        model = "s19k-pro"
        circuit = "pcc"
        port = 8080
        addresses = ["127.{net}.0.5-127.{net}.0.6"]
        credentials = {{ password_file = "p" }}
        "#
    );
    let options = config::Options { files: &[("p", PASSWORD)], ..config::Options::default() };
    let config = config::parse(&text, std::path::Path::new("bench.toml"), &options)
        .unwrap_or_else(|error| panic!("{error}"));
    let scenario = Scenario::find("night").unwrap();
    Simulation::start(&config, &scenario, 1.0, Clock::start(), CancellationToken::new()).await.unwrap()
}

/// What a host that means no good does with a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trick {
    /// Takes it and says nothing.
    Hold,
    /// A byte now and then, for ever.
    Drip,
    /// As much as it can, without an end.
    Flood,
    /// Bytes of no meaning, then the end.
    Garbage,
    /// Closes it at once.
    Slam,
    /// The beginning of a good answer.
    Half,
}

/// Plays a trick on all three ports of an address, until the test ends.
pub(crate) async fn trick(ip: &str, trick: Trick) {
    let ip: IpAddr = ip.parse().unwrap();
    for port in [PORTS.api, PORTS.framed, PORTS.web] {
        let listener = TcpListener::bind(SocketAddr::new(ip, port)).await.unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(play(stream, trick));
            }
        });
    }
}

async fn play(mut stream: TcpStream, trick: Trick) {
    let mut ignored = [0_u8; 1024];
    match trick {
        Trick::Hold => while stream.read(&mut ignored).await.is_ok_and(|count| count > 0) {},
        Trick::Drip => loop {
            if stream.write_all(b"{").await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        },
        Trick::Flood => while stream.write_all(&[b'}'; 64 * 1024]).await.is_ok() {},
        Trick::Garbage => {
            let _ = stream.read(&mut ignored).await;
            let _ = stream.write_all(b"\x00\xff\x1b[2J\x07 {\"STATUS\"\r\n\r\n").await;
        }
        Trick::Slam => {}
        Trick::Half => {
            let _ = stream.read(&mut ignored).await;
            let _ = stream
                .write_all(b"{\"STATUS\":[{\"STATUS\":\"S\",\"Description\":\"LUXminer 2025\"}],\"VERS")
                .await;
        }
    }
}

pub(crate) fn prober(accounts: Vec<Account>, try_defaults: bool) -> Arc<Prober> {
    Arc::new(Prober::new(PORTS, Duration::from_millis(400), accounts, try_defaults).unwrap())
}

/// Scans a target with this bench's ports.
pub(crate) async fn scan_of(target: &str, prober: &Arc<Prober>) -> Scan {
    let targets = [target.parse::<Target>().unwrap()];
    let all = addresses(&targets, |_| None).unwrap();
    let (progress, _) = watch::channel(Progress::default());
    scan::scan(&all, &Options { rate: 1_000, at_once: 64 }, prober, &CancellationToken::new(), &progress)
        .await
}

/// A stock Antminer: the cgminer API tells its model, its pages want a digest login as `root` with this password.
pub(crate) async fn antminer(ip: &str, password: &'static str) {
    let ip: IpAddr = ip.parse().unwrap();
    let api = TcpListener::bind(SocketAddr::new(ip, PORTS.api)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = api.accept().await {
            let mut request = [0_u8; 256];
            let count = stream.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..count]).into_owned();
            // A NUL at the end, and for `stats` the comma that this firmware forgets.
            let reply = if request.contains("version") {
                r#"{"STATUS":[{"STATUS":"S","Description":"cgminer 1.0.0"}],"VERSION":[{"Type":"Antminer S19 Pro"}]}"#
            } else if request.contains("stats") {
                r#"{"STATUS":[{"STATUS":"S"}],"STATS":[{"Type":"Antminer S19 Pro"}{"GHS 5s":110500.5}]}"#
            } else {
                r#"{"STATUS":[{"STATUS":"E","Code":14,"Msg":"Invalid command"}]}"#
            };
            let _ = stream.write_all(format!("{reply}\0").as_bytes()).await;
        }
    });
    let web = TcpListener::bind(SocketAddr::new(ip, PORTS.web)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = web.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0_u8; 4096];
                let count = stream.read(&mut request).await.unwrap_or(0);
                let reply = page(&String::from_utf8_lossy(&request[..count]), password);
                let _ = stream.write_all(reply.as_bytes()).await;
            });
        }
    });
}

fn md5(text: &str) -> String {
    use md5::Digest as _;
    md5::Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn page(request: &str, password: &str) -> String {
    let value = |name: &str| {
        let start = request.find(&format!("{name}=\""))? + name.len() + 2;
        request[start..].split('"').next()
    };
    let path = request.split(' ').nth(1).unwrap_or_default();
    let answered = value("response").zip(value("cnonce")).is_some_and(|(response, cnonce)| {
        let first = md5(&format!("root:antMiner Configuration:{password}"));
        let second = md5(&format!("GET:{path}"));
        response == md5(&format!("{first}:77aa:00000001:{cnonce}:auth:{second}"))
    });
    let (status, body) = match (answered, path) {
        (false, _) => ("401 Unauthorized", ""),
        (true, "/cgi-bin/get_system_info.cgi") => (
            "200 OK",
            r#"{"minertype":"Antminer S19 Pro","macaddr":"02:55:97:22:30:72","serinum":"THQING0BDJAB024NF","hostname":"row-1"}"#,
        ),
        (true, "/cgi-bin/get_miner_conf.cgi") => ("200 OK", r#"{"miner-mode":"1"}"#),
        (true, _) => ("404 Not Found", ""),
    };
    format!(
        "HTTP/1.1 {status}\r\nWWW-Authenticate: Digest realm=\"antMiner Configuration\", nonce=\"77aa\", qop=\"auth\"\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
