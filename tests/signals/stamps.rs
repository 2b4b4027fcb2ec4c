//! Time stamps by an authority that nobody here wrote: `openssl ts`, behind a small HTTP server.

use crate::signals_bench;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ballast::proof::authority::{Authority, append};
use ballast::proof::key::{PUBLIC, PublicKey};
use ballast::proof::read::Entries;
use ballast::proof::verify::{Report, Verifier};
use ballast::proof::{Entry, Kind};
use serde_json::json;
use signals_bench::{Folder, open};

/// An authority with a certificate of its own.
const AUTHORITY: &str = "
set -e
printf '01' > serial
cat > tsa.cnf <<END
[tsa]
default_tsa = one
[one]
serial = serial
crypto_device = builtin
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.3.6.1.4.1.13762.3
digests = sha256
accuracy = secs:1
clock_precision_digits = 3
ess_cert_id_chain = no
END
openssl req -x509 -newkey rsa:2048 -nodes -keyout tsa.key -out tsa.pem -days 30 -subj '/CN=A time stamp authority' \
    -addext 'extendedKeyUsage = critical,timeStamping' -addext 'keyUsage = critical,digitalSignature'
";

fn shell(folder: &Path, script: &str) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Answers so many questions; `old` answers with the first answer again and again.
fn serve(folder: PathBuf, questions: usize, old: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for number in 0..questions {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut part = [0; 4096];
            let body = loop {
                let read = stream.read(&mut part).unwrap();
                request.extend_from_slice(&part[..read]);
                let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
                let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
                assert!(head.contains("application/timestamp-query"), "{head}");
                let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
                let length: usize = length.trim().parse().unwrap();
                if request.len() >= end + 4 + length {
                    break request.split_off(end + 4);
                }
            };
            if !old || number == 0 {
                std::fs::write(folder.join("question"), body).unwrap();
                assert!(shell(&folder, "openssl ts -reply -config tsa.cnf -queryfile question -out answer"));
            }
            let answer = std::fs::read(folder.join("answer")).unwrap();
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
            stream.write_all(&[head.as_bytes(), &answer].concat()).unwrap();
        }
    });
    port
}

fn entries(database: &Path) -> Vec<Entry> {
    let mut all = Vec::new();
    Entries::open(database).unwrap().each(0, u64::MAX, |entry| all.push(entry)).unwrap();
    all
}

fn verify(database: &Path, entries: &[Entry]) -> Report {
    let key = PublicKey::of_file(&database.with_file_name(PUBLIC)).unwrap();
    let mut verifier = Verifier::new(vec![key], None, false);
    entries.iter().for_each(|entry| verifier.read(entry));
    verifier.end()
}

fn authority(port: u16) -> Authority {
    let url = format!("http://127.0.0.1:{port}/tsr").parse().unwrap();
    Authority { url, ca: None, every: Duration::from_secs(3_600) }
}

#[tokio::test]
async fn a_head_that_an_authority_has_stamped_is_verified_by_openssl() {
    let (folder, tsa) = (Folder::new(), Folder::new());
    let tsa = tsa.database().parent().unwrap().to_owned();
    if !shell(&tsa, AUTHORITY) {
        println!("SKIPPED: there is no openssl that makes time stamps");
        return;
    }
    let store = open(&folder.database()).store;
    let writer = store.proof();
    writer.append(Kind::Operator, json!({ "event": "something" }));
    store.seal().await.unwrap();
    let (number, hash) = writer.head().unwrap();
    let text = format!("{number}:{hash}");
    let authority = authority(serve(tsa.clone(), 3, true));
    let client = authority.client().await;
    let stamped = authority.ask(&client, &text).await.unwrap();
    assert!(stamped.time.starts_with("20") && stamped.time.ends_with('Z'), "{}", stamped.time);
    append(&writer, &text, "an authority", &stamped);
    store.seal().await.unwrap();

    // An answer to another question, though for the same text.
    let error = authority.ask(&client, &text).await.unwrap_err().to_string();
    assert!(error.contains("not for what was asked"), "{error}");

    let all = entries(&folder.database());
    let report = verify(&folder.database(), &all);
    assert!(report.holds(), "{report:?}");
    assert_eq!((report.stamps, report.stamped.as_ref().map(|stamp| stamp.0)), (1, Some(number)));

    // What the operator hands over.
    let out = tsa.join("stamps");
    let said = Command::new(env!("CARGO_BIN_EXE_ballast"))
        .args([
            "ledger",
            "stamps",
            "--out",
            out.to_str().unwrap(),
            "--database",
            folder.database().to_str().unwrap(),
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let command = said.lines().last().unwrap().replace("AUTHORITY.pem", "tsa.pem");
    assert!(command.starts_with("openssl ts -verify"), "{said}");
    assert!(shell(&tsa, &command), "{command}");
    // Another text is not what was stamped.
    let stamp = all.iter().find(|entry| entry.kind == "stamp").unwrap();
    std::fs::write(out.join(format!("{}.head", stamp.number)), format!("{}:{hash}", number + 1)).unwrap();
    assert!(!shell(&tsa, &command), "{command}");

    // A token under another head.
    let mut forged = all.clone();
    let at = forged.iter().position(|entry| entry.kind == "stamp").unwrap();
    let body = forged[at].body.replace(&hash, &"0".repeat(64));
    forged[at].body = body;
    let report = verify(&folder.database(), &forged);
    assert!(report.faults.iter().any(|fault| fault.contains("time stamp of another entry")), "{report:?}");
}
