//! The operator's commands, as a person runs them, against the daemon of a simulated site.

use crate::signals_push;

use std::path::PathBuf;
use std::time::Duration;

use signals_push::{Bench, HTTP, OPERATOR, PUSH};

/// A command's exit status and words.
struct Told {
    code: i32,
    out: String,
    err: String,
}

/// The command line of an operator.
struct Shell {
    folder: PathBuf,
    url: String,
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Shell {
    fn new(bench: &Bench, number: u8) -> Self {
        let folder = std::env::temp_dir().join(format!("ballast-operator-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("operator.token"), format!("{OPERATOR}\n")).unwrap();
        std::fs::write(folder.join("push.token"), PUSH).unwrap();
        // The part of the configuration that the commands need: the rest may be beyond the operator's reach.
        let config = format!(
            "[web]\nlisten = \"{}\"\n[web.tokens.operator]\ntoken = {{ file = \"operator.token\" }}\n\
             scopes = [\"operator\"]\n[groups.a]\ncredentials = {{ password_file = \"not-there\" }}\n",
            bench.daemon.address()
        );
        std::fs::write(folder.join("site.toml"), config).unwrap();
        Self { folder, url: format!("http://{}", bench.daemon.address()) }
    }

    async fn run(&self, arguments: &[&str]) -> Told {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ballast"));
        command.args(arguments).current_dir(&self.folder).env_remove("BALLAST_TOKEN_FILE").env("TZ", "UTC");
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Told { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// With the configuration in the folder.
    async fn ballast(&self, arguments: &[&str]) -> Told {
        self.run(&[arguments, &["--config", "site.toml"]].concat()).await
    }

    /// Must succeed; the words.
    async fn good(&self, arguments: &[&str]) -> String {
        let told = self.ballast(arguments).await;
        assert_eq!((told.code, told.err.as_str()), (0, ""), "{arguments:?}: {}", told.out);
        println!("$ ballast {}\n{}", arguments.join(" "), told.out);
        told.out
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operator_sets_lists_and_clears_a_cap_and_the_measured_power_follows() {
    let calm = HTTP.replace("lost_after = \"2s\"\nfail_safe = \"26 kW\"", "");
    let bench = Bench::start(31, &calm).await;
    let shell = Shell::new(&bench, 31);
    let words =
        shell.good(&["limit", "set", "maintenance", "--cap", "14 kW", "--miners", "--for", "2h"]).await;
    assert!(
        words.starts_with("maintenance is accepted: the miners of pcc at most 14 kW, until 20"),
        "{words}"
    );
    bench.eventually("the miners are below the cap", 60, || bench.fleet() < 14.0).await;
    assert_eq!(bench.binding(), "operator");
    let words = shell.good(&["limit", "list"]).await;
    assert!(words.contains("14 kW on miners of pcc (maintenance)"), "{words}");
    assert!(words.contains("aggregator  controlled"), "{words}");
    let words = shell
        .good(&["limit", "set", "maintenance", "--percent", "60", "--circuit", "fleet", "--miners"])
        .await;
    assert!(words.starts_with("maintenance is changed: the miners of fleet"), "{words}");
    bench.eventually("more is allowed", 60, || bench.fleet() > 14.5).await;
    assert_eq!(shell.good(&["limit", "clear", "maintenance"]).await, "maintenance is taken back\n");
    // And set again under the same name.
    shell.good(&["limit", "set", "maintenance", "--cap", "20 kW", "--until", "2099-01-01 00:00"]).await;
    shell.good(&["limit", "clear", "maintenance"]).await;
    // What acts is told of the latest cycle.
    bench.until("nothing is capped", 60, |_| bench.cap().is_none()).await;
    let words = shell.good(&["limit", "list"]).await;
    assert!(words.ends_with("no orders\n"), "{words}");
    shell.good(&["orders"]).await;
    let json = shell.good(&["limit", "list", "--json"]).await;
    assert!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["sources"].is_array());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operator_goes_by_the_socket_where_there_is_one_and_by_the_address_where_it_lets_nobody_in() {
    let folder = std::env::temp_dir().join(format!("ballast-socket-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("ballast.sock");
    let bench = Bench::start_as(37, HTTP, |config| config.web.socket = Some(path.clone())).await;
    let shell = Shell::new(&bench, 37);
    // The address is one where nobody answers: what comes back came by the socket.
    let config = std::fs::read_to_string(shell.folder.join("site.toml")).unwrap();
    let nobody = config.replace(&bench.daemon.address().to_string(), "127.0.0.1:1");
    let socket = format!("[web]\nsocket = \"{}\"\n", path.display());
    std::fs::write(shell.folder.join("site.toml"), nobody.replace("[web]\n", &socket)).unwrap();
    let words = shell.good(&["limit", "set", "now", "--cap", "12 kW", "--emergency"]).await;
    assert!(words.starts_with("now is accepted: the import of pcc at most 12 kW"), "{words}");
    bench.until("it is in force", 60, |_| bench.cap() == Some(12.0)).await;
    shell.good(&["orders"]).await;
    // With an address on the command line it is the address that counts.
    let told = shell.ballast(&["limit", "list", "--url", "http://127.0.0.1:1"]).await;
    assert!(told.code == 1 && told.err.contains("no daemon answers at http://127.0.0.1:1"), "{}", told.err);
    // Where nobody answers at the socket, it is the address again.
    let other = folder.join("other.sock");
    drop(std::os::unix::net::UnixListener::bind(&other).unwrap());
    let socket = format!("[web]\nsocket = \"{}\"\n", other.display());
    std::fs::write(shell.folder.join("site.toml"), config.replace("[web]\n", &socket)).unwrap();
    shell.good(&["limit", "clear", "now"]).await;
    bench.stop().await;
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operator_lifts_a_grid_cap_in_a_name_and_for_a_time() {
    let bench = Bench::start(32, HTTP).await;
    let shell = Shell::new(&bench, 32);
    bench.until("the fail-safe stands", 60, |_| bench.cap() == Some(26.0)).await;
    let told = shell.ballast(&["limit", "lift", "aggregator", "--for", "30min"]).await;
    assert!(told.code != 0 && told.err.contains("--by"), "{}", told.err);
    let told = shell.ballast(&["limit", "lift", "aggregator", "--by", "A. Khan", "--for", "30h"]).await;
    assert!(told.code == 1 && told.err.contains("a day at the most"), "{}", told.err);
    let words = shell.good(&["limit", "lift", "aggregator", "--by", "A. Khan", "--for", "30min"]).await;
    assert!(words.contains("lifted until 20") && words.contains("in the name of A. Khan"), "{words}");
    bench.until("nothing caps", 60, |_| bench.cap().is_none()).await;
    let words = shell.good(&["limit", "list"]).await;
    assert!(words.contains("lifted by A. Khan until 20"), "{words}");
    shell.good(&["limit", "lift", "aggregator", "--end"]).await;
    bench.until("the fail-safe stands again", 60, |_| bench.cap() == Some(26.0)).await;
    // A lift ends by itself.
    shell.good(&["limit", "lift", "aggregator", "--by", "A. Khan", "--for", "1500ms"]).await;
    bench.until("nothing caps", 60, |_| bench.cap().is_none()).await;
    bench.until("it is over", 60, |_| bench.cap() == Some(26.0)).await;
    let told = shell.ballast(&["limit", "lift", "agregator", "--by", "A. Khan", "--for", "5min"]).await;
    assert!(
        told.err.contains("there is no source `agregator`; there are operator, aggregator"),
        "{}",
        told.err
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operator_is_named_in_the_record_with_all_that_he_does() {
    let folder = std::env::temp_dir().join(format!("ballast-named-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let database = folder.join("ballast.db");
    let bench = Bench::start_as(29, HTTP, |config| config.store.path = Some(database.clone())).await;
    let shell = Shell::new(&bench, 29);
    shell.good(&["limit", "set", "a", "--cap", "30 kW", "--by", "Newcomer", "--note", "a test"]).await;
    shell.good(&["limit", "clear", "a", "--by", "Aisha", "--note", "done"]).await;
    let lift = ["limit", "lift", "aggregator", "--by", "A. Khan", "--note", "harvest", "--for", "30min"];
    shell.good(&lift).await;
    shell.good(&["limit", "lift", "aggregator", "--end", "--by", "Bilal"]).await;
    // Who says nothing is the account that runs the command.
    shell.good(&["limit", "set", "b", "--cap", "30 kW"]).await;
    let (code, answer) = bench.ask("DELETE", "limits/b?by=a%0Ab", OPERATOR, None).await;
    assert_eq!(
        (code, answer["title"].as_str().is_some_and(|it| it.contains("`by`"))),
        (400, true),
        "{answer}"
    );
    bench.stop().await;

    let place = database.to_str().unwrap();
    let shown = shell.run(&["ledger", "show", "--kind", "operator", "--json", "--database", place]).await;
    assert_eq!(shown.code, 0, "{}", shown.err);
    let said: Vec<(String, String, String)> = (shown.out.lines())
        .map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            let body: serde_json::Value = serde_json::from_str(entry["body"].as_str().unwrap()).unwrap();
            let text = |key: &str| body[key].as_str().unwrap_or("").to_owned();
            (text("event"), text("by"), text("note"))
        })
        .collect();
    // The order's own entries have it from the first on.
    let shown = shell.run(&["ledger", "show", "--kind", "order", "--json", "--database", place]).await;
    let first = shown.out.lines().next().unwrap();
    let entry: serde_json::Value = serde_json::from_str(first).unwrap();
    let body: serde_json::Value = serde_json::from_str(entry["body"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&body["event"], &body["by"], &body["note"]),
        (&"received".into(), &"Newcomer".into(), &"a test".into()),
        "{body}"
    );
    for (event, by, note) in [
        ("limit set", "Newcomer", "a test"),
        ("limit taken back", "Aisha", "done"),
        ("lift", "A. Khan", "harvest"),
        ("lift ended", "Bilal", ""),
    ] {
        assert!(said.contains(&(event.into(), by.into(), note.into())), "{event}: {said:?}");
    }
    assert!(said.iter().all(|(_, by, _)| !by.is_empty()), "{said:?}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operator_bad_value_is_told_and_the_cap_before_stays() {
    let bench =
        Bench::start(33, "[web.tokens.o]\ntoken = { file = \"operator.token\" }\nscopes = [\"operator\"]\n")
            .await;
    let shell = Shell::new(&bench, 33);
    shell.good(&["limit", "set", "a", "--cap", "30 kW"]).await;
    for (arguments, words) in [
        (&["--cap", "30"][..], "has no unit; write it like \"30 W\" or \"30 kW\""),
        (&["--cap", "30 MW"], "check the unit of the signal"),
        (&["--percent", "140"], "from 0 to 100"),
        (&["--cap", "20 kW", "--circuit", "flet"], "the site has no circuit `flet`; there are pcc, fleet"),
        (&["--cap", "20 kW", "--until", "2020-01-01 00:00"], "ends before it begins"),
    ] {
        let told = shell.ballast(&[&["limit", "set", "a"][..], arguments].concat()).await;
        assert!(told.code == 1 && told.err.contains(words), "{arguments:?}: {}{}", told.err, told.out);
        assert!(told.err.starts_with("ballast: the daemon refuses (4"), "{}", told.err);
    }
    for arguments in [&["--cap", "1 kW", "--percent", "3"][..], &[], &["--cap", "1 kW", "--until", "soon"]] {
        let told = shell.ballast(&[&["limit", "set", "a"][..], arguments].concat()).await;
        assert_eq!(told.code, 2, "{arguments:?}: {}", told.err);
    }
    bench.until("the first cap stands", 60, |_| bench.cap() == Some(30.0)).await;
    let told = shell.ballast(&["limit", "clear", "b"]).await;
    assert!(told.code == 1 && told.err.contains("no order `b`"), "{}", told.err);
    assert!(told.err.trim_end().ends_with("; `ballast limit list` lists what is there"), "{}", told.err);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operator_duplicate_is_no_news_and_the_end_comes_by_itself() {
    let bench = Bench::start(34, HTTP).await;
    let shell = Shell::new(&bench, 34);
    shell.good(&["limit", "set", "a", "--cap", "20 kW"]).await;
    let words = shell.good(&["limit", "set", "a", "--cap", "20 kW"]).await;
    assert!(words.starts_with("a was accepted already"), "{words}");
    shell.good(&["limit", "set", "a", "--cap", "20 kW", "--for", "2s"]).await;
    bench.until("it holds", 60, |_| bench.cap() == Some(20.0)).await;
    bench.until("it ends by itself", 60, |_| bench.cap() != Some(20.0)).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operator_is_told_when_the_daemon_or_the_token_is_missing() {
    let bench = Bench::start(35, HTTP).await;
    let shell = Shell::new(&bench, 35);
    let told =
        shell.run(&["limit", "list", "--url", "http://127.0.0.1:1", "--token-file", "operator.token"]).await;
    assert!(told.code == 1 && told.err.contains("no daemon answers at http://127.0.0.1:1"), "{}", told.err);
    let with = |file| ["orders", "--url", shell.url.as_str(), "--token-file", file];
    let told = shell.run(&with("nowhere.token")).await;
    assert!(told.code == 1 && told.err.contains("cannot take a token from nowhere.token"), "{}", told.err);
    std::fs::write(shell.folder.join("wrong.token"), "what-nobody-has-ever-heard").unwrap();
    let told = shell.run(&with("wrong.token")).await;
    assert!(told.code == 1 && told.err.contains("refuses (401): the token is not known"), "{}", told.err);
    assert!(!told.err.contains("what-nobody"), "a token is not printed");
    let set = [
        "limit",
        "set",
        "a",
        "--cap",
        "20 kW",
        "--url",
        shell.url.as_str(),
        "--token-file",
        "operator.token",
    ];
    assert_eq!(shell.run(&set).await.code, 0, "with both given no configuration is needed");
    let told = shell
        .run(&[
            "limit",
            "lift",
            "other",
            "--by",
            "A",
            "--for",
            "1h",
            "--url",
            &shell.url,
            "--token-file",
            "push.token",
        ])
        .await;
    assert!(
        told.code == 1 && told.err.contains("may not do this; use one with the scope `operator`"),
        "{}",
        told.err
    );
    std::fs::write(shell.folder.join("bare.toml"), "[web]\n").unwrap();
    let told = shell.run(&["orders", "--config", "bare.toml"]).await;
    assert!(told.code == 1 && told.err.contains("there is no token"), "{}", told.err);
    let told = shell.run(&["orders", "--config", "gone.toml"]).await;
    assert!(told.code == 78 && told.err.contains("gone.toml"), "{}", told.err);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operator_restart_of_the_daemon_never_leaves_the_site_above_what_its_sources_ordered() {
    let mut bench = Bench::start(36, HTTP).await;
    let shell = Shell::new(&bench, 36);
    shell.good(&["limit", "lift", "aggregator", "--by", "A. Khan", "--for", "30min"]).await;
    bench.until("nothing caps", 60, |_| bench.cap().is_none()).await;
    bench.restart().await;
    // A lift is the word of a person to this daemon; the next one does not know it.
    bench.until("the fail-safe stands", 60, |_| bench.cap() == Some(26.0)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(bench.cap(), Some(26.0));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_made_expire_and_are_revoked_while_the_daemon_runs() {
    let file = |folder: &std::path::Path| folder.join("tokens.json");
    let folder = std::env::temp_dir().join(format!("ballast-tokens-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let calm = HTTP.replace("lost_after = \"2s\"\nfail_safe = \"26 kW\"", "");
    let hashed = format!(
        "{calm}[web.tokens.hashed]\nhash = \"{}\"\nscopes = [\"read\"]\n",
        ballast::token::Hash::of(b"a-token-by-its-hash")
    );
    let bench = Bench::start_as(39, &hashed, |config| config.web.tokens_file = Some(file(&folder))).await;
    let shell = Shell::new(&bench, 39);
    let config = std::fs::read_to_string(shell.folder.join("site.toml")).unwrap();
    let key = format!("[web]\ntokens_file = {:?}\n", file(&folder).display().to_string());
    std::fs::write(shell.folder.join("site.toml"), config.replace("[web]\n", &key)).unwrap();
    let status = async |token: &str| bench.ask("GET", "limits", token, None).await;
    assert_eq!(status("a-token-by-its-hash").await.0, 200);

    let made = shell.ballast(&["token", "create", "page", "--scope", "read", "--expires", "90d"]).await;
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(made.err.contains("shown this once") && made.err.contains("expires on"), "{}", made.err);
    let page = made.out.trim().to_owned();
    assert!(
        page.starts_with("ballast_") && !made.err.contains(&page),
        "the token is on standard output alone"
    );
    let dispatcher = "token create dispatcher --scope limits --source aggregator";
    let dispatcher = shell.ballast(&dispatcher.split(' ').collect::<Vec<_>>()).await.out.trim().to_owned();
    assert!(!std::fs::read_to_string(file(&folder)).unwrap().contains(&page[8..]), "only the hash is kept");
    for (wrong, words) in [
        ("token create page --scope read", "`page` already"),
        ("token create operator --scope read", "stands in"),
        ("token create x --scope limits", "--source"),
        ("token create x --scope read --source aggregator", "--scope limits"),
        ("token create x --scope limits --scope operator --source y", "cannot have both"),
        ("token create a/b --scope read", "is no name"),
        ("token revoke pge", "there are page, dispatcher"),
    ] {
        let told = shell.ballast(&wrong.split(' ').collect::<Vec<_>>()).await;
        assert!(told.code != 0 && told.err.contains(words), "{wrong}: {}{}", told.err, told.out);
    }

    // The daemon takes them up by itself.
    let known = async |token: &str, wanted: u16| {
        let begun = bench.clock.now();
        loop {
            let (code, body) = status(token).await;
            if code == wanted {
                return body;
            }
            assert!(
                bench.clock.now() - begun < Duration::from_secs(15),
                "{code} instead of {wanted}: {body}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    known(&page, 200).await;
    let (code, body) = bench.put("limits/x", &page, "{\"cap\": \"20 kW\"}").await;
    assert_eq!(code, 403, "{body}");
    let (code, body) = bench.put("limits/x", &dispatcher, "{\"cap\": \"20 kW\"}").await;
    assert!(code < 300 && body["limit"]["source"] == "aggregator", "{code} {body}");

    let words = shell.good(&["token", "list"]).await;
    assert!(
        words.contains("dispatcher  limits    aggregator") && words.contains("in the configuration"),
        "{words}"
    );
    assert!(!words.contains(&page), "{words}");
    let json: serde_json::Value =
        serde_json::from_str(&shell.good(&["token", "list", "--json"]).await).unwrap();
    assert_eq!(json["tokens"][0]["name"], "page");
    assert_eq!(json["tokens"][0]["expired"], false);

    // Its time is over.
    let text = std::fs::read_to_string(file(&folder)).unwrap();
    let expires = json["tokens"][0]["expires"].to_string();
    std::fs::write(file(&folder), text.replace(&expires, "1790000000000")).unwrap();
    let told = known(&page, 401).await;
    assert_eq!(told["title"], "the token has expired");
    assert!(shell.good(&["token", "list"]).await.contains("expired on 2026"));

    shell.good(&["token", "revoke", "dispatcher"]).await;
    let told = known(&dispatcher, 401).await;
    assert_eq!(told["title"], "the token is not known");
    // A file that nobody can read lets in those of the configuration alone.
    std::fs::write(file(&folder), "[").unwrap();
    known(&page, 401).await;
    assert_eq!(status(OPERATOR).await.0, 200);
    assert_eq!(status(PUSH).await.0, 200);
    let told = shell.ballast(&["token", "list"]).await;
    assert!(told.code == 1 && told.err.contains("no list of tokens"), "{}", told.err);
    bench.stop().await;
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_line_says_how_the_site_stands_and_what_changes() {
    let calm = HTTP.replace("lost_after = \"2s\"\nfail_safe = \"26 kW\"", "");
    let bench = Bench::start(40, &calm).await;
    let shell = Shell::new(&bench, 40);
    let words = shell.good(&["status"]).await;
    let first = words.lines().next().unwrap();
    assert!(first == "Orders: following" || first == "Orders: limited", "{words}");
    for part in ["9 miners: ", "CIRCUIT", "  fleet", "METER", "pcc", "aggregator", "no orders act"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let told = shell.ballast(&["status", "--check"]).await;
    assert!(told.out.starts_with("BALLAST ") && told.out.contains("| surplus="), "{}", told.out);
    let json: serde_json::Value = serde_json::from_str(&shell.good(&["status", "--json"]).await).unwrap();
    assert!(json["status"]["cycle"]["fleet"]["power_watts"].is_number(), "{json}");

    // With an address alone, no configuration is needed to read.
    let told = shell.run(&["status", "--url", &shell.url, "--config", "nowhere.toml"]).await;
    assert_eq!(told.code, 0, "{}", told.err);
    let told =
        shell.run(&["status", "--check", "--url", "http://127.0.0.1:1", "--config", "nowhere.toml"]).await;
    assert!(told.code == 3 && told.out.starts_with("BALLAST UNKNOWN - "), "{}{}", told.out, told.err);
    let told = shell.run(&["status", "--url", "http://127.0.0.1:1", "--config", "nowhere.toml"]).await;
    assert_eq!(told.code, 1, "{}", told.err);

    let words = shell.good(&["miners"]).await;
    assert_eq!(words.lines().count(), 10, "{words}");
    let words = shell.good(&["miners", "--search", "bos", "--circuit", "fleet"]).await;
    assert_eq!(words.lines().count(), 4, "{words}");
    let name = words.lines().nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let told = shell.ballast(&["miners", "--state", "sleeping"]).await;
    assert!(told.code == 1 && told.err.contains("asleep"), "{}", told.err);
    let json: serde_json::Value = serde_json::from_str(&shell.good(&["miners", "--json"]).await).unwrap();
    assert_eq!((json["total"].as_u64(), json["miners"].as_array().unwrap().len()), (Some(9), 9));
    let words = shell.good(&["miner", "explain", &name]).await;
    assert!(words.starts_with(&format!("{name} on fleet: ")) && words.lines().count() > 1, "{words}");
    let told = shell.ballast(&["miner", "explain", &name.replace("bos", "boss")]).await;
    assert!(told.code == 1 && told.err.contains(&format!("did you mean `{name}`")), "{}", told.err);

    // What is ordered while somebody watches is told, and who has ordered it stands in every list.
    let tail = shell.ballast(&["tail", "--miners", "--json", "--for", "6s"]);
    let order = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let set = [
            "limit",
            "set",
            "hum",
            "--cap",
            "14 kW",
            "--miners",
            "--by",
            "Aisha",
            "--note",
            "the transformer hums",
        ];
        shell.good(&set).await
    };
    let (tail, words) = tokio::join!(tail, order);
    assert!(words.starts_with("hum is accepted"), "{words}");
    assert_eq!(tail.code, 0, "{}", tail.err);
    let lines: Vec<serde_json::Value> = tail
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    let has = |kind: &str, words: &str| {
        lines.iter().any(|line| line["kind"] == kind && line["words"].as_str().unwrap().contains(words))
    };
    assert!(
        has("state", ":") && has("order", "acts: order hum of operator: 14 kW on the miners of pcc"),
        "{}",
        tail.out
    );
    let given = "Aisha: the transformer hums";
    assert!(shell.good(&["limit", "list"]).await.contains(given));
    assert!(shell.good(&["status"]).await.contains("order hum of operator: 14 kW on the miners of pcc"));
    let (_, limit) = bench.ask("GET", "limits/hum", OPERATOR, None).await;
    assert_eq!((&limit["by"], &limit["note"]), (&"Aisha".into(), &"the transformer hums".into()));
    assert!(shell.good(&["orders"]).await.contains(given));
    // Without a name it is that of the account; a later version is somebody else's.
    shell.good(&["limit", "set", "hum", "--cap", "15 kW", "--miners"]).await;
    let (_, limit) = bench.ask("GET", "limits/hum", OPERATOR, None).await;
    assert!(limit["by"] != "Aisha" && limit["note"].is_null(), "{limit}");

    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_given_an_order_and_why_outlives_a_restart() {
    let folder = std::env::temp_dir().join(format!("ballast-giver-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let calm = HTTP.replace("lost_after = \"2s\"\nfail_safe = \"26 kW\"", "");
    let path = folder.join("ballast.db");
    let mut bench = Bench::start_as(41, &calm, |config| config.store.path = Some(path.clone())).await;
    let body = r#"{"cap": "20 kW", "by": "Aisha", "note": "the transformer hums"}"#;
    let (code, answer) = bench.put("limits/hum", OPERATOR, body).await;
    assert_eq!((code, &answer["limit"]["by"]), (201, &"Aisha".into()), "{answer}");
    let (code, told) = bench.put("limits/hum", OPERATOR, r#"{"cap": "20 kW", "by": "a\nb"}"#).await;
    assert_eq!(code, 400, "{told}");
    let on_disk = || {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let disk = rusqlite::Connection::open_with_flags(&path, flags).ok()?;
        disk.query_row("SELECT given_by FROM ledger WHERE name = 'hum'", [], |row| row.get::<_, String>(0))
            .ok()
    };
    bench.eventually("the name is on disk", 60, || on_disk().as_deref() == Some("Aisha")).await;
    bench.restart().await;
    let (_, limit) = bench.ask("GET", "limits/hum", OPERATOR, None).await;
    assert_eq!((&limit["by"], &limit["note"]), (&"Aisha".into(), &"the transformer hums".into()), "{limit}");
    let (_, orders) = bench.ask("GET", "orders", OPERATOR, None).await;
    assert_eq!(orders["orders"][0]["remark"], "the transformer hums", "{orders}");
    bench.stop().await;
    std::fs::remove_dir_all(&folder).unwrap();
}
